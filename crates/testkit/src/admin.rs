//! Speaks to the control plane's REST API with one token.

use std::collections::VecDeque;

use reqwest::Method;
use serde_json::Value;

use crate::wait::{self, OrFail, fail};

/// The admin API as the bearer of one token sees it.
#[derive(Debug, Clone)]
pub struct Admin {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
    if_match: Option<String>,
}

/// What the API answered.
#[derive(Debug, Clone)]
pub struct AdminReply {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl AdminReply {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| {
            fail(&format!(
                "not JSON, status {}: {}",
                self.status,
                String::from_utf8_lossy(&self.body)
            ))
        })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        if self.status != status {
            fail(&format!(
                "the admin API answered {} where {status} was due: {}",
                self.status,
                String::from_utf8_lossy(&self.body)
            ));
        }
        self
    }
}

impl AdminReply {
    /// Any 2xx.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        if !(200..300).contains(&self.status) {
            fail(&format!(
                "the admin API answered {}: {}",
                self.status,
                String::from_utf8_lossy(&self.body)
            ));
        }
        self
    }
}

impl Admin {
    pub(crate) fn new(http: reqwest::Client, port: u16, token: Option<String>) -> Self {
        Self {
            http,
            base: format!("http://127.0.0.1:{port}"),
            token,
            if_match: None,
        }
    }

    /// The same API for one who changes only what has this ETag.
    pub fn if_match(&self, etag: &str) -> Self {
        Self {
            if_match: Some(etag.to_owned()),
            ..self.clone()
        }
    }

    /// The same API with another token, or none.
    pub fn with_token(&self, token: Option<&str>) -> Self {
        Self {
            token: token.map(str::to_owned),
            ..self.clone()
        }
    }

    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    pub fn base_url(&self) -> &str {
        &self.base
    }

    pub async fn get(&self, path: &str) -> AdminReply {
        self.send(Method::GET, path, "", Vec::new()).await
    }

    pub async fn delete(&self, path: &str) -> AdminReply {
        self.send(Method::DELETE, path, "", Vec::new()).await
    }

    pub async fn post_json(&self, path: &str, body: &Value) -> AdminReply {
        let body = body.to_string().into_bytes();
        self.send(Method::POST, path, "application/json", body)
            .await
    }

    pub async fn put_policy(&self, name: &str, text: &str) -> AdminReply {
        let path = format!("/v1/policies/{name}");
        let body = text.as_bytes().to_vec();
        self.send(Method::PUT, &path, "application/yaml", body)
            .await
    }

    /// One request; fails the test only when there was no answer.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> AdminReply {
        self.try_send(method, path, content_type, body)
            .await
            .or_fail(&format!("no answer from the admin API to {path}"))
    }

    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<AdminReply, reqwest::Error> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(etag) = &self.if_match {
            request = request.header("if-match", etag);
        }
        if !content_type.is_empty() {
            request = request.header("content-type", content_type).body(body);
        }
        let response = request.send().await?;
        Ok(AdminReply {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await?.to_vec(),
        })
    }

    /// Of all emitters together: how many records their sequences hold, how many they lack.
    pub async fn emitter_totals(&self) -> (u64, u64) {
        let answer = self.get("/v1/emitters").await.expect(200).json();
        let emitters = answer.get("emitters").and_then(Value::as_array);
        let emitters = emitters.or_fail("no `emitters` in the answer");
        let sum = |key: &str| emitters.iter().filter_map(|it| it.get(key)?.as_u64()).sum();
        (sum("records"), sum("missing"))
    }

    /// Every record that matches `filters` (`model=gpt-4o&…`), page by page.
    pub async fn evidence(&self, filters: &str) -> Vec<Value> {
        match self.try_evidence(filters).await {
            Ok(records) => records,
            Err(AdminReply { status, body, .. }) => fail(&format!(
                "the admin API answered {status} where records were due: {}",
                String::from_utf8_lossy(&body)
            )),
        }
    }

    /// The same where the database may be away: the answer that was no page.
    pub async fn try_evidence(&self, filters: &str) -> Result<Vec<Value>, AdminReply> {
        let mut records = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/v1/evidence?limit=500&{filters}{cursor}");
            let reply = self.get(&path).await;
            if reply.status != 200 {
                return Err(reply);
            }
            let page = reply.json();
            let page_records = page.get("records").and_then(Value::as_array);
            let page_records = page_records.or_fail("no `records` in a page of evidence");
            let subjects = page.get("subjects").and_then(Value::as_array);
            let subjects = subjects.or_fail("no `subjects` in a page of evidence");
            for (record, subject) in page_records.iter().zip(subjects) {
                records.push(with_subject(record.clone(), subject));
            }
            match page.get("next_cursor").and_then(Value::as_str) {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(records),
            }
        }
    }

    /// The record of one exchange, once it has arrived, and its subject as if it was
    /// another field of it.
    pub async fn wait_for_record(&self, id: &str) -> Value {
        let what = format!("the record of exchange {id}");
        let record = wait::until(&what, async || {
            let reply = self.get(&format!("/v1/evidence/{id}")).await;
            match reply.status {
                200 => Ok(reply.json()),
                status => Err(status),
            }
        })
        .await;
        let personal = self.get(&format!("/v1/evidence/{id}/personal")).await;
        let personal = personal.expect(200).json();
        with_subject(record, personal.get("subject").unwrap_or(&Value::Null))
    }

    /// All records that match, once there are `count` or more of them.
    pub async fn wait_for_records(&self, filters: &str, count: usize) -> Vec<Value> {
        let what = format!("{count} records of `{filters}`");
        wait::until(&what, async || {
            let records = self.evidence(filters).await;
            if records.len() >= count {
                return Ok(records);
            }
            let mut latest: VecDeque<Value> = records.into();
            latest.truncate(3);
            Err(latest)
        })
        .await
    }
}

/// The record and, where it is known, whom it is of.
fn with_subject(mut record: Value, subject: &Value) -> Value {
    if let (Value::Object(fields), Some(name)) = (&mut record, subject.get("name"))
        && !name.is_null()
    {
        fields.insert("subject".to_owned(), name.clone());
    }
    record
}
