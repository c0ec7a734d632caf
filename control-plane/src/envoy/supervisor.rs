//! Keeps one Envoy running with the configuration it should have.
//!
//! Envoy outlives a control plane that is killed: traffic goes on under the
//! last bundle. The next control plane takes that Envoy over when it runs as it
//! should, and replaces it when it does not. While `start` has not returned an
//! error there is one Envoy, or one is about to be; after [`Supervisor::stop`]
//! there is none. A stop loses no exchange that ends within the drain timeout,
//! and no evidence that the control plane takes meanwhile.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::admin::{EnvoyAdmin, EnvoyAdminError};
use super::binary::{self, BinaryError};
use super::ends::Notes;
use super::files::{create_private_dir, write_private};
use super::process::{Launch, Process};
use super::{bootstrap, yaml};
use crate::config::Config;

/// Compiling the filter takes seconds where processors are scarce.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// The filter's outbox leaves every 100 ms: two ticks and the way.
const OUTBOX_WITHIN: Duration = Duration::from_millis(300);

/// After SIGTERM Envoy has nothing more to wait for.
const TERMINATE_WITHIN: Duration = Duration::from_secs(5);

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Idempotency keys count on it ([`crate::idempotency`]).
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// One that ran this long was sound: the next failure starts over.
const SOUND_AFTER: Duration = Duration::from_secs(30);

/// The log is renamed beyond this, and one earlier piece kept.
const LOG_LIMIT_BYTES: u64 = 64 * 1_048_576;
const LOG_LOOK_EVERY: Duration = Duration::from_secs(60);

/// How Envoy is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvoyStatus {
    pub phase: EnvoyPhase,
    /// While there is a process.
    pub pid: Option<u32>,
    /// How often it had to be started again.
    pub restarts: u64,
    /// When this phase began.
    pub since: Timestamp,
}

