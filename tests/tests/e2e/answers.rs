//! What rules take out of requests and answers, whole and streamed, is taken
//! out before it leaves; what they refuse of an answer never leaves whole; and
//! the record says what was done, without the text.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jupiter_testkit::{Answer, Instance};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::support::{assert_record, reached_provider, record_of};
use crate::wires::{WIRES, Wire};

const ANSWERS: &str = include_str!("policies/answers.yaml");
pub(crate) const ADDRESS: &str = "ada.lovelace@example.com";
/// Of the form of a key, and nobody's.
const SECRET: &str = "ghp_0123456789abcdefghijABCDEFGHIJ012345";

pub(crate) async fn instance() -> Instance {
    Instance::builder().policy("answers", ANSWERS).start().await
}

async fn complete(instance: &Instance, request: RequestBuilder) -> Answer {
    instance.traffic().complete(request).await
}

fn last_received(instance: &Instance) -> (String, Option<usize>) {
    let received = instance.provider().received();
    let last = received.last().expect("a request at the provider");
    let length = last.header("content-length").and_then(|it| it.parse().ok());
    (String::from_utf8_lossy(&last.body).into_owned(), length)
}

#[tokio::test]
async fn requests_are_allowed_or_refused_in_every_dialect_whole_and_streamed() {
    let instance = instance().await;
    for (wire, stream) in WIRES.into_iter().flat_map(|it| [(it, false), (it, true)]) {
        let body = wire.body("anyone", "What is new?", stream);
        let request = wire.request(&instance, &body);
        let answer = complete(&instance, request.header("x-fake-reply", "Nothing is.")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(wire.text(&answer, stream), "Nothing is.");
        assert_eq!(last_received(&instance).0, body.to_string());
        let record = record_of(&instance, &answer).await;
        let expected = json!({
            "decision": "allow", "outcome": "completed", "stream": stream,
            "request_inspection": "inspected", "response_inspection": "inspected",
        });
        assert_record(&record, &expected);

        let reached = reached_provider(&instance);
        let body = wire.body("anyone", &format!("Is {SECRET} valid?"), stream);
        let answer = complete(&instance, wire.request(&instance, &body)).await;
        assert_eq!(answer.status, 403, "{wire:?}: {}", answer.text());
        assert_eq!(answer.json()["error"]["code"], "secret_found");
        assert_eq!(reached_provider(&instance), reached);
        let record = record_of(&instance, &answer).await;
        let expected = json!({
            "decision": "deny", "outcome": "refused", "reason": "secret_found", "stream": stream,
            "request_inspection": "inspected", "response_inspection": "none",
        });
        assert_record(&record, &expected);
    }
}

#[tokio::test]
async fn findings_are_taken_out_of_requests_and_nothing_else() {
    let instance = instance().await;
    let text = format!("Write to {ADDRESS}, please. Grüße \"x\"");
    let masked = "*".repeat(ADDRESS.len());
    for wire in WIRES {
        for (user, stands, method) in [("mask", masked.as_str(), "mask"), ("remove", "", "remove")]
        {
            for stream in [false, true] {
                let body = wire.body(user, &text, stream);
                let answer = complete(&instance, wire.request(&instance, &body)).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                let (received, length) = last_received(&instance);
                let expected = body.to_string().replace(ADDRESS, stands);
                assert_eq!(received, expected, "{wire:?} {user}");
                assert_eq!(length, Some(expected.len()));
                let record = record_of(&instance, &answer).await;
                let place = "request.messages[0].content";
                assert_record(
                    &record,
                    &json!({
                        "decision": "allow",
                        "outcome": "completed",
                        "request_inspection": "inspected",
                        "response_inspection": "inspected",
                        "request_bytes": body.to_string().len(),
                        "findings": [{"place": place, "kind": "email", "count": 1}],
                        "redactions": [
                            {"place": place, "kind": "email", "method": method, "count": 1},
                        ],
                        "actions_not_applied": null,
                    }),
                );
                let (sent, went) = (
                    &record["request_digest"],
                    &record["forwarded_request_digest"],
                );
                assert!(
                    sent.is_string() && went.is_string() && sent != went,
                    "{record:#}"
                );
                assert!(!record.to_string().contains("lovelace"), "{record:#}");
            }
        }
    }
}

#[tokio::test]
async fn placeholders_reach_the_provider_and_come_back_as_what_they_stand_for() {
    let instance = instance().await;
    for wire in WIRES {
        for stream in [false, true] {
            // The client's own words are no placeholder of ours.
            let text = format!("{ADDRESS} and bob@example.org, not [EMAIL_1]; again {ADDRESS}");
            let body = wire.body("tokenize", &text, stream);
            let request = wire.request(&instance, &body).header(
                "x-fake-reply",
                "Told [EMAIL_2] and [EMAIL_3], not [EMAIL_1].",
            );
            let answer = complete(&instance, request).await;
            let (received, length) = last_received(&instance);
            assert!(
                received.contains("[EMAIL_2] and [EMAIL_3], not [EMAIL_1]; again [EMAIL_2]"),
                "{received}"
            );
            assert!(!received.contains("example"), "{received}");
            assert_eq!(length, Some(received.len()));
            let told = wire.text(&answer, stream);
            assert_eq!(
                told,
                format!("Told {ADDRESS} and bob@example.org, not [EMAIL_1].")
            );
            if !stream {
                let length = answer.body.len().to_string();
                assert_eq!(answer.header("content-length"), Some(length.as_str()));
            }
            let record = record_of(&instance, &answer).await;
            assert_record(
                &record,
                &json!({
                    "tags": [{"name": "personal_data", "value": "email"}],
                    "response_inspection": "inspected",
                    "outcome": "completed",
                }),
            );
            assert_ne!(
                record["delivered_response_digest"],
                Value::Null,
                "{record:#}"
            );
            assert_ne!(
                record["delivered_response_digest"],
                record["response_digest"]
            );
        }
    }
}

#[tokio::test]
async fn findings_are_taken_out_of_answers_however_they_are_cut() {
    let instance = instance().await;
    let reply = format!("Ask {ADDRESS} or call nobody.");
    for wire in WIRES {
        for (stream, split) in [
            (false, "100000"),
            (true, "100000"),
            (true, "1"),
            (true, "7"),
            (true, "64"),
        ] {
            let body = wire.body("clean-answers", "Whom shall I ask?", stream);
            let request = wire
                .request(&instance, &body)
                .header("x-fake-reply", &reply)
                .header("x-fake-piece-chars", 5)
                .header("x-fake-wire-bytes", split);
            let answer = complete(&instance, request).await;
            let told = wire.text(&answer, stream);
            assert_eq!(told, "Ask [gone] or call nobody.", "{}", answer.text());
            if stream {
                assert!(answer.text().contains(wire.end()), "{}", answer.text());
            }
            let record = record_of(&instance, &answer).await;
            assert_record(
                &record,
                &json!({
                    "decision": "allow",
                    "outcome": "completed",
                    "response_rules": [{
                        "policy": "answers", "rule": "personal-data-in-answers", "effect": "log",
                    }],
                    "findings": [{"place": "response.content", "kind": "email", "count": 1}],
                    "redactions": [{
                        "place": "response.content", "kind": "email", "method": "replace",
                        "count": 1,
                    }],
                    "response_inspection": "inspected",
                }),
            );
        }
    }
}

#[tokio::test]
async fn refused_answer_does_not_reach_the_client() {
    let instance = instance().await;
    for wire in WIRES {
        let body = wire.body("anyone", "What is new?", false);
        let request = wire
            .request(&instance, &body)
            .header("x-fake-reply", "All about project falcon.");
        let answer = complete(&instance, request).await;
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert_eq!(answer.json()["error"]["code"], "confidential");
        let length = answer.body.len().to_string();
        assert_eq!(answer.header("content-length"), Some(length.as_str()));
        assert!(!answer.text().contains("falcon"));
        for header in ["openai-processing-ms", "request-id", "x-request-id"] {
            assert_eq!(
                answer.header(header),
                None,
                "a header of the provider's answer"
            );
        }
        assert_record(
            &record_of(&instance, &answer).await,
            &json!({
                "decision": "deny",
                "reason": "confidential",
                "outcome": "withheld",
                "response_inspection": "inspected",
                "response_rules": [
                    {"policy": "answers", "rule": "no-falcon", "effect": "deny"},
                ],
                "deciding_facts": ["response.content"],
                "http.response.status_code": 403,
            }),
        );
    }
}

#[tokio::test]
async fn stream_is_broken_off_at_the_first_refused_word() {
    let instance = instance().await;
    for wire in WIRES {
        let body = wire.body("anyone", "What is new?", true);
        let words = "All is well and then project falcon comes and goes on and on";
        let request = wire
            .request(&instance, &body)
            .header("x-fake-reply", words)
            .header("x-fake-chunks", 200)
            .header("x-fake-chunk-interval-ms", 100);
        let started = Instant::now();
        let mut response = request.send().await.expect("a response head");
        assert_eq!(response.status(), 200);
        let id = response.headers()["x-mercator-decision-id"]
            .to_str()
            .expect("text")
            .to_owned();
        let mut body = Vec::new();
        while let Ok(Some(part)) = response.chunk().await {
            body.extend_from_slice(&part);
        }
        // The provider would have spoken for twenty seconds.
        assert!(
            started.elapsed() < Duration::from_secs(12),
            "{:?}",
            started.elapsed()
        );
        let body = String::from_utf8(body).expect("text");
        assert!(body.contains("well"), "{body}");
        assert!(
            !body.contains("falcon") && !body.contains("project"),
            "{body}"
        );
        assert!(!body.contains(wire.end()), "{body}");
        let error = body.trim_end().rsplit("data: ").next().unwrap_or_default();
        let error: Value = serde_json::from_str(error).expect("an error at the end");
        assert_eq!(error["error"]["code"], "confidential");
        assert_eq!(error["error"]["decision_id"], json!(id));
        assert_record(
            &instance.admin().wait_for_record(&id).await,
            &json!({
                "decision": "deny",
                "reason": "confidential",
                "outcome": "withheld",
                "stream": true,
                "response_inspection": "unscanned",
                "response_unscanned_reason": "denied",
                "http.response.status_code": 200,
            }),
        );
    }
}

/// The last events of such a stream say each text again; another text in its place is judged.
#[tokio::test]
async fn stream_that_says_another_text_than_it_streamed_is_judged_by_both() {
    let instance = instance().await;
    let wire = Wire::Responses;
    let body = wire.body("anyone", "What is new?", true);
    let request = wire.request(&instance, &body);
    let honest = complete(&instance, request.header("x-fake-reply", "All is well.")).await;
    let honest = honest.text();
    let again = "\"text\":\"All is well.\"";
    let places: Vec<usize> = honest.match_indices(again).map(|(at, _)| at).collect();
    // Of the text, its part, its item and the answer.
    assert_eq!(places.len(), 4, "{honest}");
    for place in places {
        let mut stream = honest.clone();
        let falcon = "\"text\":\"project falcon\"";
        stream.replace_range(place..place + again.len(), falcon);
        let request = wire
            .request(&instance, &body)
            .header("x-fake-body-base64", STANDARD.encode(&stream));
        let answer = instance.traffic().complete_or_cut(request).await;
        let told = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(told.contains("confidential"), "{told}");
        assert!(!told.contains("falcon"), "{told}");
        let record = instance.admin();
        let record = record.wait_for_record(&answer.decision_id()).await;
        let expected = json!({
            "decision": "deny", "reason": "confidential", "outcome": "withheld",
            "response_inspection": "unscanned", "response_unscanned_reason": "denied",
        });
        assert_record(&record, &expected);
    }
}

#[tokio::test]
async fn what_only_the_whole_answer_decides_is_decided_before_it_looks_whole() {
    let instance = instance().await;
    for wire in WIRES {
        for stream in [false, true] {
            let mut body = wire.body("whole", "What is new?", stream);
            body[wire.limit()] = json!(3);
            let answer = instance
                .traffic()
                .complete_or_cut(wire.request(&instance, &body))
                .await;
            let told = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(told.contains("cut_short"), "{told}");
            assert!(!told.contains(wire.end()), "{told}");
            assert_record(
                &instance
                    .admin()
                    .wait_for_record(&answer.decision_id())
                    .await,
                &json!({
                    "decision": "deny", "reason": "cut_short", "outcome": "withheld",
                    "response_inspection": "inspected",
                    "http.response.status_code": if stream { 200 } else { 403 },
                }),
            );
        }
    }
}

#[tokio::test]
async fn secrets_are_sensitive_content_and_stay_out_of_the_record() {
    let instance = instance().await;
    let body = Wire::Chat.body("anyone", &format!("my token is {SECRET}"), false);
    let answer = complete(&instance, Wire::Chat.request(&instance, &body)).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert_eq!(
        answer.json()["error"]["message"],
        "A secret was found (high)"
    );
    let record = record_of(&instance, &answer).await;
    assert_record(
        &record,
        &json!({
            "reason": "secret_found",
            "findings": [
                {"place": "request.messages[0].content", "kind": "api_key", "count": 1},
            ],
        }),
    );
    assert!(!record.to_string().contains("ghp_"), "{record:#}");
    assert!(instance.provider().received().is_empty());
}

#[tokio::test]
async fn fields_are_set_and_what_is_not_done_is_told() {
    let instance = instance().await;
    let mut body = Wire::Chat.body("smaller", "What is new?", false);
    body["temperature"] = json!(1.5);
    body["max_completion_tokens"] = json!(1000);
    let answer = complete(&instance, Wire::Chat.request(&instance, &body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (received, length) = last_received(&instance);
    assert_eq!(length, Some(received.len()));
    let received: Value = serde_json::from_str(&received).expect("JSON");
    body.as_object_mut()
        .expect("an object")
        .remove("temperature");
    body["model"] = json!("gpt-4o-mini");
    body["max_completion_tokens"] = json!(3);
    assert_eq!(received, body);
    assert_record(
        &record_of(&instance, &answer).await,
        &json!({
            "gen_ai.request.model": "gpt-4o",
            "changed_fields": ["request.model", "request.max_tokens", "request.temperature"],
            "actions_not_applied": ["answers/smaller: alert"],
        }),
    );
}

#[tokio::test]
async fn shorter_request_leaves_nothing_behind_it() {
    let instance = instance().await;
    let traffic = instance.traffic();
    let hidden = "POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    let text = format!("{} {}", format!("{ADDRESS} ").repeat(20), hidden);
    let first = Wire::Chat.body("remove", &text, false).to_string();
    let second = Wire::Chat.body("anyone", "Next.", false).to_string();
    let post = |body: &str| {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: jupiter\r\n\
             authorization: Bearer sk-test\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let both = post(&first) + &post(&second);
    let answers = traffic
        .raw(both.as_bytes(), Duration::from_millis(700))
        .await;
    let answers = String::from_utf8_lossy(&answers).into_owned();
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "{answers}");
    let received = instance.provider().received();
    let bodies: Vec<_> = received.iter().map(|it| it.body.clone()).collect();
    assert_eq!(bodies.len(), 2, "{received:?}");
    assert_eq!(bodies[0], first.replace(ADDRESS, ""));
    assert_eq!(bodies[1], second);
}

#[tokio::test]
async fn request_that_ends_with_trailers_is_changed_too() {
    let instance = instance().await;
    let body = Wire::Chat
        .body("mask", &format!("I am {ADDRESS}"), false)
        .to_string();
    let answer = instance
        .traffic()
        .h2_post_with_trailers(
            "/v1/chat/completions",
            &[
                ("authorization", "Bearer sk-test"),
                ("content-type", "application/json"),
            ],
            body.as_bytes(),
            &[("x-checksum", "none")],
        )
        .await;
    assert_eq!(answer.status, 200);
    let (received, _) = last_received(&instance);
    assert_eq!(received, body.replace(ADDRESS, &"*".repeat(ADDRESS.len())));
}

#[tokio::test]
async fn answer_that_cannot_be_read_is_not_passed_off_as_judged() {
    let open = Instance::builder()
        .policy("answers", ANSWERS)
        .inspection("failure_mode: open")
        .start()
        .await;
    let closed = instance().await;
    for (instance, is_open) in [(&closed, false), (&open, true)] {
        for (stream, knob, value, reason) in [
            // It was asked for identity.
            (false, "x-fake-content-encoding", "gzip", "content_encoding"),
            (true, "x-fake-content-encoding", "gzip", "content_encoding"),
            (false, "x-fake-body-bytes", "1500000", "too_large"),
            (true, "x-fake-body-bytes", "1500000", "too_large"),
        ] {
            let body = Wire::Chat.body("anyone", "What is new?", stream);
            let request = Wire::Chat.request(instance, &body).header(knob, value);
            let answer = instance.traffic().complete_or_cut(request).await;
            let what = format!("{knob} stream={stream} open={is_open}");
            let refused = answer
                .body
                .windows(19)
                .any(|it| it == b"unreadable_response");
            assert_eq!(refused, !is_open, "{what}");
            let record = instance
                .admin()
                .wait_for_record(&answer.decision_id())
                .await;
            assert_record(
                &record,
                &json!({
                    "decision": if is_open { "allow" } else { "error" },
                    "outcome": if is_open { "completed" } else { "withheld" },
                    "response_inspection": "unscanned",
                    "response_unscanned_reason": reason,
                }),
            );
        }
    }
}

#[tokio::test]
async fn client_that_leaves_a_judged_stream_is_recorded_as_such() {
    let instance = instance().await;
    let body = Wire::Chat.body("clean-answers", "What is new?", true);
    let request = Wire::Chat
        .request(&instance, &body)
        .header("x-fake-chunks", 500)
        .header("x-fake-chunk-interval-ms", 100);
    let mut response = request.send().await.expect("a response head");
    let id = response.headers()["x-mercator-decision-id"]
        .to_str()
        .expect("text")
        .to_owned();
    assert!(response.chunk().await.expect("a chunk").is_some());
    drop(response);
    assert_record(
        &instance.admin().wait_for_record(&id).await,
        &json!({
            "decision": "allow", "outcome": "client_aborted", "stream": true,
            "response_inspection": "unscanned", "response_unscanned_reason": "cut",
        }),
    );
}
