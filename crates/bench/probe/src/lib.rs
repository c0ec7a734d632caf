//! What is measured and tried inside Envoy.
//!
//! The same code runs natively ([`tasks::carry_out`], called by `jupiter_bench`) and as a
//! wasm module in Envoy, where its configuration is the task and its log the answer. The
//! module is built in three sizes, see the features in `Cargo.toml`. Never shipped.

#[cfg(all(feature = "tasks", not(target_arch = "wasm32")))]
pub mod envoy;
#[cfg(feature = "cel")]
pub mod in_cel;
#[cfg(feature = "tasks")]
pub mod scans;
#[cfg(feature = "tasks")]
pub mod tasks;
#[cfg(feature = "tasks")]
mod timing;

#[cfg(target_arch = "wasm32")]
mod host;
