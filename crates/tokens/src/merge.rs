//! One piece of text to its number of tokens, as byte pair encoding merges it.
//!
//! Of all neighbours whose bytes together are a token, those with the lowest
//! rank are merged, the first pair first, until there are none. A piece longer
//! than [`WINDOW`] is merged window by window; the last tokens of a window,
//! which a longer text might have merged otherwise, are merged again in the
//! next. So work for a byte is bounded whatever the bytes are.

use crate::Count;
use crate::table::{LONGEST, Table, between, roll};

/// Most bytes that are merged together: no token is longer.
pub const WINDOW: usize = LONGEST;
/// Tokens at the end of a full window that are merged again.
const AGAIN: usize = 6;
const NO_TOKEN: u32 = u32::MAX;

/// Adds the tokens of a piece to the count.
pub fn count(table: Table<'_>, mut piece: &[u8], counted: &mut Count) {
    while piece.len() > WINDOW {
        let Some((window, _)) = piece.split_at_checked(WINDOW) else {
            return;
        };
        let mut merge = Merge::new(table, window);
        counted.work += merge.run();
        // Half a window at least, so that no byte is merged more than twice.
        let kept = merge.parts.saturating_sub(AGAIN);
        let (tokens, bytes) = match merge.start(kept) {
            start if start * 2 >= WINDOW => (kept, start),
            _ => (merge.parts, WINDOW),
        };
        counted.tokens += tokens as u64;
        piece = piece.get(bytes..).unwrap_or_default();
    }
    if piece.len() <= 1 {
        counted.tokens += piece.len() as u64;
        return;
    }
    let whole = piece.iter().fold(0, |hash, byte| roll(hash, *byte));
    counted.work += 1;
    if table.rank(whole).is_some() {
        counted.tokens += 1;
        return;
    }
    let mut merge = Merge::new(table, piece);
    counted.work += merge.run();
    counted.tokens += merge.parts as u64;
}

/// At most [`WINDOW`] bytes in the course of being merged.
struct Merge<'t> {
    table: Table<'t>,
    /// The hash of everything up to each byte.
    hashes: [u64; WINDOW + 1],
    parts: usize,
    /// Where each part starts; after the last one, where it ends.
    starts: [u8; WINDOW + 1],
    /// The rank of each part together with the next.
    ranks: [u32; WINDOW],
}

impl<'t> Merge<'t> {
    fn new(table: Table<'t>, bytes: &[u8]) -> Merge<'t> {
        let mut merge = Merge {
            table,
            hashes: [0; WINDOW + 1],
            parts: bytes.len(),
            starts: [0; WINDOW + 1],
            ranks: [NO_TOKEN; WINDOW],
        };
        let mut hash = 0;
        for (byte, at) in bytes.iter().zip(merge.hashes.iter_mut().skip(1)) {
            hash = roll(hash, *byte);
            *at = hash;
        }
        for (start, at) in (0u8..).zip(merge.starts.iter_mut()) {
            *at = start;
        }
        for part in 1..merge.parts {
            merge.rank_pair(part - 1);
        }
        merge
    }

    fn start(&self, part: usize) -> usize {
        self.starts.get(part).copied().unwrap_or_default().into()
    }

    /// Looks up the rank of a part together with the next.
    #[inline]
    fn rank_pair(&mut self, part: usize) {
        let rank = if part + 1 < self.parts {
            let (start, end) = (self.start(part), self.start(part + 2));
            let hash = |at: usize| self.hashes.get(at).copied().unwrap_or_default();
            self.table
                .rank(between(hash(start), hash(end), end - start))
                .unwrap_or(NO_TOKEN)
        } else {
            NO_TOKEN
        };
        if let Some(at) = self.ranks.get_mut(part) {
            *at = rank;
        }
    }

    /// Merges all that can be merged; tells the work.
    fn run(&mut self) -> u64 {
        let mut work = self.parts as u64;
        loop {
            let pairs = self.ranks.get(..self.parts).unwrap_or_default();
            work += pairs.len() as u64 / 8 + 1;
            let lowest = pairs.iter().copied().fold(NO_TOKEN, u32::min);
            if lowest == NO_TOKEN {
                return work;
            }
            let Some(part) = pairs.iter().position(|rank| *rank == lowest) else {
                return work;
            };
            self.starts.copy_within(part + 2..=self.parts, part + 1);
            self.ranks.copy_within(part + 1..self.parts, part);
            self.parts -= 1;
            self.rank_pair(part);
            if let Some(before) = part.checked_sub(1) {
                self.rank_pair(before);
            }
        }
    }
}
