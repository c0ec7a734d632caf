//! Findings and redactions, counted by place and kind.

use crate::inspector::Redacted;
use jupiter_detect::detectors::Kind;
use jupiter_evidence::{FindingCount, RedactionCount};
use std::collections::BTreeMap;

/// Places told apart in one record; a request may have more messages than a record has room.
const MAX_PLACES: usize = 50;
/// Where the rest is counted.
const ELSEWHERE: &str = "request.messages";

#[derive(Debug, Clone, Default)]
pub(super) struct Noted {
    found: BTreeMap<(String, Kind), u64>,
    redacted: BTreeMap<(String, Kind, &'static str), u64>,
}

impl Noted {
    pub fn found(&mut self, place: &str, kind: Kind, count: u64) {
        let mut key = (place.to_owned(), kind);
        if self.found.len() >= MAX_PLACES && !self.found.contains_key(&key) {
            key.0 = ELSEWHERE.to_owned();
        }
        *self.found.entry(key).or_default() += count;
    }

    pub fn redacted(&mut self, redacted: &Redacted, count: u64) {
        let mut key = (redacted.place.clone(), redacted.kind, redacted.method);
        if self.redacted.len() >= MAX_PLACES && !self.redacted.contains_key(&key) {
            key.0 = ELSEWHERE.to_owned();
        }
        *self.redacted.entry(key).or_default() += count;
    }

    pub fn into_counts(self) -> (Vec<FindingCount>, Vec<RedactionCount>) {
        let found = self.found.into_iter();
        let found = found.map(|((place, kind), count)| FindingCount {
            place,
            kind: kind.as_str().to_owned(),
            count,
        });
        let redacted = self.redacted.into_iter();
        let redacted = redacted.map(|((place, kind, method), count)| RedactionCount {
            place,
            kind: kind.as_str().to_owned(),
            method: method.to_owned(),
            count,
        });
        (found.collect(), redacted.collect())
    }
}
