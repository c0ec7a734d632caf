//! Whether a page of evidence costs the same however much there is: `./justw bench keyset`.
//!
//! The same queries as `GET /v1/evidence` makes, at 10,000 records and at 5,000,000, on
//! Postgres and on SQLite: without a filter, by subject, model, decision, rule and time,
//! each at the newest page and at pages all over. Rows are put in by SQL alone, spread
//! over weeks as records are. The warm median counts; where it grew by more than
//! [`FLAT`], the run fails. `sqlite` or `postgres` measures that one alone.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement that cannot go on ends"
)]

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use jupiter_control_plane::config::{Config, EvidenceBackend};
use jupiter_control_plane::store::contract::samples::{
    BEGIN_US, SUBJECT, SampleEmitter, at, batch, sealed,
};
use jupiter_control_plane::store::postgres::PostgresStore;
use jupiter_control_plane::store::sqlite::SqliteStore;
use jupiter_control_plane::store::{EvidenceFilter, Store};
use jupiter_evidence::DecisionKind;
use jupiter_testkit::postgres::PostgresCluster;
use uuid::Uuid;

const FEW: u64 = 10_000;
const MANY: u64 = 5_000_000;

/// The records of the fewest stand as close as those of the most: what is between two
/// of one subject is the same.
const SUBJECTS: u64 = 500;

/// Milliseconds from one record to the next: so that the most are four weeks of them.
const STEP_MS: u64 = 4 * 7 * 86_400_000 / MANY;

const PAGE: u32 = 50;
const PAGES: u64 = 41;

/// A tree of pages is a level or two deeper for five hundred times as many rows.
const FLAT: f64 = 3.0;

const SETTINGS: &str = "
fsync = off
shared_buffers = 1GB
max_wal_size = 8GB
";

/// `n` from {from} to {to}, as both databases read it. The id of `n` is that of its time.
const IDS: &str = "(lpad(to_hex({millis} + n * {step}), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let most = std::env::args().find_map(|argument| argument.parse().ok());
    let most = most.unwrap_or(MANY);
    let folder = tempfile::tempdir().expect("a folder");
    println!("| store | query | {FEW} records, ms | {most} records, ms | ratio |");
    println!("| --- | --- | ---: | ---: | ---: |");
    let only = |store: &str| std::env::args().any(|argument| argument == store);
    let postgres = only("sqlite") || on_postgres(most).await;
    let file = folder.path().join("mercator.db");
    let sqlite = only("postgres") || on_sqlite(&file, most).await;
    match postgres && sqlite {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

async fn on_postgres(most: u64) -> bool {
    let cluster = PostgresCluster::start(0, SETTINGS).await;
    let text = format!("evidence:\n  {}\n", cluster.evidence_lines().join("\n  "));
    let config = Config::parse(&text, "bench", &|_| None).expect("a configuration");
    let EvidenceBackend::Postgres(config) = config.evidence.backend else {
        panic!("not Postgres");
    };
    let store = PostgresStore::open(config, "local", "bench").await;
    let store = store.expect("a store");
    begin(&store).await;
    let fill = |from: u64, to: u64| {
        let ids = IDS
            .replace("{millis}", &(BEGIN_US / 1_000).to_string())
            .replace("{step}", &STEP_MS.to_string());
        cluster.sql(
            0,
            &format!(
                "INSERT INTO evidence (origin_region, id, time_us, received_us, source, epoch_key,
                     seq, subject_ref, model, decision, leaf, salt, record, batch, batch_place)
                 SELECT 'local', {ids}, ({millis} + n * {STEP_MS}) * 1000, 0, 'outbox', 1, n,
                     CASE WHEN n % {SUBJECTS} = 7 THEN (SELECT subject_ref FROM subject_keys)
                          ELSE ('00000000-0000-4000-8000-' || lpad((n % {SUBJECTS})::text, 12, '0'))::uuid
                     END,
                     'gpt-' || n % 5,
                     CASE WHEN n % 10 = 0 THEN 'deny' WHEN n % 99 = 0 THEN 'error' ELSE 'allow' END,
                     '', '', repeat('x', 400), n / 500, n % 500 + 1
                 FROM generate_series({from}::bigint, {to}) n;
                 INSERT INTO evidence_rules (rule, origin_region, id)
                 SELECT 'guard/often', 'local', {ids} FROM generate_series({from}::bigint, {to}) n;
                 INSERT INTO log_batches (batch, first_index, leaves, ids)
                 SELECT b, b * 500 + 1000, 500, '{{}}' FROM generate_series({from}::bigint / 500, {to} / 500) b
                 ON CONFLICT DO NOTHING;",
                millis = BEGIN_US / 1_000,
            ),
        );
        // As autovacuum would sooner or later.
        cluster.sql(0, "VACUUM ANALYZE");
    };
    let name = format!("Postgres {}", cluster.sql(0, "SHOW server_version"));
    let flat = compare(&name, &store, most, fill).await;
    store.close().await;
    flat
}

