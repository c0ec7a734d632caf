//! Starts an instance, waits, and stops it in order.
//!
//! Envoy starts last, when everything it reads is written and the admin API
//! takes evidence; it stops first, while evidence is still taken; what came last
//! is sealed before the database is closed. What cannot
//! work (an address in use, a missing filter) is found before anything is
//! started, and said with what to do about it.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::agent;
use crate::api;
use crate::app::{App, SystemClock};
use crate::auth::{self, BootstrapError};
use crate::config::{
    BundleSource, Config, EvidenceBackend, JwtKeys, PolicySource, Secret, Signatures,
};
use crate::cosign::Vouching;
use crate::cosign::ask::Asking;
use crate::envoy::admin::{EnvoyAdmin, EnvoyAdminError};
use crate::envoy::ecds::{self, PluginSettings};
use crate::envoy::ends;
use crate::envoy::files::{create_private_dir, write_private};
use crate::envoy::sds;
use crate::envoy::supervisor::{EnvoyPhase, EnvoyStatus, Supervisor, SupervisorError};
use crate::erasure::{self, Keeping, LedgerError};
use crate::health::HealthTargets;
use crate::idempotency;
use crate::metrics::Metrics;
use crate::publish::{self, PublishError};
use crate::retention::{Retainer, Retaining, RetentionError};
use crate::seal::{KeysError, LogKeys, SealError, Sealer, Sealing};
use crate::source::Follower;
use crate::store::Store;
use crate::store::postgres::{self, PostgresStore};
use crate::store::sqlite::{self, SqliteStore};
use crate::telemetry::Telemetry;
use crate::witness::Witness;

/// How long a stop waits for requests to the admin API.
const SERVERS_STOP_WITHIN: Duration = Duration::from_secs(5);

/// What a caller of [`run`] may want besides.
#[derive(Default)]
pub struct RunOptions {
    on_ready: Option<Box<dyn FnOnce() + Send>>,
    telemetry: Telemetry,
}

impl fmt::Debug for RunOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunOptions")
    }
}

impl RunOptions {
    /// Called once, when the instance serves.
    #[must_use]
    pub fn on_ready(mut self, call: impl FnOnce() + Send + 'static) -> RunOptions {
        self.on_ready = Some(Box::new(call));
        self
    }

    /// What tells others what happens; it ends with the instance.
    #[must_use]
    pub fn telemetry(mut self, telemetry: Telemetry) -> RunOptions {
        self.telemetry = telemetry;
        self
    }
}

