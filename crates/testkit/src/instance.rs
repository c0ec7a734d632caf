//! One instance: the real `mercator run`, its Envoy, and a fake provider.
//!
//! Every instance has its own ports, data folder and provider, so tests run
//! beside each other. Nothing of it outlives it. When a test fails, the logs of
//! all its programs are printed.

use std::fmt::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use jupiter_installation::{self as installation, Ports, Program, Settings, Signal, signal};
use tempfile::TempDir;

use crate::admin::Admin;
use crate::envoy::{envoy_binary, start_envoy};
use crate::fake_provider::FakeProvider;
use crate::places::{built, free_port, target_dir};
use crate::traffic::Traffic;
use crate::wait::{self, OrFail};

/// How many lines at the end of each log a failure shows.
const LOG_LINES: usize = 120;

/// Of Envoys that an instance starts beside its own; as many as that one has.
const WORKERS: u32 = 2;

/// The filter's module as it is built.
pub fn filter_module() -> PathBuf {
    built(
        "MERCATOR_ENVOY__FILTER",
        target_dir().join("wasm32-unknown-unknown/filter/jupiter_filter.wasm"),
    )
}

/// What an instance is to be like; unset, it is as the documented defaults say.
#[derive(Debug, Default)]
pub struct InstanceBuilder {
    name: Option<String>,
    policies: Vec<(String, String)>,
    envoy: Vec<String>,
    policy_source: Vec<String>,
    inspection: Vec<String>,
    evidence: Vec<String>,
    subject: Vec<String>,
    idempotency: Vec<String>,
    prices: Vec<String>,
    filter: Option<PathBuf>,
    environment: Option<String>,
    openai_key: String,
    anthropic_key: String,
    provider: Option<String>,
    variables: Vec<(String, String)>,
}

impl InstanceBuilder {
    /// Instances that share a database have names of their own.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Published before the instance counts as started.
    #[must_use]
    pub fn policy(mut self, name: &str, text: &str) -> Self {
        self.policies.push((name.to_owned(), text.to_owned()));
        self
    }

    /// A line of the `envoy` section, `key: value`.
    #[must_use]
    pub fn envoy(mut self, line: &str) -> Self {
        self.envoy.push(line.to_owned());
        self
    }

    /// A line of the `policy` section.
    #[must_use]
    pub fn policy_source(mut self, line: &str) -> Self {
        self.policy_source.push(line.to_owned());
        self
    }

    /// A line of the `inspection` section.
    #[must_use]
    pub fn inspection(mut self, line: &str) -> Self {
        self.inspection.push(line.to_owned());
        self
    }

    /// A line of the `evidence` section.
    #[must_use]
    pub fn evidence(mut self, line: &str) -> Self {
        self.evidence.push(line.to_owned());
        self
    }

    /// A line of the `subject` section.
    #[must_use]
    pub fn subject(mut self, line: &str) -> Self {
        self.subject.push(line.to_owned());
        self
    }

    /// A line of the `idempotency` section.
    #[must_use]
    pub fn idempotency(mut self, line: &str) -> Self {
        self.idempotency.push(line.to_owned());
        self
    }

    /// Another module than the shipped one.
    #[must_use]
    pub fn filter(mut self, module: &Path) -> Self {
        self.filter = Some(module.to_owned());
        self
    }

    /// An element of the list `prices`.
    #[must_use]
    pub fn price(mut self, element: &str) -> Self {
        self.prices.push(format!("- {element}"));
        self
    }

    /// A variable in the environment of its control plane.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What policies know as `context.environment`; `production` unless said otherwise.
    #[must_use]
    pub fn environment(mut self, name: &str) -> Self {
        self.environment = Some(name.to_owned());
        self
    }

    /// Keys that the instance, not its clients, shows to the providers.
    #[must_use]
    pub fn provider_keys(mut self, openai: &str, anthropic: &str) -> Self {
        openai.clone_into(&mut self.openai_key);
        anthropic.clone_into(&mut self.anthropic_key);
        self
    }

