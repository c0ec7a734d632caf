//! Rules as jumps: what is asked next, after yes and after no.
//!
//! Made from the nodes when a bundle is loaded. All conditions of a policy become one
//! sequence without recursion that goes on to the next rule where one fails, and in which the usual tests (a symbol, a set, a number, a
//! flag) are answered in place; everything else is left to [`Evaluation::holds`], whose
//! answers are kept when several rules ask the same.

use crate::eval::{Evaluation, Symbol, in_order};
use crate::program::{
    BoolField, BoolValue, Case, ListId, Node, NodeId, NumberField, NumberValue, Order, SingleText,
    StringId, TextField, TextNode, TextTest, TextValue,
};
use crate::records::{Op, Program};
use crate::stages::Stage;
use std::cell::Cell;

/// A jump out: no rule matches.
const NONE: u32 = u32::MAX;
/// With this bit a jump out: the rule matches whose place the other bits are.
const MATCH: u32 = 1 << 31;

/// The rules of one stage.
#[derive(Debug, Default)]
pub(crate) struct Code {
    steps: Vec<Step>,
    /// By policy and rule: where that rule begins, or the next one of the stage.
    rules: Vec<Vec<u32>>,
    /// Answers that are worth keeping.
    kept: usize,
}

#[derive(Debug, Clone, Copy)]
struct Step {
    test: Test,
    yes: u32,
    no: u32,
}

#[derive(Debug, Clone, Copy)]
enum Test {
    Symbol {
        field: SingleText,
        symbol: StringId,
    },
    SymbolIn {
        field: SingleText,
        set: ListId,
        negated: bool,
    },
    Number {
        field: NumberField,
        order: Order,
        value: f64,
    },
    /// The text begins with, ends with, or contains a constant.
    Part {
        field: SingleText,
        part: Part,
        text: StringId,
    },
    /// A list of names has this one.
    Name {
        list: NameList,
        symbol: StringId,
    },
    /// Equal; null is neither.
    Bool {
        field: BoolField,
        value: bool,
    },
    Node(NodeId),
    /// The same, asked by several: the answer goes into this slot.
    Kept(NodeId, u32),
}

#[derive(Debug, Clone, Copy)]
enum Part {
    Start,
    End,
    Any,
}

/// Answers given so far in one evaluation.
pub(crate) struct Kept(Vec<Cell<Option<bool>>>);

/// Lists of names, whose constants are looked up once per exchange.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NameList {
    Tools,
    Stop,
    PiiTypes,
    SensitiveCategories,
    UserRoles,
}

impl NameList {
    pub(crate) const COUNT: usize = 5;

    pub(crate) fn field(self) -> TextField {
        match self {
            NameList::Tools => TextField::Tools,
            NameList::Stop => TextField::Stop,
            NameList::PiiTypes => TextField::PiiTypes,
            NameList::SensitiveCategories => TextField::SensitiveCategories,
            NameList::UserRoles => TextField::UserRoles,
        }
    }

    fn of(field: TextField) -> Option<NameList> {
        Some(match field {
            TextField::Tools => NameList::Tools,
            TextField::Stop => NameList::Stop,
            TextField::PiiTypes => NameList::PiiTypes,
            TextField::SensitiveCategories => NameList::SensitiveCategories,
            TextField::UserRoles => NameList::UserRoles,
            _ => return None,
        })
    }
}

impl Code {
    /// Of the rules that are asked at one stage.
    pub(crate) fn of(program: &Program, stage: Stage) -> Code {
        let mut builder = Builder {
            program,
            code: Code::default(),
            uses: uses(program),
            slots: vec![None; program.records.len()],
        };
        for policy in program.policies() {
            // From the last rule on, so that each finds the next one there.
            let mut next = NONE;
            let mut begins = vec![NONE; policy.rules.len()];
            for (nth, begin) in begins.iter_mut().enumerate().rev() {
                let rule = policy.rules.get(nth).and_then(|rule| program.rule(*rule));
                if let Some(rule) = rule.filter(|rule| stage.asks(rule)) {
                    next = builder.node(rule.condition, MATCH | nth as u32, next);
                }
                *begin = next;
            }
            builder.code.rules.push(begins);
        }
        builder.code
    }

    pub(crate) fn kept(&self) -> Kept {
        Kept(vec![Cell::new(None); self.kept])
    }

    /// The first rule of a policy, from a place on, whose condition holds. Ends: jumps lead
    /// to steps that were there before, see [`Builder`].
    pub(crate) fn first_match(
        &self,
        policy: usize,
        from: usize,
        evaluation: &Evaluation<'_>,
    ) -> Option<usize> {
        let mut at = *self.rules.get(policy)?.get(from)?;
        while let Some(step) = self.steps.get(at as usize) {
            at = match step.test.holds(evaluation) {
                true => step.yes,
                false => step.no,
            };
        }
        (at != NONE).then_some((at & !MATCH) as usize)
    }
}

