//! What evaluating a condition may take at worst, and what it refers to.
//!
//! Children come before their parents, so one pass bounds all nodes, shared ones counted
//! as often as they are reached. A quantifier's body is looked at once per entry of its
//! list; it may read long texts only of that entry, and hold no quantifier, so that an
//! evaluation stays linear in the exchange.

use crate::load::LoadError;
use crate::program::{
    BoolField, BoolValue, COUNTED_ENTRIES, Case, Field, List, MAX_COST, MAX_DEPTH, Node, NodeId,
    NumberField, NumberNode, NumberValue, Piece, Program, TextField, TextNode, TextTest, TextValue,
};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    depth: u32,
    pub cost: u32,
    /// Lists whose entry it reads.
    entries: Entries,
    /// Takes more than a constant time for each entry of a quantifier around it.
    long: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Entries {
    message: bool,
    name: bool,
}

impl Shape {
    const LEAF: Shape = Shape {
        depth: 1,
        cost: 1,
        entries: Entries {
            message: false,
            name: false,
        },
        long: false,
    };

    /// A condition that stands alone reads no entry.
    pub(crate) fn is_closed(&self) -> bool {
        self.entries == Entries::default()
    }

    fn reading(field: TextField) -> Shape {
        let mut shape = Shape::LEAF;
        if let TextField::Entry(entry) = field {
            shape.entries.message = List::Messages.has(entry);
            shape.entries.name = List::Tools.has(entry);
        }
        shape
    }

    /// This shape with another part, both on the same level.
    fn beside(self, other: Shape) -> Shape {
        Shape {
            depth: self.depth.max(other.depth),
            cost: self.cost.saturating_add(other.cost),
            entries: Entries {
                message: self.entries.message || other.entries.message,
                name: self.entries.name || other.entries.name,
            },
            long: self.long || other.long,
        }
    }

    /// This shape as a part of another.
    fn within(self) -> Shape {
        Shape {
            depth: self.depth.saturating_add(1),
            ..self
        }
    }

    fn bounded(self) -> Result<Shape, LoadError> {
        match self.depth > MAX_DEPTH || self.cost > MAX_COST {
            true => Err(LoadError::TooCostly),
            false => Ok(self),
        }
    }
}

/// The shape of every node, or why one of them cannot be evaluated.
pub(crate) fn of_nodes(program: &Program) -> Result<Vec<Shape>, LoadError> {
    let numbers = of_numbers(program)?;
    let mut shapes: Vec<Shape> = Vec::with_capacity(program.nodes.len());
    for node in &program.nodes {
        let shape = match node {
            Node::Not(child) => parts(&shapes, &[*child])?,
            Node::All(children) | Node::Any(children) => parts(&shapes, children)?,
            Node::If(condition, then, otherwise) => {
                parts(&shapes, &[*condition, *then, *otherwise])?
            }
            Node::Compare { left, right, .. } => parts(&numbers, &[*left, *right])?,
            Node::Quantified { list, body, .. } => quantified(&shapes, *list, *body)?,
            Node::Text(node) => of_text(program, node),
            Node::Present(Field::Text(field)) => Shape::reading(*field),
            Node::Present(Field::Number(field)) | Node::NumberIn { field, .. } => {
                of_number(*field)?
            }
            Node::Present(Field::Bool(field)) => of_bool(*field)?,
            Node::Number { field, value, .. } => match value {
                NumberValue::Constant(_) => of_number(*field)?,
                NumberValue::Field(other) => of_number(*field)?.beside(of_number(*other)?),
            },
            Node::Bool { field, value, .. } => match value {
                BoolValue::Constant(_) => of_bool(*field)?,
                BoolValue::Field(other) => of_bool(*field)?.beside(of_bool(*other)?),
            },
            Node::Constant(_) | Node::Present(Field::Messages) => Shape::LEAF,
        };
        shapes.push(shape.bounded()?);
    }
    Ok(shapes)
}

