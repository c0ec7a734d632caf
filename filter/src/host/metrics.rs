//! What Envoy's statistics show of the filter.
//!
//! Names only, no labels: nothing of a request can get into a metric. The
//! host shares a metric among all VMs that define it by the same name.

use super::abi::{self, MetricKind};
use jupiter_evidence::DecisionKind;

/// Ids of the metrics of one VM; `None` where the host refused the definition.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    allowed: Option<u32>,
    denied: Option<u32>,
    failed: Option<u32>,
    dropped: Option<u32>,
    refused: Option<u32>,
    outbox: Option<u32>,
    outbox_last: i64,
}

impl Metrics {
    pub(super) fn define() -> Metrics {
        let counter = |name| abi::define_metric(MetricKind::Counter, name).ok();
        Metrics {
            allowed: counter("mercator_decisions_allow_total"),
            denied: counter("mercator_decisions_deny_total"),
            failed: counter("mercator_decisions_error_total"),
            dropped: counter("mercator_evidence_dropped_total"),
            refused: counter("mercator_evidence_refused_total"),
            outbox: abi::define_metric(MetricKind::Gauge, "mercator_evidence_outbox_records").ok(),
            outbox_last: 0,
        }
    }

    pub(super) fn decided(&self, decision: DecisionKind) {
        add(
            match decision {
                DecisionKind::Allow => self.allowed,
                DecisionKind::Deny => self.denied,
                DecisionKind::Error => self.failed,
            },
            1,
        );
    }

    pub(super) fn dropped(&self) {
        add(self.dropped, 1);
    }

    pub(super) fn refused(&self, records: u64) {
        add(self.refused, i64::try_from(records).unwrap_or(i64::MAX));
    }

    /// All VMs share the gauge, so each moves it by what changed in itself.
    pub(super) fn outbox(&mut self, records: usize) {
        let records = i64::try_from(records).unwrap_or(i64::MAX);
        add(self.outbox, records.saturating_sub(self.outbox_last));
        self.outbox_last = records;
    }
}

fn add(metric: Option<u32>, by: i64) {
    if let Some(id) = metric
        && by != 0
    {
        abi::increment_metric(id, by);
    }
}
