//! Requests with an `Idempotency-Key`: what is asked, and what comes of each answer.

use super::tests::{ALLOWED, POLICY, REFUSED, chat, ended, policy_settings, status_and_code};
use super::*;
use crate::answers::AnswerLine;
use jupiter_evidence::{IdempotencyAnswer, IdempotencyRun, Outcome};
use serde_json::json;

const BEGAN_US: u64 = 1_795_367_345_000_000;
const EARLIER: &str = "01a21a02-86be-7ac7-8ee8-f3d911caf9cd";

fn inspector(policy: &str, unreachable: &str) -> Inspector {
    let seed = Seed {
        time_unix_us: BEGAN_US,
        id_random: [1; 10],
        salt: [2; 16],
    };
    let settings = policy_settings(policy, |config| {
        config["inspection"]["failure_mode"] = "open".into();
        config["idempotency"] = json!({
            "path": "/claims", "timeout_ms": 1_000, "wait_ms": 5_000,
            "unreachable": unreachable, "on_unknown_outcome": "rerun",
            "answers": {"path": "/answers", "max_bytes": 1_000},
        });
    });
    Inspector::new(settings, seed)
}

fn keyed(key: &str) -> RequestHead {
    RequestHead {
        idempotency_key: Some(key.to_owned()),
        ..chat()
    }
}

/// Begun with a key, and asked whose that is.
fn claiming(unreachable: &str) -> Inspector {
    let mut inspector = inspector(POLICY, unreachable);
    inspector.on_request_headers(keyed("a"), false, false);
    let step = inspector.on_complete_request(ALLOWED);
    assert_eq!(step.flow, Flow::Claim);
    assert_eq!(step.set_headers.len(), 1, "headers are set before it waits");
    inspector
}

fn claim_of(key: &str, path: &str, api_key: &str, body: &[u8]) -> Claim {
    let mut inspector = inspector(POLICY, "refuse");
    let head = RequestHead {
        path: path.to_owned(),
        authorization: Some(format!("Bearer {api_key}")),
        ..keyed(key)
    };
    inspector.on_request_headers(head, false, false);
    assert_eq!(inspector.on_complete_request(body).flow, Flow::Claim);
    let (_, claim) = inspector.claim().unwrap();
    claim.clone()
}

#[test]
fn claim_names_key_and_subject_and_request() {
    let path = "/v1/chat/completions";
    let claim = claim_of("a", path, "sk-1", ALLOWED);
    assert_eq!(claim, claim_of("a", path, "sk-1", ALLOWED));
    assert_eq!((claim.key.len(), claim.request.len()), (64, 64));
    assert_eq!((claim.instance.as_str(), claim.wait_ms), ("jupiter-1", 500));
    assert_ne!(claim.key, claim_of("b", path, "sk-1", ALLOWED).key);
    assert_ne!(claim.key, claim_of("a", path, "sk-2", ALLOWED).key);
    let other_path = claim_of("a", "/v1/chat/completions?x=1", "sk-1", ALLOWED);
    assert_eq!(claim.key, other_path.key);
    assert_ne!(claim.request, other_path.request);
    let mut other = ALLOWED.to_vec();
    other.push(b' ');
    assert_ne!(claim.request, claim_of("a", path, "sk-1", &other).request);
}

#[test]
fn request_goes_on_when_its_key_is_its_own() {
    for (body, run, earlier) in [
        (json!({"earlier": null}), IdempotencyRun::First, None),
        (
            json!({"earlier": EARLIER}),
            IdempotencyRun::Again,
            Some(EARLIER),
        ),
    ] {
        let mut inspector = claiming("refuse");
        for step in [
            inspector.on_request_body(500, true),
            inspector.on_request_trailers(),
        ] {
            assert_eq!(step.flow, Flow::Hold, "whatever comes meanwhile waits too");
        }
        let body = body.to_string();
        let step = inspector.on_claim_answered(Some(200), body.as_bytes(), BEGAN_US);
        assert_eq!(step.flow, Flow::Continue);
        assert_eq!(inspector.on_request_trailers().flow, Flow::Continue);
        let record = inspector.finish(&ExchangeEnd::default()).unwrap();
        assert_eq!(record.idempotency_run, Some(run));
        let told = record.idempotency_earlier.map(|id| id.to_string());
        assert_eq!(told.as_deref(), earlier);
    }
}

