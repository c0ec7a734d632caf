//! Turns a regular expression into the bytes of a small table.
//!
//! The dialect is RE2's, as MPL authors know it: `\d \s \w \b` and their opposites
//! are ASCII; everything else (`.`, classes, `(?i)`) knows Unicode. This is also what
//! keeps tables small: Unicode `\w` alone takes more than a whole policy should.
//! There are no back-references and no look-around, so matching is linear.
//!
//! The steps, each its own file: `shorthands` (the dialect), `literals` (texts without
//! which there is no match), `utf8` (fewer states for `.`), `determinise` (NFA to DFA, counted
//! repeats kept small by `simulation`), `minimise`. Work and sizes are bounded at each step by counting, never by
//! a clock, so that a pattern compiles on every machine or on none.

mod determinise;
mod literals;
mod minimise;
mod shorthands;
mod simulation;
mod utf8;

use crate::table;
use core::fmt;
use regex_automata::nfa::thompson;
use regex_syntax::ParserBuilder;

/// Most bytes one compiled pattern may take: a bundle of 200 KiB has to hold several.
pub const MAX_PATTERN_BYTES: usize = 64 * 1024;

/// Longest pattern text accepted.
pub const MAX_PATTERN_TEXT_BYTES: usize = 4 * 1024;

const NFA_LIMIT_BYTES: usize = 1024 * 1024;
const NEST_LIMIT: u32 = 50;

/// Why a pattern cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatternError {
    /// The pattern's text is longer than [`MAX_PATTERN_TEXT_BYTES`].
    TextTooLong { bytes: usize },
    /// Not a regular expression, with the byte range inside the pattern that is wrong.
    Syntax {
        message: String,
        start: usize,
        end: usize,
    },
    /// Correct, but its table would take more than [`MAX_PATTERN_BYTES`].
    TooLarge,
    /// Correct, but of a kind that a table cannot express.
    Unsupported(String),
}

/// Compiles a pattern to the bytes that `TextPattern::load` takes.
///
/// Deterministic: the same pattern gives the same bytes.
pub fn compile(pattern: &str) -> Result<Vec<u8>, PatternError> {
    if pattern.len() > MAX_PATTERN_TEXT_BYTES {
        return Err(PatternError::TextTooLong {
            bytes: pattern.len(),
        });
    }
    let pattern = shorthands::in_ascii(pattern, NEST_LIMIT)?;
    let tree = ParserBuilder::new()
        .nest_limit(NEST_LIMIT)
        .build()
        .parse(&pattern)
        .map_err(|cause| PatternError::Unsupported(meaning(&cause)))?;
    let config = thompson::Config::new()
        .which_captures(thompson::WhichCaptures::None)
        .nfa_size_limit(Some(NFA_LIMIT_BYTES));
    let nfa = thompson::Compiler::new()
        .configure(config)
        .build_from_hir(&utf8::simplified(&tree))
        .map_err(|cause| match cause.size_limit() {
            Some(_) => PatternError::TooLarge,
            None => PatternError::Unsupported(cause.to_string()),
        })?;
    let automaton = determinise::determinise(&nfa)?;
    let automaton = minimise::minimise(automaton).ok_or(PatternError::TooLarge)?;
    let (lane, literals) = literals::required(&tree);
    let bytes = table::encode(lane, &literals, &automaton);
    if bytes.len() > MAX_PATTERN_BYTES {
        return Err(PatternError::TooLarge);
    }
    Ok(bytes)
}

/// What is wrong, without the excerpt of a pattern that is not quite the author's.
fn meaning(cause: &regex_syntax::Error) -> String {
    match cause {
        regex_syntax::Error::Parse(cause) => cause.kind().to_string(),
        regex_syntax::Error::Translate(cause) => cause.kind().to_string(),
        other => other.to_string(),
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatternError::TextTooLong { bytes } => write!(
                f,
                "the pattern has {bytes} bytes, more than {MAX_PATTERN_TEXT_BYTES}"
            ),
            PatternError::Syntax { message, .. } => write!(f, "{message}"),
            PatternError::TooLarge => write!(
                f,
                "compiled, the pattern would take more than {} KiB",
                MAX_PATTERN_BYTES / 1024
            ),
            PatternError::Unsupported(cause) => write!(f, "{cause}"),
        }
    }
}

impl std::error::Error for PatternError {}
