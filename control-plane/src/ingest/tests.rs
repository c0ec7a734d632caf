//! What becomes of lines, good and bad.

use proptest::prelude::*;
use std::time::Duration;

use super::*;
use crate::store::EvidenceFilter;
use crate::store::contract::samples::{self, SampleEmitter, line, provisional, sealed};
use crate::store::faults::Fault;
use crate::testing::TestApp;

fn body(lines: &[String]) -> Vec<u8> {
    lines.join("\n").into_bytes()
}

async fn take(test: &TestApp, lines: &[String]) -> IngestReport {
    ingest(&test.app, Channel::Outbox, &body(lines))
        .await
        .unwrap()
}

async fn stored(test: &TestApp) -> usize {
    let page = test
        .app
        .store
        .query_evidence(&EvidenceFilter::default(), None, 10_000)
        .await;
    page.unwrap().records.len()
}

#[tokio::test]
async fn batch_is_stored_once_however_often_it_comes() {
    let test = TestApp::start().await;
    let lines: Vec<String> = SampleEmitter::new(1).take(3).iter().map(line).collect();
    let first = take(&test, &lines).await;
    assert_eq!((first.accepted, first.duplicates), (3, 0));
    let again = take(&test, &lines).await;
    assert_eq!((again.accepted, again.duplicates), (0, 3));
    assert_eq!(stored(&test).await, 3);
}

#[tokio::test]
async fn line_ends_and_blank_lines_do_not_matter() {
    let test = TestApp::start().await;
    let lines: Vec<String> = SampleEmitter::new(1).take(2).iter().map(line).collect();
    let body = format!("\n{}\r\n\r\n\n{}\n\n", lines[0], lines[1]);
    let report = ingest(&test.app, Channel::Witness, body.as_bytes())
        .await
        .unwrap();
    assert_eq!(report.accepted, 2);
    let report = ingest(&test.app, Channel::Outbox, b"\n\n").await.unwrap();
    assert_eq!(report, IngestReport::default());
}

/// A good record, changed before it is sealed.
fn changed(change: impl FnOnce(&mut jupiter_evidence::EvidenceRecord)) -> String {
    let mut record = samples::record(1_000, 1);
    change(&mut record);
    let subject = record.subject_digest.as_ref().map(|_| samples::SUBJECT);
    let canonical = record.to_canonical().unwrap();
    Envelope::write(&canonical, &"07".repeat(16), subject, false).unwrap()
}

#[tokio::test]
async fn bad_line_is_quarantined_with_its_reason_and_fails_nobody() {
    let test = TestApp::start().await;
    let good = changed(|_| ());
    let beyond = MAX_RECORD_BYTES + 30 - samples::record(1_000, 1).to_canonical().unwrap().len();
    let cases = [
        ("not_an_envelope", "nonsense".to_owned()),
        ("not_an_envelope", "{}".to_owned()),
        ("not_an_envelope", "[".repeat(10_000)),
        ("not_an_envelope", good.replacen('{', "{\"x\":1,", 1)),
        ("line_too_long", "x".repeat(MAX_LINE_BYTES + 1)),
        ("record_too_long", changed(|r| r.path = "/".repeat(beyond))),
        (
            "not_a_record",
            good.replace("\"duration_us\"", "\"duration\""),
        ),
        ("not_canonical", good.replace("\"v\":1", "\"v\": 1")),
        ("bad_salt", good.replace(&"07".repeat(16), "07")),
        ("bad_subject", good.replace(samples::SUBJECT, "jwt:eve")),
        ("unknown_version", changed(|r| r.v = 2)),
        ("not_uuid_v7", changed(|r| r.id = uuid::Uuid::nil())),
        (
            "provisional_from_outbox",
            line(&provisional(&sealed(samples::record(1_000, 2)))),
        ),
        ("bad_time", changed(|r| r.time = "yesterday".to_owned())),
        (
            "bad_time",
            changed(|r| r.time = "2026-11-22T17:09:05Z".to_owned()),
        ),
        (
            "bad_time",
            changed(|r| r.time = "2026-11-22T18:09:05.000000+01:00".to_owned()),
        ),
        (
            "id_and_time_differ",
            changed(|r| r.id = samples::id(62_000_000, 1)),
        ),
        ("bad_emitter", changed(|r| r.emitter.id.clear())),
        ("bad_emitter", changed(|r| r.emitter.id = "a\nb".to_owned())),
        (
            "bad_emitter",
            changed(|r| r.emitter.epoch = "zz".repeat(16)),
        ),
        ("bad_emitter", changed(|r| r.emitter.seq = MAX_SEQ + 1)),
        ("bad_prev", changed(|r| r.emitter.prev = "ab".repeat(32))),
        ("bad_prev", changed(|r| r.emitter.seq = 1)),
    ];
    for (number, (reason, bad)) in cases.into_iter().enumerate() {
        // A neighbour of its own on either side.
        let mut emitter = SampleEmitter::new(number as u8 + 1);
        let (before, after) = (line(&emitter.next(|_| ())), line(&emitter.next(|_| ())));
        let report = take(&test, &[before, bad, after]).await;
        let quarantined = vec![QuarantinedLine { line: 1, reason }];
        assert_eq!(report.quarantined, quarantined);
        assert_eq!((report.accepted, report.duplicates), (2, 0), "{reason}");
    }
}

