//! Words of ASCII that are known by themselves, by their first letters.
//!
//! Letters come eight in a number, the first lowest, as small ones, and 0 for a byte that is
//! none. Nearly all words are let go by a table of the first six. Of those that are left, one
//! comparison tells whether a literal may stand there, and for most telling words which word
//! it is; neither has a branch for what is seldom so. What has to follow a telling word is for
//! [`super::follow`].

use super::follow::{Begins, Follow, Sets};
use super::index::{Act, Anchor};
use super::phrases::Phrases;
use super::text::{DIGIT, HIGH, Text, is};
use super::words::{each, word};

/// Fewest letters of a word that is known here.
pub(super) const LEAST_LETTERS: usize = 2;
/// Letters by which nearly all words are let go.
const MOST: usize = 6;
/// Letters by which a literal is looked up.
const FIRST: usize = 5;
/// Letters in a number.
pub(super) const LETTERS: usize = 8;

/// Bits of the tables.
const MAY: u32 = 15;
const LITERALS: u32 = 9;
const TELLING: u32 = 11;

/// The word may tell a phrase.
pub(super) const TELLS: u8 = 1;
/// A literal may stand there.
pub(super) const BEGINS: u8 = 1 << 1;

pub(super) struct Known {
    /// [`TELLS`] and [`BEGINS`] by the hash of the first six letters.
    may: Box<[u8; 1 << MAY]>,
    /// By the hash of the first five letters; open addressing.
    literals: Box<[Literals]>,
    /// By the hash of the letters; open addressing.
    telling: Box<[Telling]>,
    pub(super) follow: Follow,
}

/// The first eight letters of a word, and the next eight; telling words have fewer.
type Letters = (u64, u64);

/// All literals of the same first five letters.
#[derive(Debug, Clone, Copy, Default)]
struct Literals {
    letters: u64,
    /// The first bytes they have in common, as [`CASES`](super::index::CASES) has them, and
    /// which these are.
    begin: u64,
    there: u64,
}

/// Telling words of the same letters.
#[derive(Debug, Clone, Copy, Default)]
struct Telling {
    letters: Letters,
    /// After how many words at most the word of just these letters tells a phrase.
    reach: Option<u8>,
    begins: Begins,
}

/// A word that tells a phrase.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tells {
    /// After how many words at most.
    pub(super) reach: usize,
    /// What it may begin itself; not known of some.
    pub(super) begins: Option<Begins>,
}

/// The first of some letters, up to what is none.
#[inline]
pub(super) fn run(letters: u64) -> u64 {
    // The top bit of the first byte that is 0, as letters have none; then all up to there.
    let none = letters.wrapping_sub(each(1)) & each(0x80);
    letters & (none ^ none.wrapping_sub(1))
}

/// How many of eight bytes are letters.
#[inline]
pub(super) fn length(run: u64) -> usize {
    LETTERS - run.leading_zeros() as usize / 8
}

/// So many of some letters, the first, in the upper bytes.
#[inline]
fn first(letters: u64, count: usize) -> u64 {
    letters << (8 * (LETTERS - count))
}

#[inline]
pub(super) fn hash(letters: u64, bits: u32) -> usize {
    (letters.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - bits)) as usize
}

/// The letters a literal begins with, and how many.
pub(super) fn of(literal: &[u8]) -> (u64, usize) {
    let count = literal
        .iter()
        .take_while(|it| it.is_ascii_alphabetic())
        .count();
    let mut letters = [0; LETTERS];
    for (to, from) in letters.iter_mut().zip(literal.iter().take(count)) {
        *to = from.to_ascii_lowercase();
    }
    (u64::from_le_bytes(letters), count)
}

/// Whether it is for here: keys and schemes are found by their forms, phrases by their telling
/// words, and what has a byte beyond ASCII among its first is not looked for by letters.
fn is_known(anchor: &Anchor) -> bool {
    !matches!(anchor.act, Act::Family(_) | Act::Scheme | Act::Phrase)
        && anchor.literal.is_ascii()
        && of(&anchor.literal).1 >= LEAST_LETTERS
}

