//! How this instance is, found out rather than assumed.
//!
//! Each part is probed along the way it is used: the database is read, the
//! evidence store takes a write up to its commit, the policy engine is asked
//! through the real Envoy which bundle it enforces, providers are reached
//! without credential or cost. A probe ends within [`PROBE_TIMEOUT`] and its
//! answer serves for [`FRESH_FOR`], so that nobody can load a part by asking
//! how it is. A provider in trouble degrades the instance, never fails it.

mod probes;

use async_trait::async_trait;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

pub use probes::HealthTargets;

/// The longest that anyone waits for one part.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an answer serves everyone.
pub const FRESH_FOR: Duration = Duration::from_secs(1);

/// Asks one part how it is.
#[async_trait]
pub trait Probe: fmt::Debug + Send + Sync + 'static {
    async fn check(&self) -> Checkup;
}

/// `Err` has a short reason that may be shown to anyone.
pub type Checkup = Result<(), String>;

/// The parts of an instance.
#[derive(Debug, Clone)]
pub struct Probes {
    pub database: Arc<dyn Probe>,
    pub evidence_storage: Arc<dyn Probe>,
    pub policy_engine: Arc<dyn Probe>,
    pub providers: Vec<(String, Arc<dyn Probe>)>,
}

/// Whether the instance does its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Healthy,
    /// It does, but a provider is in trouble.
    Degraded,
    Unhealthy,
}

/// How all parts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthReport {
    pub database: Checkup,
    pub evidence_storage: Checkup,
    pub policy_engine: Checkup,
    pub providers: Vec<(String, Checkup)>,
    pub uptime: Duration,
}

impl HealthReport {
    pub fn status(&self) -> Status {
        let parts = [&self.database, &self.evidence_storage, &self.policy_engine];
        if parts.into_iter().any(Result::is_err) {
            return Status::Unhealthy;
        }
        match self.providers.iter().any(|(_, checkup)| checkup.is_err()) {
            true => Status::Degraded,
            false => Status::Healthy,
        }
    }
}

/// Probes on demand, and remembers for a moment.
#[derive(Debug)]
pub struct Health {
    database: Arc<Remembered>,
    evidence_storage: Arc<Remembered>,
    policy_engine: Arc<Remembered>,
    providers: Vec<(String, Arc<Remembered>)>,
    started: Instant,
}

impl Health {
    pub fn new(probes: Probes) -> Health {
        let providers = probes.providers.into_iter();
        Health {
            database: Remembered::new(probes.database),
            evidence_storage: Remembered::new(probes.evidence_storage),
            policy_engine: Remembered::new(probes.policy_engine),
            providers: providers
                .map(|(name, probe)| (name, Remembered::new(probe)))
                .collect(),
            started: Instant::now(),
        }
    }

    pub async fn database(&self) -> Checkup {
        self.database.check().await
    }

    pub async fn evidence_storage(&self) -> Checkup {
        self.evidence_storage.check().await
    }

    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Asks all parts at once.
    pub async fn report(&self) -> HealthReport {
        let mut asked = JoinSet::new();
        for (index, (_, provider)) in self.providers.iter().enumerate() {
            let provider = Arc::clone(provider);
            asked.spawn(async move { (index, provider.check().await) });
        }
        let (database, evidence_storage, policy_engine) = tokio::join!(
            self.database.check(),
            self.evidence_storage.check(),
            self.policy_engine.check(),
        );
        let unknown = || Err("not known".to_owned());
        let mut providers: Vec<(String, Checkup)> = self
            .providers
            .iter()
            .map(|(name, _)| (name.clone(), unknown()))
            .collect();
        while let Some(answer) = asked.join_next().await {
            if let Ok((index, checkup)) = answer
                && let Some(place) = providers.get_mut(index)
            {
                place.1 = checkup;
            }
        }
        HealthReport {
            database,
            evidence_storage,
            policy_engine,
            providers,
            uptime: self.uptime(),
        }
    }
}

/// A probe whose last answer serves for a while. Whoever asks amid a probe
/// waits for its answer instead of starting another.
#[derive(Debug)]
struct Remembered {
    probe: Arc<dyn Probe>,
    last: Mutex<Option<(Instant, Checkup)>>,
}

impl Remembered {
    fn new(probe: Arc<dyn Probe>) -> Arc<Remembered> {
        Arc::new(Remembered {
            probe,
            last: Mutex::new(None),
        })
    }

    async fn check(self: &Arc<Remembered>) -> Checkup {
        let this = Arc::clone(self);
        // A task of its own: an asker who hangs up must not make the next one
        // begin anew.
        let probing = tokio::spawn(async move { this.check_in_turn().await });
        probing.await.unwrap_or(Err("the probe failed".to_owned()))
    }

    async fn check_in_turn(&self) -> Checkup {
        let mut last = self.last.lock().await;
        if let Some((at, checkup)) = &*last
            && at.elapsed() < FRESH_FOR
        {
            return checkup.clone();
        }
        let checkup = tokio::time::timeout(PROBE_TIMEOUT, self.probe.check())
            .await
            .unwrap_or_else(|_| Err("no answer in time".to_owned()));
        *last = Some((Instant::now(), checkup.clone()));
        checkup
    }
}

#[cfg(test)]
mod tests;
