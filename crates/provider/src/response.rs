//! Answers, whole or streamed, to facts.
//!
//! [`read_response`] reads a whole answer: its texts, each with its place, so
//! that [`crate::rewrite`] can change it. [`ResponseReader`] reads along while
//! an answer passes, and holds no byte back. What was not read to the end
//! says so, with a reason. Streams that are to be changed are
//! [`crate::StreamEditor`]'s.

use crate::Api;
use crate::answer::{self, TextKind, answer, event};
use crate::json::{self, Fault, LoneSurrogates, Node};
use crate::literal::{self, Form, Inside};
use crate::places::{Joined, Places, TextId};
use crate::said::Said;
use crate::sse::EventReader;
use crate::stream::no_logprobs;
use jupiter_policy::facts::{ResponseFacts, TokenCounts};
use std::ops::ControlFlow;

/// What an answer said of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    pub model: Option<String>,
    pub id: Option<String>,
    pub finish_reasons: Vec<String>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub said: Said,
    /// A stream without its last event: what usage it reported is that of its beginning.
    pub is_cut: bool,
    /// Why it was not read in full; `None`: it was.
    pub unscanned: Option<&'static str>,
}

/// More reasons to finish than an answer has choices.
const MAX_FINISH_REASONS: usize = 128;

impl Summary {
    /// Adds what a whole answer, or one event of a stream, says.
    pub(crate) fn add(&mut self, root: &Node<'_>) {
        let inner = root.get("response").or_else(|| root.get("message"));
        for node in inner.into_iter().chain([root]) {
            set(&mut self.model, node.str_at("model").map(str::to_owned));
            if node
                .get("type")
                .is_none_or(|t| t.as_str() == Some("message"))
                || node.get("object").is_some()
            {
                set(&mut self.id, node.str_at("id").map(str::to_owned));
            }
            let choices = node.get("choices").map(Node::items).unwrap_or_default();
            let reasons = choices.iter().filter_map(|c| c.str_at("finish_reason"));
            let delta = node.get("delta").and_then(|d| d.str_at("stop_reason"));
            // A response is finished for the reason of its status.
            let status = node
                .str_at("status")
                .filter(|s| matches!(*s, "completed" | "failed" | "incomplete" | "cancelled"))
                .filter(|_| node.str_at("object") == Some("response"));
            let reasons = reasons.chain(delta).chain(node.str_at("stop_reason"));
            for reason in reasons.chain(status) {
                if self.finish_reasons.len() < MAX_FINISH_REASONS {
                    self.finish_reasons.push(reason.to_owned());
                }
            }
        }
        if let Some(usage) = answer::usage(root) {
            let tokens = |one, other| {
                let count = usage.get(one).or_else(|| usage.get(other));
                count.and_then(Node::as_u64)
            };
            set(
                &mut self.input_tokens,
                tokens("prompt_tokens", "input_tokens"),
            );
            set(
                &mut self.output_tokens,
                tokens("completion_tokens", "output_tokens"),
            );
        }
    }

    /// As policies see it, without its texts.
    pub fn to_facts(&self) -> ResponseFacts {
        let (prompt, completion) = (self.input_tokens, self.output_tokens);
        let total = match (prompt, completion) {
            (None, None) => None,
            _ => Some(prompt.unwrap_or(0).saturating_add(completion.unwrap_or(0))),
        };
        ResponseFacts {
            content: None,
            finish_reason: self.finish_reasons.first().cloned(),
            model: self.model.clone(),
            usage: TokenCounts {
                prompt_tokens: prompt.map(|n| n as f64),
                completion_tokens: completion.map(|n| n as f64),
                total_tokens: total.map(|n| n as f64),
            },
            other_texts: vec![],
        }
    }
}

fn set<T>(slot: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *slot = value;
    }
}

/// What a whole answer said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReadResponse {
    pub facts: ResponseFacts,
    pub summary: Summary,
    /// Where the texts of `facts` stand in the body.
    pub places: Places,
}

/// Reads a whole answer; what is not to be read as one says why not.
pub fn read_response(api: Api, body: &[u8]) -> Result<ReadResponse, &'static str> {
    let root = parse(body)?;
    let texts = answer(api, &root);
    let mut read = ReadResponse::default();
    read.summary.add(&root);
    read.summary.unscanned = texts.unscanned;
    read.facts = read.summary.to_facts();
    let mut content = Joined::new(TextId::Content);
    // Of several choices the first is the content.
    let choice = texts
        .spots
        .iter()
        .find(|s| s.channel.kind == TextKind::Content)
        .map(|s| s.channel.index);
    let one_choice = matches!(api, Api::ChatCompletions | Api::Completions);
    for spot in &texts.spots {
        read.summary.said.add_whole(spot);
        let shown = match spot.form {
            Form::Embedded => literal::shown(spot.text, Inside::default(), false).text,
            Form::Plain | Form::Number => spot.text.into(),
        };
        let is_content = spot.channel.kind == TextKind::Content
            && (!one_choice || choice == Some(spot.channel.index));
        if is_content {
            content.add(&shown, spot.literal, spot.form, &mut read.places);
        } else {
            let id = TextId::Other(read.facts.other_texts.len());
            let length = shown.len();
            read.places.note(id, 0, length, spot.literal, spot.form);
            read.facts.other_texts.push(shown.into_owned());
        }
    }
    for logprobs in &texts.logprobs {
        read.places
            .note_spelling(logprobs.span, no_logprobs(logprobs));
    }
    if content.has_begun() {
        read.facts.content = Some(content.into_text());
    }
    Ok(read)
}

