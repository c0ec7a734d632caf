//! What cannot be read or decided follows the failure mode, and says so: to the client,
//! in the record, in a metric. `docs/reference/failure-modes.md` shows the rows that are
//! tried here; `MERCATOR_BLESS=1` rewrites its table.

mod rows;

use jupiter_testkit::{Answer, Instance, filter_module, wait};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{GUARD, ask, assert_record, question, reached_provider, record_of};
use crate::trapping::trapping_at;
use crate::wires::ON_ANSWERS;
use rows::{
    CHAT, Cause, NO_BUNDLE, NO_CLAIM, NO_ROOM, OUTBOX_FULL, ROWS, Row, STALE_BUNDLE, TRAP,
    UNREADABLE,
};

/// An instance that fails in this way, with its guarding policy.
fn instance(open: bool) -> jupiter_testkit::InstanceBuilder {
    let (mode, unknown) = if open {
        ("open", "allow")
    } else {
        ("closed", "deny")
    };
    Instance::builder()
        .inspection(&format!("failure_mode: {mode}"))
        .inspection(&format!("unknown_api: {unknown}"))
        .inspection("max_body_bytes: 4096")
}

async fn send(instance: &Instance, row: &Row) -> Answer {
    let traffic = instance.traffic();
    if let Cause::Judged(stream, knobs) = row.cause {
        let mut body = question("gpt-4o");
        body["stream"] = json!(stream);
        let mut request = traffic.chat(&body);
        for (name, value) in knobs() {
            request = request.header(name, value);
        }
        return traffic.complete_or_cut(request).await;
    }
    let (path, header, body) = match row.cause {
        Cause::Request(path, header, body) => (path, header, body()),
        Cause::NoClaim => {
            let key = Some(("idempotency-key", "a"));
            (CHAT, key, question("gpt-4o").to_string())
        }
        Cause::Answer(knob, value) => (CHAT, Some((knob, value)), question("gpt-4o").to_string()),
        _ => (CHAT, None, question("gpt-4o").to_string()),
    };
    let request = traffic
        .request(Method::POST, path)
        .bearer_auth("sk-test")
        .header("content-type", "application/json")
        .body(body);
    let request = match header {
        Some((name, value)) => request.header(name, value),
        None => request,
    };
    traffic.complete(request).await
}

/// The metric of a row as it is scraped now.
async fn counted(instance: &Instance, row: &Row) -> f64 {
    let reply = instance.metrics().get("/metrics").await.expect(200);
    let text = String::from_utf8(reply.body).expect("text");
    let sample = format!("{} ", row.metric());
    let found = text.lines().find_map(|line| line.strip_prefix(&sample));
    found.map_or(0.0, |value| value.parse().expect("a number"))
}

/// Asserts the row of one exchange: client, provider, record, metric.
async fn assert_row(instance: &Instance, row: &Row, open: bool) {
    let (reached, before) = (reached_provider(instance), counted(instance, row).await);
    let answer = send(instance, row).await;
    let refused = row.closed.filter(|_| !open || row.reason == NO_BUNDLE);
    let what = format!("{} ({})", row.what, if open { "open" } else { "closed" });
    if let Some(status) = refused {
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        let code = if row.is_of_judged() {
            UNREADABLE
        } else {
            row.reason
        };
        let said = answer.text();
        let error = said.rsplit("data: ").next().unwrap_or_default();
        let error: Value = serde_json::from_str(error).expect(&what);
        assert_eq!(error["error"]["code"], code, "{what}");
    }
    let reached = reached_provider(instance) - reached;
    assert_eq!(
        reached,
        usize::from(refused.is_none() || row.is_of_judged()),
        "{what}: {}",
        answer.text()
    );
    // While the control plane cannot take records, they are what it missed.
    if row.reason != OUTBOX_FULL {
        let record = record_of(instance, &answer).await;
        assert_record(&record, &row.record(refused.is_some()));
    }
    if refused.is_some() || row.is_unscanned() {
        wait::until(&format!("{} to move: {what}", row.metric()), async || {
            let now = counted(instance, row).await;
            if now > before { Ok(()) } else { Err(now) }
        })
        .await;
    }
}

#[tokio::test]
async fn what_cannot_be_read_follows_the_failure_mode() {
    for open in [false, true] {
        let instance = instance(open).policy("guard", GUARD).start().await;
        for row in ROWS
            .iter()
            .filter(|row| row.cause.test() == Cause::Answer("", "").test())
        {
            assert_row(&instance, row, open).await;
        }
    }
}

