//! Takes this instance out of rotation, and puts it back.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;
use super::extract::InstanceManager;
use crate::app::App;
use crate::standing::StandingError;

/// What this instance wants to be sent.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InstanceView {
    /// `starting`, `serving`, `draining` or `stopping`.
    standing: &'static str,
    /// Exchanges that Envoy has begun and not ended; absent while it cannot be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight: Option<u64>,
}

async fn view(app: &App) -> Json<InstanceView> {
    Json(InstanceView {
        standing: app.standings.now().as_str(),
        in_flight: app.standings.in_flight().await.ok(),
    })
}

impl From<StandingError> for ApiError {
    fn from(error: StandingError) -> ApiError {
        match &error {
            StandingError::Stopping => {
                ApiError::new(StatusCode::CONFLICT, "stopping", error.to_string())
            }
            StandingError::Drain(_) | StandingError::Undrain(_) => {
                ApiError::unavailable("envoy_unreachable", error.to_string()).caused_by(&error)
            }
        }
    }
}

/// Whether this instance asks for traffic, and how much it has in hand.
#[utoipa::path(get, path = "/v1/instance", tag = "instance", security(("bearer" = [])),
    responses((status = 200, body = InstanceView)))]
pub(super) async fn get(State(app): State<App>, _: InstanceManager) -> Json<InstanceView> {
    view(&app).await
}

/// Leave rotation: `/health` is 503, the agent says `drain`; what comes anyway is served.
#[utoipa::path(post, path = "/v1/instance/drain", tag = "instance", security(("bearer" = [])),
    responses((status = 200, body = InstanceView)))]
pub(super) async fn drain(
    State(app): State<App>,
    _: InstanceManager,
) -> Result<Json<InstanceView>, ApiError> {
    app.standings.drain().await?;
    Ok(view(&app).await)
}

/// Back into rotation.
#[utoipa::path(post, path = "/v1/instance/undrain", tag = "instance", security(("bearer" = [])),
    responses((status = 200, body = InstanceView)))]
pub(super) async fn undrain(
    State(app): State<App>,
    _: InstanceManager,
) -> Result<Json<InstanceView>, ApiError> {
    app.standings.undrain().await?;
    Ok(view(&app).await)
}
