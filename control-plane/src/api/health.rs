//! How this instance is, for those who decide whether to send it traffic.
//!
//! Open to everyone: the answers hold no detail that matters to a stranger,
//! and asking costs little ([`crate::health`]). Who may read evidence is also
//! told which database servers there are and how they stand.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::SignedDuration;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};

use super::extract::is_admitted;
use crate::app::App;
use crate::auth::Permission;
use crate::health::{Checkup, HealthReport, PROBE_TIMEOUT, Status};

/// Sealing takes about a second; a minute is a fault.
const SEALED_WITHIN: SignedDuration = SignedDuration::from_secs(60);

/// How all parts are.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeepView {
    /// `healthy`, `degraded` (a provider is in trouble) or `unhealthy`.
    status: &'static str,
    checks: ChecksView,
    uptime_seconds: u64,
    /// For a token that may read evidence: `starting`, `serving`, `draining` or `stopping`.
    #[serde(skip_serializing_if = "Option::is_none")]
    standing: Option<&'static str>,
    /// For such a token: what the evidence lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<EvidenceView>,
    /// For a token that may read evidence, where several servers make the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    database_servers: Option<Vec<ServerView>>,
}

/// A number is absent while it cannot be found out.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EvidenceView {
    /// How long ago nothing waited for a checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed_ms_ago: Option<i64>,
    /// Records that wait here for the database.
    queued_records: i64,
    /// Places of emitters' sequences that have no record.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_records: Option<u64>,
}

async fn evidence(app: &App) -> EvidenceView {
    let totals = tokio::time::timeout(PROBE_TIMEOUT, app.store.evidence_totals()).await;
    let sealed = app.log.sealed_ago(app.clock.now());
    EvidenceView {
        sealed_ms_ago: sealed.map(|ago| ago.as_millis() as i64),
        queued_records: app.metrics.evidence_queue_records.get(),
        missing_records: totals
            .ok()
            .and_then(Result::ok)
            .map(|totals| totals.missing),
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ServerView {
    host: String,
    /// `primary`, `standby`, `former_primary` (not to be used any more) or `away`.
    role: &'static str,
    /// How old what a standby shows may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_ms: Option<u64>,
}

fn servers(app: &App) -> Option<Vec<ServerView>> {
    let servers = app.store.servers();
    let views = servers.into_iter().map(|server| ServerView {
        host: server.host,
        role: server.role.as_str(),
        lag_ms: server.lag.map(|lag| lag.as_millis() as u64),
    });
    let views: Vec<ServerView> = views.collect();
    (!views.is_empty()).then_some(views)
}

/// Each part is `ok`, or a short reason.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChecksView {
    database: String,
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    #[serde(serialize_with = "in_order")]
    providers: Vec<(String, String)>,
    policy_engine: String,
    evidence_storage: String,
}

fn in_order<S: Serializer>(pairs: &[(String, String)], out: S) -> Result<S::Ok, S::Error> {
    let mut map = out.serialize_map(Some(pairs.len()))?;
    for (key, value) in pairs {
        map.serialize_entry(key, value)?;
    }
    map.end()
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HealthView {
    /// `ok`, `draining` or `unhealthy`.
    status: &'static str,
}

fn word(checkup: &Checkup) -> String {
    match checkup {
        Ok(()) => "ok".to_owned(),
        Err(reason) => reason.clone(),
    }
}

fn view(report: &HealthReport) -> DeepView {
    let providers = report.providers.iter();
    DeepView {
        status: match report.status() {
            Status::Healthy => "healthy",
            Status::Degraded => "degraded",
            Status::Unhealthy => "unhealthy",
        },
        checks: ChecksView {
            database: word(&report.database),
            providers: providers
                .map(|(name, checkup)| (name.clone(), word(checkup)))
                .collect(),
            policy_engine: word(&report.policy_engine),
            evidence_storage: word(&report.evidence_storage),
        },
        uptime_seconds: report.uptime.as_secs(),
        standing: None,
        evidence: None,
        database_servers: None,
    }
}

/// Answers are true for a moment only.
const NO_STORE: [(header::HeaderName, HeaderValue); 1] =
    [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];

fn status_of(well: bool) -> StatusCode {
    match well {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Every part, probed: database, evidence store, the filter in Envoy, providers.
#[utoipa::path(get, path = "/health/deep", tag = "health", responses(
    (status = 200, description = "Healthy or degraded", body = DeepView),
    (status = 503, description = "Unhealthy", body = DeepView)))]
pub(super) async fn deep(State(app): State<App>, headers: HeaderMap) -> Response {
    let (mut report, admitted) = tokio::join!(
        app.health.report(),
        is_admitted(&headers, &app, Permission::ReadEvidence)
    );
    // Not a reason to take no evidence: readiness is asked of storing alone.
    if let Some(refusal) = app.log.refusal() {
        report.evidence_storage = Err(format!("evidence is stored and not signed: {refusal}"));
    } else if let Some(ago) = app.log.sealed_ago(app.clock.now())
        && ago > SEALED_WITHIN
        && report.evidence_storage.is_ok()
    {
        let reason = format!("evidence was last sealed {} s ago", ago.as_secs());
        report.evidence_storage = Err(reason);
    }
    let mut view = view(&report);
    if admitted {
        view.standing = Some(app.standings.now().as_str());
        view.evidence = Some(evidence(&app).await);
        view.database_servers = servers(&app);
    }
    let status = status_of(report.status() != Status::Unhealthy);
    (status, NO_STORE, Json(view)).into_response()
}

/// Whether this control plane does its work. Traffic does not depend on it:
/// `/health` on the traffic port speaks for that.
#[utoipa::path(get, path = "/health", tag = "health", responses(
    (status = 200, body = HealthView), (status = 503, body = HealthView)))]
