//! Proofs to keep beside a record (C2SP `tlog-proof`): verified offline, with
//! the record's bytes and the log's public key alone.

use super::{Checkpoint, CheckpointError, Hash, NoteVerifier, proves_inclusion};
use crate::LeafHash;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;

const HEAD: &str = "c2sp.org/tlog-proof@v1";

/// A tree has no longer path than its size has bits.
const MAX_HASHES: usize = 64;

/// That one record is in the tree of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    pub index: u64,
    /// From the leaf's sibling to a child of the root.
    pub hashes: Vec<Hash>,
    /// The signed note, verbatim.
    pub checkpoint: String,
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProofError {
    Malformed,
    Checkpoint(CheckpointError),
    /// The record is not the one at this place of the log.
    WrongRecord,
}

impl fmt::Display for ProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProofError::Malformed => f.write_str("not a tlog-proof"),
            ProofError::Checkpoint(error) => write!(f, "the checkpoint: {error}"),
            ProofError::WrongRecord => {
                f.write_str("the proof does not lead from this record to the checkpoint's root")
            }
        }
    }
}

impl std::error::Error for ProofError {}

impl fmt::Display for InclusionProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}\nindex {}", self.index)?;
        for hash in &self.hashes {
            writeln!(f, "{}", STANDARD.encode(hash))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

impl InclusionProof {
    /// Whether a text is meant to be a proof.
    pub fn is_begun_by(text: &str) -> bool {
        text.starts_with(HEAD)
    }

    pub fn parse(text: &str) -> Result<InclusionProof, ProofError> {
        let parsed = || {
            let rest = text.strip_prefix(HEAD)?.strip_prefix('\n')?;
            let (head, checkpoint) = rest.split_once("\n\n")?;
            let mut lines = head.split('\n').peekable();
            // Not authenticated, and nothing we need.
            lines.next_if(|line| line.starts_with("extra "));
            let digits = lines.next()?.strip_prefix("index ")?;
            let index: u64 = digits.parse().ok()?;
            let hash = |line| STANDARD.decode(line).ok()?.try_into().ok();
            let hashes: Vec<Hash> = lines.map(hash).collect::<Option<_>>()?;
            let fits = index.to_string() == digits && hashes.len() <= MAX_HASHES;
            fits.then(|| InclusionProof {
                index,
                hashes,
                checkpoint: checkpoint.to_owned(),
            })
        };
        parsed().ok_or(ProofError::Malformed)
    }

    /// The checkpoint of the tree that has the record, if it has.
    pub fn verify(&self, leaf: LeafHash, known: &[NoteVerifier]) -> Result<Checkpoint, ProofError> {
        let (checkpoint, _) =
            Checkpoint::open(&self.checkpoint, known).map_err(ProofError::Checkpoint)?;
        let (size, root) = (checkpoint.size, &checkpoint.root);
        match proves_inclusion(&leaf.0, self.index, size, &self.hashes, root) {
            true => Ok(checkpoint),
            false => Err(ProofError::WrongRecord),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{NoteSigner, node_hash};

    #[test]
    fn proof_survives_its_text_and_proves_its_record_alone() {
        let key = NoteSigner::new("mercator/test", &[1; 32]).unwrap();
        let known = [key.verifier()];
        let (left, right) = (LeafHash::of(b"left"), LeafHash::of(b"right"));
        let checkpoint = Checkpoint {
            origin: "mercator/test".to_owned(),
            size: 2,
            root: node_hash(&left.0, &right.0),
        };
        let proof = InclusionProof {
            index: 1,
            hashes: vec![left.0],
            checkpoint: checkpoint.sign([&key]),
        };
        let text = proof.to_string();
        assert!(InclusionProof::is_begun_by(&text));
        assert_eq!(InclusionProof::parse(&text), Ok(proof.clone()));
        let with_extra = text.replacen("\nindex", "\nextra AAAA\nindex", 1);
        assert_eq!(InclusionProof::parse(&with_extra), Ok(proof.clone()));
        assert_eq!(proof.verify(right, &known), Ok(checkpoint));
        assert_eq!(proof.verify(left, &known), Err(ProofError::WrongRecord));
        for spoiled in ["index 01", "index -1", "indexes 1"] {
            let text = text.replacen("index 1", spoiled, 1);
            assert_eq!(InclusionProof::parse(&text), Err(ProofError::Malformed));
        }
    }
}
