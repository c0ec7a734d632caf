//! Reading mappings: the keys they may have, the kinds their values must be.

use super::diagnostics::{Code, Diagnostics, Span, did_you_mean, nearest};
use super::patterns::Patterns;
use super::uses::RuleUses;
use super::variables::Variables;
use super::yaml::{Entry, Node, Value};

/// What every step of validation shares.
pub(super) struct Checker<'d> {
    /// The policy's text, as it was parsed.
    pub source: &'d str,
    pub diagnostics: &'d mut Diagnostics,
    pub variables: Variables,
    pub patterns: Patterns,
    pub uses: RuleUses,
}

/// The keys of one kind of mapping.
pub(super) struct Keys {
    /// What the mapping is, with its article.
    pub what: &'static str,
    pub known: &'static [&'static str],
    /// Understood, and without effect.
    pub ignored: &'static [&'static str],
}

/// A mapping whose keys have been checked.
pub(super) struct Fields<'n> {
    entries: &'n [Entry],
    span: Span,
    what: &'static str,
}

impl<'n> Fields<'n> {
    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// Where to look.
    pub(super) fn span(&self) -> Span {
        self.span
    }

    pub(super) fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

impl Checker<'_> {
    pub(super) fn report(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.diagnostics.add(code, span, message);
    }

    pub(super) fn report_with_help(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.diagnostics
            .add_with_help(code, span, message, Some(help));
    }

    pub(super) fn fields<'n>(&mut self, node: &'n Node, keys: &Keys) -> Option<Fields<'n>> {
        let Value::Map(entries) = &node.value else {
            let message = format!(
                "{} is a mapping, and this is {}",
                keys.what,
                node.describe()
            );
            self.report(Code::WrongShape, node.span, message);
            return None;
        };
        for entry in entries {
            let key = entry.key.as_str();
            if self.diagnostics.is_full() {
                break;
            }
            if keys.known.contains(&key) {
                continue;
            }
            if keys.ignored.contains(&key) {
                let message = format!("`{key}` has no effect in {}", keys.what);
                let help = match key {
                    "priority" => {
                        "rules are evaluated in the order they are written; policies have \
                         priorities"
                    }
                    _ => "put what readers should know into `description` or a comment",
                };
                self.report_with_help(Code::KeyIgnored, entry.key_span, message, help);
                continue;
            }
            let help = did_you_mean(key, keys.known.iter().copied())
                .unwrap_or_else(|| format!("{} takes {}", keys.what, list(keys.known)));
            let message = format!("unknown key `{}` in {}", shown(key), keys.what);
            self.report_with_help(Code::UnknownKey, entry.key_span, message, help);
        }
        Some(Fields {
            entries,
            // A mapping may span pages; its first key is where to look.
            span: entries.first().map_or(node.span, |entry| entry.key_span),
            what: keys.what,
        })
    }

    pub(super) fn require<'n>(&mut self, fields: &Fields<'n>, key: &str) -> Option<&'n Node> {
        let found = fields.get(key);
        if found.is_none() {
            let message = format!("{} needs `{key}`", fields.what);
            self.report(Code::MissingKey, fields.span, message);
        }
        found
    }

    /// A text; a plain number or boolean is taken as it is written, with a warning.
    pub(super) fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        match &node.value {
            Value::Text(text) => Some(text),
            Value::Number(_, text) | Value::Bool(_, text) => {
                let message = format!("{what} is a text, and this is {}", node.describe());
                let help = format!("write \"{}\"", shown(text));
                self.report_with_help(Code::UnquotedText, node.span, message, help);
                Some(text)
            }
            Value::Null | Value::List(_) | Value::Map(_) => {
                let message = format!("{what} is a text, and this is {}", node.describe());
                self.report(Code::WrongShape, node.span, message);
                None
            }
        }
    }

    pub(super) fn required_text<'n>(
        &mut self,
        fields: &Fields<'n>,
        key: &str,
    ) -> Option<(&'n str, Span)> {
        let node = self.require(fields, key)?;
        let text = self.text(node, &format!("`{key}`"))?;
        Some((text, node.span))
    }

    pub(super) fn optional_text<'n>(
        &mut self,
        fields: &Fields<'n>,
        key: &str,
    ) -> Option<(&'n str, Span)> {
        let node = fields.get(key)?;
        let text = self.text(node, &format!("`{key}`"))?;
        Some((text, node.span))
    }

    pub(super) fn list<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(items) => Some(items),
            _ => {
                let message = format!("{what} is a list, and this is {}", node.describe());
                self.report(Code::WrongShape, node.span, message);
                None
            }
        }
    }

    /// One of a fixed set of words.
    pub(super) fn word(
        &mut self,
        text: &str,
        span: Span,
        code: Code,
        what: &str,
        words: &[&'static str],
    ) -> Option<&'static str> {
        let found = words.iter().copied().find(|word| *word == text);
        if found.is_none() {
            let help = match nearest(text, words.iter().copied()) {
                Some(word) => format!("did you mean `{word}`?"),
                None => format!("one of {}", list(words)),
            };
            self.report_with_help(
                code,
                span,
                format!("unknown {what} `{}`", shown(text)),
                help,
            );
        }
        found
    }
}

/// An author's own word inside a message, cut to a length that a message bears.
pub(super) fn shown(text: &str) -> String {
    const MAX_SHOWN_CHARS: usize = 80;
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// Words for a sentence: each in backticks, with commas.
pub(super) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}