#[test]
fn request_whose_key_is_anothers_is_refused_for_good() {
    for (status, code) in [
        (422, "idempotency_other_request"),
        (409, "idempotency_finished"),
        (409, "idempotency_unknown_outcome"),
    ] {
        let mut inspector = claiming("unprotected");
        let body = json!({"code": code, "exchange": EARLIER, "detail": "x"}).to_string();
        let step = inspector.on_claim_answered(Some(status), body.as_bytes(), BEGAN_US);
        assert_eq!(status_and_code(&step), (status, code.to_owned()));
        let Flow::Respond(response) = &step.flow else {
            panic!("{step:?}");
        };
        assert!(response.body.contains(EARLIER), "{}", response.body);
        let later = inspector.on_claim_answered(Some(200), b"{}", BEGAN_US);
        assert_eq!(later.flow, Flow::Hold, "too late");
        let record = inspector.finish(&ended("mercator", status)).unwrap();
        assert_eq!(record.outcome, Outcome::Refused);
        assert_eq!(record.reason.as_deref(), Some(code));
        assert_eq!(record.idempotency_run, None);
        assert!(record.idempotency_key.is_some());
    }
}

#[test]
fn request_asks_again_while_another_runs_and_not_for_ever() {
    let mut inspector = claiming("unprotected");
    let body = json!({"earlier": EARLIER}).to_string();
    for seconds in [0, 1, 4] {
        let now_us = BEGAN_US + seconds * 1_000_000;
        let step = inspector.on_claim_answered(Some(202), body.as_bytes(), now_us);
        assert_eq!(step.flow, Flow::Claim);
    }
    let step = inspector.on_claim_answered(Some(202), body.as_bytes(), BEGAN_US + 5_000_000);
    assert_eq!(
        status_and_code(&step),
        (409, "idempotency_in_flight".into())
    );
    let record = inspector.finish(&ended("mercator", 409)).unwrap();
    let told = record.idempotency_earlier.map(|id| id.to_string());
    assert_eq!(told.as_deref(), Some(EARLIER));
}

#[test]
fn without_an_answer_that_can_be_understood_the_configuration_decides() {
    let answers: [(Option<u16>, &[u8]); 6] = [
        (None, b""),
        (Some(500), b"{}"),
        (Some(401), b"{}"),
        (Some(200), b"no JSON"),
        (Some(409), b"{\"code\": \"of_tomorrow\"}"),
        (Some(204), b""),
    ];
    for (status, body) in answers {
        let mut refuse = claiming("refuse");
        let step = refuse.on_claim_answered(status, body, BEGAN_US);
        let expected = (503, "idempotency_unavailable".to_owned());
        assert_eq!(status_and_code(&step), expected, "{status:?}");

        let mut unprotected = claiming("unprotected");
        let step = unprotected.on_claim_answered(status, body, BEGAN_US);
        assert_eq!(step.flow, Flow::Continue, "{status:?}");
        let record = unprotected.finish(&ExchangeEnd::default()).unwrap();
        assert_eq!(record.idempotency_run, Some(IdempotencyRun::Unprotected));
    }
}

#[test]
fn record_that_is_stored_first_says_how_the_key_was_got() {
    let policy = POLICY.replace("version: 1.0.0\n", "version: 1.0.0\ndurability: required\n");
    let mut inspector = inspector(&policy, "refuse");
    inspector.on_request_headers(keyed("a"), false, false);
    assert_eq!(inspector.on_complete_request(ALLOWED).flow, Flow::Claim);
    let step = inspector.on_claim_answered(Some(200), b"{\"earlier\": null}", BEGAN_US);
    assert_eq!(step.flow, Flow::Store);
    let intent = inspector.intent();
    assert_eq!(intent.idempotency_run, Some(IdempotencyRun::First));
}

