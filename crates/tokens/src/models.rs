//! Which model counts how.
//!
//! OpenAI publishes its vocabularies. Others do not, or theirs are not carried
//! here: they count with the nearest of the two, times a factor measured on
//! prose and code (`docs/reference/tokens.md` says from where).

use crate::Vocabulary;
use crate::prices::starts;

/// How tokens of a model are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counting {
    pub vocabulary: Vocabulary,
    /// What a count is multiplied by, in thousandths.
    pub permille: u32,
}

impl Counting {
    pub(crate) fn scale(self, tokens: u64) -> u64 {
        (tokens * u64::from(self.permille)).div_ceil(1_000)
    }
}

/// The prefix of a model's name, and how it counts; the longest that fits holds.
pub const MODELS: &[(&str, Vocabulary, u32)] = &[
    ("gpt-", Vocabulary::O200k, 1_000),
    ("gpt-3.5", Vocabulary::Cl100k, 1_000),
    ("gpt-35", Vocabulary::Cl100k, 1_000),
    ("gpt-4", Vocabulary::Cl100k, 1_000),
    ("gpt-4.", Vocabulary::O200k, 1_000),
    ("gpt-4o", Vocabulary::O200k, 1_000),
    ("chatgpt-4o", Vocabulary::O200k, 1_000),
    ("o1", Vocabulary::O200k, 1_000),
    ("o3", Vocabulary::O200k, 1_000),
    ("o4", Vocabulary::O200k, 1_000),
    ("text-embedding-", Vocabulary::Cl100k, 1_000),
    ("claude-", Vocabulary::O200k, 1_200),
    ("llama", Vocabulary::Cl100k, 1_000),
    ("mistral", Vocabulary::O200k, 1_250),
];

/// For models that the table does not name.
const OTHERS: Counting = Counting {
    vocabulary: Vocabulary::O200k,
    permille: 1_000,
};

/// The model's own name: what stands before the last `/` (a vendor's name) and `ft:` (a
/// fine-tuned model of that base) say nothing about it.
pub(crate) fn base_name(model: &str) -> &str {
    let name = model.rsplit('/').next().unwrap_or(model);
    name.strip_prefix("ft:").unwrap_or(name)
}

/// How tokens of that model are counted.
pub fn counting_of(model: &str) -> Counting {
    let name = base_name(model);
    MODELS
        .iter()
        .filter(|(prefix, ..)| starts(name, prefix))
        .max_by_key(|(prefix, ..)| prefix.len())
        .map_or(OTHERS, |&(_, vocabulary, permille)| Counting {
            vocabulary,
            permille,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Vocabulary::{Cl100k, O200k};

    #[test]
    fn longest_prefix_tells_how_a_model_counts() {
        for (model, vocabulary, own) in [
            ("gpt-4o-2024-08-06", O200k, true),
            ("gpt-4", Cl100k, true),
            ("gpt-4-turbo", Cl100k, true),
            ("gpt-4.1-mini", O200k, true),
            ("gpt-3.5-turbo-0125", Cl100k, true),
            ("gpt-5-mini", O200k, true),
            ("o3-mini", O200k, true),
            ("text-embedding-3-small", Cl100k, true),
            ("openai/gpt-4o", O200k, true),
            ("ft:gpt-3.5-turbo:acme::7p4lURel", Cl100k, true),
            ("GPT-4o", O200k, true),
            ("claude-sonnet-4-20250514", O200k, false),
            ("anthropic/claude-3-5-haiku", O200k, false),
            ("something-of-our-own", O200k, true),
            ("", O200k, true),
        ] {
            let counting = counting_of(model);
            assert_eq!(counting.vocabulary, vocabulary, "{model}");
            assert_eq!(counting.permille == 1_000, own, "{model}");
        }
    }
}
