//! Evaluation: a bundle and facts in, a decision out.
//!
//! Total: what `load` accepted is evaluated without panic, in a bounded number of steps,
//! each at most linear in the text it reads. A field that is missing is null; `==` and
//! `!=` compare null as a value of its own, every other operator is false on it. A field
//! with several texts satisfies an operator when any of its texts does.

use crate::calendar::Moment;
use crate::decision::{Decision, Denial, Effect, LogLine, MatchedRule, Verdict};
use crate::facts::{Facts, Message};
use crate::load::Bundle;
use crate::program::{
    Action, BoolField, BoolValue, Case, Entry, Field, List, Node, NodeId, NumberField, NumberId,
    NumberNode, NumberValue, Order, Piece, PolicyProgram, RuleProgram, SingleText, StringId,
    TextField, TextNode, TextTest, TextValue,
};
use std::borrow::Cow;
use std::cell::{Cell, OnceCell};

/// Longest piece of a field shown in a message: what a client sends must not flood a log.
const MAX_SHOWN_CHARS: usize = 256;

/// Decides an exchange. Policies are evaluated in their order; in each the first rule
/// that matches acts; a denial is final, an allow leaves the later policies their say.
pub fn decide(bundle: &Bundle, facts: &Facts) -> Decision {
    let evaluation = Evaluation::new(bundle, facts);
    let mut decision = Decision {
        verdict: Verdict::Allow,
        denial: None,
        matched: Vec::new(),
        logs: Vec::new(),
    };
    for policy in &bundle.program.policies {
        let matching = policy
            .rules
            .iter()
            .find(|rule| evaluation.holds(rule.condition));
        if let Some(rule) = matching {
            evaluation.act(policy, rule, &mut decision);
        }
        if decision.verdict == Verdict::Deny {
            break;
        }
    }
    decision
}

/// What a field's text is among the interned constants.
#[derive(Clone, Copy)]
enum Symbol {
    NotLookedUp,
    /// The field is missing.
    Null,
    /// The text is no constant of this bundle.
    Unknown,
    Known(StringId),
}

struct Evaluation<'a> {
    bundle: &'a Bundle,
    facts: &'a Facts,
    moment: Moment,
    date: OnceCell<String>,
    turns: OnceCell<usize>,
    symbols: [Cell<Symbol>; SingleText::COUNT],
    /// What the quantifier being evaluated looks at.
    entry: Cell<Option<ListEntry<'a>>>,
}

