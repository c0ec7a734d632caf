//! Policies, bundles, evidence and tokens: everything that outlives a process.
//!
//! [`Store`] is the promise; [`sqlite`] keeps it in one file for one instance,
//! [`postgres`] in a database that many share. Every implementation passes the
//! same [`contract`]. Nothing outside this module knows SQL.

#[cfg(any(test, feature = "store-contract"))]
pub mod contract;
#[cfg(test)]
pub(crate) mod faults;
mod group;
mod keys;
mod log;
pub mod postgres;
mod retention;
mod sequence;
pub mod sqlite;
mod subjects;
mod writer;

use async_trait::async_trait;
use jiff::Timestamp;
use jupiter_evidence::{DecisionKind, Envelope, LeafHash};
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

use crate::auth::Role;
use jupiter_evidence::tree::{Tile, TileId};

pub use keys::{HoldersRecord, KeyClaim, KeyHolder, NewAnswer, SignOfLife, StoredAnswer};
pub use log::{
    AdvanceError, Cosigned, EnvoyEnd, EvidenceGaps, LogEntry, LogRecord, LogState, LoggedRecord,
    MissingPlaces, RecoveredRecord, Sequenced, StoredCheckpoint, UnfinishedRecord,
    UnrecordedExchange, WaitingBatch,
};

pub use retention::{LetGo, LetGoError, Retention, RetiredRecord};
pub use subjects::{
    EraseError, Erasure, ErasureStamp, Hold, NewHold, Release, Subject, SubjectSummary,
};

