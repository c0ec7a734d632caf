//! What the inspector does with answers and with what rules change, as data.

use super::tests::{chat, ended, policy_settings};
use super::*;
use jupiter_evidence::{DecisionKind, EvidenceRecord, InspectionStatus, Outcome};

const RULES: &str = r#"
mpl_version: "1.0"
name: test
version: 1.0.0
rules:
  - name: tokenize
    conditions: [{field: request.user, operator: "==", value: tokenize}]
    actions: [{type: redact, fields: [request.text], method: tokenize}]
  - name: mask-answers
    conditions: [{field: request.user, operator: "==", value: mask}]
    actions: [{type: redact, fields: [response.content], method: mask}]
  - name: no-falcon
    conditions: [{field: response.text, operator: contains, value: falcon}]
    actions: [{type: deny, code: confidential, message: no}]
  - name: only-unfinished
    phase: response
    conditions:
      - {field: request.user, operator: "==", value: whole}
      - {field: response.finish_reason, operator: "==", value: stop}
    actions: [{type: deny, code: finished, message: no}]
"#;

const JSON: &str = "application/json";
const SSE: &str = "text/event-stream";

fn inspector(mode: &str) -> Inspector {
    let seed = Seed {
        time_unix_us: 1_795_367_345_000_000,
        id_random: [1; 10],
        salt: [2; 16],
    };
    let settings = policy_settings(RULES, |config| {
        config["inspection"] = serde_json::json!({
            "failure_mode": mode, "max_response_body_bytes": 4000,
        });
    });
    Inspector::new(settings, seed)
}

/// Past its request, of that user.
fn asked(user: &str, text: &str, mode: &str) -> (Inspector, Step) {
    let mut inspector = inspector(mode);
    let head = RequestHead {
        content_length: Some(1),
        ..chat()
    };
    inspector.on_request_headers(head, false, false);
    let body = serde_json::json!({
        "model": "m", "user": user, "messages": [{"role": "user", "content": text}],
    });
    let step = inspector.on_complete_request(body.to_string().as_bytes());
    assert_eq!(step.flow, Flow::Continue);
    (inspector, step)
}

fn answered(inspector: &mut Inspector, content_type: &str) -> Step {
    let head = ResponseHead {
        status: Some(200),
        content_type: Some(content_type.to_owned()),
        has_content_length: true,
        ..ResponseHead::default()
    };
    inspector.on_response_headers(&head, false)
}

fn whole(text: &str) -> String {
    let answer = serde_json::json!({"id": "c", "model": "m", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"},
    ]});
    answer.to_string()
}

fn event(text: &str) -> String {
    let chunk =
        serde_json::json!({"id": "c", "choices": [{"index": 0, "delta": {"content": text}}]});
    format!("data: {chunk}\n\n")
}

const LAST: &str =
    "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn content_length(step: &Step) -> Option<&str> {
    let headers = step.set_headers.iter();
    let mut lengths = headers.filter(|(name, _)| *name == "content-length");
    lengths.next().map(|(_, value)| value.as_str())
}

fn text(step: &Step) -> String {
    String::from_utf8(step.body.clone().unwrap_or_default()).unwrap()
}

#[test]
fn changed_request_has_its_own_length_and_both_digests() {
    let (inspector, step) = asked("tokenize", "I am ada@example.com", "closed");
    let body = text(&step);
    assert!(body.contains("I am [EMAIL_1]"), "{body}");
    assert_eq!(content_length(&step), Some(body.len().to_string().as_str()));
    let record = inspector.finish(&ended("via_upstream", 200)).unwrap();
    assert_ne!(record.forwarded_request_digest, record.request_digest);
    assert_eq!(record.redactions[0].method, "tokenize");
}

#[test]
fn whole_answer_is_held_until_it_is_judged() {
    for (content, status) in [("all is well", 200), ("the falcon flies", 403)] {
        let (mut inspector, _) = asked("anyone", "hi", "closed");
        assert_eq!(answered(&mut inspector, JSON).flow, Flow::Hold);
        assert_eq!(inspector.on_held_response(10, false).flow, Flow::Hold);
        assert_eq!(inspector.on_held_response(100, true).flow, Flow::ReadBody);
        let step = inspector.on_complete_response(whole(content).as_bytes());
        match &step.flow {
            Flow::Continue => assert_eq!((status, &step.body), (200, &None)),
            Flow::Respond(response) => assert_eq!((status, response.status), (403, 403)),
            other => panic!("{other:?}"),
        }
        let record = inspector.finish(&ended("via_upstream", status)).unwrap();
        let withheld = record.outcome == Outcome::Withheld;
        assert_eq!(withheld, status == 403);
        assert_eq!(record.decision == DecisionKind::Deny, withheld);
        assert_eq!(record.response_rules.len(), usize::from(withheld));
        assert_eq!(record.response_inspection, InspectionStatus::Inspected);
    }
}

