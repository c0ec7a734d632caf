//! What lies beside exported records to prove them offline.
//!
//! The records are a text of one canonical record a line, in the order of the
//! log. The proof is one JSON document: the checkpoint, which leaves the lines
//! are, their hashes (so that a changed line can be named), the hashes of
//! everything between them, and consistency with earlier checkpoints. None of it
//! is to be believed: [`crate::verify`] believes keys alone.

use crate::tree::{Hash, TILE_WIDTH};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ops::Range;

/// Written as `format`.
pub const PROOF_FORMAT: &str = "mercator-evidence-proof/1";

/// The proof of exported records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportProof {
    pub format: String,
    /// The signed note, verbatim.
    pub checkpoint: String,
    /// Which leaves the lines are, as first index and count, in order.
    pub ranges: Vec<(u64, u64)>,
    /// The hash of each line.
    #[serde(with = "many")]
    pub leaves: Vec<Hash>,
    /// The hashes of the largest subtrees without any of these leaves, from left
    /// to right.
    #[serde(with = "many")]
    pub between: Vec<Hash>,
    /// How earlier checkpoints are contained in this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consistency: Vec<ConsistencyProof>,
    /// Signed statements of what is retained no more ([`crate::retention`]).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retentions: Vec<String>,
}

/// That the log of a checkpoint begins with the log of an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsistencyProof {
    /// Size of the earlier one.
    pub size: u64,
    /// As in RFC 6962 §2.1.2.
    #[serde(with = "many")]
    pub hashes: Vec<Hash>,
}

impl ExportProof {
    /// The leaves that the lines are; `None` where the ranges are out of order.
    pub fn shown(&self) -> Option<Vec<Range<u64>>> {
        let mut end = 0;
        let mut shown = Vec::with_capacity(self.ranges.len());
        for (first, count) in &self.ranges {
            let next = first.checked_add(*count)?;
            if *first < end || *count == 0 {
                return None;
            }
            shown.push(*first..next);
            end = next;
        }
        Some(shown)
    }
}

/// Leaf indexes in order, as ranges.
pub fn ranges_of(indexes: &[u64]) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for index in indexes {
        match ranges.last_mut() {
            Some((first, count)) if *first + *count == *index => *count += 1,
            _ => ranges.push((*index, 1)),
        }
    }
    ranges
}

/// Hashes as base64, a tile's worth in each text: a text of its own for each
/// hash would be half as large again.
mod many {
    use super::*;

    pub(super) fn serialize<S: Serializer>(hashes: &[Hash], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(
            hashes
                .chunks(TILE_WIDTH as usize)
                .map(|some| STANDARD.encode(some.as_flattened())),
        )
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Hash>, D::Error> {
        let texts: Vec<String> = Deserialize::deserialize(from)?;
        let mut hashes = Vec::new();
        for text in texts {
            let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
            match bytes.as_chunks() {
                (some, []) => hashes.extend_from_slice(some),
                _ => return Err(D::Error::custom("hashes of the wrong length")),
            }
        }
        Ok(hashes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proof_survives_its_text() {
        let proof = ExportProof {
            format: PROOF_FORMAT.to_owned(),
            checkpoint: "a\n1\nb\n\n".to_owned(),
            ranges: vec![(3, 600)],
            leaves: (0..600_u64).map(|n| [n as u8; 32]).collect(),
            between: vec![[9; 32]],
            consistency: vec![ConsistencyProof {
                size: 2,
                hashes: vec![],
            }],
            retentions: vec!["a note".to_owned()],
        };
        let text = serde_json::to_string(&proof).unwrap();
        assert_eq!(serde_json::from_str::<ExportProof>(&text).unwrap(), proof);
        let shown = proof.shown().unwrap();
        assert_eq!((shown.len(), &shown[0]), (1, &(3..603)));
        let odd = text.replacen("\"between\":[\"CQ", "\"between\":[\"CQkJ", 1);
        assert!(serde_json::from_str::<ExportProof>(&odd).is_err());
    }

    #[test]
    fn ranges_are_in_order_and_do_not_overlap() {
        assert_eq!(ranges_of(&[0, 1, 2, 7, 9, 10]), [(0, 3), (7, 1), (9, 2)]);
        let shown = |ranges: &[(u64, u64)]| {
            let proof = ExportProof {
                format: String::new(),
                checkpoint: String::new(),
                ranges: ranges.to_vec(),
                leaves: vec![],
                between: vec![],
                consistency: vec![],
                retentions: vec![],
            };
            proof.shown().is_some()
        };
        assert!(shown(&[(0, 3), (3, 1)]));
        assert!(!shown(&[(3, 1), (0, 3)]));
        assert!(!shown(&[(0, 3), (2, 1)]));
        assert!(!shown(&[(0, 0)]));
        assert!(!shown(&[(u64::MAX, 2)]));
    }
}
