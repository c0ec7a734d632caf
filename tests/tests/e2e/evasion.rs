//! No form of a request evades the policy: however it is framed, spelt, encoded
//! or sent, it is judged by what the provider would read, or refused unread.

use std::io::Write;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::support::{
    REFUSED_MODEL, assert_record, assert_refused, guarded, question, reached_provider, record_of,
};

/// How long a raw connection may be silent before it is taken to be done.
const SILENCE: Duration = Duration::from_millis(700);

#[tokio::test]
async fn unreadable_json_is_refused_unscanned() {
    let instance = guarded().await;
    let traffic = instance.traffic();
    let bodies = [
        "{\"model\": \"gpt-4o\", ",
        "",
        "[]",
        "\"gpt-4o\"",
        "{\"model\": \"gpt-4o\", \"messages\": []} {}",
        // Whom would the provider believe?
        "{\"model\": \"gpt-4o\", \"model\": \"gpt-4-turbo\", \"messages\": []}",
    ];
    for body in bodies {
        let request = traffic
            .request(Method::POST, "/v1/chat/completions")
            .bearer_auth("sk-test")
            .header("content-type", "application/json")
            .body(body);
        let answer = traffic.complete(request).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
        let record = record_of(&instance, &answer).await;
        assert_record(
            &record,
            &json!({
                "decision": "error",
                "outcome": "refused",
                "request_inspection": "unscanned",
                "http.response.status_code": 400,
            }),
        );
        assert!(record["request_unscanned_reason"].is_string(), "{record:#}");
    }
    assert_eq!(reached_provider(&instance), 0);
}

#[tokio::test]
async fn body_above_the_limit_is_refused_however_it_is_sent() {
    let instance = guarded().await;
    let traffic = instance.traffic();
    let mut body = question("gpt-4o");
    body["padding"] = json!("x".repeat(5 * 1024 * 1024));
    let text = body.to_string();

    let announced = traffic.complete(traffic.chat(&body)).await;
    let chunked = traffic
        .request(Method::POST, "/v1/chat/completions")
        .bearer_auth("sk-test")
        .body(in_chunks(&text));
    let chunked = traffic.complete(chunked).await;
    for answer in [announced, chunked] {
        assert_eq!(answer.status, 413, "{}", answer.text());
        assert_record(
            &record_of(&instance, &answer).await,
            &json!({
                "decision": "error",
                "outcome": "refused",
                "request_inspection": "unscanned",
                "request_unscanned_reason": "body_too_large",
                "http.response.status_code": 413,
            }),
        );
    }
    assert_eq!(reached_provider(&instance), 0);
}

