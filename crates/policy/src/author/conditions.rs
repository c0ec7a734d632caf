//! Conditions: groups, negation, and `field operator value` with its types.

use super::checker::{Checker, Fields, Keys, list, shown};
use super::diagnostics::{Code, Span, did_you_mean};
use super::fields::{FieldType, Resolved, resolved as of_field};
use super::functions::parse_call;
use super::operands::{Operand, Place};
use super::typed::{Condition, TextTest, TextValue};
use super::variables::Constant;
use super::yaml::{Entry, Node, Value};
use crate::program::{BoolValue, Field, MAX_DEPTH, Order, TextField};

/// The operators of the language.
pub const OPERATORS: &[&str] = &[
    "==",
    "!=",
    "<",
    ">",
    "<=",
    ">=",
    "contains",
    "starts_with",
    "ends_with",
    "matches",
    "in",
    "not_in",
    "exists",
];

pub(super) const CONDITION: Keys = Keys {
    what: "a condition",
    known: &[
        "field", "operator", "value", "any", "all", "not", "function", "args", "and", "or",
    ],
    ignored: &["name", "description", "metadata"],
};

/// The left side of a comparison.
pub(super) enum Left {
    Field(Resolved),
    /// A function that is a condition by itself.
    Condition(Condition),
}

/// Operators that read a text.
const TEXT_TESTS: &[&str] = &["contains", "starts_with", "ends_with", "matches"];

/// A rule's list takes one level of the program, and its own `not` another.
const DEEPEST: u32 = MAX_DEPTH - 4;

