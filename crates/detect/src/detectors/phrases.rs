//! Phrases of prompt injection and jailbreaks.
//!
//! A tripwire, not a classifier: it knows how such attempts are commonly worded, in several
//! languages, and is blind to what is said otherwise. A phrase is a row of words from sets,
//! with a bounded number of other words between; it never crosses the end of a sentence.
//! Scripts without spaces are for [`super::wide`].

use super::ahead::{Ahead, Word};
use super::engine::Engine;
use super::index::INDEX;
use super::kind::Kind;
use super::phrase_list::{MARKS, PHRASES};
use super::text::{ALNUM, HIGH, Text, is};
use super::words::{self, MAX_WORD};
use std::collections::BTreeMap;

/// Words after which the telling word of a phrase may stand at most.
pub(super) const MAX_REACH: usize = 8;
/// Signs between two words of a phrase.
pub(super) const MAX_BETWEEN: usize = 6;

/// Words before a phrase that are looked at, and bytes.
const BEFORE: usize = 5;
const MAX_BEFORE: usize = 48;
const SLOTS: usize = 8192;

/// The phrases, ready to be followed.
pub(super) struct Phrases {
    /// By the hash of a word: its row below; open addressing.
    words: Box<[(u32, u16)]>,
    /// What is known of each word. The first row is of words of which nothing is.
    rows: Vec<Row>,
    /// The sets a word is in: so many words of bits for each row.
    sets: Vec<u64>,
    width: usize,
    /// The sets as they are written.
    written: Vec<&'static str>,
    /// The words that phrases begin with.
    starts: Vec<Start>,
    /// Words of which every phrase has one.
    telling: Vec<String>,
}

/// What is known of a word.
#[derive(Debug, Clone, Copy, Default)]
struct Row {
    /// Its sets, folded to 64.
    summary: u64,
    /// Which of the words it is that phrases begin with.
    start: Option<u16>,
    /// After how many words at most it tells a phrase.
    tells: Option<u8>,
}

/// A word that phrases begin with.
struct Start {
    word: String,
    phrases: Vec<Phrase>,
    /// How many words any of them may have after it, and has at most up to the first that
    /// may not be missing.
    reach: usize,
    first_reach: usize,
}

#[derive(Debug, Clone)]
struct Phrase {
    kind: Kind,
    rule: &'static str,
    /// Sets of which a word stands before.
    before: Vec<u16>,
    /// What follows the first word.
    steps: Vec<Step>,
    /// Whether its first word is the telling one.
    tells_first: bool,
    /// The sets of the steps that may not be missing, as [`summary`] has them; and of the
    /// first of these.
    needs: u64,
    needs_first: u64,
    /// How many words it may have after the first word, and has at most up to that step.
    reach: usize,
    first_reach: usize,
}

/// A set as one of 64 bits.
fn summary(set: u16) -> u64 {
    1 << (set % 64)
}

#[derive(Debug, Clone, Copy)]
struct Step {
    set: u16,
    /// Other words that may stand before.
    gap: u8,
    optional: bool,
}

/// A word as its readers meet it: itself, and where it has letters beyond ASCII, with a
/// capital first letter and in capitals.
pub(super) fn fold(word: &str) -> Vec<String> {
    let mut forms = vec![word.to_owned()];
    if !word.is_ascii() {
        let mut letters = word.chars();
        if let Some(first) = letters.next() {
            let title: String = first.to_uppercase().chain(letters).collect();
            forms.extend([title, word.to_uppercase()]);
        }
        forms.sort();
        forms.dedup();
    }
    forms
}

