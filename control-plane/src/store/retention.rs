//! Records that go when they are old enough.

use jiff::Timestamp;
use jupiter_evidence::tree::Hash;
use uuid::Uuid;

use super::StoreError;

/// Records that were let go together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// The file that has them.
    pub archive: String,
    pub at: Timestamp,
    pub records: u64,
    /// What the log's key signed about it.
    pub note: String,
}

/// Records about to be let go: their archive is on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetGo {
    pub retention: Retention,
    /// Where they are in the tree, and their hashes, in order.
    pub leaves: Vec<(u64, Hash)>,
}

/// A record that was let go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetiredRecord {
    pub leaf_index: u64,
    pub let_go_at: Timestamp,
    pub archive: String,
}

/// Why records were not let go.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LetGoError {
    /// Another hold is in force, or some of them went meanwhile: look again.
    #[error("holds or records are others meanwhile")]
    Stale,
    #[error(transparent)]
    Failed(#[from] StoreError),
}

/// The holds in force, in order, as somebody saw them.
pub(super) fn in_force(holds: &[super::Hold]) -> Vec<Uuid> {
    let held = holds.iter().filter(|hold| hold.released.is_none());
    let mut ids: Vec<Uuid> = held.map(|hold| hold.id).collect();
    ids.sort_unstable();
    ids
}

/// As a JSON text of pairs of number and hash in hex, and the like.
pub(super) fn wanted(leaves: &[(u64, Hash)]) -> String {
    let each = leaves
        .iter()
        .map(|(index, hash)| format!("[{index},\"{}\"]", jupiter_evidence::hex(hash)));
    format!("[{}]", each.collect::<Vec<_>>().join(","))
}
