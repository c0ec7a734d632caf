//! Valid policies to the bytes of a bundle.
//!
//! Deterministic: policies are put in the order of their evaluation, constants are
//! interned in sorted tables, and nothing here depends on hashing or addresses.

use super::encode::{Encoder, place};
use super::stages;
use super::typed::{self, Computed, Condition, Piece, Policy, Template};
use crate::decision::Window;
use crate::load::{Bundle, LoadError};
use crate::program::{self, BoolValue, MAX_BUNDLE_BYTES, NumberValue, StringId, TextField};
use crate::records::Op;
use crate::settings::{Durability, Mode, OnError, Phase};
use crate::views;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;

/// Why policies, each valid, do not make a bundle together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompileError {
    /// Two policies have the same name.
    DuplicatePolicy { name: String },
    /// The bundle would exceed [`MAX_BUNDLE_BYTES`]; the policies by size, largest first.
    TooLarge {
        bytes: usize,
        largest: Vec<(String, usize)>,
    },
    /// More conditions than one exchange may cost.
    TooCostly,
    /// More patterns for long texts than one exchange may cost.
    TooManyPatterns,
    /// What was compiled does not load: a fault of ours, caught before anyone meets it.
    Unloadable(LoadError),
}

/// Compiles policies to one bundle: higher priority first, then by name.
pub fn compile(policies: &[Policy]) -> Result<Vec<u8>, CompileError> {
    let mut ordered: Vec<&Policy> = policies.iter().collect();
    ordered.sort_by_key(|policy| (Reverse(policy.priority), &policy.name));
    let mut names = BTreeSet::new();
    for policy in &ordered {
        if !names.insert(&policy.name) {
            let name = policy.name.clone();
            return Err(CompileError::DuplicatePolicy { name });
        }
    }
    let bytes = encode(&ordered);
    if bytes.len() > MAX_BUNDLE_BYTES {
        let alone = |policy: &&Policy| (policy.name.clone(), encode(&[policy]).len());
        let mut largest: Vec<_> = ordered.iter().map(alone).collect();
        largest.sort_by_key(|(_, bytes)| Reverse(*bytes));
        largest.truncate(3);
        let bytes = bytes.len();
        return Err(CompileError::TooLarge { bytes, largest });
    }
    match Bundle::load(&bytes) {
        Ok(_) => Ok(bytes),
        Err(LoadError::TooCostly) => Err(CompileError::TooCostly),
        Err(LoadError::TooManyPatterns) => Err(CompileError::TooManyPatterns),
        Err(cause) => Err(CompileError::Unloadable(cause)),
    }
}

/// The bundle, with what its rules need: known when they can be looked at.
fn encode(ordered: &[&Policy]) -> Vec<u8> {
    let mut lowering = Lowering::of(ordered);
    let Ok(bundle) = Bundle::load(&lowering.program.bytes()) else {
        // Loading it again says why.
        return lowering.program.bytes();
    };
    let needs = stages::needs(&bundle.program);
    lowering.program.needs = needs.flags();
    lowering.program.exact_from = needs.exponents();
    for rule in &lowering.rules {
        let condition = bundle.program.rule(*rule).map(|rule| rule.condition);
        if condition.is_some_and(|it| stages::holds_for_good(&bundle, it)) {
            lowering.program.set_flags(*rule, 1, views::HOLDS_FOR_GOOD);
        }
    }
    lowering.program.bytes()
}

/// The program while it grows.
#[derive(Default)]
struct Lowering {
    program: Encoder,
    rules: Vec<u32>,
}

impl Lowering {
    fn of(policies: &[&Policy]) -> Lowering {
        let mut texts = BTreeSet::new();
        for policy in policies {
            collect_texts(policy, &mut texts);
        }
        let mut lowering = Lowering {
            program: Encoder::new(texts.into_iter().map(str::to_owned).collect()),
            rules: Vec::new(),
        };
        for policy in policies {
            let lowered = lowering.policy(policy);
            lowering.program.policies.push(lowered);
        }
        lowering
    }

