//! The text as far as it is known, and the classes of its bytes.
//!
//! INVARIANT: whoever looks past the end of a text that goes on is told so ([`Text::short`]),
//! and what was concluded is then thrown away. So a conclusion never depends on where the
//! text was cut.

use super::words::{TOPS, within};
use core::cell::Cell;

pub(super) struct Text<'t> {
    bytes: &'t [u8],
    /// Position of `bytes[0]` in the whole text.
    base: usize,
    /// Nothing follows.
    whole: bool,
    short: Cell<bool>,
    #[cfg(test)]
    pub(super) reads: Cell<u64>,
}

impl<'t> Text<'t> {
    pub(super) fn new(bytes: &'t [u8], base: usize, whole: bool) -> Text<'t> {
        Text {
            bytes,
            base,
            whole,
            short: Cell::new(false),
            #[cfg(test)]
            reads: Cell::new(0),
        }
    }

    /// Position after the last byte at hand.
    pub(super) fn end(&self) -> usize {
        self.base + self.bytes.len()
    }

    /// Whether nothing follows what is at hand.
    pub(super) fn whole(&self) -> bool {
        self.whole
    }

    /// Position of the first byte at hand.
    pub(super) fn base(&self) -> usize {
        self.base
    }

    /// What is at hand from a position.
    #[inline]
    pub(super) fn from(&self, at: usize) -> &'t [u8] {
        self.bytes
            .get(at.wrapping_sub(self.base)..)
            .unwrap_or_default()
    }

    /// The byte at a position; 0 past the end.
    #[inline]
    pub(super) fn at(&self, at: usize) -> u8 {
        self.count(1);
        match self.bytes.get(at.wrapping_sub(self.base)) {
            Some(byte) => *byte,
            None => {
                if !self.whole && at >= self.base {
                    self.short.set(true);
                }
                0
            }
        }
    }

    /// The eight bytes from a position on, if so many are at hand.
    #[inline]
    pub(super) fn eight(&self, at: usize) -> Option<u64> {
        let bytes = self.from(at).first_chunk::<8>();
        bytes.map(|bytes| u64::from_le_bytes(*bytes))
    }

    /// The byte before a position; 0 at the beginning.
    #[inline]
    pub(super) fn before(&self, at: usize) -> u8 {
        match at.checked_sub(1) {
            Some(at) => self.at(at),
            None => 0,
        }
    }

    /// Whether someone looked past the end since the last [`Text::clear`].
    pub(super) fn short(&self) -> bool {
        self.short.get()
    }

    pub(super) fn clear(&self) {
        self.short.set(false);
    }

    /// Whether these bytes stand at a position.
    pub(super) fn has(&self, at: usize, expected: &[u8]) -> bool {
        self.count(1);
        match self.from(at).get(..expected.len()) {
            Some(there) => there == expected,
            None => self.cut(expected.starts_with(self.from(at))),
        }
    }

    /// [`Text::has`] with ASCII letters in either case.
    pub(super) fn has_folded(&self, at: usize, expected: &[u8]) -> bool {
        self.count(1);
        let there = self.from(at);
        match there.get(..expected.len()) {
            Some(there) => there.eq_ignore_ascii_case(expected),
            None => self.cut(
                expected
                    .get(..there.len())
                    .is_some_and(|begin| begin.eq_ignore_ascii_case(there)),
            ),
        }
    }

    /// The text is cut where something may go on; not there, so far.
    fn cut(&self, may_go_on: bool) -> bool {
        if may_go_on && !self.whole {
            self.short.set(true);
        }
        false
    }

    /// End of the run of bytes of a class that starts here, `limit` at most.
    #[inline]
    pub(super) fn run(&self, from: usize, class: u16, limit: usize) -> usize {
        let there = self.from(from);
        let length = there
            .iter()
            .take(limit)
            .take_while(|byte| is(**byte, class))
            .count();
        self.count(length + 1);
        if length == there.len() && length < limit && !self.whole {
            self.short.set(true);
        }
        from + length
    }

    /// End of the run of digits that starts here, `limit` at most, which is eight or more.
    #[inline]
    pub(super) fn run_of_digits(&self, from: usize, limit: usize) -> usize {
        let others = self
            .eight(from)
            .map(|eight| (!within(eight, b'0', b'9') | eight) & TOPS);
        match others {
            Some(others) if others != 0 => {
                self.count(1);
                from + others.trailing_zeros() as usize / 8
            }
            _ => self.run(from, DIGIT, limit),
        }
    }

