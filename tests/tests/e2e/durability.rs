//! `durability: required`: a request leaves only when its record is stored, whatever is
//! down, killed or frozen; what left has its record.

use std::collections::BTreeMap;

use jupiter_testkit::postgres::PostgresCluster;
use jupiter_testkit::{Instance, InstanceBuilder, wait};
use serde_json::{Value, json};

use crate::support::{
    GUARD, REFUSED_MODEL, ask, assert_record, assert_refused, assert_sequences_are_whole, question,
    reached_provider, record_of, streamed, wait_for_totals,
};
use crate::tamper::{evidence, mercator, told, wait_until_sealed};

/// [`GUARD`], under which nothing leaves before its record is stored.
pub(crate) fn required() -> String {
    with_settings("durability: required\n")
}

fn with_settings(settings: &str) -> String {
    GUARD.replace("rules:\n", &format!("{settings}rules:\n"))
}

fn builder() -> InstanceBuilder {
    Instance::builder()
        .policy("guard", &required())
        .evidence("store_timeout: 500ms")
}

#[tokio::test]
async fn required_request_leaves_when_its_record_is_stored_and_ends_with_its_outcome() {
    let instance = builder().start().await;
    let unfinished = async || {
        let gaps = instance.admin().get("/v1/evidence/gaps").await.expect(200);
        gaps.json()["unfinished"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    let traffic = instance.traffic();
    let slow = traffic
        .chat(&question("gpt-4o"))
        .header("x-fake-latency-ms", 1_500);
    let slow = tokio::spawn(async move { traffic.complete(slow).await });
    let waiting = wait::until("the record of the request that is on its way", async || {
        let listed = unfinished().await;
        match (listed.as_slice(), reached_provider(&instance)) {
            ([one], 1) => Ok(one.clone()),
            _ => Err(listed),
        }
    })
    .await;
    assert_eq!(waiting["cause"], "outcome_unknown");
    let id = waiting["id"].as_str().expect("an id");
    let intent = instance.admin().wait_for_record(id).await;
    assert_record(
        &intent,
        &json!({"outcome": "pending", "decision": "allow", "gen_ai.request.model": "gpt-4o"}),
    );

    let answer = slow.await.expect("an answer");
    assert_eq!((answer.status, answer.decision_id().as_str()), (200, id));
    let ended = json!({"outcome": "completed", "stored_first": true, "id": id});
    let record = wait::until("how it ended", async || {
        let record = instance.admin().wait_for_record(id).await;
        match record["outcome"] == "pending" {
            false => Ok(record),
            true => Err(record),
        }
    })
    .await;
    assert_record(&record, &ended);
    assert_eq!(unfinished().await, Vec::<Value>::new());

    // Streams and refusals go their way; what is refused needs no record first.
    let stream = ask(&instance, &streamed("gpt-4o")).await;
    assert_eq!(stream.status, 200);
    assert!(stream.text().contains("[DONE]"));
    let refused = ask(&instance, &question(REFUSED_MODEL)).await;
    assert_refused(&refused);
    wait_for_totals(&instance, 3).await;
    assert_sequences_are_whole(&instance.admin().evidence("").await);
    let record = record_of(&instance, &refused).await;
    assert_eq!(record.get("stored_first"), None);
}

#[tokio::test]
async fn without_a_control_plane_nothing_required_reaches_the_provider() {
    let mut instance = builder().start().await;
    instance.freeze_control_plane();
    let frozen = ask(&instance, &question("gpt-4o")).await;
    instance.thaw_control_plane();
    instance.kill_control_plane();
    let killed = ask(&instance, &question("gpt-4o")).await;
    let stream = ask(&instance, &streamed("gpt-4o")).await;
    for refused in [&frozen, &killed, &stream] {
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert_eq!(refused.json()["error"]["code"], "evidence_unavailable");
        assert_eq!(refused.header("retry-after"), Some("1"));
    }
    assert_eq!(reached_provider(&instance), 0);

    instance.start_control_plane().await;
    for refused in [&frozen, &killed, &stream] {
        let id = refused.decision_id();
        let record = wait::until("the refusal's record", async || {
            let record = instance.admin().wait_for_record(&id).await;
            match record["outcome"] == "refused" {
                true => Ok(record),
                false => Err(record),
            }
        })
        .await;
        assert_record(
            &record,
            &json!({"decision": "deny", "reason": "evidence_unavailable", "stored_first": false,
                "http.response.status_code": 503}),
        );
    }
    assert_eq!(ask(&instance, &question("gpt-4o")).await.status, 200);
}

#[tokio::test]
async fn only_what_policies_require_waits_and_open_lets_it_go_on() {
    let rules = "rules:\n  - name: kept\n    durability: required\n    conditions:\n      \
        - {field: request.model, operator: starts_with, value: gpt-4o-kept}\n    \
        actions: [{type: allow}]\n  - name: noted\n    durability: required\n    \
        on_error: open\n    conditions:\n      \
        - {field: request.model, operator: starts_with, value: gpt-4o-noted}\n    \
        actions: [{type: allow}]\n";
    let policy = format!("mpl_version: \"1.0\"\nname: rules\nversion: \"1.0.0\"\n{rules}");
    let mut instance = Instance::builder().policy("rules", &policy).start().await;
    let requests = ["gpt-4o-kept", "gpt-4o-noted", "gpt-4o"];
    for model in requests {
        assert_eq!(
            ask(&instance, &question(model)).await.status,
            200,
            "{model}"
        );
    }
    instance.kill_control_plane();
    let mut made = Vec::new();
    for (model, due) in requests.into_iter().zip([503, 200, 200]) {
        let answer = ask(&instance, &question(model)).await;
        assert_eq!(answer.status, due, "{model}: {}", answer.text());
        made.push(answer.decision_id());
    }
    instance.start_control_plane().await;
    let stored_first = [json!(false), json!(false), Value::Null];
    for (id, expected) in made.iter().zip(stored_first) {
        let record = instance.admin().wait_for_record(id).await;
        assert_record(&record, &json!({"stored_first": expected}));
    }
}

#[tokio::test]
async fn what_left_has_its_record_though_envoy_is_killed_right_after() {
    let mut instance = builder().start().await;
    for round in 1..=3 {
        let traffic = instance.traffic();
        let requests: Vec<_> = (0..8)
            .map(|_| {
                let traffic = traffic.clone();
                let never = traffic
                    .chat(&question("gpt-4o"))
                    .header("x-fake-never", "true");
                tokio::spawn(async move { traffic.try_complete(never).await.is_ok() })
            })
            .collect();
        wait::until(
            "requests at the provider",
            async || match reached_provider(&instance) {
                reached if reached >= (round - 1) * 8 + 4 => Ok(()),
                reached => Err(reached),
            },
        )
        .await;
        instance.kill_envoy().await;
        for request in requests {
            request.await.expect("the request broke off");
        }
        instance.wait_for_traffic().await;
    }
    let records = instance.admin().evidence("").await;
    let by_request: BTreeMap<&str, &Value> = records
        .iter()
        .filter_map(|record| Some((record["request_id"].as_str()?, record)))
        .collect();
    for received in instance.provider().received() {
        let id = received.header("x-request-id").expect("an id of its own");
        let record = by_request
            .get(id)
            .unwrap_or_else(|| panic!("no record of {id}"));
        assert_record(record, &json!({"decision": "allow", "outcome": "pending"}));
    }
}

#[tokio::test]
async fn changed_request_is_sent_as_changed_after_its_record_is_stored() {
    let policy = with_settings("durability: required\n").replace(
        "rules:\n",
        "rules:\n  - name: renamed\n    conditions:\n      \
         - {field: request.model, operator: \"==\", value: old-model}\n    \
         actions: [{type: modify, field: request.model, value: gpt-4o-new}]\n",
    );
    let instance = Instance::builder().policy("guard", &policy).start().await;
    let answer = ask(&instance, &question("old-model")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let received = instance.provider().received();
    let body: Value = serde_json::from_slice(&received[0].body).expect("JSON");
    assert_eq!(body["model"], "gpt-4o-new");
    let length = received[0].header("content-length").expect("a length");
    assert_eq!(length, received[0].body.len().to_string());

    let body = question("old-model").to_string();
    let headers = [
        ("authorization", "Bearer sk-test"),
        ("content-type", "application/json"),
    ];
    let answer = instance
        .traffic()
        .h2_post_with_trailers(
            "/v1/chat/completions",
            &headers,
            body.as_bytes(),
            &[("x-end", "1")],
        )
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(reached_provider(&instance), 2);
    wait_for_totals(&instance, 2).await;
    for record in instance.admin().evidence("").await {
        assert_record(
            &record,
            &json!({"stored_first": true, "outcome": "completed"}),
        );
    }
}

#[tokio::test]
async fn without_its_database_nothing_required_reaches_the_provider() {
    let mut cluster = PostgresCluster::start(0, "").await;
    let [first, second] = cluster.evidence_lines();
    let instance = builder().evidence(&first).evidence(&second).start().await;
    assert_eq!(ask(&instance, &question("gpt-4o")).await.status, 200);

    cluster.freeze(0);
    let frozen = ask(&instance, &question("gpt-4o")).await;
    cluster.thaw(0);
    cluster.kill(0).await;
    let killed = ask(&instance, &question("gpt-4o")).await;
    assert_eq!((frozen.status, killed.status), (503, 503));
    assert_eq!(reached_provider(&instance), 1);

    cluster.start_node(0).await;
    wait::until("requests to pass again", async || {
        match ask(&instance, &question("gpt-4o")).await.status {
            200 => Ok(()),
            status => Err(status),
        }
    })
    .await;
    for refused in [frozen, killed] {
        let record = record_of(&instance, &refused).await;
        assert_eq!(record["decision"], "deny", "{record:#}");
    }
}

#[tokio::test]
async fn what_was_stored_first_is_proven_beside_how_it_ended() {
    let instance = builder().start().await;
    for _ in 0..5 {
        assert_eq!(ask(&instance, &question("gpt-4o")).await.status, 200);
    }
    wait_for_totals(&instance, 5).await;
    wait_until_sealed(&instance, 10).await;
    let folder = tempfile::tempdir().expect("a folder");
    let output = evidence(
        &instance,
        folder.path(),
        &["export", "--output", "all.jsonl"],
    );
    assert!(output.status.success(), "{}", told(&output));
    let text = std::fs::read_to_string(folder.path().join("all.jsonl")).expect("exported");
    let pending = text
        .lines()
        .filter(|line| line.contains("\"pending\""))
        .count();
    assert_eq!((text.lines().count(), pending), (10, 5));
    let key = instance.data_dir().join("evidence.pub");
    let key = key.to_str().expect("UTF-8");
    let output = mercator(folder.path(), &["verify", "all.jsonl", "--key", key]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
}
