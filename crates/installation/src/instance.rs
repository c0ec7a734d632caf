//! One instance: the real `mercator run` and its Envoy.
//!
//! Nothing of it outlives it: what a killed control plane left behind is found by
//! its pid file and killed too.

use crate::process::{Program, Signal, runs_with, signal};
use crate::{InstallationError, free_port, wait};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

/// Where an instance listens, on loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    pub traffic: u16,
    pub admin: u16,
    pub metrics: u16,
    pub envoy_admin: u16,
    /// Where HAProxy asks whether the instance wants traffic.
    pub agent: u16,
}

impl Ports {
    pub fn free() -> Result<Ports, InstallationError> {
        Ok(Ports {
            traffic: free_port()?,
            admin: free_port()?,
            metrics: free_port()?,
            envoy_admin: free_port()?,
            agent: free_port()?,
        })
    }
}

/// What an instance is to be like.
#[derive(Debug, Clone)]
pub struct Settings {
    pub name: String,
    /// What policies know as `context.environment`.
    pub environment: String,
    pub envoy: PathBuf,
    pub filter: PathBuf,
    /// Lines of the `envoy` section, `key: value`.
    pub envoy_lines: Vec<String>,
    /// All other sections, as they stand in the file.
    pub sections: String,
}

impl Settings {
    fn config(&self, data: &Path, ports: &Ports) -> String {
        let lines = self.envoy_lines.iter().map(|line| format!("  {line}\n"));
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
             {lines}\
             {sections}",
            name = self.name,
            environment = self.environment,
            data = data.display(),
            admin = ports.admin,
            metrics = ports.metrics,
            agent = ports.agent,
            envoy = self.envoy.display(),
            filter = self.filter.display(),
            traffic = ports.traffic,
            envoy_admin = ports.envoy_admin,
            lines = lines.collect::<String>(),
            sections = self.sections,
        )
    }
}

/// An instance in its folder; killed when dropped.
#[derive(Debug)]
pub struct Instance {
    control_plane: Option<Program>,
    logs: Vec<PathBuf>,
    mercator: PathBuf,
    name: String,
    ports: Ports,
    http: reqwest::Client,
    folder: PathBuf,
    variables: Vec<(String, String)>,
}

impl Instance {
    /// Writes its configuration into a folder; it does not run yet.
    pub fn new(
        mercator: &Path,
        folder: &Path,
        ports: Ports,
        settings: &Settings,
    ) -> Result<Instance, InstallationError> {
        let instance = Instance {
            control_plane: None,
            logs: Vec::new(),
            mercator: mercator.to_owned(),
            name: settings.name.clone(),
            ports,
            http: client()?,
            folder: folder.to_owned(),
            variables: Vec::new(),
        };
        let config = instance.config_file();
        let text = settings.config(&instance.data_dir(), &ports);
        // It holds the password of the database, and maybe the key of the log.
        fs::write(&config, "")
            .and_then(|()| fs::set_permissions(&config, fs::Permissions::from_mode(0o600)))
            .and_then(|()| fs::write(&config, text))
            .map_err(InstallationError::file("write", &config))?;
        Ok(instance)
    }