#[test]
fn held_answer_that_ends_with_trailers_is_judged_too() {
    let (mut inspector, _) = asked("anyone", "hi", "closed");
    answered(&mut inspector, JSON);
    assert_eq!(inspector.on_held_response(100, false).flow, Flow::Hold);
    assert_eq!(inspector.on_response_trailers().flow, Flow::ReadBody);
    let step = inspector.on_complete_response(whole("falcon").as_bytes());
    assert!(matches!(step.flow, Flow::Respond(_)), "{step:?}");
}

#[test]
fn changed_answer_has_its_own_length() {
    let (mut inspector, _) = asked("tokenize", "I am ada@example.com", "closed");
    answered(&mut inspector, JSON);
    inspector.on_held_response(100, true);
    let step = inspector.on_complete_response(whole("Hello [EMAIL_1]").as_bytes());
    assert_eq!(text(&step), whole("Hello ada@example.com"));
    let length = text(&step).len().to_string();
    assert_eq!(content_length(&step), Some(length.as_str()));
}

/// However a stream is cut, the client gets the same text.
#[test]
fn stream_is_changed_the_same_way_wherever_it_is_cut() {
    let pieces = ["Mail a", "da@exam", "ple.com or [", "EMAI", "L_1] ", "now"];
    let stream: String = pieces.iter().map(|piece| event(piece)).collect();
    let stream = stream + LAST + DONE;
    for size in [1, 2, 3, 7, 50, 10_000] {
        let (mut inspector, _) = asked("mask", "hi", "closed");
        let step = answered(&mut inspector, SSE);
        assert_eq!(step.remove_headers, ["content-length"]);
        let mut out = Vec::new();
        for piece in stream.as_bytes().chunks(size) {
            let step = inspector.on_response_body(piece, false);
            out.extend(step.body.unwrap_or_else(|| piece.to_vec()));
        }
        inspector.on_response_body(b"", true);
        let out = String::from_utf8(out).unwrap();
        let told: String = out
            .lines()
            .filter_map(|line| {
                serde_json::from_str::<serde_json::Value>(line.strip_prefix("data: ")?).ok()
            })
            .filter_map(|it| {
                it["choices"][0]["delta"]["content"]
                    .as_str()
                    .map(str::to_owned)
            })
            .collect();
        assert_eq!(told, "Mail *************** or [EMAIL_1] now", "{size}");
        assert!(out.ends_with(DONE), "{out}");
        let record = inspector.finish(&ended("via_upstream", 200)).unwrap();
        assert_eq!(record.redactions[0].count, 1);
        assert_eq!(record.response_inspection, InspectionStatus::Inspected);
        assert_eq!(record.outcome, Outcome::Completed);
    }
}

#[test]
fn stream_refused_as_a_whole_says_the_same_before_wherever_it_is_cut() {
    let stream = event("all ") + &event("is well ") + LAST + DONE;
    let mut seen = Vec::new();
    for size in [1, 3, 60, 10_000] {
        let (mut inspector, _) = asked("whole", "hi", "closed");
        answered(&mut inspector, SSE);
        let mut out = String::new();
        for piece in stream.as_bytes().chunks(size) {
            let step = inspector.on_response_body(piece, false);
            out.push_str(&text(&step));
            if step.body.is_none() {
                out.push_str(std::str::from_utf8(piece).unwrap());
            }
        }
        assert!(
            out.contains("is well") && !out.contains("[DONE]"),
            "{size}: {out}"
        );
        assert!(out.contains("finished"), "{size}: {out}");
        let record = inspector.finish(&ended("via_upstream", 200)).unwrap();
        assert_eq!(record.response_inspection, InspectionStatus::Inspected);
        seen.push((out, record.reason, record.delivered_response_digest));
    }
    assert!(seen.iter().all(|it| *it == seen[0]), "{seen:#?}");
}