#[tokio::test]
async fn large_body_within_the_limit_arrives_whole() {
    let instance = guarded().await;
    let traffic = instance.traffic();
    let mut body = question("gpt-4o");
    body["metadata"] = json!({"padding": "x".repeat(1_000_000)});
    let text = body.to_string();
    let chunked = traffic
        .request(Method::POST, "/v1/chat/completions")
        .bearer_auth("sk-test")
        .body(in_chunks(&text));
    for request in [traffic.chat(&body), chunked] {
        let answer = traffic.complete(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    for received in instance.provider().received() {
        assert_eq!(received.body.len(), text.len());
        assert!(received.body == text, "the body arrived changed");
    }
}

#[tokio::test]
async fn compressed_request_is_refused_not_passed_unread() {
    let instance = guarded().await;
    let traffic = instance.traffic();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder
        .write_all(question(REFUSED_MODEL).to_string().as_bytes())
        .expect("gzip");
    let request = traffic
        .request(Method::POST, "/v1/chat/completions")
        .bearer_auth("sk-test")
        .header("content-type", "application/json")
        .header("content-encoding", "gzip")
        .body(encoder.finish().expect("gzip"));
    let answer = traffic.complete(request).await;
    assert_eq!(answer.status, 415, "{}", answer.text());
    assert_record(
        &record_of(&instance, &answer).await,
        &json!({"decision": "error", "request_inspection": "unscanned"}),
    );
    assert_eq!(reached_provider(&instance), 0);
}

#[tokio::test]
async fn http2_request_that_ends_in_trailers_is_judged() {
    let instance = guarded().await;
    let traffic = instance.traffic();
    let headers = [
        ("authorization", "Bearer sk-test"),
        ("content-type", "application/json"),
    ];
    let trailers = [("x-trailer", "late")];
    let path = "/v1/chat/completions";

    let body = question(REFUSED_MODEL).to_string();
    let refused = traffic
        .h2_post_with_trailers(path, &headers, body.as_bytes(), &trailers)
        .await;
    assert_eq!(refused.status, 403);
    assert_eq!(reached_provider(&instance), 0);

    let body = question("gpt-4o").to_string();
    let allowed = traffic
        .h2_post_with_trailers(path, &headers, body.as_bytes(), &trailers)
        .await;
    assert_eq!(allowed.status, 200);
    assert_eq!(instance.provider().received()[0].body, body);

    for (answer, decision) in [(refused, "deny"), (allowed, "allow")] {
        let id = answer.headers["x-mercator-decision-id"].to_str();
        let record = instance.admin().wait_for_record(id.expect("text")).await;
        assert_record(
            &record,
            &json!({"decision": decision, "request_inspection": "inspected"}),
        );
    }
}

#[tokio::test]
async fn no_spelling_of_a_path_evades_the_policy() {
    let instance = guarded().await;
    let traffic = instance.traffic();
    let body = question(REFUSED_MODEL).to_string();
    let paths = [
        "/v1//chat/completions",
        "//v1/chat/completions",
        "/v1/./chat/completions",
        "/v1/x/../chat/completions",
        "/v1/chat%2fcompletions",
        "/v1/chat%2Fcompletions",
        "/v1/%63hat/completions",
        "/V1/chat/completions",
        "/v1/chat/completions;x=y",
        "/v1/chat/completions#x",
        "/v1/chat/completions?x=/health",
        "/health/../v1/chat/completions",
        "/health/deep/../../v1/chat/completions",
        "/health/deep?/v1/chat/completions",
    ];
    for path in paths {
        // By hand: a client library would tidy the path up.
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: jupiter\r\nauthorization: Bearer sk-test\r\n\
             content-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = traffic.raw(request.as_bytes(), SILENCE).await;
        let line = String::from_utf8_lossy(&answer[..answer.len().min(12)]).into_owned();
        assert!(line.starts_with("HTTP/1.1 4"), "{path} was answered {line}");
    }
    assert_eq!(reached_provider(&instance), 0);
}

#[tokio::test]
async fn no_request_hides_behind_another() {
    let instance = guarded().await;
    let traffic = instance.traffic();
    let post = |body: &str, framing: &str| {
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: jupiter\r\n\
             authorization: Bearer sk-test\r\ncontent-type: application/json\r\n{framing}\r\n{body}"
        )
    };
    let allowed = question("gpt-4o").to_string();
    let hidden = question(REFUSED_MODEL).to_string();
    let allowed_length = format!("content-length: {}\r\n", allowed.len());
    let hidden = post(&hidden, &format!("content-length: {}\r\n", hidden.len()));

    // Pipelined behind an allowed one, the refused request is judged by itself.
    let pipelined = post(&allowed, &allowed_length) + &hidden;
    let answers = traffic.raw(pipelined.as_bytes(), SILENCE).await;
    let answers = String::from_utf8_lossy(&answers).into_owned();
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 1, "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 403").count(), 1, "{answers}");
    assert_eq!(reached_provider(&instance), 1);
    assert_eq!(instance.provider().received()[0].body, allowed);

    // Two lengths are no length.
    let ambiguous = [
        format!("{allowed_length}transfer-encoding: chunked\r\n"),
        format!("{allowed_length}content-length: 5\r\n"),
        "content-length: 5, 6\r\n".to_owned(),
        "transfer-encoding: chunked, identity\r\n".to_owned(),
    ];
    for framing in ambiguous {
        let request = post(&allowed, &framing) + &hidden;
        let answer = traffic.raw(request.as_bytes(), SILENCE).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(!answer.contains("HTTP/1.1 200"), "{framing}: {answer}");
    }
    assert_eq!(reached_provider(&instance), 1);
}

