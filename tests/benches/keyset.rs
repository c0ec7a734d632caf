//! Whether a page of evidence costs the same however much there is: `./justw bench keyset`.
//!
//! The same queries as `GET /v1/evidence` makes, at 10,000 records and at 5,000,000, on
//! Postgres and on SQLite: without a filter, by subject, model, decision, rule and time,
//! each at the newest page and at pages all over. Rows are put in by SQL alone. Both
//! numbers of them lie over the same weeks, and every page that is read is full, at
//! either: what is compared differs in nothing but how much else there is. The warm
//! median counts; where it grew by more than [`FLAT`], the run fails. `sqlite` or
//! `postgres` measures that one alone.

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

/// One in so many is of the subject that is asked for, at either number.
const SUBJECTS: u64 = 20;

/// Of another subject there are as many at either number: one in so many of [`FEW`].
const RARE: u64 = 40;
const RARE_SUBJECT: &str = "key:fedcba9876543210";

/// From the first record to the last one.
const SPAN_MS: u64 = 4 * 7 * 86_400_000;

const PAGE: u32 = 50;
const PAGES: u64 = 41;

/// A tree of pages is a level or two deeper for five hundred times as many rows.
const FLAT: f64 = 3.0;

const SETTINGS: &str = "
fsync = off
shared_buffers = 1GB
max_wal_size = 8GB
";

/// As both databases read it: the decision on the record that is number `r` of its fill.
const DECISION: &str =
    "CASE WHEN r % 10 = 0 THEN 'deny' WHEN r % 25 = 3 THEN 'error' ELSE 'allow' END";

/// Its model: either one, of every subject.
const MODEL: &str = "'gpt-' || ((r + r / 20) % 2)";

/// Records about to be put in: every `apart`th place in time, or all other places.
#[derive(Clone, Copy)]
struct Fill {
    most: u64,
    apart: u64,
    few: bool,
}

impl Fill {
    fn new(most: u64, few: bool) -> Fill {
        let apart = most / FEW;
        Fill { most, apart, few }
    }

    fn step_ms(self) -> u64 {
        SPAN_MS / self.most
    }

    /// A selection of `n`, the place in time, and `r`, which counts what is put in,
    /// from the numbers `n` of all places.
    fn places(self, numbers: &str) -> String {
        let apart = self.apart;
        match self.few {
            true => format!("SELECT n, n / {apart} AS r FROM {numbers} WHERE n % {apart} = 0"),
            false => format!("SELECT n, n AS r FROM {numbers} WHERE n % {apart} <> 0"),
        }
    }

    /// Whose it is: an SQL expression of `r`, from those of the two asked for and of others.
    fn subject(self, asked: &str, other: &str) -> String {
        let reference =
            |name: &str| format!("(SELECT subject_ref FROM subject_keys WHERE subject = '{name}')");
        let rare = match self.few {
            true => format!("WHEN r % {RARE} = 9 THEN {}", reference(RARE_SUBJECT)),
            false => String::new(),
        };
        let asked = reference(asked);
        format!("CASE {rare} WHEN r % {SUBJECTS} = 7 THEN {asked} ELSE {other} END")
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let most = std::env::args().find_map(|argument| argument.parse().ok());
    let most: u64 = most.unwrap_or(MANY);
    assert!(
        most > FEW && most.is_multiple_of(FEW),
        "a multiple of {FEW}"
    );
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
    let fill = |fill: Fill| {
        let (millis, step, most) = (BEGIN_US / 1_000, fill.step_ms(), fill.most);
        let places = fill.places(&format!("generate_series(1::bigint, {most}) n"));
        let ids = format!(
            "(lpad(to_hex({millis} + n * {step}), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid"
        );
        let subject = fill.subject(
            SUBJECT,
            "('00000000-0000-4000-8000-' || lpad((r % 9973)::text, 12, '0'))::uuid",
        );
        cluster.sql(
            0,
            &format!(
                "INSERT INTO evidence (origin_region, id, time_us, received_us, source, epoch_key,
                     seq, subject_ref, model, decision, leaf, salt, record, batch, batch_place)
                 SELECT 'local', {ids}, ({millis} + n * {step}) * 1000, 0, 'outbox', 1, n,
                     {subject}, {MODEL}, {DECISION},
                     '', '', repeat('x', 400), n / 500, n % 500 + 1
                 FROM ({places}) placed;
                 INSERT INTO evidence_rules (rule, origin_region, id)
                 SELECT 'guard/often', 'local', {ids} FROM ({places}) placed;
                 INSERT INTO log_batches (batch, first_index, leaves, ids)
                 SELECT b, b * 500 + 1000, 500, '{{}}' FROM generate_series(0::bigint, {most} / 500) b
                 ON CONFLICT DO NOTHING;",
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
    let fill = |fill: Fill| {
        let (millis, step, most) = (BEGIN_US / 1_000, fill.step_ms(), fill.most);
        let places = fill.places("numbers");
        let subject = fill.subject(SUBJECT, "unhex(printf('%032x', r % 9973))");
        let sql = format!(
            "CREATE TEMP TABLE placed AS
             WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {most})
             SELECT n, r, unhex(printf('%012x70008000%012x', {millis} + n * {step}, n)) AS id
             FROM ({places});
             INSERT INTO evidence (arrival, id, time_us, received_us, source, epoch_key, seq,
                 subject_ref, model, decision, leaf, salt, record)
             SELECT 1000 + n, id, ({millis} + n * {step}) * 1000, 0, 'outbox', 1, n,
                 {subject}, {MODEL}, {DECISION}, x'', x'', printf('%.400c', 'x') FROM placed;
             INSERT INTO evidence_rules (rule, id) SELECT 'guard/often', id FROM placed;
             UPDATE log_state SET size = 1000 + {most};
             ANALYZE;",
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
    records[1].envelope.subject = Some(RARE_SUBJECT.to_owned());
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
                until: Some(at(SPAN_MS * 1_000)),
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
            "subject of few",
            EvidenceFilter {
                subject: text(RARE_SUBJECT),
                ..any()
            },
        ),
        (
            "model",
            EvidenceFilter {
                model: text("gpt-1"),
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
                model: text("gpt-0"),
                decision: Some(DecisionKind::Allow),
                ..any()
            },
        ),
    ]
}

async fn compare(name: &str, store: &dyn Store, most: u64, fill: impl Fn(Fill)) -> bool {
    fill(Fill::new(most, true));
    let few = measure(store).await;
    fill(Fill::new(most, false));
    let many = measure(store).await;
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
async fn measure(store: &dyn Store) -> Vec<(String, f64)> {
    let mut measured = Vec::new();
    for (name, filter) in filters() {
        for deep in [false, true] {
            let mut times = Vec::new();
            for page in 0..PAGES {
                // The upper three quarters of the time, in an order without a system.
                let ms = SPAN_MS / 4 + (page * 7_919_737_919) % (SPAN_MS * 3 / 4);
                let millis = BEGIN_US / 1_000 + ms;
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
                let records = page.expect("a page").records;
                assert_eq!(records.len(), PAGE as usize, "{name}");
            }
            times.sort_by(f64::total_cmp);
            let place = if deep { "somewhere" } else { "newest" };
            measured.push((format!("{name}, {place}"), times[times.len() / 2]));
        }
    }
    measured
}
