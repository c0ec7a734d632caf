//! The demo's calls, as any client would make them.

use crate::exit::{Failure, with_causes};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::Value;
use std::time::{Duration, Instant};

/// One call and what came of it.
#[derive(Debug)]
pub struct Exchange {
    pub sent: &'static str,
    pub status: u16,
    pub took: Duration,
    pub decision_id: Option<String>,
    /// The answer, or of a stream its last chunk with usage.
    pub answer: Value,
    /// The text of the answer, put together from the chunks of a stream.
    pub text: String,
    /// Chunks of a stream, and when the first came.
    pub stream: Option<Streamed>,
}

#[derive(Debug)]
pub struct Streamed {
    pub chunks: usize,
    pub first_after: Duration,
    /// Did it end as streams end?
    pub done: bool,
}

impl Exchange {
    /// The error's code, when the answer is an error.
    pub fn error_code(&self) -> Option<&str> {
        self.answer.pointer("/error/code").and_then(Value::as_str)
    }

    pub fn error_message(&self) -> Option<&str> {
        self.answer
            .pointer("/error/message")
            .and_then(Value::as_str)
    }

    /// Tokens of request and answer, as the provider counts them.
    pub fn usage(&self) -> Option<(u64, u64)> {
        let count = |name| self.answer.pointer(name).and_then(Value::as_u64);
        Some((
            count("/usage/prompt_tokens")?,
            count("/usage/completion_tokens")?,
        ))
    }
}

/// Posts `body` and reads the whole answer.
pub async fn call(
    http: &reqwest::Client,
    url: &str,
    body: &'static str,
) -> Result<Exchange, Failure> {
    let began = Instant::now();
    let response = post(http, url, body).await?;
    let status = response.status().as_u16();
    let decision_id = decision_id(response.headers());
    let bytes = response.bytes().await.map_err(|e| cut(e, url))?;
    let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let text = answer.pointer("/choices/0/message/content");
    Ok(Exchange {
        sent: body,
        status,
        took: began.elapsed(),
        decision_id,
        text: text.and_then(Value::as_str).unwrap_or_default().to_owned(),
        answer,
        stream: None,
    })
}

/// Posts `body` and reads the answer chunk by chunk.
pub async fn stream(
    http: &reqwest::Client,
    url: &str,
    body: &'static str,
) -> Result<Exchange, Failure> {
    let began = Instant::now();
    let mut response = post(http, url, body).await?;
    let mut exchange = Exchange {
        sent: body,
        status: response.status().as_u16(),
        took: Duration::ZERO,
        decision_id: decision_id(response.headers()),
        answer: Value::Null,
        text: String::new(),
        stream: None,
    };
    let mut streamed = Streamed {
        chunks: 0,
        first_after: Duration::ZERO,
        done: false,
    };
    let mut unread = Vec::new();
    while let Some(bytes) = response.chunk().await.map_err(|e| cut(e, url))? {
        unread.extend_from_slice(&bytes);
        while let Some(end) = unread.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            let Some(data) = line.trim_ascii().strip_prefix(b"data:") else {
                continue;
            };
            if streamed.chunks == 0 {
                streamed.first_after = began.elapsed();
            }
            take_event(data.trim_ascii(), &mut exchange, &mut streamed);
        }
    }
    exchange.took = began.elapsed();
    exchange.stream = Some(streamed);
    Ok(exchange)
}

fn take_event(data: &[u8], exchange: &mut Exchange, streamed: &mut Streamed) {
    if data == b"[DONE]" {
        streamed.done = true;
        return;
    }
    let Ok(chunk) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    streamed.chunks += 1;
    let text = chunk.pointer("/choices/0/delta/content");
    exchange.text += text.and_then(Value::as_str).unwrap_or_default();
    if chunk.get("usage").is_some_and(Value::is_object) {
        exchange.answer = chunk;
    }
}

async fn post(
    http: &reqwest::Client,
    url: &str,
    body: &'static str,
) -> Result<reqwest::Response, Failure> {
    let request = http
        .post(url)
        .bearer_auth(crate::quickstart::CLIENT_KEY)
        .header(CONTENT_TYPE, "application/json");
    request.body(body).send().await.map_err(|e| cut(e, url))
}

fn decision_id(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("x-mercator-decision-id")?;
    value.to_str().ok().map(str::to_owned)
}

fn cut(error: reqwest::Error, url: &str) -> Failure {
    Failure::new(format!(
        "no whole answer from {url}: {}",
        with_causes(&error.without_url())
    ))
}
