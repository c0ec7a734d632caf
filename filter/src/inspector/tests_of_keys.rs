//! Requests with an `Idempotency-Key`: what is asked, and what comes of each answer.

use super::tests::{ALLOWED, POLICY, REFUSED, chat, ended, policy_settings, status_and_code};
use super::*;
use jupiter_evidence::{IdempotencyRun, Outcome};
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
