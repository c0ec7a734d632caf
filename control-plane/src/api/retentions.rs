//! What is retained no more.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;
use super::extract::EvidenceReader;
use crate::app::App;
use crate::store::{Retention, RetiredRecord};

/// Records that were let go together.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RetentionView {
    let_go_at: String,
    records: u64,
    /// The file of the archive that has them.
    archive: String,
    /// What the log's key signed about it: a signed note.
    note: String,
}

impl From<Retention> for RetentionView {
    fn from(retention: Retention) -> RetentionView {
        RetentionView {
            let_go_at: format!("{:.6}", retention.at),
            records: retention.records,
            archive: retention.archive,
            note: retention.note,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RetentionList {
    retentions: Vec<RetentionView>,
}

/// What was archived and let go since it was old enough, in order of time.
#[utoipa::path(get, path = "/v1/evidence/retentions", tag = "evidence",
    security(("bearer" = [])), responses((status = 200, body = RetentionList)))]
pub(super) async fn list(
    State(app): State<App>,
    _: EvidenceReader,
) -> Result<Json<RetentionList>, ApiError> {
    let retentions = app.store.retentions().await?;
    Ok(Json(RetentionList {
        retentions: retentions.into_iter().map(Into::into).collect(),
    }))
}

pub(super) fn retained_no_more(retired: &RetiredRecord) -> ApiError {
    let detail = format!(
        "the record is retained no more since {:.0}: `{}` of the archive has it, as number {} of \
         the log",
        retired.let_go_at, retired.archive, retired.leaf_index
    );
    ApiError::new(StatusCode::GONE, "retained_no_more", detail)
        .with("archive", &retired.archive)
        .with("leaf_index", retired.leaf_index)
}