/// Where state lives.
///
/// What holds for every method:
/// - It is one transaction, named for what happened: all of it is stored, or nothing.
/// - `Ok` means committed and durable. After an error a write may or may not have
///   happened; every write can therefore be repeated, or says that it came too late.
/// - It ends within a bounded time, whatever the database does.
/// - Writers that may race pass what they last saw and lose with [`ChangeError::Stale`].
/// - Evidence bytes come back exactly as they went in, and no method alters them.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// The policies in force, by name, and the revision of their set.
    async fn active_policies(&self) -> Result<ActivePolicies, StoreError>;

    /// The last change of their set, for those who look often.
    async fn policy_set(&self) -> Result<SetRevision, StoreError>;

    /// The active revision of one policy.
    async fn policy(&self, name: &str) -> Result<Option<PolicyRevision>, StoreError>;

    /// What became of one policy, newest first, without the texts. Numbers go on
    /// below `before`; none at all when there never was a policy of this name.
    async fn policy_history(
        &self,
        name: &str,
        before: Option<u64>,
        limit: u32,
    ) -> Result<HistoryPage, StoreError>;

    /// One revision, whether it is active or not.
    async fn policy_revision(
        &self,
        name: &str,
        revision: u64,
    ) -> Result<Option<PastRevision>, StoreError>;

    /// Makes `policy` the active revision of its name and `bundle` the current
    /// bundle. Earlier revisions and bundles are kept.
    async fn put_policy(
        &self,
        seen: SetRevision,
        policy: NewPolicy,
        bundle: NewBundle,
        stamp: Stamp,
    ) -> Result<(PolicyRevision, StoredBundle), ChangeError>;

    /// Takes the policy out of force; `None` when no policy is left. Its
    /// revisions are kept and numbering goes on from them.
    async fn delete_policy(
        &self,
        seen: SetRevision,
        name: &str,
        bundle: Option<NewBundle>,
        stamp: Stamp,
    ) -> Result<Option<StoredBundle>, ChangeError>;

    /// Makes `policies` all that is in force: what has another text gets a next
    /// revision, what is not among them is deleted, the rest stays as it is.
    async fn replace_policies(
        &self,
        seen: SetRevision,
        policies: Vec<NewPolicy>,
        bundle: NewBundle,
        stamp: Stamp,
    ) -> Result<StoredBundle, ChangeError>;

    /// Replaces the current bundle for the same policies, compiled anew.
    async fn replace_bundle(
        &self,
        seen: SetRevision,
        bundle: NewBundle,
        stamp: Stamp,
    ) -> Result<StoredBundle, ChangeError>;

    /// The bundle in force; `None` when there is no policy.
    async fn current_bundle(&self) -> Result<Option<StoredBundle>, StoreError>;

    /// Stores records and what was rejected beside them. Each record is stored
    /// once, however often it comes; the same id with other bytes is kept apart
    /// and changes nothing. A final record takes the place of a provisional one.
    /// The leaves of all that is [`Stored`](Outcome::Stored) wait for the tree from
    /// then on, that of a provisional record too.
    async fn append_evidence(&self, batch: EvidenceBatch) -> Result<Appended, StoreError>;

    /// Records that pass `filter`, newest first. Going on from `next` neither
    /// repeats nor skips a record that was there when the first page was read.
    async fn query_evidence(
        &self,
        filter: &EvidenceFilter,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<EvidencePage, StoreError>;

    /// One record with what is known of its arrival.
    async fn evidence(&self, id: Uuid) -> Result<Option<StoredEvidence>, StoreError>;

    /// The sequences of all emitters, the youngest first.
    async fn emitters(&self, before: Option<i64>, limit: u32) -> Result<EmitterPage, StoreError>;

    /// Sums over all emitters.
    async fn evidence_totals(&self) -> Result<EvidenceTotals, StoreError>;

    /// Where the log stands.
    async fn log_state(&self) -> Result<LogState, StoreError>;

    /// Batches that wait for the tree, whole and none left out: those that came
    /// first, as many as are needed for `leaves`, or all.
    async fn waiting_batches(&self, leaves: u64) -> Result<Vec<WaitingBatch>, StoreError>;

    /// Puts waiting batches in the tree, which then has their leaves behind the
    /// `seen` ones. Nothing is done when the tree is no longer of size `seen`, or
    /// one of them no longer waits.
    async fn sequence_batches(&self, seen: u64, sequenced: Sequenced) -> Result<(), AdvanceError>;

    /// These tiles, as wide as they are; those that do not exist are left out.
    async fn tiles(&self, ids: &[TileId]) -> Result<Vec<Tile>, StoreError>;

    /// Makes `checkpoint` the newest one. Nothing is done when the newest one is
    /// not of size `seen` (0: there is none), or the tree is smaller than
    /// `checkpoint`. One of the same size takes the place of the one before.
    async fn advance_checkpoint(
        &self,
        seen: u64,
        checkpoint: StoredCheckpoint,
    ) -> Result<(), AdvanceError>;

    /// What was last vouched for of the log `origin`, by any control plane.
    async fn cosigned(&self, origin: &str) -> Result<Option<Cosigned>, StoreError>;

    /// Makes `cosigned` the last of the log `origin`. Nothing is done when the last one
    /// is not of size `seen` (0: there is none).
    async fn advance_cosigned(
        &self,
        origin: &str,
        seen: u64,
        cosigned: Cosigned,
    ) -> Result<(), AdvanceError>;

    /// The leaves from `first` on with their records, at most `limit`, in order.
    /// A record replaced since by its final one is there all the same; what was let go is
    /// named so.
    async fn log_entries(&self, first: u64, limit: u32) -> Result<Vec<LogEntry>, StoreError>;

    /// Notes exchanges that left no evidence; those known by their line count once.
    async fn note_unrecorded(&self, exchanges: &[UnrecordedExchange]) -> Result<(), StoreError>;

    /// Notes Envoys that ended when nobody asked them to; those of an instance and time
    /// count once.
    async fn note_envoy_ends(&self, ends: &[EnvoyEnd]) -> Result<(), StoreError>;

    /// What is missing, unrecorded or was recovered; of each kind the latest `limit`.
    async fn evidence_gaps(&self, limit: u32) -> Result<EvidenceGaps, StoreError>;

    /// Gives a key that nobody has, or that still is `instead_of`'s for the same request,
    /// to the exchange that claims it; whose it is then.
    async fn claim_key(
        &self,
        claim: &KeyClaim,
        instead_of: Option<Uuid>,
    ) -> Result<KeyHolder, StoreError>;

    /// Keeps answers beside the keys of those exchanges that still have them, sealed under
    /// their subjects' keys; how many. One that comes again takes the place of the first.
    async fn keep_answers(&self, answers: &[NewAnswer]) -> Result<u64, StoreError>;

    /// What was kept of the exchange that has this key.
    async fn kept_answer(&self, key: &[u8; 32], exchange: Uuid)
    -> Result<StoredAnswer, StoreError>;

    /// Forgets keys that were claimed, with their answers, and instances that were heard of
    /// last, before then: of the keys as many as take a moment; how many. None are left when
    /// it was none.
    async fn forget_keys(&self, before: Timestamp) -> Result<u64, StoreError>;

    /// Notes that an instance lives; what all of them said last.
    async fn note_alive(&self, sign: &SignOfLife) -> Result<Vec<SignOfLife>, StoreError>;

    /// What is known of a subject; `None` when there is none of that name.
    async fn subject(&self, name: &str) -> Result<Option<SubjectSummary>, StoreError>;

    /// Destroys the name and the key of a subject that no hold covers, and notes it.
    /// Its records stay as they are, and are nobody's from then on.
    async fn erase_subject(&self, name: &str, stamp: ErasureStamp) -> Result<Erasure, EraseError>;

    /// All erasures, in the order they were made.
    async fn erasures(&self) -> Result<Vec<Erasure>, StoreError>;

    /// Makes these erasures again, as far as an older copy of the database has undone
    /// them; how many subjects had come back. Holds do not count: it was done once.
    async fn repeat_erasures(&self, erasures: &[Erasure]) -> Result<u64, StoreError>;

    /// Places a hold; one on a subject that is not known yet covers what comes.
    async fn place_hold(&self, hold: NewHold) -> Result<Hold, StoreError>;

    /// Releases a hold for good, the first release counting; `None` when there is none
    /// of that id.
    async fn release_hold(&self, id: Uuid, release: Release) -> Result<Option<Hold>, StoreError>;

    /// All holds, released ones too, in the order of their placing.
    async fn holds(&self) -> Result<Vec<Hold>, StoreError>;

    /// Lets these records go for good and notes it. Nothing is done when the holds in
    /// force are not those that were `seen`, or one of the records is not there.
    async fn let_go(&self, seen: &[Hold], let_go: &LetGo) -> Result<(), LetGoError>;

    /// Does it again, as far as an older copy of the database has undone it; how many
    /// records had come back. Holds do not count: the archive has the records.
    async fn let_go_again(&self, let_go: &LetGo) -> Result<u64, StoreError>;

    /// What was let go, in order of time.
    async fn retentions(&self) -> Result<Vec<Retention>, StoreError>;

    /// What became of a record that was let go; of two of one id the later.
    async fn retired(&self, id: Uuid) -> Result<Option<RetiredRecord>, StoreError>;

    /// Gives room back that no record of before then takes.
    async fn give_back_room(&self, before: Timestamp) -> Result<(), StoreError>;

    /// Adds a token.
    async fn create_token(&self, token: NewToken) -> Result<TokenInfo, StoreError>;

    /// Adds a token and revokes all others of its name.
    async fn rotate_token(&self, token: NewToken) -> Result<TokenInfo, StoreError>;

    /// Revokes a token for good; `false` when there is none of that id.
    async fn revoke_token(&self, id: Uuid, at: Timestamp) -> Result<bool, StoreError>;

    /// All tokens, revoked ones too, in the order of their making.
    async fn tokens(&self) -> Result<Vec<TokenInfo>, StoreError>;

    /// The token whose text has this SHA-256, revoked or not.
    async fn token_by_hash(&self, sha256: &[u8; 32]) -> Result<Option<TokenInfo>, StoreError>;

    /// Where a reader of something outside the database stands.
    async fn cursor(&self, name: &str) -> Result<Option<String>, StoreError>;

    async fn set_cursor(&self, name: &str, value: &str) -> Result<(), StoreError>;

    /// The servers behind the store, as they were seen last; none where there are
    /// no servers to tell apart.
    fn servers(&self) -> Vec<ServerState> {
        Vec::new()
    }

    /// Reads something, to see whether reading works.
    async fn probe_read(&self) -> Result<(), StoreError>;

    /// Takes the way of a write up to its commit, and rolls it back.
    async fn probe_write(&self) -> Result<(), StoreError>;

    /// Finishes what was accepted and closes; calls after it fail.
    async fn close(&self);
}

