//! Over real sockets, spoken to by hand: what is on the wire is the promise.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{CutHow, FakeProvider, Script};

const OPENAI: &str = "authorization: Bearer sk-test\r\n";
const ANTHROPIC: &str = "x-api-key: sk-ant-test\r\nanthropic-version: 2023-06-01\r\n";

/// A response as it came, and how the connection ended.
struct Raw {
    bytes: Vec<u8>,
    end: Result<(), ErrorKind>,
}

impl Raw {
    fn head(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        text.split("\r\n\r\n")
            .next()
            .unwrap_or_default()
            .to_lowercase()
    }

    fn status(&self) -> u16 {
        let head = self.head();
        let status = head.split(' ').nth(1).expect("a status line");
        status.parse().expect("a status")
    }

    /// The body, de-chunked when it came in chunks.
    fn body(&self) -> Vec<u8> {
        let at = self
            .bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .expect("a head");
        let mut rest = &self.bytes[at + 4..];
        if !self.head().contains("transfer-encoding: chunked") {
            return rest.to_vec();
        }
        let mut body = Vec::new();
        while let Some(line) = rest.windows(2).position(|window| window == b"\r\n") {
            let size = std::str::from_utf8(&rest[..line]).expect("a chunk size");
            let size = usize::from_str_radix(size, 16).expect("a chunk size");
            let start = line + 2;
            if size == 0 || rest.len() < start + size {
                break;
            }
            body.extend_from_slice(&rest[start..start + size]);
            rest = &rest[start + size + 2..];
        }
        body
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body()).expect("a JSON body")
    }

    /// The data of each server-sent event.
    fn events(&self) -> Vec<String> {
        let body = String::from_utf8(self.body()).expect("text");
        body.split("\n\n")
            .filter(|event| !event.is_empty())
            .map(|event| {
                let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                data.expect("a data line").to_owned()
            })
            .collect()
    }
}

async fn send(provider: &FakeProvider, method: &str, path: &str, headers: &str, body: &str) -> Raw {
    let mut socket = TcpStream::connect(provider.address())
        .await
        .expect("connect");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: fake\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(request.as_bytes()).await.expect("write");
    read_to_end(socket).await
}

async fn read_to_end(mut socket: TcpStream) -> Raw {
    let mut bytes = Vec::new();
    let end = loop {
        match socket.read_buf(&mut bytes).await {
            Ok(0) => break Ok(()),
            Ok(_) => {}
            Err(error) => break Err(error.kind()),
        }
    };
    Raw { bytes, end }
}

async fn chat(provider: &FakeProvider, headers: &str, body: &Value) -> Raw {
    let headers = format!("{OPENAI}{headers}");
    let path = "/v1/chat/completions";
    send(provider, "POST", path, &headers, &body.to_string()).await
}

fn question() -> Value {
    json!({"model": "gpt-4o", "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is the capital of France?"},
    ]})
}

fn streamed() -> Value {
    let mut body = question();
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    body
}

#[tokio::test]
async fn chat_answers_with_usage_counted_from_the_texts() {
    let provider = FakeProvider::start().await.expect("start");
    let answer = chat(&provider, "", &question()).await;
    assert_eq!(answer.status(), 200);
    let body = answer.json();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["model"], "gpt-4o-2024-08-06");
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    let words = body["choices"][0]["message"]["content"]
        .as_str()
        .expect("text")
        .split_whitespace()
        .count();
    assert_eq!(body["usage"]["prompt_tokens"], 8);
    assert_eq!(body["usage"]["completion_tokens"], words);
    assert_eq!(body["usage"]["total_tokens"], words + 8);
}

