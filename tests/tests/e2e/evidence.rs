//! Every exchange leaves exactly one record, true in content, in a sequence
//! whose gaps would show.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jupiter_testkit::{Traffic, wait};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    GUARD, REFUSED_MODEL, ask, assert_record, assert_sequences_are_whole, guarded, message,
    question, record_of, streamed, wait_for_totals,
};

const EXCHANGES: usize = 10_000;
const CLIENTS: usize = 16;

/// One kind of exchange of the mix; the number makes its model's name unique.
struct Made {
    id: String,
    /// What its record must say.
    expected: Value,
}

/// Ten thousand exchanges of every kind, and a record of each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_mixed_requests_leave_ten_thousand_true_records() {
    let instance = guarded().await;
    let next = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(mixed_requests(instance.traffic(), Arc::clone(&next))))
        .collect();
    let mut expected = HashMap::new();
    for client in clients {
        for made in client.await.expect("every request had its due answer") {
            let before = expected.insert(made.id, made.expected);
            assert!(before.is_none(), "two exchanges with one id");
        }
    }
    assert_eq!(expected.len(), EXCHANGES);

    wait_for_totals(&instance, EXCHANGES as u64).await;
    let records = instance.admin().evidence("").await;
    assert_eq!(records.len(), EXCHANGES);
    for record in &records {
        let id = record["id"].as_str().expect("an id");
        let expected = expected.remove(id);
        let expected = expected.unwrap_or_else(|| panic!("unknown or twice: {record:#}"));
        assert_record(record, &expected);
    }
    assert_sequences_are_whole(&records);
}

async fn mixed_requests(traffic: Traffic, next: Arc<AtomicUsize>) -> Vec<Made> {
    let mut made = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= EXCHANGES {
            return made;
        }
        made.push(one_of_the_mix(&traffic, number).await);
    }
}

async fn one_of_the_mix(traffic: &Traffic, number: usize) -> Made {
    let model = format!("gpt-4o-n{number}");
    let refused = format!("{REFUSED_MODEL}-n{number}");
    let claude = format!("claude-sonnet-n{number}");
    let post = |path: &str, body: String| {
        traffic
            .request(Method::POST, path)
            .bearer_auth("sk-test")
            .header("anthropic-version", "2023-06-01")
            .header("content-type", "application/json")
            .body(body)
    };
    let (request, mut expected) = match number % 10 {
        0..=2 => (
            traffic.chat(&question(&model)),
            json!({"decision": "allow", "outcome": "completed", "http.response.status_code": 200,
                "gen_ai.request.model": model, "gen_ai.usage.input_tokens": 6, "stream": false}),
        ),
        3 | 4 => (
            traffic.chat(&question(&refused)),
            json!({"decision": "deny", "outcome": "refused", "http.response.status_code": 403,
                "gen_ai.request.model": refused, "reason": "model_not_approved",
                "matched_rules": [{"policy": "guard", "rule": "approved-models", "effect": "deny"}]}),
        ),
        5 => (
            traffic.chat(&streamed(&model)),
            json!({"decision": "allow", "outcome": "completed", "http.response.status_code": 200,
                "gen_ai.request.model": model, "gen_ai.usage.input_tokens": 6, "stream": true}),
        ),
        6 => (
            traffic.chat(&question(&model)).header("x-fake-status", 500),
            json!({"decision": "allow", "outcome": "provider_error",
                "http.response.status_code": 500, "gen_ai.request.model": model}),
        ),
        7 => (
            post("/v1/messages", message(&claude).to_string()),
            json!({"decision": "allow", "outcome": "completed", "http.response.status_code": 200,
                "gen_ai.request.model": claude, "gen_ai.provider.name": "anthropic",
                "gen_ai.usage.input_tokens": 6}),
        ),
        8 => (
            post("/v1/chat/completions", format!("{{\"number\": {number}")),
            json!({"decision": "error", "outcome": "refused", "http.response.status_code": 400,
                "request_inspection": "unscanned"}),
        ),
        _ => (
            post(
                &format!("/v1/unknown/{number}"),
                question(&model).to_string(),
            ),
            json!({"decision": "deny", "outcome": "refused", "http.response.status_code": 403,
                "url.path": format!("/v1/unknown/{number}"), "reason": "unknown_api"}),
        ),
    };
    let answer = traffic.complete(request).await;
    let due = expected["http.response.status_code"].clone();
    assert_eq!(json!(answer.status), due, "{}", answer.text());
    let id = answer.decision_id();
    expected["id"] = json!(id);
    Made { id, expected }
}

