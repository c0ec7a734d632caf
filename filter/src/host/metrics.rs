//! What Envoy's statistics show of the filter.
//!
//! A name carries its labels as `name|label=value`, which the `stats_tags` of
//! Envoy's bootstrap turn into labels. Values are the names of policies and
//! rules, which are kebab-case, and words of ours: nothing of a request can get
//! into a metric. The host shares a metric among all VMs that define it by the
//! same name, so counters and gauges move by what changed in each VM.

use super::abi;
use crate::metrics::{Family, MetricKind};
use jupiter_evidence::{EvidenceRecord, IdempotencyRun};
use std::collections::HashMap;

/// Most series of one VM: more rules than that are counted together.
const MAX_SERIES: usize = 4_096;
/// Stands for the policy and the rule of those.
const OTHER: &str = "other";

/// A label and its value.
type Label<'a> = (&'static str, &'a str);

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
        let verdict = [("verdict", record.decision.as_str())];
        self.count(Family::Decisions, &verdict, 1);
        let enforced = record.matched_rules.iter().chain(&record.response_rules);
        let enforced = enforced.map(|rule| (rule, "enforce"));
        let shadow = record.shadow_rules.iter().map(|rule| (rule, "shadow"));
        for (rule, mode) in enforced.chain(shadow) {
            let of = |policy, name| {
                let effect = rule.effect.as_str();
                let mode = ("mode", mode);
                [("policy", policy), ("rule", name), ("effect", effect), mode]
            };
            let mut labels = of(rule.policy.as_str(), rule.rule.as_str());
            let is_known = self.ids.contains_key(&series(Family::RuleMatches, &labels));
            if !is_known && self.ids.len() >= MAX_SERIES {
                labels = of(OTHER, OTHER);
            }
            self.count(Family::RuleMatches, &labels, 1);
        }
        if record.idempotency_key.is_some() {
            let run = record
                .idempotency_run
                .map_or("none", IdempotencyRun::as_str);
            self.count(Family::KeyedRequests, &[("run", run)], 1);
        }
        if let Some(answer) = record.idempotency_answer {
            let kind = [("kind", answer.as_str())];
            self.count(Family::KeyedAnswers, &kind, 1);
        }
        for finding in &record.findings {
            let kind = [("kind", finding.kind.as_str())];
            self.count(Family::Findings, &kind, signed(finding.count));
        }
        for (direction, reason) in [
            ("request", &record.request_unscanned_reason),
            ("response", &record.response_unscanned_reason),
        ] {
            if let Some(reason) = reason {
                let labels = [("direction", direction), ("reason", reason.as_str())];
                self.count(Family::Unscanned, &labels, 1);
            }
        }
        for (tokens, name, direction) in [
            (record.input_tokens, "input_tokens", "request"),
            (record.output_tokens, "output_tokens", "response"),
        ] {
            let is_estimated = record.usage_estimated.iter().any(|it| it == name);
            let kind = if is_estimated {
                "estimated"
            } else {
                "reported"
            };
            if let Some(tokens) = tokens {
                let labels = [("direction", direction), ("kind", kind)];
                self.count(Family::Tokens, &labels, signed(tokens));
            }
        }
        self.count(Family::RequestBytes, &[], signed(record.request_bytes));
        self.count(Family::ResponseBytes, &[], signed(record.response_bytes));
    }

    /// How long reading and deciding on a request took.
    pub(super) fn inspected(&mut self, microseconds: u64) {
        if let Some(id) = self.id(Family::InspectionMicroseconds, &[]) {
            abi::record_metric(id, microseconds);
        }
    }

    pub(super) fn dropped(&mut self) {
        self.count(Family::EvidenceDropped, &[], 1);
    }

    /// A request waited for its record.
    pub(super) fn stored_first(&mut self, stored: bool) {
        let family = match stored {
            true => Family::FirstStored,
            false => Family::FirstFailed,
        };
        self.count(family, &[], 1);
    }

    pub(super) fn refused(&mut self, records: u64) {
        self.count(Family::EvidenceRefused, &[], signed(records));
    }

    /// Answers that were to be kept and are not.
    pub(super) fn answers_lost(&mut self, answers: u64) {
        if answers > 0 {
            self.count(Family::KeyedAnswersLost, &[], signed(answers));
        }
    }

    pub(super) fn outbox(&mut self, records: usize) {
        let records = signed(records as u64);
        let change = records.saturating_sub(self.outbox_last);
        if let Some(id) = self.id(Family::OutboxRecords, &[]) {
            add(id, change);
        }
        self.outbox_last = records;
    }

    /// From now on this bundle decides, by the hex digits of its digest.
    pub(super) fn bundle(&mut self, digest: Option<&str>, confirmed_unix_s: Option<u64>) {
        if let Some(confirmed) = confirmed_unix_s
            && let Some(id) = self.id(Family::BundleConfirmed, &[])
        {
            abi::record_metric(id, confirmed);
        }
        let digest = digest.map_or("none", |digest| digest.trim_start_matches("sha256:"));
        if self.bundle_last.as_deref() == Some(digest) {
            return;
        }
        for (digest, value) in [(self.bundle_last.take(), 0), (Some(digest.to_owned()), 1)] {
            let id = digest.and_then(|digest| self.id(Family::Bundle, &[("digest", &digest)]));
            if let Some(id) = id {
                abi::record_metric(id, value);
            }
        }
        self.bundle_last = Some(digest.to_owned());
    }

    fn count(&mut self, family: Family, labels: &[Label<'_>], by: i64) {
        if let Some(id) = self.id(family, labels) {
            add(id, by);
        }
    }

    fn id(&mut self, family: Family, labels: &[Label<'_>]) -> Option<u32> {
        let name = series(family, labels);
        if let Some(id) = self.ids.get(&name) {
            return *id;
        }
        let id = abi::define_metric(family.kind(), &name).ok();
        self.ids.insert(name, id);
        id
    }
}

/// The name that Envoy knows it by.
fn series(family: Family, labels: &[Label<'_>]) -> String {
    let mut name = family.name().to_owned();
    if family.kind() == MetricKind::Counter {
        name.push_str("_total");
    }
    for &(label, value) in labels {
        name.extend(["|", label, "=", value]);
    }
    name
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn add(metric: u32, by: i64) {
    if by != 0 {
        abi::increment_metric(metric, by);
    }
}
