//! How many records per second are acknowledged: `./justw bench ingest`.
//!
//! In one run, on one machine: our path into Postgres and into SQLite, and what
//! Postgres itself takes by `COPY` into the same tables, without asking whether
//! it has a record already and without accounting for sequences. Commits are
//! durable everywhere (`fsync`, `synchronous_commit=on`, `synchronous=FULL`).
//! The records are of [`SUBJECTS`] subjects, so that nearly every one of a batch
//! is another's.
//! A sealer works beside our paths, as it does in a control plane: how long after
//! the last acknowledgement all is under a published checkpoint is told, too.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement that cannot go on ends"
)]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jupiter_control_plane::app::{App, SystemClock};
use jupiter_control_plane::config::{Config, EvidenceBackend};
use jupiter_control_plane::envoy::admin::EnvoyAdmin;
use jupiter_control_plane::envoy::ecds::PluginSettings;
use jupiter_control_plane::health::HealthTargets;
use jupiter_control_plane::seal::{LogKeys, Sealer, Sealing};
use jupiter_control_plane::source::SourceKind;
use jupiter_control_plane::store::contract::samples::{SampleEmitter, batch};
use jupiter_control_plane::store::postgres::PostgresStore;
use jupiter_control_plane::store::sqlite::SqliteStore;
use jupiter_control_plane::store::{NewEvidence, Store};
use jupiter_testkit::postgres::{PASSWORD, PostgresCluster};
use tokio::task::JoinSet;

/// Emitters that send side by side.
const SENDERS: u8 = 8;
/// Batches that each sends, one after the other.
const BATCHES: usize = 25;
const BATCH: usize = 500;
/// Measured in turn, so that a busy moment hits all alike; the median counts.
const ROUNDS: usize = 3;

/// Whose records these are: each sender's are of all of them, in no order.
const SUBJECTS: usize = 5_000;

const RECORDS: usize = SENDERS as usize * BATCHES * BATCH;