impl Known {
    pub(super) fn new(anchors: &[Anchor], phrases: &Phrases) -> Known {
        let mut known = Known {
            may: Box::new([0; 1 << MAY]),
            literals: vec![Literals::default(); 1 << LITERALS].into_boxed_slice(),
            telling: vec![Telling::default(); 1 << TELLING].into_boxed_slice(),
            follow: Follow::new(),
        };
        let mut sets = Sets::new();
        for anchor in anchors.iter().filter(|anchor| is_known(anchor)) {
            known.literal(anchor);
        }
        for word in phrases.telling() {
            known.tells(word, phrases, &mut sets);
        }
        known
    }

    fn literal(&mut self, anchor: &Anchor) {
        let (letters, count) = of(&anchor.literal);
        self.mark(letters, BEGINS);
        if count == FIRST {
            // It may go on.
            for next in (b'a'..=b'z').map(u64::from) {
                self.mark(letters | next << (8 * FIRST), BEGINS);
            }
        }
        let letters = first(letters, FIRST);
        let slot = find(letters, hash(letters, LITERALS), LITERALS, |at| {
            self.literals.get(at).map(|it| it.letters)
        });
        if let Some(slot) = slot.and_then(|at| self.literals.get_mut(at)) {
            let (begin, there) = anchor.first();
            if slot.letters == 0 {
                *slot = Literals {
                    letters,
                    begin,
                    there,
                };
            }
            // What both have, up to the first byte in which they differ.
            let both = slot.there & there;
            let alike = match ((slot.begin ^ begin) & both).trailing_zeros() / 8 {
                bytes @ ..8 => (1 << (bytes * 8)) - 1,
                _ => !0,
            };
            slot.there = both & alike;
            slot.begin &= slot.there;
        }
    }

    fn tells(&mut self, word: &str, phrases: &Phrases, sets: &mut Sets) {
        let (first, count) = of(word.as_bytes());
        if count < LEAST_LETTERS || !word.is_ascii() {
            return;
        }
        self.mark(first, TELLS);
        let more = word.as_bytes().get(LETTERS..count).unwrap_or_default();
        let letters = (first, of(more).0);
        let begins = self.follow.begun(word, phrases, sets);
        let slot = self.slot(letters);
        if let Some(slot) = slot.and_then(|at| self.telling.get_mut(at)) {
            slot.letters = letters;
            if count == word.len() {
                slot.reach = phrases.reach(word).map(|reach| reach as u8);
                slot.begins = begins;
            }
        }
    }

    /// Where a telling word is, or would be.
    #[inline]
    fn slot(&self, letters: Letters) -> Option<usize> {
        let hash = hash(letters.0 ^ letters.1.rotate_left(31), TELLING);
        find(letters, hash, TELLING, |at| {
            self.telling.get(at).map(|it| it.letters)
        })
    }

    fn mark(&mut self, letters: u64, flag: u8) {
        if let Some(flags) = self.may.get_mut(hash(first(letters, MOST), MAY)) {
            *flags |= flag;
        }
    }

    /// What a word with these first letters may be: [`TELLS`], [`BEGINS`]; never a wrong no.
    #[inline]
    pub(super) fn may(&self, letters: u64) -> u8 {
        let flags = self.may.get(hash(first(run(letters), MOST), MAY));
        flags.copied().unwrap_or(0)
    }

    /// Whether a literal may stand where these letters and bytes do; never a wrong no.
    #[inline]
    pub(super) fn begins(&self, letters: u64, begin: u64) -> bool {
        let letters = first(run(letters), FIRST);
        let slot = find(letters, hash(letters, LITERALS), LITERALS, |at| {
            self.literals.get(at).map(|it| it.letters)
        });
        let slot = slot
            .and_then(|at| self.literals.get(at))
            .copied()
            .unwrap_or_default();
        slot.letters == letters && begin & slot.there == slot.begin
    }

