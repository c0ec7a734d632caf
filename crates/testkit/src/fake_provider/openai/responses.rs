//! Responses: made, streamed as typed events, kept, fetched, cancelled, deleted.

use serde_json::{Map, Value, json};

use super::super::answer::{Answer, content_text, count_words, fingerprint};
use super::super::wire::Reply;
use super::super::{Script, Shared};
use super::{asks_for_stream, error, first_tool, known_model, now};

/// An answer that can be asked for again, and the input it was given.
#[derive(Debug, Clone)]
pub(crate) struct StoredResponse {
    response: Value,
    answer: Answer,
    input: Vec<Value>,
}

/// More than tests keep; the oldest id in order of spelling goes first.
const MAX_STORED: usize = 1_000;

pub(super) fn create(
    body: &Map<String, Value>,
    script: &Script,
    shared: &Shared,
) -> Result<Reply, Reply> {
    let model = known_model(body)?;
    let input = input_items(body.get("input").unwrap_or(&Value::Null));
    let mut texts: Vec<String> = input.iter().map(item_text).collect();
    if let Some(instructions) = body.get("instructions").and_then(Value::as_str) {
        texts.insert(0, instructions.to_owned());
    }
    let prompt = texts.last().map(String::as_str).unwrap_or_default();
    let max_tokens = body.get("max_output_tokens").and_then(Value::as_u64);
    let answer = Answer::compose(prompt, max_tokens, first_tool(body), script);
    // Another answer to the same question is another response.
    let made_of = format!("{}\n{answer:?}", texts.join("\n"));
    let id = format!("resp_{:016x}", fingerprint(made_of.as_bytes()));
    let input_tokens = texts.iter().map(|text| count_words(text)).sum::<u64>();
    let output_tokens = answer.tokens();
    let given = |key: &str, none: Value| body.get(key).cloned().unwrap_or(none);
    let (status, incomplete) = match answer.truncated {
        true => ("incomplete", json!({"reason": "max_output_tokens"})),
        false => ("completed", Value::Null),
    };
    let response = json!({
        "id": id, "object": "response", "created_at": now(), "status": status,
        "background": false, "error": null, "incomplete_details": incomplete,
        "instructions": given("instructions", Value::Null),
        "max_output_tokens": given("max_output_tokens", Value::Null),
        "model": model, "output": output(&id, &answer, "completed"),
        "parallel_tool_calls": true, "previous_response_id": given("previous_response_id", Value::Null),
        "reasoning": {"effort": null, "summary": null}, "service_tier": "default", "store": true,
        "temperature": given("temperature", json!(1.0)), "text": {"format": {"type": "text"}},
        "tool_choice": "auto", "tools": given("tools", json!([])), "top_p": 1.0,
        "truncation": "disabled", "metadata": given("metadata", json!({})), "user": null,
        "usage": {
            "input_tokens": input_tokens, "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": output_tokens, "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": input_tokens + output_tokens,
        },
    });
    let made = StoredResponse {
        response,
        answer,
        input,
    };
    let reply = made.reply(asks_for_stream(body));
    if body.get("store") != Some(&Value::Bool(false)) {
        let mut stored = shared.responses();
        if stored.len() >= MAX_STORED {
            stored.pop_first();
        }
        stored.insert(id, made);
    }
    Ok(reply)
}

