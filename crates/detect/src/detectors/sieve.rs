//! What of a stretch of text has to be looked at.
//!
//! Most words begin nothing. What begins by a form stands in a run of signs that prose has
//! none of: a key is [`LEAST`] bytes or more without a space, a URL has its `://`. Nearly all
//! other words are let go by their first letters ([`super::known`]), those of some blocks
//! before any that is left is looked at. Phrases begin with ordinary words, `show` or `tell`;
//! each has a telling word too, `instructions` for one, and only what stands so near before a
//! telling word that its phrase could reach it is looked at. Where the text has letters beyond
//! ASCII, a bitmap of the first three bytes of all that is known serves instead.
//!
//! INVARIANT: where the text goes on and is not at hand, everything near its end is looked
//! at; so what is let go never depends on where a text was cut.

use super::blocks::{BLOCK, Masks, masks};
use super::index::{CASES, FORM, HARD, INDEX, Index, LEAST, RARE, key};
use super::known::{BEGINS, TELLS, Tells};
use super::phrases::{MAX_BETWEEN, MAX_REACH, joins};
use super::text::{ALNUM, DASH, DOT, HIGH, PLUS, Text, is};
use super::words::{self, MAX_WORD, word};

/// A block, and as much after it as is read at once from each of its bytes.
pub(super) const WINDOW: usize = BLOCK + 7;
/// Blocks of a stretch; those of [`AHEAD`] are looked at again in the next.
const STRETCH: usize = 512;
/// How far a telling word may end after the place where its phrase begins.
const FAR: usize = (MAX_REACH + 1) * (MAX_WORD + MAX_BETWEEN);
/// Longest scheme of a URL.
pub(super) const MAX_SCHEME: usize = 24;
/// Longest form by whose end it is known that something begins: a scheme and `://`.
const OPEN: usize = MAX_SCHEME + 3;
/// Blocks after a stretch in which a phrase that begins in it may have its telling word.
const AHEAD: usize = FAR.div_ceil(BLOCK);
const ALL: usize = STRETCH + AHEAD;
const GROUP: usize = 16;
/// Where more words of a group are noted, no words after them are asked for: phrases would
/// read the same again.
const MANY: usize = GROUP * 3 / 2;
/// Where in what is noted of a word the flags begin.
const FLAGS: u32 = 13;
/// A word in a block with letters beyond ASCII.
const IN_HIGH: u8 = 1 << 2;

/// One bit per byte of a block, the first byte lowest.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Look {
    pub(super) words: u64,
    /// Where runs of letters, digits and bytes beyond ASCII begin.
    runs: u64,
    pub(super) numbers: u64,
    pub(super) ats: u64,
    /// Words that begin like something that is known by its first bytes.
    pub(super) hits: u64,
    /// Where phrases have to be looked for.
    pub(super) near: u64,
}

pub(super) struct Stretch {
    looks: Vec<Look>,
    start: usize,
    /// Blocks of it.
    count: usize,
}

/// Blocks whose words are noted before any of them is looked at.
struct Group {
    /// Its first block.
    first: usize,
    /// Its letters, and those of the block after it: see [`masks`].
    letters: [u8; (GROUP + 1) * BLOCK],
    noted: Noted,
}

impl Stretch {
    /// Looks over what is at hand from `start` on.
    pub(super) fn new(text: &Text<'_>, start: usize, phrases: bool) -> Stretch {
        let blocks = text.from(start).len().div_ceil(BLOCK);
        let mut stretch = Stretch {
            looks: Vec::with_capacity(blocks.min(ALL)),
            start,
            count: blocks.min(STRETCH),
        };
        let index = &*INDEX;
        let mut told = phrases.then_some(Told { until: start });
        let mut group = Group::new();
        let mut here = Masks::default();
        for nth in 0..=blocks.min(ALL) {
            let next = group.masks(text, start, nth);
            if let Some(nth) = nth.checked_sub(1) {
                stretch.block(text, index, &mut group, nth, (&here, &next));
                if nth - group.first == GROUP - 1 || nth + 1 == blocks.min(ALL) {
                    stretch.noted(text, index, &group, nth, &mut told);
                    group.next();
                }
            }
            here = next;
        }
        if !text.whole() {
            let near_end = |far: usize| text.end().saturating_sub(far).max(start);
            // A key or a URL may go on, and a telling word may follow.
            stretch.mark(near_end(OPEN), text.end(), |look, there, _| {
                look.hits |= look.words & there;
            });
            if phrases {
                stretch.near(near_end(FAR), text.end());
            }
        }
        stretch
    }

