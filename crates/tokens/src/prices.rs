//! What tokens cost.
//!
//! [`LIST_PRICES`] are the vendors' list prices as they published them by
//! [`AS_OF`]; they change, and contracts differ, so a configuration states its
//! own and those come first. Integers only: nano-dollars (10⁻⁹ USD) per token,
//! which is a thousandth of what a million tokens cost in dollars. Discounts
//! for cached or batched input are not taken: a cost is what the list asks.

use serde::{Deserialize, Serialize};

/// The month the list was read in.
pub const AS_OF: &str = "2026-10";

/// Where the list was read.
pub const SOURCES: &[&str] = &[
    "https://developers.openai.com/api/docs/pricing",
    "https://platform.claude.com/docs/en/about-claude/pricing",
];

/// The only currency prices come in.
pub const CURRENCY: &str = "USD";

/// What one token costs, in nano-dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    pub input_nano: u64,
    pub output_nano: u64,
}

/// The prices of the models whose names begin with `model`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelPrice {
    pub model: String,
    pub price: Price,
}

/// A cost in nano-dollars; what is too much to be counted counts as the most there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    pub input_nano: u64,
    pub output_nano: u64,
}

impl Price {
    pub fn of(self, input_tokens: u64, output_tokens: u64) -> Cost {
        Cost {
            input_nano: input_tokens.saturating_mul(self.input_nano),
            output_nano: output_tokens.saturating_mul(self.output_nano),
        }
    }
}

impl Cost {
    pub fn total_nano(self) -> u64 {
        self.input_nano.saturating_add(self.output_nano)
    }
}

/// What a model costs: by the longest of the own prices that fits, else of the list.
pub fn price_of(model: &str, own: &[ModelPrice]) -> Option<Price> {
    let name = super::models::base_name(model);
    let own = own
        .iter()
        .filter(|entry| starts(model, &entry.model) || starts(name, &entry.model))
        .max_by_key(|entry| entry.model.len())
        .map(|entry| entry.price);
    own.or_else(|| {
        LIST_PRICES
            .iter()
            .filter(|(prefix, ..)| starts(name, prefix))
            .max_by_key(|(prefix, ..)| prefix.len())
            .map(|&(_, input_nano, output_nano)| Price {
                input_nano,
                output_nano,
            })
    })
}

pub(crate) fn starts(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// The beginning of a model's name, and nano-dollars per token of input and output; the
/// longest that fits holds. Where a price depends on the length of the prompt, the higher.
pub const LIST_PRICES: &[(&str, u64, u64)] = &[
    ("gpt-5.5", 5_000, 30_000),
    ("gpt-5.5-pro", 30_000, 180_000),
    ("gpt-5.4", 2_500, 15_000),
    ("gpt-5.4-mini", 750, 4_500),
    ("gpt-5.4-nano", 200, 1_250),
    ("gpt-5.4-pro", 30_000, 180_000),
    ("gpt-5.3-codex", 1_750, 14_000),
    ("gpt-5.2", 1_750, 14_000),
    ("gpt-5.2-pro", 21_000, 168_000),
    ("gpt-5.1", 1_250, 10_000),
    ("gpt-5", 1_250, 10_000),
    ("gpt-5-mini", 250, 2_000),
    ("gpt-5-nano", 50, 400),
    ("gpt-5-pro", 15_000, 120_000),
    ("gpt-4.1", 2_000, 8_000),
    ("gpt-4.1-mini", 400, 1_600),
    ("gpt-4.1-nano", 100, 400),
    ("gpt-4o", 2_500, 10_000),
    ("gpt-4o-2024-05-13", 5_000, 15_000),
    ("gpt-4o-mini", 150, 600),
    ("chatgpt-4o", 5_000, 15_000),
    ("gpt-4-turbo", 10_000, 30_000),
    ("gpt-4", 30_000, 60_000),
    ("gpt-4-32k", 60_000, 120_000),
    ("gpt-3.5-turbo", 500, 1_500),
    ("o1", 15_000, 60_000),
    ("o1-mini", 1_100, 4_400),
    ("o1-pro", 150_000, 600_000),
    ("o3", 2_000, 8_000),
    ("o3-mini", 1_100, 4_400),
    ("o3-pro", 20_000, 80_000),
    ("o4-mini", 1_100, 4_400),
    ("text-embedding-3-large", 130, 0),
    ("text-embedding-3-small", 20, 0),
    ("text-embedding-ada-002", 100, 0),
    ("claude-opus-5", 5_000, 25_000),
    ("claude-opus-5-5", 4_000, 20_000),
    ("claude-opus-4-5", 5_000, 25_000),
    ("claude-opus-4-6", 5_000, 25_000),
    ("claude-opus-4-7", 5_000, 25_000),
    ("claude-opus-4-8", 5_000, 25_000),
    ("claude-opus-4", 15_000, 75_000),
    ("claude-3-opus", 15_000, 75_000),
    ("claude-sonnet-5", 2_000, 10_000),
    ("claude-sonnet-4", 3_000, 15_000),
    ("claude-3-7-sonnet", 3_000, 15_000),
    ("claude-3-5-sonnet", 3_000, 15_000),
    ("claude-3-sonnet", 3_000, 15_000),
    ("claude-haiku-5-5", 500, 2_500),
    ("claude-haiku-4-5", 1_000, 5_000),
    ("claude-3-5-haiku", 800, 4_000),
    ("claude-3-haiku", 250, 1_250),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dated_and_prefixed_names_have_the_price_of_their_model() {
        for (model, expected) in [
            ("gpt-4o-mini-2024-07-18", Some((150, 600))),
            ("gpt-4o-2024-08-06", Some((2_500, 10_000))),
            ("gpt-4o-2024-05-13", Some((5_000, 15_000))),
            ("openai/gpt-4.1-mini", Some((400, 1_600))),
            ("claude-opus-4-20250514", Some((15_000, 75_000))),
            ("claude-opus-4-5-20251101", Some((5_000, 25_000))),
            ("text-embedding-3-small", Some((20, 0))),
            ("a-model-of-ours", None),
        ] {
            let expected = expected.map(|(input_nano, output_nano)| Price {
                input_nano,
                output_nano,
            });
            assert_eq!(price_of(model, &[]), expected, "{model}");
        }
    }

    #[test]
    fn own_prices_come_before_the_list_and_the_longest_name_first() {
        let own = |model: &str, input_nano| ModelPrice {
            model: model.to_owned(),
            price: Price {
                input_nano,
                output_nano: 0,
            },
        };
        let prices = [own("", 1), own("gpt-4o", 2), own("azure/gpt-4o", 3)];
        let input = |model| price_of(model, &prices).map(|price| price.input_nano);
        assert_eq!(input("gpt-4o-mini"), Some(2));
        assert_eq!(input("azure/gpt-4o"), Some(3));
        assert_eq!(input("other/gpt-4o"), Some(2));
        assert_eq!(input("anything"), Some(1));
    }

    #[test]
    fn costs_are_whole_nano_dollars_and_do_not_overflow() {
        let price = Price {
            input_nano: 2_500,
            output_nano: 10_000,
        };
        assert_eq!(price.of(1_000, 200).total_nano(), 4_500_000);
        assert_eq!(price.of(u64::MAX, u64::MAX).total_nano(), u64::MAX);
    }

    #[test]
    fn list_names_no_model_twice() {
        let mut names: Vec<_> = LIST_PRICES.iter().map(|(name, ..)| name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), LIST_PRICES.len());
    }
}
