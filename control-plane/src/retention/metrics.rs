//! What operators see of retention.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use crate::metrics::Metrics;

#[derive(Debug)]
pub(crate) struct RetentionMetrics {
    pub(super) gone: Counter,
    pub(super) held: Gauge,
    pub(super) looked_at: Gauge,
    pub(super) failures: Counter,
}

impl RetentionMetrics {
    pub(crate) fn register(metrics: &Metrics) -> RetentionMetrics {
        let retention = RetentionMetrics {
            gone: Counter::default(),
            held: Gauge::default(),
            looked_at: Gauge::default(),
            failures: Counter::default(),
        };
        metrics.register(|r| {
            r.register(
                "evidence_let_go_records",
                "Records that were archived and let go since they were old enough",
                retention.gone.clone(),
            );
            r.register(
                "evidence_held_records",
                "Records that are old enough and kept by a legal hold, at the last look",
                retention.held.clone(),
            );
            r.register(
                "evidence_retention_timestamp_seconds",
                "Unix time of the last look at old records that came to its end",
                retention.looked_at.clone(),
            );
            r.register(
                "evidence_retention_failures",
                "Looks at old records that failed and are repeated",
                retention.failures.clone(),
            );
        });
        retention
    }
}
