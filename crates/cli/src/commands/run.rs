//! `mercator run`: an instance in the foreground, until it is told to stop.
//!
//! With `--quickstart` it also does what a first look needs and says what to
//! try; `crate::quickstart` has the steps.

use crate::exit::{Answer, Failure};
use crate::logging::{self, LogArgs};
use crate::output;
use crate::quickstart::{self, Running};
use jupiter_control_plane::run::{self, RunOptions};
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
    logging::start(args.log, "info")?;
    let config = quickstart::load_config(args.config.as_deref())?;
    let stop = quickstart::stop_signal()?;
    run::run(config, RunOptions::default(), stop)
        .await
        .map_err(|e| quickstart::run_failed(&e))?;
    Ok(Answer::Yes)
}

async fn quick(args: RunArgs) -> Result<Answer, Failure> {
    logging::start(args.log, "warn")?;
    let mut config = quickstart::load_quickstart_config(args.config.as_deref())?;
    let stop = quickstart::stop_signal()?;
    let keyless = config.providers.iter().filter(|p| p.api_key.is_none());
    let faked: Vec<String> = keyless.map(|p| p.name.clone()).collect();
    // Lives as long as the instance that calls it.
    let _fake = match faked.is_empty() {
        true => None,
        false => Some(quickstart::fake_provider(&mut config, |p| faked.contains(&p.name)).await?),
    };
    let Some(running) = quickstart::start(config, stop.clone()).await? else {
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

/// What is there now, and what to try.
fn invitation(running: &Running, faked: &[String]) -> String {
    let data = running.config.data_dir.display();
    let traffic = running.traffic_url();
    let admin = running.admin_url();
    let chat = quickstart::CHAT_PATH;
    let token = format!("$(cat {data}/admin.token)");
    let mut text = format!(
        "\nTraffic {traffic}   admin {admin}   metrics http://{}/metrics   data {data}\n",
        running.config.metrics.listen
    );
    for provider in &running.config.providers {
        let how = match faked.contains(&provider.name) {
            true => "a fake one answers, since no key is configured",
            false => "called with the configured key",
        };
        text.push_str(&format!("Provider {}: {how}\n", provider.name));
    }
    if running.installed {
        text.push_str(&format!(
            "Policy {}: now in force ({})\n",
            quickstart::SAMPLE_POLICY_NAME,
            quickstart::SAMPLE_POLICY_PATH
        ));
    }
    let curl = format!(
        "curl -s {traffic}{chat} -H 'authorization: Bearer {}' -H 'content-type: application/json'",
        quickstart::CLIENT_KEY
    );
    text.push_str(&format!(
        "\nAn allowed call, a refused one, and the evidence of both:\n\n\
         {curl} -d '{}'\n\n\
         {curl} -d '{}'\n\n\
         curl -s '{admin}/v1/evidence?limit=2' -H \"authorization: Bearer {token}\"\n\n\
         Ctrl-C stops everything.\n",
        quickstart::ALLOWED,
        quickstart::REFUSED,
    ));
    text
}