#[tokio::test]
async fn clock_far_ahead_is_refused_and_a_little_skew_is_not() {
    let test = TestApp::start().await;
    let hour = 3_600_000_000;
    let skewed = line(&sealed(samples::record(23 * hour, 1)));
    let ahead = line(&sealed(samples::record(25 * hour, 2)));
    let report = take(&test, &[skewed, ahead]).await;
    assert_eq!(report.accepted, 1);
    assert_eq!(report.quarantined[0].reason, "time_in_future");
}

#[tokio::test]
async fn record_that_waited_for_a_year_is_taken_and_one_of_another_age_is_not() {
    let test = TestApp::start().await;
    let day = 24 * 3_600_000_000;
    test.clock.advance(Duration::from_secs(401 * 24 * 3_600));
    let late = line(&sealed(samples::record(10 * day, 1)));
    let lost = line(&sealed(samples::record(0, 2)));
    let report = take(&test, &[late, lost]).await;
    assert_eq!(report.accepted, 1);
    assert_eq!(report.quarantined[0].reason, "time_too_old");
}

#[tokio::test]
async fn other_bytes_under_a_known_id_are_quarantined() {
    let test = TestApp::start().await;
    let report = take(&test, &[changed(|_| ()), changed(|r| r.duration_us = 7)]).await;
    assert_eq!(report.accepted, 1);
    let conflict = QuarantinedLine {
        line: 1,
        reason: CONFLICT,
    };
    assert_eq!(report.quarantined, [conflict]);
}

#[tokio::test]
async fn witness_may_bring_provisional_records() {
    let test = TestApp::start().await;
    let evidence = SampleEmitter::new(1).next(|_| ());
    let early = body(&[line(&provisional(&evidence))]);
    let report = ingest(&test.app, Channel::Witness, &early).await.unwrap();
    assert_eq!(report.accepted, 1);
    assert_eq!(take(&test, &[line(&evidence)]).await.accepted, 1);
    assert_eq!(stored(&test).await, 1);
}

#[tokio::test]
async fn batches_beyond_the_bounds_are_refused_whole() {
    let test = TestApp::start().await;
    let long = vec![b'\n'; MAX_BODY_BYTES + 1];
    let refused = ingest(&test.app, Channel::Outbox, &long).await;
    assert!(matches!(refused, Err(IngestError::TooLarge)));
    let many = "x\n".repeat(MAX_LINES + 1);
    let refused = ingest(&test.app, Channel::Outbox, many.as_bytes()).await;
    assert!(matches!(refused, Err(IngestError::TooManyLines)));
    assert!(refused.unwrap_err().retry_after().is_none());
}

