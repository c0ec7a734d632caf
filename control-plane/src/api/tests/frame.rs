//! What surrounds every request.

use axum::body::Body;
use axum::http::{Method, Request};
use axum::routing::get;
use axum::{Router, middleware};
use tower::ServiceExt;
use tower_http::catch_panic::CatchPanicLayer;

use crate::api::frame;
use crate::auth::Role;
use crate::testing::{TestApp, policy};

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let test = TestApp::start().await;
    for (method, uri, status, code) in [
        (Method::GET, "/", 404, "not_found"),
        (Method::GET, "/metrics", 404, "not_found"),
        (Method::GET, "/v1/policies/", 404, "not_found"),
        (Method::GET, "/v2/policies", 404, "not_found"),
        (Method::POST, "/v1/policies", 405, "method_not_allowed"),
        (
            Method::PATCH,
            "/v1/policies/guard",
            405,
            "method_not_allowed",
        ),
        (Method::GET, "/v1/policies/%ff", 400, "bad_request"),
    ] {
        let reply = test
            .send(Some(Role::Admin), method.clone(), uri, &[], Body::empty())
            .await;
        assert_eq!(reply.problem(), (status, code.to_owned()), "{method} {uri}");
        assert_eq!(
            status == 405,
            !reply.header("allow").is_empty(),
            "{method} {uri}"
        );
    }
}

#[tokio::test]
async fn parameters_nobody_reads_are_refused_everywhere_but_in_health() {
    let test = TestApp::start().await;
    for (uri, status) in [
        ("/v1/policies?x=1", 400),
        ("/v1/policies?", 200),
        ("/v1/tokens?limit=1", 400),
        ("/v1/evidence?%6cimit=1", 400),
        ("/v1/evidence?x", 400),
        ("/health?x=1", 200),
        ("/readyz?x=1", 200),
    ] {
        let reply = test.get(uri).await;
        assert_eq!(reply.status.as_u16(), status, "{uri} {}", reply.text());
    }
}

#[tokio::test]
async fn request_has_an_id_the_clients_own_if_it_is_one() {
    let test = TestApp::start().await;
    for (sent, kept) in [("abc-1.2_3", true), ("a b", false), ("<x>", false)] {
        let header = format!("x-request-id: {sent}");
        let reply = test
            .send(None, Method::GET, "/livez", &[&header], Body::empty())
            .await;
        assert_eq!(reply.header("x-request-id") == sent, kept, "{sent}");
        assert!(!reply.header("x-request-id").is_empty());
    }
}

#[tokio::test]
async fn panic_ends_its_own_request_only() {
    let test = TestApp::start().await;
    async fn broken() {
        panic!("with a secret");
    }
    let router = Router::new()
        .route("/broken", get(broken))
        .layer(CatchPanicLayer::custom(frame::panicked))
        .layer(middleware::from_fn_with_state(
            test.app.clone(),
            frame::frame,
        ));
    for _ in 0..2 {
        let request = Request::get("/broken").body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), 500);
        let body = axum::body::to_bytes(response.into_body(), 10_000)
            .await
            .unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(
            body.contains("\"internal\"") && !body.contains("secret"),
            "{body}"
        );
    }
}

#[tokio::test]
async fn requests_are_counted_by_route_and_class_never_by_what_they_name() {
    let test = TestApp::start().await;
    test.put_policy("guard", &policy("guard", "gpt-4o"), &[])
        .await;
    test.get("/v1/policies/guard").await;
    test.get("/v1/policies/secret-name").await;
    test.get("/v1/evidence?subject=key:0123456789abcdef").await;
    test.get("/nowhere/at/all").await;
    test.send(
        None,
        Method::from_bytes(b"BREW").unwrap(),
        "/livez",
        &[],
        Body::empty(),
    )
    .await;
    let text = test.metrics().await;
    for expected in [
        r#"mercator_http_requests_total{method="GET",route="/v1/policies/{name}",status_class="2xx"} 1"#,
        r#"mercator_http_requests_total{method="GET",route="/v1/policies/{name}",status_class="4xx"} 1"#,
        r#"mercator_http_requests_total{method="GET",route="unmatched",status_class="4xx"} 1"#,
        r#"mercator_http_requests_total{method="other",route="/livez",status_class="4xx"} 1"#,
        r#"mercator_http_request_duration_seconds_count{method="PUT",route="/v1/policies/{name}"} 1"#,
        "mercator_http_requests_in_flight 0",
        r#"mercator_publish_total{operation="put",result="published"} 1"#,
        "mercator_policies 1",
        r#"mercator_bundle_info{digest="sha256:"#,
        "mercator_bundle_published_timestamp_seconds 1795367405",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    for secret in ["secret-name", "0123456789abcdef", "nowhere", "BREW"] {
        assert!(!text.contains(secret), "{secret}");
    }
}
