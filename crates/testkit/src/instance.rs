//! One instance: the real `mercator run`, its Envoy, and a fake provider.
//!
//! Every instance has its own ports, data folder and provider, so tests run
//! beside each other. Nothing of it outlives it: what a killed control plane
//! left behind is found by its pid file and killed too. When a test fails, the
//! logs of all its programs are printed.

use std::fmt::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::admin::Admin;
use crate::envoy::{envoy_binary, start_envoy};
use crate::fake_provider::FakeProvider;
use crate::ports::free_port;
use crate::process::{self, Program, built, target_dir};
use crate::traffic::Traffic;
use crate::wait::{self, OrFail, fail};

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
        let ports = Ports {
            traffic: free_port(),
            admin: free_port(),
            metrics: free_port(),
            envoy_admin: free_port(),
            agent: free_port(),
        };
        let config = folder.path().join("mercator.yaml");
        let fake = format!("http://{}", provider.address());
        let url = self.provider.as_deref().unwrap_or(&fake);
        let text = self.config(folder.path(), &ports, url);
        std::fs::write(&config, text).or_fail("cannot write the configuration");
        let mut instance = Instance {
            control_plane: None,
            lone_envoy: None,
            logs: Vec::new(),
            config,
            ports,
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

    fn config(&self, folder: &Path, ports: &Ports, provider: &str) -> String {
        let filter = self.filter.clone().unwrap_or_else(filter_module);
        let lines = |lines: &[String]| {
            lines.iter().fold(String::new(), |mut text, line| {
                let _ = writeln!(text, "  {line}");
                text
            })
        };
        let section = |name: &str, extra: &[String]| match extra {
            [] => String::new(),
            extra => format!("{name}:\n{}", lines(extra)),
        };
        format!(
            "instance: {name}\n\
             region: local\n\
             environment: {environment}\n\
             data_dir: {data}\n\
             admin: {{listen: \"127.0.0.1:{admin}\"}}\n\
             metrics: {{listen: \"127.0.0.1:{metrics}\"}}\n\
             agent: {{listen: \"127.0.0.1:{agent}\"}}\n\
             envoy:\n  \
               binary: {envoy}\n  \
               filter: {filter}\n  \
               listen: \"127.0.0.1:{traffic}\"\n  \
               admin: \"127.0.0.1:{envoy_admin}\"\n\
             {envoy_lines}\
             {policy_source}\
             {inspection}\
             {evidence}\
             {subject}\
             {idempotency}\
             {prices}\
             providers:\n  \
               - {{name: openai, kind: openai, base_url: \"{provider}/v1\", api_key: \"{openai_key}\"}}\n  \
               - {{name: anthropic, kind: anthropic, base_url: \"{provider}\", api_key: \"{anthropic_key}\"}}\n",
            environment = self.environment.as_deref().unwrap_or("production"),
            data = folder.join("data").display(),
            admin = ports.admin,
            metrics = ports.metrics,
            agent = ports.agent,
            envoy = envoy_binary().display(),
            filter = filter.display(),
            traffic = ports.traffic,
            envoy_admin = ports.envoy_admin,
            envoy_lines = lines(&self.envoy),
            policy_source = section("policy", &self.policy_source),
            inspection = section("inspection", &self.inspection),
            evidence = section("evidence", &self.evidence),
            subject = section("subject", &self.subject),
            idempotency = section("idempotency", &self.idempotency),
            prices = section("prices", &self.prices),
            openai_key = self.openai_key,
            anthropic_key = self.anthropic_key,
            name = self.name.as_deref().unwrap_or("jupiter-test"),
        )
    }
}

