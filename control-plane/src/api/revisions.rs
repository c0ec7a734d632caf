//! The past of policies: who changed what when, how texts differ, and going back.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::ApiError;
use super::evidence::limit;
use super::extract::{JsonBody, Parameters, PolicyReader, PolicyWriter, Precondition, has_version};
use super::policies::{Form, PutView, etag, put_view, unknown_policy};
use crate::app::App;
use crate::history::{self, HistoryError};
use crate::publish::{self, PolicyName};
use crate::store::{PastRevision, RevisionSummary};

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 500;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryParameters {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Revisions of a page, 1 to 500; 100 when not given.
    limit: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HistoryView {
    revisions: Vec<RevisionView>,
    /// Where to go on; `null` at the end.
    next_cursor: Option<String>,
}

/// One revision of a policy.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RevisionView {
    name: String,
    revision: u64,
    /// This revision took the policy out of force; it has no text.
    deleted: bool,
    /// The author's own version number.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// Name of the token that made it, or the committer.
    author: String,
    created_at: String,
    /// The Git commit that brought it.
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
    /// The text exactly as it was put; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
}

impl From<RevisionSummary> for RevisionView {
    fn from(summary: RevisionSummary) -> RevisionView {
        RevisionView {
            name: summary.name,
            revision: summary.revision,
            deleted: summary.deleted,
            version: summary.version,
            description: summary.description,
            author: summary.author,
            created_at: format!("{:.6}", summary.created_at),
            commit: summary.commit,
            source: None,
        }
    }
}

/// What became of a policy, newest first: who changed it when.
#[utoipa::path(get, path = "/v1/policies/{name}/revisions", tag = "policies",
    security(("bearer" = [])),
    params(("name" = String, Path, description = "Name of the policy"), HistoryParameters),
    responses((status = 200, body = HistoryView)))]
pub(super) async fn list(
    State(app): State<App>,
    _: PolicyReader,
    Path(name): Path<String>,
    Parameters(parameters): Parameters<HistoryParameters>,
) -> Result<Json<HistoryView>, ApiError> {
    let limit = limit(parameters.limit.as_deref(), DEFAULT_LIMIT, MAX_LIMIT)?;
    let before = parameters.cursor.as_deref().map(str::parse).transpose();
    let before = before.map_err(|_| {
        let detail = "`cursor` must be the `next_cursor` of a page";
        ApiError::bad_request("bad_parameter", detail)
    })?;
    let page = app.store.policy_history(&name, before, limit).await?;
    if page.revisions.is_empty() && before.is_none() {
        return Err(unknown_policy(&name));
    }
    Ok(Json(HistoryView {
        revisions: page.revisions.into_iter().map(RevisionView::from).collect(),
        next_cursor: page.next.map(|next| next.to_string()),
    }))
}

/// One revision: with `Accept: application/yaml` its exact text, else JSON.
#[utoipa::path(get, path = "/v1/policies/{name}/revisions/{revision}", tag = "policies",
    security(("bearer" = [])),
    params(
        ("name" = String, Path, description = "Name of the policy"),
        ("revision" = u64, Path, description = "Its number"),
    ),
    responses(
        (status = 200, headers(("etag" = String, description = "The revision")), content(
            (RevisionView = "application/json"),
            (String = "application/yaml"),
        )),
        (status = 304, description = "The client has it"),
    ))]
pub(super) async fn get(
    State(app): State<App>,
    _: PolicyReader,
    Path((name, revision)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let form = Form::wanted(&headers, &Form::OF_POLICIES)?;
    let number = revision.parse().map_err(|_| {
        let detail = format!("there is no revision `{revision}` of the policy `{name}`");
        ApiError::not_found("unknown_revision", detail)
    })?;
    let past = history::revision(&app, &name, number).await?;
    let tag = etag(number);
    let vary = (header::VARY, HeaderValue::from_static("accept"));
    if has_version(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)], [vary]).into_response());
    }
    let PastRevision { summary, source } = past;
    Ok(match (form, source) {
        (Form::Json, source) => {
            let view = RevisionView {
                source,
                ..summary.into()
            };
            ([(header::ETAG, tag)], [vary], Json(view)).into_response()
        }
        (Form::Plain, Some(source)) => {
            let yaml = HeaderValue::from_static("application/yaml");
            let yaml = (header::CONTENT_TYPE, yaml);
            ([(header::ETAG, tag)], [vary, yaml], source).into_response()
        }
        (Form::Plain, None) => {
            let detail = format!("revision {number} deleted the policy `{name}`: it has no text");
            return Err(ApiError::new(StatusCode::GONE, "deleted_revision", detail));
        }
    })
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RollbackRequest {
    /// The revision whose text is to be in force again.
    revision: u64,
}