    /// Start of the run of bytes of a class that ends here, not before `floor`.
    #[inline]
    pub(super) fn run_back(&self, from: usize, class: u16, floor: usize) -> usize {
        let length = self
            .slice(floor, from)
            .iter()
            .rev()
            .take_while(|byte| is(**byte, class))
            .count();
        self.count(length + 1);
        from - length
    }

    /// Counts reads, in the test that bounds them.
    #[inline]
    pub(super) fn count(&self, _reads: usize) {
        #[cfg(test)]
        self.reads.set(self.reads.get() + _reads as u64);
    }

    /// What stands there, as far as it is at hand.
    pub(super) fn slice(&self, start: usize, end: usize) -> &'t [u8] {
        let from = start.saturating_sub(self.base);
        let to = end.saturating_sub(self.base).min(self.bytes.len());
        self.bytes.get(from..to).unwrap_or_default()
    }
}

pub(super) const DIGIT: u16 = 1;
/// `a` to `f`.
pub(super) const HEX_LOWER: u16 = 1 << 1;
/// `g` to `z`.
pub(super) const LATE_LOWER: u16 = 1 << 2;
/// `A` to `F`.
pub(super) const HEX_UPPER: u16 = 1 << 3;
/// `G` to `Z`.
pub(super) const LATE_UPPER: u16 = 1 << 4;
pub(super) const UNDERSCORE: u16 = 1 << 5;
pub(super) const DASH: u16 = 1 << 6;
pub(super) const DOT: u16 = 1 << 7;
pub(super) const PLUS: u16 = 1 << 8;
pub(super) const SLASH: u16 = 1 << 9;
pub(super) const EQUALS: u16 = 1 << 10;
/// Bytes of characters beyond ASCII.
pub(super) const HIGH: u16 = 1 << 11;
/// Space, tab, line feed, carriage return.
pub(super) const SPACE: u16 = 1 << 12;
pub(super) const TILDE: u16 = 1 << 13;
pub(super) const COLON: u16 = 1 << 14;
pub(super) const PERCENT: u16 = 1 << 15;

pub(super) const LOWER: u16 = HEX_LOWER | LATE_LOWER;
pub(super) const UPPER: u16 = HEX_UPPER | LATE_UPPER;
pub(super) const LETTER: u16 = LOWER | UPPER;
pub(super) const ALNUM: u16 = LETTER | DIGIT;
pub(super) const HEX: u16 = DIGIT | HEX_LOWER | HEX_UPPER;
/// What identifiers and most tokens are made of.
pub(super) const TOKEN: u16 = ALNUM | UNDERSCORE | DASH;
/// What secret values are made of: tokens and base64.
pub(super) const VALUE: u16 = TOKEN | DOT | PLUS | SLASH | EQUALS | TILDE;
/// What a finding may begin with before it is noticed: see `Engine::held_from`.
pub(super) const RUN: u16 = VALUE | PERCENT | COLON;

static CLASSES: [u16; 256] = classes();

#[expect(
    clippy::indexing_slicing,
    reason = "runs while compiling: a bad index would fail the build"
)]
const fn classes() -> [u16; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        table[at] = match at as u8 {
            b'0'..=b'9' => DIGIT,
            b'a'..=b'f' => HEX_LOWER,
            b'g'..=b'z' => LATE_LOWER,
            b'A'..=b'F' => HEX_UPPER,
            b'G'..=b'Z' => LATE_UPPER,
            b'_' => UNDERSCORE,
            b'-' => DASH,
            b'.' => DOT,
            b'+' => PLUS,
            b'/' => SLASH,
            b'=' => EQUALS,
            b' ' | b'\t' | b'\n' | b'\r' => SPACE,
            b'~' => TILDE,
            b':' => COLON,
            b'%' => PERCENT,
            0x80..=0xff => HIGH,
            _ => 0,
        };
        at += 1;
    }
    table
}

#[inline]
pub(super) fn class(byte: u8) -> u16 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(0)
}

#[inline]
pub(super) fn is(byte: u8, class_: u16) -> bool {
    class(byte) & class_ != 0
}
