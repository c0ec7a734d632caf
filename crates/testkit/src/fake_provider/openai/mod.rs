//! OpenAI's wire format: chat completions, models, embeddings, errors.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::Script;
use super::answer::{Answer, content_text, count_words, fingerprint};
use super::received::ReceivedRequest;
use super::wire::Reply;

/// What a caller asks for, and what it is told it got.
const MODELS: [(&str, &str); 8] = [
    ("gpt-4o", "gpt-4o-2024-08-06"),
    ("gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
    ("gpt-4", "gpt-4-0613"),
    ("gpt-4-turbo", "gpt-4-turbo-2024-04-09"),
    ("gpt-3.5-turbo", "gpt-3.5-turbo-0125"),
    ("gpt-5", "gpt-5-2025-08-07"),
    ("text-embedding-3-small", "text-embedding-3-small"),
    ("text-embedding-3-large", "text-embedding-3-large"),
];
/// Names beyond the list that are taken as given; anything else is unknown.
const FAMILIES: [&str; 5] = ["gpt-", "o1", "o3", "chatgpt-", "text-embedding-"];
const SYSTEM_FINGERPRINT: &str = "fp_44709d6fcb";
const CREATED: u64 = 1_715_367_049;

pub(super) fn answer(request: &ReceivedRequest, script: &Script) -> Reply {
    let reply = match route(request, script) {
        Ok(reply) | Err(reply) => reply,
    };
    let id = fingerprint(&request.body);
    reply
        .with_header("x-request-id", format!("req_{id:016x}{id:016x}"))
        .with_header("openai-version", "2020-10-01".to_owned())
        .with_header("openai-processing-ms", (script.latency_ms + 12).to_string())
}

fn route(request: &ReceivedRequest, script: &Script) -> Result<Reply, Reply> {
    authenticate(request)?;
    if let Some(status) = script.status.filter(|status| *status >= 400) {
        return Err(scripted_error(status));
    }
    let mut reply = match (request.method.as_str(), request.route()) {
        ("POST", "/v1/chat/completions") => chat(&parse(request)?, script)?,
        ("POST", "/v1/embeddings") => embeddings(&parse(request)?)?,
        ("GET", "/v1/models") => models(),
        ("GET", path) if path.starts_with("/v1/models/") => {
            model(path.trim_start_matches("/v1/models/"))?
        }
        (method, path) => {
            let message = format!("Invalid URL ({method} {path})");
            return Err(error(
                404,
                &message,
                "invalid_request_error",
                Value::Null,
                Value::Null,
            ));
        }
    };
    reply.status = script.status.unwrap_or(reply.status);
    Ok(reply)
}

fn authenticate(request: &ReceivedRequest) -> Result<(), Reply> {
    let key = request
        .header("authorization")
        .and_then(|value| value.strip_prefix("Bearer "));
    match key {
        Some(key) if key.contains("invalid") => Err(error(
            401,
            "Incorrect API key provided. You can find your API key at \
             https://platform.openai.com/account/api-keys.",
            "invalid_request_error",
            Value::Null,
            json!("invalid_api_key"),
        )),
        Some(_) => Ok(()),
        None => Err(error(
            401,
            "You didn't provide an API key. You need to provide your API key in an Authorization \
             header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
            "invalid_request_error",
            Value::Null,
            Value::Null,
        )),
    }
}

fn parse(request: &ReceivedRequest) -> Result<Map<String, Value>, Reply> {
    serde_json::from_slice(&request.body).map_err(|_| {
        invalid(
            "We could not parse the JSON body of your request. (HINT: This likely means you \
             aren't using your HTTP library correctly.)",
            Value::Null,
            Value::Null,
        )
    })
}

fn chat(body: &Map<String, Value>, script: &Script) -> Result<Reply, Reply> {
    let model = known_model(body)?;
    let messages = body
        .get("messages")
        .and_then(Value::as_array)
        .filter(|messages| !messages.is_empty())
        .ok_or_else(|| missing("messages"))?;
    let texts: Vec<String> = messages
        .iter()
        .map(|message| content_text(message.get("content").unwrap_or(&Value::Null)))
        .collect();
    let prompt_tokens: u64 = texts.iter().map(|text| count_words(text)).sum();
    let prompt = texts.last().map(String::as_str).unwrap_or_default();
    let max_tokens = ["max_completion_tokens", "max_tokens"]
        .iter()
        .find_map(|name| body.get(*name).and_then(Value::as_u64));

    let completion = Completion {
        id: format!("chatcmpl-{:016x}", fingerprint(texts.join("\n").as_bytes())),
        created: now(),
        model,
        prompt_tokens,
        answer: Answer::compose(prompt, max_tokens, script),
        tool: script.tool_call.then(|| first_tool(body)).flatten(),
    };
    if body.get("stream").and_then(Value::as_bool) == Some(true) {
        let include_usage = body
            .get("stream_options")
            .and_then(|options| options.get("include_usage"))
            .and_then(Value::as_bool)
            == Some(true);
        Ok(Reply::events(completion.events(include_usage)))
    } else {
        Ok(Reply::json(200, &completion.whole()))
    }
}

/// A chat completion before it is known how it travels.
struct Completion {
    id: String,
    created: u64,
    model: String,
    prompt_tokens: u64,
    answer: Answer,
    tool: Option<String>,
}

impl Completion {
    fn whole(&self) -> Value {
        let message = match &self.tool {
            Some(tool) => json!({
                "role": "assistant", "content": null, "refusal": null, "annotations": [],
                "tool_calls": [self.tool_call(tool)],
            }),
            None => json!({
                "role": "assistant", "content": self.answer.text(), "refusal": null,
                "annotations": [],
            }),
        };
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [{
                "index": 0, "message": message, "logprobs": null,
                "finish_reason": self.finish_reason(),
            }],
            "usage": self.usage(),
            "service_tier": "default",
            "system_fingerprint": SYSTEM_FINGERPRINT,
        })
    }

    fn events(&self, include_usage: bool) -> Vec<Vec<u8>> {
        let mut events = vec![self.delta(
            json!({"role": "assistant", "content": "", "refusal": null}),
            Value::Null,
            include_usage,
        )];
        if let Some(tool) = &self.tool {
            let mut call = self.tool_call(tool);
            if let Some(call) = call.as_object_mut() {
                call.insert("index".to_owned(), json!(0));
            }
            events.push(self.delta(json!({ "tool_calls": [call] }), Value::Null, include_usage));
        } else {
            events.extend(
                self.answer.pieces.iter().map(|piece| {
                    self.delta(json!({ "content": piece }), Value::Null, include_usage)
                }),
            );
        }
        events.push(self.delta(json!({}), json!(self.finish_reason()), include_usage));
        if include_usage {
            let mut chunk = self.chunk(json!([]));
            chunk.insert("usage".to_owned(), self.usage());
            events.push(event(&Value::Object(chunk)));
        }
        events.push(b"data: [DONE]\n\n".to_vec());
        events
    }

    fn delta(&self, delta: Value, finish_reason: Value, include_usage: bool) -> Vec<u8> {
        let mut chunk = self.chunk(json!([{
            "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason,
        }]));
        if include_usage {
            chunk.insert("usage".to_owned(), Value::Null);
        }
        event(&Value::Object(chunk))
    }

    fn chunk(&self, choices: Value) -> Map<String, Value> {
        Map::from_iter([
            ("id".to_owned(), json!(self.id)),
            ("object".to_owned(), json!("chat.completion.chunk")),
            ("created".to_owned(), json!(self.created)),
            ("model".to_owned(), json!(self.model)),
            ("service_tier".to_owned(), json!("default")),
            ("system_fingerprint".to_owned(), json!(SYSTEM_FINGERPRINT)),
            ("choices".to_owned(), choices),
        ])
    }

    fn tool_call(&self, tool: &str) -> Value {
        json!({
            "id": format!("call_{:016x}", fingerprint(tool.as_bytes())),
            "type": "function",
            "function": {"name": tool, "arguments": "{\"query\":\"example\"}"},
        })
    }

    fn finish_reason(&self) -> &'static str {
        match (&self.tool, self.answer.truncated) {
            (Some(_), _) => "tool_calls",
            (None, true) => "length",
            (None, false) => "stop",
        }
    }

    fn usage(&self) -> Value {
        let completion_tokens = self.answer.tokens();
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": self.prompt_tokens + completion_tokens,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
            },
        })
    }
}