#[test]
fn only_what_would_go_on_and_was_read_claims_its_key() {
    let mut refused = inspector(POLICY, "refuse");
    refused.on_request_headers(keyed("a"), false, false);
    let step = refused.on_complete_request(REFUSED);
    assert_eq!(status_and_code(&step).0, 403);

    let mut unread = inspector(POLICY, "refuse");
    unread.on_request_headers(keyed("a"), false, false);
    assert_eq!(unread.on_complete_request(b"no JSON").flow, Flow::Continue);
    let record = unread.finish(&ExchangeEnd::default()).unwrap();
    assert_eq!(record.idempotency_run, Some(IdempotencyRun::Unprotected));

    let mut plain = inspector(POLICY, "refuse");
    plain.on_request_headers(chat(), false, false);
    assert_eq!(plain.on_complete_request(ALLOWED).flow, Flow::Continue);
    let record = plain.finish(&ExchangeEnd::default()).unwrap();
    assert_eq!(
        (record.idempotency_key, record.idempotency_run),
        (None, None)
    );
}

#[test]
fn client_that_leaves_while_it_waits_never_ran() {
    let end = ended("downstream_remote_disconnect", 0);
    let record = claiming("refuse").finish(&end).unwrap();
    assert_eq!(record.outcome, Outcome::ClientAborted);
    assert_eq!(record.idempotency_run, None);
}

/// Answered with this, in pieces, of that media type.
fn answered(inspector: &mut Inspector, content_type: &str, pieces: &[&[u8]]) {
    assert!(inspector.keeps_answer());
    let head = ResponseHead {
        status: Some(200),
        content_type: Some(content_type.to_owned()),
        kept_headers: vec![("content-type", content_type.to_owned())],
        ..ResponseHead::default()
    };
    inspector.on_response_headers(&head, false);
    for (number, piece) in pieces.iter().enumerate() {
        let end = number + 1 == pieces.len();
        match inspector.wants_response_body() {
            true => drop(inspector.on_response_body(piece, end)),
            false => {
                let whole: Vec<u8> = pieces.concat();
                if inspector.on_held_response(whole.len(), end).flow == Flow::ReadBody {
                    inspector.on_complete_response(&whole);
                }
            }
        }
    }
}

/// With its key, and on its way to the provider.
fn passing(policy: &str) -> Inspector {
    let mut inspector = inspector(policy, "refuse");
    let head = RequestHead {
        authorization: Some("Bearer sk-1".to_owned()),
        ..keyed("a")
    };
    inspector.on_request_headers(head, false, false);
    assert_eq!(inspector.on_complete_request(ALLOWED).flow, Flow::Claim);
    let step = inspector.on_claim_answered(Some(200), b"{}", BEGAN_US);
    assert_eq!(step.flow, Flow::Continue);
    inspector
}

fn kept(inspector: &mut Inspector) -> AnswerLine {
    let answer = inspector.take_answer();
    answer.expect("one is asked for").expect("it is whole")
}

