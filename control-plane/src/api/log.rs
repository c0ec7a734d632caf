//! The log as C2SP `tlog-tiles` lays it out: checkpoint, tiles, records; and
//! the proof of one record.
//!
//! Everything here is under the published checkpoint, so that nobody can ask
//! for a hash that might still be another one tomorrow.

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jupiter_evidence::tree::{InclusionProof, TILE_WIDTH, TileId, Tiles, inclusion_path};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;
use uuid::Uuid;

use super::error::{ApiError, OwnBody};
use super::extract::{EvidenceReader, Parameters};
use crate::app::App;
use crate::cosign::{self, VouchError};
use crate::store::{LogRecord, StoreError, StoredCheckpoint};

/// A tile never changes; its hashes tell nothing.
const TILE_CACHE: &str = "public, max-age=31536000, immutable";

/// Nor do records, which are for those who may read them.
const ENTRIES_CACHE: &str = "private, max-age=31536000, immutable";

fn published(app: &App) -> Result<Arc<StoredCheckpoint>, ApiError> {
    app.log.told().ok_or_else(|| {
        let detail = "nothing is sealed yet: there is no checkpoint";
        ApiError::not_found("no_checkpoint", detail)
    })
}

fn text(body: String) -> Response {
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    let fresh = HeaderValue::from_static("no-cache");
    let headers = [
        (header::CONTENT_TYPE, plain),
        (header::CACHE_CONTROL, fresh),
    ];
    (headers, body).into_response()
}

fn binary(body: Vec<u8>, cache: &'static str) -> Response {
    let headers: [(HeaderName, HeaderValue); 2] = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static(cache)),
    ];
    (StatusCode::OK, headers, Body::from(body)).into_response()
}

/// The newest checkpoint: size and root of the log, signed (C2SP `tlog-checkpoint`), and
/// cosigned by those who vouch for it.
#[utoipa::path(get, path = "/v1/log/checkpoint", tag = "log", security(("bearer" = [])),
    responses((status = 200, content_type = "text/plain; charset=utf-8", body = String)))]
pub(super) async fn checkpoint(
    State(app): State<App>,
    _: EvidenceReader,
) -> Result<Response, ApiError> {
    Ok(text(published(&app)?.note.clone()))
}

/// Vouches for the checkpoint of another log (C2SP `tlog-witness`): old size, proof that
/// the checkpoint's tree contains the one cosigned before, checkpoint. Open to anyone:
/// the log's signature says who it is from. Logs are those of `evidence.cosign.logs`.
#[utoipa::path(post, path = "/v1/log/witness/add-checkpoint", tag = "log",
    request_body(content = String, content_type = "text/plain"),
    responses(
        (status = 200, description = "The cosignature: lines of a signed note",
            content_type = "text/plain; charset=utf-8", body = String),
        (status = 409, description = "Size of the checkpoint cosigned last",
            content_type = "text/x.tlog.size", body = String)))]
pub(super) async fn add_checkpoint(
    State(app): State<App>,
    submission: Bytes,
) -> Result<Response, ApiError> {
    let submission = std::str::from_utf8(&submission).unwrap_or_default();
    let refused = match cosign::vouch(&app, submission).await {
        Ok(line) => return Ok(text(line)),
        Err(refused) => refused,
    };
    let (status, code) = match refused {
        VouchError::Conflict { size } => {
            let size_type = HeaderValue::from_static("text/x.tlog.size");
            let headers = [(header::CONTENT_TYPE, size_type)];
            let answer = (StatusCode::CONFLICT, headers, format!("{size}\n"));
            return Ok((Extension(OwnBody), answer).into_response());
        }
        VouchError::Store(error) => return Err(error.into()),
        VouchError::Malformed => (StatusCode::BAD_REQUEST, "not_a_submission"),
        VouchError::OldIsLarger => (StatusCode::BAD_REQUEST, "old_size_too_large"),
        VouchError::UnknownLog => (StatusCode::NOT_FOUND, "unknown_log"),
        VouchError::NotSigned => (StatusCode::FORBIDDEN, "not_signed_by_its_log"),
        VouchError::NotConsistent => (StatusCode::UNPROCESSABLE_ENTITY, "not_consistent"),
    };
    Err(ApiError::new(status, code, refused.to_string()))
}

fn no_tile() -> ApiError {
    let detail = "the log has no such tile under its newest checkpoint";
    ApiError::not_found("unknown_tile", detail)
}

/// Hashes (`{level}/{index}`) or records (`entries/{index}`) of the log, as C2SP
/// `tlog-tiles` names them: `0/x001/234`, or `0/x001/234.p/56` while not full.
/// Records are length-prefixed by two bytes.
#[utoipa::path(get, path = "/v1/log/tile/{*tile}", tag = "log", security(("bearer" = [])),
    params(("tile" = String, Path, description = "Level, index, and width of the tile"),
        TileParameters),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>)))]
