//! `request.messages[…]…`: which messages, and which of their parts.

use super::checker::list;
use super::diagnostics::did_you_mean;
use super::fields::{FieldError, PART_KINDS, ROLES, Resolved, resolved};
use crate::facts::PartKind;
use crate::program::{Field, KindFilter, PartFilter, Role, TextField};

/// What the dialects call the kinds of parts.
const DIALECT_KINDS: &[(&str, PartKind)] = &[
    ("image_url", PartKind::Image),
    ("input_image", PartKind::Image),
    ("input_text", PartKind::Text),
    ("output_text", PartKind::Text),
    ("input_audio", PartKind::Audio),
    ("input_file", PartKind::File),
    ("document", PartKind::File),
    ("video_url", PartKind::Video),
];

enum Chosen {
    Index(i32),
    Every,
    Of(Role),
}

/// Reads what follows `request.messages[`.
pub(super) fn message(rest: &str) -> Result<Resolved, FieldError> {
    let (selector, tail) = rest
        .split_once(']')
        .ok_or_else(|| error("close the index with `]`"))?;
    let chosen = choose(selector)?;
    if let Some(part) = tail.strip_prefix(".content[") {
        return parts(&chosen, part);
    }
    let field = match (chosen, tail) {
        (Chosen::Index(index), ".role") => TextField::MessageRole(index),
        (Chosen::Index(index), ".content") => TextField::MessageContent(index),
        (Chosen::Every, ".role") => TextField::EveryRole,
        (Chosen::Every, ".content") => TextField::EveryContent,
        (Chosen::Of(role), ".content") => TextField::RoleContent(role),
        _ => return Err(error("a message has `.role` and `.content`")),
    };
    Ok(resolved(Field::Text(field)))
}

fn choose(selector: &str) -> Result<Chosen, FieldError> {
    if let Ok(index) = selector.parse() {
        return Ok(Chosen::Index(index));
    }
    if selector == "*" {
        return Ok(Chosen::Every);
    }
    match filter(selector) {
        Some(("role", false, word)) => {
            let role = Role::ALL.iter().find(|role| role.as_str() == word);
            role.map(|role| Chosen::Of(*role))
                .ok_or_else(|| unknown_word("role", word, ROLES))
        }
        _ => Err(error(
            "messages are chosen by a number such as `0` or `-1` (the last), by `*`, or by \
             `role=user`",
        )),
    }
}

/// Reads what follows `.content[`.
fn parts(chosen: &Chosen, rest: &str) -> Result<Resolved, FieldError> {
    let (selector, tail) = rest
        .split_once(']')
        .ok_or_else(|| error("close the filter with `]`"))?;
    if !matches!(tail, "" | ".type") {
        return Err(error("of a part, `.type` is known"));
    }
    let message = match chosen {
        Chosen::Index(index) => Some(*index),
        Chosen::Every => None,
        Chosen::Of(_) => return Err(error("parts are chosen from one message, or from all: `*`")),
    };
    let alternate;
    let kind = match (selector, filter(selector)) {
        ("*", _) => {
            alternate = tail.is_empty();
            KindFilter::Any
        }
        (_, Some(("type", negated, word))) => {
            let known = PartKind::ALL.into_iter().find(|kind| kind.as_str() == word);
            let dialect = DIALECT_KINDS.iter().find(|(name, _)| *name == word);
            alternate = known.is_none() || !tail.is_empty();
            let kind = known
                .or(dialect.map(|(_, kind)| *kind))
                .ok_or_else(|| unknown_word("type", word, PART_KINDS))?;
            match negated {
                true => KindFilter::IsNot(kind),
                false => KindFilter::Is(kind),
            }
        }
        _ => {
            return Err(error(
                "parts are chosen by `*`, `type=image` or `type!=text`",
            ));
        }
    };
    let field = TextField::Parts(PartFilter { message, kind });
    Ok(Resolved {
        alternate,
        ..resolved(Field::Text(field))
    })
}

/// `key=word` or `key!=word`, with or without quotes; whether it is negated.
fn filter(text: &str) -> Option<(&str, bool, &str)> {
    let (key, word) = text.split_once('=')?;
    let (key, negated) = match key.strip_suffix('!') {
        Some(key) => (key, true),
        None => (key, false),
    };
    let word = word.strip_prefix('=').unwrap_or(word);
    let quotes = |c: char| c == '"' || c == '\'' || c.is_whitespace();
    Some((key.trim(), negated, word.trim_matches(quotes)))
}

fn error(help: &str) -> FieldError {
    FieldError {
        help: help.to_owned(),
    }
}

fn unknown_word(what: &str, word: &str, words: &[&str]) -> FieldError {
    let help = did_you_mean(word, words.iter().copied())
        .unwrap_or_else(|| format!("a {what} is one of {}", list(words)));
    FieldError { help }
}

#[cfg(test)]
mod tests {
    use crate::author::fields::resolve;
    use crate::names::path;

    #[test]
    fn selectors_are_read() {
        for (text, canonical, alternate) in [
            (
                "request.messages[-1].role",
                "request.messages[-1].role",
                false,
            ),
            (
                "request.messages[role=user].content",
                "request.messages[role=user].content",
                false,
            ),
            (
                "request.messages[*].content[type=image]",
                "request.messages[*].content[type=image]",
                false,
            ),
            (
                "request.messages[*].content[type!=text]",
                "request.messages[*].content[type!=text]",
                false,
            ),
            (
                "request.messages[0].content[type == 'image_url'].type",
                "request.messages[0].content[type=image]",
                true,
            ),
            (
                "request.messages[2].content[*].type",
                "request.messages[2].content[*].type",
                false,
            ),
        ] {
            let found = resolve(text).unwrap();
            assert_eq!(
                (path(found.field).as_ref(), found.alternate),
                (canonical, alternate),
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_explained() {
        for (text, help) in [
            ("request.messages[1", "close the index with `]`"),
            (
                "request.messages[0].text",
                "a message has `.role` and `.content`",
            ),
            (
                "request.messages[first].role",
                "messages are chosen by a number",
            ),
            ("request.messages[role=usr].content", "did you mean `user`?"),
            ("request.messages[*].content[type=pdf]", "a type is one of"),
            ("request.messages[*].content[0]", "parts are chosen by `*`"),
            ("request.messages[*].content[type=image", "close the filter"),
            (
                "request.messages[*].content[type=image].url",
                "of a part, `.type` is known",
            ),
            (
                "request.messages[role=user].content[*]",
                "from one message, or from all",
            ),
        ] {
            let given = resolve(text).unwrap_err().help;
            assert!(given.contains(help), "{text}: {given}");
        }
    }
}
