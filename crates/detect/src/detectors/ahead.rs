//! The words that stand ahead of a place, read once for all phrases that begin before them.
//!
//! What the words are to phrases is for [`super::phrases`], where one ends for
//! [`super::words`].

use super::index::INDEX;
use super::phrases::{MAX_BETWEEN, joins};
use super::text::{ALNUM, HIGH, Text, is};
use super::words::{short, word};

/// The words that follow, read as they are asked for and kept for the next phrase.
#[derive(Debug, Clone, Default)]
pub(super) struct Ahead {
    /// Each follows the one before it.
    words: Vec<Word>,
    /// The word that is followed.
    at: usize,
    /// The sentence is over after the last of them.
    over: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Word {
    /// Its row among the sets, and what of that is asked for first.
    pub(super) row: u16,
    summary: u64,
    start: usize,
    pub(super) end: usize,
}

impl Word {
    #[inline(always)]
    pub(super) fn read(text: &Text<'_>, start: usize) -> Option<Word> {
        let (hash, end) = short(text, start).or_else(|| word(text, start))?;
        let phrases = &INDEX.phrases;
        let row = phrases.row(hash);
        Some(Word {
            row,
            summary: phrases.summary(row),
            start,
            end,
        })
    }
}

/// More words than any phrase has.
const KEPT_WORDS: usize = 64;

impl Ahead {
    pub(super) fn forget(&mut self) {
        self.words.clear();
        self.at = 0;
        self.over = false;
    }

    /// The word that begins at a place, if it was read.
    pub(super) fn known(&mut self, at: usize) -> Option<Word> {
        while self.words.get(self.at).is_some_and(|word| word.end <= at) {
            self.at += 1;
        }
        let word = self.words.get(self.at).copied();
        word.filter(|word| word.start == at)
    }

    /// Follows a word.
    pub(super) fn begin(&mut self, first: Word) {
        while self
            .words
            .get(self.at)
            .is_some_and(|word| word.end < first.end)
        {
            self.at += 1;
        }
        if self
            .words
            .get(self.at)
            .is_none_or(|word| word.end != first.end)
        {
            self.forget();
            self.words.push(first);
        } else if self.at > KEPT_WORDS {
            self.words.drain(..self.at);
            self.at = 0;
        }
    }

    /// What is among the next words, as [`summary`] has it.
    pub(super) fn summary(&mut self, text: &Text<'_>, count: usize) -> u64 {
        self.read(text, self.at + count);
        let words = self.words.iter().skip(self.at + 1).take(count);
        words.fold(0, |all, word| all | word.summary)
    }

    /// Reads on to the nth word.
    fn read(&mut self, text: &Text<'_>, nth: usize) {
        while self.words.len() <= nth && !self.over {
            let last = self.words.last().map_or(0, |word| word.end);
            match next_word(text, last) {
                Some(word) => self.words.push(word),
                None => self.over = true,
            }
        }
    }

    pub(super) fn word(&mut self, text: &Text<'_>, nth: usize) -> Option<Word> {
        let nth = self.at + 1 + nth;
        self.read(text, nth);
        self.words.get(nth).copied()
    }
}

/// The next word of the sentence.
#[inline(always)]
fn next_word(text: &Text<'_>, from: usize) -> Option<Word> {
    let mut at = from;
    while !is(text.at(at), ALNUM | HIGH) {
        if !joins(text.at(at)) || at - from >= MAX_BETWEEN {
            return None;
        }
        at += 1;
    }
    Word::read(text, at)
}
