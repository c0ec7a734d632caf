//! The control plane: policies, evidence, health, and the Envoy beside it.

pub mod agent;
pub mod api;
pub mod app;
pub mod auth;
pub mod config;
pub mod cosign;
pub mod envoy;
pub mod erasure;
pub mod health;
pub mod history;
pub mod idempotency;
pub mod ingest;
pub mod metrics;
pub mod publish;
pub mod replay;
pub mod retention;
pub mod run;
pub mod seal;
pub mod source;
pub mod standing;
pub mod store;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod witness;