/// Why an instance does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("`{}`: {cause}", path.display())]
    File { path: PathBuf, cause: io::Error },
    #[error(
        "`{}` is in use by another instance: stop it, or set another `data_dir`", .0.display()
    )]
    DataDirInUse(PathBuf),
    #[error("{key} `{address}` cannot be used ({cause}): stop what has it, or set another address")]
    Address {
        key: &'static str,
        address: SocketAddr,
        cause: io::Error,
    },
    #[error(
        "the filter `{}` cannot be read ({cause}): set `envoy.filter` to the module that comes with this program",
        path.display()
    )]
    Filter { path: PathBuf, cause: io::Error },
    #[error("the database cannot be used")]
    Sqlite(#[from] sqlite::OpenError),
    #[error("the database cannot be used")]
    Postgres(#[from] postgres::OpenError),
    #[error(transparent)]
    Tokens(#[from] BootstrapError),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("the policies in force cannot be read")]
    Policies(#[from] PublishError),
    #[error("erasures cannot be compared with their ledger")]
    Erasures(#[from] LedgerError),
    #[error("retention cannot be compared with its ledger")]
    Retention(#[from] RetentionError),
    #[error(transparent)]
    Envoy(#[from] SupervisorError),
    #[error("a server ended ({0})")]
    Server(String),
}

impl From<EnvoyAdminError> for RunError {
    fn from(error: EnvoyAdminError) -> RunError {
        RunError::Envoy(error.into())
    }
}

/// Runs an instance until `shutdown`, or until it cannot go on.
pub async fn run(
    config: Config,
    options: RunOptions,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let mut config = absolute(config)?;
    let _lock = lock_data_dir(&config.data_dir)?;
    let (origin, key) = (
        &config.evidence.origin,
        config.evidence.signing_key.as_ref(),
    );
    let keys = LogKeys::load(&config.data_dir, origin, key)?;
    let admin = bind("admin.listen", &mut config.admin.listen).await?;
    let metrics = bind("metrics.listen", &mut config.metrics.listen).await?;
    let agent = match &mut config.agent.listen {
        Some(listen) => Some(bind("agent.listen", listen).await?),
        None => None,
    };
    if config.envoy.manage {
        config.envoy.filter = install_filter(&config)?;
    }
    let config = Arc::new(config);

    let (status_in, status) = watch::channel(EnvoyStatus::unmanaged());
    let envoy = EnvoyAdmin::new(config.envoy.admin)?;
    let mut app = start_app(&config, envoy.clone()).await?;
    app.telemetry = options.telemetry.clone();
    app.telemetry.register(&app.metrics);
    app.cosign = Arc::new(Vouching::load(&config.data_dir, &config.evidence.cosign)?);
    app.ledger.keep_in(&config.data_dir).await;
    // Before anybody can ask: what a restore brought back must not be shown.
    erasure::reconcile(&app).await?;
    let keeping = Keeping::start(app.clone());
    let retainer = Retainer::new(
        app.clone(),
        &config.data_dir,
        &config.instance,
        &config.evidence.origin,
        keys.clone(),
        config.evidence.retention.clone(),
    );
    retainer.reconcile().await?;
    let sealer = Sealer::new(app.clone(), &config.data_dir, &config.evidence.origin, keys)?;
    let asking = Asking::start(app.clone(), &config.evidence.cosigners);
    let sealing = Sealing::start(sealer);
    let retaining = Retaining::start(retainer);
    follow_envoy(&app, status.clone());
    let mut servers = Servers::start(&app, admin, metrics, envoy.clone());
    let keys = config.idempotency.enabled.then(|| {
        let shared = config.evidence.backend != EvidenceBackend::Sqlite;
        let instance = config.instance.clone();
        tokio::spawn(idempotency::look_after(app.clone(), instance, shared))
    });
    if let Some(agent) = agent {
        servers.add_agent(&app, agent, status);
    }
    let ended = serve(
        &app,
        &config,
        envoy,
        status_in,
        options,
        &shutdown,
        &mut servers,
    )
    .await;
    servers.stop().await;
    if let Some(keys) = keys {
        keys.abort();
    }
    retaining.stop().await;
    sealing.stop().await;
    if let Some(asking) = asking {
        asking.stop().await;
    }
    keeping.stop().await;
    app.store.close().await;
    app.telemetry.stop().await;
    ended
}

/// Everything between the servers' start and their stop.
async fn serve(
    app: &App,
    config: &Arc<Config>,
    envoy: EnvoyAdmin,
    status: watch::Sender<EnvoyStatus>,
    options: RunOptions,
    shutdown: &CancellationToken,
    servers: &mut Servers,
) -> Result<(), RunError> {
    let follower = follow_source(app, config).await;
    hand_over_to_envoy(app, config)?;
    // It may rename the log only of an Envoy that is ours to tell.
    let witness = Witness::start(app.clone(), config, config.envoy.manage.then_some(envoy));
    let ends = ends::Delivery::start(app.clone(), config);
    let ended = match start_envoy(config, status, shutdown).await {
        Err(error) => Err(error.into()),
        Ok(envoy) => {
            app.standings.begin().await;
            tracing::info!(
                traffic = %config.envoy.listen,
                admin = %config.admin.listen,
                metrics = %config.metrics.listen,
                "ready"
            );
            if let Some(ready) = options.on_ready
                && !shutdown.is_cancelled()
            {
                ready();
            }
            let ended = tokio::select! {
                () = shutdown.cancelled() => Ok(()),
                error = servers.ended() => Err(error),
            };
            tracing::info!("stopping");
            if let Some(envoy) = envoy {
                app.standings.stop();
                envoy.stop().await;
            }
            ended
        }
    };
    witness.stop().await;
    ends.stop().await;
    follower.stop().await;
    ended
}

/// Policies that come from elsewhere: first what is at hand, so that Envoy does
/// not begin with older ones, then what comes.
async fn follow_source(app: &App, config: &Config) -> Following {
    let stop = CancellationToken::new();
    let task = match Follower::new(app, &config.policy, &config.data_dir) {
        None => None,
        Some(mut follower) => {
            follower.begin().await;
            Some(tokio::spawn(follower.follow(stop.clone())))
        }
    };
    Following { stop, task }
}

/// Looks at the source of policies until it is stopped, or dropped.
struct Following {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Following {
    async fn stop(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            // It only ends early by a panic, which has been told of.
            let _ = task.await;
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn start_app(config: &Config, envoy: EnvoyAdmin) -> Result<App, RunError> {
    let (store, postgres) = open_store(config).await?;
    let clock = Arc::new(SystemClock);
    let started = async {
        let now = jiff::Timestamp::now();
        auth::bootstrap(&*store, &config.data_dir, &config.instance, now).await?;
        let plugin = PluginSettings::new(config);
        let targets = HealthTargets::new(config);
        let source = config.policy.kind();
        let store = Arc::clone(&store);
        Ok(App::start(store, clock, plugin, source, &targets, envoy).await?)
    };
    let app = started.await;
    match (&app, postgres) {
        (Err(_), _) => store.close().await,
        (Ok(app), Some(postgres)) => {
            postgres.register(&app.metrics);
            publish::follow_others(app);
        }
        (Ok(_), None) => {}
    }
    app
}

/// The store, and once more as what it is when others share it.
async fn open_store(
    config: &Config,
) -> Result<(Arc<dyn Store>, Option<Arc<PostgresStore>>), RunError> {
    match &config.evidence.backend {
        crate::config::EvidenceBackend::Sqlite => {
            let path = config.data_dir.join("mercator.db");
            Ok((Arc::new(SqliteStore::open(&path).await?), None))
        }
        crate::config::EvidenceBackend::Postgres(postgres) => {
            let store = PostgresStore::open(postgres.clone(), &config.region, &config.instance);
            let store = Arc::new(store.await?);
            Ok((Arc::clone(&store) as Arc<dyn Store>, Some(store)))
        }
    }
}

/// Writes what Envoy reads, and keeps the bundle in it the one in force.
fn hand_over_to_envoy(app: &App, config: &Arc<Config>) -> Result<(), RunError> {
    let failed = |cause| RunError::File {
        path: config.envoy_dir(),
        cause,
    };
    let token = auth::TokenFiles::in_dir(&config.data_dir).emitter;
    let text = fs::read_to_string(&token).map_err(|cause| RunError::File { path: token, cause })?;
    sds::write_all(config, &Secret::new(text.trim().to_owned())).map_err(failed)?;
    if config.envoy.bundle_source == BundleSource::File {
        let mut bundles = app.bundles.clone();
        let bundle = bundles.borrow_and_update().clone();
        ecds::write(config, bundle.as_deref(), app.clock.now()).map_err(failed)?;
        let clock = Arc::clone(&app.clock);
        tokio::spawn(ecds::keep_written(Arc::clone(config), bundles, clock));
    }
    Ok(())
}

async fn start_envoy(
    config: &Config,
    status: watch::Sender<EnvoyStatus>,
    shutdown: &CancellationToken,
) -> Result<Option<Supervisor>, SupervisorError> {
    if !config.envoy.manage {
        tracing::info!("envoy is not managed; its files are written");
        return Ok(None);
    }
    let supervisor = Supervisor::start(config, status, shutdown).await?;
    forget_old_filters(config);
    Ok(supervisor)
}

/// Paths in Envoy's configuration must hold wherever it is started from.
fn absolute(mut config: Config) -> Result<Config, RunError> {
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(|cause| RunError::File {
            path: path.to_owned(),
            cause,
        })
    };
    if let Some(certificate) = config.evidence.backend.certificate_mut() {
        *certificate = absolute(certificate)?;
    }
    config.data_dir = absolute(&config.data_dir)?;
    if let Some(retention) = &mut config.evidence.retention {
        retention.archive = absolute(&retention.archive)?;
    }
    config.envoy.filter = absolute(&config.envoy.filter)?;
    config.envoy.ca_file = absolute(&config.envoy.ca_file)?;
    if let Some(jwt) = &mut config.subject.jwt
        && let JwtKeys::File(path) = &mut jwt.keys
    {
        *path = absolute(path)?;
    }
    match &mut config.policy {
        PolicySource::Api => {}
        PolicySource::Dir { path } => *path = absolute(path)?,
        PolicySource::Git(git) => {
            if let Signatures::Ssh { allowed_signers } = &mut git.signatures {
                *allowed_signers = absolute(allowed_signers)?;
            }
        }
    }
    Ok(config)
}

/// Two control planes on one folder would fight over its Envoy. The lock goes
/// with the process, however it ends.
fn lock_data_dir(data_dir: &Path) -> Result<File, RunError> {
    let path = data_dir.join("mercator.lock");
    let failed = |cause| RunError::File {
        path: path.clone(),
        cause,
    };
    create_private_dir(data_dir).map_err(failed)?;
    let file = File::create(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(RunError::DataDirInUse(data_dir.to_owned())),
        Err(TryLockError::Error(cause)) => Err(failed(cause)),
    }
}

/// Port 0 becomes the port that was given.
async fn bind(key: &'static str, address: &mut SocketAddr) -> Result<TcpListener, RunError> {
    let wanted = *address;
    let failed = |cause| RunError::Address {
        key,
        address: wanted,
        cause,
    };
    let listener = TcpListener::bind(wanted).await.map_err(failed)?;
    *address = listener.local_addr().map_err(failed)?;
    Ok(listener)
}

/// Copies the module under a name made of its content: what Envoy runs, or
/// loads again after a crash, is not changed by an upgrade in progress, and a
/// new module is a new configuration.
fn install_filter(config: &Config) -> Result<PathBuf, RunError> {
    let path = &config.envoy.filter;
    let failed = |cause| RunError::Filter {
        path: path.clone(),
        cause,
    };
    let module = fs::read(path).map_err(failed)?;
    if !module.starts_with(b"\0asm") {
        return Err(failed(io::Error::other("it is not a wasm module")));
    }
    let digest = Sha256::digest(&module);
    let name: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
    let installed = filters_dir(config).join(format!("{name}.wasm"));
    if fs::read(&installed).is_ok_and(|present| present == module) {
        return Ok(installed);
    }
    write_private(&installed, &module).map_err(|cause| RunError::File {
        path: installed.clone(),
        cause,
    })?;
    Ok(installed)
}

fn filters_dir(config: &Config) -> PathBuf {
    config.envoy_dir().join("filter")
}

/// Once Envoy runs the present module, earlier ones only take up room.
fn forget_old_filters(config: &Config) {
    let Ok(entries) = fs::read_dir(filters_dir(config)) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path != config.envoy.filter
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::warn!(%error, "an old filter cannot be removed");
        }
    }
}

/// Whether the managed Envoy serves, and how often it was started again.
pub(crate) fn register_envoy(metrics: &Metrics) -> (Gauge, Counter) {
    let (up, restarts) = (Gauge::default(), Counter::default());
    metrics.register(|r| {
        r.register("envoy_up", "1 while the managed Envoy serves", up.clone());
        r.register(
            "envoy_restarts",
            "How often the managed Envoy had to be started again",
            restarts.clone(),
        );
    });
    (up, restarts)
}

/// Shows how Envoy is doing in the metrics, and drains a new one of a drained instance.
fn follow_envoy(app: &App, mut status: watch::Receiver<EnvoyStatus>) {
    let (up, restarts) = register_envoy(&app.metrics);
    let standings = Arc::clone(&app.standings);
    tokio::spawn(async move {
        let mut counted = 0;
        while status.changed().await.is_ok() {
            let now = status.borrow_and_update().clone();
            up.set(i64::from(now.phase == EnvoyPhase::Running));
            restarts.inc_by(now.restarts.saturating_sub(counted));
            counted = now.restarts;
            standings.follow(&now).await;
        }
    });
}

/// The admin API and the metrics.
struct Servers {
    stop: CancellationToken,
    tasks: JoinSet<Result<(), String>>,
}

impl Servers {
    fn start(app: &App, admin: TcpListener, metrics: TcpListener, envoy: EnvoyAdmin) -> Servers {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let admin = api::serve(admin, app.clone(), stop.clone());
        tasks.spawn(async {
            admin
                .await
                .map_err(|error| format!("the admin API: {error}"))
        });
        let metrics = api::serve_metrics(metrics, app.clone(), envoy, stop.clone());
        tasks.spawn(async {
            metrics
                .await
                .map_err(|error| format!("the metrics: {error}"))
        });
        Servers { stop, tasks }
    }

    fn add_agent(
        &mut self,
        app: &App,
        listener: TcpListener,
        status: watch::Receiver<EnvoyStatus>,
    ) {
        let agent = agent::serve(listener, app.clone(), status, self.stop.clone());
        self.tasks
            .spawn(async { agent.await.map_err(|error| format!("the agent: {error}")) });
    }

    /// When one ends by itself, which none should.
    async fn ended(&mut self) -> RunError {
        let how = match self.tasks.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => error.to_string(),
            Some(Ok(Ok(()))) | None => "for no reason".to_owned(),
        };
        RunError::Server(how)
    }

    /// Lets requests end, but not for ever.
    async fn stop(mut self) {
        self.stop.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(SERVERS_STOP_WITHIN, all).await.is_err() {
            tracing::warn!("requests to the admin API were cut off");
        }
    }
}

#[cfg(test)]
mod tests;
