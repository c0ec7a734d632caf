//! Text is found wherever a dialect can carry it.
//!
//! For each API and each place in its requests: a word that the policy refuses
//! is refused there and nothing reaches the provider; another word passes, the
//! provider receives the client's bytes, whole and streamed, and the record
//! says what was read. How the official clients fare is in `clients`.

use jupiter_testkit::{Answer, Instance};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{assert_record, reached_provider, record_of};

/// Refuses any text that holds [`REFUSED`].
const WORDS: &str = r#"
mpl_version: "1.0"
name: words
version: "1.0.0"
rules:
  - name: no-such-word
    conditions:
      - {field: request.text, operator: contains, value: xyzzy}
    actions:
      - {type: deny, message: "that word is not allowed", code: word_refused}
"#;

const REFUSED: &str = "xyzzy";
const HARMLESS: &str = "plugh";

/// An API, where its requests can carry a text, and what tells of an answer.
struct Dialect {
    path: &'static str,
    operation: &'static str,
    streams: bool,
    /// Requests with a word in one place each.
    bodies: fn(&str) -> Vec<(&'static str, Value)>,
}

const DIALECTS: [Dialect; 6] = [
    Dialect {
        path: "/v1/chat/completions",
        operation: "chat",
        streams: true,
        bodies: chat,
    },
    Dialect {
        path: "/v1/responses",
        operation: "chat",
        streams: true,
        bodies: responses,
    },
    Dialect {
        path: "/v1/completions",
        operation: "text_completion",
        streams: true,
        bodies: completions,
    },
    Dialect {
        path: "/v1/embeddings",
        operation: "embeddings",
        streams: false,
        bodies: embeddings,
    },
    Dialect {
        path: "/v1/messages",
        operation: "chat",
        streams: true,
        bodies: messages,
    },
    Dialect {
        path: "/v1/messages/count_tokens",
        operation: "count_tokens",
        streams: false,
        bodies: messages,
    },
];

/// The arguments of a call, their letters spelt as escapes.
fn hidden_arguments(word: &str) -> String {
    let spelt: String = word.bytes().map(|b| format!("\\u{b:04x}")).collect();
    format!("{{\"to\":\"{spelt}\"}}")
}

fn chat(word: &str) -> Vec<(&'static str, Value)> {
    let with = |messages: Value| json!({"model": "gpt-4o", "messages": messages});
    let hello = json!({"role": "user", "content": "hello"});
    let call = |arguments: String| {
        let call = json!({"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}});
        json!([hello, {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "done"}])
    };
    let and = |key: &str, value: Value| {
        let mut body = with(json!([hello]));
        body[key] = value;
        body
    };
    vec![
        ("content", with(json!([{"role": "user", "content": word}]))),
        (
            "part",
            with(
                json!([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": word}]}]),
            ),
        ),
        (
            "system",
            with(json!([{"role": "developer", "content": word}, hello])),
        ),
        ("arguments", with(call(json!({ "to": word }).to_string()))),
        ("escaped arguments", with(call(hidden_arguments(word)))),
        (
            "tool result",
            with(json!([hello, {"role": "tool", "tool_call_id": "1", "content": word}])),
        ),
        (
            "refusal",
            with(json!([hello, {"role": "assistant", "content": null, "refusal": word}, hello])),
        ),
        (
            "tool definition",
            and(
                "tools",
                json!([{"type": "function", "function": {"name": "f", "description": word}}]),
            ),
        ),
        (
            "key of a schema",
            and(
                "tools",
                json!([{"type": "function", "function": {"name": "f", "parameters": {"properties": {word: {}}}}}]),
            ),
        ),
        (
            "prediction",
            and("prediction", json!({"type": "content", "content": word})),
        ),
        (
            "member of tomorrow",
            and("tomorrow", json!([{"deep": [word]}])),
        ),
    ]
}

fn responses(word: &str) -> Vec<(&'static str, Value)> {
    let with = |input: Value| json!({"model": "gpt-5", "input": input});
    let hello = json!({"role": "user", "content": "hello"});
    let call = |arguments: String| {
        json!([hello, {"type": "function_call", "call_id": "1", "name": "f", "arguments": arguments},
            {"type": "function_call_output", "call_id": "1", "output": "done"}])
    };
    let and = |key: &str, value: Value| {
        let mut body = with(json!("hello"));
        body[key] = value;
        body
    };
    vec![
        ("input", with(json!(word))),
        ("item", with(json!([{"role": "user", "content": word}]))),
        (
            "part",
            with(
                json!([{"type": "message", "role": "user", "content": [{"type": "input_text", "text": word}]}]),
            ),
        ),
        ("instructions", and("instructions", json!(word))),
        ("arguments", with(call(json!({ "to": word }).to_string()))),
        ("escaped arguments", with(call(hidden_arguments(word)))),
        (
            "tool result",
            with(json!([hello, {"type": "function_call_output", "call_id": "1", "output": word}])),
        ),
        (
            "reasoning",
            with(
                json!([hello, {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": word}]}]),
            ),
        ),
        (
            "tool definition",
            and(
                "tools",
                json!([{"type": "function", "name": "f", "description": word, "parameters": {}}]),
            ),
        ),
        (
            "format",
            and(
                "text",
                json!({"format": {"type": "json_schema", "name": "n", "schema": {"description": word}}}),
            ),
        ),
    ]
}

fn completions(word: &str) -> Vec<(&'static str, Value)> {
    vec![
        (
            "prompt",
            json!({"model": "gpt-3.5-turbo-instruct", "prompt": word}),
        ),
        (
            "one of prompts",
            json!({"model": "gpt-3.5-turbo-instruct", "prompt": ["a", word]}),
        ),
        (
            "suffix",
            json!({"model": "gpt-3.5-turbo-instruct", "prompt": "a", "suffix": word}),
        ),
    ]
}

fn embeddings(word: &str) -> Vec<(&'static str, Value)> {
    vec![
        (
            "input",
            json!({"model": "text-embedding-3-small", "input": word}),
        ),
        (
            "one of inputs",
            json!({"model": "text-embedding-3-small", "input": ["a", word]}),
        ),
    ]
}

fn messages(word: &str) -> Vec<(&'static str, Value)> {
    let with = |messages: Value| json!({"model": "claude-sonnet-5", "max_tokens": 50, "messages": messages});
    let hello = json!({"role": "user", "content": "hello"});
    let said =
        |blocks: Value| with(json!([hello, {"role": "assistant", "content": blocks}, hello]));
    let and = |key: &str, value: Value| {
        let mut body = with(json!([hello]));
        body[key] = value;
        body
    };
    vec![
        ("content", with(json!([{"role": "user", "content": word}]))),
        (
            "block",
            with(json!([{"role": "user", "content": [{"type": "text", "text": word}]}])),
        ),
        ("system", and("system", json!(word))),
        (
            "system block",
            and("system", json!([{"type": "text", "text": word}])),
        ),
        (
            "tool input",
            said(json!([{"type": "tool_use", "id": "t", "name": "f", "input": {"deep": [word]}}])),
        ),
        (
            "tool result",
            with(
                json!([{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": word}]}]),
            ),
        ),
        (
            "block of a tool result",
            with(json!([{"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": word}]}]}])),
        ),
        (
            "thinking",
            said(json!([{"type": "thinking", "thinking": word, "signature": "c2ln"}])),
        ),
        (
            "document",
            with(json!([{"role": "user", "content": [
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": word}}]}])),
        ),
        (
            "tool definition",
            and(
                "tools",
                json!([{"name": "f", "description": word, "input_schema": {"type": "object"}}]),
            ),
        ),
    ]
}

/// Send `body` as the API's own clients do.
async fn send(instance: &Instance, path: &str, body: &Value) -> Answer {
    let traffic = instance.traffic();
    let mut request = traffic
        .request(Method::POST, path)
        .header("content-type", "application/json")
        .body(body.to_string());
    request = match path.starts_with("/v1/messages") {
        true => request
            .header("x-api-key", "sk-ant-test")
            .header("anthropic-version", "2023-06-01"),
        false => request.bearer_auth("sk-test"),
    };
    traffic.complete(request).await
}

#[tokio::test]
async fn refused_word_is_refused_in_every_place_of_every_dialect() {
    let instance = Instance::builder().policy("words", WORDS).start().await;
    for dialect in &DIALECTS {
        for (place, body) in (dialect.bodies)(REFUSED) {
            let what = format!("{place} of {}", dialect.path);
            let answer = send(&instance, dialect.path, &body).await;
            assert_eq!(answer.status, 403, "{what}: {}", answer.text());
            assert_eq!(answer.json()["error"]["code"], "word_refused", "{what}");
            let anthropic = dialect.path.starts_with("/v1/messages");
            let kind = answer.json()["error"]["type"].clone();
            assert_eq!(
                kind,
                if anthropic {
                    "permission_error"
                } else {
                    "policy_violation"
                }
            );
            let record = record_of(&instance, &answer).await;
            assert_record(
                &record,
                &json!({
                    "decision": "deny",
                    "outcome": "refused",
                    "gen_ai.operation.name": dialect.operation,
                    "request_inspection": "inspected",
                }),
            );
        }
    }
    assert_eq!(reached_provider(&instance), 0);
}

#[tokio::test]
async fn other_words_reach_the_provider_byte_for_byte_in_every_place() {
    let instance = Instance::builder().policy("words", WORDS).start().await;
    for dialect in &DIALECTS {
        for (place, mut body) in (dialect.bodies)(HARMLESS) {
            for stream in [false, true] {
                if stream && !dialect.streams {
                    continue;
                }
                if stream {
                    body["stream"] = json!(true);
                }
                let what = format!("{place} of {}, stream: {stream}", dialect.path);
                instance.provider().clear();
                let answer = send(&instance, dialect.path, &body).await;
                assert_eq!(answer.status, 200, "{what}: {}", answer.text());
                let received = instance.provider().received();
                assert_eq!(received.len(), 1, "{what}");
                assert_eq!(received[0].path, dialect.path);
                assert_eq!(received[0].body, body.to_string(), "{what}");
                let record = record_of(&instance, &answer).await;
                assert_record(
                    &record,
                    &json!({
                        "decision": "allow",
                        "outcome": "completed",
                        "gen_ai.operation.name": dialect.operation,
                        "request_inspection": "inspected",
                        "response_inspection": "inspected",
                        "stream": stream,
                    }),
                );
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_text_is_recorded_as_not_read() {
    let instance = Instance::builder().policy("words", WORDS).start().await;
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
    let file = json!({"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"});
    let document = json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}});
    for (path, body, reason) in [
        (
            "/v1/chat/completions",
            json!({"model": "gpt-4o", "messages": [{"role": "user", "content": [image]}]}),
            "non_text_content",
        ),
        (
            "/v1/responses",
            json!({"model": "gpt-5", "input": [{"role": "user", "content": [file]}]}),
            "non_text_content",
        ),
        (
            "/v1/responses",
            json!({"model": "gpt-5", "input": [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "AAAA"}]}),
            "encrypted_content",
        ),
        (
            "/v1/completions",
            json!({"model": "gpt-3.5-turbo-instruct", "prompt": [1, 2, 3]}),
            "non_text_content",
        ),
        (
            "/v1/embeddings",
            json!({"model": "text-embedding-3-small", "input": [[1, 2], [3]]}),
            "non_text_content",
        ),
        (
            "/v1/messages",
            json!({"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": [document]}]}),
            "non_text_content",
        ),
    ] {
        let answer = send(&instance, path, &body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let record = record_of(&instance, &answer).await;
        assert_record(
            &record,
            &json!({"request_inspection": "unscanned", "request_unscanned_reason": reason}),
        );
    }
}

#[tokio::test]
async fn usage_and_ends_of_typed_streams_are_recorded_however_they_are_cut() {
    let instance = Instance::builder().policy("words", WORDS).start().await;
    let traffic = instance.traffic();
    for wire_bytes in [1, 7, 1000] {
        let body = json!({"model": "gpt-5", "input": "one two three", "stream": true,
            "tools": [{"type": "function", "name": "lookup", "parameters": {}}]});
        let request = traffic
            .request(Method::POST, "/v1/responses")
            .bearer_auth("sk-test")
            .header("x-fake-tool-call", "true")
            .header("x-fake-reply", "four words of answer")
            .header("x-fake-piece-chars", 2)
            .header("x-fake-wire-bytes", wire_bytes)
            .body(body.to_string());
        let answer = traffic.complete(request).await;
        let record = record_of(&instance, &answer).await;
        assert_record(
            &record,
            &json!({
                "outcome": "completed",
                "response_inspection": "inspected",
                "gen_ai.response.finish_reasons": ["completed"],
                "gen_ai.usage.input_tokens": 3,
                // The arguments are one word more.
                "gen_ai.usage.output_tokens": 5,
            }),
        );
    }
}

const ATTACHMENTS: &str = r#"
mpl_version: "1.0"
name: attachments
version: "1.0.0"
rules:
  - name: no-documents
    conditions:
      - {field: request.attachments.media_types, operator: contains, value: application/pdf}
    actions:
      - {type: deny, message: "no documents", code: document}
  - name: small-ones
    conditions:
      - {field: request.attachments.bytes, operator: ">", value: 6}
    actions:
      - {type: deny, message: "too large", code: too_large}
"#;

#[tokio::test]
async fn type_size_and_count_of_what_is_no_text_are_facts_and_recorded() {
    let instance = Instance::builder()
        .policy("attachments", ATTACHMENTS)
        .start()
        .await;
    let url = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let source = |kind: &str, media_type: &str, data: &str| json!({"type": kind, "source": {"type": "base64", "media_type": media_type, "data": data}});
    let png = "data:image/png;base64,AAAA";
    let told = |kind: &str, media_type: Option<&str>, count: u64, bytes: u64| {
        let mut told = json!({"kind": kind, "count": count, "bytes": bytes});
        if let Some(media_type) = media_type {
            told["media_type"] = json!(media_type);
        }
        told
    };
    for (path, parts, status, code, attachments) in [
        (
            "/v1/chat/completions",
            json!([url(png), url(png), url("https://example.com/a.png")]),
            200,
            Value::Null,
            json!([
                told("image", Some("image/png"), 2, 6),
                told("image", None, 1, 0)
            ]),
        ),
        (
            "/v1/chat/completions",
            json!([url("data:image/png;base64,AAAAAAAAAAA=")]),
            403,
            json!("too_large"),
            json!([told("image", Some("image/png"), 1, 8)]),
        ),
        (
            "/v1/messages",
            json!([source("image", "image/jpeg", "AAAA")]),
            200,
            Value::Null,
            json!([told("image", Some("image/jpeg"), 1, 3)]),
        ),
        (
            "/v1/messages",
            json!([source("document", "application/pdf", "AAAA")]),
            403,
            json!("document"),
            json!([told("file", Some("application/pdf"), 1, 3)]),
        ),
    ] {
        let model = if path == "/v1/messages" {
            "claude-sonnet-5"
        } else {
            "gpt-4o"
        };
        let body = json!({"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": parts}]});
        let answer = send(&instance, path, &body).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert_record(
            &record_of(&instance, &answer).await,
            &json!({
                "attachments": attachments,
                "reason": code,
                "request_inspection": "unscanned",
                "request_unscanned_reason": "non_text_content",
            }),
        );
    }
}
