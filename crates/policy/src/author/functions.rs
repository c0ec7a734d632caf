//! Functions: `function: len, args: […]` in conditions, `len(…)` in templates.

use super::checker::{Checker, Keys, shown};
use super::conditions::Left;
use super::diagnostics::{Code, Span, did_you_mean};
use super::fields::{FieldType, Resolved, resolved};
use super::operands::Operand;
use super::templates::{Meaning, Part};
use super::typed::{Condition, TextTest, TextValue};
use super::variables::Constant;
use super::yaml::{Node, Value};
use crate::facts::Detector;
use crate::names;
use crate::program::{BoolField, Case, Field, NumberField, TextField};

/// Functions of the language.
pub const FUNCTIONS: &[&str] = &[
    "len",
    "lower",
    "upper",
    "contains",
    "has_pii",
    "has_injection",
    "has_sensitive",
];

const CALL: Keys = Keys {
    what: "a function call",
    known: &["function", "args"],
    ignored: &[],
};

/// What a function is given.
#[derive(Clone)]
pub(super) enum Argument {
    Constant(Constant),
    Field(Resolved),
}

impl Checker<'_> {
    /// The left side that a function makes; `None` after a diagnostic.
    pub(super) fn call(&mut self, name: &str, at: Span, args: &[(Argument, Span)]) -> Option<Left> {
        match name {
            "len" => self.length(at, args).map(Left::Field),
            "lower" => self.cased(name, Case::Lower, at, args).map(Left::Field),
            "upper" => self.cased(name, Case::Upper, at, args).map(Left::Field),
            "contains" => self.contains(at, args).map(Left::Condition),
            "has_pii" => self.found(name, Detector::Pii, at, args).map(Left::Field),
            "has_injection" => {
                let detector = Detector::Injection;
                self.found(name, detector, at, args).map(Left::Field)
            }
            "has_sensitive" => {
                let detector = Detector::Sensitive;
                self.found(name, detector, at, args).map(Left::Field)
            }
            _ => {
                let help = did_you_mean(name, FUNCTIONS.iter().copied())
                    .unwrap_or_else(|| "conditions on fields need no function".to_owned());
                let message = format!("unknown function `{}`", shown(name));
                self.report_with_help(Code::UnknownFunction, at, message, help);
                None
            }
        }
    }

    /// The arguments of a condition's `args`.
    pub(super) fn arguments(&mut self, node: &Node) -> Option<Vec<(Argument, Span)>> {
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => {
                self.alternate(
                    "`args` without brackets",
                    "a list, `args: [...]`",
                    node.span,
                );
                std::slice::from_ref(node)
            }
        };
        let arguments: Vec<_> = items
            .iter()
            .map(|item| Some((self.argument(item)?, item.span)))
            .collect();
        arguments.into_iter().collect()
    }

    fn argument(&mut self, node: &Node) -> Option<Argument> {
        match &node.value {
            Value::Text(text) => self.text_argument(text, node.span),
            Value::Map(_) => {
                let fields = self.fields(node, &CALL)?;
                let (name, span) = self.required_text(&fields, "function")?;
                let args = self.require(&fields, "args")?;
                let args = self.arguments(args)?;
                self.nested(name, span, &args)
            }
            _ => match self.operand(node)? {
                Operand::Constant(constant) => Some(Argument::Constant(constant)),
                other => {
                    let message = format!("an argument cannot be {}", other.describe());
                    self.report(Code::FunctionArguments, node.span, message);
                    None
                }
            },
        }
    }

    /// A field's path, with or without braces, a variable, a call, or a text.
    pub(super) fn text_argument(&mut self, text: &str, span: Span) -> Option<Argument> {
        let parts = self.split(text, span)?;
        if let [Part::Expression(expression)] = parts.as_slice() {
            return match self.meaning(expression, span)? {
                Meaning::Constant(constant) => Some(Argument::Constant(constant)),
                Meaning::Field(resolved) => Some(Argument::Field(resolved)),
            };
        }
        if let Some(name) = text.strip_prefix("variables.") {
            self.alternate("a variable without braces", "`{{ variables.name }}`", span);
            return self.variable(name, span).map(Argument::Constant);
        }
        let roots = ["request.", "response.", "processing.", "context."];
        if roots.iter().any(|root| text.starts_with(root)) {
            return self.field(text, span).map(Argument::Field);
        }
        if let Some((name, inner)) = parse_call(text)
            && FUNCTIONS.contains(&name)
        {
            let args = self.text_arguments(inner, span)?;
            return self.nested(name, span, &args);
        }
        match self.text_operand(text, span)? {
            Operand::Constant(constant) => Some(Argument::Constant(constant)),
            other => {
                let message = format!("an argument cannot be {}", other.describe());
                self.report(Code::FunctionArguments, span, message);
                None
            }
        }
    }

    /// The arguments between the brackets of `len(…)`.
    pub(super) fn text_arguments(
        &mut self,
        inner: &str,
        span: Span,
    ) -> Option<Vec<(Argument, Span)>> {
        if inner.trim().is_empty() {
            return Some(Vec::new());
        }
        let quotes = |c: char| c == '"' || c == '\'';
        let arguments: Vec<_> = inner
            .split(',')
            .map(|text| {
                let text = text.trim().trim_matches(quotes);
                match text.strip_prefix("variables.") {
                    Some(name) => Some((Argument::Constant(self.variable(name, span)?), span)),
                    None => Some((self.text_argument(text, span)?, span)),
                }
            })
            .collect();
        arguments.into_iter().collect()
    }

    fn nested(&mut self, name: &str, span: Span, args: &[(Argument, Span)]) -> Option<Argument> {
        match self.call(name, span, args)? {
            Left::Field(resolved) => Some(Argument::Field(resolved)),
            Left::Condition(_) => {
                let message = format!("`{name}` cannot be an argument");
                self.report(Code::FunctionArguments, span, message);
                None
            }
        }
    }

    fn one<'a>(
        &mut self,
        name: &str,
        at: Span,
        args: &'a [(Argument, Span)],
    ) -> Option<&'a (Argument, Span)> {
        match args {
            [one] => Some(one),
            _ => {
                let message = format!("`{name}` takes one argument, and this is {}", args.len());
                self.report(Code::FunctionArguments, at, message);
                None
            }
        }
    }

    fn length(&mut self, at: Span, args: &[(Argument, Span)]) -> Option<Resolved> {
        let (argument, span) = self.one("len", at, args)?;
        let field = match argument {
            Argument::Field(Resolved {
                field: Field::Text(field),
                ..
            }) => NumberField::Length(*field),
            Argument::Field(Resolved {
                field: Field::Messages,
                ..
            }) => NumberField::MessageCount,
            Argument::Field(other) => {
                let help = "it counts the characters of a text and the entries of a list";
                return self.refuse_argument("len", other.field_type.describe(), help, *span);
            }
            Argument::Constant(constant) => {
                let help = "the length of a constant is the same for every exchange";
                return self.refuse_argument("len", constant.describe(), help, *span);
            }
        };
        Some(resolved(Field::Number(field)))
    }

    fn cased(
        &mut self,
        name: &str,
        case: Case,
        at: Span,
        args: &[(Argument, Span)],
    ) -> Option<Resolved> {
        let (argument, span) = self.one(name, at, args)?;
        match argument {
            Argument::Field(found) if matches!(found.field, Field::Text(_)) => Some(Resolved {
                case,
                domain: None,
                alternate: false,
                ..*found
            }),
            Argument::Field(other) => {
                let help = "it changes the letters of a text";
                self.refuse_argument(name, other.field_type.describe(), help, *span)
            }
            Argument::Constant(constant) => {
                let help = "write the constant as it shall be compared";
                self.refuse_argument(name, constant.describe(), help, *span)
            }
        }
    }

    fn found(
        &mut self,
        name: &str,
        detector: Detector,
        at: Span,
        args: &[(Argument, Span)],
    ) -> Option<Resolved> {
        let field = match args {
            // All text of the request.
            [] => TextField::EveryText,
            [(Argument::Field(found), span)] => match found.field {
                Field::Messages => TextField::EveryContent,
                Field::Text(field) if found.case == Case::AsIs => field,
                _ => {
                    let help = "it looks at texts, such as `request.text`";
                    return self.refuse_argument(name, found.field_type.describe(), help, *span);
                }
            },
            [(Argument::Constant(constant), span)] => {
                let help = "it looks at texts of the exchange, such as `request.text`";
                return self.refuse_argument(name, constant.describe(), help, *span);
            }
            _ => return self.one(name, at, args).and(None),
        };
        let found = resolved(Field::Bool(BoolField::Found(detector, field)));
        self.note_use(&names::path(found.field), found, at);
        Some(found)
    }

    /// Whether the first has the second, or any of the second where that is a list.
    fn contains(&mut self, at: Span, args: &[(Argument, Span)]) -> Option<Condition> {
        let [(whole, whole_span), (part, part_span)] = args else {
            let message = format!(
                "`contains` takes a list or text and what may be in it, and this is {} arguments",
                args.len()
            );
            self.report(Code::FunctionArguments, at, message);
            return None;
        };
        match (whole, part) {
            (Argument::Constant(whole), Argument::Constant(part)) => {
                let both = format!("{} and {}", whole.describe(), part.describe());
                let help = "two constants make the same of every exchange: name a field";
                self.refuse_argument("contains", &both, help, *part_span)
            }
            (Argument::Constant(whole), Argument::Field(part)) => {
                let (Constant::Texts(set), Field::Text(field)) = (whole, part.field) else {
                    let both = format!("{} and {}", whole.describe(), part.field_type.describe());
                    let help = "a list of texts contains a text, or one of a list of names";
                    return self.refuse_argument("contains", &both, help, *whole_span);
                };
                Some(text_condition(field, part.case, TextTest::In(set.clone())))
            }
            (Argument::Field(whole), part) => {
                let Field::Text(field) = whole.field else {
                    let help = "it looks into a list of names or a text";
                    let what = whole.field_type.describe();
                    return self.refuse_argument("contains", what, help, *whole_span);
                };
                let names = whole.field_type == FieldType::Names;
                let test = |value| match names {
                    true => TextTest::Has(value),
                    false => TextTest::Contains(value),
                };
                match part {
                    Argument::Constant(Constant::Text(text)) => {
                        let value = TextValue::Constant(text.clone());
                        Some(text_condition(field, whole.case, test(value)))
                    }
                    Argument::Constant(Constant::Texts(set)) if names => {
                        Some(text_condition(field, whole.case, TextTest::In(set.clone())))
                    }
                    Argument::Constant(Constant::Texts(set)) => {
                        let any = set.iter().map(|text| {
                            let value = TextValue::Constant(text.clone());
                            text_condition(field, whole.case, test(value))
                        });
                        Some(Condition::Any(any.collect()))
                    }
                    Argument::Field(Resolved {
                        field: Field::Text(value),
                        field_type: FieldType::Text,
                        case: Case::AsIs,
                        ..
                    }) => {
                        let value = TextValue::Field(*value);
                        Some(text_condition(field, whole.case, test(value)))
                    }
                    Argument::Constant(other) => {
                        let help = "it looks for a text, or for one of a list of texts";
                        self.refuse_argument("contains", other.describe(), help, *part_span)
                    }
                    Argument::Field(other) => {
                        let help = "of fields, it looks for one with a single text";
                        let what = other.field_type.describe();
                        self.refuse_argument("contains", what, help, *part_span)
                    }
                }
            }
        }
    }

    fn refuse_argument<T>(&mut self, name: &str, what: &str, help: &str, span: Span) -> Option<T> {
        let message = format!("`{name}` cannot take {what}");
        self.report_with_help(Code::FunctionArguments, span, message, help);
        None
    }
}

fn text_condition(field: TextField, case: Case, test: TextTest) -> Condition {
    Condition::Text {
        field,
        case,
        test,
        negated: false,
    }
}

/// `name(…)` to the name and what stands between the brackets.
pub(super) fn parse_call(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.trim().split_once('(')?;
    let inner = rest.strip_suffix(')')?;
    Some((name.trim(), inner))
}
