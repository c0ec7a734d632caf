//! What is compared: fields, constants, entries of lists, computed numbers.

use super::Reader;
use super::presence::{Need, need};
use super::syntax::{Arithmetic, At, Call, Expr, Kind};
use crate::author::checker::shown;
use crate::author::diagnostics::{Code, did_you_mean};
use crate::author::fields::{FieldType, ROLES, Resolved, resolved};
use crate::author::typed::Computed;
use crate::author::variables::Constant;
use crate::program::{Case, Entry, Field, List, TextField};

/// Functions and methods, macros included.
pub const CEL_FUNCTIONS: &[&str] = &[
    "has",
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "lowerAscii",
    "exists",
    "all",
];

/// A value an expression has, with the fields it needs.
pub(super) struct Operand {
    pub value: Value,
    pub uses: Vec<Need>,
    pub at: At,
}

pub(super) enum Value {
    Null,
    Constant(Constant),
    /// A field that is no number: a text, several texts, names, messages, a boolean.
    Field(Resolved, Case),
    Number(Computed),
}

impl Value {
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Constant(constant) => constant.describe(),
            Value::Field(resolved, _) => resolved.field_type.describe(),
            Value::Number(_) => "a number",
        }
    }
}

impl Reader<'_, '_> {
    /// An expression that is not a condition; `None` after a diagnostic.
    pub(super) fn operand(&mut self, expr: &Expr) -> Option<Operand> {
        let constant = |constant| {
            Some(Operand {
                value: Value::Constant(constant),
                uses: Vec::new(),
                at: expr.at.clone(),
            })
        };
        match &expr.kind {
            Kind::Null => Some(Operand {
                value: Value::Null,
                uses: Vec::new(),
                at: expr.at.clone(),
            }),
            Kind::Bool(value) => constant(Constant::Bool(*value)),
            Kind::Number(number) => constant(Constant::Number(*number)),
            Kind::Text(text) => constant(Constant::Text(text.clone())),
            Kind::List(items) => constant(self.list(items, &expr.at)?),
            Kind::Path(path) => self.path(path, &expr.at),
            Kind::Negative(inner) => {
                let zero = Operand {
                    value: Value::Constant(Constant::Number(0.0)),
                    uses: Vec::new(),
                    at: expr.at.clone(),
                };
                let inner = self.operand(inner)?;
                self.computed(Arithmetic::Minus, zero, inner, &expr.at)
            }
            Kind::Arithmetic(sign, sides) => {
                let [left, right] = sides.as_ref();
                let (left, right) = (self.operand(left), self.operand(right));
                self.computed(*sign, left?, right?, &expr.at)
            }
            Kind::Call(call) => self.call(call, &expr.at),
            Kind::Not(_)
            | Kind::All(_)
            | Kind::Any(_)
            | Kind::If(_)
            | Kind::Compare(..)
            | Kind::In(_) => {
                let message = "a condition is compared with nothing";
                let help = "write it alone, or `!` before it; join conditions with `&&` and `||`";
                self.report_with_help(Code::CelUnsupported, &expr.at, message, help);
                None
            }
        }
    }

    fn list(&mut self, items: &[Expr], at: &At) -> Option<Constant> {
        let mut constants = Vec::with_capacity(items.len());
        for item in items {
            let operand = self.operand(item)?;
            let Value::Constant(constant) = operand.value else {
                let message = format!("a list holds constants, not {}", operand.value.describe());
                let help = "compare with each: `a == b || a == c`";
                self.report_with_help(Code::ValueType, &item.at, message, help);
                return None;
            };
            constants.push(constant);
        }
        let span = self.places.span(at);
        self.checker.list_of(&constants, span)
    }

    fn path(&mut self, path: &str, at: &At) -> Option<Operand> {
        let span = self.places.span(at);
        if let Some(name) = path.strip_prefix("variables.") {
            let constant = self.checker.variable(name, span)?;
            return Some(Operand {
                value: Value::Constant(constant),
                uses: Vec::new(),
                at: at.clone(),
            });
        }
        let root = path.split(['.', '[']).next().unwrap_or_default();
        let bound = self.bound.as_ref().filter(|bound| bound.name == root);
        let found = match bound.map(|bound| bound.list) {
            Some(list) => self.entry(list, path.get(root.len()..).unwrap_or_default(), at)?,
            None => self.checker.field(path, span)?,
        };
        let value = match found.field {
            Field::Number(number) => Value::Number(Computed::Field(number)),
            Field::Text(_) | Field::Bool(_) | Field::Messages => Value::Field(found, Case::AsIs),
        };
        Some(Operand {
            value,
            uses: need(found.field, at).into_iter().collect(),
            at: at.clone(),
        })
    }

