//! What a request is in tokens, beyond the tokens of its texts.
//!
//! The overhead of messages follows OpenAI's cookbook ("How to count tokens
//! with tiktoken"): three tokens for each message and those of its role, and
//! three that begin the answer. A name, and the definitions of tools, count by
//! their texts, keys included.

use crate::{Counting, count};

/// Tokens around each message.
const PER_MESSAGE: u64 = 3;
/// Tokens that begin the answer.
const PRIMING: u64 = 3;

/// Keys of a request that tell the provider what to do and are no part of the prompt.
const PARAMETERS: &[&str] = &[
    "frequency_penalty",
    "include_usage",
    "input",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "metadata",
    "n",
    "presence_penalty",
    "seed",
    "stop",
    "stop_sequences",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_k",
    "top_logprobs",
    "top_p",
];

/// The texts of a request.
#[derive(Debug, Clone, Copy)]
pub struct Prompt<M, T> {
    /// Role and content of each message; none where the API knows no messages.
    pub messages: M,
    /// Everything else that is text.
    pub others: T,
}

/// Tokens that the provider will count for a prompt, estimated.
pub fn prompt_tokens<'a>(
    counting: Counting,
    prompt: Prompt<impl Iterator<Item = (&'a str, &'a str)>, impl Iterator<Item = &'a str>>,
) -> u64 {
    of_texts(counting, prompt, |text| {
        count(counting.vocabulary, text).tokens
    })
}

/// No less than [`prompt_tokens`], from the lengths of texts alone: no token is less than a
/// byte.
pub fn prompt_tokens_at_most<'a>(
    counting: Counting,
    prompt: Prompt<impl Iterator<Item = (&'a str, &'a str)>, impl Iterator<Item = &'a str>>,
) -> u64 {
    of_texts(counting, prompt, |text| text.len() as u64)
}

fn of_texts<'a>(
    counting: Counting,
    prompt: Prompt<impl Iterator<Item = (&'a str, &'a str)>, impl Iterator<Item = &'a str>>,
    tokens: impl Fn(&str) -> u64,
) -> u64 {
    let messages: Option<u64> = prompt
        .messages
        .map(|(role, content)| PER_MESSAGE + tokens(role) + tokens(content))
        .reduce(|sum, message| sum + message);
    let others: u64 = prompt
        .others
        .filter(|text| !PARAMETERS.contains(text))
        .map(&tokens)
        .sum();
    counting.scale(messages.map_or(0, |messages| messages + PRIMING) + others)
}

/// Tokens of an answer's text, estimated.
pub fn text_tokens(counting: Counting, text: &str) -> u64 {
    counting.scale(count(counting.vocabulary, text).tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counting_of;

    /// The cookbook's own example and what the API answered for it: 129 with the
    /// models of cl100k, 124 with those of o200k.
    #[test]
    fn messages_count_as_in_the_cookbook() {
        let messages = [
            (
                "system",
                "You are a helpful, pattern-following assistant that translates corporate jargon into plain English.",
            ),
            ("system", "New synergies will help drive top-line growth."),
            (
                "system",
                "Things working well together will increase revenue.",
            ),
            (
                "system",
                "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
            ),
            (
                "system",
                "Let's talk later when we're less busy about how to do better.",
            ),
            (
                "user",
                "This late pivot means we don't have time to boil the ocean for the client deliverable.",
            ),
        ];
        let names = [
            "example_user",
            "example_assistant",
            "example_user",
            "example_assistant",
        ];
        let others = || names.iter().flat_map(|name| ["name", *name]);
        for (model, expected) in [("gpt-4", 129), ("gpt-4o", 124), ("gpt-4o-mini", 124)] {
            let prompt = Prompt {
                messages: messages.into_iter(),
                others: others(),
            };
            assert_eq!(
                prompt_tokens(counting_of(model), prompt),
                expected,
                "{model}"
            );
        }
    }

    #[test]
    fn keys_that_are_parameters_are_no_part_of_the_prompt() {
        let tokens = |others: &[&'static str]| {
            let prompt = Prompt {
                messages: [("user", "hello")].into_iter(),
                others: others.iter().copied(),
            };
            prompt_tokens(counting_of("gpt-4o"), prompt)
        };
        let plain = tokens(&[]);
        assert_eq!(plain, 3 + 1 + 1 + 3);
        assert_eq!(tokens(&["temperature", "max_tokens", "tools"]), plain);
        assert!(tokens(&["tools", "type", "function", "name", "get_weather"]) > plain + 4);
    }

    #[test]
    fn other_vendors_count_by_a_factor() {
        assert_eq!(text_tokens(counting_of("gpt-4o"), &" a".repeat(100)), 100);
        assert!(text_tokens(counting_of("claude-sonnet-4"), &" a".repeat(100)) > 100);
    }
}
