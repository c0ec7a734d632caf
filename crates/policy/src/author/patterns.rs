//! Regular expressions of a policy, compiled while it is checked.
//!
//! Compiling one may take a tenth of a second, so the work spent on a policy is bounded
//! by what would fit into a bundle anyway.

use super::checker::{Checker, shown};
use super::diagnostics::Code;
use super::operands::Place;
use crate::program::MAX_BUNDLE_BYTES;
use jupiter_matchers::PatternError;
use std::collections::HashMap;
use std::sync::Arc;

/// Most patterns of a policy that are tried and found too large.
const MAX_FAILURES: usize = 10;

/// Compiled once per text, however often a policy uses it.
#[derive(Default)]
pub(super) struct Patterns {
    compiled: HashMap<String, Result<Arc<[u8]>, PatternError>>,
    bytes: usize,
    failures: usize,
}

impl Patterns {
    fn compile(&mut self, pattern: &str) -> Result<Arc<[u8]>, PatternError> {
        if let Some(known) = self.compiled.get(pattern) {
            return known.clone();
        }
        if self.failures >= MAX_FAILURES || self.bytes > MAX_BUNDLE_BYTES {
            return Err(PatternError::TooLarge);
        }
        let compiled: Result<Arc<[u8]>, _> = jupiter_matchers::compile(pattern).map(Arc::from);
        match &compiled {
            Ok(bytes) => self.bytes += bytes.len(),
            Err(_) => self.failures += 1,
        }
        self.compiled.insert(pattern.to_owned(), compiled.clone());
        compiled
    }
}

impl Checker<'_> {
    /// The bytes of a pattern; `None` after a diagnostic.
    pub(super) fn pattern(&mut self, pattern: &str, at: Place<'_>) -> Option<Arc<[u8]>> {
        let cause = match self.patterns.compile(pattern) {
            Ok(bytes) => return Some(bytes),
            Err(cause) => cause,
        };
        let (code, help) = match &cause {
            PatternError::Syntax { start, end, .. } => {
                let part = pattern.get(*start..*end).filter(|part| !part.is_empty());
                let help = match part {
                    Some(part) => format!("look at `{}`", shown(part)),
                    None => format!("look after byte {start} of the pattern"),
                };
                (Code::BadPattern, help)
            }
            PatternError::Unsupported(_) => {
                let help = "patterns follow RE2: linear time, no look-around";
                (Code::BadPattern, help.to_owned())
            }
            PatternError::TooLarge | PatternError::TextTooLong { .. } => {
                let help = "counted repeats of `.` and of classes take most: use `*` instead of \
                            `{0,40}`, or two simpler patterns under `all`";
                (Code::PatternTooLarge, help.to_owned())
            }
        };
        self.report_with_help(code, at.value, format!("unusable pattern: {cause}"), help);
        None
    }
}
