//! An answer that was given is given again to who sends the request with its key again,
//! where answers are kept; whoever opens the database reads none of them.

use jupiter_testkit::fake_provider::{FakeProvider, Script};
use jupiter_testkit::{Answer, Instance, InstanceBuilder, wait};
use serde_json::{Value, json};

use crate::erasure::{backup, says};
use crate::idempotency::{assert_code, complete, request};
use crate::support::{
    GUARD, alter, assert_record, message, question, reached_provider, record_of, streamed,
    three_in_flight, wait_for_provider,
};
use crate::tamper::{evidence, told};

/// Takes addresses out of answers.
const REDACT: &str = "mpl_version: \"1.0\"\nname: redact\nversion: \"1.0.0\"\nrules:\n  \
    - name: mask\n    conditions:\n      \
        - {field: request.user, operator: \"==\", value: masked}\n    \
      actions: [{type: redact, fields: [response.content], method: mask}]\n";

pub(crate) fn keeping() -> InstanceBuilder {
    Instance::builder()
        .policy("guard", GUARD)
        .idempotency("keep_answers: true")
}

/// Asserts that `again` is `first` once more, and says so.
#[track_caller]
pub(crate) fn assert_replayed(again: &Answer, first: &Answer) {
    assert_eq!(again.status, 200, "{}", again.text());
    assert_eq!(again.body, first.body);
    for kept in ["content-type", "request-id"] {
        assert_eq!(again.header(kept), first.header(kept), "{kept}");
    }
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let id = again.header("x-mercator-replayed-decision-id");
    assert_eq!(id, Some(first.decision_id().as_str()));
    assert_ne!(again.decision_id(), first.decision_id());
    assert_eq!(first.header("idempotent-replayed"), None);
}

async fn counted(instance: &Instance, line: &str) -> bool {
    let metrics = instance.metrics().get("/metrics").await.expect(200);
    let metrics = String::from_utf8_lossy(&metrics.body);
    metrics.lines().any(|found| found == line)
}

#[tokio::test]
async fn answer_is_given_again_whole_and_streamed_as_it_was_and_asks_no_provider() {
    let instance = keeping().policy("redact", REDACT).start().await;
    let as_user = |mut body: Value| {
        body["user"] = "masked".into();
        body
    };
    let said = "write to ada@example.org, word for word";
    let cases = [
        question("gpt-4o"),
        streamed("gpt-4o"),
        as_user(question("gpt-4o")),
        as_user(streamed("gpt-4o")),
    ];
    for (number, body) in cases.iter().enumerate() {
        let key = format!("key-{number}");
        let asked = || request(&instance, &key, body).header("x-fake-reply", said);
        let first = complete(&instance, asked()).await;
        assert_eq!(first.status, 200, "{}", first.text());
        assert_eq!(
            first.text().contains("ada@"),
            number < 2,
            "{}",
            first.text()
        );
        for _ in 0..2 {
            let again = complete(&instance, asked()).await;
            assert_replayed(&again, &first);
            let record = record_of(&instance, &again).await;
            let expected = json!({
                "decision": "allow", "outcome": "completed", "reason": null,
                "idempotency_run": "replayed", "idempotency_earlier": first.decision_id(),
                "gen_ai.usage.input_tokens": 0, "gen_ai.usage.output_tokens": 0, "cost_nano": 0,
                "response_inspection": "none", "idempotency_answer": null,
            });
            assert_record(&record, &expected);
        }
        let record = record_of(&instance, &first).await;
        let expected = json!({"idempotency_run": "first", "idempotency_answer": "kept"});
        assert_record(&record, &expected);
        assert_eq!(reached_provider(&instance), number + 1);
    }
    let anthropic = || {
        let traffic = instance.traffic();
        let asked = traffic.request(reqwest::Method::POST, "/v1/messages");
        asked
            .header("x-api-key", "sk-test")
            .header("anthropic-version", "2023-06-01")
            .header("content-type", "application/json")
            .header("idempotency-key", "key-of-anthropic")
            .body(message("claude-sonnet-4-5").to_string())
    };
    let first = complete(&instance, anthropic()).await;
    assert!(first.header("request-id").is_some(), "{first:?}");
    assert_replayed(&complete(&instance, anthropic()).await, &first);

    // Another request under the key is a mistake as ever.
    let other = request(&instance, "key-0", &question("gpt-4o-mini"));
    let other = complete(&instance, other).await;
    assert_code(&other, 422, "idempotency_other_request");
    for line in [
        "mercator_keyed_requests_total{run=\"replayed\"} 9",
        "mercator_keyed_answers_total{kind=\"kept\"} 5",
        "mercator_answers_stored_total 5",
        "mercator_answers_given_again_total 9",
    ] {
        assert!(counted(&instance, line).await, "{line}");
    }
}

