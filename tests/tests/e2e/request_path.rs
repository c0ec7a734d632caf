//! A request is judged before the provider sees it; what is let through arrives
//! as it was sent, and every exchange leaves its record.

use std::time::Duration;

use jupiter_testkit::Instance;
use jupiter_testkit::wait;
use reqwest::Method;
use serde_json::json;

use crate::support::{
    GUARD, REFUSED_MODEL, ask, ask_anthropic, assert_record, assert_refused, guarded, message,
    question, reached_provider, record_of,
};

#[tokio::test]
async fn allowed_request_reaches_the_provider_byte_for_byte() {
    let instance = guarded().await;
    let traffic = instance.traffic();
    // Order, spacing, escapes and unknown keys are the client's own business.
    let body = "{ \"messages\":[ {\"content\":\"What is the capital of \\u0046rance? \u{1f5fc}\",\
                \"role\":\"user\"}],\n\t\"model\" : \"gpt-4o\", \"later\": {\"k\": [1.50, -0]} }";
    let request = traffic
        .request(Method::POST, "/v1/chat/completions?trace=a%20b")
        .bearer_auth("sk-test")
        .header("content-type", "application/json")
        .header("openai-organization", "org-test")
        .body(body);
    let answer = traffic.complete(request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());

    let received = instance.provider().received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].method, "POST");
    assert_eq!(received[0].path, "/v1/chat/completions?trace=a%20b");
    assert_eq!(received[0].body, body);
    let length = body.len().to_string();
    assert_eq!(received[0].header("content-length"), Some(length.as_str()));
    assert_eq!(received[0].header("authorization"), Some("Bearer sk-test"));
    assert_eq!(received[0].header("openai-organization"), Some("org-test"));

    let told = answer.json();
    let record = record_of(&instance, &answer).await;
    assert_record(
        &record,
        &json!({
            "v": 1,
            "id": answer.decision_id(),
            "region": "local",
            "decision": "allow",
            "outcome": "completed",
            "policy": {"digest": instance.digest_in_force().await.expect("a digest")},
            "request_inspection": "inspected",
            "response_inspection": "inspected",
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.response.model": told["model"],
            "gen_ai.response.id": told["id"],
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.usage.input_tokens": told["usage"]["prompt_tokens"],
            "gen_ai.usage.output_tokens": told["usage"]["completion_tokens"],
            "stream": false,
            "http.request.method": "POST",
            "url.path": "/v1/chat/completions",
            "http.response.status_code": 200,
            "request_bytes": body.len(),
            "response_bytes": answer.body.len(),
        }),
    );
    let subject = record["subject"].as_str().expect("a subject");
    assert_eq!(subject.len(), "key:".len() + 16);
    assert_eq!(record["emitter"]["id"], "jupiter-test");
    assert!(record["duration_us"].as_u64() > Some(0));
}

#[tokio::test]
async fn clients_own_request_id_is_kept() {
    let instance = guarded().await;
    let traffic = instance.traffic();
    let request = traffic
        .chat(&question("gpt-4o"))
        .header("x-request-id", "checkout-4711");
    let answer = traffic.complete(request).await;
    let received = instance.provider().received();
    assert_eq!(received[0].header("x-request-id"), Some("checkout-4711"));
    assert_record(
        &record_of(&instance, &answer).await,
        &json!({"request_id": "checkout-4711"}),
    );
}

#[tokio::test]
async fn refused_request_never_reaches_the_provider() {
    let instance = guarded().await;
    let answer = ask(&instance, &question(REFUSED_MODEL)).await;
    assert_refused(&answer);
    let message = &answer.json()["error"]["message"];
    assert_eq!(message, "gpt-4-turbo is not approved");

    assert_record(
        &record_of(&instance, &answer).await,
        &json!({
            "decision": "deny",
            "reason": "model_not_approved",
            "outcome": "refused",
            "matched_rules": [{"policy": "guard", "rule": "approved-models", "effect": "deny"}],
            "request_inspection": "inspected",
            "response_inspection": "none",
            "gen_ai.request.model": REFUSED_MODEL,
            "http.response.status_code": 403,
        }),
    );
    assert_eq!(reached_provider(&instance), 0);
}

#[tokio::test]
async fn refusal_speaks_the_clients_dialect() {
    let instance = guarded().await;
    let answer = ask_anthropic(&instance, &message("claude-opus-5")).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["type"], "error");
    assert_eq!(body["error"]["type"], "permission_error");
    assert_eq!(body["error"]["code"], "model_not_approved");
    assert_eq!(body["error"]["decision_id"], json!(answer.decision_id()));
    assert!(body["request_id"].is_string());
    assert_record(
        &record_of(&instance, &answer).await,
        &json!({"decision": "deny", "gen_ai.provider.name": "anthropic"}),
    );
    assert_eq!(reached_provider(&instance), 0);
}

