//! How a request is refused: one shape for every refusal (RFC 9457).
//!
//! Handlers return an [`ApiError`]; [`super::frame`] writes it down with the
//! request's id and logs its cause, once. What a client reads is safe to show
//! to anyone: a stable code and a detail without anything from inside.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use std::error::Error;
use std::fmt::Write;
use utoipa::ToSchema;

use crate::auth::AuthError;
use crate::store::StoreError;

/// A refusal on its way to the client.
#[derive(Debug, Clone)]
pub(super) struct ApiError(Box<Refusal>);

#[derive(Debug, Clone)]
struct Refusal {
    status: StatusCode,
    problem: PendingProblem,
    headers: HeaderMap,
}

/// What [`super::frame`] makes the body of.
#[derive(Debug, Clone)]
pub(super) struct PendingProblem {
    pub(super) code: &'static str,
    pub(super) detail: String,
    pub(super) extra: Map<String, Value>,
    /// For the log only.
    pub(super) cause: Option<String>,
}

/// A refusal that has its own body, as another protocol wants it.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnBody;

/// `application/problem+json`: why a request was refused.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem<'a> {
    /// Always `about:blank`: `code` tells more.
    #[serde(rename = "type")]
    pub(super) type_uri: &'static str,
    /// The status in words.
    pub(super) title: &'a str,
    pub(super) status: u16,
    /// Stable; programs may rely on it.
    pub(super) code: &'a str,
    /// For people.
    pub(super) detail: &'a str,
    /// Also in the log of the control plane, and in `x-request-id`.
    pub(super) request_id: &'a str,
    /// More, depending on `code`: `diagnostics`, `revision`.
    #[serde(flatten)]
    pub(super) extra: &'a Map<String, Value>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        ApiError(Box::new(Refusal {
            status,
            problem: PendingProblem {
                code,
                detail: detail.into(),
                extra: Map::new(),
                cause: None,
            },
            headers: HeaderMap::new(),
        }))
    }

    pub(super) fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        ApiError::new(StatusCode::BAD_REQUEST, code, detail)
    }

    pub(super) fn not_found(code: &'static str, detail: impl Into<String>) -> Self {
        ApiError::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// A fault of ours.
    pub(super) fn internal(cause: &dyn Error) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        ApiError::new(
            status,
            "internal",
            "the control plane failed; its log says more",
        )
        .caused_by(cause)
    }

    /// Passes by itself: come back.
    pub(super) fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
            .with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    pub(super) fn with(mut self, key: &str, value: impl Serialize) -> Self {
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        self.0.problem.extra.insert(key.to_owned(), value);
        self
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    pub(super) fn caused_by(mut self, cause: &dyn Error) -> Self {
        self.0.problem.cause = Some(with_causes(cause));
        self
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {cause}");
        next = cause.source();
    }
    text
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.0.status, self.0.headers).into_response();
        response.extensions_mut().insert(self.0.problem);
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        match error {
            StoreError::TimedOut(_) | StoreError::Unavailable(_) | StoreError::Closed => {
                ApiError::unavailable("store_unavailable", "the database cannot be used now")
                    .caused_by(&error)
            }
            StoreError::Corrupt(_) => ApiError::internal(&error),
        }
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> ApiError {
        let (code, challenge) = match &error {
            AuthError::Missing => ("unauthenticated", r#"Bearer realm="mercator""#),
            AuthError::Refused => (
                "invalid_token",
                r#"Bearer realm="mercator", error="invalid_token""#,
            ),
            AuthError::Store(error) => return error.clone().into(),
        };
        ApiError::new(StatusCode::UNAUTHORIZED, code, error.to_string()).with_header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static(challenge),
        )
    }
}
