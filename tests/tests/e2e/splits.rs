//! Wherever the network cuts a streamed answer, the client gets the same, and the verdict
//! and the findings of the record are the same.
//!
//! Each answer goes out in pieces of lengths drawn from a seed, down to single bytes, each
//! written by itself, so that Envoy hands it to the filter by itself. What `crates/provider`
//! tries with any cutting of any stream is tried here with all of the filter about it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use jupiter_testkit::Instance;
use serde_json::{Value, json};

use crate::answers::{ADDRESS, instance};
use crate::support::guarded;
use crate::wires::{WIRES, Wire, events};

/// Most bytes of a piece, and what its lengths are drawn from.
const CUTS: [(usize, u64); 6] = [(1, 1), (3, 2), (17, 3), (120, 4), (700, 5), (700, 6)];

/// What rules do with an answer: its user, its text as the provider tells it piece by piece,
/// why it ends.
struct Case {
    user: &'static str,
    pieces: &'static [&'static str],
    is_limited: bool,
    /// What the client reads; of a refused answer, what left before.
    told: &'static str,
    refused: Option<&'static str>,
}

const CASES: [Case; 4] = [
    Case {
        user: "clean-answers",
        pieces: &[
            "Ask ada.lov",
            "elace@exam",
            "ple.com or ca",
            "ll nobody \u{e9}\u{1f600}.",
        ],
        is_limited: false,
        told: "Ask [gone] or call nobody \u{e9}\u{1f600}.",
        refused: None,
    },
    Case {
        user: "tokenize",
        pieces: &["Gr\u{fc}\u{df}e: [EMA", "IL_1] and", " not [EMAIL_9", "]."],
        is_limited: false,
        told: "Gr\u{fc}\u{df}e: ada.lovelace@example.com and not [EMAIL_9].",
        refused: None,
    },
    Case {
        user: "anyone",
        pieces: &["All well, pro", "ject fal", "con flies", " on and on"],
        is_limited: false,
        told: "All well, ",
        refused: Some("confidential"),
    },
    Case {
        user: "whole",
        pieces: &["Said at le", "ngth and th", "en "],
        is_limited: true,
        told: "Said at length and then ",
        refused: Some("cut_short"),
    },
];

/// How the events of a stream are written down.
#[derive(Clone, Copy)]
enum Framing {
    Plain,
    /// CRLF, comments, other fields, data of several lines.
    Ornate,
    /// CR alone.
    Old,
}

impl Framing {
    fn write(self, events: &[Value], is_typed: bool) -> String {
        let mut stream = String::new();
        for event in events {
            if is_typed {
                let name = event["type"].as_str().unwrap_or_default();
                stream.push_str(&format!("event: {name}\n"));
            }
            stream.push_str(&format!("data: {event}\n\n"));
        }
        if !is_typed {
            stream.push_str("data: [DONE]\n\n");
        }
        match self {
            Framing::Plain => stream,
            Framing::Ornate => stream
                .replace("data: {", ": caf\u{e9}\nid: 7\ndata: {\ndata:")
                .replace('\n', "\r\n"),
            Framing::Old => stream.replace('\n', "\r"),
        }
    }
}

/// The events of an answer that says `pieces`.
fn stream(wire: Wire, case: &Case) -> Vec<Value> {
    let text = case.pieces.concat();
    let reason = |limited: &'static str, plain: &'static str| match case.is_limited {
        true => limited,
        false => plain,
    };
    let pieces = case.pieces.iter();
    match wire {
        Wire::Chat | Wire::Completions => {
            let choice = |text: &str, reason: Option<&str>| {
                let mut choice = json!({"index": 0, "finish_reason": reason});
                match wire {
                    Wire::Chat => choice["delta"] = json!({"content": text}),
                    _ => choice["text"] = json!(text),
                }
                json!({"id": "c", "model": "m", "choices": [choice]})
            };
            let mut events: Vec<Value> = pieces.map(|it| choice(it, None)).collect();
            events.push(choice("", Some(reason("length", "stop"))));
            events.push(json!({"id": "c", "choices": [],
                "usage": {"prompt_tokens": 5, "completion_tokens": 7}}));
            events
        }
        Wire::Responses => {
            let status = reason("incomplete", "completed");
            let place = |mut event: Value| {
                event["output_index"] = json!(0);
                event["content_index"] = json!(0);
                event
            };
            let mut events: Vec<Value> = pieces
                .map(|it| place(json!({"type": "response.output_text.delta", "delta": it})))
                .collect();
            events.push(place(
                json!({"type": "response.output_text.done", "text": text}),
            ));
            events.push(json!({"type": format!("response.{status}"), "response": {
                "id": "r", "object": "response", "status": status, "model": "m",
                "output": [{"type": "message", "content": [{"type": "output_text", "text": text}]}],
                "usage": {"input_tokens": 5, "output_tokens": 7},
            }}));
            for (event, number) in events.iter_mut().zip(0..) {
                event["sequence_number"] = json!(number);
            }
            events
        }
        Wire::Anthropic => {
            let mut events = vec![
                json!({"type": "message_start", "message": {"id": "m", "type": "message",
                    "role": "assistant", "model": "m", "content": [],
                    "usage": {"input_tokens": 5, "output_tokens": 1}}}),
                json!({"type": "content_block_start", "index": 0,
                    "content_block": {"type": "text", "text": ""}}),
            ];
            events.extend(pieces.map(|it| {
                json!({"type": "content_block_delta", "index": 0,
                    "delta": {"type": "text_delta", "text": it}})
            }));
            events.push(json!({"type": "content_block_stop", "index": 0}));
            let reason = reason("max_tokens", "end_turn");
            events.push(
                json!({"type": "message_delta", "delta": {"stop_reason": reason},
                "usage": {"output_tokens": 7}}),
            );
            events.push(json!({"type": "message_stop"}));
            events
        }
    }
}

