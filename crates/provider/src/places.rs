//! Where the texts of a body stand, and how a body is changed there.
//!
//! [`rewrite`] puts new words in the place of old ones and sets or removes
//! members of the body; every byte that no edit names stays as it was: order
//! of keys, spelling of numbers, white space, escapes.

use crate::json::{self, LoneSurrogates, Member, Span};
use crate::literal::{self, Edit, Form};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// One text of a body, as its facts number them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TextId {
    /// Index into `RequestFacts::messages`.
    Message(usize),
    /// Index into `other_texts`, of a request or of an answer.
    Other(usize),
    /// `ResponseFacts::content`.
    Content,
}

/// A change of one text; the range counts bytes of the text as the facts hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextEdit {
    pub text: TextId,
    pub edit: Edit,
}

/// A change of a member of the body itself.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberEdit<'a> {
    pub key: &'a str,
    /// `None` removes it.
    pub value: Option<serde_json::Value>,
}

/// Where each text of a body stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Places {
    segments: Vec<Segment>,
    /// Values that spell texts again, and what to put there when one changes.
    spellings: Vec<(Span, &'static str)>,
}

/// A part of a text that one literal holds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Segment {
    text: TextId,
    at: usize,
    length: usize,
    literal: Span,
    form: Form,
}

/// A text put together from several literals, a line each.
#[derive(Debug)]
pub(crate) struct Joined {
    id: TextId,
    text: String,
    begun: bool,
}

impl Joined {
    pub(crate) fn new(id: TextId) -> Joined {
        Joined {
            id,
            text: String::new(),
            begun: false,
        }
    }

    pub(crate) fn add(&mut self, text: &str, literal: Span, form: Form, places: &mut Places) {
        if std::mem::replace(&mut self.begun, true) {
            self.text.push('\n');
        }
        places.note(self.id, self.text.len(), text.len(), literal, form);
        self.text.push_str(text);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

impl Places {
    pub(crate) fn note(
        &mut self,
        text: TextId,
        at: usize,
        length: usize,
        literal: Span,
        form: Form,
    ) {
        self.segments.push(Segment {
            text,
            at,
            length,
            literal,
            form,
        });
    }

    pub(crate) fn note_spelling(&mut self, value: Span, none: &'static str) {
        self.spellings.push((value, none));
    }

    /// The literals that `edits` change, each with its edits in order and apart.
    fn changed(&self, edits: &[TextEdit]) -> Result<Vec<(Segment, Vec<Edit>)>, RewriteError> {
        let mut changed: Vec<(Segment, Vec<Edit>)> = Vec::new();
        for TextEdit { text, edit } in edits {
            let mut known = false;
            let mut with = edit.with.as_str();
            for segment in self.segments.iter().filter(|s| s.text == *text) {
                known = true;
                let Some(range) = segment.overlap(&edit.range) else {
                    continue;
                };
                // A finding across parts leaves its replacement in the first of them.
                let part = Edit {
                    range,
                    with: std::mem::take(&mut with).to_owned(),
                };
                match changed
                    .iter_mut()
                    .find(|(other, _)| other.literal == segment.literal)
                {
                    Some((_, parts)) => parts.push(part),
                    None => changed.push((*segment, vec![part])),
                }
            }
            if !known {
                return Err(RewriteError::UnknownText);
            }
        }
        for (_, parts) in &mut changed {
            *parts = literal::in_order(std::mem::take(parts));
        }
        Ok(changed)
    }
}

impl Segment {
    /// The part of `range` in this segment, counted from its start.
    fn overlap(&self, range: &Range<usize>) -> Option<Range<usize>> {
        let end = self.at + self.length;
        let inside = range.start.max(self.at)..range.end.min(end);
        let inserts = range.is_empty() && (self.at..=end).contains(&range.start);
        (inside.start < inside.end || inserts).then(|| inside.start - self.at..inside.end - self.at)
    }
}

/// Why a body was not rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RewriteError {
    /// An edit names a text that the body does not have.
    UnknownText,
    /// Members were to change of a body that is no JSON object.
    NotAnObject,
}

impl fmt::Display for RewriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RewriteError::UnknownText => "an edit names a text that the body does not have",
            RewriteError::NotAnObject => "members can be set in a JSON object alone",
        })
    }
}

impl std::error::Error for RewriteError {}

