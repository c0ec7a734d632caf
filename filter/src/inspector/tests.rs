//! Steps the inspector takes, compared as data.

use super::*;
use crate::bundles::Settings;
use base64::Engine;
use jupiter_evidence::{DecisionKind, InspectionStatus, Outcome};

pub(super) const POLICY: &str = r#"
mpl_version: "1.0"
name: test
version: 1.0.0
rules:
  - name: approved-models-only
    conditions:
      - field: request.model
        operator: not_in
        value: [gpt-4o]
    actions:
      - type: deny
        message: "{{ request.model }} is not approved"
        code: model_not_approved
"#;

pub(super) const ALLOWED: &[u8] =
    br#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#;
pub(super) const REFUSED: &[u8] =
    br#"{"model":"gpt-3","messages":[{"role":"user","content":"hi"}]}"#;

fn settings(change: impl FnOnce(&mut serde_json::Value)) -> Rc<Settings> {
    policy_settings(POLICY, change)
}

pub(super) fn policy_settings(
    policy: &str,
    change: impl FnOnce(&mut serde_json::Value),
) -> Rc<Settings> {
    let checked = jupiter_policy::check(policy);
    let bundle = jupiter_policy::compile(&[checked.policy.unwrap()]).unwrap();
    let mut config = serde_json::json!({
        "instance": "jupiter-1", "region": "local", "environment": "test",
        "bundle": {
            "digest": jupiter_policy::BundleDigest::of(&bundle).as_str(),
            "data": base64::engine::general_purpose::STANDARD.encode(&bundle),
        },
        "inspection": {"max_body_bytes": 1000},
    });
    change(&mut config);
    Rc::new(Settings::parse(config.to_string().as_bytes()).unwrap())
}

fn inspector(change: impl FnOnce(&mut serde_json::Value)) -> Inspector {
    let seed = Seed {
        time_unix_us: 1_795_367_345_000_000,
        id_random: [1; 10],
        salt: [2; 16],
    };
    Inspector::new(settings(change), seed)
}

fn head(method: &str, path: &str) -> RequestHead {
    RequestHead {
        method: method.into(),
        path: path.into(),
        ..RequestHead::default()
    }
}

pub(super) fn chat() -> RequestHead {
    head("POST", "/v1/chat/completions")
}

pub(super) fn ended(details: &str, status: u16) -> ExchangeEnd {
    ExchangeEnd {
        time_unix_us: 1_795_367_345_002_000,
        status: Some(status),
        details: Some(details.into()),
    }
}

pub(super) fn status_and_code(step: &Step) -> (u16, String) {
    let Flow::Respond(response) = &step.flow else {
        panic!("no answer: {step:?}")
    };
    let body: serde_json::Value = serde_json::from_str(&response.body).unwrap();
    (
        response.status,
        body["error"]["code"].as_str().unwrap().to_owned(),
    )
}

#[test]
fn request_is_held_until_its_body_has_been_judged() {
    let mut inspector = inspector(|_| {});
    assert_eq!(
        inspector.on_request_headers(chat(), false, false).flow,
        Flow::Hold
    );
    assert_eq!(inspector.on_request_body(10, false).flow, Flow::Hold);
    assert_eq!(
        inspector.on_request_body(ALLOWED.len(), true).flow,
        Flow::ReadBody
    );
    let step = inspector.on_complete_request(ALLOWED);
    assert_eq!(step.flow, Flow::Continue);
    assert_eq!(
        step.set_headers,
        [("accept-encoding", "identity".to_owned())]
    );
}

#[test]
fn probe_is_judged_and_never_goes_on() {
    let probe = || RequestHead {
        is_probe: true,
        ..chat()
    };
    for (body, code) in [(ALLOWED, "health_probe"), (REFUSED, "model_not_approved")] {
        let mut inspector = inspector(|_| {});
        inspector.on_request_headers(probe(), false, false);
        let step = inspector.on_complete_request(body);
        assert_eq!(status_and_code(&step), (403, code.to_owned()));
        let record = inspector
            .finish(&ended("mercator_health_probe", 403))
            .unwrap();
        assert_eq!(record.reason.as_deref(), Some(code));
    }
    // What is not read at all would go on where the failure mode is open.
    let mut inspector = inspector(|config| config["inspection"]["failure_mode"] = "open".into());
    inspector.on_request_headers(probe(), false, false);
    let step = inspector.on_complete_request(b"{");
    assert_eq!(status_and_code(&step), (403, "health_probe".to_owned()));
}

