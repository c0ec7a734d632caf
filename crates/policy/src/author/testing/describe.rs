//! A compiled condition as a policy would write it.

use crate::load::Bundle;
use crate::names::path;
use crate::program::{
    BoolValue, Case, Field, Node, NodeId, NumberId, NumberNode, NumberValue, Order, Piece,
    TextNode, TextTest, TextValue,
};

/// Longest list or text that is shown whole.
const MAX_SHOWN: usize = 60;

/// One line for a condition.
pub(super) fn describe(bundle: &Bundle, id: NodeId) -> String {
    let program = &bundle.program;
    let Some(node) = program.node(id) else {
        return String::new();
    };
    match node {
        Node::Constant(value) => value.to_string(),
        Node::Not(child) => format!("not {}", describe(bundle, child)),
        Node::All(_) | Node::Any(_) | Node::If(..) => "several conditions".to_owned(),
        Node::Quantified { list, every, body } => {
            let word = if every { "every" } else { "some" };
            format!("{word} of {list:?}: {}", describe(bundle, body)).to_lowercase()
        }
        Node::Compare { left, order, right } => format!(
            "{} {} {}",
            computed(bundle, left),
            symbol(order),
            computed(bundle, right)
        ),
        Node::Present(field) => format!("{} exists", path(field)),
        Node::Text(node) => text(bundle, &node),
        Node::Number {
            field,
            order,
            value,
        } => {
            let value = match value {
                NumberValue::Constant(number) => number.to_string(),
                NumberValue::Field(other) => path(Field::Number(other)).into_owned(),
            };
            format!("{} {} {value}", path(Field::Number(field)), symbol(order))
        }
        Node::NumberIn {
            field,
            set,
            negated,
        } => {
            let numbers = set.iter().filter_map(|id| program.constant(*id));
            let numbers = numbers.map(|number| number.to_string());
            let operator = if negated { "not_in" } else { "in" };
            let field = path(Field::Number(field));
            format!("{field} {operator} [{}]", joined(numbers))
        }
        Node::Bool {
            field,
            value,
            negated,
        } => {
            let value = match value {
                BoolValue::Constant(value) => value.to_string(),
                BoolValue::Field(other) => path(Field::Bool(other)).into_owned(),
            };
            let operator = if negated { "!=" } else { "==" };
            format!("{} {operator} {value}", path(Field::Bool(field)))
        }
    }
}

fn text(bundle: &Bundle, node: &TextNode) -> String {
    let name = path(Field::Text(node.field));
    let field = match node.case {
        Case::AsIs => name.into_owned(),
        Case::Lower | Case::LowerAscii => format!("lower({name})"),
        Case::Upper => format!("upper({name})"),
    };
    let (positive, negative, value) = match node.test {
        TextTest::Equals(value) => ("==", "!=", text_value(bundle, value)),
        TextTest::Has(value) | TextTest::Contains(value) => {
            ("contains", "contains not", text_value(bundle, value))
        }
        TextTest::StartsWith(value) => {
            ("starts_with", "starts_with not", text_value(bundle, value))
        }
        TextTest::EndsWith(value) => ("ends_with", "ends_with not", text_value(bundle, value)),
        TextTest::In(set) => {
            let set = bundle.program.list(set).iter();
            let words = set.map(|id| bundle.string(*id).to_owned());
            ("in", "not_in", format!("[{}]", joined(words)))
        }
        TextTest::Matches(_) => ("matches", "matches not", "a pattern".to_owned()),
    };
    let operator = if node.negated { negative } else { positive };
    format!("{field} {operator} {value}")
}

fn text_value(bundle: &Bundle, value: TextValue) -> String {
    match value {
        TextValue::Constant(id) => short(bundle.string(id)),
        TextValue::Field(field) => path(Field::Text(field)).into_owned(),
        TextValue::Template(id) => {
            let pieces = bundle.program.pieces(id).map(|piece| match piece {
                Piece::Text(id) => bundle.string(id).to_owned(),
                Piece::Field(field) => format!("{{{{ {} }}}}", path(field)),
                Piece::Cased(field, _) => format!("{{{{ {} }}}}", path(Field::Text(field))),
            });
            short(&pieces.collect::<String>())
        }
    }
}

fn computed(bundle: &Bundle, id: NumberId) -> String {
    let both = |left: NumberId, operator: &str, right: NumberId| {
        let (left, right) = (computed(bundle, left), computed(bundle, right));
        format!("({left} {operator} {right})")
    };
    match bundle.program.number(id) {
        None => String::new(),
        Some(NumberNode::Constant(number)) => number.to_string(),
        Some(NumberNode::Field(field)) => path(Field::Number(field)).into_owned(),
        Some(NumberNode::Count(list)) => format!("len({list:?})").to_lowercase(),
        Some(NumberNode::Length(field)) => format!("len({})", path(Field::Text(field))),
        Some(NumberNode::Sum(left, right)) => both(left, "+", right),
        Some(NumberNode::Difference(left, right)) => both(left, "-", right),
        Some(NumberNode::Product(left, right)) => both(left, "*", right),
    }
}

fn symbol(order: Order) -> &'static str {
    match order {
        Order::Equal => "==",
        Order::NotEqual => "!=",
        Order::Less => "<",
        Order::Greater => ">",
        Order::AtMost => "<=",
        Order::AtLeast => ">=",
    }
}

fn joined(words: impl Iterator<Item = String>) -> String {
    let words: Vec<String> = words.collect();
    short(&words.join(", "))
}

fn short(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}