impl EnvoyStatus {
    /// Before anything is known.
    pub fn unmanaged() -> EnvoyStatus {
        EnvoyStatus {
            phase: EnvoyPhase::Unmanaged,
            pid: None,
            restarts: 0,
            since: Timestamp::now(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvoyPhase {
    /// Somebody else runs Envoy.
    Unmanaged,
    /// There is a process, and it has not been ready yet.
    Starting,
    Running,
    /// It died; the next one is about to be started.
    Down,
    /// Finishing what is in flight.
    Draining,
    Stopped,
}

/// Why Envoy does not run.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    #[error(transparent)]
    Binary(#[from] BinaryError),
    #[error("{key} `{address}` cannot be used ({cause}): stop what has it, or set another address")]
    Address {
        key: &'static str,
        address: SocketAddr,
        cause: io::Error,
    },
    #[error("`{}`: {cause}", path.display())]
    File { path: PathBuf, cause: io::Error },
    #[error("envoy cannot be started: {0}")]
    Spawn(#[source] io::Error),
    #[error("envoy ended before it was ready ({how}); the end of `{}`:\n{excerpt}", log.display())]
    EndedAtStart {
        how: String,
        log: PathBuf,
        excerpt: String,
    },
    #[error("envoy is not ready after {READY_WITHIN:?}; `{}` may say why", log.display())]
    NotReady { log: PathBuf },
    #[error(transparent)]
    Admin(#[from] EnvoyAdminError),
}

/// The task that keeps Envoy running.
#[derive(Debug)]
pub struct Supervisor {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Supervisor {
    /// Starts Envoy, or takes over the one that runs already, and waits until
    /// it is ready. Everything Envoy reads must be written before. How Envoy is
    /// doing is told to `status`. `None` when `shutdown` came first; then there
    /// is no Envoy.
    pub async fn start(
        config: &Config,
        status: watch::Sender<EnvoyStatus>,
        shutdown: &CancellationToken,
    ) -> Result<Option<Supervisor>, SupervisorError> {
        let (binary, version) = binary::find(&config.envoy.binary).await?;
        let runner = Runner::new(config, binary, status)?;
        let Some(process) = runner.first(config, shutdown).await? else {
            return Ok(None);
        };
        tracing::info!(pid = process.pid(), %version, "envoy is ready");
        let stop = runner.stop.clone();
        let task = tokio::spawn(runner.keep_running(process));
        Ok(Some(Supervisor { stop, task }))
    }

    /// Lets Envoy finish what it has begun, within the drain timeout, and ends it.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the supervisor of envoy failed");
        }
    }
}

struct Runner {
    launch: Launch,
    config_file: PathBuf,
    notes: Notes,
    admin: EnvoyAdmin,
    drain_delay: Duration,
    drain_timeout: Duration,
    status: watch::Sender<EnvoyStatus>,
    stop: CancellationToken,
}

impl Runner {
    fn new(
        config: &Config,
        binary: PathBuf,
        status: watch::Sender<EnvoyStatus>,
    ) -> Result<Runner, SupervisorError> {
        let folder = absolute(&config.envoy_dir())?;
        create_private_dir(&folder).map_err(|cause| SupervisorError::File {
            path: folder.clone(),
            cause,
        })?;
        let config_file = folder.join("envoy.yaml");
        let log = folder.join("envoy.log");
        let pid_file = folder.join("envoy.pid");
        Ok(Runner {
            notes: Notes::new(&folder, &pid_file, config),
            launch: Launch {
                binary,
                arguments: arguments(&config_file, &log, config.envoy.concurrency),
                pid_file,
                log,
            },
            config_file,
            admin: EnvoyAdmin::new(config.envoy.admin)?,
            drain_delay: config.envoy.drain_delay,
            drain_timeout: config.envoy.drain_timeout,
            status,
            stop: CancellationToken::new(),
        })
    }

    /// The Envoy to begin with, ready.
    async fn first(
        &self,
        config: &Config,
        shutdown: &CancellationToken,
    ) -> Result<Option<Process>, SupervisorError> {
        let wanted = yaml::print(&bootstrap::bootstrap(config));
        let written = fs::read_to_string(&self.config_file).unwrap_or_default();
        if let Some((mut orphan, same)) = self.launch.orphan(&self.config_file) {
            if same && written == wanted && self.admin.is_ready().await {
                tracing::info!(pid = orphan.pid(), "took over a running envoy");
                self.report(EnvoyPhase::Running, Some(orphan.pid()));
                return Ok(Some(orphan));
            }
            tracing::warn!(
                pid = orphan.pid(),
                "replacing an envoy left with another configuration"
            );
            terminate(&mut orphan).await;
            self.notes.add("replaced with what it had in flight");
        } else if self.launch.pid_file.exists() {
            // Whoever stops an Envoy in order removes the file.
            self.notes.add("found gone at the start");
        }
        // An Envoy shares its traffic port with others of its kind without a
        // word, and each gets a part of the connections: look before it starts.
        check_free("envoy.listen", config.envoy.listen)?;
        check_free("envoy.admin", config.envoy.admin)?;
        // INVARIANT: the file says what the running Envoy was started with, so
        // it changes only while none of ours runs.
        write_private(&self.config_file, wanted.as_bytes()).map_err(|cause| {
            SupervisorError::File {
                path: self.config_file.clone(),
                cause,
            }
        })?;
        let log_begins = fs::metadata(&self.launch.log).map_or(0, |metadata| metadata.len());
        let mut process = self.launch.spawn().map_err(SupervisorError::Spawn)?;
        self.report(EnvoyPhase::Starting, Some(process.pid()));
        match self.until_ready(&mut process, shutdown).await {
            Ready::Yes => {
                self.report(EnvoyPhase::Running, Some(process.pid()));
                Ok(Some(process))
            }
            Ready::NotWanted => {
                terminate(&mut process).await;
                self.report(EnvoyPhase::Stopped, None);
                Ok(None)
            }
            Ready::Ended(how) => Err(SupervisorError::EndedAtStart {
                how,
                excerpt: excerpt(&self.launch.log, log_begins),
                log: self.launch.log.clone(),
            }),
            Ready::NotInTime => {
                terminate(&mut process).await;
                Err(SupervisorError::NotReady {
                    log: self.launch.log.clone(),
                })
            }
        }
    }

    async fn until_ready(&self, process: &mut Process, shutdown: &CancellationToken) -> Ready {
        let ready = async {
            while !self.admin.is_ready().await {
                sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            how = process.ended() => Ready::Ended(how),
            () = shutdown.cancelled() => Ready::NotWanted,
            within = timeout(READY_WITHIN, ready) => match within {
                Ok(()) => Ready::Yes,
                Err(_) => Ready::NotInTime,
            },
        }
    }

    async fn keep_running(self, mut process: Process) {
        let mut backoff = FIRST_BACKOFF;
        loop {
            let began = Instant::now();
            let how = tokio::select! {
                () = self.stop.cancelled() => break,
                how = self.follow(&mut process) => how,
            };
            self.report(EnvoyPhase::Down, None);
            self.notes.add(&how);
            if began.elapsed() >= SOUND_AFTER {
                backoff = FIRST_BACKOFF;
            }
            tracing::error!(how, "envoy ended, starting it again in {backoff:?}");
            process = tokio::select! {
                () = self.stop.cancelled() => return self.report(EnvoyPhase::Stopped, None),
                process = self.again(&mut backoff) => process,
            };
        }
        let drained = self.drain(&mut process).await;
        terminate(&mut process).await;
        if !drained {
            self.notes.add("stopped with exchanges in flight");
        }
        // Its absence says that nothing is left running; a leftover is harmless.
        let _ = fs::remove_file(&self.launch.pid_file);
        self.report(EnvoyPhase::Stopped, None);
    }

    /// Until the process ends: notes that it is ready, and keeps its log in bounds.
    async fn follow(&self, process: &mut Process) -> String {
        let pid = process.pid();
        let look_after = async {
            while !self.admin.is_ready().await {
                sleep(LOOK_EVERY).await;
            }
            self.report(EnvoyPhase::Running, Some(pid));
            loop {
                sleep(LOG_LOOK_EVERY).await;
                self.bound_log().await;
            }
        };
        tokio::select! {
            how = process.ended() => how,
            never = look_after => never,
        }
    }

    async fn again(&self, backoff: &mut Duration) -> Process {
        loop {
            sleep(*backoff).await;
            *backoff = (*backoff * 2).min(LONGEST_BACKOFF);
            match self.launch.spawn() {
                Ok(process) => {
                    self.status.send_modify(|status| status.restarts += 1);
                    self.report(EnvoyPhase::Starting, Some(process.pid()));
                    return process;
                }
                Err(error) => {
                    tracing::error!(%error, "envoy cannot be started, trying again in {backoff:?}");
                }
            }
        }
    }

    /// Turns away new clients, waits for exchanges in flight and then for
    /// their evidence to leave. Envoy itself waits for neither. False when some
    /// were, or may have been, left.
    async fn drain(&self, process: &mut Process) -> bool {
        self.report(EnvoyPhase::Draining, Some(process.pid()));
        let drained = async {
            let asked = async {
                self.admin.fail_health().await?;
                // Load balancers find out before connections are refused.
                sleep(self.drain_delay).await;
                self.admin.stop_listening().await
            };
            if let Err(error) = asked.await {
                tracing::warn!(%error, "envoy cannot be drained");
                return false;
            }
            let idle = timeout(self.drain_timeout, self.until_idle()).await.is_ok();
            if !idle {
                tracing::warn!("exchanges were still in flight when envoy was stopped");
            }
            sleep(OUTBOX_WITHIN).await;
            idle
        };
        tokio::select! {
            how = process.ended() => {
                tracing::warn!(how, "envoy ended while draining");
                false
            }
            idle = drained => idle,
        }
    }

    async fn until_idle(&self) {
        loop {
            match self.admin.active_requests().await {
                Ok(0) => return,
                Ok(_) => sleep(LOOK_EVERY).await,
                Err(error) => {
                    tracing::warn!(%error, "exchanges in flight cannot be counted");
                    sleep(LOOK_EVERY).await;
                }
            }
        }
    }

    async fn bound_log(&self) {
        let log = &self.launch.log;
        if fs::metadata(log).is_ok_and(|metadata| metadata.len() > LOG_LIMIT_BYTES) {
            let renamed = fs::rename(log, log.with_extension("log.1"));
            let reopened = self.admin.reopen_logs().await;
            if renamed.is_err() || reopened.is_err() {
                tracing::warn!("envoy's log is long and cannot be renamed");
            }
        }
    }

    fn report(&self, phase: EnvoyPhase, pid: Option<u32>) {
        self.status.send_if_modified(|status| {
            let changed = status.phase != phase || status.pid != pid;
            if changed {
                status.phase = phase;
                status.pid = pid;
                status.since = Timestamp::now();
            }
            changed
        });
    }
}

enum Ready {
    Yes,
    Ended(String),
    NotInTime,
    NotWanted,
}

fn arguments(config_file: &Path, log: &Path, concurrency: u32) -> Vec<OsString> {
    vec![
        "--config-path".into(),
        config_file.into(),
        "--log-path".into(),
        log.into(),
        "--log-level".into(),
        "info".into(),
        "--concurrency".into(),
        concurrency.to_string().into(),
        // Hot restart needs a number that no other Envoy on the machine has, and we never use it.
        "--disable-hot-restart".into(),
        // The witness is worth what is in the file when Envoy is killed: every
        // line at once costs no more processor time than 64 KiB at a time.
        "--file-flush-min-size-kb".into(),
        "0".into(),
        "--file-flush-interval-msec".into(),
        "100".into(),
    ]
}

/// SIGTERM, and after a while SIGKILL.
async fn terminate(process: &mut Process) {
    process.signal(Signal::TERM);
    if timeout(TERMINATE_WITHIN, process.ended()).await.is_err() {
        tracing::warn!(pid = process.pid(), "envoy does not stop, killing it");
        process.signal(Signal::KILL);
        process.ended().await;
    }
}

fn check_free(key: &'static str, address: SocketAddr) -> Result<(), SupervisorError> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(cause) => Err(SupervisorError::Address {
            key,
            address,
            cause,
        }),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, SupervisorError> {
    std::path::absolute(path).map_err(|cause| SupervisorError::File {
        path: path.to_owned(),
        cause,
    })
}

/// The last things Envoy said that sound like a reason.
fn excerpt(log: &Path, from: u64) -> String {
    const LINES: usize = 8;
    let bytes = fs::read(log).unwrap_or_default();
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let text = String::from_utf8_lossy(bytes.get(from..).unwrap_or(&bytes)).into_owned();
    let telling = |line: &&str| ["[error]", "[critical]"].iter().any(|l| line.contains(l));
    let mut lines: Vec<&str> = text.lines().filter(telling).collect();
    if lines.is_empty() {
        lines = text.lines().collect();
    }
    let skipped = lines.len().saturating_sub(LINES);
    lines.get(skipped..).unwrap_or_default().join("\n")
}