    /// A macro's variable, or what follows it.
    fn entry(&mut self, list: List, rest: &str, at: &At) -> Option<Resolved> {
        let entry = match (list, rest) {
            (List::Messages, ".role") => Entry::Role,
            (List::Messages, ".content") => Entry::Content,
            (List::Tools | List::Stop, "") => Entry::Name,
            (List::Messages, _) => {
                let message = format!("unknown field `{}`", self.written(at));
                let help = "a message has `.role` and `.content`";
                self.report_with_help(Code::UnknownField, at, message, help);
                return None;
            }
            (List::Tools | List::Stop, _) => {
                let message = format!("unknown field `{}`", self.written(at));
                let help = "the entries of this list are texts, without fields";
                self.report_with_help(Code::UnknownField, at, message, help);
                return None;
            }
        };
        let mut found = resolved(Field::Text(TextField::Entry(entry)));
        found.domain = (entry == Entry::Role).then_some(ROLES);
        Some(found)
    }

    fn computed(
        &mut self,
        sign: Arithmetic,
        left: Operand,
        right: Operand,
        at: &At,
    ) -> Option<Operand> {
        let uses = [left.uses.clone(), right.uses.clone()].concat();
        let (left, right) = (self.number(left), self.number(right));
        let (left, right) = (left?, right?);
        let value = match (sign, &left, &right) {
            (_, Computed::Constant(left), Computed::Constant(right)) => {
                let number = match sign {
                    Arithmetic::Plus => left + right,
                    Arithmetic::Minus => left - right,
                    Arithmetic::Times => left * right,
                };
                if !number.is_finite() {
                    let message = "the number is too large";
                    self.report(Code::CelUnsupported, at, message);
                    return None;
                }
                Value::Constant(Constant::Number(number))
            }
            (Arithmetic::Plus, ..) => Value::Number(Computed::Sum(Box::new([left, right]))),
            (Arithmetic::Minus, ..) => Value::Number(Computed::Difference(Box::new([left, right]))),
            (Arithmetic::Times, ..) => Value::Number(Computed::Product(Box::new([left, right]))),
        };
        Some(Operand {
            value,
            uses,
            at: at.clone(),
        })
    }

    /// An operand of arithmetic or of an order.
    pub(super) fn number(&mut self, operand: Operand) -> Option<Computed> {
        match operand.value {
            Value::Constant(Constant::Number(number)) => Some(Computed::Constant(number)),
            Value::Number(number) => Some(number),
            other => {
                let message = format!("a number belongs here, and this is {}", other.describe());
                let date = matches!(self.written(&operand.at).as_str(), "context.time.date");
                let help = match other {
                    _ if date => {
                        "compare `context.time.year`, `month` and `day`, or \
                         `context.time.timestamp`"
                    }
                    Value::Constant(Constant::Text(text)) if text.parse::<f64>().is_ok() => {
                        "remove the quotes"
                    }
                    Value::Field(..) => {
                        "texts have `==`, `!=`, `in` and methods; lists have `size()`"
                    }
                    Value::Null => "only `==`, `!=` and `has()` ask whether a field is missing",
                    Value::Constant(_) | Value::Number(_) => {
                        "numbers have `<`, `<=`, `>`, `>=`, `+`, `-` and `*`"
                    }
                };
                self.report_with_help(Code::ValueType, &operand.at, message, help);
                None
            }
        }
    }

    /// Functions with a value: `size` and `lowerAscii`.
    fn call(&mut self, call: &Call, at: &At) -> Option<Operand> {
        match (
            call.name.as_str(),
            &call.receiver,
            call.arguments.as_slice(),
        ) {
            ("size", None, [one]) => self.size(one, at),
            ("size", Some(one), []) => self.size(one, at),
            ("lowerAscii", Some(receiver), []) => {
                let operand = self.operand(receiver)?;
                let Value::Field(resolved, _) = operand.value else {
                    let message = format!(
                        "`lowerAscii` is a method of fields with a text, and this is {}",
                        operand.value.describe()
                    );
                    self.report(Code::ValueType, &operand.at, message);
                    return None;
                };
                if !matches!(resolved.field_type, FieldType::Text | FieldType::Texts) {
                    return self.refuse_method(call, &resolved, receiver);
                }
                Some(Operand {
                    value: Value::Field(resolved, Case::LowerAscii),
                    uses: operand.uses,
                    at: at.clone(),
                })
            }
            (name, ..) if CEL_FUNCTIONS.contains(&name) => self.refuse_use(call, at),
            _ => self.refuse_call(call),
        }
    }

