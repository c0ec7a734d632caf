//! Refusals in the client's dialect, so that its library raises the error its
//! user expects.
//!
//! Shapes: OpenAI's error object (`message`, `type`, `param`, `code`) and
//! Anthropic's (`type: error`, `error.type`, `error.message`, `request_id`),
//! each with our `code` and `decision_id` added.

use crate::Dialect;
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

fn error_type(dialect: Dialect, status: u16) -> &'static str {
    match (dialect, status) {
        (Dialect::OpenAi, 403) => "policy_violation",
        (Dialect::OpenAi, 500..) => "server_error",
        (Dialect::OpenAi, _) => "invalid_request_error",
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
}
