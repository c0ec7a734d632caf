//! Words of phrases: where one ends, and its hash.
//!
//! A word is a run of letters, digits and bytes beyond ASCII; an apostrophe before a letter
//! joins. It is read eight bytes at a time, small and capital letters of ASCII alike.

use super::text::{ALNUM, HIGH, LETTER, Text, is};

/// Longest word that is looked at.
pub(super) const MAX_WORD: usize = 40;

const ODD: u64 = 0xd6e8_feb8_6659_fd93;
/// A bit for each byte of eight.
pub(super) const TOPS: u64 = 0x8080_8080_8080_8080;

pub(super) const fn each(byte: u8) -> u64 {
    byte as u64 * 0x0101_0101_0101_0101
}

/// Of each byte its top bit, where without it it is between two bytes of ASCII.
#[inline]
pub(super) fn within(eight: u64, first: u8, last: u8) -> u64 {
    let low = eight & !TOPS;
    (low + each(0x80 - first)) & !(low + each(0x7f - last)) & TOPS
}

/// The first eight bytes, 0 where there are fewer.
#[inline]
pub(super) fn eight(bytes: &[u8]) -> u64 {
    let eight = bytes.first_chunk::<8>().copied().unwrap_or_else(|| {
        let mut eight = [0; 8];
        for (to, from) in eight.iter_mut().zip(bytes) {
            *to = *from;
        }
        eight
    });
    u64::from_le_bytes(eight)
}

/// Capital letters of ASCII become small ones; no other byte of a word changes.
#[inline]
fn small(eight: u64) -> u64 {
    eight | (!eight & TOPS) >> 2
}

/// The hash of a word, as far as it was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mixed(u64);

impl Mixed {
    pub(super) const START: Mixed = Mixed(0x9e37_79b9_7f4a_7c15);

    /// With the next eight bytes, of the last 0 for those that are none of it.
    #[inline]
    pub(super) fn with(self, eight: u64) -> Mixed {
        let mixed = (self.0 ^ small(eight)).wrapping_mul(ODD);
        Mixed(mixed ^ mixed >> 32)
    }

    pub(super) fn of(word: &[u8]) -> Mixed {
        let eights = word.chunks(8);
        eights.fold(Mixed::START, |mixed, bytes| mixed.with(eight(bytes)))
    }

    /// Never 0.
    #[inline]
    pub(super) fn value(self) -> u64 {
        self.0 | 1
    }

    /// Half of it; never 0.
    #[inline]
    fn half(self) -> u32 {
        (self.0.wrapping_mul(ODD) >> 32) as u32 | 1
    }
}

/// The hash of a word.
pub(super) fn hash(word: &[u8]) -> u32 {
    Mixed::of(word).half()
}

/// The hash of a word of eight bytes or fewer, 0 for those that are none of it.
#[inline]
pub(super) fn hash_of_eight(word: u64) -> u32 {
    Mixed::START.with(word).half()
}

/// How many of the last of eight bytes belong to a word, with any apostrophe.
#[inline]
pub(super) fn last_letters(eight: u64) -> usize {
    let letters = within(small(eight), b'a', b'z') | within(eight, b'0', b'9');
    let letters = letters | within(eight, b'\'', b'\'') | eight;
    (!letters & TOPS).leading_zeros() as usize / 8
}

/// Hash and end of the word at a place, if it is so short that eight bytes tell both.
#[inline(always)]
pub(super) fn short(text: &Text<'_>, from: usize) -> Option<(u32, usize)> {
    let raw = text.eight(from)?;
    let eight = small(raw);
    let others = !(within(eight, b'a', b'z') | within(raw, b'0', b'9') | eight) & TOPS;
    let length = others.trailing_zeros() as usize / 8;
    if !(1..8).contains(&length) || (raw >> (length * 8)) as u8 == b'\'' {
        return None;
    }
    text.count(1);
    Some((
        hash_of_eight(raw & ((1 << (length * 8)) - 1)),
        from + length,
    ))
}

/// Hash and end of the word at a place; nothing if it is too long.
#[inline]
pub(super) fn word(text: &Text<'_>, from: usize) -> Option<(u32, usize)> {
    let rest = text.from(from);
    let mut hash = Mixed::START;
    let mut length = 0;
    while let Some(eight) = rest.get(length..).and_then(|rest| rest.first_chunk::<8>()) {
        let raw = u64::from_le_bytes(*eight);
        let eight = small(raw);
        // Of each byte its top bit, where it is no letter, no digit and not beyond ASCII.
        let others = !(within(eight, b'a', b'z') | within(raw, b'0', b'9') | eight) & TOPS;
        if others != 0 {
            let more = others.trailing_zeros() as usize / 8;
            if (raw >> (more * 8)) as u8 == b'\'' {
                break;
            }
            if more > 0 {
                hash = hash.with(raw & ((1 << (more * 8)) - 1));
            }
            length += more;
            text.count(length / 8 + 1);
            return (length <= MAX_WORD).then(|| (hash.half(), from + length));
        }
        hash = hash.with(raw);
        length += 8;
        if length > MAX_WORD {
            text.count(MAX_WORD / 8);
            return None;
        }
    }
    other(text, from)
}

/// The same for words with an apostrophe, and at the end of what is at hand.
fn other(text: &Text<'_>, from: usize) -> Option<(u32, usize)> {
    let rest = text.from(from);
    let length = rest.iter().zip(from..).position(|(byte, at)| {
        !(is(*byte, ALNUM | HIGH) || *byte == b'\'' && is(text.at(at + 1), LETTER))
    });
    let length = length.unwrap_or_else(|| {
        // It may go on.
        text.at(from + rest.len());
        rest.len()
    });
    text.count(length + 1);
    let word = rest.get(..length).filter(|word| word.len() <= MAX_WORD)?;
    Some((hash(word), from + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(u32, usize)> {
        word(&Text::new(text.as_bytes(), 0, true), 0)
    }

    #[test]
    fn a_word_ends_where_its_letters_do_and_hashes_alike_wherever_it_stands() {
        for expected in [
            "a",
            "ignore",
            "instruct",
            "instructions",
            "don't",
            "gpt4",
            "уже",
            "x1'y2",
        ] {
            for after in [
                "",
                " ",
                ".",
                " and more of it",
                "' '",
                "-",
                "@",
                "[",
                "`",
                "{",
            ] {
                let there = read(&format!("{expected}{after}"));
                assert_eq!(
                    there,
                    Some((hash(expected.as_bytes()), expected.len())),
                    "{expected}{after}"
                );
            }
        }
        assert_eq!(hash(b"IGNORE"), hash(b"ignore"));
        assert_ne!(hash("É".as_bytes()), hash("é".as_bytes()));
    }

    #[test]
    fn a_word_that_is_too_long_is_none() {
        for length in [MAX_WORD - 1, MAX_WORD, MAX_WORD + 1, MAX_WORD + 9, 200] {
            for after in ["", " and more of it"] {
                let read = read(&format!("{}{after}", "w".repeat(length)));
                assert_eq!(read.is_some(), length <= MAX_WORD, "{length}");
            }
        }
    }
}
