//! Requests of every API are read whole, and edited ones read as edited.

use super::*;
use crate::text::ENCRYPTED;
use crate::{Edit, TextEdit, rewrite};
use proptest::prelude::*;

fn chat(body: &str) -> ReadRequest {
    read_request(Api::ChatCompletions, body.as_bytes()).unwrap()
}

#[test]
fn chat_request_yields_its_facts() {
    let read = chat(
        r#"{"model":"gpt-4o","temperature":0.5,"max_tokens":10,"max_completion_tokens":20,
                "stream":true,"stop":"END","user":"u1",
                "tools":[{"type":"function","function":{"name":"send_email","description":"mails"}}],
                "messages":[{"role":"system","content":"be kind"},
                            {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
                            {"role":"assistant","content":null,"tool_calls":[{"id":"1","function":{"name":"f","arguments":"{\"to\":\"x\"}"}}]}]}"#,
    );
    let facts = &read.facts;
    assert_eq!(facts.model.as_deref(), Some("gpt-4o"));
    assert_eq!(
        (facts.temperature, facts.max_tokens, facts.stream),
        (Some(0.5), Some(20.0), Some(true))
    );
    assert_eq!(
        (facts.stop.as_slice(), facts.user.as_deref()),
        (&["END".to_owned()][..], Some("u1"))
    );
    assert_eq!(facts.tools, ["send_email"]);
    assert_eq!(facts.messages[1].content, "a\nb");
    assert!(
        facts.texts().any(|t| t == r#"{"to":"x"}"#),
        "call arguments are text"
    );
    assert!(
        facts.texts().any(|t| t == "mails"),
        "tool definitions are text"
    );
    assert_eq!(read.unscanned, None);
}

#[test]
fn text_hides_in_no_unknown_field() {
    let read = chat(
        r#"{"model":"m","messages":[{"role":"user","content":"x","future":{"deep":["secret one"]}}],
                "prediction":{"type":"content","content":"secret two"}}"#,
    );
    for secret in ["secret one", "secret two"] {
        assert!(read.facts.texts().any(|t| t == secret), "{secret}");
    }
}

#[test]
fn images_audio_and_files_are_said_to_be_unread() {
    for part in [
        r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}"#,
        r#"{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}"#,
        r#"{"type":"file","file":{"file_data":"AAAA","filename":"a.pdf"}}"#,
    ] {
        let read = chat(&format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":[{part}]}}]}}"#
        ));
        assert_eq!(read.unscanned, Some(NON_TEXT), "{part}");
        assert!(!read.facts.texts().any(|t| t.contains("AAAA")), "{part}");
    }
}

#[test]
fn anthropic_system_prompt_comes_first_and_tool_results_are_text() {
    let body = r#"{"model":"claude","max_tokens":5,"system":[{"type":"text","text":"sys"}],
            "metadata":{"user_id":"u9"},
            "messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"found"}]}]}]}"#;
    let read = read_request(Api::Messages, body.as_bytes()).unwrap();
    assert_eq!(
        read.facts.messages[0],
        Message {
            role: "system".into(),
            content: "sys".into()
        }
    );
    assert_eq!(read.facts.messages[1].content, "found");
    assert_eq!(read.facts.user.as_deref(), Some("u9"));
}

