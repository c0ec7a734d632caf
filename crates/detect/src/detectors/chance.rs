//! Whether chance chose a value, as it does keys, or a writer did.
//!
//! Told by its digits, by the turns between small letters and capitals, and by how many of its
//! pairs of letters words hardly have.

use super::text::{HEX, is};

/// Whether a UUID may have such a byte at a place.
fn is_of_uuid((nth, byte): (usize, &u8)) -> bool {
    is(*byte, HEX) || (*byte == b'-' && matches!(nth, 8 | 13 | 18 | 23))
}

/// What a value is made of.
pub(super) struct Look {
    digits: usize,
    letters: usize,
    upper: usize,
    distinct: u32,
    pub(super) hex: bool,
    pub(super) uuid: bool,
    /// Letters in runs of five or more small ones that could be words.
    wordy: usize,
    /// Changes between small letters and capitals.
    turns: usize,
    /// Letters next to each other, and how many of these pairs words hardly have.
    pairs: usize,
    odd: usize,
    dots: usize,
    slashes: usize,
}

/// So many small letters in a row may be a word.
const LEAST_WORD: usize = 5;

/// Small letters in a row that may be a word: with no more consonants together than words
/// have, and most pairs such as words have.
fn wordy(run: usize, consonants: usize, odd: usize) -> usize {
    match run >= LEAST_WORD && consonants <= 5 && odd * 3 <= run {
        true => run,
        false => 0,
    }
}

/// Longest value whose signs are counted.
pub(super) const MAX_VALUE: usize = (1 << COUNT) - 1;
/// Bits of one of the counts below.
const COUNT: u32 = 10;
const DIGITS: u32 = 0;
const LETTERS: u32 = COUNT;
const CAPITALS: u32 = COUNT * 2;
const DOTS: u32 = COUNT * 3;
const SLASHES: u32 = COUNT * 4;
const NO_HEX: u32 = COUNT * 5;

/// What each byte adds to the counts.
static COUNTS: [u64; 256] = counts();

#[expect(
    clippy::indexing_slicing,
    reason = "runs while compiling: a bad index would fail the build"
)]
const fn counts() -> [u64; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        table[at] = (byte.is_ascii_digit() as u64) << DIGITS
            | (byte.is_ascii_alphabetic() as u64) << LETTERS
            | (byte.is_ascii_uppercase() as u64) << CAPITALS
            | ((byte == b'.') as u64) << DOTS
            | ((byte == b'/') as u64) << SLASHES
            | (!byte.is_ascii_hexdigit() as u64) << NO_HEX;
        at += 1;
    }
    table
}

/// Which letters often follow each letter in the words of European languages, one bit each.
static PAIRS: [u32; 26] = pairs([
    "bcdgiklmnprstuvwy",
    "aeiloruys",
    "aehiklortu",
    "aeiorsuy",
    "acdefilmnprstvwxygq",
    "aefilortu",
    "aehilnorsu",
    "aeiortuy",
    "acdefglmnoprstvzb",
    "aeou",
    "eainsly",
    "adefilostuvykm",
    "abeimopsuy",
    "acdefgiknostuvy",
    "abcdfgiklmnoprstuvw",
    "aehiloprstuy",
    "u",
    "acdegiklmnoprstuvyb",
    "acehiklmnopqstuwy",
    "acehilmorstuwy",
    "abcdegilmnprst",
    "aeio",
    "aehinors",
    "aceipt",
    "aeiopstm",
    "aeioz",
]);

#[expect(
    clippy::indexing_slicing,
    reason = "runs while compiling: a bad index would fail the build"
)]
const fn pairs(of: [&str; 26]) -> [u32; 26] {
    let mut table = [0; 26];
    let mut letter = 0;
    while letter < 26 {
        let next = of[letter].as_bytes();
        let mut at = 0;
        while at < next.len() {
            table[letter] |= 1 << (next[at] - b'a');
            at += 1;
        }
        letter += 1;
    }
    table
}

/// `a`, `e`, `i`, `o`, `u` and `y`, one bit each.
const VOWELS: u32 = 1 | 1 << 4 | 1 << 8 | 1 << 14 | 1 << 20 | 1 << 24;

