//! The sequence one emitter writes: numbered, and each record naming the last.
//!
//! A record that is missing, altered or told twice shows: the numbers have a
//! gap, or a `prev` does not fit. [`LeafHash`] is the RFC 6962 leaf hash, so
//! that chain and tree speak of a record by the same name.

use crate::envelope::{EnvelopeError, hex};
use crate::record::{Emitter, EvidenceRecord};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// SHA-256 over a zero byte and the record's canonical bytes (RFC 6962 §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeafHash(pub [u8; 32]);

impl LeafHash {
    /// The hash of a record's canonical bytes.
    pub fn of(canonical: &[u8]) -> LeafHash {
        let mut hasher = Sha256::new();
        hasher.update([0]);
        hasher.update(canonical);
        LeafHash(hasher.finalize().into())
    }
}

impl fmt::Display for LeafHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Numbers and chains the records of one emitter.
#[derive(Debug, Clone)]
pub struct EmitterChain {
    epoch: String,
    next_seq: u64,
    prev: String,
}

/// A record with its place in the chain, in the bytes that will be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRecord {
    pub canonical: Vec<u8>,
    pub leaf: LeafHash,
}

impl EmitterChain {
    /// A chain that starts now; `epoch` must be random.
    pub fn start(epoch: [u8; 16]) -> EmitterChain {
        let epoch = hex(&epoch);
        EmitterChain {
            epoch,
            next_seq: 0,
            prev: String::new(),
        }
    }

    /// Gives `record` the next place in the chain, overwriting its `emitter`'s
    /// epoch, sequence and predecessor. On an error the place is not used up.
    pub fn seal(&mut self, record: &mut EvidenceRecord) -> Result<SealedRecord, EnvelopeError> {
        record.emitter = Emitter {
            id: std::mem::take(&mut record.emitter.id),
            epoch: self.epoch.clone(),
            seq: self.next_seq,
            prev: self.prev.clone(),
        };
        let canonical = record.to_canonical()?;
        let leaf = LeafHash::of(&canonical);
        self.next_seq += 1;
        self.prev = leaf.to_string();
        Ok(SealedRecord { canonical, leaf })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::tests::sample;

    #[test]
    fn records_are_numbered_from_zero_and_name_their_predecessor() {
        let mut chain = EmitterChain::start([7; 16]);
        let first = chain.seal(&mut sample()).unwrap();
        let mut second_record = sample();
        chain.seal(&mut second_record).unwrap();
        assert_eq!(second_record.emitter.seq, 1);
        assert_eq!(second_record.emitter.prev, first.leaf.to_string());
        assert_eq!(second_record.emitter.epoch, "07".repeat(16));
    }

    #[test]
    fn leaf_hash_is_that_of_rfc_6962() {
        // SHA-256 of one zero byte: the hash of an empty leaf.
        assert_eq!(
            LeafHash::of(b"").to_string(),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
    }
}
