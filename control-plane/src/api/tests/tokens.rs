//! Tokens over the API.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use crate::auth::Role;
use crate::store::faults::Fault;
use crate::testing::{Reply, TestApp};

async fn create(test: &TestApp, body: &str) -> Reply {
    let headers = ["content-type: application/json"];
    test.send(
        Some(Role::Admin),
        Method::POST,
        "/v1/tokens",
        &headers,
        body.to_owned(),
    )
    .await
}

async fn open(test: &TestApp, token: &str) -> u16 {
    let header = format!("authorization: Bearer {token}");
    let reply = test
        .send(None, Method::GET, "/v1/policies", &[&header], Body::empty())
        .await;
    reply.status.as_u16()
}

#[tokio::test]
async fn token_is_shown_once_and_opens_until_it_is_revoked() {
    let test = TestApp::start().await;
    let made = create(&test, r#"{"name":"ci","role":"author"}"#).await;
    assert_eq!(made.status.as_u16(), 201);
    let made = made.json();
    let token = made["token"].as_str().unwrap();
    assert_eq!(
        (&made["name"], &made["role"]),
        (&json!("ci"), &json!("author"))
    );
    assert_eq!(made["created_by"], "admin");
    assert_eq!(open(&test, token).await, 200);

    let listed = test.get("/v1/tokens").await;
    assert!(!listed.text().contains(token));
    let listed = listed.json();
    let known = listed["tokens"].as_array().unwrap();
    let entry = known
        .iter()
        .find(|entry| entry["id"] == made["id"])
        .unwrap();
    assert_eq!(entry.get("revoked_at"), None);

    let uri = format!("/v1/tokens/{}", made["id"].as_str().unwrap());
    for _ in 0..2 {
        let gone = test
            .send(Some(Role::Admin), Method::DELETE, &uri, &[], Body::empty())
            .await;
        assert_eq!((gone.status.as_u16(), gone.body.len()), (204, 0));
    }
    assert_eq!(open(&test, token).await, 401);
    let listed = test.get("/v1/tokens").await.json();
    let known = listed["tokens"].as_array().unwrap();
    let entry = known
        .iter()
        .find(|entry| entry["id"] == made["id"])
        .unwrap();
    assert_ne!(entry["revoked_at"], Value::Null);
}

#[tokio::test]
async fn token_requests_that_make_no_sense_are_refused() {
    let test = TestApp::start().await;
    let long = format!(r#"{{"name":"{}","role":"admin"}}"#, "x".repeat(65));
    for (body, status, code) in [
        ("", 400, "bad_json"),
        ("{", 400, "bad_json"),
        (r#"{"name":"ci"}"#, 400, "bad_json"),
        (r#"{"name":"ci","role":"admin","x":1}"#, 400, "bad_json"),
        (
            r#"{"name":" ","role":"admin"}"#,
            422,
            "invalid_token_request",
        ),
        (
            r#"{"name":"a\nb","role":"admin"}"#,
            422,
            "invalid_token_request",
        ),
        (
            r#"{"name":"ci","role":"root"}"#,
            422,
            "invalid_token_request",
        ),
        (&long, 422, "invalid_token_request"),
    ] {
        assert_eq!(
            create(&test, body).await.problem(),
            (status, code.to_owned()),
            "{body}"
        );
    }
    for id in ["x", "00000000-0000-7000-8000-000000000000"] {
        let uri = format!("/v1/tokens/{id}");
        let reply = test
            .send(Some(Role::Admin), Method::DELETE, &uri, &[], Body::empty())
            .await;
        assert_eq!(reply.problem(), (404, "unknown_token".to_owned()));
    }
}

/// A token whose text nobody got opens nothing for anyone.
#[tokio::test]
async fn faults_of_the_store_are_told() {
    let test = TestApp::start().await;
    for fault in [Fault::Before, Fault::After] {
        test.faults.set(Some(fault));
        let reply = create(&test, r#"{"name":"ci","role":"author"}"#).await;
        assert_eq!(reply.problem(), (503, "store_unavailable".to_owned()));
        let uri = "/v1/tokens/00000000-0000-7000-8000-000000000000";
        let reply = test
            .send(Some(Role::Admin), Method::DELETE, uri, &[], Body::empty())
            .await;
        assert_eq!(reply.problem(), (503, "store_unavailable".to_owned()));
        test.faults.set(None);
    }
}
