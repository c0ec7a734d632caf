//! What clients read when Envoy itself answers in a provider's place.
//!
//! A client speaks its provider's dialect, so an error is written in it. The
//! filter's own answers pass unchanged: only replies that carry a flag of
//! Envoy's, or follow a trap of the filter, are rewritten.

use serde_json::{Value, json};

/// No connection, a broken one, no answer in time.
const UPSTREAM_FLAGS: [&str; 9] = ["UH", "UF", "UO", "URX", "UC", "UR", "LR", "UT", "SI"];

pub(super) fn local_reply_config() -> Value {
    let unreachable = "the provider could not be reached or broke off (%RESPONSE_FLAGS%)";
    let failed = "the filter failed while it inspected this exchange";
    json!({"mappers": [
        drained_not_found(),
        anthropic(by_flags(), unreachable, "provider_unreachable"),
        openai(by_flags(), unreachable, "provider_unreachable"),
        anthropic(by_trap(), failed, "filter_fault"),
        openai(by_trap(), failed, "filter_fault"),
    ]})
}

/// HAProxy's `http-check disable-on-404` takes a server out of rotation and lets
/// it finish what it has begun; any other failure of a check counts it as dead.
/// It asks for this by the path of its check.
fn drained_not_found() -> Value {
    let path = json!({"header_filter": {"header": {
        "name": ":path", "string_match": {"exact": "/health?draining=404"},
    }}});
    let drained = expression("response.code_details == 'health_check_failed'");
    json!({
        "filter": {"and_filter": {"filters": [path, drained]}},
        "status_code": 404,
    })
}

fn openai(filter: Value, message: &str, code: &str) -> Value {
    let error = json!({"message": message, "type": "server_error", "param": null, "code": code});
    mapper(filter, json!({"error": error}))
}

fn anthropic(filter: Value, message: &str, code: &str) -> Value {
    let error = json!({"type": "api_error", "message": message, "code": code});
    let filter = json!({"and_filter": {"filters": [filter, is_anthropic()]}});
    mapper(filter, json!({"type": "error", "error": error}))
}

/// The first mapper whose filter holds is the one that is used.
fn mapper(filter: Value, body: Value) -> Value {
    json!({"filter": filter, "body_format_override": {"json_format": body}})
}

fn by_flags() -> Value {
    json!({"response_flag_filter": {"flags": UPSTREAM_FLAGS}})
}

fn by_trap() -> Value {
    expression("response.code_details == 'wasm_fail_stream'")
}

/// By the names that `super::routes` gives.
fn is_anthropic() -> Value {
    expression("xds.route_name.startsWith('anthropic')")
}

fn expression(text: &str) -> Value {
    json!({"extension_filter": {
        "name": "envoy.access_loggers.extension_filters.cel",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
            "expression": text,
        },
    }})
}
