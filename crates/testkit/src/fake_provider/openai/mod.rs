//! OpenAI's wire format: who may ask for what, models, errors.
//!
//! Each API has a file of its own.

#[expect(
    clippy::indexing_slicing,
    reason = "members of JSON objects that are made here"
)]
mod chat;
#[expect(
    clippy::indexing_slicing,
    reason = "members of JSON objects that are made here"
)]
mod completions;
mod embeddings;
#[expect(
    clippy::indexing_slicing,
    reason = "members of JSON objects that are made here"
)]
mod responses;

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::answer::fingerprint;
use super::received::ReceivedRequest;
use super::wire::Reply;
use super::{Script, Shared};

pub(super) use responses::StoredResponse;

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

pub(super) fn answer(request: &ReceivedRequest, script: &Script, shared: &Shared) -> Reply {
    let reply = match route(request, script, shared) {
        Ok(reply) | Err(reply) => reply,
    };
    let id = fingerprint(&request.body);
    reply
        .with_header("x-request-id", format!("req_{id:016x}{id:016x}"))
        .with_header("openai-version", "2020-10-01".to_owned())
        .with_header("openai-processing-ms", (script.latency_ms + 12).to_string())
}

fn route(request: &ReceivedRequest, script: &Script, shared: &Shared) -> Result<Reply, Reply> {
    authenticate(request)?;
    if let Some(status) = script.status.filter(|status| *status >= 400) {
        return Err(scripted_error(status));
    }
    let mut reply = match (request.method.as_str(), request.route()) {
        ("POST", "/v1/chat/completions") => chat::create(&parse(request)?, script)?,
        ("POST", "/v1/responses") => responses::create(&parse(request)?, script, shared)?,
        ("POST", "/v1/completions") => completions::create(&parse(request)?, script)?,
        ("POST", "/v1/embeddings") => embeddings::create(&parse(request)?)?,
        (method, path) if path.starts_with("/v1/responses/") => {
            let stream = request.path.contains("stream=true");
            responses::stored(
                method,
                path.trim_start_matches("/v1/responses/"),
                stream,
                shared,
            )?
        }
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

/// The name of the first tool on offer, in either API's form.
fn first_tool(body: &Map<String, Value>) -> Option<String> {
    let tool = body.get("tools")?.as_array()?.first()?;
    let name = tool.get("function").unwrap_or(tool).get("name")?;
    Some(name.as_str()?.to_owned())
}

fn asks_for_stream(body: &Map<String, Value>) -> bool {
    body.get("stream").and_then(Value::as_bool) == Some(true)
}

fn asks_for_usage(body: &Map<String, Value>) -> bool {
    let options = body.get("stream_options");
    let asked = options.and_then(|options| options.get("include_usage"));
    asked.and_then(Value::as_bool) == Some(true)
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
