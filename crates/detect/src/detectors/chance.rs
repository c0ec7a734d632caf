//! Whether chance chose a value, as it does keys, or a writer did.
//!
//! Told by its digits, by the turns between small letters and capitals, and by how many of its
//! pairs of letters words hardly have.

use super::text::{DIGIT, HEX, LETTER, UPPER, class, is};

/// Whether a UUID may have such a byte at a place.
fn is_of_uuid((nth, byte): (usize, &u8)) -> bool {
    is(*byte, HEX) || (*byte == b'-' && matches!(nth, 8 | 13 | 18 | 23))
}

/// What a value is made of.
pub(super) struct Look {
    digits: usize,
    letters: usize,
    upper: usize,
    pub(super) distinct: u32,
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

/// Small letters in a row that may be a word: with no more consonants together than words
/// have, and most pairs such as words have.
fn wordy(run: usize, consonants: usize, odd: usize) -> usize {
    match run >= 5 && consonants <= 5 && odd * 3 <= run {
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

/// Whether words hardly have these letters next to each other.
fn is_odd(one: u8, two: u8) -> bool {
    let letter = |byte: u8| byte.to_ascii_lowercase().wrapping_sub(b'a');
    let next = PAIRS.get(usize::from(letter(one))).copied().unwrap_or(0);
    next >> (letter(two) & 31) & 1 == 0
}

impl Look {
    pub(super) fn of(value: &[u8]) -> Look {
        let mut look = Look {
            digits: 0,
            letters: 0,
            upper: 0,
            distinct: 0,
            hex: true,
            uuid: value.len() == 36 && value.iter().enumerate().all(is_of_uuid),
            wordy: 0,
            turns: 0,
            pairs: 0,
            odd: 0,
            dots: 0,
            slashes: 0,
        };
        let mut seen = [0u64; 4];
        let mut run = 0;
        let (mut harsh, mut harshest, mut odd) = (0, 0, 0);
        let mut before = 0u8;
        for byte in value {
            if let Some(seen) = seen.get_mut(usize::from(byte >> 6)) {
                *seen |= 1 << (byte & 63);
            }
            let class = class(*byte);
            look.digits += usize::from(class & DIGIT != 0);
            look.letters += usize::from(class & LETTER != 0);
            look.upper += usize::from(class & UPPER != 0);
            look.dots += usize::from(*byte == b'.');
            look.slashes += usize::from(*byte == b'/');
            look.hex &= class & HEX != 0;
            let cases = |one: u8, two: u8| one.is_ascii_lowercase() && two.is_ascii_uppercase();
            look.turns += usize::from(cases(before, *byte) || cases(*byte, before));
            let pair = before.is_ascii_alphabetic() && byte.is_ascii_alphabetic();
            let is_odd = pair && is_odd(before, *byte);
            look.pairs += usize::from(pair);
            look.odd += usize::from(is_odd);
            before = *byte;
            if byte.is_ascii_lowercase() {
                odd += usize::from(is_odd && run > 0);
                run += 1;
                let vowel = matches!(byte, b'a' | b'e' | b'i' | b'o' | b'u' | b'y');
                harsh = if vowel { 0 } else { harsh + 1 };
                harshest = harshest.max(harsh);
            } else {
                look.wordy += wordy(run, harshest, odd);
                (run, harsh, harshest, odd) = (0, 0, 0, 0);
            }
        }
        look.wordy += wordy(run, harshest, odd);
        look.distinct = seen.iter().map(|seen| seen.count_ones()).sum();
        look
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
