//! What the witness brings in, and what it only tells of.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jupiter_evidence::{EmitterChain, Envelope, EvidenceRecord};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

use super::*;
use crate::app::SystemClock;
use crate::envoy::ecds::PluginSettings;
use crate::health::HealthTargets;
use crate::source::SourceKind;
use crate::store::sqlite::SqliteStore;

struct World {
    folder: tempfile::TempDir,
    config: Config,
    chain: EmitterChain,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("data_dir: {}", folder.path().display());
        let config = Config::parse(&text, "test", &|_| None).unwrap();
        fs::create_dir_all(config.envoy_dir()).unwrap();
        World {
            folder,
            config,
            chain: EmitterChain::start([7; 16]),
        }
    }

    async fn app(&self) -> App {
        let store = SqliteStore::open(&self.folder.path().join("mercator.db"))
            .await
            .unwrap();
        let plugin = PluginSettings::new(&self.config);
        let targets = HealthTargets::new(&self.config);
        let clock = Arc::new(SystemClock);
        let envoy = EnvoyAdmin::new(self.config.envoy.admin).unwrap();
        App::start(
            Arc::new(store),
            clock,
            plugin,
            SourceKind::Api,
            &targets,
            envoy,
        )
        .await
        .unwrap()
    }

    /// An envelope as the filter makes them, next in its sequence.
    fn envelope(&mut self) -> String {
        let now = jiff::Timestamp::now();
        let mut record: EvidenceRecord = serde_json::from_value(json!({
            "v": 1, "id": Uuid::now_v7(), "region": "local", "stream": false,
            "time": jupiter_evidence::rfc3339_micros(now.as_microsecond() as u64),
            "emitter": {"id": "jupiter-1", "epoch": "", "seq": 0, "prev": ""},
            "decision": "allow", "outcome": "completed",
            "request_inspection": "inspected", "response_inspection": "inspected",
            "http.request.method": "POST", "url.path": "/v1/chat/completions",
            "duration_us": 1, "request_bytes": 1, "response_bytes": 1,
        }))
        .unwrap();
        let sealed = self.chain.seal(&mut record).unwrap();
        Envelope::write(&sealed.canonical, &"0".repeat(32), None, false).unwrap()
    }

    fn log(&self, line: &serde_json::Value) {
        let path = access_log_path(&self.config);
        let mut options = OpenOptions::new();
        let mut file = options.create(true).append(true).open(path).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}

/// An access log line as Envoy writes it.
fn line(evidence: Option<&str>) -> serde_json::Value {
    json!({
        "evidence": evidence, "code": 200, "details": "via_upstream", "route": "openai",
        "upstream_host": "127.0.0.1:9", "request_id": Uuid::now_v7(), "method": "POST",
    })
}

fn metric(app: &App, name: &str) -> u64 {
    let text = app.metrics.encode("").unwrap();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap().parse().unwrap()
}

async fn records(app: &App) -> u64 {
    app.store.evidence_totals().await.unwrap().records
}

async fn eventually(what: impl AsyncFn() -> bool) {
    for _ in 0..200 {
        if what().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("it never came true");
}

#[tokio::test]
async fn what_the_outbox_lost_is_recovered_and_nothing_is_stored_twice() {
    let mut world = World::new();
    let app = world.app().await;
    let (delivered, lost) = (world.envelope(), world.envelope());
    ingest::ingest(&app, Channel::Outbox, delivered.as_bytes())
        .await
        .unwrap();
    world.log(&line(Some(&delivered)));
    world.log(&line(Some(&lost)));
    let witness = Witness::start(app.clone(), &world.config, None);
    eventually(async || records(&app).await == 2).await;
    witness.stop().await;
    assert_eq!(records(&app).await, 2);
    assert_eq!(metric(&app, "mercator_evidence_recovered_total"), 1);
    assert_eq!(
        metric(&app, "mercator_evidence_unrecorded_exchanges_total"),
        0
    );
}

#[tokio::test]
async fn the_outbox_has_the_first_turn() {
    let mut world = World::new();
    let app = world.app().await;
    let envelope = world.envelope();
    let witness = Witness::start(app.clone(), &world.config, None);
    world.log(&line(Some(&envelope)));
    tokio::time::sleep(LOOK_EVERY * 2).await;
    assert_eq!(records(&app).await, 0);
    ingest::ingest(&app, Channel::Outbox, envelope.as_bytes())
        .await
        .unwrap();
    witness.stop().await;
    assert_eq!(metric(&app, "mercator_evidence_recovered_total"), 0);
}

#[tokio::test]
async fn an_exchange_without_evidence_is_counted_and_listed_once() {
    let world = World::new();
    let app = world.app().await;
    world.log(&line(None));
    world.log(&json!("not what we ask envoy to write"));
    let witness = Witness::start(app.clone(), &world.config, None);
    witness.stop().await;
    assert_eq!(
        metric(&app, "mercator_evidence_unrecorded_exchanges_total"),
        1
    );
    assert_eq!(metric(&app, "mercator_witness_unreadable_lines_total"), 1);
    let listed = app.store.evidence_gaps(10).await.unwrap().unrecorded;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].instance, world.config.instance);
    assert!(listed[0].request_id.is_some());
    // Read again, as after a crash before the place was noted.
    let cursor = cursor_name(&world.config.instance);
    app.store.set_cursor(&cursor, "").await.unwrap();
    let witness = Witness::start(app.clone(), &world.config, None);
    witness.stop().await;
    assert_eq!(
        app.store.evidence_gaps(10).await.unwrap().unrecorded,
        listed
    );
    // The next run goes on behind them.
    let again = world.app().await;
    Witness::start(again.clone(), &world.config, None)
        .stop()
        .await;
    assert_eq!(
        metric(&again, "mercator_evidence_unrecorded_exchanges_total"),
        0
    );
}