#[tokio::test]
async fn json_is_read_as_the_provider_reads_it() {
    let instance = guarded().await;
    let traffic = instance.traffic();
    let bodies = [
        // Escapes say the same letters, in keys as well.
        r#"{"model": "\u0067pt-4-turbo", "messages": []}"#,
        r#"{"mod\u0065l": "gpt-4-turbo", "messages": []}"#,
        r#"{"messages": [], "x": {"model": "gpt-4o"}, "model": "gpt-4-turbo"}"#,
    ];
    for body in bodies {
        // What the client calls its body does not decide whether it is read.
        for content_type in ["application/json", "text/plain", "multipart/form-data"] {
            let request = traffic
                .request(Method::POST, "/v1/chat/completions")
                .bearer_auth("sk-test")
                .header("content-type", content_type)
                .body(body);
            assert_refused(&traffic.complete(request).await);
        }
    }
    assert_eq!(reached_provider(&instance), 0);
}

#[tokio::test]
async fn text_that_is_not_utf8_json_is_refused() {
    let instance = guarded().await;
    let traffic = instance.traffic();
    let text = question(REFUSED_MODEL).to_string();
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = [b"\xef\xbb\xbf", text.as_bytes()].concat();
    let broken = text.replace("capital", "\u{fffd}").into_bytes();
    let broken: Vec<u8> = broken.into_iter().filter(|byte| *byte != 0xbf).collect();
    for body in [utf16, marked, broken] {
        let request = traffic
            .request(Method::POST, "/v1/chat/completions")
            .bearer_auth("sk-test")
            .body(body);
        let answer = traffic.complete(request).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
    }
    assert_eq!(reached_provider(&instance), 0);
}

#[tokio::test]
async fn no_method_or_upgrade_evades_the_policy() {
    let instance = guarded().await;
    let traffic = instance.traffic();
    let body = question(REFUSED_MODEL).to_string();
    let length = format!("content-length: {}\r\n", body.len());
    let upgrade = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\n\
                   http2-settings: AAMAAABkAAQAAP__\r\n";
    let websocket = "connection: upgrade\r\nupgrade: websocket\r\n\
                     sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let requests = [
        ("GET", ""),
        ("PUT", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("OPTIONS", ""),
        ("HEAD", ""),
        ("TRACE", ""),
        ("CONNECT", ""),
        ("BREW", ""),
        ("GET", "x-http-method-override: POST\r\n"),
        ("POST", "x-http-method-override: GET\r\n"),
        ("POST", "x-envoy-original-path: /health\r\n"),
        ("POST", "expect: 100-continue\r\n"),
        ("POST", upgrade),
        ("GET", websocket),
    ];
    for (method, headers) in requests {
        let request = format!(
            "{method} /v1/chat/completions HTTP/1.1\r\nhost: jupiter\r\n\
             authorization: Bearer sk-test\r\n{headers}{length}\r\n{body}"
        );
        let answer = traffic.raw(request.as_bytes(), SILENCE).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(!answer.contains(" 200 OK"), "{method} {headers}: {answer}");
    }
    assert_eq!(reached_provider(&instance), 0);
}

/// A text in pieces, so that its length is not announced.
fn in_chunks(text: &str) -> reqwest::Body {
    let pieces: Vec<Result<Vec<u8>, std::convert::Infallible>> = text
        .as_bytes()
        .chunks(64 * 1024)
        .map(|piece| Ok(piece.to_vec()))
        .collect();
    reqwest::Body::wrap_stream(futures_util::stream::iter(pieces))
}