    /// Another provider of both kinds than the fake one, which then gets no requests.
    #[must_use]
    pub fn provider_at(self, address: SocketAddr) -> Self {
        self.provider_url(&format!("http://{address}"))
    }

    /// The same by its URL, without a path.
    #[must_use]
    pub fn provider_url(mut self, url: &str) -> Self {
        self.provider = Some(url.to_owned());
        self
    }

    /// Start, and wait until it answers on all its ports.
    pub async fn start(self) -> Instance {
        let provider = FakeProvider::start()
            .await
            .or_fail("cannot start the fake provider");
        let folder = tempfile::Builder::new()
            .prefix("jupiter-")
            .tempdir()
            .or_fail("cannot make a folder for the instance");
        let fake = format!("http://{}", provider.address());
        let url = self.provider.as_deref().unwrap_or(&fake);
        let settings = self.settings(url);
        let ports = Ports::free().or_fail("no ports");
        let written = installation::Instance::new(&mercator(), folder.path(), ports, &settings);
        let mut written = written.or_fail("cannot write the configuration");
        for (name, value) in &self.variables {
            written.set_variable(name, value);
        }
        let mut instance = Instance {
            instance: written,
            lone_envoy: None,
            provider: Some(provider),
            http: client(),
            folder,
        };
        instance.start_control_plane().await;
        let admin = instance.admin();
        for (name, text) in &self.policies {
            admin.put_policy(name, text).await.expect_success();
        }
        if !self.policies.is_empty() {
            instance.wait_for_bundle().await;
        }
        instance
    }

    fn settings(&self, provider: &str) -> Settings {
        let section = |name: &str, extra: &[String]| match extra {
            [] => String::new(),
            extra => extra.iter().fold(format!("{name}:\n"), |mut text, line| {
                let _ = writeln!(text, "  {line}");
                text
            }),
        };
        let sections = [
            ("policy", &self.policy_source),
            ("inspection", &self.inspection),
            ("evidence", &self.evidence),
            ("subject", &self.subject),
            ("idempotency", &self.idempotency),
            ("prices", &self.prices),
        ];
        let sections = sections.map(|(name, extra)| section(name, extra)).concat();
        let (openai_key, anthropic_key) = (&self.openai_key, &self.anthropic_key);
        Settings {
            name: self.name.as_deref().unwrap_or("jupiter-test").to_owned(),
            environment: self
                .environment
                .as_deref()
                .unwrap_or("production")
                .to_owned(),
            envoy: envoy_binary(),
            filter: self.filter.clone().unwrap_or_else(filter_module),
            envoy_lines: self.envoy.clone(),
            sections: format!(
                "{sections}\
                 providers:\n  \
                   - {{name: openai, kind: openai, base_url: \"{provider}/v1\", api_key: \"{openai_key}\"}}\n  \
                   - {{name: anthropic, kind: anthropic, base_url: \"{provider}\", api_key: \"{anthropic_key}\"}}\n"
            ),
        }
    }
}

fn mercator() -> PathBuf {
    built("TESTKIT_MERCATOR", target_dir().join("debug/mercator"))
}

/// An Envoy that only polls the control plane; killed when dropped.
#[derive(Debug)]
pub struct PollingEnvoy {
    pub program: Program,
    pub traffic: Traffic,
}

/// A running instance. Fields are dropped in order: programs before their folder.
#[derive(Debug)]
pub struct Instance {
    instance: installation::Instance,
    lone_envoy: Option<Program>,
    provider: Option<FakeProvider>,
    http: reqwest::Client,
    folder: TempDir,
}

impl Instance {
    pub fn builder() -> InstanceBuilder {
        InstanceBuilder::default()
    }

    pub fn provider(&self) -> &FakeProvider {
        self.provider.as_ref().or_fail("the provider is stopped")
    }

    /// Nobody listens where the provider was; its connections are gone.
    pub async fn stop_provider(&mut self) {
        let address = self.provider().address();
        self.provider = None;
        wait::until("the provider to be gone", async || {
            TcpListener::bind(address).map(drop)
        })
        .await;
    }

