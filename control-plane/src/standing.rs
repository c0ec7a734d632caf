//! Whether this instance asks for traffic.
//!
//! A drain is announced on every channel that a load balancer may watch before
//! anything is refused: `/health` on the traffic port turns 503, the agent
//! (`crate::agent`) says `drain`, answers ask clients to close. Requests that
//! come meanwhile are served like any other. A stop begins with the same
//! announcement (`crate::envoy::supervisor`) and cannot be taken back.

use tokio::sync::watch;

use crate::envoy::admin::{EnvoyAdmin, EnvoyAdminError};
use crate::envoy::supervisor::{EnvoyPhase, EnvoyStatus};

/// What this instance wants to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not ready yet: nothing is asked for, nothing is refused.
    Starting,
    Serving,
    /// Asked to leave rotation; it can be put back.
    Draining,
    /// Draining, and about to end.
    Stopping,
}

impl Standing {
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Starting => "starting",
            Standing::Serving => "serving",
            Standing::Draining => "draining",
            Standing::Stopping => "stopping",
        }
    }

    /// Whether load balancers are told to send nothing new.
    pub fn is_leaving(self) -> bool {
        matches!(self, Standing::Draining | Standing::Stopping)
    }
}

/// Why an instance is not drained, or not put back.
#[derive(Debug, thiserror::Error)]
pub enum StandingError {
    #[error("the instance is stopping")]
    Stopping,
    #[error("the agent says `drain`, but `/health` could not be turned")]
    Drain(#[source] EnvoyAdminError),
    #[error("`/health` could not be turned back")]
    Undrain(#[source] EnvoyAdminError),
}

/// The instance's standing, and the Envoy that has to show it.
#[derive(Debug)]
pub struct Standings {
    now: watch::Sender<Standing>,
    envoy: EnvoyAdmin,
}

impl Standings {
    pub fn new(envoy: EnvoyAdmin) -> Standings {
        Standings {
            now: watch::Sender::new(Standing::Starting),
            envoy,
        }
    }

    pub fn now(&self) -> Standing {
        *self.now.borrow()
    }

    /// Envoy serves. One that was taken over may still be drained; one that
    /// somebody else runs may not be there yet, and starts undrained. Who asked
    /// for a drain meanwhile gets it.
    pub async fn begin(&self) {
        if self.now() != Standing::Starting {
            return;
        }
        if let Err(error) = self.envoy.pass_health().await {
            tracing::debug!(%error, "envoy was not told to pass health checks");
        }
        self.change(Standing::Starting, Standing::Serving);
    }

    /// Leaves rotation. The agent is first: it alone keeps HAProxy from cutting
    /// what is in flight.
    pub async fn drain(&self) -> Result<(), StandingError> {
        if self.now() == Standing::Stopping {
            return Err(StandingError::Stopping);
        }
        let serving = self.change(Standing::Serving, Standing::Draining);
        if serving || self.change(Standing::Starting, Standing::Draining) {
            tracing::info!("draining");
        }
        self.envoy.fail_health().await.map_err(StandingError::Drain)
    }

    /// Back into rotation.
    pub async fn undrain(&self) -> Result<(), StandingError> {
        if self.now() == Standing::Stopping {
            return Err(StandingError::Stopping);
        }
        let passed = self.envoy.pass_health().await;
        passed.map_err(StandingError::Undrain)?;
        if self.change(Standing::Draining, Standing::Serving) {
            tracing::info!("serving again");
        }
        Ok(())
    }

    /// From here on there is no way back.
    pub fn stop(&self) {
        self.now.send_replace(Standing::Stopping);
    }

    /// Exchanges that Envoy has begun and not ended.
    pub async fn in_flight(&self) -> Result<u64, EnvoyAdminError> {
        self.envoy.active_requests().await
    }

    /// A new Envoy knows of no drain.
    pub async fn follow(&self, status: &EnvoyStatus) {
        if status.phase == EnvoyPhase::Running
            && self.now() == Standing::Draining
            && let Err(error) = self.envoy.fail_health().await
        {
            tracing::warn!(%error, "the new envoy was not drained");
        }
    }

    fn change(&self, from: Standing, to: Standing) -> bool {
        self.now.send_if_modified(|now| {
            let changed = *now == from;
            if changed {
                *now = to;
            }
            changed
        })
    }
}