/// What `path`, which follows `/v1/responses/`, says of an answer.
pub(super) fn stored(
    method: &str,
    path: &str,
    stream: bool,
    shared: &Shared,
) -> Result<Reply, Reply> {
    let (id, rest) = path.split_once('/').unwrap_or((path, ""));
    let mut stored = shared.responses();
    let Some(found) = stored.get_mut(id) else {
        let message = format!("Response with id '{id}' not found.");
        return Err(error(
            404,
            &message,
            "invalid_request_error",
            json!("id"),
            Value::Null,
        ));
    };
    match (method, rest) {
        ("GET", "") => Ok(found.reply(stream)),
        ("DELETE", "") => {
            stored.remove(id);
            Ok(Reply::json(
                200,
                &json!({"id": id, "object": "response", "deleted": true}),
            ))
        }
        ("POST", "cancel") => {
            found.response["status"] = json!("cancelled");
            Ok(Reply::json(200, &found.response))
        }
        ("GET", "input_items") => {
            let ids = |item: Option<&Value>| item.and_then(|item| item.get("id")).cloned();
            Ok(Reply::json(
                200,
                &json!({
                    "object": "list", "data": found.input, "has_more": false,
                    "first_id": ids(found.input.first()), "last_id": ids(found.input.last()),
                }),
            ))
        }
        _ => Err(error(
            405,
            "Method not allowed.",
            "invalid_request_error",
            Value::Null,
            Value::Null,
        )),
    }
}

impl StoredResponse {
    fn reply(&self, stream: bool) -> Reply {
        match stream {
            true => Reply::events(self.events()),
            false => Reply::json(200, &self.response),
        }
    }

    fn events(&self) -> Vec<Vec<u8>> {
        let mut events = Events::default();
        let mut begun = self.response.clone();
        begun["status"] = json!("in_progress");
        begun["output"] = json!([]);
        begun["usage"] = Value::Null;
        begun["incomplete_details"] = Value::Null;
        events.push("response.created", json!({"response": begun}));
        events.push("response.in_progress", json!({"response": begun}));
        let id = self.response["id"].as_str().unwrap_or_default();
        let whole = output(id, &self.answer, "completed");
        for (index, item) in whole.iter().enumerate() {
            match item["type"].as_str() {
                Some("reasoning") => events.reasoning(index, item, &self.answer.reasoning),
                Some("function_call") => {
                    let call = self.answer.call.as_ref();
                    let pieces = call
                        .map(|call| call.arguments.as_slice())
                        .unwrap_or_default();
                    events.call(index, item, pieces);
                }
                _ => events.message(index, item, &self.answer),
            }
        }
        let last = match self.answer.truncated {
            true => "response.incomplete",
            false => "response.completed",
        };
        events.push(last, json!({"response": self.response}));
        events.made
    }
}

/// Typed events, numbered.
#[derive(Default)]
struct Events {
    made: Vec<Vec<u8>>,
}

impl Events {
    fn push(&mut self, kind: &str, mut data: Value) {
        data["type"] = json!(kind);
        data["sequence_number"] = json!(self.made.len());
        self.made
            .push(format!("event: {kind}\ndata: {data}\n\n").into_bytes());
    }

    fn begin(&mut self, index: usize, item: &Value, emptied: &[(&str, Value)]) {
        let mut begun = item.clone();
        for (key, value) in emptied {
            begun[*key] = value.clone();
        }
        self.push(
            "response.output_item.added",
            json!({"output_index": index, "item": begun}),
        );
    }

    fn end(&mut self, index: usize, item: &Value) {
        self.push(
            "response.output_item.done",
            json!({"output_index": index, "item": item}),
        );
    }

    fn message(&mut self, index: usize, item: &Value, answer: &Answer) {
        self.begin(
            index,
            item,
            &[("status", json!("in_progress")), ("content", json!([]))],
        );
        let part = &item["content"][0];
        let at = || json!({"item_id": item["id"], "output_index": index, "content_index": 0});
        let with = |key: &str, value: &Value| {
            let mut data = at();
            data[key] = value.clone();
            data
        };
        let refuses = !answer.refusal.is_empty();
        let (kind, key, pieces) = match refuses {
            true => ("response.refusal", "refusal", &answer.refusal),
            false => ("response.output_text", "text", &answer.pieces),
        };
        let mut begun = part.clone();
        begun[key] = json!("");
        self.push("response.content_part.added", with("part", &begun));
        for piece in pieces {
            let mut data = with("delta", &json!(piece));
            if !refuses {
                data["logprobs"] = json!([]);
            }
            self.push(&format!("{kind}.delta"), data);
        }
        let mut data = with(key, &part[key]);
        if !refuses {
            data["logprobs"] = json!([]);
        }
        self.push(&format!("{kind}.done"), data);
        self.push("response.content_part.done", with("part", part));
        self.end(index, item);
    }

