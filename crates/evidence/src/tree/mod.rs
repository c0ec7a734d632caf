//! The evidence tree: Merkle hashes after RFC 6962, in tiles after C2SP
//! `tlog-tiles`, under signed checkpoints.
//!
//! Here is the arithmetic: which hashes prove what, and whether they do. A
//! tree of `n` leaves is `0..n`; a subtree is a range of leaves. Nothing is
//! stored here: hashes come from [`Tiles`], where [`Edge`] puts them. The
//! arithmetic is held against another implementation in the crate's tests.

mod checkpoint;
mod cosignature;
mod cover;
mod note;
mod proof;
mod tiles;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use cosignature::{Cosigner, CosignerKey, Submission, SubmissionError, cosignatures_in};
pub use cover::{gaps_between, root_of_cover};
pub use note::{KeyError, Note, NoteError, NoteSigner, NoteVerifier};
pub use proof::{InclusionProof, ProofError};
pub use tiles::{Edge, TILE_WIDTH, Tile, TileId, Tiles};

use sha2::{Digest, Sha256};
use std::ops::Range;

/// SHA-256 of a leaf or of two subtrees.
pub type Hash = [u8; 32];

/// The hash over two neighbouring subtrees.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([1]);
    hasher.update(left);
    hasher.update(right);
    hasher.finalize().into()
}

/// The root of the tree without leaves.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// Where a subtree of more than one leaf divides: at the largest power of two
/// below its length.
fn split(range: &Range<u64>) -> u64 {
    let length = range.end - range.start;
    range.start + (1 << (u64::BITS - 1 - (length - 1).leading_zeros()))
}

/// The subtrees that prove the leaf `index` of a tree of `size`, the leaf's
/// sibling first (RFC 6962 §2.1.1). Empty where there is no such leaf.
pub fn inclusion_path(index: u64, size: u64) -> Vec<Range<u64>> {
    let mut path = Vec::new();
    if index >= size {
        return path;
    }
    let mut at = 0..size;
    while at.end - at.start > 1 {
        let middle = split(&at);
        if index < middle {
            path.push(middle..at.end);
            at.end = middle;
        } else {
            path.push(at.start..middle);
            at.start = middle;
        }
    }
    path.reverse();
    path
}

/// The subtrees that prove that the first `old` leaves of a tree of `new` are
/// the tree of `old` (RFC 6962 §2.1.2). Empty where nothing needs a proof.
pub fn consistency_path(old: u64, new: u64) -> Vec<Range<u64>> {
    let mut path = Vec::new();
    if old == 0 || old >= new {
        return path;
    }
    let mut at = 0..new;
    // Still on the left edge: its subtree is the old tree itself, which is known.
    let mut left_edge = true;
    while at.end != old {
        let middle = split(&at);
        if old <= middle {
            path.push(middle..at.end);
            at.end = middle;
        } else {
            path.push(at.start..middle);
            at.start = middle;
            left_edge = false;
        }
    }
    if !left_edge {
        path.push(at);
    }
    path.reverse();
    path
}

/// Whether `proof` leads from a leaf to the root (RFC 9162 §2.1.3.2).
pub fn proves_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether `proof` shows that the tree of `new` leaves begins with that of
/// `old` (RFC 9162 §2.1.4.2). Every tree begins with the empty one.
pub fn proves_consistency(
    (old, old_root): (u64, &Hash),
    (new, new_root): (u64, &Hash),
    proof: &[Hash],
) -> bool {
    if old > new {
        return false;
    }
    if old == new || old == 0 {
        let known = if old == 0 { empty_root() } else { *new_root };
        return proof.is_empty() && *old_root == known;
    }
    let mut path = proof.iter();
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let first = match old.is_power_of_two() {
        true => old_root,
        false => match path.next() {
            Some(first) => first,
            None => return false,
        },
    };
    let (mut from_old, mut from_new) = (*first, *first);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            from_old = node_hash(sibling, &from_old);
            from_new = node_hash(sibling, &from_new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            from_new = node_hash(&from_new, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && from_old == *old_root && from_new == *new_root
}