#[tokio::test]
async fn a_stop_reads_to_the_end_without_grace() {
    let mut world = World::new();
    let app = world.app().await;
    let total = BATCH_LINES * 2 + 7;
    for _ in 0..total {
        let envelope = world.envelope();
        world.log(&line(Some(&envelope)));
    }
    Witness::start(app.clone(), &world.config, None)
        .stop()
        .await;
    assert_eq!(records(&app).await, total as u64);
    assert_eq!(metric(&app, "mercator_witness_lag_bytes"), 0);
}

#[tokio::test]
async fn while_the_store_fails_the_place_stays_and_nothing_is_lost() {
    let mut world = World::new();
    let app = world.app().await;
    let envelope = world.envelope();
    world.log(&line(Some(&envelope)));
    app.store.close().await;
    let mut reader = reader(app, &world.config);
    assert!(reader.step(Duration::ZERO).await.is_err());
    assert_eq!(reader.pending.len(), 1);

    let app = world.app().await;
    Witness::start(app.clone(), &world.config, None)
        .stop()
        .await;
    assert_eq!(records(&app).await, 1);
}

#[tokio::test]
async fn memory_is_bounded_while_lines_wait() {
    let world = World::new();
    let long = "x".repeat(60_000);
    for _ in 0..200 {
        world.log(&line(Some(&long)));
    }
    let mut reader = reader(world.app().await, &world.config);
    for _ in 0..50 {
        let _ = reader.step(Duration::from_secs(3600)).await;
    }
    assert!(reader.pending_bytes <= PENDING_BYTES + BATCH_BYTES);
    assert!(reader.pending_bytes > PENDING_BYTES / 2);
}

/// Answers everything with 200, and counts.
async fn envoy_admin() -> (EnvoyAdmin, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = EnvoyAdmin::new(listener.local_addr().unwrap()).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            counter.fetch_add(1, Ordering::Relaxed);
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            let _ = stream.write_all(answer).await;
        }
    });
    (admin, asked)
}

#[tokio::test]
async fn a_long_log_is_renamed_once_and_read_on() {
    let mut world = World::new();
    let app = world.app().await;
    let (admin, asked) = envoy_admin().await;
    let (first, second) = (world.envelope(), world.envelope());
    world.log(&line(Some(&first)));
    let mut reader = reader(app.clone(), &world.config);
    assert!(reader.step(Duration::ZERO).await.is_ok());
    reader.bound_log(&admin).await;
    assert_eq!(asked.load(Ordering::Relaxed), 0, "it is short");

    reader.log_limit_bytes = 100;
    reader.bound_log(&admin).await;
    assert!(tail::renamed(&reader.path).exists() && !reader.path.exists());
    // Until there is a new file Envoy is asked again, and nothing is renamed.
    reader.bound_log(&admin).await;
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    world.log(&line(Some(&second)));
    reader.bound_log(&admin).await;
    assert_eq!(
        asked.load(Ordering::Relaxed),
        2,
        "the piece before is not read to its end yet"
    );
    eventually(async || records(&app).await == 1).await;
    for _ in 0..8 {
        assert!(reader.step(Duration::ZERO).await.is_ok());
        tokio::time::sleep(LOOK_EVERY).await;
    }
    assert_eq!(records(&app).await, 2);
}

fn reader(app: App, config: &Config) -> Reader {
    let path: &Path = &access_log_path(config);
    Reader {
        tail: Tail::resume(path, None),
        metrics: WitnessMetrics::register(&app.metrics),
        app,
        instance: config.instance.clone(),
        path: path.to_owned(),
        pending: VecDeque::new(),
        pending_bytes: 0,
        log_limit_bytes: LOG_LIMIT_BYTES,
    }
}
