//! JSON as a tree in which nothing is ambiguous, each value with its place.
//!
//! A key that appears twice in one object is a fault: parsers disagree on
//! which one wins, and a request that we read otherwise than the provider
//! would be a bypass. Depth is bounded by [`MAX_DEPTH`], the number of values
//! by [`MAX_VALUES`]. Strings are decoded, and borrowed where that changes
//! nothing; places ([`Span`]) let `crate::places` change a text and leave
//! every other byte as it was.

use crate::literal;
use std::borrow::Cow;
use std::fmt;

/// A value takes 40 bytes and more: without a bound, a body of one megabyte
/// of `[],[],…` would take fifty times its size.
pub(crate) const MAX_VALUES: usize = 250_000;

/// What `serde_json` allows too.
const MAX_DEPTH: usize = 127;

/// Objects with more members are searched for a key told twice by sorting.
const FEW_MEMBERS: usize = 16;

/// Bytes of the text, end exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    fn new(start: usize, end: usize) -> Span {
        Span {
            start: u32::try_from(start).unwrap_or(u32::MAX),
            end: u32::try_from(end).unwrap_or(u32::MAX),
        }
    }

    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A value and where it stands; of a string, its quotes included.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node<'a> {
    pub(crate) span: Span,
    pub(crate) value: Value<'a>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    /// As it is written.
    Number(&'a str),
    String(Cow<'a, str>),
    Array(Vec<Node<'a>>),
    Object(Vec<Member<'a>>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Member<'a> {
    pub(crate) key: Cow<'a, str>,
    pub(crate) key_span: Span,
    pub(crate) value: Node<'a>,
}

impl<'a> Node<'a> {
    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_u64(&self) -> Option<u64> {
        match self.value {
            Value::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    pub(crate) fn as_u32(&self) -> Option<u32> {
        self.as_u64().and_then(|n| u32::try_from(n).ok())
    }

    pub(crate) fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// A member of an object; `None` for other values.
    pub(crate) fn get(&self, key: &str) -> Option<&Node<'a>> {
        get(self.members(), key)
    }

    pub(crate) fn str_at(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Node::as_str)
    }

    pub(crate) fn items(&self) -> &[Node<'a>] {
        match &self.value {
            Value::Array(items) => items,
            _ => &[],
        }
    }

    pub(crate) fn members(&self) -> &[Member<'a>] {
        match &self.value {
            Value::Object(members) => members,
            _ => &[],
        }
    }
}

pub(crate) fn get<'t, 'a>(members: &'t [Member<'a>], key: &str) -> Option<&'t Node<'a>> {
    members.iter().find(|m| m.key == key).map(|m| &m.value)
}

/// What `\ud800` without its other half means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoneSurrogates {
    /// No text that could be judged: a fault. For what we are asked.
    Refused,
    /// Read as U+FFFD, left as it is. For what we are told: a provider may
    /// cut a pair in two events.
    Replaced,
}

/// Why a text is not taken. Positions are byte offsets; no content is quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Syntax { at: usize },
    DuplicateKey { at: usize },
    TooDeep { at: usize },
    TooManyValues,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Syntax { at } => write!(f, "not valid JSON at byte {at}"),
            Fault::DuplicateKey { at } => write!(f, "{DUPLICATE_KEY} at byte {at}"),
            Fault::TooDeep { at } => write!(f, "{TOO_DEEP} at byte {at}"),
            Fault::TooManyValues => f.write_str(TOO_MANY_VALUES),
        }
    }
}

/// Names no key, for keys are the client's words.
pub(crate) const DUPLICATE_KEY: &str = "a key appears twice in one object";
pub(crate) const TOO_DEEP: &str = "the body is nested too deep";
pub(crate) const TOO_MANY_VALUES: &str = "the body has too many values";

/// Line and column of a byte, both from 1, as editors count.
pub(crate) fn position(text: &[u8], at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
    (line, column)
}

