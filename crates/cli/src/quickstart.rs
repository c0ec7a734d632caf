//! Starts an instance for somebody who has nothing yet.
//!
//! `mercator run --quickstart` and `mercator demo` share this: a fake provider
//! stands in where no key is configured, the sample policy is put in force when
//! there is none, and "ready" means that Envoy enforces it. What it waits for
//! is said on stderr.

use crate::client::{self, Client};
use crate::exit::{Failure, with_causes};
use crate::output;
use jupiter_control_plane::config::{
    BaseUrl, Config, ConfigError, ProviderConfig, ProviderKind, Secret,
};
use jupiter_control_plane::envoy::supervisor::SupervisorError;
use jupiter_control_plane::run::{self, RunError, RunOptions};
use jupiter_control_plane::telemetry::Telemetry;
use jupiter_testkit::fake_provider::{FakeProvider, Script};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

/// The policy put in force when there is none.
pub const SAMPLE_POLICY: &str = include_str!("../../../examples/policies/quickstart.yaml");
/// Its name, for its address and for people.
pub const SAMPLE_POLICY_NAME: &str = "quickstart";
/// Where it is, for people.
pub const SAMPLE_POLICY_PATH: &str = "examples/policies/quickstart.yaml";
/// The configuration without `--config`.
const SAMPLE_CONFIG: &str = include_str!("../../../examples/mercator.yaml");

/// A call that [`SAMPLE_POLICY`] allows.
pub const ALLOWED: &str =
    r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Say hello."}]}"#;
/// The same as a stream.
pub const STREAMED: &str = r#"{"model":"gpt-4o-mini","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"Count to five."}]}"#;
/// A call that it refuses.
pub const REFUSED: &str = r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"CONFIDENTIAL: the merger closes in May."}]}"#;
/// The key with which they go: of the client, which any provider's key replaces.
pub const CLIENT_KEY: &str = "my-app";
/// Where they go.
pub const CHAT_PATH: &str = "/v1/chat/completions";

/// What it says to everything.
const FAKE_REPLY: &str = "Hello! No model was asked: a fake provider says this.";
/// So that a stream is seen to be one.
const FAKE_CHUNK_INTERVAL_MS: u64 = 20;
/// What the fake provider takes for a key: anything.
const FAKE_KEY: &str = "fake-provider";

/// Where a filter and an Envoy come from.
pub const FILTER_HELP: &str = "in a checkout `./justw build` makes it; name it in the configuration, or by MERCATOR_ENVOY__FILTER";
pub const ENVOY_HELP: &str = "in a checkout `./justw setup` fetches one into .tools/envoy; name it by MERCATOR_ENVOY__BINARY";

/// A first start compiles the filter in Envoy; on a busy machine that takes a while.
const READY_WITHIN: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A running instance that enforces a policy.
#[derive(Debug)]
pub struct Running {
    pub config: Config,
    pub admin: Client,
    /// Plain HTTP to Envoy.
    pub http: reqwest::Client,
    /// Did this start put the sample policy in force?
    pub installed: bool,
    /// Digest of the bundle in force.
    pub digest: String,
    task: Task,
}

/// The instance's own task and the way to stop it.
#[derive(Debug)]
struct Task {
    handle: JoinHandle<Result<(), RunError>>,
    stop: CancellationToken,
}

/// Reads the configuration as `mercator run` does.
pub fn load_config(path: Option<&Path>) -> Result<Config, Failure> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    Config::load(path, env, &names.collect::<Vec<_>>()).map_err(|e| bad_config(&e))
}

