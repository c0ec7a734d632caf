//! Words that the tests share.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jupiter_control_plane::config::{Config, EvidenceBackend, PostgresConfig};
use jupiter_control_plane::store::contract::samples::{SampleEmitter, batch};
use jupiter_control_plane::store::postgres::PostgresStore;
use jupiter_control_plane::store::{EvidenceFilter, Outcome, Store};
use jupiter_testkit::postgres::{Database, PASSWORD, PostgresCluster, USER};
use jupiter_testkit::wait;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// What a configuration file that says `lines` in `evidence.postgres` means.
pub(crate) fn config(lines: &str) -> PostgresConfig {
    let text = format!("evidence: {{backend: postgres, postgres: {{{lines}}}}}");
    let config = Config::parse(&text, "test", &|_| None).expect("a configuration");
    match config.evidence.backend {
        EvidenceBackend::Postgres(postgres) => postgres,
        EvidenceBackend::Sqlite => panic!("not Postgres"),
    }
}

fn lines(host: &str, database: &str, more: &str) -> String {
    format!(
        "host: {host}, database: {database}, user: {USER}, password: '{PASSWORD}', \
         ssl_mode: disable{more}"
    )
}

/// The database, with `more` lines such as `, max_open_conns: 3`.
pub(crate) fn config_of(database: &Database, more: &str) -> PostgresConfig {
    let host = format!("'127.0.0.1:{}'", database.port);
    config(&lines(&host, &database.name, more))
}

/// All servers of the cluster as candidates for the primary.
pub(crate) fn config_of_cluster(cluster: &PostgresCluster, more: &str) -> PostgresConfig {
    config(&lines(&hosts(&cluster.ports()), cluster.database(), more))
}

/// A list of hosts for a configuration file.
pub(crate) fn hosts(ports: &[u16]) -> String {
    let hosts: Vec<String> = ports
        .iter()
        .map(|port| format!("'127.0.0.1:{port}'"))
        .collect();
    format!("[{}]", hosts.join(", "))
}

pub(crate) async fn open(config: PostgresConfig) -> Arc<PostgresStore> {
    let store = PostgresStore::open(config, "local", "jupiter-test").await;
    Arc::new(store.expect("a store"))
}

/// Emitters that send batch after batch until they are stopped; each sends a
/// batch again until it is acknowledged, as filters do.
pub(crate) struct Senders {
    running: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Sent>>,
}

/// What senders know at the end.
#[derive(Default)]
pub(crate) struct Sent {
    pub(crate) acknowledged: BTreeSet<Uuid>,
    /// How often a batch had to be sent again.
    pub(crate) repeated: usize,
}

impl Senders {
    /// `first_epoch` tells the emitters of several stores apart.
    pub(crate) fn start(store: &Arc<PostgresStore>, first_epoch: u8, count: u8) -> Senders {
        let running = Arc::new(AtomicBool::new(true));
        let tasks = (first_epoch..first_epoch + count)
            .map(|epoch| tokio::spawn(send(Arc::clone(store), epoch, Arc::clone(&running))))
            .collect();
        Senders { running, tasks }
    }

    pub(crate) async fn stop(self) -> Sent {
        self.running.store(false, Ordering::Relaxed);
        let mut all = Sent::default();
        for task in self.tasks {
            let sent = task.await.expect("a sender that ends well");
            all.acknowledged.extend(sent.acknowledged);
            all.repeated += sent.repeated;
        }
        all
    }
}

