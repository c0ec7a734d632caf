//! Text matchers, compiled ahead of time and run in linear time.
//!
//! A pattern is turned into the bytes of a small table where policies are written
//! ([`compile()`], feature `compile`); where exchanges pass, [`TextPattern`] only loads
//! those bytes and walks them, and [`TextScanner`] asks a text for all patterns and
//! keywords of a bundle at once: no backtracking, no parser, one pass. The same pattern
//! gives the same bytes on every machine. Bytes from outside never panic: they load, or a
//! [`PatternLoadError`] says why not.
//!
//! What is built in to notice is in `crates/detect`.

#[cfg(feature = "compile")]
mod compile;
mod keywords;
mod lanes;
mod pattern;
mod scanner;
mod table;

#[cfg(feature = "compile")]
pub use compile::{MAX_PATTERN_BYTES, MAX_PATTERN_TEXT_BYTES, PatternError, compile};
pub use pattern::TextPattern;
pub use scanner::{Found, Keyword, PausedScan, Scan, TextScanner};
pub use table::PatternLoadError;
