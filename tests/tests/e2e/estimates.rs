//! Policies refuse on what a request will take, and the record tells what it took.

use jupiter_testkit::Instance;
use serde_json::json;

use crate::support::{ask, assert_record, question, reached_provider, record_of};

const LIMITS: &str = r#"
mpl_version: "1.0"
name: limits
version: "1.0.0"
rules:
  - name: too-many-tokens
    conditions:
      - {field: processing.token_estimate.prompt_tokens, operator: ">", value: 200}
    actions:
      - {type: deny, code: too_many_tokens, message: "{{ processing.token_estimate.prompt_tokens }} tokens"}
  - name: too-dear
    conditions:
      - {field: processing.cost_estimate.total_cost, operator: ">", value: 0.5}
    actions:
      - {type: deny, code: too_dear, message: That would cost too much.}
"#;

async fn limited() -> Instance {
    Instance::builder()
        .policy("limits", LIMITS)
        .price("{model: gpt-4o-dear, input: \"10\", output: \"1000\"}")
        .start()
        .await
}

#[tokio::test]
async fn request_of_too_many_tokens_is_refused() {
    let instance = limited().await;
    // " word" is one token; around it stand those of the message.
    for (words, status) in [(150, 200), (250, 403)] {
        let mut body = question("gpt-4o");
        body["messages"][0]["content"] = json!(" word".repeat(words));
        let answer = ask(&instance, &body).await;
        assert_eq!(answer.status, status, "{words}: {}", answer.text());
        if status == 403 {
            let error = answer.json()["error"].clone();
            assert_eq!(error["code"], "too_many_tokens");
            assert_eq!(error["message"], "257 tokens");
        }
    }
    assert_eq!(reached_provider(&instance), 1);
}

#[tokio::test]
async fn request_that_may_cost_too_much_is_refused() {
    let instance = limited().await;
    for (model, max_tokens, status) in [
        // A thousandth of a dollar for each token of the answer.
        ("gpt-4o-dear-one", 400, 200),
        ("gpt-4o-dear-one", 600, 403),
        ("gpt-4o", 600, 200),
        // No price: no cost to refuse on.
        ("gpt-of-ours", 600, 200),
    ] {
        let mut body = question(model);
        body["max_tokens"] = json!(max_tokens);
        let answer = ask(&instance, &body).await;
        assert_eq!(
            answer.status,
            status,
            "{model}, {max_tokens}: {}",
            answer.text()
        );
    }
    assert_eq!(reached_provider(&instance), 3);
}

#[tokio::test]
async fn record_tells_the_cost_of_the_reported_usage() {
    let instance = limited().await;
    for (model, input_nano, output_nano) in [
        ("gpt-4o", Some(2_500), Some(10_000)),
        ("gpt-4o-dear-one", Some(10_000), Some(1_000_000)),
        ("gpt-of-ours", None, None),
    ] {
        let mut body = question(model);
        body["max_tokens"] = json!(100);
        let answer = ask(&instance, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let record = record_of(&instance, &answer).await;
        let tokens = |key: &str| record[key].as_u64().expect("reported tokens");
        let (input, output) = (
            tokens("gen_ai.usage.input_tokens"),
            tokens("gen_ai.usage.output_tokens"),
        );
        let cost = input_nano
            .zip(output_nano)
            .map(|(in_nano, out_nano)| input * in_nano + output * out_nano);
        let currency = cost.map(|_| "USD");
        assert_record(&record, &json!({"cost_nano": cost, "currency": currency}));
    }
}
