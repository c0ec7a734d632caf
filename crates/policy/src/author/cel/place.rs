//! Where a part of an expression stands in the policy's text.
//!
//! YAML may have folded lines, removed indentation and read escapes before the expression
//! is seen. Walking the written text beside the read one finds each character again; where
//! that fails (an alias, a tag), the whole scalar is the place.

use super::syntax::At;
use crate::author::diagnostics::Span;

#[derive(Debug)]
pub(super) struct Places<'s> {
    source: &'s str,
    scalar: Span,
    /// Where in the scalar each byte of what was read is written; `None` where the two
    /// texts do not match.
    written: Option<Vec<At>>,
}

impl<'s> Places<'s> {
    pub(super) fn of(source: &'s str, scalar: Span, read: &str) -> Places<'s> {
        let written = source.get(scalar.offset..scalar.end_offset);
        Places {
            source,
            scalar,
            written: written.and_then(|written| align(written, read)),
        }
    }

    /// The span of a part of the expression.
    pub(super) fn span(&self, at: &At) -> Span {
        self.exact(at).unwrap_or(self.scalar)
    }

    fn exact(&self, at: &At) -> Option<Span> {
        let written = self.written.as_ref()?;
        // An end is that of the last byte: what follows it may be a folded line.
        let last = at.end.checked_sub(1).filter(|last| *last >= at.start);
        let (start, end) = match (written.get(at.start), last) {
            (Some(first), Some(last)) => (first.start, written.get(last)?.end),
            (Some(first), None) => (first.start, first.start),
            // Behind the last byte.
            (None, _) => {
                let end = written.last().map_or(0, |last| last.end);
                (end, end)
            }
        };
        let (start, end) = (self.scalar.offset + start, self.scalar.offset + end);
        let (line, column) = self.position(start)?;
        let (end_line, end_column) = self.position(end)?;
        Some(Span {
            line,
            column,
            end_line,
            end_column,
            offset: start,
            end_offset: end,
        })
    }

    /// Line and column of an offset of the source, counted from the scalar's start.
    fn position(&self, offset: usize) -> Option<(usize, usize)> {
        let before = self.source.get(self.scalar.offset..offset)?;
        let before = before.replace("\r\n", "\n").replace('\r', "\n");
        Some(match before.rsplit_once('\n') {
            None => (
                self.scalar.line,
                self.scalar.column + before.chars().count(),
            ),
            Some((lines, last)) => (
                self.scalar.line + lines.matches('\n').count() + 1,
                last.chars().count() + 1,
            ),
        })
    }
}

/// For each byte of `read`, where in `written` its character stands.
fn align(written: &str, read: &str) -> Option<Vec<At>> {
    let double = written.starts_with('"');
    let single = written.starts_with('\'');
    let mut at = match written.chars().next()? {
        '"' | '\'' => 1,
        // The rest of a block's first line only says how to read it.
        '|' | '>' => written.find('\n')?,
        _ => 0,
    };
    let mut places = Vec::with_capacity(read.len());
    for wanted in read.chars() {
        let place = loop {
            let rest = written.get(at..)?;
            let mut chars = rest.chars();
            match chars.next() {
                Some('\\') if double => {
                    let (bytes, stands_for_nothing) = escape(rest);
                    if !stands_for_nothing {
                        break at..at + bytes;
                    }
                    at += bytes;
                }
                Some('\'') if single && wanted == '\'' && chars.next() == Some('\'') => {
                    break at..at + 2;
                }
                Some(next) if next == wanted => break at..at + next.len_utf8(),
                // A line was folded into a blank, which stands for all that is skipped next.
                Some(next) if next.is_whitespace() && wanted.is_whitespace() => break at..at,
                None if wanted == '\n' => break at..at,
                Some(next) if next.is_whitespace() => at += next.len_utf8(),
                Some(_) | None => return None,
            }
        };
        at = place.end;
        places.extend(std::iter::repeat_n(place, wanted.len_utf8()));
    }
    Some(places)
}

/// Bytes of the escape that begins here, and whether it stands for nothing.
fn escape(rest: &str) -> (usize, bool) {
    let letter = rest.chars().nth(1).unwrap_or_default();
    match letter {
        'x' => (4, false),
        'u' => (6, false),
        'U' => (10, false),
        '\n' | '\r' => (2, true),
        other => (1 + other.len_utf8(), false),
    }
}
