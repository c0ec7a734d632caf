//! Erasing whom records are of.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ApiError;
use super::extract::{EvidenceManager, EvidenceReader, JsonBody};
use super::holds::{HoldView, reason};
use crate::app::App;
use crate::erasure::{self, ErasureError};
use crate::store::{EraseError, Erasure};

/// An erasure that was made. It does not say who it was.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErasureView {
    subject_ref: String,
    erased_at: String,
    erased_by: String,
    reason: String,
}

impl From<Erasure> for ErasureView {
    fn from(erasure: Erasure) -> ErasureView {
        ErasureView {
            subject_ref: erasure.reference.to_string(),
            erased_at: format!("{:.6}", erasure.at),
            erased_by: erasure.by,
            reason: erasure.reason,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErasureList {
    erasures: Vec<ErasureView>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ErasureRequest {
    /// Whom to erase, such as `jwt:ada`.
    subject: String,
    /// Why; kept for good, so it must not name anybody.
    reason: String,
    /// Only tell what would be erased.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErasedView {
    /// What the subject's records are found by.
    subject_ref: String,
    /// How many records are the subject's; they stay, and are nobody's afterwards.
    records: u64,
    /// What stands against it.
    holds: Vec<HoldView>,
    /// `null` when nothing was erased.
    erased_at: Option<String>,
}

/// All erasures.
#[utoipa::path(get, path = "/v1/evidence/erasures", tag = "evidence", security(("bearer" = [])),
    responses((status = 200, body = ErasureList)))]
pub(super) async fn list(
    State(app): State<App>,
    _: EvidenceReader,
) -> Result<Json<ErasureList>, ApiError> {
    let erasures = app.store.erasures().await?;
    Ok(Json(ErasureList {
        erasures: erasures.into_iter().map(Into::into).collect(),
    }))
}

/// Erases a subject for good: its name and the key of its salts are destroyed.
#[utoipa::path(post, path = "/v1/evidence/erasures", tag = "evidence", security(("bearer" = [])),
    request_body = ErasureRequest, responses((status = 200, body = ErasedView)))]
pub(super) async fn erase(
    State(app): State<App>,
    manager: EvidenceManager,
    JsonBody(request): JsonBody<ErasureRequest>,
) -> Result<Json<ErasedView>, ApiError> {
    let reason = reason(&request.reason)?;
    let found = app.store.subject(&request.subject).await?;
    let found = found.ok_or(ErasureError::Refused(EraseError::Unknown))?;
    let erased = match request.dry_run {
        true => None,
        false => {
            let by = &manager.principal.name;
            Some(erasure::erase(&app, &request.subject, by, reason).await?)
        }
    };
    Ok(Json(ErasedView {
        subject_ref: found.reference.to_string(),
        records: found.records,
        holds: found.holds.into_iter().map(Into::into).collect(),
        erased_at: erased.map(|erasure| format!("{:.6}", erasure.at)),
    }))
}

impl From<ErasureError> for ApiError {
    fn from(error: ErasureError) -> ApiError {
        match error {
            ErasureError::Refused(EraseError::Failed(error)) => error.into(),
            ErasureError::Refused(EraseError::Unknown) => {
                ApiError::not_found("unknown_subject", EraseError::Unknown.to_string())
            }
            ErasureError::Refused(EraseError::Held(holds)) => {
                let holds: Vec<HoldView> = holds.into_iter().map(Into::into).collect();
                let detail = "the subject is under legal hold: release it first";
                ApiError::new(StatusCode::CONFLICT, "under_hold", detail).with("holds", holds)
            }
            ErasureError::NotNoted(_) => ApiError::unavailable(
                "erasure_not_noted",
                "the subject is erased, but a restore would undo it: the ledger in the data \
                 directory cannot be written",
            )
            .caused_by(&error),
        }
    }
}
