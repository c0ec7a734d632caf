//! The Envoy beside this control plane: what it is configured with, how it is run.
//!
//! [`bootstrap`] is the whole configuration made from [`crate::config`], except
//! what changes while Envoy runs: the filter with its bundle ([`ecds`]) and the
//! credentials ([`sds`]), each in a file of its own. [`supervisor`] keeps the
//! process running.

pub mod admin;
pub mod binary;
pub mod bootstrap;
mod clusters;
pub mod ecds;
pub(crate) mod ends;
pub(crate) mod files;
mod jwt;
mod process;
mod replies;
pub mod routes;
pub mod sds;
mod stats;
pub mod supervisor;
pub mod yaml;

pub(crate) use clusters::cluster_of;

#[cfg(test)]
mod tests;
