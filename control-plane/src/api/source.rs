//! Where policies come from, and how the last look there went.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::PolicyReader;
use super::policies::DiagnosticView;
use crate::app::App;
use crate::publish::set::FileFault;
use crate::source::{SourceFault, SourceKind};

/// Where policies come from.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SourceView {
    /// `api`, `dir` or `git`. Authors may change policies only with `api`.
    source: &'static str,
    /// What of it is in force: a commit, or a digest of the folder's content.
    revision: Option<String>,
    /// The Git commit in force.
    commit: Option<String>,
    /// When the source was last seen to be what is in force.
    last_success_at: Option<String>,
    last_attempt_at: Option<String>,
    /// Of the last attempt. What was in force before stays so.
    error: Option<SourceErrorView>,
}

/// Why what the source holds is not in force, or could not be looked at.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SourceErrorView {
    /// Stable, for programs.
    code: &'static str,
    message: String,
    /// The commit or content at fault.
    revision: Option<String>,
    diagnostics: Vec<FileDiagnosticView>,
}

/// What is wrong in which file.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FileDiagnosticView {
    file: String,
    #[serde(flatten)]
    diagnostic: DiagnosticView,
}

impl From<FileFault> for FileDiagnosticView {
    fn from(fault: FileFault) -> FileDiagnosticView {
        FileDiagnosticView {
            file: fault.file,
            diagnostic: fault.diagnostic.into(),
        }
    }
}

impl From<SourceFault> for SourceErrorView {
    fn from(fault: SourceFault) -> SourceErrorView {
        SourceErrorView {
            code: fault.code,
            message: fault.message,
            revision: fault.revision,
            diagnostics: fault
                .files
                .into_iter()
                .map(FileDiagnosticView::from)
                .collect(),
        }
    }
}

/// Where policies come from, and how the last look there went.
#[utoipa::path(get, path = "/v1/policies/source", tag = "policies", security(("bearer" = [])),
    responses((status = 200, body = SourceView)))]
pub(super) async fn get(State(app): State<App>, _: PolicyReader) -> Json<SourceView> {
    let status = app.source.status();
    let time = |at: jiff::Timestamp| format!("{at:.6}");
    Json(SourceView {
        source: app.source.kind().as_str(),
        revision: status.revision,
        commit: status.commit,
        last_success_at: status.last_success_at.map(time),
        last_attempt_at: status.last_attempt_at.map(time),
        error: status.fault.map(SourceErrorView::from),
    })
}

/// The line of `/readyz?verbose`, where authors do not put policies. Only told,
/// never judged: what is in force stays so, whatever becomes of its source.
pub(super) fn line(app: &App) -> Option<String> {
    if app.source.kind() == SourceKind::Api {
        return None;
    }
    let told = match app.source.status() {
        status if status.fault.is_some() => {
            let code = status.fault.map_or("", |fault| fault.code);
            format!("behind: {code} (GET /v1/policies/source tells more)")
        }
        status if status.last_success_at.is_none() => "not reached yet".to_owned(),
        _ => "ok".to_owned(),
    };
    Some(format!("[i]policy_source {told}\n"))
}