#[test]
fn request_that_ends_with_trailers_is_judged_too() {
    let mut inspector = inspector(|_| {});
    inspector.on_request_headers(chat(), false, false);
    assert_eq!(
        inspector.on_request_body(REFUSED.len(), false).flow,
        Flow::Hold
    );
    assert_eq!(inspector.on_request_trailers().flow, Flow::ReadBody);
    let step = inspector.on_complete_request(REFUSED);
    assert_eq!(
        status_and_code(&step),
        (403, "model_not_approved".to_owned())
    );
}

#[test]
fn refusal_and_its_record_name_rule_bundle_and_decision() {
    let mut inspector = inspector(|_| {});
    inspector.on_request_headers(chat(), false, false);
    let step = inspector.on_complete_request(REFUSED);
    let Flow::Respond(response) = step.flow else {
        panic!("not refused")
    };
    let record = inspector
        .finish(&ended("mercator_model_not_approved", 403))
        .unwrap();
    assert!(
        response.body.contains("gpt-3 is not approved"),
        "{}",
        response.body
    );
    assert!(response.body.contains(&record.id.to_string()));
    assert!(
        response
            .headers
            .contains(&("x-should-retry", "false".to_owned()))
    );
    assert_eq!(
        (record.decision, record.outcome),
        (DecisionKind::Deny, Outcome::Refused)
    );
    assert_eq!(record.matched_rules[0].rule, "approved-models-only");
    assert_eq!(record.request_inspection, InspectionStatus::Inspected);
    assert_eq!(record.request_model.as_deref(), Some("gpt-3"));
    assert_eq!(record.duration_us, 2_000);
    assert!(record.request_digest.is_some());
}

#[test]
fn streamed_answer_is_read_along_and_recorded() {
    let mut inspector = inspector(|_| {});
    inspector.on_request_headers(chat(), false, false);
    inspector.on_complete_request(ALLOWED);
    let head = ResponseHead {
        status: Some(200),
        content_type: Some("text/event-stream".into()),
        ..ResponseHead::default()
    };
    let step = inspector.on_response_headers(&head, false);
    assert_eq!(step.set_headers.len(), 1, "the decision id");
    inspector.on_response_body(
        b"data: {\"model\":\"gpt-4o-x\",\"usage\":{\"prompt_tokens\":1,",
        false,
    );
    inspector.on_response_body(b"\"completion_tokens\":2}}\n\ndata: [DONE]\n\n", true);
    let record = inspector.finish(&ended("via_upstream", 200)).unwrap();
    assert_eq!(
        (record.input_tokens, record.output_tokens),
        (Some(1), Some(2))
    );
    assert_eq!(record.response_model.as_deref(), Some("gpt-4o-x"));
    assert_eq!(record.response_inspection, InspectionStatus::Inspected);
    assert!(record.stream && record.outcome == Outcome::Completed);
}

/// Each way a request can be unreadable, closed and open.
#[test]
fn what_cannot_be_read_is_refused_or_told_unscanned() {
    let encoded = RequestHead {
        content_encoding: Some("gzip".into()),
        ..chat()
    };
    let announced = RequestHead {
        content_length: Some(1_001),
        ..chat()
    };
    type Ask = fn(&mut Inspector) -> Step;
    let cases: [(RequestHead, Ask, u16, &str); 6] = [
        (
            encoded,
            |_| unreachable!("decided at headers"),
            415,
            "unsupported_content_encoding",
        ),
        (
            announced,
            |_| unreachable!("decided at headers"),
            413,
            "body_too_large",
        ),
        (
            chat(),
            |i| i.on_request_body(1_001, false),
            413,
            "body_too_large",
        ),
        (
            chat(),
            |i| i.on_complete_request(b"{"),
            400,
            "malformed_json",
        ),
        (
            chat(),
            |i| i.on_complete_request(b"{}"),
            400,
            "malformed_request",
        ),
        (chat(), Inspector::on_unreadable_body, 503, "filter_fault"),
    ];
    for (head, ask, status, code) in cases {
        let run = |mode: &str| {
            let mut inspector = inspector(|c| c["inspection"]["failure_mode"] = mode.into());
            let mut step = inspector.on_request_headers(head.clone(), false, false);
            if step.flow == Flow::Hold {
                step = ask(&mut inspector);
            }
            (step, inspector.finish(&ended("x", status)).unwrap())
        };
        let (step, record) = run("closed");
        assert_eq!(status_and_code(&step), (status, code.to_owned()));
        assert_eq!(
            record.request_inspection,
            InspectionStatus::Unscanned,
            "{code}"
        );
        assert_eq!(
            (record.decision, record.reason.as_deref()),
            (DecisionKind::Error, Some(code))
        );

        let (step, record) = run("open");
        assert_eq!(step.flow, Flow::Continue, "{code}");
        assert_eq!(
            record.request_inspection,
            InspectionStatus::Unscanned,
            "{code}"
        );
        assert_eq!(record.request_unscanned_reason.as_deref(), Some(code));
    }
}

