//! What the pretended model says: the same words for the same question.
//!
//! A token is a word here. That is no tokenizer's count, but it derives from
//! the text, so a test can work out what usage must be.

use serde_json::Value;

use super::Script;

const SENTENCES: [&str; 8] = [
    "The short answer is yes, with one condition that is easy to meet.",
    "Start with the smallest piece that can be tried, then grow it step by step.",
    "Most of the effect comes from the first change; the others refine it.",
    "Two things matter here: what is measured, and how often.",
    "In practice both ways work, and the simpler one is easier to explain.",
    "The usual reason is that an earlier step was skipped.",
    "A table with three columns is enough to keep track of this.",
    "If the numbers disagree, trust the ones closest to the source.",
];

/// What the model says, each text in the pieces a stream delivers it in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// Joined, they are the whole text; empty where something else is said.
    pub(super) pieces: Vec<String>,
    /// Whether `max_tokens` ended it early.
    pub(super) truncated: bool,
    pub(super) reasoning: Vec<String>,
    pub(super) refusal: Vec<String>,
    pub(super) call: Option<ToolCall>,
}

/// A tool the model calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ToolCall {
    pub(super) name: String,
    /// Joined, they are JSON unless scripted otherwise.
    pub(super) arguments: Vec<String>,
}

impl ToolCall {
    pub(super) fn arguments(&self) -> String {
        self.arguments.concat()
    }

    /// An id that depends on the tool alone.
    pub(super) fn id(&self, prefix: &str) -> String {
        format!("{prefix}_{:016x}", fingerprint(self.name.as_bytes()))
    }
}

/// Called with, unless scripted.
const ARGUMENTS: &str = "{\"query\":\"example\"}";

impl Answer {
    /// Answer `prompt` by what `script` asks for; `tool` is the first on offer.
    pub(super) fn compose(
        prompt: &str,
        max_tokens: Option<u64>,
        tool: Option<String>,
        script: &Script,
    ) -> Self {
        let cut = |text: &str| match script.piece_chars {
            Some(length) => in_pieces(text, length),
            None => vec![text.to_owned()],
        };
        let call = tool.filter(|_| script.tool_call).map(|name| ToolCall {
            name,
            arguments: cut(script.tool_arguments.as_deref().unwrap_or(ARGUMENTS)),
        });
        let speaks = script.refusal.is_none() && (call.is_none() || script.reply.is_some());
        let text = match speaks {
            true => Self::text_for(prompt, max_tokens, script),
            false => Self::default(),
        };
        Self {
            reasoning: script.reasoning.as_deref().map(cut).unwrap_or_default(),
            refusal: script.refusal.as_deref().map(cut).unwrap_or_default(),
            call,
            ..text
        }
    }

    /// As long and in as many pieces as `script` asks.
    fn text_for(prompt: &str, max_tokens: Option<u64>, script: &Script) -> Self {
        let text = script.reply.clone().unwrap_or_else(|| choose(prompt));
        let mut pieces: Vec<String> = words_with_spaces(&text);
        let wanted = script.chunks.unwrap_or(0);
        let wanted_bytes = script.body_bytes.unwrap_or(0);
        let mut bytes: usize = pieces.iter().map(String::len).sum();
        // An answer too short for the script goes on with itself.
        let mut again = pieces.clone();
        if let Some(first) = again.first_mut() {
            first.insert(0, ' ');
        }
        for piece in again.iter().cycle() {
            if pieces.len() >= wanted && bytes >= wanted_bytes {
                break;
            }
            bytes += piece.len();
            pieces.push(piece.clone());
        }
        let limit = max_tokens.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        let truncated = pieces.len() > limit;
        pieces.truncate(limit);
        if let Some(wanted) = script.chunks {
            pieces = regroup(pieces, wanted.max(1));
        }
        if let Some(length) = script.piece_chars {
            pieces = in_pieces(&pieces.concat(), length);
        }
        Self {
            pieces,
            truncated,
            ..Self::default()
        }
    }