impl Phrases {
    pub(super) fn new() -> Phrases {
        let mut ids: BTreeMap<&'static str, u16> = BTreeMap::new();
        let mut members: BTreeMap<u32, (Row, Vec<u16>)> = BTreeMap::new();
        let mut starts: BTreeMap<String, Vec<Phrase>> = BTreeMap::new();
        let mut telling: Vec<String> = Vec::new();
        let mut written = Vec::new();
        for (kind, rule, form) in PHRASES {
            let mut before = Vec::new();
            let mut steps = Vec::new();
            let mut gap = 0;
            let mut first = None;
            let mut reach = 0;
            let mut tells_first = false;
            let mut set_of = |words: &'static str, members: &mut BTreeMap<u32, (Row, Vec<u16>)>| {
                let next = ids.len() as u16;
                *ids.entry(words).or_insert_with(|| {
                    written.push(words);
                    for word in words.split('|').flat_map(fold) {
                        members.entry(hash(&word)).or_default().1.push(next);
                    }
                    next
                })
            };
            for part in form.split_whitespace() {
                if let Some(words) = part.strip_prefix('<') {
                    before.push(set_of(words, &mut members));
                    continue;
                }
                if let Some(count) = part.strip_prefix('~') {
                    gap = count.parse().unwrap_or(0);
                    continue;
                }
                let words = part.trim_start_matches(['!', '?']);
                if first.is_none() {
                    first = Some(words);
                } else {
                    reach += gap + 1;
                    steps.push(Step {
                        set: set_of(words, &mut members),
                        gap,
                        optional: part.starts_with('?'),
                    });
                    gap = 0;
                }
                if part.starts_with('!') {
                    tells_first = steps.is_empty();
                    for word in words.split('|').flat_map(fold) {
                        let (row, _) = members.entry(hash(&word)).or_default();
                        row.tells = row.tells.max(Some(reach));
                        telling.push(word);
                    }
                }
            }
            let phrase = Phrase {
                kind: *kind,
                rule,
                before,
                tells_first,
                needs: needed(&steps).fold(0, |all, (set, _)| all | summary(set)),
                needs_first: needed(&steps).next().map_or(0, |(set, _)| summary(set)),
                reach: usize::from(reach),
                first_reach: needed(&steps).next().map_or(0, |(_, reach)| reach),
                steps: steps.clone(),
            };
            for word in first.into_iter().flat_map(|words| words.split('|')) {
                for word in fold(word) {
                    starts.entry(word).or_default().push(phrase.clone());
                }
            }
        }
        for (word, nth) in starts.keys().zip(0..) {
            members.entry(hash(word)).or_default().0.start = Some(nth);
        }
        let starts: Vec<Start> = starts
            .into_iter()
            .map(|(word, phrases)| Start {
                reach: phrases.iter().map(|it| it.reach).max().unwrap_or(0),
                first_reach: phrases.iter().map(|it| it.first_reach).max().unwrap_or(0),
                word,
                phrases,
            })
            .collect();
        let width = ids.len().div_ceil(64);
        let mut rows = vec![Row::default()];
        let mut sets = vec![0; width];
        let mut words = vec![(0, 0); SLOTS].into_boxed_slice();
        for (hash, (row, of)) in members {
            let mut bits = vec![0u64; width];
            for set in &of {
                if let Some(word) = bits.get_mut(usize::from(*set) / 64) {
                    *word |= summary(*set);
                }
            }
            sets.extend(bits);
            if let Some(slot) = find(&words, hash).and_then(|at| words.get_mut(at)) {
                *slot = (hash, rows.len() as u16);
            }
            rows.push(Row {
                summary: of.iter().fold(0, |all, set| all | summary(*set)),
                ..row
            });
        }
        Phrases {
            words,
            rows,
            sets,
            width,
            written,
            starts,
            telling,
        }
    }

    pub(super) fn telling(&self) -> impl Iterator<Item = &str> {
        self.telling.iter().map(String::as_str)
    }

    /// After how many words at most a word tells a phrase.
    pub(super) fn reach(&self, word: &str) -> Option<usize> {
        self.tells(hash(word))
    }

    /// After how many words at most a word of this hash tells a phrase.
    pub(super) fn tells(&self, hash: u32) -> Option<usize> {
        self.about(self.row(hash)).tells.map(usize::from)
    }

    /// The phrases that a word both tells and begins: of each the sets of which a word has to
    /// follow, as they are written, and after how many words at the latest.
    pub(super) fn begun_by(&self, word: &str) -> impl Iterator<Item = Vec<(&'static str, usize)>> {
        let start = self.about(self.row(hash(word))).start;
        let start = start.and_then(|nth| self.starts.get(usize::from(nth)));
        let phrases = start.map(|start| start.phrases.as_slice());
        let told = phrases.unwrap_or_default().iter();
        told.filter(|phrase| phrase.tells_first).map(|phrase| {
            let written = |set| self.written.get(usize::from(set)).copied();
            needed(&phrase.steps)
                .filter_map(|(set, reach)| Some((written(set)?, reach)))
                .collect()
        })
    }

    /// The words that phrases begin with, for the index.
    pub(super) fn starts(&self) -> impl Iterator<Item = &str> {
        self.starts.iter().map(|start| start.word.as_str())
    }

    pub(super) fn row(&self, hash: u32) -> u16 {
        let slot = find(&self.words, hash).and_then(|at| self.words.get(at));
        slot.map_or(0, |slot| slot.1)
    }

    fn about(&self, row: u16) -> Row {
        self.rows.get(usize::from(row)).copied().unwrap_or_default()
    }

    /// The sets of a row, folded to 64.
    pub(super) fn summary(&self, row: u16) -> u64 {
        self.about(row).summary
    }

    fn is_in(&self, row: u16, set: u16) -> bool {
        let at = usize::from(row) * self.width + usize::from(set) / 64;
        self.sets
            .get(at)
            .is_some_and(|word| word >> (set % 64) & 1 == 1)
    }
}

