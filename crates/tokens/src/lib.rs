//! How many tokens a text is, and what a request will cost in tokens.
//!
//! Two vocabularies are told apart, o200k and cl100k; their rank tables are
//! static data ([`table`]), so a wasm VM holds them once and nothing is built
//! at start. A text is split into pieces as the vocabulary's own pattern does
//! ([`split`]), and each piece is merged as byte pair encoding does ([`merge`]).
//! What is not exact: a table knows its tokens by 14 bits of their hash, and a
//! piece longer than [`merge::WINDOW`] is merged in parts. How far that is from
//! the exact tokenizers is measured in `tests/accuracy.rs` and told in
//! `docs/reference/tokens.md`. Work is linear in the length of the text.
//!
//! Which model counts with what is in [`models`], what a chat adds in
//! [`chat`](prompt_tokens), what tokens cost in [`prices`].

mod chat;
mod class;
mod generate;
mod merge;
pub mod models;
pub mod prices;
mod split;
mod table;

pub use chat::{Prompt, prompt_tokens, prompt_tokens_at_most, text_tokens};
pub use models::{Counting, counting_of};

/// Whose tokens are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Vocabulary {
    /// OpenAI's since GPT-4o.
    O200k,
    /// OpenAI's for GPT-4, GPT-3.5 and the embedding models.
    Cl100k,
}

/// What counting came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    pub tokens: u64,
    /// Steps of the machine: table look-ups and pairs compared.
    pub work: u64,
}

/// Tokens of a text; text that looks like a special token counts as plain text.
pub fn count(vocabulary: Vocabulary, text: &str) -> Count {
    let table = table::of(vocabulary);
    let mut counted = Count::default();
    for piece in split::pieces(vocabulary, text) {
        merge::count(table, piece, &mut counted);
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_counted_as_the_vocabulary_does() {
        for (vocabulary, text, tokens) in [
            (Vocabulary::O200k, "", 0),
            (Vocabulary::O200k, "hello world", 2),
            (Vocabulary::Cl100k, "hello world", 2),
            (Vocabulary::O200k, "tiktoken is great!", 6),
            (Vocabulary::Cl100k, "tiktoken is great!", 6),
            (Vocabulary::O200k, "お誕生日おめでとう", 8),
            (Vocabulary::Cl100k, "お誕生日おめでとう", 9),
        ] {
            assert_eq!(count(vocabulary, text).tokens, tokens, "{text}");
        }
    }

    /// The bound is what a window costs at most: a pair looked up for every byte, and for
    /// every merge an eighth of the window compared; half of it is merged twice. The texts
    /// are those that merge most.
    #[test]
    fn work_grows_with_the_length_of_the_text_and_no_faster() {
        let megabyte = 1 << 20;
        let digits: String = (0..megabyte / 8)
            .map(|i: usize| format!("{:08x}", i * 2_654_435_761))
            .collect();
        let letters: String = digits
            .bytes()
            .map(|b| char::from(b'a' + (b.wrapping_mul(37)) % 26))
            .collect();
        for text in [
            "a".repeat(megabyte),
            " ".repeat(megabyte),
            "\n".repeat(megabyte),
            "0".repeat(megabyte),
            "!?".repeat(megabyte / 2),
            "語".repeat(megabyte / 3),
            "\u{301}".repeat(megabyte / 2),
            "aA".repeat(megabyte / 2),
            digits,
            letters,
        ] {
            for vocabulary in [Vocabulary::O200k, Vocabulary::Cl100k] {
                let whole = count(vocabulary, &text);
                let eighth = count(
                    vocabulary,
                    text.get(..text.len() / 24 * 3).unwrap_or_default(),
                );
                let sample: String = text.chars().take(4).collect();
                // What `prompt_tokens_at_most` stands on.
                assert!(whole.tokens <= text.len() as u64, "{sample}: {whole:?}");
                assert!(whole.work <= 40 * text.len() as u64, "{sample}: {whole:?}");
                assert!(
                    whole.work <= 9 * eighth.work,
                    "{sample}: {whole:?}, {eighth:?}"
                );
            }
        }
    }
}
