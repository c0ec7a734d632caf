//! What came back: an answer, a refusal, or what went wrong.
//!
//! A refusal is ours when its error carries a `decision_id`: no provider sends
//! one, and the header of that name is on allowed answers too. A stream is
//! whole only with the end its API promises; closed in good order without it,
//! it was cut.

use super::plan::ApiArg;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use jupiter_provider::EventReader;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Of an error's body; more is read and thrown away.
const ERROR_BYTES: usize = 64 * 1024;
/// Of one event of a stream.
const EVENT_BYTES: usize = 1024 * 1024;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A whole answer.
    Answered,
    /// Refused by the policy, as it should be.
    Denied,
    /// Refused by the policy, though nothing in it should be.
    DeniedWrongly,
    /// Answered, though the policy should have refused it.
    LetThrough,
    /// Refused by the gateway for want of something: a bundle, room, evidence.
    Refused,
    /// No connection.
    Connect,
    /// The connection broke before an answer came.
    Reset,
    /// The answer broke off; a stream came to no proper end.
    Cut,
    /// No whole answer in time.
    Timeout,
    /// An error in the midst of a stream.
    StreamError,
    #[serde(rename = "http_4xx")]
    Http4xx,
    #[serde(rename = "http_5xx")]
    Http5xx,
    /// Not HTTP, or a status that no API answers with.
    Invalid,
    /// No connection was free within the timeout.
    NotSent,
}

impl Class {
    pub const ERRORS: [Class; 12] = [
        Class::NotSent,
        Class::Connect,
        Class::Reset,
        Class::Cut,
        Class::Timeout,
        Class::StreamError,
        Class::Http4xx,
        Class::Http5xx,
        Class::Refused,
        Class::Invalid,
        Class::DeniedWrongly,
        Class::LetThrough,
    ];

    pub fn is_error(self) -> bool {
        !matches!(self, Class::Answered | Class::Denied)
    }

    pub fn words(self) -> &'static str {
        match self {
            Class::Answered => "answered",
            Class::Denied => "denied by policy",
            Class::DeniedWrongly => "denied, though not of the policy mix",
            Class::LetThrough => "let through, though the policy should deny it",
            Class::Refused => "refused by the gateway, not by a policy",
            Class::Connect => "no connection",
            Class::Reset => "connection broken before an answer",
            Class::Cut => "answer cut short",
            Class::Timeout => "no whole answer in time",
            Class::StreamError => "error in a stream",
            Class::Http4xx => "status 4xx",
            Class::Http5xx => "status 5xx",
            Class::Invalid => "no proper HTTP answer",
            Class::NotSent => "not sent: no connection was free within the timeout",
        }
    }
}

/// The end of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub class: Class,
    /// What the gateway or the provider called it.
    pub code: Option<String>,
    pub first_token: Option<Instant>,
    /// Of its record.
    pub decision_id: Option<Uuid>,
}

impl Outcome {
    pub fn of(class: Class) -> Outcome {
        Outcome {
            class,
            code: None,
            first_token: None,
            decision_id: None,
        }
    }
}

/// Why no answer came at all.
pub fn class_of(error: &hyper::Error) -> Class {
    match error.is_parse() {
        true => Class::Invalid,
        false => Class::Reset,
    }
}

/// The id of its record, when the gateway named one.
pub fn decision_id(response: &Response<Incoming>) -> Option<Uuid> {
    let id = response.headers().get("x-mercator-decision-id")?;
    id.to_str().ok()?.parse().ok()
}

/// Reads an answer to its end; `on_gap` hears how far apart tokens came.
pub async fn read(
    response: Response<Incoming>,
    api: ApiArg,
    stream: bool,
    on_gap: impl FnMut(Duration),
) -> Outcome {
    let status = response.status();
    let body = response.into_body();
    match status.as_u16() {
        200..=299 if stream => read_stream(body, api, on_gap).await,
        200..=299 => Outcome::of(match drain(body).await {
            true => Class::Answered,
            false => Class::Cut,
        }),
        status @ 400..=599 => {
            let error = serde_json::from_slice::<Refusal>(&first_bytes(body).await);
            let error = error.unwrap_or_default().error;
            let class = match (&error.decision_id, status) {
                (Some(_), 403 | 429) => Class::Denied,
                (Some(_), _) => Class::Refused,
                (None, 400..=499) => Class::Http4xx,
                (None, _) => Class::Http5xx,
            };
            Outcome {
                code: Some(error.name().unwrap_or_else(|| status.to_string())),
                ..Outcome::of(class)
            }
        }
        _ => Outcome::of(Class::Invalid),
    }
}

/// The error of both dialects.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: ErrorObject,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorObject {
    code: Option<serde_json::Value>,
    r#type: Option<String>,
    decision_id: Option<String>,
}

impl ErrorObject {
    fn name(self) -> Option<String> {
        match self.code {
            Some(serde_json::Value::String(code)) => Some(code),
            _ => self.r#type,
        }
    }
}

/// Reads and forgets; whether it came to its end.
async fn drain(mut body: Incoming) -> bool {
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            return false;
        }
    }
    true
}

async fn first_bytes(mut body: Incoming) -> Vec<u8> {
    let mut kept = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            let room = ERROR_BYTES.saturating_sub(kept.len()).min(data.len());
            kept.extend(data.iter().take(room));
        }
    }
    kept
}

async fn read_stream(mut body: Incoming, api: ApiArg, on_gap: impl FnMut(Duration)) -> Outcome {
    let mut reader = StreamReader::new(api, on_gap);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { break };
        if let Ok(data) = frame.into_data() {
            reader.push(&data, Instant::now());
        }
    }
    reader.end()
}

