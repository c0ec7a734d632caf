//! Evidence: delivered by filters, read by auditors.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jupiter_evidence::DecisionKind;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::error::ApiError;
use super::extract::{ApiReader, EvidenceReader, EvidenceWriter, Lines, Parameters};
use super::retentions::retained_no_more;
use crate::app::App;
use crate::ingest::{self, Channel, IngestError, IngestReport};
use crate::store::{EvidenceFilter, StoredEvidence, Subject};

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 500;

/// What became of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReportView {
    /// New records, durably stored.
    accepted: u64,
    /// Records that were stored before.
    duplicates: u64,
    /// Lines that are no proper record; kept apart, and not to be sent again.
    quarantined: Vec<QuarantinedView>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QuarantinedView {
    /// Counted from 0.
    line: usize,
    /// Stable code.
    reason: &'static str,
}

/// Delivers evidence: one envelope a line. An answer of 200 means: durably stored.
#[utoipa::path(post, path = "/v1/evidence", tag = "evidence", security(("bearer" = [])),
    request_body(content = String, content_type = "application/x-ndjson"),
    responses((status = 200, body = ReportView)))]
pub(super) async fn deliver(
    State(app): State<App>,
    _: EvidenceWriter,
    Lines(body): Lines,
) -> Result<Json<ReportView>, ApiError> {
    let report = ingest::ingest(&app, Channel::Outbox, &body).await?;
    Ok(Json(report.into()))
}

/// Delivers the record of a request that waits for it: one provisional envelope. An answer
/// of 204 means: durably stored, the request may leave.
#[utoipa::path(post, path = "/v1/evidence/intents", tag = "evidence", security(("bearer" = [])),
    request_body(content = String, content_type = "application/x-ndjson"),
    responses((status = 204)))]
pub(super) async fn deliver_intent(
    State(app): State<App>,
    _: EvidenceWriter,
    Lines(body): Lines,
) -> Result<StatusCode, ApiError> {
    ingest::ingest_intent(&app, &body).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<IngestReport> for ReportView {
    fn from(report: IngestReport) -> ReportView {
        let quarantined = report.quarantined.into_iter().map(|line| QuarantinedView {
            line: line.line,
            reason: line.reason,
        });
        ReportView {
            accepted: report.accepted,
            duplicates: report.duplicates,
            quarantined: quarantined.collect(),
        }
    }
}

impl From<IngestError> for ApiError {
    fn from(error: IngestError) -> ApiError {
        let too_large =
            |detail| ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail);
        match error {
            IngestError::TooLarge | IngestError::TooManyLines => too_large(error.to_string()),
            IngestError::NoIntent(_) => ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "not_an_intent",
                error.to_string(),
            ),
            IngestError::Overloaded => ApiError::unavailable("overloaded", error.to_string()),
            IngestError::Store(error) => error.into(),
            IngestError::Interrupted => {
                ApiError::unavailable("interrupted", error.to_string()).caused_by(&error)
            }
        }
    }
}

/// Which records are asked for; all conditions hold together.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct QueryParameters {
    /// Not before this time (RFC 3339).
    since: Option<String>,
    /// Before this time (RFC 3339).
    until: Option<String>,
    /// Who asked, such as `key:0123456789abcdef`.
    subject: Option<String>,
    /// The model that was asked for.
    model: Option<String>,
    /// `allow`, `deny` or `error`.
    decision: Option<String>,
    /// A rule that matched: `rule` or `policy/rule`.
    rule: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Records of a page, 1 to 500; 50 when not given.
    limit: Option<String>,
}

/// Whom a record is of. It is no part of the record.
#[derive(Serialize, ToSchema)]
pub(super) struct SubjectView {
    /// `null` when the subject is erased.
    name: Option<String>,
    erased: bool,
}

impl SubjectView {
    pub(super) fn of(subject: Subject) -> Option<SubjectView> {
        match subject {
            Subject::Unknown => None,
            Subject::Known(name) => Some(SubjectView {
                name: Some(name),
                erased: false,
            }),
            Subject::Erased => Some(SubjectView {
                name: None,
                erased: true,
            }),
        }
    }
}

/// Records, newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct EvidencePageView {
    /// Each record in its canonical bytes.
    #[schema(value_type = Vec<Object>)]
    records: Vec<Box<RawValue>>,
    /// Whom each is of; `null` when that was never known.
    subjects: Vec<Option<SubjectView>>,
    /// Where each stands in the log; `null` while it waits for its place.
    leaf_indexes: Vec<Option<u64>>,
    /// Where to go on; `null` at the end.
    next_cursor: Option<String>,
}

/// Records of exchanges, newest first, page by page.
#[utoipa::path(get, path = "/v1/evidence", tag = "evidence", security(("bearer" = [])),
    params(QueryParameters), responses((status = 200, body = EvidencePageView)))]
