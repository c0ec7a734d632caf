//! Envoy's extension discovery over REST: the filter with its bundle.
//!
//! The other way for a bundle to reach Envoy is a file
//! ([`crate::envoy::ecds`]), for an Envoy on the same machine; both carry the
//! same resource under the same version.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::error::ApiError;
use super::extract::{ConfigurationReader, JsonBody};
use crate::app::App;
use crate::envoy::ecds;

/// What we read of Envoy's `DiscoveryRequest`; Envoy sends more.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct DiscoveryRequest {
    /// What Envoy has accepted last.
    #[serde(default, alias = "versionInfo")]
    version_info: String,
    /// Empty: all there are.
    #[serde(default, alias = "resourceNames")]
    resource_names: Vec<String>,
    #[serde(default, alias = "typeUrl")]
    type_url: String,
    /// Envoy refused what it was sent last.
    #[serde(default, alias = "errorDetail")]
    error_detail: Option<ErrorDetail>,
}

#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ErrorDetail {
    #[serde(default)]
    code: i64,
}

/// Envoy's REST xDS for the filter's configuration.
#[utoipa::path(post, path = "/v3/discovery:extension_configs", tag = "discovery",
    security(("bearer" = [])), request_body = DiscoveryRequest,
    responses(
        (status = 200, description = "A `DiscoveryResponse`", body = Value),
        (status = 304, description = "Envoy has this version"),
    ))]
pub(super) async fn extension_configs(
    State(app): State<App>,
    _: ConfigurationReader,
    JsonBody(request): JsonBody<DiscoveryRequest>,
) -> Result<Response, ApiError> {
    if !matches!(request.type_url.as_str(), "" | ecds::RESOURCE_TYPE) {
        let detail = "only extension configurations are served here";
        return Err(ApiError::bad_request("unknown_type_url", detail));
    }
    if let Some(error) = &request.error_detail {
        tracing::error!(
            code = error.code,
            "an Envoy refused the filter's configuration"
        );
    }
    let bundle = app.bundles.borrow().clone();
    let mut response = ecds::discovery_response(&app.plugin, bundle.as_deref(), app.clock.now());
    let version = response.get("version_info").and_then(Value::as_str);
    if version == Some(request.version_info.as_str()) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    let names = &request.resource_names;
    if !names.is_empty()
        && !names.iter().any(|name| name == ecds::RESOURCE_NAME)
        && let Some(resources) = response.get_mut("resources")
    {
        *resources = json!([]);
    }
    Ok(Json(response).into_response())
}
