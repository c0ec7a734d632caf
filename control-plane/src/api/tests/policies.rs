//! Policies, bundles and discovery.

use axum::body::Body;
use axum::http::Method;
use serde_json::json;

use crate::auth::Role;
use crate::store::faults::Fault;
use crate::testing::{Reply, TestApp, policy};

async fn get_as(test: &TestApp, uri: &str, headers: &[&str]) -> Reply {
    test.send(Some(Role::Admin), Method::GET, uri, headers, Body::empty())
        .await
}

#[tokio::test]
async fn policy_is_created_replaced_shown_and_deleted() {
    let test = TestApp::start().await;
    let first = policy("guard", "gpt-4o");
    let created = test.put_policy("guard", &first, &[]).await;
    assert_eq!(
        (created.status.as_u16(), created.header("etag")),
        (201, "\"1\"")
    );
    let digest = test
        .app
        .bundles
        .borrow()
        .clone()
        .unwrap()
        .digest
        .to_string();
    assert_eq!(
        created.json(),
        json!({
            "name": "guard", "revision": 1, "version": "1.0.0", "description": "One model only",
            "author": "author", "created_at": "2026-11-22T17:10:05.000000Z", "source": first,
            "diagnostics": [], "bundle_digest": digest,
        })
    );
    let again = test.put_policy("guard", &first, &[]).await;
    assert_eq!(
        (again.status.as_u16(), again.header("etag")),
        (200, "\"1\"")
    );
    let second = policy("guard", "gpt-4");
    let replaced = test.put_policy("guard", &second, &[]).await;
    assert_eq!(
        (replaced.status.as_u16(), replaced.header("etag")),
        (200, "\"2\"")
    );
    assert_ne!(replaced.json()["bundle_digest"], json!(digest));

    let list = test.get("/v1/policies").await.json();
    assert_eq!(list["policies"][0]["revision"], 2);
    assert!(list["policies"][0].get("source").is_none());
    let shown = test.get("/v1/policies/guard").await;
    assert_eq!(shown.header("etag"), "\"2\"");
    assert_eq!(shown.json()["source"], json!(second));

    let uri = "/v1/policies/guard";
    let gone = test
        .send(Some(Role::Author), Method::DELETE, uri, &[], Body::empty())
        .await;
    assert_eq!((gone.status.as_u16(), gone.body.len()), (204, 0));
    assert_eq!(
        test.get(uri).await.problem(),
        (404, "unknown_policy".to_owned())
    );
    let gone = test
        .send(Some(Role::Author), Method::DELETE, uri, &[], Body::empty())
        .await;
    assert_eq!(gone.problem(), (404, "unknown_policy".to_owned()));
}

#[tokio::test]
async fn form_of_a_policy_is_what_the_client_accepts() {
    let test = TestApp::start().await;
    let text = format!("# K\u{f6}nig\n{}", policy("guard", "gpt-4o"));
    test.put_policy("guard", &text, &[]).await;
    for (accept, content_type) in [
        ("accept: application/yaml", "application/yaml"),
        (
            "accept: text/yaml, application/json;q=0.5",
            "application/yaml",
        ),
        ("accept: application/x-yaml", "application/yaml"),
        ("accept: application/json", "application/json"),
        ("accept: */*", "application/json"),
        (
            "accept: application/json;q=0, application/yaml",
            "application/yaml",
        ),
    ] {
        let reply = get_as(&test, "/v1/policies/guard", &[accept]).await;
        assert_eq!(reply.header("content-type"), content_type, "{accept}");
        assert_eq!(reply.header("vary"), "accept");
        if content_type == "application/yaml" {
            assert_eq!(reply.text(), text);
        }
    }
    let reply = get_as(&test, "/v1/policies/guard", &["accept: text/html"]).await;
    assert_eq!(reply.problem(), (406, "not_acceptable".to_owned()));
    let known = get_as(
        &test,
        "/v1/policies/guard",
        &["if-none-match: \"0\", W/\"1\""],
    )
    .await;
    assert_eq!((known.status.as_u16(), known.body.len()), (304, 0));
    let other = get_as(&test, "/v1/policies/guard", &["if-none-match: \"2\""]).await;
    assert_eq!(other.status.as_u16(), 200);
}

#[tokio::test]
async fn json_is_taken_as_a_policy_too() {
    let test = TestApp::start().await;
    let text = json!({
        "mpl_version": "1.0", "name": "guard", "version": "1.0.0",
        "rules": [{
            "name": "models",
            "conditions": [{"field": "request.model", "operator": "==", "value": "gpt-3"}],
            "actions": [{"type": "deny", "message": "No."}],
        }],
    })
    .to_string();
    let uri = "/v1/policies/guard";
    let headers = ["content-type: application/json; charset=utf-8"];
    let put = test
        .send(Some(Role::Author), Method::PUT, uri, &headers, text.clone())
        .await;
    assert_eq!(put.status.as_u16(), 201, "{}", put.text());
    assert_eq!(test.get(uri).await.json()["source"], json!(text));
}

