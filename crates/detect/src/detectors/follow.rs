//! What has to follow a word that tells a phrase and begins it, too.
//!
//! Such words are common, `write` or `end`, and most begin no phrase: of the next words one has
//! to be in each set that the phrase asks for. [`super::sieve`] asks before any of them becomes
//! a candidate. A no is never wrong: where the words that follow are not known, and where two
//! share a hash, the answer is yes, and [`super::phrases`] reads them. Letters are as
//! [`super::known`] has them.

use super::known::{LETTERS, hash, length, of, run};
use super::phrases::{MAX_BETWEEN, Phrases, fold, joins};
use super::text::{ALNUM, HIGH, LETTER, is};
use std::collections::BTreeMap;

/// Bits of the table.
const WORDS: u32 = 12;
/// Next words that are asked for.
const AHEAD: usize = 8;

pub(super) struct Follow {
    /// By the hash of the letters: which sets a word may be in. One bit may stand for several
    /// sets.
    words: Box<[u64; 1 << WORDS]>,
    /// The sets that have to follow, for each phrase.
    needs: Vec<u64>,
}

/// The bits of sets, which are known as they are written.
pub(super) type Sets = BTreeMap<&'static str, u64>;

/// The phrases that a word both tells and begins.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Begins {
    /// Where in [`Follow::needs`] they are.
    from: u16,
    to: u16,
    /// How many words ahead have to be asked for.
    ahead: u8,
}

impl Begins {
    /// Whether there are any.
    pub(super) fn any(self) -> bool {
        self.from < self.to
    }
}

impl Follow {
    pub(super) fn new() -> Follow {
        Follow {
            words: Box::new([0; 1 << WORDS]),
            needs: Vec::new(),
        }
    }

    /// Notes the phrases that a word both tells and begins.
    pub(super) fn begun(&mut self, word: &str, phrases: &Phrases, sets: &mut Sets) -> Begins {
        let from = self.needs.len() as u16;
        let mut ahead = 0;
        for phrase in phrases.begun_by(word) {
            let mut needs = 0;
            for (words, reach) in phrase.into_iter().filter(|(_, reach)| *reach <= AHEAD) {
                needs |= self.set(words, sets);
                ahead = ahead.max(reach as u8);
            }
            self.needs.push(needs);
        }
        Begins {
            from,
            to: self.needs.len() as u16,
            ahead,
        }
    }

    /// The bit of a set, which its words get.
    fn set(&mut self, words: &'static str, sets: &mut Sets) -> u64 {
        let nth = sets.len();
        *sets.entry(words).or_insert_with(|| {
            let bit = 1 << (nth % 64);
            for word in words.split('|').flat_map(fold) {
                let (letters, _) = of(word.as_bytes());
                if let Some(sets) = self.words.get_mut(hash(letters, WORDS)) {
                    *sets |= bit;
                }
            }
            bit
        })
    }

    /// Whether a phrase may begin with a word, by the words after it, and how much was read:
    /// what stands from the word on, and the letters of that as far as they are known. Never
    /// a wrong no.
    pub(super) fn goes_on(&self, begins: Begins, there: &[u8], letters: &[u8]) -> (bool, usize) {
        let (from, to) = (usize::from(begins.from), usize::from(begins.to));
        let needs = self.needs.get(from..to).unwrap_or_default();
        if needs.is_empty() {
            return (false, 0);
        }
        let (mut at, mut seen) = (0, 0);
        // From the word itself on.
        for nth in 0..=begins.ahead {
            let Some((sets, letters)) = self.following(letters.get(at..).unwrap_or_default())
            else {
                return (true, at);
            };
            if nth > 0 {
                seen |= sets;
            }
            at += letters;
            let next = there.get(at..).unwrap_or_default();
            let signs = next
                .iter()
                .take(MAX_BETWEEN)
                .take_while(|byte| joins(**byte));
            let signs = signs.count();
            at += signs;
            match next.get(signs) {
                Some(byte) if is(*byte, LETTER) && next.first() != Some(&b'\'') => {}
                // What follows is no word of letters, or not known.
                Some(b'\'') | None => return (true, at),
                Some(byte) if is(*byte, ALNUM | HIGH) => return (true, at),
                // The sentence is over.
                Some(_) => break,
            }
        }
        (needs.iter().any(|needs| needs & !seen == 0), at)
    }

    /// The sets the word may be in that begins with these letters, and how many it has, if
    /// all are known.
    #[inline]
    fn following(&self, letters: &[u8]) -> Option<(u64, usize)> {
        let eight = |at: usize| {
            let eight = letters.get(at..)?.first_chunk::<LETTERS>()?;
            Some(run(u64::from_le_bytes(*eight)))
        };
        let first = eight(0)?;
        let mut count = length(first);
        while count.is_multiple_of(LETTERS) {
            let more = length(eight(count)?);
            count += more;
            if more == 0 {
                break;
            }
        }
        let sets = self.words.get(hash(first, WORDS));
        Some((sets.copied().unwrap_or(0), count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::index::INDEX;
    use crate::detectors::text::Text;
    use crate::detectors::words;

    fn lettered(text: &str) -> Vec<u8> {
        let bytes = text.bytes().chain([0; 64]);
        let letter = |byte: u8| match byte.is_ascii_alphabetic() {
            true => byte.to_ascii_lowercase(),
            false => 0,
        };
        bytes.map(letter).collect()
    }

    #[test]
    fn every_phrase_that_begins_with_its_telling_word_is_let_on() {
        let (known, phrases) = (&INDEX.known, &INDEX.phrases);
        let mut count = 0;
        for word in phrases.telling().filter(|word| word.is_ascii()) {
            let letters = lettered(word);
            let (first, next) = letters.split_at(LETTERS);
            let letters = (words::eight(first), words::eight(next));
            let text = Text::new(word.as_bytes(), 0, true);
            let tells = known.told(phrases, &text, 0, letters);
            let Some(begins) = tells.and_then(|tells| tells.begins) else {
                continue;
            };
            let goes_on = |content: &str| {
                known
                    .follow
                    .goes_on(begins, content.as_bytes(), &lettered(content))
                    .0
            };
            for phrase in phrases.begun_by(word) {
                for (from, between) in [(0, " "), (usize::MAX, " "), (1, ", "), (2, "\n\n(")] {
                    let mut content = word.to_uppercase();
                    let mut nth = 0;
                    for (words, reach) in &phrase {
                        // As far away as it may stand.
                        while nth + 1 < *reach {
                            content += between;
                            content += "qxqxqxqxq";
                            nth += 1;
                        }
                        let words: Vec<&str> = words.split('|').collect();
                        content += between;
                        content += words[from.min(words.len() - 1)];
                        nth += 1;
                    }
                    assert!(goes_on(&format!("{content}. ")), "{content}");
                    count += 1;
                }
            }
            let asked = |phrase: Vec<(_, usize)>| phrase.iter().any(|(_, reach)| *reach <= AHEAD);
            if phrases.begun_by(word).all(asked) {
                // A word may share its hash with one that is asked for.
                let others = ["qx", "qxq", "qxqx"];
                let go_on = others.map(|other| goes_on(&format!("{word} {other}. ")));
                assert!(go_on.contains(&false), "{word}");
                assert!(!goes_on(&format!("{word}. ")), "{word}");
            }
            // Where it is not known what follows.
            for content in [
                format!("{word} "),
                format!("{word}'s"),
                format!("{word} 1 "),
            ] {
                assert!(
                    phrases.begun_by(word).count() == 0 || goes_on(&content),
                    "{content}"
                );
            }
        }
        assert!(count > 100, "{count}");
    }
}