pub(super) async fn tile(
    State(app): State<App>,
    _: EvidenceReader,
    Path(tile): Path<String>,
    Parameters(parameters): Parameters<TileParameters>,
) -> Result<Response, ApiError> {
    let size = published(&app)?.size;
    if let Some(entries) = tile.strip_prefix("entries/") {
        let (index, width) = TileId::parse_index(entries).ok_or_else(no_tile)?;
        let absent = parameters.absent.as_deref();
        return entry_bundle(&app, size, index, width, absent).await;
    }
    let (id, width) = TileId::parse(&tile).ok_or_else(no_tile)?;
    // Hashes that the level has under the checkpoint.
    let hashes = size.checked_shr(8 * u32::from(id.level)).unwrap_or(0);
    in_tree(id.index, width, hashes)?;
    let stored = app.store.tiles(&[id]).await?.pop();
    let lost = || ApiError::from(StoreError::Corrupt("a tile is missing"));
    let mut stored = stored.ok_or_else(lost)?;
    if (stored.hashes.len() as u64) < width {
        return Err(lost());
    }
    stored.hashes.truncate(width as usize);
    Ok(binary(stored.to_bytes(), TILE_CACHE))
}

fn in_tree(index: u64, width: u64, hashes: u64) -> Result<u64, ApiError> {
    let first = index.checked_mul(TILE_WIDTH);
    let end = first.and_then(|first| first.checked_add(width));
    match (first, end) {
        (Some(first), Some(end)) if end <= hashes => Ok(first),
        _ => Err(no_tile()),
    }
}

/// What becomes of records in a bundle that are not stored.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TileParameters {
    /// Of a bundle of records: `empty` gives those that are not stored any more as empty
    /// ones; without it such a bundle is refused.
    absent: Option<String>,
}

async fn entry_bundle(
    app: &App,
    size: u64,
    index: u64,
    width: u64,
    absent: Option<&str>,
) -> Result<Response, ApiError> {
    let as_empty = match absent {
        None => false,
        Some("empty") => true,
        Some(_) => {
            let detail = "`absent` must be `empty`";
            return Err(ApiError::bad_request("bad_parameter", detail));
        }
    };
    let first = in_tree(index, width, size)?;
    let entries = app.store.log_entries(first, width as u32).await?;
    let mut bundle = Vec::new();
    for entry in &entries {
        let record = match (&entry.record, as_empty) {
            (LogRecord::Stored(record), _) => record.canonical.as_str(),
            (_, true) => "",
            (LogRecord::Lost, false) => return Err(lost("records are missing")),
            (LogRecord::LetGo, false) => {
                let detail = format!("number {} of the log is retained no more", entry.index);
                let gone = StatusCode::GONE;
                return Err(ApiError::new(gone, "retained_no_more", detail));
            }
        };
        let length = u16::try_from(record.len());
        let length = length.map_err(|_| lost("a record is longer than any that was taken in"))?;
        bundle.extend(length.to_be_bytes());
        bundle.extend(record.as_bytes());
    }
    match (entries.len() as u64 == width, as_empty) {
        (true, false) => Ok(binary(bundle, ENTRIES_CACHE)),
        (true, true) => Ok(binary(bundle, "no-cache")),
        (false, _) => Err(lost("records are missing")),
    }
}

fn lost(what: &'static str) -> ApiError {
    StoreError::Corrupt(what).into()
}

/// The proof that this record is in the log (C2SP `tlog-proof`), to be kept
/// beside its bytes and verified offline.
#[utoipa::path(get, path = "/v1/evidence/{id}/proof", tag = "evidence",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "`x-mercator-decision-id` of an answer")),
    responses((status = 200, content_type = "text/plain; charset=utf-8", body = String)))]
pub(super) async fn proof(
    State(app): State<App>,
    _: EvidenceReader,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let leaf_index = leaf_index(&app, &id).await?;
    let waits = || {
        let detail = "the record is stored and waits for the next checkpoint";
        ApiError::unavailable("not_sealed", detail)
    };
    let index = leaf_index.ok_or_else(waits)?;
    let checkpoint = app.log.told().filter(|c| index < c.size);
    let checkpoint = checkpoint.ok_or_else(waits)?;
    let path = inclusion_path(index, checkpoint.size);
    let tiles = app.store.tiles(&Tiles::needed_for(&path)).await?;
    let tiles: Tiles = tiles.into_iter().collect();
    let hashes = tiles.subtrees(&path);
    let lost = StoreError::Corrupt("a tile is missing");
    let proof = InclusionProof {
        index,
        hashes: hashes.ok_or_else(|| ApiError::from(lost))?,
        checkpoint: checkpoint.note.clone(),
    };
    Ok(text(proof.to_string()))
}

/// Where a record is in the tree, also when it is retained no more: its proof holds.
async fn leaf_index(app: &App, id: &str) -> Result<Option<u64>, ApiError> {
    let unknown = || ApiError::not_found("unknown_evidence", "there is no record of this id");
    let id = Uuid::try_parse(id).map_err(|_| unknown())?;
    if let Some(evidence) = app.store.evidence(id).await? {
        return Ok(evidence.leaf_index);
    }
    let retired = app.store.retired(id).await?;
    retired
        .map(|retired| Some(retired.leaf_index))
        .ok_or_else(unknown)
}