#[tokio::test]
async fn preconditions_hold_or_nothing_changes() {
    let test = TestApp::start().await;
    let text = |model| policy("guard", model);
    for (headers, model, status, code) in [
        (&["if-match: *"][..], "a", 412, "precondition_failed"),
        (&["if-match: \"1\""], "a", 412, "precondition_failed"),
        (&["if-none-match: *"], "a", 201, ""),
        (&["if-none-match: *"], "b", 412, "precondition_failed"),
        (&["if-match: \"2\""], "b", 412, "precondition_failed"),
        (&["if-match: \"1\""], "b", 200, ""),
        (&["if-match: *"], "c", 200, ""),
        (&["if-match: W/\"3\""], "d", 400, "bad_precondition"),
        (&["if-match: 3"], "d", 400, "bad_precondition"),
        (&["if-match: \"3\", \"4\""], "d", 400, "bad_precondition"),
        (&["if-none-match: \"3\""], "d", 400, "bad_precondition"),
        (
            &["if-match: \"3\"", "if-none-match: *"],
            "d",
            400,
            "bad_precondition",
        ),
    ] {
        let reply = test.put_policy("guard", &text(model), headers).await;
        assert_eq!(
            reply.status.as_u16(),
            status,
            "{headers:?} {}",
            reply.text()
        );
        if status >= 400 {
            assert_eq!(reply.problem().1, code);
        }
        if status == 412 {
            assert!(reply.json()["revision"].is_number() || reply.json()["revision"].is_null());
        }
    }
    assert_eq!(
        test.get("/v1/policies/guard").await.json()["source"],
        json!(text("c"))
    );
    let uri = "/v1/policies/guard";
    for (header, status) in [("if-match: \"1\"", 412), ("if-match: \"3\"", 204)] {
        let reply = test
            .send(
                Some(Role::Author),
                Method::DELETE,
                uri,
                &[header],
                Body::empty(),
            )
            .await;
        assert_eq!(reply.status.as_u16(), status);
    }
}

#[tokio::test]
async fn unusable_policies_are_refused_with_what_is_wrong() {
    let test = TestApp::start().await;
    test.put_policy("guard", &policy("guard", "gpt-4o"), &[])
        .await;
    let broken = policy("guard", "gpt-4o").replace("request.model", "request.modle");
    let reply = test.put_policy("guard", &broken, &[]).await;
    assert_eq!(reply.problem(), (422, "invalid_policy".to_owned()));
    let diagnostic = &reply.json()["diagnostics"][0];
    assert_eq!(
        (&diagnostic["severity"], &diagnostic["code"]),
        (&json!("error"), &json!("unknown-field"))
    );
    assert_eq!(diagnostic["span"]["line"], 8);
    for (name, text, status, code) in [
        ("other", policy("guard", "gpt-4o"), 422, "name_mismatch"),
        ("gu%20ard", policy("guard", "gpt-4o"), 400, "bad_name"),
        ("guard", String::new(), 422, "invalid_policy"),
        ("guard", "a: [".to_owned(), 422, "invalid_policy"),
        ("guard", "x".repeat(1024 * 1024 + 1), 413, "body_too_large"),
    ] {
        let reply = test.put_policy(name, &text, &[]).await;
        assert_eq!(reply.problem(), (status, code.to_owned()), "{name}");
    }
    let uri = "/v1/policies/guard";
    let yaml = "content-type: application/yaml";
    for (headers, body, status, code) in [
        (&[yaml][..], &b"\xff\xfe"[..], 400, "not_utf8"),
        (
            &["content-type: text/plain"],
            b"a",
            415,
            "unsupported_media_type",
        ),
        (&[], b"a", 415, "unsupported_media_type"),
        (
            &[yaml, "content-encoding: gzip"],
            b"a",
            415,
            "unsupported_media_type",
        ),
    ] {
        let reply = test
            .send(Some(Role::Author), Method::PUT, uri, headers, body.to_vec())
            .await;
        assert_eq!(reply.problem(), (status, code.to_owned()), "{headers:?}");
    }
    assert_eq!(test.get(uri).await.header("etag"), "\"1\"");
}

#[tokio::test]
async fn bundle_too_large_names_what_is_largest() {
    let test = TestApp::start().await;
    let models: Vec<String> = (0..1_000)
        .map(|n| format!("{}-{n}", "m".repeat(300)))
        .collect();
    let reply = test
        .put_policy("guard", &policy("guard", &models.join(", ")), &[])
        .await;
    assert_eq!(reply.problem(), (422, "bundle_too_large".to_owned()));
    assert!(test.app.bundles.borrow().is_none());
}

