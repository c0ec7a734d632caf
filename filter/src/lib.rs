//! The filter that runs inside Envoy: reads every exchange, applies the
//! bundle in force, writes the evidence.
//!
//! Pure logic ([`inspector`], [`outbox`], [`bundles`]) takes events and
//! returns what is to be done; `host/`, which exists only in the wasm build,
//! carries it out. Nothing here panics: a fault becomes the configured
//! failure mode and a record.

pub mod answers;
pub mod bundles;
pub mod config;
pub mod estimate;
pub mod inspector;
pub mod metrics;
pub mod outbox;
pub mod record;
pub mod subject;
mod usage;

#[cfg(target_arch = "wasm32")]
mod host;