#[tokio::test]
async fn a_stream_ends_with_usage_and_done() {
    let provider = FakeProvider::start().await.expect("start");
    let answer = chat(&provider, "x-fake-chunks: 5\r\n", &streamed()).await;
    assert!(answer.head().contains("content-type: text/event-stream"));
    let events = answer.events();
    // role, five chunks, finish, usage, [DONE]
    assert_eq!(events.len(), 9);
    assert_eq!(events[8], "[DONE]");
    let usage: Value = serde_json::from_str(&events[7]).expect("JSON");
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["prompt_tokens"], 8);
    let text: String = events[..7]
        .iter()
        .filter_map(|event| {
            let event: Value = serde_json::from_str(event).expect("JSON");
            assert_eq!(event["usage"], Value::Null);
            let content = event["choices"][0]["delta"]["content"].as_str()?;
            Some(content.to_owned())
        })
        .collect();
    let words = text.split_whitespace().count();
    assert_eq!(usage["usage"]["completion_tokens"], words);
}

#[tokio::test]
async fn a_stream_without_include_usage_has_none() {
    let provider = FakeProvider::start().await.expect("start");
    let mut body = streamed();
    body["stream_options"] = Value::Null;
    let answer = chat(&provider, "", &body).await;
    assert!(!String::from_utf8_lossy(&answer.body()).contains("usage"));
}

#[tokio::test]
async fn a_tool_can_be_called() {
    let provider = FakeProvider::start().await.expect("start");
    let mut body = question();
    body["tools"] = json!([{"type": "function", "function": {"name": "lookup"}}]);
    let whole = chat(&provider, "x-fake-tool-call: true\r\n", &body)
        .await
        .json();
    let choice = &whole["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(
        choice["message"]["tool_calls"][0]["function"]["name"],
        "lookup"
    );
}

#[tokio::test]
async fn requests_are_remembered_byte_for_byte() {
    let provider = FakeProvider::start().await.expect("start");
    let body = "{ \"model\" :\"gpt-4o\",\n \"messages\": [] }";
    let headers = format!("{OPENAI}x-marker: one\r\nx-marker: two\r\n");
    let answer = send(
        &provider,
        "POST",
        "/v1/chat/completions?a=b",
        &headers,
        body,
    )
    .await;
    assert_eq!(answer.status(), 400);
    let received = provider.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].method, "POST");
    assert_eq!(received[0].path, "/v1/chat/completions?a=b");
    assert_eq!(received[0].body, body);
    let markers: Vec<_> = received[0].headers.get_all("x-marker").iter().collect();
    assert_eq!(markers, ["one", "two"]);
    provider.clear();
    assert!(provider.received().is_empty());
}

#[tokio::test]
async fn the_control_api_lists_forgets_and_scripts() {
    let provider = FakeProvider::start().await.expect("start");
    chat(&provider, "", &question()).await;
    let listed = send(&provider, "GET", "/__fake/requests", "", "")
        .await
        .json();
    assert_eq!(listed["requests"][0]["path"], "/v1/chat/completions");
    assert_eq!(listed["requests"][0]["body"], json!(question().to_string()));
    send(&provider, "DELETE", "/__fake/requests", "", "").await;
    assert!(provider.received().is_empty());

    let script = r#"{"status": 503}"#;
    let stored = send(&provider, "PUT", "/__fake/script", "", script).await;
    assert_eq!(stored.status(), 200);
    assert_eq!(chat(&provider, "", &question()).await.status(), 503);
    send(&provider, "DELETE", "/__fake/script", "", "").await;
    assert_eq!(chat(&provider, "", &question()).await.status(), 200);
}