/// The body with `texts` and `members` changed; `places` are those of the
/// very same body. Edits of a text that overlap become one; what a member
/// edit replaces is not edited besides.
pub fn rewrite(
    body: &[u8],
    places: &Places,
    texts: &[TextEdit],
    members: &[MemberEdit<'_>],
) -> Result<Vec<u8>, RewriteError> {
    let mut splices = member_splices(body, members)?;
    let replaced: Vec<Range<usize>> = splices.iter().map(|s| s.range.clone()).collect();
    let changed = places.changed(texts)?;
    if !changed.is_empty() {
        splices.extend(places.spellings.iter().map(|(span, none)| Edit {
            range: span.range(),
            with: (*none).to_owned(),
        }));
    }
    for (segment, edits) in changed {
        let range = segment.literal.range();
        if replaced
            .iter()
            .any(|r| r.start <= range.start && range.end <= r.end)
        {
            continue;
        }
        let source = body
            .get(range.clone())
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or_default();
        let with = literal::edited_literal(source, segment.form, &edits);
        splices.push(Edit { range, with });
    }
    Ok(spliced(body, splices))
}

/// `body` with disjoint `splices` made.
pub(crate) fn spliced(body: &[u8], mut splices: Vec<Edit>) -> Vec<u8> {
    splices.sort_by_key(|s| (s.range.start, s.range.end));
    let mut out = Vec::with_capacity(body.len());
    let mut at = 0;
    for splice in splices {
        out.extend_from_slice(body.get(at..splice.range.start).unwrap_or_default());
        out.extend_from_slice(splice.with.as_bytes());
        at = splice.range.end;
    }
    out.extend_from_slice(body.get(at..).unwrap_or_default());
    out
}

fn member_splices(body: &[u8], edits: &[MemberEdit<'_>]) -> Result<Vec<Edit>, RewriteError> {
    if edits.is_empty() {
        return Ok(vec![]);
    }
    let root = json::parse(body, LoneSurrogates::Replaced);
    let root = root.map_err(|_| RewriteError::NotAnObject)?;
    let json::Value::Object(members) = &root.value else {
        return Err(RewriteError::NotAnObject);
    };
    // Of several edits of one member the last one holds.
    let wanted: BTreeMap<&str, Option<&serde_json::Value>> =
        edits.iter().map(|e| (e.key, e.value.as_ref())).collect();
    let goes = |member: &Member<'_>| wanted.get(member.key.as_ref()) == Some(&None);
    let last_kept = members.iter().rposition(|m| !goes(m));

    let mut splices = Vec::new();
    let mut splice = |start: u32, end: u32, with: String| {
        splices.push(Edit {
            range: start as usize..end as usize,
            with,
        });
    };
    let mut before: Option<&Member<'_>> = None;
    for (index, member) in members.iter().enumerate() {
        let end = member.value.span.end;
        match (wanted.get(member.key.as_ref()), members.get(index + 1)) {
            (None, _) => {}
            (Some(Some(value)), _) => splice(member.value.span.start, end, value.to_string()),
            // One that goes takes the comma after it along, or else the one before.
            (Some(None), Some(next)) if last_kept > Some(index) => {
                splice(member.key_span.start, next.key_span.start, String::new());
            }
            (Some(None), _) => {
                let start = match last_kept {
                    Some(_) => before.map(|m| m.value.span.end),
                    None => before
                        .map(|m| m.value.span.end)
                        .or(Some(member.key_span.start)),
                };
                splice(start.unwrap_or(end), end, String::new());
            }
        }
        before = Some(member);
    }
    let mut added = String::new();
    for (key, value) in wanted {
        if let Some(value) = value
            && json::get(members, key).is_none()
        {
            let comma = if added.is_empty() { "" } else { "," };
            added.push_str(&format!("{comma}{}:{value}", literal::quoted(key)));
        }
    }
    if !added.is_empty() {
        if last_kept.is_some() {
            added.push(',');
        }
        splice(root.span.start + 1, root.span.start + 1, added);
    }
    Ok(splices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn with_members(body: &str, edits: &[(&str, Option<serde_json::Value>)]) -> String {
        let edits: Vec<MemberEdit<'_>> = edits
            .iter()
            .map(|(key, value)| MemberEdit {
                key,
                value: value.clone(),
            })
            .collect();
        String::from_utf8(rewrite(body.as_bytes(), &Places::default(), &[], &edits).unwrap())
            .unwrap()
    }

    #[test]
    fn members_are_set_replaced_and_removed_and_the_rest_stays_as_written() {
        for (body, edits, expected) in [
            (
                "{ \"model\" : \"a\",\n \"t\":1.50e0 }",
                vec![("model", Some(json!("b")))],
                "{ \"model\" : \"b\",\n \"t\":1.50e0 }",
            ),
            (
                r#"{"a":1}"#,
                vec![("n", Some(json!([2])))],
                r#"{"n":[2],"a":1}"#,
            ),
            ("{ }", vec![("n", Some(json!(2)))], r#"{"n":2 }"#),
            (
                r#"{"a":1,"b":2,"c":3}"#,
                vec![("a", None)],
                r#"{"b":2,"c":3}"#,
            ),
            (
                r#"{"a":1,"b":2,"c":3}"#,
                vec![("c", None), ("b", None)],
                r#"{"a":1}"#,
            ),
            (
                r#"{"a":1,"b":2}"#,
                vec![("a", None), ("b", None), ("c", Some(json!(1)))],
                r#"{"c":1}"#,
            ),
            (r#"{"a":1}"#, vec![("z", None)], r#"{"a":1}"#),
            (
                r#"{"a":1}"#,
                vec![("a", None), ("a", Some(json!(2)))],
                r#"{"a":2}"#,
            ),
        ] {
            assert_eq!(with_members(body, &edits), expected);
        }
    }

    #[test]
    fn only_an_object_has_members() {
        let edit = MemberEdit {
            key: "a",
            value: None,
        };
        for body in ["[]", "{", ""] {
            assert_eq!(
                rewrite(
                    body.as_bytes(),
                    &Places::default(),
                    &[],
                    std::slice::from_ref(&edit)
                ),
                Err(RewriteError::NotAnObject)
            );
        }
    }

    proptest! {
        #[test]
        fn members_become_what_was_asked(
            before in prop::collection::btree_map("[a-e]", 0u8..9, 0..5),
            edits in prop::collection::vec(("[a-g]", prop::option::of(0u8..9)), 1..6),
        ) {
            let body = serde_json::to_string_pretty(&before).unwrap();
            let asked: Vec<(&str, Option<serde_json::Value>)> =
                edits.iter().map(|(k, v)| (k.as_str(), v.map(Into::into))).collect();
            let mut expected = before;
            for (key, value) in edits.clone() {
                match value {
                    Some(value) => expected.insert(key, value),
                    None => expected.remove(&key),
                };
            }
            let read: std::collections::BTreeMap<String, u8> =
                serde_json::from_str(&with_members(&body, &asked)).unwrap();
            prop_assert_eq!(read, expected);
        }
    }
}
