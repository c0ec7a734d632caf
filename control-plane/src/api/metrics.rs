//! Metrics for Prometheus, on a port of their own.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::metrics::CONTENT_TYPE;

/// `GET /metrics`.
pub(super) async fn scrape(State(app): State<App>) -> Response {
    app.measure().await;
    match app.metrics.encode() {
        Ok(text) => {
            let content_type = HeaderValue::from_static(CONTENT_TYPE);
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
