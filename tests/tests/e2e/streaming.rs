//! A stream is passed on as it comes, and its record tells what it told.

use std::time::{Duration, Instant};

use jupiter_testkit::{Instance, Traffic};
use serde_json::{Value, json};

use crate::support::{
    REFUSED_MODEL, ask, ask_anthropic, assert_record, assert_refused, guarded, message,
    reached_provider, record_of, streamed,
};

/// The id and the body of a stream, and when each part of it arrived.
struct Seen {
    id: String,
    parts: Vec<(Duration, Vec<u8>)>,
    whole: bool,
}

impl Seen {
    fn body(&self) -> Vec<u8> {
        self.parts
            .iter()
            .flat_map(|(_, part)| part.clone())
            .collect()
    }
}

async fn watch(request: reqwest::RequestBuilder) -> Seen {
    let started = Instant::now();
    let mut response = request.send().await.expect("a response head");
    assert_eq!(response.status(), 200);
    let id = response.headers()["x-mercator-decision-id"]
        .to_str()
        .expect("text")
        .to_owned();
    let mut parts = Vec::new();
    let whole = loop {
        match response.chunk().await {
            Ok(Some(part)) => parts.push((started.elapsed(), part.to_vec())),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    Seen { id, parts, whole }
}

async fn record(instance: &Instance, id: &str) -> Value {
    instance.admin().wait_for_record(id).await
}

fn paced(traffic: &Traffic, chunks: u32, interval_ms: u32) -> reqwest::RequestBuilder {
    traffic
        .chat(&streamed("gpt-4o"))
        .header("x-fake-chunks", chunks)
        .header("x-fake-chunk-interval-ms", interval_ms)
}

#[tokio::test]
async fn chunks_arrive_while_the_provider_still_speaks() {
    let instance = guarded().await;
    let seen = watch(paced(&instance.traffic(), 6, 200)).await;
    assert!(seen.whole);
    let (first, last) = (seen.parts[0].0, seen.parts[seen.parts.len() - 1].0);
    // Role, six chunks, finish, usage, [DONE]: nine intervals of 200 ms.
    assert!(
        last - first > Duration::from_millis(1500),
        "arrived between {first:?} and {last:?}, so it was held back"
    );
    assert!(seen.parts.len() >= 9, "{} parts", seen.parts.len());
}

#[tokio::test]
async fn usage_of_the_last_chunk_is_in_the_record() {
    let instance = guarded().await;
    let traffic = instance.traffic();
    let seen = watch(traffic.chat(&streamed("gpt-4o"))).await;
    let body = String::from_utf8(seen.body()).expect("text");
    assert!(body.ends_with("data: [DONE]\n\n"));
    let usage = body
        .split("\n\n")
        .filter_map(|event| serde_json::from_str::<Value>(event.strip_prefix("data: ")?).ok())
        .map(|event| event["usage"].clone())
        .find(Value::is_object)
        .expect("usage in the stream");
    assert_record(
        &record(&instance, &seen.id).await,
        &json!({
            "decision": "allow",
            "outcome": "completed",
            "stream": true,
            "response_inspection": "inspected",
            "gen_ai.response.model": "gpt-4o-2024-08-06",
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.usage.input_tokens": usage["prompt_tokens"],
            "gen_ai.usage.output_tokens": usage["completion_tokens"],
            "response_bytes": body.len(),
        }),
    );
}

#[tokio::test]
async fn stream_that_tells_no_usage_is_recorded_with_an_estimate() {
    let instance = guarded().await;
    let mut body = streamed("gpt-4o");
    body["stream_options"] = Value::Null;
    let answer = ask(&instance, &body).await;
    assert_record(
        &record_of(&instance, &answer).await,
        &json!({
            "outcome": "completed",
            "stream": true,
            "response_inspection": "inspected",
            "usage_estimated": ["input_tokens", "output_tokens"],
        }),
    );
}

#[tokio::test]
async fn anthropic_stream_is_recorded_with_its_usage() {
    let instance = guarded().await;
    let whole = ask_anthropic(&instance, &message("claude-sonnet-5")).await;
    let mut body = message("claude-sonnet-5");
    body["stream"] = json!(true);
    let answer = ask_anthropic(&instance, &body).await;
    assert!(answer.text().contains("event: message_stop"));
    let usage = &whole.json()["usage"];
    assert_record(
        &record_of(&instance, &answer).await,
        &json!({
            "outcome": "completed",
            "stream": true,
            "response_inspection": "inspected",
            "gen_ai.provider.name": "anthropic",
            "gen_ai.response.finish_reasons": ["end_turn"],
            "gen_ai.usage.input_tokens": usage["input_tokens"],
            "gen_ai.usage.output_tokens": usage["output_tokens"],
        }),
    );
}

#[tokio::test]
async fn refused_stream_is_a_plain_refusal() {
    let instance = guarded().await;
    let answer = ask(&instance, &streamed(REFUSED_MODEL)).await;
    assert_refused(&answer);
    assert_record(
        &record_of(&instance, &answer).await,
        &json!({"decision": "deny", "outcome": "refused", "stream": true}),
    );
    assert_eq!(reached_provider(&instance), 0);
}

#[tokio::test]
async fn long_stream_arrives_byte_for_byte() {
    let instance = guarded().await;
    let script = |request: reqwest::RequestBuilder| request.header("x-fake-chunks", 5_000);
    let traffic = instance.traffic();
    let through = watch(script(traffic.chat(&streamed("gpt-4o")))).await;
    assert!(through.whole);

    let url = format!("{}/chat/completions", instance.provider().openai_base_url());
    let direct = reqwest::Client::new()
        .post(url)
        .bearer_auth("sk-test")
        .body(streamed("gpt-4o").to_string());
    let direct = script(direct).send().await.expect("an answer");
    let direct = direct.bytes().await.expect("a whole answer");
    let created = |bytes: &[u8]| {
        // The one thing that differs between two answers is the second they were given.
        let text = String::from_utf8_lossy(bytes).into_owned();
        let events: Vec<String> = text
            .split("\n\n")
            .map(
                |event| match serde_json::from_str::<Value>(event.trim_start_matches("data: ")) {
                    Ok(mut event) => {
                        event["created"] = Value::Null;
                        event.to_string()
                    }
                    Err(_) => event.to_owned(),
                },
            )
            .collect();
        events
    };
    assert!(
        created(&through.body()) == created(&direct),
        "the stream arrived changed"
    );
    assert_record(
        &record(&instance, &through.id).await,
        &json!({"outcome": "completed", "response_inspection": "inspected"}),
    );
}

#[tokio::test]
async fn stream_that_the_provider_cuts_ends_in_an_error() {
    let instance = guarded().await;
    let traffic = instance.traffic();
    for how in ["reset", "close"] {
        let request = paced(&traffic, 10, 20)
            .header("x-fake-cut-after", 4)
            .header("x-fake-cut-how", how);
        let seen = watch(request).await;
        assert!(
            !seen.whole,
            "a cut stream ended as if it were whole ({how})"
        );
        assert_record(
            &record(&instance, &seen.id).await,
            &json!({
                "decision": "allow",
                "outcome": "provider_reset",
                "stream": true,
                "http.response.status_code": 200,
            }),
        );
    }
}

#[tokio::test]
async fn client_that_leaves_a_stream_is_recorded_as_such() {
    let instance = guarded().await;
    let request = paced(&instance.traffic(), 500, 100);
    let mut response = request.send().await.expect("a response head");
    let id = response.headers()["x-mercator-decision-id"]
        .to_str()
        .expect("text")
        .to_owned();
    assert!(response.chunk().await.expect("a chunk").is_some());
    drop(response);
    assert_record(
        &record(&instance, &id).await,
        &json!({
            "decision": "allow", "outcome": "client_aborted", "stream": true,
            "response_inspection": "unscanned", "response_unscanned_reason": "cut",
        }),
    );
}
