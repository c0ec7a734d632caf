//! Speaks to Envoy as clients do: HTTP/1.1, HTTP/2 with trailers, raw bytes.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wait::{OrFail, fail};

/// A client of one instance's Envoy.
#[derive(Debug, Clone)]
pub struct Traffic {
    http: reqwest::Client,
    port: u16,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    async fn read(response: reqwest::Response) -> Result<Self, reqwest::Error> {
        Ok(Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await?,
        })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| {
            fail(&format!(
                "not JSON, status {}: {}",
                self.status,
                self.text()
            ))
        })
    }

    /// The id under which the exchange's record is found.
    #[track_caller]
    pub fn decision_id(&self) -> String {
        self.header("x-mercator-decision-id")
            .or_fail(&format!(
                "no x-mercator-decision-id on a {}: {}",
                self.status,
                self.text()
            ))
            .to_owned()
    }
}

/// An answer over HTTP/2.
#[derive(Debug, Clone)]
pub struct H2Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
    /// Empty where it had none.
    pub trailers: http::HeaderMap,
    /// It ended as an answer ends, and was not broken off.
    pub is_whole: bool,
}

impl Traffic {
    pub(crate) fn new(http: reqwest::Client, port: u16) -> Self {
        Self { http, port }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// A request to be completed and sent by the test.
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, self.url(path))
    }

    /// A chat completion request with an OpenAI key.
    pub fn chat(&self, body: &Value) -> reqwest::RequestBuilder {
        self.post("/v1/chat/completions", body)
    }

    /// A request with an OpenAI key to whichever of its paths.
    pub fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.request(reqwest::Method::POST, path)
            .bearer_auth("sk-test")
            .header("content-type", "application/json")
            .body(body.to_string())
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.complete(self.request(reqwest::Method::GET, path))
            .await
    }

    /// Send and read it all; fails the test only when there was no whole answer.
    pub async fn complete(&self, request: reqwest::RequestBuilder) -> Answer {
        self.try_complete(request)
            .await
            .or_fail("no whole answer from Envoy")
    }

    /// Send and read as far as it comes; a body that breaks off is what came of it.
    pub async fn complete_or_cut(&self, request: reqwest::RequestBuilder) -> Answer {
        let mut response = request.send().await.or_fail("no answer from Envoy");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        while let Ok(Some(part)) = response.chunk().await {
            body.extend_from_slice(&part);
        }
        Answer {
            status,
            headers,
            body: body.into(),
        }
    }

    pub async fn try_complete(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<Answer, reqwest::Error> {
        Answer::read(request.send().await?).await
    }

    /// Bytes as given, to what comes back before the connection ends or stays
    /// silent for `silence`.
    pub async fn raw(&self, request: &[u8], silence: Duration) -> Vec<u8> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port))
            .await
            .or_fail("cannot connect to Envoy");
        socket.write_all(request).await.or_fail("cannot write");
        let mut answer = Vec::new();
        while let Ok(Ok(read)) = tokio::time::timeout(silence, socket.read_buf(&mut answer)).await {
            if read == 0 {
                break;
            }
        }
        answer
    }

    /// A POST over HTTP/2 whose stream ends with `trailers` instead of data, to its whole answer.
    pub async fn h2_post_with_trailers(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        trailers: &[(&'static str, &'static str)],
    ) -> H2Answer {
        let answer = self.h2_post_or_cut(path, headers, body, trailers).await;
        match answer.is_whole {
            true => answer,
            false => fail("the HTTP/2 answer broke off"),
        }
    }

    /// The same, to its answer as far as it came.
    pub async fn h2_post_or_cut(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        trailers: &[(&'static str, &'static str)],
    ) -> H2Answer {
        let socket = TcpStream::connect(("127.0.0.1", self.port))
            .await
            .or_fail("cannot connect to Envoy");
        let (client, connection) = h2::client::handshake(socket)
            .await
            .or_fail("no HTTP/2 handshake");
        let connection = tokio::spawn(connection);
        let mut client = client.ready().await.or_fail("HTTP/2 is not ready");

        let mut request = http::Request::post(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).or_fail("a bad test request");
        let (response, mut sending) = client
            .send_request(request, false)
            .or_fail("cannot send the head");
        sending
            .send_data(Bytes::copy_from_slice(body), false)
            .or_fail("cannot send the body");
        let trailers = trailers.iter().map(|(name, value)| {
            (
                http::HeaderName::from_static(name),
                http::HeaderValue::from_static(value),
            )
        });
        sending
            .send_trailers(trailers.collect())
            .or_fail("cannot send trailers");

        let response = response.await.or_fail("no HTTP/2 answer");
        let (head, mut stream) = response.into_parts();
        let mut answer = Vec::new();
        let mut is_whole = true;
        while let Some(data) = stream.data().await {
            let Ok(data) = data else {
                is_whole = false;
                break;
            };
            let _ = stream.flow_control().release_capacity(data.len());
            answer.extend_from_slice(&data);
        }
        let trailers = match is_whole {
            true => stream.trailers().await,
            false => Ok(None),
        };
        connection.abort();
        H2Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: answer.into(),
            is_whole: is_whole && trailers.is_ok(),
            trailers: trailers.ok().flatten().unwrap_or_default(),
        }
    }
}