async fn send(store: Arc<PostgresStore>, epoch: u8, running: Arc<AtomicBool>) -> Sent {
    let mut emitter = SampleEmitter::new(epoch);
    let mut sent = Sent::default();
    while running.load(Ordering::Relaxed) {
        let records = emitter.take(5);
        let started = Instant::now();
        let appended = loop {
            match store.append_evidence(batch(records.clone())).await {
                Ok(appended) => break appended,
                Err(error) => assert!(started.elapsed() < wait::PATIENCE, "{error}"),
            }
            sent.repeated += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(appended.chain_breaks, 0);
        assert!(!appended.outcomes.contains(&Outcome::Conflict));
        let ids = records.iter().map(|e| e.envelope.record.id);
        sent.acknowledged.extend(ids);
    }
    sent
}

/// The ids of all records, as a query finds them.
pub(crate) async fn stored(store: &PostgresStore) -> Vec<Uuid> {
    let mut ids = Vec::new();
    let mut before = None;
    loop {
        let page = store
            .query_evidence(&EvidenceFilter::default(), before, 1_000)
            .await
            .expect("a page");
        for record in &page.records {
            let record: serde_json::Value = serde_json::from_str(record).expect("a record");
            let id = record["id"].as_str().expect("an id");
            ids.push(id.parse().expect("an id"));
        }
        before = page.next;
        if before.is_none() {
            return ids;
        }
    }
}

/// Nothing acknowledged is missing, nothing is there twice, no sequence is torn.
pub(crate) async fn assert_nothing_lost_or_doubled(store: &PostgresStore, sent: &Sent) {
    let found = stored(store).await;
    let different: BTreeSet<Uuid> = found.iter().copied().collect();
    assert_eq!(different.len(), found.len(), "records are there twice");
    let missing: Vec<_> = sent.acknowledged.difference(&different).collect();
    assert!(missing.is_empty(), "acknowledged and missing: {missing:?}");
    let totals = store.evidence_totals().await.expect("totals");
    assert_eq!((totals.missing, totals.chain_breaks), (0, 0));
    assert_eq!(totals.records, found.len() as u64);
    assert!(!sent.acknowledged.is_empty());
}

/// Waits until senders have been acknowledged anew, `more` records at least.
pub(crate) async fn wait_for_more(store: &PostgresStore, more: u64) {
    let before = wait::until("totals", async || store.evidence_totals().await).await;
    wait::until("more records", async || {
        match store.evidence_totals().await {
            Ok(totals) if totals.records >= before.records + more => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// Where in a write the fault strikes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Strike {
    /// The write is refused.
    Before,
    /// The write is done, then its transaction is refused.
    After,
    /// The connection is cut while the write is under way.
    Cut,
    /// All is written and the commit is refused.
    Commit,
}

impl Strike {
    /// A trigger on `table` that strikes once, then never again.
    pub(crate) fn set(self, database: &Database, table: &str) {
        let (timing, action) = match self {
            Strike::Before => (
                "BEFORE INSERT OR UPDATE OR DELETE",
                "RAISE EXCEPTION 'told to fail'",
            ),
            Strike::After => (
                "AFTER INSERT OR UPDATE OR DELETE",
                "RAISE EXCEPTION 'told to fail'",
            ),
            Strike::Cut => (
                "BEFORE INSERT OR UPDATE OR DELETE",
                "PERFORM pg_terminate_backend(pg_backend_pid())",
            ),
            Strike::Commit => (
                "AFTER INSERT OR UPDATE OR DELETE",
                "RAISE EXCEPTION 'told to fail'",
            ),
        };
        let (constraint, deferred) = match self {
            Strike::Commit => ("CONSTRAINT", "DEFERRABLE INITIALLY DEFERRED"),
            _ => ("", ""),
        };
        database.sql(&format!(
            "CREATE SEQUENCE strikes;
             GRANT ALL ON SEQUENCE strikes TO public;
             CREATE FUNCTION strike() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
             BEGIN
                 -- A sequence is not rolled back: it strikes once.
                 IF nextval('strikes') = 1 THEN {action}; END IF;
                 RETURN coalesce(NEW, OLD);
             END $$;
             CREATE {constraint} TRIGGER strike {timing} ON {table} {deferred}
             FOR EACH ROW EXECUTE FUNCTION strike();"
        ));
    }
}
