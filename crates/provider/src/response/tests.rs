//! Whole answers of every API are read and rewritten with their places.

use super::*;
use crate::{Edit, TextEdit, rewrite};
use proptest::prelude::*;
use serde_json::json;

const OPENAI_STREAM: &str = concat!(
    "data: {\"id\":\"c1\",\"model\":\"gpt-4o\",\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}],\"usage\":null}\n\n",
    "data: {\"id\":\"c1\",\"model\":\"gpt-4o\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"id\":\"c1\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7,\"total_tokens\":12}}\n\n",
    "data: [DONE]\n\n"
);

fn read(kind: BodyKind, pieces: &[&[u8]], complete: bool) -> Summary {
    let mut reader = ResponseReader::new(Api::ChatCompletions, kind, 1 << 20);
    pieces.iter().for_each(|piece| reader.push(piece));
    reader.finish(complete)
}

#[test]
fn usage_comes_from_the_last_chunk_of_a_stream() {
    let facts = read(BodyKind::EventStream, &[OPENAI_STREAM.as_bytes()], true);
    assert_eq!(
        (facts.input_tokens, facts.output_tokens),
        (Some(5), Some(7))
    );
    assert_eq!(facts.finish_reasons, ["stop"]);
    assert_eq!(facts.unscanned, None);
}

#[test]
fn stream_of_another_api_is_not_taken_for_read() {
    let chat = r#"{"choices":[{"delta":{"content":"a"}}]}"#;
    let responses = r#"{"type":"response.output_text.delta","delta":"a"}"#;
    let messages = r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"a"}}"#;
    for (api, own) in [
        (Api::ChatCompletions, chat),
        (Api::Responses, responses),
        (Api::Messages, messages),
    ] {
        for event in [chat, responses, messages] {
            let mut reader = ResponseReader::new(api, BodyKind::EventStream, 1 << 20);
            reader.push(format!("data: {event}\n\n").as_bytes());
            let foreign = reader.finish(true).unscanned == Some("foreign_event");
            assert_eq!(foreign, event != own, "{api:?}: {event}");
        }
    }
}

#[test]
fn anthropic_stream_joins_usage_of_its_first_and_last_events() {
    let stream = concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m1\",\"model\":\"claude\",\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":9}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
    );
    let mut reader = ResponseReader::new(Api::Messages, BodyKind::EventStream, 1 << 20);
    reader.push(stream.as_bytes());
    let facts = reader.finish(true);
    assert_eq!(
        (facts.input_tokens, facts.output_tokens),
        (Some(3), Some(9))
    );
    assert_eq!(
        (facts.id.as_deref(), facts.finish_reasons.as_slice()),
        (Some("m1"), &["end_turn".to_owned()][..])
    );
    assert_eq!(facts.unscanned, None);
}

#[test]
fn stream_ends_with_its_last_line_whatever_ends_lines() {
    for line_end in ["\n", "\r\n", "\r"] {
        let stream = OPENAI_STREAM.replace('\n', line_end);
        let read = read(BodyKind::EventStream, &[stream.as_bytes()], true);
        assert_eq!(read.unscanned, None, "{line_end:?}");
    }
}

#[test]
fn typed_stream_tells_its_facts_in_its_last_event() {
    let stream = concat!(
        "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_1\",\"object\":\"response\",\"status\":\"in_progress\",\"model\":\"gpt-5\",\"output\":[],\"usage\":null}}\n\n",
        "event: response.completed\ndata: {\"type\":\"response.completed\",\"sequence_number\":1,\"response\":{\"id\":\"resp_1\",\"object\":\"response\",\"status\":\"completed\",\"model\":\"gpt-5\",\"output\":[],\"usage\":{\"input_tokens\":3,\"output_tokens\":9}}}\n\n"
    );
    let mut reader = ResponseReader::new(Api::Responses, BodyKind::EventStream, 1 << 20);
    reader.push(stream.as_bytes());
    let read = reader.finish(true);
    let expected = Summary {
        model: Some("gpt-5".to_owned()),
        id: Some("resp_1".to_owned()),
        finish_reasons: vec!["completed".to_owned()],
        input_tokens: Some(3),
        output_tokens: Some(9),
        said: read.said.clone(),
        is_cut: false,
        unscanned: None,
    };
    assert_eq!(read, expected);
}

/// Content, and other texts in order.
fn texts(api: Api, body: &serde_json::Value) -> (Option<String>, Vec<String>) {
    let read = read_response(api, body.to_string().as_bytes()).unwrap();
    (read.facts.content, read.facts.other_texts)
}

