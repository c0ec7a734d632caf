//! Whether chance chose a value, as it does keys, or a writer did.
//!
//! Told by its digits, by the turns between small letters and capitals, and by how many of its
//! pairs of letters words hardly have.

use super::text::{HEX, is};
use super::words::{TOPS, each, eight, within};

/// Whether a UUID may have such a byte at a place.
fn is_of_uuid((nth, byte): (usize, &u8)) -> bool {
    is(*byte, HEX) || (*byte == b'-' && matches!(nth, 8 | 13 | 18 | 23))
}

/// What a value is made of.
pub(super) struct Look {
    digits: u32,
    letters: u32,
    upper: u32,
    pub(super) hex: bool,
    pub(super) uuid: bool,
    /// Whether so many small letters follow each other that they may be a word.
    long: bool,
    /// Letters next to each other, and how many of these are a small one and a capital.
    pairs: u32,
    turns: u32,
    dots: u32,
    slashes: u32,
}

/// Which letters follow which.
#[derive(Default)]
struct Letters {
    /// Letters in runs of [`LEAST_WORD`] or more small ones that could be words.
    wordy: usize,
    /// How many pairs of letters words hardly have.
    odd: usize,
}

/// So many small letters in a row may be a word.
const LEAST_WORD: usize = 5;
/// A value with so many different bytes has enough of them, however long it is.
const DISTINCT: u32 = 10;

/// Small letters in a row that may be a word: with no more consonants together than words
/// have, and most pairs such as words have.
fn wordy(run: usize, consonants: usize, odd: usize) -> usize {
    match run >= LEAST_WORD && consonants <= 5 && odd * 3 <= run {
        true => run,
        false => 0,
    }
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

impl Letters {
    /// Those of a value of ASCII.
    ///
    /// Without branches on its bytes: of what chance chose none could be foretold.
    fn of(value: &[u8]) -> Letters {
        let (mut wordy_in_all, mut odd_in_all) = (0, 0);
        // Of the run of small letters.
        let (mut run, mut harsh, mut harshest, mut odd) = (0usize, 0usize, 0usize, 0usize);
        // Of the byte before: whether it is a letter, a small one, and what follows it often.
        let (mut was_letter, mut was_small, mut usual) = (0usize, 0usize, 0u32);
        for byte in value {
            let letter = (byte | 0x20).wrapping_sub(b'a');
            let is_letter = usize::from(letter < 26);
            let is_small = is_letter & usize::from(byte >> 5 & 1);
            let is_odd = is_letter & was_letter & !(usual >> (letter & 31)) as usize & 1;
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
        Letters {
            wordy: wordy_in_all + wordy(run, harshest, odd),
            odd: odd_in_all,
        }
    }
}

impl Look {
    /// What a value of ASCII is made of.
    pub(super) fn of(value: &[u8]) -> Look {
        let mut look = Look {
            digits: 0,
            letters: 0,
            upper: 0,
            hex: true,
            uuid: value.len() == 36 && value.iter().enumerate().all(is_of_uuid),
            long: false,
            pairs: 0,
            turns: 0,
            dots: 0,
            slashes: 0,
        };
        // Of eight bytes one bit each; of those before the same.
        let (mut letters_before, mut small_before) = (0, 0);
        for bytes in value.chunks(8) {
            let eight = eight(bytes);
            let digits = within(eight, b'0', b'9');
            let small = within(eight, b'a', b'z');
            let upper = within(eight, b'A', b'Z');
            let letters = small | upper;
            let hex = digits | within(eight | each(0x20), b'a', b'f');
            let there = match bytes.len() {
                8.. => TOPS,
                bytes => TOPS & ((1 << (bytes * 8)) - 1),
            };
            let after =
                |here: u64, before: u64, by: usize| here << (by * 8) | before >> (64 - by * 8);
            let pairs = letters & after(letters, letters_before, 1);
            look.digits += digits.count_ones();
            look.letters += letters.count_ones();
            look.upper += upper.count_ones();
            look.hex &= hex & there == there;
            look.pairs += pairs.count_ones();
            look.turns += (pairs & (small ^ after(small, small_before, 1))).count_ones();
            look.dots += within(eight, b'.', b'.').count_ones();
            look.slashes += within(eight, b'/', b'/').count_ones();
            const { assert!(LEAST_WORD == 5) };
            let two = small & after(small, small_before, 1);
            let three = two & after(small, small_before, 2);
            let four = three & after(small, small_before, 3);
            look.long |= four & after(small, small_before, 4) != 0;
            (letters_before, small_before) = (letters, small);
        }
        look
    }

    /// Whether chance rather than a writer chose it.
    pub(super) fn random(&self, value: &[u8]) -> bool {
        let length = value.len();
        if self.uuid {
            return true;
        }
        let (digits, letters, upper) = (self.digits as usize, self.letters, self.upper);
        let small = letters - upper;
        let mixed = upper >= 3 && small >= 3;
        // Where chance is told by something else, the letters say only where words are.
        let told = digits + usize::from(mixed) >= 2;
        if letters < 2 || !(told || mixed) || !has_enough(value) {
            return false;
        }
        let letters = match self.long || !told {
            true => Letters::of(value),
            false => Letters::default(),
        };
        // Names in camel case change at each word, chance at every other letter.
        let restless = length >= 20 && self.turns as usize * 5 > length * 2 && letters.wordy == 0;
        // Of the pairs of words few are odd, of those of chance more than half.
        let scattered = self.pairs >= 8 && letters.odd * 3 > self.pairs as usize;
        if !(told || restless || scattered) {
            return false;
        }
        if self.hex {
            return length >= 16 || digits >= 3;
        }
        // Paths and domains consist of words.
        if self.slashes > 0 && (length < 30 || upper < 4) {
            return false;
        }
        if self.dots > 0 && (digits < 4 || letters.wordy * 3 > length) {
            return false;
        }
        letters.wordy * 2 <= length && (digits * 12 >= length || (mixed && length >= 16))
    }
}

/// Whether a value of ASCII has as many different bytes as one that chance chose.
fn has_enough(value: &[u8]) -> bool {
    let (mut low, mut high) = (0u64, 0u64);
    let mut distinct = 0;
    for bytes in value.chunks(8) {
        for byte in bytes {
            see(*byte, &mut low, &mut high);
        }
        distinct = low.count_ones() + high.count_ones();
        if distinct >= DISTINCT {
            return true;
        }
    }
    const { assert!(DISTINCT == 40 / 4) };
    distinct >= 6 && distinct as usize * 4 >= value.len().min(40)
}
