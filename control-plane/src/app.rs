//! Everything a running control plane consists of, put together in one place.
//!
//! Handlers, the witness and the writer of Envoy's files all hold an [`App`];
//! cloning it is cheap. Time comes from [`Clock`], so that tests decide what
//! time it is.

use jiff::Timestamp;
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

use crate::cosign::Vouching;
use crate::envoy::admin::EnvoyAdmin;
use crate::envoy::ecds::PluginSettings;
use crate::erasure::Ledger;
use crate::health::{Health, HealthTargets, PROBE_TIMEOUT};
use crate::idempotency::{self, Heard};
use crate::ingest::Intake;
use crate::metrics::Metrics;
use crate::publish::{self, PublishError, PublishedBundle, Publisher};
use crate::seal::LogView;
use crate::source::{SourceKind, SourceState};
use crate::standing::Standings;
use crate::store::Store;
use crate::telemetry::Telemetry;

/// What time it is.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A running control plane.
#[derive(Debug, Clone)]
pub struct App {
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
    /// The bundle in force; `None` while there is no policy.
    pub bundles: watch::Receiver<Option<Arc<PublishedBundle>>>,
    pub publisher: Arc<Publisher>,
    /// Where policies come from, and how the last look there went.
    pub source: Arc<SourceState>,
    pub intake: Arc<Intake>,
    /// The same for answers that are kept.
    pub answers: Arc<Intake>,
    /// Which subjects were erased, outside the database.
    pub ledger: Arc<Ledger>,
    /// The log as it may be told to anyone.
    pub log: Arc<LogView>,
    /// Which logs of others are vouched for.
    pub cosign: Arc<Vouching>,
    pub health: Arc<Health>,
    /// Which instances live.
    pub heard: Arc<Heard>,
    /// Whether this instance asks for traffic.
    pub standings: Arc<Standings>,
    /// Who else is told what happens.
    pub telemetry: Telemetry,
    /// What filters are told besides their bundle.
    pub plugin: Arc<PluginSettings>,
}

impl App {
    /// Puts the parts together and announces the bundle that the store has in force.
    pub async fn start(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        plugin: PluginSettings,
        source: SourceKind,
        targets: &HealthTargets,
        envoy: EnvoyAdmin,
    ) -> Result<App, PublishError> {
        let publisher = Arc::new(Publisher::default());
        let bundles = publisher.subscribe();
        let intake = Arc::new(Intake::default());
        let probes = targets.probes(&store, &intake, &bundles, &clock, &envoy);
        let metrics = Arc::new(Metrics::new());
        let app = App {
            store,
            clock,
            source: Arc::new(SourceState::new(source, &metrics)),
            metrics,
            bundles,
            publisher,
            intake,
            answers: Arc::new(Intake::with_room_for(idempotency::QUEUE_BYTES)),
            ledger: Arc::default(),
            log: Arc::default(),
            cosign: Arc::default(),
            health: Arc::new(Health::new(probes)),
            heard: Arc::default(),
            standings: Arc::new(Standings::new(envoy)),
            telemetry: Telemetry::default(),
            plugin: Arc::new(plugin),
        };
        publish::restore(&app).await?;
        Ok(app)
    }

    /// Brings those gauges up to date that nobody sets as things happen. What
    /// cannot be found out keeps its last value; `mercator_db_up` tells why.
    pub async fn measure(&self) {
        let database = self.health.database().await;
        self.metrics.db_up.set(i64::from(database.is_ok()));
        if database.is_err() {
            return;
        }
        let totals = tokio::time::timeout(PROBE_TIMEOUT, self.store.evidence_totals()).await;
        if let Ok(Ok(totals)) = totals {
            self.metrics.emitter_epochs.set(totals.epochs as i64);
            self.metrics.emitter_missing.set(totals.missing as i64);
        }
    }
}
