//! Policies: what is in force, and putting another text in force.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jupiter_policy::{CompileError, Diagnostic};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;
use super::extract::{PolicyReader, PolicyText, PolicyWriter, Precondition, has_version, text_of};
use crate::app::App;
use crate::publish::{self, PolicyName, PublishError, Put};
use crate::source::SourceKind;
use crate::store::PolicyRevision;

/// A policy in force.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PolicyView {
    name: String,
    /// Counts the texts put under this name; also the ETag.
    revision: u64,
    /// The author's own version number.
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// Name of the token that put it, or the committer.
    author: String,
    created_at: String,
    /// The Git commit that brought it.
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
    /// The text exactly as it was put; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
}

impl PolicyView {
    fn new(policy: PolicyRevision) -> PolicyView {
        PolicyView {
            name: policy.name,
            revision: policy.revision,
            version: policy.version,
            description: policy.description,
            author: policy.author,
            created_at: format!("{:.6}", policy.created_at),
            commit: policy.commit,
            source: Some(policy.source),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PolicyList {
    policies: Vec<PolicyView>,
}

/// A policy that was put in force.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PutView {
    #[serde(flatten)]
    policy: PolicyView,
    /// Warnings only: a policy with errors is not put in force.
    diagnostics: Vec<DiagnosticView>,
    /// The bundle that filters enforce now.
    bundle_digest: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Validation {
    /// No diagnostic is an error.
    valid: bool,
    diagnostics: Vec<DiagnosticView>,
}

/// One thing the author should know.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DiagnosticView {
    severity: SeverityView,
    /// Stable, for programs.
    code: &'static str,
    message: String,
    span: SpanView,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum SeverityView {
    Error,
    Warning,
}

/// Lines and columns count from 1, offsets are bytes from 0; ends are exclusive.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SpanView {
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
    offset: usize,
    end_offset: usize,
}

impl From<Diagnostic> for DiagnosticView {
    fn from(diagnostic: Diagnostic) -> DiagnosticView {
        let span = diagnostic.span;
        DiagnosticView {
            severity: match diagnostic.severity {
                jupiter_policy::Severity::Error => SeverityView::Error,
                jupiter_policy::Severity::Warning => SeverityView::Warning,
            },
            code: diagnostic.code,
            message: diagnostic.message,
            span: SpanView {
                line: span.line,
                column: span.column,
                end_line: span.end_line,
                end_column: span.end_column,
                offset: span.offset,
                end_offset: span.end_offset,
            },
            help: diagnostic.help,
        }
    }
}

fn views(diagnostics: Vec<Diagnostic>) -> Vec<DiagnosticView> {
    diagnostics.into_iter().map(DiagnosticView::from).collect()
}

/// The policies in force, by name.
#[utoipa::path(get, path = "/v1/policies", tag = "policies", security(("bearer" = [])),
    responses((status = 200, body = PolicyList)))]
pub(super) async fn list(
    State(app): State<App>,
    _: PolicyReader,
) -> Result<Json<PolicyList>, ApiError> {
    let active = app.store.active_policies().await?;
    let policies = active.policies.into_iter().map(|policy| PolicyView {
        source: None,
        ..PolicyView::new(policy)
    });
    Ok(Json(PolicyList {
        policies: policies.collect(),
    }))
}

/// One policy: with `Accept: application/yaml` its exact text, else JSON.
#[utoipa::path(get, path = "/v1/policies/{name}", tag = "policies", security(("bearer" = [])),
    params(("name" = String, Path, description = "Name of the policy")),
    responses(
        (status = 200, headers(("etag" = String, description = "The revision")), content(
            (PolicyView = "application/json"),
            (String = "application/yaml"),
        )),
        (status = 304, description = "The client has this revision"),
    ))]
pub(super) async fn get(
    State(app): State<App>,
    _: PolicyReader,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let form = Form::wanted(&headers, &Form::OF_POLICIES)?;
    let policy = app.store.policy(&name).await?;
    let policy = policy.ok_or_else(|| unknown_policy(&name))?;
    let tag = etag(policy.revision);
    let vary = (header::VARY, HeaderValue::from_static("accept"));
    if has_version(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)], [vary]).into_response());
    }
    let yaml = (
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/yaml"),
    );
    Ok(match form {
        Form::Json => {
            ([(header::ETAG, tag)], [vary], Json(PolicyView::new(policy))).into_response()
        }
        Form::Plain => ([(header::ETAG, tag)], [vary, yaml], policy.source).into_response(),
    })
}

/// How something may be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    /// As text of its own kind.
    Plain,
}

/// The kinds of text that are [`Form::Plain`], and what to tell who wants others.
pub(super) struct PlainForms {
    types: &'static [&'static str],
    detail: &'static str,
}

impl Form {
    pub(super) const OF_POLICIES: PlainForms = PlainForms {
        types: &[
            "application/yaml",
            "application/x-yaml",
            "text/yaml",
            "text/x-yaml",
            "text/*",
        ],
        detail: "a policy comes as application/yaml or application/json",
    };

    pub(super) const OF_DIFFERENCES: PlainForms = PlainForms {
        types: &["text/plain", "text/*"],
        detail: "a difference comes as text/plain or application/json",
    };

