//! The client's span, as its `traceparent` names it.
//!
//! What W3C Trace Context does not allow is as if it was not there. Control planes export
//! spans below the one named here (`control-plane/src/telemetry`).

/// What a W3C `traceparent` says of the client's span.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TraceContext<'a> {
    pub trace_id: &'a str,
    pub span_id: &'a str,
    pub is_sampled: bool,
}

/// Reads a `traceparent`; versions to come may say more behind the flags.
pub(super) fn trace_context(traceparent: &str) -> Option<TraceContext<'_>> {
    let mut parts = traceparent.split('-');
    let mut part = |digits: usize| {
        let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        let text = parts.next()?;
        (text.len() == digits && text.bytes().all(is_hex)).then_some(text)
    };
    let (version, trace_id, span_id, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    let is_nothing = |id: &str| id.bytes().all(|b| b == b'0');
    let says_more = parts.next().is_some();
    if version == "ff" || (version == "00" && says_more) {
        return None;
    }
    if is_nothing(trace_id) || is_nothing(span_id) {
        return None;
    }
    Some(TraceContext {
        trace_id,
        span_id,
        is_sampled: u8::from_str_radix(flags, 16).ok()? & 1 == 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_context_is_taken_only_in_its_standard_form() {
        let (trace_id, span_id) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        for (good, is_sampled) in [
            (format!("00-{trace_id}-{span_id}-01"), true),
            (format!("00-{trace_id}-{span_id}-03"), true),
            (format!("00-{trace_id}-{span_id}-00"), false),
            (format!("00-{trace_id}-{span_id}-02"), false),
            (format!("01-{trace_id}-{span_id}-01-what-is-to-come"), true),
        ] {
            let expected = TraceContext {
                trace_id,
                span_id,
                is_sampled,
            };
            assert_eq!(trace_context(&good), Some(expected), "{good}");
        }
        for bad in [
            "",
            "00-x-y-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert_eq!(trace_context(bad), None, "{bad}");
        }
    }
}