/// Puts an earlier text in force again, as a new revision.
///
/// It must still be valid. A policy that was deleted comes back. With `If-Match`
/// only that revision is replaced, with `If-None-Match: *` none is.
#[utoipa::path(post, path = "/v1/policies/{name}/rollback", tag = "policies",
    security(("bearer" = [])),
    params(("name" = String, Path, description = "Name of the policy")),
    request_body = RollbackRequest,
    responses((status = 200, description = "It is in force, or was already", body = PutView)))]
pub(super) async fn rollback(
    State(app): State<App>,
    author: PolicyWriter,
    Path(name): Path<String>,
    Precondition(expected): Precondition,
    JsonBody(request): JsonBody<RollbackRequest>,
) -> Result<Response, ApiError> {
    let name = PolicyName::parse(&name).ok_or_else(|| unknown_policy(&name))?;
    let author = &author.principal;
    let put = publish::rollback_policy(&app, author, &name, request.revision, expected).await?;
    let tag = etag(put.policy.revision);
    Ok(([(header::ETAG, tag)], Json(put_view(put))).into_response())
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DiffParameters {
    /// The older revision; the one before `to` when not given.
    from: Option<String>,
    /// The newer revision; the one in force when not given, or else the last.
    to: Option<String>,
}

/// How a policy changed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DiffView {
    name: String,
    /// `null`: there was nothing before.
    from: Option<u64>,
    to: u64,
    /// Unified; empty when nothing changed. A deleted policy has no lines.
    diff: String,
}

/// How one revision became another: with `Accept: text/plain` a unified diff.
#[utoipa::path(get, path = "/v1/policies/{name}/diff", tag = "policies", security(("bearer" = [])),
    params(("name" = String, Path, description = "Name of the policy"), DiffParameters),
    responses((status = 200, content(
        (DiffView = "application/json"),
        (String = "text/plain"),
    ))))]
pub(super) async fn diff(
    State(app): State<App>,
    _: PolicyReader,
    Path(name): Path<String>,
    Parameters(parameters): Parameters<DiffParameters>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let form = Form::wanted(&headers, &Form::OF_DIFFERENCES)?;
    let from = number("from", parameters.from.as_deref())?;
    let to = number("to", parameters.to.as_deref())?;
    let difference = history::difference(&app, &name, from, to).await?;
    let vary = [(header::VARY, HeaderValue::from_static("accept"))];
    Ok(match form {
        Form::Plain => (vary, difference.unified).into_response(),
        Form::Json => {
            let view = DiffView {
                name,
                from: difference.from,
                to: difference.to,
                diff: difference.unified,
            };
            (vary, Json(view)).into_response()
        }
    })
}

fn number(name: &str, text: Option<&str>) -> Result<Option<u64>, ApiError> {
    let number = text.map(str::parse).transpose();
    number.map_err(|_| {
        let detail = format!("`{name}` must be the number of a revision");
        ApiError::bad_request("bad_parameter", detail)
    })
}

impl From<HistoryError> for ApiError {
    fn from(error: HistoryError) -> ApiError {
        let detail = error.to_string();
        match error {
            HistoryError::UnknownPolicy(_) => ApiError::not_found("unknown_policy", detail),
            HistoryError::UnknownRevision { .. } => ApiError::not_found("unknown_revision", detail),
            HistoryError::Store(error) => error.into(),
            HistoryError::Interrupted => ApiError::internal(&error),
        }
    }
}