#[test]
fn chat_answer_yields_every_text() {
    let body = json!({"id": "c", "object": "chat.completion", "model": "m", "created": 1, "choices": [
        {"index": 0, "finish_reason": "stop", "logprobs": null, "message": {
            "role": "assistant", "content": "first", "refusal": "no", "reasoning_content": "why",
            "annotations": [{"type": "url_citation", "url_citation": {"url": "http://x", "title": "t"}}],
            "tool_calls": [{"id": "call_1", "type": "function",
                "function": {"name": "send", "arguments": "{\"to\":\"b\\u006fb\"}"}}],
            "future": {"word": 4111111111111111u64}}},
        {"index": 1, "finish_reason": "length", "message": {"role": "assistant", "content": "second"}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2}});
    let (content, mut others) = texts(Api::ChatCompletions, &body);
    assert_eq!(content.as_deref(), Some("first"));
    others.sort();
    let mut expected = vec![
        "no",
        "why",
        "url_citation",
        "http://x",
        "t",
        "send",
        "{\"to\":\"bob\"}",
        "future",
        "word",
        "4111111111111111",
        "second",
    ];
    expected.sort_unstable();
    assert_eq!(others, expected);
}

#[test]
fn responses_answer_yields_every_text_but_echoes() {
    let body = json!({"id": "r", "object": "response", "status": "completed", "model": "m",
        "instructions": "echo", "tools": [{"type": "function", "name": "echo"}], "error": null,
        "output": [
            {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "why"}]},
            {"type": "message", "id": "m", "role": "assistant", "content": [
                {"type": "output_text", "text": "one", "annotations": [], "logprobs": []},
                {"type": "refusal", "refusal": "no"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{\"a\":\"x\\ny\"}"},
            {"type": "custom_tool_call", "name": "g", "input": "raw"},
            {"type": "mcp_call", "name": "h", "output": "found"},
            {"type": "code_interpreter_call", "code": "print(1)", "outputs": [{"type": "logs", "logs": "1"}]},
            {"type": "message", "content": [{"type": "output_text", "text": "two"}]}]});
    let (content, others) = texts(Api::Responses, &body);
    assert_eq!(content.as_deref(), Some("one\ntwo"));
    for text in ["why", "no", "{\"a\":\"x\ny\"}", "raw", "found", "print(1)"] {
        assert!(others.iter().any(|o| o == text), "{text}: {others:?}");
    }
    assert!(!others.iter().any(|o| o == "echo"));
}

#[test]
fn anthropic_answer_yields_every_text() {
    let body = json!({"id": "m", "type": "message", "role": "assistant", "model": "c", "stop_reason": "tool_use",
        "content": [
            {"type": "thinking", "thinking": "why", "signature": "EqQ"},
            {"type": "text", "text": "one", "citations": [{"type": "char_location", "cited_text": "quoted"}]},
            {"type": "text", "text": "two"},
            {"type": "tool_use", "id": "t", "name": "send", "input": {"id": "a\nb", "card": 4111111111111111u64}}]});
    let (content, others) = texts(Api::Messages, &body);
    assert_eq!(content.as_deref(), Some("one\ntwo"));
    for text in ["why", "quoted", "send", "a\nb", "card", "4111111111111111"] {
        assert!(others.iter().any(|o| o == text), "{text}: {others:?}");
    }
    assert!(!others.iter().any(|o| o == "EqQ"));
}

#[test]
fn completions_and_errors_yield_their_texts() {
    let body =
        json!({"id": "c", "choices": [{"text": "one", "index": 0}, {"text": "two", "index": 1}]});
    assert_eq!(
        texts(Api::Completions, &body),
        (Some("one".into()), vec!["two".into()])
    );
    let body = json!({"error": {"message": "bad `word`", "type": "invalid_request_error", "param": null, "code": null}});
    assert_eq!(
        texts(Api::Responses, &body),
        (None, vec!["bad `word`".into()])
    );
    let body = json!({"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": "AAAA"}]});
    assert_eq!(texts(Api::Embeddings, &body), (None, vec![]));
}

