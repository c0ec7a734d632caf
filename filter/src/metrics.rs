//! The families of metrics that the filter counts in.
//!
//! Whatever the filter counts, it counts in one of these (`host/metrics.rs`); the control
//! plane shows them with their help (`control-plane/src/envoy/stats.rs`), and
//! `docs/reference/metrics.md` lists them.

/// What a family holds, by the numbers of Envoy's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    Counter = 0,
    Gauge = 1,
    Histogram = 2,
}

macro_rules! families {
    ($($family:ident, $kind:ident, $name:literal, $help:literal;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Family {
            $(#[doc = $help] $family,)*
        }

        impl Family {
            pub const ALL: &[Family] = &[$(Family::$family,)*];

            /// As it is scraped, but for the suffix of counters.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Family::$family => concat!("mercator_", $name),)*
                }
            }

            pub const fn kind(self) -> MetricKind {
                match self {
                    $(Family::$family => MetricKind::$kind,)*
                }
            }

            pub const fn help(self) -> &'static str {
                match self {
                    $(Family::$family => $help,)*
                }
            }
        }
    };
}

families! {
    Decisions, Counter, "decisions",
        "Exchanges by verdict: allow, deny, error";
    RuleMatches, Counter, "rule_matches",
        "Rules that matched, by policy, rule, effect and mode (enforce or shadow)";
    Unscanned, Counter, "unscanned",
        "Bodies that were not read in full, by direction and reason";
    Findings, Counter, "findings",
        "What detectors found, by kind";
    Tokens, Counter, "tokens",
        "Tokens by direction and kind: reported by the provider, or estimated where it reported none";
    RequestBytes, Counter, "request_bytes",
        "Bytes of request bodies";
    ResponseBytes, Counter, "response_bytes",
        "Bytes of response bodies";
    InspectionMicroseconds, Histogram, "inspection_duration_microseconds",
        "Time to read a request and decide on it";
    OutboxRecords, Gauge, "evidence_outbox_records",
        "Records that filters hold and no control plane has acknowledged";
    EvidenceDropped, Counter, "evidence_dropped",
        "Records that a full outbox left to the access log";
    EvidenceRefused, Counter, "evidence_refused",
        "Records that the control plane refused";
    FirstStored, Counter, "evidence_first_stored",
        "Requests that waited for their record and went on once it was stored";
    FirstFailed, Counter, "evidence_first_failed",
        "Requests that waited for their record in vain";
    KeyedRequests, Counter, "keyed_requests",
        "Requests with an Idempotency-Key by how they went on: first, again, unprotected, replayed, none";
    KeyedAnswers, Counter, "keyed_answers",
        "Answers to them, where answers are kept, by kind: kept, too_large, no_room, unreadable";
    KeyedAnswersLost, Counter, "keyed_answers_lost",
        "Answers that were to be kept and that no control plane took";
    Bundle, Gauge, "filter_bundle_info",
        "1 for the bundle that filters enforce";
    BundleConfirmed, Gauge, "filter_bundle_confirmed_timestamp_seconds",
        "Unix time at which a control plane last confirmed that bundle, with inspection.max_staleness";
}
