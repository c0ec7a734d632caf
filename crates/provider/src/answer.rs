//! The texts of an answer, whole or in one event of a stream.
//!
//! As in requests, every string counts; those the dialects prescribe (ids,
//! roles, reasons) apart, and apart from what an answer repeats of its
//! request. What belongs together across events has one [`Channel`].

mod event;

pub(crate) use event::{End, Event, FOREIGN_EVENT, event, is_foreign};

use crate::Api;
use crate::json::{self, Member, Node, Span, Value};
use crate::literal::Form;
use crate::text::{
    ENCRYPTED, NON_TEXT, Opaque, Reading, is_data_url, is_known_key, is_telling_number,
};

/// Texts of one channel, in order, are one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel {
    pub kind: TextKind,
    /// The choice, content block or output item.
    pub index: u32,
    /// The tool call, content part or summary within it.
    pub part: u32,
}

/// What a text of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TextKind {
    Content,
    Refusal,
    Reasoning,
    /// The arguments of a tool call, with the escapes of their strings decoded.
    ToolArguments,
    /// Names, citations, errors, and fields we never heard of.
    Other,
}

/// How a text in an event relates to those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Continues its channel.
    Delta,
    /// Complete in itself.
    Whole,
}

/// A text of an answer and where it stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spot<'t> {
    pub(crate) channel: Channel,
    pub(crate) role: Role,
    /// What the literal decodes to.
    pub(crate) text: &'t str,
    pub(crate) literal: Span,
    pub(crate) form: Form,
}

/// What was found.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Texts<'t> {
    pub(crate) spots: Vec<Spot<'t>>,
    /// Token probabilities: they spell the text again, and go when it changes.
    pub(crate) logprobs: Vec<&'t Node<'t>>,
    pub(crate) unscanned: Option<&'static str>,
}

/// All texts of a whole answer.
pub(crate) fn answer<'t>(api: Api, root: &'t Node<'t>) -> Texts<'t> {
    let mut walk = Walk::new(Role::Whole);
    match api {
        Api::ChatCompletions | Api::Completions => walk.choices(root),
        Api::Responses | Api::StoredResponses => walk.response(root),
        Api::Messages => {
            let blocks = root.get("content").map(Node::items).unwrap_or_default();
            for (block, index) in blocks.iter().zip(0..) {
                walk.block(block, index);
            }
            walk.others(root.members(), &["content", "usage"]);
        }
        Api::Embeddings => {
            for item in root.get("data").map(Node::items).unwrap_or_default() {
                walk.others(item.members(), &["embedding"]);
            }
            walk.others(root.members(), &["data", "usage"]);
        }
        Api::Models | Api::CountTokens => walk.others(root.members(), &[]),
    }
    walk.found
}

struct Walk<'t> {
    found: Texts<'t>,
    /// Of what continues from event to event.
    role: Role,
}

