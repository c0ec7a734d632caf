//! Texts inside JSON string literals: what they mean, and how to change a
//! part of what they mean without touching the rest of how they are written.
//!
//! Two forms matter. A *plain* text is what its literal decodes to. The
//! arguments of a tool call are JSON *inside* a string: the text there is what
//! it decodes to with the escapes of its own strings decoded as well, so that
//! `{\"to\":\"bob\\u0040example.com\"}` cannot hide an address. Changes are
//! mapped back through both.

use std::borrow::Cow;
use std::ops::Range;

/// The bytes `range` of a text become `with`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    pub range: Range<usize>,
    pub with: String,
}

/// One escape sequence: its length in bytes and the character it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Escape {
    pub(crate) len: usize,
    pub(crate) means: char,
    /// Half of a surrogate pair without the other; means U+FFFD.
    pub(crate) lone: bool,
}

/// The escape at the start of `text`, which begins with a backslash.
pub(crate) fn escape(text: &str) -> Option<Escape> {
    let simple = |means| {
        Some(Escape {
            len: 2,
            means,
            lone: false,
        })
    };
    match text.as_bytes().get(1)? {
        b'"' => simple('"'),
        b'\\' => simple('\\'),
        b'/' => simple('/'),
        b'b' => simple('\u{8}'),
        b'f' => simple('\u{c}'),
        b'n' => simple('\n'),
        b'r' => simple('\r'),
        b't' => simple('\t'),
        b'u' => unicode_escape(text),
        _ => None,
    }
}

fn unicode_escape(text: &str) -> Option<Escape> {
    let unit = code_unit(text)?;
    let lone = Escape {
        len: 6,
        means: char::REPLACEMENT_CHARACTER,
        lone: true,
    };
    match unit {
        0xd800..=0xdbff => {
            let low = text.get(6..).and_then(code_unit);
            let Some(low @ 0xdc00..=0xdfff) = low else {
                return Some(lone);
            };
            let means = char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00))?;
            Some(Escape {
                len: 12,
                means,
                lone: false,
            })
        }
        0xdc00..=0xdfff => Some(lone),
        unit => Some(Escape {
            len: 6,
            means: char::from_u32(unit)?,
            lone: false,
        }),
    }
}

/// Of `\uXXXX`.
fn code_unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    // from_str_radix alone would take a sign.
    let all_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
    all_hex.then(|| u32::from_str_radix(digits, 16).ok())?
}

/// Writes `text` as the inside of a JSON string.
pub(crate) fn escape_into(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                out.push_str("\\u00");
                for digit in [c as u32 >> 4, c as u32 & 15] {
                    out.extend(char::from_digit(digit, 16));
                }
            }
            c => out.push(c),
        }
    }
}

/// A whole literal, quotes included.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    escape_into(&mut out, text);
    out.push('"');
    out
}

/// In order and apart: edits that overlap become one, with the words of the first.
pub(crate) fn in_order(mut edits: Vec<Edit>) -> Vec<Edit> {
    edits.sort_by_key(|e| (e.range.start, std::cmp::Reverse(e.range.end)));
    let mut apart: Vec<Edit> = Vec::with_capacity(edits.len());
    for edit in edits {
        match apart.last_mut() {
            Some(last) if edit.range.start < last.range.end => {
                last.range.end = last.range.end.max(edit.range.end);
            }
            _ => apart.push(edit),
        }
    }
    apart
}