    fn policy(&mut self, policy: &Policy) -> u32 {
        let enabled = policy.rules.iter().filter(|rule| rule.enabled);
        let on_answers = enabled
            .clone()
            .map(|rule| rule.settings)
            .filter(|settings| settings.phase == Phase::Response && settings.mode == Mode::Enforce);
        let store_always = on_answers
            .filter_map(|settings| settings.store_first())
            .min();
        let stored = views::stored_first_number(policy.store_unmatched)
            + 3 * views::stored_first_number(store_always);
        let rules: Vec<u32> = enabled.map(|rule| self.rule(rule)).collect();
        let (name, version) = (self.string(&policy.name), self.string(&policy.version));
        let policy = [name, version, stored];
        self.program.listed(Op::Policy, &policy, &rules)
    }

    fn rule(&mut self, rule: &typed::Rule) -> u32 {
        let settings = rule.settings;
        let flags = [
            (settings.phase == Phase::Response, views::ON_ANSWERS),
            (settings.mode == Mode::Shadow, views::IN_SHADOW),
            (settings.on_error == OnError::Open, views::OPEN_ON_ERROR),
            (
                settings.durability == Durability::Required,
                views::STORED_FIRST,
            ),
        ];
        let flags = flags.into_iter().filter(|(set, _)| *set);
        let flags = flags.fold(0, |all, (_, flag)| all | flag);
        let condition = self.condition(&rule.condition);
        let actions = rule.actions.iter().map(|action| self.action(action));
        let actions: Vec<u32> = actions.collect();
        let name = self.string(&rule.name);
        let rule = [name, flags, condition];
        let rule = self.program.listed(Op::Rule, &rule, &actions);
        self.rules.push(rule);
        rule
    }

    fn action(&mut self, action: &typed::Action) -> u32 {
        match action {
            typed::Action::Allow => self.program.record(Op::Allow, &[]),
            typed::Action::Deny { message, code } => {
                let deny = [self.template(message), self.string(code)];
                self.program.record(Op::Deny, &deny)
            }
            typed::Action::Log { level, message } => {
                let log = [self.template(message), place(*level)];
                self.program.record(Op::Log, &log)
            }
            typed::Action::Redact {
                fields,
                method,
                replacement,
            } => {
                let fields = fields.iter().map(|field| self.program.field(*field));
                let fields: Vec<u32> = fields.collect();
                let replacement = self.maybe_string(replacement);
                let mut redact = vec![count(&fields)];
                redact.extend(fields);
                redact.extend([place(*method), replacement]);
                self.program.record(Op::Redact, &redact)
            }
            typed::Action::Modify { field, value } => {
                let field = self.program.field(*field);
                self.modify(field, value)
            }
            typed::Action::Route {
                provider,
                model,
                reason,
            } => {
                let route = [provider, model, reason].map(|text| {
                    let template = text.as_ref().map(|text| self.template(text));
                    template.map_or(0, |template| template + 1)
                });
                self.program.record(Op::Route, &route)
            }
            typed::Action::Alert {
                webhook,
                message,
                severity,
            } => {
                let message = self.template(message);
                let alert = [message, place(*severity), self.maybe_string(webhook)];
                self.program.record(Op::Alert, &alert)
            }
            typed::Action::RateLimit { key, limit, window } => {
                let mut rate = vec![self.template(key)];
                rate.extend(limited(*limit, *window));
                self.program.record(Op::RateLimit, &rate)
            }
            typed::Action::Budget {
                key,
                limit,
                unit,
                window,
            } => {
                let mut budget = vec![self.template(key)];
                budget.extend(limited(*limit, *window));
                budget.push(place(*unit));
                self.program.record(Op::Budget, &budget)
            }
            typed::Action::Tag(tags) => {
                let tags = tags.iter().map(|(name, value)| {
                    let tag = [self.string(name), self.template(value)];
                    self.program.record(Op::Tag, &tag)
                });
                let tags: Vec<u32> = tags.collect();
                self.program.listed(Op::Tags, &[], &tags)
            }
        }
    }

