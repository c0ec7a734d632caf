//! Rules that can never act.
use super::checker::Checker;
use super::diagnostics::Span;
use super::typed::Rule;
impl Checker<'_> {
    pub(super) fn analyse(&mut self, _rules: &[(Rule, Span)]) {}
}
