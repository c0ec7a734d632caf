//! Requests with an `Idempotency-Key`: one at a time goes on, whichever instance they
//! come to, and the evidence says how each did.

use jupiter_testkit::postgres::PostgresCluster;
use jupiter_testkit::{Answer, Instance, wait};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::durability::required;
use crate::kept_answers::assert_replayed;
use crate::support::{
    GUARD, REFUSED_MODEL, assert_record, assert_refused, guarded, question, reached_provider,
    record_of, streamed, three_in_flight, wait_for_provider,
};

pub(crate) fn request(instance: &Instance, key: &str, body: &Value) -> RequestBuilder {
    let traffic = instance.traffic();
    traffic.chat(body).header("idempotency-key", key)
}

pub(crate) async fn complete(instance: &Instance, request: RequestBuilder) -> Answer {
    instance.traffic().complete(request).await
}

async fn ask(instance: &Instance, key: &str) -> Answer {
    complete(instance, request(instance, key, &question("gpt-4o"))).await
}

#[track_caller]
pub(crate) fn assert_code(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.json()["error"]["code"], code, "{}", answer.text());
}

#[tokio::test]
async fn answered_request_is_not_run_again_and_its_exchange_is_named() {
    let instance = guarded().await;
    let first = ask(&instance, "a").await;
    assert_eq!(first.status, 200, "{}", first.text());
    let record = record_of(&instance, &first).await;
    assert_record(
        &record,
        &json!({"idempotency_run": "first", "idempotency_earlier": null}),
    );

    let again = ask(&instance, "a").await;
    assert_code(&again, 409, "idempotency_finished");
    assert_eq!(again.header("x-should-retry"), Some("false"));
    assert!(
        again.text().contains(&first.decision_id()),
        "{}",
        again.text()
    );
    let refused = record_of(&instance, &again).await;
    let expected = json!({
        "decision": "deny", "reason": "idempotency_finished", "outcome": "refused",
        "idempotency_key": record["idempotency_key"], "idempotency_run": null,
        "idempotency_earlier": first.decision_id(),
    });
    assert_record(&refused, &expected);

    let other = request(&instance, "a", &question("gpt-4o-mini"));
    let other = complete(&instance, other).await;
    assert_code(&other, 422, "idempotency_other_request");
    let elsewhere = instance
        .traffic()
        .post("/v1/responses", &question("gpt-4o"));
    let elsewhere = elsewhere.header("idempotency-key", "a");
    let elsewhere = complete(&instance, elsewhere).await;
    assert_ne!(elsewhere.status, 200, "{}", elsewhere.text());
    assert_eq!(reached_provider(&instance), 1);

    // Another key is another matter, and so is another subject's of the same text.
    assert_eq!(ask(&instance, "b").await.status, 200);
    let stranger = instance
        .traffic()
        .request(Method::POST, "/v1/chat/completions")
        .bearer_auth("sk-other")
        .header("content-type", "application/json")
        .header("idempotency-key", "a")
        .body(question("gpt-4o").to_string());
    assert_eq!(complete(&instance, stranger).await.status, 200);
    // What the policy refuses takes no key.
    let refused = request(&instance, "c", &question(REFUSED_MODEL));
    assert_refused(&complete(&instance, refused).await);
    assert_eq!(ask(&instance, "c").await.status, 200);
    let metrics = instance.metrics().get("/metrics").await.expect(200);
    let metrics = String::from_utf8(metrics.body).expect("text");
    for (run, count) in [("first", 4), ("none", 4)] {
        let line = format!("mercator_keyed_requests_total{{run=\"{run}\"}} {count}");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn key_that_nobody_means_is_refused() {
    let instance = guarded().await;
    for key in ["", &"k".repeat(256)] {
        assert_code(&ask(&instance, key).await, 400, "idempotency_key_invalid");
    }
    assert_eq!(ask(&instance, &"k".repeat(255)).await.status, 200);
    assert_eq!(reached_provider(&instance), 1);
}

#[tokio::test]
async fn duplicate_in_flight_waits_for_the_first_and_streams_do_too() {
    let instance = guarded().await;
    for (number, body) in [question("gpt-4o"), streamed("gpt-4o")].iter().enumerate() {
        let key = format!("key-{number}");
        let mut asked = three_in_flight(&instance, || request(&instance, &key, body)).await;
        asked.sort_by_key(|answer| answer.status);
        let [first, others @ ..] = &asked;
        assert_eq!(first.status, 200, "{}", first.text());
        for other in others {
            assert_code(other, 409, "idempotency_finished");
        }
        assert_eq!(reached_provider(&instance), number + 1);
    }
}

#[tokio::test]
async fn duplicate_waits_no_longer_than_configured() {
    let builder = Instance::builder().policy("guard", GUARD);
    let instance = builder.idempotency("wait: 300ms").start().await;
    let slow = request(&instance, "a", &question("gpt-4o")).header("x-fake-never", "true");
    let traffic = instance.traffic();
    let slow = tokio::spawn(async move { traffic.try_complete(slow).await.map(drop) });
    wait_for_provider(&instance, 1).await;
    let other = ask(&instance, "a").await;
    assert_code(&other, 409, "idempotency_in_flight");
    assert_eq!(other.header("retry-after"), Some("1"));
    let record = record_of(&instance, &other).await;
    assert!(record["idempotency_earlier"].is_string(), "{record:#}");

    // The client gives up: nobody knows what came of it, so the next one goes on.
    slow.abort();
    let next = wait::until("the key to be free", async || {
        let next = ask(&instance, "a").await;
        match next.status {
            200 => Ok(next),
            _ => Err(next.text()),
        }
    })
    .await;
    let record = record_of(&instance, &next).await;
    assert_record(&record, &json!({"idempotency_run": "again"}));
    assert!(record["idempotency_earlier"].is_string(), "{record:#}");
}

#[tokio::test]
async fn request_that_the_provider_failed_may_be_sent_again() {
    let instance = guarded().await;
    let failing = request(&instance, "a", &question("gpt-4o")).header("x-fake-status", 503);
    let failed = complete(&instance, failing).await;
    assert_eq!(failed.status, 503, "{}", failed.text());
    let again = ask(&instance, "a").await;
    assert_eq!(again.status, 200, "{}", again.text());
    let expected = json!({
        "idempotency_run": "again",
        "idempotency_earlier": failed.decision_id(),
    });
    assert_record(&record_of(&instance, &again).await, &expected);
}

/// Asks, kills Envoy while the provider thinks, and asks again when there is another.
async fn killed_while_asked(instance: &mut Instance) -> Answer {
    let dying = request(instance, "a", &question("gpt-4o")).header("x-fake-never", "true");
    let traffic = instance.traffic();
    let asked = tokio::spawn(async move { traffic.try_complete(dying).await });
    wait_for_provider(instance, 1).await;
    instance.kill_envoy().await;
    assert!(asked.await.expect("no panic").is_err(), "it was answered");
    instance.wait_for_traffic().await;
    ask(instance, "a").await
}

#[tokio::test]
async fn what_died_with_its_envoy_runs_again_or_is_refused_as_configured() {
    let mut rerun = guarded().await;
    let answer = killed_while_asked(&mut rerun).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let record = record_of(&rerun, &answer).await;
    assert_record(&record, &json!({"idempotency_run": "again"}));
    assert!(record["idempotency_earlier"].is_string(), "{record:#}");
    assert_eq!(reached_provider(&rerun), 2);
    assert_code(&ask(&rerun, "a").await, 409, "idempotency_finished");

    let builder = Instance::builder().policy("guard", GUARD);
    let builder = builder.idempotency("on_unknown_outcome: refuse");
    let mut refuse = builder.start().await;
    let answer = killed_while_asked(&mut refuse).await;
    assert_code(&answer, 409, "idempotency_unknown_outcome");
    let record = record_of(&refuse, &answer).await;
    assert!(record["idempotency_earlier"].is_string(), "{record:#}");
    assert_eq!(reached_provider(&refuse), 1);
}

#[tokio::test]
async fn key_means_nothing_where_that_is_asked_for() {
    let builder = Instance::builder().policy("guard", GUARD);
    let instance = builder.idempotency("enabled: false").start().await;
    for _ in 0..2 {
        let answer = ask(&instance, "a").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let record = record_of(&instance, &answer).await;
        assert_record(&record, &json!({"idempotency_key": null}));
    }
}

/// Takes the address out of what is asked.
const REDACT: &str = "mpl_version: \"1.0\"\nname: redact\nversion: \"1.0.0\"\nrules:\n  \
    - name: mask\n    conditions:\n      \
        - {field: request.model, operator: starts_with, value: gpt}\n    \
      actions: [{type: redact, fields: [\"request.messages[*].content\"], method: mask}]\n";

#[tokio::test]
async fn request_that_is_changed_and_stored_first_waits_for_its_key_too() {
    let instance = Instance::builder()
        .policy("guard", &required())
        .policy("redact", REDACT)
        .start()
        .await;
    let body = json!({"model": "gpt-4o", "messages": [
        {"role": "user", "content": "write to ada@example.org"},
    ]});
    let first = complete(&instance, request(&instance, "a", &body)).await;
    assert_eq!(first.status, 200, "{}", first.text());
    let received = instance.provider().received();
    let sent = String::from_utf8_lossy(&received[0].body).into_owned();
    assert!(!sent.contains("ada@example.org"), "{sent}");
    let record = wait::until("the end of the exchange", async || {
        let record = record_of(&instance, &first).await;
        match record["outcome"] == "completed" {
            true => Ok(record),
            false => Err(record),
        }
    })
    .await;
    assert_record(
        &record,
        &json!({"idempotency_run": "first", "stored_first": true}),
    );
    let again = complete(&instance, request(&instance, "a", &body)).await;
    assert_code(&again, 409, "idempotency_finished");
    assert_eq!(reached_provider(&instance), 1);
}

#[tokio::test]
async fn request_that_nobody_read_goes_on_unprotected() {
    let builder = Instance::builder().policy("guard", GUARD);
    let instance = builder.inspection("failure_mode: open").start().await;
    let unread = instance
        .traffic()
        .request(Method::POST, "/v1/chat/completions")
        .bearer_auth("sk-test")
        .header("idempotency-key", "a")
        .body("no JSON");
    let answer = complete(&instance, unread).await;
    let record = record_of(&instance, &answer).await;
    assert_record(&record, &json!({"idempotency_run": "unprotected"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_is_one_key_on_all_instances_and_outlives_the_one_that_dies() {
    let cluster = PostgresCluster::start(0, "").await;
    let lines = cluster.evidence_lines();
    let on = |name: &str| {
        let builder = Instance::builder().named(name);
        let builder = builder.idempotency("keep_answers: true");
        let add = |builder: jupiter_testkit::InstanceBuilder, line: &String| builder.evidence(line);
        lines.iter().fold(builder, add)
    };
    let mut first = on("jupiter-1").policy("guard", GUARD).start().await;
    let key = std::fs::read_to_string(first.data_dir().join("evidence.key")).expect("a key");
    let key = format!("signing_key: \"{}\"", key.trim());
    let second = on("jupiter-2").evidence(&key).start().await;
    second.wait_for_bundle().await;

    let slow = |instance: &Instance| {
        request(instance, "a", &question("gpt-4o")).header("x-fake-latency-ms", 500)
    };
    let (one, other) = tokio::join!(
        complete(&first, slow(&first)),
        complete(&second, slow(&second))
    );
    let mut asked = [one, other];
    asked.sort_by_key(|answer| answer.header("idempotent-replayed").is_some());
    assert_replayed(&asked[1], &asked[0]);
    assert_eq!(reached_provider(&first) + reached_provider(&second), 1);

    let before = (reached_provider(&first), reached_provider(&second));
    let dying = request(&first, "b", &question("gpt-4o")).header("x-fake-never", "true");
    let traffic = first.traffic();
    let dying = tokio::spawn(async move { traffic.try_complete(dying).await });
    wait_for_provider(&first, before.0 + 1).await;
    first.kill().await;
    assert!(dying.await.expect("no panic").is_err(), "it was answered");
    let answer = ask(&second, "b").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let record = record_of(&second, &answer).await;
    assert_record(&record, &json!({"idempotency_run": "again"}));
    assert!(record["idempotency_earlier"].is_string(), "{record:#}");
    assert_eq!(reached_provider(&second), before.1 + 1);
    // From now on it is answered, wherever one asks.
    first.start_control_plane().await;
    assert_replayed(&ask(&first, "b").await, &answer);
}
