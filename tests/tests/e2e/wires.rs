//! The wire formats that answer in words, and how each says things.

use jupiter_testkit::{Answer, Instance};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

/// A policy with which every answer is judged, and none refused.
pub const ON_ANSWERS: &str = "
mpl_version: '1.0'
name: on-answers
version: 1.0.0
rules:
  - name: nothing-of-it
    when: response.text.contains('what nobody says')
    actions: [{type: deny, code: said, message: no}]
";

/// A wire format and its way of saying things.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Wire {
    Chat,
    Responses,
    Completions,
    Anthropic,
}

pub(crate) const WIRES: [Wire; 4] = [
    Wire::Chat,
    Wire::Responses,
    Wire::Completions,
    Wire::Anthropic,
];

impl Wire {
    pub(crate) fn body(self, user: &str, text: &str, stream: bool) -> Value {
        let messages = json!([{"role": "user", "content": text}]);
        match self {
            Wire::Chat => {
                json!({"model": "gpt-4o", "user": user, "messages": messages, "stream": stream})
            }
            Wire::Responses => {
                json!({"model": "gpt-4o", "user": user, "input": text, "stream": stream})
            }
            Wire::Completions => {
                json!({"model": "gpt-3.5-turbo", "user": user, "prompt": text, "stream": stream})
            }
            Wire::Anthropic => json!({
                "model": "claude-sonnet-5", "max_tokens": 100, "messages": messages,
                "metadata": {"user_id": user}, "stream": stream,
            }),
        }
    }

    pub(crate) fn limit(self) -> &'static str {
        match self {
            Wire::Responses => "max_output_tokens",
            _ => "max_tokens",
        }
    }

    pub(crate) fn request(self, instance: &Instance, body: &Value) -> RequestBuilder {
        let traffic = instance.traffic();
        let post = |path| {
            let request = traffic.request(Method::POST, path);
            let request = request.header("content-type", "application/json");
            request.body(body.to_string())
        };
        match self {
            Wire::Chat => post("/v1/chat/completions").bearer_auth("sk-test"),
            Wire::Responses => post("/v1/responses").bearer_auth("sk-test"),
            Wire::Completions => post("/v1/completions").bearer_auth("sk-test"),
            Wire::Anthropic => post("/v1/messages")
                .header("x-api-key", "sk-ant-test")
                .header("anthropic-version", "2023-06-01"),
        }
    }

    /// The text that a client reads from an answer.
    pub(crate) fn text(self, answer: &Answer, stream: bool) -> String {
        let whole = match self {
            Wire::Chat => "/choices/0/message/content",
            Wire::Responses => "/output/0/content/0/text",
            Wire::Completions => "/choices/0/text",
            Wire::Anthropic => "/content/0/text",
        };
        match stream {
            true => self.streamed(&answer.text()),
            false => text_at(&answer.json(), whole),
        }
    }

    /// The text that a client puts together from a stream.
    pub(crate) fn streamed(self, stream: &str) -> String {
        let delta = match self {
            Wire::Chat => "/choices/0/delta/content",
            Wire::Responses => "/delta",
            Wire::Completions => "/choices/0/text",
            Wire::Anthropic => "/delta/text",
        };
        let events = events(stream);
        events.iter().map(|event| text_at(event, delta)).collect()
    }

    /// What says that a stream is whole.
    pub(crate) fn end(self) -> &'static str {
        match self {
            Wire::Chat | Wire::Completions => "data: [DONE]",
            Wire::Responses => "event: response.completed",
            Wire::Anthropic => "event: message_stop",
        }
    }
}

fn text_at(value: &Value, pointer: &str) -> String {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

/// The data of the events of a stream, whatever its line ends.
pub(crate) fn events(stream: &str) -> Vec<Value> {
    let stream = stream.replace("\r\n", "\n").replace('\r', "\n");
    let data = stream.split("\n\n").filter_map(|event| {
        let lines = event.lines().filter_map(|it| it.strip_prefix("data:"));
        serde_json::from_str(&lines.collect::<Vec<_>>().join("\n")).ok()
    });
    data.collect()
}
