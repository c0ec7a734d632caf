//! Evaluation: a bundle and facts in, a decision out.
//!
//! Total: what `load` accepted is evaluated without panic, in a bounded number of steps,
//! each at most linear in the text it reads. A field that is missing is null; `==` and
//! `!=` compare null as a value of its own, every other operator is false on it. A field
//! with several texts satisfies an operator when any of its texts does.

use crate::calendar::Moment;
use crate::code::{Kept, NameList};
use crate::facts::{Facts, Message};
use crate::load::Bundle;
use crate::program::{
    BoolValue, Case, List, Node, NodeId, NumberId, NumberNode, NumberValue, Order, SingleText,
    StringId, TextField, TextNode, TextTest, TextValue,
};
use crate::scans::Searched;
use crate::stages::Stage;
use std::borrow::Cow;
use std::cell::{Cell, OnceCell};

/// What a field's text is among the interned constants.
#[derive(Clone, Copy)]
pub(crate) enum Symbol {
    NotLookedUp,
    /// The field is missing.
    Null,
    /// The text is no constant of this bundle.
    Unknown,
    Known(StringId),
}

pub(crate) struct Evaluation<'a> {
    pub bundle: &'a Bundle,
    pub facts: &'a Facts,
    pub stage: Stage,
    moment: OnceCell<Moment>,
    pub date: OnceCell<String>,
    pub turns: OnceCell<usize>,
    symbols: [Cell<Symbol>; SingleText::COUNT],
    names: [OnceCell<Vec<StringId>>; NameList::COUNT],
    pub searched: Searched,
    /// Answers that several rules ask for.
    pub kept: Kept,
    /// What the quantifier being evaluated looks at.
    pub entry: Cell<Option<ListEntry<'a>>>,
}

#[derive(Clone, Copy)]
pub(crate) enum ListEntry<'a> {
    /// With its place.
    Message(usize, &'a Message),
    Name(&'a str),
}

impl<'a> Evaluation<'a> {
    pub fn new(bundle: &'a Bundle, facts: &'a Facts, stage: Stage) -> Evaluation<'a> {
        Evaluation {
            bundle,
            facts,
            stage,
            moment: OnceCell::new(),
            date: OnceCell::new(),
            turns: OnceCell::new(),
            symbols: [const { Cell::new(Symbol::NotLookedUp) }; SingleText::COUNT],
            entry: Cell::new(None),
            names: Default::default(),
            searched: Searched::default(),
            kept: bundle.code.at(stage).kept(),
        }
    }

    pub fn holds(&self, id: NodeId) -> bool {
        // `load` checked every index; a missing node would match nothing.
        let Some(node) = self.bundle.program.node(id) else {
            return false;
        };
        match node {
            Node::Constant(value) => value,
            Node::Not(child) => !self.holds(child),
            Node::All(children) => children.iter().all(|child| self.holds(*child)),
            Node::Any(children) => children.iter().any(|child| self.holds(*child)),
            Node::If(condition, then, otherwise) => match self.holds(condition) {
                true => self.holds(then),
                false => self.holds(otherwise),
            },
            Node::Quantified { list, every, body } => self.quantified(list, every, body),
            Node::Compare { left, order, right } => {
                match (self.computed(left), self.computed(right)) {
                    (Some(left), Some(right)) => in_order(Some(left), order, Some(right)),
                    _ => false,
                }
            }
            Node::Present(field) => self.is_present(field),
            Node::Text(node) => match self.scanned(id, node.field) {
                Some(found) => found,
                None => self.text_holds(&node),
            },
            Node::Number {
                field,
                order,
                value,
            } => {
                let value = match value {
                    NumberValue::Constant(number) => Some(number),
                    NumberValue::Field(other) => self.number(other),
                };
                in_order(self.number(field), order, value)
            }
            Node::NumberIn {
                field,
                set,
                negated,
            } => self.number(field).is_some_and(|number| {
                let program = &self.bundle.program;
                let mut set = set.iter().map(|constant| program.constant(*constant));
                set.any(|constant| constant == Some(number)) != negated
            }),
            Node::Bool {
                field,
                value,
                negated,
            } => {
                let value = match value {
                    BoolValue::Constant(value) => Some(value),
                    BoolValue::Field(other) => self.bool(other),
                };
                (self.bool(field) == value) != negated
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
                let mut entries = request.messages.iter().enumerate();
                let decides = |(nth, message)| decides(ListEntry::Message(nth, message));
                return entries.any(decides) != every;
            }
            List::Tools => request.tools.iter(),
            List::Stop => request.stop.iter(),
        };
        names.any(|name| decides(ListEntry::Name(name))) != every
    }

    fn computed(&self, id: NumberId) -> Option<f64> {
        // `load` checked every index, and that numbers refer to earlier ones only.
        match self.bundle.program.number(id)? {
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

    pub fn text_holds(&self, node: &TextNode) -> bool {
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
            TextTest::In(set) => Some(self.symbol_in(field, set, negated)),
            _ => None,
        }
    }

    #[inline(always)]
    pub fn symbol_in(&self, field: SingleText, set: u32, negated: bool) -> bool {
        match self.symbol(field) {
            Symbol::Known(symbol) => self.set_has(set, symbol) != negated,
            Symbol::Unknown => negated,
            Symbol::Null | Symbol::NotLookedUp => false,
        }
    }

    #[inline(always)]
    pub fn symbol(&self, field: SingleText) -> Symbol {
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
        self.bundle.symbols.find(text, &self.bundle.program.strings)
    }

    /// The constants among the names of a list.
    pub fn names(&self, list: NameList) -> &[StringId] {
        let known = || {
            let names = self.texts(list.field());
            names.filter_map(|name| self.intern(name)).collect()
        };
        let list = self.names.get(list as usize);
        list.map_or(&[], |names: &OnceCell<Vec<StringId>>| {
            names.get_or_init(known)
        })
    }

    pub fn moment(&self) -> &Moment {
        let time = self.facts.context.time_unix_us;
        self.moment.get_or_init(|| Moment::at(time))
    }

    #[inline(always)]
    fn set_has(&self, set: u32, symbol: StringId) -> bool {
        let set = self.bundle.program.list(set);
        set.binary_search(&symbol).is_ok()
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
                .program
                .patterns
                .get(pattern as usize)
                .is_some_and(|pattern| pattern.is_match(text)),
        }
    }

    pub fn text_value(&self, value: TextValue) -> Option<Cow<'_, str>> {
        match value {
            TextValue::Constant(id) => Some(Cow::Borrowed(self.bundle.string(id))),
            TextValue::Field(field) => self.texts(field).next().map(Cow::Borrowed),
            TextValue::Template(id) => Some(Cow::Owned(self.joined(id))),
        }
    }
}

#[inline(always)]
pub(crate) fn in_order(left: Option<f64>, order: Order, right: Option<f64>) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => order.holds(left, right),
        // Null: equal to null alone, and in no order.
        _ => match order {
            Order::Equal => left == right,
            Order::NotEqual => left != right,
            Order::Less | Order::Greater | Order::AtMost | Order::AtLeast => false,
        },
    }
}