impl Checker<'_> {
    /// A rule's conditions, all of which must hold; none at all always hold.
    pub(super) fn conditions(&mut self, node: &Node) -> Option<Condition> {
        if let Value::Map(entries) = &node.value {
            if entries.is_empty() {
                return Some(Condition::Constant(true));
            }
            self.alternate("one condition by itself", "a list of conditions", node.span);
            return self.condition(node, 0);
        }
        let items = self.list(node, "`conditions`")?;
        if items.is_empty() {
            return Some(Condition::Constant(true));
        }
        self.group(items, Condition::All, 0)
    }

    /// `match` holds conditions, or fields with the values they must have.
    pub(super) fn matched(&mut self, node: &Node) -> Option<Condition> {
        let Value::Map(entries) = &node.value else {
            return self.conditions(node);
        };
        if entries
            .iter()
            .any(|entry| CONDITION.known.contains(&entry.key.as_str()))
        {
            return self.condition(node, 0);
        }
        let parts: Vec<_> = entries
            .iter()
            .map(|entry| {
                let resolved = self.field(&entry.key, entry.key_span)?;
                let operand = self.operand(&entry.value)?;
                let list = matches!(
                    operand,
                    Operand::Constant(Constant::Texts(_) | Constant::Numbers(_))
                );
                let at = Place {
                    path: &entry.key,
                    field: &resolved,
                    operator: if list { "in" } else { "==" },
                    value: entry.value.span,
                };
                self.typed(at, operand, entry.key_span)
            })
            .collect();
        let parts: Vec<Condition> = parts.into_iter().collect::<Option<_>>()?;
        Some(match parts.is_empty() {
            true => Condition::Constant(true),
            false => Condition::All(parts),
        })
    }

    /// Every part is read, so that all their diagnostics are seen at once.
    fn group(
        &mut self,
        items: &[Node],
        combine: fn(Vec<Condition>) -> Condition,
        depth: u32,
    ) -> Option<Condition> {
        let parts: Vec<_> = items
            .iter()
            .map(|item| self.condition(item, depth))
            .collect();
        let mut parts: Vec<Condition> = parts.into_iter().collect::<Option<_>>()?;
        match parts.len() {
            1 => parts.pop(),
            _ => Some(combine(parts)),
        }
    }

    fn condition(&mut self, node: &Node, depth: u32) -> Option<Condition> {
        if self.diagnostics.is_full() {
            return None;
        }
        if depth > DEEPEST {
            let message = format!("conditions nested deeper than {DEEPEST} levels");
            self.report(Code::TooDeep, node.span, message);
            return None;
        }
        let fields = self.fields(node, &CONDITION)?;
        let kinds = ["field", "function", "any", "all", "not", "and", "or"];
        let mut found = kinds.iter().filter_map(|kind| fields.entry(kind));
        let Some(entry) = found.next() else {
            let help = "write `field`, `operator`, `value`; or `any`, `all`, `not`";
            self.report_with_help(Code::MissingKey, node.span, "a condition is empty", help);
            return None;
        };
        if let Some(second) = found.next() {
            let message = format!(
                "a condition is one of `{}` and `{}`, not both",
                entry.key, second.key
            );
            let help = "put them into two conditions, under `all` if both must hold";
            self.report_with_help(Code::WrongShape, second.key_span, message, help);
            return None;
        }
        match entry.key.as_str() {
            "field" => self.comparison(&fields, entry),
            "function" => self.function(&fields, entry),
            kind => {
                self.refuse_operator_beside(&fields, kind);
                self.connective(entry, depth)
            }
        }
    }

    fn refuse_operator_beside(&mut self, fields: &Fields<'_>, kind: &str) {
        for key in ["operator", "value", "args"] {
            if let Some(entry) = fields.entry(key) {
                let message = format!("`{key}` has no meaning beside `{kind}`");
                self.report(Code::WrongShape, entry.key_span, message);
            }
        }
    }

    fn connective(&mut self, entry: &Entry, depth: u32) -> Option<Condition> {
        if entry.key == "not" {
            let inner = self.condition(&entry.value, depth + 1)?;
            return Some(Condition::Not(Box::new(inner)));
        }
        for (usual, key) in [("and", "all"), ("or", "any")] {
            if entry.key == usual {
                self.alternate(&format!("`{usual}`"), &format!("`{key}`"), entry.key_span);
            }
        }
        let all = matches!(entry.key.as_str(), "all" | "and");
        let items = self.list(&entry.value, &format!("`{}`", entry.key))?;
        if items.is_empty() {
            let (what, holds) = if all {
                ("all", "always")
            } else {
                ("any", "never")
            };
            let message = format!("an empty `{what}` {holds} holds");
            self.report(Code::EmptyGroup, entry.key_span, message);
            return Some(Condition::Constant(all));
        }
        let combine = if all { Condition::All } else { Condition::Any };
        self.group(items, combine, depth + 1)
    }

    fn comparison(&mut self, fields: &Fields<'_>, entry: &Entry) -> Option<Condition> {
        if let Some(args) = fields.entry("args") {
            let message = "`args` has no meaning beside `field`";
            self.report(Code::WrongShape, args.key_span, message);
        }
        let path = self.text(&entry.value, "`field`")?;
        let left = match parse_call(path) {
            Some((name, inner)) => {
                let canonical = format!("`function: {}` with `args`", shown(name));
                self.alternate("a function in `field`", &canonical, entry.value.span);
                let args = self.text_arguments(inner, entry.value.span);
                args.and_then(|args| self.call(name, entry.value.span, &args))
            }
            None => self.field(path, entry.value.span).map(Left::Field),
        };
        self.compare(left, path, fields)
    }

    fn function(&mut self, fields: &Fields<'_>, entry: &Entry) -> Option<Condition> {
        let name = self.text(&entry.value, "`function`")?;
        let args = match fields.get("args") {
            Some(args) => self.arguments(args)?,
            None => Vec::new(),
        };
        let left = self.call(name, entry.value.span, &args);
        let alone = fields.entry("operator").is_none() && fields.entry("value").is_none();
        match left? {
            Left::Field(Resolved {
                field: Field::Bool(field),
                ..
            }) if alone => Some(Condition::Bool {
                field,
                value: BoolValue::Constant(true),
                negated: false,
            }),
            Left::Condition(condition) if alone => Some(condition),
            left => self.compare(Some(left), name, fields),
        }
    }

    /// The left side compared as `operator` and `value` say.
    fn compare(
        &mut self,
        left: Option<Left>,
        path: &str,
        fields: &Fields<'_>,
    ) -> Option<Condition> {
        let negated = self.negated(fields);
        let condition = self.compare_by(negated, left, path, fields)?;
        Some(match negated {
            None => condition,
            Some(_) => Condition::Not(Box::new(condition)),
        })
    }

    /// The operator that one such as `not_contains` negates.
    fn negated(&mut self, fields: &Fields<'_>) -> Option<&'static str> {
        let entry = fields.entry("operator")?;
        let Value::Text(text) = &entry.value.value else {
            return None;
        };
        let inner = text.strip_prefix("not_")?;
        let operators = ["contains", "matches", "starts_with", "ends_with", "exists"];
        let operator = operators.into_iter().find(|operator| *operator == inner)?;
        let canonical = format!("`not:` around `{operator}`");
        self.alternate(&format!("`{text}`"), &canonical, entry.value.span);
        Some(operator)
    }

    fn compare_by(
        &mut self,
        negated: Option<&'static str>,
        left: Option<Left>,
        path: &str,
        fields: &Fields<'_>,
    ) -> Option<Condition> {
        let operator = match (fields.entry("operator"), fields.entry("value")) {
            (Some(entry), _) if negated.is_some() => negated.zip(Some(entry.value.span)),
            // `value` alone can only mean one thing.
            (None, Some(value)) => {
                self.alternate("`value` alone", "`operator: \"==\"`", value.key_span);
                Some(("==", value.key_span))
            }
            _ => {
                let operator = self.required_text(fields, "operator");
                operator.and_then(|(text, span)| Some((self.operator(text, span)?, span)))
            }
        };
        let value = fields.entry("value");
        let operand = value.map(|value| self.operand(&value.value));
        let (left, (operator, operator_span)) = (left?, operator?);
        let operand = match operand {
            // `exists` alone asks that the field has a value.
            None if operator == "exists" => Operand::Constant(Constant::Bool(true)),
            None => {
                let message = format!("`{operator}` needs a `value`");
                self.report(Code::MissingKey, operator_span, message);
                return None;
            }
            Some(operand) => operand?,
        };
        let value = value.map_or(operator_span, |value| value.value.span);
        let mut resolved = match left {
            Left::Field(resolved) => resolved,
            Left::Condition(condition) => {
                return self.compare_condition(condition, path, operator, &operand, value);
            }
        };
        if resolved.field_type == FieldType::Messages && TEXT_TESTS.contains(&operator) {
            let content = "`request.messages[*].content`";
            self.alternate("the text of messages", content, operator_span);
            resolved = of_field(Field::Text(TextField::EveryContent));
        }
        let at = Place {
            path,
            field: &resolved,
            operator,
            value,
        };
        self.typed(at, operand, operator_span)
    }

    /// A function that is true or false, compared with `true` or `false`.
    fn compare_condition(
        &mut self,
        condition: Condition,
        name: &str,
        operator: &'static str,
        operand: &Operand,
        value: Span,
    ) -> Option<Condition> {
        let (Operand::Constant(Constant::Bool(wanted)), "==" | "!=") = (operand, operator) else {
            let message = format!(
                "`{}` is true or false, and is compared with {} by `{operator}`",
                shown(name),
                operand.describe()
            );
            let help = "leave `operator` and `value` out, or write `==` and `true` or `false`";
            self.report_with_help(Code::ValueType, value, message, help);
            return None;
        };
        Some(match *wanted == (operator == "==") {
            true => condition,
            false => Condition::Not(Box::new(condition)),
        })
    }

    fn operator(&mut self, text: &str, span: Span) -> Option<&'static str> {
        if let Some(operator) = OPERATORS.iter().copied().find(|operator| *operator == text) {
            return Some(operator);
        }
        let usual = match text {
            "=" | "===" | "eq" | "equals" => Some("=="),
            "<>" | "ne" | "not_equals" => Some("!="),
            "gt" => Some(">"),
            "lt" => Some("<"),
            "gte" | "=>" => Some(">="),
            "lte" | "=<" => Some("<="),
            "regex" | "=~" => Some("matches"),
            "not in" | "nin" => Some("not_in"),
            "startswith" => Some("starts_with"),
            "endswith" => Some("ends_with"),
            _ => None,
        };
        if let Some(operator) = usual {
            self.alternate(&format!("`{text}`"), &format!("`{operator}`"), span);
            return Some(operator);
        }
        let help = did_you_mean(text, OPERATORS.iter().copied())
            .unwrap_or_else(|| format!("operators are {}", list(OPERATORS)));
        let message = format!("unknown operator `{}`", shown(text));
        self.report_with_help(Code::UnknownOperator, span, message, help);
        None
    }

    /// The condition as the types of its field, operator and value allow.
    fn typed(&mut self, at: Place<'_>, operand: Operand, operator: Span) -> Option<Condition> {
        let field = at.field.field;
        match (at.operator, &operand) {
            ("exists", Operand::Constant(Constant::Bool(true))) | ("!=", Operand::Null) => {
                return Some(Condition::Present(field));
            }
            ("exists", Operand::Constant(Constant::Bool(false))) | ("==", Operand::Null) => {
                return Some(Condition::Not(Box::new(Condition::Present(field))));
            }
            ("exists", other) => {
                let message = format!(
                    "`exists` takes `true` or `false`, and this is {}",
                    other.describe()
                );
                self.report(Code::ValueType, at.value, message);
                return None;
            }
            ("==" | "!=", Operand::Constant(Constant::EmptyList))
                if matches!(
                    at.field.field_type,
                    FieldType::Names | FieldType::Texts | FieldType::Messages
                ) =>
            {
                let canonical = match at.operator {
                    "==" => "`exists` with `value: false`",
                    _ => "`exists`",
                };
                self.alternate("a comparison with an empty list", canonical, at.value);
                let present = Condition::Present(field);
                return Some(match at.operator {
                    "!=" => present,
                    _ => Condition::Not(Box::new(present)),
                });
            }
            _ => {}
        }
        if !allowed(at.field.field_type, field).contains(&at.operator) {
            self.refuse_operator(at, operator);
            return None;
        }
        match field {
            Field::Text(field) => self.text_condition(field, operand, at),
            Field::Number(field) => {
                self.check_units(field, &operand, at);
                match at.operator {
                    "in" | "not_in" => Some(Condition::NumberIn {
                        field,
                        set: self.number_set(operand, at)?,
                        negated: at.operator == "not_in",
                    }),
                    operator => Some(Condition::Number {
                        field,
                        order: order(operator)?,
                        value: self.number_value(operand, at)?,
                    }),
                }
            }
            Field::Bool(field) => Some(Condition::Bool {
                field,
                value: self.bool_value(operand, at)?,
                negated: at.operator == "!=",
            }),
            Field::Messages => None,
        }
    }

    fn text_condition(
        &mut self,
        field: TextField,
        operand: Operand,
        at: Place<'_>,
    ) -> Option<Condition> {
        let names = at.field.field_type == FieldType::Names;
        let test = match at.operator {
            "==" | "!=" => TextTest::Equals(self.text_value(operand, at)?),
            // A list contains a name; a text contains a part.
            "contains" if names => TextTest::Has(self.text_value(operand, at)?),
            "contains" => TextTest::Contains(self.text_value(operand, at)?),
            "starts_with" => TextTest::StartsWith(self.text_value(operand, at)?),
            "ends_with" => TextTest::EndsWith(self.text_value(operand, at)?),
            "in" | "not_in" => TextTest::In(self.text_set(operand, at)?),
            _ => match self.text_value(operand, at)? {
                TextValue::Constant(pattern) => TextTest::Matches(self.pattern(&pattern, at)?),
                TextValue::Field(_) | TextValue::Template(_) => {
                    let message = "a pattern cannot depend on the exchange";
                    let help = "`matches` takes a constant or a variable; patterns are compiled \
                                when the policy is";
                    self.report_with_help(Code::PatternNotConstant, at.value, message, help);
                    return None;
                }
            },
        };
        Some(Condition::Text {
            field,
            case: at.field.case,
            test,
            negated: matches!(at.operator, "!=" | "not_in"),
        })
    }

    fn refuse_operator(&mut self, at: Place<'_>, span: Span) {
        let message = format!(
            "`{}` does not apply to `{}`, which is {}",
            at.operator,
            shown(at.path),
            at.field.field_type.describe()
        );
        let allowed = allowed(at.field.field_type, at.field.field);
        let positive = match at.operator {
            "!=" => Some("=="),
            "not_in" => Some("in"),
            _ => None,
        };
        let help = match positive {
            Some(positive) if allowed.contains(&positive) => format!(
                "with several texts it would hold as soon as one differs; for \"none of them\" \
                 write `not:` around `{positive}`"
            ),
            _ if at.path == "context.time.date" => {
                "compare `context.time.year`, `month` and `day`, or `context.time.timestamp`"
                    .to_owned()
            }
            _ => format!("it takes {}, and `==` or `!=` null", list(allowed)),
        };
        self.report_with_help(Code::OperatorType, span, message, help);
    }
}

