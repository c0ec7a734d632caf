//! Anthropic's wire format: messages, token counting, models, errors.

use serde_json::{Map, Value, json};

use super::Script;
use super::answer::{Answer, content_text, count_words, fingerprint};
use super::received::ReceivedRequest;
use super::wire::Reply;

const MODELS: [&str; 4] = [
    "claude-opus-5",
    "claude-sonnet-5",
    "claude-haiku-4-5",
    "claude-opus-4-8",
];
const FAMILY: &str = "claude-";

pub(super) fn answer(request: &ReceivedRequest, script: &Script) -> Reply {
    let id = format!("req_{:016x}", fingerprint(&request.body));
    let reply = match route(request, script) {
        Ok(reply) => reply,
        Err(refusal) => refusal.into_reply(&id),
    };
    reply.with_header("request-id", id)
}

/// An error before it is given the request's id.
struct Refusal {
    status: u16,
    kind: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: message.into(),
        }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    fn into_reply(self, request_id: &str) -> Reply {
        let reply = Reply::json(
            self.status,
            &json!({
                "type": "error",
                "error": {"type": self.kind, "message": self.message},
                "request_id": request_id,
            }),
        );
        match self.status {
            429 => reply.with_header("retry-after", "1".to_owned()),
            _ => reply,
        }
    }
}

fn route(request: &ReceivedRequest, script: &Script) -> Result<Reply, Refusal> {
    check_headers(request)?;
    if let Some(status) = script.status.filter(|status| *status >= 400) {
        return Err(scripted_error(status));
    }
    let mut reply = match (request.method.as_str(), request.route()) {
        ("POST", "/v1/messages") => messages(&parse(request)?, script)?,
        ("POST", "/v1/messages/count_tokens") => {
            let body = parse(request)?;
            known_model(&body)?;
            Reply::json(200, &json!({ "input_tokens": input_tokens(&body)? }))
        }
        ("GET", "/v1/models") => models(),
        _ => return Err(Refusal::new(404, "not_found_error", "Not Found")),
    };
    reply.status = script.status.unwrap_or(reply.status);
    Ok(reply)
}

fn check_headers(request: &ReceivedRequest) -> Result<(), Refusal> {
    let key = request
        .header("x-api-key")
        .or_else(|| request.header("authorization")?.strip_prefix("Bearer "));
    match key {
        None => Err(Refusal::new(
            401,
            "authentication_error",
            "x-api-key header is required",
        )),
        Some(key) if key.contains("invalid") => Err(Refusal::new(
            401,
            "authentication_error",
            "invalid x-api-key",
        )),
        Some(_) if request.header("anthropic-version").is_none() => {
            Err(Refusal::invalid("anthropic-version: header is required"))
        }
        Some(_) => Ok(()),
    }
}

fn parse(request: &ReceivedRequest) -> Result<Map<String, Value>, Refusal> {
    serde_json::from_slice(&request.body)
        .map_err(|_| Refusal::invalid("The request body is not valid JSON"))
}

fn messages(body: &Map<String, Value>, script: &Script) -> Result<Reply, Refusal> {
    let model = known_model(body)?;
    let max_tokens = body
        .get("max_tokens")
        .and_then(Value::as_u64)
        .ok_or_else(|| Refusal::invalid("max_tokens: Field required"))?;
    let input_tokens = input_tokens(body)?;
    let prompt = texts(body)?.pop().unwrap_or_default();
    let message = Message {
        id: format!("msg_{:016x}", fingerprint(prompt.as_bytes())),
        model,
        input_tokens,
        answer: Answer::compose(&prompt, Some(max_tokens), first_tool(body), script),
    };
    if body.get("stream").and_then(Value::as_bool) == Some(true) {
        Ok(Reply::events(message.events()))
    } else {
        Ok(Reply::json(200, &message.whole()))
    }
}

/// An answer before it is known how it travels.
struct Message {
    id: String,
    model: String,
    input_tokens: u64,
    answer: Answer,
}

impl Message {
    fn whole(&self) -> Value {
        let blocks: Vec<Value> = self.blocks().into_iter().map(|b| b.whole).collect();
        self.json(
            json!(blocks),
            json!(self.stop_reason()),
            self.answer.tokens(),
        )
    }

    /// What it says: thoughts, words (a refusal is some), a call.
    fn blocks(&self) -> Vec<Block> {
        let answer = &self.answer;
        let mut blocks = Vec::new();
        if !answer.reasoning.is_empty() {
            let mut deltas = deltas("thinking_delta", "thinking", &answer.reasoning);
            deltas.push(json!({"type": "signature_delta", "signature": SIGNATURE}));
            blocks.push(Block {
                start: json!({"type": "thinking", "thinking": "", "signature": ""}),
                deltas,
                whole: json!({
                    "type": "thinking", "thinking": answer.reasoning.concat(),
                    "signature": SIGNATURE,
                }),
            });
        }
        for pieces in [&answer.pieces, &answer.refusal] {
            if !pieces.is_empty() {
                blocks.push(Block {
                    start: json!({"type": "text", "text": ""}),
                    deltas: deltas("text_delta", "text", pieces),
                    whole: json!({"type": "text", "text": pieces.concat()}),
                });
            }
        }
        if let Some(call) = &answer.call {
            let block = |input: Value| json!({"type": "tool_use", "id": call.id("toolu"), "name": call.name, "input": input});
            // Scripted arguments need not be JSON; whole answers hold nothing else.
            let input = serde_json::from_str(&call.arguments()).unwrap_or_default();
            blocks.push(Block {
                start: block(json!({})),
                deltas: deltas("input_json_delta", "partial_json", &call.arguments),
                whole: block(input),
            });
        }
        blocks
    }