    pub(super) fn looks(&self) -> impl Iterator<Item = &Look> {
        self.looks.iter().take(self.count)
    }

    #[inline]
    fn block(
        &mut self,
        text: &Text<'_>,
        index: &Index,
        group: &mut Group,
        nth: usize,
        (here, next): (&Masks, &Masks),
    ) {
        self.looks.push(Look {
            words: here.words,
            runs: here.runs,
            numbers: here.numbers,
            ats: here.ats,
            ..Look::default()
        });
        let at = (nth - group.first) * BLOCK;
        match here.high | next.high {
            0 => {
                group.plain(index, at, (here, next));
                self.forms(text, index, nth * BLOCK, (here, next));
            }
            _ => {
                let mut padded = [0; WINDOW];
                let window = padded_to(text.from(self.start + nth * BLOCK), &mut padded);
                group.noted.add(
                    begins(window, here.words).map(|(nth, begin)| {
                        (at + nth, IN_HIGH * u8::from(index.sifts(begin as u32)))
                    }),
                );
            }
        }
    }

    /// Marks what begins like a key or a URL, in ASCII.
    #[inline]
    fn forms(&mut self, text: &Text<'_>, index: &Index, at: usize, (here, next): (&Masks, &Masks)) {
        let mut left = here.words & runs(here.tokens, next.tokens);
        while left != 0 {
            let nth = left.trailing_zeros() as usize;
            left &= left - 1;
            let place = self.start + at + nth;
            // Within a key none begins.
            if !matches!(text.before(place), b'-' | b'_')
                && let Some(bytes) = text.from(place).get(..4)
            {
                self.hit(at + nth, index.flags(key(bytes)) & FORM != 0);
            }
        }
        let mut left = here.slashes & after(here.slashes, next.slashes, 1);
        while left != 0 {
            let slash = self.start + at + left.trailing_zeros() as usize;
            left &= left - 1;
            self.scheme(text, index, slash);
        }
    }

    #[inline]
    fn hit(&mut self, at: usize, is: bool) {
        if let Some(look) = self.looks.get_mut(at / BLOCK) {
            look.hits |= u64::from(is) << (at % BLOCK);
        }
    }

    /// Looks at the words that were noted, up to a block.
    #[inline(never)]
    fn noted(
        &mut self,
        text: &Text<'_>,
        index: &Index,
        group: &Group,
        nth: usize,
        told: &mut Option<Told>,
    ) {
        // The letters of one block more are known.
        let until = (nth - group.first + 2) * BLOCK;
        let many = group.noted.count > MANY;
        for noted in group.noted.words.iter().take(group.noted.count) {
            let (noted, flags) = (usize::from(*noted), (*noted >> FLAGS) as u8);
            let in_group = noted % (GROUP * BLOCK);
            let at = group.first * BLOCK + in_group;
            let place = self.start + at;
            let tells = if flags & IN_HIGH == 0 {
                let first = eight(&group.letters, in_group);
                let next = eight(&group.letters, in_group + 8);
                if flags & BEGINS != 0 {
                    let begin = text.eight(place);
                    let begin = begin.unwrap_or_else(|| words::eight(text.from(place)));
                    self.hit(at, index.known.begins(first, begin | CASES));
                }
                if flags & TELLS == 0 {
                    continue;
                }
                index.known.told(&index.phrases, text, place, (first, next))
            } else {
                let Some(bytes) = text.from(place).get(..4) else {
                    continue;
                };
                let flags = index.flags(key(bytes));
                self.hit(at, flags & HARD != 0);
                let reach = match flags & RARE {
                    0 => None,
                    _ => word(text, place).and_then(|(hash, _)| index.phrases.tells(hash)),
                };
                reach.map(|reach| Tells {
                    reach,
                    begins: None,
                })
            };
            if let Some(told) = told
                && let Some(Tells { reach, begins }) = tells
            {
                if reach > 0 {
                    let from = told.from(self, text, place, reach);
                    self.near(from, place);
                }
                let begins = begins.is_none_or(|begins| {
                    if many {
                        return begins.any();
                    }
                    let letters = group.letters.get(in_group..until).unwrap_or_default();
                    let (may, read) = index
                        .known
                        .follow
                        .goes_on(begins, text.from(place), letters);
                    text.count(read);
                    may
                });
                if let Some(look) = self.looks.get_mut(at / BLOCK) {
                    look.near |= u64::from(begins) << (at % BLOCK);
                }
            }
        }
    }