impl<'t> Walk<'t> {
    fn new(role: Role) -> Walk<'t> {
        Walk {
            found: Texts::default(),
            role,
        }
    }

    /// Chat completions and completions, and their chunks.
    fn choices(&mut self, root: &'t Node<'t>) {
        let choices = root.get("choices").map(Node::items).unwrap_or_default();
        for (choice, place) in choices.iter().zip(0..) {
            let index = choice.get("index").and_then(Node::as_u32).unwrap_or(place);
            for member in choice.members() {
                match member.key.as_ref() {
                    "message" | "delta" => self.message(&member.value, index),
                    "text" => self.streamed(TextKind::Content, index, 0, &member.value),
                    "logprobs" => self.logprobs(&member.value),
                    "finish_reason" => {}
                    _ => self.structural(member),
                }
            }
        }
        self.others(root.members(), &["choices", "usage"]);
    }

    /// A chat message, or the delta of one.
    fn message(&mut self, message: &'t Node<'t>, index: u32) {
        for member in message.members() {
            let value = &member.value;
            match member.key.as_ref() {
                "content" => self.parts(value, index),
                "refusal" => self.streamed(TextKind::Refusal, index, 0, value),
                "reasoning_content" | "reasoning" => {
                    self.streamed(TextKind::Reasoning, index, 0, value);
                }
                "tool_calls" => {
                    for (call, place) in value.items().iter().zip(0..) {
                        let part = call.get("index").and_then(Node::as_u32).unwrap_or(place);
                        self.tool_call(call, index, part);
                    }
                }
                "function_call" => self.function(value, index, LEGACY_CALL),
                "audio" => self.audio(value, index),
                _ => self.unknown(member, index),
            }
        }
    }

    /// A member we do not know: in deltas of one name, its texts are one text.
    fn unknown(&mut self, member: &'t Member<'t>, index: u32) {
        let prescribed = matches!(member.key.as_ref(), "role" | "type" | "id" | "signature");
        match member.value.as_str() {
            Some(_) if self.role == Role::Delta && !prescribed => {
                let part = fingerprint(&member.key);
                self.streamed(TextKind::Other, index, part, &member.value);
            }
            _ => self.structural(member),
        }
    }

    fn parts(&mut self, content: &'t Node<'t>, index: u32) {
        if content.as_str().is_some() {
            return self.streamed(TextKind::Content, index, 0, content);
        }
        for part in content.items() {
            if let Some(text) = part.get("text") {
                self.streamed(TextKind::Content, index, 0, text);
            }
            self.others(part.members(), &["text"]);
        }
        if content.items().is_empty() {
            self.free(content);
        }
    }

    fn tool_call(&mut self, call: &'t Node<'t>, index: u32, part: u32) {
        for member in call.members() {
            match member.key.as_ref() {
                "function" => self.function(&member.value, index, part),
                "custom" => {
                    if let Some(input) = member.value.get("input") {
                        self.streamed(TextKind::ToolArguments, index, part, input);
                    }
                    self.others(member.value.members(), &["input"]);
                }
                _ => self.structural(member),
            }
        }
    }

    fn function(&mut self, function: &'t Node<'t>, index: u32, part: u32) {
        if let Some(arguments) = function.get("arguments") {
            self.arguments(index, part, arguments);
        }
        self.others(function.members(), &["arguments"]);
    }

    fn audio(&mut self, audio: &'t Node<'t>, index: u32) {
        if let Some(transcript) = audio.get("transcript") {
            self.streamed(TextKind::Content, index, TRANSCRIPT, transcript);
        }
        if audio.get("data").is_some_and(|data| !data.is_null()) {
            self.unscanned(NON_TEXT);
        }
        self.others(audio.members(), &["transcript", "data"]);
    }

    /// A block of an Anthropic message.
    fn block(&mut self, block: &'t Node<'t>, index: u32) {
        let kind = block.str_at("type").unwrap_or_default();
        for member in block.members() {
            let value = &member.value;
            match (kind, member.key.as_ref()) {
                ("text", "text") => self.streamed(TextKind::Content, index, 0, value),
                ("thinking", "thinking") => self.streamed(TextKind::Reasoning, index, 0, value),
                ("thinking", "signature") => {}
                ("redacted_thinking", "data") => self.unscanned(ENCRYPTED),
                (_, "input") => self.tool_input(value, index),
                _ => self.structural(member),
            }
        }
    }

    /// The input of a tool, as JSON of its own: each string is a text.
    fn tool_input(&mut self, input: &'t Node<'t>, index: u32) {
        let from = self.found.spots.len();
        self.free(input);
        for spot in self.found.spots.iter_mut().skip(from) {
            spot.channel.kind = TextKind::ToolArguments;
            spot.channel.index = index;
        }
    }

    /// OpenAI's response object, what is deleted of it, or a list of its items.
    fn response(&mut self, response: &'t Node<'t>) {
        for key in ["output", "data"] {
            let items = response.get(key).map(Node::items).unwrap_or_default();
            for (item, index) in items.iter().zip(0..) {
                self.output_item(item, index);
            }
        }
        let mut told = ECHOES.to_vec();
        told.extend(["output", "data", "usage"]);
        self.others(response.members(), &told);
    }

    fn output_item(&mut self, item: &'t Node<'t>, index: u32) {
        let kind = item.str_at("type").unwrap_or("message");
        for member in item.members() {
            let value = &member.value;
            match (kind, member.key.as_ref()) {
                ("message" | "reasoning", "content") => {
                    if value.as_str().is_some() {
                        self.streamed(TextKind::Content, index, 0, value);
                    }
                    for (part, place) in value.items().iter().zip(0..) {
                        self.content_part(part, index, place);
                    }
                }
                ("reasoning", "summary") => {
                    for (part, place) in value.items().iter().zip(SUMMARIES..) {
                        if let Some(text) = part.get("text") {
                            self.streamed(TextKind::Reasoning, index, place, text);
                        }
                        self.others(part.members(), &["text"]);
                    }
                }
                (_, "arguments") => self.arguments(index, 0, value),
                ("custom_tool_call", "input") | ("code_interpreter_call", "code") => {
                    self.streamed(TextKind::ToolArguments, index, 0, value);
                }
                ("image_generation_call", "result") => {
                    if !value.is_null() {
                        self.unscanned(NON_TEXT);
                    }
                }
                _ => self.structural(member),
            }
        }
    }

    fn content_part(&mut self, part: &'t Node<'t>, index: u32, place: u32) {
        let kind = match part.str_at("type") {
            Some("reasoning_text") => TextKind::Reasoning,
            _ => TextKind::Content,
        };
        for member in part.members() {
            match member.key.as_ref() {
                "text" => self.streamed(kind, index, place, &member.value),
                "refusal" => self.streamed(TextKind::Refusal, index, place, &member.value),
                "logprobs" => self.logprobs(&member.value),
                _ => self.structural(member),
            }
        }
    }

    fn logprobs(&mut self, logprobs: &'t Node<'t>) {
        if !logprobs.is_null() && !logprobs_are_none(logprobs) {
            self.found.logprobs.push(logprobs);
        }
    }

    fn arguments(&mut self, index: u32, part: u32, arguments: &'t Node<'t>) {
        match arguments.as_str() {
            Some(text) => {
                self.push(
                    Channel {
                        kind: TextKind::ToolArguments,
                        index,
                        part,
                    },
                    self.role,
                    text,
                    arguments.span,
                    Form::Embedded,
                );
            }
            None => self.tool_input(arguments, index),
        }
    }

    /// A text that streams piece by piece; if it is none, whatever is in it.
    fn streamed(&mut self, kind: TextKind, index: u32, part: u32, value: &'t Node<'t>) {
        match value.as_str() {
            Some(text) => {
                let channel = Channel { kind, index, part };
                self.push(channel, self.role, text, value.span, Form::Plain);
            }
            None => self.free(value),
        }
    }

    /// Members whose meaning is not text, those of the dialects skipped.
    fn others(&mut self, members: &'t [Member<'t>], told: &[&str]) {
        for member in members {
            if !told.contains(&member.key.as_ref()) {
                self.structural(member);
            }
        }
    }

    /// A member that a dialect may prescribe.
    fn structural(&mut self, member: &'t Member<'t>) {
        let value = &member.value;
        match member.key.as_ref() {
            "id" | "object" | "type" | "role" | "model" | "status" | "stop_reason" | "index"
            | "created" | "created_at" | "completed_at" | "system_fingerprint" | "service_tier"
            | "call_id" | "item_id" | "response_id" | "tool_use_id" | "container" | "phase"
            | "obfuscation" | "sequence_number" | "output_index" | "content_index"
            | "summary_index" | "annotation_index" | "cache_control" | "signature"
                if !matches!(value.value, Value::Array(_) | Value::Object(_)) => {}
            "annotations" | "citations" | "citation" | "annotation" | "error" | "action"
            | "incomplete_details" | "context_management" | "content" | "summary" => {
                self.structures(value);
            }
            key => {
                if !is_known_key(key) {
                    self.other(key, member.key_span, Form::Plain);
                }
                self.free_member(None, member);
            }
        }
    }

    fn structures(&mut self, value: &'t Node<'t>) {
        match &value.value {
            Value::Array(items) => items.iter().for_each(|item| self.structures(item)),
            Value::Object(members) => {
                let opaque = Opaque::of(members);
                for member in members {
                    match opaque.is(&member.key, &member.value) {
                        Some(Reading::Skipped) => {}
                        Some(Reading::Unscanned(reason)) => self.unscanned(reason),
                        None => self.structural(member),
                    }
                }
            }
            _ => self.free(value),
        }
    }

    /// Anything: every string, every key that is not a dialect's.
    fn free(&mut self, value: &'t Node<'t>) {
        match &value.value {
            Value::String(text) if is_data_url(text) => self.unscanned(NON_TEXT),
            Value::String(text) => self.other(text, value.span, Form::Plain),
            Value::Number(text) if is_telling_number(text) => {
                self.other(text, value.span, Form::Number);
            }
            Value::Array(items) => items.iter().for_each(|item| self.free(item)),
            Value::Object(members) => {
                let opaque = Opaque::of(members);
                for member in members {
                    if !is_known_key(&member.key) {
                        self.other(&member.key, member.key_span, Form::Plain);
                    }
                    self.free_member(Some(&opaque), member);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn free_member(&mut self, opaque: Option<&Opaque>, member: &'t Member<'t>) {
        let value = &member.value;
        let none = Opaque::of(&[]);
        match opaque.unwrap_or(&none).is(&member.key, value) {
            Some(Reading::Skipped) => {}
            Some(Reading::Unscanned(reason)) => self.unscanned(reason),
            None => match (member.key.as_ref(), &value.value) {
                ("b64_json" | "partial_image_b64", Value::String(_)) => self.unscanned(NON_TEXT),
                _ => self.free(value),
            },
        }
    }

    fn other(&mut self, text: &'t str, literal: Span, form: Form) {
        let channel = Channel {
            kind: TextKind::Other,
            index: 0,
            part: 0,
        };
        self.push(channel, Role::Whole, text, literal, form);
    }

    fn push(&mut self, channel: Channel, role: Role, text: &'t str, literal: Span, form: Form) {
        self.found.spots.push(Spot {
            channel,
            role,
            text,
            literal,
            form,
        });
    }

    fn unscanned(&mut self, reason: &'static str) {
        self.found.unscanned.get_or_insert(reason);
    }
}

/// FNV-1a: tells names apart within one answer.
fn fingerprint(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

fn logprobs_are_none(logprobs: &Node<'_>) -> bool {
    matches!(&logprobs.value, Value::Array(items) if items.is_empty())
}

/// Parts of a channel that share their index with numbered ones.
const LEGACY_CALL: u32 = u32::MAX;
const TRANSCRIPT: u32 = u32::MAX;
/// Summaries of reasoning are numbered from here, its parts from 0.
pub(crate) const SUMMARIES: u32 = 1 << 16;

/// What a response object repeats of its request.
const ECHOES: [&str; 12] = [
    "instructions",
    "tools",
    "tool_choice",
    "metadata",
    "text",
    "prompt",
    "reasoning",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "previous_response_id",
    "conversation",
];

/// The usage of an answer or an event, wherever its dialect puts it.
pub(crate) fn usage<'t>(root: &'t Node<'t>) -> Option<&'t Node<'t>> {
    let holder = root.get("response").or_else(|| root.get("message"));
    let inner = holder.and_then(|h| h.get("usage"));
    inner
        .or_else(|| json::get(root.members(), "usage"))
        .filter(|usage| !usage.is_null())
}
