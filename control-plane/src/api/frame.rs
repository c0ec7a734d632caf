//! What happens around every request: its id, its bounds, its metrics, and the
//! body of a refusal.
//!
//! Bodies and credentials never reach the log. A panic is answered with 500
//! and ends nothing but its own request.

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::Map;
use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{Instrument, Span};
use utoipa::openapi::path::ParameterIn;
use utoipa::openapi::{OpenApi, PathItem, RefOr};
use uuid::Uuid;

use super::error::{ApiError, OwnBody, PendingProblem, Problem};
use crate::app::App;
use crate::metrics::{AnswerLabels, RouteLabels};
use crate::telemetry::spans;

const REQUEST_ID: &str = "x-request-id";

/// Longer than any bounded operation behind it, the upload of a body included.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Wraps the whole router.
pub(super) async fn frame(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    let method = method_label(request.method());
    let route = match request.extensions().get::<MatchedPath>() {
        Some(path) => path.as_str().to_owned(),
        None => "unmatched".to_owned(),
    };
    let _in_flight = InFlight::enter(&app);
    let span = tracing::info_span!("request", id, method, route);
    let exported = exported_span(method, &route, request.headers());
    let answered = tokio::time::timeout(TIMEOUT, next.run(request));
    let answered = answered.instrument(span.clone());
    let answered = answered.instrument(exported.clone()).await;
    let _entered = span.enter();
    let response = answered.unwrap_or_else(|_| {
        ApiError::unavailable("timeout", "the request took too long").into_response()
    });
    let mut response = with_problem(response, &id);
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    spans::answered(&exported, response.status().as_u16());
    observe(&app, method, route, response.status(), started.elapsed());
    response
}

/// Health checks come every second, and are no work.
fn exported_span(method: &'static str, route: &str, headers: &HeaderMap) -> Span {
    match route.starts_with("/v") {
        true => spans::request(method, route, |name| headers.get(name)?.to_str().ok()),
        false => Span::none(),
    }
}

/// The client's own id when it can be trusted to be one.
fn request_id(headers: &HeaderMap) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    headers
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .filter(|id| (1..=64).contains(&id.len()) && id.bytes().all(plain))
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// Methods are the client's to invent, labels are not.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

/// Counts the requests being answered, also those whose client hangs up.
struct InFlight(App);

impl InFlight {
    fn enter(app: &App) -> InFlight {
        app.metrics.http_in_flight.inc();
        InFlight(app.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.metrics.http_in_flight.dec();
    }
}

fn observe(app: &App, method: &'static str, route: String, status: StatusCode, took: Duration) {
    let status_class = match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    tracing::debug!(
        status = status.as_u16(),
        took_us = took.as_micros() as u64,
        "answered"
    );
    let labels = RouteLabels {
        method,
        route: route.clone(),
    };
    app.metrics
        .http_seconds
        .get_or_create(&labels)
        .observe(took.as_secs_f64());
    let labels = AnswerLabels {
        method,
        route,
        status_class,
    };
    app.metrics.http_requests.get_or_create(&labels).inc();
}

/// Gives every refusal its body, also those the framework makes by itself.
fn with_problem(mut response: Response, request_id: &str) -> Response {
    let status = response.status();
    let problem = match response.extensions_mut().remove::<PendingProblem>() {
        Some(problem) => problem,
        None if response.extensions_mut().remove::<OwnBody>().is_some() => return response,
        None if status.is_client_error() => of_status(status),
        None => return response,
    };
    if let Some(cause) = &problem.cause {
        tracing::error!(code = problem.code, cause, "request failed");
    }
    let body = Problem {
        type_uri: "about:blank",
        title: status.canonical_reason().unwrap_or("Refused"),
        status: status.as_u16(),
        code: problem.code,
        detail: &problem.detail,
        request_id,
        extra: &problem.extra,
    };
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.body_mut() = Body::from(body);
    response
}

fn of_status(status: StatusCode) -> PendingProblem {
    let (code, detail) = match status {
        StatusCode::NOT_FOUND => ("not_found", "there is nothing at this path"),
        StatusCode::METHOD_NOT_ALLOWED => ("method_not_allowed", "this path has other methods"),
        StatusCode::PAYLOAD_TOO_LARGE => ("body_too_large", "the body is too large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ("unsupported_media_type", "not a type taken here"),
        _ => ("bad_request", "the request cannot be read"),
    };
    PendingProblem {
        code,
        detail: detail.to_owned(),
        extra: Map::new(),
        cause: None,
    }
}

/// The answer to a request whose handler panicked; the panic's text may hold
/// anything and stays with the panic hook.
pub(super) fn panicked(_panic: Box<dyn Any + Send>) -> Response {
    let error = std::io::Error::other("a handler panicked");
    ApiError::internal(&error).into_response()
}

/// Which query parameters each operation takes, by the API's own description.
#[derive(Debug, Clone)]
pub(super) struct KnownQueries(Arc<HashMap<(Method, String), HashSet<String>>>);

impl KnownQueries {
    pub(super) fn of(api: &OpenApi) -> KnownQueries {
        let mut known = HashMap::new();
        for (path, item) in &api.paths.paths {
            for (method, operation) in operations(item) {
                let parameters = operation.parameters.iter().flatten();
                let queries = parameters.filter_map(|parameter| match parameter {
                    RefOr::T(p) if p.parameter_in == ParameterIn::Query => Some(p.name.clone()),
                    _ => None,
                });
                let names = queries.collect();
                known.insert((method, path.clone()), names);
            }
        }
        KnownQueries(Arc::new(known))
    }
}

pub(super) fn operations(
    item: &PathItem,
) -> impl Iterator<Item = (Method, &utoipa::openapi::path::Operation)> {
    [
        (Method::GET, &item.get),
        (Method::PUT, &item.put),
        (Method::POST, &item.post),
        (Method::DELETE, &item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
}

/// Refuses query parameters nobody reads: a misspelt filter must not silently
/// select everything. Health is lenient, as checkers add what they like.
pub(super) async fn refuse_unknown_queries(
    State(KnownQueries(known)): State<KnownQueries>,
    request: Request,
    next: Next,
) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map(|path| path.as_str().to_owned());
    let Some(route) = route.filter(|route| route.starts_with("/v")) else {
        return next.run(request).await;
    };
    let names = known.get(&(request.method().clone(), route));
    let unknown = request
        .uri()
        .query()
        .unwrap_or_default()
        .split('&')
        .any(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            !name.is_empty() && names.is_some_and(|names| !names.contains(name))
        });
    if !unknown {
        return next.run(request).await;
    }
    let names: Vec<&str> = names.into_iter().flatten().map(String::as_str).collect();
    let detail = match names.is_empty() {
        true => "this operation takes no query parameters".to_owned(),
        false => format!(
            "a query parameter is not one of {}",
            sorted(names).join(", ")
        ),
    };
    ApiError::bad_request("unknown_parameter", detail).into_response()
}

fn sorted(mut names: Vec<&str>) -> Vec<&str> {
    names.sort_unstable();
    names
}
