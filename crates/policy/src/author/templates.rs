//! `{{ … }}` inside texts: variables, replaced when a policy is read, and fields,
//! filled in when an exchange is decided.

use super::checker::{Checker, shown};
use super::conditions::Left;
use super::diagnostics::{Code, Span};
use super::fields::Resolved;
use super::functions::parse_call;
use super::typed::{Piece, Template};
use super::variables::Constant;
use crate::program::{Case, Field};

/// A text taken apart.
pub(super) enum Part<'t> {
    Text(&'t str),
    /// What stands between the braces, trimmed.
    Expression(&'t str),
}

/// What an expression stands for.
pub(super) enum Meaning {
    Constant(Constant),
    Field(Resolved),
}

/// Splits a text at its braces. An unclosed `{{` is an error.
pub(super) fn split(text: &str) -> Result<Vec<Part<'_>>, &'static str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (inside, remaining) = after.split_once("}}").ok_or("`{{` is not closed by `}}`")?;
        if !before.is_empty() {
            parts.push(Part::Text(before));
        }
        let expression = inside.trim();
        if expression.is_empty() {
            return Err("nothing stands between `{{` and `}}`");
        }
        parts.push(Part::Expression(expression));
        rest = remaining;
    }
    if !rest.is_empty() || parts.is_empty() {
        parts.push(Part::Text(rest));
    }
    Ok(parts)
}

impl Checker<'_> {
    /// What a text's template says, part by part; `None` after a diagnostic.
    pub(super) fn split<'t>(&mut self, text: &'t str, span: Span) -> Option<Vec<Part<'t>>> {
        match split(text) {
            Ok(parts) => Some(parts),
            Err(message) => {
                let help = "templates are `{{ variables.name }}` and `{{ field.path }}`";
                self.report_with_help(Code::TemplateSyntax, span, message, help);
                None
            }
        }
    }

    pub(super) fn meaning(&mut self, expression: &str, span: Span) -> Option<Meaning> {
        if self.diagnostics.is_full() {
            return None;
        }
        if let Some(name) = expression.strip_prefix("variables.") {
            return self.variable(name, span).map(Meaning::Constant);
        }
        if let Some((name, inner)) = parse_call(expression) {
            let args = self.text_arguments(inner, span)?;
            return match self.call(name, span, &args)? {
                Left::Field(resolved) => Some(Meaning::Field(resolved)),
                Left::Condition(_) => {
                    let message = format!("`{}` cannot be shown", shown(name));
                    self.report(Code::FunctionArguments, span, message);
                    None
                }
            };
        }
        self.field(expression, span).map(Meaning::Field)
    }

    /// The template of a message. Text of the prompt is refused: messages reach logs.
    pub(super) fn message(&mut self, text: &str, span: Span) -> Option<Template> {
        let mut template = Vec::new();
        let mut sound = true;
        for part in self.split(text, span)? {
            let expression = match part {
                Part::Text(text) => {
                    template.push(Piece::Text(text.to_owned()));
                    continue;
                }
                Part::Expression(expression) => expression,
            };
            match self.meaning(expression, span) {
                Some(Meaning::Constant(constant)) => template.push(Piece::Text(constant.shown())),
                Some(Meaning::Field(resolved)) => {
                    sound &= self.may_be_shown(expression, resolved.field, span);
                    template.push(piece(&resolved));
                }
                None => sound = false,
            }
        }
        sound.then(|| joined(template))
    }

    fn may_be_shown(&mut self, path: &str, field: Field, span: Span) -> bool {
        let prompt = match field {
            Field::Text(field) => field.is_prompt(),
            Field::Messages => true,
            Field::Number(_) | Field::Bool(_) => false,
        };
        if prompt {
            let message = format!(
                "`{}` would put text of the prompt into a message",
                shown(path)
            );
            let help = "messages are written to logs and evidence, where prompts never go";
            self.report_with_help(Code::PromptInMessage, span, message, help);
        }
        !prompt
    }
}

/// A field as a part of a text.
pub(super) fn piece(resolved: &Resolved) -> Piece {
    match (resolved.field, resolved.case) {
        (Field::Text(field), case) if case != Case::AsIs => Piece::Cased(field, case),
        (field, _) => Piece::Field(field),
    }
}

/// Neighbouring texts as one.
pub(super) fn joined(template: Template) -> Template {
    let mut joined: Template = Vec::with_capacity(template.len());
    for piece in template {
        match (joined.last_mut(), piece) {
            (Some(Piece::Text(last)), Piece::Text(text)) => last.push_str(&text),
            (_, piece) => joined.push(piece),
        }
    }
    joined
}
