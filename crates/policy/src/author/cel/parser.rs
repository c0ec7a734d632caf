//! Tokens to an expression, by binding power. Recursion and height are bounded.

use super::lexer::{Lexer, Token};
use super::syntax::{Arithmetic, At, Call, Expr, Fault, FaultKind, Kind};
use crate::author::checker::shown;
use crate::program::Order;

/// Levels of an expression; a rule's list and each comparison's own parts take the rest of
/// the program's 32.
const MAX_HEIGHT: u32 = 24;

/// Brackets within brackets: the parser's own recursion.
const MAX_NESTING: u32 = 64;

/// Words that CEL keeps for itself.
const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "package",
    "return",
    "var",
    "void",
    "while",
];

/// Reads one whole expression.
pub(super) fn parse(text: &str) -> Result<Expr, Fault> {
    let mut parser = Parser {
        lexer: Lexer::new(text),
        next: (Token::End, 0..0),
        nesting: 0,
    };
    parser.advance()?;
    if parser.next.0 == Token::End {
        let fault = Fault::syntax(parser.at(), "the expression is empty");
        return Err(fault.help("write a condition, such as `request.model == \"gpt-4o\"`"));
    }
    let expr = parser.expression()?;
    match parser.next.0 {
        Token::End => Ok(expr),
        _ => Err(parser.unexpected("an operator, or the end")),
    }
}

#[derive(Debug)]
struct Parser<'t> {
    lexer: Lexer<'t>,
    next: (Token, At),
    nesting: u32,
}

/// A binary operator.
#[derive(Clone, Copy)]
enum Operator {
    Any,
    All,
    Compare(Order),
    In,
    Arithmetic(Arithmetic),
}

impl Operator {
    fn power(self) -> u32 {
        match self {
            Operator::Any => 1,
            Operator::All => 2,
            Operator::Compare(_) | Operator::In => 3,
            Operator::Arithmetic(Arithmetic::Plus | Arithmetic::Minus) => 4,
            Operator::Arithmetic(Arithmetic::Times) => 5,
        }
    }
}