#[tokio::test]
async fn full_queue_refuses_until_there_is_room_again() {
    let mut test = TestApp::start().await;
    test.app.intake = Arc::new(Intake::with_room_for(8 * 1024));
    test.faults.set(Some(Fault::Silent));
    let lines: Vec<String> = SampleEmitter::new(1).take(4).iter().map(line).collect();
    let waiting = tokio::spawn({
        let (app, body) = (test.app.clone(), body(&lines));
        async move { ingest(&app, Channel::Outbox, &body).await }
    });
    let queued = || test.app.metrics.evidence_queue_records.get();
    crate::testing::eventually(|| queued() == 4).await;
    assert!(test.app.intake.is_full());
    let large = " ".repeat(6 * 1024);
    let refused = ingest(&test.app, Channel::Outbox, large.as_bytes()).await;
    let Err(error @ IngestError::Overloaded) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
    // The sender hangs up: its room is free again, and nothing is counted twice.
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    test.faults.set(None);
    assert_eq!(queued(), 0);
    assert_eq!(take(&test, &lines).await.accepted, 4);
}

/// The sender keeps the batch and comes again; in the end each record is there once.
#[tokio::test]
async fn faults_of_the_store_lose_nothing_and_double_nothing() {
    for (fault, accepted, duplicates) in [(Fault::Before, 3, 0), (Fault::After, 0, 3)] {
        let test = TestApp::start().await;
        let lines: Vec<String> = SampleEmitter::new(1).take(3).iter().map(line).collect();
        test.faults.set(Some(fault));
        let failed = ingest(&test.app, Channel::Outbox, &body(&lines)).await;
        assert!(matches!(failed, Err(IngestError::Store(_))), "{fault:?}");
        test.faults.set(None);
        let report = take(&test, &lines).await;
        assert_eq!(
            (report.accepted, report.duplicates),
            (accepted, duplicates),
            "{fault:?}"
        );
        assert_eq!(stored(&test).await, 3);
        let log = test.app.store.log_state().await.unwrap();
        assert_eq!((log.size, log.waiting), (0, 3), "{fault:?}");
    }
}

#[tokio::test]
async fn everything_is_counted() {
    let test = TestApp::start().await;
    let records = SampleEmitter::new(1).take(4);
    let lines: Vec<String> = [0, 1, 1, 3]
        .iter()
        .map(|index| line(&records[*index]))
        .collect();
    take(&test, &lines).await;
    take(
        &test,
        &[
            "x".to_owned(),
            changed(|r| r.emitter.epoch = "01".repeat(16)),
        ],
    )
    .await;
    let text = test.metrics().await;
    for expected in [
        r#"mercator_evidence_records_total{source="outbox",outcome="accepted"} 4"#,
        r#"mercator_evidence_records_total{source="outbox",outcome="duplicate"} 1"#,
        r#"mercator_evidence_records_total{source="outbox",outcome="quarantined"} 1"#,
        r#"mercator_evidence_batches_total{source="outbox",result="stored"} 2"#,
        "mercator_evidence_chain_breaks_total 1",
        "mercator_emitter_missing_records 1",
        "mercator_evidence_queue_bytes 0",
        "mercator_db_up 1",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..4_096)) {
        let parsed = parse(Channel::Witness, &body, samples::at(0)).unwrap();
        prop_assert!(parsed.batch.records.is_empty());
    }

    /// A good line with a few bytes changed is the same record or none: nothing
    /// but canonical bytes is ever stored.
    #[test]
    fn damaged_lines_never_panic_and_never_become_other_text(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = changed(|_| ()).into_bytes();
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        for source in [Channel::Outbox, Channel::Witness] {
            let Ok(parsed) = parse(source, &bytes, samples::at(0)) else { continue };
            for evidence in parsed.batch.records {
                let again = evidence.envelope.record.to_canonical().unwrap();
                prop_assert_eq!(evidence.envelope.canonical.as_bytes(), &again[..]);
            }
        }
    }
}
