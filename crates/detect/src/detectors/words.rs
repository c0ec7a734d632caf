//! Words of phrases: where one ends, and its hash.
//!
//! A word is a run of letters, digits and bytes beyond ASCII; an apostrophe before a letter
//! joins. It is read eight bytes at a time, small and capital letters of ASCII alike.

use super::text::{ALNUM, HIGH, LETTER, Text, is};

/// Longest word that is looked at.
pub(super) const MAX_WORD: usize = 40;

const START: u64 = 0x9e37_79b9_7f4a_7c15;
const ODD: u64 = 0xd6e8_feb8_6659_fd93;
/// A bit for each byte of eight.
const TOPS: u64 = 0x8080_8080_8080_8080;

pub(super) const fn each(byte: u8) -> u64 {
    byte as u64 * 0x0101_0101_0101_0101
}

/// Capital letters of ASCII become small ones; no other byte of a word changes.
#[inline]
fn small(eight: u64) -> u64 {
    eight | (!eight & TOPS) >> 2
}

#[inline]
fn mix(hash: u64, eight: u64) -> u64 {
    let mixed = (hash ^ eight).wrapping_mul(ODD);
    mixed ^ mixed >> 32
}

/// Never 0.
#[inline]
fn finished(hash: u64) -> u32 {
    (hash.wrapping_mul(ODD) >> 32) as u32 | 1
}

/// The hash of a word.
pub(super) fn hash(word: &[u8]) -> u32 {
    let (eights, rest) = word.as_chunks::<8>();
    let mut hash = START;
    for eight in eights {
        hash = mix(hash, small(u64::from_le_bytes(*eight)));
    }
    if !rest.is_empty() {
        let mut eight = [0; 8];
        for (to, from) in eight.iter_mut().zip(rest) {
            *to = *from;
        }
        let bits = rest.len() * 8;
        hash = mix(hash, small(u64::from_le_bytes(eight)) & ((1 << bits) - 1));
    }
    finished(hash)
}

/// Hash and end of the word at a place; nothing if it is too long.
#[inline]
pub(super) fn word(text: &Text<'_>, from: usize) -> Option<(u32, usize)> {
    let rest = text.from(from);
    let mut hash = START;
    let mut length = 0;
    while let Some(eight) = rest.get(length..).and_then(|rest| rest.first_chunk::<8>()) {
        let eight = small(u64::from_le_bytes(*eight));
        // Of each byte its top bit, where it is neither a letter nor beyond ASCII.
        let low = eight & !TOPS;
        let letters = (low + each(0x80 - b'a')) & !(low + each(0x7f - b'z'));
        let others = !(letters | eight) & TOPS;
        if others != 0 {
            let more = others.trailing_zeros() as usize / 8;
            let next = rest.get(length + more).copied().unwrap_or(0);
            if next == b'\'' || next.is_ascii_digit() {
                break;
            }
            if more > 0 {
                hash = mix(hash, eight & ((1 << (more * 8)) - 1));
            }
            length += more;
            text.count(length / 8 + 1);
            return (length <= MAX_WORD).then(|| (finished(hash), from + length));
        }
        hash = mix(hash, eight);
        length += 8;
        if length > MAX_WORD {
            text.count(MAX_WORD / 8);
            return None;
        }
    }
    other(text, from)
}

/// The same for words with other signs than letters, and at the end of what is at hand.
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
