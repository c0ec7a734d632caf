//! Delivering and reading evidence.

use axum::body::Body;
use axum::http::Method;
use jupiter_evidence::{DecisionKind, LeafHash};
use serde_json::{Value, json};

use crate::auth::Role;
use crate::ingest::{Intake, MAX_BODY_BYTES};
use crate::store::contract::samples::{SampleEmitter, line, provisional};
use crate::store::faults::Fault;
use crate::testing::TestApp;

fn lines(records: &[crate::store::NewEvidence]) -> String {
    records.iter().map(|record| line(record) + "\n").collect()
}

#[tokio::test]
async fn delivery_is_reported_line_by_line() {
    let test = TestApp::start().await;
    let records = SampleEmitter::new(1).take(3);
    let body = format!("{}nonsense\n{}", lines(&records[..2]), lines(&records[1..]));
    let reply = test.deliver(&body).await;
    assert_eq!(
        reply.json(),
        json!({"accepted": 3, "duplicates": 1,
               "quarantined": [{"line": 2, "reason": "not_an_envelope"}]})
    );
}

#[tokio::test]
async fn record_is_served_in_the_bytes_that_were_hashed() {
    let test = TestApp::start().await;
    let mut emitter = SampleEmitter::new(1);
    let (evidence, unfinished) = (emitter.next(|_| ()), emitter.next(|_| ()));
    test.deliver(&lines(std::slice::from_ref(&evidence))).await;
    let uri = format!("/v1/evidence/{}", evidence.envelope.record.id);
    let reply = test.get(&uri).await;
    assert_eq!(reply.text(), evidence.envelope.canonical);
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(
        reply.header("x-mercator-leaf-hash"),
        LeafHash::of(&reply.body).to_string()
    );
    assert_eq!(
        reply.header("x-mercator-received-at"),
        "2026-11-22T17:10:05.000000Z"
    );
    assert_eq!(reply.header("x-mercator-source"), "outbox");
    assert_eq!(reply.header("x-mercator-provisional"), "false");
    let early = line(&provisional(&unfinished));
    let witness = crate::ingest::Channel::Witness;
    crate::ingest::ingest(&test.app, witness, early.as_bytes())
        .await
        .unwrap();
    let reply = test
        .get(&format!("/v1/evidence/{}", unfinished.envelope.record.id))
        .await;
    assert_eq!(reply.header("x-mercator-provisional"), "true");
    assert_eq!(reply.header("x-mercator-source"), "witness");
    // Records verbatim in lists, too.
    let list = test.get("/v1/evidence").await.text();
    assert!(list.contains(&evidence.envelope.canonical));
    for unknown in ["00000000-0000-7000-8000-000000000000", "x", "%00"] {
        let reply = test.get(&format!("/v1/evidence/{unknown}")).await;
        assert_eq!(
            reply.problem(),
            (404, "unknown_evidence".to_owned()),
            "{unknown}"
        );
    }
}

