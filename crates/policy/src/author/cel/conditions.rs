//! Expressions that hold or do not: connectives, comparisons, methods.

use super::operands::{CEL_FUNCTIONS, Operand, Value, list_of};
use super::presence::{Presence, need};
use super::syntax::{At, Call, Expr, Kind, sign};
use super::{Reader, Typed};
use crate::author::checker::shown;
use crate::author::diagnostics::Code;
use crate::author::fields::{FieldType, Resolved};
use crate::author::operands::Place;
use crate::author::typed::{Computed, Condition, TextTest, TextValue};
use crate::author::variables::Constant;
use crate::program::{BoolField, BoolValue, Case, Field, NumberValue, Order, TextField};

impl Reader<'_, '_> {
    /// An expression as a condition; `None` after a diagnostic.
    pub(super) fn condition(&mut self, expr: &Expr) -> Option<Typed> {
        if self.checker.diagnostics.is_full() {
            return None;
        }
        match &expr.kind {
            Kind::Not(inner) => {
                let inner = self.condition(inner)?;
                Some(Typed {
                    condition: negated(inner.condition),
                    presence: inner.presence.negated(),
                })
            }
            Kind::All(parts) => {
                let (conditions, presences) = self.conditions(parts)?;
                Some(Typed {
                    condition: Condition::All(conditions),
                    presence: Presence::all(presences),
                })
            }
            Kind::Any(parts) => {
                let (conditions, presences) = self.conditions(parts)?;
                Some(Typed {
                    condition: Condition::Any(conditions),
                    presence: Presence::any(presences),
                })
            }
            Kind::If(parts) => {
                let [condition, then, otherwise] =
                    parts.each_ref().map(|part| self.condition(part));
                let (condition, then, otherwise) = (condition?, then?, otherwise?);
                let presence =
                    Presence::choice(condition.presence, then.presence, otherwise.presence);
                let parts = [condition.condition, then.condition, otherwise.condition];
                Some(Typed {
                    condition: Condition::If(Box::new(parts)),
                    presence,
                })
            }
            Kind::Compare(order, sides) => {
                let [left, right] = sides.as_ref();
                let (left, right) = (self.operand(left), self.operand(right));
                self.comparison(*order, left?, right?, &expr.at)
            }
            Kind::In(sides) => {
                let [left, right] = sides.as_ref();
                let (left, right) = (self.operand(left), self.operand(right));
                self.membership(left?, right?, &expr.at)
            }
            Kind::Call(call) => match (call.name.as_str(), &call.receiver) {
                ("has", None) => self.has(call, &expr.at),
                ("exists" | "all", Some(list)) => self.quantifier(call, list, &expr.at),
                ("contains" | "startsWith" | "endsWith" | "matches", Some(receiver)) => {
                    self.method(call, receiver, &expr.at)
                }
                (name, _) if CEL_FUNCTIONS.contains(&name) => self.refuse_use(call, &expr.at),
                _ => self.refuse_call(call),
            },
            _ => self.boolean(expr),
        }
    }

    /// A boolean standing alone.
    fn boolean(&mut self, expr: &Expr) -> Option<Typed> {
        let operand = self.operand(expr)?;
        match operand.value {
            Value::Constant(Constant::Bool(value)) => Some(constant(value)),
            Value::Field(
                Resolved {
                    field: Field::Bool(field),
                    ..
                },
                _,
            ) => Some(Typed {
                condition: Condition::Bool {
                    field,
                    value: BoolValue::Constant(true),
                    negated: false,
                },
                presence: Presence::compared(operand.uses),
            }),
            other => {
                let message = format!(
                    "a condition belongs here, and `{}` is {}",
                    self.written(&expr.at),
                    other.describe()
                );
                let help = "compare it: `==`, `<`, `in`, or a method such as `.contains(\"…\")`";
                self.report_with_help(Code::ValueType, &expr.at, message, help);
                None
            }
        }
    }