/// Parses one whole text.
pub(crate) fn parse(text: &[u8], lone: LoneSurrogates) -> Result<Node<'_>, Fault> {
    let text = std::str::from_utf8(text).map_err(|e| Fault::Syntax {
        at: e.valid_up_to(),
    })?;
    let mut parser = Parser {
        text,
        at: 0,
        left: MAX_VALUES,
        lone,
    };
    let value = parser.value(0)?;
    parser.skip_space();
    match parser.peek() {
        None => Ok(value),
        Some(_) => Err(parser.syntax()),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    left: usize,
    lone: LoneSurrogates,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn syntax(&self) -> Fault {
        Fault::Syntax { at: self.at }
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node<'a>, Fault> {
        self.skip_space();
        self.left = self.left.checked_sub(1).ok_or(Fault::TooManyValues)?;
        let start = self.at;
        let value = match self.peek() {
            Some(b'"') => Value::String(self.string()?),
            Some(b'{') => Value::Object(self.object(depth)?),
            Some(b'[') => Value::Array(self.array(depth)?),
            Some(b'-' | b'0'..=b'9') => Value::Number(self.number()?),
            Some(b't') => self.word("true", Value::Bool(true))?,
            Some(b'f') => self.word("false", Value::Bool(false))?,
            Some(b'n') => self.word("null", Value::Null)?,
            _ => return Err(self.syntax()),
        };
        let span = Span::new(start, self.at);
        Ok(Node { span, value })
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, Fault> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(self.syntax());
        }
        self.at += word.len();
        Ok(value)
    }

    fn deeper(&self, depth: usize) -> Result<usize, Fault> {
        match depth < MAX_DEPTH {
            true => Ok(depth + 1),
            false => Err(Fault::TooDeep { at: self.at }),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Node<'a>>, Fault> {
        let depth = self.deeper(depth)?;
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(items);
        }
        loop {
            items.push(self.value(depth)?);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(items);
                }
                _ => return Err(self.syntax()),
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Vec<Member<'a>>, Fault> {
        let depth = self.deeper(depth)?;
        self.at += 1;
        let mut members: Vec<Member<'a>> = Vec::new();
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(members);
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.syntax());
            }
            let start = self.at;
            let key = self.string()?;
            let key_span = Span::new(start, self.at);
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.syntax());
            }
            self.at += 1;
            if members.len() < FEW_MEMBERS && members.iter().any(|m| m.key == key) {
                return Err(Fault::DuplicateKey { at: start });
            }
            let value = self.value(depth)?;
            members.push(Member {
                key,
                key_span,
                value,
            });
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break self.at += 1,
                _ => return Err(self.syntax()),
            }
        }
        if members.len() > FEW_MEMBERS {
            told_once(&members)?;
        }
        Ok(members)
    }

    fn number(&mut self) -> Result<&'a str, Fault> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
            return Err(self.syntax());
        }
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Fault> {
        self.at += 1;
        let plain = self.plain();
        if self.peek() == Some(b'"') {
            self.at += 1;
            return Ok(Cow::Borrowed(plain));
        }
        // More follows: room for some of it, in proportion to what is there.
        let mut decoded = String::with_capacity(plain.len().saturating_mul(4));
        decoded.push_str(plain);
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(decoded));
                }
                Some(b'\\') => {
                    let rest = self.text.get(self.at..).unwrap_or_default();
                    let escape = literal::escape(rest).ok_or(self.syntax())?;
                    if escape.lone && self.lone == LoneSurrogates::Refused {
                        return Err(self.syntax());
                    }
                    decoded.push(escape.means);
                    self.at += escape.len;
                }
                _ => return Err(self.syntax()),
            }
            decoded.push_str(self.plain());
        }
    }

    /// What stands for itself from here on.
    fn plain(&mut self) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = plain_length(rest.as_bytes());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }
}

fn told_once(members: &[Member<'_>]) -> Result<(), Fault> {
    let mut keys: Vec<(&str, u32)> = members
        .iter()
        .map(|m| (m.key.as_ref(), m.key_span.start))
        .collect();
    keys.sort_unstable();
    let twice = keys.windows(2).find_map(|pair| match pair {
        [(one, _), (other, at)] if one == other => Some(*at as usize),
        _ => None,
    });
    twice.map_or(Ok(()), |at| Err(Fault::DuplicateKey { at }))
}

/// Bytes before the first that ends a string, begins an escape, or may not
/// stand in a string. Sixteen at a time: texts are most of a body.
fn plain_length(bytes: &[u8]) -> usize {
    let mut length = 0;
    let (blocks, _) = bytes.as_chunks::<16>();
    for block in blocks {
        let special = special(block);
        if special != 0 {
            return length + special.trailing_zeros() as usize;
        }
        length += 16;
    }
    let rest = bytes.get(length..).unwrap_or_default();
    length + rest.iter().position(stops).unwrap_or(rest.len())
}

fn stops(byte: &u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..=0x1f)
}

