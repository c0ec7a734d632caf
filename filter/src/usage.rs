//! Tokens of an exchange: what its provider reports, else what is counted here.
//!
//! OpenAI's streams report usage only when asked, some providers never do, and a stream that
//! is broken off has not come to it. Then the texts are counted as `jupiter_tokens` counts
//! them, and the record says which counts are estimates. Only the beginning of long texts is
//! kept for that; what is beyond counts by its length.

use jupiter_policy::facts::RequestFacts;
use jupiter_provider::{Said, Summary};
use jupiter_tokens::{Counting, Prompt, counting_of, prompt_tokens, text_tokens};

/// Most text of a request that is kept until its answer reports usage.
const MAX_KEPT: usize = 16 << 10;

/// What was asked.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    messages: Vec<(String, String)>,
    others: Vec<String>,
    kept: usize,
    /// Of all texts, kept or not.
    bytes: usize,
}

impl Asked {
    pub fn of(request: &RequestFacts) -> Asked {
        let mut asked = Asked::default();
        for message in &request.messages {
            let content = asked.keep(&message.content);
            asked.messages.push((message.role.clone(), content));
        }
        for text in &request.other_texts {
            let text = asked.keep(text);
            asked.others.push(text);
        }
        asked
    }

    pub fn kept_bytes(&self) -> usize {
        self.kept
    }

    fn keep(&mut self, text: &str) -> String {
        self.bytes += text.len();
        let room = text.floor_char_boundary(MAX_KEPT - self.kept);
        let kept = text.get(..room).unwrap_or_default();
        self.kept += kept.len();
        kept.to_owned()
    }

    fn tokens(&self, counting: Counting) -> u64 {
        let messages = self.messages.iter();
        let counted = prompt_tokens(
            counting,
            Prompt {
                messages: messages.map(|(role, content)| (role.as_str(), content.as_str())),
                others: self.others.iter().map(String::as_str),
            },
        );
        scaled(counted, self.bytes, self.kept)
    }
}

/// Tokens of one exchange.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Usage {
    pub input: Option<u64>,
    pub output: Option<u64>,
    /// Fields of the record whose counts nobody reported.
    pub estimated: Vec<&'static str>,
}

impl Usage {
    /// Without `asked` there is nothing to estimate.
    pub fn of(summary: &Summary, asked: Option<&Asked>, model: Option<&str>) -> Usage {
        let mut usage = Usage {
            input: summary.input_tokens,
            output: summary.output_tokens,
            estimated: vec![],
        };
        let complete = usage.input.is_some() && usage.output.is_some() && !summary.is_cut;
        let Some(asked) = asked.filter(|_| !complete && summary.said.bytes() > 0) else {
            return usage;
        };
        let counting = counting_of(model.unwrap_or_default());
        if usage.input.is_none() {
            usage.input = Some(asked.tokens(counting));
            usage.estimated.push("input_tokens");
        }
        // What a stream reports before its end may be of its beginning alone.
        let said = said_tokens(counting, &summary.said);
        if usage
            .output
            .is_none_or(|told| summary.is_cut && told < said)
        {
            usage.output = Some(said);
            usage.estimated.push("output_tokens");
        }
        usage
    }
}

fn said_tokens(counting: Counting, said: &Said) -> u64 {
    let counted = said.texts().map(|text| text_tokens(counting, text)).sum();
    scaled(counted, said.bytes(), said.kept_bytes())
}

/// Tokens of `bytes` of text, of which `kept` were counted.
fn scaled(counted: u64, bytes: usize, kept: usize) -> u64 {
    match bytes > kept {
        true => counted.saturating_mul(bytes as u64) / (kept as u64).max(1),
        false => counted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jupiter_policy::facts::Message;
    use jupiter_provider::{Api, BodyKind, ResponseReader};

    fn asked(words: usize) -> Asked {
        Asked::of(&RequestFacts {
            messages: vec![Message {
                role: "user".to_owned(),
                content: " word".repeat(words),
            }],
            ..RequestFacts::default()
        })
    }

    fn summary(stream: &str) -> Summary {
        let mut reader = ResponseReader::new(Api::ChatCompletions, BodyKind::EventStream, 1 << 20);
        reader.push(stream.as_bytes());
        reader.finish(true)
    }

    fn event(data: &str) -> String {
        format!("data: {data}\n\n")
    }

    fn said(words: usize) -> String {
        let text = " word".repeat(words);
        event(&format!(
            "{{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}"
        ))
    }

    const REPORTED: &str =
        "{\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":6}}";

    #[test]
    fn usage_is_what_the_provider_reports_else_what_is_counted() {
        // Around each message three tokens, one for its role, three to begin the answer.
        for (stream, input, output, estimated) in [
            (said(40) + &event(REPORTED) + &event("[DONE]"), 5, 6, vec![]),
            (
                said(40) + &event("[DONE]"),
                107,
                40,
                vec!["input_tokens", "output_tokens"],
            ),
            // Broken off: what was told of it is less than what was said.
            (event(REPORTED) + &said(40), 5, 40, vec!["output_tokens"]),
            (event(REPORTED) + &said(4), 5, 6, vec![]),
        ] {
            let usage = Usage::of(&summary(&stream), Some(&asked(100)), Some("gpt-4o"));
            assert_eq!(
                (usage.input, usage.output),
                (Some(input), Some(output)),
                "{stream}"
            );
            assert_eq!(usage.estimated, estimated, "{stream}");
        }
    }

    #[test]
    fn nothing_is_estimated_where_nothing_was_said() {
        let nothing = summary(&event("[DONE]"));
        assert_eq!(Usage::of(&nothing, Some(&asked(9)), None), Usage::default());
        let words = summary(&(said(3) + &event("[DONE]")));
        assert_eq!(Usage::of(&words, None, None), Usage::default());
    }

    #[test]
    fn long_texts_count_by_their_length() {
        let asked = asked(100_000);
        assert!(asked.kept_bytes() <= MAX_KEPT);
        let usage = Usage::of(&summary(&said(100_000)), Some(&asked), Some("gpt-4o"));
        for tokens in [usage.input, usage.output] {
            let tokens = tokens.unwrap();
            assert!((99_000..101_000).contains(&tokens), "{tokens}");
        }
    }
}