    /// The admin API with the first token, which may do everything.
    pub fn admin(&self) -> Admin {
        let token = std::fs::read_to_string(self.instance.token_file())
            .or_fail("no admin.token in the data folder");
        let token = Some(token.trim().to_owned());
        Admin::new(self.http.clone(), self.ports().admin, token)
    }

    /// The metrics port, which asks for no token.
    pub fn metrics(&self) -> Admin {
        Admin::new(self.http.clone(), self.ports().metrics, None)
    }

    /// Envoy's own admin interface.
    pub fn envoy_admin(&self) -> Admin {
        Admin::new(self.http.clone(), self.ports().envoy_admin, None)
    }

    pub fn traffic(&self) -> Traffic {
        Traffic::new(self.http.clone(), self.ports().traffic)
    }

    pub fn admin_port(&self) -> u16 {
        self.ports().admin
    }

    pub fn metrics_port(&self) -> u16 {
        self.ports().metrics
    }

    /// Where HAProxy asks whether the instance wants traffic.
    pub fn agent_port(&self) -> u16 {
        self.ports().agent
    }

    pub(crate) fn ports(&self) -> Ports {
        self.instance.ports()
    }

    pub fn config_file(&self) -> PathBuf {
        self.instance.config_file()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.instance.data_dir()
    }

    /// The pid that `mercator run` noted for its Envoy, while it runs.
    pub fn envoy_pid(&self) -> Option<u32> {
        self.instance.envoy_pid()
    }

    /// SIGKILL to the control plane alone: its Envoy goes on.
    pub fn kill_control_plane(&mut self) {
        let killed = self.instance.kill_control_plane();
        killed.or_fail("there is no control plane to kill");
    }

    /// SIGSTOP: it holds its sockets and answers nothing.
    pub fn freeze_control_plane(&self) {
        signal(self.control_plane_pid(), Signal::STOP);
    }

    pub fn thaw_control_plane(&self) {
        signal(self.control_plane_pid(), Signal::CONT);
    }

    /// SIGKILL to all of it, as when the machine is lost.
    pub async fn kill(&mut self) {
        self.kill_control_plane();
        self.kill_envoy().await;
    }

    /// Of the process that is frozen and killed.
    pub fn control_plane_pid(&self) -> u32 {
        let pid = self.instance.control_plane_pid();
        pid.or_fail("there is no control plane")
    }

    /// SIGKILL to Envoy alone, and wait until it is gone.
    pub async fn kill_envoy(&mut self) {
        if let Some(envoy) = self.lone_envoy.take() {
            drop(envoy);
            return;
        }
        let killed = self.instance.kill_envoy().await;
        killed.or_fail("there is no Envoy to kill");
    }

    /// SIGSTOP to its Envoy, whose pid is returned for [`thaw_envoy`](Self::thaw_envoy).
    pub async fn freeze_envoy(&self) -> u32 {
        self.instance.freeze_envoy().await.or_fail("no Envoy")
    }

    pub fn thaw_envoy(&self, pid: u32) {
        signal(pid, Signal::CONT);
    }

    /// SIGTERM, as an operator stops it; everything must then be gone.
    pub async fn stop(&mut self) -> std::process::ExitStatus {
        self.instance.stop().await.or_fail("cannot stop")
    }

    /// Start the control plane (again) on the same data, and wait for it.
    pub async fn start_control_plane(&mut self) {
        self.instance.start().await.or_fail("cannot start");
    }

