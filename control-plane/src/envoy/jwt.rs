//! Envoy's own filter for tokens, before ours.
//!
//! It verifies and never refuses: what it found goes into the stream's
//! metadata, where `filter/src/host/token.rs` reads it, so that a refusal is
//! made in the client's dialect and leaves evidence like any other.

use serde_json::{Value, json};

use super::clusters::JWKS;
use crate::config::{JwtConfig, JwtKeys};

/// Names the issuer inside this filter's configuration.
const PROVIDER: &str = "subject";

pub(super) fn filter(jwt: &JwtConfig) -> Value {
    let prefix = match jwt.header.as_str() {
        "authorization" => "Bearer ",
        _ => "",
    };
    let mut provider = json!({
        "issuer": jwt.issuer,
        "audiences": jwt.audiences,
        "forward": jwt.forward,
        "from_headers": [{"name": jwt.header, "value_prefix": prefix}],
        "payload_in_metadata": "payload",
        "failed_status_in_metadata": "failure",
        // A token without an end would outlive whoever it names.
        "require_expiration": true,
    });
    let (key, value) = match &jwt.keys {
        JwtKeys::File(path) => ("local_jwks", json!({"filename": path})),
        JwtKeys::Url(url) => (
            "remote_jwks",
            json!({
                "http_uri": {"uri": url.to_string(), "cluster": JWKS, "timeout": "5s"},
                "cache_duration": "300s",
                "async_fetch": {"fast_listener": true},
            }),
        ),
    };
    if let Some(fields) = provider.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
    json!({
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {PROVIDER: provider},
            "rules": [{
                "match": {"prefix": "/"},
                "requires": {"requires_any": {"requirements": [
                    {"provider_name": PROVIDER},
                    {"allow_missing_or_failed": {}},
                ]}},
            }],
        },
    })
}