/// Of an answer or an event; the fault as records name it.
pub(crate) fn parse(body: &[u8]) -> Result<Node<'_>, &'static str> {
    json::parse(body, LoneSurrogates::Replaced).map_err(|fault| match fault {
        Fault::Syntax { .. } => "malformed_json",
        Fault::DuplicateKey { .. } => "duplicate_key",
        Fault::TooDeep { .. } | Fault::TooManyValues => "too_complex",
    })
}

/// How a body is to be read, told by its headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    Json,
    EventStream,
    /// Neither, or encoded: passes unread, and is said to.
    Opaque(&'static str),
}

impl BodyKind {
    /// From `content-type` and `content-encoding`.
    pub fn of(content_type: Option<&str>, content_encoding: Option<&str>) -> BodyKind {
        if content_encoding.is_some_and(|e| !e.is_empty() && !e.eq_ignore_ascii_case("identity")) {
            return BodyKind::Opaque("content_encoding");
        }
        let essence = content_type
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default()
            .trim();
        if essence.eq_ignore_ascii_case("application/json") {
            BodyKind::Json
        } else if essence.eq_ignore_ascii_case("text/event-stream") {
            BodyKind::EventStream
        } else {
            BodyKind::Opaque("content_type")
        }
    }
}

/// Follows one answer.
#[derive(Debug)]
pub struct ResponseReader {
    api: Api,
    kind: BodyKind,
    limit: usize,
    body: Vec<u8>,
    events: EventReader,
    summary: Summary,
    ended: bool,
    seen: bool,
}

impl ResponseReader {
    /// `limit` bounds what is kept: a JSON body, or one event of a stream.
    pub fn new(api: Api, kind: BodyKind, limit: usize) -> ResponseReader {
        let summary = Summary {
            unscanned: match kind {
                BodyKind::Opaque(reason) => Some(reason),
                BodyKind::Json | BodyKind::EventStream => None,
            },
            ..Summary::default()
        };
        ResponseReader {
            api,
            kind,
            limit,
            body: vec![],
            events: EventReader::new(limit),
            summary,
            ended: false,
            seen: false,
        }
    }

    /// Takes the next bytes of the body.
    pub fn push(&mut self, bytes: &[u8]) {
        self.seen |= !bytes.is_empty();
        match self.kind {
            // Bytes that cannot be told apart any more.
            _ if self.summary.unscanned.is_some_and(ends_reading) => {}
            BodyKind::Json if self.body.len() + bytes.len() > self.limit => {
                self.body = vec![];
                self.summary.unscanned = Some("too_large");
            }
            BodyKind::Json => self.body.extend_from_slice(bytes),
            BodyKind::EventStream => self.push_events(bytes),
            BodyKind::Opaque(_) => {}
        }
    }

    /// Reads no further, for a reason of the reader's host; what was read so
    /// far is still told.
    pub fn give_up(&mut self, reason: &'static str) {
        self.seen = true;
        self.body = vec![];
        self.events = EventReader::new(0);
        self.kind = BodyKind::Opaque(reason);
        self.summary.unscanned.get_or_insert(reason);
    }

    /// Bytes held at the moment.
    pub fn kept_bytes(&self) -> usize {
        self.body.len() + self.events.kept_bytes() + self.summary.said.kept_bytes()
    }

    /// Whether any body byte came.
    pub fn has_body(&self) -> bool {
        self.seen
    }

    /// The facts; `complete` says whether the transport saw the end of the body.
    pub fn finish(mut self, complete: bool) -> Summary {
        let unscanned = match self.kind {
            _ if !self.seen => None,
            BodyKind::Json if self.summary.unscanned.is_none() => {
                match read(self.api, &self.body) {
                    Ok((summary, unscanned)) => {
                        self.summary = summary;
                        unscanned.or((!complete).then_some("cut"))
                    }
                    Err(_) if !complete => Some("cut"),
                    Err(reason) => Some(reason),
                }
            }
            BodyKind::EventStream => {
                let partial = self.events.kept_bytes() > 0;
                self.summary.is_cut = !self.ended;
                (!self.ended || partial).then_some("cut")
            }
            BodyKind::Json | BodyKind::Opaque(_) => None,
        };
        self.summary.unscanned = self.summary.unscanned.or(unscanned);
        self.summary
    }

    fn push_events(&mut self, bytes: &[u8]) {
        let (api, summary, ended) = (self.api, &mut self.summary, &mut self.ended);
        let pushed = self.events.push(bytes, |raw| {
            let Some(data) = raw.data().filter(|data| !data.is_empty()) else {
                return ControlFlow::<()>::Continue(());
            };
            if data == b"[DONE]" {
                *ended = true;
                return ControlFlow::Continue(());
            }
            match parse(&data) {
                Ok(root) => {
                    summary.add(&root);
                    let event = event(api, &root);
                    *ended |= event.last;
                    let spots = event.texts.spots.iter();
                    spots.for_each(|spot| summary.said.add_streamed(spot));
                    summary.unscanned = summary.unscanned.or(event.texts.unscanned);
                }
                Err(_) => summary.unscanned = summary.unscanned.or(Some("malformed_stream")),
            }
            ControlFlow::Continue(())
        });
        if pushed.is_err() {
            self.give_up("event_too_large");
        }
    }
}

/// Reasons after which nothing can be read.
fn ends_reading(reason: &str) -> bool {
    matches!(reason, "too_large" | "content_type" | "content_encoding")
}

fn read(api: Api, body: &[u8]) -> Result<(Summary, Option<&'static str>), &'static str> {
    let root = parse(body)?;
    let mut summary = Summary::default();
    summary.add(&root);
    let texts = answer(api, &root);
    let spots = texts.spots.iter();
    spots.for_each(|spot| summary.said.add_whole(spot));
    Ok((summary, texts.unscanned))
}

#[cfg(test)]
mod tests;