    fn has(&mut self, call: &Call, at: &At) -> Option<Typed> {
        if let [argument] = call.arguments.as_slice()
            && let Kind::Path(_) = &argument.kind
        {
            let operand = self.operand(argument)?;
            let field = match operand.value {
                Value::Field(resolved, _) => Some(resolved.field),
                Value::Number(Computed::Field(number)) => Some(Field::Number(number)),
                Value::Number(_) | Value::Constant(_) | Value::Null => None,
            };
            if let Some(field) = field {
                return Some(present(field, at));
            }
        }
        let message = "`has` asks for one field";
        let help = "write it as in `has(request.user)`";
        self.report_with_help(Code::ValueType, at, message, help);
        None
    }

    fn comparison(
        &mut self,
        order: Order,
        left: Operand,
        right: Operand,
        at: &At,
    ) -> Option<Typed> {
        let equality = matches!(order, Order::Equal | Order::NotEqual);
        if !equality {
            let uses = [left.uses.clone(), right.uses.clone()].concat();
            let (left, right) = (self.number(left), self.number(right));
            let condition = ordered(left?, order, right?);
            return Some(Typed {
                condition,
                presence: Presence::compared(uses),
            });
        }
        let equal = self.equality(left, right, at, sign(order))?;
        Some(match order {
            Order::NotEqual => Typed {
                condition: negated(equal.condition),
                presence: equal.presence.negated(),
            },
            _ => equal,
        })
    }

    /// Both sides have a value, and the same one.
    fn equality(
        &mut self,
        left: Operand,
        right: Operand,
        at: &At,
        operator: &'static str,
    ) -> Option<Typed> {
        let uses = [left.uses.clone(), right.uses.clone()].concat();
        // What depends on the exchange comes first.
        let (left, right) = match &left.value {
            Value::Constant(_) | Value::Null => (right, left),
            Value::Field(_, Case::AsIs) => match right.value {
                Value::Field(_, Case::LowerAscii) => (right, left),
                _ => (left, right),
            },
            Value::Field(..) | Value::Number(_) => (left, right),
        };
        let condition = match (left.value, right.value) {
            (Value::Null, Value::Null) => return Some(constant(true)),
            (Value::Constant(left), Value::Constant(right))
                if left.describe() == right.describe() =>
            {
                return Some(constant(left == right));
            }
            (Value::Field(resolved, Case::AsIs), Value::Null) => {
                return Some(missing(resolved.field, at));
            }
            (Value::Number(Computed::Field(number)), Value::Null) => {
                return Some(missing(Field::Number(number), at));
            }
            (Value::Number(number), value) => {
                let right = Operand { value, ..right };
                ordered(number, Order::Equal, self.number(right)?)
            }
            (Value::Field(resolved, case), value) => {
                let right = Operand { value, ..right };
                match (resolved.field, resolved.field_type) {
                    (Field::Text(field), FieldType::Text) => {
                        let value = self.text_value(right, &resolved, case, operator)?;
                        // `Equals` asks for null as well, which two missing fields would share.
                        let test = match value {
                            TextValue::Constant(_) => TextTest::Equals(value),
                            TextValue::Field(_) | TextValue::Template(_) => TextTest::Has(value),
                        };
                        self.text_test(field, case, test, at)?
                    }
                    (Field::Bool(field), _) => self.same_boolean(field, right)?,
                    _ => return self.refuse_comparison(&resolved, &left.at, operator, at),
                }
            }
            (left_value, right_value) => {
                let message = format!(
                    "{} never equals {}",
                    left_value.describe(),
                    right_value.describe()
                );
                let help = "nothing is converted: compare values of the same type";
                self.report_with_help(Code::ValueType, at, message, help);
                return None;
            }
        };
        Some(Typed {
            condition,
            presence: Presence::compared(uses),
        })
    }