    fn modify(&mut self, field: u32, value: &typed::NewValue) -> u32 {
        let (op, value) = match value {
            typed::NewValue::Null => return self.program.record(Op::ModifyNull, &[field]),
            typed::NewValue::Bool(value) => (Op::ModifyBool, u32::from(*value)),
            typed::NewValue::Number(number) => (Op::ModifyNumber, self.program.constant(*number)),
            typed::NewValue::Text(text) => (Op::ModifyText, self.template(text)),
            typed::NewValue::Texts(texts) => {
                let texts: Vec<u32> = texts.iter().map(|text| self.string(text)).collect();
                return self.program.listed(Op::ModifyTexts, &[field], &texts);
            }
        };
        self.program.record(op, &[field, value])
    }

    /// Children first, as the loader demands.
    fn condition(&mut self, condition: &Condition) -> u32 {
        match condition {
            Condition::Constant(true) => self.program.record(Op::Always, &[]),
            Condition::Constant(false) => self.program.record(Op::Never, &[]),
            Condition::Not(inner) => {
                let inner = self.condition(inner);
                self.program.record(Op::Not, &[inner])
            }
            Condition::All(parts) => {
                let parts: Vec<u32> = parts.iter().map(|part| self.condition(part)).collect();
                self.program.listed(Op::All, &[], &parts)
            }
            Condition::Any(parts) => {
                let parts: Vec<u32> = parts.iter().map(|part| self.condition(part)).collect();
                self.program.listed(Op::Some, &[], &parts)
            }
            Condition::If(parts) => {
                let parts = parts.each_ref().map(|part| self.condition(part));
                self.program.record(Op::If, &parts)
            }
            Condition::Quantified { list, every, body } => {
                let [name, list] = self.program.list(*list);
                let quantified = [name, list, u32::from(*every), self.condition(body)];
                self.program.record(Op::Quantified, &quantified)
            }
            Condition::Compare { left, order, right } => {
                let compare = [self.computed(left), place(*order), self.computed(right)];
                self.program.record(Op::Compare, &compare)
            }
            Condition::Present(field) => {
                let field = self.program.field(*field);
                self.program.record(Op::Present, &[field])
            }
            Condition::Text {
                field,
                case,
                test,
                negated,
            } => {
                let cased = place(*case) | u32::from(*negated) << 2;
                let text = [self.program.text_field(*field), cased];
                self.text(text, test)
            }
            Condition::Number {
                field,
                order,
                value,
            } => {
                let field = self.program.number_field(*field);
                let (op, value) = match value {
                    NumberValue::Constant(number) => {
                        (Op::NumberConstant, self.program.constant(*number))
                    }
                    NumberValue::Field(other) => {
                        (Op::NumberNumber, self.program.number_field(*other))
                    }
                };
                self.program.record(op, &[field, place(*order), value])
            }
            Condition::NumberIn {
                field,
                set,
                negated,
            } => {
                let number = [self.program.number_field(*field), u32::from(*negated)];
                let set = set.iter().map(|number| self.program.constant(*number));
                let set: Vec<u32> = set.collect();
                self.program.listed(Op::NumberIn, &number, &set)
            }
            Condition::Bool {
                field,
                value,
                negated,
            } => {
                let field = self.program.bool_field(*field);
                let (op, value) = match value {
                    BoolValue::Constant(value) => (Op::BoolConstant, u32::from(*value)),
                    BoolValue::Field(other) => (Op::BoolBool, self.program.bool_field(*other)),
                };
                self.program
                    .record(op, &[field, u32::from(*negated), value])
            }
        }
    }