#[test]
fn unknown_api_follows_its_setting() {
    let mut closed = inspector(|_| {});
    let step = closed.on_request_headers(head("POST", "/v1/files"), false, false);
    assert_eq!(status_and_code(&step), (403, "unknown_api".to_owned()));

    let mut open = inspector(|c| c["inspection"]["unknown_api"] = "allow".into());
    let step = open.on_request_headers(head("POST", "/v1/files"), false, false);
    assert_eq!(step.flow, Flow::Continue);
    let record = open.finish(&ended("via_upstream", 200)).unwrap();
    assert_eq!(record.request_inspection, InspectionStatus::Unscanned);
}

#[test]
fn without_a_bundle_everything_is_refused_and_health_says_so() {
    let without = |c: &mut serde_json::Value| {
        c.as_object_mut().unwrap().remove("bundle");
    };
    let step = inspector(without).on_request_headers(chat(), false, false);
    assert_eq!(status_and_code(&step), (503, "no_policy_bundle".to_owned()));
    for (change, status) in [(Some(without), 503), (None, 200)] {
        let mut inspector = inspector(|c| change.map(|change| change(c)).unwrap_or_default());
        let step = inspector.on_request_headers(head("GET", "/health"), true, false);
        let Flow::Respond(response) = step.flow else {
            panic!("no answer")
        };
        assert_eq!(response.status, status);
        assert!(
            inspector.finish(&ended("x", status)).is_none(),
            "health leaves no record"
        );
    }
}

#[test]
fn full_outbox_refuses_only_where_evidence_comes_first() {
    for (on_full, held) in [("deny", false), ("drop_counted", true)] {
        let mut inspector = inspector(|c| c["evidence"] = serde_json::json!({"on_full": on_full}));
        let step = inspector.on_request_headers(chat(), false, true);
        assert_eq!(step.flow == Flow::Hold, held, "{on_full}");
    }
}

#[test]
fn client_that_leaves_before_the_verdict_has_a_record() {
    let mut inspector = inspector(|_| {});
    inspector.on_request_headers(chat(), false, false);
    let record = inspector
        .finish(&ended("downstream_remote_disconnect", 0))
        .unwrap();
    assert_eq!(
        (record.decision, record.outcome),
        (DecisionKind::Error, Outcome::ClientAborted)
    );
    assert_eq!(record.status_code, None);
    assert_eq!(record.request_inspection, InspectionStatus::Unscanned);
}

