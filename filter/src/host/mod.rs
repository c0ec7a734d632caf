//! Carries out what the pure logic decides, through the proxy-wasm ABI 0.2.1.
//!
//! [`abi`] wraps each host call into a `Result`, [`exports`] receives Envoy's
//! callbacks, [`vm`] holds what one VM keeps. No SDK: the published one traps
//! on statuses it does not expect, and a trap takes every exchange of the
//! worker with it.

mod abi;
mod exports;
mod metrics;
mod token;
mod vm;
