//! The filter that runs inside Envoy.

pub mod config;
