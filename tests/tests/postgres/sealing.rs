//! Sealing fails before, during and after each of its writes: the log goes on without a
//! hole and never contradicts what was published.

use std::path::Path;
use std::sync::Arc;

use jupiter_control_plane::app::{App, SystemClock};
use jupiter_control_plane::config::Config;
use jupiter_control_plane::envoy::admin::EnvoyAdmin;
use jupiter_control_plane::envoy::ecds::PluginSettings;
use jupiter_control_plane::health::HealthTargets;
use jupiter_control_plane::seal::{LogKeys, SealError, Sealer};
use jupiter_control_plane::source::SourceKind;
use jupiter_control_plane::store::Store;
use jupiter_control_plane::store::contract::samples::{SampleEmitter, batch};
use jupiter_evidence::LeafHash;
use jupiter_evidence::tree::{Edge, Hash};
use jupiter_testkit::postgres::database;

use crate::support::{Strike, config_of, open};

const ORIGIN: &str = "mercator/local";

/// Tables that sealing writes to, in the order it does.
const WRITES: [&str; 5] = [
    "log_state",
    "log_waiting",
    "log_batches",
    "log_tiles",
    "log_checkpoints",
];

async fn app(store: Arc<dyn Store>) -> App {
    let config = Config::parse("", "test", &|_| None).expect("a configuration");
    let (plugin, targets) = (PluginSettings::new(&config), HealthTargets::new(&config));
    let started = App::start(
        store,
        Arc::new(SystemClock),
        plugin,
        SourceKind::Api,
        &targets,
        EnvoyAdmin::new(config.envoy.admin).expect("a client"),
    );
    started.await.expect("an app")
}

/// A control plane that starts now, with the files of the one before.
async fn sealer(store: Arc<dyn Store>, folder: &Path) -> (App, Sealer) {
    let app = app(store).await;
    let keys = LogKeys::load(folder, ORIGIN, None).expect("keys");
    let sealer = Sealer::new(app.clone(), folder, ORIGIN, keys).expect("a sealer");
    (app, sealer)
}

/// The root over the first `size` records that the store gives.
async fn root_of_records(store: &dyn Store, size: u64) -> Hash {
    let mut edge = Edge::default();
    let limit = u32::try_from(size).expect("a small number");
    for entry in store.log_entries(0, limit).await.expect("entries") {
        assert_eq!(entry.index, edge.size());
        edge.push(LeafHash::of(entry.canonical().expect("a record").as_bytes()).0);
    }
    assert_eq!(edge.size(), size);
    edge.root()
}

async fn log_survives(strike: Strike, table: &str, restart: bool) {
    let what = format!("{strike:?} {table}, restart: {restart}");
    let database = database().await;
    let store: Arc<dyn Store> = open(config_of(&database, "")).await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut emitter = SampleEmitter::new(1);
    let mut append = async |count| {
        let appended = store.append_evidence(batch(emitter.take(count))).await;
        appended.expect("appended");
    };
    append(300).await;
    let (mut app, mut sealing) = sealer(Arc::clone(&store), folder.path()).await;
    sealing.seal().await.expect("sealed");
    let before = app.log.published().expect("a checkpoint");
    assert_eq!(before.size, 300, "{what}");

    append(2).await;
    strike.set(&database, table);
    let failed = sealing.seal().await;
    assert!(
        matches!(failed, Err(SealError::Store(_))),
        "{what}: {failed:?}"
    );
    assert_eq!(app.log.published().as_deref(), Some(&*before), "{what}");

    append(2).await;
    if restart {
        (app, sealing) = sealer(Arc::clone(&store), folder.path()).await;
    }
    sealing
        .seal()
        .await
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let after = app.log.published().expect("a checkpoint");
    assert_eq!(after.size, 304, "{what}");
    assert_eq!(after.root, root_of_records(&*store, 304).await, "{what}");
    assert_eq!(before.root, root_of_records(&*store, 300).await, "{what}");
    let state = store.log_state().await.expect("a state");
    assert_eq!((state.size, state.waiting), (304, 0), "{what}");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_goes_on_whatever_write_fails_first() {
    for table in WRITES {
        log_survives(Strike::Before, table, false).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_goes_on_whatever_write_fails_afterwards() {
    for table in WRITES {
        log_survives(Strike::After, table, true).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_goes_on_wherever_the_connection_is_cut() {
    for table in WRITES {
        log_survives(Strike::Cut, table, true).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_goes_on_when_the_commit_fails() {
    for table in WRITES {
        log_survives(Strike::Commit, table, false).await;
    }
}