/// As a server that is meant for the work is set up.
const SETTINGS: &str = "
fsync = on
shared_buffers = 1GB
max_wal_size = 8GB
wal_compression = lz4
checkpoint_timeout = 15min
";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let cluster = PostgresCluster::start(0, SETTINGS).await;
    let folder = tempfile::tempdir().expect("a folder");
    let postgres: Arc<dyn Store> = Arc::new(open_postgres(&cluster).await);
    let file = folder.path().join("mercator.db");
    let sqlite: Arc<dyn Store> = Arc::new(SqliteStore::open(&file).await.expect("SQLite"));
    let mut in_postgres = Log::start(&postgres, &folder.path().join("postgres")).await;
    let mut in_sqlite = Log::start(&sqlite, &folder.path().join("sqlite")).await;
    let (mut ours, mut copy, mut lite) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let first_epoch = round as u8 * 3 * SENDERS;
        ours.push(append(&postgres, records(first_epoch)).await);
        in_postgres.wait_until_sealed().await;
        let scripts = copy_scripts(&cluster, folder.path(), &records(first_epoch + SENDERS));
        copy.push(run_copies(&cluster, &scripts).await);
        lite.push(append(&sqlite, records(first_epoch + 2 * SENDERS)).await);
        in_sqlite.wait_until_sealed().await;
    }
    let stored = cluster.sql(0, "SELECT count(*) FROM evidence");
    assert_eq!(stored, (2 * ROUNDS * RECORDS).to_string());
    let version = cluster.sql(0, "SHOW server_version");
    let sealed = [in_postgres.stop().await, in_sqlite.stop().await];
    postgres.close().await;
    sqlite.close().await;

    let (ours, copy, lite) = (median(ours), median(copy), median(lite));
    println!(
        "{RECORDS} records a round, batches of {BATCH}, {SENDERS} senders, median of {ROUNDS}"
    );
    let [sealed_postgres, sealed_sqlite] = sealed.map(|sealed| format!("{sealed:.1} s"));
    println!("| path | records/s | all sealed, at the latest after |");
    println!("| --- | ---: | ---: |");
    println!("| Postgres {version}, our path | {ours:.0} | {sealed_postgres} |");
    println!("| Postgres {version}, `COPY` without deduplication | {copy:.0} | |");
    println!("| SQLite, our path | {lite:.0} | {sealed_sqlite} |");
    println!("ratio to COPY: {:.2}", ours / copy);
    match ours >= copy / 2.0 {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// A log that is sealed as records come.
struct Log {
    app: App,
    sealing: Sealing,
    size: u64,
    /// The longest time from a last acknowledgement until all was published, seconds.
    longest: f64,
}

impl Log {
    async fn start(store: &Arc<dyn Store>, folder: &Path) -> Log {
        std::fs::create_dir(folder).expect("a folder");
        let config = Config::parse("", "bench", &|_| None).expect("a configuration");
        let (plugin, targets) = (PluginSettings::new(&config), HealthTargets::new(&config));
        let clock = Arc::new(SystemClock);
        let envoy = EnvoyAdmin::new(config.envoy.admin).expect("a client");
        let store = Arc::clone(store);
        let app = App::start(store, clock, plugin, SourceKind::Api, &targets, envoy).await;
        let app = app.expect("an app");
        let keys = LogKeys::load(folder, "mercator/bench", None).expect("keys");
        let sealer = Sealer::new(app.clone(), folder, "mercator/bench", keys).expect("a sealer");
        Log {
            app,
            sealing: Sealing::start(sealer),
            size: 0,
            longest: 0.0,
        }
    }

    async fn wait_until_sealed(&mut self) {
        let acknowledged = Instant::now();
        self.size += RECORDS as u64;
        while self
            .app
            .log
            .published()
            .is_none_or(|now| now.size < self.size)
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.longest = self.longest.max(acknowledged.elapsed().as_secs_f64());
    }

    async fn stop(self) -> f64 {
        self.sealing.stop().await;
        self.longest
    }
}

async fn open_postgres(cluster: &PostgresCluster) -> PostgresStore {
    let text = format!("evidence:\n  {}\n", cluster.evidence_lines().join("\n  "));
    let config = Config::parse(&text, "bench", &|_| None).expect("a configuration");
    let EvidenceBackend::Postgres(config) = config.evidence.backend else {
        panic!("not Postgres");
    };
    let store = PostgresStore::open(config, "local", "bench").await;
    store.expect("a store")
}

/// Each sender's records, ready to be sent.
fn records(first_epoch: u8) -> Vec<Vec<NewEvidence>> {
    (first_epoch..first_epoch + SENDERS)
        .map(|epoch| {
            let mut emitter = SampleEmitter::new(epoch);
            (0..BATCHES * BATCH)
                .map(|n| emitter.next_of(Some(&subject(epoch, n)), |_| ()))
                .collect()
        })
        .collect()
}

/// Whose a sender's record is.
fn subject(epoch: u8, n: usize) -> String {
    let number = (n * 2_029 + usize::from(epoch) * 617) % SUBJECTS;
    format!("key:{number:016x}")
}

/// Records per second until the last one is acknowledged.
async fn append(store: &Arc<dyn Store>, records: Vec<Vec<NewEvidence>>) -> f64 {
    let mut senders = JoinSet::new();
    let started = Instant::now();
    for records in records {
        let store = Arc::clone(store);
        senders.spawn(async move {
            let mut records = records.into_iter();
            for _ in 0..BATCHES {
                let some: Vec<_> = records.by_ref().take(BATCH).collect();
                store.append_evidence(batch(some)).await.expect("appended");
            }
        });
    }
    senders.join_all().await;
    per_second(started.elapsed())
}

/// A script for each sender: its batches, a transaction each.
fn copy_scripts(
    cluster: &PostgresCluster,
    folder: &Path,
    records: &[Vec<NewEvidence>],
) -> Vec<PathBuf> {
    let epoch = cluster.sql(0, "SELECT max(key) FROM emitter_epochs");
    let mut scripts = Vec::new();
    for (sender, records) in records.iter().enumerate() {
        let mut text = String::new();
        for records in records.chunks(BATCH) {
            text.push_str(
                "BEGIN;\nCOPY evidence (origin_region, id, time_us, received_us, source, ",
            );
            text.push_str(
                "epoch_key, seq, subject_ref, model, decision, leaf, salt, record) FROM STDIN;\n",
            );
            for evidence in records {
                let record = &evidence.envelope.record;
                let line = evidence.envelope.canonical.replace('\\', "\\\\");
                let salt: String = evidence.salt.iter().map(|b| format!("{b:02x}")).collect();
                let _ = writeln!(
                    text,
                    "local\t{}\t{}\t0\toutbox\t{epoch}\t{}\t{}\t{}\t{}\t\\\\x{}\t\\\\x{salt}\t{line}",
                    record.id,
                    evidence.time.as_microsecond(),
                    record.emitter.seq,
                    reference(evidence),
                    record.request_model.as_deref().unwrap_or("\\N"),
                    record.decision.as_str(),
                    evidence.leaf,
                );
            }
            text.push_str("\\.\nCOPY evidence_rules (rule, origin_region, id) FROM STDIN;\n");
            for evidence in records {
                let record = &evidence.envelope.record;
                for matched in &record.matched_rules {
                    let _ = writeln!(text, "{}\tlocal\t{}", matched.rule, record.id);
                    let _ = writeln!(
                        text,
                        "{}/{}\tlocal\t{}",
                        matched.policy, matched.rule, record.id
                    );
                }
            }
            text.push_str("\\.\nCOMMIT;\n");
        }
        let script = folder.join(format!("copy-{sender}.sql"));
        std::fs::write(&script, text).expect("a script");
        scripts.push(script);
    }
    scripts
}

/// Of the same form as a subject's reference, and another for each subject.
fn reference(evidence: &NewEvidence) -> String {
    let subject = evidence.envelope.subject.as_deref().expect("a subject");
    let number = subject.strip_prefix("key:").expect("a key");
    let number = u64::from_str_radix(number, 16).expect("a number");
    format!("{number:08x}-0000-4000-8000-{number:012x}")
}

async fn run_copies(cluster: &PostgresCluster, scripts: &[PathBuf]) -> f64 {
    let started = Instant::now();
    let running: Vec<_> = scripts
        .iter()
        .map(|script| {
            let mut psql = Command::new("psql");
            psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"]);
            psql.args(["-U", "postgres", "-d", cluster.database()]);
            psql.env("PGPASSWORD", PASSWORD);
            psql.arg("-p").arg(cluster.node(0).port.to_string());
            psql.arg("-f").arg(script).spawn().expect("psql runs")
        })
        .collect();
    for mut psql in running {
        let done = tokio::task::spawn_blocking(move || psql.wait()).await;
        assert!(done.expect("a task").expect("psql ends").success());
    }
    per_second(started.elapsed())
}

fn per_second(elapsed: Duration) -> f64 {
    RECORDS as f64 / elapsed.as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
