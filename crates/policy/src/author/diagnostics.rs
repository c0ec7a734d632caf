//! What is wrong in a policy text: a code (`codes`), a position, a way out.

pub(super) use super::codes::Code;
use serde::{Deserialize, Serialize};

/// One thing an author should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub severity: Severity,
    /// Stable: tools may match on it. Listed in the language reference.
    pub code: &'static str,
    pub message: String,
    pub span: Span,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The policy cannot be used.
    Error,
    /// The policy works, probably not as meant.
    Warning,
}

/// A range of the text. Lines and columns count from 1, columns in characters;
/// offsets are bytes from 0. The end is exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Span {
    pub line: usize,
    pub column: usize,
    pub end_line: usize,
    pub end_column: usize,
    pub offset: usize,
    pub end_offset: usize,
}

/// Diagnostics as they are found.
#[derive(Debug, Default)]
pub(super) struct Diagnostics {
    found: Vec<Diagnostic>,
    errors: usize,
}

/// Beyond this many of a kind the rest says nothing new, and a hostile text costs no time.
const MAX_DIAGNOSTICS: usize = 200;

impl Diagnostics {
    pub(super) fn add(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.add_with_help(code, span, message, None::<String>);
    }

    pub(super) fn add_with_help(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        help: Option<impl Into<String>>,
    ) {
        let same_kind = match code.severity() {
            Severity::Error => self.errors,
            Severity::Warning => self.found.len() - self.errors,
        };
        if same_kind >= MAX_DIAGNOSTICS {
            return;
        }
        self.errors += usize::from(code.severity() == Severity::Error);
        self.found.push(Diagnostic {
            severity: code.severity(),
            code: code.as_str(),
            message: message.into(),
            span,
            help: help.map(Into::into),
        });
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// No more errors are kept: reading on is of no use.
    pub(super) fn is_full(&self) -> bool {
        self.errors >= MAX_DIAGNOSTICS
    }

    pub(super) fn in_order(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|found| found.span.offset);
        self.found
    }
}

/// The candidate an author may have meant, for a help text.
pub(super) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    const LONGEST_COMPARED: usize = 100;
    const MOST_COMPARED: usize = 1_000;
    if name.len() > LONGEST_COMPARED {
        return None;
    }
    let lower = name.to_lowercase();
    candidates
        .into_iter()
        .take(MOST_COMPARED)
        .map(|candidate| {
            let distance = strsim::osa_distance(&lower, &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, candidate)| *distance <= candidate.len().max(3) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

pub(super) fn did_you_mean<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(name, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}
