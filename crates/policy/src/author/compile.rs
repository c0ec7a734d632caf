//! Valid policies to the bytes of a bundle.
//!
//! Deterministic: policies are put in the order of their evaluation, constants are
//! interned in sorted tables, and nothing here depends on hashing or addresses.

use super::typed::{self, Computed, Condition, Piece, Policy, Template};
use crate::load::{Bundle, LoadError};
use crate::program::{
    self, FORMAT_VERSION, MAGIC, MAX_BUNDLE_BYTES, Node, NumberNode, PolicyProgram, Program,
    RuleProgram, StringId, TextNode,
};
use crate::settings::{Mode, Phase};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
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

fn encode(ordered: &[&Policy]) -> Vec<u8> {
    let program = Lowering::of(ordered);
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    // Encoding to memory has no way to fail for these types; a bundle cut here would not load.
    bytes.extend(postcard::to_allocvec(&program).unwrap_or_default());
    bytes
}

/// The program while it grows.
#[derive(Default)]
struct Lowering {
    strings: HashMap<String, StringId>,
    sets: BTreeMap<Vec<StringId>, u32>,
    patterns: HashMap<Vec<u8>, u32>,
    /// By their encoding: equal conditions are one node, evaluated once.
    nodes: HashMap<Vec<u8>, u32>,
    program: Program,
}

impl Lowering {
    fn of(policies: &[&Policy]) -> Program {
        let mut texts = BTreeSet::new();
        for policy in policies {
            collect_texts(policy, &mut texts);
        }
        let mut lowering = Lowering::default();
        for (id, text) in (0..).zip(texts) {
            lowering.strings.insert(text.to_owned(), id);
            lowering.program.strings.push(text.to_owned());
        }
        for policy in policies {
            let lowered = lowering.policy(policy);
            lowering.program.policies.push(lowered);
        }
        lowering.program
    }

    fn policy(&mut self, policy: &Policy) -> PolicyProgram {
        let enabled = policy.rules.iter().filter(|rule| rule.enabled);
        let on_answers = enabled
            .clone()
            .map(|rule| rule.settings)
            .filter(|settings| settings.phase == Phase::Response && settings.mode == Mode::Enforce);
        let store_always = on_answers
            .filter_map(|settings| settings.store_first())
            .min();
        let rules = enabled
            .map(|rule| RuleProgram {
                name: self.string(&rule.name),
                settings: rule.settings,
                condition: self.condition(&rule.condition),
                actions: rule
                    .actions
                    .iter()
                    .map(|action| self.action(action))
                    .collect(),
            })
            .collect();
        PolicyProgram {
            name: self.string(&policy.name),
            version: self.string(&policy.version),
            store_unmatched: policy.store_unmatched,
            store_always,
            rules,
        }
    }

    fn action(&mut self, action: &typed::Action) -> program::Action {
        match action {
            typed::Action::Allow => program::Action::Allow,
            typed::Action::Deny { message, code } => program::Action::Deny {
                message: self.template(message),
                code: self.string(code),
            },
            typed::Action::Log { level, message } => program::Action::Log {
                level: *level,
                message: self.template(message),
            },
            typed::Action::Redact {
                fields,
                method,
                replacement,
            } => program::Action::Redact {
                fields: fields.clone(),
                method: *method,
                replacement: replacement.as_ref().map(|text| self.string(text)),
            },
            typed::Action::Modify { field, value } => program::Action::Modify {
                field: *field,
                value: self.new_value(value),
            },
            typed::Action::Route {
                provider,
                model,
                reason,
            } => program::Action::Route {
                provider: provider.as_ref().map(|text| self.template(text)),
                model: model.as_ref().map(|text| self.template(text)),
                reason: reason.as_ref().map(|text| self.template(text)),
            },
            typed::Action::Alert {
                webhook,
                message,
                severity,
            } => program::Action::Alert {
                webhook: webhook.as_ref().map(|text| self.string(text)),
                message: self.template(message),
                severity: *severity,
            },
            typed::Action::RateLimit { key, limit, window } => program::Action::RateLimit {
                key: self.template(key),
                limit: *limit,
                window: *window,
            },
            typed::Action::Budget {
                key,
                limit,
                unit,
                window,
            } => program::Action::Budget {
                key: self.template(key),
                limit: *limit,
                unit: *unit,
                window: *window,
            },
            typed::Action::Tag(tags) => program::Action::Tag(
                tags.iter()
                    .map(|(name, value)| (self.string(name), self.template(value)))
                    .collect(),
            ),
        }
    }

    fn new_value(&mut self, value: &typed::NewValue) -> program::NewValue {
        match value {
            typed::NewValue::Null => program::NewValue::Null,
            typed::NewValue::Bool(value) => program::NewValue::Bool(*value),
            typed::NewValue::Number(number) => program::NewValue::Number(*number),
            typed::NewValue::Text(text) => program::NewValue::Text(self.template(text)),
            typed::NewValue::Texts(texts) => {
                program::NewValue::Texts(texts.iter().map(|text| self.string(text)).collect())
            }
        }
    }