/// The configuration for a quick start: a given one, or the sample.
pub fn load_quickstart_config(path: Option<&Path>) -> Result<Config, Failure> {
    match path {
        Some(path) => load_config(Some(path)),
        None => {
            Config::parse(SAMPLE_CONFIG, "examples/mercator.yaml", &env).map_err(|e| bad_config(&e))
        }
    }
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn bad_config(error: &ConfigError) -> Failure {
    Failure::new(error.to_string()).help(match error {
        ConfigError::Unreadable { .. } => "name another with `--config FILE`, or go without one",
        ConfigError::Invalid { .. } => {
            "docs/reference/configuration.md lists every key with its default"
        }
    })
}

/// Ends when the process is asked to stop: Ctrl-C or SIGTERM.
pub fn stop_signal() -> Result<CancellationToken, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen =
        |kind| signal(kind).map_err(|e| Failure::new(format!("signals cannot be received: {e}")));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stopped.cancel();
    });
    Ok(stop)
}

/// Puts one fake provider in the place of those that `stands_for` names; the
/// instance calls it as it would call the real one, with a key of its own.
pub async fn fake_provider(
    config: &mut Config,
    stands_for: impl Fn(&ProviderConfig) -> bool,
) -> Result<FakeProvider, Failure> {
    let cannot =
        |e: &dyn std::fmt::Display| Failure::new(format!("the fake provider could not start: {e}"));
    let fake = FakeProvider::start().await.map_err(|e| cannot(&e))?;
    fake.set_script(Script {
        reply: Some(FAKE_REPLY.to_owned()),
        chunk_interval_ms: FAKE_CHUNK_INTERVAL_MS,
        ..Script::default()
    });
    for provider in config.providers.iter_mut().filter(|p| stands_for(p)) {
        let url = match provider.kind {
            ProviderKind::OpenAi => fake.openai_base_url(),
            ProviderKind::Anthropic => fake.anthropic_base_url(),
        };
        provider.base_url = BaseUrl::parse(&url).map_err(|e| cannot(&e))?;
        provider.api_key = Some(Secret::new(FAKE_KEY.to_owned()));
    }
    Ok(fake)
}

/// Starts the instance and waits until Envoy enforces a policy; none when it
/// was asked to stop meanwhile, and did.
pub async fn start(
    config: Config,
    telemetry: Telemetry,
    stop: CancellationToken,
) -> Result<Option<Running>, Failure> {
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let options = RunOptions::default()
        .telemetry(telemetry)
        .on_ready(move || {
            // Nobody waits any more when the start was given up.
            let _ = ready.send(());
        });
    let mut task = Task {
        handle: tokio::spawn(run::run(config.clone(), options, stop.clone())),
        stop,
    };
    let begun = prepare(&config, is_ready);
    let prepared = tokio::select! {
        prepared = begun => prepared,
        result = &mut task.handle => return match ended(result) {
            Ok(()) if task.stop.is_cancelled() => Ok(None),
            Ok(()) => Err(Failure::new("the instance ended before it was ready")),
            Err(failure) => Err(failure),
        },
        () = tokio::time::sleep(READY_WITHIN) => Err(not_ready(&config)),
    };
    match prepared {
        Ok(prepared) => Ok(Some(Running {
            config,
            admin: prepared.admin,
            http: prepared.http,
            installed: prepared.installed,
            digest: prepared.digest,
            task,
        })),
        Err(failure) => {
            // What went wrong is told by `failure`; how the stop went adds nothing.
            let _ = task.end().await;
            Err(failure)
        }
    }
}

struct Prepared {
    admin: Client,
    http: reqwest::Client,
    installed: bool,
    digest: String,
}

async fn prepare(
    config: &Config,
    is_ready: tokio::sync::oneshot::Receiver<()>,
) -> Result<Prepared, Failure> {
    let began = Instant::now();
    output::say("starting the control plane and Envoy …");
    if is_ready.await.is_err() {
        // The instance ended before it was ready; its own error is the one to tell.
        std::future::pending::<()>().await;
    }
    let admin = admin_client(config)?;
    let installed = install_sample(&admin).await?;
    let digest = admin.bundle_digest().await?;
    let digest = digest.ok_or_else(|| Failure::new("the control plane has no bundle in force"))?;
    output::say("waiting for Envoy to enforce the policy …");
    let http = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()
        .map_err(|e| Failure::new(with_causes(&e)))?;
    enforced(&http, config, &digest).await;
    output::say(&format!(
        "ready after {:.1} s",
        began.elapsed().as_secs_f64()
    ));
    Ok(Prepared {
        admin,
        http,
        installed,
        digest,
    })
}

