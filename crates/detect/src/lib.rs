//! Text matchers, compiled ahead of time and run in linear time.
//!
//! A pattern is turned into the bytes of a dense DFA where policies are written
//! ([`compile()`], feature `compile`); where exchanges pass, [`TextPattern`] only
//! loads those bytes and walks them: one step per byte of text, no backtracking,
//! no parser, no allocation. The same pattern gives the same bytes on every machine.
//! Bytes from outside never panic: they load, or a [`PatternLoadError`] says why not.

#[cfg(feature = "compile")]
mod compile;
mod pattern;

#[cfg(feature = "compile")]
pub use compile::{MAX_PATTERN_BYTES, MAX_PATTERN_TEXT_BYTES, PatternError, compile};
pub use pattern::{PatternLoadError, TextPattern};
