//! The record of one exchange.
//!
//! Integers and strings only, so that its canonical form is the same
//! everywhere. INVARIANT: fields stand in the order of their keys, which is the
//! order of the canonical form; so writing a record down is all that takes. Where
//! OpenTelemetry has a name, the key is that name; the GenAI conventions still move, so
//! [`RECORD_VERSION`] freezes ours.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Greatest whole number that every reader of JSON reads as it is: 2⁵³ − 1.
pub const MAX_INTEGER: u64 = 9_007_199_254_740_991;

/// Written as `v`; a change of meaning or name raises it.
pub const RECORD_VERSION: u32 = 1;

/// What was decided in one exchange, on what grounds, and how it ended.
///
/// Holds no prompt, no answer and no credential: bodies appear as salted
/// digests, and so does the [subject](Self::subject_digest).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceRecord {
    /// Kinds of action that matched rules asked for and that were not carried
    /// out, as `policy/rule: kind`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions_not_applied: Vec<String>,
    /// What the request's messages carry or refer to that is no text: told, not scanned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<AttachmentCount>,
    /// Fields that rules set, as policies name them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed_fields: Vec<String>,
    /// What the reported tokens cost by the prices that the filter knows, in 10⁻⁹ of the
    /// currency; absent when the model has no price or the provider reported no usage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_nano: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Names of the fields that made the matched rules hold; never their text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deciding_facts: Vec<String>,
    pub decision: DecisionKind,
    /// The same of what the client got, where that is not what the provider sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_response_digest: Option<String>,
    pub duration_us: u64,
    pub emitter: Emitter,
    /// What detectors found, where rules asked for it; never the text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingCount>,
    /// The same of what the provider got, where that is not what the client sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded_request_digest: Option<String>,
    #[serde(
        rename = "gen_ai.operation.name",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub operation: Option<String>,
    #[serde(
        rename = "gen_ai.provider.name",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub provider: Option<String>,
    #[serde(
        rename = "gen_ai.request.model",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub request_model: Option<String>,
    #[serde(
        rename = "gen_ai.response.finish_reasons",
        default,
        skip_serializing_if = "Vec::is_empty"
    )]
    pub finish_reasons: Vec<String>,
    #[serde(
        rename = "gen_ai.response.id",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub response_id: Option<String>,
    #[serde(
        rename = "gen_ai.response.model",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub response_model: Option<String>,
    #[serde(
        rename = "gen_ai.usage.input_tokens",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub input_tokens: Option<u64>,
    #[serde(
        rename = "gen_ai.usage.output_tokens",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub output_tokens: Option<u64>,
    #[serde(rename = "http.request.method")]
    pub method: String,
    /// Absent when no answer left for the client.
    #[serde(
        rename = "http.response.status_code",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub status_code: Option<u16>,
    /// UUIDv7; also the decision id that the client sees.
    pub id: Uuid,
    /// Of a request with a key that was answered: what became of keeping the answer, where
    /// that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_answer: Option<IdempotencyAnswer>,
    /// The exchange that had the key before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_earlier: Option<Uuid>,
    /// Digest of the request's `Idempotency-Key` and its subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// How a request with a key went on; absent when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_run: Option<IdempotencyRun>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matched_rules: Vec<MatchedRule>,
    pub outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyInForce>,
    /// Stable code of a denial or a failure: the rule's code, or ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was taken out on the way; never the text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redactions: Vec<RedactionCount>,
    pub region: String,
    pub request_bytes: u64,
    /// SHA-256 over salt and body; the salt travels beside the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_digest: Option<String>,
    /// The client's own id of its request (`x-request-id`), as Envoy keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Whether the request was read in full before it was decided upon.
    pub request_inspection: InspectionStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_unscanned_reason: Option<String>,
    pub response_bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_digest: Option<String>,
    /// Whether the response was read in full; `none` when there was no body.
    pub response_inspection: InspectionStatus,
    /// Rules on the answer that matched, in the order of evaluation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response_rules: Vec<MatchedRule>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_unscanned_reason: Option<String>,
    /// Rules in shadow mode that would have acted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadow_rules: Vec<MatchedRule>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
    /// Of a request whose record policies wanted stored before it left: whether it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_first: Option<bool>,
    /// Whether the client asked for, or got, a stream.
    pub stream: bool,
    /// SHA-256 over salt and who asked ([`subject_digest`](crate::subject_digest)); absent
    /// when unknown. Who it was travels beside the record and can be erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_digest: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// When the request arrived, RFC 3339 in UTC with microseconds.
    pub time: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Whether the client keeps its trace (the `sampled` flag of `traceparent`); absent
    /// without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_sampled: Option<bool>,
    /// Path without the query.
    #[serde(rename = "url.path")]
    pub path: String,
    /// Which token counts are the filter's own, since the provider reported none:
    /// `input_tokens`, `output_tokens`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usage_estimated: Vec<String>,
    pub v: u32,
}

/// Attachments of one kind and media type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachmentCount {
    /// Decoded, of all of them that the request carries.
    pub bytes: u64,
    pub count: u64,
    /// `image`, `audio`, `video`, `file` or `other`.
    pub kind: String,
    /// As the request says it; absent for what it only refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
}

/// How often a kind was found in a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FindingCount {
    pub count: u64,
    pub kind: String,
    /// The text, as policies name it.
    pub place: String,
}

/// How often a kind was taken out of a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedactionCount {
    pub count: u64,
    pub kind: String,
    /// `mask`, `remove`, `replace` or `tokenize`.
    pub method: String,
    pub place: String,
}

