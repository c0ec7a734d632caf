//! Claims against what is known of the holder, as a table.

use jupiter_filter::answers::AnswerLine;
use jupiter_filter::config::OnUnknownOutcome::{Refuse, Rerun};

use super::*;
use crate::store::contract::samples::{SUBJECT, SampleEmitter, batch, id};
use crate::store::{EnvoyEnd, NewEvidence};
use crate::testing::TestApp;

fn claim_of(test: &TestApp, exchange: Uuid) -> KeyClaim {
    KeyClaim {
        key: [7; 32],
        request: [1; 32],
        exchange,
        instance: "jupiter-1".to_owned(),
        at: test.app.clock.now(),
    }
}

async fn ask(test: &TestApp, exchange: Uuid, on_unknown: OnUnknownOutcome) -> String {
    let wanted = claim_of(test, exchange);
    match claim(&test.app, &wanted, on_unknown, Duration::ZERO).await {
        Ok(Claimed::Granted { earlier: None }) => "first".to_owned(),
        Ok(Claimed::Granted { earlier: Some(_) }) => "again".to_owned(),
        Ok(Claimed::NotYet { .. }) => "not yet".to_owned(),
        Err(ClaimError::OtherRequest(_)) => "other".to_owned(),
        Err(ClaimError::Finished { answer: None, .. }) => "finished".to_owned(),
        Err(ClaimError::Finished {
            answer: Some(answer),
            ..
        }) => answer.body,
        Err(ClaimError::UnknownOutcome(_)) => "unknown".to_owned(),
        Err(ClaimError::Store(error)) => error.to_string(),
    }
}

#[tokio::test]
async fn record_of_the_holder_decides_what_becomes_of_the_next() {
    use jupiter_evidence::IdempotencyRun::First;
    for (outcome, run, rerun, refuse) in [
        (Outcome::Completed, Some(First), "finished", "finished"),
        (Outcome::Withheld, Some(First), "finished", "finished"),
        (Outcome::ProviderError, Some(First), "again", "again"),
        (Outcome::Refused, Some(First), "again", "again"),
        (Outcome::ClientAborted, None, "again", "again"),
        (Outcome::ClientAborted, Some(First), "again", "unknown"),
        (Outcome::ProviderReset, Some(First), "again", "unknown"),
        (Outcome::FilterFault, Some(First), "again", "unknown"),
    ] {
        for (on_unknown, expected) in [(Rerun, rerun), (Refuse, refuse)] {
            let test = TestApp::start().await;
            let record = SampleEmitter::new(1).next(|record| {
                record.outcome = outcome;
                record.idempotency_run = run;
            });
            let holder = record.envelope.record.id;
            assert_eq!(ask(&test, holder, on_unknown).await, "first");
            assert_eq!(ask(&test, id(9, 9), on_unknown).await, "not yet");
            let stored = test.app.store.append_evidence(batch(vec![record]));
            stored.await.unwrap();
            let next = ask(&test, id(9, 9), on_unknown).await;
            assert_eq!(next, expected, "{outcome:?} {on_unknown:?}");
        }
    }
}

#[tokio::test]
async fn exchange_whose_envoy_ended_has_an_unknown_end_once_its_record_would_have_come() {
    for (on_unknown, expected) in [(Rerun, "again"), (Refuse, "unknown")] {
        let test = TestApp::start().await;
        assert_eq!(ask(&test, id(1, 1), on_unknown).await, "first");
        let now = test.app.clock.now();
        let end = EnvoyEnd {
            instance: "jupiter-1".to_owned(),
            since: now,
            until: now,
            how: "signal: 9 (SIGKILL)".to_owned(),
        };
        test.app.store.note_envoy_ends(&[end]).await.unwrap();
        assert_eq!(ask(&test, id(2, 2), on_unknown).await, "not yet");
        test.clock.advance(Duration::from_secs(2));
        assert_eq!(ask(&test, id(2, 2), on_unknown).await, expected);
        // Who took it over has it to itself.
        if on_unknown == Rerun {
            assert_eq!(ask(&test, id(3, 3), on_unknown).await, "not yet");
        }
    }
}