#[tokio::test]
async fn answer_that_rules_judge_follows_the_failure_mode() {
    for open in [false, true] {
        let instance = instance(open)
            .policy("on-answers", ON_ANSWERS)
            .start()
            .await;
        for row in ROWS.iter().filter(|row| row.is_of_judged()) {
            assert_row(&instance, row, open).await;
        }
    }
}

fn row(reason: &str) -> &'static Row {
    ROWS.iter().find(|row| row.reason == reason).expect("a row")
}

#[tokio::test]
async fn without_a_bundle_everything_is_refused_in_either_mode() {
    for open in [false, true] {
        let instance = instance(open).start().await;
        assert_row(&instance, row(NO_BUNDLE), open).await;
    }
}

#[tokio::test]
async fn bundle_that_nobody_confirms_follows_the_failure_mode() {
    for open in [false, true] {
        let mut instance = instance(open)
            .inspection("max_staleness: 4s")
            .policy("guard", GUARD)
            .start()
            .await;
        let fresh = ask(&instance, &question("gpt-4o")).await;
        assert_eq!(fresh.status, 200, "{}", fresh.text());
        let record = record_of(&instance, &fresh).await;
        assert!(record["policy"]["confirmed"].is_string(), "{record:#}");

        instance.kill_control_plane();
        let stale = wait::until("the bundle to be stale", async || {
            let health = instance.traffic().get("/health").await;
            match health.text().contains("stale") {
                true => Ok(health.status),
                false => Err(health.text()),
            }
        })
        .await;
        assert_eq!(stale, if open { 200 } else { 503 });
        let answer = ask(&instance, &question("gpt-4o")).await;
        let row = row(STALE_BUNDLE);
        match open {
            true => assert_eq!(answer.status, 200, "{}", answer.text()),
            false => {
                assert_eq!(Some(answer.status), row.closed, "{}", answer.text());
                assert_eq!(answer.json()["error"]["code"], row.reason);
            }
        }
        // Its control plane is back, and with it the confirmation.
        instance.start_control_plane().await;
        wait::until("the bundle to be confirmed", async || {
            match ask(&instance, &question("gpt-4o")).await.status {
                200 => Ok(()),
                status => Err(status),
            }
        })
        .await;
        let record = record_of(&instance, &answer).await;
        assert_record(&record, &row.record(!open));
    }
}

#[tokio::test]
async fn full_outbox_refuses_or_goes_on_as_configured() {
    for (open, on_full) in [(false, "deny"), (true, "drop_counted")] {
        let instance = instance(open)
            .evidence("capacity: 1")
            .evidence(&format!("on_full: {on_full}"))
            .policy("guard", GUARD)
            .start()
            .await;
        instance.freeze_control_plane();
        let row = row(OUTBOX_FULL);
        let mut statuses = vec![];
        // Each of the two workers holds one record before it is full.
        for _ in 0..12 {
            let answer = send(&instance, row).await;
            statuses.push((
                answer.status,
                answer.header("x-mercator-decision-id").is_some(),
            ));
        }
        instance.thaw_control_plane();
        let refused = statuses
            .iter()
            .filter(|(status, _)| Some(*status) == row.closed);
        match open {
            true => assert!(
                statuses.iter().all(|(status, _)| *status == 200),
                "{statuses:?}"
            ),
            false => assert!(refused.count() > 0, "{statuses:?}"),
        }
    }
}

