//! What the metrics show of the servers and the connections to them.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::pool::Connections;
use crate::metrics::Metrics;
use crate::store::ServerRole;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HostLabels {
    host: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionLabels {
    /// `primary`, or a replica's host.
    pool: String,
    /// `in_use`, `idle` or `max`.
    state: &'static str,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Instruments {
    primary: Family<HostLabels, Gauge>,
    reachable: Family<HostLabels, Gauge>,
    lag: Family<HostLabels, Gauge<f64, AtomicU64>>,
    connections: Family<ConnectionLabels, Gauge>,
    pub(super) failovers: Counter,
    pub(super) replica_reads: Counter,
    pub(super) replica_fallbacks: Counter,
}

impl Instruments {
    pub(super) fn register(&self, metrics: &Metrics) {
        metrics.register(|r| {
            r.register(
                "db_primary",
                "1 for the server that takes writes",
                self.primary.clone(),
            );
            r.register(
                "db_reachable",
                "1 for a server that answers",
                self.reachable.clone(),
            );
            r.register(
                "db_replica_lag_seconds",
                "How old what a standby shows may be; absent when unknown",
                self.lag.clone(),
            );
            r.register(
                "db_connections",
                "Connections by pool and state; `max` is the bound of `in_use` and `idle` together",
                self.connections.clone(),
            );
            r.register(
                "db_failovers",
                "How often another server became the primary",
                self.failovers.clone(),
            );
            r.register(
                "db_replica_reads",
                "Queries that a replica answered",
                self.replica_reads.clone(),
            );
            r.register(
                "db_replica_fallbacks",
                "Queries that went to the primary although replicas are configured",
                self.replica_fallbacks.clone(),
            );
        });
    }

    pub(super) fn server(&self, host: &str, role: ServerRole, lag: Option<Duration>) {
        let labels = HostLabels {
            host: host.to_owned(),
        };
        let set = |family: &Family<HostLabels, Gauge>, value: bool| {
            family.get_or_create(&labels).set(i64::from(value));
        };
        set(&self.primary, role == ServerRole::Primary);
        set(&self.reachable, role != ServerRole::Away);
        match lag {
            Some(lag) => {
                self.lag.get_or_create(&labels).set(lag.as_secs_f64());
            }
            None => {
                self.lag.remove(&labels);
            }
        }
    }

    pub(super) fn pool(&self, pool: &str, connections: Connections) {
        for (state, number) in [
            ("in_use", connections.in_use),
            ("idle", connections.idle),
            ("max", connections.max),
        ] {
            let labels = ConnectionLabels {
                pool: pool.to_owned(),
                state,
            };
            self.connections.get_or_create(&labels).set(number as i64);
        }
    }
}
