//! An expression as it was written: the tree the parser makes.

use crate::program::Order;
use std::ops::Range;

/// Bytes of the expression's text.
pub(super) type At = Range<usize>;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Expr {
    pub kind: Kind,
    pub at: At,
    /// Levels of this tree: recursion over it is bounded by the parser's limit.
    pub height: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Expr>),
    /// A field, a variable or a macro's name, as conditions write it: `a.b[0].c`.
    Path(String),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    /// Two or more, chains of the same operator as one.
    All(Vec<Expr>),
    Any(Vec<Expr>),
    /// Condition, then, otherwise.
    If(Box<[Expr; 3]>),
    Compare(Order, Box<[Expr; 2]>),
    In(Box<[Expr; 2]>),
    Arithmetic(Arithmetic, Box<[Expr; 2]>),
    Call(Call),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    pub name: String,
    pub name_at: At,
    pub receiver: Option<Box<Expr>>,
    pub arguments: Vec<Expr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Plus,
    Minus,
    Times,
}

/// Why a text is no expression; reading stops at the first.
#[derive(Debug, PartialEq)]
pub(super) struct Fault {
    pub kind: FaultKind,
    pub at: At,
    pub message: String,
    pub help: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    Syntax,
    /// CEL, but without a type or a bound here.
    Unsupported,
    TooDeep,
}

impl Fault {
    pub(super) fn syntax(at: At, message: impl Into<String>) -> Fault {
        Fault {
            kind: FaultKind::Syntax,
            at,
            message: message.into(),
            help: None,
        }
    }

    pub(super) fn unsupported(at: At, message: impl Into<String>) -> Fault {
        Fault {
            kind: FaultKind::Unsupported,
            ..Fault::syntax(at, message)
        }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Fault {
        Fault {
            help: Some(help.into()),
            ..self
        }
    }
}

pub(super) fn sign(order: Order) -> &'static str {
    match order {
        Order::Equal => "==",
        Order::NotEqual => "!=",
        Order::Less => "<",
        Order::Greater => ">",
        Order::AtMost => "<=",
        Order::AtLeast => ">=",
    }
}
