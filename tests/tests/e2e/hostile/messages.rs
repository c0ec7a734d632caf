//! What is sent: requests of every dialect and answers to them, and what is
//! done to them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use std::io::Write;

use super::chance::Chance;

/// The policy refuses requests and answers that say this.
pub(super) const FORBIDDEN: &str = "zq-forbidden-zq";

/// A message as it goes over a wire.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    pub(super) pieces: Vec<Vec<u8>>,
    /// The sender leaves after so many pieces, and how.
    pub(super) leaves_after: Option<usize>,
    pub(super) resets: bool,
    /// Less than its framing promises is sent.
    pub(super) is_cut: bool,
    /// Nothing is certain of it: its framing was spoilt too.
    pub(super) is_spoilt: bool,
}

/// What the last events of streams say.
const LAST_EVENTS: [&str; 5] = [
    "data: [DONE]",
    "\"type\":\"message_stop\"",
    "\"type\":\"response.completed\"",
    "\"type\":\"response.incomplete\"",
    "\"type\":\"response.failed\"",
];

impl Wire {
    /// The last that was sent is a last event: what its framing promises beyond belongs to no
    /// answer.
    pub(super) fn is_told_to_its_end(&self) -> bool {
        let sent = self.leaves_after.unwrap_or(self.pieces.len());
        let sent: Vec<u8> = self.pieces.iter().take(sent).flatten().copied().collect();
        let (_, body) = super::parties::parts(&sent);
        let sent = String::from_utf8_lossy(&body);
        let last = sent.trim_end().lines().next_back().unwrap_or("");
        last.starts_with("data:") && LAST_EVENTS.iter().any(|event| last.contains(event))
    }
}

/// One exchange as it is meant to go.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) request: Wire,
    pub(super) answer: Wire,
    /// The answer is somebody's words: no vectors, no counts.
    pub(super) is_answered_in_words: bool,
}

impl Case {
    /// Case number `number` of a run; its requests are told by `id`.
    pub(super) fn of(mut chance: Chance, id: &str) -> Self {
        let (path, body, streams) = request(&mut chance);
        Self {
            request: request_wire(&mut chance, id, &path, &body),
            answer: answer_wire(&mut chance, &path, streams),
            is_answered_in_words: !["/v1/embeddings", "/v1/messages/count_tokens"]
                .contains(&path.as_str()),
        }
    }
}

fn words(chance: &mut Chance) -> String {
    let said = [
        "What is the capital of France?",
        "Write to kim.fuzz@example.org, please.",
        "Grüße, 你好, \u{1f600}\u{200d} \"quoted\" \\ back\n",
        "",
    ];
    let mut text = (*chance.one(&said)).to_owned();
    if chance.once_in(2) {
        let at = chance.below(text.chars().count() + 1);
        let at = text.char_indices().nth(at).map_or(text.len(), |(at, _)| at);
        text.insert_str(at, FORBIDDEN);
    }
    if chance.once_in(40) {
        text.push_str(&"padding ".repeat(chance.below(20_000)));
    }
    text
}

/// Path, body, and whether a stream is asked for.
fn request(chance: &mut Chance) -> (String, Vec<u8>, bool) {
    let streams = chance.once_in(2);
    let text = words(chance);
    let (path, mut body) = match chance.below(8) {
        0 | 1 => (
            "/v1/chat/completions",
            json!({"model": "gpt-4o", "stream": streams, "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": content(chance, &text)},
            ]}),
        ),
        2 | 3 => (
            "/v1/messages",
            json!({"model": "claude-sonnet-4-5", "max_tokens": 50, "stream": streams, "system": "Be brief.",
                "messages": [{"role": "user", "content": content(chance, &text)}]}),
        ),
        4 => (
            "/v1/responses",
            json!({"model": "gpt-4o", "stream": streams, "input": [
                {"role": "user", "content": [{"type": "input_text", "text": text}]}]}),
        ),
        5 => (
            "/v1/completions",
            json!({"model": "gpt-3.5-turbo-instruct", "prompt": [text, "and"], "stream": streams}),
        ),
        6 => (
            "/v1/embeddings",
            json!({"model": "text-embedding-3-small", "input": [text]}),
        ),
        _ => (
            "/v1/messages/count_tokens",
            json!({"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": text}]}),
        ),
    };
    if chance.once_in(4) {
        twist(chance, &mut body, &words_again(&text));
    }
    let mut body = escaped(chance, &body.to_string()).into_bytes();
    if chance.once_in(3) {
        chance.spoil(&mut body);
    }
    (path.to_owned(), body, streams)
}

fn words_again(text: &str) -> String {
    format!("again: {text}")
}