impl Test {
    #[inline(always)]
    fn holds(self, evaluation: &Evaluation<'_>) -> bool {
        match self {
            Test::Symbol { field, symbol } => {
                matches!(evaluation.symbol(field), Symbol::Known(known) if known == symbol)
            }
            Test::SymbolIn {
                field,
                set,
                negated,
            } => evaluation.symbol_in(field, set, negated),
            Test::Number {
                field,
                order,
                value,
            } => in_order(evaluation.number(field), order, Some(value)),
            Test::Part { field, part, text } => {
                let constant = evaluation.bundle.string(text);
                let text = evaluation.single_text(field);
                text.is_some_and(|text| match part {
                    Part::Start => text.starts_with(constant),
                    Part::End => text.ends_with(constant),
                    Part::Any => text.contains(constant),
                })
            }
            Test::Name { list, symbol } => evaluation.names(list).contains(&symbol),
            Test::Bool { field, value } => evaluation.bool(field) == Some(value),
            Test::Node(node) => evaluation.holds(node),
            Test::Kept(node, slot) => {
                let slot = evaluation.kept.0.get(slot as usize);
                let known = slot.and_then(Cell::get);
                known.unwrap_or_else(|| {
                    let holds = evaluation.holds(node);
                    if let Some(slot) = slot {
                        slot.set(Some(holds));
                    }
                    holds
                })
            }
        }
    }
}

/// Lowers conditions from their last part to their first, so that every jump leads to a
/// step that is there already.
struct Builder<'p> {
    program: &'p Program,
    code: Code,
    /// By node: how often it is asked.
    uses: Vec<u32>,
    slots: Vec<Option<u32>>,
}

impl Builder<'_> {
    /// The step that begins a condition, which goes on at `yes` or `no`.
    fn node(&mut self, id: NodeId, yes: u32, no: u32) -> u32 {
        let program = self.program;
        match program.node(id) {
            None | Some(Node::Constant(false)) => no,
            Some(Node::Constant(true)) => yes,
            Some(Node::Not(child)) => self.node(child, no, yes),
            Some(Node::All(children)) => {
                let rest = children.iter().rev();
                rest.fold(yes, |next, child| self.node(*child, next, no))
            }
            Some(Node::Any(children)) => {
                let rest = children.iter().rev();
                rest.fold(no, |next, child| self.node(*child, yes, next))
            }
            Some(Node::If(condition, then, otherwise)) => {
                let then = self.node(then, yes, no);
                let otherwise = self.node(otherwise, yes, no);
                self.node(condition, then, otherwise)
            }
            Some(leaf) => {
                let test = self.leaf(id, leaf);
                let (test, yes, no) = match test {
                    (test, false) => (test, yes, no),
                    (test, true) => (test, no, yes),
                };
                let at = u32::try_from(self.code.steps.len()).unwrap_or(NONE);
                self.code.steps.push(Step { test, yes, no });
                at
            }
        }
    }

    /// The test, and whether its answer means the opposite.
    fn leaf(&mut self, id: NodeId, leaf: Node<'_>) -> (Test, bool) {
        match leaf {
            Node::Text(TextNode {
                field: TextField::Single(field),
                case: Case::AsIs,
                test: TextTest::Equals(TextValue::Constant(symbol)),
                negated,
            }) => (Test::Symbol { field, symbol }, negated),
            Node::Text(TextNode {
                field: TextField::Single(field),
                case: Case::AsIs,
                test: TextTest::In(set),
                negated,
            }) => (
                Test::SymbolIn {
                    field,
                    set,
                    negated,
                },
                false,
            ),
            Node::Number {
                field,
                order,
                value: NumberValue::Constant(value),
            } if !matches!(field, NumberField::Length(_)) => (
                Test::Number {
                    field,
                    order,
                    value,
                },
                false,
            ),
            Node::Bool {
                field,
                value: BoolValue::Constant(value),
                negated,
            } if !matches!(field, BoolField::Found(..)) => (Test::Bool { field, value }, negated),
            Node::Text(TextNode {
                field: TextField::Single(field),
                case: Case::AsIs,
                test,
                negated: false,
            }) if let Some((part, text)) = part_of(test) => {
                (Test::Part { field, part, text }, false)
            }
            Node::Text(TextNode {
                field,
                case: Case::AsIs,
                test: TextTest::Has(TextValue::Constant(symbol)),
                negated: false,
            }) if let Some(list) = NameList::of(field) => (Test::Name { list, symbol }, false),
            _ => (self.general(id), false),
        }
    }

    fn general(&mut self, id: NodeId) -> Test {
        let asked = self.uses.get(id as usize).copied().unwrap_or(0);
        let Some(slot) = self.slots.get_mut(id as usize).filter(|_| asked > 1) else {
            return Test::Node(id);
        };
        let slot = *slot.get_or_insert_with(|| {
            let fresh = self.code.kept;
            self.code.kept += 1;
            u32::try_from(fresh).unwrap_or(u32::MAX)
        });
        Test::Kept(id, slot)
    }
}

fn part_of(test: TextTest) -> Option<(Part, StringId)> {
    match test {
        TextTest::StartsWith(TextValue::Constant(id)) => Some((Part::Start, id)),
        TextTest::EndsWith(TextValue::Constant(id)) => Some((Part::End, id)),
        TextTest::Contains(TextValue::Constant(id)) => Some((Part::Any, id)),
        _ => None,
    }
}

/// How often each condition is asked.
fn uses(program: &Program) -> Vec<u32> {
    let mut uses = vec![0u32; program.records.len()];
    let mut count = |id: &NodeId| {
        if let Some(uses) = uses.get_mut(*id as usize) {
            *uses = uses.saturating_add(1);
        }
    };
    for (record, id) in program.records.iter().zip(0..) {
        match (record.op, program.node(id)) {
            (_, Some(Node::Not(child))) => count(&child),
            (_, Some(Node::All(children) | Node::Any(children))) => {
                children.iter().for_each(&mut count);
            }
            (_, Some(Node::If(condition, then, otherwise))) => {
                [condition, then, otherwise].iter().for_each(&mut count);
            }
            (Op::Rule, _) => count(&record.operands[2]),
            _ => {}
        }
    }
    uses
}