    /// Everything that the instance's programs have written, access log included.
    pub fn all_logs(&self) -> String {
        self.instance
            .log_files()
            .iter()
            .map(|file| {
                String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()).into_owned()
            })
            .collect()
    }

    /// Envoy's access log: one line of JSON per exchange.
    pub fn access_log(&self) -> Vec<serde_json::Value> {
        let file = self.data_dir().join("envoy/access.log");
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Run Envoy on what the control plane left behind, with nobody to ask.
    pub async fn start_envoy_alone(&mut self) {
        // A process that is gone may hold its sockets for a moment longer.
        let ports = [self.ports().traffic, self.ports().envoy_admin];
        wait::until("Envoy's ports to be free", async || {
            let bind = |port| TcpListener::bind(("127.0.0.1", port)).map(drop);
            ports.into_iter().try_for_each(bind)
        })
        .await;
        let config = self.data_dir().join("envoy/envoy.yaml");
        let log = self.instance.next_log("envoy-alone");
        self.lone_envoy = Some(start_envoy(&config, log, WORKERS));
        self.wait_for_traffic().await;
    }

    /// Another Envoy, as in a mesh: not started by the control plane, and polling
    /// it for the bundle.
    pub async fn start_polling_envoy(&mut self) -> PollingEnvoy {
        let folder = self.folder.path().join("polling");
        let (data, ports) = (folder.join("data/envoy"), [free_port(), free_port()]);
        std::fs::create_dir_all(data.join("secrets")).or_fail("cannot make a folder");
        // As an operator's secret store would bring it there.
        let secret = "secrets/emitter.yaml";
        std::fs::copy(
            self.data_dir().join("envoy").join(secret),
            data.join(secret),
        )
        .or_fail("no secret for the emitter");

        let text = std::fs::read_to_string(self.config_file()).or_fail("no configuration");
        let own = |port: u16| format!("\"127.0.0.1:{port}\"");
        let text = text
            .replace(&own(self.ports().traffic), &own(ports[0]))
            .replace(&own(self.ports().envoy_admin), &own(ports[1]))
            .replace(
                &self.data_dir().display().to_string(),
                &folder.join("data").display().to_string(),
            )
            .replace("\nenvoy:\n", "\nenvoy:\n  bundle_source: rest\n");
        let config = folder.join("mercator.yaml");
        std::fs::write(&config, text).or_fail("cannot write the configuration");
        let printed = Command::new(mercator())
            .arg("envoy")
            .arg("--config")
            .arg(&config)
            .output()
            .or_fail("cannot run `mercator envoy`");
        let config = folder.join("envoy.yaml");
        std::fs::write(&config, printed.stdout).or_fail("cannot write Envoy's configuration");

        let program = start_envoy(&config, self.instance.next_log("envoy-polling"), WORKERS);
        let traffic = Traffic::new(self.http.clone(), ports[0]);
        PollingEnvoy { program, traffic }
    }

    /// Wait until Envoy answers, enforcing something (200) or refusing all (503).
    pub async fn wait_for_traffic(&mut self) {
        wait::until("Envoy to answer", async || {
            // A program that ended is not worth waiting for.
            if let Some(envoy) = &mut self.lone_envoy {
                envoy
                    .check_alive()
                    .or_fail("an Envoy without a control plane");
            }
            self.instance.check_alive().or_fail("the control plane");
            self.instance.answers().await
        })
        .await;
    }

    /// Wait until Envoy enforces the bundle that the control plane holds.
    pub async fn wait_for_bundle(&self) {
        let admin = self.admin();
        let bundle = admin.get("/v1/bundles/current").await.expect(200);
        let digest = bundle
            .header("etag")
            .or_fail("no etag on the current bundle")
            .trim_matches('"')
            .to_owned();
        let waited = self.instance.wait_for_bundle(&digest).await;
        waited.or_fail("the current bundle");
    }

    /// The digest of the bundle that Envoy answers `/health` with.
    pub async fn digest_in_force(&self) -> Option<String> {
        self.instance.digest_in_force().await
    }

    fn print_logs(&self) {
        for file in self.instance.log_files() {
            let text = std::fs::read(&file).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            // Envoy begins by listing all its extensions, one indented line a kind.
            let lists = |line: &&str| line.contains("server.cc") && line.contains("]   ");
            let lines: Vec<&str> = text.lines().filter(|line| !lists(line)).collect();
            let skipped = lines.len().saturating_sub(LOG_LINES);
            eprintln!("==== {} ({skipped} lines before)", file.display());
            for line in lines.iter().skip(skipped) {
                eprintln!("{line}");
            }
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
    }
}

pub(crate) fn client() -> reqwest::Client {
    installation::client().or_fail("cannot make an HTTP client")
}
