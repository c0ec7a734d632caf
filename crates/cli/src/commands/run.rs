//! `mercator run`: an instance in the foreground, until it is told to stop.
//!
//! With `--quickstart` it also does what a first look needs and says what to
//! try; `crate::quickstart` has the steps.

use crate::exit::{Answer, Failure, with_causes};
use crate::logging::{self, LogArgs};
use crate::output;
use crate::quickstart::{self, Running};
use jupiter_control_plane::config::Config;
use jupiter_control_plane::run::{self, RunOptions};
use jupiter_control_plane::telemetry::{Settings, Telemetry};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Configuration of the instance; the defaults without it
    #[arg(long, env = "MERCATOR_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// For a first look: a fake provider where no key is configured, a sample policy, calls to try
    #[arg(long)]
    quickstart: bool,
    #[command(flatten)]
    log: LogArgs,
}

pub async fn run(args: RunArgs) -> Result<Answer, Failure> {
    if args.quickstart {
        return quick(args).await;
    }
    let config = quickstart::load_config(args.config.as_deref())?;
    let telemetry = telemetry(&config)?;
    logging::start(args.log, "info", &telemetry)?;
    let stop = quickstart::stop_signal()?;
    run::run(config, RunOptions::default().telemetry(telemetry), stop)
        .await
        .map_err(|e| quickstart::run_failed(&e))?;
    Ok(Answer::Yes)
}

/// What the `OTEL_*` variables ask for.
fn telemetry(config: &Config) -> Result<Telemetry, Failure> {
    let settings = Settings::read(&|name| std::env::var(name).ok()).map_err(|error| {
        Failure::new(error.to_string())
            .help("docs/guides/opentelemetry.md lists the variables that are followed")
    })?;
    Telemetry::start(&settings, &config.instance).map_err(|error| Failure::new(with_causes(&error)))
}

async fn quick(args: RunArgs) -> Result<Answer, Failure> {
    let mut config = quickstart::load_quickstart_config(args.config.as_deref())?;
    let telemetry = telemetry(&config)?;
    logging::start(args.log, "warn", &telemetry)?;
    let stop = quickstart::stop_signal()?;
    let keyless = config.providers.iter().filter(|p| p.api_key.is_none());
    let faked: Vec<String> = keyless.map(|p| p.name.clone()).collect();
    // Lives as long as the instance that calls it.
    let _fake = match faked.is_empty() {
        true => None,
        false => Some(quickstart::fake_provider(&mut config, |p| faked.contains(&p.name)).await?),
    };
    let Some(running) = quickstart::start(config, telemetry, stop.clone()).await? else {
        return Ok(Answer::Yes);
    };
    output::print(&invitation(&running, &faked));
    let stopping = async {
        stop.cancelled().await;
        output::say("stopping …");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = running.wait() => ended?,
        () = stopping => {}
    }
    output::say("stopped");
    Ok(Answer::Yes)
}

/// What is there now, and what to try; the comments may be pasted along.
fn invitation(running: &Running, faked: &[String]) -> String {
    let config = &running.config;
    let data = config.data_dir.display();
    let (traffic, admin) = (running.traffic_url(), running.admin_url());
    let mut text = format!(
        "\n\
         Traffic    {traffic}\n\
         Admin API  {admin}  (token in {data}/admin.token)\n\
         Metrics    http://{}/metrics\n",
        config.metrics.listen
    );
    for provider in &config.providers {
        let how = match faked.contains(&provider.name) {
            true => "a fake one answers, since no key is configured",
            false => "called with the configured key",
        };
        text.push_str(&format!("Provider   {}: {how}\n", provider.name));
    }
    let policy = match running.installed {
        true => format!("{}, now in force", quickstart::SAMPLE_POLICY_PATH),
        false => "those that were in force before".to_owned(),
    };
    let curl = format!(
        "curl -s {traffic}{} -H 'authorization: Bearer {}' -H 'content-type: application/json'",
        quickstart::CHAT_PATH,
        quickstart::CLIENT_KEY
    );
    text.push_str(&format!(
        "Policy     {policy}\n\n\
         # a call that the sample policy allows\n\
         {curl} -d '{}'\n\n\
         # one that it refuses\n\
         {curl} -d '{}'\n\n\
         # the evidence of both, which arrives within half a second\n\
         curl -s '{admin}/v1/evidence?limit=2' -H \"authorization: Bearer $(cat {data}/admin.token)\"\n\n\
         Ctrl-C stops everything.\n",
        quickstart::ALLOWED,
        quickstart::REFUSED,
    ));
    text
}