#[tokio::test]
async fn answers_rest_where_nobody_reads_them_and_go_with_their_subject() {
    let mut instance = keeping()
        .idempotency("max_answer_bytes: 500000")
        .start()
        .await;
    let said = "as private as can be";
    let asked = |instance: &Instance| {
        request(instance, "a", &question("gpt-4o")).header("x-fake-reply", said)
    };
    let first = complete(&instance, asked(&instance)).await;
    assert_replayed(&complete(&instance, asked(&instance)).await, &first);

    // As large as that, and no larger.
    let of_size = |instance: &Instance, key: &str, bytes: usize| {
        request(instance, key, &question("gpt-4o")).header("x-fake-body-bytes", bytes)
    };
    let large = complete(&instance, of_size(&instance, "b", 490_000)).await;
    assert!(large.body.len() >= 490_000);
    let again = complete(&instance, of_size(&instance, "b", 490_000)).await;
    assert_replayed(&again, &large);
    let larger = complete(&instance, of_size(&instance, "c", 500_000)).await;
    assert_eq!(larger.status, 200);
    let again = complete(&instance, of_size(&instance, "c", 500_000)).await;
    assert_code(&again, 409, "idempotency_finished");
    let record = record_of(&instance, &larger).await;
    assert_record(&record, &json!({"idempotency_answer": "too_large"}));
    let line = "mercator_keyed_answers_total{kind=\"too_large\"} 1";
    assert!(counted(&instance, line).await, "{line}");
    assert_eq!(reached_provider(&instance), 3);

    // Neither the database nor a log says a word of it, and it outlives the process.
    let subject = record["subject"].as_str().expect("a subject").to_owned();
    assert!(instance.stop().await.success());
    assert!(says(&backup(&instance), &subject));
    assert!(!says(&backup(&instance), said));
    assert!(!instance.all_logs().contains(said));
    assert!(!format!("{:?}", instance.access_log()).contains(said));
    instance.start_control_plane().await;
    assert_replayed(&complete(&instance, asked(&instance)).await, &first);

    let folder = tempfile::tempdir().expect("a folder");
    let erase = [
        "erase",
        "--subject",
        &subject,
        "--reason",
        "request 7",
        "--yes",
    ];
    let erased = evidence(&instance, folder.path(), &erase);
    assert_eq!(erased.status.code(), Some(0), "{}", told(&erased));
    let again = complete(&instance, asked(&instance)).await;
    assert_code(&again, 409, "idempotency_finished");
    assert!(
        again.text().contains(&first.decision_id()),
        "{}",
        again.text()
    );
    assert_eq!(reached_provider(&instance), 3);
}

#[tokio::test]
async fn duplicate_in_flight_gets_the_answer_of_the_first_and_what_was_cut_is_never_given() {
    let instance = keeping().start().await;
    for (number, body) in [question("gpt-4o"), streamed("gpt-4o")].iter().enumerate() {
        let key = format!("key-{number}");
        let mut asked = three_in_flight(&instance, || request(&instance, &key, body)).await;
        asked.sort_by_key(|answer| answer.header("idempotent-replayed").is_some());
        let [first, others @ ..] = &asked;
        for other in others {
            assert_replayed(other, first);
        }
        assert_eq!(reached_provider(&instance), number + 1);
    }
    // Nobody knows what the provider did: it is run again, and then whole.
    let traffic = instance.traffic();
    let cut = request(&instance, "cut", &streamed("gpt-4o")).header("x-fake-cut-after", 2);
    let cut = traffic.complete_or_cut(cut).await;
    let asked = || request(&instance, "cut", &streamed("gpt-4o"));
    let whole = complete(&instance, asked()).await;
    assert!(whole.text().contains("[DONE]"), "{}", whole.text());
    assert!(!cut.text().contains("[DONE]"), "{}", cut.text());
    assert_record(
        &record_of(&instance, &whole).await,
        &json!({"idempotency_run": "again"}),
    );
    assert_replayed(&complete(&instance, asked()).await, &whole);
}