    fn same_boolean(&mut self, field: BoolField, right: Operand) -> Option<Condition> {
        let value = match right.value {
            Value::Constant(Constant::Bool(value)) => BoolValue::Constant(value),
            Value::Field(
                Resolved {
                    field: Field::Bool(other),
                    ..
                },
                _,
            ) => BoolValue::Field(other),
            other => {
                let message = format!("a boolean belongs here, and this is {}", other.describe());
                let help = "write `true` or `false`, without quotes";
                self.report_with_help(Code::ValueType, &right.at, message, help);
                return None;
            }
        };
        let same = Condition::Bool {
            field,
            value,
            negated: false,
        };
        Some(match value {
            BoolValue::Constant(_) => same,
            BoolValue::Field(_) => {
                Condition::All(vec![Condition::Present(Field::Bool(field)), same])
            }
        })
    }

    fn membership(&mut self, left: Operand, right: Operand, at: &At) -> Option<Typed> {
        let uses = [left.uses.clone(), right.uses.clone()].concat();
        let condition = match (left.value, right.value) {
            (Value::Constant(left), Value::Constant(list)) => match (left, list) {
                (Constant::Text(text), Constant::Texts(texts)) => {
                    Condition::Constant(texts.contains(&text))
                }
                (Constant::Number(number), Constant::Numbers(numbers)) => {
                    Condition::Constant(numbers.contains(&number))
                }
                (Constant::Text(_) | Constant::Number(_), Constant::EmptyList) => {
                    Condition::Constant(false)
                }
                (left, list) => {
                    return self.refuse_membership(left.describe(), list.describe(), at);
                }
            },
            (Value::Field(resolved, case), Value::Constant(list))
                if resolved.field_type == FieldType::Text =>
            {
                let texts = match list {
                    Constant::Texts(texts) => texts,
                    Constant::EmptyList => Vec::new(),
                    other => return self.refuse_membership("a text", other.describe(), at),
                };
                for text in &texts {
                    self.possible(text, &resolved, case, true, &right.at)?;
                }
                let Field::Text(field) = resolved.field else {
                    return None;
                };
                self.text_test(field, case, TextTest::In(texts), at)?
            }
            (Value::Number(number), Value::Constant(list)) => {
                let set = match list {
                    Constant::Numbers(numbers) => numbers,
                    Constant::EmptyList => Vec::new(),
                    other => return self.refuse_membership("a number", other.describe(), at),
                };
                match number {
                    Computed::Field(field) => Condition::NumberIn {
                        field,
                        set,
                        negated: false,
                    },
                    number => {
                        let equal =
                            |it| ordered(number.clone(), Order::Equal, Computed::Constant(it));
                        Condition::Any(set.into_iter().map(equal).collect())
                    }
                }
            }
            (left, Value::Field(names, _)) if names.field_type == FieldType::Names => {
                let Field::Text(field) = names.field else {
                    return None;
                };
                let value = match left {
                    Value::Constant(Constant::Text(text)) => TextValue::Constant(text),
                    Value::Field(
                        Resolved {
                            field: Field::Text(text),
                            field_type: FieldType::Text,
                            ..
                        },
                        Case::AsIs,
                    ) => TextValue::Field(text),
                    other => {
                        return self.refuse_membership(other.describe(), "a list of names", at);
                    }
                };
                self.text_test(field, Case::AsIs, TextTest::Has(value), at)?
            }
            (left, right) => return self.refuse_membership(left.describe(), right.describe(), at),
        };
        Some(Typed {
            condition,
            presence: Presence::compared(uses),
        })
    }

