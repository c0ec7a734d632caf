//! The right side of a condition: a constant, a field, or a text put together.

use super::checker::{Checker, shown};
use super::diagnostics::{Code, Span};
use super::fields::{FieldType, Resolved};
use super::templates::{Meaning, Part, joined, piece};
use super::typed::{Piece, Template, TextValue};
use super::variables::Constant;
use super::yaml::{Node, Value};
use crate::program::{BoolValue, Case, Field, NumberValue, TextField};

pub(super) enum Operand {
    Null,
    Constant(Constant),
    Field(Resolved),
    Template(Template),
}

impl Operand {
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Operand::Null => "null",
            Operand::Constant(constant) => constant.describe(),
            Operand::Field(resolved) => resolved.field_type.describe(),
            Operand::Template(_) => "a text",
        }
    }
}

impl Checker<'_> {
    /// Reads a condition's `value`; `None` after a diagnostic.
    pub(super) fn operand(&mut self, node: &Node) -> Option<Operand> {
        match &node.value {
            Value::Null => Some(Operand::Null),
            Value::Bool(value, _) => Some(Operand::Constant(Constant::Bool(*value))),
            Value::Number(number, _) => Some(Operand::Constant(Constant::Number(*number))),
            Value::Text(text) => self.text_operand(text, node.span),
            Value::List(items) => {
                let mut scalars = Vec::with_capacity(items.len());
                for item in items {
                    match self.operand(item)? {
                        Operand::Constant(constant) => scalars.push(constant),
                        other => {
                            let message =
                                format!("a list holds constants, not {}", other.describe());
                            self.report(Code::ValueType, item.span, message);
                            return None;
                        }
                    }
                }
                self.list_of(&scalars, node.span).map(Operand::Constant)
            }
            Value::Map(_) => {
                let message = "a value cannot be a mapping";
                self.report(Code::ValueType, node.span, message);
                None
            }
        }
    }

    pub(super) fn text_operand(&mut self, text: &str, span: Span) -> Option<Operand> {
        let parts = self.split(text, span)?;
        if let [Part::Expression(expression)] = parts.as_slice() {
            // Alone, a template keeps the type of what it names.
            return Some(match self.meaning(expression, span)? {
                Meaning::Constant(constant) => Operand::Constant(constant),
                Meaning::Field(resolved) => Operand::Field(resolved),
            });
        }
        let mut template = Template::with_capacity(parts.len());
        for part in parts {
            template.push(match part {
                Part::Text(text) => Piece::Text(text.to_owned()),
                Part::Expression(expression) => match self.meaning(expression, span)? {
                    Meaning::Constant(constant) => Piece::Text(constant.shown()),
                    Meaning::Field(resolved) => piece(&resolved),
                },
            });
        }
        let template = joined(template);
        Some(match template.as_slice() {
            [Piece::Text(text)] => Operand::Constant(Constant::Text(text.clone())),
            _ => Operand::Template(template),
        })
    }

    /// A single text to compare with.
    pub(super) fn text_value(&mut self, operand: Operand, at: Place<'_>) -> Option<TextValue> {
        match operand {
            Operand::Constant(Constant::Text(text)) => {
                let text = self.in_domain(text, at)?;
                Some(TextValue::Constant(text))
            }
            Operand::Template(template) => Some(TextValue::Template(template)),
            Operand::Field(
                found @ Resolved {
                    field: Field::Text(field),
                    field_type: FieldType::Text,
                    ..
                },
            ) => Some(match found.case {
                Case::AsIs => TextValue::Field(field),
                _ => TextValue::Template(vec![piece(&found)]),
            }),
            other => self.refuse(&other, "a text", at),
        }
    }

    pub(super) fn text_set(&mut self, operand: Operand, at: Place<'_>) -> Option<Vec<String>> {
        match operand {
            Operand::Constant(Constant::Texts(texts)) => {
                let texts = texts.into_iter().map(|text| self.in_domain(text, at));
                texts.collect()
            }
            Operand::Constant(Constant::EmptyList) => Some(Vec::new()),
            other => self.refuse(&other, "a list of texts", at),
        }
    }

    pub(super) fn number_value(&mut self, operand: Operand, at: Place<'_>) -> Option<NumberValue> {
        match operand {
            Operand::Constant(Constant::Number(number)) => Some(NumberValue::Constant(number)),
            Operand::Field(Resolved {
                field: Field::Number(field),
                ..
            }) => Some(NumberValue::Field(field)),
            other => self.refuse(&other, "a number", at),
        }
    }

    pub(super) fn number_set(&mut self, operand: Operand, at: Place<'_>) -> Option<Vec<f64>> {
        match operand {
            Operand::Constant(Constant::Numbers(numbers)) => Some(numbers),
            Operand::Constant(Constant::EmptyList) => Some(Vec::new()),
            other => self.refuse(&other, "a list of numbers", at),
        }
    }

    pub(super) fn bool_value(&mut self, operand: Operand, at: Place<'_>) -> Option<BoolValue> {
        match operand {
            Operand::Constant(Constant::Bool(value)) => Some(BoolValue::Constant(value)),
            Operand::Field(Resolved {
                field: Field::Bool(field),
                ..
            }) => Some(BoolValue::Field(field)),
            other => self.refuse(&other, "a boolean", at),
        }
    }

    fn refuse<T>(&mut self, operand: &Operand, wanted: &str, at: Place<'_>) -> Option<T> {
        let message = format!(
            "`{}` on `{}` needs {wanted}, and this is {}",
            at.operator,
            shown(at.path),
            operand.describe()
        );
        let code = Code::ValueType;
        match hint(operand, wanted, at.field) {
            Some(help) => self.report_with_help(code, at.value, message, help),
            None => self.report(code, at.value, message),
        }
        None
    }

    /// A constant that the field can never have is a slip.
    fn in_domain(&mut self, text: String, at: Place<'_>) -> Option<String> {
        let whole = matches!(at.operator, "==" | "!=" | "in" | "not_in")
            || (at.operator == "contains" && at.field.field_type == FieldType::Names);
        if whole && at.field.case != Case::AsIs {
            self.warn_of_case(&text, at);
        }
        let Some(words) = at.field.domain.filter(|_| whole) else {
            return Some(text);
        };
        if !words.contains(&text.as_str())
            && let Some(word) = words.iter().find(|word| word.eq_ignore_ascii_case(&text))
        {
            let said = format!("`{}`", shown(&text));
            self.alternate(&said, &format!("`{word}`"), at.value);
            return Some((*word).to_owned());
        }
        let what = format!("value of `{}`:", at.path);
        self.word(&text, at.value, Code::UnknownValue, &what, words)
            .map(str::to_owned)
    }

    /// `lower` makes no capital letters.
    fn warn_of_case(&mut self, text: &str, at: Place<'_>) {
        if at.field.case.of(text) != text {
            let message = format!("`{}` never gives `{}`", shown(at.path), shown(text));
            let help = format!("write `{}`", shown(&at.field.case.of(text)));
            self.report_with_help(Code::Contradiction, at.value, message, help);
        }
    }
}