#[test]
fn embedding_inputs_are_text_and_token_ids_are_not() {
    let text = read_request(Api::Embeddings, br#"{"model":"e","input":["one","two"]}"#).unwrap();
    assert!(text.facts.texts().any(|t| t == "two") && text.unscanned.is_none());
    let ids = read_request(Api::Embeddings, br#"{"model":"e","input":[[1,2]]}"#).unwrap();
    assert_eq!(ids.unscanned, Some(NON_TEXT));
}

#[test]
fn responses_request_yields_instructions_items_and_tools() {
    let body = r#"{"model":"gpt-5","instructions":"be kind","max_output_tokens":9,"previous_response_id":"r",
            "tools":[{"type":"function","name":"send","description":"mails"},{"type":"web_search"}],
            "input":[{"role":"user","content":"a"},
                     {"type":"message","role":"developer","content":[{"type":"input_text","text":"b"},{"type":"input_text","text":"c"}]},
                     {"type":"function_call","call_id":"1","name":"send","arguments":"{\"to\":\"b\\u006fb\"}"},
                     {"type":"function_call_output","call_id":"1","output":"sent"},
                     {"type":"function_call_output","call_id":"2","output":[{"type":"input_text","text":"d"}]},
                     {"type":"reasoning","summary":[{"type":"summary_text","text":"why"}]}]}"#;
    let read = read_request(Api::Responses, body.as_bytes()).unwrap();
    let messages: Vec<(&str, &str)> = read
        .facts
        .messages
        .iter()
        .map(|m| (m.role.as_str(), m.content.as_str()))
        .collect();
    assert_eq!(
        messages,
        [
            ("system", "be kind"),
            ("user", "a"),
            ("developer", "b\nc"),
            ("tool", "sent"),
            ("tool", "d")
        ]
    );
    assert_eq!(read.facts.tools, ["send", "web_search"]);
    assert_eq!((read.facts.max_tokens, read.unscanned), (Some(9.0), None));
    for text in ["mails", "{\"to\":\"bob\"}", "why"] {
        assert!(read.facts.texts().any(|t| t == text), "{text}");
    }
    let read = read_request(Api::Responses, br#"{"model":"m","input":"hi"}"#).unwrap();
    assert_eq!(read.facts.messages[0].content, "hi");
}

#[test]
fn completion_prompts_are_messages_and_token_ids_are_not_text() {
    for (prompt, expected, unscanned) in [
        (r#""one""#, vec!["one"], None),
        (r#"["one","two"]"#, vec!["one", "two"], None),
        ("[1,2]", vec![], Some(NON_TEXT)),
        ("[[1],[2]]", vec![], Some(NON_TEXT)),
    ] {
        let body = format!(r#"{{"model":"m","prompt":{prompt},"suffix":"end"}}"#);
        let read = read_request(Api::Completions, body.as_bytes()).unwrap();
        let messages: Vec<&str> = read
            .facts
            .messages
            .iter()
            .map(|m| m.content.as_str())
            .collect();
        assert_eq!((messages, read.unscanned), (expected, unscanned));
        assert!(read.facts.texts().any(|t| t == "end"));
    }
}

#[test]
fn what_is_encrypted_or_stored_is_said_to_be_unread() {
    for (api, body, reason) in [
        (
            Api::Responses,
            r#"{"prompt":{"id":"p1","variables":{"x":"text"}}}"#,
            STORED,
        ),
        (
            Api::Responses,
            r#"{"model":"m","input":[{"type":"reasoning","summary":[],"encrypted_content":"AAAA"}]}"#,
            ENCRYPTED,
        ),
        (
            Api::Messages,
            r#"{"model":"m","messages":[{"role":"assistant","content":[{"type":"redacted_thinking","data":"AAAA"}]}]}"#,
            ENCRYPTED,
        ),
        (
            Api::Messages,
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"AAAA"}}]}]}"#,
            NON_TEXT,
        ),
    ] {
        let read = read_request(api, body.as_bytes()).unwrap();
        assert_eq!(read.unscanned, Some(reason), "{body}");
        assert!(!read.facts.texts().any(|t| t == "AAAA"));
    }
}

#[test]
fn anthropic_thinking_documents_and_tool_input_are_text() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":[
            {"type":"document","source":{"type":"text","media_type":"text/plain","data":"plain document"},"title":"the title"},
            {"type":"document","source":{"type":"content","content":[{"type":"text","text":"part of document"}]}},
            {"type":"search_result","source":"http://x","title":"t","content":[{"type":"text","text":"result"}]}]},
            {"role":"assistant","content":[
            {"type":"thinking","thinking":"idea","signature":"EqQ"},
            {"type":"tool_use","id":"t","name":"send","input":{"to":"bob","card":4111111111111111}}]}]}"#;
    let read = read_request(Api::CountTokens, body.as_bytes()).unwrap();
    assert_eq!(read.unscanned, None);
    assert_eq!(
        read.facts.messages[0].content,
        "plain document\npart of document\nresult"
    );
    for text in ["the title", "idea", "bob", "4111111111111111"] {
        assert!(read.facts.texts().any(|t| t == text), "{text}");
    }
    assert!(!read.facts.texts().any(|t| t == "EqQ"));
}

