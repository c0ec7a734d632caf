//! The bundle in force, as filters load it.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::extract::{BundleReader, has_version};
use crate::app::App;

/// The bundle in force.
#[utoipa::path(get, path = "/v1/bundles/current", tag = "bundles", security(("bearer" = [])),
    responses(
        (status = 200, content_type = "application/octet-stream", body = Vec<u8>, headers(
            ("etag" = String, description = "The bundle's digest"),
            ("x-mercator-bundle-digest" = String, description = "The bundle's digest"),
            ("x-mercator-bundle-revision" = u64, description = "Counts the changes of policies"),
            ("x-mercator-bundle-created-at" = String, description = "Since when it is in force"),
            ("x-mercator-bundle-commit" = String, description = "The Git commit its policies \
                came from, where they did"),
        )),
        (status = 304, description = "The client has this bundle"),
    ))]
pub(super) async fn current(
    State(app): State<App>,
    _: BundleReader,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let bundle = app.bundles.borrow().clone();
    let bundle = bundle.ok_or_else(|| {
        ApiError::not_found("no_policy_bundle", "there is no bundle without a policy")
    })?;
    let etag = format!("\"{}\"", bundle.digest);
    let common = [
        (header::ETAG.as_str(), etag.clone()),
        (header::CACHE_CONTROL.as_str(), "no-cache".to_owned()),
        ("x-mercator-bundle-digest", bundle.digest.to_string()),
        ("x-mercator-bundle-revision", bundle.revision.to_string()),
        (
            "x-mercator-bundle-created-at",
            format!("{:.6}", bundle.created_at),
        ),
    ];
    let commit = bundle.commit.clone();
    let commit = commit.map(|commit| [("x-mercator-bundle-commit", commit)]);
    if has_version(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, common, commit, ()).into_response());
    }
    let binary = HeaderValue::from_static("application/octet-stream");
    let content_type = [(header::CONTENT_TYPE, binary)];
    Ok((common, commit, content_type, bundle.bytes.clone()).into_response())
}
