//! `when:`, a rule's condition as a CEL expression.
//!
//! A strict subset of the Common Expression Language over the fields of conditions:
//! `lexer` and `parser` (text to `syntax`), `operands` (fields, values, arithmetic),
//! `conditions` and `macros` (expression to typed condition), `presence` (fields that may
//! be missing), `place` (positions within a YAML scalar). The result is an ordinary
//! [`Condition`]: evaluation knows nothing of CEL. What has no type, or no bound on the
//! steps it takes, is a diagnostic.
//!
//! The parser is our own. The `cel` crate expands macros while it reads and gives its
//! nodes positions only by number, without types; it is what the tests compare with.

mod conditions;
mod lexer;
mod macros;
mod operands;
mod parser;
mod place;
mod presence;
mod syntax;

pub use self::operands::CEL_FUNCTIONS;

use self::place::Places;
use self::presence::{Need, Presence};
use self::syntax::{At, Expr, Fault, FaultKind};
use super::checker::{Checker, shown};
use super::diagnostics::Code;
use super::typed::Condition;
use super::yaml::Node;
use crate::program::{List, MAX_COST};

/// Longest expression that is read.
const MAX_EXPRESSION_BYTES: usize = 8 * 1024;

impl<'d> Checker<'d> {
    /// A rule's `when`; `None` after a diagnostic.
    pub(super) fn when(&mut self, node: &Node) -> Option<Condition> {
        let text = self.text(node, "`when`")?;
        if text.len() > MAX_EXPRESSION_BYTES {
            let message = format!("`when` has more than {MAX_EXPRESSION_BYTES} bytes");
            let help = "split the rule, or put long lists into `variables`";
            self.report_with_help(Code::TextTooLarge, node.span, message, help);
            return None;
        }
        let places = Places::of(self.source, node.span, text);
        let mut reader = Reader {
            checker: self,
            places,
            text,
            bound: None,
        };
        let expr = match parser::parse(text) {
            Ok(expr) => expr,
            Err(fault) => {
                reader.refuse_text(fault);
                return None;
            }
        };
        let Typed {
            condition,
            presence,
        } = reader.condition(&expr)?;
        let settled = reader.demand_presence(&presence.holds);
        if condition.cost() > MAX_COST {
            let message = format!("`when` takes more than {MAX_COST} steps");
            let help = "a predicate of `exists` and `all` counts a hundred times";
            self.report_with_help(Code::TooCostly, node.span, message, help);
            return None;
        }
        settled.then_some(condition)
    }
}

/// An expression that is a condition.
struct Typed {
    condition: Condition,
    presence: Presence,
}

/// An expression while its parts get their types.
struct Reader<'r, 'd> {
    checker: &'r mut Checker<'d>,
    places: Places<'d>,
    text: &'r str,
    bound: Option<Bound>,
}

/// The variable of the macro whose predicate is read.
struct Bound {
    name: String,
    list: List,
}

impl Reader<'_, '_> {
    fn written(&self, at: &At) -> String {
        shown(self.text.get(at.clone()).unwrap_or_default())
    }

    fn report(&mut self, code: Code, at: &At, message: impl Into<String>) {
        let span = self.places.span(at);
        self.checker.report(code, span, message);
    }

    fn report_with_help(
        &mut self,
        code: Code,
        at: &At,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let span = self.places.span(at);
        self.checker.report_with_help(code, span, message, help);
    }

    fn refuse_text(&mut self, fault: Fault) {
        let code = match fault.kind {
            FaultKind::Syntax => Code::CelSyntax,
            FaultKind::Unsupported => Code::CelUnsupported,
            FaultKind::TooDeep => Code::TooDeep,
        };
        match fault.help {
            Some(help) => self.report_with_help(code, &fault.at, fault.message, help),
            None => self.report(code, &fault.at, fault.message),
        }
    }

    /// Every part is read, so that all their diagnostics are seen at once.
    fn conditions(&mut self, parts: &[Expr]) -> Option<(Vec<Condition>, Vec<Presence>)> {
        let parts: Vec<_> = parts.iter().map(|part| self.condition(part)).collect();
        let parts: Option<Vec<Typed>> = parts.into_iter().collect();
        let split = |typed: Typed| (typed.condition, typed.presence);
        Some(parts?.into_iter().map(split).unzip())
    }

    /// The rule would match because a field is missing: whether that is meant must be said.
    fn demand_presence(&mut self, needs: &[Need]) -> bool {
        let mut said: Vec<&At> = Vec::new();
        for need in needs {
            if said.contains(&&need.at) {
                continue;
            }
            said.push(&need.at);
            let path = self.written(&need.at);
            let message = format!("`{path}` may be missing, and its comparison is negated here");
            let help = format!(
                "before it, write `has({path}) && …` if the rule should not match without \
                 it, `!has({path}) || …` if it should"
            );
            self.report_with_help(Code::NeedsHas, &need.at, message, help);
        }
        needs.is_empty()
    }
}
