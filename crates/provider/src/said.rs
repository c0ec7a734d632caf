//! What a model said, for its tokens to be counted where its provider reports none.
//!
//! Kept of an answer are its first 64 KiB of text: what is beyond counts by its length. A
//! text that typed events tell again at the end of its channel counts once.

use crate::answer::{Channel, Role, Spot, TextKind};
use std::collections::BTreeMap;

/// Most text that is kept of one answer.
const MAX_KEPT: usize = 64 << 10;

/// The texts of an answer that a provider counts as its output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    texts: BTreeMap<Channel, String>,
    kept: usize,
    /// Of all texts, kept or not.
    bytes: usize,
}

impl Said {
    /// The texts, those of one channel as one, as far as they are kept.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.texts.values().map(String::as_str)
    }

    pub fn kept_bytes(&self) -> usize {
        self.kept
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A text of a whole answer.
    pub(crate) fn add_whole(&mut self, spot: &Spot<'_>) {
        if spot.channel.kind != TextKind::Other {
            self.add(spot.channel, spot.text);
        }
    }

    /// A text of an event.
    pub(crate) fn add_streamed(&mut self, spot: &Spot<'_>) {
        let is_known = self.texts.contains_key(&spot.channel);
        if spot.channel.kind == TextKind::Other || (spot.role == Role::Whole && is_known) {
            return;
        }
        self.add(spot.channel, spot.text);
    }

    fn add(&mut self, channel: Channel, text: &str) {
        self.bytes += text.len();
        let room = text.floor_char_boundary(MAX_KEPT - self.kept);
        let kept = text.get(..room).unwrap_or_default();
        self.kept += kept.len();
        self.texts.entry(channel).or_default().push_str(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Span;
    use crate::literal::Form;

    fn spot(kind: TextKind, role: Role, text: &str) -> Spot<'_> {
        Spot {
            channel: Channel {
                kind,
                index: 0,
                part: 0,
            },
            role,
            text,
            literal: Span::default(),
            form: Form::Plain,
        }
    }

    #[test]
    fn text_that_is_told_again_counts_once_and_names_do_not() {
        let mut said = Said::default();
        for (kind, role, text) in [
            (TextKind::Content, Role::Delta, "one "),
            (TextKind::Content, Role::Delta, "two"),
            (TextKind::Content, Role::Whole, "one two"),
            (TextKind::Refusal, Role::Whole, "no"),
            (TextKind::Other, Role::Whole, "a name"),
        ] {
            said.add_streamed(&spot(kind, role, text));
        }
        assert_eq!(said.texts().collect::<Vec<_>>(), ["one two", "no"]);
        assert_eq!((said.bytes(), said.kept_bytes()), (9, 9));
    }

    #[test]
    fn no_more_is_kept_than_the_limit() {
        let mut said = Said::default();
        let text = "\u{e9}".repeat(MAX_KEPT / 2);
        for text in ["x", &text, &text] {
            said.add_whole(&spot(TextKind::Content, Role::Whole, text));
        }
        assert_eq!(said.bytes(), 2 * MAX_KEPT + 1);
        assert!(said.kept_bytes() <= MAX_KEPT && said.kept_bytes() > MAX_KEPT - 2);
    }
}