/// A label that a rule gave the exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tag {
    pub name: String,
    /// Empty where the rule gives none.
    pub value: String,
}

/// Which filter VM wrote the record, and where in that VM's sequence it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emitter {
    /// Random for each VM, 32 hex digits.
    pub epoch: String,
    /// The instance whose Envoy the VM runs in.
    pub id: String,
    /// Leaf hash of the record with the previous `seq`, empty for the first.
    pub prev: String,
    /// From 0, without gaps.
    pub seq: u64,
}

/// The bundle that decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyInForce {
    /// The Git commit its policies came from; absent when they came otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// When a control plane last said that it is in force, RFC 3339; absent where no age
    /// of a bundle is too old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<String>,
    /// `sha256:` and 64 hex digits.
    pub digest: String,
}

/// A rule that matched, in the order of evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchedRule {
    /// `allow`, `deny` or `log`.
    pub effect: String,
    pub policy: String,
    pub rule: String,
}

/// What the filter answered to the question whether the exchange may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionKind {
    Allow,
    Deny,
    /// Could not decide; the configured failure mode applied.
    Error,
}

/// How a request with an `Idempotency-Key` went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdempotencyRun {
    /// Nobody had the key before.
    First,
    /// Whoever had the key before failed, or nobody knows how that ended.
    Again,
    /// Nobody could say who has the key: another may run at the same time.
    Unprotected,
    /// It got the answer of whoever had the key before; no provider was asked.
    Replayed,
}

impl IdempotencyRun {
    pub fn as_str(self) -> &'static str {
        match self {
            IdempotencyRun::First => "first",
            IdempotencyRun::Again => "again",
            IdempotencyRun::Unprotected => "unprotected",
            IdempotencyRun::Replayed => "replayed",
        }
    }
}

/// What became of keeping an answer for whoever sends the request again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdempotencyAnswer {
    /// It was on its way to a control plane when the record was written.
    Kept,
    /// Larger than answers may be to be kept.
    TooLarge,
    /// Too much waited to be kept.
    NoRoom,
    /// Not text, or not seen in full.
    Unreadable,
}

impl IdempotencyAnswer {
    pub fn as_str(self) -> &'static str {
        match self {
            IdempotencyAnswer::Kept => "kept",
            IdempotencyAnswer::TooLarge => "too_large",
            IdempotencyAnswer::NoRoom => "no_room",
            IdempotencyAnswer::Unreadable => "unreadable",
        }
    }
}

impl EvidenceRecord {
    /// Whether every whole number in it is one that every reader of JSON reads as it is.
    pub(crate) fn is_exact(&self) -> bool {
        let counted = self.findings.iter().map(|it| it.count);
        let taken_out = self.redactions.iter().map(|it| it.count);
        let attached = self.attachments.iter().flat_map(|it| [it.bytes, it.count]);
        let told = [self.cost_nano, self.input_tokens, self.output_tokens];
        [
            self.emitter.seq,
            self.duration_us,
            self.request_bytes,
            self.response_bytes,
        ]
        .into_iter()
        .chain(told.into_iter().flatten())
        .chain(counted)
        .chain(taken_out)
        .chain(attached)
        .all(|number| number <= MAX_INTEGER)
    }
}

impl DecisionKind {
    /// The value as records spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            DecisionKind::Allow => "allow",
            DecisionKind::Deny => "deny",
            DecisionKind::Error => "error",
        }
    }
}

/// How the exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The provider's answer reached its end.
    Completed,
    /// We answered; the provider never saw the request.
    Refused,
    /// We refused the provider's answer: the client got our error instead of
    /// it, or at the end of what had left of a stream.
    Withheld,
    /// The provider answered with an error status.
    ProviderError,
    /// The provider, or the way to it, failed before or amid its answer.
    ProviderReset,
    /// The client went away first.
    ClientAborted,
    /// Not known how it ended: the filter failed meanwhile.
    FilterFault,
    /// Stored before the request left; how it ended has not come, or not yet.
    Pending,
}

impl Outcome {
    /// The value as records spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Completed => "completed",
            Outcome::Refused => "refused",
            Outcome::Withheld => "withheld",
            Outcome::ProviderError => "provider_error",
            Outcome::ProviderReset => "provider_reset",
            Outcome::ClientAborted => "client_aborted",
            Outcome::FilterFault => "filter_fault",
            Outcome::Pending => "pending",
        }
    }
}

/// Whether a body was read in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InspectionStatus {
    /// Read and understood to the last byte.
    Inspected,
    /// Not read in full; the reason stands beside it.
    Unscanned,
    /// There was nothing to read.
    None,
}

/// `2026-11-23T17:09:05.123456Z` for microseconds since the Unix epoch.
///
/// Civil date from day count after Howard Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms" (`civil_from_days`); here, since the filter has
/// no clock and needs no calendar library for one format.
pub fn rfc3339_micros(unix_us: u64) -> String {
    let (secs, micros) = (unix_us / 1_000_000, unix_us % 1_000_000);
    let (days, rest) = (secs / 86_400, secs % 86_400);
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_is_spelt_as_in_records() {
        use Outcome::*;
        for outcome in [
            Completed,
            Refused,
            Withheld,
            ProviderError,
            ProviderReset,
            ClientAborted,
            FilterFault,
            Pending,
        ] {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        }
    }

    #[test]
    fn time_is_written_as_rfc3339_in_utc() {
        for (unix_us, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399_999_999, "2000-02-28T23:59:59.999999Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (1_795_367_345_000_001, "2026-11-22T17:09:05.000001Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(rfc3339_micros(unix_us), text);
        }
    }
}
