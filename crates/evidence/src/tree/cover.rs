//! Proves many leaves of a tree at once.
//!
//! The leaves that are shown, and a hash for each largest subtree of which none
//! is shown, give the root. For leaves that follow each other this takes a few
//! dozen hashes, however many leaves there are.

use super::{Hash, empty_root, node_hash, split};
use std::ops::Range;

/// The largest subtrees of a tree of `size` that have no leaf in `shown`,
/// from left to right. `shown` must be in order and not overlap.
pub fn gaps_between(shown: &[Range<u64>], size: u64) -> Vec<Range<u64>> {
    let mut gaps = Vec::new();
    walk(0..size, shown, &mut |part, is_leaf| {
        if !is_leaf {
            gaps.push(part);
        }
        Some([0; 32])
    });
    gaps
}

/// The root of a tree of `size` from the leaves in `shown` and the hashes of
/// [`gaps_between`]. `None` where their numbers do not fit.
pub fn root_of_cover(
    size: u64,
    shown: &[Range<u64>],
    leaves: impl IntoIterator<Item = Hash>,
    gaps: impl IntoIterator<Item = Hash>,
) -> Option<Hash> {
    let (mut leaves, mut gaps) = (leaves.into_iter(), gaps.into_iter());
    if shown.last().is_some_and(|last| last.end > size) {
        return None;
    }
    let root = walk(0..size, shown, &mut |_, is_leaf| match is_leaf {
        true => leaves.next(),
        false => gaps.next(),
    })?;
    let all_used = leaves.next().is_none() && gaps.next().is_none();
    all_used.then_some(root)
}

/// Visits, from left to right, shown leaves and largest subtrees without any.
fn walk(
    part: Range<u64>,
    shown: &[Range<u64>],
    hash: &mut impl FnMut(Range<u64>, bool) -> Option<Hash>,
) -> Option<Hash> {
    if part.is_empty() {
        return Some(empty_root());
    }
    let from = shown.partition_point(|range| range.end <= part.start);
    let to = shown.partition_point(|range| range.start < part.end);
    let inside = shown.get(from..to).unwrap_or_default();
    if inside.is_empty() {
        return hash(part, false);
    }
    if part.end - part.start == 1 {
        return hash(part, true);
    }
    let middle = split(&part);
    let left = walk(part.start..middle, inside, hash)?;
    let right = walk(middle..part.end, inside, hash)?;
    Some(node_hash(&left, &right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_do_not_fit_prove_nothing() {
        let hash = [1; 32];
        let shown = [1..2, 2..3];
        let gaps = gaps_between(&shown, 5);
        assert_eq!(gaps, [0..1, 3..4, 4..5]);
        assert!(root_of_cover(5, &shown, [hash; 2], [hash; 3]).is_some());
        for (leaves, gaps) in [(1, 3), (3, 3), (2, 2), (2, 4)] {
            let root = root_of_cover(5, &shown, vec![hash; leaves], vec![hash; gaps]);
            assert_eq!(root, None, "{leaves} {gaps}");
        }
        assert_eq!(root_of_cover(2, &shown, [hash; 2], [hash; 1]), None);
    }
}