async fn on_sqlite(file: &Path, most: u64) -> bool {
    let store = SqliteStore::open(file).await.expect("a store");
    begin(&store).await;
    let fill = |from: u64, to: u64| {
        let sql = format!(
            "CREATE TEMP TABLE numbers AS
             WITH RECURSIVE s(n) AS (SELECT {from} UNION ALL SELECT n + 1 FROM s WHERE n < {to})
             SELECT n, unhex(printf('%012x70008000%012x', {millis} + n * {STEP_MS}, n)) AS id FROM s;
             INSERT INTO evidence (arrival, id, time_us, received_us, source, epoch_key, seq,
                 subject_ref, model, decision, leaf, salt, record)
             SELECT 1000 + n, id, ({millis} + n * {STEP_MS}) * 1000, 0, 'outbox', 1, n,
                 CASE WHEN n % {SUBJECTS} = 7 THEN (SELECT subject_ref FROM subject_keys)
                      ELSE unhex(printf('%032x', n % {SUBJECTS})) END,
                 'gpt-' || (n % 5),
                 CASE WHEN n % 10 = 0 THEN 'deny' WHEN n % 99 = 0 THEN 'error' ELSE 'allow' END,
                 x'', x'', printf('%.400c', 'x') FROM numbers;
             INSERT INTO evidence_rules (rule, id) SELECT 'guard/often', id FROM numbers;
             UPDATE log_state SET size = 1000 + {to};
             ANALYZE;",
            millis = BEGIN_US / 1_000,
        );
        let program = "import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
if sqlite3.sqlite_version_info < (3, 41): c.create_function('unhex', 1, bytes.fromhex)
c.executescript('PRAGMA synchronous=OFF; PRAGMA cache_size=-262144; BEGIN;' + sys.argv[2] + 'COMMIT;')";
        let filled = Command::new("python3")
            .args(["-c", program])
            .arg(file)
            .arg(sql)
            .status();
        assert!(filled.expect("python3 runs").success());
    };
    let flat = compare("SQLite", &store, most, fill).await;
    store.close().await;
    flat
}

/// Real records: they make the weeks' tables, the emitter and the subject.
async fn begin(store: &dyn Store) {
    let mut records = SampleEmitter::new(1).take(6);
    for (week, evidence) in records.iter_mut().enumerate() {
        let mut record = evidence.envelope.record.clone();
        let millis = BEGIN_US / 1_000 + week as u64 * 7 * 86_400_000;
        record.id = Uuid::from_u128(u128::from(millis) << 80 | 0x7000_8000_0000_0000_0000);
        record.emitter.epoch = format!("{week:032x}");
        (record.emitter.seq, record.emitter.prev) = (0, String::new());
        *evidence = sealed(record);
    }
    store
        .append_evidence(batch(records))
        .await
        .expect("appended");
}

fn filters() -> Vec<(&'static str, EvidenceFilter)> {
    let any = EvidenceFilter::default;
    let text = |text: &str| Some(text.to_owned());
    let decided = |decision| EvidenceFilter {
        decision: Some(decision),
        ..any()
    };
    vec![
        ("all", any()),
        (
            "since, until",
            EvidenceFilter {
                since: Some(at(0)),
                until: Some(at(MANY * STEP_MS * 1_000)),
                ..any()
            },
        ),
        (
            "subject",
            EvidenceFilter {
                subject: text(SUBJECT),
                ..any()
            },
        ),
        (
            "model",
            EvidenceFilter {
                model: text("gpt-3"),
                ..any()
            },
        ),
        ("denied", decided(DecisionKind::Deny)),
        ("failed", decided(DecisionKind::Error)),
        (
            "rule",
            EvidenceFilter {
                rule: text("guard/often"),
                ..any()
            },
        ),
        (
            "subject, model, allowed",
            EvidenceFilter {
                subject: text(SUBJECT),
                model: text("gpt-2"),
                decision: Some(DecisionKind::Allow),
                ..any()
            },
        ),
    ]
}

async fn compare(name: &str, store: &dyn Store, most: u64, fill: impl Fn(u64, u64)) -> bool {
    fill(1, FEW);
    let few = measure(store, FEW).await;
    fill(FEW + 1, most);
    let many = measure(store, most).await;
    let mut flat = true;
    for (few, many) in few.iter().zip(&many) {
        let ratio = many.1 / few.1;
        flat &= ratio <= FLAT;
        println!(
            "| {name} | {} | {:.2} | {:.2} | {ratio:.2} |",
            few.0, few.1, many.1
        );
    }
    flat
}

/// Median milliseconds of each query: its newest page, and pages all over.
async fn measure(store: &dyn Store, records: u64) -> Vec<(String, f64)> {
    let mut measured = Vec::new();
    for (name, filter) in filters() {
        for deep in [false, true] {
            let mut times = Vec::new();
            for page in 0..PAGES {
                // The upper nine tenths of them, in an order without a system.
                let n = records / 10 + (page * 7_919_737) % (records * 9 / 10);
                let millis = BEGIN_US / 1_000 + n * STEP_MS;
                let before = Uuid::from_u128(u128::from(millis) << 80);
                let before = deep.then_some(before);
                // Once to warm up: other pages of other queries were read meanwhile.
                store
                    .query_evidence(&filter, before, PAGE)
                    .await
                    .expect("a page");
                let begun = Instant::now();
                let page = store.query_evidence(&filter, before, PAGE).await;
                times.push(begun.elapsed().as_secs_f64() * 1_000.0);
                assert!(!page.expect("a page").records.is_empty(), "{name}");
            }
            times.sort_by(f64::total_cmp);
            let place = if deep { "somewhere" } else { "newest" };
            measured.push((format!("{name}, {place}"), times[times.len() / 2]));
        }
    }
    measured
}