    fn computed(&mut self, number: &Computed) -> u32 {
        let (op, sides) = match number {
            Computed::Constant(number) => {
                let number = self.program.constant(*number);
                return self.program.record(Op::ConstantNumber, &[number]);
            }
            Computed::Field(field) => {
                let field = self.program.number_field(*field);
                return self.program.record(Op::FieldNumber, &[field]);
            }
            Computed::Count(list) => {
                let list = self.program.list(*list);
                return self.program.record(Op::CountNumber, &list);
            }
            Computed::Length(field) => {
                let op = match field {
                    TextField::Entry(_) => Op::EntryLengthNumber,
                    _ => Op::LengthNumber,
                };
                let field = self.program.text_field(*field);
                return self.program.record(op, &[field]);
            }
            Computed::Sum(sides) => (Op::Sum, sides),
            Computed::Difference(sides) => (Op::Difference, sides),
            Computed::Product(sides) => (Op::Product, sides),
        };
        let sides = sides.each_ref().map(|side| self.computed(side));
        self.program.record(op, &sides)
    }

    fn text(&mut self, [field, cased]: [u32; 2], test: &typed::TextTest) -> u32 {
        let (test, value) = match test {
            typed::TextTest::Equals(value) => (0, value),
            typed::TextTest::Has(value) => (1, value),
            typed::TextTest::Contains(value) => (2, value),
            typed::TextTest::StartsWith(value) => (3, value),
            typed::TextTest::EndsWith(value) => (4, value),
            typed::TextTest::In(texts) => {
                let set: BTreeSet<u32> = texts.iter().map(|text| self.string(text)).collect();
                let set: Vec<u32> = set.into_iter().collect();
                return self.program.listed(Op::TextIn, &[field, cased], &set);
            }
            typed::TextTest::Matches(bytes) => {
                let pattern = self.program.pattern(bytes);
                return self
                    .program
                    .record(Op::TextMatches, &[field, cased, pattern]);
            }
        };
        let (op, value) = match value {
            typed::TextValue::Constant(text) => (Op::TextConstant, self.string(text)),
            typed::TextValue::Field(other) => (Op::TextField, self.program.text_field(*other)),
            typed::TextValue::Template(template) => (Op::TextTemplate, self.template(template)),
        };
        self.program.record(op, &[field, cased, test, value])
    }

    fn template(&mut self, template: &Template) -> u32 {
        let pieces = template.iter().map(|piece| match piece {
            Piece::Text(text) => {
                let text = self.string(text);
                self.program.record(Op::PieceText, &[text])
            }
            Piece::Field(field) => {
                let field = self.program.field(*field);
                self.program.record(Op::PieceField, &[field])
            }
            Piece::Cased(field, case) => {
                let field = self.program.text_field(*field);
                self.program.record(Op::PieceCased, &[field, place(*case)])
            }
        });
        let pieces: Vec<u32> = pieces.collect();
        self.program.listed(Op::Template, &[], &pieces)
    }

    fn string(&self, text: &str) -> StringId {
        self.program.string(text)
    }

    fn maybe_string(&self, text: &Option<String>) -> u32 {
        text.as_ref().map_or(0, |text| self.string(text) + 1)
    }
}

fn count(list: &[u32]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

/// Whether the window is of months, and limit and window as words.
fn limited(limit: u64, window: Window) -> [u32; 6] {
    let halves = |number: u64| [number as u32, (number >> 32) as u32];
    let [low, high] = halves(limit);
    let (months, [window_low, window_high]) = match window {
        Window::Seconds(seconds) => (0, halves(seconds)),
        Window::Months(months) => (1, [months, 0]),
    };
    [months, 4, low, high, window_low, window_high]
}

fn collect_texts<'p>(policy: &'p Policy, texts: &mut BTreeSet<&'p str>) {
    texts.extend([policy.name.as_str(), policy.version.as_str()]);
    for rule in policy.rules.iter().filter(|rule| rule.enabled) {
        texts.insert(&rule.name);
        collect_condition(&rule.condition, texts);
        for action in &rule.actions {
            collect_action(action, texts);
        }
    }
}

