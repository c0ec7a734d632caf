//! One block of 64 bytes to bit masks: where words and numbers begin, where an `@` stands,
//! what may belong to a key.
//!
//! In wasm by simd128, elsewhere byte by byte, with the same masks. No unsafe code: blocks
//! come as arrays, and the intrinsics used take no pointers. What ordinary text seldom has
//! (digits, signs, bytes beyond ASCII) is asked for once, and told apart only where some is.

/// Bytes of a block.
pub(super) const BLOCK: usize = 64;

/// One bit per byte, the first byte lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Masks {
    /// Where a word begins: a letter after something else, a capital after a small letter,
    /// the first byte of a run beyond ASCII, and every three-byte character (those scripts
    /// may write without spaces).
    pub(super) words: u64,
    /// The first of a run of letters, digits and bytes beyond ASCII.
    pub(super) runs: u64,
    /// The first of a run of digits.
    pub(super) numbers: u64,
    pub(super) ats: u64,
    pub(super) letters: u64,
    /// What keys begin with, from [`FIRST_TOKEN`] on.
    pub(super) tokens: u64,
    pub(super) slashes: u64,
    /// Bytes beyond ASCII.
    pub(super) high: u64,
}

/// From here on the bytes of ASCII may be among the first of a key: letters, digits, `-`, `_`
/// and some more signs, but no space, quote or parenthesis.
pub(super) const FIRST_TOKEN: u8 = b'+';

/// Raw classes of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Raw {
    letters: u64,
    /// Bytes with the bit that tells small letters from capitals.
    small: u64,
    high: u64,
    /// First bytes of three-byte characters.
    wide: u64,
    digits: u64,
    ats: u64,
    tokens: u64,
    slashes: u64,
}

/// The masks of a block that follows the byte `before`; its letters are written down as small
/// ones, and 0 for what is none.
#[inline]
pub(super) fn masks(block: &[u8; BLOCK], before: u8, letters: &mut [u8; BLOCK]) -> Masks {
    let raw = raw(block, letters);
    let after = |mask: u64, first: bool| mask << 1 | u64::from(first);
    let in_word = raw.letters | raw.high | raw.digits;
    let after_word = after(
        in_word,
        before.is_ascii_alphanumeric() || !before.is_ascii(),
    );
    let after_small = after(raw.letters & raw.small, before.is_ascii_lowercase());
    let inner_capital = raw.letters & !raw.small & after_small;
    Masks {
        words: (raw.letters | raw.high) & !after_word | inner_capital | raw.wide,
        runs: in_word & !after_word,
        numbers: raw.digits & !after(raw.digits, before.is_ascii_digit()),
        ats: raw.ats,
        letters: raw.letters,
        tokens: raw.tokens,
        slashes: raw.slashes,
        high: raw.high,
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
fn raw(block: &[u8; BLOCK], letters: &mut [u8; BLOCK]) -> Raw {
    let mut raw = Raw::default();
    for (to, byte) in letters.iter_mut().zip(block) {
        *to = match byte {
            b'A'..=b'Z' | b'a'..=b'z' => byte | 0x20,
            _ => 0,
        };
    }
    for byte in block.iter().rev() {
        let put = |mask: &mut u64, is: bool| *mask = *mask << 1 | u64::from(is);
        put(&mut raw.letters, byte.is_ascii_alphabetic());
        put(&mut raw.small, byte & 0x20 != 0);
        put(&mut raw.high, !byte.is_ascii());
        put(&mut raw.wide, byte & 0xf0 == 0xe0);
        put(&mut raw.digits, byte.is_ascii_digit());
        put(&mut raw.ats, *byte == b'@');
        put(&mut raw.tokens, matches!(byte, FIRST_TOKEN..0x80));
        put(&mut raw.slashes, *byte == b'/');
    }
    raw
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[inline]
fn raw(block: &[u8; BLOCK], letters: &mut [u8; BLOCK]) -> Raw {
    use core::arch::wasm32::{
        i8x16_gt, i8x16_lt, i8x16_splat, i16x8_shl, u8x16_bitmask, u8x16_eq, u8x16_splat,
        u8x16_sub, u64x2, u64x2_extract_lane, v128, v128_and, v128_or,
    };
    let (lanes, _) = block.as_chunks::<16>();
    let load = |lane: &[u8; 16]| -> v128 {
        let bytes = u128::from_le_bytes(*lane);
        u64x2(bytes as u64, (bytes >> 64) as u64)
    };
    let [a, b, c, d] = lanes else {
        return Raw::default();
    };
    let lanes = [load(a), load(b), load(c), load(d)];
    let gather = |of: [v128; 4]| {
        let [a, b, c, d] = of.map(|lane| u64::from(u8x16_bitmask(lane)));
        a | b << 16 | c << 32 | d << 48
    };
    // Shifted so that the range begins with the least signed number: one comparison.
    let within = |bytes: v128, first: u8, count: u8| {
        let moved = u8x16_sub(bytes, u8x16_splat(first.wrapping_add(0x80)));
        i8x16_lt(moved, i8x16_splat(count.wrapping_add(0x80) as i8))
    };
    let small = lanes.map(|bytes| v128_or(bytes, u8x16_splat(0x20)));
    let are_letters = small.map(|bytes| within(bytes, b'a', 26));
    let (to, _) = letters.as_chunks_mut::<16>();
    for (to, (small, are)) in to.iter_mut().zip(small.into_iter().zip(are_letters)) {
        let bytes = v128_and(small, are);
        let (low, high) = (
            u64x2_extract_lane::<0>(bytes),
            u64x2_extract_lane::<1>(bytes),
        );
        *to = (u128::from(low) | u128::from(high) << 64).to_le_bytes();
    }
    let mut raw = Raw {
        letters: gather(are_letters),
        small: gather(lanes.map(|bytes| i16x8_shl(bytes, 2))),
        tokens: gather(lanes.map(|bytes| i8x16_gt(bytes, i8x16_splat(FIRST_TOKEN as i8 - 1)))),
        ..Raw::default()
    };
    // From `/` to `@` all digits and signs that matter stand together.
    let [a, b, c, d] = lanes.map(|bytes| v128_or(bytes, within(bytes, b'/', 18)));
    if u8x16_bitmask(v128_or(v128_or(a, b), v128_or(c, d))) != 0 {
        let equal = |byte: u8| gather(lanes.map(|bytes| u8x16_eq(bytes, u8x16_splat(byte))));
        raw.digits = gather(lanes.map(|bytes| within(bytes, b'0', 10)));
        raw.ats = equal(b'@');
        raw.slashes = equal(b'/');
        raw.high = gather(lanes);
        if raw.high != 0 {
            let first = |bytes| u8x16_eq(v128_and(bytes, u8x16_splat(0xf0)), u8x16_splat(0xe0));
            raw.wide = gather(lanes.map(first));
        }
    }
    raw
}