impl Parser<'_> {
    fn at(&self) -> At {
        self.next.1.clone()
    }

    fn advance(&mut self) -> Result<(Token, At), Fault> {
        let next = self.lexer.next()?;
        Ok(std::mem::replace(&mut self.next, next))
    }

    fn sees(&self, sign: &str) -> bool {
        matches!(self.next.0, Token::Sign(next) if next == sign)
    }

    fn eat(&mut self, sign: &str) -> Result<Option<At>, Fault> {
        match self.sees(sign) {
            true => self.advance().map(|(_, at)| Some(at)),
            false => Ok(None),
        }
    }

    fn expect(&mut self, sign: &str) -> Result<At, Fault> {
        match self.eat(sign)? {
            Some(at) => Ok(at),
            None => Err(self.unexpected(&format!("`{sign}`"))),
        }
    }

    fn unexpected(&self, wanted: &str) -> Fault {
        let found = match &self.next.0 {
            Token::End => "the end".to_owned(),
            Token::Word(word) => format!("`{}`", shown(word)),
            Token::Number(number) => format!("the number {number}"),
            Token::Text(_) => "a text".to_owned(),
            Token::Sign(sign) => format!("`{sign}`"),
        };
        let fault = Fault::syntax(self.at(), format!("expected {wanted}, and found {found}"));
        let Token::Word(word) = &self.next.0 else {
            return fault;
        };
        match word.to_ascii_lowercase().as_str() {
            "and" => fault.help("write `&&`"),
            "or" => fault.help("write `||`"),
            "not" => fault.help("write `!` before what must not hold"),
            "is" | "eq" | "equals" => fault.help("write `==`"),
            "matches" | "contains" | "startswith" | "endswith" | "starts_with" | "ends_with" => {
                fault.help("write it as a method: `request.model.startsWith(\"gpt-\")`")
            }
            _ => fault,
        }
    }

    /// Runs one level deeper, so that brackets cannot exhaust the stack.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(too_deep(self.at()));
        }
        let read = read(self);
        self.nesting -= 1;
        read
    }

    fn expression(&mut self) -> Result<Expr, Fault> {
        self.nested(|parser| {
            let condition = parser.binary(1)?;
            if parser.eat("?")?.is_none() {
                return Ok(condition);
            }
            let then = parser.binary(1)?;
            parser.expect(":")?;
            let otherwise = parser.expression()?;
            let at = condition.at.start..otherwise.at.end;
            let height = condition.height.max(then.height).max(otherwise.height);
            raised(Kind::If(Box::new([condition, then, otherwise])), at, height)
        })
    }

    fn binary(&mut self, lowest: u32) -> Result<Expr, Fault> {
        let mut left = self.unary()?;
        while let Some(operator) = self.operator()?.filter(|found| found.power() >= lowest) {
            self.advance()?;
            let right = self.binary(operator.power() + 1)?;
            left = joined(left, operator, right)?;
        }
        Ok(left)
    }

    fn operator(&self) -> Result<Option<Operator>, Fault> {
        let sign = match &self.next.0 {
            Token::Sign(sign) => *sign,
            Token::Word(word) if word == "in" => return Ok(Some(Operator::In)),
            _ => return Ok(None),
        };
        Ok(Some(match sign {
            "||" => Operator::Any,
            "&&" => Operator::All,
            "==" => Operator::Compare(Order::Equal),
            "!=" => Operator::Compare(Order::NotEqual),
            "<" => Operator::Compare(Order::Less),
            ">" => Operator::Compare(Order::Greater),
            "<=" => Operator::Compare(Order::AtMost),
            ">=" => Operator::Compare(Order::AtLeast),
            "+" => Operator::Arithmetic(Arithmetic::Plus),
            "-" => Operator::Arithmetic(Arithmetic::Minus),
            "*" => Operator::Arithmetic(Arithmetic::Times),
            "/" | "%" => {
                let message = format!("`{sign}` has no value for every number");
                let fault = Fault::unsupported(self.at(), message);
                return Err(fault.help("multiply the other side instead"));
            }
            _ => return Ok(None),
        }))
    }

    fn unary(&mut self) -> Result<Expr, Fault> {
        if let Some(at) = self.eat("!")? {
            let inner = self.nested(Parser::unary)?;
            let (end, height) = (inner.at.end, inner.height);
            return raised(Kind::Not(Box::new(inner)), at.start..end, height);
        }
        if let Some(at) = self.eat("-")? {
            let inner = self.nested(Parser::unary)?;
            let (end, height) = (inner.at.end, inner.height);
            return match inner.kind {
                Kind::Number(number) => Ok(leaf(Kind::Number(-number), at.start..end)),
                kind => raised(
                    Kind::Negative(Box::new(Expr { kind, ..inner })),
                    at.start..end,
                    height,
                ),
            };
        }
        let first = self.primary()?;
        self.members(first)
    }

    /// `.field`, `.method(…)` and `[index]`, as many as follow.
    fn members(&mut self, first: Expr) -> Result<Expr, Fault> {
        let mut expr = first;
        loop {
            if self.eat(".")?.is_some() {
                expr = self.member(expr)?;
            } else if self.sees("[") {
                expr = self.index(expr)?;
            } else if self.sees("{") {
                return Err(no_maps(self.at()));
            } else {
                return Ok(expr);
            }
        }
    }

    fn member(&mut self, expr: Expr) -> Result<Expr, Fault> {
        let Token::Word(name) = &self.next.0 else {
            return Err(self.unexpected("a field or a method"));
        };
        let name = name.clone();
        let (_, name_at) = self.advance()?;
        let start = expr.at.start;
        if self.eat("(")?.is_some() {
            let (arguments, end) = self.list(")")?;
            let height = tallest(&arguments).max(expr.height);
            let call = Call {
                name,
                name_at,
                receiver: Some(Box::new(expr)),
                arguments,
            };
            return raised(Kind::Call(call), start..end.end, height);
        }
        let at = start..name_at.end;
        match expr.kind {
            Kind::Path(path) => Ok(leaf(Kind::Path(format!("{path}.{name}")), at)),
            _ => Err(no_path(at)),
        }
    }

    fn index(&mut self, expr: Expr) -> Result<Expr, Fault> {
        self.expect("[")?;
        let index = self.expression()?;
        let end = self.expect("]")?;
        let at = expr.at.start..end.end;
        let Kind::Path(path) = expr.kind else {
            return Err(no_path(at));
        };
        match index.kind {
            Kind::Number(number) if number.fract() == 0.0 && number.abs() < 1e9 => {
                Ok(leaf(Kind::Path(format!("{path}[{number}]")), at))
            }
            // Names of variables may have a `-`, which reads as a subtraction.
            Kind::Text(name) if path == "variables" || path.starts_with("variables.") => {
                Ok(leaf(Kind::Path(format!("{path}.{name}")), at))
            }
            Kind::Text(_) => {
                let fault = Fault::unsupported(index.at, "fields are not found by a text");
                Err(fault.help("write `.name`"))
            }
            _ => {
                let message = "an index is a whole number";
                let fault = Fault::unsupported(index.at, message);
                Err(fault
                    .help("for any of the entries write `.exists(x, …)`, for every `.all(x, …)`"))
            }
        }
    }

    fn primary(&mut self) -> Result<Expr, Fault> {
        let refused = match self.next.0 {
            Token::Sign("(") => {
                self.advance()?;
                let inner = self.expression()?;
                self.expect(")")?;
                return Ok(inner);
            }
            Token::Sign("[") => {
                let (_, start) = self.advance()?;
                let (items, end) = self.list("]")?;
                let height = tallest(&items);
                return raised(Kind::List(items), start.start..end.end, height);
            }
            Token::Sign("{") => return Err(no_maps(self.at())),
            Token::Sign(".") => {
                let fault = Fault::unsupported(self.at(), "fields have no container");
                return Err(fault.help("remove the first `.`"));
            }
            Token::Sign(_) | Token::End => true,
            Token::Word(_) | Token::Number(_) | Token::Text(_) => false,
        };
        if refused {
            return Err(self.unexpected("a field, a value, `!` or `(`"));
        }
        let (token, at) = self.advance()?;
        Ok(match token {
            Token::Number(number) => leaf(Kind::Number(number), at),
            Token::Text(text) => leaf(Kind::Text(text), at),
            Token::Word(word) => self.word(word, at)?,
            Token::Sign(_) | Token::End => leaf(Kind::Null, at),
        })
    }

    fn word(&mut self, word: String, at: At) -> Result<Expr, Fault> {
        match word.as_str() {
            "true" => return Ok(leaf(Kind::Bool(true), at)),
            "false" => return Ok(leaf(Kind::Bool(false), at)),
            "null" => return Ok(leaf(Kind::Null, at)),
            reserved if RESERVED.contains(&reserved) => {
                let message = format!("`{reserved}` is no field: CEL keeps the word for itself");
                return Err(Fault::syntax(at, message));
            }
            _ => {}
        }
        if self.eat("(")?.is_none() {
            if word == "not" {
                let fault = Fault::syntax(at, "`not` is no operator of CEL");
                return Err(fault.help("write `!`"));
            }
            return Ok(leaf(Kind::Path(word), at));
        }
        let (arguments, end) = self.list(")")?;
        let height = tallest(&arguments);
        let whole = at.start..end.end;
        let call = Call {
            name: word,
            name_at: at,
            receiver: None,
            arguments,
        };
        raised(Kind::Call(call), whole, height)
    }

    /// Expressions with commas, up to the closing sign; CEL allows a comma at the end of lists.
    fn list(&mut self, close: &str) -> Result<(Vec<Expr>, At), Fault> {
        let mut items = Vec::new();
        loop {
            if (items.is_empty() || close == "]")
                && let Some(end) = self.eat(close)?
            {
                return Ok((items, end));
            }
            items.push(self.expression()?);
            if let Some(end) = self.eat(close)? {
                return Ok((items, end));
            }
            if self.eat(",")?.is_none() {
                return Err(self.unexpected(&format!("`,` or `{close}`")));
            }
        }
    }
}