#[test]
fn escapes_hide_no_word() {
    let read = chat(
        r#"{"model":"m","messages":[{"role":"user","content":"s\u0065cret"},
                {"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{\"a\":\"s\\u0065cret\"}"}}]}]}"#,
    );
    assert_eq!(read.facts.messages[0].content, "secret");
    assert!(read.facts.texts().any(|t| t == "{\"a\":\"secret\"}"));
}

#[test]
fn edits_change_their_literals_and_nothing_else() {
    let body = r#"{ "model":"m", "temperature":1.0e0,"messages":[
            {"role":"user","content":[{"type":"text","text":"one s\u0065cret"},{"type":"text","text":"two\/"}]},
            {"role":"assistant","content":null,"tool_calls":[{"function":{"name":"f","arguments":"{\"a\":\"x\\n\",\"n\":4111111111111111}"}}]}],
            "user":"u" }"#;
    let read = chat(body);
    let arguments = read
        .facts
        .other_texts
        .iter()
        .position(|t| t.starts_with("{\"a\""))
        .unwrap();
    let edit = |text, range, with: &str| TextEdit {
        text,
        edit: Edit {
            range,
            with: with.to_owned(),
        },
    };
    let edits = [
        edit(TextId::Message(0), 4..10, "[X]"),
        edit(TextId::Other(arguments), 14..30, "[C]"),
    ];
    let changed = rewrite(body.as_bytes(), &read.places, &edits, &[]).unwrap();
    let expected = body
        .replace(r"s\u0065cret", "[X]")
        .replace("4111111111111111", r#"\"[C]\""#);
    assert_eq!(String::from_utf8(changed).unwrap(), expected);
    // Across two parts: the replacement stands in the first.
    let edits = [edit(TextId::Message(0), 4..14, "[X]")];
    let changed = rewrite(body.as_bytes(), &read.places, &edits, &[]).unwrap();
    let expected = body.replace(r"s\u0065cret", "[X]").replace(r"two\/", r"\/");
    assert_eq!(String::from_utf8(changed).unwrap(), expected);
}