#[test]
fn refusals_speak_the_clients_dialect() {
    let mut inspector = inspector(|_| {});
    inspector.on_request_headers(head("POST", "/v1/messages"), false, false);
    let step = inspector.on_complete_request(br#"{"model":"x","messages":[]}"#);
    let Flow::Respond(response) = step.flow else {
        panic!("not refused")
    };
    assert!(
        response.body.contains("permission_error"),
        "{}",
        response.body
    );
}

#[test]
fn bundle_that_nobody_confirms_any_more_follows_the_failure_mode() {
    let now = 1_795_367_345;
    for (confirmed, mode, refused) in [
        (now - 60, "closed", false),
        (now - 61, "closed", true),
        (now - 61, "open", false),
        (now + 5, "closed", false),
    ] {
        let mut inspector = inspector(|config| {
            config["bundle"]["confirmed_unix_s"] = confirmed.into();
            config["inspection"]["max_staleness_s"] = 60.into();
            config["inspection"]["failure_mode"] = mode.into();
        });
        let step = inspector.on_request_headers(chat(), false, false);
        if refused {
            let expected = (503, "stale_policy_bundle".to_owned());
            assert_eq!(status_and_code(&step), expected);
        } else {
            assert_eq!(step.flow, Flow::Hold, "{confirmed} {mode}");
        }
        let record = inspector.finish(&ended("", 0)).unwrap();
        assert!(record.policy.unwrap().confirmed.is_some());
    }
}

#[test]
fn request_without_the_required_token_is_refused_with_a_record() {
    let mut inspector = inspector(|config| {
        let claims = serde_json::json!({
            "user_id": "sub", "tier": "", "department": "", "roles": "", "region": "",
        });
        config["subject"] = serde_json::json!({"jwt": {"required": true, "claims": claims}});
    });
    let step = inspector.on_request_headers(chat(), false, false);
    assert_eq!(status_and_code(&step), (401, "token_required".to_owned()));
    let record = inspector.finish(&ended("", 401)).unwrap();
    assert_eq!(record.reason.as_deref(), Some("token_required"));
    assert_eq!(
        (record.outcome, record.subject_digest),
        (Outcome::Refused, None)
    );
}

/// The policy of these tests, whose requests leave only when their record is stored.
fn required(on_error: &str) -> Inspector {
    let head = format!("version: 1.0.0\ndurability: required\non_error: {on_error}\n");
    let policy = POLICY.replace("version: 1.0.0\n", &head);
    let seed = Seed {
        time_unix_us: 1_795_367_345_000_000,
        id_random: [1; 10],
        salt: [2; 16],
    };
    let failure_mode = |config: &mut serde_json::Value| {
        config["inspection"]["failure_mode"] = "open".into();
    };
    Inspector::new(policy_settings(&policy, failure_mode), seed)
}

fn waiting(on_error: &str) -> Inspector {
    let mut inspector = required(on_error);
    inspector.on_request_headers(head("POST", "/v1/chat/completions"), false, false);
    assert_eq!(inspector.on_complete_request(ALLOWED).flow, Flow::Store);
    inspector
}

#[test]
fn request_that_waits_for_its_record_goes_on_once_that_is_stored() {
    let mut inspector = waiting("closed");
    let intent = inspector.intent();
    assert_eq!(intent.outcome, Outcome::Pending);
    assert_eq!(intent.decision, DecisionKind::Allow);
    assert_eq!(intent.request_model.as_deref(), Some("gpt-4o"));
    for step in [
        inspector.on_request_body(500, true),
        inspector.on_request_trailers(),
    ] {
        assert_eq!(step.flow, Flow::Hold, "whatever comes meanwhile waits too");
    }
    inspector.on_stored();
    assert_eq!(inspector.on_request_trailers().flow, Flow::Continue);
    let record = inspector.finish(&ExchangeEnd::default()).unwrap();
    assert_eq!(record.stored_first, Some(true));
}

#[test]
fn request_whose_record_is_not_stored_is_refused_or_goes_on_as_the_policy_says() {
    let mut closed = waiting("closed");
    let step = closed.on_not_stored();
    assert_eq!(status_and_code(&step), (503, "evidence_unavailable".into()));
    closed.on_stored();
    assert_eq!(closed.on_request_trailers().flow, Flow::Hold, "too late");
    let record = closed.finish(&ExchangeEnd::default()).unwrap();
    assert_eq!(record.outcome, Outcome::Refused);
    assert_eq!(record.stored_first, Some(false));

    let mut open = waiting("open");
    assert_eq!(open.on_not_stored().flow, Flow::Continue);
    let record = open.finish(&ExchangeEnd::default()).unwrap();
    assert_eq!(record.decision, DecisionKind::Allow);
    assert_eq!(record.stored_first, Some(false));
}

#[test]
fn what_is_refused_or_unread_needs_evidence_first_only_if_it_would_leave() {
    let mut refused = required("closed");
    refused.on_request_headers(head("POST", "/v1/chat/completions"), false, false);
    let step = refused.on_complete_request(REFUSED);
    assert_eq!(status_and_code(&step).0, 403);

    let mut unread = required("closed");
    unread.on_request_headers(head("POST", "/v1/chat/completions"), false, false);
    assert_eq!(unread.on_complete_request(b"no JSON").flow, Flow::Store);
}

#[test]
fn client_that_leaves_while_its_record_is_stored_never_reached_the_provider() {
    let end = ExchangeEnd {
        details: Some("downstream_remote_disconnect".to_owned()),
        ..ExchangeEnd::default()
    };
    let record = waiting("closed").finish(&end).unwrap();
    assert_eq!(record.outcome, Outcome::ClientAborted);
    assert_eq!(record.decision, DecisionKind::Allow);
    assert_eq!(record.stored_first, None);
}
