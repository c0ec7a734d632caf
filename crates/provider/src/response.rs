//! Answers, whole or streamed, to facts, while they pass.
//!
//! [`ResponseReader`] never holds a byte back: it reads along. What it could
//! not read to the end it says so, with a reason.

use crate::sse::EventReader;
use serde::Deserialize;

/// What an answer said of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseFacts {
    pub model: Option<String>,
    pub id: Option<String>,
    pub finish_reasons: Vec<String>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    /// Why it was not read in full; `None`: it was.
    pub unscanned: Option<&'static str>,
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
    kind: BodyKind,
    limit: usize,
    body: Vec<u8>,
    events: EventReader,
    facts: ResponseFacts,
    terminal: bool,
    seen: bool,
}

impl ResponseReader {
    /// `limit` bounds what is kept: a JSON body, or one event of a stream.
    pub fn new(kind: BodyKind, limit: usize) -> ResponseReader {
        let facts = ResponseFacts {
            unscanned: match kind {
                BodyKind::Opaque(reason) => Some(reason),
                BodyKind::Json | BodyKind::EventStream => None,
            },
            ..ResponseFacts::default()
        };
        let events = EventReader::new(limit);
        ResponseReader {
            kind,
            limit,
            body: vec![],
            events,
            facts,
            terminal: false,
            seen: false,
        }
    }

