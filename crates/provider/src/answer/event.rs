//! One event of a stream: its texts, and which channels it ends.

use super::{Channel, Role, SUMMARIES, TextKind, Texts, Walk};
use crate::Api;
use crate::json::Node;

pub(crate) const FOREIGN_EVENT: &str = "foreign_event";

/// What an event holds.
#[derive(Debug, PartialEq)]
pub(crate) struct Event<'t> {
    pub(crate) texts: Texts<'t>,
    pub(crate) ends: Vec<End>,
    /// Whether the answer ends with it: in a dialect's way, or by an error.
    pub(crate) last: bool,
}

/// Channels of which no more text comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    All,
    /// Of a choice, content block or output item.
    Index(u32),
    /// Of one part of it.
    Part(u32, u32),
}

impl End {
    pub(crate) fn covers(self, channel: Channel) -> bool {
        match self {
            End::All => true,
            End::Index(index) => channel.index == index,
            End::Part(index, part) => channel.index == index && channel.part == part,
        }
    }
}

/// Reads the data of one event.
pub(crate) fn event<'t>(api: Api, root: &'t Node<'t>) -> Event<'t> {
    let mut walk = Walk::new(Role::Delta);
    let (mut ends, mut last) = (vec![], false);
    match api {
        Api::Messages | Api::CountTokens | Api::Models => {
            anthropic(&mut walk, root, &mut ends, &mut last);
        }
        Api::Responses | Api::StoredResponses => typed(&mut walk, root, &mut ends, &mut last),
        Api::ChatCompletions | Api::Completions | Api::Embeddings => {
            walk.choices(root);
            let choices = root.get("choices").map(Node::items).unwrap_or_default();
            for (choice, place) in choices.iter().zip(0..) {
                if choice.get("finish_reason").is_some_and(|r| !r.is_null()) {
                    let index = choice.get("index").and_then(Node::as_u32);
                    ends.push(End::Index(index.unwrap_or(place)));
                }
            }
            if root.get("error").is_some_and(|e| !e.is_null()) {
                ends.push(End::All);
                last = true;
            }
        }
    }
    if is_foreign(api, root) {
        walk.unscanned(FOREIGN_EVENT);
    }
    Event {
        texts: walk.found,
        ends,
        last,
    }
}

/// Whether it is an event of another API's streams: what its pieces are pieces of is not
/// known here, so what they say together is not read.
pub(crate) fn is_foreign(api: Api, root: &Node<'_>) -> bool {
    let kind = root.str_at("type").unwrap_or_default();
    let has = |key| root.get(key).is_some();
    match api {
        Api::Messages | Api::CountTokens | Api::Models => {
            has("choices") || kind.starts_with("response.")
        }
        Api::Responses | Api::StoredResponses => {
            has("choices") || kind.starts_with("content_block_")
        }
        Api::ChatCompletions | Api::Completions | Api::Embeddings => {
            !has("choices") && has("delta")
        }
    }
}

fn anthropic<'t>(walk: &mut Walk<'t>, root: &'t Node<'t>, ends: &mut Vec<End>, last: &mut bool) {
    let index = root.get("index").and_then(Node::as_u32).unwrap_or(0);
    match root.str_at("type").unwrap_or_default() {
        "content_block_start" => {
            if let Some(block) = root.get("content_block") {
                walk.block(block, index);
            }
            walk.others(root.members(), &["content_block"]);
        }
        "content_block_delta" => {
            let delta = root.get("delta").map(Node::members).unwrap_or_default();
            for member in delta {
                let value = &member.value;
                match member.key.as_ref() {
                    "text" => walk.streamed(TextKind::Content, index, 0, value),
                    "thinking" => walk.streamed(TextKind::Reasoning, index, 0, value),
                    "partial_json" => walk.arguments(index, 0, value),
                    _ => walk.unknown(member, index),
                }
            }
            walk.others(root.members(), &["delta"]);
        }
        "content_block_stop" => {
            ends.push(End::Index(index));
            walk.others(root.members(), &[]);
        }
        "message_start" => {
            let message = root.get("message").map(Node::members).unwrap_or_default();
            let blocks = root.get("message").and_then(|m| m.get("content"));
            for (block, index) in blocks.map(Node::items).unwrap_or_default().iter().zip(0..) {
                walk.block(block, index);
            }
            walk.others(message, &["content", "usage"]);
            walk.others(root.members(), &["message"]);
        }
        kind => {
            if matches!(kind, "message_delta" | "message_stop" | "error") {
                ends.push(End::All);
            }
            *last = matches!(kind, "message_stop" | "error");
            let delta = root.get("delta").map(Node::members).unwrap_or_default();
            walk.others(delta, &["stop_sequence"]);
            walk.others(root.members(), &["delta", "usage"]);
        }
    }
}

