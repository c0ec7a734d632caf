//! What Envoy's statistics show of the filter.
//!
//! A name carries its labels as `name|label=value`, which the `stats_tags` of
//! Envoy's bootstrap turn into labels. Values are the names of policies and
//! rules, which are kebab-case, and words of ours: nothing of a request can get
//! into a metric. The host shares a metric among all VMs that define it by the
//! same name, so counters and gauges move by what changed in each VM.

use super::abi::{self, MetricKind};
use jupiter_evidence::{EvidenceRecord, IdempotencyRun};
use std::collections::HashMap;

/// Most series of one VM: more rules than that are counted together.
const MAX_SERIES: usize = 4_096;
/// Stands for the policy and the rule of those.
const OTHER: &str = "other";

/// Tokens as the provider reported them, and as they were estimated where it did not.
const INPUT_TOKENS: [&str; 2] = [
    "tokens_total|direction=request|kind=reported",
    "tokens_total|direction=request|kind=estimated",
];
const OUTPUT_TOKENS: [&str; 2] = [
    "tokens_total|direction=response|kind=reported",
    "tokens_total|direction=response|kind=estimated",
];

/// The metrics of one VM, each defined when it first moves.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// Ids by name; `None` where the host refused the definition.
    ids: HashMap<String, Option<u32>>,
    outbox_last: i64,
    bundle_last: Option<String>,
}

impl Metrics {
    /// What the record of a finished exchange counts for.
    pub(super) fn recorded(&mut self, record: &EvidenceRecord) {
        self.count(
            &format!("decisions_total|verdict={}", record.decision.as_str()),
            1,
        );
        let enforced = record.matched_rules.iter().chain(&record.response_rules);
        let enforced = enforced.map(|rule| (rule, "enforce"));
        let shadow = record.shadow_rules.iter().map(|rule| (rule, "shadow"));
        for (rule, mode) in enforced.chain(shadow) {
            let series = |policy: &str, name: &str| {
                format!(
                    "rule_matches_total|policy={policy}|rule={name}|effect={}|mode={mode}",
                    rule.effect
                )
            };
            let name = series(&rule.policy, &rule.rule);
            match self.ids.contains_key(&name) || self.ids.len() < MAX_SERIES {
                true => self.count(&name, 1),
                false => self.count(&series(OTHER, OTHER), 1),
            }
        }
        if record.idempotency_key.is_some() {
            let run = record
                .idempotency_run
                .map_or("none", IdempotencyRun::as_str);
            self.count(&format!("keyed_requests_total|run={run}"), 1);
        }
        if let Some(answer) = record.idempotency_answer {
            let kind = answer.as_str();
            self.count(&format!("keyed_answers_total|kind={kind}"), 1);
        }
        for finding in &record.findings {
            let name = format!("findings_total|kind={}", finding.kind);
            self.count(&name, signed(finding.count));
        }
        for (direction, reason) in [
            ("request", &record.request_unscanned_reason),
            ("response", &record.response_unscanned_reason),
        ] {
            if let Some(reason) = reason {
                self.count(
                    &format!("unscanned_total|direction={direction}|reason={reason}"),
                    1,
                );
            }
        }
        for (tokens, name, [reported, estimated]) in [
            (record.input_tokens, "input_tokens", INPUT_TOKENS),
            (record.output_tokens, "output_tokens", OUTPUT_TOKENS),
        ] {
            let is_estimated = record.usage_estimated.iter().any(|it| it == name);
            let series = if is_estimated { estimated } else { reported };
            if let Some(tokens) = tokens {
                self.count(series, signed(tokens));
            }
        }
        self.count("request_bytes_total", signed(record.request_bytes));
        self.count("response_bytes_total", signed(record.response_bytes));
    }

    /// How long reading and deciding on a request took.
    pub(super) fn inspected(&mut self, microseconds: u64) {
        if let Some(id) = self.id(MetricKind::Histogram, "inspection_duration_microseconds") {
            abi::record_metric(id, microseconds);
        }
    }

    pub(super) fn dropped(&mut self) {
        self.count("evidence_dropped_total", 1);
    }

    /// A request waited for its record.
    pub(super) fn stored_first(&mut self, stored: bool) {
        let name = match stored {
            true => "evidence_first_stored_total",
            false => "evidence_first_failed_total",
        };
        self.count(name, 1);
    }

    pub(super) fn refused(&mut self, records: u64) {
        self.count("evidence_refused_total", signed(records));
    }

    /// Answers that were to be kept and are not.
    pub(super) fn answers_lost(&mut self, answers: u64) {
        if answers > 0 {
            self.count("keyed_answers_lost_total", signed(answers));
        }
    }

    pub(super) fn outbox(&mut self, records: usize) {
        let records = signed(records as u64);
        let change = records.saturating_sub(self.outbox_last);
        if let Some(id) = self.id(MetricKind::Gauge, "evidence_outbox_records") {
            add(id, change);
        }
        self.outbox_last = records;
    }

    /// From now on this bundle decides, by the hex digits of its digest.
    pub(super) fn bundle(&mut self, digest: Option<&str>, confirmed_unix_s: Option<u64>) {
        if let Some(confirmed) = confirmed_unix_s
            && let Some(id) = self.id(
                MetricKind::Gauge,
                "filter_bundle_confirmed_timestamp_seconds",
            )
        {
            abi::record_metric(id, confirmed);
        }
        let digest = digest.map_or("none", |digest| digest.trim_start_matches("sha256:"));
        if self.bundle_last.as_deref() == Some(digest) {
            return;
        }
        for (digest, value) in [(self.bundle_last.take(), 0), (Some(digest.to_owned()), 1)] {
            let name = digest.map(|digest| format!("filter_bundle_info|digest={digest}"));
            if let Some(id) = name.and_then(|name| self.id(MetricKind::Gauge, &name)) {
                abi::record_metric(id, value);
            }
        }
        self.bundle_last = Some(digest.to_owned());
    }

    fn count(&mut self, name: &str, by: i64) {
        if let Some(id) = self.id(MetricKind::Counter, name) {
            add(id, by);
        }
    }

    fn id(&mut self, kind: MetricKind, name: &str) -> Option<u32> {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let id = abi::define_metric(kind, &format!("mercator_{name}")).ok();
        self.ids.insert(name.to_owned(), id);
        id
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn add(metric: u32, by: i64) {
    if by != 0 {
        abi::increment_metric(metric, by);
    }
}