    /// Takes the next bytes of the body.
    pub fn push(&mut self, bytes: &[u8]) {
        self.seen |= !bytes.is_empty();
        if self.facts.unscanned.is_some() {
            return;
        }
        match self.kind {
            BodyKind::Json if self.body.len() + bytes.len() > self.limit => {
                self.body = vec![];
                self.facts.unscanned = Some("too_large");
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
        self.facts.unscanned.get_or_insert(reason);
    }

    /// Bytes held at the moment.
    pub fn kept_bytes(&self) -> usize {
        self.body.len() + self.events.kept_bytes()
    }

    /// Whether any body byte came.
    pub fn has_body(&self) -> bool {
        self.seen
    }

    /// The facts; `complete` says whether the transport saw the end of the body.
    pub fn finish(mut self, complete: bool) -> ResponseFacts {
        if self.facts.unscanned.is_none() && self.seen {
            match self.kind {
                BodyKind::Json => match serde_json::from_slice::<Part>(&self.body) {
                    Ok(part) => part.tell(&mut self.facts),
                    Err(_) if !complete => self.facts.unscanned = Some("cut"),
                    Err(_) => self.facts.unscanned = Some("malformed_json"),
                },
                BodyKind::EventStream if !self.terminal || self.events.has_partial_event() => {
                    self.facts.unscanned = Some("cut");
                }
                _ => {}
            }
        }
        if !complete && self.facts.unscanned.is_none() && self.seen && !self.terminal {
            self.facts.unscanned = Some("cut");
        }
        self.facts
    }

    fn push_events(&mut self, bytes: &[u8]) {
        let (facts, terminal) = (&mut self.facts, &mut self.terminal);
        let mut malformed = false;
        let pushed = self.events.push(bytes, |data| {
            if data == b"[DONE]" {
                *terminal = true;
                return;
            }
            match serde_json::from_slice::<Part>(data) {
                Ok(part) => {
                    *terminal |= part.ends_stream();
                    part.tell(facts);
                }
                Err(_) => malformed = true,
            }
        });
        if pushed.is_err() {
            self.facts.unscanned = Some("event_too_large");
        } else if malformed {
            self.facts.unscanned = Some("malformed_stream");
        }
    }
}

/// The members we read, of a whole answer or of one event, in either dialect.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Part {
    r#type: Option<String>,
    id: Option<String>,
    model: Option<String>,
    choices: Option<Vec<Choice>>,
    stop_reason: Option<String>,
    usage: Option<Usage>,
    message: Option<Box<Part>>,
    delta: Option<Delta>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Choice {
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Delta {
    stop_reason: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Usage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl Part {
    fn ends_stream(&self) -> bool {
        self.r#type.as_deref() == Some("message_stop")
    }

    fn tell(self, facts: &mut ResponseFacts) {
        if let Some(message) = self.message {
            message.tell(facts);
        }
        set(&mut facts.id, self.id);
        set(&mut facts.model, self.model);
        let reasons = self
            .choices
            .into_iter()
            .flatten()
            .filter_map(|c| c.finish_reason);
        let delta_reason = self.delta.and_then(|d| d.stop_reason);
        facts
            .finish_reasons
            .extend(reasons.chain(self.stop_reason).chain(delta_reason));
        if let Some(usage) = self.usage {
            set(
                &mut facts.input_tokens,
                usage.prompt_tokens.or(usage.input_tokens),
            );
            set(
                &mut facts.output_tokens,
                usage.completion_tokens.or(usage.output_tokens),
            );
        }
    }
}

fn set<T>(slot: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *slot = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OPENAI_STREAM: &str = concat!(
        "data: {\"id\":\"c1\",\"model\":\"gpt-4o\",\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}],\"usage\":null}\n\n",
        "data: {\"id\":\"c1\",\"model\":\"gpt-4o\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"id\":\"c1\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7,\"total_tokens\":12}}\n\n",
        "data: [DONE]\n\n"
    );

    fn read(kind: BodyKind, pieces: &[&[u8]], complete: bool) -> ResponseFacts {
        let mut reader = ResponseReader::new(kind, 1 << 20);
        pieces.iter().for_each(|piece| reader.push(piece));
        reader.finish(complete)
    }

    #[test]
    fn usage_comes_from_the_last_chunk_of_a_stream() {
        let facts = read(BodyKind::EventStream, &[OPENAI_STREAM.as_bytes()], true);
        assert_eq!(
            (facts.input_tokens, facts.output_tokens),
            (Some(5), Some(7))
        );
        assert_eq!(facts.finish_reasons, ["stop"]);
        assert_eq!(facts.unscanned, None);
    }

    #[test]
    fn anthropic_stream_joins_usage_of_its_first_and_last_events() {
        let stream = concat!(
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m1\",\"model\":\"claude\",\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n",
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\n",
            "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":9}}\n\n",
            "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
        );
        let facts = read(BodyKind::EventStream, &[stream.as_bytes()], true);
        assert_eq!(
            (facts.input_tokens, facts.output_tokens),
            (Some(3), Some(9))
        );
        assert_eq!(
            (facts.id.as_deref(), facts.finish_reasons.as_slice()),
            (Some("m1"), &["end_turn".to_owned()][..])
        );
        assert_eq!(facts.unscanned, None);
    }

    #[test]
    fn what_was_not_read_to_the_end_is_said_to_be_unscanned() {
        let json = br#"{"id":"c","model":"m","choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
        let stream = OPENAI_STREAM.as_bytes();
        for (kind, body, complete, expected) in [
            (BodyKind::Json, &json[..], true, None),
            (BodyKind::Json, &json[..40], false, Some("cut")),
            (BodyKind::Json, &b"<html>"[..], true, Some("malformed_json")),
            (BodyKind::EventStream, &stream[..100], false, Some("cut")),
            (BodyKind::EventStream, &stream[..200], true, Some("cut")),
            (
                BodyKind::EventStream,
                &b"data: {\n\n"[..],
                true,
                Some("malformed_stream"),
            ),
            (
                BodyKind::Opaque("content_type"),
                &b"x"[..],
                true,
                Some("content_type"),
            ),
        ] {
            assert_eq!(
                read(kind, &[body], complete).unscanned,
                expected,
                "{body:?}"
            );
        }
        let mut small = ResponseReader::new(BodyKind::Json, 10);
        small.push(json);
        assert_eq!(small.finish(true).unscanned, Some("too_large"));
    }

    #[test]
    fn kind_is_told_by_headers() {
        for (content_type, encoding, expected) in [
            (
                Some("application/json; charset=utf-8"),
                None,
                BodyKind::Json,
            ),
            (
                Some("text/event-stream"),
                Some("identity"),
                BodyKind::EventStream,
            ),
            (
                Some("application/json"),
                Some("gzip"),
                BodyKind::Opaque("content_encoding"),
            ),
            (Some("text/html"), None, BodyKind::Opaque("content_type")),
            (None, None, BodyKind::Opaque("content_type")),
        ] {
            assert_eq!(BodyKind::of(content_type, encoding), expected);
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_facts(cut in 0usize..500) {
            let bytes = OPENAI_STREAM.as_bytes();
            let (left, right) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(
                read(BodyKind::EventStream, &[left, right], true),
                read(BodyKind::EventStream, &[bytes], true)
            );
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, complete: bool) {
            let _ = read(BodyKind::Json, &[&bytes], complete);
            let _ = read(BodyKind::EventStream, &[&bytes], complete);
        }
    }
}