pub(super) async fn query(
    State(app): State<App>,
    _: EvidenceReader,
    Parameters(parameters): Parameters<QueryParameters>,
) -> Result<Json<EvidencePageView>, ApiError> {
    let limit = limit(parameters.limit.as_deref(), DEFAULT_LIMIT, MAX_LIMIT)?;
    let before = parameters.cursor.as_deref().map(read_cursor).transpose()?;
    let filter = filter(parameters)?;
    let page = app.store.query_evidence(&filter, before, limit).await?;
    let records = page.records.into_iter().map(RawValue::from_string);
    let records = records.collect::<Result<_, _>>();
    Ok(Json(EvidencePageView {
        records: records.map_err(|error| ApiError::internal(&error))?,
        subjects: page.subjects.into_iter().map(SubjectView::of).collect(),
        leaf_indexes: page.leaf_indexes,
        next_cursor: page.next.map(write_cursor),
    }))
}

fn filter(parameters: QueryParameters) -> Result<EvidenceFilter, ApiError> {
    Ok(EvidenceFilter {
        since: time("since", parameters.since)?,
        until: time("until", parameters.until)?,
        subject: parameters.subject,
        model: parameters.model,
        decision: decision(parameters.decision.as_deref())?,
        rule: parameters.rule,
    })
}

fn bad_parameter(detail: impl Into<String>) -> ApiError {
    ApiError::bad_request("bad_parameter", detail)
}

pub(super) fn time(name: &str, text: Option<String>) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = text else {
        return Ok(None);
    };
    let wrong = |_| {
        bad_parameter(format!(
            "`{name}` must be a time such as 2026-11-23T17:00:00Z"
        ))
    };
    text.parse().map(Some).map_err(wrong)
}

fn decision(text: Option<&str>) -> Result<Option<DecisionKind>, ApiError> {
    match text {
        None => Ok(None),
        Some("allow") => Ok(Some(DecisionKind::Allow)),
        Some("deny") => Ok(Some(DecisionKind::Deny)),
        Some("error") => Ok(Some(DecisionKind::Error)),
        Some(_) => Err(bad_parameter(
            "`decision` must be `allow`, `deny` or `error`",
        )),
    }
}

pub(super) fn limit(text: Option<&str>, default: u32, most: u32) -> Result<u32, ApiError> {
    let Some(text) = text else {
        return Ok(default);
    };
    let number = text
        .parse()
        .ok()
        .filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| bad_parameter(format!("`limit` must be a number from 1 to {most}")))
}

/// The id of the last record, not to be understood by clients.
pub(super) fn write_cursor(id: Uuid) -> String {
    URL_SAFE_NO_PAD.encode(id.as_bytes())
}

pub(super) fn read_cursor(text: &str) -> Result<Uuid, ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    let id = bytes.and_then(|bytes| Uuid::from_slice(&bytes).ok());
    id.ok_or_else(|| bad_parameter("`cursor` must be the `next_cursor` of a page"))
}

/// The JSON Schema of a record.
#[utoipa::path(get, path = "/v1/evidence/schema", tag = "evidence", security(("bearer" = [])),
    responses((status = 200, content_type = "application/schema+json", body = serde_json::Value)))]
pub(super) async fn schema(_: ApiReader) -> Response {
    let json = HeaderValue::from_static("application/schema+json");
    (
        [(header::CONTENT_TYPE, json)],
        jupiter_evidence::RECORD_SCHEMA,
    )
        .into_response()
}

/// The record of this id, as long as it is retained.
pub(super) async fn stored(app: &App, id: &str) -> Result<StoredEvidence, ApiError> {
    let unknown = || ApiError::not_found("unknown_evidence", "there is no record of this id");
    let id = Uuid::try_parse(id).map_err(|_| unknown())?;
    if let Some(evidence) = app.store.evidence(id).await? {
        return Ok(evidence);
    }
    let retired = app.store.retired(id).await?;
    Err(retired.map_or_else(unknown, |retired| retained_no_more(&retired)))
}

/// One record, in its canonical bytes: SHA-256 over a zero byte and this body
/// is the leaf hash. What is known of its arrival is in the headers.
#[utoipa::path(get, path = "/v1/evidence/{id}", tag = "evidence", security(("bearer" = [])),
    params(("id" = String, Path, description = "`x-mercator-decision-id` of an answer")),
    responses((status = 200, body = serde_json::Value, headers(
        ("x-mercator-leaf-hash" = String, description = "SHA-256 leaf hash, hex"),
        ("x-mercator-received-at" = String, description = "When it was stored"),
        ("x-mercator-source" = String, description = "`outbox` or `witness`"),
        ("x-mercator-provisional" = bool, description = "How the exchange ended is not known"),
        ("x-mercator-leaf-index" = u64, description = "Its place in the log, once it has one"),
    ))))]
pub(super) async fn get(
    State(app): State<App>,
    _: EvidenceReader,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let evidence = stored(&app, &id).await?;
    let headers = [
        ("x-mercator-leaf-hash", evidence.leaf.to_string()),
        (
            "x-mercator-received-at",
            format!("{:.6}", evidence.received_at),
        ),
        ("x-mercator-source", evidence.source.as_str().to_owned()),
        ("x-mercator-provisional", evidence.provisional.to_string()),
    ];
    let index = evidence.leaf_index;
    let index = index.map(|index| [("x-mercator-leaf-index", index.to_string())]);
    let json = [(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    )];
    Ok((headers, index, json, evidence.canonical).into_response())
}
