//! Sixteen bytes at a time: which of them are in a set, where literals may begin.
//!
//! In wasm by simd128, elsewhere byte by byte over the same tables. No unsafe code: blocks
//! come as arrays, and the intrinsics used take no pointers.

/// Bits by the low half of a byte, and by the high half.
type Halves = [[u8; 16]; 2];

/// The byte is in it when both halves have a bit in common.
#[inline]
fn bits(halves: &Halves, byte: u8) -> u8 {
    let [low, high] = halves;
    let of = |table: &[u8; 16], half: u8| table.get(usize::from(half)).copied().unwrap_or(0);
    of(low, byte & 15) & of(high, byte >> 4)
}

#[inline(never)]
fn add(halves: &mut Halves, byte: u8, bits: u8) {
    let [low, high] = halves;
    for (table, half) in [(low, byte & 15), (high, byte >> 4)] {
        if let Some(slot) = table.get_mut(usize::from(half)) {
            *slot |= bits;
        }
    }
}

/// A set of bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ByteSet {
    /// For bytes below 0x80 and for the others, a bit for each high half.
    halves: [Halves; 2],
}

impl ByteSet {
    #[inline]
    pub(crate) fn of(has: impl Fn(u8) -> bool) -> ByteSet {
        let mut set = ByteSet::default();
        let [ascii, high] = &mut set.halves;
        for byte in (0..=u8::MAX).filter(|byte| has(*byte)) {
            let halves = if byte.is_ascii() {
                &mut *ascii
            } else {
                &mut *high
            };
            add(halves, byte, 1 << (byte >> 4 & 7));
        }
        set
    }

    #[inline]
    fn has(&self, byte: u8) -> bool {
        let [ascii, high] = &self.halves;
        bits(ascii, byte) | bits(high, byte) != 0
    }

    /// The first byte that is in it.
    #[inline(never)]
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<usize> {
        let (blocks, rest) = bytes.as_chunks::<16>();
        let [ascii, high] = &self.halves;
        for (block, nth) in blocks.iter().zip(0..) {
            let there = simd::has(block, [ascii, high]);
            if there != 0 {
                return Some(nth * 16 + there.trailing_zeros() as usize);
            }
        }
        let found = rest.iter().position(|byte| self.has(*byte));
        found.map(|at| blocks.len() * 16 + at)
    }
}

/// Bytes of a literal that are looked at.
const WIDTH: usize = 3;
/// More literals would be noticed everywhere.
const MAX_LITERALS: usize = 48;
/// Bytes of a block of places and of what follows the last of them.
const WINDOW: usize = 16 + WIDTH - 1;

/// The first bytes of some literals, ASCII letters in either case.
#[derive(Debug, Clone)]
pub(crate) struct Fingerprints {
    /// By place in the literal: which of eight groups have such a byte there.
    places: [Halves; WIDTH],
}

impl Fingerprints {
    /// `None` when there are too many literals, or one is too short. They are folded.
    #[inline]
    pub(crate) fn new(literals: &[Vec<u8>]) -> Option<Fingerprints> {
        if literals.len() > MAX_LITERALS {
            return None;
        }
        // Put in their places one by one: a sort takes 10 KB of code.
        let mut begins: Vec<[u8; WIDTH]> = Vec::new();
        for literal in literals {
            let begin = *literal.first_chunk::<WIDTH>()?;
            let at = begins.partition_point(|known| *known < begin);
            if begins.get(at) != Some(&begin) {
                begins.insert(at, begin);
            }
        }
        let mut places = [Halves::default(); WIDTH];
        // Those that begin alike share a group, and groups are of one size.
        let size = begins.len().div_ceil(8).max(1);
        for (begins, group) in begins.chunks(size).zip(0..8) {
            for (place, byte) in begins.iter().flat_map(|begin| (0..).zip(*begin)) {
                if let Some(halves) = places.get_mut::<usize>(place) {
                    add(halves, byte, 1 << group);
                    add(halves, byte.to_ascii_uppercase(), 1 << group);
                }
            }
        }
        Some(Fingerprints { places })
    }