    /// Children first, as the loader demands.
    fn condition(&mut self, condition: &Condition) -> u32 {
        let node = match condition {
            Condition::Constant(value) => Node::Constant(*value),
            Condition::Not(inner) => Node::Not(self.condition(inner)),
            Condition::All(parts) => {
                Node::All(parts.iter().map(|part| self.condition(part)).collect())
            }
            Condition::Any(parts) => {
                Node::Any(parts.iter().map(|part| self.condition(part)).collect())
            }
            Condition::If(parts) => {
                let [condition, then, otherwise] = parts.each_ref();
                Node::If(
                    self.condition(condition),
                    self.condition(then),
                    self.condition(otherwise),
                )
            }
            Condition::Quantified { list, every, body } => Node::Quantified {
                list: *list,
                every: *every,
                body: self.condition(body),
            },
            Condition::Compare { left, order, right } => Node::Compare {
                left: self.computed(left),
                order: *order,
                right: self.computed(right),
            },
            Condition::Present(field) => Node::Present(*field),
            Condition::Text {
                field,
                case,
                test,
                negated,
            } => Node::Text(TextNode {
                field: *field,
                case: *case,
                test: self.text_test(test),
                negated: *negated,
            }),
            Condition::Number {
                field,
                order,
                value,
            } => Node::Number {
                field: *field,
                order: *order,
                value: *value,
            },
            Condition::NumberIn {
                field,
                set,
                negated,
            } => Node::NumberIn {
                field: *field,
                set: push(&mut self.program.number_sets, set.clone()),
                negated: *negated,
            },
            Condition::Bool {
                field,
                value,
                negated,
            } => Node::Bool {
                field: *field,
                value: *value,
                negated: *negated,
            },
        };
        // Without an encoding a node is its own; there is none that cannot be encoded.
        let Ok(key) = postcard::to_allocvec(&node) else {
            return push(&mut self.program.nodes, node);
        };
        let table = &mut self.program.nodes;
        *self.nodes.entry(key).or_insert_with(|| push(table, node))
    }

    fn computed(&mut self, number: &Computed) -> u32 {
        let mut both = |sides: &[Computed; 2]| {
            let [left, right] = sides;
            (self.computed(left), self.computed(right))
        };
        let node = match number {
            Computed::Constant(number) => NumberNode::Constant(*number),
            Computed::Field(field) => NumberNode::Field(*field),
            Computed::Count(list) => NumberNode::Count(*list),
            Computed::Length(field) => NumberNode::Length(*field),
            Computed::Sum(sides) => {
                let (left, right) = both(sides);
                NumberNode::Sum(left, right)
            }
            Computed::Difference(sides) => {
                let (left, right) = both(sides);
                NumberNode::Difference(left, right)
            }
            Computed::Product(sides) => {
                let (left, right) = both(sides);
                NumberNode::Product(left, right)
            }
        };
        push(&mut self.program.numbers, node)
    }

    fn text_test(&mut self, test: &typed::TextTest) -> program::TextTest {
        match test {
            typed::TextTest::Equals(value) => program::TextTest::Equals(self.text_value(value)),
            typed::TextTest::Has(value) => program::TextTest::Has(self.text_value(value)),
            typed::TextTest::Contains(value) => program::TextTest::Contains(self.text_value(value)),
            typed::TextTest::StartsWith(value) => {
                program::TextTest::StartsWith(self.text_value(value))
            }
            typed::TextTest::EndsWith(value) => program::TextTest::EndsWith(self.text_value(value)),
            typed::TextTest::In(texts) => {
                let set: BTreeSet<_> = texts.iter().map(|text| self.string(text)).collect();
                let set: Vec<_> = set.into_iter().collect();
                let table = &mut self.program.string_sets;
                let entry = self.sets.entry(set);
                let set = entry.key().clone();
                program::TextTest::In(*entry.or_insert_with(|| push(table, set)))
            }
            typed::TextTest::Matches(bytes) => {
                let table = &mut self.program.patterns;
                let entry = self.patterns.entry(bytes.to_vec());
                program::TextTest::Matches(*entry.or_insert_with(|| push(table, bytes.to_vec())))
            }
        }
    }

    fn text_value(&mut self, value: &typed::TextValue) -> program::TextValue {
        match value {
            typed::TextValue::Constant(text) => program::TextValue::Constant(self.string(text)),
            typed::TextValue::Field(field) => program::TextValue::Field(*field),
            typed::TextValue::Template(template) => {
                program::TextValue::Template(self.template(template))
            }
        }
    }

    fn template(&mut self, template: &Template) -> u32 {
        let pieces = template
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => program::Piece::Text(self.string(text)),
                Piece::Field(field) => program::Piece::Field(*field),
                Piece::Cased(field, case) => program::Piece::Cased(*field, *case),
            })
            .collect();
        push(&mut self.program.templates, pieces)
    }

    fn string(&self, text: &str) -> StringId {
        // Every text was collected before lowering began; the loader would refuse this index.
        self.strings.get(text).copied().unwrap_or(StringId::MAX)
    }
}

fn push<T>(table: &mut Vec<T>, entry: T) -> u32 {
    let index = table.len();
    table.push(entry);
    // A table that long is far beyond the size of a bundle, which is checked.
    u32::try_from(index).unwrap_or(u32::MAX)
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