/// `text` with `edits` made, which are in order and apart. Borders inside a
/// character are moved out of it.
pub(crate) fn edited(text: &str, edits: &[Edit]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for edit in edits {
        let start = text.floor_char_boundary(edit.range.start).max(at);
        out.push_str(text.get(at..start).unwrap_or_default());
        out.push_str(&edit.with);
        at = ceil(text, edit.range.end).max(start);
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

fn ceil(text: &str, at: usize) -> usize {
    text.ceil_char_boundary(at.min(text.len()))
}

/// Whether a place in JSON text is inside of a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Inside(pub(crate) bool);

/// A piece of writing: bytes of the source, bytes of what they mean.
#[derive(Debug, Clone, Copy, Default)]
struct Unit {
    written: usize,
    means: usize,
    /// Escapes are taken whole; other pieces mean themselves, byte by byte.
    whole: bool,
    before: Inside,
    after: Inside,
}

/// Reads a text piece by piece.
#[derive(Debug)]
struct Units<'a> {
    rest: &'a str,
    form: Form,
    inside: Inside,
    /// Whether more text may follow, so that an escape may be incomplete.
    more: bool,
}

/// How a text is written in its literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As a string.
    Plain,
    /// As JSON in a string.
    Embedded,
    /// As a number; changed, it becomes a string.
    Number,
}

impl<'a> Units<'a> {
    /// Of the inside of a string literal.
    fn of_literal(inside: &'a str) -> Units<'a> {
        Units {
            rest: inside,
            form: Form::Plain,
            inside: Inside(true),
            more: false,
        }
    }

    /// Of JSON text, whose escapes count only in its strings.
    fn of_json(text: &'a str, inside: Inside, more: bool) -> Units<'a> {
        Units {
            rest: text,
            form: Form::Embedded,
            inside,
            more,
        }
    }
}

impl Iterator for Units<'_> {
    type Item = Unit;

    fn next(&mut self) -> Option<Unit> {
        let (embedded, before) = (self.form == Form::Embedded, self.inside);
        let ends = |b: u8| (b == b'\\' && before.0) || (b == b'"' && embedded);
        let plain = |length| Unit {
            written: length,
            means: length,
            whole: false,
            before,
            after: before,
        };
        let unit = match self.rest.bytes().position(ends) {
            None if self.rest.is_empty() => return None,
            None => plain(self.rest.len()),
            Some(0) if self.rest.starts_with('"') => Unit {
                after: Inside(!before.0),
                ..plain(1)
            },
            Some(0) if self.more && is_incomplete(self.rest) => return None,
            Some(0) => match escape(self.rest) {
                Some(escape) => Unit {
                    written: escape.len,
                    means: escape.means.len_utf8(),
                    whole: true,
                    ..plain(0)
                },
                None => plain(1),
            },
            Some(length) => plain(length),
        };
        self.rest = self.rest.get(unit.written..).unwrap_or_default();
        self.inside = unit.after;
        Some(unit)
    }
}

/// Whether an escape at the start of `text` could become another with more text.
fn is_incomplete(text: &str) -> bool {
    let may_become_unit = |text: &str| {
        text.len() < 6
            && text.bytes().enumerate().all(|(at, b)| match at {
                0 => b == b'\\',
                1 => b == b'u',
                _ => b.is_ascii_hexdigit(),
            })
    };
    match code_unit(text) {
        Some(0xd800..=0xdbff) => text.get(6..).is_some_and(may_become_unit),
        Some(_) => false,
        None => may_become_unit(text),
    }
}

/// Maps offsets in what a text means to offsets in how it is written.
/// Offsets are asked for in ascending order.
struct Mapping<'a> {
    units: Units<'a>,
    current: Unit,
    written: usize,
    means: usize,
}

