//! What is measured: a chat request of 2 KB and sets of rules that ask about it.
//!
//! Each condition is one CEL text, evaluated by us as `when:` of a rule and by the `cel`
//! crate as it stands. The measuring itself is `jupiter_bench_probe`, which also runs
//! inside Envoy.

pub mod sets;
pub mod texts;