/// Why the database did not do as asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("the database did not answer within {0:?}")]
    TimedOut(Duration),
    #[error("the database cannot be used")]
    Unavailable(#[source] Arc<dyn Error + Send + Sync>),
    #[error("stored data is not what was written: {0}")]
    Corrupt(&'static str),
    #[error("the database is closed")]
    Closed,
}

/// Why a change to policies was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChangeError {
    /// Someone else changed the set meanwhile: look again.
    #[error("the policies were changed meanwhile")]
    Stale,
    #[error(transparent)]
    Failed(#[from] StoreError),
}

/// Counts the changes of the set of active policies; 0 is the empty beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SetRevision(pub u64);

/// Who changed something, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    pub author: String,
    pub at: Timestamp,
    /// The Git commit that the change came with.
    pub commit: Option<String>,
}

/// All policies in force at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivePolicies {
    pub set: SetRevision,
    pub policies: Vec<PolicyRevision>,
}

/// One text of a policy, as it once was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRevision {
    pub name: String,
    /// From 1, for each name.
    pub revision: u64,
    /// The author's exact text.
    pub source: String,
    /// The author's own version number.
    pub version: String,
    pub description: Option<String>,
    pub author: String,
    pub created_at: Timestamp,
    /// The Git commit that brought it.
    pub commit: Option<String>,
}

