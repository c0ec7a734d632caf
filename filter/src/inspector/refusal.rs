//! How we say no: status, stable code, and whether a repetition makes sense.

use super::{DECISION_ID_HEADER, Flow, LocalResponse};
use jupiter_policy::Decision;
use jupiter_provider::{Dialect, ErrorBody, error_body};

/// How an exchange is refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal<'a> {
    pub status: u16,
    pub code: &'a str,
    /// Seconds after which to ask again; `None`: asking again is pointless.
    pub retry: Option<u32>,
}

impl<'a> Refusal<'a> {
    pub const fn new(status: u16, code: &'a str, retry: Option<u32>) -> Refusal<'a> {
        Refusal {
            status,
            code,
            retry,
        }
    }

    /// Of a denial by policy, with its words for the client.
    pub fn denied(decision: &'a Decision) -> (Refusal<'a>, &'a str) {
        let (code, message) = match &decision.denial {
            Some(denial) => (denial.code.as_str(), denial.message.as_str()),
            None => ("policy_violation", "refused by policy"),
        };
        (Refusal::new(403, code, None), message)
    }

    pub fn error<'b>(&'b self, message: &'b str, decision_id: &'b str) -> ErrorBody<'b> {
        ErrorBody {
            status: self.status,
            code: self.code,
            message,
            decision_id,
        }
    }

    pub fn respond(&self, dialect: Dialect, message: &str, decision_id: String) -> Flow {
        let body = error_body(dialect, self.error(message, &decision_id));
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            (DECISION_ID_HEADER, decision_id),
        ];
        headers.push(match self.retry {
            Some(seconds) => ("retry-after", seconds.to_string()),
            None => ("x-should-retry", "false".to_owned()),
        });
        Flow::Respond(LocalResponse {
            status: self.status,
            headers,
            body,
            details: format!("mercator_{}", self.details()),
        })
    }

    /// Envoy shows details in logs and statistics; a policy's own code may hold anything.
    fn details(&self) -> &str {
        let plain = self
            .code
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if plain { self.code } else { "policy_violation" }
    }
}

pub(super) const NO_BUNDLE: Refusal<'_> = Refusal::new(503, "no_policy_bundle", Some(1));
pub(super) const STALE_BUNDLE: Refusal<'_> = Refusal::new(503, "stale_policy_bundle", Some(1));
pub(super) const NO_EVIDENCE: Refusal<'_> = Refusal::new(503, "evidence_unavailable", Some(1));
pub(super) const NO_ROOM: Refusal<'_> = Refusal::new(503, "memory_limit", Some(1));
pub(super) const UNKNOWN_API: Refusal<'_> = Refusal::new(403, "unknown_api", None);
pub(super) const TOO_LARGE: Refusal<'_> = Refusal::new(413, "body_too_large", None);
pub(super) const UNSUPPORTED_ENCODING: Refusal<'_> =
    Refusal::new(415, "unsupported_content_encoding", None);
pub(super) const PROBE: Refusal<'_> = Refusal::new(403, "health_probe", None);
pub(super) const HOST_FAULT: Refusal<'_> = Refusal::new(503, "filter_fault", Some(1));