impl<'a> Mapping<'a> {
    fn new(units: Units<'a>) -> Mapping<'a> {
        let current = Unit {
            before: units.inside,
            after: units.inside,
            ..Unit::default()
        };
        Mapping {
            units,
            current,
            written: 0,
            means: 0,
        }
    }

    /// Where meaning offset `at` is written; inside an escape, its start or end.
    fn place(&mut self, at: usize, towards_end: bool) -> (usize, Inside) {
        while self.means + self.current.means <= at {
            let Some(next) = self.units.next() else {
                return (self.written + self.current.written, self.current.after);
            };
            self.written += self.current.written;
            self.means += self.current.means;
            self.current = next;
        }
        let (into, unit) = (at.saturating_sub(self.means), &self.current);
        match unit.whole {
            false => (self.written + into, unit.before),
            true if into == 0 || !towards_end => (self.written, unit.before),
            true => (self.written + unit.written, unit.after),
        }
    }
}

/// The literal (quotes included) with `edits` of its text made, which are in
/// order and apart. What is not edited stays written as it was.
pub(crate) fn edited_literal(literal: &str, form: Form, edits: &[Edit]) -> String {
    let inside = match form {
        Form::Number => return quoted(&edited(literal, edits)),
        Form::Plain | Form::Embedded => literal
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or_default(),
    };
    let embedded = (form == Form::Embedded).then(|| {
        let decoded = decoded(inside);
        edits_in_json(&decoded, Inside(false), edits, 0).edits
    });
    let mut mapping = Mapping::new(Units::of_literal(inside));
    let mapped: Vec<Edit> = embedded
        .as_deref()
        .unwrap_or(edits)
        .iter()
        .map(|edit| {
            let (start, _) = mapping.place(edit.range.start, false);
            let (end, _) = mapping.place(edit.range.end, true);
            let mut with = String::new();
            escape_into(&mut with, &edit.with);
            Edit {
                range: start..end,
                with,
            }
        })
        .collect();
    format!("\"{}\"", edited(inside, &mapped))
}

/// The inside of a literal, decoded.
fn decoded(inside: &str) -> Cow<'_, str> {
    decode(Units::of_literal(inside)).0
}

/// What JSON text shows: itself with the escapes of its strings decoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown<'a> {
    pub(crate) text: Cow<'a, str>,
    /// Bytes read: with more to follow, an incomplete escape is left over.
    pub(crate) read: usize,
    /// Where one is after them.
    pub(crate) inside: Inside,
}

pub(crate) fn shown(text: &str, inside: Inside, more: bool) -> Shown<'_> {
    let (text, read, inside) = decode(Units::of_json(text, inside, more));
    Shown { text, read, inside }
}

fn decode(mut units: Units<'_>) -> (Cow<'_, str>, usize, Inside) {
    let source = units.rest;
    if !source.contains('\\') {
        let quotes = source.bytes().filter(|b| *b == b'"').count();
        let inside = Inside(units.inside.0 ^ (quotes % 2 == 1));
        return (Cow::Borrowed(source), source.len(), inside);
    }
    let (mut out, mut at) = (String::with_capacity(source.len()), 0);
    for unit in units.by_ref() {
        let written = source.get(at..at + unit.written).unwrap_or_default();
        match escape(written).filter(|_| unit.whole) {
            Some(escape) => out.push(escape.means),
            None => out.push_str(written),
        }
        at += unit.written;
    }
    (Cow::Owned(out), at, units.inside)
}

/// Edits of JSON text itself, made from edits of what it shows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EditsInJson {
    pub(crate) edits: Vec<Edit>,
    /// Bytes of the text that show what is before the offset asked for.
    pub(crate) cut: usize,
    /// Where one is after them.
    pub(crate) inside: Inside,
}