fn collect_action<'p>(action: &'p typed::Action, texts: &mut BTreeSet<&'p str>) {
    use typed::{Action, NewValue};
    match action {
        Action::Allow => {}
        Action::Deny { message, code } => {
            texts.insert(code);
            collect_template(message, texts);
        }
        Action::Log { message, .. } => collect_template(message, texts),
        Action::Redact { replacement, .. } => texts.extend(replacement.as_deref()),
        Action::Modify { value, .. } => match value {
            NewValue::Null | NewValue::Bool(_) | NewValue::Number(_) => {}
            NewValue::Text(text) => collect_template(text, texts),
            NewValue::Texts(more) => texts.extend(more.iter().map(String::as_str)),
        },
        Action::Route {
            provider,
            model,
            reason,
        } => {
            for template in provider.iter().chain(model).chain(reason) {
                collect_template(template, texts);
            }
        }
        Action::Alert {
            webhook, message, ..
        } => {
            texts.extend(webhook.as_deref());
            collect_template(message, texts);
        }
        Action::RateLimit { key, .. } | Action::Budget { key, .. } => collect_template(key, texts),
        Action::Tag(tags) => {
            for (name, value) in tags {
                texts.insert(name);
                collect_template(value, texts);
            }
        }
    }
}

fn collect_condition<'p>(condition: &'p Condition, texts: &mut BTreeSet<&'p str>) {
    use typed::{TextTest, TextValue};
    match condition {
        Condition::Not(inner) => collect_condition(inner, texts),
        Condition::All(parts) | Condition::Any(parts) => {
            for part in parts {
                collect_condition(part, texts);
            }
        }
        Condition::If(parts) => {
            for part in parts.iter() {
                collect_condition(part, texts);
            }
        }
        Condition::Quantified { body, .. } => collect_condition(body, texts),
        Condition::Text { test, .. } => match test {
            TextTest::Equals(value)
            | TextTest::Has(value)
            | TextTest::Contains(value)
            | TextTest::StartsWith(value)
            | TextTest::EndsWith(value) => match value {
                TextValue::Constant(text) => {
                    texts.insert(text);
                }
                TextValue::Template(template) => collect_template(template, texts),
                TextValue::Field(_) => {}
            },
            TextTest::In(set) => texts.extend(set.iter().map(String::as_str)),
            TextTest::Matches(_) => {}
        },
        Condition::Constant(_)
        | Condition::Compare { .. }
        | Condition::Present(_)
        | Condition::Number { .. }
        | Condition::NumberIn { .. }
        | Condition::Bool { .. } => {}
    }
}

fn collect_template<'p>(template: &'p Template, texts: &mut BTreeSet<&'p str>) {
    for piece in template {
        if let Piece::Text(text) = piece {
            texts.insert(text);
        }
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CompileError::DuplicatePolicy { name } => {
                write!(f, "two policies are named `{name}`")
            }
            CompileError::TooLarge { bytes, largest } => {
                write!(
                    f,
                    "the bundle has {bytes} bytes, more than {MAX_BUNDLE_BYTES}; largest: "
                )?;
                for (nth, (name, bytes)) in largest.iter().enumerate() {
                    let comma = if nth > 0 { ", " } else { "" };
                    write!(f, "{comma}`{name}` with {bytes}")?;
                }
                Ok(())
            }
            CompileError::TooCostly => write!(
                f,
                "the policies have more than {} conditions together",
                program::MAX_COST
            ),
            CompileError::TooManyPatterns => write!(
                f,
                "the policies search texts for too many patterns: each counts 1 when it begins \
                 with a fixed text of 3 bytes or more, 2 when it contains one, 4 otherwise, 16 \
                 when repeats make it large, and {} are too much",
                crate::scans::MAX_WEIGHT + 1
            ),
            CompileError::Unloadable(cause) => write!(f, "compiled to an unusable bundle: {cause}"),
        }
    }
}

impl std::error::Error for CompileError {}