#[tokio::test]
async fn exchange_of_a_silent_instance_has_an_unknown_end() {
    let test = TestApp::start().await;
    assert_eq!(ask(&test, id(1, 1), Rerun).await, "first");
    let sign = SignOfLife {
        instance: "jupiter-1".to_owned(),
        at: test.app.clock.now(),
    };
    let began = Instant::now();
    for seconds in [0, 2, 4] {
        let now = began + Duration::from_secs(seconds);
        test.app.heard.hear(vec![sign.clone()], now);
        assert_eq!(ask(&test, id(2, 2), Rerun).await, "not yet");
    }
    let now = began + Duration::from_secs(6);
    test.app.heard.hear(vec![sign], now);
    assert_eq!(ask(&test, id(2, 2), Refuse).await, "unknown");
    assert_eq!(ask(&test, id(2, 2), Rerun).await, "again");
}

#[tokio::test]
async fn exchange_that_nobody_tells_the_end_of_is_not_waited_for_for_ever() {
    let test = TestApp::start().await;
    assert_eq!(ask(&test, id(1, 1), Rerun).await, "first");
    test.clock.advance(Duration::from_secs(14 * 60));
    assert_eq!(ask(&test, id(2, 2), Rerun).await, "not yet");
    test.clock.advance(Duration::from_secs(60));
    assert_eq!(ask(&test, id(2, 2), Rerun).await, "again");
}

#[tokio::test]
async fn other_request_under_the_key_is_told_so() {
    let test = TestApp::start().await;
    assert_eq!(ask(&test, id(1, 1), Rerun).await, "first");
    let other = KeyClaim {
        request: [2; 32],
        ..claim_of(&test, id(2, 2))
    };
    let answered = claim(&test.app, &other, Rerun, Duration::ZERO).await;
    assert!(matches!(answered, Err(ClaimError::OtherRequest(holder)) if holder == id(1, 1)));
}

#[tokio::test]
async fn claim_waits_for_the_end_of_the_holder() {
    let test = TestApp::start().await;
    let record = SampleEmitter::new(1).next(|record| {
        record.outcome = Outcome::ProviderError;
        record.idempotency_run = Some(jupiter_evidence::IdempotencyRun::First);
    });
    let holder = record.envelope.record.id;
    assert_eq!(ask(&test, holder, Rerun).await, "first");
    let next = claim_of(&test, id(9, 9));
    let (claimed, stored) = tokio::join!(
        claim(&test.app, &next, Rerun, LONGEST_WAIT),
        test.app.store.append_evidence(batch(vec![record])),
    );
    stored.unwrap();
    let earlier = Some(holder);
    assert_eq!(claimed.unwrap(), Claimed::Granted { earlier });
}

/// An exchange that was answered, and says that its answer was sent.
fn sent() -> NewEvidence {
    SampleEmitter::new(1).next(|record| {
        record.outcome = Outcome::Completed;
        record.idempotency_run = Some(jupiter_evidence::IdempotencyRun::First);
        record.idempotency_answer = Some(IdempotencyAnswer::Kept);
    })
}

fn answer_of(exchange: Uuid) -> Vec<u8> {
    let line = AnswerLine {
        key: "07".repeat(32),
        exchange: exchange.to_string(),
        subject: SUBJECT.to_owned(),
        answer: KeptAnswer {
            status: 200,
            headers: vec![],
            body: "an answer".to_owned(),
        },
    };
    let mut line = serde_json::to_vec(&line).unwrap();
    line.push(b'\n');
    line
}

