//! Idempotency keys, claimed by filters, and the answers they keep under them.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jupiter_filter::config::OnUnknownOutcome;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::ApiError;
use super::extract::{EvidenceWriter, JsonBody, Lines};
use crate::app::App;
use crate::idempotency::{self, ClaimError, Claimed, KeepError};
use crate::store::KeyClaim;

/// An exchange that would go on under a key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClaimView {
    /// SHA-256 of the key and its subject, hex.
    key: String,
    /// SHA-256 of the request, hex.
    request: String,
    exchange: String,
    instance: String,
    /// `rerun` or `refuse`: when another exchange had the key and nobody knows how it ended.
    #[schema(value_type = String)]
    on_unknown_outcome: OnUnknownOutcome,
    /// How long the answer may take while another exchange has the key; at most 5000.
    wait_ms: u32,
}

/// Whose the key is: with 200 this exchange's, with 202 still another's.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClaimedView {
    /// The exchange that had the key before, or that has it.
    earlier: Option<String>,
}

impl ClaimView {
    fn into_claim(self, app: &App) -> Result<KeyClaim, ApiError> {
        let exchange = Uuid::try_parse(&self.exchange);
        Ok(KeyClaim {
            key: digest("key", &self.key)?,
            request: digest("request", &self.request)?,
            exchange: exchange.map_err(|_| wrong("`exchange` must be an id"))?,
            instance: self.instance,
            at: idempotency::asked_at(app),
        })
    }
}

fn digest(name: &str, text: &str) -> Result<[u8; 32], ApiError> {
    idempotency::digest(text).ok_or_else(|| wrong(format!("`{name}` must be 64 hex digits")))
}

fn wrong(detail: impl Into<String>) -> ApiError {
    ApiError::bad_request("bad_claim", detail)
}

impl From<ClaimError> for ApiError {
    fn from(error: ClaimError) -> ApiError {
        let detail = error.to_string();
        let (status, code, exchange) = match &error {
            ClaimError::OtherRequest(exchange) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_other_request",
                exchange,
            ),
            ClaimError::Finished { exchange, .. } => {
                (StatusCode::CONFLICT, "idempotency_finished", exchange)
            }
            ClaimError::UnknownOutcome(exchange) => (
                StatusCode::CONFLICT,
                "idempotency_unknown_outcome",
                exchange,
            ),
            ClaimError::Store(error) => return error.clone().into(),
        };
        let refusal = ApiError::new(status, code, detail).with("exchange", exchange.to_string());
        match error {
            ClaimError::Finished {
                answer: Some(answer),
                ..
            } => refusal.with("answer", answer),
            _ => refusal,
        }
    }
}

impl From<KeepError> for ApiError {
    fn from(error: KeepError) -> ApiError {
        match error {
            KeepError::BadLine(_) => ApiError::bad_request("bad_answer", error.to_string()),
            KeepError::Overloaded => ApiError::unavailable("overloaded", error.to_string()),
            KeepError::Interrupted => {
                ApiError::unavailable("interrupted", error.to_string()).caused_by(&error)
            }
            KeepError::Store(error) => error.into(),
        }
    }
}

/// Claim an idempotency key for an exchange: 200, it may go on; 202, another one has the key
/// and has not ended: ask again. Where that one was answered and its answer is kept, 409
/// brings it along in `answer`.
#[utoipa::path(post, path = "/v1/idempotency/claims", tag = "evidence",
    security(("bearer" = [])), request_body = ClaimView,
    responses((status = 200, body = ClaimedView), (status = 202, body = ClaimedView)))]
pub(super) async fn claim(
    State(app): State<App>,
    _: EvidenceWriter,
    JsonBody(view): JsonBody<ClaimView>,
) -> Result<(StatusCode, Json<ClaimedView>), ApiError> {
    let wait = Duration::from_millis(view.wait_ms.into());
    let on_unknown = view.on_unknown_outcome;
    let claim = view.into_claim(&app)?;
    let (status, earlier) = match idempotency::claim(&app, &claim, on_unknown, wait).await? {
        Claimed::Granted { earlier } => (StatusCode::OK, earlier),
        Claimed::NotYet { holder } => (StatusCode::ACCEPTED, Some(holder)),
    };
    let earlier = earlier.map(|exchange| exchange.to_string());
    Ok((status, Json(ClaimedView { earlier })))
}

/// Keep answers of exchanges that have a key, one a line. An answer of 204 means: durably
/// stored, but for those whose key another exchange has.
#[utoipa::path(post, path = "/v1/idempotency/answers", tag = "evidence",
    security(("bearer" = [])),
    request_body(content = String, content_type = "application/x-ndjson"),
    responses((status = 204)))]
pub(super) async fn keep(
    State(app): State<App>,
    _: EvidenceWriter,
    Lines(body): Lines,
) -> Result<StatusCode, ApiError> {
    idempotency::keep(&app, &body).await?;
    Ok(StatusCode::NO_CONTENT)
}
