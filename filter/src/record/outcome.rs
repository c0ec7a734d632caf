//! How an exchange ended, in Envoy's words and in the record's.
//!
//! Every ending has an outcome. How far the exchange came, [`super::Recorder`] knows; the
//! rest Envoy says when it is over.

use jupiter_evidence::Outcome;

/// How far an exchange came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Undecided,
    /// Decided; its record was to be stored before it left.
    Unsent,
    Refused,
    /// Answered as an earlier one was.
    Replayed,
    Passed,
}

/// From Envoy's response code details, as its documentation lists them.
pub(super) fn outcome(
    ending: Ending,
    response_ended: bool,
    status: Option<u16>,
    details: &str,
) -> Outcome {
    if details.starts_with("wasm_fail_stream") {
        return Outcome::FilterFault;
    }
    let aborted = details.starts_with("downstream") || details.starts_with("http2.remote_reset");
    match ending {
        Ending::Refused => Outcome::Refused,
        _ if aborted => Outcome::ClientAborted,
        Ending::Replayed => Outcome::Completed,
        Ending::Undecided | Ending::Unsent if details.starts_with("request_") => Outcome::Refused,
        Ending::Undecided | Ending::Unsent => Outcome::ClientAborted,
        Ending::Passed => match (details, status) {
            ("via_upstream", Some(400..)) => Outcome::ProviderError,
            ("via_upstream", Some(_)) if response_ended => Outcome::Completed,
            _ => Outcome::ProviderReset,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_follows_envoys_own_words() {
        use Outcome::*;
        for (ending, ended, status, details, expected) in [
            (Ending::Passed, true, Some(200), "via_upstream", Completed),
            (
                Ending::Passed,
                true,
                Some(429),
                "via_upstream",
                ProviderError,
            ),
            (
                Ending::Passed,
                false,
                Some(200),
                "via_upstream",
                ProviderReset,
            ),
            (
                Ending::Passed,
                false,
                Some(200),
                "upstream_reset_after_response_started{connection_termination}",
                ProviderReset,
            ),
            (
                Ending::Passed,
                true,
                Some(503),
                "no_healthy_upstream",
                ProviderReset,
            ),
            (
                Ending::Passed,
                false,
                Some(200),
                "downstream_remote_disconnect",
                ClientAborted,
            ),
            (
                Ending::Undecided,
                false,
                None,
                "downstream_remote_disconnect",
                ClientAborted,
            ),
            (
                Ending::Undecided,
                true,
                Some(413),
                "request_payload_too_large",
                Refused,
            ),
            (Ending::Refused, true, Some(403), "mercator_x", Refused),
            (
                Ending::Passed,
                true,
                Some(503),
                "wasm_fail_stream",
                FilterFault,
            ),
            (
                Ending::Replayed,
                true,
                Some(200),
                "mercator_idempotency_replayed",
                Completed,
            ),
            (
                Ending::Replayed,
                false,
                Some(200),
                "downstream_remote_disconnect",
                ClientAborted,
            ),
        ] {
            assert_eq!(
                outcome(ending, ended, status, details),
                expected,
                "{details}"
            );
        }
    }
}
