//! What belongs to a record and is no part of it.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;
use super::evidence::{SubjectView, stored};
use super::extract::EvidenceReader;
use crate::app::App;

#[derive(Serialize, ToSchema)]
pub(super) struct PersonalView {
    /// Whom the record is of; `null` when that was never known.
    subject: Option<SubjectView>,
    /// Of the record's digests, in hex: who has a body can show that it is the one.
    /// `null` when the subject is erased.
    salt: Option<String>,
}

/// Whom a record is of, and the salt of its digests.
#[utoipa::path(get, path = "/v1/evidence/{id}/personal", tag = "evidence",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "`x-mercator-decision-id` of an answer")),
    responses((status = 200, body = PersonalView)))]
pub(super) async fn get(
    State(app): State<App>,
    _: EvidenceReader,
    Path(id): Path<String>,
) -> Result<Json<PersonalView>, ApiError> {
    let evidence = stored(&app, &id).await?;
    Ok(Json(PersonalView {
        subject: SubjectView::of(evidence.subject),
        salt: evidence.salt.map(|salt| jupiter_evidence::hex(&salt)),
    }))
}
