//! A stream says and yields the same wherever it is cut; what is held leaves in order.

use super::*;
use proptest::prelude::*;

const LIMITS: StreamLimits = StreamLimits {
    event_bytes: 1 << 20,
    held_bytes: 1 << 16,
};

/// Replaces a word wherever it stands in a channel, however it is cut, and
/// holds back what could become one.
struct Replacing {
    word: &'static str,
    with: &'static str,
    /// Instead, stops at the word.
    stops: bool,
    on_unread: OnUnread,
    texts: BTreeMap<Channel, (String, usize, bool)>,
    wholes: Vec<(TextKind, String)>,
    unread: Vec<&'static str>,
    /// How often the last event was told, and whether to stop there.
    lasts: usize,
    stops_at_last: bool,
}

impl Replacing {
    fn new(word: &'static str, with: &'static str) -> Replacing {
        Replacing {
            word,
            with,
            stops: false,
            on_unread: OnUnread::Pass,
            texts: BTreeMap::new(),
            wholes: vec![],
            unread: vec![],
            lasts: 0,
            stops_at_last: false,
        }
    }

    /// Finds nothing and holds nothing back.
    fn idle() -> Replacing {
        Replacing::new("", "")
    }

    fn texts(&self) -> BTreeMap<Channel, String> {
        let texts = self.texts.iter();
        texts.map(|(c, (text, _, _))| (*c, text.clone())).collect()
    }
}

impl Judge for Replacing {
    fn on_text(&mut self, channel: Channel, piece: &str, end: bool) -> Ruling {
        let (text, seen, ended) = self.texts.entry(channel).or_default();
        assert!(!*ended, "text after the end of {channel:?}");
        text.push_str(piece);
        *ended = end;
        let mut edits = vec![];
        if self.word.is_empty() {
            let upto = usize::MAX;
            return Ruling::Release { upto, edits };
        }
        while let Some(found) = text.get(*seen..).unwrap().find(self.word) {
            let start = *seen + found;
            *seen = start + self.word.len();
            edits.push(Edit {
                range: start..*seen,
                with: self.with.to_owned(),
            });
        }
        if self.stops && !edits.is_empty() {
            return Ruling::Stop;
        }
        let possible = (1..self.word.len())
            .rev()
            .find(|n| {
                text.get(*seen..)
                    .unwrap()
                    .ends_with(self.word.get(..*n).unwrap_or(self.word))
            })
            .unwrap_or(0);
        Ruling::Release {
            upto: text.len() - possible,
            edits,
        }
    }

    fn on_whole(&mut self, whole: WholeText<'_>) -> Result<Vec<Edit>, Stop> {
        let WholeText { channel, text } = whole;
        self.wholes.push((channel.kind, text.to_owned()));
        if self.word.is_empty() {
            return Ok(vec![]);
        }
        let edits: Vec<Edit> = text
            .match_indices(self.word)
            .map(|(at, word)| Edit {
                range: at..at + word.len(),
                with: self.with.to_owned(),
            })
            .collect();
        match self.stops && !edits.is_empty() {
            true => Err(Stop),
            false => Ok(edits),
        }
    }

    fn on_last(&mut self, _: &Summary) -> Result<(), Stop> {
        self.lasts += 1;
        match self.stops_at_last {
            true => Err(Stop),
            false => Ok(()),
        }
    }

    fn on_unread(&mut self, reason: &'static str) -> OnUnread {
        self.unread.push(reason);
        self.on_unread
    }
}

fn run_with(
    api: Api,
    limits: StreamLimits,
    pieces: &[&[u8]],
    judge: &mut Replacing,
) -> (String, StreamEnd) {
    let mut editor = StreamEditor::new(api, limits);
    let mut out = vec![];
    for piece in pieces {
        editor.push(piece, judge, &mut out);
    }
    let end = editor.finish(judge, &mut out);
    (String::from_utf8_lossy(&out).into_owned(), end)
}

fn run(api: Api, stream: &str, judge: &mut Replacing) -> (String, StreamEnd) {
    run_with(api, LIMITS, &[stream.as_bytes()], judge)
}

/// The data of the events of a stream.
fn events(stream: &str) -> Vec<serde_json::Value> {
    stream
        .split("\n\n")
        .filter_map(|event| event.lines().find_map(|l| l.strip_prefix("data: ")))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

fn joined(events: &[serde_json::Value], pointer: &str) -> String {
    let texts = events.iter().filter_map(|e| e.pointer(pointer)?.as_str());
    texts.collect()
}

fn chat_chunk(delta: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4o\",\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}]}}\n\n"
    )
}

