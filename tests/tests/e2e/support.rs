//! Words that the tests share.

use jupiter_testkit::{Answer, Instance};
use serde_json::{Value, json};

/// Refuses `gpt-4-turbo…` and `claude-opus…` with `model_not_approved`.
pub(crate) const GUARD: &str = include_str!("policies/guard.yaml");

/// A model that [`GUARD`] refuses.
pub(crate) const REFUSED_MODEL: &str = "gpt-4-turbo";

/// An instance guarded by [`GUARD`].
pub(crate) async fn guarded() -> Instance {
    Instance::builder().policy("guard", GUARD).start().await
}

/// A chat completion request, six words long.
pub(crate) fn question(model: &str) -> Value {
    json!({"model": model, "messages": [
        {"role": "user", "content": "What is the capital of France?"},
    ]})
}

/// The same as a stream that tells its usage.
pub(crate) fn streamed(model: &str) -> Value {
    let mut body = question(model);
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    body
}

/// An Anthropic request, six words long.
pub(crate) fn message(model: &str) -> Value {
    let mut body = question(model);
    body["max_tokens"] = json!(100);
    body
}

/// Send an Anthropic request as its own clients do.
pub(crate) async fn ask_anthropic(instance: &Instance, body: &Value) -> Answer {
    let traffic = instance.traffic();
    let request = traffic
        .request(reqwest::Method::POST, "/v1/messages")
        .header("x-api-key", "sk-ant-test")
        .header("anthropic-version", "2023-06-01")
        .header("content-type", "application/json")
        .body(body.to_string());
    traffic.complete(request).await
}

/// Send a chat completion request.
pub(crate) async fn ask(instance: &Instance, body: &Value) -> Answer {
    let traffic = instance.traffic();
    traffic.complete(traffic.chat(body)).await
}

/// The record of the exchange that `answer` belongs to.
pub(crate) async fn record_of(instance: &Instance, answer: &Answer) -> Value {
    instance
        .admin()
        .wait_for_record(&answer.decision_id())
        .await
}

/// How many requests to models reached the provider.
pub(crate) fn reached_provider(instance: &Instance) -> usize {
    instance.provider().received().len()
}

/// Assert what a record says, key by key; the record is shown on failure.
#[track_caller]
pub(crate) fn assert_record(record: &Value, expected: &Value) {
    for (key, value) in expected.as_object().expect("an object of expectations") {
        let found = record.get(key).unwrap_or(&Value::Null);
        assert_eq!(found, value, "`{key}` in {record:#}");
    }
}

/// Assert that an answer is the refusal of [`GUARD`], in OpenAI's words.
#[track_caller]
pub(crate) fn assert_refused(answer: &Answer) {
    assert_eq!(answer.status, 403, "{}", answer.text());
    let error = &answer.json()["error"];
    assert_eq!(error["type"], "policy_violation");
    assert_eq!(error["code"], "model_not_approved");
    assert_eq!(error["param"], Value::Null);
    assert_eq!(error["decision_id"], json!(answer.decision_id()));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-should-retry"), Some("false"));
}
