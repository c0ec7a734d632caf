//! The control plane: policies, evidence, health, and the Envoy beside it.

pub mod app;
pub mod auth;
pub mod config;
pub mod envoy;
pub mod ingest;
pub mod metrics;
pub mod publish;
pub mod store;