/// How many different bytes a value of ASCII has.
pub(super) fn distinct(value: &[u8]) -> u32 {
    let (mut low, mut high) = (0u64, 0u64);
    for byte in value {
        see(*byte, &mut low, &mut high);
    }
    low.count_ones() + high.count_ones()
}

/// Notes a byte of ASCII as seen.
#[inline]
fn see(byte: u8, low: &mut u64, high: &mut u64) {
    let upper = 0u64.wrapping_sub(u64::from(byte >> 6 & 1));
    let bit = 1 << (byte & 63);
    *low |= bit & !upper;
    *high |= bit & upper;
}

impl Look {
    /// What a value of ASCII is made of, no longer than [`MAX_VALUE`].
    ///
    /// Without branches on its bytes: of what chance chose none could be foretold.
    pub(super) fn of(value: &[u8]) -> Look {
        let (mut counts, mut low, mut high) = (0u64, 0, 0);
        let (mut wordy_in_all, mut turns, mut pairs, mut odd_in_all) = (0, 0, 0, 0);
        // Of the run of small letters.
        let (mut run, mut harsh, mut harshest, mut odd) = (0usize, 0usize, 0usize, 0usize);
        // Of the byte before: whether it is a letter, a small one, and what follows it often.
        let (mut was_letter, mut was_small, mut usual) = (0usize, 0usize, 0u32);
        for byte in value {
            counts += COUNTS.get(usize::from(*byte)).copied().unwrap_or(0);
            see(*byte, &mut low, &mut high);
            let letter = (byte | 0x20).wrapping_sub(b'a');
            let is_letter = usize::from(letter < 26);
            let is_small = is_letter & usize::from(byte >> 5 & 1);
            let pair = is_letter & was_letter;
            let is_odd = pair & !(usual >> (letter & 31)) as usize & 1;
            turns += pair & (is_small ^ was_small);
            pairs += pair;
            odd_in_all += is_odd;
            if run >= LEAST_WORD && is_small == 0 {
                wordy_in_all += wordy(run, harshest, odd);
            }
            let goes_on = 0usize.wrapping_sub(is_small);
            let vowel = (VOWELS >> (letter & 31)) as usize & 1;
            harsh = (harsh + 1) & goes_on & vowel.wrapping_sub(1);
            harshest = harshest.max(harsh) & goes_on;
            odd = (odd + (is_odd & was_small)) & goes_on;
            run = (run + 1) & goes_on;
            was_letter = is_letter;
            was_small = is_small;
            usual = PAIRS.get(usize::from(letter)).copied().unwrap_or(0);
        }
        let count = |of: u32| (counts >> of) as usize & MAX_VALUE;
        Look {
            digits: count(DIGITS),
            letters: count(LETTERS),
            upper: count(CAPITALS),
            distinct: low.count_ones() + high.count_ones(),
            hex: count(NO_HEX) == 0,
            uuid: value.len() == 36 && value.iter().enumerate().all(is_of_uuid),
            wordy: wordy_in_all + wordy(run, harshest, odd),
            turns,
            pairs,
            odd: odd_in_all,
            dots: count(DOTS),
            slashes: count(SLASHES),
        }
    }

    /// Whether chance rather than a writer chose it.
    pub(super) fn random(&self, value: &[u8]) -> bool {
        let length = value.len();
        if self.uuid {
            return true;
        }
        let distinct = self.distinct as usize;
        let small = self.letters - self.upper;
        let mixed = self.upper >= 3 && small >= 3;
        // Names in camel case change at each word, chance at every other letter.
        let restless = mixed && length >= 20 && self.turns * 5 > length * 2 && self.wordy == 0;
        // Of the pairs of words few are odd, of those of chance more than half.
        let scattered = mixed && self.pairs >= 8 && self.odd * 3 > self.pairs;
        if distinct < 6
            || distinct * 4 < length.min(40)
            || self.digits + usize::from(mixed) + usize::from(restless || scattered) < 2
            || self.letters < 2
        {
            return false;
        }
        if self.hex {
            return length >= 16 || self.digits >= 3;
        }
        // Paths and domains consist of words.
        if self.slashes > 0 && (length < 30 || self.upper < 4) {
            return false;
        }
        if self.dots > 0 && (self.digits < 4 || self.wordy * 3 > length) {
            return false;
        }
        self.wordy * 2 <= length && (self.digits * 12 >= length || (mixed && length >= 16))
    }
}