/// As a text or as parts, one of them perhaps an image.
fn content(chance: &mut Chance, text: &str) -> Value {
    let image = json!({"type": "image_url", "image_url": {"url":
        format!("data:image/png;base64,{}", STANDARD.encode(text))}});
    match chance.below(4) {
        0 => json!([{"type": "text", "text": text}]),
        1 => json!([{"type": "text", "text": text}, image]),
        _ => json!(text),
    }
}

/// Something in the body is not as it should be: another type, a field nobody knows, depth.
fn twist(chance: &mut Chance, body: &mut Value, text: &str) {
    let fields = body.as_object_mut().expect("an object");
    match chance.below(6) {
        0 => drop(fields.insert("x_new_field".into(), json!({"deep": [text]}))),
        1 => drop(fields.insert("messages".into(), json!(text))),
        2 => drop(fields.insert("model".into(), json!([1, null, text]))),
        3 => {
            let mut deep = json!(text);
            for _ in 0..chance.below(200) {
                deep = json!([deep]);
            }
            fields.insert("metadata".into(), deep);
        }
        4 => drop(fields.insert(
            "tools".into(),
            json!([{"type": "function", "function": {
            "name": "f", "description": text, "parameters": {"enum": [text]}}}]),
        )),
        _ => drop(fields.insert("max_tokens".into(), json!(1e300))),
    }
}

/// JSON says a character in more than one way.
fn escaped(chance: &mut Chance, json: &str) -> String {
    match chance.below(4) {
        0 => json.replace("zq-f", "\\u007aq\\u002df"),
        1 => json.replace("forbidden", "f\\u006Frbidden"),
        _ => json.to_owned(),
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("into memory");
    encoder.finish().expect("into memory")
}

fn request_wire(chance: &mut Chance, id: &str, path: &str, body: &[u8]) -> Wire {
    let path = match chance.below(12) {
        0 => format!("{path}?a=b&c=%2e"),
        1 => path.replacen('/', "//", 1 + chance.below(3)),
        2 => format!("/v1/../{}", path.trim_start_matches('/')),
        3 => path.to_uppercase(),
        4 => format!("{path}/x%2F"),
        _ => path.to_owned(),
    };
    let method = *chance.one(&["POST", "POST", "POST", "POST", "POST", "PUT", "GET"]);
    let version = *chance.one(&["1.1", "1.1", "1.1", "1.0"]);
    let mut head = format!(
        "{method} {path} HTTP/{version}\r\nhost: jupiter\r\nx-request-id: {id}\r\n\
         authorization: Bearer sk-test\r\ncontent-type: application/json\r\n"
    );
    let mut body = body.to_vec();
    match chance.below(14) {
        0 => {
            body = gzip(&body);
            head.push_str("content-encoding: gzip\r\n");
        }
        1 => head.push_str("content-encoding: gzip\r\n"),
        2 => head.push_str("content-encoding: identity\r\ncontent-encoding: br\r\n"),
        3 => head.push_str("expect: 100-continue\r\n"),
        4 => head.push_str("anthropic-version: 2023-06-01\r\nx-api-key: sk-ant-test\r\n"),
        5 => head.push_str("x-odd: \u{e9}\t \r\nte: trailers\r\n"),
        _ => {}
    }
    wire(chance, head, body, version == "1.1")
}

fn answer_wire(chance: &mut Chance, path: &str, streams: bool) -> Wire {
    let text = words(chance);
    let speaks_anthropic = path.starts_with("/v1/messages");
    // A provider may send a stream nobody asked for.
    let streams = streams != chance.once_in(10);
    let mut body = match (path, streams) {
        ("/v1/responses", false) => json!({"id": "resp_1", "object": "response", "status": "completed",
            "model": "gpt-4o", "output": [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": []}]}],
            "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}}).to_string(),
        (_, false) if speaks_anthropic => json!({"id": "msg_1", "type": "message", "role": "assistant",
            "model": "claude-sonnet-4-5", "content": [{"type": "text", "text": text}], "stop_reason": "end_turn",
            "usage": {"input_tokens": 1, "output_tokens": 2}}).to_string(),
        (_, false) => json!({"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "text": "", "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}).to_string(),
        ("/v1/responses", true) if !chance.once_in(10) => responses_stream(chance, &text),
        (_, true) if speaks_anthropic => anthropic_stream(chance, &text),
        (_, true) => openai_stream(chance, &text),
    };
    body = escaped(chance, &body);
    let mut body = body.into_bytes();
    if chance.once_in(3) {
        chance.spoil(&mut body);
    }
    let status = *chance.one(&[
        "200 OK",
        "200 OK",
        "200 OK",
        "200 OK",
        "200 OK",
        "429 Too Many Requests",
        "500 Oops",
    ]);
    let kind = match streams != chance.once_in(20) {
        true => "text/event-stream",
        false => "application/json",
    };
    // Each connection is for one exchange; a provider that does not say so is met too.
    let close = *chance.one(&["connection: close\r\n", "connection: close\r\n", ""]);
    let mut head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{close}");
    match chance.below(14) {
        0 => {
            body = gzip(&body);
            head.push_str("content-encoding: gzip\r\n");
        }
        1 => head.push_str("content-encoding: br\r\n"),
        2 => head.push_str("content-type: text/plain\r\n"),
        3 => head.push_str("content-encoding: identity\r\ncontent-encoding: gzip\r\n"),
        _ => {}
    }
    wire(chance, head, body, true)
}

/// A text in pieces, as models send it.
fn deltas(chance: &mut Chance, text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    let length = 1 + chance.below(12);
    letters
        .chunks(length.max(letters.len() / 60))
        .map(|it| it.iter().collect())
        .collect()
}

fn openai_stream(chance: &mut Chance, text: &str) -> String {
    let mut stream = String::new();
    for delta in deltas(chance, text) {
        let event = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o",
            "choices": [{"index": 0, "delta": {"content": delta}, "finish_reason": null}]});
        stream.push_str(&format!("data: {event}\n\n"));
    }
    let last = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o",
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}});
    stream.push_str(&format!("data: {last}\n\ndata: [DONE]\n\n"));
    stream
}

