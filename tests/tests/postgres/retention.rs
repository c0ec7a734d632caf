//! Old records go once, wherever a write fails, and go again after a restore.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use jupiter_control_plane::app::{App, Clock};
use jupiter_control_plane::config::Config;
use jupiter_control_plane::envoy::admin::EnvoyAdmin;
use jupiter_control_plane::envoy::ecds::PluginSettings;
use jupiter_control_plane::health::HealthTargets;
use jupiter_control_plane::retention::Retainer;
use jupiter_control_plane::seal::{LogKeys, Sealer};
use jupiter_control_plane::source::SourceKind;
use jupiter_control_plane::store::contract::samples::{SUBJECT, SampleEmitter, at, batch};
use jupiter_control_plane::store::postgres::PostgresStore;
use jupiter_control_plane::store::{ErasureStamp, Store};
use jupiter_testkit::postgres::{Database, USER, database};

use crate::support::{Strike, config_of, open, stored};

const ORIGIN: &str = "mercator/local";

/// So many days after the samples.
#[derive(Debug)]
struct Later(u64);

impl Clock for Later {
    fn now(&self) -> Timestamp {
        at(60_000_000 + self.0 * 86_400_000_000)
    }
}

/// A control plane of a later day, with the files of the one before.
async fn retainer(store: &Arc<PostgresStore>, folder: &Path) -> (App, Sealer, Retainer) {
    let archive = folder.join("archive");
    let text = format!(
        "evidence: {{retention: {{keep: 30d, archive: '{}'}}}}",
        archive.display()
    );
    let config = Config::parse(&text, "test", &|_| None).expect("a configuration");
    let (plugin, targets) = (PluginSettings::new(&config), HealthTargets::new(&config));
    let envoy = EnvoyAdmin::new(config.envoy.admin).expect("a client");
    let store: Arc<dyn Store> = Arc::<PostgresStore>::clone(store);
    let clock = Arc::new(Later(31));
    let started = App::start(store, clock, plugin, SourceKind::Api, &targets, envoy);
    let app = started.await.expect("an app");
    let keys = LogKeys::load(folder, ORIGIN, None).expect("keys");
    let sealer = Sealer::new(app.clone(), folder, ORIGIN, keys.clone()).expect("a sealer");
    let retention = config.evidence.retention;
    let retainer = Retainer::new(app.clone(), folder, "jupiter-1", ORIGIN, keys, retention);
    (app, sealer, retainer)
}

/// Every line of the archive.
fn archived(folder: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(folder.join("archive")).expect("an archive") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|end| end == "jsonl") {
            let text = std::fs::read_to_string(&path).expect("records");
            lines.extend(text.lines().map(str::to_owned));
        }
    }
    lines
}

async fn goes_once(strike: Strike, table: &str) {
    let what = format!("{strike:?} {table}");
    let database = database().await;
    let store = open(config_of(&database, "")).await;
    let folder = tempfile::tempdir().expect("a folder");
    let records = SampleEmitter::new(1).take(300);
    store
        .append_evidence(batch(records))
        .await
        .expect("appended");
    let (_, mut sealer, mut retainer) = self::retainer(&store, folder.path()).await;
    sealer.seal().await.expect("sealed");
    strike.set(&database, table);
    retainer.look().await.expect_err(&what);
    assert_eq!(stored(&store).await.len(), 300, "{what}");

    let looked = retainer.look().await.expect(&what);
    assert_eq!((looked.gone, looked.broken), (300, 0), "{what}");
    assert!(stored(&store).await.is_empty(), "{what}");
    let lines = archived(folder.path());
    let different: BTreeSet<&String> = lines.iter().collect();
    assert_eq!((lines.len(), different.len()), (300, 300), "{what}");
    assert_eq!(weeks(&database), "0", "{what}: the week is empty and goes");
    store.close().await;
}

/// Partitions of the week of the samples.
fn weeks(database: &Database) -> String {
    database.sql(
        "SELECT count(*) FROM pg_partition_tree('evidence')
         WHERE isleaf AND relid::text LIKE '%_20261116'",
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_records_go_once_wherever_a_write_fails() {
    for table in ["retentions", "evidence", "retired_evidence"] {
        for strike in [Strike::Before, Strike::Commit, Strike::Cut] {
            goes_once(strike, table).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restored_copy_is_erased_and_lets_go_again() {
    let database = database().await;
    let store = open(config_of(&database, "")).await;
    let folder = tempfile::tempdir().expect("a folder");
    let records = SampleEmitter::new(1).take(300);
    let id = records[0].envelope.record.id;
    store
        .append_evidence(batch(records))
        .await
        .expect("appended");
    let (_, mut sealer, _) = retainer(&store, folder.path()).await;
    sealer.seal().await.expect("sealed");
    store.close().await;
    // A copy of before.
    let copy = Database {
        port: database.port,
        name: format!("{}_copy", database.name),
    };
    database.sql(&format!(
        "CREATE DATABASE {} TEMPLATE {} OWNER {USER}",
        copy.name, database.name
    ));

    let store = open(config_of(&database, "")).await;
    let (app, mut sealer, mut retainer_) = retainer(&store, folder.path()).await;
    sealer.seal().await.expect("sealed");
    app.ledger.keep_in(folder.path()).await;
    let stamp = ErasureStamp {
        at: at(1),
        by: "ann".to_owned(),
        reason: "request 7".to_owned(),
    };
    store.erase_subject(SUBJECT, stamp).await.expect("erased");
    jupiter_control_plane::erasure::reconcile(&app)
        .await
        .expect("noted");
    assert_eq!(retainer_.look().await.expect("a look").gone, 300);
    store.close().await;

    let store = open(config_of(&copy, "")).await;
    assert_eq!(stored(&store).await.len(), 300);
    let (app, mut sealer, mut retainer_) = retainer(&store, folder.path()).await;
    app.ledger.keep_in(folder.path()).await;
    let erased = jupiter_control_plane::erasure::reconcile(&app).await;
    assert_eq!(erased.expect("erased again").again, 1);
    assert_eq!(retainer_.reconcile().await.expect("gone again"), 300);
    assert!(stored(&store).await.is_empty());
    let retired = store.retired(id).await.expect("an answer");
    assert_eq!(retired.expect("it is known").leaf_index, 0);
    sealer.seal().await.expect("the log contradicts nothing");
    assert_eq!(retainer_.look().await.expect("a look").gone, 0);
    assert_eq!(archived(folder.path()).len(), 300);
    store.close().await;
}