fn leaf(kind: Kind, at: At) -> Expr {
    Expr {
        kind,
        at,
        height: 1,
    }
}

/// An expression one level above its parts.
fn raised(kind: Kind, at: At, height: u32) -> Result<Expr, Fault> {
    let height = height + 1;
    match height > MAX_HEIGHT {
        true => Err(too_deep(at)),
        false => Ok(Expr { kind, at, height }),
    }
}

fn tallest(items: &[Expr]) -> u32 {
    items.iter().map(|item| item.height).max().unwrap_or(0)
}

fn joined(left: Expr, operator: Operator, right: Expr) -> Result<Expr, Fault> {
    let at = left.at.start..right.at.end;
    let height = left.height.max(right.height);
    // A chain stays one level, however long.
    let chain = right.height.max(left.height - 1);
    let kind = match (operator, left.kind) {
        (Operator::All, Kind::All(mut parts)) => {
            parts.push(right);
            return raised(Kind::All(parts), at, chain);
        }
        (Operator::Any, Kind::Any(mut parts)) => {
            parts.push(right);
            return raised(Kind::Any(parts), at, chain);
        }
        (operator, kind) => {
            let left = Expr { kind, ..left };
            match operator {
                Operator::All => Kind::All(vec![left, right]),
                Operator::Any => Kind::Any(vec![left, right]),
                Operator::Compare(order) => Kind::Compare(order, Box::new([left, right])),
                Operator::In => Kind::In(Box::new([left, right])),
                Operator::Arithmetic(sign) => Kind::Arithmetic(sign, Box::new([left, right])),
            }
        }
    };
    raised(kind, at, height)
}

fn too_deep(at: At) -> Fault {
    Fault {
        kind: FaultKind::TooDeep,
        ..Fault::syntax(
            at,
            format!("the expression has more than {MAX_HEIGHT} levels"),
        )
    }
}

fn no_maps(at: At) -> Fault {
    Fault::unsupported(at, "mappings compare with no field")
}

fn no_path(at: At) -> Fault {
    let fault = Fault::unsupported(at, "only fields have fields");
    fault.help("write the whole path, such as `request.messages[0].content`")
}
