//! The store in Postgres, which many instances share.
//!
//! Writes go to the primary, whichever server that is ([`cluster`]); queries of
//! evidence go to replicas that are near enough and have what this process has
//! written. A commit counts when the server confirms it, and then it is as
//! safe as the server's own configuration makes it: with synchronous standbys,
//! on one of them too. Every call ends by our clock, whatever the server does.

mod append;
mod cluster;
mod connect;
mod evidence;
mod gaps;
mod instruments;
mod keys;
mod log;
mod partitions;
mod policies;
mod pool;
mod retention;
mod revisions;
mod subjects;
mod tokens;
mod warnings;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::{Connection, PgConnection};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

use super::sqlite::{to_bytes, to_column, to_count, to_time};
use super::writer::{Commit, Writer};
use super::{
    ActivePolicies, AdvanceError, Appended, ChangeError, Cosigned, EmitterPage, EnvoyEnd,
    EraseError, Erasure, ErasureStamp, EvidenceBatch, EvidenceFilter, EvidenceGaps, EvidencePage,
    EvidenceTotals, HistoryPage, Hold, KeyClaim, KeyHolder, LetGo, LetGoError, LogEntry, LogState,
    NewAnswer, NewBundle, NewHold, NewPolicy, NewToken, PastRevision, PolicyRevision, Release,
    Retention, RetiredRecord, Sequenced, ServerState, SetRevision, SignOfLife, Source, Stamp,
    Store, StoreError, StoredAnswer, StoredBundle, StoredCheckpoint, StoredEvidence,
    SubjectSummary, TokenInfo, UnrecordedExchange, WaitingBatch,
};
use crate::config::PostgresConfig;
use crate::metrics::Metrics;
use append::Attempt;
use cluster::{Cluster, Lsn};
use connect::Connector;
use jupiter_evidence::tree::{Tile, TileId};
use partitions::{Partitions, Week};
use pool::{Lease, Watch};
use warnings::unless_warned;

pub use cluster::NoPrimary;

/// What the metrics show of servers and connections, for their reference.
#[cfg(test)]
pub(crate) fn register_metrics(metrics: &Metrics) {
    instruments::Instruments::default().register(metrics);
}

/// No call takes longer. Enough for a promotion that takes a second or two.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A replica that takes longer is left alone, and the primary asked.
const REPLICA_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a start waits for a primary.
const PRIMARY_WITHIN: Duration = Duration::from_secs(30);

/// How long a start waits for another's migration.
const MIGRATED_WITHIN: Duration = Duration::from_secs(120);

/// Groups of evidence that are committed side by side: more do not make the
/// database faster, fewer leave it waiting for its disk.
const LANES: usize = 4;

/// How often a group meets others who store the same records before it is
/// given back to its senders.
const ATTEMPTS: usize = 8;

/// Further than any replica: it is not known how far the log goes.
const UNKNOWN: u64 = u64::MAX;

/// How often weeks are looked after.
const WEEKS_EVERY: Duration = Duration::from_secs(3_600);