/// A bit for each byte that stops a plain text, the first byte lowest.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
fn special(block: &[u8; 16]) -> u32 {
    let bits = block.iter().zip(0..);
    bits.fold(0, |all, (byte, nth)| all | u32::from(stops(byte)) << nth)
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
fn special(block: &[u8; 16]) -> u32 {
    use core::arch::wasm32::{u8x16_bitmask, u8x16_eq, u8x16_lt, u8x16_splat, u64x2, v128_or};
    let bytes = u128::from_le_bytes(*block);
    let bytes = u64x2(bytes as u64, (bytes >> 64) as u64);
    let quote = u8x16_eq(bytes, u8x16_splat(b'"'));
    let escape = u8x16_eq(bytes, u8x16_splat(b'\\'));
    let control = u8x16_lt(bytes, u8x16_splat(0x20));
    u32::from(u8x16_bitmask(v128_or(v128_or(quote, escape), control)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fault(text: &str) -> Fault {
        parse(text.as_bytes(), LoneSurrogates::Refused).unwrap_err()
    }

    /// The same value as `serde_json` has it.
    fn to_serde(node: &Node<'_>) -> serde_json::Value {
        match &node.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(b) => (*b).into(),
            Value::Number(text) => serde_json::from_str(text).unwrap(),
            Value::String(text) => text.as_ref().into(),
            Value::Array(items) => items.iter().map(to_serde).collect(),
            Value::Object(members) => members
                .iter()
                .map(|m| (m.key.to_string(), to_serde(&m.value)))
                .collect(),
        }
    }

    #[test]
    fn key_told_twice_is_refused_at_any_depth_and_width() {
        let wide: String = (0..100).map(|n| format!("\"k{n}\":0,")).collect();
        for text in [
            r#"{"model":"a","model":"b"}"#,
            r#"[{"x":{"a":1,"\u0061":2}}]"#,
            &format!("{{{wide}\"k7\":1}}"),
        ] {
            assert!(matches!(fault(text), Fault::DuplicateKey { .. }), "{text}");
        }
    }

    #[test]
    fn depth_and_number_of_values_are_bounded() {
        assert!(matches!(fault(&"[".repeat(100_000)), Fault::TooDeep { .. }));
        let deep = format!("{}{}", "[".repeat(127), "]".repeat(127));
        assert!(parse(deep.as_bytes(), LoneSurrogates::Refused).is_ok());
        let wide = format!("[{}[]]", "[],".repeat(MAX_VALUES));
        assert_eq!(fault(&wide), Fault::TooManyValues);
    }

    #[test]
    fn half_a_surrogate_pair_is_refused_or_replaced() {
        for half in [r#""a\ud83d""#, r#""a\ude00""#, r#""a\ud83d\u0041""#] {
            assert!(matches!(fault(half), Fault::Syntax { .. }), "{half}");
            let read = parse(half.as_bytes(), LoneSurrogates::Replaced).unwrap();
            assert!(read.as_str().unwrap().starts_with("a\u{fffd}"), "{half}");
        }
        let whole = parse(br#""\ud83d\ude00""#, LoneSurrogates::Refused).unwrap();
        assert_eq!(whole.as_str(), Some("😀"));
    }

    #[test]
    fn spans_are_the_bytes_of_the_values() {
        let text = r#" {"a" : [1.5e3, "x\n"] , "b":true}"#;
        let root = parse(text.as_bytes(), LoneSurrogates::Refused).unwrap();
        let of = |node: &Node<'_>| text.get(node.span.range()).unwrap().to_owned();
        let a = root.get("a").unwrap();
        assert_eq!(of(a), r#"[1.5e3, "x\n"]"#);
        assert_eq!(of(&a.items()[1]), r#""x\n""#);
        assert_eq!(of(root.get("b").unwrap()), "true");
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(5, 64, 20, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::btree_map(any::<String>(), inner, 0..30)
                    .prop_map(|m| serde_json::Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn means_what_serde_json_means(value in json(), pretty: bool) {
            let text = match pretty {
                true => serde_json::to_string_pretty(&value).unwrap(),
                false => value.to_string(),
            };
            let read = parse(text.as_bytes(), LoneSurrogates::Refused).unwrap();
            let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(to_serde(&read), expected);
        }

        /// Texts near to JSON: taken by both or by neither, keys told twice apart.
        #[test]
        fn takes_what_serde_json_takes(text in r#"([\[\]{}:,"\\ \n0-9eE.+-]|true|null|"a"|\\u[dD]8[0-3]d|\\u[dD]c00|\\n|é|\x01){0,24}"#) {
            match parse(text.as_bytes(), LoneSurrogates::Refused) {
                Ok(read) => {
                    if let Ok(expected) = serde_json::from_str::<serde_json::Value>(&text) {
                        prop_assert_eq!(to_serde(&read), expected);
                    } else {
                        // Only a number beyond f64 may part them.
                        prop_assert!(text.contains(['e', 'E']), "{}", text);
                    }
                }
                Err(Fault::DuplicateKey { .. }) => {}
                Err(_) => prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_err(), "{}", text),
            }
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes, LoneSurrogates::Refused);
            let _ = parse(&bytes, LoneSurrogates::Replaced);
        }

        #[test]
        fn plain_length_stops_where_a_bytewise_search_does(bytes: Vec<u8>) {
            let stops = |b: &u8| matches!(b, b'"' | b'\\' | 0..=0x1f);
            let expected = bytes.iter().position(stops).unwrap_or(bytes.len());
            prop_assert_eq!(plain_length(&bytes), expected);
        }
    }
}
