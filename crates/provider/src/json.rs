//! JSON as a tree in which nothing is ambiguous.
//!
//! Differs from `serde_json::Value` in one point that matters here: a key
//! that appears twice is an error. Parsers disagree on which one wins, and a
//! request that we read otherwise than the provider would be a bypass. Depth
//! is bounded by `serde_json` (128), the number of values by [`MAX_VALUES`].

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;

/// A value takes 32 bytes and more: without a bound, a body of one megabyte
/// of `[],[],…` would take fifty times its size.
const MAX_VALUES: usize = 250_000;

/// One JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(f64),
    String(String),
    Array(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Json::String(text) => Some(text),
            _ => None,
        }
    }

    /// A member of an object; `None` for other values.
    pub(crate) fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members.get(key),
            _ => None,
        }
    }

    pub(crate) fn items(&self) -> &[Json] {
        match self {
            Json::Array(items) => items,
            _ => &[],
        }
    }
}

/// Parses one whole text.
pub(crate) fn parse(text: &[u8]) -> Result<Json, serde_json::Error> {
    let left = Cell::new(MAX_VALUES);
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Reading { left: &left }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Reads a value and all below it, counting down what may still come.
#[derive(Clone, Copy)]
struct Reading<'a> {
    left: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        match self.left.get().checked_sub(1) {
            Some(left) => self.left.set(left),
            None => return Err(D::Error::custom(TOO_MANY_VALUES)),
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            if members.insert(key, map.next_value_seed(self)?).is_some() {
                return Err(A::Error::custom(DUPLICATE_KEY));
            }
        }
        Ok(Json::Object(members))
    }
}

/// Message of the error for a key told twice; names no key, for keys are the
/// client's words.
pub(crate) const DUPLICATE_KEY: &str = "a key appears twice in one object";

/// Message of the error for a body of more than [`MAX_VALUES`] values.
pub(crate) const TOO_MANY_VALUES: &str = "the body has too many values";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_told_twice_is_refused_at_any_depth() {
        for text in [
            r#"{"model":"a","model":"b"}"#,
            r#"[{"x":{"a":1,"\u0061":2}}]"#,
        ] {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(DUPLICATE_KEY), "{error}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep = "[".repeat(100_000);
        assert!(parse(deep.as_bytes()).is_err());
    }

    #[test]
    fn number_of_values_is_bounded() {
        let wide = format!("[{}[]]", "[],".repeat(MAX_VALUES));
        let error = parse(wide.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(TOO_MANY_VALUES), "{error}");
    }

    #[test]
    fn text_after_the_value_is_refused() {
        assert!(parse(b"{} {}").is_err());
    }
}