    /// Marks the words of a scheme, if the slash that stands here is the first of `://`.
    fn scheme(&mut self, text: &Text<'_>, index: &Index, slash: usize) {
        if slash <= self.start || text.before(slash) != b':' {
            return;
        }
        let colon = slash - 1;
        let floor = colon.saturating_sub(MAX_SCHEME).max(self.start);
        let from = text.run_back(colon, ALNUM | PLUS | DOT | DASH, floor);
        let start = self.start;
        self.mark(from, colon, |look, there, begin| {
            let mut left = look.words & there;
            while left != 0 {
                let nth = left.trailing_zeros() as usize;
                left &= left - 1;
                if let Some(bytes) = text.from(start + begin + nth).get(..4) {
                    look.hits |= u64::from(index.flags(key(bytes)) & FORM != 0) << nth;
                }
            }
        });
    }

    /// Where the word before a place begins, after `floor`. What an apostrophe joins is one.
    #[inline]
    fn word_before(&self, text: &Text<'_>, before: usize, floor: usize) -> usize {
        let at = before - self.start;
        let mut nth = at / BLOCK;
        let runs = |nth: usize| self.looks.get(nth).map_or(0, |look| look.runs);
        let mut left = runs(nth) & ((1 << (at % BLOCK)) - 1);
        loop {
            text.count(1);
            while left == 0 {
                text.count(1);
                if self.start + nth * BLOCK <= floor {
                    return floor;
                }
                nth -= 1;
                left = runs(nth);
            }
            let bit = left.ilog2() as usize;
            let begin = self.start + nth * BLOCK + bit;
            if begin <= floor {
                return floor;
            }
            if text.before(begin) != b'\'' {
                return begin;
            }
            left ^= 1 << bit;
        }
    }

    /// Marks where a phrase may begin.
    fn near(&mut self, from: usize, to: usize) {
        self.mark(from, to, |look, there, _| look.near |= there);
    }

    /// Asks for each block between two places, with a bit for each byte of it that is, and
    /// where it begins.
    fn mark(&mut self, from: usize, to: usize, mut each: impl FnMut(&mut Look, u64, usize)) {
        let (from, to) = (from - self.start, to.saturating_sub(self.start));
        let first = from / BLOCK;
        let after = to.div_ceil(BLOCK).min(self.looks.len());
        let blocks = self.looks.get_mut(first..after).unwrap_or_default();
        for (look, nth) in blocks.iter_mut().zip(first..) {
            let begin = nth * BLOCK;
            let first = from.saturating_sub(begin);
            let after = (to - begin).min(BLOCK);
            let upto = |bits: usize| match bits {
                BLOCK.. => !0,
                _ => (1u64 << bits) - 1,
            };
            each(look, upto(after) & !upto(first), begin);
        }
    }
}

impl Group {
    fn new() -> Group {
        Group {
            first: 0,
            letters: [0; (GROUP + 1) * BLOCK],
            noted: Noted {
                words: [0; GROUP * BLOCK],
                count: 0,
            },
        }
    }

    /// Goes on after its last block.
    fn next(&mut self) {
        self.first += GROUP;
        self.noted.count = 0;
        self.letters.copy_within(GROUP * BLOCK.., 0);
    }

    /// The masks of a block, of nothing past the end; its letters are written down.
    #[inline]
    fn masks(&mut self, text: &Text<'_>, start: usize, nth: usize) -> Masks {
        let at = start + nth * BLOCK;
        let (letters, _) = self.letters.as_chunks_mut::<BLOCK>();
        let mut padded = [0; BLOCK];
        let block = padded_to(text.from(at), &mut padded);
        match letters.get_mut(nth - self.first) {
            Some(letters) => masks(block, text.before(at), letters),
            None => Masks::default(),
        }
    }