    /// The first place where a literal may begin, of those that have all bytes that are
    /// looked at.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(window) = bytes
            .get(at..)
            .and_then(|rest| rest.first_chunk::<WINDOW>())
        {
            let there = simd::begins(window, &self.places);
            if there != 0 {
                return Some(at + there.trailing_zeros() as usize);
            }
            at += 16;
        }
        let rest = bytes.get(at..).unwrap_or_default();
        let found = rest.windows(WIDTH).position(|window| {
            let places = self.places.iter().zip(window);
            places.fold(!0, |all, (halves, byte)| all & bits(halves, *byte)) != 0
        });
        found.map(|found| at + found)
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod simd {
    use super::{Halves, WIDTH, WINDOW, bits};

    /// A bit for each byte that has a bit in one of the tables.
    pub(super) fn has(block: &[u8; 16], sets: [&Halves; 2]) -> u16 {
        let has = |byte| sets.iter().any(|set| bits(set, byte) != 0);
        block
            .iter()
            .rev()
            .fold(0, |mask, byte| mask << 1 | u16::from(has(*byte)))
    }

    /// A bit for each of the first places where some group has every byte.
    pub(super) fn begins(window: &[u8; WINDOW], places: &[Halves; WIDTH]) -> u16 {
        window.windows(WIDTH).rev().fold(0, |mask, window| {
            let places = places.iter().zip(window);
            let all = places.fold(!0, |all, (halves, byte)| all & bits(halves, *byte));
            mask << 1 | u16::from(all != 0)
        })
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd {
    use super::{Halves, WIDTH, WINDOW};
    use core::arch::wasm32::{
        u8x16_bitmask, u8x16_ne, u8x16_shr, u8x16_splat, u8x16_swizzle, u64x2, v128, v128_and,
        v128_any_true, v128_or,
    };

    #[inline]
    fn load(bytes: &[u8; 16]) -> v128 {
        let bytes = u128::from_le_bytes(*bytes);
        u64x2(bytes as u64, (bytes >> 64) as u64)
    }

    #[inline]
    fn bits([low, high]: &Halves, bytes: v128) -> v128 {
        v128_and(
            u8x16_swizzle(load(low), v128_and(bytes, u8x16_splat(15))),
            u8x16_swizzle(load(high), u8x16_shr(bytes, 4)),
        )
    }

    #[inline]
    fn mask(bits: v128) -> u16 {
        match v128_any_true(bits) {
            true => u8x16_bitmask(u8x16_ne(bits, u8x16_splat(0))),
            false => 0,
        }
    }

    #[inline]
    pub(super) fn has(block: &[u8; 16], [one, two]: [&Halves; 2]) -> u16 {
        let block = load(block);
        mask(v128_or(bits(one, block), bits(two, block)))
    }

    #[inline]
    pub(super) fn begins(window: &[u8; WINDOW], [a, b, c]: &[Halves; WIDTH]) -> u16 {
        let at = |from: usize| {
            let bytes = window.get(from..).and_then(|rest| rest.first_chunk::<16>());
            load(bytes.unwrap_or(&[0; 16]))
        };
        mask(v128_and(
            v128_and(bits(a, at(0)), bits(b, at(1))),
            bits(c, at(2)),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_its_bytes_and_no_other() {
        for odd in [3, 7, 0x1f, 0x80, 0xff] {
            let set = ByteSet::of(|byte| byte % odd == 1 || byte == 0xc3);
            for byte in 0..=u8::MAX {
                let expected = byte % odd == 1 || byte == 0xc3;
                assert_eq!(set.has(byte), expected);
                // Anywhere in a block, or after the last one.
                for at in [0, 15, 16, 37] {
                    let rest = (0..=u8::MAX).find(|byte| !set.has(*byte)).unwrap_or(0);
                    let mut bytes = vec![rest; 40];
                    bytes[at] = byte;
                    assert_eq!(set.find(&bytes), expected.then_some(at));
                }
            }
        }
    }

    #[test]
    fn the_first_place_of_any_literal_is_found() {
        let literals: Vec<Vec<u8>> = ["begin rsa", "akia", "ignore", "-----", "été"]
            .map(|literal| literal.as_bytes().to_vec())
            .into();
        let fingerprints = Fingerprints::new(&literals).expect("few and long enough");
        for literal in ["BEGIN rsa", "AkIa", "-----", "été"] {
            for at in 0..40 {
                let text = format!("{}{literal}{}", "o".repeat(at), "o".repeat(40 - at));
                assert_eq!(fingerprints.find(text.as_bytes()), Some(at));
                let cut = text.as_bytes().get(..at + 2).unwrap_or_default();
                assert_eq!(fingerprints.find(cut), None);
            }
        }
        assert!(Fingerprints::new(&[b"ab".to_vec()]).is_none());
    }
}