    fn method(&mut self, call: &Call, receiver: &Expr, at: &At) -> Option<Typed> {
        let operand = self.operand(receiver);
        let [argument] = call.arguments.as_slice() else {
            return self.refuse_use(call, at);
        };
        let argument = self.operand(argument);
        let (operand, argument) = (operand?, argument?);
        let uses = [operand.uses.clone(), argument.uses.clone()].concat();
        let Value::Field(resolved, case) = operand.value else {
            let message = format!(
                "`{}` is a method of fields with a text, and this is {}",
                call.name,
                operand.value.describe()
            );
            self.report(Code::ValueType, &operand.at, message);
            return None;
        };
        let Field::Text(field) = resolved.field else {
            return self.refuse_method(call, &resolved, receiver);
        };
        if !matches!(resolved.field_type, FieldType::Text | FieldType::Texts) {
            return self.refuse_method(call, &resolved, receiver);
        }
        let test = match call.name.as_str() {
            "matches" => TextTest::Matches(self.matched(&resolved, argument)?),
            "startsWith" => {
                TextTest::StartsWith(self.text_value(argument, &resolved, case, "startsWith")?)
            }
            "endsWith" => {
                TextTest::EndsWith(self.text_value(argument, &resolved, case, "endsWith")?)
            }
            _ => TextTest::Contains(self.text_value(argument, &resolved, case, "contains")?),
        };
        Some(Typed {
            condition: self.text_test(field, case, test, at)?,
            presence: Presence::compared(uses),
        })
    }

    fn matched(&mut self, field: &Resolved, argument: Operand) -> Option<std::sync::Arc<[u8]>> {
        let at = Place {
            path: "",
            field,
            operator: "matches",
            value: self.places.span(&argument.at),
        };
        match argument.value {
            Value::Constant(Constant::Text(pattern)) => self.checker.pattern(&pattern, at),
            Value::Constant(other) => {
                let message = format!("a pattern is a text, and this is {}", other.describe());
                self.report(Code::ValueType, &argument.at, message);
                None
            }
            Value::Field(..) | Value::Number(_) | Value::Null => {
                let message = "a pattern cannot depend on the exchange";
                let help = "`matches` takes a constant or a variable; patterns are compiled when \
                            the policy is";
                self.report_with_help(Code::PatternNotConstant, &argument.at, message, help);
                None
            }
        }
    }

    /// A single text to compare a text with.
    fn text_value(
        &mut self,
        operand: Operand,
        with: &Resolved,
        case: Case,
        operator: &'static str,
    ) -> Option<TextValue> {
        match operand.value {
            Value::Constant(Constant::Text(text)) => {
                let whole = matches!(operator, "==" | "!=");
                self.possible(&text, with, case, whole, &operand.at)?;
                Some(TextValue::Constant(text))
            }
            Value::Field(
                Resolved {
                    field: Field::Text(field),
                    field_type: FieldType::Text,
                    ..
                },
                Case::AsIs,
            ) => Some(TextValue::Field(field)),
            Value::Field(_, Case::LowerAscii) => {
                let message = "only one side of a comparison is in small letters";
                let help = "compare with a constant, or with a field as it is";
                self.report_with_help(Code::CelUnsupported, &operand.at, message, help);
                None
            }
            other => {
                let message = format!("a text belongs here, and this is {}", other.describe());
                let help = match other {
                    Value::Constant(Constant::Number(_) | Constant::Bool(_)) => {
                        "put quotes around it"
                    }
                    Value::Constant(_) => "use `in` to compare with a list",
                    Value::Null => "only `==`, `!=` and `has()` ask whether a field is missing",
                    Value::Field(..) | Value::Number(_) => {
                        "only a field with one text can be a value"
                    }
                };
                self.report_with_help(Code::ValueType, &operand.at, message, help);
                None
            }
        }
    }

    /// A constant that the text can never be or hold is a slip.
    fn possible(
        &mut self,
        text: &str,
        with: &Resolved,
        case: Case,
        whole: bool,
        at: &At,
    ) -> Option<()> {
        if case == Case::LowerAscii {
            if text.contains(|c: char| c.is_ascii_uppercase()) {
                let message = format!("`{}` is not in small letters", shown(text));
                let help = format!(
                    "what `lowerAscii()` gives is: write `{}`",
                    shown(&text.to_ascii_lowercase())
                );
                self.report_with_help(Code::UnknownValue, at, message, help);
                return None;
            }
            return Some(());
        }
        let Some(words) = with.domain.filter(|_| whole) else {
            return Some(());
        };
        let span = self.places.span(at);
        let what = "value of the field:";
        self.checker
            .word(text, span, Code::UnknownValue, what, words)
            .map(|_| ())
    }