#[tokio::test]
async fn answer_that_was_kept_is_given_again_whichever_comes_first_it_or_the_record() {
    for answer_first in [true, false] {
        let test = TestApp::start().await;
        let record = sent();
        let holder = record.envelope.record.id;
        assert_eq!(ask(&test, holder, Rerun).await, "first");
        if answer_first {
            keep(&test.app, &answer_of(holder)).await.unwrap();
        }
        assert_eq!(ask(&test, id(9, 9), Rerun).await, "not yet");
        let stored = test.app.store.append_evidence(batch(vec![record]));
        stored.await.unwrap();
        if !answer_first {
            assert_eq!(ask(&test, id(9, 9), Rerun).await, "not yet");
            keep(&test.app, &answer_of(holder)).await.unwrap();
        }
        for _ in 0..2 {
            assert_eq!(ask(&test, id(9, 9), Rerun).await, "an answer");
        }
        let metrics = test.app.metrics.encode("").unwrap();
        for line in [
            "mercator_answers_stored_total 1",
            "mercator_answers_given_again_total 2",
        ] {
            assert!(metrics.contains(line), "{line}: {metrics}");
        }
    }
}

#[tokio::test]
async fn claim_waits_for_an_answer_that_was_sent() {
    let test = TestApp::start().await;
    let record = sent();
    let holder = record.envelope.record.id;
    assert_eq!(ask(&test, holder, Rerun).await, "first");
    let stored = test.app.store.append_evidence(batch(vec![record]));
    stored.await.unwrap();
    let next = claim_of(&test, id(9, 9));
    let line = answer_of(holder);
    let (claimed, kept) = tokio::join!(
        claim(&test.app, &next, Rerun, LONGEST_WAIT),
        keep(&test.app, &line),
    );
    kept.unwrap();
    let Err(ClaimError::Finished { exchange, answer }) = claimed else {
        panic!("{claimed:?}");
    };
    assert_eq!(
        (exchange, answer.unwrap().body.as_str()),
        (holder, "an answer")
    );
}

#[tokio::test]
async fn answer_that_was_lost_is_not_waited_for_for_ever() {
    let test = TestApp::start().await;
    let record = sent();
    assert_eq!(ask(&test, record.envelope.record.id, Rerun).await, "first");
    let mut stored = batch(vec![record]);
    stored.received_at = test.app.clock.now();
    test.app.store.append_evidence(stored).await.unwrap();
    test.clock.advance(Duration::from_millis(9_999));
    assert_eq!(ask(&test, id(9, 9), Rerun).await, "not yet");
    test.clock.advance(Duration::from_millis(1));
    assert_eq!(ask(&test, id(9, 9), Rerun).await, "finished");
    let metrics = test.app.metrics.encode("").unwrap();
    let line = "mercator_answers_missing_total 1";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn answer_of_an_erased_subject_is_given_to_nobody() {
    let test = TestApp::start().await;
    let record = sent();
    let holder = record.envelope.record.id;
    assert_eq!(ask(&test, holder, Rerun).await, "first");
    keep(&test.app, &answer_of(holder)).await.unwrap();
    let stored = test.app.store.append_evidence(batch(vec![record]));
    stored.await.unwrap();
    assert_eq!(ask(&test, id(9, 9), Rerun).await, "an answer");
    let stamp = crate::store::ErasureStamp {
        at: test.app.clock.now(),
        by: "officer".to_owned(),
        reason: "asked to".to_owned(),
    };
    test.app.store.erase_subject(SUBJECT, stamp).await.unwrap();
    assert_eq!(ask(&test, id(9, 9), Rerun).await, "finished");
}

#[tokio::test]
async fn batch_with_a_line_that_is_no_answer_is_refused_and_says_which() {
    let test = TestApp::start().await;
    let good = answer_of(id(1, 1));
    for bad in ["{}", "no JSON", "{\"key\": \"07\"}"] {
        let body = [&good, b"\n".as_slice(), bad.as_bytes()].concat();
        let kept = keep(&test.app, &body).await;
        assert!(matches!(kept, Err(KeepError::BadLine(2))), "{kept:?}");
    }
}