/// Follows the events of one stream.
struct StreamReader<G> {
    api: ApiArg,
    events: EventReader,
    outcome: Outcome,
    last_token: Option<Instant>,
    on_gap: G,
}

impl<G: FnMut(Duration)> StreamReader<G> {
    fn new(api: ApiArg, on_gap: G) -> StreamReader<G> {
        StreamReader {
            api,
            events: EventReader::new(EVENT_BYTES),
            outcome: Outcome::of(Class::Cut),
            last_token: None,
            on_gap,
        }
    }

    fn push(&mut self, bytes: &Bytes, now: Instant) {
        let api = self.api;
        let (outcome, last_token, on_gap) =
            (&mut self.outcome, &mut self.last_token, &mut self.on_gap);
        let pushed = self.events.push(bytes, |event| {
            match event
                .data()
                .map_or(Event::Other, |data| Event::of(api, &data))
            {
                Event::Token => {
                    match last_token.replace(now) {
                        Some(last) => on_gap(now.saturating_duration_since(last)),
                        None => outcome.first_token = Some(now),
                    };
                }
                Event::End if outcome.class == Class::Cut => outcome.class = Class::Answered,
                Event::Error(error) => {
                    outcome.class = match (&error.decision_id, error.r#type.as_deref()) {
                        (Some(_), Some("policy_violation" | "permission_error")) => Class::Denied,
                        (Some(_), _) => Class::Refused,
                        (None, _) => Class::StreamError,
                    };
                    outcome.code = error.name();
                }
                Event::End | Event::Other => {}
            }
            ControlFlow::<()>::Continue(())
        });
        if pushed.is_err() {
            outcome.class = Class::Invalid;
        }
    }

    fn end(self) -> Outcome {
        self.outcome
    }
}

enum Event {
    Token,
    End,
    Error(ErrorObject),
    Other,
}

impl Event {
    fn of(api: ApiArg, data: &[u8]) -> Event {
        if api == ApiArg::Openai && data == b"[DONE]" {
            return Event::End;
        }
        let Ok(chunk) = serde_json::from_slice::<Chunk<'_>>(data) else {
            return Event::Other;
        };
        if let Some(error) = chunk.error {
            return Event::Error(error);
        }
        match api {
            ApiArg::Openai => {
                let carries = |choice: &Choice| {
                    let delta = &choice.delta;
                    delta.tool_calls.is_some()
                        || [&delta.content, &delta.reasoning_content, &delta.refusal]
                            .into_iter()
                            .flatten()
                            .any(|text| !text.is_empty())
                };
                match chunk.choices.iter().any(carries) {
                    true => Event::Token,
                    false => Event::Other,
                }
            }
            ApiArg::Anthropic => match chunk.r#type {
                Some("content_block_delta") => Event::Token,
                Some("message_stop") => Event::End,
                _ => Event::Other,
            },
        }
    }
}

/// What tells a token from the rest, in the streams of both.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Chunk<'a> {
    r#type: Option<&'a str>,
    choices: Vec<Choice>,
    error: Option<ErrorObject>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Choice {
    delta: Delta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Delta {
    content: Option<String>,
    reasoning_content: Option<String>,
    refusal: Option<String>,
    tool_calls: Option<serde::de::IgnoredAny>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Class, code, and number of gaps of a stream that came in one piece.
    fn stream(api: ApiArg, text: &str) -> (Class, Option<String>, usize) {
        let mut gaps = 0;
        let mut reader = StreamReader::new(api, |_| gaps += 1);
        reader.push(&Bytes::copy_from_slice(text.as_bytes()), Instant::now());
        let outcome = reader.end();
        (outcome.class, outcome.code, gaps)
    }

    const TOKEN: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    const ROLE: &str =
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    const DONE: &str = "data: [DONE]\n\n";

    #[test]
    fn stream_is_whole_only_with_its_end() {
        use ApiArg::{Anthropic, Openai};
        let tokens = [ROLE, TOKEN, TOKEN, TOKEN].concat();
        assert_eq!(
            stream(Openai, &(tokens.clone() + DONE)),
            (Class::Answered, None, 2)
        );
        assert_eq!(stream(Openai, &tokens), (Class::Cut, None, 2));
        assert_eq!(stream(Openai, ""), (Class::Cut, None, 0));
        // The end of another API is none, and half an end is none.
        assert_eq!(stream(Anthropic, DONE).0, Class::Cut);
        assert_eq!(stream(Openai, "data: [DONE]").0, Class::Cut);
        let delta = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\"}\n\n";
        let stop = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
        let whole = [delta, delta, stop].concat();
        assert_eq!(stream(Anthropic, &whole), (Class::Answered, None, 1));
        assert_eq!(stream(Anthropic, delta).0, Class::Cut);
    }

    #[test]
    fn error_in_a_stream_is_told_by_whose_it_is() {
        let error = |kind, id: &str| {
            let end = format!("data: {{\"error\":{{\"type\":\"{kind}\",\"code\":\"c\"{id}}}}}\n\n");
            stream(ApiArg::Openai, &[ROLE, TOKEN, &end, DONE].concat()).0
        };
        assert_eq!(
            error("policy_violation", ",\"decision_id\":\"d\""),
            Class::Denied
        );
        assert_eq!(
            error("server_error", ",\"decision_id\":\"d\""),
            Class::Refused
        );
        assert_eq!(error("policy_violation", ""), Class::StreamError);
    }
}
