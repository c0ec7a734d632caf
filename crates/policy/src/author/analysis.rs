//! Rules that can never act: conditions that contradict each other, and rules whose every
//! exchange an earlier rule takes.
//!
//! Conditions become alternatives of literals; of each alternative the domain of every
//! field is followed (see `domains`). What is not understood counts as "may hold", so that
//! everything said is true; not everything true is said.

use super::checker::Checker;
use super::diagnostics::{Code, Span};
use super::domains::{Bools, Domain, Numbers, Words};
use super::typed::{Action, Condition, Rule, TextTest, TextValue};
use super::units::range;
use crate::calendar::WEEKDAYS;
use crate::names;
use crate::program::{BoolValue, Case, Field, NumberField, NumberValue, SingleText, TextField};
use crate::settings::Mode;

/// Most alternatives of a rule that are followed.
const MAX_ALTERNATIVES: usize = 64;

/// Most comparisons of alternatives for one policy.
const MAX_COMPARISONS: usize = 1_000_000;

/// Literals that hold together.
#[derive(Debug, Clone, Default, PartialEq)]
struct Alternative {
    domains: Vec<(Field, Domain)>,
    /// What is compared as it stands, and whether it holds.
    opaque: Vec<(Condition, bool)>,
    /// The field that leaves nothing.
    clash: Option<Field>,
}

struct Seen<'r> {
    rule: &'r Rule,
    span: Span,
    alternatives: Vec<Alternative>,
}

impl Checker<'_> {
    /// Warns of rules that never act. Only for a policy without errors.
    pub(super) fn analyse(&mut self, rules: &[(Rule, Span)]) {
        let mut earlier: Vec<Seen<'_>> = Vec::new();
        let mut comparisons = 0;
        let mut ended = Vec::new();
        for (rule, span) in rules.iter().filter(|(rule, _)| rule.enabled) {
            if ended.contains(&rule.settings.phase) {
                continue;
            }
            let Some(all) = alternatives(&rule.condition, true) else {
                continue;
            };
            let possible: Vec<Alternative> = all
                .iter()
                .filter(|it| it.clash.is_none())
                .cloned()
                .collect();
            if possible.is_empty() {
                self.warn_of_contradiction(rule, *span, &all);
                continue;
            }
            let mut covering: Vec<&Seen<'_>> = Vec::new();
            let covered = possible.iter().all(|alternative| {
                let found = earlier.iter().find(|seen| {
                    comparisons += seen.alternatives.len();
                    comparisons < MAX_COMPARISONS
                        && seen.rule.settings.phase == rule.settings.phase
                        && seen.alternatives.iter().any(|it| alternative.within(it))
                });
                if let Some(seen) = found
                    && !covering.iter().any(|known| known.span == seen.span)
                {
                    covering.push(seen);
                }
                found.is_some()
            });
            if covered {
                if covering.iter().any(|seen| seen.takes_everything()) {
                    ended.push(rule.settings.phase);
                }
                self.warn_of_covered_rule(rule, *span, &covering);
            } else if rule.settings.mode == Mode::Enforce {
                earlier.push(Seen {
                    rule,
                    span: *span,
                    alternatives: possible,
                });
            }
        }
    }

    fn warn_of_contradiction(&mut self, rule: &Rule, span: Span, all: &[Alternative]) {
        // An empty `any`, and a unit out of range, have been spoken of.
        if rule.suspicious || all.is_empty() {
            return;
        }
        let message = format!("the conditions of rule `{}` never hold together", rule.name);
        let clash = all.iter().find_map(|alternative| alternative.clash);
        let help = match clash {
            Some(field) => format!(
                "no value of `{}` fulfils all that is asked of it",
                names::path(field)
            ),
            None => "a condition and its opposite are asked for".to_owned(),
        };
        self.report_with_help(Code::Contradiction, span, message, help);
    }

    fn warn_of_covered_rule(&mut self, rule: &Rule, span: Span, covering: &[&Seen<'_>]) {
        let name = &rule.name;
        let passive = covering
            .iter()
            .find(|seen| !seen.rule.actions.iter().any(Action::is_decisive));
        let everything = covering.iter().find(|seen| seen.takes_everything());
        let passes = match passive {
            Some(seen) => format!(
                "; `{}` neither allows nor denies, and still ends the policy",
                seen.rule.name
            ),
            None => String::new(),
        };
        if let Some(seen) = everything {
            let message = format!(
                "rule `{name}`, and any after it, is never reached: rule `{}` in line {} matches \
                 everything{passes}",
                seen.rule.name, seen.span.line
            );
            let help =
                "the first rule that matches ends a policy; move the general rule to the end";
            self.report_with_help(Code::UnreachableRule, span, message, help);
            return;
        }
        let by: Vec<String> = covering
            .iter()
            .map(|seen| format!("`{}` in line {}", seen.rule.name, seen.span.line))
            .collect();
        let message = format!(
            "rule `{name}` is never reached: whatever it matches is taken by {}{passes}",
            by.join(" and ")
        );
        let help = "the first rule that matches ends a policy; put the narrower rule first";
        self.report_with_help(Code::ShadowedRule, span, message, help);
    }
}