#[tokio::test]
async fn anthropic_request_is_allowed_and_recorded() {
    let instance = guarded().await;
    let answer = ask_anthropic(&instance, &message("claude-sonnet-5")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.json();
    assert_record(
        &record_of(&instance, &answer).await,
        &json!({
            "decision": "allow",
            "outcome": "completed",
            "gen_ai.provider.name": "anthropic",
            "gen_ai.response.model": "claude-sonnet-5",
            "gen_ai.usage.input_tokens": told["usage"]["input_tokens"],
            "gen_ai.usage.output_tokens": told["usage"]["output_tokens"],
        }),
    );
    let received = instance.provider().received();
    assert_eq!(received[0].path, "/v1/messages");
    assert_eq!(received[0].header("x-api-key"), Some("sk-ant-test"));
}

#[tokio::test]
async fn matching_rules_are_recorded_for_what_they_did() {
    let instance = guarded().await;
    let answer = ask(&instance, &question("gpt-4o-mini")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let record = record_of(&instance, &answer).await;
    let rules = record["matched_rules"].as_array().expect("matched rules");
    assert!(!rules.is_empty(), "{record:#}");
    for rule in rules {
        assert_eq!(rule["rule"], "noted-models", "{record:#}");
    }
}

#[tokio::test]
async fn provider_error_passes_unchanged_and_is_recorded() {
    let instance = guarded().await;
    let traffic = instance.traffic();
    for status in [429, 500] {
        let request = traffic
            .chat(&question("gpt-4o"))
            .header("x-fake-status", status);
        let answer = traffic.complete(request).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.json()["error"]["message"].is_string());
        assert_record(
            &record_of(&instance, &answer).await,
            &json!({
                "decision": "allow",
                "outcome": "provider_error",
                "http.response.status_code": status,
            }),
        );
    }
    // Asked once each: a model is not asked again behind its client's back.
    assert_eq!(reached_provider(&instance), 2);
}

#[tokio::test]
async fn provider_that_hangs_up_is_an_honest_error() {
    let instance = guarded().await;
    let traffic = instance.traffic();
    let request = traffic
        .chat(&question("gpt-4o"))
        .header("x-fake-cut-after", 0);
    let answer = traffic.complete(request).await;
    assert!([502, 503].contains(&answer.status), "{}", answer.text());
    assert_record(
        &record_of(&instance, &answer).await,
        &json!({"decision": "allow", "outcome": "provider_reset"}),
    );
}

#[tokio::test]
async fn answer_cut_amid_its_body_is_not_taken_for_whole() {
    let instance = guarded().await;
    let traffic = instance.traffic();
    let request = traffic
        .chat(&question("gpt-4o"))
        .header("x-fake-cut-after", 2);
    let response = request.send().await.expect("a response head");
    assert_eq!(response.status(), 200);
    let id = response.headers()["x-mercator-decision-id"].clone();
    assert!(response.bytes().await.is_err());
    let record = instance
        .admin()
        .wait_for_record(id.to_str().expect("text"))
        .await;
    assert_record(&record, &json!({"outcome": "provider_reset"}));
}

#[tokio::test]
async fn unknown_api_is_refused_by_default() {
    let instance = guarded().await;
    let traffic = instance.traffic();
    for path in ["/v1/files", "/v1/chat/completions/", "/", "/elsewhere"] {
        let request = traffic
            .request(Method::POST, path)
            .bearer_auth("sk-test")
            .body(question("gpt-4o").to_string());
        let answer = traffic.complete(request).await;
        assert_eq!(answer.status, 403, "{path}: {}", answer.text());
        assert_eq!(answer.json()["error"]["code"], "unknown_api");
        assert_record(
            &record_of(&instance, &answer).await,
            &json!({
                "decision": "deny",
                "reason": "unknown_api",
                "outcome": "refused",
                "request_inspection": "unscanned",
                "url.path": path,
            }),
        );
    }
    assert_eq!(reached_provider(&instance), 0);
}

#[tokio::test]
async fn unknown_api_passes_where_configured_and_is_recorded_unscanned() {
    let instance = Instance::builder()
        .policy("guard", GUARD)
        .inspection("unknown_api: allow")
        .start()
        .await;
    let traffic = instance.traffic();
    let request = traffic
        .request(Method::POST, "/v1/files")
        .bearer_auth("sk-test")
        .body("anything");
    let answer = traffic.complete(request).await;
    // The provider's own word on it.
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert_eq!(instance.provider().received()[0].body, "anything");
    assert_record(
        &record_of(&instance, &answer).await,
        &json!({
            "decision": "allow",
            "outcome": "provider_error",
            "request_inspection": "unscanned",
        }),
    );
}

#[tokio::test]
async fn providers_see_the_instances_keys_and_logs_see_none() {
    let instance = Instance::builder()
        .policy("guard", GUARD)
        .provider_keys("sk-of-the-instance", "sk-ant-of-the-instance")
        .start()
        .await;
    let openai = ask(&instance, &question("gpt-4o")).await;
    assert_eq!(openai.status, 200, "{}", openai.text());
    let anthropic = ask_anthropic(&instance, &message("claude-sonnet-5")).await;
    assert_eq!(anthropic.status, 200, "{}", anthropic.text());
    let refused = ask(&instance, &question(REFUSED_MODEL)).await;
    assert_refused(&refused);

    let received = instance.provider().received();
    assert_eq!(
        received[0].header("authorization"),
        Some("Bearer sk-of-the-instance")
    );
    assert_eq!(
        received[1].header("x-api-key"),
        Some("sk-ant-of-the-instance")
    );
    for answer in [&openai, &anthropic, &refused] {
        record_of(&instance, answer).await;
    }
    wait::until("the access log", async || {
        let lines = instance.access_log().len();
        if lines >= 3 { Ok(()) } else { Err(lines) }
    })
    .await;
    let logs = instance.all_logs();
    for secret in [
        "sk-of-the-instance",
        "sk-ant-of-the-instance",
        "sk-test",
        "sk-ant-test",
        "capital of France",
    ] {
        assert!(!logs.contains(secret), "`{secret}` stands in a log");
    }
}

#[tokio::test]
async fn each_providers_key_goes_to_that_provider_alone() {
    let instance = Instance::builder()
        .policy("guard", GUARD)
        .provider_keys("sk-of-the-instance", "sk-ant-of-the-instance")
        .start()
        .await;
    // Both serve this path; only Anthropic's clients name a version.
    let traffic = instance.traffic();
    let models = || traffic.request(Method::GET, "/v1/models");
    let openai = traffic.complete(models().bearer_auth("sk-test")).await;
    assert_eq!(openai.json()["object"], "list");
    let anthropic = models()
        .header("x-api-key", "sk-ant-test")
        .header("anthropic-version", "2023-06-01");
    let anthropic = traffic.complete(anthropic).await;
    assert_eq!(anthropic.json()["has_more"], false, "{}", anthropic.text());

    let received = instance.provider().received();
    let keys = |index: usize| {
        let request = &received[index];
        (request.header("authorization"), request.header("x-api-key"))
    };
    assert_eq!(keys(0), (Some("Bearer sk-of-the-instance"), None));
    assert_eq!(keys(1), (None, Some("sk-ant-of-the-instance")));
}

#[tokio::test]
async fn answer_encoded_against_our_wish_passes_and_is_recorded_unscanned() {
    let instance = guarded().await;
    let traffic = instance.traffic();
    let request = traffic
        .chat(&question("gpt-4o"))
        .header("accept-encoding", "gzip")
        .header("x-fake-content-encoding", "gzip");
    let answer = traffic.complete(request).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    let received = instance.provider().received();
    assert_eq!(received[0].header("accept-encoding"), Some("identity"));
    assert_record(
        &record_of(&instance, &answer).await,
        &json!({"outcome": "completed", "response_inspection": "unscanned"}),
    );
}

#[tokio::test]
async fn client_that_leaves_is_recorded_as_such() {
    let instance = guarded().await;
    let traffic = instance.traffic();
    let request = traffic
        .chat(&question("gpt-4o"))
        .header("x-fake-never", "true")
        .timeout(Duration::from_millis(500));
    assert!(traffic.try_complete(request).await.is_err());
    let records = instance.admin().wait_for_records("", 1).await;
    assert_record(
        &records[0],
        &json!({"decision": "allow", "outcome": "client_aborted"}),
    );
}

#[tokio::test]
async fn without_a_policy_everything_is_refused() {
    let instance = Instance::builder().start().await;
    let answer = ask(&instance, &question("gpt-4o")).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.json()["error"]["code"], "no_policy_bundle");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(instance.traffic().get("/health").await.status, 503);
    assert_eq!(reached_provider(&instance), 0);
}