    /// What the word of these letters at a place tells, if it does.
    #[inline]
    pub(super) fn told(
        &self,
        phrases: &Phrases,
        text: &Text<'_>,
        at: usize,
        (first, next): Letters,
    ) -> Option<Tells> {
        let first = run(first);
        let more = match length(first) {
            LETTERS => run(next),
            _ => 0,
        };
        let of_word = || {
            let reach = phrases.tells(word(text, at)?.0)?;
            Some(Tells {
                reach,
                begins: None,
            })
        };
        let slot = self.slot((first, more));
        let slot = slot.and_then(|at| self.telling.get(at))?;
        if slot.letters != (first, more) {
            return None;
        }
        let count = length(first) + length(more);
        let next = text.from(at + count).first().copied();
        if next.is_some_and(|next| next == b'\'' || is(next, DIGIT | HIGH)) {
            return of_word();
        }
        slot.reach.map(|reach| Tells {
            reach: usize::from(reach),
            begins: Some(slot.begins),
        })
    }
}

/// The slot of some letters, or the free one where they belong.
#[inline]
fn find<L: Default + PartialEq>(
    letters: L,
    start: usize,
    bits: u32,
    slot: impl Fn(usize) -> Option<L>,
) -> Option<usize> {
    (0..1 << bits)
        .map(|step| (start + step) % (1 << bits))
        .find(|at| slot(*at).is_none_or(|it| it == L::default() || it == letters))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::index::{CASES, INDEX};

    fn there(text: &str) -> Letters {
        let letter = |at: usize| match text.as_bytes().get(at) {
            Some(byte) if byte.is_ascii_alphabetic() => byte.to_ascii_lowercase(),
            _ => 0,
        };
        let letters = |from: usize| core::array::from_fn(|at| letter(from + at));
        (
            u64::from_le_bytes(letters(0)),
            u64::from_le_bytes(letters(LETTERS)),
        )
    }

    #[test]
    fn every_telling_word_is_known_wherever_it_stands() {
        let (known, phrases) = (&INDEX.known, &INDEX.phrases);
        for word in phrases
            .telling()
            .filter(|word| word.is_ascii() && of(word.as_bytes()).1 >= LEAST_LETTERS)
        {
            for after in ["", " of", ".a", ", and so on", "-", "\n\n", "\"it"] {
                let content = format!("{word}{after}");
                let letters = there(&content);
                let text = Text::new(content.as_bytes(), 0, true);
                assert!(known.may(letters.0) & TELLS != 0, "{content}");
                let tells = known.told(phrases, &text, 0, letters);
                let reach = tells.map(|tells| tells.reach);
                assert_eq!(reach, phrases.reach(word), "{content}");
                assert!(reach.is_some(), "{content}");
            }
            assert!(of(word.as_bytes()).1 < 2 * LETTERS, "{word}");
            // Another word.
            for after in ["qx", "'qx", "0", "é"] {
                let content = format!("{word}{after}");
                let letters = there(&content);
                let text = Text::new(content.as_bytes(), 0, true);
                let tells = known.told(phrases, &text, 0, letters);
                assert!(tells.is_none(), "{content}");
            }
        }
    }

    #[test]
    fn every_literal_is_known_wherever_it_stands() {
        for anchor in INDEX.all().filter(|anchor| is_known(anchor)) {
            let literal = core::str::from_utf8(&anchor.literal).expect("text");
            // Of fewer letters it is a word.
            let more = match of(&anchor.literal).1 {
                FIRST.. => "s_a",
                _ => "",
            };
            for content in [
                format!("{literal}: of"),
                format!("{literal}=\"a"),
                format!("{literal}{more}"),
                literal.to_owned(),
            ] {
                let mut begin = [0; LETTERS];
                for (to, from) in begin.iter_mut().zip(content.bytes()) {
                    *to = from;
                }
                let (letters, _) = there(&content);
                let begin = u64::from_le_bytes(begin) | CASES;
                assert!(INDEX.known.may(letters) & BEGINS != 0, "{content}");
                assert!(INDEX.known.begins(letters, begin), "{content}");
            }
        }
    }

    #[test]
    fn there_is_room_for_all() {
        let literals = INDEX.known.literals.iter().filter(|slot| slot.letters != 0);
        let telling = INDEX.known.telling.iter();
        let telling = telling.filter(|slot| slot.letters != Letters::default());
        assert!(literals.count() * 2 <= 1 << LITERALS);
        assert!(telling.count() * 2 <= 1 << TELLING);
    }
}
