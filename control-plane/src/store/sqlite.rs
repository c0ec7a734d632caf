//! The store in one SQLite file, for one instance.
//!
//! All writes go through one connection, so that none waits for a lock that a
//! reader or another writer of ours holds; appends of evidence are committed in
//! groups by [`super::writer`]. `synchronous=FULL` makes a commit survive a power cut.
//! Reads have connections of their own and see the last commit.

mod append;
mod evidence;
mod gaps;
mod keys;
mod log;
mod policies;
mod retention;
mod revisions;
mod sequence;
mod subjects;
mod tokens;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

use super::writer::{Commit, Writer};
use super::{
    ActivePolicies, AdvanceError, Appended, ChangeError, Cosigned, EmitterPage, EnvoyEnd,
    EraseError, Erasure, ErasureStamp, EvidenceBatch, EvidenceFilter, EvidenceGaps, EvidencePage,
    EvidenceTotals, HistoryPage, Hold, KeyClaim, KeyHolder, LetGo, LetGoError, LogEntry, LogState,
    NewAnswer, NewBundle, NewHold, NewPolicy, NewToken, PastRevision, PolicyRevision, Release,
    Retention, RetiredRecord, Sequenced, SetRevision, SignOfLife, Stamp, Store, StoreError,
    StoredAnswer, StoredBundle, StoredCheckpoint, StoredEvidence, SubjectSummary, TokenInfo,
    UnrecordedExchange, WaitingBatch,
};
use jupiter_evidence::tree::{Tile, TileId};

/// No call takes longer; a commit of a full group takes a tenth of a second.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Only another process (a backup, `sqlite3`) can hold the lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Queries are short; more readers only share the same two cores.
const READERS: u32 = 4;

/// SQLite's own state: the file and its connections.
#[derive(Debug)]
pub struct SqliteStore {
    write: SqlitePool,
    read: SqlitePool,
    writer: Writer,
}

/// Why there is no store to start with.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("database `{path}` cannot be created")]
    Create { path: PathBuf, source: io::Error },
    #[error("database `{path}` cannot be opened")]
    Open { path: PathBuf, source: sqlx::Error },
    #[error("database `{path}` cannot be brought to this version's layout")]
    Migrate {
        path: PathBuf,
        source: sqlx::migrate::MigrateError,
    },
}

impl SqliteStore {
    /// Opens the database, making it when it is not there, and brings its
    /// layout up to date.
    pub async fn open(path: &Path) -> Result<SqliteStore, OpenError> {
        let failed = |source| OpenError::Open {
            path: path.to_owned(),
            source,
        };
        create_private(path).map_err(|source| OpenError::Create {
            path: path.to_owned(),
            source,
        })?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        // What an erasure deletes is overwritten. A long WAL before each checkpoint and a warm cache: measured, half
        // again as many records per second as with SQLite's defaults.
        let write_options = options
            .clone()
            .pragma("secure_delete", "on")
            .pragma("wal_autocheckpoint", "8000")
            .pragma("cache_size", "-65536");
        let write = pool(1).connect_with(write_options).await.map_err(failed)?;
        sqlx::migrate!("migrations/sqlite")
            .run(&write)
            .await
            .map_err(|source| OpenError::Migrate {
                path: path.to_owned(),
                source,
            })?;
        let read = pool(READERS)
            .connect_with(options.pragma("query_only", "on"))
            .await
            .map_err(failed)?;
        let writer = Writer::start(Arc::new(Appender(write.clone())), 1);
        Ok(SqliteStore {
            write,
            read,
            writer,
        })
    }

    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.write.begin_with("BEGIN IMMEDIATE").await?)
    }
}

/// Appends through the one connection that writes.
struct Appender(SqlitePool);

impl Commit for Appender {
    async fn commit(&self, batches: &[EvidenceBatch]) -> Result<Vec<Appended>, StoreError> {
        append::append(&self.0, batches).await
    }
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .min_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(TIMEOUT)
}

/// Evidence and token hashes are nobody else's business; SQLite gives its
/// journal files the mode of the database.
fn create_private(path: &Path) -> io::Result<()> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}

/// Ends every call in bounded time.
async fn bounded<T, E: From<StoreError>>(work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    match tokio::time::timeout(TIMEOUT, work).await {
        Ok(result) => result,
        Err(_) => Err(StoreError::TimedOut(TIMEOUT).into()),
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        match error {
            sqlx::Error::PoolTimedOut => StoreError::TimedOut(TIMEOUT),
            sqlx::Error::PoolClosed => StoreError::Closed,
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                StoreError::Corrupt("a column does not hold its type")
            }
            other => StoreError::Unavailable(Arc::new(other)),
        }
    }
}

