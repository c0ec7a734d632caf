//! What of a stretch of text has to be looked at.
//!
//! Most words begin nothing. A bitmap of the first three bytes of all that is known lets
//! nearly all of them go, a table of the first four most of the rest. Phrases begin with
//! ordinary words, `show` or `tell`; each has a telling word too, `instructions` for one, and
//! only what stands so near before a telling word that a phrase could reach it is looked at.
//!
//! INVARIANT: where the text goes on and is not at hand, everything near its end is looked
//! at; so what is let go never depends on where a text was cut.

use super::blocks::{BLOCK, masks};
use super::context::Hash;
use super::index::{HARD, INDEX, Index, RARE, key};
use super::phrases::{MAX_BETWEEN, MAX_REACH, MAX_WORD, joins};
use super::text::{ALNUM, HIGH, LETTER, Text, is};

/// A block, and as much after it as a key may take.
pub(super) const WINDOW: usize = BLOCK + 3;
/// Blocks of a stretch.
const STRETCH: usize = 64;
/// How far a telling word may end after the place where its phrase begins.
const FAR: usize = (MAX_REACH + 1) * (MAX_WORD + MAX_BETWEEN);
/// Blocks after a stretch in which a phrase that begins in it may have its telling word.
const AHEAD: usize = FAR.div_ceil(BLOCK);
const ALL: usize = STRETCH + AHEAD;

/// One bit per byte of a block, the first byte lowest.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Look {
    pub(super) words: u64,
    pub(super) numbers: u64,
    pub(super) ats: u64,
    /// Words that begin like something that is known by its first bytes.
    pub(super) hits: u64,
    /// Where phrases have to be looked for.
    pub(super) near: u64,
}

pub(super) struct Stretch {
    looks: [Look; ALL],
    start: usize,
    /// Blocks of it.
    count: usize,
}

impl Stretch {
    /// Looks over what is at hand from `start` on.
    pub(super) fn new(text: &Text<'_>, start: usize, phrases: bool) -> Stretch {
        let rest = text.from(start);
        let blocks = rest.len().div_ceil(BLOCK);
        let mut stretch = Stretch {
            looks: [Look::default(); ALL],
            start,
            count: blocks.min(STRETCH),
        };
        let index = &*INDEX;
        let mut told = Told { until: start };
        let all = if phrases {
            blocks.min(ALL)
        } else {
            stretch.count
        };
        for nth in 0..all {
            let at = start + nth * BLOCK;
            let bytes = text.from(at);
            let mut padded = [0; WINDOW];
            let (window, length) = match bytes.first_chunk::<WINDOW>() {
                Some(window) => (window, WINDOW),
                None => {
                    for (to, from) in padded.iter_mut().zip(bytes) {
                        *to = *from;
                    }
                    (&padded, bytes.len())
                }
            };
            stretch.block(
                text,
                index,
                nth,
                (window, length),
                phrases.then_some(&mut told),
            );
        }
        if phrases && !text.whole() {
            // A telling word may follow.
            stretch.near(text.end().saturating_sub(FAR).max(start), text.end());
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
        nth: usize,
        (window, length): (&[u8; WINDOW], usize),
        mut told: Option<&mut Told>,
    ) {
        let at = self.start + nth * BLOCK;
        let Some(block) = window.first_chunk::<BLOCK>() else {
            return;
        };
        let masks = masks(block, text.before(at));
        let mut hits = 0;
        let mut left = masks.words;
        while left != 0 {
            let bit = (left.trailing_zeros() & 63) as usize;
            left &= left - 1;
            let Some(bytes) = window.get(bit..bit + 4) else {
                break;
            };
            let key = key(bytes);
            if !index.sifts(key) {
                continue;
            }
            let flags = index.flags(key);
            hits |= u64::from(flags & HARD != 0) << bit;
            if flags & RARE != 0
                && let Some(told) = &mut told
                && is_telling(index, text, at + bit)
            {
                let from = told.from(text, at + bit);
                self.near(from, at + bit + 1);
                told.until = at + bit + 1;
            }
        }
        // Words at the very end may go on.
        let open = length.saturating_sub(3);
        if length < WINDOW && open < BLOCK {
            hits |= masks.words & !0 << open;
        }
        if let Some(look) = self.looks.get_mut(nth) {
            look.words = masks.words;
            look.numbers = masks.numbers;
            look.ats = masks.ats;
            look.hits = hits;
        }
    }

    /// Marks what stands from one place to another.
    fn near(&mut self, from: usize, to: usize) {
        let (from, to) = (from - self.start, to.saturating_sub(self.start));
        let blocks = self.looks.iter_mut().zip(0..).skip(from / BLOCK);
        for (look, nth) in blocks.take((to.div_ceil(BLOCK)).saturating_sub(from / BLOCK)) {
            let begin = nth * BLOCK;
            let first = from.saturating_sub(begin);
            let after = (to - begin).min(BLOCK);
            let upto = |bits: usize| match bits {
                BLOCK.. => !0,
                _ => (1u64 << bits) - 1,
            };
            look.near |= upto(after) & !upto(first);
        }
    }
}

/// How far phrases may begin before their telling words.
struct Told {
    /// What stands before is marked as far as it has to be.
    until: usize,
}

impl Told {
    /// The earliest place where a phrase may begin that has its telling word at `at`. Words
    /// and signs are counted as `next_word` in `phrases` does, or fewer of them.
    fn from(&self, text: &Text<'_>, at: usize) -> usize {
        let before = text.slice(self.until, at);
        let mut start = at;
        let (mut words, mut signs, mut within) = (0, 0, false);
        for (nth, byte) in before.iter().enumerate().rev() {
            let is_word = |byte: u8| is(byte, ALNUM | HIGH);
            let apostrophe = || {
                let left = nth.checked_sub(1).and_then(|left| before.get(left));
                *byte == b'\'' && within && left.is_none_or(|left| is_word(*left))
            };
            if is_word(*byte) || apostrophe() {
                words += usize::from(!within);
                if words > MAX_REACH {
                    break;
                }
                (within, signs) = (true, 0);
                start = self.until + nth;
            } else {
                signs += 1;
                if signs > MAX_BETWEEN || !joins(*byte) {
                    break;
                }
                within = false;
            }
        }
        text.count(at - start + 1);
        start
    }
}

/// Whether the word at a place is one that tells a phrase.
fn is_telling(index: &Index, text: &Text<'_>, at: usize) -> bool {
    let rest = text.from(at);
    let mut hash = Hash::START;
    for (nth, byte) in rest.iter().enumerate().take(MAX_WORD + 1) {
        let next = rest.get(nth + 1).copied().unwrap_or(0);
        let apostrophe = *byte == b'\'' && is(next, LETTER);
        if !is(*byte, ALNUM | HIGH) && !apostrophe {
            break;
        }
        hash = hash.with(byte.to_ascii_lowercase());
        text.count(1);
    }
    index.phrases.is_telling(hash.value())
}