    fn events(&self) -> Vec<Vec<u8>> {
        let mut events = vec![event(
            "message_start",
            json!({"message": self.json(json!([]), Value::Null, 1)}),
        )];
        for (index, block) in self.blocks().into_iter().enumerate() {
            events.push(event(
                "content_block_start",
                json!({"index": index, "content_block": block.start}),
            ));
            if index == 0 {
                events.push(event("ping", json!({})));
            }
            events.extend(block.deltas.into_iter().map(|delta| {
                event(
                    "content_block_delta",
                    json!({"index": index, "delta": delta}),
                )
            }));
            events.push(event("content_block_stop", json!({"index": index})));
        }
        events.push(event(
            "message_delta",
            json!({
                "delta": {"stop_reason": self.stop_reason(), "stop_sequence": null},
                "usage": {"output_tokens": self.answer.tokens()},
            }),
        ));
        events.push(event("message_stop", json!({})));
        events
    }

    fn json(&self, content: Value, stop_reason: Value, output_tokens: u64) -> Value {
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": null,
            "usage": {
                "input_tokens": self.input_tokens,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": output_tokens,
                "service_tier": "standard",
            },
        })
    }

    fn stop_reason(&self) -> &'static str {
        match (&self.answer.call, self.answer.truncated) {
            _ if !self.answer.refusal.is_empty() => "refusal",
            (Some(_), _) => "tool_use",
            (None, true) => "max_tokens",
            (None, false) => "end_turn",
        }
    }
}

/// A content block, and how a stream begins and continues it.
struct Block {
    start: Value,
    deltas: Vec<Value>,
    whole: Value,
}

fn deltas(kind: &str, key: &str, pieces: &[String]) -> Vec<Value> {
    pieces
        .iter()
        .map(|piece| json!({"type": kind, key: piece}))
        .collect()
}

/// Of thoughts; opaque to all but the provider.
const SIGNATURE: &str = "EqQBCgIYAhIkZmFrZSBzaWduYXR1cmU=";

fn first_tool(body: &Map<String, Value>) -> Option<String> {
    let tool = body.get("tools")?.as_array()?.first()?;
    Some(tool.get("name")?.as_str()?.to_owned())
}

/// The texts of the conversation, the system prompt first.
fn texts(body: &Map<String, Value>) -> Result<Vec<String>, Refusal> {
    let messages = body
        .get("messages")
        .and_then(Value::as_array)
        .filter(|messages| !messages.is_empty())
        .ok_or_else(|| Refusal::invalid("messages: at least one message is required"))?;
    let system = body.get("system").map(content_text);
    Ok(system
        .into_iter()
        .chain(
            messages
                .iter()
                .map(|message| content_text(message.get("content").unwrap_or(&Value::Null))),
        )
        .collect())
}

fn input_tokens(body: &Map<String, Value>) -> Result<u64, Refusal> {
    Ok(texts(body)?.iter().map(|text| count_words(text)).sum())
}

fn known_model(body: &Map<String, Value>) -> Result<String, Refusal> {
    let name = body
        .get("model")
        .and_then(Value::as_str)
        .ok_or_else(|| Refusal::invalid("model: Field required"))?;
    if name.starts_with(FAMILY) {
        Ok(name.to_owned())
    } else {
        Err(Refusal::new(
            404,
            "not_found_error",
            format!("model: {name}"),
        ))
    }
}

fn models() -> Reply {
    let data: Vec<Value> = MODELS
        .iter()
        .map(|name| {
            json!({
                "type": "model", "id": name, "display_name": name,
                "created_at": "2025-09-29T00:00:00Z",
            })
        })
        .collect();
    Reply::json(
        200,
        &json!({
            "data": data, "has_more": false,
            "first_id": MODELS.first(), "last_id": MODELS.last(),
        }),
    )
}

fn scripted_error(status: u16) -> Refusal {
    let (kind, message) = match status {
        401 => ("authentication_error", "invalid x-api-key"),
        403 => (
            "permission_error",
            "Your API key does not have permission to use the specified resource.",
        ),
        404 => ("not_found_error", "model: claude-unknown"),
        413 => (
            "request_too_large",
            "Request exceeds the maximum allowed number of bytes.",
        ),
        429 => (
            "rate_limit_error",
            "This request would exceed your organization's rate limit.",
        ),
        529 => ("overloaded_error", "Overloaded"),
        status if status >= 500 => ("api_error", "Internal server error"),
        _ => (
            "invalid_request_error",
            "The request was refused as scripted.",
        ),
    };
    Refusal::new(status, kind, message)
}

/// An event names its type twice: in the `event:` line and in its data.
fn event(name: &str, mut data: Value) -> Vec<u8> {
    if let Some(data) = data.as_object_mut() {
        data.insert("type".to_owned(), json!(name));
    }
    format!("event: {name}\ndata: {data}\n\n").into_bytes()
}
