//! What is text in a body, and what only looks like it: one rule for requests
//! and answers.

use crate::json::{self, Member, Node};

/// Some content is no text: images, audio, files, token ids.
pub(crate) const NON_TEXT: &str = "non_text_content";
/// Some text is encrypted for the provider's eyes.
pub(crate) const ENCRYPTED: &str = "encrypted_content";

/// Members of one object that hold no text, though they are strings.
pub(crate) struct Opaque {
    encoded: bool,
    thinking: bool,
    redacted: bool,
}

/// What becomes of a member that holds no text.
pub(crate) enum Reading {
    /// Of no concern: proves a text, and says nothing.
    Skipped,
    Unscanned(&'static str),
}

impl Opaque {
    pub(crate) fn of(members: &[Member<'_>]) -> Opaque {
        let kind = json::get(members, "type").and_then(Node::as_str);
        Opaque {
            // Declared to be bytes: Anthropic's base64 sources, OpenAI's audio and files.
            encoded: kind == Some("base64")
                || members
                    .iter()
                    .any(|m| matches!(m.key.as_ref(), "format" | "file_data")),
            thinking: kind == Some("thinking"),
            redacted: kind == Some("redacted_thinking"),
        }
    }

    pub(crate) fn is(&self, key: &str, value: &Node<'_>) -> Option<Reading> {
        let text = value.as_str()?;
        match key {
            "data" | "file_data" if self.encoded => Some(Reading::Unscanned(NON_TEXT)),
            "data" if self.redacted => Some(Reading::Unscanned(ENCRYPTED)),
            "encrypted_content" if !text.is_empty() => Some(Reading::Unscanned(ENCRYPTED)),
            "signature" if self.thinking => Some(Reading::Skipped),
            _ => None,
        }
    }
}

/// Keys that the dialects prescribe wherever they stand: no words of anyone's.
pub(crate) fn is_known_key(key: &str) -> bool {
    // Bytes are told apart by a few of them, texts one text after the other.
    matches!(
        key.as_bytes(),
        b"type"
            | b"role"
            | b"text"
            | b"content"
            | b"name"
            | b"id"
            | b"function"
            | b"arguments"
            | b"description"
            | b"parameters"
            | b"properties"
            | b"required"
            | b"input"
            | b"input_schema"
            | b"tools"
            | b"tool_calls"
            | b"tool_call_id"
            | b"tool_choice"
            | b"tool_use_id"
            | b"call_id"
            | b"image_url"
            | b"url"
            | b"detail"
            | b"source"
            | b"media_type"
            | b"title"
            | b"items"
            | b"enum"
            | b"additionalProperties"
            | b"strict"
            | b"temperature"
            | b"top_p"
            | b"max_tokens"
            | b"max_completion_tokens"
            | b"max_output_tokens"
            | b"frequency_penalty"
            | b"presence_penalty"
            | b"stop"
            | b"stop_sequences"
            | b"stream"
            | b"stream_options"
            | b"include_usage"
            | b"n"
            | b"user"
            | b"user_id"
            | b"metadata"
            | b"response_format"
            | b"json_schema"
            | b"schema"
            | b"cache_control"
            | b"encoding_format"
            | b"dimensions"
            | b"store"
            | b"reasoning"
            | b"effort"
            | b"summary"
            | b"output"
            | b"status"
            | b"index"
            | b"choices"
            | b"message"
            | b"annotations"
            | b"refusal"
            | b"error"
            | b"code"
            | b"param"
    )
}

pub(crate) fn is_data_url(text: &str) -> bool {
    text.starts_with("data:") && text.bytes().take(128).any(|b| b == b',')
}

/// Numbers long enough to be of a card, an account or a telephone.
pub(crate) fn is_telling_number(text: &str) -> bool {
    text.len() >= 9 && text.bytes().filter(u8::is_ascii_digit).count() >= 9
}
