//! Rewrites `\d \s \w \b` and their opposites to their ASCII meaning.
//!
//! In the text rather than by a flag: with Unicode off, `\D` would match half a character.

use super::PatternError;
use regex_syntax::ast::{self, Ast, parse::ParserBuilder};

pub(super) fn in_ascii(pattern: &str, nest_limit: u32) -> Result<String, PatternError> {
    let tree = ParserBuilder::new()
        .nest_limit(nest_limit)
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
