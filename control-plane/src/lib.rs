//! The control plane: policies, evidence, health, and the Envoy beside it.

pub mod config;
pub mod envoy;
pub mod publish;
