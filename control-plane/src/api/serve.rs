//! Serves the routers on listeners that are bound already.

use std::io;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{metrics_router, router};
use crate::app::App;
use crate::envoy::admin::EnvoyAdmin;

/// The admin API, until `stop`; requests that have begun are answered.
pub async fn serve(listener: TcpListener, app: App, stop: CancellationToken) -> io::Result<()> {
    until_stop(listener, router(app), stop).await
}

/// The metrics, in the same way.
pub async fn serve_metrics(
    listener: TcpListener,
    app: App,
    envoy: EnvoyAdmin,
    stop: CancellationToken,
) -> io::Result<()> {
    until_stop(listener, metrics_router(app, Some(envoy)), stop).await
}

async fn until_stop(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}
