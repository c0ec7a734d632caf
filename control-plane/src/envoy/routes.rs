//! Which provider serves which path.
//!
//! A path that only one dialect has goes to its provider. Where both have it
//! (`/v1/models`), or we know it of neither, `anthropic-version` tells: only
//! Anthropic's clients send it, and their keys are not for OpenAI to see.
//! Clients speak to Jupiter as to the provider, so `/v1/…` is rewritten to
//! wherever the provider's base URL says its API lives.

use serde_json::{Value, json};

use super::clusters::{CONTROL_PLANE, provider_cluster_name};
use crate::config::{Config, ProviderConfig, ProviderKind};

/// The name of the route that leads to the control plane, not to a provider.
pub const HEALTH_DEEP: &str = "health-deep";

pub(super) fn route_config(config: &Config) -> Value {
    let mut routes = vec![health_deep_route()];
    match config.provider(ProviderKind::Anthropic) {
        Some(provider) => routes.extend(anthropic_routes(provider)),
        None => {
            let error = json!({"type": "not_found_error", "message": NO_ANTHROPIC});
            let body = json!({"type": "error", "error": error});
            routes.push(unserved_route("anthropic", messages_match(), &body));
            routes.push(unserved_route("anthropic-version", version_match(), &body));
        }
    }
    match config.provider(ProviderKind::OpenAi) {
        Some(provider) => routes.extend(openai_routes(provider)),
        None => routes.push(unserved_route(
            "openai",
            json!({"prefix": "/"}),
            &json!({"error": {
                "message": NO_OPENAI, "type": "invalid_request_error",
                "param": null, "code": "no_provider",
            }}),
        )),
    }
    // Where our clients sit, and who they are, is no provider's business.
    let mut removed = vec![
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-envoy-external-address",
    ];
    removed.extend(
        config
            .subject
            .header
            .as_ref()
            .map(|header| header.name.as_str()),
    );
    json!({
        "name": "mercator",
        "virtual_hosts": [{"name": "mercator", "domains": ["*"], "routes": routes}],
        "request_headers_to_remove": removed,
    })
}

const NO_ANTHROPIC: &str = "no provider of kind anthropic is configured";
const NO_OPENAI: &str = "no provider of kind openai is configured";

fn health_deep_route() -> Value {
    json!({
        "name": HEALTH_DEEP,
        "match": {"path": "/health/deep"},
        "route": {"cluster": CONTROL_PLANE, "timeout": "5s"},
    })
}

fn anthropic_routes(provider: &ProviderConfig) -> [Value; 2] {
    let base = &provider.base_url.path;
    let at_base = |path: &str| (!base.is_empty()).then(|| format!("{base}{path}"));
    let messages = at_base("/v1/messages");
    let others = at_base("/v1/");
    [
        provider_route("anthropic", provider, messages_match(), messages),
        provider_route("anthropic-version", provider, version_match(), others),
    ]
}

fn messages_match() -> Value {
    json!({"path_separated_prefix": "/v1/messages"})
}

/// Where the path tells already, a header must not tell otherwise.
fn version_match() -> Value {
    json!({"prefix": "/v1/", "headers": [
        {"name": "anthropic-version", "present_match": true},
        {
            "name": ":path",
            "string_match": {"safe_regex": {"regex": OPENAI_PATHS}},
            "invert_match": true,
        },
    ]})
}

/// APIs of OpenAI's alone.
const OPENAI_PATHS: &str = "/v1/(chat|completions|embeddings|responses)(/.*)?(\\?.*)?";

fn openai_routes(provider: &ProviderConfig) -> Vec<Value> {
    let path = provider.base_url.path.as_str();
    let mut routes = Vec::new();
    if path != "/v1" {
        routes.push(provider_route(
            "openai-v1",
            provider,
            json!({"prefix": "/v1/"}),
            Some(format!("{path}/")),
        ));
    }
    routes.push(provider_route(
        "openai",
        provider,
        json!({"prefix": "/"}),
        None,
    ));
    routes
}

fn provider_route(
    name: &str,
    provider: &ProviderConfig,
    matcher: Value,
    prefix_rewrite: Option<String>,
) -> Value {
    let mut action = json!({
        "cluster": provider_cluster_name(provider),
        "host_rewrite_literal": provider.base_url.authority(),
        // Answers take as long as they take; silence is what ends them.
        "timeout": "0s",
        // Only what certainly never reached the provider is sent again:
        // anything else might be answered, and billed, twice.
        "retry_policy": {"retry_on": "connect-failure,refused-stream", "num_retries": 1},
    });
    if let (Some(rewrite), Some(action)) = (prefix_rewrite, action.as_object_mut()) {
        action.insert("prefix_rewrite".to_owned(), json!(rewrite));
    }
    let mut route = json!({"name": name, "match": matcher, "route": action});
    if let (Some(_), Some(route)) = (&provider.api_key, route.as_object_mut()) {
        // With a key of ours, the client's credential stays here, whichever header it came in.
        let headers = json!(["authorization", "x-api-key", "api-key"]);
        route.insert("request_headers_to_remove".to_owned(), headers);
    }
    route
}

fn unserved_route(name: &str, matcher: Value, body: &Value) -> Value {
    json!({
        "name": name,
        "match": matcher,
        "direct_response": {"status": 404, "body": {"inline_string": body.to_string()}},
        "response_headers_to_add": [{
            "header": {"key": "content-type", "value": "application/json"},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
        }],
    })
}
