//! A policy whose every part is known to make sense.
//!
//! The same shapes as `crate::program`, with texts where the program has indices.

use super::testing::TestCase;
use crate::decision::{AlertSeverity, BudgetUnit, LogLevel, RedactMethod, Window};
use crate::program::{
    BoolField, BoolValue, COUNTED_ENTRIES, Case, Field, List, NumberField, NumberValue, Order,
    TextField,
};
use crate::settings::{OnError, RuleSettings};
use std::sync::Arc;

/// A valid policy, ready to be compiled.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) description: Option<String>,
    pub(super) author: Option<String>,
    pub(super) tags: Vec<String>,
    pub(super) priority: i32,
    /// What the policy asks for where none of its rules acts.
    pub(super) store_unmatched: Option<OnError>,
    pub(super) rules: Vec<Rule>,
    pub(super) tests: Vec<TestCase>,
}

impl Policy {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    pub fn author(&self) -> Option<&str> {
        self.author.as_deref()
    }

    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().map(String::as_str)
    }

    /// Policies with a higher priority are evaluated earlier.
    pub fn priority(&self) -> i32 {
        self.priority
    }

    /// Cases written beside the rules.
    pub fn tests(&self) -> &[TestCase] {
        &self.tests
    }

    /// Names of the rules in their order, disabled ones included.
    pub fn rule_names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| rule.name.as_str())
    }
}

#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub name: String,
    pub enabled: bool,
    pub settings: RuleSettings,
    pub condition: Condition,
    pub actions: Vec<Action>,
    /// A unit in its conditions looks wrong, which has been said.
    pub suspicious: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Action {
    Allow,
    Deny {
        message: Template,
        code: String,
    },
    Log {
        level: LogLevel,
        message: Template,
    },
    Redact {
        fields: Vec<Field>,
        method: RedactMethod,
        replacement: Option<String>,
    },
    Modify {
        field: Field,
        value: NewValue,
    },
    Route {
        provider: Option<Template>,
        model: Option<Template>,
        reason: Option<Template>,
    },
    Alert {
        webhook: Option<String>,
        message: Template,
        severity: AlertSeverity,
    },
    RateLimit {
        key: Template,
        limit: u64,
        window: Window,
    },
    Budget {
        key: Template,
        limit: u64,
        unit: BudgetUnit,
        window: Window,
    },
    Tag(Vec<(String, Template)>),
}

impl Action {
    /// Ends its rule.
    pub(super) fn is_decisive(&self) -> bool {
        matches!(self, Action::Allow | Action::Deny { .. })
    }
}

#[derive(Debug, Clone)]
pub(super) enum NewValue {
    Null,
    Bool(bool),
    Number(f64),
    Text(Template),
    Texts(Vec<String>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
    Constant(bool),
    Not(Box<Condition>),
    All(Vec<Condition>),
    Any(Vec<Condition>),
    /// Condition, then, otherwise.
    If(Box<[Condition; 3]>),
    Quantified {
        list: List,
        every: bool,
        body: Box<Condition>,
    },
    Compare {
        left: Computed,
        order: Order,
        right: Computed,
    },
    Present(Field),
    Text {
        field: TextField,
        case: Case,
        test: TextTest,
        negated: bool,
    },
    Number {
        field: NumberField,
        order: Order,
        value: NumberValue,
    },
    NumberIn {
        field: NumberField,
        set: Vec<f64>,
        negated: bool,
    },
    Bool {
        field: BoolField,
        value: BoolValue,
        negated: bool,
    },
}

impl Condition {
    /// Whether it holds for every exchange, or for none; `None` when it depends.
    pub(super) fn constant(&self) -> Option<bool> {
        match self {
            Condition::Constant(value) => Some(*value),
            Condition::Not(inner) => inner.constant().map(|value| !value),
            Condition::All(parts) => {
                let parts: Vec<_> = parts.iter().map(Condition::constant).collect();
                if parts.contains(&Some(false)) {
                    return Some(false);
                }
                parts.iter().all(|part| *part == Some(true)).then_some(true)
            }
            Condition::Any(parts) => {
                let parts: Vec<_> = parts.iter().map(Condition::constant).collect();
                if parts.contains(&Some(true)) {
                    return Some(true);
                }
                parts
                    .iter()
                    .all(|part| *part == Some(false))
                    .then_some(false)
            }
            Condition::If(parts) => {
                let [condition, then, otherwise] = parts.as_ref();
                match condition.constant() {
                    Some(true) => then.constant(),
                    Some(false) => otherwise.constant(),
                    None => None,
                }
            }
            // No entry fails what always holds, and none satisfies what never does.
            Condition::Quantified { every, body, .. } => {
                body.constant().filter(|value| value == every)
            }
            Condition::Compare { .. }
            | Condition::Present(_)
            | Condition::Text { .. }
            | Condition::Number { .. }
            | Condition::NumberIn { .. }
            | Condition::Bool { .. } => None,
        }
    }

    /// Steps its evaluation takes at most, as the loader counts them.
    pub(super) fn cost(&self) -> u32 {
        let sum = |parts: &[Condition]| {
            let costs = parts.iter().map(Condition::cost);
            costs.fold(1, u32::saturating_add)
        };
        match self {
            Condition::Not(inner) => sum(std::slice::from_ref(inner)),
            Condition::All(parts) | Condition::Any(parts) => sum(parts),
            Condition::If(parts) => sum(parts.as_ref()),
            Condition::Quantified { body, .. } => {
                sum(std::slice::from_ref(body)).saturating_mul(COUNTED_ENTRIES)
            }
            Condition::Compare { left, right, .. } => {
                let sides = left.cost().saturating_add(right.cost());
                sides.saturating_add(1)
            }
            Condition::Constant(_)
            | Condition::Present(_)
            | Condition::Text { .. }
            | Condition::Number { .. }
            | Condition::NumberIn { .. }
            | Condition::Bool { .. } => 1,
        }
    }
}

/// A number computed from others.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Computed {
    Constant(f64),
    Field(NumberField),
    Count(List),
    Length(TextField),
    Sum(Box<[Computed; 2]>),
    Difference(Box<[Computed; 2]>),
    Product(Box<[Computed; 2]>),
}

impl Computed {
    fn cost(&self) -> u32 {
        match self {
            Computed::Constant(_)
            | Computed::Field(_)
            | Computed::Count(_)
            | Computed::Length(_) => 1,
            Computed::Sum(sides) | Computed::Difference(sides) | Computed::Product(sides) => {
                let costs = sides.iter().map(Computed::cost);
                costs.fold(1, u32::saturating_add)
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TextTest {
    Equals(TextValue),
    /// Equal, where null is not asked for: a list has the name.
    Has(TextValue),
    Contains(TextValue),
    StartsWith(TextValue),
    EndsWith(TextValue),
    In(Vec<String>),
    /// The bytes of a compiled pattern.
    Matches(Arc<[u8]>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TextValue {
    Constant(String),
    Field(TextField),
    Template(Template),
}

/// Texts and fields in turn.
pub(super) type Template = Vec<Piece>;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Field(Field),
    Cased(TextField, Case),
}