fn of_numbers(program: &Program) -> Result<Vec<Shape>, LoadError> {
    let mut shapes: Vec<Shape> = Vec::with_capacity(program.numbers.len());
    for number in &program.numbers {
        let shape = match *number {
            NumberNode::Constant(_) | NumberNode::Count(_) => Shape::LEAF,
            NumberNode::Field(field) => of_number(field)?,
            NumberNode::Length(field) if field.is_single() => Shape {
                long: !matches!(field, TextField::Entry(_)),
                ..Shape::reading(field)
            },
            NumberNode::Length(_) => {
                return Err(LoadError::Inconsistent("a length of several texts"));
            }
            NumberNode::Sum(left, right)
            | NumberNode::Difference(left, right)
            | NumberNode::Product(left, right) => parts(&shapes, &[left, right])?,
        };
        shapes.push(shape.bounded()?);
    }
    Ok(shapes)
}

fn of_number(field: NumberField) -> Result<Shape, LoadError> {
    match field {
        NumberField::Length(field) => reads_texts(field),
        _ => Ok(Shape::LEAF),
    }
}

fn of_bool(field: BoolField) -> Result<Shape, LoadError> {
    match field {
        BoolField::Found(_, field) => reads_texts(field),
        _ => Ok(Shape::LEAF),
    }
}

/// Looks at every text of a field, which is too much for the body of a quantifier.
fn reads_texts(field: TextField) -> Result<Shape, LoadError> {
    match field {
        TextField::Entry(_) => Err(LoadError::Inconsistent("a length of an entry")),
        _ => Ok(Shape {
            long: true,
            ..Shape::LEAF
        }),
    }
}

#[inline(never)]
fn parts(shapes: &[Shape], children: &[u32]) -> Result<Shape, LoadError> {
    let mut whole = Shape::LEAF;
    for child in children {
        let child = shapes.get(*child as usize).ok_or(LoadError::Inconsistent(
            "a condition comes before its parts",
        ))?;
        whole = whole.beside(child.within());
    }
    Ok(whole)
}

fn quantified(shapes: &[Shape], list: List, body: NodeId) -> Result<Shape, LoadError> {
    let body = parts(shapes, &[body])?;
    let allowed = Entries {
        message: list == List::Messages,
        name: list != List::Messages,
    };
    let foreign = |read: bool, allowed: bool| read && !allowed;
    if foreign(body.entries.message, allowed.message) || foreign(body.entries.name, allowed.name) {
        return Err(LoadError::Inconsistent("a quantifier has no such entry"));
    }
    if body.long {
        return Err(LoadError::TooCostly);
    }
    Ok(Shape {
        cost: body.cost.saturating_mul(COUNTED_ENTRIES),
        entries: Entries::default(),
        long: true,
        ..body
    })
}

fn of_text(program: &Program, node: &TextNode) -> Shape {
    let mut shape = Shape::reading(node.field);
    let mut templated = false;
    match node.test {
        TextTest::Equals(value)
        | TextTest::Has(value)
        | TextTest::Contains(value)
        | TextTest::StartsWith(value)
        | TextTest::EndsWith(value) => match value {
            TextValue::Constant(_) => {}
            TextValue::Field(field) => shape = shape.beside(Shape::reading(field)),
            TextValue::Template(id) => {
                templated = true;
                let pieces = program.templates.get(id as usize);
                for piece in pieces.into_iter().flatten() {
                    if let Piece::Field(Field::Text(field)) | Piece::Cased(field, _) = *piece {
                        shape = shape.beside(Shape::reading(field));
                    }
                }
            }
        },
        TextTest::In(_) | TextTest::Matches(_) => {}
    }
    let entry = matches!(node.field, TextField::Entry(_));
    let compared_at_its_ends = node.field.is_single()
        && node.case == Case::AsIs
        && !matches!(node.test, TextTest::Contains(_) | TextTest::Matches(_));
    Shape {
        cost: 1,
        long: templated || !(entry || compared_at_its_ends),
        ..shape
    }
}