#[test]
fn what_an_answer_holds_that_is_no_text_is_said() {
    for (api, body, reason) in [
        (
            Api::ChatCompletions,
            json!({"choices": [{"message": {"audio": {"data": "AAAA", "transcript": "x"}}}]}),
            "non_text_content",
        ),
        (
            Api::Responses,
            json!({"output": [{"type": "image_generation_call", "result": "AAAA"}]}),
            "non_text_content",
        ),
        (
            Api::Responses,
            json!({"output": [{"type": "reasoning", "encrypted_content": "AAAA"}]}),
            "encrypted_content",
        ),
        (
            Api::Messages,
            json!({"content": [{"type": "redacted_thinking", "data": "AAAA"}]}),
            "encrypted_content",
        ),
    ] {
        let read = read_response(api, body.to_string().as_bytes()).unwrap();
        assert_eq!(read.summary.unscanned, Some(reason), "{body}");
        assert!(!read.facts.other_texts.iter().any(|t| t == "AAAA"));
    }
}

#[test]
fn changed_answer_keeps_all_but_its_text_and_the_probabilities() {
    let body = r#"{ "id":"c", "choices":[ {"index":0,"message":{"content":"a\u0020secret \u00e9","refusal":null},"logprobs":{"content":[{"token":"secret"}]},"finish_reason":"stop"} ], "created":1.70e9 }"#;
    let read = read_response(Api::ChatCompletions, body.as_bytes()).unwrap();
    assert_eq!(read.facts.content.as_deref(), Some("a secret \u{e9}"));
    let edit = |text, range| TextEdit {
        text,
        edit: Edit {
            range,
            with: "[\"X\"]".to_owned(),
        },
    };
    let edits = [edit(TextId::Content, 2..8)];
    let changed = rewrite(body.as_bytes(), &read.places, &edits, &[]).unwrap();
    assert_eq!(
        String::from_utf8(changed).unwrap(),
        body.replace("secret \\", "[\\\"X\\\"] \\")
            .replace(r#"{"content":[{"token":"secret"}]}"#, "null")
    );
    let unknown = [edit(TextId::Other(9), 0..1)];
    assert_eq!(
        rewrite(body.as_bytes(), &read.places, &unknown, &[]),
        Err(crate::RewriteError::UnknownText)
    );
}

#[test]
fn what_was_not_read_to_the_end_is_said_to_be_unscanned() {
    let json = br#"{"id":"c","model":"m","choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    let stream = OPENAI_STREAM.as_bytes();
    for (kind, body, complete, expected) in [
        (BodyKind::Json, &json[..], true, None),
        (BodyKind::Json, &json[..40], false, Some("cut")),
        (BodyKind::Json, &b"<html>"[..], true, Some("malformed_json")),
        (BodyKind::EventStream, &stream[..100], false, Some("cut")),
        (BodyKind::EventStream, &stream[..200], true, Some("cut")),
        (
            BodyKind::EventStream,
            &b"data: {\n\n"[..],
            true,
            Some("malformed_stream"),
        ),
        (
            BodyKind::Opaque("content_type"),
            &b"x"[..],
            true,
            Some("content_type"),
        ),
    ] {
        assert_eq!(
            read(kind, &[body], complete).unscanned,
            expected,
            "{body:?}"
        );
    }
    let mut small = ResponseReader::new(Api::ChatCompletions, BodyKind::Json, 10);
    small.push(json);
    assert_eq!(small.finish(true).unscanned, Some("too_large"));
}

#[test]
fn kind_is_told_by_headers() {
    for (content_type, encoding, expected) in [
        (
            Some("application/json; charset=utf-8"),
            None,
            BodyKind::Json,
        ),
        (
            Some("text/event-stream"),
            Some("identity"),
            BodyKind::EventStream,
        ),
        (
            Some("application/json"),
            Some("gzip"),
            BodyKind::Opaque("content_encoding"),
        ),
        (Some("text/html"), None, BodyKind::Opaque("content_type")),
        (None, None, BodyKind::Opaque("content_type")),
    ] {
        assert_eq!(BodyKind::of(content_type, encoding), expected);
    }
}

proptest! {
    #[test]
    fn any_split_gives_the_same_facts(cut in 0usize..500) {
        let bytes = OPENAI_STREAM.as_bytes();
        let (left, right) = bytes.split_at(cut.min(bytes.len()));
        prop_assert_eq!(
            read(BodyKind::EventStream, &[left, right], true),
            read(BodyKind::EventStream, &[bytes], true)
        );
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, complete: bool) {
        for api in Api::ALL {
            let _ = read_response(api, &bytes);
        }
        let _ = read(BodyKind::Json, &[&bytes], complete);
        let _ = read(BodyKind::EventStream, &[&bytes], complete);
    }
}
