//! The past of policies, differences, going back, and where policies come from.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use crate::auth::Role;
use crate::source::SourceKind;
use crate::store::contract::samples::{bundle, policy as new_policy, stamp};
use crate::testing::{Reply, TestApp, policy};

async fn get_as(test: &TestApp, uri: &str, accept: &str) -> Reply {
    let accept = format!("accept: {accept}");
    test.send(
        Some(Role::Auditor),
        Method::GET,
        uri,
        &[&accept],
        Body::empty(),
    )
    .await
}

async fn rollback(test: &TestApp, to: u64, headers: &[&str]) -> Reply {
    let uri = "/v1/policies/guard/rollback";
    let mut headers = headers.to_vec();
    headers.push("content-type: application/json");
    let body = json!({"revision": to}).to_string();
    test.send(Some(Role::Author), Method::POST, uri, &headers, body)
        .await
}

async fn delete(test: &TestApp) {
    let uri = "/v1/policies/guard";
    let gone = test
        .send(Some(Role::Author), Method::DELETE, uri, &[], Body::empty())
        .await;
    assert_eq!(gone.status.as_u16(), 204);
}

fn text(model: &str) -> String {
    policy("guard", model)
}

/// Two texts and a deletion.
async fn with_a_past() -> TestApp {
    let test = TestApp::start().await;
    for model in ["a", "b"] {
        let put = test.put_policy("guard", &text(model), &[]).await;
        assert!(put.status.is_success());
    }
    delete(&test).await;
    test
}