    fn reasoning(&mut self, index: usize, item: &Value, pieces: &[String]) {
        self.begin(index, item, &[("summary", json!([]))]);
        let part = &item["summary"][0];
        let with = |key: &str, value: Value| {
            let mut data =
                json!({"item_id": item["id"], "output_index": index, "summary_index": 0});
            data[key] = value;
            data
        };
        let empty = json!({"type": "summary_text", "text": ""});
        self.push("response.reasoning_summary_part.added", with("part", empty));
        for piece in pieces {
            let data = with("delta", json!(piece));
            self.push("response.reasoning_summary_text.delta", data);
        }
        let data = with("text", part["text"].clone());
        self.push("response.reasoning_summary_text.done", data);
        self.push(
            "response.reasoning_summary_part.done",
            with("part", part.clone()),
        );
        self.end(index, item);
    }

    fn call(&mut self, index: usize, item: &Value, pieces: &[String]) {
        self.begin(
            index,
            item,
            &[("status", json!("in_progress")), ("arguments", json!(""))],
        );
        for piece in pieces {
            self.push(
                "response.function_call_arguments.delta",
                json!({"item_id": item["id"], "output_index": index, "delta": piece}),
            );
        }
        self.push(
            "response.function_call_arguments.done",
            json!({
                "item_id": item["id"], "output_index": index, "name": item["name"],
                "arguments": item["arguments"],
            }),
        );
        self.end(index, item);
    }
}

/// The items of an answer: thoughts, words or a refusal, a call.
fn output(id: &str, answer: &Answer, status: &str) -> Vec<Value> {
    let own = |prefix: &str| id.replacen("resp", prefix, 1);
    let mut items = Vec::new();
    if !answer.reasoning.is_empty() {
        let summary = json!([{"type": "summary_text", "text": answer.reasoning.concat()}]);
        items.push(json!({"type": "reasoning", "id": own("rs"), "summary": summary}));
    }
    let part = match (answer.refusal.is_empty(), answer.pieces.is_empty()) {
        (false, _) => Some(json!({"type": "refusal", "refusal": answer.refusal.concat()})),
        (true, false) => Some(json!({
            "type": "output_text", "text": answer.text(), "annotations": [], "logprobs": [],
        })),
        (true, true) => None,
    };
    if let Some(part) = part {
        items.push(json!({
            "type": "message", "id": own("msg"), "status": status, "role": "assistant",
            "content": [part],
        }));
    }
    if let Some(call) = &answer.call {
        items.push(json!({
            "type": "function_call", "id": own("fc"), "call_id": call.id("call"),
            "name": call.name, "arguments": call.arguments(), "status": status,
        }));
    }
    items
}

/// The input as a list of items that have ids.
fn input_items(input: &Value) -> Vec<Value> {
    let items = match input {
        Value::String(text) => vec![json!({
            "type": "message", "role": "user",
            "content": [{"type": "input_text", "text": text}],
        })],
        Value::Array(items) => items.clone(),
        _ => vec![],
    };
    let with_id = |(index, mut item): (usize, Value)| {
        if let Some(item) = item.as_object_mut() {
            item.entry("type").or_insert(json!("message"));
            item.entry("id")
                .or_insert(json!(format!("msg_{index:016x}")));
        }
        item
    };
    items.into_iter().enumerate().map(with_id).collect()
}

fn item_text(item: &Value) -> String {
    let text = ["content", "output"].iter().find_map(|key| item.get(key));
    content_text(text.unwrap_or(&Value::Null))
}