/// Answers of which 16 fit into what one worker gathers, and 17 do not.
const LARGE_BYTES: usize = 1_000_000;

async fn lost_in_envoy(instance: &Instance) -> String {
    let path = "/stats/prometheus?filter=keyed_answers_lost";
    let stats = instance.envoy_admin().get(path).await.expect(200);
    String::from_utf8_lossy(&stats.body).into_owned()
}

#[tokio::test]
async fn answers_that_find_no_room_or_that_nobody_takes_are_told_and_not_given_again() {
    let builder = keeping().idempotency("max_answer_bytes: 1048576");
    let mut instance = builder.envoy("concurrency: 1").start().await;
    let body = question("gpt-4o");
    let asked = |instance: &Instance, key: &str| {
        request(instance, key, &body).header("x-fake-body-bytes", LARGE_BYTES)
    };

    // Within its bound, and too long all the same as the line of JSON that is sent.
    let comments = format!(": {}\n", "\u{1}".repeat(1_000)).repeat(800);
    let script = Script {
        body: Some(format!("{comments}\ndata: [DONE]\n\n")),
        ..Script::default()
    };
    instance.provider().set_script(script);
    let stream = streamed("gpt-4o");
    let first = complete(&instance, request(&instance, "stream", &stream)).await;
    assert!(first.body.len() > 800_000, "{}", first.body.len());
    let record = record_of(&instance, &first).await;
    assert_record(&record, &json!({"idempotency_answer": "too_large"}));
    let again = complete(&instance, request(&instance, "stream", &stream)).await;
    assert_code(&again, 409, "idempotency_finished");
    instance.provider().set_script(Script::default());
    instance.provider().clear();

    // All have their keys before the control plane goes, and end while none is there.
    instance.provider().hold();
    let keys: Vec<String> = (0..17).map(|number| format!("key-{number}")).collect();
    let answers = keys.iter().map(|key| {
        let (traffic, request) = (instance.traffic(), asked(&instance, key));
        tokio::spawn(async move { traffic.complete(request).await })
    });
    let answers: Vec<_> = answers.collect();
    wait_for_provider(&instance, keys.len()).await;
    instance.kill_control_plane();
    instance.provider().release();
    let mut answered = Vec::new();
    for answer in answers {
        let answer = answer.await.expect("it is answered");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.body.len() >= LARGE_BYTES, "{}", answer.body.len());
        answered.push(answer);
    }

    // Whoever listens in its place knows of no answers.
    let admin = ([127, 0, 0, 1], instance.admin_port()).into();
    let stranger = FakeProvider::start_on(admin).await.expect("the port");
    wait::until("the answers to be refused", async || {
        let lost = lost_in_envoy(&instance).await;
        match lost.contains("mercator_keyed_answers_lost_total{} 16\n") {
            true => Ok(()),
            false => Err(lost),
        }
    })
    .await;
    drop(stranger);
    instance.start_control_plane().await;

    let mut kinds: [Vec<usize>; 2] = Default::default();
    for (number, answer) in answered.iter().enumerate() {
        let record = record_of(&instance, answer).await;
        assert_record(&record, &json!({"outcome": "completed"}));
        match record["idempotency_answer"].as_str() {
            Some("no_room") => kinds[0].push(number),
            Some("kept") => kinds[1].push(number),
            other => panic!("{other:?} in {record:#}"),
        }
    }
    let [no_room, sent] = kinds;
    assert_eq!((no_room.len(), sent.len()), (1, 16));
    // Nobody waits any longer for an answer that was sent.
    alter(
        &instance,
        "UPDATE evidence SET received_us = received_us - 10000000",
    );
    for number in [no_room[0], sent[0]] {
        let again = complete(&instance, asked(&instance, &keys[number])).await;
        assert_code(&again, 409, "idempotency_finished");
        let earlier = answered[number].decision_id();
        assert!(again.text().contains(&earlier), "{}", again.text());
    }
    assert_eq!(reached_provider(&instance), keys.len());
    for line in [
        "mercator_keyed_answers_total{kind=\"too_large\"} 1",
        "mercator_keyed_answers_total{kind=\"no_room\"} 1",
        "mercator_keyed_answers_total{kind=\"kept\"} 16",
        "mercator_keyed_answers_lost_total{} 16",
        "mercator_answers_missing_total 1",
        "mercator_answers_stored_total 0",
    ] {
        assert!(counted(&instance, line).await, "{line}");
    }
}
