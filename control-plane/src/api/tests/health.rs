//! Health as checkers and load balancers see it.

use axum::body::Body;
use axum::http::Method;
use serde_json::json;
use std::time::Duration;

use crate::auth::Role;
use crate::testing::{Reply, TestApp, TestProbe};

async fn ask(test: &TestApp, uri: &str) -> Reply {
    test.send(None, Method::GET, uri, &[], Body::empty()).await
}

fn fail(probe: &TestProbe, reason: &str) {
    *probe.reason.lock().unwrap() = Some(reason.to_owned());
}

#[tokio::test]
async fn deep_health_has_exactly_the_documented_shape() {
    let test = TestApp::start().await;
    let reply = ask(&test, "/health/deep?from=checker").await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("content-type")),
        (200, "application/json")
    );
    assert_eq!(
        reply.json(),
        json!({
            "status": "healthy",
            "checks": {
                "database": "ok",
                "providers": {"openai": "ok"},
                "policy_engine": "ok",
                "evidence_storage": "ok",
            },
            "uptime_seconds": 0,
        })
    );
    let order = ["\"status\"", "\"checks\"", "\"uptime_seconds\""];
    let at = order.map(|key| reply.text().find(key).unwrap());
    assert!(at.is_sorted());
}

#[tokio::test]
async fn what_fails_decides_how_ill_the_instance_is() {
    for (part, status, word, ready) in [
        ("database", 503, "unhealthy", 503),
        ("evidence_storage", 503, "unhealthy", 503),
        ("policy_engine", 503, "unhealthy", 200),
        ("openai", 200, "degraded", 200),
    ] {
        let test = TestApp::start().await;
        let probe = match part {
            "database" => &test.probes.database,
            "evidence_storage" => &test.probes.evidence_storage,
            "policy_engine" => &test.probes.policy_engine,
            _ => &test.probes.openai,
        };
        fail(probe, "out for lunch");
        let deep = ask(&test, "/health/deep").await;
        assert_eq!(deep.status.as_u16(), status, "{part}");
        let told = deep.json();
        assert_eq!(told["status"], word);
        let check = match part {
            "openai" => &told["checks"]["providers"]["openai"],
            part => &told["checks"][part],
        };
        assert_eq!(check, "out for lunch");
        for uri in ["/health", "/readyz", "/readyz?verbose"] {
            assert_eq!(ask(&test, uri).await.status.as_u16(), ready, "{part} {uri}");
        }
        assert_eq!(ask(&test, "/livez").await.status.as_u16(), 200);
    }
}

#[tokio::test]
async fn readiness_speaks_as_kubernetes_does() {
    let test = TestApp::start().await;
    assert_eq!(ask(&test, "/readyz").await.text(), "ok");
    let verbose = ask(&test, "/readyz?verbose").await;
    let expected = "[+]database ok\n[+]evidence_storage ok\n[+]standing ok\nreadyz check passed\n";
    assert_eq!(verbose.text(), expected);
    assert_eq!(ask(&test, "/readyz?verbose=1").await.text(), expected);
    assert_eq!(ask(&test, "/health").await.json(), json!({"status": "ok"}));
    assert_eq!(ask(&test, "/livez").await.text(), "ok");
    let test = TestApp::start().await;
    fail(&test.probes.database, "no answer in time");
    let reply = ask(&test, "/readyz").await;
    assert!(reply.header("content-type").starts_with("text/plain"));
    let expected = "[-]database failed: no answer in time\n[+]evidence_storage ok\n\
                    [+]standing ok\nreadyz check failed\n";
    assert_eq!(reply.text(), expected);
    assert_eq!(
        ask(&test, "/health").await.json(),
        json!({"status": "unhealthy"})
    );
}

#[tokio::test]
async fn whatever_hangs_the_answer_comes_in_time() {
    let test = TestApp::start().await;
    for probe in [
        &test.probes.database,
        &test.probes.evidence_storage,
        &test.probes.policy_engine,
        &test.probes.openai,
    ] {
        *probe.hangs.lock().unwrap() = true;
    }
    // They hang for ever: that there is an answer at all shows the bound.
    let asked = tokio::time::timeout(Duration::from_secs(30), ask(&test, "/health/deep"));
    let reply = asked.await.expect("an answer");
    assert_eq!(reply.status.as_u16(), 503);
    let checks = &reply.json()["checks"];
    assert_eq!(checks["database"], "no answer in time");
    assert_eq!(checks["providers"]["openai"], "no answer in time");
}

#[tokio::test]
async fn many_checkers_make_one_probe() {
    let test = TestApp::start().await;
    let asks: Vec<_> = (0..50).map(|_| ask(&test, "/health/deep")).collect();
    for ask in asks {
        assert_eq!(ask.await.status.as_u16(), 200);
    }
    let asked = *test.probes.openai.asked.lock().unwrap();
    assert!(asked <= 3, "{asked}");
}

#[tokio::test]
async fn metrics_tell_whether_the_database_answers() {
    let test = TestApp::start().await;
    assert!(test.metrics().await.contains("mercator_db_up 1"));
    let test = TestApp::start().await;
    fail(&test.probes.database, "no answer in time");
    let text = test.metrics().await;
    assert!(text.contains("mercator_db_up 0"), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[tokio::test]
async fn evidence_that_is_not_sealed_for_a_minute_is_told() {
    let test = TestApp::start().await;
    test.app.log.sealed(test.app.clock.now());
    test.clock.advance(Duration::from_secs(59));
    let deep = ask(&test, "/health/deep").await;
    assert_eq!(deep.json()["checks"]["evidence_storage"], "ok");
    test.clock.advance(Duration::from_secs(2));
    let deep = ask(&test, "/health/deep").await;
    assert_eq!(deep.status.as_u16(), 503);
    let told = deep.json()["checks"]["evidence_storage"].clone();
    assert_eq!(told, "evidence was last sealed 61 s ago");
}

#[tokio::test]
async fn who_may_read_evidence_is_told_what_it_lacks_and_nobody_else() {
    let test = TestApp::start().await;
    test.app.log.sealed(test.app.clock.now());
    let detail = json!({"sealed_ms_ago": 0, "queued_records": 0, "missing_records": 0});
    for (role, told) in [
        (Some(Role::Auditor), true),
        (Some(Role::Emitter), false),
        (None, false),
    ] {
        let deep = test
            .send(role, Method::GET, "/health/deep", &[], Body::empty())
            .await
            .json();
        assert_eq!(deep.get("evidence"), told.then_some(&detail), "{role:?}");
        assert_eq!(
            deep.get("standing"),
            told.then_some(&json!("starting")),
            "{role:?}"
        );
    }
}