#[derive(Debug)]
struct Ports {
    traffic: u16,
    admin: u16,
    metrics: u16,
    envoy_admin: u16,
    agent: u16,
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
    control_plane: Option<Program>,
    lone_envoy: Option<Program>,
    logs: Vec<PathBuf>,
    config: PathBuf,
    ports: Ports,
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
        let token = std::fs::read_to_string(self.data_dir().join("admin.token"))
            .or_fail("no admin.token in the data folder");
        let token = Some(token.trim().to_owned());
        Admin::new(self.http.clone(), self.ports.admin, token)
    }

    /// The metrics port, which asks for no token.
    pub fn metrics(&self) -> Admin {
        Admin::new(self.http.clone(), self.ports.metrics, None)
    }

    /// Envoy's own admin interface.
    pub fn envoy_admin(&self) -> Admin {
        Admin::new(self.http.clone(), self.ports.envoy_admin, None)
    }

    pub fn traffic(&self) -> Traffic {
        Traffic::new(self.http.clone(), self.ports.traffic)
    }

    pub fn admin_port(&self) -> u16 {
        self.ports.admin
    }

    pub fn metrics_port(&self) -> u16 {
        self.ports.metrics
    }

    /// Where HAProxy asks whether the instance wants traffic.
    pub fn agent_port(&self) -> u16 {
        self.ports.agent
    }

    pub fn config_file(&self) -> &Path {
        &self.config
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The pid that `mercator run` noted for its Envoy, while it runs.
    pub fn envoy_pid(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.data_dir().join("envoy/envoy.pid")).ok()?;
        let pid = text.trim().parse().ok()?;
        let folder = self.folder.path().to_string_lossy();
        process::runs_with(pid, &folder).then_some(pid)
    }

    /// SIGKILL to the control plane alone: its Envoy goes on.
    pub fn kill_control_plane(&mut self) {
        self.control_plane
            .take()
            .or_fail("there is no control plane to kill")
            .kill();
    }

    /// SIGSTOP: it holds its sockets and answers nothing.
    pub fn freeze_control_plane(&self) {
        process::signal(self.control_plane_pid(), Signal::STOP);
    }

    pub fn thaw_control_plane(&self) {
        process::signal(self.control_plane_pid(), Signal::CONT);
    }

    /// SIGKILL to all of it, as when the machine is lost.
    pub async fn kill(&mut self) {
        self.kill_control_plane();
        self.kill_envoy().await;
    }

    /// Of the process that is frozen and killed.
    pub fn control_plane_pid(&self) -> u32 {
        self.control_plane
            .as_ref()
            .or_fail("there is no control plane")
            .pid()
    }

    /// SIGKILL to Envoy alone, and wait until it is gone.
    pub async fn kill_envoy(&mut self) {
        if let Some(envoy) = self.lone_envoy.take() {
            drop(envoy);
            return;
        }
        let pid = self.envoy_pid().or_fail("there is no Envoy to kill");
        process::signal(pid, Signal::KILL);
        let folder = self.folder.path().to_string_lossy();
        wait::until(
            "the killed Envoy to be gone",
            async || match process::runs_with(pid, &folder) {
                true => Err(pid),
                false => Ok(()),
            },
        )
        .await;
    }

    /// SIGSTOP to its Envoy, whose pid is returned for [`thaw_envoy`](Self::thaw_envoy).
    pub async fn freeze_envoy(&self) -> u32 {
        let pid = wait::until("an Envoy", async || self.envoy_pid().ok_or("none")).await;
        process::signal(pid, Signal::STOP);
        pid
    }

    pub fn thaw_envoy(&self, pid: u32) {
        process::signal(pid, Signal::CONT);
    }

    /// SIGTERM, as an operator stops it; everything must then be gone.
    pub async fn stop(&mut self) -> std::process::ExitStatus {
        self.control_plane
            .take()
            .or_fail("there is no control plane to stop")
            .stop()
            .await
    }

    /// Start the control plane (again) on the same data, and wait for it.
    pub async fn start_control_plane(&mut self) {
        let mercator = built("TESTKIT_MERCATOR", target_dir().join("debug/mercator"));
        let mut command = Command::new(mercator);
        command.arg("run").arg("--config").arg(&self.config);
        command.current_dir(self.folder.path());
        let log = self.next_log("mercator");
        self.control_plane = Some(Program::start("mercator", command, log));
        self.wait_until_ready().await;
    }

    /// Everything that the instance's programs have written, access log included.
    pub fn all_logs(&self) -> String {
        self.log_files()
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
        let ports = [self.ports.traffic, self.ports.envoy_admin];
        wait::until("Envoy's ports to be free", async || {
            let bind = |port| TcpListener::bind(("127.0.0.1", port)).map(drop);
            ports.into_iter().try_for_each(bind)
        })
        .await;
        let config = self.data_dir().join("envoy/envoy.yaml");
        let log = self.next_log("envoy-alone");
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

        let text = std::fs::read_to_string(&self.config).or_fail("no configuration");
        let own = |port: u16| format!("\"127.0.0.1:{port}\"");
        let text = text
            .replace(&own(self.ports.traffic), &own(ports[0]))
            .replace(&own(self.ports.envoy_admin), &own(ports[1]))
            .replace(
                &self.data_dir().display().to_string(),
                &folder.join("data").display().to_string(),
            )
            .replace("\nenvoy:\n", "\nenvoy:\n  bundle_source: rest\n");
        let config = folder.join("mercator.yaml");
        std::fs::write(&config, text).or_fail("cannot write the configuration");
        let printed = Command::new(built(
            "TESTKIT_MERCATOR",
            target_dir().join("debug/mercator"),
        ))
        .arg("envoy")
        .arg("--config")
        .arg(&config)
        .output()
        .or_fail("cannot run `mercator envoy`");
        let config = folder.join("envoy.yaml");
        std::fs::write(&config, printed.stdout).or_fail("cannot write Envoy's configuration");

        let program = start_envoy(&config, self.next_log("envoy-polling"), WORKERS);
        let traffic = Traffic::new(self.http.clone(), ports[0]);
        PollingEnvoy { program, traffic }
    }

    /// Wait until Envoy answers, enforcing something (200) or refusing all (503).
    pub async fn wait_for_traffic(&mut self) {
        let traffic = self.traffic();
        wait::until("Envoy to answer /health", async || {
            self.check_alive();
            let health = traffic.request(reqwest::Method::GET, "/health");
            match traffic.try_complete(health).await {
                Ok(answer) if [200, 503].contains(&answer.status) => Ok(()),
                Ok(answer) => Err(answer.text()),
                Err(error) => Err(error.to_string()),
            }
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
        wait::until("Envoy to enforce the current bundle", async || {
            match self.digest_in_force().await {
                Some(seen) if seen == digest => Ok(()),
                other => Err((other, digest.clone())),
            }
        })
        .await;
    }

    /// The digest of the bundle that Envoy answers `/health` with.
    pub async fn digest_in_force(&self) -> Option<String> {
        let traffic = self.traffic();
        let health = traffic.request(reqwest::Method::GET, "/health");
        let answer = traffic.try_complete(health).await.ok()?;
        Some(answer.header("x-mercator-bundle-digest")?.to_owned())
    }

    async fn wait_until_ready(&mut self) {
        let ready = Admin::new(self.http.clone(), self.ports.admin, None);
        wait::until("the control plane to be ready", async || {
            self.check_alive();
            ready.answers("/readyz").await
        })
        .await;
        self.wait_for_traffic().await;
    }

    /// A program that ended is not worth waiting for.
    fn check_alive(&mut self) {
        for program in [&mut self.control_plane, &mut self.lone_envoy] {
            if let Some(program) = program
                && let Some(status) = program.ended()
            {
                fail(&format!("{} ended: {status}", program.name()));
            }
        }
    }

    fn next_log(&mut self, name: &str) -> PathBuf {
        let log = self
            .folder
            .path()
            .join(format!("{name}-{}.log", self.logs.len() + 1));
        self.logs.push(log.clone());
        log
    }

    fn log_files(&self) -> Vec<PathBuf> {
        let envoy = self.data_dir().join("envoy");
        let of_envoy = ["envoy.log", "access.log"].map(|name| envoy.join(name));
        self.logs.iter().cloned().chain(of_envoy).collect()
    }

    fn print_logs(&self) {
        for file in self.log_files() {
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
        let orphan = self.envoy_pid();
        // In this order, or the control plane would start a new Envoy.
        self.control_plane = None;
        for pid in orphan.into_iter().chain(self.envoy_pid()) {
            process::signal(pid, Signal::KILL);
        }
    }
}

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .http1_only()
        .no_proxy()
        // A hanging exchange is a failure that must name itself.
        .timeout(Duration::from_secs(60))
        .build()
        .or_fail("cannot make an HTTP client")
}
