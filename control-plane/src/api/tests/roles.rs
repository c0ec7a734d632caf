//! Who may do what, as a table.

use axum::http::Method;
use serde_json::Value;
use std::collections::BTreeSet;

use crate::auth::Role;
use crate::testing::{TestApp, policy};

const YAML: &str = "application/yaml";
const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

struct Door {
    method: Method,
    /// As documented.
    path: &'static str,
    uri: &'static str,
    content_type: &'static str,
    body: String,
    /// For nobody, admin, author, auditor, emitter.
    statuses: [u16; 5],
}

fn doors() -> Vec<Door> {
    let door = |method, path, uri, content_type, body: &str, statuses| Door {
        method,
        path,
        uri,
        content_type,
        body: body.to_owned(),
        statuses,
    };
    let (get, put, post, delete) = (Method::GET, Method::PUT, Method::POST, Method::DELETE);
    let guard = policy("guard", "gpt-4o");
    let name = "/v1/policies/{name}";
    let none = "00000000-0000-7000-8000-000000000000";
    let digest = "0f".repeat(32);
    let claim = serde_json::json!({
        "key": digest, "request": digest, "exchange": none, "instance": "jupiter-1",
        "on_unknown_outcome": "rerun", "wait_ms": 0,
    });
    let claim = claim.to_string();
    let unknown_record = Box::leak(format!("/v1/evidence/{none}").into_boxed_str());
    let unknown_proof = Box::leak(format!("/v1/evidence/{none}/proof").into_boxed_str());
    let unknown_personal = Box::leak(format!("/v1/evidence/{none}/personal").into_boxed_str());
    let unknown_hold = Box::leak(format!("/v1/evidence/holds/{none}/release").into_boxed_str());
    let unknown_token = Box::leak(format!("/v1/tokens/{none}").into_boxed_str());
    vec![
        door(
            put,
            name,
            "/v1/policies/guard",
            YAML,
            &guard,
            [401, 200, 200, 403, 403],
        ),
        door(
            get.clone(),
            name,
            "/v1/policies/guard",
            "",
            "",
            [401, 200, 200, 200, 403],
        ),
        door(
            get.clone(),
            "/v1/policies",
            "/v1/policies",
            "",
            "",
            [401, 200, 200, 200, 403],
        ),
        door(
            post.clone(),
            "/v1/policies/validate",
            "/v1/policies/validate",
            YAML,
            &guard,
            [401, 200, 200, 403, 403],
        ),
        door(
            post.clone(),
            "/v1/policies/replay",
            "/v1/policies/replay",
            JSON,
            r#"{"policies": []}"#,
            [401, 200, 403, 200, 403],
        ),
        door(
            get.clone(),
            "/v1/policies/source",
            "/v1/policies/source",
            "",
            "",
            [401, 200, 200, 200, 403],
        ),
        door(
            get.clone(),
            "/v1/policies/{name}/revisions",
            "/v1/policies/guard/revisions",
            "",
            "",
            [401, 200, 200, 200, 403],
        ),
        door(
            get.clone(),
            "/v1/policies/{name}/revisions/{revision}",
            "/v1/policies/guard/revisions/1",
            "",
            "",
            [401, 200, 200, 200, 403],
        ),
        door(
            get.clone(),
            "/v1/policies/{name}/diff",
            "/v1/policies/guard/diff",
            "",
            "",
            [401, 200, 200, 200, 403],
        ),
        door(
            post.clone(),
            "/v1/policies/{name}/rollback",
            "/v1/policies/guard/rollback",
            JSON,
            r#"{"revision":1}"#,
            [401, 200, 200, 403, 403],
        ),
        door(
            get.clone(),
            "/v1/bundles/current",
            "/v1/bundles/current",
            "",
            "",
            [401, 200, 403, 200, 200],
        ),
        door(
            post.clone(),
            "/v3/discovery:extension_configs",
            "/v3/discovery:extension_configs",
            JSON,
            "{}",
            [401, 200, 403, 403, 200],
        ),
        door(
            post.clone(),
            "/v1/evidence",
            "/v1/evidence",
            NDJSON,
            "",
            [401, 200, 403, 403, 200],
        ),
        door(
            post.clone(),
            "/v1/evidence/intents",
            "/v1/evidence/intents",
            NDJSON,
            "",
            [401, 422, 403, 403, 422],
        ),
        door(
            post.clone(),
            "/v1/idempotency/claims",
            "/v1/idempotency/claims",
            JSON,
            &claim,
            [401, 200, 403, 403, 200],
        ),
        door(
            post.clone(),
            "/v1/idempotency/answers",
            "/v1/idempotency/answers",
            NDJSON,
            "",
            [401, 204, 403, 403, 204],
        ),
        door(
            get.clone(),
            "/v1/evidence",
            "/v1/evidence",
            "",
            "",
            [401, 200, 403, 200, 403],
        ),
        door(
            get.clone(),
            "/v1/evidence/{id}",
            unknown_record,
            "",
            "",
            [401, 404, 403, 404, 403],
        ),
        door(
            get.clone(),
            "/v1/evidence/schema",
            "/v1/evidence/schema",
            "",
            "",
            [401, 200, 200, 200, 200],
        ),
        door(
            get.clone(),
            "/v1/evidence/retentions",
            "/v1/evidence/retentions",
            "",
            "",
            [401, 200, 403, 200, 403],
        ),
        door(
            get.clone(),
            "/v1/evidence/gaps",
            "/v1/evidence/gaps",
            "",
            "",
            [401, 200, 403, 200, 403],
        ),
        door(
            get.clone(),
            "/v1/evidence/{id}/proof",
            unknown_proof,
            "",
            "",
            [401, 404, 403, 404, 403],
        ),
        door(
            get.clone(),
            "/v1/log/checkpoint",
            "/v1/log/checkpoint",
            "",
            "",
            [401, 404, 403, 404, 403],
        ),
        door(
            get.clone(),
            "/v1/log/tile/{*tile}",
            "/v1/log/tile/0/000",
            "",
            "",
            [401, 404, 403, 404, 403],
        ),
        door(
            get.clone(),
            "/v1/emitters",
            "/v1/emitters",
            "",
            "",
            [401, 200, 403, 200, 403],
        ),
        door(
            get.clone(),
            "/v1/evidence/{id}/personal",
            unknown_personal,
            "",
            "",
            [401, 404, 403, 404, 403],
        ),
        door(
            get.clone(),
            "/v1/evidence/erasures",
            "/v1/evidence/erasures",
            "",
            "",
            [401, 200, 403, 200, 403],
        ),
        door(
            post.clone(),
            "/v1/evidence/erasures",
            "/v1/evidence/erasures",
            JSON,
            r#"{"subject":"jwt:nobody","reason":"asked for"}"#,
            [401, 404, 403, 403, 403],
        ),
        door(
            get.clone(),
            "/v1/evidence/holds",
            "/v1/evidence/holds",
            "",
            "",
            [401, 200, 403, 200, 403],
        ),
        door(
            post.clone(),
            "/v1/evidence/holds",
            "/v1/evidence/holds",
            JSON,
            r#"{"subject":"jwt:nobody","reason":"case 9"}"#,
            [401, 201, 403, 403, 403],
        ),
        door(
            post.clone(),
            "/v1/evidence/holds/{id}/release",
            unknown_hold,
            JSON,
            "{}",
            [401, 404, 403, 403, 403],
        ),
        door(
            get.clone(),
            "/v1/tokens",
            "/v1/tokens",
            "",
            "",
            [401, 200, 403, 403, 403],
        ),
        door(
            post.clone(),
            "/v1/tokens",
            "/v1/tokens",
            JSON,
            r#"{"name":"x","role":"auditor"}"#,
            [401, 201, 403, 403, 403],
        ),
        door(
            delete.clone(),
            "/v1/tokens/{id}",
            unknown_token,
            "",
            "",
            [401, 404, 403, 403, 403],
        ),
        door(
            get.clone(),
            "/v1/instance",
            "/v1/instance",
            "",
            "",
            [401, 200, 403, 403, 403],
        ),
        // Allowed, but no Envoy is there to be told.
        door(
            post.clone(),
            "/v1/instance/drain",
            "/v1/instance/drain",
            "",
            "",
            [401, 503, 403, 403, 403],
        ),
        door(
            post.clone(),
            "/v1/instance/undrain",
            "/v1/instance/undrain",
            "",
            "",
            [401, 503, 403, 403, 403],
        ),
        door(
            get,
            "/v1/openapi.json",
            "/v1/openapi.json",
            "",
            "",
            [401, 200, 200, 200, 200],
        ),
        door(
            delete,
            name,
            "/v1/policies/absent",
            "",
            "",
            [401, 404, 404, 403, 403],
        ),
    ]
}