/// Servers, and the way to them.
#[derive(Debug)]
pub struct PostgresStore {
    servers: Arc<Servers>,
    writer: Writer,
    weeks: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Servers {
    cluster: Arc<Cluster>,
    partitions: Partitions,
    /// Up to where this process has written, if anyone needs to know.
    written: AtomicU64,
}

/// Why there is no store to start with.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    NoPrimary(#[from] NoPrimary),
    #[error("the database cannot be brought to this version's layout")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error("the database cannot be prepared")]
    Prepare(#[from] StoreError),
}

/// Does `$work` over a connection to the primary.
macro_rules! on_primary {
    ($store:expr, $conn:ident => $work:expr) => {{
        let (mut lease, mut watch) = $store.servers.lease().await?;
        let $conn = lease.connection();
        let result = watch.over($work).await;
        lease.finish(result)
    }};
}

/// The same for what changes something: queries that come after see it.
macro_rules! writing {
    ($store:expr, $conn:ident => $work:expr) => {{
        let (mut lease, mut watch) = $store.servers.lease().await?;
        let $conn = lease.connection();
        let result = watch.over(unless_warned($work)).await;
        if result.is_ok() {
            $store.servers.note_written(&mut lease, &mut watch).await;
        }
        lease.finish(result)
    }};
}

/// Does `$work` on a replica if one will do, else on the primary.
macro_rules! querying {
    ($store:expr, $conn:ident => $work:expr) => {{
        for (replica, replayed) in $store.servers.cluster.readable() {
            let deadline = Instant::now() + REPLICA_TIMEOUT;
            let Ok((mut lease, mut watch)) = replica.pool.lease(deadline).await else {
                $store.servers.cluster.distrust(replica);
                continue;
            };
            if !$store.servers.is_up_to_date(replayed, &mut lease, &mut watch).await {
                // It is well, only a moment too late.
                lease.finish(Ok::<(), ()>(())).ok();
                continue;
            }
            let $conn = lease.connection();
            let result = watch.over($work).await;
            match lease.finish(result) {
                Ok(answer) => {
                    $store.servers.cluster.instruments.replica_reads.inc();
                    return Ok(answer);
                }
                // It may have been cancelled by what the primary did meanwhile.
                Err(_) => $store.servers.cluster.distrust(replica),
            }
        }
        if !$store.servers.cluster.replicas.is_empty() {
            $store.servers.cluster.instruments.replica_fallbacks.inc();
        }
        on_primary!($store, $conn => $work)
    }};
}

impl PostgresStore {
    /// Finds the primary, brings its layout up to date and begins to follow it.
    /// Any number of instances may do so at once.
    pub async fn open(
        config: PostgresConfig,
        region: &str,
        instance: &str,
    ) -> Result<PostgresStore, OpenError> {
        let connector = Arc::new(Connector::new(config, instance));
        let cluster = Cluster::start(connector);
        let servers = Arc::new(Servers {
            cluster,
            partitions: Partitions::new(region),
            written: AtomicU64::new(0),
        });
        let prepared = async {
            servers.cluster.wait_for_primary(PRIMARY_WITHIN).await?;
            servers.migrate().await?;
            servers.make_weeks().await?;
            Ok(())
        };
        if let Err(error) = prepared.await {
            servers.cluster.close().await;
            return Err(error);
        }
        Ok(PostgresStore {
            writer: Writer::start(Arc::clone(&servers), LANES),
            weeks: Mutex::new(Some(tokio::spawn(Arc::clone(&servers).keep_weeks()))),
            servers,
        })
    }

    /// How Postgres would go about a query.
    #[cfg(any(test, feature = "store-contract"))]
    pub async fn plan(&self, filter: &EvidenceFilter) -> Result<String, StoreError> {
        on_primary!(self, conn => evidence::plan(conn, filter))
    }

    /// Shows servers and connections in the metrics.
    pub fn register(&self, metrics: &Metrics) {
        self.servers.cluster.instruments.register(metrics);
    }
}

impl Servers {
    async fn lease(&self) -> Result<(Lease, Watch), StoreError> {
        self.cluster.primary.lease(Instant::now() + TIMEOUT).await
    }

    async fn migrate(&self) -> Result<(), OpenError> {
        let deadline = Instant::now() + MIGRATED_WITHIN;
        let (mut lease, _) = self.cluster.primary.lease(deadline).await?;
        let migrated = async {
            let migrations = sqlx::migrate!("migrations/postgres");
            // `run` is the same, in a way that futures sent between threads cannot take.
            let done = migrations.run_direct(None, lease.connection(), false).await;
            done.map_err(OpenError::Migrate)
        };
        let migrated = tokio::time::timeout_at(deadline, migrated)
            .await
            .unwrap_or(Err(StoreError::TimedOut(MIGRATED_WITHIN).into()));
        lease.finish(migrated)
    }

    async fn make_weeks(&self) -> Result<(), StoreError> {
        let (mut lease, mut watch) = self.lease().await?;
        let weeks = Week::around(Timestamp::now());
        let made = self.partitions.ensure(lease.connection(), weeks);
        let made = watch.over(made).await;
        lease.finish(made)
    }

    async fn keep_weeks(self: Arc<Self>) {
        loop {
            tokio::time::sleep(WEEKS_EVERY).await;
            if let Err(error) = self.make_weeks().await {
                tracing::error!(%error, weeks = partitions::AHEAD, "weeks ahead could not be made");
            }
        }
    }

    /// Remembers how far the log goes, now that something was written.
    async fn note_written(&self, lease: &mut Lease, watch: &mut Watch) {
        if self.cluster.replicas.is_empty() {
            return;
        }
        let lsn = watch.over::<i64, StoreError>(async {
            let lsn = sqlx::query_scalar("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint");
            Ok(lsn.fetch_one(lease.connection()).await?)
        });
        // Not knowing, every replica is too far behind until the next write.
        let lsn = lsn.await.map_or(UNKNOWN, |lsn| lsn as u64);
        let later = |before| match (before, lsn) {
            (_, UNKNOWN) => Some(UNKNOWN),
            (UNKNOWN, lsn) => Some(lsn),
            (before, lsn) => Some(lsn.max(before)),
        };
        // It always updates.
        let _ = self
            .written
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, later);
    }

