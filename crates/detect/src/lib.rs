//! What is built in to be noticed in texts, in linear time: see [`detectors`].
//!
//! What policies look for themselves is in `crates/matchers`.

pub mod detectors;
