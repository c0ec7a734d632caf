//! Legal holds: what must be neither erased nor let go for now.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::error::ApiError;
use super::evidence::time;
use super::extract::{EvidenceManager, EvidenceReader, JsonBody};
use crate::app::App;
use crate::store::{Hold, NewHold, Release};
use jupiter_evidence::MAX_SUBJECT_BYTES;

const MAX_REASON_CHARS: usize = 500;

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HoldView {
    id: String,
    /// Whom it is on; `null` where it is on everything, or the subject was erased since.
    subject: Option<String>,
    /// It is on everything, or on everything of a time.
    everything: bool,
    /// Only on exchanges not before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// Only on exchanges before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    reason: String,
    placed_at: String,
    placed_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    released_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    released_by: Option<String>,
}

impl From<Hold> for HoldView {
    fn from(hold: Hold) -> HoldView {
        let released_at = hold.released.as_ref();
        HoldView {
            id: hold.id.to_string(),
            subject: hold.subject,
            everything: hold.reference.is_none(),
            since: hold.since.map(|at| format!("{at:.6}")),
            until: hold.until.map(|at| format!("{at:.6}")),
            reason: hold.reason,
            placed_at: format!("{:.6}", hold.placed_at),
            placed_by: hold.placed_by,
            released_at: released_at.map(|release| format!("{:.6}", release.at)),
            released_by: hold.released.map(|release| release.by),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HoldList {
    holds: Vec<HoldView>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HoldRequest {
    /// Whom to hold, such as `jwt:ada`; everything when there is none.
    #[serde(default)]
    subject: Option<String>,
    /// Only exchanges not before this time (RFC 3339).
    #[serde(default)]
    since: Option<String>,
    /// Only exchanges before this time (RFC 3339).
    #[serde(default)]
    until: Option<String>,
    /// Why.
    reason: String,
}

/// What was written down as a reason, if it is one.
pub(super) fn reason(text: &str) -> Result<&str, ApiError> {
    let reason = text.trim();
    let fits = (1..=MAX_REASON_CHARS).contains(&reason.chars().count());
    match fits && !reason.chars().any(char::is_control) {
        true => Ok(reason),
        false => Err(unprocessable(format!(
            "`reason` must have 1 to {MAX_REASON_CHARS} characters that can be printed"
        ))),
    }
}

fn unprocessable(detail: impl Into<String>) -> ApiError {
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    ApiError::new(status, "invalid_request", detail)
}

/// All holds, released ones too.
#[utoipa::path(get, path = "/v1/evidence/holds", tag = "evidence", security(("bearer" = [])),
    responses((status = 200, body = HoldList)))]
pub(super) async fn list(
    State(app): State<App>,
    _: EvidenceReader,
) -> Result<Json<HoldList>, ApiError> {
    let holds = app.store.holds().await?;
    Ok(Json(HoldList {
        holds: holds.into_iter().map(Into::into).collect(),
    }))
}

/// Places a hold: what it covers is neither erased nor let go until it is released.
#[utoipa::path(post, path = "/v1/evidence/holds", tag = "evidence", security(("bearer" = [])),
    request_body = HoldRequest, responses((status = 201, body = HoldView)))]
pub(super) async fn place(
    State(app): State<App>,
    manager: EvidenceManager,
    JsonBody(request): JsonBody<HoldRequest>,
) -> Result<(StatusCode, Json<HoldView>), ApiError> {
    let reason = reason(&request.reason)?.to_owned();
    let subject = request.subject;
    if let Some(name) = &subject
        && !(1..=MAX_SUBJECT_BYTES).contains(&name.len())
    {
        return Err(unprocessable(format!(
            "`subject` must have 1 to {MAX_SUBJECT_BYTES} bytes"
        )));
    }
    let (since, until) = (time("since", request.since)?, time("until", request.until)?);
    if since
        .zip(until)
        .is_some_and(|(since, until)| since >= until)
    {
        return Err(unprocessable("`since` must be before `until`"));
    }
    let hold = NewHold {
        id: Uuid::now_v7(),
        subject,
        since,
        until,
        reason,
        at: app.clock.now(),
        by: manager.principal.name.clone(),
    };
    let hold = app.store.place_hold(hold).await?;
    Ok((StatusCode::CREATED, Json(hold.into())))
}

/// Releases a hold for good.
#[utoipa::path(post, path = "/v1/evidence/holds/{id}/release", tag = "evidence",
    security(("bearer" = [])), params(("id" = String, Path, description = "Id of the hold")),
    responses((status = 200, body = HoldView)))]
pub(super) async fn release(
    State(app): State<App>,
    manager: EvidenceManager,
    Path(id): Path<String>,
) -> Result<Json<HoldView>, ApiError> {
    let unknown = || ApiError::not_found("unknown_hold", "there is no hold of this id");
    let id = Uuid::try_parse(&id).map_err(|_| unknown())?;
    let release = Release {
        at: app.clock.now(),
        by: manager.principal.name.clone(),
    };
    let hold = app.store.release_hold(id, release).await?;
    hold.map(|hold| Json(hold.into())).ok_or_else(unknown)
}