/// What was JSON stays so: an edit of a bare value makes it a string, and one
/// that takes a quote away puts it back. `upto` is not before the last edit.
pub(crate) fn edits_in_json(
    text: &str,
    inside: Inside,
    edits: &[Edit],
    upto: usize,
) -> EditsInJson {
    let mut mapping = Mapping::new(Units::of_json(text, inside, false));
    let edits = edits
        .iter()
        .map(|edit| {
            let (start, at_start) = mapping.place(edit.range.start, false);
            let (end, at_end) = mapping.place(edit.range.end, true);
            let quote = |at: Inside| if at.0 { "" } else { "\"" };
            let mut with = quote(at_start).to_owned();
            escape_into(&mut with, &edit.with);
            with.push_str(quote(at_end));
            Edit {
                range: start..end,
                with,
            }
        })
        .collect();
    let (cut, inside) = mapping.place(upto, false);
    EditsInJson { edits, cut, inside }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edit(range: Range<usize>, with: &str) -> Edit {
        Edit {
            range,
            with: with.to_owned(),
        }
    }

    /// Replaces `find` in what the literal shows.
    fn replaced(literal: &str, form: Form, find: &str, with: &str) -> String {
        let text: String = serde_json::from_str(literal).unwrap();
        let text = match form {
            Form::Embedded => shown(&text, Inside(false), false).text.into_owned(),
            Form::Plain | Form::Number => text,
        };
        let start = text.find(find).unwrap();
        edited_literal(literal, form, &[edit(start..start + find.len(), with)])
    }

    #[test]
    fn only_the_edited_part_of_a_literal_is_written_anew() {
        for (literal, find, with, expected) in [
            (
                r#""a\u0041b\n\/ secret""#,
                "secret",
                "X",
                r#""a\u0041b\n\/ X""#,
            ),
            (r#""a\u0041b""#, "A", "[\"]", r#""a[\"]b""#),
            (r#""\ud83d\ude00 x é""#, "x", "y", r#""\ud83d\ude00 y é""#),
            (r#""b\u006fb@x.example""#, "bob@x.example", "", r#""""#),
        ] {
            assert_eq!(replaced(literal, Form::Plain, find, with), expected);
        }
    }

    #[test]
    fn border_inside_a_character_takes_the_whole_character() {
        assert_eq!(
            edited_literal(r#""é\u00e9x""#, Form::Plain, &[edit(1..3, "-")]),
            r#""-x""#
        );
    }

    #[test]
    fn edited_arguments_stay_json() {
        for (arguments, find, with, expected) in [
            (
                r#"{"to":"bob\u0040x.example"}"#,
                "bob@x.example",
                "[\"E\"]",
                r#"{"to":"[\"E\"]"}"#,
            ),
            (
                r#"{"to":"x\nbob@x.example\\"}"#,
                "bob@x.example",
                "[E]",
                r#"{"to":"x\n[E]\\"}"#,
            ),
            (
                r#"{"card":4111111111111111}"#,
                "4111111111111111",
                "[C]",
                r#"{"card":"[C]"}"#,
            ),
            (r#"["4111","1111"]"#, "4111\",\"1111", "[C]", r#"["[C]"]"#),
            (r#"[4111,"1111"]"#, "4111,\"1111", "[C]", r#"["[C]"]"#),
        ] {
            let literal = serde_json::to_string(arguments).unwrap();
            let text: String =
                serde_json::from_str(&replaced(&literal, Form::Embedded, find, with)).unwrap();
            assert_eq!(text, expected);
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
    }

    #[test]
    fn overlapping_edits_become_one() {
        let edits = in_order(vec![
            edit(4..6, "c"),
            edit(0..3, "a"),
            edit(2..5, "b"),
            edit(8..9, "d"),
        ]);
        assert_eq!(edits, [edit(0..6, "a"), edit(8..9, "d")]);
    }

    #[test]
    fn incomplete_escape_waits_for_its_rest() {
        let whole = r#"{"a":"\ud83d\ude00\u0041\n\x"}"#;
        for cut in 0..whole.len() {
            let (left, right) = whole.split_at(cut);
            let first = shown(left, Inside(false), true);
            let rest = format!("{}{right}", left.get(first.read..).unwrap());
            let second = shown(&rest, first.inside, false);
            assert_eq!(
                format!("{}{}", first.text, second.text),
                shown(whole, Inside(false), false).text,
                "{cut}"
            );
        }
    }

    proptest! {
        #[test]
        fn edited_literal_means_the_edited_text(text: String, edits in prop::collection::vec((0usize..40, 0usize..10, "[a\"\\\\é]{0,3}"), 0..4)) {
            let edits = in_order(edits.into_iter().map(|(at, n, with)| {
                let start = text.floor_char_boundary(at);
                edit(start..ceil(&text, start + n), &with)
            }).collect());
            let literal = serde_json::to_string(&text).unwrap();
            let read: String = serde_json::from_str(&edited_literal(&literal, Form::Plain, &edits)).unwrap();
            prop_assert_eq!(read, edited(&text, &edits));
        }

        #[test]
        fn quoted_text_reads_back(text: String) {
            prop_assert_eq!(serde_json::from_str::<String>(&quoted(&text)).unwrap(), text);
        }
    }
}