    /// A function in a place where it has no meaning, or with other arguments.
    pub(super) fn refuse_use<T>(&mut self, call: &Call, at: &At) -> Option<T> {
        let (usage, condition) = match call.name.as_str() {
            "has" => ("has(request.user)", true),
            "size" => ("size(request.messages)", false),
            "lowerAscii" => ("request.model.lowerAscii()", false),
            "exists" => ("request.messages.exists(m, m.role == \"system\")", true),
            "all" => ("request.tools.all(t, t in [\"search\"])", true),
            "matches" => ("request.text.matches(\"[0-9]{16}\")", true),
            "startsWith" => ("request.model.startsWith(\"gpt-\")", true),
            "endsWith" => ("request.model.endsWith(\"-mini\")", true),
            _ => ("request.text.contains(\"internal\")", true),
        };
        let holds = if condition { "a condition" } else { "a value" };
        let message = format!("`{}` is {holds}, and is used otherwise here", call.name);
        let help = format!("write it as in `{usage}`");
        self.report_with_help(Code::ValueType, at, message, help);
        None
    }

    pub(super) fn refuse_call<T>(&mut self, call: &Call) -> Option<T> {
        let message = format!("unknown function `{}`", shown(&call.name));
        let usual = match call.name.as_str() {
            "starts_with" => Some("startsWith"),
            "ends_with" => Some("endsWith"),
            "len" | "length" | "count" => Some("size"),
            "lower" | "toLower" | "toLowerCase" => Some("lowerAscii"),
            "any" | "exists_one" => Some("exists"),
            "every" => Some("all"),
            _ => None,
        };
        let help = usual
            .map(|name| format!("write `{name}`"))
            .or_else(|| did_you_mean(&call.name, CEL_FUNCTIONS.iter().copied()))
            .unwrap_or_else(|| {
                let list = crate::author::checker::list(CEL_FUNCTIONS);
                format!("functions are {list}")
            });
        self.report_with_help(Code::UnknownFunction, &call.name_at, message, help);
        None
    }

    pub(super) fn refuse_method<T>(
        &mut self,
        call: &Call,
        receiver: &Resolved,
        at: &Expr,
    ) -> Option<T> {
        let message = format!(
            "`{}` does not apply to `{}`, which is {}",
            call.name,
            self.written(&at.at),
            receiver.field_type.describe()
        );
        let path = self.written(&at.at);
        let help = match (call.name.as_str(), receiver.field_type) {
            ("contains", FieldType::Names) => format!("write `\"…\" in {path}`"),
            (name, FieldType::Names) => format!("write `{path}.exists(x, x.{name}(…))`"),
            (name, FieldType::Messages) => {
                format!("write `{path}.exists(m, m.content.{name}(…))`")
            }
            _ => "methods are for texts".to_owned(),
        };
        self.report_with_help(Code::OperatorType, &call.name_at, message, help);
        None
    }

    /// Entries of a list, characters of a text.
    fn size(&mut self, of: &Expr, at: &At) -> Option<Operand> {
        let operand = self.operand(of)?;
        let value = match &operand.value {
            Value::Field(resolved, _) => match (resolved.field, list_of(resolved.field)) {
                (_, Some(list)) => Value::Number(Computed::Count(list)),
                (Field::Text(field), None) if field.is_single() => {
                    Value::Number(Computed::Length(field))
                }
                _ => return self.refuse_size(operand),
            },
            Value::Constant(Constant::Text(text)) => count(text.chars().count()),
            Value::Constant(Constant::Texts(texts)) => count(texts.len()),
            Value::Constant(Constant::Numbers(numbers)) => count(numbers.len()),
            Value::Constant(Constant::EmptyList) => count(0),
            Value::Constant(_) | Value::Number(_) | Value::Null => {
                return self.refuse_size(operand);
            }
        };
        if self.bound.is_some()
            && let Value::Field(resolved, _) = &operand.value
            && !matches!(resolved.field, Field::Text(TextField::Entry(_)))
            && list_of(resolved.field).is_none()
        {
            self.refuse_rescan(at);
            return None;
        }
        Some(Operand {
            value,
            uses: operand.uses,
            at: at.clone(),
        })
    }

    fn refuse_size<T>(&mut self, operand: Operand) -> Option<T> {
        let message = format!(
            "`size` counts entries of a list or characters of a text, and this is {}",
            operand.value.describe()
        );
        self.report(Code::ValueType, &operand.at, message);
        None
    }

    /// What reads a whole text is not repeated for each entry of a list.
    pub(super) fn refuse_rescan(&mut self, at: &At) {
        let variable = self.bound.as_ref().map(|bound| bound.name.clone());
        let variable = variable.unwrap_or_default();
        let message = format!(
            "`{}` reads a text again for each entry of the list",
            self.written(at)
        );
        let help = format!("it does not depend on `{variable}`: move it out of the macro");
        self.report_with_help(Code::TooCostly, at, message, help);
    }
}

fn count(entries: usize) -> Value {
    Value::Constant(Constant::Number(entries as f64))
}

/// The list a field is, where its entries can be looked at.
pub(super) fn list_of(field: Field) -> Option<List> {
    match field {
        Field::Messages => Some(List::Messages),
        Field::Text(TextField::Tools) => Some(List::Tools),
        Field::Text(TextField::Stop) => Some(List::Stop),
        Field::Text(_) | Field::Number(_) | Field::Bool(_) => None,
    }
}