pub(super) async fn health(State(app): State<App>) -> Response {
    let (database, evidence) = tokio::join!(app.health.database(), app.health.evidence_storage());
    let leaving = app.standings.now().is_leaving();
    let well = database.is_ok() && evidence.is_ok() && !leaving;
    let status = match (well, leaving) {
        (true, _) => "ok",
        (false, true) => "draining",
        (false, false) => "unhealthy",
    };
    (status_of(well), NO_STORE, Json(HealthView { status })).into_response()
}

/// Whether the process lives.
#[utoipa::path(get, path = "/livez", tag = "health",
    responses((status = 200, content_type = "text/plain", body = String)))]
pub(super) async fn live() -> Response {
    (NO_STORE, "ok").into_response()
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadyParameters {
    /// With or without a value: list every check.
    verbose: Option<String>,
}

/// Whether requests to this API will be answered, in the manner of Kubernetes.
#[utoipa::path(get, path = "/readyz", tag = "health", params(ReadyParameters), responses(
    (status = 200, content_type = "text/plain", body = String),
    (status = 503, content_type = "text/plain", body = String)))]
pub(super) async fn ready(
    State(app): State<App>,
    Query(parameters): Query<ReadyParameters>,
) -> Response {
    let (database, evidence) = tokio::join!(app.health.database(), app.health.evidence_storage());
    let standing = match app.standings.now() {
        leaving if leaving.is_leaving() => Err(leaving.as_str().to_owned()),
        _ => Ok(()),
    };
    let ready = database.is_ok() && evidence.is_ok() && standing.is_ok();
    if ready && parameters.verbose.is_none() {
        return (NO_STORE, "ok").into_response();
    }
    let mut text = String::new();
    let checks = [
        ("database", database),
        ("evidence_storage", evidence),
        ("standing", standing),
    ];
    for (name, checkup) in checks {
        match checkup {
            Ok(()) => text.push_str(&format!("[+]{name} ok\n")),
            Err(reason) => text.push_str(&format!("[-]{name} failed: {reason}\n")),
        }
    }
    text.push_str(&super::source::line(&app).unwrap_or_default());
    text.push_str(match ready {
        true => "readyz check passed\n",
        false => "readyz check failed\n",
    });
    (status_of(ready), NO_STORE, text).into_response()
}
