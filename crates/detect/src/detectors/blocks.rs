//! One block of 64 bytes to bit masks: where words and numbers begin, where an `@` stands.
//!
//! In wasm by simd128, elsewhere byte by byte, with the same masks. No unsafe code: blocks
//! come as arrays, and the intrinsics used take no pointers.

/// Bytes of a block.
pub(super) const BLOCK: usize = 64;

/// One bit per byte, the first byte lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Masks {
    /// Where a word begins: a letter after something else, a capital after a small letter,
    /// the first byte of a run beyond ASCII, and every three-byte character (those scripts
    /// may write without spaces).
    pub(super) words: u64,
    /// The first of a run of digits.
    pub(super) numbers: u64,
    pub(super) ats: u64,
}

/// Raw classes of a block.
struct Raw {
    lower: u64,
    upper: u64,
    high: u64,
    /// First bytes of three-byte characters.
    wide: u64,
    digits: u64,
    ats: u64,
}

/// The masks of a block that follows the byte `before`.
#[inline]
pub(super) fn masks(block: &[u8; BLOCK], before: u8) -> Masks {
    let raw = raw(block);
    let letters = raw.lower | raw.upper;
    let after = |mask: u64, first: bool| mask << 1 | u64::from(first);
    let before_lower = before.is_ascii_lowercase();
    let before_digit = before.is_ascii_digit();
    let in_word = letters | raw.high | raw.digits;
    let after_word = after(
        in_word,
        before.is_ascii_alphanumeric() || !before.is_ascii(),
    );
    let inner_capital = raw.upper & after(raw.lower, before_lower);
    Masks {
        words: (letters | raw.high) & !after_word | inner_capital | raw.wide,
        numbers: raw.digits & !after(raw.digits, before_digit),
        ats: raw.ats,
    }
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
fn raw(block: &[u8; BLOCK]) -> Raw {
    let mask = |is: fn(u8) -> bool| {
        block
            .iter()
            .rev()
            .fold(0, |mask: u64, byte| mask << 1 | u64::from(is(*byte)))
    };
    Raw {
        lower: mask(|byte| byte.is_ascii_lowercase()),
        upper: mask(|byte| byte.is_ascii_uppercase()),
        high: mask(|byte| !byte.is_ascii()),
        wide: mask(|byte| byte & 0xf0 == 0xe0),
        digits: mask(|byte| byte.is_ascii_digit()),
        ats: mask(|byte| byte == b'@'),
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[inline]
fn raw(block: &[u8; BLOCK]) -> Raw {
    use core::arch::wasm32::{
        i8x16_lt, i8x16_splat, u8x16_bitmask, u8x16_eq, u8x16_lt, u8x16_splat, u8x16_sub, u64x2,
        v128, v128_and,
    };
    let mut raw = Raw {
        lower: 0,
        upper: 0,
        high: 0,
        wide: 0,
        digits: 0,
        ats: 0,
    };
    let (lanes, _) = block.as_chunks::<16>();
    for (nth, lane) in lanes.iter().enumerate() {
        let word = u128::from_le_bytes(*lane);
        let bytes: v128 = u64x2(word as u64, (word >> 64) as u64);
        let within = |first: u8, count: u8| {
            u8x16_lt(u8x16_sub(bytes, u8x16_splat(first)), u8x16_splat(count))
        };
        let shift = nth * 16;
        let put = |mask: v128| u64::from(u8x16_bitmask(mask)) << shift;
        raw.lower |= put(within(b'a', 26));
        raw.upper |= put(within(b'A', 26));
        raw.digits |= put(within(b'0', 10));
        raw.ats |= put(u8x16_eq(bytes, u8x16_splat(b'@')));
        raw.high |= put(i8x16_lt(bytes, i8x16_splat(0)));
        raw.wide |= put(u8x16_eq(
            v128_and(bytes, u8x16_splat(0xf0)),
            u8x16_splat(0xe0),
        ));
    }
    raw
}