    /// Notes the words of a block that may be known by themselves, in ASCII.
    #[inline]
    fn plain(&mut self, index: &Index, at: usize, (here, next): (&Masks, &Masks)) {
        // They have two letters or more, and not just these.
        let letters = after(here.letters, next.letters, 1);
        let mut left = here.words & letters & after(here.tokens, next.tokens, 2);
        let letters = &self.letters;
        let words = core::iter::from_fn(|| {
            let nth = left.trailing_zeros() as usize;
            (left != 0).then(|| {
                left &= left - 1;
                at + nth
            })
        });
        self.noted
            .add(words.map(|at| (at, index.known.may(eight(letters, at)))));
    }
}

/// Words that may be known by themselves.
struct Noted {
    /// Where each begins, from the first block of its group on, and its flags from [`FLAGS`]
    /// on.
    words: [u16; GROUP * BLOCK],
    count: usize,
}

impl Noted {
    /// Notes those that have flags. Without a branch: what is seldom so would be mispredicted
    /// each time.
    #[inline]
    fn add(&mut self, words: impl Iterator<Item = (usize, u8)>) {
        let mut count = self.count;
        for (at, flags) in words {
            if let Some(slot) = self.words.get_mut(count) {
                *slot = at as u16 | u16::from(flags) << FLAGS;
                count += usize::from(flags != 0);
            }
        }
        self.count = count;
    }
}

/// The letters from a place on, eight at most, each byte one of them or 0.
#[inline]
fn eight(letters: &[u8; (GROUP + 1) * BLOCK], at: usize) -> u64 {
    let eight = letters.get(at..).and_then(|from| from.first_chunk::<8>());
    eight.map_or(0, |eight| u64::from_le_bytes(*eight))
}

/// The bits so many places on.
#[inline]
fn after(here: u64, next: u64, by: usize) -> u64 {
    here >> by | next << (BLOCK - by)
}

/// So many bytes as an array, copied where there are fewer.
#[inline]
fn padded_to<'b, const SIZE: usize>(bytes: &'b [u8], padded: &'b mut [u8; SIZE]) -> &'b [u8; SIZE] {
    bytes.first_chunk::<SIZE>().unwrap_or_else(|| {
        for (to, from) in padded.iter_mut().zip(bytes) {
            *to = *from;
        }
        padded
    })
}

/// Where words begin, and their first eight bytes as [`CASES`] has them.
#[inline]
fn begins(window: &[u8; WINDOW], words: u64) -> impl Iterator<Item = (usize, u64)> {
    let mut left = words;
    core::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let nth = (left.trailing_zeros() & 63) as usize;
        left &= left - 1;
        let eight = window.get(nth..)?.first_chunk::<8>()?;
        Some((nth, u64::from_le_bytes(*eight) | CASES))
    })
}

/// Where a run of [`LEAST`] bits or more begins, or goes on so far.
#[inline]
fn runs(here: u64, next: u64) -> u64 {
    const { assert!(LEAST == 12) };
    let (mut low, mut high) = (here, next);
    // Of 2, 4, 8 and 12.
    for by in [1, 2, 4, 4] {
        low &= low >> by | high << (BLOCK - by);
        high &= high >> by;
    }
    low
}

/// How far phrases may begin before their telling words.
struct Told {
    /// What stands before is marked as far as it has to be.
    until: usize,
}

impl Told {
    /// The earliest place where a phrase may begin that has its telling word at `at`, after so
    /// many words at most. Words are counted as `next_word` in `phrases` does, or fewer.
    fn from(&mut self, stretch: &Stretch, text: &Text<'_>, at: usize, reach: usize) -> usize {
        let mut start = at;
        for _ in 0..reach {
            let ends = |byte: u8| !joins(byte) && !is(byte, ALNUM | HIGH);
            // The sentence is over.
            if ends(text.before(start)) || ends(text.before(start.saturating_sub(1))) {
                break;
            }
            start = stretch.word_before(text, start, self.until);
        }
        if reach == MAX_REACH {
            self.until = at + 1;
        }
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_begin_where_enough_bits_follow() {
        for from in 0..BLOCK {
            for length in [LEAST - 1, LEAST, LEAST + 9] {
                let bits: u128 = ((1 << length) - 1) << from;
                let expected = (0..BLOCK)
                    .filter(|at| (*at..at + LEAST).all(|at| bits >> at & 1 == 1))
                    .fold(0, |mask, at| mask | 1 << at);
                assert_eq!(runs(bits as u64, (bits >> 64) as u64), expected);
            }
        }
    }
}
