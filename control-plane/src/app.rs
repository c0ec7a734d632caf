//! Everything a running control plane consists of, put together in one place.
//!
//! Handlers, the witness and the writer of Envoy's files all hold an [`App`];
//! cloning it is cheap. Time comes from [`Clock`], so that tests decide what
//! time it is.

use jiff::Timestamp;
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

use crate::envoy::ecds::PluginSettings;
use crate::ingest::Intake;
use crate::metrics::Metrics;
use crate::publish::{self, PublishError, PublishedBundle, Publisher};
use crate::store::Store;

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
    pub intake: Arc<Intake>,
    /// What filters are told besides their bundle.
    pub plugin: Arc<PluginSettings>,
}

impl App {
    /// Puts the parts together and announces the bundle that the store has in force.
    pub async fn start(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        plugin: PluginSettings,
    ) -> Result<App, PublishError> {
        let publisher = Arc::new(Publisher::default());
        let app = App {
            store,
            clock,
            metrics: Arc::new(Metrics::new()),
            bundles: publisher.subscribe(),
            publisher,
            intake: Arc::new(Intake::default()),
            plugin: Arc::new(plugin),
        };
        publish::restore(&app).await?;
        Ok(app)
    }
}