    /// Whether a replica has what this process has written.
    async fn is_up_to_date(&self, replayed: Lsn, lease: &mut Lease, watch: &mut Watch) -> bool {
        let written = Lsn(self.written.load(Ordering::Acquire));
        if replayed >= written {
            return true;
        }
        // It was asked a moment ago; it may be further by now.
        let now = watch.over::<Option<i64>, StoreError>(async {
            let lsn = sqlx::query_scalar("SELECT (pg_last_wal_replay_lsn() - '0/0')::bigint");
            Ok(lsn.fetch_one(lease.connection()).await?)
        });
        matches!(now.await, Ok(Some(lsn)) if Lsn(lsn as u64) >= written)
    }

    async fn append(
        &self,
        conn: &mut PgConnection,
        batches: &[EvidenceBatch],
    ) -> Result<Vec<Appended>, StoreError> {
        let records = || batches.iter().flat_map(|batch| &batch.records);
        // Most of what a witness brings is known from the outbox.
        let mut look_first = batches.iter().any(|batch| batch.source == Source::Witness);
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let weeks = records().map(|evidence| Week::of(evidence.envelope.record.id));
            self.partitions.ensure(conn, weeks).await?;
            let region = self.partitions.region();
            match append::append(conn, region, batches, look_first).await {
                Ok(Attempt::Stored(appended)) => return Ok(appended),
                Ok(Attempt::Known) => look_first = true,
                Err(error) => match code(&error).as_deref() {
                    // Two groups waited for each other, and this one gave way.
                    Some("40P01" | "40001") => last = Some(error),
                    // No partition: somebody dropped one.
                    Some("23514") => {
                        self.partitions.forget();
                        last = Some(error);
                    }
                    _ => return Err(error),
                },
            }
        }
        Err(last.unwrap_or(StoreError::TimedOut(TIMEOUT)))
    }
}

impl Commit for Servers {
    async fn commit(&self, batches: &[EvidenceBatch]) -> Result<Vec<Appended>, StoreError> {
        let (mut lease, mut watch) = self.lease().await?;
        let appended = watch
            .over(unless_warned(self.append(lease.connection(), batches)))
            .await;
        if appended.is_ok() {
            self.note_written(&mut lease, &mut watch).await;
        }
        lease.finish(appended)
    }
}

/// The SQLSTATE behind an error.
fn code(error: &StoreError) -> Option<String> {
    let StoreError::Unavailable(cause) = error else {
        return None;
    };
    let error = cause.downcast_ref::<sqlx::Error>()?;
    let code = error.as_database_error()?.code()?;
    Some(code.into_owned())
}

#[async_trait]
impl Store for PostgresStore {
    async fn active_policies(&self) -> Result<ActivePolicies, StoreError> {
        on_primary!(self, conn => policies::active(conn))
    }

    async fn policy_set(&self) -> Result<SetRevision, StoreError> {
        on_primary!(self, conn => policies::set(conn))
    }

    async fn policy(&self, name: &str) -> Result<Option<PolicyRevision>, StoreError> {
        on_primary!(self, conn => policies::get(conn, name))
    }

    async fn policy_history(
        &self,
        name: &str,
        before: Option<u64>,
        limit: u32,
    ) -> Result<HistoryPage, StoreError> {
        on_primary!(self, conn => revisions::page(conn, name, before, limit))
    }

    async fn policy_revision(
        &self,
        name: &str,
        revision: u64,
    ) -> Result<Option<PastRevision>, StoreError> {
        on_primary!(self, conn => revisions::get(conn, name, revision))
    }

    async fn put_policy(
        &self,
        seen: SetRevision,
        policy: NewPolicy,
        bundle: NewBundle,
        stamp: Stamp,
    ) -> Result<(PolicyRevision, StoredBundle), ChangeError> {
        writing!(self, conn => policies::put(conn, seen, policy, bundle, stamp))
    }

    async fn delete_policy(
        &self,
        seen: SetRevision,
        name: &str,
        bundle: Option<NewBundle>,
        stamp: Stamp,
    ) -> Result<Option<StoredBundle>, ChangeError> {
        writing!(self, conn => policies::delete(conn, seen, name, bundle, stamp))
    }

    async fn replace_policies(
        &self,
        seen: SetRevision,
        policies: Vec<NewPolicy>,
        bundle: NewBundle,
        stamp: Stamp,
    ) -> Result<StoredBundle, ChangeError> {
        writing!(self, conn => policies::replace_all(conn, seen, policies, bundle, stamp))
    }