/// A revision as it once was made, a deletion too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastRevision {
    pub summary: RevisionSummary,
    /// The author's exact text; `None` when this revision deleted the policy.
    pub source: Option<String>,
}

/// What is known of a revision besides its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionSummary {
    pub name: String,
    pub revision: u64,
    /// It took the policy out of force.
    pub deleted: bool,
    /// The author's own version number; `None` for a deletion.
    pub version: Option<String>,
    pub description: Option<String>,
    pub author: String,
    pub created_at: Timestamp,
    pub commit: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    pub revisions: Vec<RevisionSummary>,
    /// Where to go on; `None` at the end.
    pub next: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPolicy {
    pub name: String,
    pub source: String,
    pub version: String,
    pub description: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBundle {
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    pub bytes: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBundle {
    pub digest: String,
    pub bytes: Vec<u8>,
    /// Since when it is in force.
    pub activated_at: Timestamp,
    pub revision: SetRevision,
    /// The Git commit its policies came from.
    pub commit: Option<String>,
}

/// By which channel a record came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The filter's own batches.
    Outbox,
    /// Envoy's access log, read by the control plane beside it.
    Witness,
}

impl Source {
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Outbox => "outbox",
            Source::Witness => "witness",
        }
    }

    fn parse(text: &str) -> Result<Source, StoreError> {
        match text {
            "outbox" => Ok(Source::Outbox),
            "witness" => Ok(Source::Witness),
            _ => Err(StoreError::Corrupt("an unknown source of evidence")),
        }
    }
}