/// The steps that may not be missing: the set, and after how many words it stands at the
/// latest.
fn needed(steps: &[Step]) -> impl Iterator<Item = (u16, usize)> {
    let reach = steps.iter().scan(0, |reach, step| {
        *reach += usize::from(step.gap) + 1;
        Some(*reach)
    });
    let needed = steps.iter().zip(reach).filter(|(step, _)| !step.optional);
    needed.map(|(step, reach)| (step.set, reach))
}

fn hash(word: &str) -> u32 {
    words::hash(word.as_bytes())
}

/// The slot of a hash, or the free one where it belongs.
fn find(words: &[(u32, u16)], hash: u32) -> Option<usize> {
    let start = (hash >> 8) as usize;
    (0..SLOTS).map(|step| (start + step) % SLOTS).find(|at| {
        words
            .get(*at)
            .is_none_or(|slot| slot.0 == 0 || slot.0 == hash)
    })
}

impl Engine {
    /// The phrases that begin with the word at `at`.
    pub(super) fn phrase(&mut self, text: &Text<'_>, at: usize) {
        if !self.wants_phrases() || self.is_outranked(at, Kind::Jailbreak) {
            return;
        }
        let phrases = &INDEX.phrases;
        let known = self.ahead.known(at);
        let Some(first) = known.or_else(|| Word::read(text, at)) else {
            return;
        };
        let start = phrases.about(first.row).start;
        let Some(start) = start.and_then(|nth| phrases.starts.get(usize::from(nth))) else {
            return;
        };
        self.ahead.begin(first);
        let end = first.end;
        // Where enough is at hand, all that a phrase needs is asked for before it is followed;
        // elsewhere nothing is waited for that a phrase would not wait for.
        let is_at_hand = |words: usize| {
            text.whole() || end + (words + 1) * (MAX_WORD + MAX_BETWEEN) < text.end()
        };
        let at_hand = is_at_hand(start.reach);
        let near = match is_at_hand(start.first_reach) {
            true => self.ahead.summary(text, start.first_reach),
            false => !0,
        };
        let mut all = None;
        let mut before = None;
        for phrase in &start.phrases {
            if phrase.needs_first & !near != 0 {
                continue;
            }
            if at_hand {
                let all = *all.get_or_insert_with(|| self.ahead.summary(text, start.reach));
                if phrase.needs & !all != 0 {
                    continue;
                }
            }
            let mut stands_before = || {
                phrase.before.is_empty() || {
                    let rows = *before.get_or_insert_with(|| rows_before(text, at));
                    let stands = |set: &u16| rows.iter().any(|row| phrases.is_in(*row, *set));
                    phrase.before.iter().all(stands)
                }
            };
            // What stands before costs more to read, and waits for nothing.
            if !at_hand && !stands_before() {
                continue;
            }
            if let Some(end) = phrase.follow(text, &mut self.ahead, end)
                && (!at_hand || stands_before())
            {
                self.note(phrase.kind, phrase.rule, (at, end), 90);
                return;
            }
        }
    }

    /// A mark of a conversation, if its signs stand before.
    pub(super) fn mark(&mut self, text: &Text<'_>, at: usize, nth: usize) {
        let Some((signs, mark)) = MARKS.get(nth) else {
            return;
        };
        let start = at.saturating_sub(signs.len());
        if text.slice(start, at) == signs.as_bytes() {
            self.note(
                Kind::PromptInjection,
                "delimiter",
                (start, at + mark.len()),
                90,
            );
        }
    }

    pub(super) fn wants_phrases(&self) -> bool {
        self.wants(Kind::PromptInjection) || self.wants(Kind::Jailbreak)
    }
}

