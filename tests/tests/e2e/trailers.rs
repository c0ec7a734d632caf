//! An answer may end with trailers, as HTTP/2 has them: then no body byte says that it ends.
//! It is judged all the same, nothing of it is lost, and its record is complete.
//!
//! The provider here speaks HTTP/2 over TLS, chosen by ALPN, as providers do; the client
//! speaks HTTP/2 too, and ends its requests with trailers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Response};
use jupiter_testkit::{H2Answer, Instance};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::answers::ADDRESS;
use crate::support::assert_record;

/// Certificates and key for tests alone: the authority's own key was thrown away.
fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../crates/cli/tests/data/tls")
        .join(name)
}

/// A provider that answers what the request's headers say, and ends with trailers.
async fn provider() -> String {
    let certificates = CertificateDer::pem_file_iter(data("server.pem")).expect("certificates");
    let certificates = certificates.map(|it| it.expect("a certificate")).collect();
    let key = PrivateKeyDer::from_pem_file(data("server.key")).expect("a key");
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .expect("a certificate with its key");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let socket = acceptor.accept(socket).await.expect("TLS");
                let mut connection = h2::server::handshake(socket).await.expect("HTTP/2");
                // It ends when Envoy leaves.
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(async move { answer(request, respond).await });
                }
            });
        }
    });
    format!("https://localhost:{port}")
}

