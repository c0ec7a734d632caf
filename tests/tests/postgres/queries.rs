//! A page of evidence costs the same however much there is.

use jupiter_control_plane::store::contract::samples::{BEGIN_US, SampleEmitter, at, batch};
use jupiter_control_plane::store::{EvidenceFilter, Store};
use jupiter_evidence::DecisionKind;
use jupiter_testkit::postgres::database;

use crate::support::{config_of, open};

/// Enough for the planner to tell an index from a scan, over several weeks.
const RECORDS: u32 = 60_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_filter_is_served_by_its_index() {
    let database = database().await;
    let store = open(config_of(&database, "")).await;
    let mut records = SampleEmitter::new(1).take(3);
    for (week, evidence) in records.iter_mut().enumerate() {
        let mut record = evidence.envelope.record.clone();
        let millis = BEGIN_US / 1_000 + week as u64 * 7 * 86_400_000;
        record.id = uuid::Uuid::from_u128(u128::from(millis) << 80 | 0x7000_8000_0000_0000_0000);
        record.emitter.epoch = format!("{week:032x}");
        (record.emitter.seq, record.emitter.prev) = (0, String::new());
        *evidence = jupiter_control_plane::store::contract::samples::sealed(record);
    }
    store
        .append_evidence(batch(records))
        .await
        .expect("appended");
    // Many of the same, without the way through an emitter.
    database.sql(&format!(
        "INSERT INTO evidence (origin_region, id, time_us, received_us, source, epoch_key, seq,
             subject_ref, model, decision, leaf, salt, record)
         SELECT 'local',
             (lpad(to_hex({millis} + n * 20000), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid,
             ({millis} + n * 20000) * 1000, 0, 'outbox', 1, n, 
             -- One asks much more than the others.
             CASE WHEN n % 20 = 7 THEN (SELECT subject_ref FROM subject_keys)
                  ELSE ('00000000-0000-4000-8000-' || lpad((n % 9973)::text, 12, '0'))::uuid END,
             'gpt-' || n % 5,
             CASE WHEN n % 10 = 0 THEN 'deny' WHEN n % 99 = 0 THEN 'error' ELSE 'allow' END,
             '', '', repeat('x', 400)
         FROM generate_series(1, {RECORDS}) n;",
        millis = BEGIN_US / 1_000,
    ));
    database.sql(
        "INSERT INTO evidence_rules SELECT 'guard/often', origin_region, id FROM evidence
         ON CONFLICT DO NOTHING",
    );
    database.sql("ANALYZE");
    // Partitions made ahead are empty: there the planner rightly reads their no rows.
    let filled = database.sql(
        "SELECT DISTINCT tableoid::regclass FROM evidence
         UNION SELECT DISTINCT tableoid::regclass FROM evidence_rules",
    );
    let filled: Vec<String> = filled
        .lines()
        .map(|table| format!("Seq Scan on {table} "))
        .collect();
    assert!(filled.len() > 2, "{filled:?}");
    let any = EvidenceFilter::default;
    let text = |text: &str| Some(text.to_owned());
    let decided = |decision| EvidenceFilter {
        decision: Some(decision),
        ..any()
    };
    for filter in [
        any(),
        EvidenceFilter {
            since: Some(at(0)),
            until: Some(at(9_000_000_000_000)),
            ..any()
        },
        EvidenceFilter {
            subject: text("key:0123456789abcdef"),
            ..any()
        },
        EvidenceFilter {
            model: text("gpt-3"),
            ..any()
        },
        decided(DecisionKind::Deny),
        decided(DecisionKind::Error),
        EvidenceFilter {
            rule: text("guard/often"),
            ..any()
        },
        EvidenceFilter {
            subject: text("key:0123456789abcdef"),
            model: text("gpt-2"),
            decision: Some(DecisionKind::Allow),
            ..any()
        },
    ] {
        let plan = store.plan(&filter).await.expect("a plan");
        assert!(plan.contains("Index"), "{filter:?}: {plan}");
        let read_whole = filled.iter().any(|scan| plan.contains(scan.as_str()));
        assert!(
            !read_whole && !plan.contains("->  Sort"),
            "{filter:?}: {plan}"
        );
    }
    store.close().await;
}