#[test]
fn stream_ends_with_an_error_at_the_refused_word() {
    let (mut inspector, _) = asked("anyone", "hi", "closed");
    answered(&mut inspector, SSE);
    let first = inspector.on_response_body(event("all well ").as_bytes(), false);
    assert_eq!((first.flow, first.body), (Flow::Continue, None));
    let held = inspector.on_response_body(event("a fal").as_bytes(), false);
    assert!(!text(&held).contains("fal"), "{held:?}");
    let last = inspector.on_response_body(event("con").as_bytes(), false);
    assert_eq!(last.flow, Flow::Close);
    assert!(text(&last).contains("confidential") && !text(&last).contains("fal"));
    let after = inspector.on_response_body(event("more").as_bytes(), false);
    assert_eq!(after.body.as_deref(), Some(&b""[..]));
    let record = inspector.finish(&ended("via_upstream", 200)).unwrap();
    assert_eq!(record.outcome, Outcome::Withheld);
    assert_eq!(record.reason.as_deref(), Some("confidential"));
    assert_eq!(record.response_unscanned_reason.as_deref(), Some("denied"));
    assert_ne!(record.delivered_response_digest, None);
}

/// Of the Responses API, whose last events say again what has streamed.
fn typed_stream(pieces: &[&str], [text, part, item, answer, other]: [&str; 5]) -> String {
    let content = |text: &str| serde_json::json!({"type": "output_text", "text": text});
    let message =
        |text: &str| serde_json::json!({"id": "m", "type": "message", "content": [content(text)]});
    let at = serde_json::json!({"output_index": 0, "content_index": 0, "item_id": "m"});
    let mut events: Vec<_> = pieces
        .iter()
        .map(|piece| {
            (
                "response.output_text.delta",
                serde_json::json!({"delta": piece}),
            )
        })
        .collect();
    let response = |output: Vec<_>| serde_json::json!({"id": "r", "note": other, "output": output});
    events.insert(
        0,
        (
            "response.created",
            serde_json::json!({"response": {"id": "r", "note": "none"}}),
        ),
    );
    events.push((
        "response.output_text.done",
        serde_json::json!({"text": text}),
    ));
    events.push((
        "response.content_part.done",
        serde_json::json!({"part": content(part)}),
    ));
    events.push((
        "response.output_item.done",
        serde_json::json!({"item": message(item)}),
    ));
    events.push((
        "response.completed",
        serde_json::json!({"response": response(vec![message(answer)])}),
    ));
    let mut stream = String::new();
    for ((kind, mut event), number) in events.into_iter().zip(0..) {
        let fields = event.as_object_mut().unwrap();
        fields.extend(at.as_object().unwrap().clone());
        fields.insert("type".to_owned(), kind.into());
        fields.insert("sequence_number".to_owned(), number.into());
        stream += &format!("event: {kind}\ndata: {event}\n\n");
    }
    stream
}

/// What the client gets of it, and its record.
fn typed_answer(user: &str, stream: &str) -> (String, EvidenceRecord) {
    let mut inspector = inspector("closed");
    let head = RequestHead {
        path: "/v1/responses".to_owned(),
        ..chat()
    };
    inspector.on_request_headers(head, false, false);
    let body = serde_json::json!({"model": "m", "user": user, "input": "hi", "stream": true});
    let step = inspector.on_complete_request(body.to_string().as_bytes());
    assert_eq!(step.flow, Flow::Continue);
    answered(&mut inspector, SSE);
    let step = inspector.on_response_body(stream.as_bytes(), true);
    let out = step.body.unwrap_or_else(|| stream.as_bytes().to_vec());
    let record = inspector.finish(&ended("via_upstream", 200)).unwrap();
    (String::from_utf8(out).unwrap(), record)
}

#[test]
fn what_a_stream_says_again_counts_once_and_what_it_says_instead_is_judged() {
    let said = "mail ada@example.com, all is well";
    let pieces = ["mail ada@exam", "ple.com, all", " is well"];
    let (out, record) = typed_answer(
        "mask",
        &typed_stream(&pieces, [said, said, said, said, "none"]),
    );
    assert!(
        !out.contains("ada@example.com") && out.contains("response.completed"),
        "{out}"
    );
    assert_eq!(record.outcome, Outcome::Completed);
    assert_eq!(
        (record.findings[0].count, record.redactions[0].count),
        (1, 1)
    );
    for instead in 0..5 {
        let mut again = [said, said, said, said, "none"];
        again[instead] = "the falcon flies";
        let (out, record) = typed_answer("anyone", &typed_stream(&pieces, again));
        assert!(
            !out.contains("falcon") && out.contains("confidential"),
            "{instead}: {out}"
        );
        assert_eq!(record.outcome, Outcome::Withheld, "{instead}");
        again[instead] = "mail bob@example.com";
        let (out, record) = typed_answer("mask", &typed_stream(&pieces, again));
        let findings: u64 = record.findings.iter().map(|it| it.count).sum();
        assert_eq!(findings, 2, "{instead}: {out}");
    }
}