/// Whatever does not arrive is missed by the test.
async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<bytes::Bytes>,
) -> Option<()> {
    let (head, mut body) = request.into_parts();
    while let Some(data) = body.data().await {
        let length = data.ok()?.len();
        body.flow_control().release_capacity(length).ok()?;
    }
    let text = STANDARD.decode(head.headers.get("x-answer")?).ok()?;
    let kind = head.headers.get("x-answer-type")?;
    let response = Response::builder().header("content-type", kind).body(());
    let mut sending = respond.send_response(response.ok()?, false).ok()?;
    for piece in text.chunks(50) {
        sending.send_data(piece.to_vec().into(), false).ok()?;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-served", HeaderValue::from_static("whole"));
    sending.send_trailers(trailers).ok()
}

struct Case {
    what: &'static str,
    user: &'static str,
    stream: bool,
    answer: String,
    /// What the client gets: all of it, or what left before it was broken off.
    told: String,
    is_whole: bool,
    record: Value,
}

fn whole(text: &str) -> String {
    json!({"id": "c", "model": "m", "choices": [
        {"index": 0, "message": {"content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 6}})
    .to_string()
}

fn stream(pieces: &[&str], ending: &str) -> String {
    let mut stream = String::new();
    for piece in pieces {
        let event = json!({"id": "c", "choices": [{"index": 0, "delta": {"content": piece}}]});
        stream.push_str(&format!("data: {event}\n\n"));
    }
    stream + ending
}

const END: &str = "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":6}}\n\ndata: [DONE]\n\n";

fn cases() -> Vec<Case> {
    let inspected = json!({
        "decision": "allow", "outcome": "completed", "response_inspection": "inspected",
        "gen_ai.usage.output_tokens": 6,
    });
    let plain = stream(&["All ", "is well"], END);
    let old = plain.replace('\n', "\r\n");
    vec![
        Case {
            what: "whole",
            user: "anyone",
            stream: false,
            answer: whole("All is well"),
            told: whole("All is well"),
            is_whole: true,
            record: inspected.clone(),
        },
        Case {
            what: "whole, redacted",
            user: "clean-answers",
            stream: false,
            answer: whole(&format!("Ask {ADDRESS}.")),
            told: whole("Ask [gone]."),
            is_whole: true,
            record: inspected.clone(),
        },
        Case {
            what: "whole, refused",
            user: "anyone",
            stream: false,
            answer: whole("All about project falcon."),
            told: "confidential".to_owned(),
            is_whole: true,
            record: json!({
                "decision": "deny", "outcome": "withheld", "response_inspection": "inspected",
            }),
        },
        Case {
            what: "stream",
            user: "anyone",
            stream: true,
            answer: plain,
            told: "All is well".to_owned(),
            is_whole: true,
            record: inspected.clone(),
        },
        Case {
            what: "stream with other line ends",
            user: "anyone",
            stream: true,
            answer: old,
            told: "All is well".to_owned(),
            is_whole: true,
            record: inspected.clone(),
        },
        Case {
            what: "stream, held to its last event",
            user: "anyone",
            stream: true,
            answer: stream(&["All about pro", "ject fal"], END),
            told: "project fal".to_owned(),
            is_whole: true,
            record: inspected,
        },
        Case {
            what: "stream without its last event",
            user: "anyone",
            stream: true,
            answer: stream(&["All about pro", "ject fal"], ""),
            told: "All about ".to_owned(),
            is_whole: false,
            record: json!({
                "decision": "error", "reason": "unreadable_response", "outcome": "withheld",
                "response_inspection": "unscanned", "response_unscanned_reason": "cut",
            }),
        },
        Case {
            what: "stream, refused amid",
            user: "anyone",
            stream: true,
            answer: stream(&["All about pro", "ject falcon", " and more"], END),
            told: "confidential".to_owned(),
            is_whole: false,
            record: json!({"decision": "deny", "reason": "confidential", "outcome": "withheld"}),
        },
    ]
}

async fn exchange(instance: &Instance, case: &Case) -> H2Answer {
    let body = json!({"model": "gpt-4o", "user": case.user, "stream": case.stream,
        "messages": [{"role": "user", "content": "What is new?"}]});
    let kind = match case.stream {
        true => "text/event-stream",
        false => "application/json",
    };
    let traffic = instance.traffic();
    let headers = [
        ("authorization", "Bearer sk-test"),
        ("content-type", "application/json"),
        ("x-answer", &STANDARD.encode(&case.answer)),
        ("x-answer-type", kind),
    ];
    let trailers = [("x-checksum", "none")];
    let path = "/v1/chat/completions";
    traffic
        .h2_post_or_cut(path, &headers, body.to_string().as_bytes(), &trailers)
        .await
}

#[tokio::test]
async fn answers_that_end_with_trailers_are_judged_whole_and_recorded() {
    let url = provider().await;
    let ca = data("ca.pem");
    let instance = Instance::builder()
        .envoy(&format!("ca_file: {}", ca.display()))
        .provider_url(&url)
        .policy("answers", include_str!("policies/answers.yaml"))
        .start()
        .await;
    for case in cases() {
        let what = case.what;
        let answer = exchange(&instance, &case).await;
        let told = String::from_utf8_lossy(&answer.body).into_owned();
        let is_refused_whole = !case.stream && case.record["decision"] == "deny";
        let status = if is_refused_whole { 403 } else { 200 };
        assert_eq!(answer.status, status, "{what}: {told}");
        assert_eq!(answer.is_whole, case.is_whole, "{what}: {told}");
        match case.told.contains('{') {
            true => assert_eq!(told, case.told, "{what}"),
            false => assert!(joined(&told).contains(&case.told), "{what}: {told}"),
        }
        if is_refused_whole {
            assert!(
                answer.trailers.is_empty() && !told.contains("falcon"),
                "{what}: {told}"
            );
        } else if case.is_whole {
            assert_eq!(
                answer.trailers.get("x-served"),
                Some(&HeaderValue::from_static("whole")),
                "{what}"
            );
        } else {
            assert!(
                !told.contains("[DONE]") && !told.contains("falcon"),
                "{what}: {told}"
            );
        }
        let id = answer.headers["x-mercator-decision-id"]
            .to_str()
            .expect("text");
        let record = instance.admin().wait_for_record(id).await;
        assert_record(&record, &case.record);
        assert_record(
            &record,
            &json!({"request_inspection": "inspected", "stream": case.stream}),
        );
    }
}

/// The texts of a stream, and the code of its error.
fn joined(stream: &str) -> String {
    let events = stream
        .lines()
        .map(|it| it.strip_prefix("data: ").unwrap_or(it));
    let events = events.filter_map(|it| serde_json::from_str::<Value>(it).ok());
    let text = |event: Value| {
        let places = ["/choices/0/delta/content", "/error/code"];
        let texts = places.iter().filter_map(|it| event.pointer(it)?.as_str());
        texts.collect::<String>()
    };
    events.map(text).collect()
}