#[tokio::test]
async fn each_role_opens_its_doors_and_no_other() {
    let test = TestApp::start().await;
    test.put_policy("guard", &policy("guard", "gpt-4o"), &[])
        .await;
    for door in doors() {
        let askers = [None].into_iter().chain(Role::ALL.into_iter().map(Some));
        for (asker, expected) in askers.zip(door.statuses) {
            let content_type = format!("content-type: {}", door.content_type);
            let headers: &[&str] = match door.content_type {
                "" => &[],
                _ => &[&content_type],
            };
            let reply = test
                .send(
                    asker,
                    door.method.clone(),
                    door.uri,
                    headers,
                    door.body.clone(),
                )
                .await;
            let told = format!("{asker:?} {} {}: {}", door.method, door.uri, reply.text());
            assert_eq!(reply.status.as_u16(), expected, "{told}");
            if expected >= 400 {
                reply.problem();
            }
            assert_eq!(
                expected == 401,
                !reply.header("www-authenticate").is_empty(),
                "{told}"
            );
        }
    }
}

#[tokio::test]
async fn every_operation_is_in_the_table_or_is_open() {
    let test = TestApp::start().await;
    let api = test.get("/v1/openapi.json").await.json();
    let mut closed = BTreeSet::new();
    let mut open = BTreeSet::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let entry = format!("{} {path}", method.to_uppercase());
            match &operation["security"] {
                Value::Null => open.insert(entry),
                security => {
                    assert_eq!(security[0]["bearer"], serde_json::json!([]), "{entry}");
                    closed.insert(entry)
                }
            };
            let refused = &operation["responses"]["default"]["content"];
            assert!(refused["application/problem+json"].is_object(), "{path}");
        }
    }
    let tabled = doors()
        .into_iter()
        .map(|door| format!("{} {}", door.method, door.path));
    assert_eq!(closed, tabled.collect::<BTreeSet<_>>());
    let health = [
        "GET /health",
        "GET /health/deep",
        "GET /livez",
        "GET /readyz",
        // Whoever may submit signed what is submitted.
        "POST /v1/log/witness/add-checkpoint",
    ];
    assert_eq!(open, health.map(str::to_owned).into_iter().collect());
}