impl Seen<'_> {
    fn takes_everything(&self) -> bool {
        let mut alternatives = self.alternatives.iter();
        let constant = self.rule.condition.constant() == Some(true);
        constant || alternatives.any(|it| it.domains.is_empty() && it.opaque.is_empty())
    }
}

/// All ways in which a condition holds, or does not; `None` when they are too many.
fn alternatives(condition: &Condition, holds: bool) -> Option<Vec<Alternative>> {
    match condition {
        Condition::Constant(value) => Some(match *value == holds {
            true => vec![Alternative::default()],
            false => Vec::new(),
        }),
        Condition::Not(inner) => alternatives(inner, !holds),
        Condition::All(parts) if holds => together(parts, holds),
        Condition::Any(parts) if !holds => together(parts, holds),
        Condition::All(parts) | Condition::Any(parts) => {
            let mut found = Vec::new();
            for part in parts {
                found.extend(alternatives(part, holds)?);
                if found.len() > MAX_ALTERNATIVES {
                    return None;
                }
            }
            Some(found)
        }
        leaf => {
            let mut alternative = Alternative::default();
            alternative.add(leaf, holds);
            Some(vec![alternative])
        }
    }
}

fn together(parts: &[Condition], holds: bool) -> Option<Vec<Alternative>> {
    let mut found = vec![Alternative::default()];
    for part in parts {
        let more = alternatives(part, holds)?;
        if found.len() * more.len() > MAX_ALTERNATIVES {
            return None;
        }
        let mut both = Vec::with_capacity(found.len() * more.len());
        for one in &found {
            both.extend(more.iter().map(|other| one.and(other)));
        }
        found = both;
    }
    Some(found)
}

impl Alternative {
    fn add(&mut self, leaf: &Condition, holds: bool) {
        match leaf {
            Condition::Number {
                field,
                order,
                value: NumberValue::Constant(value),
            } => self.numbers(*field, |it| it.compare(*order, *value, holds)),
            Condition::NumberIn {
                field,
                set,
                negated,
            } => {
                self.numbers(*field, |it| match (holds, negated) {
                    (true, false) => it.among(set),
                    (true, true) => {
                        it.null = false;
                        it.exclude(set);
                    }
                    (false, false) => it.exclude(set),
                    (false, true) if it.null => {}
                    (false, true) => it.among(set),
                });
                // Without a value `not_in` does not hold, so its opposite is two cases.
                if *negated && !holds {
                    self.opaque.push((leaf.clone(), holds));
                }
            }
            Condition::Bool {
                field,
                value: BoolValue::Constant(value),
                negated,
            } => {
                let wanted = holds != *negated;
                self.narrow(Field::Bool(*field), |domain| {
                    if let Domain::Bool(bools) = domain {
                        let Bools { null, yes, no } = bools;
                        match (wanted, value) {
                            (true, true) => (*null, *no) = (false, false),
                            (true, false) => (*null, *yes) = (false, false),
                            (false, true) => *yes = false,
                            (false, false) => *no = false,
                        }
                    }
                });
            }
            Condition::Present(field) => self.narrow(*field, |domain| domain.present(holds)),
            Condition::Text {
                field,
                case: Case::AsIs,
                test,
                negated,
            } if field.is_single() && self.text(*field, test, *negated, holds) => {}
            _ => {
                if self.opaque.contains(&(leaf.clone(), !holds)) {
                    self.clash = self.clash.or(field_of(leaf));
                }
                if !self.opaque.contains(&(leaf.clone(), holds)) {
                    self.opaque.push((leaf.clone(), holds));
                }
            }
        }
    }

