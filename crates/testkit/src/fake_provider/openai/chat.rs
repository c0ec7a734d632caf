//! Chat completions.

use serde_json::{Map, Value, json};

use super::super::Script;
use super::super::answer::{Answer, ToolCall, content_text, count_words, fingerprint};
use super::super::wire::Reply;
use super::{
    SYSTEM_FINGERPRINT, asks_for_stream, asks_for_usage, event, first_tool, known_model, missing,
    now,
};

pub(super) fn create(body: &Map<String, Value>, script: &Script) -> Result<Reply, Reply> {
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
        answer: Answer::compose(prompt, max_tokens, first_tool(body), script),
    };
    if asks_for_stream(body) {
        Ok(Reply::events(completion.events(asks_for_usage(body))))
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
}

impl Completion {
    fn whole(&self) -> Value {
        let answer = &self.answer;
        let said = |pieces: &[String]| match pieces {
            [] => Value::Null,
            pieces => json!(pieces.concat()),
        };
        let mut message = json!({
            "role": "assistant", "content": said(&answer.pieces),
            "refusal": said(&answer.refusal), "annotations": [],
        });
        if let Some(call) = &answer.call {
            message["tool_calls"] = json!([self.tool_call(call, &call.arguments())]);
        }
        if !answer.reasoning.is_empty() {
            message["reasoning_content"] = said(&answer.reasoning);
        }
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
        let texts = [
            ("reasoning_content", &self.answer.reasoning),
            ("content", &self.answer.pieces),
            ("refusal", &self.answer.refusal),
        ];
        for (key, pieces) in texts {
            events.extend(
                pieces
                    .iter()
                    .map(|piece| self.delta(json!({ key: piece }), Value::Null, include_usage)),
            );
        }
        if let Some(call) = &self.answer.call {
            let mut first = self.tool_call(call, "");
            first["index"] = json!(0);
            events.push(self.delta(json!({ "tool_calls": [first] }), Value::Null, include_usage));
            for piece in &call.arguments {
                let more = json!({"index": 0, "function": {"arguments": piece}});
                events.push(self.delta(
                    json!({ "tool_calls": [more] }),
                    Value::Null,
                    include_usage,
                ));
            }
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

    fn tool_call(&self, call: &ToolCall, arguments: &str) -> Value {
        json!({
            "id": call.id("call"),
            "type": "function",
            "function": {"name": call.name, "arguments": arguments},
        })
    }

    fn finish_reason(&self) -> &'static str {
        match (&self.answer.call, self.answer.truncated) {
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