/// OpenAI's typed events: `response.…`.
fn typed<'t>(walk: &mut Walk<'t>, root: &'t Node<'t>, ends: &mut Vec<End>, last: &mut bool) {
    let number = |key| root.get(key).and_then(Node::as_u32);
    let index = number("output_index").unwrap_or(0);
    let kind = root.str_at("type").unwrap_or_default();
    let (text_kind, part) = match kind {
        k if k.starts_with("response.output_text.") => (TextKind::Content, number("content_index")),
        k if k.starts_with("response.refusal.") => (TextKind::Refusal, number("content_index")),
        k if k.starts_with("response.reasoning_summary") => (
            TextKind::Reasoning,
            number("summary_index").map(|n| n.saturating_add(SUMMARIES)),
        ),
        k if k.starts_with("response.reasoning_text.") => {
            (TextKind::Reasoning, number("content_index"))
        }
        k if k.starts_with("response.audio.transcript.") => (TextKind::Content, None),
        k if k.ends_with("_arguments.delta") || k.ends_with("_arguments.done") => {
            (TextKind::ToolArguments, None)
        }
        k if k.starts_with("response.custom_tool_call_input.")
            || k.starts_with("response.code_interpreter_call_code.") =>
        {
            (TextKind::ToolArguments, None)
        }
        _ => (TextKind::Other, None),
    };
    let part = part.unwrap_or(0);
    let done = kind.ends_with(".done");
    if done {
        walk.role = Role::Whole;
        ends.push(match kind {
            "response.output_item.done" => End::Index(index),
            _ => End::Part(index, part_ended(root).unwrap_or(part)),
        });
    }
    if matches!(
        kind,
        "response.completed" | "response.failed" | "response.incomplete" | "error"
    ) {
        ends.push(End::All);
        *last = true;
    }
    if kind == "response.audio.delta" {
        walk.unscanned(crate::text::NON_TEXT);
        return;
    }
    for member in root.members() {
        let value = &member.value;
        match (member.key.as_ref(), text_kind) {
            ("delta" | "arguments", TextKind::ToolArguments) if kind.contains("_arguments.") => {
                walk.arguments(index, part, value);
            }
            ("delta", _)
            | ("text", TextKind::Content | TextKind::Reasoning)
            | ("transcript", TextKind::Content)
            | ("refusal", TextKind::Refusal)
            | ("input" | "code", TextKind::ToolArguments) => {
                walk.streamed(text_kind, index, part, value);
            }
            ("logprobs", _) => walk.logprobs(value),
            ("response", _) => {
                walk.role = Role::Whole;
                walk.response(value);
            }
            ("item", _) => {
                walk.role = Role::Whole;
                walk.output_item(value, index);
            }
            ("part", _) if kind.starts_with("response.reasoning_summary_part.") => {
                walk.role = Role::Whole;
                if let Some(text) = value.get("text") {
                    walk.streamed(TextKind::Reasoning, index, part, text);
                }
                walk.others(value.members(), &["text"]);
            }
            ("part", _) => {
                walk.role = Role::Whole;
                walk.content_part(value, index, number("content_index").unwrap_or(0));
            }
            _ => walk.structural(member),
        }
    }
}

/// Of `content_part.done`, whose part is told by its content index alone.
fn part_ended(root: &Node<'_>) -> Option<u32> {
    let kind = root.str_at("type")?;
    (kind == "response.content_part.done")
        .then(|| root.get("content_index").and_then(Node::as_u32))?
}