impl From<sqlx::Error> for ChangeError {
    fn from(error: sqlx::Error) -> ChangeError {
        ChangeError::Failed(error.into())
    }
}

impl From<sqlx::Error> for EraseError {
    fn from(error: sqlx::Error) -> EraseError {
        EraseError::Failed(error.into())
    }
}

impl From<sqlx::Error> for LetGoError {
    fn from(error: sqlx::Error) -> LetGoError {
        LetGoError::Failed(error.into())
    }
}

impl From<sqlx::Error> for AdvanceError {
    fn from(error: sqlx::Error) -> AdvanceError {
        AdvanceError::Failed(error.into())
    }
}

pub(super) fn to_time(micros: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(micros).map_err(|_| StoreError::Corrupt("an impossible time"))
}

pub(super) fn to_count(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Corrupt("a negative count"))
}

/// Leaves are counted from 0 and never reach this far.
pub(super) fn to_column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn to_bytes<const N: usize>(bytes: Vec<u8>) -> Result<[u8; N], StoreError> {
    bytes
        .try_into()
        .map_err(|_| StoreError::Corrupt("a hash or id of the wrong length"))
}

fn to_uuid(bytes: Vec<u8>) -> Result<Uuid, StoreError> {
    Ok(Uuid::from_bytes(to_bytes(bytes)?))
}

#[async_trait]
impl Store for SqliteStore {
    async fn active_policies(&self) -> Result<ActivePolicies, StoreError> {
        bounded(policies::active(&self.read)).await
    }

    async fn policy_set(&self) -> Result<SetRevision, StoreError> {
        bounded(policies::set(&self.read)).await
    }

    async fn policy(&self, name: &str) -> Result<Option<PolicyRevision>, StoreError> {
        bounded(policies::get(&self.read, name)).await
    }

    async fn policy_history(
        &self,
        name: &str,
        before: Option<u64>,
        limit: u32,
    ) -> Result<HistoryPage, StoreError> {
        bounded(revisions::page(&self.read, name, before, limit)).await
    }

    async fn policy_revision(
        &self,
        name: &str,
        revision: u64,
    ) -> Result<Option<PastRevision>, StoreError> {
        bounded(revisions::get(&self.read, name, revision)).await
    }

    async fn put_policy(
        &self,
        seen: SetRevision,
        policy: NewPolicy,
        bundle: NewBundle,
        stamp: Stamp,
    ) -> Result<(PolicyRevision, StoredBundle), ChangeError> {
        bounded(async {
            let mut tx = self.begin().await?;
            let stored = policies::put(&mut tx, seen, policy, bundle, stamp).await?;
            tx.commit().await?;
            Ok(stored)
        })
        .await
    }

    async fn delete_policy(
        &self,
        seen: SetRevision,
        name: &str,
        bundle: Option<NewBundle>,
        stamp: Stamp,
    ) -> Result<Option<StoredBundle>, ChangeError> {
        bounded(async {
            let mut tx = self.begin().await?;
            let stored = policies::delete(&mut tx, seen, name, bundle, stamp).await?;
            tx.commit().await?;
            Ok(stored)
        })
        .await
    }

    async fn replace_policies(
        &self,
        seen: SetRevision,
        policies: Vec<NewPolicy>,
        bundle: NewBundle,
        stamp: Stamp,
    ) -> Result<StoredBundle, ChangeError> {
        bounded(async {
            let mut tx = self.begin().await?;
            let stored = policies::replace_all(&mut tx, seen, policies, bundle, stamp).await?;
            tx.commit().await?;
            Ok(stored)
        })
        .await
    }

    async fn replace_bundle(
        &self,
        seen: SetRevision,
        bundle: NewBundle,
        stamp: Stamp,
    ) -> Result<StoredBundle, ChangeError> {
        bounded(async {
            let mut tx = self.begin().await?;
            let stored = policies::activate(&mut tx, seen, bundle, &stamp).await?;
            tx.commit().await?;
            Ok(stored)
        })
        .await
    }

    async fn current_bundle(&self) -> Result<Option<StoredBundle>, StoreError> {
        bounded(policies::current_bundle(&self.read)).await
    }

    async fn append_evidence(&self, batch: EvidenceBatch) -> Result<Appended, StoreError> {
        bounded(self.writer.append(batch)).await
    }