fn chat(deltas: &[&str], finish: &str) -> String {
    let mut stream = chat_chunk(
        r#"{"role":"assistant","content":"","refusal":null}"#,
        "null",
    );
    stream.extend(deltas.iter().map(|d| chat_chunk(d, "null")));
    stream.push_str(&chat_chunk("{}", &format!("\"{finish}\"")));
    stream.push_str("data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4o\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7,\"total_tokens\":12}}\n\n");
    stream.push_str("data: [DONE]\n\n");
    stream
}

fn content(pieces: &[&str]) -> String {
    let deltas: Vec<String> = pieces
        .iter()
        .map(|p| serde_json::json!({ "content": p }).to_string())
        .collect();
    let deltas: Vec<&str> = deltas.iter().map(String::as_str).collect();
    chat(&deltas, "stop")
}

fn typed(name: &str, data: serde_json::Value) -> String {
    let mut data = data;
    data["type"] = name.into();
    format!("event: {name}\ndata: {data}\n\n")
}

fn messages_stream() -> String {
    use serde_json::json;
    let delta = |index: u32, delta: serde_json::Value| {
        typed(
            "content_block_delta",
            json!({"index": index, "delta": delta}),
        )
    };
    [
        typed("message_start", json!({"message": {"id": "m1", "type": "message", "role": "assistant", "model": "claude", "content": [], "stop_reason": null, "usage": {"input_tokens": 3, "output_tokens": 1}}})),
        typed("content_block_start", json!({"index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}})),
        delta(0, json!({"type": "thinking_delta", "thinking": "my sec"})),
        delta(0, json!({"type": "thinking_delta", "thinking": "ret idea"})),
        delta(0, json!({"type": "signature_delta", "signature": "EqQBsecret"})),
        typed("content_block_stop", json!({"index": 0})),
        typed("ping", json!({})),
        typed("content_block_start", json!({"index": 1, "content_block": {"type": "text", "text": ""}})),
        delta(1, json!({"type": "text_delta", "text": "the se"})),
        delta(1, json!({"type": "text_delta", "text": "cr"})),
        delta(1, json!({"type": "text_delta", "text": "et is se"})),
        delta(1, json!({"type": "citations_delta", "citation": {"type": "char_location", "cited_text": "a secret", "document_title": "t"}})),
        typed("content_block_stop", json!({"index": 1})),
        typed("content_block_start", json!({"index": 2, "content_block": {"type": "tool_use", "id": "toolu_1", "name": "send", "input": {}}})),
        delta(2, json!({"type": "input_json_delta", "partial_json": ""})),
        delta(2, json!({"type": "input_json_delta", "partial_json": "{\"to\":\"s\\u00"})),
        delta(2, json!({"type": "input_json_delta", "partial_json": "65cret\\n\"}"})),
        typed("content_block_stop", json!({"index": 2})),
        typed("message_delta", json!({"delta": {"stop_reason": "tool_use", "stop_sequence": null}, "usage": {"output_tokens": 9}})),
        typed("message_stop", json!({})),
    ]
    .concat()
}

fn responses_stream() -> String {
    use serde_json::json;
    let response = |status: &str, output: serde_json::Value, usage: serde_json::Value| json!({"id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": "gpt-5", "instructions": "tell no secret", "output": output, "usage": usage});
    let item = json!({"id": "msg_1", "type": "message", "status": "completed", "role": "assistant",
        "content": [{"type": "output_text", "text": "the secret is se", "annotations": [], "logprobs": []}]});
    let call = json!({"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "send", "arguments": "{\"to\":\"s\\u0065cret\"}", "status": "completed"});
    let events = [
        (
            "response.created",
            json!({"response": response("in_progress", json!([]), json!(null))}),
        ),
        (
            "response.output_item.added",
            json!({"output_index": 0, "item": {"id": "msg_1", "type": "message", "status": "in_progress", "role": "assistant", "content": []}}),
        ),
        (
            "response.content_part.added",
            json!({"item_id": "msg_1", "output_index": 0, "content_index": 0, "part": {"type": "output_text", "text": "", "annotations": []}}),
        ),
        (
            "response.output_text.delta",
            json!({"item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": "the se", "logprobs": []}),
        ),
        (
            "response.output_text.delta",
            json!({"item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": "cret is se", "logprobs": []}),
        ),
        (
            "response.output_text.done",
            json!({"item_id": "msg_1", "output_index": 0, "content_index": 0, "text": "the secret is se", "logprobs": []}),
        ),
        (
            "response.content_part.done",
            json!({"item_id": "msg_1", "output_index": 0, "content_index": 0, "part": {"type": "output_text", "text": "the secret is se", "annotations": []}}),
        ),
        (
            "response.output_item.done",
            json!({"output_index": 0, "item": item}),
        ),
        (
            "response.output_item.added",
            json!({"output_index": 1, "item": {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "send", "arguments": "", "status": "in_progress"}}),
        ),
        (
            "response.function_call_arguments.delta",
            json!({"item_id": "fc_1", "output_index": 1, "delta": "{\"to\":\"s\\u0"}),
        ),
        (
            "response.function_call_arguments.delta",
            json!({"item_id": "fc_1", "output_index": 1, "delta": "065cret\"}"}),
        ),
        (
            "response.function_call_arguments.done",
            json!({"item_id": "fc_1", "output_index": 1, "name": "send", "arguments": "{\"to\":\"s\\u0065cret\"}"}),
        ),
        (
            "response.output_item.done",
            json!({"output_index": 1, "item": call}),
        ),
        (
            "response.completed",
            json!({"response": response("completed", json!([item, call]), json!({"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}))}),
        ),
    ];
    events
        .into_iter()
        .zip(0u64..)
        .map(|((name, mut data), number)| {
            data["sequence_number"] = number.into();
            typed(name, data)
        })
        .collect()
}

#[test]
fn word_cut_across_chunks_is_replaced_and_the_rest_arrives() {
    let mut judge = Replacing::new("secret", "[X]");
    let stream = content(&["My sec", "re", "t is a sec", "ond secret; se"]);
    let (out, end) = run(Api::ChatCompletions, &stream, &mut judge);
    let events = events(&out);
    assert_eq!(
        joined(&events, "/choices/0/delta/content"),
        "My [X] is a second [X]; se"
    );
    assert!(!out.contains("secret"));
    assert!(out.ends_with("data: [DONE]\n\n"));
    // What was held to the end came before the reason to finish.
    let finish = events
        .iter()
        .position(|e| e["choices"][0]["finish_reason"] == "stop");
    let last_text = events.iter().rposition(|e| {
        e.pointer("/choices/0/delta/content")
            .is_some_and(|c| c != "")
    });
    assert!(last_text < finish, "{events:#?}");
    assert!(
        events
            .iter()
            .all(|e| e["id"] == "c1" && e["model"] == "gpt-4o")
    );
    assert_eq!(
        (end.summary.input_tokens, end.summary.output_tokens),
        (Some(5), Some(7))
    );
    assert_eq!(end.summary.unscanned, None);
}

#[test]
fn text_beside_the_reason_to_finish_takes_along_what_was_held() {
    let stream = format!(
        "{}{}data: [DONE]\n\n",
        chat_chunk(r#"{"content":"a se"}"#, "null"),
        chat_chunk(r#"{"content":"cret se"}"#, "\"stop\"")
    );
    let mut judge = Replacing::new("secret", "[X]");
    let events = events(&run(Api::ChatCompletions, &stream, &mut judge).0);
    assert_eq!(events.len(), 2);
    assert_eq!(joined(&events, "/choices/0/delta/content"), "a [X] se");
}

#[test]
fn tool_arguments_are_judged_unescaped_and_stay_json() {
    let call = |arguments: &str, head: &str| {
        let arguments = serde_json::to_string(arguments).unwrap();
        format!(r#"{{"tool_calls":[{{"index":0,{head}"function":{{"arguments":{arguments}}}}}]}}"#)
    };
    let stream = chat(
        &[
            &call("", r#""id":"call_1","type":"function","#),
            &call(r#"{"to":"s\u"#, ""),
            &call(r#"0065cr"#, ""),
            &call(r#"et\n","n":4111"#, ""),
            &call(r#"11}"#, ""),
        ],
        "tool_calls",
    );
    for (word, with, expected) in [
        ("secret", "[\"X\"]", r#"{"to":"[\"X\"]\n","n":411111}"#),
        ("411111", "[C]", r#"{"to":"s\u0065cret\n","n":"[C]"}"#),
        ("\n", " ", r#"{"to":"s\u0065cret ","n":411111}"#),
    ] {
        let mut judge = Replacing::new(word, with);
        let (out, _) = run(Api::ChatCompletions, &stream, &mut judge);
        let arguments = joined(
            &events(&out),
            "/choices/0/delta/tool_calls/0/function/arguments",
        );
        assert_eq!(arguments, expected);
        serde_json::from_str::<serde_json::Value>(&arguments).unwrap();
        let told: Vec<String> = judge.texts().into_values().collect();
        assert_eq!(told, ["", "{\"to\":\"secret\n\",\"n\":411111}"]);
    }
}

#[test]
fn choices_and_kinds_of_text_are_apart() {
    let chunk = |choices: &str| format!("data: {{\"id\":\"c\",\"choices\":[{choices}]}}\n\n");
    let stream = [
        chunk(r#"{"index":0,"delta":{"content":"se","refusal":"cr","reasoning_content":"s"}},{"index":1,"delta":{"content":"cret"}}"#),
        chunk(r#"{"index":1,"delta":{"content":"et"},"finish_reason":"stop"}"#),
        chunk(r#"{"index":0,"delta":{"content":"cret"},"finish_reason":null}"#),
        chunk(r#"{"index":0,"delta":{},"finish_reason":"stop"}"#),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat();
    let mut judge = Replacing::new("secret", "[X]");
    let (out, _) = run(Api::ChatCompletions, &stream, &mut judge);
    let events = events(&out);
    let of = |index: u64, key: &str| -> String {
        let choices = events.iter().flat_map(|e| e["choices"].as_array().unwrap());
        let mine = choices.filter(|c| c["index"] == index);
        mine.filter_map(|c| c["delta"][key].as_str()).collect()
    };
    assert_eq!(of(0, "content"), "[X]");
    assert_eq!(of(1, "content"), "cretet");
    assert_eq!(
        (of(0, "refusal"), of(0, "reasoning_content")),
        ("cr".into(), "s".into())
    );
}

#[test]
fn token_probabilities_go_with_changed_text() {
    let logprobs = r#"{"content":[{"token":"secret","logprob":-0.1,"bytes":[115],"top_logprobs":[]}],"refusal":null}"#;
    let stream = content(&["secret", "plain"])
        .replace("\"logprobs\":null", &format!("\"logprobs\":{logprobs}"));
    let mut judge = Replacing::new("secret", "[X]");
    let (out, _) = run(Api::ChatCompletions, &stream, &mut judge);
    let events = events(&out);
    assert_eq!(events[1]["choices"][0]["logprobs"], serde_json::Value::Null);
    assert!(events[2]["choices"][0]["logprobs"].is_object());
}

#[test]
fn completions_stream_their_text() {
    let chunk = |text: &str, finish: &str| {
        format!(
            "data: {{\"id\":\"cmpl\",\"object\":\"text_completion\",\"choices\":[{{\"text\":\"{text}\",\"index\":0,\"logprobs\":null,\"finish_reason\":{finish}}}]}}\n\n"
        )
    };
    let stream = [
        chunk("a se", "null"),
        chunk("cret", "null"),
        chunk(" se", "null"),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat();
    let mut judge = Replacing::new("secret", "[X]");
    let (out, _) = run(Api::Completions, &stream, &mut judge);
    assert_eq!(joined(&events(&out), "/choices/0/text"), "a [X] se");
}

#[test]
fn anthropic_blocks_are_judged_each_by_its_kind() {
    let mut judge = Replacing::new("secret", "[X]");
    let (out, end) = run(Api::Messages, &messages_stream(), &mut judge);
    let events = events(&out);
    let block = |index: u64, pointer: &str| {
        let mine: Vec<_> = events
            .iter()
            .filter(|e| e["index"] == index)
            .cloned()
            .collect();
        joined(&mine, pointer)
    };
    assert_eq!(block(0, "/delta/thinking"), "my [X] idea");
    assert_eq!(block(0, "/delta/signature"), "EqQBsecret");
    assert_eq!(block(1, "/delta/text"), "the [X] is se");
    assert_eq!(block(1, "/delta/citation/cited_text"), "a [X]");
    assert_eq!(block(2, "/delta/partial_json"), "{\"to\":\"[X]\\n\"}");
    // Nothing of a block comes after its end.
    for index in 0..3u64 {
        let mine: Vec<&str> = events
            .iter()
            .filter(|e| e["index"] == index)
            .map(|e| e["type"].as_str().unwrap())
            .collect();
        assert_eq!(mine.last(), Some(&"content_block_stop"));
    }
    assert_eq!(end.summary.finish_reasons, ["tool_use"]);
    assert_eq!(
        (end.summary.input_tokens, end.summary.output_tokens),
        (Some(3), Some(9))
    );
    assert_eq!(
        (end.summary.id.as_deref(), end.summary.unscanned),
        (Some("m1"), None)
    );
}

#[test]
fn typed_events_repeat_the_changed_text_and_stay_numbered() {
    let mut judge = Replacing::new("secret", "[X]");
    let (out, end) = run(Api::Responses, &responses_stream(), &mut judge);
    let events = events(&out);
    let of = |kind: &str| -> Vec<serde_json::Value> {
        events
            .iter()
            .filter(|e| e["type"] == kind)
            .cloned()
            .collect()
    };
    assert_eq!(
        joined(&of("response.output_text.delta"), "/delta"),
        "the [X] is se"
    );
    assert_eq!(of("response.output_text.done")[0]["text"], "the [X] is se");
    assert_eq!(
        of("response.content_part.done")[0]["part"]["text"],
        "the [X] is se"
    );
    assert_eq!(
        of("response.output_item.done")[0]["item"]["content"][0]["text"],
        "the [X] is se"
    );
    let arguments = r#"{"to":"[X]"}"#;
    assert_eq!(
        joined(&of("response.function_call_arguments.delta"), "/delta"),
        arguments
    );
    assert_eq!(
        of("response.function_call_arguments.done")[0]["arguments"],
        arguments
    );
    let output = &of("response.completed")[0]["response"]["output"];
    assert_eq!(output[0]["content"][0]["text"], "the [X] is se");
    assert_eq!(output[1]["arguments"], arguments);
    let numbers: Vec<u64> = events
        .iter()
        .map(|e| e["sequence_number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
    assert_eq!(end.summary.finish_reasons, ["completed"]);
    assert_eq!(
        (end.summary.input_tokens, end.summary.output_tokens),
        (Some(3), Some(4))
    );
    assert_eq!(end.summary.unscanned, None);
    // What streamed is told again as the same text, so that whoever counts findings can count
    // each once.
    let again = judge
        .wholes
        .iter()
        .filter(|(_, text)| text.contains("secret"));
    let again: Vec<&str> = again.map(|(_, text)| text.as_str()).collect();
    assert!(!again.is_empty(), "{:?}", judge.wholes);
    for text in again {
        let streamed = judge.texts.values().any(|(streamed, ..)| streamed == text);
        assert!(streamed, "{text}");
    }
}

#[test]
fn stopped_stream_lets_nothing_more_out_and_ends_in_its_dialect() {
    let error = ErrorBody {
        status: 403,
        code: "leak",
        message: "no",
        decision_id: "d",
    };
    for (api, stream, start) in [
        (
            Api::ChatCompletions,
            content(&["a se", "cret b", "c"]),
            "data: ",
        ),
        (Api::Messages, messages_stream(), "event: error\ndata: "),
        (
            Api::Responses,
            responses_stream().replace("tell no secret", ""),
            "event: error\ndata: ",
        ),
    ] {
        let mut judge = Replacing::new("secret", "");
        judge.stops = true;
        let mut editor = StreamEditor::new(api, LIMITS);
        let mut out = vec![];
        assert_eq!(
            editor.push(stream.as_bytes(), &mut judge, &mut out),
            Progress::Stopped
        );
        assert_eq!(
            editor.push(b"data: more\n\n", &mut judge, &mut out),
            Progress::Stopped
        );
        let length = out.len();
        editor.refuse(error, &mut out);
        let out = String::from_utf8(out).unwrap();
        assert!(!out.contains("secret") && !out.contains("cret"), "{out}");
        let (_, refusal) = out.split_at(length);
        assert!(refusal.starts_with(start), "{refusal}");
        assert_eq!(events(refusal)[0]["error"]["code"], "leak");
        assert_eq!(editor.kept_bytes(), editor.summary().said.kept_bytes());
    }
}

#[test]
fn what_is_held_leaves_at_a_cut_and_the_stream_is_unscanned() {
    let stream = content(&["a se"]);
    let cut = stream.find("\"finish_reason\":\"stop\"").unwrap();
    let mut judge = Replacing::new("secret", "[X]");
    let (out, end) = run(Api::ChatCompletions, stream.get(..cut).unwrap(), &mut judge);
    let whole = out
        .split_inclusive("\n\n")
        .filter(|e| e.ends_with("\n\n"))
        .collect::<String>();
    assert_eq!(joined(&events(&whole), "/choices/0/delta/content"), "a se");
    assert_eq!(end.summary.unscanned, Some("cut"));
    assert_eq!(judge.unread, ["cut"]);
    // A rest that cannot be read does not leave unread.
    judge = Replacing::new("secret", "[X]");
    judge.on_unread = OnUnread::Stop;
    let (out, end) = run(Api::ChatCompletions, stream.get(..cut).unwrap(), &mut judge);
    assert!(out.ends_with("\n\n"));
    assert_eq!(end.progress, Progress::Stopped);
}

#[test]
fn what_is_held_leaves_before_a_line_that_did_not_end() {
    let stream = format!("{}: a commen", chat_chunk(r#"{"content":"a se"}"#, "null"));
    let mut judge = Replacing::new("secret", "[X]");
    let (out, _) = run(Api::ChatCompletions, &stream, &mut judge);
    assert_eq!(joined(&events(&out), "/choices/0/delta/content"), "a se");
    assert!(out.ends_with("\n\n: a commen"));
}

#[test]
fn line_that_breaks_off_behind_the_last_event_is_not_taken_for_read() {
    for (rest, unread) in [
        ("", vec![]),
        ("\n: pin", vec![]),
        (": ping\n", vec![]),
        ("id: 7\n", vec![]),
        ("da", vec!["cut"]),
        ("id: 7\nt-4o\",\"object\"", vec!["cut"]),
    ] {
        let stream = format!("{}{rest}", content(&["a secret"]));
        let mut judge = Replacing::new("secret", "[X]");
        let (out, end) = run(Api::ChatCompletions, &stream, &mut judge);
        assert!(out.ends_with(rest), "{out}");
        assert_eq!(judge.unread, unread, "{rest}");
        assert_eq!(end.summary.unscanned, unread.first().copied(), "{rest}");
        assert!(!end.summary.is_cut, "{rest}");
    }
}

#[test]
fn what_cannot_be_read_has_a_reason_and_the_judge_decides() {
    let long = content(&[&"x".repeat(500)]);
    let small = StreamLimits {
        event_bytes: 300,
        held_bytes: 8,
    };
    let holding = content(&["secretsecre", "secretsecretse", "b"]);
    for (stream, limits, word, reason) in [
        (
            "data: {\n\ndata: [DONE]\n\n",
            LIMITS,
            "secret",
            "malformed_stream",
        ),
        (
            "data: {\"a\":1,\"a\":2}\n\ndata: [DONE]\n\n",
            LIMITS,
            "secret",
            "malformed_stream",
        ),
        (long.as_str(), small, "secret", "event_too_large"),
        (
            holding.as_str(),
            small,
            "secretsecretsecret",
            "held_too_large",
        ),
    ] {
        let mut judge = Replacing::new(word, "[X]");
        let (out, end) = run_with(
            Api::ChatCompletions,
            limits,
            &[stream.as_bytes()],
            &mut judge,
        );
        assert_eq!(end.summary.unscanned, Some(reason));
        assert_eq!(judge.unread, [reason]);
        assert!(out.ends_with("data: [DONE]\n\n"), "{out}");
        if reason == "held_too_large" {
            let text = joined(&events(&out), "/choices/0/delta/content");
            assert_eq!(text, "secretsecresecretsecretseb");
        } else {
            assert_eq!(out, stream);
        }
        let mut strict = Replacing::new(word, "[X]");
        strict.on_unread = OnUnread::Stop;
        let (out, end) = run_with(
            Api::ChatCompletions,
            limits,
            &[stream.as_bytes()],
            &mut strict,
        );
        assert_eq!(end.progress, Progress::Stopped, "{reason}");
        assert!(!out.ends_with("data: [DONE]\n\n"));
    }
}

#[test]
fn what_comes_after_the_last_event_is_not_read_as_part_of_the_answer() {
    for (api, stream) in streams() {
        let again = stream.clone() + &stream;
        let mut judge = Replacing::idle();
        let (out, end) = run(api, &again, &mut judge);
        assert_eq!(out, again, "{api:?}");
        assert_eq!(end.summary.unscanned, Some("malformed_stream"), "{api:?}");
        assert_eq!(judge.lasts, 1);
        let mut strict = Replacing::idle();
        strict.on_unread = OnUnread::Stop;
        let out = run(api, &again, &mut strict).0;
        // All of the first answer and nothing of the second.
        assert_eq!(
            out.matches("data:").count(),
            stream.matches("data:").count(),
            "{api:?}"
        );
    }
}

#[test]
fn event_of_another_api_is_not_taken_for_read() {
    let foreign = "data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"cret\"}}\n";
    for ending in ["\n", ""] {
        let stream = chat_chunk(r#"{"content":"a se"}"#, "null") + foreign + ending;
        let mut open = Replacing::new("secret", "[X]");
        let (out, end) = run(Api::ChatCompletions, &stream, &mut open);
        assert_eq!(joined(&events(&out), "/choices/0/delta/content"), "a se");
        assert!(out.contains("content_block_delta"), "{out}");
        assert_eq!(end.summary.unscanned, Some("foreign_event"));
        let mut strict = Replacing::new("secret", "[X]");
        strict.on_unread = OnUnread::Stop;
        let (out, end) = run(Api::ChatCompletions, &stream, &mut strict);
        assert_eq!(end.progress, Progress::Stopped);
        assert!(!out.contains("content_block_delta"), "{out}");
    }
}

#[test]
fn data_of_several_lines_is_changed_too() {
    let stream = "event: x\r\ndata: {\"choices\":[{\"index\":0,\r\ndata: \"delta\":{\"content\":\"a secret\"}}]}\r\nid: 7\r\n\r\ndata: [DONE]\r\n\r\n";
    let mut judge = Replacing::new("secret", "[X]");
    let (out, _) = run(Api::ChatCompletions, stream, &mut judge);
    assert_eq!(out, stream.replace("secret", "[X]"));
}

#[test]
fn half_a_surrogate_pair_passes_as_it_came() {
    let stream = concat!(
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a \\ud83d\"}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\ude00 b\"}}]}\n\n",
        "data: [DONE]\n\n"
    );
    let mut judge = Replacing::new("secret", "[X]");
    let (out, end) = run(Api::ChatCompletions, stream, &mut judge);
    assert_eq!((out.as_str(), end.summary.unscanned), (stream, None));
}

fn streams() -> Vec<(Api, String)> {
    let arguments = |text: &str| {
        serde_json::json!({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": text}}]})
            .to_string()
    };
    let tools = chat(
        &[
            &arguments("{\"a\":\"s\\u006"),
            &arguments("5cret\\"),
            &arguments("n\"}"),
        ],
        "tool_calls",
    );
    vec![
        (
            Api::ChatCompletions,
            content(&["a sec", "ret", "", " é\u{1f600} se"]),
        ),
        (
            Api::ChatCompletions,
            content(&["a", "secret"]).replace("\n\n", "\r\n\r\n"),
        ),
        (
            Api::ChatCompletions,
            content(&["se", "cret"]).replace('\n', "\r"),
        ),
        (
            Api::ChatCompletions,
            format!("\u{feff}: hello\n\n{}", content(&["s", "ecret"])),
        ),
        (
            Api::ChatCompletions,
            // An event of several lines, comments and other fields about it.
            content(&["\u{1f600} a se", "cret, \u{e9}", "secret"])
                .replace(",\"choices\"", ",\r\ndata:\"choices\"")
                .replace("data: {", ": a comment\r\nid: 7\r\ndata: {")
                .replace("}\n\n", "}\r\nretry: 9\r\n\r\n"),
        ),
        (Api::ChatCompletions, tools),
        (Api::Messages, messages_stream().replace('\n', "\r\n")),
        (Api::Messages, messages_stream()),
        (Api::Responses, responses_stream()),
    ]
}

fn cut<'t>(bytes: &'t [u8], cuts: &[usize]) -> Vec<&'t [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let ends = cuts.iter().copied().chain([bytes.len()]);
    let starts = [0].into_iter().chain(cuts.iter().copied());
    starts.zip(ends).map(|(a, b)| &bytes[a..b]).collect()
}

#[test]
fn one_byte_at_a_time_gives_the_same_output_and_texts() {
    for (api, stream) in streams() {
        for word in ["", "secret"] {
            let mut whole = Replacing::new(word, "[X]");
            let expected = run(api, &stream, &mut whole);
            let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
            let mut judge = Replacing::new(word, "[X]");
            assert_eq!(run_with(api, LIMITS, &bytes, &mut judge), expected);
            assert_eq!((judge.texts(), judge.wholes), (whole.texts(), whole.wholes));
        }
    }
}

proptest! {
    #[test]
    fn any_cutting_gives_the_same_output_and_texts(which in 0usize..9, cuts in prop::collection::vec(any::<usize>(), 0..12), end in any::<prop::sample::Index>()) {
        let (api, stream) = streams().swap_remove(which);
        // Whole, or cut off somewhere.
        let bytes = &stream.as_bytes()[..end.index(2 * stream.len()).min(stream.len())];
        for word in ["", "secret", "cret"] {
            let mut whole = Replacing::new(word, "[\"X\"]");
            let expected = run_with(api, LIMITS, &[bytes], &mut whole);
            let mut judge = Replacing::new(word, "[\"X\"]");
            prop_assert_eq!(&run_with(api, LIMITS, &cut(bytes, &cuts), &mut judge), &expected);
            prop_assert_eq!((judge.texts(), judge.wholes), (whole.texts(), whole.wholes));
            if word.is_empty() {
                prop_assert_eq!(&expected.0, &String::from_utf8_lossy(bytes).into_owned());
            } else if bytes.len() == stream.len() {
                for text in texts_of(api, &expected.0) {
                    prop_assert!(!text.contains(word), "{}", text);
                }
            }
        }
    }

    #[test]
    fn any_cutting_stops_at_the_same_byte(which in 0usize..9, at_last in any::<bool>(), cuts in prop::collection::vec(any::<usize>(), 0..12)) {
        let (api, stream) = streams().swap_remove(which);
        let stopping = || {
            let mut judge = Replacing::new("secret", "");
            // Amid the answer, or when all of it is there.
            judge.stops = !at_last;
            judge.stops_at_last = at_last;
            judge
        };
        let mut whole = stopping();
        let expected = run(api, &stream, &mut whole);
        prop_assert_eq!(expected.1.progress, Progress::Stopped);
        prop_assert_eq!(whole.lasts, usize::from(at_last));
        prop_assert!(!expected.0.contains("[DONE]") && !expected.0.contains("message_stop"));
        let mut judge = stopping();
        prop_assert_eq!(&run_with(api, LIMITS, &cut(stream.as_bytes(), &cuts), &mut judge), &expected);
        prop_assert_eq!((judge.texts(), judge.wholes), (whole.texts(), whole.wholes));
    }

    #[test]
    fn nothing_changed_passes_byte_for_byte(bytes in "(data: ?|event: x|: c|\\{\"choices\":\\[\\{\"delta\":\\{\"content\":\"a\"\\}\\}\\]\\}|\\[DONE\\]|[a-c]|\n|\r\n|\r|\u{feff}){0,40}", cuts in prop::collection::vec(any::<usize>(), 0..6)) {
        for api in Api::ALL {
            let mut judge = Replacing::idle();
            let (out, _) = run_with(api, LIMITS, &cut(bytes.as_bytes(), &cuts), &mut judge);
            prop_assert_eq!(&out, &bytes);
        }
    }

    #[test]
    fn no_bytes_panic(pieces in prop::collection::vec(any::<Vec<u8>>(), 0..4)) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        for api in Api::ALL {
            let mut judge = Replacing::new("a", "b");
            let _ = run_with(api, LIMITS, &pieces, &mut judge);
        }
    }

    #[test]
    fn any_json_in_events_is_read_without_panic(value in "(\\{|\\}|\\[|\\]|,|:|\"(choices|delta|content|text|type|index|tool_calls|function|arguments|response|output|item|part|logprobs|finish_reason|content_block_delta|response.output_text.delta|x)\"|1|null){0,40}") {
        let stream = format!("data: {value}\n\n");
        for api in Api::ALL {
            let mut judge = Replacing::new("x", "y");
            let _ = run(api, &stream, &mut judge);
        }
    }
}

/// The texts of a stream's channels.
fn texts_of(api: Api, stream: &str) -> Vec<String> {
    let mut judge = Replacing::idle();
    let _ = run(api, stream, &mut judge);
    let mut texts: Vec<String> = judge.texts().into_values().collect();
    texts.extend(judge.wholes.into_iter().map(|(_, text)| text));
    texts
}
