//! Conditions as jumps: what is asked next, after yes and after no.
//!
//! Made from the nodes when a bundle is loaded. A tree of `all`, `any`, `not` becomes a
//! sequence without recursion, in which the usual tests (a symbol, a set, a number, a
//! flag) are answered in place; everything else is left to [`Evaluation::holds`], whose
//! answers are kept when several rules ask the same.

use crate::eval::{Evaluation, Symbol, in_order};
use crate::program::{
    BoolField, BoolValue, Case, Node, NodeId, NumberField, NumberValue, Order, Program, SingleText,
    StringId, TextField, TextNode, TextTest, TextValue,
};
use std::cell::Cell;

/// Ends of the jumps.
const HOLDS: u32 = u32::MAX;
const FAILS: u32 = u32::MAX - 1;

/// The conditions of all rules.
#[derive(Debug, Default)]
pub(crate) struct Code {
    steps: Vec<Step>,
    /// By node: where the code of a rule's condition begins.
    entries: Vec<u32>,
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
        set: u32,
        negated: bool,
    },
    Number {
        field: NumberField,
        order: Order,
        value: f64,
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

/// Answers given so far in one evaluation.
pub(crate) struct Kept(Vec<Cell<Option<bool>>>);

impl Code {
    pub(crate) fn of(program: &Program) -> Code {
        let mut builder = Builder {
            program,
            code: Code::default(),
            uses: uses(program),
            slots: vec![None; program.nodes.len()],
        };
        builder.code.entries = vec![FAILS; program.nodes.len()];
        let rules = program.policies.iter().flat_map(|policy| &policy.rules);
        for rule in rules {
            let condition = rule.condition;
            let known = builder.code.entries.get(condition as usize).copied();
            if known == Some(FAILS) {
                let entry = builder.node(condition, HOLDS, FAILS);
                if let Some(slot) = builder.code.entries.get_mut(condition as usize) {
                    *slot = entry;
                }
            }
        }
        builder.code
    }

    pub(crate) fn kept(&self) -> Kept {
        Kept(vec![Cell::new(None); self.kept])
    }

    /// Whether a rule's condition holds. Jumps only lead forward or out: see [`Builder`].
    pub(crate) fn holds(&self, condition: NodeId, evaluation: &Evaluation<'_>) -> bool {
        let mut at = self
            .entries
            .get(condition as usize)
            .copied()
            .unwrap_or(FAILS);
        while let Some(step) = self.steps.get(at as usize) {
            at = match step.test.holds(evaluation) {
                true => step.yes,
                false => step.no,
            };
        }
        at == HOLDS
    }
}

impl Test {
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
        match program.nodes.get(id as usize) {
            None | Some(Node::Constant(false)) => no,
            Some(Node::Constant(true)) => yes,
            Some(Node::Not(child)) => self.node(*child, no, yes),
            Some(Node::All(children)) => {
                let rest = children.iter().rev();
                rest.fold(yes, |next, child| self.node(*child, next, no))
            }
            Some(Node::Any(children)) => {
                let rest = children.iter().rev();
                rest.fold(no, |next, child| self.node(*child, yes, next))
            }
            Some(Node::If(condition, then, otherwise)) => {
                let then = self.node(*then, yes, no);
                let otherwise = self.node(*otherwise, yes, no);
                self.node(*condition, then, otherwise)
            }
            Some(leaf) => {
                let test = self.leaf(id, leaf);
                let (test, yes, no) = match test {
                    (test, false) => (test, yes, no),
                    (test, true) => (test, no, yes),
                };
                let at = u32::try_from(self.code.steps.len()).unwrap_or(FAILS);
                self.code.steps.push(Step { test, yes, no });
                at
            }
        }
    }

    /// The test, and whether its answer means the opposite.
    fn leaf(&mut self, id: NodeId, leaf: &Node) -> (Test, bool) {
        match *leaf {
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

fn uses(program: &Program) -> Vec<u32> {
    let mut uses = vec![0u32; program.nodes.len()];
    let mut count = |id: &NodeId| {
        if let Some(uses) = uses.get_mut(*id as usize) {
            *uses = uses.saturating_add(1);
        }
    };
    for node in &program.nodes {
        match node {
            Node::Not(child) => count(child),
            Node::All(children) | Node::Any(children) => children.iter().for_each(&mut count),
            Node::If(condition, then, otherwise) => {
                [condition, then, otherwise]
                    .into_iter()
                    .for_each(&mut count);
            }
            _ => {}
        }
    }
    let rules = program.policies.iter().flat_map(|policy| &policy.rules);
    rules.for_each(|rule| count(&rule.condition));
    uses
}
