//! Policies: the vocabulary, and the total function [`decide`].
//!
//! A policy travels one way: text → `author` (parse, validate, compile) → bundle bytes
//! → [`Bundle::load`] → [`decide`]. The filter is built without the feature `author`: it
//! carries the loader and the evaluator, never a parser.
//!
//! Promises: no I/O, clock or randomness; the same texts make the same bytes on every
//! machine; a bundle that loads is decided without panic, loop or surprise.

#[cfg(feature = "author")]
pub mod author;
mod calendar;
mod code;
mod decide;
mod decimal;
mod decision;
#[cfg(all(test, feature = "author"))]
mod equivalence;
mod eval;
pub mod facts;
mod grounds;
mod hearing;
mod letters;
mod load;
#[cfg(feature = "author")]
mod names;
mod program;
mod reading;
mod records;
#[cfg(feature = "author")]
mod replay;
mod scans;
mod settings;
mod stages;
mod symbols;
mod views;

#[cfg(feature = "author")]
pub use author::{
    Checked, CompileError, Diagnostic, Policy, Severity, Span, check, compile, render,
};
pub use decide::{decide, decide_response, decide_streaming};
pub use decision::{
    ActionRequest, AlertSeverity, BudgetUnit, ChosenAnswer, ChosenTexts, Decision, Denial, Effect,
    LogLevel, LogLine, MatchedRule, ModifyValue, RedactMethod, RequestedAction, Verdict, Window,
};
pub use hearing::{Heard, Hearing};
pub use load::{Bundle, BundleDigest, LoadError, LoadedPolicy};
pub use program::{FORMAT_VERSION, MAX_BUNDLE_BYTES};
#[cfg(feature = "author")]
pub use replay::{Kept, Replayed, replay};
pub use settings::{Durability, Mode, OnError, Phase, RuleSettings};
pub use stages::{ExactFrom, Needs};