#[tokio::test]
async fn a_misspelt_script_is_an_error() {
    let provider = FakeProvider::start().await.expect("start");
    for header in ["x-fake-stauts: 500\r\n", "x-fake-status: often\r\n"] {
        assert_eq!(chat(&provider, header, &question()).await.status(), 400);
    }
    let stored = send(&provider, "PUT", "/__fake/script", "", r#"{"stauts": 1}"#).await;
    assert_eq!(stored.status(), 400);
}

#[tokio::test]
async fn openai_errors_have_their_real_shape() {
    let provider = FakeProvider::start().await.expect("start");
    let path = "/v1/chat/completions";
    let keyless = send(&provider, "POST", path, "", &question().to_string()).await;
    assert_eq!(keyless.status(), 401);
    assert_eq!(keyless.json()["error"]["type"], "invalid_request_error");

    let mut unknown = question();
    unknown["model"] = json!("nonesuch");
    let unknown = chat(&provider, "", &unknown).await;
    assert_eq!(unknown.status(), 404);
    assert_eq!(unknown.json()["error"]["code"], "model_not_found");

    let limited = chat(&provider, "x-fake-status: 429\r\n", &question()).await;
    assert_eq!(limited.status(), 429);
    assert_eq!(limited.json()["error"]["code"], "rate_limit_exceeded");
    assert!(limited.head().contains("retry-after: 1"));

    let broken = chat(&provider, "x-fake-status: 500\r\n", &question()).await;
    assert_eq!(broken.json()["error"]["type"], "server_error");
}

#[tokio::test]
async fn models_are_listed_and_shown() {
    let provider = FakeProvider::start().await.expect("start");
    let list = send(&provider, "GET", "/v1/models", OPENAI, "")
        .await
        .json();
    assert_eq!(list["object"], "list");
    let one = send(&provider, "GET", "/v1/models/gpt-4o", OPENAI, "").await;
    assert_eq!(one.json()["id"], "gpt-4o");
    let none = send(&provider, "GET", "/v1/models/nonesuch", OPENAI, "").await;
    assert_eq!(none.status(), 404);
}

#[tokio::test]
async fn embeddings_are_the_same_numbers_in_both_encodings() {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    let provider = FakeProvider::start().await.expect("start");
    let ask = async |format: &str| {
        let body = json!({"model": "text-embedding-3-small", "input": ["one two", "three"],
            "encoding_format": format, "dimensions": 16});
        send(
            &provider,
            "POST",
            "/v1/embeddings",
            OPENAI,
            &body.to_string(),
        )
        .await
        .json()
    };
    let floats = ask("float").await;
    assert_eq!(floats["usage"]["prompt_tokens"], 3);
    assert_eq!(floats["data"].as_array().map(Vec::len), Some(2));
    let packed = ask("base64").await;
    let packed = packed["data"][1]["embedding"].as_str().expect("base64");
    let unpacked: Vec<f32> = STANDARD
        .decode(packed)
        .expect("base64")
        .chunks(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")))
        .collect();
    let plain: Vec<f32> = serde_json::from_value(floats["data"][1]["embedding"].clone())
        .expect("an array of numbers");
    assert_eq!(unpacked, plain);
    let length: f32 = plain.iter().map(|x| x * x).sum();
    assert!((length - 1.0).abs() < 1e-3);
}

#[tokio::test]
async fn anthropic_messages_are_answered_whole() {
    let provider = FakeProvider::start().await.expect("start");
    let body = json!({"model": "claude-sonnet-5", "max_tokens": 3, "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "And now?"}]}]});
    let answer = send(
        &provider,
        "POST",
        "/v1/messages",
        ANTHROPIC,
        &body.to_string(),
    )
    .await;
    assert_eq!(answer.status(), 200);
    assert!(answer.head().contains("request-id: req_"));
    let answer = answer.json();
    assert_eq!(answer["type"], "message");
    assert_eq!(answer["stop_reason"], "max_tokens");
    assert_eq!(answer["usage"]["input_tokens"], 4);
    assert_eq!(answer["usage"]["output_tokens"], 3);
}

#[tokio::test]
async fn an_anthropic_stream_has_its_events_in_order() {
    let provider = FakeProvider::start().await.expect("start");
    let body = json!({"model": "claude-sonnet-5", "max_tokens": 100, "stream": true,
        "messages": [{"role": "user", "content": "And now?"}]});
    let headers = format!("{ANTHROPIC}x-fake-chunks: 2\r\n");
    let answer = send(
        &provider,
        "POST",
        "/v1/messages",
        &headers,
        &body.to_string(),
    )
    .await;
    let kinds: Vec<String> = answer
        .events()
        .iter()
        .map(|data| {
            let data: Value = serde_json::from_str(data).expect("JSON");
            data["type"].as_str().expect("a type").to_owned()
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "message_start",
            "content_block_start",
            "ping",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
}

#[tokio::test]
async fn anthropic_refuses_what_anthropic_refuses() {
    let provider = FakeProvider::start().await.expect("start");
    let body = json!({"model": "claude-sonnet-5", "messages": [{"role": "user", "content": "x"}]})
        .to_string();
    let cases = [
        ("", 401, "authentication_error"),
        ("x-api-key: k\r\n", 400, "invalid_request_error"),
        // max_tokens is missing.
        (ANTHROPIC, 400, "invalid_request_error"),
    ];
    for (headers, status, kind) in cases {
        let answer = send(&provider, "POST", "/v1/messages", headers, &body).await;
        assert_eq!(answer.status(), status);
        let answer = answer.json();
        assert_eq!(answer["type"], "error");
        assert_eq!(answer["error"]["type"], kind);
        assert!(answer["request_id"].is_string());
    }
}

#[tokio::test]
async fn a_cut_stream_ends_in_a_reset_after_the_pieces_before_it() {
    let provider = FakeProvider::start().await.expect("start");
    let answer = chat(&provider, "x-fake-cut-after: 3\r\n", &streamed()).await;
    assert_eq!(answer.end, Err(ErrorKind::ConnectionReset));
    assert_eq!(answer.events().len(), 3);
}

#[tokio::test]
async fn a_whole_answer_can_be_closed_short_of_its_length() {
    let provider = FakeProvider::start().await.expect("start");
    let headers = "x-fake-cut-after: 2\r\nx-fake-cut-how: close\r\n";
    let answer = chat(&provider, headers, &question()).await;
    assert_eq!(answer.end, Ok(()));
    assert!(answer.head().contains("content-length: "));
    assert!(!answer.body().is_empty());
    assert!(serde_json::from_slice::<Value>(&answer.body()).is_err());
}

#[tokio::test]
async fn a_connection_can_be_cut_instead_of_an_answer() {
    let provider = FakeProvider::start().await.expect("start");
    let answer = chat(&provider, "x-fake-cut-after: 0\r\n", &question()).await;
    assert!(answer.bytes.is_empty());
    assert_eq!(answer.end, Err(ErrorKind::ConnectionReset));
    provider.set_script(Script {
        cut_after: Some(0),
        cut_how: CutHow::Close,
        ..Script::default()
    });
    assert_eq!(chat(&provider, "", &question()).await.end, Ok(()));
}

#[tokio::test]
async fn pieces_arrive_at_their_pace() {
    let provider = FakeProvider::start().await.expect("start");
    let started = Instant::now();
    let headers = "x-fake-latency-ms: 50\r\nx-fake-chunks: 4\r\nx-fake-chunk-interval-ms: 30\r\n";
    let answer = chat(&provider, headers, &streamed()).await;
    assert_eq!(answer.status(), 200);
    // Eight events with seven intervals between them.
    assert!(started.elapsed() >= Duration::from_millis(50 + 7 * 30));
}

#[tokio::test]
async fn silence_lasts_until_the_client_gives_up() {
    let provider = FakeProvider::start().await.expect("start");
    let body = question();
    let answer = chat(&provider, "x-fake-never: true\r\n", &body);
    let waited = tokio::time::timeout(Duration::from_millis(200), answer).await;
    assert!(waited.is_err());
    assert_eq!(provider.received().len(), 1);
}

#[tokio::test]
async fn an_oversized_answer_is_as_large_as_asked() {
    let provider = FakeProvider::start().await.expect("start");
    let answer = chat(&provider, "x-fake-body-bytes: 3000000\r\n", &question()).await;
    assert!(answer.body().len() >= 3_000_000);
}

#[tokio::test]
async fn a_compressed_answer_decodes_to_the_plain_one() {
    use std::io::Read;

    let provider = FakeProvider::start().await.expect("start");
    for body in [question(), streamed()] {
        let answer = chat(&provider, "x-fake-content-encoding: gzip\r\n", &body).await;
        assert!(answer.head().contains("content-encoding: gzip"));
        let mut plain = String::new();
        flate2::read::GzDecoder::new(answer.body().as_slice())
            .read_to_string(&mut plain)
            .expect("gzip");
        assert!(plain.contains("chat.completion"));
    }
}

#[tokio::test]
async fn a_dropped_provider_drops_its_connections() {
    let provider = FakeProvider::start().await.expect("start");
    let address = provider.address();
    let socket = TcpStream::connect(address).await.expect("connect");
    drop(provider);
    let ended = tokio::time::timeout(Duration::from_secs(5), read_to_end(socket)).await;
    assert!(ended.is_ok());
    FakeProvider::start_on(address)
        .await
        .expect("the address is free again");
}

async fn post(provider: &FakeProvider, path: &str, headers: &str, body: &Value) -> Raw {
    let keys = match path.starts_with("/v1/messages") {
        true => ANTHROPIC,
        false => OPENAI,
    };
    let headers = format!("{keys}{headers}");
    send(provider, "POST", path, &headers, &body.to_string()).await
}

fn parsed(events: &[String]) -> Vec<Value> {
    events
        .iter()
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect()
}

/// The texts under `pointer`, joined.
fn joined(events: &[Value], pointer: &str) -> String {
    let texts = events.iter().filter_map(|e| e.pointer(pointer)?.as_str());
    texts.collect()
}

const SCRIPTED: &str = "x-fake-reasoning: why not\r\nx-fake-reply: an answer\r\n\
    x-fake-tool-arguments: {\"a\": \"b c\"}\r\nx-fake-piece-chars: 3\r\n";

#[tokio::test]
async fn scripted_texts_stream_in_pieces_in_every_dialect() {
    let provider = FakeProvider::start().await.expect("start");
    let tools = json!([{"type": "function", "name": "f", "function": {"name": "f"}}]);
    let messages = json!([{"role": "user", "content": "hello"}]);
    for (path, body, texts) in [
        (
            "/v1/chat/completions",
            json!({"model": "gpt-4o", "messages": messages}),
            [
                "/choices/0/delta/reasoning_content",
                "/choices/0/delta/content",
                "/choices/0/delta/tool_calls/0/function/arguments",
            ],
        ),
        (
            "/v1/messages",
            json!({"model": "claude-sonnet-5", "max_tokens": 50, "messages": messages}),
            ["/delta/thinking", "/delta/text", "/delta/partial_json"],
        ),
    ] {
        let mut body = body;
        body["tools"] = tools.clone();
        body["stream"] = json!(true);
        let events = parsed(&post(&provider, path, SCRIPTED, &body).await.events());
        for (pointer, said) in texts
            .into_iter()
            .zip(["why not", "an answer", "{\"a\": \"b c\"}"])
        {
            assert_eq!(joined(&events, pointer), said, "{path}");
        }
    }
    let body = json!({"model": "gpt-5", "input": "hello", "tools": tools, "stream": true});
    let events = parsed(
        &post(&provider, "/v1/responses", SCRIPTED, &body)
            .await
            .events(),
    );
    for (kind, said) in [
        ("response.reasoning_summary_text.delta", "why not"),
        ("response.output_text.delta", "an answer"),
        ("response.function_call_arguments.delta", "{\"a\": \"b c\"}"),
    ] {
        let mine: Vec<Value> = events
            .iter()
            .filter(|e| e["type"] == kind)
            .cloned()
            .collect();
        assert!(mine.len() > 1 && joined(&mine, "/delta") == said, "{kind}");
    }
    let numbers: Vec<u64> = events
        .iter()
        .filter_map(|e| e["sequence_number"].as_u64())
        .collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
    let last = events.last().expect("events");
    assert_eq!(last["type"], "response.completed");
    assert_eq!(
        last["response"]["output"][1]["content"][0]["text"],
        "an answer"
    );
}

#[tokio::test]
async fn responses_are_kept_until_they_are_deleted() {
    let provider = FakeProvider::start().await.expect("start");
    let body = json!({"model": "gpt-5", "input": "hello you"});
    let made = post(&provider, "/v1/responses", "", &body).await.json();
    let path = format!("/v1/responses/{}", made["id"].as_str().expect("an id"));
    let get = async |path: &str| send(&provider, "GET", path, OPENAI, "").await;
    assert_eq!(get(&path).await.json()["output"], made["output"]);
    let items = get(&format!("{path}/input_items")).await.json();
    assert_eq!(items["data"][0]["content"][0]["text"], "hello you");
    assert!(
        !get(&format!("{path}?stream=true"))
            .await
            .events()
            .is_empty()
    );
    let cancelled = send(&provider, "POST", &format!("{path}/cancel"), OPENAI, "").await;
    assert_eq!(cancelled.json()["status"], "cancelled");
    let deleted = send(&provider, "DELETE", &path, OPENAI, "").await;
    assert_eq!(deleted.json()["deleted"], true);
    assert_eq!(get(&path).await.status(), 404);
}

#[tokio::test]
async fn completions_answer_each_prompt() {
    let provider = FakeProvider::start().await.expect("start");
    let mut body = json!({"model": "gpt-3.5-turbo-instruct", "prompt": ["one", "two three"]});
    let whole = post(&provider, "/v1/completions", "", &body).await.json();
    assert_eq!(whole["usage"]["prompt_tokens"], 3);
    assert_eq!(whole["choices"].as_array().map(Vec::len), Some(2));
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let streamed = post(&provider, "/v1/completions", "", &body).await.events();
    assert_eq!(streamed.last().map(String::as_str), Some("[DONE]"));
    let events = parsed(&streamed);
    let second: Vec<Value> = events
        .iter()
        .filter(|e| e["choices"][0]["index"] == 1)
        .cloned()
        .collect();
    assert_eq!(
        json!(joined(&second, "/choices/0/text")),
        whole["choices"][1]["text"]
    );
    assert_eq!(events.last().expect("usage")["usage"], whole["usage"]);
}

#[tokio::test]
async fn refusals_and_token_counts_have_their_dialects_form() {
    let provider = FakeProvider::start().await.expect("start");
    let no = "x-fake-refusal: I will not.\r\n";
    let chat = chat(&provider, no, &question()).await.json();
    assert_eq!(chat["choices"][0]["message"]["refusal"], "I will not.");
    assert_eq!(chat["choices"][0]["message"]["content"], Value::Null);
    let body = json!({"model": "gpt-5", "input": "hello"});
    let response = post(&provider, "/v1/responses", no, &body).await.json();
    assert_eq!(response["output"][0]["content"][0]["type"], "refusal");
    let body = json!({"model": "claude-sonnet-5", "max_tokens": 5,
        "messages": [{"role": "user", "content": "one two"}]});
    let message = post(&provider, "/v1/messages", no, &body).await.json();
    assert_eq!(message["stop_reason"], "refusal");
    let count = post(&provider, "/v1/messages/count_tokens", "", &body).await;
    assert_eq!(count.json(), json!({"input_tokens": 2}));
}

#[tokio::test]
async fn wire_pieces_and_bodies_are_exactly_as_scripted() {
    let provider = FakeProvider::start().await.expect("start");
    let plain = chat(&provider, "", &streamed()).await.body();
    let pieces = chat(&provider, "x-fake-wire-bytes: 1\r\n", &streamed()).await;
    let created = |body: &[u8]| String::from_utf8_lossy(body).matches("\"created\"").count();
    assert_eq!(created(&pieces.body()), created(&plain));
    let body = "x-fake-body: {\"not\": json\r\n";
    let scripted = chat(&provider, body, &question()).await;
    assert_eq!(scripted.body(), b"{\"not\": json");
    let stream = chat(&provider, "x-fake-body: data: {\r\n", &streamed()).await;
    assert!(stream.head().contains("text/event-stream"));
}
