//! Metrics for Prometheus, on a port of their own: this process's, and those
//! that the filter counts inside Envoy.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::envoy::admin::EnvoyAdmin;
use crate::metrics::CONTENT_TYPE;

/// What [`scrape`] asks.
#[derive(Debug, Clone)]
pub(super) struct Sources {
    pub(super) app: App,
    /// The Envoy beside us.
    pub(super) envoy: Option<EnvoyAdmin>,
}

/// `GET /metrics`.
pub(super) async fn scrape(State(sources): State<Sources>) -> Response {
    let Sources { app, envoy } = sources;
    app.measure().await;
    let filter = match envoy {
        None => None,
        Some(envoy) => envoy.filter_metrics().await.ok(),
    };
    app.metrics.envoy_stats_up.set(i64::from(filter.is_some()));
    match app.metrics.encode(&filter.unwrap_or_default()) {
        Ok(text) => {
            let content_type = HeaderValue::from_static(CONTENT_TYPE);
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