    async fn replace_bundle(
        &self,
        seen: SetRevision,
        bundle: NewBundle,
        stamp: Stamp,
    ) -> Result<StoredBundle, ChangeError> {
        writing!(self, conn => policies::replace_bundle(conn, seen, bundle, stamp))
    }

    async fn current_bundle(&self) -> Result<Option<StoredBundle>, StoreError> {
        on_primary!(self, conn => policies::current_bundle(conn))
    }

    async fn append_evidence(&self, batch: EvidenceBatch) -> Result<Appended, StoreError> {
        self.writer.append(batch).await
    }

    async fn query_evidence(
        &self,
        filter: &EvidenceFilter,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<EvidencePage, StoreError> {
        querying!(self, conn => evidence::query(conn, filter, before, limit))
    }

    async fn evidence(&self, id: Uuid) -> Result<Option<StoredEvidence>, StoreError> {
        querying!(self, conn => evidence::get(conn, id))
    }

    async fn emitters(&self, before: Option<i64>, limit: u32) -> Result<EmitterPage, StoreError> {
        querying!(self, conn => evidence::emitters(conn, before, limit))
    }

    async fn evidence_totals(&self) -> Result<EvidenceTotals, StoreError> {
        querying!(self, conn => evidence::totals(conn))
    }

    async fn log_state(&self) -> Result<LogState, StoreError> {
        on_primary!(self, conn => log::state(conn))
    }

    async fn waiting_batches(&self, leaves: u64) -> Result<Vec<WaitingBatch>, StoreError> {
        on_primary!(self, conn => log::waiting(conn, leaves))
    }

    async fn sequence_batches(&self, seen: u64, sequenced: Sequenced) -> Result<(), AdvanceError> {
        writing!(self, conn => log::sequence(conn, seen, sequenced))
    }

    async fn tiles(&self, ids: &[TileId]) -> Result<Vec<Tile>, StoreError> {
        on_primary!(self, conn => log::tiles(conn, ids))
    }

    async fn advance_checkpoint(
        &self,
        seen: u64,
        checkpoint: StoredCheckpoint,
    ) -> Result<(), AdvanceError> {
        writing!(self, conn => log::advance(conn, seen, checkpoint))
    }

    async fn cosigned(&self, origin: &str) -> Result<Option<Cosigned>, StoreError> {
        on_primary!(self, conn => log::cosigned(conn, origin))
    }

    async fn advance_cosigned(
        &self,
        origin: &str,
        seen: u64,
        cosigned: Cosigned,
    ) -> Result<(), AdvanceError> {
        writing!(self, conn => log::advance_cosigned(conn, origin, seen, &cosigned))
    }

    async fn log_entries(&self, first: u64, limit: u32) -> Result<Vec<LogEntry>, StoreError> {
        querying!(self, conn => log::entries(conn, first, limit))
    }

    async fn note_unrecorded(&self, exchanges: &[UnrecordedExchange]) -> Result<(), StoreError> {
        writing!(self, conn => gaps::note(conn, exchanges))
    }

    async fn note_envoy_ends(&self, ends: &[EnvoyEnd]) -> Result<(), StoreError> {
        writing!(self, conn => gaps::note_ends(conn, ends))
    }

    async fn evidence_gaps(&self, limit: u32) -> Result<EvidenceGaps, StoreError> {
        querying!(self, conn => gaps::list(conn, limit))
    }

    async fn claim_key(
        &self,
        claim: &KeyClaim,
        instead_of: Option<Uuid>,
    ) -> Result<KeyHolder, StoreError> {
        on_primary!(self, conn => unless_warned(keys::claim(conn, claim, instead_of)))
    }

    async fn keep_answers(&self, answers: &[NewAnswer]) -> Result<u64, StoreError> {
        on_primary!(self, conn => unless_warned(keys::keep_answers(conn, answers)))
    }

    async fn kept_answer(
        &self,
        key: &[u8; 32],
        exchange: Uuid,
    ) -> Result<StoredAnswer, StoreError> {
        on_primary!(self, conn => keys::kept_answer(conn, key, exchange))
    }

    async fn forget_keys(&self, before: Timestamp) -> Result<u64, StoreError> {
        on_primary!(self, conn => keys::forget(conn, before))
    }

    async fn note_alive(&self, sign: &SignOfLife) -> Result<Vec<SignOfLife>, StoreError> {
        on_primary!(self, conn => keys::note_alive(conn, sign))
    }

    async fn subject(&self, name: &str) -> Result<Option<SubjectSummary>, StoreError> {
        on_primary!(self, conn => subjects::summary(conn, name))
    }

    async fn erase_subject(&self, name: &str, stamp: ErasureStamp) -> Result<Erasure, EraseError> {
        writing!(self, conn => subjects::erase(conn, name, stamp))
    }

    async fn erasures(&self) -> Result<Vec<Erasure>, StoreError> {
        on_primary!(self, conn => subjects::erasures(conn))
    }

    async fn repeat_erasures(&self, erasures: &[Erasure]) -> Result<u64, StoreError> {
        writing!(self, conn => subjects::repeat(conn, erasures))
    }

    async fn place_hold(&self, hold: NewHold) -> Result<Hold, StoreError> {
        writing!(self, conn => subjects::place_hold(conn, hold))
    }

    async fn release_hold(&self, id: Uuid, release: Release) -> Result<Option<Hold>, StoreError> {
        writing!(self, conn => subjects::release_hold(conn, id, release))
    }

    async fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        on_primary!(self, conn => subjects::holds(conn))
    }