impl Phrase {
    /// Where the phrase ends, of which the first word ends at `from`.
    fn follow(&self, text: &Text<'_>, ahead: &mut Ahead, from: usize) -> Option<usize> {
        let phrases = &INDEX.phrases;
        let mut nth = 0;
        let mut end = from;
        for step in &self.steps {
            let found = (nth..=nth + usize::from(step.gap))
                .map_while(|nth| Some((nth, ahead.word(text, nth)?)))
                .find(|(_, word)| word.row != 0 && phrases.is_in(word.row, step.set));
            match found {
                Some((at, word)) => {
                    nth = at + 1;
                    end = word.end;
                }
                None if step.optional => {}
                None => return None,
            }
        }
        Some(end)
    }
}

/// Rows of the words before a place, in the same sentence.
fn rows_before(text: &Text<'_>, at: usize) -> [u16; BEFORE] {
    let mut rows = [0; BEFORE];
    let floor = at.saturating_sub(MAX_BEFORE).max(text.base());
    let mut left = text.slice(floor, at);
    text.count(left.len());
    for row in &mut rows {
        let signs = left.iter().rev().take_while(|byte| joins(**byte)).count();
        let there = left.get(..left.len() - signs).unwrap_or_default();
        // Nearly every word is shorter than eight bytes.
        if let Some((before, eight)) = there.split_last_chunk::<8>() {
            let eight = u64::from_le_bytes(*eight);
            let letters = words::last_letters(eight);
            if letters == 0 {
                break;
            }
            if letters < 8 {
                *row = INDEX
                    .phrases
                    .row(words::hash_of_eight(eight >> (64 - letters * 8)));
                left = there.get(..before.len() + 8 - letters).unwrap_or_default();
                continue;
            }
        }
        let is_word = |byte: &&u8| is(**byte, ALNUM | HIGH) || **byte == b'\'';
        let letters = there.iter().rev().take_while(is_word).count();
        if letters == 0 {
            break;
        }
        let (before, word) = there.split_at(there.len() - letters);
        *row = INDEX.phrases.row(words::hash(word));
        left = before;
    }
    rows
}

/// Whether a sign may stand between words of a phrase.
#[inline]
pub(super) fn joins(byte: u8) -> bool {
    // One bit for each byte of ASCII.
    const JOINS: [u64; 2] = {
        let signs = *b" \t\n\r\"'`,-_*()/:#";
        let mut bits = 0u128;
        let mut left: &[u8] = &signs;
        while let [first, rest @ ..] = left {
            bits |= 1 << *first;
            left = rest;
        }
        [bits as u64, (bits >> 64) as u64]
    };
    let [low, high] = JOINS;
    let bits = if byte < 0x40 { low } else { high };
    byte < 0x80 && bits >> (byte & 0x3f) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phrase_has_telling_words_within_reach() {
        for (_, rule, form) in PHRASES {
            let (mut gap, mut reach, mut first, mut telling) = (0, 0, true, 0);
            for part in form
                .split_whitespace()
                .filter(|part| !part.starts_with('<'))
            {
                if let Some(count) = part.strip_prefix('~') {
                    gap = count.parse().expect("a number");
                    continue;
                }
                reach += if first { 0 } else { gap + 1 };
                (gap, first) = (0, false);
                if let Some(words) = part.strip_prefix('!') {
                    telling += 1;
                    assert!(reach <= MAX_REACH, "{rule}: {form}");
                    // Shorter words are not noticed.
                    assert!(words.split('|').all(|it| it.len() >= 3), "{rule}: {form}");
                }
            }
            assert_eq!(telling, 1, "{rule}: {form}");
        }
    }

    #[test]
    fn there_is_room_for_all_words() {
        let phrases = Phrases::new();
        let taken = phrases.words.iter().filter(|slot| slot.0 != 0).count();
        assert!(taken * 2 <= SLOTS, "{taken}");
        // No two words share a hash: else one would miss its own row.
        let mut known = BTreeMap::new();
        let all = PHRASES
            .iter()
            .flat_map(|(_, _, form)| form.split_whitespace());
        for word in all.flat_map(|part| part.trim_start_matches(['!', '?', '<']).split('|')) {
            for word in fold(word) {
                let other = known.insert(hash(&word), word.to_ascii_lowercase());
                assert!(
                    other.is_none_or(|other| other == word.to_ascii_lowercase()),
                    "{word}"
                );
            }
        }
    }
}
