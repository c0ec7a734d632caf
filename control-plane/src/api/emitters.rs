//! The sequences of emitters: what is there, what is missing.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::ApiError;
use super::evidence::limit;
use super::extract::{EvidenceReader, Parameters};
use crate::app::App;
use crate::store::EmitterEpoch;

const DEFAULT_LIMIT: u32 = 500;
const MAX_LIMIT: u32 = 1_000;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EmitterParameters {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Sequences of a page, 1 to 1000; 500 when not given.
    limit: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EmitterPageView {
    emitters: Vec<EmitterView>,
    /// Where to go on; `null` at the end.
    next_cursor: Option<String>,
}

/// The sequence of one filter VM.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EmitterView {
    /// The instance whose Envoy the VM runs in.
    emitter: String,
    /// Random for each VM.
    epoch: String,
    records: u64,
    first_seq: u64,
    last_seq: u64,
    /// Places up to `last_seq` that no record takes (yet).
    missing: u64,
    /// Records that do not fit their neighbours, and places taken twice.
    chain_breaks: u64,
    first_received_at: String,
    last_received_at: String,
}

impl From<EmitterEpoch> for EmitterView {
    fn from(epoch: EmitterEpoch) -> EmitterView {
        EmitterView {
            emitter: epoch.emitter,
            epoch: epoch.epoch,
            records: epoch.records,
            first_seq: epoch.first_seq,
            last_seq: epoch.last_seq,
            missing: epoch.missing,
            chain_breaks: epoch.chain_breaks,
            first_received_at: format!("{:.6}", epoch.first_received_at),
            last_received_at: format!("{:.6}", epoch.last_received_at),
        }
    }
}

/// The sequences of all emitters, the youngest first.
#[utoipa::path(get, path = "/v1/emitters", tag = "evidence", security(("bearer" = [])),
    params(EmitterParameters), responses((status = 200, body = EmitterPageView)))]
pub(super) async fn list(
    State(app): State<App>,
    _: EvidenceReader,
    Parameters(parameters): Parameters<EmitterParameters>,
) -> Result<Json<EmitterPageView>, ApiError> {
    let limit = limit(parameters.limit.as_deref(), DEFAULT_LIMIT, MAX_LIMIT)?;
    let before = parameters.cursor.as_deref().map(str::parse).transpose();
    let before = before.map_err(|_| {
        let detail = "`cursor` must be the `next_cursor` of a page";
        ApiError::bad_request("bad_parameter", detail)
    })?;
    let page = app.store.emitters(before, limit).await?;
    Ok(Json(EmitterPageView {
        emitters: page.epochs.into_iter().map(EmitterView::from).collect(),
        next_cursor: page.next.map(|next| next.to_string()),
    }))
}