#[tokio::test]
async fn validation_tells_and_stores_nothing() {
    let test = TestApp::start().await;
    let validate = async |text: String| {
        let uri = "/v1/policies/validate";
        let headers = ["content-type: text/yaml"];
        test.send(Some(Role::Author), Method::POST, uri, &headers, text)
            .await
    };
    let good = validate(policy("guard", "gpt-4o")).await;
    assert_eq!(good.json(), json!({"valid": true, "diagnostics": []}));
    let bad = validate("name: 1".to_owned()).await;
    assert_eq!(
        (bad.status.as_u16(), &bad.json()["valid"]),
        (200, &json!(false))
    );
    assert!(bad.json()["diagnostics"][0]["code"].is_string());
    assert_eq!(
        test.get("/v1/policies").await.json(),
        json!({"policies": []})
    );
    // A policy may have this name all the same.
    let put = test
        .put_policy("validate", &policy("validate", "gpt-4o"), &[])
        .await;
    assert_eq!(put.problem(), (405, "method_not_allowed".to_owned()));
}

#[tokio::test]
async fn bundle_is_served_by_its_digest() {
    let test = TestApp::start().await;
    let none = test.get("/v1/bundles/current").await;
    assert_eq!(none.problem(), (404, "no_policy_bundle".to_owned()));
    test.put_policy("guard", &policy("guard", "gpt-4o"), &[])
        .await;
    let bundle = test.get("/v1/bundles/current").await;
    let digest = jupiter_policy::BundleDigest::of(&bundle.body).to_string();
    assert_eq!(bundle.header("etag"), format!("\"{digest}\""));
    assert_eq!(bundle.header("content-type"), "application/octet-stream");
    assert_eq!(bundle.header("x-mercator-bundle-digest"), digest);
    assert_eq!(bundle.header("x-mercator-bundle-revision"), "1");
    assert_eq!(
        bundle.header("x-mercator-bundle-created-at"),
        "2026-11-22T17:10:05.000000Z"
    );
    let header = format!("if-none-match: \"{digest}\"");
    let known = get_as(&test, "/v1/bundles/current", &[&header]).await;
    assert_eq!((known.status.as_u16(), known.body.len()), (304, 0));
    assert_eq!(known.header("x-mercator-bundle-digest"), digest);
}

async fn discover(test: &TestApp, body: serde_json::Value) -> Reply {
    let uri = "/v3/discovery:extension_configs";
    let headers = ["content-type: application/json"];
    test.send(
        Some(Role::Emitter),
        Method::POST,
        uri,
        &headers,
        body.to_string(),
    )
    .await
}

#[tokio::test]
async fn discovery_answers_each_version_once() {
    let test = TestApp::start().await;
    let first = discover(&test, json!({})).await.json();
    assert_eq!(first["resources"][0]["name"], "mercator");
    let version = first["version_info"].as_str().unwrap();
    for same in [
        json!({"version_info": version}),
        json!({"versionInfo": version}),
    ] {
        let reply = discover(&test, same).await;
        assert_eq!((reply.status.as_u16(), reply.body.len()), (304, 0));
    }
    test.put_policy("guard", &policy("guard", "gpt-4o"), &[])
        .await;
    // As Envoy asks, with what it has and what went wrong.
    let asked = json!({
        "version_info": version, "node": {"id": "x", "extensions": [{}]},
        "resource_names": ["mercator"],
        "type_url": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "error_detail": {"code": 13, "message": "refused"},
    });
    let next = discover(&test, asked).await.json();
    assert_ne!(next["version_info"], first["version_info"]);
    let value = next["resources"][0]["typed_config"]["config"]["configuration"]["value"].clone();
    assert!(value.as_str().unwrap().contains("sha256:"), "{value}");
}

#[tokio::test]
async fn discovery_knows_one_resource_of_one_type() {
    let test = TestApp::start().await;
    let other = discover(&test, json!({"resource_names": ["other"]})).await;
    assert_eq!(
        (other.status.as_u16(), &other.json()["resources"]),
        (200, &json!([]))
    );
    let wrong = discover(&test, json!({"type_url": "type.googleapis.com/x"})).await;
    assert_eq!(wrong.problem(), (400, "unknown_type_url".to_owned()));
    let wrong = discover(&test, json!({"resource_names": "mercator"})).await;
    assert_eq!(wrong.problem(), (400, "bad_json".to_owned()));
}

#[tokio::test]
async fn database_in_trouble_is_an_honest_refusal() {
    let test = TestApp::start().await;
    test.put_policy("guard", &policy("guard", "gpt-4o"), &[])
        .await;
    test.faults.set(Some(Fault::Before));
    let put = test
        .put_policy("guard", &policy("guard", "gpt-4"), &[])
        .await;
    let get = test.get("/v1/policies/guard").await;
    for reply in [put, get] {
        assert_eq!(reply.header("retry-after"), "1");
        assert_eq!(reply.problem(), (503, "store_unavailable".to_owned()));
        assert!(
            !reply.text().contains("told to fail"),
            "the cause is for the log"
        );
    }
    // What filters need does not depend on it.
    assert_eq!(test.get("/v1/bundles/current").await.status.as_u16(), 200);
}
