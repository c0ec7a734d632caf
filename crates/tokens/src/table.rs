//! Which bytes are a token, and of what rank.
//!
//! A cuckoo table: a token stands in one of the two buckets that its hash
//! names, as 14 bits of the hash and 18 bits of rank. Two look-ups of four
//! entries tell a rank; one in some 2000 sequences that are no token is taken
//! for one. Single bytes are always tokens and not stored. Entries are little
//! endian; `crate::generate` makes and compares the data.

use crate::Vocabulary;

/// Ranks below this can be stored.
pub const RANK_LIMIT: u32 = 1 << 18;
const TAG_SHIFT: u32 = 18;
/// Of a bucket: four entries.
pub const BUCKET_BYTES: usize = 16;
/// No token of either vocabulary is longer.
pub const LONGEST: usize = 128;

/// Factor of the rolling hash, odd.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

static O200K: &[u8] = include_bytes!("../data/o200k.ranks");
static CL100K: &[u8] = include_bytes!("../data/cl100k.ranks");

/// Ranks by bytes.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    buckets: &'a [[u8; BUCKET_BYTES]],
}

pub fn of(vocabulary: Vocabulary) -> Table<'static> {
    Table::new(match vocabulary {
        Vocabulary::O200k => O200K,
        Vocabulary::Cl100k => CL100K,
    })
}

/// Where the entry of some bytes is sought, and by what it is known.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub buckets: [usize; 2],
    tag: u32,
}

impl Place {
    /// From a hash by [`roll`] or [`between`], in a table of that many buckets.
    #[inline]
    pub fn of(hash: u64, buckets: usize) -> Place {
        let mixed = (hash ^ (hash >> 31)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        let mixed = mixed ^ (mixed >> 32);
        let again = mixed.wrapping_mul(0xa076_1d64_78bd_642f);
        Place {
            buckets: [scale(mixed, buckets), scale(again, buckets)],
            tag: (mixed as u32) >> TAG_SHIFT,
        }
    }

    /// What stands there for a token of that rank.
    #[cfg(test)]
    pub fn entry(self, rank: u32) -> u32 {
        rank | self.tag << TAG_SHIFT
    }
}

/// The upper half of a hash to a bucket, without a division.
#[inline]
fn scale(hash: u64, buckets: usize) -> usize {
    (((hash >> 32) * buckets as u64) >> 32) as usize
}

impl<'a> Table<'a> {
    pub fn new(data: &'a [u8]) -> Table<'a> {
        Table {
            buckets: data.as_chunks().0,
        }
    }

    /// The rank of the bytes with that hash, if they are a token.
    #[inline]
    pub fn rank(&self, hash: u64) -> Option<u32> {
        let place = Place::of(hash, self.buckets.len());
        place.buckets.iter().find_map(|&bucket| {
            let (entries, _) = self.buckets.get(bucket)?.as_chunks();
            entries
                .iter()
                .map(|bytes| u32::from_le_bytes(*bytes))
                .find(|entry| entry >> TAG_SHIFT == place.tag && *entry != 0)
                .map(|entry| entry & (RANK_LIMIT - 1))
        })
    }
}

/// The hash of what was hashed so far and one byte more.
#[inline]
pub fn roll(hash: u64, byte: u8) -> u64 {
    hash.wrapping_mul(FACTOR).wrapping_add(u64::from(byte) + 1)
}

/// The hash of the last `length` bytes, from the hashes up to their end and their start.
#[inline]
pub fn between(to_start: u64, to_end: u64, length: usize) -> u64 {
    let power = POWERS.get(length).copied().unwrap_or_default();
    to_end.wrapping_sub(to_start.wrapping_mul(power))
}

static POWERS: [u64; LONGEST + 1] = powers();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn powers() -> [u64; LONGEST + 1] {
    let mut powers = [1; LONGEST + 1];
    let mut i = 1;
    while i <= LONGEST {
        powers[i] = u64::wrapping_mul(powers[i - 1], FACTOR);
        i += 1;
    }
    powers
}
