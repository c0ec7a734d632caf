//! Refusals in the client's dialect, so that its library raises the error its
//! user expects.
//!
//! Shapes: OpenAI's error object (`message`, `type`, `param`, `code`) and
//! Anthropic's (`type: error`, `error.type`, `error.message`, `request_id`),
//! each with our `code` and `decision_id` added.

use crate::{Api, Dialect};
use serde_json::json;

/// What to tell the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorBody<'a> {
    pub status: u16,
    pub code: &'a str,
    pub message: &'a str,
    pub decision_id: &'a str,
}

/// The JSON text of a refusal.
pub fn error_body(dialect: Dialect, error: ErrorBody<'_>) -> String {
    let ErrorBody {
        status,
        code,
        message,
        decision_id,
    } = error;
    let kind = error_type(dialect, status);
    match dialect {
        Dialect::OpenAi => json!({"error": {
            "message": message, "type": kind, "param": null,
            "code": code, "decision_id": decision_id,
        }}),
        Dialect::Anthropic => json!({
            "type": "error",
            "error": {"type": kind, "message": message, "code": code, "decision_id": decision_id},
            "request_id": decision_id,
        }),
    }
    .to_string()
}

/// The event by which a stream ends refused: the official clients raise it.
/// `sequence_number` is of OpenAI's typed events alone.
pub fn error_event(
    api: Api,
    dialect: Dialect,
    error: ErrorBody<'_>,
    sequence_number: u64,
) -> String {
    let body = error_body(dialect, error);
    match api {
        Api::Responses | Api::StoredResponses => {
            // `error` is what its clients look for, the rest what its reference describes.
            let event = json!({
                "type": "error", "sequence_number": sequence_number, "param": null,
                "code": error.code, "message": error.message,
                "error": {
                    "message": error.message, "type": error_type(dialect, error.status),
                    "param": null, "code": error.code, "decision_id": error.decision_id,
                },
            });
            format!("event: error\ndata: {event}\n\n")
        }
        _ if dialect == Dialect::Anthropic => format!("event: error\ndata: {body}\n\n"),
        _ => format!("data: {body}\n\n"),
    }
}

fn error_type(dialect: Dialect, status: u16) -> &'static str {
    match (dialect, status) {
        (Dialect::OpenAi, 403) => "policy_violation",
        (Dialect::OpenAi, 500..) => "server_error",
        (Dialect::OpenAi, _) => "invalid_request_error",
        (Dialect::Anthropic, 401) => "authentication_error",
        (Dialect::Anthropic, 403) => "permission_error",
        (Dialect::Anthropic, 413) => "request_too_large",
        (Dialect::Anthropic, 503) => "overloaded_error",
        (Dialect::Anthropic, 500..) => "api_error",
        (Dialect::Anthropic, _) => "invalid_request_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_has_the_shape_of_the_dialect() {
        let error = ErrorBody {
            status: 403,
            code: "c",
            message: "say \"no\"",
            decision_id: "d",
        };
        assert_eq!(
            error_body(Dialect::OpenAi, error),
            r#"{"error":{"code":"c","decision_id":"d","message":"say \"no\"","param":null,"type":"policy_violation"}}"#
        );
        assert_eq!(
            error_body(Dialect::Anthropic, error),
            r#"{"error":{"code":"c","decision_id":"d","message":"say \"no\"","type":"permission_error"},"request_id":"d","type":"error"}"#
        );
    }

    #[test]
    fn error_event_has_the_shape_of_the_api() {
        let error = ErrorBody {
            status: 403,
            code: "c",
            message: "no",
            decision_id: "d",
        };
        for (api, dialect, start, expected) in [
            (
                Api::ChatCompletions,
                Dialect::OpenAi,
                "data: ",
                json!({"error": {"message": "no", "type": "policy_violation", "param": null, "code": "c", "decision_id": "d"}}),
            ),
            (
                Api::Messages,
                Dialect::Anthropic,
                "event: error\ndata: ",
                json!({"type": "error", "request_id": "d",
                    "error": {"type": "permission_error", "message": "no", "code": "c", "decision_id": "d"}}),
            ),
            (
                Api::Responses,
                Dialect::OpenAi,
                "event: error\ndata: ",
                json!({"type": "error", "sequence_number": 7, "param": null, "code": "c", "message": "no",
                    "error": {"message": "no", "type": "policy_violation", "param": null, "code": "c", "decision_id": "d"}}),
            ),
        ] {
            let event = error_event(api, dialect, error, 7);
            let data = event
                .strip_prefix(start)
                .and_then(|e| e.strip_suffix("\n\n"))
                .unwrap();
            assert_eq!(
                serde_json::from_str::<serde_json::Value>(data).unwrap(),
                expected
            );
        }
    }
}