#[derive(Clone, Copy)]
enum ListEntry<'a> {
    Message(&'a Message),
    Name(&'a str),
}

impl<'a> Evaluation<'a> {
    fn new(bundle: &'a Bundle, facts: &'a Facts) -> Evaluation<'a> {
        Evaluation {
            bundle,
            facts,
            moment: Moment::at(facts.context.time_unix_us),
            date: OnceCell::new(),
            turns: OnceCell::new(),
            symbols: [const { Cell::new(Symbol::NotLookedUp) }; SingleText::COUNT],
            entry: Cell::new(None),
        }
    }

    /// The rule's actions in their order, up to its first allow or denial.
    fn act(&self, policy: &PolicyProgram, rule: &RuleProgram, decision: &mut Decision) {
        let policy_name = self.bundle.string(policy.name);
        let rule_name = self.bundle.string(rule.name);
        let mut effect = Effect::Log;
        for action in &rule.actions {
            match *action {
                Action::Allow => effect = Effect::Allow,
                Action::Deny { message, code } => {
                    effect = Effect::Deny;
                    decision.verdict = Verdict::Deny;
                    decision.denial = Some(Denial {
                        policy: policy_name.to_owned(),
                        rule: rule_name.to_owned(),
                        message: self.render(message),
                        code: self.bundle.string(code).to_owned(),
                    });
                }
                Action::Log { level, message } => decision.logs.push(LogLine {
                    level,
                    message: self.render(message),
                    policy: policy_name.to_owned(),
                    rule: rule_name.to_owned(),
                }),
            }
            if effect != Effect::Log {
                break;
            }
        }
        decision.matched.push(MatchedRule {
            policy: policy_name.to_owned(),
            rule: rule_name.to_owned(),
            effect,
        });
    }

    fn holds(&self, id: NodeId) -> bool {
        // `load` checked every index; a missing node would match nothing.
        let Some(node) = self.bundle.program.nodes.get(id as usize) else {
            return false;
        };
        match node {
            Node::Constant(value) => *value,
            Node::Not(child) => !self.holds(*child),
            Node::All(children) => children.iter().all(|child| self.holds(*child)),
            Node::Any(children) => children.iter().any(|child| self.holds(*child)),
            Node::If(condition, then, otherwise) => match self.holds(*condition) {
                true => self.holds(*then),
                false => self.holds(*otherwise),
            },
            Node::Quantified { list, every, body } => self.quantified(*list, *every, *body),
            Node::Compare { left, order, right } => {
                match (self.computed(*left), self.computed(*right)) {
                    (Some(left), Some(right)) => in_order(Some(left), *order, Some(right)),
                    _ => false,
                }
            }
            Node::Present(field) => self.is_present(*field),
            Node::Text(node) => self.text_holds(node),
            Node::Number {
                field,
                order,
                value,
            } => {
                let value = match value {
                    NumberValue::Constant(number) => Some(*number),
                    NumberValue::Field(other) => self.number(*other),
                };
                in_order(self.number(*field), *order, value)
            }
            Node::NumberIn {
                field,
                set,
                negated,
            } => {
                let set = self.bundle.program.number_sets.get(*set as usize);
                self.number(*field)
                    .is_some_and(|number| set.is_some_and(|set| set.contains(&number)) != *negated)
            }
            Node::Bool {
                field,
                value,
                negated,
            } => {
                let value = match value {
                    BoolValue::Constant(value) => Some(*value),
                    BoolValue::Field(other) => self.bool(*other),
                };
                (self.bool(*field) == value) != *negated
            }
        }
    }

    fn quantified(&self, list: List, every: bool, body: NodeId) -> bool {
        // Some entry, or no entry that fails.
        let decides = |entry: ListEntry<'a>| {
            self.entry.set(Some(entry));
            self.holds(body) != every
        };
        let request = &self.facts.request;
        let mut names = match list {
            List::Messages => {
                let mut entries = request.messages.iter().map(ListEntry::Message);
                return entries.any(decides) != every;
            }
            List::Tools => request.tools.iter(),
            List::Stop => request.stop.iter(),
        };
        names.any(|name| decides(ListEntry::Name(name))) != every
    }

    fn computed(&self, id: NumberId) -> Option<f64> {
        // `load` checked every index, and that numbers refer to earlier ones only.
        match *self.bundle.program.numbers.get(id as usize)? {
            NumberNode::Constant(number) => Some(number),
            NumberNode::Field(field) => self.number(field),
            NumberNode::Count(list) => {
                let request = &self.facts.request;
                Some(match list {
                    List::Messages => request.messages.len() as f64,
                    List::Tools => request.tools.len() as f64,
                    List::Stop => request.stop.len() as f64,
                })
            }
            NumberNode::Length(field) => {
                let text = self.texts(field).next()?;
                Some(text.chars().count() as f64)
            }
            NumberNode::Sum(left, right) => Some(self.computed(left)? + self.computed(right)?),
            NumberNode::Difference(left, right) => {
                Some(self.computed(left)? - self.computed(right)?)
            }
            NumberNode::Product(left, right) => Some(self.computed(left)? * self.computed(right)?),
        }
    }

    fn text_holds(&self, node: &TextNode) -> bool {
        if let TextField::Single(single) = node.field
            && node.case == Case::AsIs
            && let Some(holds) = self.symbol_holds(single, node.test, node.negated)
        {
            return holds;
        }
        // Texts outside the conditions' own field are put together once, not per text.
        let value = match node.test {
            TextTest::Equals(value)
            | TextTest::Has(value)
            | TextTest::Contains(value)
            | TextTest::StartsWith(value)
            | TextTest::EndsWith(value) => self.text_value(value),
            TextTest::In(_) | TextTest::Matches(_) => None,
        };
        let value = value.as_deref();
        let mut any = false;
        for text in self.texts(node.field) {
            any = true;
            if self.test(node.test, &node.case.of(text), value) {
                if !node.negated {
                    return true;
                }
            } else if node.negated {
                return true;
            }
        }
        if any {
            return false;
        }
        // Null: equal to null alone, and nothing to every other operator.
        matches!(node.test, TextTest::Equals(_)) && value.is_none() != node.negated
    }

    /// `==` and `in` over constants: integers compared, the text looked up once.
    fn symbol_holds(&self, field: SingleText, test: TextTest, negated: bool) -> Option<bool> {
        match test {
            TextTest::Equals(TextValue::Constant(id)) => {
                let equal = matches!(self.symbol(field), Symbol::Known(symbol) if symbol == id);
                Some(equal != negated)
            }
            TextTest::In(set) => Some(match self.symbol(field) {
                Symbol::Known(symbol) => self.set_has(set, symbol) != negated,
                Symbol::Unknown => negated,
                Symbol::Null | Symbol::NotLookedUp => false,
            }),
            _ => None,
        }
    }

    fn symbol(&self, field: SingleText) -> Symbol {
        let Some(cell) = self.symbols.get(field as usize) else {
            return Symbol::Null;
        };
        if matches!(cell.get(), Symbol::NotLookedUp) {
            cell.set(match self.single_text(field) {
                None => Symbol::Null,
                Some(text) => self.intern(text).map_or(Symbol::Unknown, Symbol::Known),
            });
        }
        cell.get()
    }

    fn intern(&self, text: &str) -> Option<StringId> {
        let strings = &self.bundle.program.strings;
        let index = strings
            .binary_search_by(|known| known.as_str().cmp(text))
            .ok()?;
        u32::try_from(index).ok()
    }

    fn set_has(&self, set: u32, symbol: StringId) -> bool {
        let set = self.bundle.program.string_sets.get(set as usize);
        set.is_some_and(|set| set.binary_search(&symbol).is_ok())
    }

    fn test(&self, test: TextTest, text: &str, value: Option<&str>) -> bool {
        let with = |check: fn(&str, &str) -> bool| value.is_some_and(|value| check(text, value));
        match test {
            TextTest::Equals(_) | TextTest::Has(_) => with(|text, value| text == value),
            TextTest::Contains(_) => with(|text, value| text.contains(value)),
            TextTest::StartsWith(_) => with(|text, value| text.starts_with(value)),
            TextTest::EndsWith(_) => with(|text, value| text.ends_with(value)),
            TextTest::In(set) => self
                .intern(text)
                .is_some_and(|symbol| self.set_has(set, symbol)),
            TextTest::Matches(pattern) => self
                .bundle
                .patterns
                .get(pattern as usize)
                .is_some_and(|pattern| pattern.is_match(text)),
        }
    }

    fn text_value(&self, value: TextValue) -> Option<Cow<'_, str>> {
        match value {
            TextValue::Constant(id) => Some(Cow::Borrowed(self.bundle.string(id))),
            TextValue::Field(field) => self.texts(field).next().map(Cow::Borrowed),
            TextValue::Template(id) => Some(Cow::Owned(self.join(id, &mut |text, piece| {
                text.push_str(piece);
            }))),
        }
    }

    fn is_present(&self, field: Field) -> bool {
        match field {
            Field::Text(field) => self.texts(field).next().is_some(),
            Field::Number(field) => self.number(field).is_some(),
            Field::Bool(field) => self.bool(field).is_some(),
            Field::Messages => !self.facts.request.messages.is_empty(),
        }
    }

    /// The texts of a field, none when it is missing.
    fn texts(&self, field: TextField) -> Texts<'_> {
        let request = &self.facts.request;
        match field {
            TextField::Single(single) => Texts::One(self.single_text(single)),
            TextField::MessageRole(index) => Texts::One(self.message(index).map(role)),
            TextField::MessageContent(index) => Texts::One(self.message(index).map(content)),
            TextField::Entry(entry) => Texts::One(self.entry_text(entry)),
            TextField::EveryRole => Texts::Roles(request.messages.iter()),
            TextField::EveryContent => Texts::Contents(request.messages.iter(), [].iter()),
            TextField::EveryText => {
                Texts::Contents(request.messages.iter(), request.other_texts.iter())
            }
            TextField::Tools => Texts::Contents([].iter(), request.tools.iter()),
            TextField::Stop => Texts::Contents([].iter(), request.stop.iter()),
        }
    }

    fn message(&self, index: i32) -> Option<&'a Message> {
        let messages = &self.facts.request.messages;
        let distance = index.unsigned_abs() as usize;
        match index < 0 {
            true => messages.get(messages.len().checked_sub(distance)?),
            false => messages.get(distance),
        }
    }

    fn entry_text(&self, entry: Entry) -> Option<&'a str> {
        match (entry, self.entry.get()?) {
            (Entry::Role, ListEntry::Message(message)) => Some(role(message)),
            (Entry::Content, ListEntry::Message(message)) => Some(content(message)),
            (Entry::Name, ListEntry::Name(name)) => Some(name),
            (Entry::Role | Entry::Content, ListEntry::Name(_))
            | (Entry::Name, ListEntry::Message(_)) => None,
        }
    }

    fn single_text(&self, field: SingleText) -> Option<&str> {
        let Facts { request, context } = self.facts;
        match field {
            SingleText::Model => request.model.as_deref(),
            SingleText::User => request.user.as_deref(),
            SingleText::Environment => context.environment.as_deref(),
            SingleText::ClientIp => context.client_ip.as_deref(),
            SingleText::UserId => context.user_id.as_deref(),
            SingleText::DayOfWeek => Some(self.moment.day_of_week()),
            SingleText::Date => Some(self.date.get_or_init(|| self.moment.date())),
        }
    }

    fn number(&self, field: NumberField) -> Option<f64> {
        let request = &self.facts.request;
        match field {
            NumberField::Temperature => request.temperature,
            NumberField::MaxTokens => request.max_tokens,
            NumberField::TopP => request.top_p,
            NumberField::FrequencyPenalty => request.frequency_penalty,
            NumberField::PresencePenalty => request.presence_penalty,
            NumberField::TurnCount => {
                let turns = self.turns.get_or_init(|| {
                    let users = request.messages.iter().filter(|it| it.role == "user");
                    users.count()
                });
                Some(*turns as f64)
            }
            NumberField::Hour => Some(self.moment.hour as f64),
            NumberField::Minute => Some(self.moment.minute as f64),
            NumberField::Day => Some(self.moment.day as f64),
            NumberField::Month => Some(self.moment.month as f64),
            NumberField::Year => Some(self.moment.year as f64),
            NumberField::Timestamp => Some(self.moment.unix_seconds as f64),
        }
    }

    fn bool(&self, field: BoolField) -> Option<bool> {
        match field {
            BoolField::Stream => self.facts.request.stream,
        }
    }

    /// A message for a person: fields cut and without control characters.
    fn render(&self, template: u32) -> String {
        self.join(template, &mut |text, piece| {
            let shown = piece.chars().take(MAX_SHOWN_CHARS);
            text.extend(shown.map(|c| if c.is_control() { ' ' } else { c }));
            if piece.chars().nth(MAX_SHOWN_CHARS).is_some() {
                text.push('…');
            }
        })
    }

    /// Puts a template together, each field's text by `push`; a missing field is empty.
    fn join(&self, template: u32, push: &mut dyn FnMut(&mut String, &str)) -> String {
        let mut text = String::new();
        let pieces = self.bundle.program.templates.get(template as usize);
        for piece in pieces.into_iter().flatten() {
            match *piece {
                Piece::Text(id) => text.push_str(self.bundle.string(id)),
                Piece::Field(Field::Text(field)) => {
                    for (nth, value) in self.texts(field).enumerate() {
                        if nth > 0 {
                            text.push_str(", ");
                        }
                        push(&mut text, value);
                    }
                }
                Piece::Field(Field::Number(field)) => {
                    if let Some(number) = self.number(field) {
                        push(&mut text, &number.to_string());
                    }
                }
                Piece::Field(Field::Bool(field)) => {
                    if let Some(value) = self.bool(field) {
                        push(&mut text, if value { "true" } else { "false" });
                    }
                }
                Piece::Field(Field::Messages) => {}
            }
        }
        text
    }
}

fn in_order(left: Option<f64>, order: Order, right: Option<f64>) -> bool {
    let both = |check: fn(&f64, &f64) -> bool| match (left, right) {
        (Some(left), Some(right)) => check(&left, &right),
        _ => false,
    };
    match order {
        Order::Equal => left == right,
        Order::NotEqual => left != right,
        Order::Less => both(f64::lt),
        Order::Greater => both(f64::gt),
        Order::AtMost => both(f64::le),
        Order::AtLeast => both(f64::ge),
    }
}

fn role(message: &Message) -> &str {
    &message.role
}

fn content(message: &Message) -> &str {
    &message.content
}

/// The texts of one field, without collecting them.
enum Texts<'a> {
    One(Option<&'a str>),
    Roles(std::slice::Iter<'a, Message>),
    Contents(std::slice::Iter<'a, Message>, std::slice::Iter<'a, String>),
}

impl<'a> Iterator for Texts<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        match self {
            Texts::One(text) => text.take(),
            Texts::Roles(messages) => messages.next().map(role),
            Texts::Contents(messages, others) => {
                let message = messages.next().map(content);
                message.or_else(|| others.next().map(String::as_str))
            }
        }
    }
}