/// Operators for values other than null.
fn allowed(field_type: FieldType, field: Field) -> &'static [&'static str] {
    const TEXT: &[&str] = &[
        "==",
        "!=",
        "contains",
        "starts_with",
        "ends_with",
        "matches",
        "in",
        "not_in",
        "exists",
    ];
    match (field_type, field) {
        (FieldType::Text, _) | (FieldType::Texts, Field::Text(TextField::EveryRole)) => TEXT,
        // Long texts always differ from a constant somewhere: `!=` would say nothing.
        (FieldType::Texts, _) => &[
            "==",
            "contains",
            "starts_with",
            "ends_with",
            "matches",
            "in",
            "exists",
        ],
        (FieldType::Names, _) => &[
            "contains",
            "starts_with",
            "ends_with",
            "matches",
            "in",
            "not_in",
            "exists",
        ],
        (FieldType::Number, _) => &["==", "!=", "<", ">", "<=", ">=", "in", "not_in", "exists"],
        (FieldType::Bool, _) => &["==", "!=", "exists"],
        (FieldType::Messages, _) => &["exists"],
    }
}

fn order(operator: &str) -> Option<Order> {
    Some(match operator {
        "==" => Order::Equal,
        "!=" => Order::NotEqual,
        "<" => Order::Less,
        ">" => Order::Greater,
        "<=" => Order::AtMost,
        ">=" => Order::AtLeast,
        _ => return None,
    })
}
