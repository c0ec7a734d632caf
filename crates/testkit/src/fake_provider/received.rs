//! Remembers what reached the provider, byte for byte.
//!
//! Bounded, because the program form runs for as long as somebody tries things
//! out: the oldest requests are forgotten first. Far above what a test makes.

use std::collections::VecDeque;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::HeaderMap;
use serde_json::{Value, json};

const MAX_REQUESTS: usize = 50_000;
const MAX_BODY_BYTES: usize = 256 * 1024 * 1024;

/// One request as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedRequest {
    pub method: String,
    /// Path and query.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl ReceivedRequest {
    /// A header's first value, when it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The path without its query.
    pub fn route(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    pub(super) fn to_json(&self) -> Value {
        let headers: Vec<Value> = self
            .headers
            .iter()
            .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
            .collect();
        json!({
            "method": self.method,
            "path": self.path,
            "headers": headers,
            "body": std::str::from_utf8(&self.body).ok(),
            "body_base64": STANDARD.encode(&self.body),
        })
    }
}

#[derive(Debug, Default)]
pub(super) struct ReceivedLog {
    requests: VecDeque<ReceivedRequest>,
    body_bytes: usize,
}

impl ReceivedLog {
    pub(super) fn push(&mut self, request: ReceivedRequest) {
        self.body_bytes += request.body.len();
        self.requests.push_back(request);
        while self.requests.len() > MAX_REQUESTS || self.body_bytes > MAX_BODY_BYTES {
            let Some(oldest) = self.requests.pop_front() else {
                break;
            };
            self.body_bytes -= oldest.body.len();
        }
    }

    pub(super) fn all(&self) -> Vec<ReceivedRequest> {
        self.requests.iter().cloned().collect()
    }

    pub(super) fn clear(&mut self) {
        self.requests.clear();
        self.body_bytes = 0;
    }
}