fn first_tool(body: &Map<String, Value>) -> Option<String> {
    let tool = body.get("tools")?.as_array()?.first()?;
    Some(tool.get("function")?.get("name")?.as_str()?.to_owned())
}

fn embeddings(body: &Map<String, Value>) -> Result<Reply, Reply> {
    let model = known_model(body)?;
    let input = body.get("input").ok_or_else(|| missing("input"))?;
    let dimensions = body
        .get("dimensions")
        .and_then(Value::as_u64)
        .map_or(1536, |n| usize::try_from(n.clamp(1, 3072)).unwrap_or(1536));
    let base64 = match body.get("encoding_format").and_then(Value::as_str) {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            return Err(invalid(
                "Invalid value for 'encoding_format'.",
                json!("encoding_format"),
                Value::Null,
            ));
        }
    };
    let inputs = embedding_inputs(input);
    let tokens: u64 = inputs.iter().map(|(_, tokens)| tokens).sum();
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, (text, _))| {
            let vector = embedding(text, dimensions);
            let embedding = if base64 {
                let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                json!(STANDARD.encode(bytes))
            } else {
                json!(vector)
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    Ok(Reply::json(
        200,
        &json!({
            "object": "list", "data": data, "model": model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }),
    ))
}

/// A text, several texts, a token list or several: each with its token count.
fn embedding_inputs(input: &Value) -> Vec<(String, u64)> {
    let one = |value: &Value| match value {
        Value::String(text) => (text.clone(), count_words(text)),
        Value::Array(tokens) => (value.to_string(), tokens.len() as u64),
        other => (other.to_string(), 1),
    };
    match input {
        Value::Array(items) if !items.iter().all(Value::is_number) => {
            items.iter().map(one).collect()
        }
        other => vec![one(other)],
    }
}

/// A unit vector that depends on the text alone.
fn embedding(text: &str, dimensions: usize) -> Vec<f32> {
    let mut state = fingerprint(text.as_bytes());
    let raw: Vec<f32> = (0..dimensions)
        .map(|_| {
            // Knuth's MMIX generator; the upper bits are the good ones.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            f32::from(u16::try_from(state >> 48).unwrap_or_default()) / 32_768.0 - 1.0
        })
        .collect();
    let length = raw.iter().map(|x| x * x).sum::<f32>().sqrt();
    raw.into_iter()
        .map(|x| x / length.max(f32::MIN_POSITIVE))
        .collect()
}

fn models() -> Reply {
    let data: Vec<Value> = MODELS.iter().map(|(name, _)| model_json(name)).collect();
    Reply::json(200, &json!({"object": "list", "data": data}))
}

fn model(name: &str) -> Result<Reply, Reply> {
    resolve(name).ok_or_else(|| unknown_model(name))?;
    Ok(Reply::json(200, &model_json(name)))
}

fn model_json(name: &str) -> Value {
    json!({"id": name, "object": "model", "created": CREATED, "owned_by": "system"})
}

fn known_model(body: &Map<String, Value>) -> Result<String, Reply> {
    let name = body.get("model").and_then(Value::as_str).ok_or_else(|| {
        invalid(
            "you must provide a model parameter",
            Value::Null,
            Value::Null,
        )
    })?;
    resolve(name).ok_or_else(|| unknown_model(name))
}

fn resolve(name: &str) -> Option<String> {
    MODELS
        .iter()
        .find(|(asked, _)| *asked == name)
        .map(|(_, got)| (*got).to_owned())
        .or_else(|| {
            FAMILIES
                .iter()
                .any(|family| name.starts_with(family))
                .then(|| name.to_owned())
        })
}

fn unknown_model(name: &str) -> Reply {
    error(
        404,
        &format!("The model `{name}` does not exist or you do not have access to it."),
        "invalid_request_error",
        Value::Null,
        json!("model_not_found"),
    )
}

fn missing(parameter: &str) -> Reply {
    invalid(
        &format!("Missing required parameter: '{parameter}'."),
        json!(parameter),
        json!("missing_required_parameter"),
    )
}

fn invalid(message: &str, param: Value, code: Value) -> Reply {
    error(400, message, "invalid_request_error", param, code)
}

fn scripted_error(status: u16) -> Reply {
    match status {
        401 => error(
            401,
            "Incorrect API key provided.",
            "invalid_request_error",
            Value::Null,
            json!("invalid_api_key"),
        ),
        404 => unknown_model("gpt-unknown"),
        429 => error(
            429,
            "Rate limit reached for requests. Please try again in 1s.",
            "requests",
            Value::Null,
            json!("rate_limit_exceeded"),
        )
        .with_header("retry-after", "1".to_owned())
        .with_header("x-ratelimit-remaining-requests", "0".to_owned()),
        503 => error(
            503,
            "The engine is currently overloaded, please try again later.",
            "service_unavailable",
            Value::Null,
            Value::Null,
        ),
        status if status >= 500 => error(
            status,
            "The server had an error while processing your request. Sorry about that!",
            "server_error",
            Value::Null,
            Value::Null,
        ),
        status => error(
            status,
            "The request was refused as scripted.",
            "invalid_request_error",
            Value::Null,
            Value::Null,
        ),
    }
}

fn error(status: u16, message: &str, kind: &str, param: Value, code: Value) -> Reply {
    Reply::json(
        status,
        &json!({"error": {"message": message, "type": kind, "param": param, "code": code}}),
    )
}

fn event(value: &Value) -> Vec<u8> {
    format!("data: {value}\n\n").into_bytes()
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(CREATED, |elapsed| elapsed.as_secs())
}