    /// A test of a text; within a macro, only what is short or the entry's own.
    fn text_test(
        &mut self,
        field: TextField,
        case: Case,
        test: TextTest,
        at: &At,
    ) -> Option<Condition> {
        let entry = matches!(field, TextField::Entry(_));
        let compared_at_its_ends = field.is_single()
            && case == Case::AsIs
            && !matches!(test, TextTest::Contains(_) | TextTest::Matches(_));
        if self.bound.is_some() && !entry && !compared_at_its_ends {
            self.refuse_rescan(at);
            return None;
        }
        Some(Condition::Text {
            field,
            case,
            test,
            negated: false,
        })
    }

    fn refuse_comparison<T>(
        &mut self,
        field: &Resolved,
        field_at: &At,
        operator: &'static str,
        at: &At,
    ) -> Option<T> {
        let path = self.written(field_at);
        let message = format!(
            "`{operator}` does not apply to `{path}`, which is {}",
            field.field_type.describe()
        );
        let help = match (field.field_type, list_of(field.field)) {
            (FieldType::Texts, _) => {
                format!("write `{path}.contains(\"…\")` or `{path}.matches(\"…\")`")
            }
            (FieldType::Messages, _) => {
                format!("write `{path}.exists(m, m.content == \"…\")`, or compare `size({path})`")
            }
            _ => format!("write `\"…\" in {path}`, or compare `size({path})`"),
        };
        self.report_with_help(Code::OperatorType, at, message, help);
        None
    }

    fn refuse_membership<T>(&mut self, left: &str, right: &str, at: &At) -> Option<T> {
        let message = format!("`in` asks whether {left} is in {right}");
        let help = "left of it stands a text or a number, right of it a list of them, \
                    `request.tools` or `request.stop`";
        self.report_with_help(Code::ValueType, at, message, help);
        None
    }
}

fn constant(value: bool) -> Typed {
    Typed {
        condition: Condition::Constant(value),
        presence: Presence::default(),
    }
}

fn present(field: Field, at: &At) -> Typed {
    let may_be_missing = need(field, at).is_some();
    Typed {
        condition: Condition::Present(field),
        presence: match may_be_missing {
            true => Presence::asked(field),
            false => Presence::default(),
        },
    }
}

fn missing(field: Field, at: &At) -> Typed {
    let Typed {
        condition,
        presence,
    } = present(field, at);
    Typed {
        condition: negated(condition),
        presence: presence.negated(),
    }
}

/// A comparison of numbers; false when a field in it is missing.
fn ordered(left: Computed, order: Order, right: Computed) -> Condition {
    let flipped = match order {
        Order::Equal | Order::NotEqual => order,
        Order::Less => Order::Greater,
        Order::Greater => Order::Less,
        Order::AtMost => Order::AtLeast,
        Order::AtLeast => Order::AtMost,
    };
    let number = |field, order, constant| Condition::Number {
        field,
        order,
        value: NumberValue::Constant(constant),
    };
    match (left, right) {
        (Computed::Constant(left), Computed::Constant(right)) => {
            Condition::Constant(order.holds(left, right))
        }
        (Computed::Field(field), Computed::Constant(constant)) => number(field, order, constant),
        (Computed::Constant(constant), Computed::Field(field)) => number(field, flipped, constant),
        (left, right) => Condition::Compare { left, order, right },
    }
}

/// The opposite, in the form that `conditions` would have where there is one.
pub(super) fn negated(condition: Condition) -> Condition {
    match condition {
        Condition::Constant(value) => Condition::Constant(!value),
        Condition::Not(inner) => *inner,
        Condition::Text {
            field,
            case,
            test: test @ TextTest::Equals(_),
            negated,
        } => Condition::Text {
            field,
            case,
            test,
            negated: !negated,
        },
        Condition::Number {
            field,
            order: Order::Equal,
            value: value @ NumberValue::Constant(_),
        } => Condition::Number {
            field,
            order: Order::NotEqual,
            value,
        },
        other => Condition::Not(Box::new(other)),
    }
}