fn ids(page: &Value) -> Vec<String> {
    let records = page["records"].as_array().unwrap().iter();
    records
        .map(|record| record["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn pages_join_to_the_whole_while_records_arrive() {
    let test = TestApp::start().await;
    let mut emitter = SampleEmitter::new(1);
    test.deliver(&lines(&emitter.take(11))).await;
    let whole = ids(&test.get("/v1/evidence?limit=500").await.json());
    assert_eq!(whole.len(), 11);
    let mut paged = Vec::new();
    let mut uri = "/v1/evidence?limit=3".to_owned();
    loop {
        let page = test.get(&uri).await.json();
        assert!(page["records"].as_array().unwrap().len() <= 3);
        paged.extend(ids(&page));
        test.deliver(&lines(&emitter.take(2))).await;
        match page["next_cursor"].as_str() {
            Some(cursor) => uri = format!("/v1/evidence?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(paged, whole);
}

#[tokio::test]
async fn filters_narrow_and_nonsense_is_refused() {
    let test = TestApp::start().await;
    let mut emitter = SampleEmitter::new(1);
    let records = [
        emitter.next(|_| ()),
        emitter.next(|record| {
            record.decision = DecisionKind::Deny;
            record.request_model = Some("o1 & co".to_owned());
        }),
    ];
    test.deliver(&lines(&records)).await;
    for (query, found) in [
        ("", 2),
        ("decision=deny", 1),
        ("decision=allow&rule=seen", 1),
        ("model=o1%20%26%20co", 1),
        ("subject=key:0123456789abcdef&rule=guard/seen", 2),
        ("since=2026-11-22T17:09:05.002Z", 1),
        ("since=2026-11-22T18:09:05.002%2B01:00", 1),
        ("until=2026-11-22T17:09:05.002Z", 1),
        ("rule=", 0),
    ] {
        let page = test.get(&format!("/v1/evidence?{query}")).await.json();
        assert_eq!(page["records"].as_array().unwrap().len(), found, "{query}");
        assert_eq!(page["next_cursor"], Value::Null);
    }
    for (query, code) in [
        ("decision=perhaps", "bad_parameter"),
        ("since=yesterday", "bad_parameter"),
        ("since=2026-11-22", "bad_parameter"),
        ("until=", "bad_parameter"),
        ("limit=0", "bad_parameter"),
        ("limit=501", "bad_parameter"),
        ("limit=-1", "bad_parameter"),
        ("cursor=x", "bad_parameter"),
        ("limit=1&limit=2", "bad_query"),
        ("colour=red", "unknown_parameter"),
        ("Limit=1", "unknown_parameter"),
    ] {
        let reply = test.get(&format!("/v1/evidence?{query}")).await;
        assert_eq!(reply.problem(), (400, code.to_owned()), "{query}");
    }
}

#[tokio::test]
async fn emitters_show_what_is_missing() {
    let test = TestApp::start().await;
    let records = SampleEmitter::new(1).take(4);
    test.deliver(&lines(&[records[0].clone(), records[3].clone()]))
        .await;
    test.deliver(&lines(&SampleEmitter::new(2).take(1))).await;
    let page = test.get("/v1/emitters?limit=1").await.json();
    assert_eq!(page["emitters"][0]["epoch"], json!("02".repeat(16)));
    let cursor = page["next_cursor"].as_str().unwrap();
    let page = test
        .get(&format!("/v1/emitters?limit=1&cursor={cursor}"))
        .await
        .json();
    assert_eq!(
        page,
        json!({
            "emitters": [{
                "emitter": "jupiter-1", "epoch": "01".repeat(16), "records": 2,
                "first_seq": 0, "last_seq": 3, "missing": 2, "chain_breaks": 0,
                "first_received_at": "2026-11-22T17:10:05.000000Z",
                "last_received_at": "2026-11-22T17:10:05.000000Z",
            }],
            "next_cursor": null,
        })
    );
    let reply = test.get("/v1/emitters?cursor=x").await;
    assert_eq!(reply.problem(), (400, "bad_parameter".to_owned()));
}

#[tokio::test]
async fn batches_out_of_bounds_are_refused_whole() {
    let mut test = TestApp::start().await;
    let deliver = async |test: &TestApp, headers: &[&str], body: Body| {
        test.send(
            Some(Role::Emitter),
            Method::POST,
            "/v1/evidence",
            headers,
            body,
        )
        .await
    };
    let ndjson = "content-type: application/x-ndjson";
    let large = || Body::from(vec![b'\n'; MAX_BODY_BYTES + 1]);
    let chunked = Body::from_stream(tokio_stream(MAX_BODY_BYTES + 1));
    for (headers, body, status, code) in [
        (&[ndjson][..], large(), 413, "body_too_large"),
        (&[ndjson], chunked, 413, "body_too_large"),
        (
            &[ndjson],
            Body::from("x\n".repeat(20_001)),
            413,
            "body_too_large",
        ),
        (
            &["content-type: application/json"],
            Body::empty(),
            415,
            "unsupported_media_type",
        ),
        (
            &[ndjson, "content-encoding: zstd"],
            Body::empty(),
            415,
            "unsupported_media_type",
        ),
    ] {
        let reply = deliver(&test, headers, body).await;
        assert_eq!(reply.problem(), (status, code.to_owned()), "{headers:?}");
    }
    // The largest that is allowed, blank as it is.
    let full = Body::from(vec![b'\n'; MAX_BODY_BYTES]);
    assert_eq!(deliver(&test, &[ndjson], full).await.status.as_u16(), 200);
    test.app.intake = std::sync::Arc::new(Intake::with_room_for(0));
    let reply = deliver(&test, &[ndjson], Body::from("x")).await;
    assert_eq!(reply.header("retry-after"), "1");
    assert_eq!(reply.problem(), (503, "overloaded".to_owned()));
}

/// A body without a known length.
fn tokio_stream(
    bytes: usize,
) -> impl futures_core::Stream<Item = Result<Vec<u8>, std::io::Error>> + Send + 'static {
    let mut left = bytes;
    let next = move || {
        let chunk = left.min(64 * 1024);
        left -= chunk;
        (chunk > 0).then(|| Ok(vec![b'\n'; chunk]))
    };
    Chunks(next)
}

struct Chunks<F>(F);

impl<F> futures_core::Stream for Chunks<F>
where
    F: FnMut() -> Option<Result<Vec<u8>, std::io::Error>> + Unpin,
{
    type Item = Result<Vec<u8>, std::io::Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready((self.0)())
    }
}

#[tokio::test]
async fn database_in_trouble_sends_the_sender_away_to_come_again() {
    let test = TestApp::start().await;
    let body = lines(&SampleEmitter::new(1).take(2));
    for (fault, accepted) in [(Fault::Before, 2), (Fault::After, 0)] {
        test.faults.set(Some(fault));
        let reply = test.deliver(&body).await;
        assert_eq!(reply.header("retry-after"), "1");
        assert_eq!(reply.problem(), (503, "store_unavailable".to_owned()));
        test.faults.set(None);
        let reply = test.deliver(&body).await.json();
        if fault == Fault::Before {
            assert_eq!(reply["accepted"], accepted);
        }
    }
    let whole = test.get("/v1/evidence").await.json();
    assert_eq!(ids(&whole).len(), 2);
}