#[tokio::test]
async fn key_that_no_control_plane_answers_for_follows_the_configuration() {
    for (open, unreachable) in [(false, "refuse"), (true, "unprotected")] {
        let row = row(NO_CLAIM);
        let mut instance = instance(open)
            .idempotency(&format!("unreachable: {unreachable}"))
            .idempotency("timeout: 300ms")
            .policy("guard", GUARD)
            .start()
            .await;
        instance.freeze_control_plane();
        let frozen = send(&instance, row).await;
        instance.thaw_control_plane();
        instance.kill_control_plane();
        let killed = send(&instance, row).await;
        // Without a key nothing has to be known.
        let plain = ask(&instance, &question("gpt-4o")).await;
        assert_eq!(plain.status, 200, "{}", plain.text());
        instance.start_control_plane().await;
        for answer in [&frozen, &killed] {
            if !open {
                assert_eq!(Some(answer.status), row.closed, "{}", answer.text());
                assert_eq!(answer.json()["error"]["code"], row.reason);
                assert_eq!(answer.header("retry-after"), Some("1"));
            } else {
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
            assert_record(&record_of(&instance, answer).await, &row.record(!open));
        }
        assert_eq!(reached_provider(&instance), if open { 3 } else { 1 });
        assert_eq!(counted(&instance, row).await, if open { 0.0 } else { 2.0 });
    }
}

#[tokio::test]
async fn trap_is_answered_with_503_and_leaves_its_record_with_the_witness() {
    let folder = tempfile::tempdir().expect("a folder");
    let module = folder.path().join("trapping.wasm");
    let shipped = std::fs::read(filter_module()).expect("the filter");
    let trapping = trapping_at(shipped, "proxy_on_response_headers");
    std::fs::write(&module, trapping).expect("the module is written");
    for open in [false, true] {
        trap(instance(open).filter(&module).start().await).await;
    }
}

async fn trap(instance: Instance) {
    let row = row(TRAP);
    let before = counted(&instance, row).await;
    // Its policy is published afterwards: to ask for the bundle in force is answered by
    // the filter, which traps then too.
    let admin = instance.admin();
    admin.put_policy("guard", GUARD).await.expect_success();
    // The VM is started anew after each trap, and until it is, nothing passes either.
    for turn in 1..=3 {
        let answer = wait::until("a request to reach the provider", async || {
            let answer = send(&instance, row).await;
            assert_eq!(Some(answer.status), row.closed, "{}", answer.text());
            match reached_provider(&instance) {
                reached if reached >= turn => Ok(answer),
                reached => Err(reached),
            }
        })
        .await;
        assert_eq!(answer.json()["error"]["code"], row.reason);
    }
    let records = wait::until("three records from the witness", async || {
        let mut records = instance.admin().evidence("").await;
        records.retain(|record| record["outcome"] == "filter_fault");
        match records.len() {
            3.. => Ok(records),
            _ => Err(records),
        }
    })
    .await;
    for record in records {
        assert_record(&record, &row.record(true));
        let known = json!({"gen_ai.request.model": "gpt-4o", "response_inspection": "none"});
        assert_record(&record, &known);
    }
    wait::until("the witness's records to be counted", async || {
        let now = counted(&instance, row).await;
        if now > before { Ok(()) } else { Err(now) }
    })
    .await;
}

/// A request of nearly 4 MiB, and how much of it is sent at first: all but its last byte.
fn large_request() -> (Vec<u8>, usize) {
    let body = question("gpt-4o").to_string();
    let body = body.replace("What", &"what ".repeat((4 << 18) / 5 * 4 - 100));
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: jupiter\r\nauthorization: Bearer sk-test\r\n\
         content-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let request = [head, body].concat().into_bytes();
    let most = request.len() - 1;
    (request, most)
}

#[tokio::test]
async fn bodies_beyond_the_memory_limit_are_refused_and_it_is_free_again() {
    const CLIENTS: usize = 18;
    let instance = Instance::builder()
        .inspection("max_body_bytes: 4194304")
        .envoy("concurrency: 1")
        .policy("guard", GUARD)
        .start()
        .await;
    let (row, envoy) = (row(NO_ROOM), instance.envoy_pid());
    let before = counted(&instance, row).await;
    let (request, most) = large_request();
    // Twice: what was held in the first turn is free in the second.
    for turn in 1..=2 {
        let mut waiting = vec![];
        for _ in 0..CLIENTS {
            let address = ("127.0.0.1", instance.traffic().port());
            let mut socket = TcpStream::connect(address).await.expect("a connection");
            // One that is refused may not take the rest.
            let _ = socket.write_all(&request[..most]).await;
            waiting.push(socket);
        }
        // 48 MiB hold twelve of them; the others are answered without their last byte.
        let refused = wait::until("those beyond the limit to be refused", async || {
            let at = counted(&instance, row).await - before;
            match at >= (6 * turn) as f64 {
                true => Ok(at),
                false => Err(at),
            }
        })
        .await;
        let mut statuses = vec![];
        for mut socket in waiting {
            let _ = socket.write_all(&request[most..]).await;
            let mut answer = vec![];
            let _ = socket.read_to_end(&mut answer).await;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            let status = answer.get(9..12).unwrap_or_default().to_owned();
            if status == "503" {
                assert!(answer.contains(row.reason), "{answer}");
            }
            statuses.push(status);
        }
        let passed = statuses.iter().filter(|status| *status == "200").count();
        assert!(passed >= 10, "turn {turn}: {statuses:?}, {refused} refused");
    }
    let records = instance.admin().wait_for_records("", 2 * CLIENTS).await;
    let reason = |record: &Value| record["reason"] == row.reason;
    let (refused, passed): (Vec<_>, Vec<_>) = records.into_iter().partition(reason);
    assert!(refused.len() >= 12, "{}", refused.len());
    for record in &refused {
        assert_record(record, &row.record(true));
    }
    for record in &passed {
        assert_record(record, &json!({"request_inspection": "inspected"}));
    }
    assert_eq!(instance.envoy_pid(), envoy, "Envoy survives");
}
