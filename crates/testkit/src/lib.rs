//! What tests run against: real programs, and one fake.
//!
//! The fake is [`fake_provider`], because no test may depend on, or pay for, a
//! real model. It is also what `mercator fake-provider` serves. All else is
//! real: [`Instance`] runs `mercator run` and its Envoy, [`Traffic`] speaks to
//! the one, [`Admin`] to the other, [`postgres`] runs databases, [`HaProxy`] stands
//! before several instances, [`load`] asks at a fixed rate, [`collector`] takes telemetry. How
//! programs are started and broken is `jupiter_installation`; here it fails the test, with
//! advice. Nothing is ever skipped.

pub mod fake_provider;

#[cfg(feature = "harness")]
mod admin;
#[cfg(feature = "harness")]
pub mod collector;
#[cfg(feature = "harness")]
mod envoy;
#[cfg(feature = "harness")]
mod haproxy;
#[cfg(feature = "harness")]
mod instance;
#[cfg(feature = "harness")]
pub mod load;
#[cfg(feature = "harness")]
mod places;
#[cfg(feature = "harness")]
pub mod postgres;
#[cfg(feature = "harness")]
mod traffic;
#[cfg(feature = "harness")]
pub mod wait;

#[cfg(feature = "harness")]
pub use admin::{Admin, AdminReply};
#[cfg(feature = "harness")]
pub use envoy::{envoy_binary, start_envoy};
#[cfg(feature = "harness")]
pub use haproxy::{HaProxy, Shipped, check_haproxy_config, haproxy_binary};
#[cfg(feature = "harness")]
pub use instance::{Instance, InstanceBuilder, PollingEnvoy, filter_module};
#[cfg(feature = "harness")]
pub use jupiter_installation::{Partition, Program};
#[cfg(feature = "harness")]
pub use places::{free_port, project_root, target_dir};
#[cfg(feature = "harness")]
pub use traffic::{Answer, H2Answer, Traffic};
