//! What is missing from the evidence, and why.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::ApiError;
use super::evidence::limit;
use super::extract::{EvidenceReader, Parameters};
use crate::app::App;
use crate::store::{
    EnvoyEnd, EvidenceGaps, MissingPlaces, RecoveredRecord, UnfinishedRecord, UnrecordedExchange,
};

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1_000;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct GapParameters {
    /// At most so many of each kind, 1 to 1000; 100 when not given.
    limit: Option<String>,
}

/// What is missing, or nearly was; of each kind the latest.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GapsView {
    /// Records that were numbered and never came, by neither channel.
    missing_records: u64,
    missing: Vec<MissingView>,
    /// Exchanges in Envoy's access log of which the filter wrote no record.
    unrecorded_exchanges: u64,
    unrecorded: Vec<UnrecordedView>,
    /// Records that the outbox lost and the access log had.
    recovered_records: u64,
    recovered: Vec<RecoveredView>,
    /// Records stored before their request left, whose exchange has not ended, or how it
    /// ended never came.
    unfinished_records: u64,
    unfinished: Vec<UnfinishedView>,
    /// Envoys that ended when nobody asked them to.
    envoy_ends_total: u64,
    envoy_ends: Vec<EnvoyEndView>,
}

/// Places of a sequence, one after the other.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MissingView {
    /// Stable code: `not_delivered`.
    cause: &'static str,
    emitter: String,
    epoch: String,
    first_seq: u64,
    last_seq: u64,
    /// When a record of this sequence last came: what is missing may still come.
    last_received_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UnrecordedView {
    /// Stable code: `not_recorded`.
    cause: &'static str,
    found_at: String,
    instance: String,
    /// `x-request-id`, where it is an id.
    request_id: Option<String>,
    status_code: u16,
    /// Envoy's own word for how it ended.
    details: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecoveredView {
    /// Stable code: `outbox_lost`, or `filter_stopped` where how the exchange
    /// ended is not known.
    cause: &'static str,
    id: String,
    received_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UnfinishedView {
    /// Stable code: `outcome_unknown`.
    cause: &'static str,
    id: String,
    received_at: String,
}

impl From<UnfinishedRecord> for UnfinishedView {
    fn from(record: UnfinishedRecord) -> UnfinishedView {
        UnfinishedView {
            cause: "outcome_unknown",
            id: record.id.to_string(),
            received_at: format!("{:.6}", record.received_at),
        }
    }
}

/// Exchanges in flight or over between the two times may have no record.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EnvoyEndView {
    /// Stable code: `envoy_ended`.
    cause: &'static str,
    instance: String,
    /// Its last sign of life: what was over before is recorded.
    since: String,
    /// When its end was noticed.
    until: String,
    how: String,
}

impl From<EnvoyEnd> for EnvoyEndView {
    fn from(end: EnvoyEnd) -> EnvoyEndView {
        EnvoyEndView {
            cause: "envoy_ended",
            instance: end.instance,
            since: format!("{:.6}", end.since),
            until: format!("{:.6}", end.until),
            how: end.how,
        }
    }
}

impl From<MissingPlaces> for MissingView {
    fn from(places: MissingPlaces) -> MissingView {
        MissingView {
            cause: "not_delivered",
            emitter: places.emitter,
            epoch: places.epoch,
            first_seq: places.first_seq,
            last_seq: places.last_seq,
            last_received_at: format!("{:.6}", places.last_received_at),
        }
    }
}

impl From<UnrecordedExchange> for UnrecordedView {
    fn from(exchange: UnrecordedExchange) -> UnrecordedView {
        UnrecordedView {
            cause: "not_recorded",
            found_at: format!("{:.6}", exchange.found_at),
            instance: exchange.instance,
            request_id: exchange.request_id.map(|id| id.to_string()),
            status_code: exchange.status_code,
            details: exchange.details,
        }
    }
}

impl From<RecoveredRecord> for RecoveredView {
    fn from(record: RecoveredRecord) -> RecoveredView {
        RecoveredView {
            cause: match record.provisional {
                true => "filter_stopped",
                false => "outbox_lost",
            },
            id: record.id.to_string(),
            received_at: format!("{:.6}", record.received_at),
        }
    }
}

/// What is missing from the evidence, and why.
#[utoipa::path(get, path = "/v1/evidence/gaps", tag = "evidence", security(("bearer" = [])),
    params(GapParameters), responses((status = 200, body = GapsView)))]
pub(super) async fn list(
    State(app): State<App>,
    _: EvidenceReader,
    Parameters(parameters): Parameters<GapParameters>,
) -> Result<Json<GapsView>, ApiError> {
    let limit = limit(parameters.limit.as_deref(), DEFAULT_LIMIT, MAX_LIMIT)?;
    let gaps: EvidenceGaps = app.store.evidence_gaps(limit).await?;
    let missing_records = app.store.evidence_totals().await?.missing;
    Ok(Json(GapsView {
        missing_records,
        missing: gaps.missing.into_iter().map(Into::into).collect(),
        unrecorded_exchanges: gaps.unrecorded_total,
        unrecorded: gaps.unrecorded.into_iter().map(Into::into).collect(),
        recovered_records: gaps.recovered_total,
        recovered: gaps.recovered.into_iter().map(Into::into).collect(),
        unfinished_records: gaps.unfinished_total,
        unfinished: gaps.unfinished.into_iter().map(Into::into).collect(),
        envoy_ends_total: gaps.envoy_ends_total,
        envoy_ends: gaps.envoy_ends.into_iter().map(Into::into).collect(),
    }))
}
