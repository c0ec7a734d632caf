//! One line of Envoy's access log, and what it says about one exchange.
//!
//! The keys are those that [`crate::envoy::bootstrap`] asks Envoy to write.

use std::borrow::Cow;

use serde::Deserialize;
use uuid::Uuid;

use crate::envoy::routes::HEALTH_DEEP;

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// An exchange with the filter's own envelope of it.
    Recorded(String),
    /// An exchange of which the filter said nothing.
    Unrecorded(Unrecorded),
    /// No exchange: a probe, or something Envoy refused as no request at all.
    Nothing,
    /// Not a line that our configuration writes.
    Unreadable,
}

/// What may be told of an exchange without evidence: nothing a client wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unrecorded {
    pub(super) request_id: Option<Uuid>,
    pub(super) code: u16,
    /// Envoy's own word for how it ended.
    pub(super) details: String,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    evidence: Option<Cow<'a, str>>,
    request_id: Option<Cow<'a, str>>,
    route: Option<Cow<'a, str>>,
    upstream_host: Option<Cow<'a, str>>,
    details: Option<Cow<'a, str>>,
    code: Option<u16>,
}

pub(super) fn read(line: &[u8]) -> Seen {
    let Ok(line) = serde_json::from_slice::<Line<'_>>(line) else {
        return Seen::Unreadable;
    };
    if line.route.as_deref() == Some(HEALTH_DEEP) {
        return Seen::Nothing;
    }
    match line.evidence {
        // An envelope is one line by definition, and several would be read as such.
        Some(envelope) if envelope.contains(['\n', '\r']) => Seen::Unreadable,
        Some(envelope) if !envelope.is_empty() && envelope != "-" => {
            Seen::Recorded(envelope.into_owned())
        }
        _ => without_evidence(&line),
    }
}

/// What Envoy itself refuses before any filter (a path it will not read, headers
/// too large) never was an exchange. What reached a provider or failed on our
/// side was one.
fn without_evidence(line: &Line<'_>) -> Seen {
    let code = line.code.unwrap_or_default();
    if line.upstream_host.is_none() && code < 500 {
        return Seen::Nothing;
    }
    // Envoy keeps an id that a client of the same network wrote: only ids are told.
    let request_id = line.request_id.as_deref();
    Seen::Unrecorded(Unrecorded {
        request_id: request_id.and_then(|id| Uuid::parse_str(id).ok()),
        code,
        details: line.details.as_deref().unwrap_or("-").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unrecorded(code: u16, details: &str) -> Seen {
        Seen::Unrecorded(Unrecorded {
            request_id: None,
            code,
            details: details.to_owned(),
        })
    }

    #[test]
    fn lines_say_what_happened() {
        for (line, expected) in [
            (
                r#"{"code":200,"evidence":"{\"record\":{}}","route":"openai","upstream_host":"1.2.3.4:443"}"#,
                Seen::Recorded(r#"{"record":{}}"#.to_owned()),
            ),
            (
                r#"{"code":200,"details":"via_upstream","evidence":null,"upstream_host":"1.2.3.4:443"}"#,
                unrecorded(200, "via_upstream"),
            ),
            (
                r#"{"code":503,"details":"wasm_fail_stream","evidence":"-"}"#,
                unrecorded(503, "wasm_fail_stream"),
            ),
            (
                r#"{"code":400,"details":"path_normalization_failed","evidence":null}"#,
                Seen::Nothing,
            ),
            (r#"{"code":0,"evidence":""}"#, Seen::Nothing),
            (
                r#"{"code":200,"evidence":null,"route":"health-deep","upstream_host":"127.0.0.1:8081"}"#,
                Seen::Nothing,
            ),
            (r#"{"evidence":"a\nb"}"#, Seen::Unreadable),
            (r#"{"evidence":7}"#, Seen::Unreadable),
            ("", Seen::Unreadable),
            ("[2026] GET /", Seen::Unreadable),
        ] {
            assert_eq!(read(line.as_bytes()), expected, "{line}");
        }
        assert_eq!(read(b"{\"evidence\":\"\xff\"}"), Seen::Unreadable);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        use proptest::prelude::*;
        proptest!(|(bytes: Vec<u8>)| { read(&bytes); });
        proptest!(|(text in "\\{\"(evidence|code|route)\":[\"0-9a-z{}\\\\n,:-]{0,40}\\}")| {
            read(text.as_bytes());
        });
    }
}