#[test]
fn answer_is_kept_as_the_client_got_it_for_the_exchange_that_has_the_key() {
    let mut inspector = passing(POLICY);
    let claim = inspector.claim().unwrap().1.clone();
    answered(&mut inspector, "text/event-stream", &[b"data: {}\n", b"\n"]);
    let line = kept(&mut inspector);
    assert_eq!((line.key, line.exchange), (claim.key, claim.exchange));
    assert!(line.subject.starts_with("key:"), "{}", line.subject);
    assert_eq!(
        (line.answer.status, line.answer.body.as_str()),
        (200, "data: {}\n\n")
    );
    let head = [("content-type".to_owned(), "text/event-stream".to_owned())];
    assert_eq!(line.answer.headers, head);
    assert!(inspector.take_answer().is_none());

    let redact = POLICY.to_owned()
        + "  - name: mask\n    conditions: [{field: request.model, operator: exists, value: true}]\n    \
           actions: [{type: redact, fields: [response.content], method: mask}]\n";
    let answer = json!({"id": "c", "model": "m", "choices": [{"index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "content": "write to ada@example.org"}}]});
    let stream = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"ask ada@example.org now\"}}]}\n\n\
                  data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    for (content_type, body) in [
        ("application/json", answer.to_string()),
        ("text/event-stream", stream.to_owned()),
    ] {
        let mut inspector = passing(&redact);
        answered(&mut inspector, content_type, &[body.as_bytes()]);
        let body = kept(&mut inspector).answer.body;
        assert!(!body.contains("ada@example.org"), "{body}");
        assert!(body.contains("finish_reason"), "{body}");
        let record = inspector.finish(&ended("via_upstream", 200)).unwrap();
        assert_eq!(record.outcome, Outcome::Completed);
        assert!(record.delivered_response_digest.is_some());
    }
}

#[test]
fn answer_that_is_not_kept_says_why() {
    let large = vec![b' '; 1_001];
    for (content_type, body, why) in [
        (
            "application/json",
            large.as_slice(),
            IdempotencyAnswer::TooLarge,
        ),
        ("image/png", b"PNG", IdempotencyAnswer::Unreadable),
        ("text/event-stream", b"\xff", IdempotencyAnswer::Unreadable),
    ] {
        let mut inspector = passing(POLICY);
        answered(&mut inspector, content_type, &[body]);
        assert!(inspector.gathered_bytes() <= 900, "{why:?}");
        assert_eq!(inspector.take_answer(), Some(Err(why)));
    }
    let mut crowded = passing(POLICY);
    answered(&mut crowded, "application/json", &[b"{}"]);
    crowded.stop_gathering(IdempotencyAnswer::NoRoom);
    assert_eq!(crowded.take_answer(), Some(Err(IdempotencyAnswer::NoRoom)));
}

#[test]
fn only_an_exchange_that_has_its_key_and_a_subject_keeps_its_answer() {
    let mut plain = inspector(POLICY, "refuse");
    plain.on_request_headers(chat(), false, false);
    assert_eq!(plain.on_complete_request(ALLOWED).flow, Flow::Continue);
    let mut unprotected = claiming("unprotected");
    unprotected.on_claim_answered(None, b"", BEGAN_US);
    // Nobody could ever ask for it to be erased.
    let mut nobody = claiming("refuse");
    nobody.on_claim_answered(Some(200), b"{}", BEGAN_US);
    let waiting = claiming("refuse");
    for inspector in [plain, unprotected, nobody, waiting] {
        assert!(!inspector.keeps_answer());
    }
}

#[test]
fn request_that_comes_again_gets_the_answer_that_was_kept() {
    let mut inspector = claiming("refuse");
    let body = json!({"code": "idempotency_finished", "exchange": EARLIER, "detail": "x",
    "answer": {"status": 200, "body": "data: [DONE]\n\n", "headers": [
        ["content-type", "text/event-stream"], ["x-request-id", "r"], ["set-cookie", "no"],
    ]}});
    let step = inspector.on_claim_answered(Some(409), body.to_string().as_bytes(), BEGAN_US);
    let Flow::Respond(response) = &step.flow else {
        panic!("{step:?}");
    };
    assert_eq!(
        (response.status, response.body.as_str()),
        (200, "data: [DONE]\n\n")
    );
    let id = inspector.intent().id.to_string();
    let expected = [
        ("content-type", "text/event-stream"),
        ("x-request-id", "r"),
        ("idempotent-replayed", "true"),
        ("x-mercator-replayed-decision-id", EARLIER),
        (DECISION_ID_HEADER, &id),
    ];
    let headers: Vec<_> = response
        .headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    assert_eq!(headers, expected);
    assert!(!inspector.keeps_answer());

    let record = inspector
        .finish(&ended("mercator_idempotency_replayed", 200))
        .unwrap();
    assert_eq!(record.outcome, Outcome::Completed);
    assert_eq!(record.idempotency_run, Some(IdempotencyRun::Replayed));
    assert_eq!(record.idempotency_earlier.unwrap().to_string(), EARLIER);
    assert_eq!(
        (record.input_tokens, record.output_tokens, record.cost_nano),
        (Some(0), Some(0), Some(0))
    );
    let digest = jupiter_evidence::salted_digest(&[2; 16], b"data: [DONE]\n\n");
    assert_eq!(
        (record.response_digest, record.delivered_response_digest),
        (None, Some(digest))
    );
}
