//! That records are retained no more: a statement signed by the log's key.
//!
//! A record that was let go leaves its hash in the tree, so that all proofs hold. Whoever
//! owns a database can delete a record as well, and say it was retention; they cannot sign
//! that. The statement says which leaves went, by their hashes, which numbers of which
//! emitters they had, and which archive has them. [`crate::verify`] believes it from the
//! log's own key alone.

use crate::hex;
use crate::tree::{Hash, Note, NoteError, NoteSigner, NoteVerifier, TILE_WIDTH};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The first line of the text: no checkpoint's second line is JSON.
const HEAD: &str = "mercator-retention/1";

/// Records of a log that are retained no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Name of the file that has them, its proof beside it.
    pub archive: String,
    /// SHA-256 of that file, in hex.
    pub archive_sha256: String,
    /// When they were let go, RFC 3339.
    pub at: String,
    /// In order.
    pub leaves: Vec<LeavesGone>,
    /// Names the log.
    pub origin: String,
    /// Numbers that emitters gave them.
    pub sequences: Vec<NumbersGone>,
}

/// Leaves one after the other, all of one tile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeavesGone {
    pub count: u64,
    pub first: u64,
    /// SHA-256 over their hashes, in hex: tells them from those of another log.
    pub sha256: String,
}

/// Numbers of one emitter's sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumbersGone {
    pub emitter: String,
    pub epoch: String,
    /// As first number and count, in order.
    pub ranges: Vec<(u64, u64)>,
}

impl LeavesGone {
    fn of(first: u64, hashes: &[Hash]) -> LeavesGone {
        LeavesGone {
            count: hashes.len() as u64,
            first,
            sha256: hex(&Sha256::digest(hashes.as_flattened())),
        }
    }

    /// Whether these are the hashes of the leaves that are meant.
    pub fn fits(&self, hashes: &[Hash]) -> bool {
        LeavesGone::of(self.first, hashes) == *self
    }
}

/// Leaves as a statement names them; they come in order.
pub fn leaves_gone(leaves: &[(u64, Hash)]) -> Vec<LeavesGone> {
    let together = |one: &(u64, Hash), next: &(u64, Hash)| {
        one.0.checked_add(1) == Some(next.0) && !next.0.is_multiple_of(TILE_WIDTH)
    };
    let some = leaves.chunk_by(together);
    some.filter_map(|some| {
        let hashes: Vec<Hash> = some.iter().map(|(_, hash)| *hash).collect();
        Some(LeavesGone::of(some.first()?.0, &hashes))
    })
    .collect()
}

impl Retention {
    /// The note that says so.
    pub fn sign<'a>(
        &self,
        signers: impl IntoIterator<Item = &'a NoteSigner>,
    ) -> Result<String, serde_json::Error> {
        let text = format!("{HEAD}\n{}\n", serde_json::to_string(self)?);
        Ok(Note::sign(&text, signers))
    }

    /// Reads a note that the key of the log it speaks of signed.
    pub fn open(note: &str, known: &[NoteVerifier]) -> Result<Retention, RetentionError> {
        let note = Note::parse(note)?;
        let (text, signers) = note.open(known)?;
        let retention = Retention::parse(text).ok_or(RetentionError::NotARetention)?;
        match signers.iter().any(|key| key.name() == retention.origin) {
            true => Ok(retention),
            false => Err(NoteError::UnknownSigner.into()),
        }
    }

    /// What a note says, whoever signed it.
    pub fn unverified(note: &str) -> Option<Retention> {
        Retention::parse(Note::parse(note).ok()?.unverified_text())
    }

    fn parse(text: &str) -> Option<Retention> {
        let json = text.strip_prefix(HEAD)?.strip_prefix('\n')?;
        let retention: Retention = serde_json::from_str(json.strip_suffix('\n')?).ok()?;
        // Nothing that a reader counts with may overflow.
        let leaves = retention.leaves.iter();
        let numbers = retention.sequences.iter().flat_map(|of| &of.ranges);
        let whole = leaves
            .map(|gone| (gone.first, gone.count))
            .chain(numbers.copied())
            .all(|(first, count)| count > 0 && first.checked_add(count).is_some());
        whole.then_some(retention)
    }

    /// How many records it is about.
    pub fn records(&self) -> u64 {
        let counts = self.leaves.iter().map(|gone| gone.count);
        counts.fold(0, u64::saturating_add)
    }
}

/// Why a note is no statement to rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetentionError {
    Note(NoteError),
    /// Signed, but not such a statement.
    NotARetention,
    /// Of another log.
    OtherLog,
}

impl std::fmt::Display for RetentionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RetentionError::Note(error) => error.fmt(f),
            RetentionError::NotARetention => f.write_str("not a statement of retention"),
            RetentionError::OtherLog => f.write_str("of another log"),
        }
    }
}

impl std::error::Error for RetentionError {}

impl From<NoteError> for RetentionError {
    fn from(error: NoteError) -> RetentionError {
        RetentionError::Note(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Checkpoint;

    fn retention() -> Retention {
        Retention {
            archive: "evidence-0-2.jsonl".to_owned(),
            archive_sha256: "ab".repeat(32),
            at: "2026-11-27T06:00:00.000000Z".to_owned(),
            leaves: leaves_gone(&[(0, [1; 32]), (1, [2; 32]), (5, [3; 32])]),
            origin: "mercator/test".to_owned(),
            sequences: vec![NumbersGone {
                emitter: "jupiter-1".to_owned(),
                epoch: "00".repeat(16),
                ranges: vec![(0, 3)],
            }],
        }
    }

    #[test]
    fn statement_is_believed_from_the_logs_own_key_alone() {
        let own = NoteSigner::new("mercator/test", &[1; 32]).unwrap();
        let other = NoteSigner::new("mercator/test", &[2; 32]).unwrap();
        let witness = NoteSigner::new("witness.example", &[3; 32]).unwrap();
        let known = [own.verifier(), witness.verifier()];
        let note = retention().sign([&own]).unwrap();
        assert_eq!(Retention::open(&note, &known), Ok(retention()));
        assert_eq!(retention().records(), 3);
        for stranger in [&other, &witness] {
            let note = retention().sign([stranger]).unwrap();
            let refused = Retention::open(&note, &known);
            assert_eq!(refused, Err(NoteError::UnknownSigner.into()));
        }
        let altered = note.replacen("\"first\":5", "\"first\":4", 1);
        let refused = Retention::open(&altered, &known);
        assert_eq!(refused, Err(NoteError::BadSignature.into()));
        assert_eq!(Checkpoint::unverified(&note), None);
    }

    #[test]
    fn leaves_are_named_by_their_hashes_tile_by_tile() {
        let leaves: Vec<(u64, Hash)> = (250..260).map(|n| (n, [n as u8; 32])).collect();
        let gone = leaves_gone(&leaves);
        let places: Vec<_> = gone.iter().map(|gone| (gone.first, gone.count)).collect();
        assert_eq!(places, [(250, 6), (256, 4)]);
        let hashes: Vec<Hash> = leaves.iter().map(|(_, hash)| *hash).collect();
        assert!(gone[0].fits(&hashes[..6]) && !gone[0].fits(&hashes[1..7]));
    }
}