    /// The first acceptable form in the client's list; preferences by `q` other
    /// than zero are not weighed.
    pub(super) fn wanted(headers: &HeaderMap, plain: &PlainForms) -> Result<Form, ApiError> {
        let accept = text_of(headers, header::ACCEPT).unwrap_or("*/*");
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
            if parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0" | "q=0.00" | "q=0.000")) {
                continue;
            }
            match media_type.as_str() {
                "application/json" | "application/*" | "*/*" | "" => return Ok(Form::Json),
                other if plain.types.contains(&other) => return Ok(Form::Plain),
                _ => {}
            }
        }
        Err(ApiError::new(
            StatusCode::NOT_ACCEPTABLE,
            "not_acceptable",
            plain.detail,
        ))
    }
}

/// Puts a policy in force, as soon as filters have the new bundle: within a second.
///
/// A policy with errors changes nothing. With `If-Match` only that revision is
/// replaced, with `If-None-Match: *` none is.
#[utoipa::path(put, path = "/v1/policies/{name}", tag = "policies", security(("bearer" = [])),
    params(("name" = String, Path, description = "Name of the policy, as in its text")),
    request_body(content(
        (String = "application/yaml"),
        (serde_json::Value = "application/json"),
    )),
    responses(
        (status = 200, description = "It replaced another text, or is in force already",
            body = PutView),
        (status = 201, description = "There was none of this name", body = PutView),
    ))]
pub(super) async fn put(
    State(app): State<App>,
    author: PolicyWriter,
    Path(name): Path<String>,
    Precondition(expected): Precondition,
    PolicyText(text): PolicyText,
) -> Result<Response, ApiError> {
    let name = PolicyName::parse(&name).ok_or_else(|| {
        let detail = "a policy's name has letters, digits, `-`, `_` and `.` only";
        ApiError::bad_request("bad_name", detail)
    })?;
    let put = publish::put_policy(&app, &author.principal, &name, text, expected).await?;
    let tag = etag(put.policy.revision);
    let status = match put.created {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    Ok((status, [(header::ETAG, tag)], Json(put_view(put))).into_response())
}

pub(super) fn put_view(put: Put) -> PutView {
    PutView {
        policy: PolicyView::new(put.policy),
        diagnostics: views(put.diagnostics),
        bundle_digest: put.bundle.digest.to_string(),
    }
}

/// Takes a policy out of force. Without any policy filters refuse everything.
#[utoipa::path(delete, path = "/v1/policies/{name}", tag = "policies", security(("bearer" = [])),
    params(("name" = String, Path, description = "Name of the policy")),
    responses((status = 204, description = "It is no longer in force")))]
pub(super) async fn delete(
    State(app): State<App>,
    author: PolicyWriter,
    Path(name): Path<String>,
    Precondition(expected): Precondition,
) -> Result<StatusCode, ApiError> {
    let name = PolicyName::parse(&name).ok_or_else(|| unknown_policy(&name))?;
    publish::delete_policy(&app, &author.principal, &name, expected).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Says what is wrong with a policy, without storing it.
#[utoipa::path(post, path = "/v1/policies/validate", tag = "policies", security(("bearer" = [])),
    request_body(content(
        (String = "application/yaml"),
        (serde_json::Value = "application/json"),
    )),
    responses((status = 200, body = Validation)))]
pub(super) async fn validate(
    _: PolicyWriter,
    PolicyText(text): PolicyText,
) -> Result<Json<Validation>, ApiError> {
    let checked = publish::validate(text).await?;
    Ok(Json(Validation {
        valid: checked.policy.is_some(),
        diagnostics: views(checked.diagnostics),
    }))
}

pub(super) fn etag(revision: u64) -> String {
    format!("\"{revision}\"")
}

pub(super) fn unknown_policy(name: &str) -> ApiError {
    ApiError::not_found("unknown_policy", format!("there is no policy `{name}`"))
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> ApiError {
        let detail = error.to_string();
        let invalid = |code| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail.clone());
        let conflict = |code| ApiError::new(StatusCode::CONFLICT, code, detail.clone());
        match error {
            PublishError::Invalid { diagnostics } => {
                invalid("invalid_policy").with("diagnostics", views(diagnostics))
            }
            PublishError::NameMismatch { .. } => invalid("name_mismatch"),
            PublishError::UnknownPolicy(name) => unknown_policy(name.as_str()),
            PublishError::UnknownRevision { .. } => ApiError::not_found("unknown_revision", detail),
            PublishError::RevisionDeleted { .. } => invalid("deleted_revision"),
            PublishError::ManagedElsewhere(SourceKind::Git) => conflict("policy_source_is_git"),
            PublishError::ManagedElsewhere(SourceKind::Dir | SourceKind::Api) => {
                conflict("policy_source_is_dir")
            }
            PublishError::Unexpected { revision } => {
                let status = StatusCode::PRECONDITION_FAILED;
                ApiError::new(status, "precondition_failed", detail).with("revision", revision)
            }
            PublishError::DoesNotCompile(CompileError::Unloadable(_)) => ApiError::internal(&error),
            PublishError::DoesNotCompile(_) => invalid("bundle_too_large"),
            PublishError::StoredPolicyInvalid { .. } => conflict("stored_policy_invalid"),
            PublishError::Raced => conflict("raced"),
            PublishError::Store(error) => error.into(),
            PublishError::Interrupted => ApiError::internal(&error),
        }
    }
}