#[tokio::test]
async fn sequences_stay_whole_across_changes_of_policy() {
    let instance = guarded().await;
    let mut exchanges = 0;
    for round in 0..5 {
        for _ in 0..10 {
            ask(&instance, &question("gpt-4o")).await;
            exchanges += 1;
        }
        let text = GUARD.replace("1.0.0", &format!("1.0.{round}"));
        let text = text.replace("a noted model", &format!("a noted model, round {round}"));
        instance
            .admin()
            .put_policy("guard", &text)
            .await
            .expect_success();
        instance.wait_for_bundle().await;
    }
    wait_for_totals(&instance, exchanges).await;
    let records = instance.admin().evidence("").await;
    assert_sequences_are_whole(&records);
}

#[tokio::test]
async fn record_and_its_witness_say_the_same() {
    let instance = guarded().await;
    let allowed = ask(&instance, &question("gpt-4o")).await;
    let refused = ask(&instance, &question(REFUSED_MODEL)).await;
    for answer in [allowed, refused] {
        let record = record_of(&instance, &answer).await;
        let id = answer.decision_id();
        let witnessed = wait::until("its line in the access log", async || {
            let lines = instance.access_log();
            let envelopes = lines.iter().filter_map(|line| {
                let envelope = line["evidence"].as_str()?;
                serde_json::from_str::<Value>(envelope).ok()
            });
            envelopes
                .map(|envelope| envelope["record"].clone())
                .find(|witnessed| witnessed["id"] == json!(id))
                .ok_or(lines)
        })
        .await;
        assert_record(&record, &witnessed);
    }
}

#[tokio::test]
async fn evidence_is_found_by_what_it_says() {
    let instance = guarded().await;
    let start = record_of(&instance, &ask(&instance, &question("gpt-4o")).await).await;
    for _ in 0..3 {
        ask(&instance, &question("gpt-4o-mini")).await;
        ask(&instance, &question(REFUSED_MODEL)).await;
    }
    let traffic = instance.traffic();
    let other = traffic.chat(&question("gpt-4o")).bearer_auth("sk-other");
    // The later header replaces the first: another subject.
    let other = traffic.complete(other).await;
    let other = record_of(&instance, &other).await;
    let admin = instance.admin();
    admin.wait_for_records("", 8).await;

    let subject = other["subject"].as_str().expect("a subject");
    let time = start["time"].as_str().expect("a time");
    for (filter, due) in [
        ("model=gpt-4o-mini".to_owned(), 3),
        ("decision=deny".to_owned(), 3),
        ("decision=allow".to_owned(), 5),
        ("decision=deny&model=gpt-4o".to_owned(), 0),
        ("rule=approved-models".to_owned(), 3),
        (format!("subject={subject}"), 1),
        (format!("since={time}"), 8),
        (format!("until={time}"), 0),
        (
            "since=2000-01-01T00:00:00Z&until=2000-01-02T00:00:00Z".to_owned(),
            0,
        ),
    ] {
        let found = admin.evidence(&filter).await;
        assert_eq!(found.len(), due, "{filter}: {found:#?}");
    }
    for nonsense in [
        "decision=perhaps",
        "since=yesterday",
        "limit=0",
        "colour=red",
        "cursor=x",
    ] {
        let reply = admin.get(&format!("/v1/evidence?{nonsense}")).await;
        assert_eq!(reply.status, 400, "{nonsense}");
    }
}

#[tokio::test]
async fn pages_neither_repeat_nor_skip() {
    let instance = guarded().await;
    for _ in 0..25 {
        ask(&instance, &question(REFUSED_MODEL)).await;
    }
    let admin = instance.admin();
    let all = admin.wait_for_records("", 25).await;
    let ids = |records: &[Value]| -> Vec<String> {
        let ids = records.iter().filter_map(|record| record["id"].as_str());
        ids.map(str::to_owned).collect()
    };
    let mut paged = Vec::new();
    let mut path = "/v1/evidence?limit=4".to_owned();
    loop {
        let page = admin.get(&path).await.expect(200).json();
        let records = page["records"].as_array().expect("records").clone();
        assert!(records.len() <= 4);
        paged.extend(ids(&records));
        // What arrives meanwhile belongs to no page already begun.
        ask(&instance, &question(REFUSED_MODEL)).await;
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/evidence?limit=4&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(paged, ids(&all));
    assert_eq!(paged.iter().collect::<BTreeSet<_>>().len(), 25);
}