/// A record that was checked and may be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvidence {
    pub envelope: Envelope,
    pub leaf: LeafHash,
    /// The record's `time`.
    pub time: Timestamp,
    pub salt: [u8; 16],
}

/// A line that cannot become evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedLine {
    /// Stable code.
    pub reason: &'static str,
    pub sha256: [u8; 32],
    /// The line, cut at the size a record may have.
    pub line: Vec<u8>,
}

/// What came in one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceBatch {
    pub source: Source,
    pub received_at: Timestamp,
    pub records: Vec<NewEvidence>,
    pub rejected: Vec<RejectedLine>,
}

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Appended {
    /// One for each record, in their order.
    pub outcomes: Vec<Outcome>,
    /// Records whose `prev` does not name their predecessor, and places of a
    /// sequence taken twice.
    pub chain_breaks: u64,
}

/// What became of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Stored,
    /// Known already, or a provisional record of an exchange whose end is known.
    Duplicate,
    /// The id is taken by other bytes; kept in quarantine.
    Conflict,
}

/// Why [`Outcome::Conflict`] is in quarantine.
pub const CONFLICT: &str = "conflict";

/// Why a provisional record is in quarantine: the final one replaced it.
pub const SUPERSEDED: &str = "superseded";

/// Which records are asked for; all conditions hold together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EvidenceFilter {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    pub subject: Option<String>,
    /// The model that was asked for.
    pub model: Option<String>,
    pub decision: Option<DecisionKind>,
    /// A matched rule: `rule`, or `policy/rule`.
    pub rule: Option<String>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct EvidencePage {
    /// Canonical bytes of each record.
    pub records: Vec<String>,
    /// Whom each is of.
    pub subjects: Vec<Subject>,
    /// Where each stands in the tree; `None` while it waits.
    pub leaf_indexes: Vec<Option<u64>>,
    /// Where to go on; `None` at the end.
    pub next: Option<Uuid>,
}

/// A record and what is known of its arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvidence {
    pub canonical: String,
    pub subject: Subject,
    /// Of the record's digests; `None` when its subject is erased.
    pub salt: Option<[u8; 16]>,
    pub leaf: LeafHash,
    pub received_at: Timestamp,
    pub source: Source,
    pub provisional: bool,
    /// Where it stands in the tree; `None` while it waits.
    pub leaf_index: Option<u64>,
}

/// What is known of the sequence of one filter VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmitterEpoch {
    pub emitter: String,
    pub epoch: String,
    pub records: u64,
    pub first_seq: u64,
    pub last_seq: u64,
    /// Places up to `last_seq` that no record takes (yet).
    pub missing: u64,
    pub chain_breaks: u64,
    pub first_received_at: Timestamp,
    pub last_received_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmitterPage {
    pub epochs: Vec<EmitterEpoch>,
    pub next: Option<i64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EvidenceTotals {
    pub epochs: u64,
    pub records: u64,
    pub missing: u64,
    pub chain_breaks: u64,
}

/// One database server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerState {
    pub host: String,
    pub role: ServerRole,
    /// How old what a standby shows may be, as far as is known.
    pub lag: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerRole {
    /// Takes our writes.
    Primary,
    Standby,
    /// Takes writes, and is not the one we follow.
    FormerPrimary,
    Away,
}

impl ServerRole {
    pub fn as_str(self) -> &'static str {
        match self {
            ServerRole::Primary => "primary",
            ServerRole::Standby => "standby",
            ServerRole::FormerPrimary => "former_primary",
            ServerRole::Away => "away",
        }
    }
}

/// A token about to be stored; its text is known only to who asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    pub id: Uuid,
    pub name: String,
    pub role: Role,
    pub sha256: [u8; 32],
    pub created_at: Timestamp,
    pub created_by: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    pub id: Uuid,
    pub name: String,
    pub role: Role,
    pub created_at: Timestamp,
    pub created_by: String,
    pub revoked_at: Option<Timestamp>,
}