/// A client with the instance's own admin token.
fn admin_client(config: &Config) -> Result<Client, Failure> {
    let token = client::read_token(&config.data_dir.join("admin.token"))?;
    let server = format!("http://{}", reachable(config.admin.listen));
    Ok(Client::new(&server, Some(&token))?)
}

/// Puts the sample policy in force when there is no policy at all.
pub async fn install_sample(admin: &Client) -> Result<bool, Failure> {
    let listed = admin.get(&["v1", "policies"], &[]).await?;
    let policies = listed.get("policies").and_then(Value::as_array);
    if policies.is_some_and(|p| !p.is_empty()) {
        return Ok(false);
    }
    let source = admin.get(&["v1", "policies", "source"], &[]).await?;
    if source.get("source").and_then(Value::as_str) != Some("api") {
        return Err(
            Failure::new("the configured source of policies has none in force yet")
                .help("`mercator policy source` tells why; or run without `--quickstart`"),
        );
    }
    let path = ["v1", "policies", SAMPLE_POLICY_NAME];
    let body = SAMPLE_POLICY.as_bytes().to_vec();
    admin.put(&path, "application/yaml", body).await?;
    Ok(true)
}

/// Waits until Envoy says that it enforces this bundle.
async fn enforced(http: &reqwest::Client, config: &Config, digest: &str) {
    let health = format!("{}/health", traffic_url(config));
    loop {
        if let Ok(answer) = http.get(&health).send().await {
            let in_force = answer.headers().get("x-mercator-bundle-digest");
            if answer.status().is_success() && in_force.is_some_and(|d| d == digest) {
                return;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn not_ready(config: &Config) -> Failure {
    let log = config.envoy_dir().join("envoy.log");
    Failure::new(format!(
        "Envoy does not enforce the policy after {} s",
        READY_WITHIN.as_secs()
    ))
    .help(format!("its log may say why: `{}`", log.display()))
}

/// A failed run, told to a person with the next step in a shell.
pub fn run_failed(error: &RunError) -> Failure {
    let failure = Failure::new(with_causes(error));
    match error {
        RunError::Address { key, address, .. }
        | RunError::Envoy(SupervisorError::Address { key, address, .. }) => {
            let variable = format!("MERCATOR_{}", key.to_uppercase().replace('.', "__"));
            failure.help(format!(
                "for another address set it in the configuration, or just now: {variable}={}:18{:03}",
                address.ip(),
                address.port() % 1_000
            ))
        }
        RunError::Filter { .. } => failure.help(FILTER_HELP),
        RunError::Envoy(SupervisorError::Binary(_)) => failure.help(ENVOY_HELP),
        _ => failure,
    }
}

fn ended(result: Result<Result<(), RunError>, JoinError>) -> Result<(), Failure> {
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(run_failed(&error)),
        Err(error) => Err(Failure::new(format!("the instance failed: {error}"))),
    }
}

impl Running {
    /// Where clients on this machine send their calls.
    pub fn traffic_url(&self) -> String {
        traffic_url(&self.config)
    }

    pub fn admin_url(&self) -> String {
        format!("http://{}", reachable(self.config.admin.listen))
    }

    /// Waits until the instance ends by itself or by a signal.
    pub async fn wait(self) -> Result<(), Failure> {
        self.task.wait().await
    }

    /// Stops it now.
    pub async fn end(self) -> Result<(), Failure> {
        self.task.end().await
    }
}

impl Task {
    async fn wait(self) -> Result<(), Failure> {
        ended(self.handle.await)
    }

    async fn end(self) -> Result<(), Failure> {
        self.stop.cancel();
        self.wait().await
    }
}

fn traffic_url(config: &Config) -> String {
    format!("http://{}", reachable(config.envoy.listen))
}

/// The address to connect to where something listens: `0.0.0.0` is none.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