    async fn let_go(&self, seen: &[Hold], let_go: &LetGo) -> Result<(), LetGoError> {
        writing!(self, conn => retention::let_go(conn, seen, let_go))
    }

    async fn let_go_again(&self, let_go: &LetGo) -> Result<u64, StoreError> {
        writing!(self, conn => retention::let_go_again(conn, let_go))
    }

    async fn retentions(&self) -> Result<Vec<Retention>, StoreError> {
        on_primary!(self, conn => retention::list(conn))
    }

    async fn retired(&self, id: Uuid) -> Result<Option<RetiredRecord>, StoreError> {
        on_primary!(self, conn => retention::retired(conn, id))
    }

    async fn give_back_room(&self, before: Timestamp) -> Result<(), StoreError> {
        let partitions = &self.servers.partitions;
        on_primary!(self, conn => partitions.drop_empty(conn, before))
    }

    async fn create_token(&self, token: NewToken) -> Result<TokenInfo, StoreError> {
        writing!(self, conn => tokens::create(conn, token))
    }

    async fn rotate_token(&self, token: NewToken) -> Result<TokenInfo, StoreError> {
        writing!(self, conn => tokens::rotate(conn, token))
    }

    async fn revoke_token(&self, id: Uuid, at: Timestamp) -> Result<bool, StoreError> {
        writing!(self, conn => tokens::revoke(conn, id, at))
    }

    async fn tokens(&self) -> Result<Vec<TokenInfo>, StoreError> {
        on_primary!(self, conn => tokens::list(conn))
    }

    async fn token_by_hash(&self, sha256: &[u8; 32]) -> Result<Option<TokenInfo>, StoreError> {
        on_primary!(self, conn => tokens::by_hash(conn, sha256))
    }

    async fn cursor(&self, name: &str) -> Result<Option<String>, StoreError> {
        on_primary!(self, conn => cursor(conn, name))
    }

    async fn set_cursor(&self, name: &str, value: &str) -> Result<(), StoreError> {
        on_primary!(self, conn => set_cursor(conn, name, value))
    }

    fn servers(&self) -> Vec<ServerState> {
        self.servers.cluster.servers()
    }

    async fn probe_read(&self) -> Result<(), StoreError> {
        on_primary!(self, conn => async {
            sqlx::query("SELECT name FROM cursors LIMIT 1")
                .fetch_optional(conn)
                .await?;
            Ok(())
        })
    }

    async fn probe_write(&self) -> Result<(), StoreError> {
        on_primary!(self, conn => async {
            let mut tx = conn.begin().await?;
            sqlx::query("INSERT INTO write_probe (at_us) VALUES (0)")
                .execute(&mut *tx)
                .await?;
            tx.rollback().await?;
            Ok(())
        })
    }

    async fn close(&self) {
        if let Some(weeks) = self.weeks.lock().await.take() {
            weeks.abort();
        }
        self.writer.close().await;
        self.servers.cluster.close().await;
    }
}

async fn cursor(conn: &mut PgConnection, name: &str) -> Result<Option<String>, StoreError> {
    let value = sqlx::query_scalar("SELECT value FROM cursors WHERE name = $1")
        .bind(name)
        .fetch_optional(conn)
        .await?;
    Ok(value)
}

async fn set_cursor(conn: &mut PgConnection, name: &str, value: &str) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO cursors (name, value) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(name)
    .bind(value)
    .execute(conn)
    .await?;
    Ok(())
}