    /// A variable in the environment of its control plane, from the next start on.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn ports(&self) -> Ports {
        self.ports
    }

    pub fn config_file(&self) -> PathBuf {
        self.folder.join("mercator.yaml")
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// With the first token, which may do everything.
    pub fn token_file(&self) -> PathBuf {
        self.data_dir().join("admin.token")
    }

    /// Starts the control plane (again) on the same data, and waits for it and its Envoy.
    pub async fn start(&mut self) -> Result<(), InstallationError> {
        let mut command = Command::new(&self.mercator);
        command.arg("run").arg("--config").arg(self.config_file());
        command.current_dir(&self.folder);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let log = self.next_log("mercator");
        self.control_plane = Some(Program::start(&self.name, command, log)?);
        let ready = format!("http://127.0.0.1:{}/readyz", self.ports.admin);
        wait::until(&format!("{} to be ready", self.name), async || {
            if let Err(ended) = self.check_alive() {
                return Ok(Err(ended));
            }
            match self.http.get(&ready).send().await {
                Ok(answer) if answer.status() == 200 => Ok(Ok(())),
                Ok(answer) => Err(answer.text().await.unwrap_or_default()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await??;
        self.wait_for_traffic().await
    }

    /// Waits until Envoy answers, enforcing something (200) or refusing all (503).
    pub async fn wait_for_traffic(&mut self) -> Result<(), InstallationError> {
        let what = format!("Envoy of {} to answer", self.name);
        wait::until(&what, async || {
            if let Err(ended) = self.check_alive() {
                return Ok(Err(ended));
            }
            self.answers().await.map(Ok)
        })
        .await?
    }

    /// Whether Envoy answers.
    pub async fn answers(&self) -> Result<(), String> {
        let health = self.health().await.map_err(|e| e.to_string())?;
        match health.status().as_u16() {
            200 | 503 => Ok(()),
            other => Err(format!("status {other}")),
        }
    }

    /// The digest of the bundle that Envoy answers `/health` with.
    pub async fn digest_in_force(&self) -> Option<String> {
        let health = self.health().await.ok()?;
        let digest = health.headers().get("x-mercator-bundle-digest")?;
        Some(digest.to_str().ok()?.to_owned())
    }

    async fn health(&self) -> Result<reqwest::Response, reqwest::Error> {
        let url = format!("http://127.0.0.1:{}/health", self.ports.traffic);
        self.http.get(url).send().await
    }

    /// Waits until Envoy enforces this bundle.
    pub async fn wait_for_bundle(&self, digest: &str) -> Result<(), InstallationError> {
        let what = format!("Envoy of {} to enforce the bundle {digest}", self.name);
        wait::until(&what, async || match self.digest_in_force().await {
            Some(seen) if seen == digest => Ok(()),
            other => Err(other),
        })
        .await
    }

    pub fn control_plane_pid(&self) -> Result<u32, InstallationError> {
        let program = self.control_plane.as_ref().map(Program::pid);
        program.ok_or_else(|| InstallationError::not_running(&self.name))
    }

    /// The pid that `mercator run` noted for its Envoy, while it runs.
    pub fn envoy_pid(&self) -> Option<u32> {
        let text = fs::read_to_string(self.data_dir().join("envoy/envoy.pid")).ok()?;
        let pid = text.trim().parse().ok()?;
        runs_with(pid, &self.folder.to_string_lossy()).then_some(pid)
    }

    /// SIGKILL to the control plane alone: its Envoy goes on.
    pub fn kill_control_plane(&mut self) -> Result<(), InstallationError> {
        let program = self.control_plane.take();
        let program = program.ok_or_else(|| InstallationError::not_running(&self.name))?;
        program.kill();
        Ok(())
    }

    /// SIGKILL to Envoy alone, and wait until it is gone.
    pub async fn kill_envoy(&mut self) -> Result<(), InstallationError> {
        let none = || InstallationError::not_running(&format!("Envoy of {}", self.name));
        let pid = self.envoy_pid().ok_or_else(none)?;
        signal(pid, Signal::KILL);
        let folder = self.folder.to_string_lossy();
        wait::until("the killed Envoy to be gone", async || {
            match runs_with(pid, &folder) {
                true => Err(pid),
                false => Ok(()),
            }
        })
        .await
    }

    /// SIGKILL to all of it, as when the machine is lost.
    pub async fn kill(&mut self) -> Result<(), InstallationError> {
        self.kill_control_plane()?;
        self.kill_envoy().await
    }

    /// SIGSTOP to all of it: it holds its sockets and answers nothing.
    pub async fn freeze(&self) -> Result<(), InstallationError> {
        // In this order, or the control plane would start a new Envoy.
        signal(self.control_plane_pid()?, Signal::STOP);
        self.freeze_envoy().await.map(drop)
    }

    /// SIGSTOP to its Envoy, whose pid is returned.
    pub async fn freeze_envoy(&self) -> Result<u32, InstallationError> {
        let pid = wait::until("an Envoy", async || self.envoy_pid().ok_or("none")).await?;
        signal(pid, Signal::STOP);
        Ok(pid)
    }

    pub fn thaw(&self) -> Result<(), InstallationError> {
        if let Some(envoy) = self.envoy_pid() {
            signal(envoy, Signal::CONT);
        }
        signal(self.control_plane_pid()?, Signal::CONT);
        Ok(())
    }

    /// SIGTERM, as an operator stops it; everything must then be gone.
    pub async fn stop(&mut self) -> Result<ExitStatus, InstallationError> {
        let program = self.control_plane.take();
        let program = program.ok_or_else(|| InstallationError::not_running(&self.name))?;
        program.stop().await
    }

    /// A control plane that ended is not worth waiting for.
    pub fn check_alive(&mut self) -> Result<(), InstallationError> {
        match &mut self.control_plane {
            Some(program) => program.check_alive(),
            None => Ok(()),
        }
    }

    /// A file for what a program of this instance says.
    pub fn next_log(&mut self, name: &str) -> PathBuf {
        let log = format!("{name}-{}.log", self.logs.len() + 1);
        let log = self.folder.join(log);
        self.logs.push(log.clone());
        log
    }

    /// All that its programs write, the access log last.
    pub fn log_files(&self) -> Vec<PathBuf> {
        let envoy = self.data_dir().join("envoy");
        let of_envoy = ["envoy.log", "access.log"].map(|name| envoy.join(name));
        self.logs.iter().cloned().chain(of_envoy).collect()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let orphan = self.envoy_pid();
        // In this order, or the control plane would start a new Envoy.
        self.control_plane = None;
        for pid in orphan.into_iter().chain(self.envoy_pid()) {
            signal(pid, Signal::KILL);
        }
    }
}

/// For what is on this machine.
pub fn client() -> Result<reqwest::Client, InstallationError> {
    reqwest::Client::builder()
        .http1_only()
        .no_proxy()
        // A hanging exchange is a failure that must name itself.
        .timeout(Duration::from_secs(60))
        .build()
        .map_err(InstallationError::Client)
}