#[test]
fn unreadable_bodies_say_where() {
    use Unreadable::*;
    for (body, expected) in [
        ("", NotJson { line: 1, column: 1 }),
        (
            "{\n\"model\": }",
            NotJson {
                line: 2,
                column: 10,
            },
        ),
        ("[]", NotAnObject),
        (r#"{"messages":[]}"#, Missing { field: "model" }),
        (
            r#"{"model":1,"messages":[]}"#,
            WrongType {
                field: "model",
                expected: "a string",
            },
        ),
        (
            r#"{"model":"m","messages":{}}"#,
            WrongType {
                field: "messages",
                expected: "an array",
            },
        ),
        (
            r#"{"model":"m","messages":[{"content":"x"}]}"#,
            Missing { field: "role" },
        ),
        (
            r#"{"model":"m","model":"n"}"#,
            DuplicateKey {
                line: 1,
                column: 14,
            },
        ),
    ] {
        assert_eq!(
            read_request(Api::ChatCompletions, body.as_bytes()),
            Err(expected),
            "{body}"
        );
    }
    assert_eq!(read_request(Api::Models, b"{}"), Err(UnexpectedBody));
}

proptest! {
    #[test]
    fn no_bytes_panic(body: Vec<u8>) {
        for api in Api::ALL {
            let _ = read_request(api, &body);
        }
    }

    /// Any edits of any texts: what is read afterwards is what was asked for.
    #[test]
    fn edited_request_reads_as_edited(
        texts in prop::collection::vec(any::<String>(), 1..4),
        picks in prop::collection::vec((any::<prop::sample::Index>(), 0usize..20, 0usize..9, "[a\"é]{0,3}"), 0..5),
    ) {
        let parts: Vec<serde_json::Value> =
            texts.iter().map(|t| serde_json::json!({"type": "text", "text": t})).collect();
        let body = serde_json::json!({"model": "m", "messages": [
            {"role": "user", "content": texts[0]}, {"role": "user", "content": parts}]});
        let body = body.to_string();
        let read = chat(&body);
        let mut edits = vec![];
        for (pick, at, length, with) in picks {
            let message = pick.index(2);
            let content = &read.facts.messages[message].content;
            let start = content.floor_char_boundary(at);
            let end = content.floor_char_boundary(start + length);
            if end > start && !content.get(start..end).unwrap().contains('\n') {
                edits.push((message, Edit { range: start..end, with }));
            }
        }
        let expected: Vec<String> = (0..2)
            .map(|message| {
                let mine = edits.iter().filter(|(m, _)| *m == message).map(|(_, e)| e.clone());
                literal::edited(&read.facts.messages[message].content, &literal::in_order(mine.collect()))
            })
            .collect();
        let edits: Vec<TextEdit> = edits
            .into_iter()
            .map(|(message, edit)| TextEdit { text: TextId::Message(message), edit })
            .collect();
        let changed = rewrite(body.as_bytes(), &read.places, &edits, &[]).unwrap();
        let again = read_request(Api::ChatCompletions, &changed).unwrap();
        let found: Vec<String> = again.facts.messages.into_iter().map(|m| m.content).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn every_string_of_a_message_is_found(word in "[a-z]{8}", key in "[a-z]{1,6}") {
        let body = serde_json::json!({"model": "m", "messages": [
            {"role": "user", "content": [{"type": "text", "text": "x", key: {"n": [word]}}]}]});
        let read = read_request(Api::ChatCompletions, body.to_string().as_bytes());
        // A generated key may collide with a known one and be the wrong type.
        if let Ok(read) = read {
            prop_assert!(read.facts.texts().any(|t| t == word) || read.unscanned.is_some());
        }
    }

    /// Whatever is read can be changed, and what is changed stays JSON.
    #[test]
    fn any_text_of_any_request_can_be_replaced(mut body in body(), model in any::<prop::sample::Index>()) {
        body["model"] = "m".into();
        let api = Api::ALL[model.index(Api::ALL.len())];
        let source = body.to_string();
        let Ok(read) = read_request(api, source.as_bytes()) else { return Ok(()) };
        let messages = read.facts.messages.iter().enumerate();
        let messages = messages.map(|(at, m)| (TextId::Message(at), m.content.as_str()));
        let others = read.facts.other_texts.iter().enumerate();
        let others = others.map(|(at, text)| (TextId::Other(at), text.as_str()));
        let edits: Vec<TextEdit> = messages
            .chain(others)
            .filter(|(_, text)| !text.is_empty())
            .map(|(text, whole)| TextEdit {
                text,
                edit: Edit { range: 0..whole.len(), with: "\"[X]\"".to_owned() },
            })
            .collect();
        let changed = rewrite(source.as_bytes(), &read.places, &edits, &[]).unwrap();
        serde_json::from_slice::<serde_json::Value>(&changed).unwrap();
        prop_assert_eq!(rewrite(source.as_bytes(), &read.places, &[], &[]).unwrap(), source.into_bytes());
    }
}

/// Bodies of known members in unexpected places.
fn body() -> impl Strategy<Value = serde_json::Value> {
    let key = prop::sample::select(vec![
        "messages",
        "role",
        "content",
        "type",
        "text",
        "input",
        "instructions",
        "prompt",
        "tools",
        "tool_calls",
        "function",
        "arguments",
        "source",
        "data",
        "output",
        "summary",
        "system",
        "x",
    ]);
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        (0u64..u64::MAX).prop_map(Into::into),
        any::<String>().prop_map(Into::into),
        prop::sample::select(vec![
            "text",
            "document",
            "tool_result",
            "function_call_output",
            "{\"a\":\"\\u0041\",\"n\":4111111111111111}"
        ])
        .prop_map(Into::into),
    ];
    let value = leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..6).prop_map(|members| {
                serde_json::Value::Object(
                    members
                        .into_iter()
                        .map(|(k, v)| (k.to_owned(), v))
                        .collect(),
                )
            }),
        ]
    });
    value.prop_map(|value| match value {
        serde_json::Value::Object(_) => value,
        other => serde_json::json!({ "messages": [{ "role": "user", "content": other }], "input": other }),
    })
}
