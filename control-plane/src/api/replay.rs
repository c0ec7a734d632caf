//! Candidate policies over stored evidence, before they are published.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ApiError;
use super::evidence::{read_cursor, time, write_cursor};
use super::extract::{EvidenceReader, JsonBody};
use crate::app::App;
use crate::replay::{self, ReplayError, Report};
use crate::store::EvidenceFilter;

const DEFAULT_LIMIT: u32 = 1_000;
const MAX_LIMIT: u32 = 5_000;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayRequest {
    /// Texts of policies. Each takes the place of the one in force of its name; the other
    /// policies in force are evaluated beside them.
    policies: Vec<String>,
    /// Only exchanges not before this time (RFC 3339).
    #[serde(default)]
    since: Option<String>,
    /// Only exchanges before this time (RFC 3339).
    #[serde(default)]
    until: Option<String>,
    /// Only exchanges of this subject.
    #[serde(default)]
    subject: Option<String>,
    /// Only exchanges that asked for this model.
    #[serde(default)]
    model: Option<String>,
    /// What `context.environment` was, which records do not say.
    #[serde(default)]
    environment: Option<String>,
    /// `next_cursor` of the answer before.
    #[serde(default)]
    cursor: Option<String>,
    /// Records of this call, 1 to 5000; 1000 when not given.
    #[serde(default)]
    limit: Option<u32>,
}

/// What would have come of recorded requests.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReplayView {
    /// Records that were read, newest first.
    records: u64,
    /// Decided as they were.
    same: u64,
    /// Of requests that no policy decided.
    not_judged: u64,
    differing: Vec<DifferingView>,
    /// What cannot be told from the facts that records keep.
    untold: Vec<UntoldView>,
    /// Where to go on; `null` at the end.
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DifferingView {
    /// `allow` or `deny`.
    was: &'static str,
    would_be: &'static str,
    /// `policy/rule`: the one that would refuse, or that did.
    rule: Option<String>,
    exchanges: u64,
    subjects: Vec<SubjectView>,
    /// Ids of some of the records.
    examples: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SubjectView {
    /// `null`: not known.
    subject: Option<String>,
    exchanges: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UntoldView {
    /// `policy/rule` whose condition could not be told.
    rule: String,
    /// Fields that records do not keep.
    fields: Vec<String>,
    exchanges: u64,
}

impl From<Report> for ReplayView {
    fn from(report: Report) -> ReplayView {
        let differing = report.differing.into_iter().map(|(change, differing)| {
            let subjects = differing.subjects.into_iter();
            DifferingView {
                was: change.was,
                would_be: change.would_be,
                rule: change.rule,
                exchanges: differing.exchanges,
                subjects: subjects
                    .map(|(subject, exchanges)| SubjectView {
                        subject: (!subject.is_empty()).then_some(subject),
                        exchanges,
                    })
                    .collect(),
                examples: differing.examples.iter().map(ToString::to_string).collect(),
            }
        });
        let untold = report.untold.into_iter();
        ReplayView {
            records: report.records,
            same: report.same,
            not_judged: report.not_judged,
            differing: differing.collect(),
            untold: untold
                .map(|((rule, fields), exchanges)| UntoldView {
                    rule,
                    fields,
                    exchanges,
                })
                .collect(),
            next_cursor: report.next.map(write_cursor),
        }
    }
}

impl From<ReplayError> for ApiError {
    fn from(error: ReplayError) -> ApiError {
        match error {
            ReplayError::Policies(error) => error.into(),
            ReplayError::Store(error) => error.into(),
            ReplayError::Unreadable => ApiError::internal(&error),
        }
    }
}

/// Which recorded requests candidate policies would decide otherwise. Nothing is published.
#[utoipa::path(post, path = "/v1/policies/replay", tag = "policies", security(("bearer" = [])),
    request_body = ReplayRequest, responses((status = 200, body = ReplayView)))]
pub(super) async fn replay(
    State(app): State<App>,
    _: EvidenceReader,
    JsonBody(request): JsonBody<ReplayRequest>,
) -> Result<Json<ReplayView>, ApiError> {
    let limit = request.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        let detail = format!("`limit` must be a number from 1 to {MAX_LIMIT}");
        return Err(ApiError::bad_request("bad_parameter", detail));
    }
    let asked = replay::Request {
        policies: request.policies,
        filter: EvidenceFilter {
            since: time("since", request.since)?,
            until: time("until", request.until)?,
            subject: request.subject,
            model: request.model,
            decision: None,
            rule: None,
        },
        environment: request.environment,
        before: request.cursor.as_deref().map(read_cursor).transpose()?,
        limit,
    };
    Ok(Json(replay::replay(&app, asked).await?.into()))
}
