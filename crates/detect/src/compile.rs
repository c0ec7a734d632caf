//! Turns a regular expression into the bytes of a small dense DFA.
//!
//! The dialect is RE2's, as MPL authors know it: `\d \s \w \b` and their opposites
//! are ASCII; everything else (`.`, classes, `(?i)`) knows Unicode. This is also what
//! keeps tables small: Unicode `\w` alone takes more than a whole policy should.
//! There are no back-references and no look-around, so matching is linear.

use core::fmt;
use regex_automata::MatchKind;
use regex_automata::dfa::{StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_syntax::ast::{self, Ast, parse::ParserBuilder};

/// Most bytes one compiled pattern may take: a bundle of 200 KiB has to hold several.
pub const MAX_PATTERN_BYTES: usize = 64 * 1024;

/// Longest pattern text accepted.
pub const MAX_PATTERN_TEXT_BYTES: usize = 4 * 1024;

/// Bounds of the work before minimisation, which usually shrinks a table several times.
const NFA_LIMIT_BYTES: usize = 1024 * 1024;
const DFA_LIMIT_BYTES: usize = 512 * 1024;
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
    let pattern = with_ascii_shorthands(pattern)?;
    let dfa = dense::Builder::new()
        .syntax(syntax::Config::new().nest_limit(NEST_LIMIT))
        .thompson(thompson::Config::new().nfa_size_limit(Some(NFA_LIMIT_BYTES)))
        .configure(
            dense::Config::new()
                .start_kind(StartKind::Unanchored)
                // Drops the unanchored prefix after a match: half the states of `All`.
                .match_kind(MatchKind::LeftmostFirst)
                .dfa_size_limit(Some(DFA_LIMIT_BYTES))
                .determinize_size_limit(Some(4 * DFA_LIMIT_BYTES))
                .minimize(true),
        )
        .build(&pattern)
        .map_err(build_error)?;
    let (bytes, padding) = dfa.to_bytes_little_endian();
    let bytes = bytes.get(padding..).unwrap_or_default();
    if bytes.len() > MAX_PATTERN_BYTES {
        return Err(PatternError::TooLarge);
    }
    Ok(bytes.to_vec())
}

fn build_error(cause: dense::BuildError) -> PatternError {
    if cause.is_size_limit_exceeded() {
        return PatternError::TooLarge;
    }
    let mut text = cause.to_string();
    let mut source = std::error::Error::source(&cause);
    while let Some(deeper) = source {
        // The innermost cause is the one that speaks of the pattern.
        text = deeper.to_string();
        source = deeper.source();
    }
    match text.contains("exceed") {
        true => PatternError::TooLarge,
        false => PatternError::Unsupported(text),
    }
}

/// Rewrites `\d \s \w \b` and their opposites to their ASCII meaning.
///
/// In the text rather than by a flag: with Unicode off, `\D` would match half a character.
fn with_ascii_shorthands(pattern: &str) -> Result<String, PatternError> {
    let tree = ParserBuilder::new()
        .nest_limit(NEST_LIMIT)
        .build()
        .parse(pattern)
        .map_err(|cause| PatternError::Syntax {
            message: cause.kind().to_string(),
            start: cause.span().start.offset,
            end: cause.span().end.offset,
        })?;
    let edits = ast::visit(&tree, Shorthands::default()).unwrap_or_default();
    let mut rewritten = String::with_capacity(pattern.len());
    let mut done = 0;
    for (span, replacement) in edits {
        rewritten.push_str(pattern.get(done..span.start.offset).unwrap_or_default());
        rewritten.push_str(replacement);
        done = span.end.offset;
    }
    rewritten.push_str(pattern.get(done..).unwrap_or_default());
    Ok(rewritten)
}

/// Collects the shorthands of a pattern in the order of its text.
#[derive(Default)]
struct Shorthands {
    edits: Vec<(ast::Span, &'static str)>,
}

impl Shorthands {
    fn class(&mut self, class: &ast::ClassPerl) {
        use ast::ClassPerlKind::{Digit, Space, Word};
        let replacement = match (&class.kind, class.negated) {
            (Digit, false) => "[0-9]",
            (Digit, true) => "[^0-9]",
            (Space, false) => r"[\t\n\f\r\x20]",
            (Space, true) => r"[^\t\n\f\r\x20]",
            (Word, false) => "[0-9A-Za-z_]",
            (Word, true) => "[^0-9A-Za-z_]",
        };
        self.edits.push((class.span, replacement));
    }

    fn assertion(&mut self, assertion: &ast::Assertion) {
        let replacement = match assertion.kind {
            ast::AssertionKind::WordBoundary => r"(?-u:\b)",
            ast::AssertionKind::NotWordBoundary => r"(?-u:\B)",
            ast::AssertionKind::WordBoundaryStart | ast::AssertionKind::WordBoundaryStartAngle => {
                r"(?-u:\b{start})"
            }
            ast::AssertionKind::WordBoundaryEnd | ast::AssertionKind::WordBoundaryEndAngle => {
                r"(?-u:\b{end})"
            }
            _ => return,
        };
        self.edits.push((assertion.span, replacement));
    }
}

impl ast::Visitor for Shorthands {
    type Output = Vec<(ast::Span, &'static str)>;
    type Err = ();

    fn finish(mut self) -> Result<Self::Output, ()> {
        self.edits.sort_by_key(|(span, _)| span.start.offset);
        Ok(self.edits)
    }

    fn visit_pre(&mut self, node: &Ast) -> Result<(), ()> {
        match node {
            Ast::ClassPerl(class) => self.class(class),
            Ast::Assertion(assertion) => self.assertion(assertion),
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ast::ClassSetItem) -> Result<(), ()> {
        if let ast::ClassSetItem::Perl(class) = item {
            self.class(class);
        }
        Ok(())
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
