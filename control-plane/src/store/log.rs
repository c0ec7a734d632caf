//! The evidence tree as a store keeps it, and what it knows to be missing.

use jiff::Timestamp;
use jupiter_evidence::LeafHash;
use jupiter_evidence::tree::{Hash, Tile};
use uuid::Uuid;

use super::StoreError;

/// Why the log did not move on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AdvanceError {
    /// Another control plane was faster: look again.
    #[error("the log moved on meanwhile")]
    Stale,
    #[error(transparent)]
    Failed(#[from] StoreError),
}

/// Where the log stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogState {
    /// Leaves in the tree.
    pub size: u64,
    /// Leaves of stored records that are not in the tree yet.
    pub waiting: u64,
    /// The newest checkpoint; of `size`, or of less while one is due.
    pub checkpoint: Option<StoredCheckpoint>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCheckpoint {
    pub size: u64,
    pub root: Hash,
    /// The signed note.
    pub note: String,
    pub signed_at: Timestamp,
}

/// What this control plane vouched for last of another log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    pub size: u64,
    pub root: Hash,
    /// As it came, signed by its log.
    pub note: String,
    pub at: Timestamp,
}

/// What one transaction of [`append_evidence`](super::Store::append_evidence)
/// stored: whole or not at all in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingBatch {
    pub id: i64,
    /// In the order they get in the tree; never none.
    pub leaves: Vec<LeafHash>,
}

/// A step of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequenced {
    /// In the order their leaves have in the tree.
    pub batches: Vec<i64>,
    /// Of the tree with them.
    pub size: u64,
    /// Every tile that got hashes, with those it had.
    pub tiles: Vec<Tile>,
}

/// A leaf and the record it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    pub index: u64,
    pub record: LogRecord,
}

/// What there is of a record in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogRecord {
    Stored(LoggedRecord),
    /// It was old enough, and an archive has it.
    LetGo,
    /// It should be there.
    Lost,
}

/// A record in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedRecord {
    /// Canonical bytes.
    pub canonical: String,
    pub received_at: Timestamp,
    /// What its subject is known by; of a record that a later one replaced, that one's.
    pub subject_ref: Option<Uuid>,
}

impl LogEntry {
    /// Canonical bytes, where they are stored.
    pub fn canonical(&self) -> Option<&str> {
        match &self.record {
            LogRecord::Stored(record) => Some(&record.canonical),
            LogRecord::LetGo | LogRecord::Lost => None,
        }
    }
}

/// An exchange that Envoy's access log has and the filter did not record.
/// Nothing in it was written by a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnrecordedExchange {
    /// Names the line of the log, so that a line read again counts once.
    pub line: String,
    pub found_at: Timestamp,
    pub instance: String,
    /// `x-request-id`, where it is an id.
    pub request_id: Option<Uuid>,
    pub status_code: u16,
    /// Envoy's own word for how it ended.
    pub details: String,
}

/// Places of an emitter's sequence that no record takes, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingPlaces {
    pub emitter: String,
    pub epoch: String,
    pub first_seq: u64,
    pub last_seq: u64,
    /// When a record of this sequence last came.
    pub last_received_at: Timestamp,
}

/// A record that came by the access log alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredRecord {
    pub id: Uuid,
    pub received_at: Timestamp,
    /// How its exchange ended is not known.
    pub provisional: bool,
}

/// A record that was stored before its request left, and is the last word so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedRecord {
    pub id: Uuid,
    pub received_at: Timestamp,
}

/// An Envoy ended when nobody asked it to. Exchanges that were in flight or over between
/// the two times may have no record, and no sequence tells of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvoyEnd {
    pub instance: String,
    /// Its last sign of life.
    pub since: Timestamp,
    /// When its end was noticed.
    pub until: Timestamp,
    /// Its exit status, or that it was found gone.
    pub how: String,
}

/// What is missing, or nearly was; of each kind the latest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EvidenceGaps {
    pub missing: Vec<MissingPlaces>,
    pub unrecorded: Vec<UnrecordedExchange>,
    pub recovered: Vec<RecoveredRecord>,
    pub unfinished: Vec<UnfinishedRecord>,
    pub envoy_ends: Vec<EnvoyEnd>,
    /// Of all, not only of those listed.
    pub unrecorded_total: u64,
    pub recovered_total: u64,
    pub unfinished_total: u64,
    pub envoy_ends_total: u64,
}