    async fn query_evidence(
        &self,
        filter: &EvidenceFilter,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<EvidencePage, StoreError> {
        bounded(evidence::query(&self.read, filter, before, limit)).await
    }

    async fn evidence(&self, id: Uuid) -> Result<Option<StoredEvidence>, StoreError> {
        bounded(evidence::get(&self.read, id)).await
    }

    async fn emitters(&self, before: Option<i64>, limit: u32) -> Result<EmitterPage, StoreError> {
        bounded(evidence::emitters(&self.read, before, limit)).await
    }

    async fn evidence_totals(&self) -> Result<EvidenceTotals, StoreError> {
        bounded(evidence::totals(&self.read)).await
    }

    async fn log_state(&self) -> Result<LogState, StoreError> {
        bounded(log::state(&self.read)).await
    }

    async fn waiting_batches(&self, leaves: u64) -> Result<Vec<WaitingBatch>, StoreError> {
        bounded(log::waiting(&self.read, leaves)).await
    }

    async fn sequence_batches(&self, seen: u64, sequenced: Sequenced) -> Result<(), AdvanceError> {
        bounded(async {
            let mut tx = self.begin().await?;
            log::sequence(&mut tx, seen, sequenced).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn tiles(&self, ids: &[TileId]) -> Result<Vec<Tile>, StoreError> {
        bounded(log::tiles(&self.read, ids)).await
    }

    async fn advance_checkpoint(
        &self,
        seen: u64,
        checkpoint: StoredCheckpoint,
    ) -> Result<(), AdvanceError> {
        bounded(async {
            let mut tx = self.begin().await?;
            log::advance(&mut tx, seen, checkpoint).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn cosigned(&self, origin: &str) -> Result<Option<Cosigned>, StoreError> {
        bounded(log::cosigned(&self.read, origin)).await
    }

    async fn advance_cosigned(
        &self,
        origin: &str,
        seen: u64,
        cosigned: Cosigned,
    ) -> Result<(), AdvanceError> {
        bounded(log::advance_cosigned(&self.write, origin, seen, cosigned)).await
    }

    async fn log_entries(&self, first: u64, limit: u32) -> Result<Vec<LogEntry>, StoreError> {
        bounded(log::entries(&self.read, first, limit)).await
    }

    async fn note_unrecorded(&self, exchanges: &[UnrecordedExchange]) -> Result<(), StoreError> {
        bounded(async {
            let mut tx = self.begin().await?;
            gaps::note(&mut tx, exchanges).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn note_envoy_ends(&self, ends: &[EnvoyEnd]) -> Result<(), StoreError> {
        bounded(async {
            let mut tx = self.begin().await?;
            gaps::note_ends(&mut tx, ends).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn evidence_gaps(&self, limit: u32) -> Result<EvidenceGaps, StoreError> {
        bounded(gaps::list(&self.read, limit)).await
    }

    async fn claim_key(
        &self,
        claim: &KeyClaim,
        instead_of: Option<Uuid>,
    ) -> Result<KeyHolder, StoreError> {
        bounded(async {
            let mut tx = self.begin().await?;
            let holder = keys::claim(&mut tx, claim, instead_of).await?;
            tx.commit().await?;
            Ok(holder)
        })
        .await
    }

    async fn keep_answers(&self, answers: &[NewAnswer]) -> Result<u64, StoreError> {
        bounded(async {
            let mut tx = self.begin().await?;
            let kept = keys::keep_answers(&mut tx, answers).await?;
            tx.commit().await?;
            Ok(kept)
        })
        .await
    }

    async fn kept_answer(
        &self,
        key: &[u8; 32],
        exchange: Uuid,
    ) -> Result<StoredAnswer, StoreError> {
        bounded(keys::kept_answer(&self.read, key, exchange)).await
    }

    async fn forget_keys(&self, before: Timestamp) -> Result<u64, StoreError> {
        bounded(async {
            let mut tx = self.begin().await?;
            let forgotten = keys::forget(&mut tx, before).await?;
            tx.commit().await?;
            Ok(forgotten)
        })
        .await
    }

    async fn note_alive(&self, sign: &SignOfLife) -> Result<Vec<SignOfLife>, StoreError> {
        bounded(async {
            let mut tx = self.begin().await?;
            let signs = keys::note_alive(&mut tx, sign).await?;
            tx.commit().await?;
            Ok(signs)
        })
        .await
    }

    async fn subject(&self, name: &str) -> Result<Option<SubjectSummary>, StoreError> {
        bounded(subjects::summary(&self.read, name)).await
    }

    async fn erase_subject(&self, name: &str, stamp: ErasureStamp) -> Result<Erasure, EraseError> {
        bounded(async {
            let mut tx = self.begin().await?;
            let erasure = subjects::erase(&mut tx, name, stamp).await?;
            tx.commit().await?;
            subjects::empty_journal(&self.write).await;
            Ok(erasure)
        })
        .await
    }

    async fn erasures(&self) -> Result<Vec<Erasure>, StoreError> {
        bounded(subjects::erasures(&self.read)).await
    }

    async fn repeat_erasures(&self, erasures: &[Erasure]) -> Result<u64, StoreError> {
        bounded(async {
            let mut tx = self.begin().await?;
            let again = subjects::repeat(&mut tx, erasures).await?;
            tx.commit().await?;
            subjects::empty_journal(&self.write).await;
            Ok(again)
        })
        .await
    }

    async fn place_hold(&self, hold: NewHold) -> Result<Hold, StoreError> {
        bounded(async {
            let mut tx = self.begin().await?;
            let hold = subjects::place_hold(&mut tx, hold).await?;
            tx.commit().await?;
            Ok(hold)
        })
        .await
    }

    async fn release_hold(&self, id: Uuid, release: Release) -> Result<Option<Hold>, StoreError> {
        bounded(async {
            let mut tx = self.begin().await?;
            let hold = subjects::release_hold(&mut tx, id, release).await?;
            tx.commit().await?;
            Ok(hold)
        })
        .await
    }

    async fn holds(&self) -> Result<Vec<Hold>, StoreError> {
        bounded(async {
            let mut conn = self.read.acquire().await?;
            subjects::holds(&mut conn).await
        })
        .await
    }

    async fn let_go(&self, seen: &[Hold], let_go: &LetGo) -> Result<(), LetGoError> {
        bounded(async {
            let mut tx = self.begin().await?;
            retention::let_go(&mut tx, seen, let_go).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    async fn let_go_again(&self, let_go: &LetGo) -> Result<u64, StoreError> {
        bounded(async {
            let mut tx = self.begin().await?;
            let again = retention::remove(&mut tx, let_go).await?;
            tx.commit().await?;
            Ok(again)
        })
        .await
    }

    async fn retentions(&self) -> Result<Vec<Retention>, StoreError> {
        bounded(retention::list(&self.read)).await
    }

    async fn retired(&self, id: Uuid) -> Result<Option<RetiredRecord>, StoreError> {
        bounded(retention::retired(&self.read, id)).await
    }

    /// Pages that nothing takes are used again.
    async fn give_back_room(&self, _before: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    async fn create_token(&self, token: NewToken) -> Result<TokenInfo, StoreError> {
        bounded(async {
            let mut tx = self.begin().await?;
            let info = tokens::insert(&mut tx, token).await?;
            tx.commit().await?;
            Ok(info)
        })
        .await
    }

    async fn rotate_token(&self, token: NewToken) -> Result<TokenInfo, StoreError> {
        bounded(async {
            let mut tx = self.begin().await?;
            tokens::revoke_named(&mut tx, &token.name, token.created_at).await?;
            let info = tokens::insert(&mut tx, token).await?;
            tx.commit().await?;
            Ok(info)
        })
        .await
    }

    async fn revoke_token(&self, id: Uuid, at: Timestamp) -> Result<bool, StoreError> {
        bounded(async {
            let mut tx = self.begin().await?;
            let known = tokens::revoke(&mut tx, id, at).await?;
            tx.commit().await?;
            Ok(known)
        })
        .await
    }

    async fn tokens(&self) -> Result<Vec<TokenInfo>, StoreError> {
        bounded(tokens::list(&self.read)).await
    }

    async fn token_by_hash(&self, sha256: &[u8; 32]) -> Result<Option<TokenInfo>, StoreError> {
        bounded(tokens::by_hash(&self.read, sha256)).await
    }

    async fn cursor(&self, name: &str) -> Result<Option<String>, StoreError> {
        bounded(async {
            let value = sqlx::query_scalar("SELECT value FROM cursors WHERE name = ?")
                .bind(name)
                .fetch_optional(&self.read)
                .await?;
            Ok(value)
        })
        .await
    }

    async fn set_cursor(&self, name: &str, value: &str) -> Result<(), StoreError> {
        bounded(async {
            sqlx::query(
                "INSERT INTO cursors (name, value) VALUES (?, ?)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            )
            .bind(name)
            .bind(value)
            .execute(&self.write)
            .await?;
            Ok(())
        })
        .await
    }

    async fn probe_read(&self) -> Result<(), StoreError> {
        bounded(async {
            sqlx::query("SELECT name FROM cursors LIMIT 1")
                .fetch_optional(&self.read)
                .await?;
            Ok(())
        })
        .await
    }

    async fn probe_write(&self) -> Result<(), StoreError> {
        bounded(async {
            let mut tx = self.begin().await?;
            sqlx::query("INSERT INTO write_probe (at_us) VALUES (0)")
                .execute(&mut *tx)
                .await?;
            tx.rollback().await?;
            Ok(())
        })
        .await
    }

    async fn close(&self) {
        self.writer.close().await;
        self.read.close().await;
        self.write.close().await;
    }
}

#[cfg(test)]
mod tests;
