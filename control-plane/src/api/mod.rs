//! The admin API: every path, who may use it, and the operation behind it.
//!
//! Handlers extract, call one operation and shape the answer; wire types stand
//! beside them. [`frame`] surrounds them all. The same list of routes makes the
//! router and its OpenAPI description, and the description decides which query
//! parameters exist.

mod bundles;
mod discovery;
mod emitters;
mod erasures;
mod error;
mod evidence;
mod extract;
mod frame;
mod gaps;
mod health;
mod holds;
mod idempotency;
mod instance;
mod log;
mod metrics;
mod openapi;
mod personal;
mod policies;
mod replay;
mod retentions;
mod revisions;
mod serve;
mod source;
mod tokens;

use axum::extract::DefaultBodyLimit;
use axum::{Extension, Router, middleware};
use std::sync::Arc;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::envoy::admin::EnvoyAdmin;
use crate::ingest;

pub use serve::{serve, serve_metrics};

/// A policy and its comments; the language itself reads no longer texts.
const MAX_POLICY_BYTES: usize = 1024 * 1024;

/// 63 hashes and a checkpoint of many signatures.
const MAX_SUBMISSION_BYTES: usize = 64 * 1024;

/// Everything served on the admin address.
pub fn router(app: App) -> Router {
    let (router, api) = routes().split_for_parts();
    let known_queries = frame::KnownQueries::of(&api);
    router
        .layer(Extension(Arc::new(openapi::ApiDocument::new(api))))
        .layer(
            ServiceBuilder::new()
                .layer(middleware::from_fn_with_state(app.clone(), frame::frame))
                .layer(CatchPanicLayer::custom(frame::panicked))
                .layer(middleware::from_fn_with_state(
                    known_queries,
                    frame::refuse_unknown_queries,
                )),
        )
        .with_state(app)
}

/// Everything served on the metrics address; what the filter counts is asked of that Envoy.
pub fn metrics_router(app: App, envoy: Option<EnvoyAdmin>) -> Router {
    Router::new()
        .route("/metrics", axum::routing::get(metrics::scrape))
        .with_state(metrics::Sources { app, envoy })
}

fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(policies::list))
        .routes(routes!(policies::get, policies::put, policies::delete))
        .routes(routes!(policies::validate))
        .routes(routes!(replay::replay))
        .routes(routes!(source::get))
        .routes(routes!(revisions::list))
        .routes(routes!(revisions::get))
        .routes(routes!(revisions::rollback))
        .routes(routes!(revisions::diff))
        .routes(routes!(bundles::current))
        .routes(routes!(discovery::extension_configs))
        .routes(routes!(evidence::get))
        .routes(routes!(evidence::schema))
        .routes(routes!(personal::get))
        .routes(routes!(erasures::list, erasures::erase))
        .routes(routes!(holds::list, holds::place))
        .routes(routes!(holds::release))
        .routes(routes!(retentions::list))
        .routes(routes!(gaps::list))
        .routes(routes!(log::proof))
        .routes(routes!(log::checkpoint))
        .routes(routes!(log::tile))
        .routes(routes!(emitters::list))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(idempotency::claim))
        .routes(routes!(instance::get))
        .routes(routes!(instance::drain))
        .routes(routes!(instance::undrain))
        .routes(routes!(openapi::document))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::health))
        .routes(routes!(health::deep))
        .layer(DefaultBodyLimit::max(MAX_POLICY_BYTES))
        .merge(evidence_routes())
        .merge(witness_routes())
}

/// Batches may be larger than other bodies.
fn evidence_routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(evidence::query, evidence::deliver))
        .routes(routes!(evidence::deliver_intent))
        .routes(routes!(idempotency::keep))
        .layer(DefaultBodyLimit::max(ingest::MAX_BODY_BYTES))
}

/// From anyone, so no longer than they need to be.
fn witness_routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(log::add_checkpoint))
        .layer(DefaultBodyLimit::max(MAX_SUBMISSION_BYTES))
}

#[cfg(test)]
mod tests;