/// Where a value stands, for what is said about it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub path: &'a str,
    pub field: &'a Resolved,
    pub operator: &'static str,
    pub value: Span,
}

fn hint(operand: &Operand, wanted: &str, field: &Resolved) -> Option<String> {
    if let Some(words) = field.domain
        && matches!(
            operand,
            Operand::Constant(Constant::Number(_) | Constant::Numbers(_))
        )
    {
        return Some(format!("one of {}", super::checker::list(words)));
    }
    let help = match (operand, wanted) {
        (Operand::Constant(Constant::Text(text)), "a number") if text.parse::<f64>().is_ok() => {
            "remove the quotes"
        }
        (Operand::Constant(Constant::Text(text)), "a boolean")
            if matches!(text.as_str(), "true" | "false" | "yes" | "no") =>
        {
            "write `true` or `false`, without quotes"
        }
        (Operand::Constant(Constant::Number(_) | Constant::Bool(_)), "a text") => {
            "put quotes around it"
        }
        (Operand::Constant(Constant::Text(_)), "a list of texts") => {
            "put brackets around it: `[\"a\", \"b\"]`"
        }
        (Operand::Constant(Constant::Texts(_) | Constant::Numbers(_)), "a text" | "a number") => {
            "use `in` or `not_in` to compare with a list"
        }
        (Operand::Null, _) => "only `==`, `!=` and `exists` ask whether a field is missing",
        (Operand::Field(other), "a text")
            if matches!(
                other.field,
                Field::Text(TextField::Tools | TextField::EveryText)
            ) =>
        {
            "only a field with one text can be a value"
        }
        _ => return None,
    };
    Some(help.to_owned())
}