fn responses_stream(chance: &mut Chance, text: &str) -> String {
    let response = |status: &str, output: Value| {
        json!({"id": "resp_1", "object": "response",
        "status": status, "model": "gpt-4o", "output": output,
        "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}})
    };
    let mut events =
        vec![json!({"type": "response.created", "response": response("in_progress", json!([]))})];
    events.extend(deltas(chance, text).into_iter().map(|delta| {
        json!({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0,
            "content_index": 0, "delta": delta})
    }));
    let output = json!([{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}]}]);
    events.push(json!({"type": "response.completed", "response": response("completed", output)}));
    typed(&events)
}

/// Events whose names are their types.
fn typed(events: &[Value]) -> String {
    let line = |event: &Value| {
        format!(
            "event: {}\ndata: {event}\n\n",
            event["type"].as_str().unwrap_or("")
        )
    };
    events.iter().map(line).collect()
}

fn anthropic_stream(chance: &mut Chance, text: &str) -> String {
    let start = json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant",
        "model": "claude-sonnet-4-5", "content": [], "stop_reason": null, "usage": {"input_tokens": 1, "output_tokens": 1}}});
    let mut events = vec![
        start,
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    ];
    events.extend(deltas(chance, text).into_iter().map(|text| {
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
    }));
    events.push(json!({"type": "content_block_stop", "index": 0}));
    events.push(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}));
    events.push(json!({"type": "message_stop"}));
    typed(&events)
}

/// Head and body with their framing, in pieces, sometimes not all of them.
fn wire(chance: &mut Chance, mut head: String, body: Vec<u8>, may_chunk: bool) -> Wire {
    let mut bytes;
    let mut lacks = false;
    if may_chunk && chance.once_in(3) {
        head.push_str("transfer-encoding: chunked\r\n\r\n");
        bytes = head.into_bytes();
        for piece in chance.pieces(&body) {
            bytes.extend(format!("{:x}\r\n", piece.len()).into_bytes());
            bytes.extend(piece);
            bytes.extend(b"\r\n");
        }
        bytes.extend(match chance.below(4) {
            0 => b"0\r\nx-trailer: yes\r\n\r\n".as_slice(),
            _ => b"0\r\n\r\n".as_slice(),
        });
    } else {
        let declared = match chance.below(20) {
            0 => body.len() + 1 + chance.below(50),
            _ => body.len(),
        };
        lacks = declared > body.len();
        head.push_str(&format!("content-length: {declared}\r\n\r\n"));
        bytes = head.into_bytes();
        bytes.extend(body);
    }
    let is_spoilt = chance.once_in(40);
    if is_spoilt {
        chance.spoil(&mut bytes);
    }
    let pieces = chance.pieces(&bytes);
    let leaves_after = match (lacks || is_spoilt, chance.once_in(10)) {
        // What is missing would be waited for.
        (true, false) => Some(pieces.len()),
        (_, true) => Some(chance.below(pieces.len() + 1)),
        (false, false) => None,
    };
    Wire {
        is_cut: lacks || leaves_after.is_some_and(|after| after < pieces.len()),
        is_spoilt,
        leaves_after,
        resets: chance.once_in(2),
        pieces,
    }
}