    /// Whether the domain says all there is to the test.
    fn text(&mut self, field: TextField, test: &TextTest, negated: bool, holds: bool) -> bool {
        let field = Field::Text(field);
        match test {
            TextTest::Equals(TextValue::Constant(word)) => {
                self.words(field, |it| it.equal(word, holds != negated));
                true
            }
            TextTest::In(set) => {
                self.words(field, |it| match (holds, negated) {
                    (true, false) => it.among(set),
                    (true, true) => {
                        it.null = false;
                        it.exclude(set);
                    }
                    (false, false) => it.exclude(set),
                    (false, true) if it.null => {}
                    (false, true) => it.among(set),
                });
                // Without a value `not_in` does not hold, so its opposite is two cases.
                !negated || holds
            }
            TextTest::Contains(TextValue::Constant(part)) => {
                self.part(field, holds, |word| word.contains(part.as_str()))
            }
            TextTest::StartsWith(TextValue::Constant(part)) => {
                self.part(field, holds, |word| word.starts_with(part.as_str()))
            }
            TextTest::EndsWith(TextValue::Constant(part)) => {
                self.part(field, holds, |word| word.ends_with(part.as_str()))
            }
            _ => false,
        }
    }

    /// What a test leaves of known words. It stays a literal of its own.
    fn part(&mut self, field: Field, holds: bool, test: impl Fn(&str) -> bool) -> bool {
        self.words(field, |it| {
            if holds {
                it.null = false;
            }
            it.filter(|word| test(word) == holds);
        });
        false
    }

    fn numbers(&mut self, field: NumberField, change: impl FnOnce(&mut Numbers)) {
        self.narrow(Field::Number(field), |domain| {
            if let Domain::Number(numbers) = domain {
                change(numbers);
            }
        });
    }

    fn words(&mut self, field: Field, change: impl FnOnce(&mut Words)) {
        self.narrow(field, |domain| {
            if let Domain::Text(words) = domain {
                change(words);
            }
        });
    }

    fn narrow(&mut self, field: Field, change: impl FnOnce(&mut Domain)) {
        if !self.domains.iter().any(|(known, _)| *known == field) {
            self.domains.push((field, whole(field)));
        }
        let entry = self.domains.iter_mut().find(|(known, _)| *known == field);
        if let Some((_, domain)) = entry {
            change(domain);
            if domain.is_empty() {
                self.clash = self.clash.or(Some(field));
            }
        }
    }

    fn and(&self, other: &Alternative) -> Alternative {
        let mut both = self.clone();
        both.clash = both.clash.or(other.clash);
        for (field, domain) in &other.domains {
            both.narrow(*field, |known| known.intersect(domain));
        }
        for (leaf, holds) in &other.opaque {
            both.add(leaf, *holds);
        }
        both
    }

    /// Whether every exchange this holds for is one the other holds for.
    fn within(&self, other: &Alternative) -> bool {
        other.domains.iter().all(|(field, domain)| {
            let own = self.domains.iter().find(|(known, _)| known == field);
            own.is_some_and(|(_, own)| own.within(domain))
        }) && other
            .opaque
            .iter()
            .all(|literal| self.opaque.contains(literal))
    }
}

/// What a field can be when nothing is asked of it.
fn whole(field: Field) -> Domain {
    match field {
        Field::Number(number) => {
            let range = range(number);
            let null = !always_known(number);
            // Only what the clock says is certain to be in range.
            match null {
                true => Domain::Number(Numbers::any(f64::NEG_INFINITY, f64::INFINITY, true)),
                false => Domain::Number(Numbers::any(range.least, range.most, false)),
            }
        }
        Field::Text(TextField::Single(SingleText::DayOfWeek)) => {
            Domain::Text(Words::any(Some(&WEEKDAYS), false))
        }
        Field::Text(TextField::Single(SingleText::Date)) => Domain::Text(Words::any(None, false)),
        Field::Text(text) if text.is_single() => Domain::Text(Words::any(None, true)),
        Field::Bool(_) => Domain::Bool(Bools {
            null: true,
            yes: true,
            no: true,
        }),
        Field::Text(_) | Field::Messages => Domain::Other {
            null: true,
            some: true,
        },
    }
}

fn always_known(field: NumberField) -> bool {
    use NumberField as F;
    matches!(
        field,
        F::Hour | F::Minute | F::Day | F::Month | F::Year | F::Timestamp
    )
}

fn field_of(leaf: &Condition) -> Option<Field> {
    match leaf {
        Condition::Text { field, .. } => Some(Field::Text(*field)),
        Condition::Number { field, .. } => Some(Field::Number(*field)),
        Condition::Bool { field, .. } => Some(Field::Bool(*field)),
        _ => None,
    }
}