    pub(super) fn text(&self) -> String {
        self.pieces.concat()
    }

    /// Of all it says.
    pub(super) fn tokens(&self) -> u64 {
        let call = self.call.as_ref().map(ToolCall::arguments);
        [
            self.text(),
            self.reasoning.concat(),
            self.refusal.concat(),
            call.unwrap_or_default(),
        ]
        .iter()
        .map(|text| count_words(text))
        .sum()
    }
}

pub(super) fn count_words(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

/// The text of a message's `content`: a string, or parts with text among them.
pub(super) fn content_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<&str> = parts
                .iter()
                .filter_map(|part| part.get("text").and_then(Value::as_str))
                .collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}

/// Pieces of `length` characters, the last one shorter.
fn in_pieces(text: &str, length: usize) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    chars
        .chunks(length.max(1))
        .map(|piece| piece.iter().collect())
        .collect()
}

/// FNV-1a: stable across runs, machines and compiler versions.
pub(super) fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn choose(prompt: &str) -> String {
    let hash = fingerprint(prompt.as_bytes());
    let pick = |n: u64| {
        let index = usize::try_from(n % SENTENCES.len() as u64).unwrap_or_default();
        SENTENCES.get(index).copied().unwrap_or_default()
    };
    format!("{} {}", pick(hash), pick(hash >> 32))
}

/// `"a b"` → `["a", " b"]`: joined again, nothing is lost.
fn words_with_spaces(text: &str) -> Vec<String> {
    text.split_inclusive(' ')
        .fold((Vec::new(), ""), |(mut words, lead), word| {
            match word.strip_suffix(' ') {
                Some(bare) => {
                    words.push(format!("{lead}{bare}"));
                    (words, " ")
                }
                None => {
                    words.push(format!("{lead}{word}"));
                    (words, "")
                }
            }
        })
        .0
}

/// Exactly `wanted` pieces with the same text, as even as can be.
fn regroup(words: Vec<String>, wanted: usize) -> Vec<String> {
    let total = words.len().max(1);
    let mut groups = vec![String::new(); wanted];
    for (index, word) in words.into_iter().enumerate() {
        if let Some(group) = groups.get_mut(index * wanted / total) {
            group.push_str(&word);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_question_has_the_same_answer() {
        let script = Script::default();
        let one = Answer::compose("why?", None, None, &script);
        assert_eq!(one, Answer::compose("why?", None, None, &script));
        assert!(one.tokens() > 5);
    }

    #[test]
    fn a_scripted_reply_survives_being_cut_into_pieces() {
        let script = Script {
            reply: Some("one two  three".to_owned()),
            ..Script::default()
        };
        assert_eq!(
            Answer::compose("", None, None, &script).text(),
            "one two  three"
        );
    }

    #[test]
    fn chunks_are_exactly_as_many_as_asked() {
        for wanted in [1, 3, 20, 200] {
            let script = Script {
                chunks: Some(wanted),
                ..Script::default()
            };
            assert_eq!(
                Answer::compose("x", None, None, &script).pieces.len(),
                wanted
            );
        }
    }

    #[test]
    fn max_tokens_ends_an_answer_early() {
        let answer = Answer::compose("x", Some(3), None, &Script::default());
        assert!(answer.truncated);
        assert_eq!(answer.tokens(), 3);
    }

    #[test]
    fn a_large_answer_is_at_least_as_large_as_asked() {
        let script = Script {
            body_bytes: Some(100_000),
            ..Script::default()
        };
        assert!(Answer::compose("x", None, None, &script).text().len() >= 100_000);
    }

    #[test]
    fn text_is_found_in_strings_and_parts() {
        assert_eq!(content_text(&serde_json::json!("hello")), "hello");
        let parts = serde_json::json!([{"type":"text","text":"a"},{"type":"image_url"},{"type":"text","text":"b"}]);
        assert_eq!(content_text(&parts), "a\nb");
    }
}
