//! `exists` and `all` over the lists of an exchange.

use super::conditions::negated;
use super::operands::{Value, list_of};
use super::syntax::{At, Call, Expr, Kind};
use super::{Bound, Reader, Typed};
use crate::author::checker::shown;
use crate::author::diagnostics::Code;
use crate::author::fields::FieldType;
use crate::author::typed::{Condition, TextTest, TextValue};
use crate::program::{Entry, List, TextField};

/// Words that fields begin with: a variable of that name would hide them.
const ROOTS: &[&str] = &["request", "response", "processing", "context", "variables"];

impl Reader<'_, '_> {
    /// `list.exists(x, predicate)` and `list.all(x, predicate)`.
    pub(super) fn quantifier(&mut self, call: &Call, list: &Expr, at: &At) -> Option<Typed> {
        let [variable, predicate] = call.arguments.as_slice() else {
            return self.refuse_use(call, at);
        };
        let Kind::Path(name) = &variable.kind else {
            return self.refuse_use(call, at);
        };
        let list = self.quantified_list(list)?;
        if ROOTS.contains(&name.as_str()) || name.contains(['.', '[']) {
            let message = format!("`{}` cannot name a variable", shown(name));
            let help = "write a word that no field begins with, such as `m`";
            self.report_with_help(Code::BadName, &variable.at, message, help);
            return None;
        }
        if self.bound.is_some() {
            let message = "a macro within a macro takes as many steps as both lists multiplied";
            let help = "join two macros side by side with `&&` or `||`";
            self.report_with_help(Code::TooCostly, at, message, help);
            return None;
        }
        let name = name.clone();
        self.bound = Some(Bound { name, list });
        let body = self.condition(predicate);
        self.bound = None;
        let Typed {
            condition,
            presence,
        } = body?;
        Some(Typed {
            condition: lowered(list, call.name == "all", condition),
            presence: presence.quantified(),
        })
    }

    fn quantified_list(&mut self, expr: &Expr) -> Option<List> {
        let operand = self.operand(expr)?;
        let (found, texts) = match &operand.value {
            Value::Field(resolved, _) => (
                list_of(resolved.field),
                resolved.field_type == FieldType::Texts,
            ),
            Value::Constant(_) | Value::Number(_) | Value::Null => (None, false),
        };
        if found.is_none() {
            let message = format!(
                "macros look at lists of the exchange, and this is {}",
                operand.value.describe()
            );
            let help = match texts {
                true => "its methods hold when any of the texts satisfies them",
                false => "lists are `request.messages`, `request.tools` and `request.stop`",
            };
            self.report_with_help(Code::OperatorType, &operand.at, message, help);
        }
        found
    }
}

/// A predicate that is one test of the entry needs no quantifier: fields with several
/// texts are tested text by text anyway.
fn lowered(list: List, every: bool, body: Condition) -> Condition {
    let body = match body {
        Condition::Not(inner) => match *inner {
            Condition::Text {
                field,
                case,
                test,
                negated,
            } => Condition::Text {
                field,
                case,
                test,
                negated: !negated,
            },
            other => Condition::Not(Box::new(other)),
        },
        other => other,
    };
    match body {
        Condition::Text {
            field: TextField::Entry(entry),
            case,
            test,
            negated: opposite,
        } if !compares_with_an_entry(&test) => {
            let any = Condition::Text {
                field: all_of(list, entry),
                case,
                test: of_several(test),
                // Every entry satisfies it: there is none that does not.
                negated: opposite != every,
            };
            if every { negated(any) } else { any }
        }
        body => Condition::Quantified {
            list,
            every,
            body: Box::new(body),
        },
    }
}

fn compares_with_an_entry(test: &TextTest) -> bool {
    match test {
        TextTest::Equals(value)
        | TextTest::Has(value)
        | TextTest::Contains(value)
        | TextTest::StartsWith(value)
        | TextTest::EndsWith(value) => !matches!(
            value,
            TextValue::Constant(_) | TextValue::Field(TextField::Single(_))
        ),
        TextTest::In(_) | TextTest::Matches(_) => false,
    }
}

/// An empty list equals nothing, not even null.
fn of_several(test: TextTest) -> TextTest {
    match test {
        TextTest::Equals(value) => TextTest::Has(value),
        other => other,
    }
}

fn all_of(list: List, entry: Entry) -> TextField {
    match (list, entry) {
        (List::Messages, Entry::Role) => TextField::EveryRole,
        (List::Messages, Entry::Content | Entry::Name) => TextField::EveryContent,
        (List::Tools, _) => TextField::Tools,
        (List::Stop, _) => TextField::Stop,
    }
}
