//! A request decided anew from what evidence keeps of it: no texts, few fields.
//!
//! A condition on something that was not kept may hold or not. What follows either way
//! is decided; where it matters, nothing is guessed: [`Replayed::Untold`] names the rule
//! and the fields. Rules on answers and rules in shadow mode have no say.

use crate::author::stages::fields_of;
use crate::decide::effect;
use crate::decision::{Effect, MatchedRule, Verdict};
use crate::eval::Evaluation;
use crate::facts::Facts;
use crate::load::Bundle;
use crate::names::path;
use crate::program::{
    Field, Node, NodeId, NumberField, NumberNode, PolicyProgram, RuleProgram, SingleText, TextField,
};
use crate::records::Program;
use crate::settings::{Mode, Phase};
use crate::stages::Stage;
use std::collections::BTreeSet;

/// Which facts are known besides the time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    pub model: bool,
    pub user_id: bool,
    pub environment: bool,
}

/// What would have come of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    Decided {
        verdict: Verdict,
        /// The rule that refuses; of an allowed request, the last that acts for certain.
        by: Option<MatchedRule>,
    },
    /// It depends on what was not kept.
    Untold {
        policy: String,
        rule: String,
        /// As policies name them.
        fields: Vec<String>,
    },
}

/// Decides a request of which only the `kept` facts are filled in.
pub fn replay(bundle: &Bundle, facts: &Facts, kept: Kept) -> Replayed {
    let replay = Replay {
        evaluation: Evaluation::new(bundle, facts, Stage::Request),
        program: &bundle.program,
        kept,
    };
    let mut allowed_by = None;
    let mut untold = None;
    for policy in bundle.program.policies() {
        let outcome = replay.policy(&policy);
        match (outcome.may_allow, outcome.may_deny) {
            // A denial is final, whatever the others say.
            (false, _) => {
                return Replayed::Decided {
                    verdict: Verdict::Deny,
                    by: outcome.by.map(|rule| replay.named(&policy, &rule)),
                };
            }
            (true, true) if untold.is_none() => {
                untold = outcome.doubt.map(|rule| (policy, rule));
            }
            _ => {}
        }
        allowed_by = outcome
            .by
            .map(|rule| replay.named(&policy, &rule))
            .or(allowed_by);
    }
    match untold {
        Some((policy, rule)) => Replayed::Untold {
            policy: bundle.string(policy.name).to_owned(),
            rule: bundle.string(rule.name).to_owned(),
            fields: replay.unknown_fields(rule.condition),
        },
        None => Replayed::Decided {
            verdict: Verdict::Allow,
            by: allowed_by,
        },
    }
}

struct Replay<'a> {
    evaluation: Evaluation<'a>,
    program: &'a Program,
    kept: Kept,
}

/// What one policy may say.
#[derive(Default)]
struct Outcome<'a> {
    may_allow: bool,
    may_deny: bool,
    /// The rule that acts unless one in doubt does.
    by: Option<RuleProgram<'a>>,
    /// The first rule that may act and may not.
    doubt: Option<RuleProgram<'a>>,
}

impl<'a> Replay<'a> {
    fn policy(&self, policy: &PolicyProgram<'a>) -> Outcome<'a> {
        let mut outcome = Outcome::default();
        let rules = policy.rules.iter();
        for rule in rules.filter_map(|rule| self.program.rule(*rule)) {
            if rule.settings.phase == Phase::Response || rule.settings.mode == Mode::Shadow {
                continue;
            }
            let holds = self.holds(rule.condition);
            if holds == Some(false) {
                continue;
            }
            match effect(self.program, &rule) {
                Effect::Deny => outcome.may_deny = true,
                Effect::Allow | Effect::Log => outcome.may_allow = true,
            }
            if holds == Some(true) {
                outcome.by = Some(rule);
                return outcome;
            }
            outcome.doubt = outcome.doubt.or(Some(rule));
        }
        outcome.may_allow = true;
        outcome
    }

    /// Whether a condition holds; `None` where that cannot be told.
    fn holds(&self, id: NodeId) -> Option<bool> {
        match self.program.node(id)? {
            Node::Not(child) => self.holds(child).map(|holds| !holds),
            Node::All(children) => self.all(children.iter().map(|child| self.holds(*child))),
            Node::Any(children) => {
                let none = children.iter().map(|child| Some(!self.holds(*child)?));
                self.all(none).map(|none| !none)
            }
            Node::If(condition, then, otherwise) => {
                let (then, otherwise) = (self.holds(then), self.holds(otherwise));
                match self.holds(condition) {
                    Some(true) => then,
                    Some(false) => otherwise,
                    None => then.filter(|_| then == otherwise),
                }
            }
            Node::Quantified { .. } => None,
            Node::Compare { left, right, .. }
                if !(self.knows_number(left) && self.knows_number(right)) =>
            {
                None
            }
            _ => {
                let known = fields_of(self.program, id).iter().all(|f| self.knows(*f));
                known.then(|| self.evaluation.holds(id))
            }
        }
    }

    /// False as soon as one is, true when all are.
    fn all(&self, parts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
        let mut all = Some(true);
        for part in parts {
            match part {
                Some(false) => return Some(false),
                Some(true) => {}
                None => all = None,
            }
        }
        all
    }

    fn knows(&self, field: Field) -> bool {
        match field {
            Field::Text(TextField::Single(text)) => self.knows_text(text),
            Field::Number(number) => match number {
                NumberField::Hour
                | NumberField::Minute
                | NumberField::Day
                | NumberField::Month
                | NumberField::Year
                | NumberField::Timestamp => true,
                NumberField::Length(TextField::Single(text)) => self.knows_text(text),
                _ => false,
            },
            Field::Text(_) | Field::Bool(_) | Field::Messages => false,
        }
    }

    fn knows_text(&self, text: SingleText) -> bool {
        match text {
            SingleText::DayOfWeek | SingleText::Date => true,
            SingleText::Model => self.kept.model,
            SingleText::UserId => self.kept.user_id,
            SingleText::Environment => self.kept.environment,
            _ => false,
        }
    }

    fn knows_number(&self, id: u32) -> bool {
        match self.program.number(id) {
            None | Some(NumberNode::Count(_)) => false,
            Some(NumberNode::Constant(_)) => true,
            Some(NumberNode::Field(field)) => self.knows(Field::Number(field)),
            Some(NumberNode::Length(text)) => self.knows(Field::Text(text)),
            Some(
                NumberNode::Sum(left, right)
                | NumberNode::Difference(left, right)
                | NumberNode::Product(left, right),
            ) => self.knows_number(left) && self.knows_number(right),
        }
    }

    fn unknown_fields(&self, condition: NodeId) -> Vec<String> {
        let fields = fields_of(self.program, condition);
        let unknown = fields.into_iter().filter(|field| !self.knows(*field));
        let names: BTreeSet<String> = unknown.map(|field| path(field).into_owned()).collect();
        match names.is_empty() {
            // Lists are counted and gone through without a field's name.
            true => vec![path(Field::Messages).into_owned()],
            false => names.into_iter().collect(),
        }
    }

    fn named(&self, policy: &PolicyProgram<'_>, rule: &RuleProgram<'_>) -> MatchedRule {
        let bundle = self.evaluation.bundle;
        MatchedRule {
            policy: bundle.string(policy.name).to_owned(),
            rule: bundle.string(rule.name).to_owned(),
            effect: effect(self.program, rule),
        }
    }
}