/// What an answer keeps in memory is told to the VM, which bounds all of them together.
#[test]
fn many_short_texts_count_for_what_keeping_them_takes() {
    let texts: String = (0..300).map(|nth| format!("\"t{nth}\",")).collect();
    let event = format!(
        "data: {{\"id\":\"c\",\"choices\":[],\"notes\":[{}\"\"]}}\n\n",
        texts
    );
    let (mut inspector, _) = asked("anyone", "hi", "open");
    answered(&mut inspector, SSE);
    inspector.on_response_body(event.as_bytes(), false);
    let kept = inspector.kept_bytes();
    assert!(kept > 300 * 64, "{kept}");
    // Told again, they take nothing more.
    inspector.on_response_body(event.as_bytes(), false);
    assert_eq!(inspector.kept_bytes(), kept);
    inspector.stop_reading_response("memory_limit");
    assert!(inspector.kept_bytes() < 100, "{}", inspector.kept_bytes());
}

#[test]
fn only_what_may_begin_a_match_is_held() {
    let (mut inspector, _) = asked("anyone", "hi", "closed");
    answered(&mut inspector, SSE);
    let step = inspector.on_response_body(event("nothing to hold but hal").as_bytes(), false);
    // An address could begin with the last word.
    assert!(text(&step).contains("nothing to hold but "), "{step:?}");
    let step = inspector.on_response_body(event("ls ").as_bytes(), false);
    assert!(text(&step).contains("halls"), "{step:?}");
}

#[test]
fn answer_that_cannot_be_read_follows_the_failure_mode() {
    type Ask = fn(&mut Inspector) -> Step;
    let cut: Ask = |it| {
        answered(it, SSE);
        it.on_response_body(event("no end").as_bytes(), false);
        it.on_response_body(b"", true)
    };
    let malformed: Ask = |it| {
        answered(it, SSE);
        it.on_response_body(b"data: {\n\n", false)
    };
    let large: Ask = |it| {
        answered(it, JSON);
        it.on_held_response(4001, false)
    };
    let broken: Ask = |it| {
        answered(it, JSON);
        it.on_complete_response(b"<html>")
    };
    let html: Ask = |it| answered(it, "text/html");
    for (ask, reason) in [
        (cut, "cut"),
        (malformed, "malformed_stream"),
        (large, "too_large"),
        (broken, "malformed_json"),
        (html, "content_type"),
    ] {
        for mode in ["closed", "open"] {
            let (mut inspector, _) = asked("anyone", "hi", mode);
            let step = ask(&mut inspector);
            let said = match &step.flow {
                Flow::Respond(response) => response.body.clone(),
                _ => text(&step),
            };
            let refused = said.contains("unreadable_response");
            assert_eq!(refused, mode == "closed", "{reason} {mode}: {step:?}");
            let record = inspector.finish(&ended("via_upstream", 200)).unwrap();
            assert_eq!(
                record.response_inspection,
                InspectionStatus::Unscanned,
                "{reason}"
            );
            assert_eq!(record.response_unscanned_reason.as_deref(), Some(reason));
            assert_eq!(record.outcome == Outcome::Withheld, refused, "{reason}");
        }
    }
}

#[test]
fn stream_that_ends_with_trailers_before_its_last_event_is_broken_off() {
    let (mut inspector, _) = asked("anyone", "hi", "closed");
    answered(&mut inspector, SSE);
    inspector.on_response_body(event("no end").as_bytes(), false);
    assert_eq!(inspector.on_response_trailers().flow, Flow::Close);
    let (mut inspector, _) = asked("anyone", "hi", "closed");
    answered(&mut inspector, SSE);
    inspector.on_response_body((event("an end") + LAST + DONE).as_bytes(), false);
    assert_eq!(inspector.on_response_trailers().flow, Flow::Continue);
}

#[test]
fn request_without_room_is_refused_and_told_why() {
    let mut inspector = inspector("closed");
    inspector.on_request_headers(chat(), false, false);
    let Flow::Respond(response) = inspector.on_no_room().flow else {
        panic!("not refused")
    };
    assert_eq!(response.status, 503);
    assert!(response.headers.contains(&("retry-after", "1".to_owned())));
    let record = inspector
        .finish(&ended("mercator_memory_limit", 503))
        .unwrap();
    assert_eq!(record.reason.as_deref(), Some("memory_limit"));
}