/// Of an answer that comes in these pieces: what the client got, and what is on record.
async fn exchange(
    instance: &Instance,
    wire: Wire,
    case: &Case,
    answer: &str,
    cut: Option<(usize, u64)>,
) -> (String, Value) {
    let asked = format!("I am {ADDRESS}.");
    let mut request = wire
        .request(instance, &wire.body(case.user, &asked, true))
        .header("x-fake-body-base64", STANDARD.encode(answer));
    if let Some((most, seed)) = cut {
        request = request
            .header("x-fake-wire-bytes", most)
            .header("x-fake-wire-seed", seed)
            .header("x-fake-chunk-interval-ms", 1);
    }
    let answer = instance.traffic().complete_or_cut(request).await;
    let id = answer.decision_id();
    let body = answer.text().replace(&id, "ID");
    let mut record = instance.admin().wait_for_record(&id).await;
    let fields = record.as_object_mut().expect("an object");
    // What differs between any two exchanges; digests are salted.
    for own in [
        "id",
        "time",
        "emitter",
        "duration_us",
        "request_id",
        "trace_id",
        "trace_sampled",
        "span_id",
    ] {
        fields.remove(own);
    }
    for (name, value) in fields.iter_mut() {
        if name.ends_with("_digest") {
            *value = json!("some");
        }
    }
    if case.refused.is_some() {
        // Where it is broken off, more or less of the rest was on its way already.
        fields.remove("response_bytes");
    }
    (body, record)
}

#[tokio::test]
async fn any_cutting_of_a_stream_gives_the_same_answer_verdict_and_findings() {
    let instance = instance().await;
    let framings = [Framing::Plain, Framing::Ornate, Framing::Old];
    let cases = WIRES
        .into_iter()
        .flat_map(|wire| CASES.iter().map(move |case| (wire, case)));
    let running = cases
        .zip(framings.into_iter().cycle())
        .map(|((wire, case), framing)| {
            let is_typed = matches!(wire, Wire::Responses | Wire::Anthropic);
            let answer = framing.write(&stream(wire, case), is_typed);
            let instance = &instance;
            async move {
                let (body, record) = exchange(instance, wire, case, &answer, None).await;
                let what = format!("{wire:?}, {}", case.user);
                assert_eq!(wire.streamed(&body), case.told, "{what}: {body}");
                let error = events(&body)
                    .into_iter()
                    .find_map(|it| it["error"]["code"].as_str().map(str::to_owned));
                assert_eq!(error.as_deref(), case.refused, "{what}: {body}");
                assert_eq!(
                    record["reason"].as_str(),
                    case.refused,
                    "{what}: {record:#}"
                );
                assert_eq!(
                    body.contains(wire.end()),
                    case.refused.is_none(),
                    "{what}: {body}"
                );
                let cut = CUTS.map(|cut| exchange(instance, wire, case, &answer, Some(cut)));
                for (seen, cut) in join_all(cut).await.into_iter().zip(CUTS) {
                    assert_eq!(seen.0, body, "{what}, cut by {cut:?}");
                    assert_eq!(seen.1, record, "{what}, cut by {cut:?}");
                }
            }
        });
    join_all(running).await;
}

/// Or the test above shows less than it says.
#[tokio::test]
async fn pieces_of_the_provider_reach_the_filter_one_by_one() {
    // Without rules on answers each piece leaves as it came.
    let instance = guarded().await;
    let case = &CASES[0];
    let answer = Framing::Plain.write(&stream(Wire::Chat, case), false);
    let request = Wire::Chat
        .request(&instance, &Wire::Chat.body("nobody", "hello", true))
        .header("x-fake-body-base64", STANDARD.encode(&answer))
        .header("x-fake-wire-bytes", 1)
        .header("x-fake-chunk-interval-ms", 1);
    let mut response = request.send().await.expect("a response head");
    let mut parts = 0;
    while response.chunk().await.expect("a chunk").is_some() {
        parts += 1;
    }
    assert!(parts > answer.len() / 10, "{parts} of {}", answer.len());
}
