//! Policies refuse on what a request will take, and the record tells what it took.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jupiter_testkit::{Instance, wait};
use serde_json::{Value, json};

use crate::support::{ask, assert_record, question, reached_provider, record_of};
use crate::wires::{ON_ANSWERS, WIRES, Wire};

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

/// An answer of forty words, a token each, that tells no usage.
fn without_usage(wire: Wire, stream: bool) -> String {
    let text = " word".repeat(40);
    let events = |events: Vec<Value>| -> String {
        events.iter().map(|it| format!("data: {it}\n\n")).collect()
    };
    let choice = |key: &str, said: Value| {
        json!({"id": "c", "model": "m", "choices": [
            {"index": 0, key: said, "finish_reason": "stop"}]})
    };
    match (wire, stream) {
        (Wire::Chat, false) => choice("message", json!({"content": text})).to_string(),
        (Wire::Chat, true) => {
            events(vec![choice("delta", json!({"content": text}))]) + "data: [DONE]\n\n"
        }
        (Wire::Completions, false) => choice("text", json!(text)).to_string(),
        (Wire::Completions, true) => events(vec![choice("text", json!(text))]) + "data: [DONE]\n\n",
        (Wire::Responses, stream) => {
            let response = json!({"id": "r", "object": "response", "status": "completed",
                "output": [{"type": "message", "content": [{"type": "output_text", "text": text}]}]});
            match stream {
                false => response.to_string(),
                // Told piece by piece, and again at the end.
                true => events(vec![
                    json!({"type": "response.output_text.delta", "output_index": 0,
                        "content_index": 0, "delta": text}),
                    json!({"type": "response.completed", "response": response}),
                ]),
            }
        }
        (Wire::Anthropic, false) => json!({"id": "m", "type": "message", "role": "assistant",
            "content": [{"type": "text", "text": text}], "stop_reason": "end_turn"})
        .to_string(),
        (Wire::Anthropic, true) => events(vec![
            json!({"type": "content_block_delta", "index": 0,
                "delta": {"type": "text_delta", "text": text}}),
            json!({"type": "message_stop"}),
        ]),
    }
}

#[tokio::test]
async fn usage_that_no_provider_reports_is_estimated_and_said_to_be() {
    for judged in [false, true] {
        let mut builder = Instance::builder()
            .policy("limits", LIMITS)
            .price("{model: gpt-4o-dear, input: \"10\", output: \"1000\"}")
            .price("{model: claude-ours, input: \"3\", output: \"15\"}");
        if judged {
            builder = builder.policy("on-answers", ON_ANSWERS);
        }
        let instance = builder.start().await;
        for (wire, stream) in WIRES.into_iter().flat_map(|it| [(it, false), (it, true)]) {
            let mut body = wire.body("anyone", &" word".repeat(30), stream);
            let (model, prices, extra) = match wire {
                Wire::Anthropic => ("claude-ours", (3_000, 15_000), 20),
                _ => ("gpt-4o-dear-one", (10_000, 1_000_000), 0),
            };
            body["model"] = json!(model);
            body[wire.limit()] = json!(100);
            let request = wire.request(&instance, &body).header(
                "x-fake-body-base64",
                STANDARD.encode(without_usage(wire, stream)),
            );
            let answer = instance.traffic().complete(request).await;
            let record = record_of(&instance, &answer).await;
            let what = format!("{wire:?}, stream {stream}, judged {judged}: {record:#}");
            let tokens = |key: &str| record[key].as_u64().expect(&what);
            let (input, output) = (
                tokens("gen_ai.usage.input_tokens"),
                tokens("gen_ai.usage.output_tokens"),
            );
            // The words, and what stands around them.
            assert!((30..60 + extra).contains(&input), "{what}");
            assert!((40..=40 + extra).contains(&output), "{what}");
            assert_record(
                &record,
                &json!({
                    "response_inspection": "inspected",
                    "usage_estimated": ["input_tokens", "output_tokens"],
                    "cost_nano": input * prices.0 + output * prices.1,
                    "currency": "USD",
                }),
            );
        }
        let reported = ask(&instance, &question("gpt-4o")).await;
        let record = record_of(&instance, &reported).await;
        assert_record(&record, &json!({"usage_estimated": null}));
        for (kind, least) in [("estimated", 8 * 40), ("reported", 1)] {
            let series =
                format!("mercator_tokens_total{{direction=\"response\",kind=\"{kind}\"}} ");
            wait::until(&format!("{series} to move"), async || {
                let reply = instance.metrics().get("/metrics").await.expect(200);
                let text = String::from_utf8(reply.body).expect("text");
                let sample = text.lines().find_map(|line| line.strip_prefix(&series));
                match sample.and_then(|value| value.parse::<f64>().ok()) {
                    Some(tokens) if tokens >= f64::from(least) => Ok(()),
                    other => Err(other),
                }
            })
            .await;
        }
    }
}

#[tokio::test]
async fn answer_that_its_client_leaves_costs_what_was_said_of_it() {
    let instance = limited().await;
    let mut body = question("gpt-4o-dear-one");
    body["stream"] = json!(true);
    body["max_tokens"] = json!(400);
    let request = instance
        .traffic()
        .chat(&body)
        .header("x-fake-chunks", 500)
        .header("x-fake-chunk-interval-ms", 20);
    let mut response = request.send().await.expect("a response head");
    let id = response.headers()["x-mercator-decision-id"]
        .to_str()
        .expect("text")
        .to_owned();
    let mut seen = String::new();
    while seen.matches("\"content\"").count() < 5 {
        let part = response.chunk().await.expect("a chunk").expect("more");
        seen.push_str(&String::from_utf8_lossy(&part));
    }
    drop(response);
    let record = instance.admin().wait_for_record(&id).await;
    assert_record(
        &record,
        &json!({
            "outcome": "client_aborted",
            "usage_estimated": ["input_tokens", "output_tokens"],
            "currency": "USD",
        }),
    );
    let said = record["gen_ai.usage.output_tokens"].as_u64();
    assert!(
        said.is_some_and(|said| (2..400).contains(&said)),
        "{record:#}"
    );
}