fn numbers(page: &Value) -> Vec<u64> {
    let revisions = page["revisions"].as_array().unwrap().iter();
    revisions.map(|r| r["revision"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn history_tells_who_did_what_when() {
    let test = with_a_past().await;
    let uri = "/v1/policies/guard/revisions";
    let page = test.get(uri).await.json();
    assert_eq!(page["next_cursor"], Value::Null);
    assert_eq!(numbers(&page), [3, 2, 1]);
    let at = "2026-11-22T17:10:05.000000Z";
    assert_eq!(
        page["revisions"][0],
        json!({"name": "guard", "revision": 3, "deleted": true, "author": "author",
            "created_at": at})
    );
    assert_eq!(
        page["revisions"][1],
        json!({"name": "guard", "revision": 2, "deleted": false, "version": "1.0.0",
            "description": "One model only", "author": "author", "created_at": at})
    );
    let first = test.get(&format!("{uri}?limit=2")).await.json();
    assert_eq!(
        (numbers(&first), &first["next_cursor"]),
        (vec![3, 2], &json!("2"))
    );
    let rest = test.get(&format!("{uri}?limit=2&cursor=2")).await.json();
    assert_eq!(
        (numbers(&rest), &rest["next_cursor"]),
        (vec![1], &Value::Null)
    );
    for (query, status, code) in [
        ("?cursor=x", 400, "bad_parameter"),
        ("?limit=0", 400, "bad_parameter"),
        ("?limit=501", 400, "bad_parameter"),
        ("?after=1", 400, "unknown_parameter"),
    ] {
        let reply = test.get(&format!("{uri}{query}")).await;
        assert_eq!(reply.problem(), (status, code.to_owned()), "{query}");
    }
    let unknown = test.get("/v1/policies/other/revisions").await;
    assert_eq!(unknown.problem(), (404, "unknown_policy".to_owned()));
}

#[tokio::test]
async fn past_text_comes_in_the_form_asked_for() {
    let test = with_a_past().await;
    let uri = |number: &str| format!("/v1/policies/guard/revisions/{number}");
    let yaml = get_as(&test, &uri("1"), "application/yaml").await;
    assert_eq!((yaml.text(), yaml.header("etag")), (text("a"), "\"1\""));
    assert_eq!(yaml.header("content-type"), "application/yaml");
    let json = get_as(&test, &uri("2"), "application/json").await.json();
    assert_eq!(
        (&json["source"], &json["deleted"]),
        (&json!(text("b")), &json!(false))
    );
    let deleted = get_as(&test, &uri("3"), "*/*").await.json();
    assert_eq!(
        (&deleted["deleted"], deleted.get("source")),
        (&json!(true), None)
    );
    for (number, accept, status, code) in [
        ("3", "application/yaml", 410, "deleted_revision"),
        ("1", "text/html", 406, "not_acceptable"),
        ("4", "*/*", 404, "unknown_revision"),
        ("x", "*/*", 404, "unknown_revision"),
    ] {
        let reply = get_as(&test, &uri(number), accept).await;
        assert_eq!(reply.problem(), (status, code.to_owned()), "{number}");
    }
    let headers = ["if-none-match: \"1\""];
    let known = test
        .send(
            Some(Role::Admin),
            Method::GET,
            &uri("1"),
            &headers,
            Body::empty(),
        )
        .await;
    assert_eq!((known.status.as_u16(), known.body.len()), (304, 0));
}

#[tokio::test]
async fn rollback_is_a_new_revision_with_the_old_text() {
    let test = TestApp::start().await;
    test.put_policy("guard", &text("a"), &[]).await;
    let digest = test
        .app
        .bundles
        .borrow()
        .clone()
        .unwrap()
        .digest
        .to_string();
    test.put_policy("guard", &text("b"), &[]).await;
    let back = rollback(&test, 1, &["if-match: \"2\""]).await;
    assert_eq!((back.status.as_u16(), back.header("etag")), (200, "\"3\""));
    assert_eq!(back.json()["source"], json!(text("a")));
    assert_eq!(back.json()["bundle_digest"], json!(digest));
    let shown = test.get("/v1/policies/guard").await.json();
    assert_eq!(
        (&shown["revision"], &shown["source"]),
        (&json!(3), &json!(text("a")))
    );
    // What is in force already needs no revision of its own.
    let again = rollback(&test, 3, &[]).await;
    assert_eq!(again.header("etag"), "\"3\"");
}

#[tokio::test]
async fn rollback_brings_back_what_was_deleted() {
    let test = with_a_past().await;
    assert!(test.app.bundles.borrow().is_none());
    let back = rollback(&test, 2, &["if-none-match: *"]).await;
    assert_eq!((back.status.as_u16(), back.header("etag")), (200, "\"4\""));
    assert!(test.app.bundles.borrow().is_some());
    let page = test.get("/v1/policies/guard/revisions").await.json();
    assert_eq!(numbers(&page), [4, 3, 2, 1]);
}

#[tokio::test]
async fn of_two_authors_racing_the_second_is_told() {
    let test = TestApp::start().await;
    test.put_policy("guard", &text("a"), &[]).await;
    // Both have read revision 1.
    let seen = ["if-match: \"1\""];
    let (ann, (one, two)) = (text("ann"), (text("bob"), &test));
    let (ann, bob, back) = tokio::join!(
        two.put_policy("guard", &ann, &seen),
        two.put_policy("guard", &one, &seen),
        rollback(&test, 1, &["if-match: \"7\""]),
    );
    let mut statuses = [ann.status.as_u16(), bob.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    let lost = if ann.status.as_u16() == 412 { ann } else { bob };
    assert_eq!(lost.problem(), (412, "precondition_failed".to_owned()));
    assert_eq!(lost.json()["revision"], json!(2));
    assert_eq!(back.problem(), (412, "precondition_failed".to_owned()));
    assert_eq!(
        numbers(&test.get("/v1/policies/guard/revisions").await.json()),
        [2, 1]
    );
}

#[tokio::test]
async fn rollback_that_cannot_be_is_refused_and_changes_nothing() {
    let test = with_a_past().await;
    for (to, status, code) in [(3, 422, "deleted_revision"), (9, 404, "unknown_revision")] {
        let reply = rollback(&test, to, &[]).await;
        assert_eq!(reply.problem(), (status, code.to_owned()), "{to}");
    }
    let headers = ["content-type: application/json"];
    let uri = "/v1/policies/never/rollback";
    let body = json!({"revision": 1}).to_string();
    let never = test.send(Some(Role::Author), Method::POST, uri, &headers, body);
    assert_eq!(never.await.problem(), (404, "unknown_policy".to_owned()));
    for body in [
        "{}",
        "{\"revision\": -1}",
        "{\"revision\": 1, \"x\": 1}",
        "1",
    ] {
        let uri = "/v1/policies/guard/rollback";
        let reply = test
            .send(Some(Role::Author), Method::POST, uri, &headers, body)
            .await;
        assert_eq!(reply.problem(), (400, "bad_json".to_owned()), "{body}");
    }
    assert!(test.app.bundles.borrow().is_none());
}

#[tokio::test]
async fn text_of_another_version_is_not_taken_back_unchecked() {
    let test = TestApp::start().await;
    // As a version stored it that understood more.
    let old = text("a").replace("not_in", "no_longer_known");
    let store = &test.app.store;
    let seen = store.active_policies().await.unwrap().set;
    let put = store.put_policy(
        seen,
        new_policy("guard", &old),
        bundle("old"),
        stamp("ann", 1),
    );
    put.await.unwrap();
    test.put_policy("guard", &text("b"), &[]).await;
    let reply = rollback(&test, 1, &[]).await;
    assert_eq!(reply.problem(), (422, "invalid_policy".to_owned()));
    let diagnostic = &reply.json()["diagnostics"][0];
    assert_eq!(diagnostic["code"], "unknown-operator");
    assert!(diagnostic["span"]["line"].is_number());
    assert_eq!(test.get("/v1/policies/guard").await.header("etag"), "\"2\"");
}

#[tokio::test]
async fn differences_are_unified_and_have_sensible_ends() {
    let test = with_a_past().await;
    let uri = "/v1/policies/guard/diff";
    let plain = get_as(&test, &format!("{uri}?from=1&to=2"), "text/plain").await;
    assert!(plain.header("content-type").starts_with("text/plain"));
    assert_eq!(plain.header("vary"), "accept");
    let diff = plain.text();
    let begins = "--- guard revision 1\n+++ guard revision 2\n@@ ";
    assert!(diff.starts_with(begins), "{diff}");
    assert!(
        diff.contains("-        value: [a]\n+        value: [b]\n"),
        "{diff}"
    );
    let json = get_as(&test, &format!("{uri}?from=1&to=2"), "application/json").await;
    assert_eq!(
        json.json(),
        json!({"name": "guard", "from": 1, "to": 2, "diff": diff})
    );
    // Deleted: the last change is that its lines went.
    let last = test.get(uri).await.json();
    assert_eq!((&last["from"], &last["to"]), (&json!(2), &json!(3)));
    let lines = last["diff"].as_str().unwrap().lines().skip(3);
    assert!(lines.into_iter().all(|line| line.starts_with('-')));
    rollback(&test, 1, &[]).await;
    let active = test.get(uri).await.json();
    assert_eq!((&active["from"], &active["to"]), (&json!(3), &json!(4)));
    let first = test.get(&format!("{uri}?to=1")).await.json();
    assert_eq!((&first["from"], &first["to"]), (&Value::Null, &json!(1)));
    let same = test.get(&format!("{uri}?from=1&to=4")).await.json();
    assert_eq!(same["diff"], "");
    for (uri, status, code) in [
        ("/v1/policies/guard/diff?from=x", 400, "bad_parameter"),
        ("/v1/policies/guard/diff?to=9", 404, "unknown_revision"),
        ("/v1/policies/guard/diff?from=0", 404, "unknown_revision"),
        ("/v1/policies/other/diff", 404, "unknown_policy"),
    ] {
        assert_eq!(
            test.get(uri).await.problem(),
            (status, code.to_owned()),
            "{uri}"
        );
    }
}

#[tokio::test]
async fn source_is_told_and_changes_by_authors_refused() {
    let test = TestApp::start().await;
    let api = test.get("/v1/policies/source").await.json();
    assert_eq!(
        api,
        json!({"source": "api", "revision": null, "commit": null, "last_success_at": null,
            "last_attempt_at": null, "error": null})
    );
    for (kind, code) in [
        (SourceKind::Dir, "policy_source_is_dir"),
        (SourceKind::Git, "policy_source_is_git"),
    ] {
        let test = TestApp::start_with(tempfile::tempdir().unwrap(), kind).await;
        let told = test.get("/v1/policies/source").await.json();
        assert_eq!(told["source"], kind.as_str());
        let put = test.put_policy("guard", &text("a"), &[]).await;
        let uri = "/v1/policies/guard";
        let delete = test.send(Some(Role::Author), Method::DELETE, uri, &[], Body::empty());
        for reply in [put, delete.await, rollback(&test, 1, &[]).await] {
            assert_eq!(reply.problem(), (409, code.to_owned()));
        }
        let ready = test.send(None, Method::GET, "/readyz?verbose", &[], Body::empty());
        let ready = ready.await;
        assert_eq!(ready.status.as_u16(), 200);
        assert!(
            ready.text().contains("[i]policy_source not reached yet\n"),
            "{}",
            ready.text()
        );
    }
}
