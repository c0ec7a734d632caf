//! Phrases in scripts without spaces: texts, with a bounded number of bytes between.
//!
//! Where the next text of a set stands does not depend on where a phrase began. So the text is
//! gone through once for all sets, only the places are kept where something may stand, and no
//! set is looked for twice at the same place, however many phrases begin. The phrases
//! themselves are in [`super::phrase_list`], those made of words in [`super::phrases`].

use super::engine::Engine;
use super::index::INDEX;
use super::kind::Kind;
use super::phrase_list::WIDE_PHRASES;
use super::text::Text;
use super::words::eight;
use std::collections::BTreeMap;

/// The phrases, ready to be followed.
pub(super) struct WidePhrases {
    starts: Vec<(&'static str, Vec<Phrase>)>,
    /// One bit of [`May`] each.
    sets: Vec<Set>,
    /// Of which sets a text may begin with a character, by its [`class`].
    begins: Box<[May; CLASSES]>,
    /// Bytes of ASCII that begin none of the texts, and do not end a sentence.
    plain: Box<[bool; 0x80]>,
}

/// What may stand at a place: one bit for each set, and [`STOP`].
type May = u32;
/// The end of a sentence.
const STOP: May = 1 << 31;
/// More sets than there are.
const SETS: usize = 31;
const CLASSES: usize = 1024;

#[derive(Debug, Clone)]
struct Phrase {
    kind: Kind,
    rule: &'static str,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, Copy)]
struct Step {
    /// One of these texts,
    set: usize,
    /// after at most so many other bytes.
    gap: usize,
}

struct Set {
    /// In the order of the classes of their first characters; of the same class as they are
    /// listed.
    texts: Vec<Begun>,
}

/// A text, its first eight bytes or fewer, and which these are.
struct Begun {
    class: usize,
    first: u64,
    there: u64,
    text: &'static str,
}

/// One of [`CLASSES`] of the first character of a text.
#[inline]
fn class(first: u32) -> usize {
    let three = match first & 0x80 {
        0 => first & 0xffff,
        _ => first & 0x00ff_ffff,
    };
    (three.wrapping_mul(0x9e37_79b1) >> 22) as usize
}

impl Set {
    fn of(form: &'static str) -> Set {
        let begun = form.split('|').map(|text| {
            let first = eight(text.as_bytes());
            Begun {
                class: class(first as u32),
                first,
                there: match text.len() {
                    8.. => !0,
                    bytes => (1 << (bytes * 8)) - 1,
                },
                text,
            }
        });
        let mut texts: Vec<Begun> = begun.collect();
        texts.sort_by_key(|begun| begun.class);
        Set { texts }
    }

    /// Where one of the texts ends that begins at a place.
    fn stands(&self, text: &Text<'_>, at: usize) -> Option<usize> {
        text.count(1);
        let found = match text.eight(at) {
            Some(first) => {
                let class = class(first as u32);
                let from = self.texts.partition_point(|begun| begun.class < class);
                let texts = self.texts.get(from..)?.iter();
                texts
                    .take_while(|begun| begun.class == class)
                    .find(|begun| {
                        first & begun.there == begun.first
                            && (begun.text.len() <= 8 || text.has(at, begun.text.as_bytes()))
                    })
            }
            None => {
                let mut texts = self.texts.iter();
                texts.find(|begun| text.has(at, begun.text.as_bytes()))
            }
        }?;
        Some(at + found.text.len())
    }
}

impl WidePhrases {
    pub(super) fn new() -> WidePhrases {
        let mut sets = Vec::new();
        let mut begins = Box::new([0; CLASSES]);
        let mut plain = Box::new([false; 0x80]);
        for (byte, plain) in (0..).zip(plain.iter_mut()) {
            *plain = !stops(byte);
        }
        let mut starts: BTreeMap<&'static str, Vec<Phrase>> = BTreeMap::new();
        for (kind, rule, form) in WIDE_PHRASES {
            let mut steps = Vec::new();
            let mut gap = 0;
            let mut first = None;
            for part in form.split_whitespace() {
                match part.strip_prefix('~') {
                    Some(count) => gap = count.parse().unwrap_or(0),
                    None if first.is_none() => first = Some(part),
                    None => {
                        let set = sets.len();
                        sets.push(Set::of(part));
                        for text in sets.last().into_iter().flat_map(|set| &set.texts) {
                            if let Some(plain) = plain.get_mut((text.first & 0xff) as usize) {
                                *plain = false;
                            }
                            if let Some(may) = begins.get_mut(text.class) {
                                *may |= 1 << set;
                            }
                        }
                        steps.push(Step { set, gap });
                        gap = 0;
                    }
                }
            }
            for start in first.into_iter().flat_map(|starts| starts.split('|')) {
                starts.entry(start).or_default().push(Phrase {
                    kind: *kind,
                    rule,
                    steps: steps.clone(),
                });
            }
        }
        WidePhrases {
            starts: starts.into_iter().collect(),
            sets,
            begins,
            plain,
        }
    }

    /// What the phrases begin with, for the index.
    pub(super) fn starts(&self) -> impl Iterator<Item = &'static str> {
        self.starts.iter().map(|(start, _)| *start)
    }
}

impl Engine {
    /// The phrases of a script without spaces of which the first text ends at `end`.
    #[inline(never)]
    pub(super) fn wide(&mut self, text: &Text<'_>, at: usize, end: usize, nth: usize) {
        if !self.wants_phrases() || self.is_outranked(at, Kind::Jailbreak) {
            return;
        }
        let Some((_, phrases)) = INDEX.wide.starts.get(nth) else {
            return;
        };
        self.far.begin(at);
        for phrase in phrases {
            let mut steps = phrase.steps.iter();
            let follow = |from, step: &Step| self.far.next(text, from, *step);
            if let Some(end) = steps.try_fold(end, follow) {
                self.note(phrase.kind, phrase.rule, (at, end), 90);
                return;
            }
        }
    }
}

/// The places ahead where something may stand, as far as that was asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Far {
    /// Between these the places are known.
    from: usize,
    until: usize,
    /// In order, each with what may stand there.
    places: Vec<(usize, May)>,
    /// Places that were dropped from these.
    dropped: usize,
    /// What is known of each set.
    sets: [Seen; SETS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Between these none of the texts begins, and nothing stops.
    from: usize,
    until: usize,
    /// Which of all places is the first from there on.
    nth: usize,
}

/// `。`, its first byte lowest.
const FULL_STOP: u32 = 0x0082_80e3;
/// Bytes of ASCII that are read at once, at most.
const AT_ONCE: usize = 32;
/// More places than are in reach of any phrase.
const KEPT_PLACES: usize = 128;

impl Far {
    pub(super) fn forget(&mut self) {
        *self = Far::default();
    }

    /// Phrases begin here, and no more do before.
    fn begin(&mut self, at: usize) {
        let before = match (self.from..=self.until).contains(&at) {
            true if self.places.len() <= KEPT_PLACES => return,
            true => self.first(at),
            false => {
                self.until = at;
                self.places.len()
            }
        };
        self.places.drain(..before);
        self.dropped += before;
        self.from = at;
    }

    /// The first place that is not before `at`.
    fn first(&self, at: usize) -> usize {
        self.places.partition_point(|(place, _)| *place < at)
    }

    /// Where the next text of a step ends, of those that begin within its reach.
    fn next(&mut self, text: &Text<'_>, at: usize, step: Step) -> Option<usize> {
        let mut seen = self.sets.get(step.set).copied()?;
        if !(seen.from..=seen.until).contains(&at) || seen.nth < self.dropped {
            while self.until < at {
                self.read(text, at - 1);
            }
            seen = Seen {
                from: at,
                until: at,
                nth: self.dropped + self.first(at),
            };
        }
        let mut found = None;
        while seen.until - at <= step.gap {
            let Some((place, may)) = self.places.get(seen.nth - self.dropped).copied() else {
                self.read(text, at + step.gap);
                if self.places.len() + self.dropped == seen.nth {
                    seen.until = self.until;
                }
                continue;
            };
            seen.until = place;
            if place - at > step.gap {
                break;
            }
            if may >> step.set & 1 == 1 {
                let set = INDEX.wide.sets.get(step.set);
                found = set.and_then(|set| set.stands(text, place));
            }
            if found.is_some() || may & STOP != 0 {
                break;
            }
            seen.nth += 1;
        }
        if let Some(slot) = self.sets.get_mut(step.set) {
            *slot = seen;
        }
        found
    }

    /// Reads on to the next place where something may stand, or past `to`.
    fn read(&mut self, text: &Text<'_>, to: usize) {
        let wide = &INDEX.wide;
        let plain = |byte: &&u8| wide.plain.get(usize::from(**byte)).is_some_and(|is| *is);
        while self.until <= to {
            let at = self.until;
            let there = text.from(at);
            text.count(1);
            if there.first().is_some_and(u8::is_ascii) {
                let skipped = there.iter().take(AT_ONCE).take_while(plain).count();
                text.count(skipped);
                if skipped > 0 {
                    self.until += skipped;
                    continue;
                }
            }
            let may = match there.first_chunk::<4>() {
                Some(four) => {
                    let four = u32::from_le_bytes(*four);
                    // To the next character, wherever this one began.
                    let others = (four >> 8 & 0x00c0_c0c0) ^ 0x0080_8080;
                    self.until += 1 + (others.trailing_zeros() as usize / 8).min(3);
                    if others == 0 {
                        self.character(text);
                    }
                    let stop = stops(four as u8) || four & 0x00ff_ffff == FULL_STOP;
                    let may = wide.begins.get(class(four)).copied().unwrap_or(0);
                    may | if stop { STOP } else { 0 }
                }
                // Where the text is cut any of them may begin.
                None => {
                    self.until += 1;
                    self.character(text);
                    let stop = stops(text.at(at)) || text.has(at, "。".as_bytes());
                    if stop { !0 } else { !STOP }
                }
            };
            if may != 0 {
                self.places.push((at, may));
                return;
            }
        }
    }
}

impl Far {
    /// On to where a character begins.
    fn character(&mut self, text: &Text<'_>) {
        while text.at(self.until) & 0xc0 == 0x80 {
            self.until += 1;
        }
    }
}

/// Whether a sentence ends with such a byte, or the text does.
fn stops(byte: u8) -> bool {
    matches!(byte, 0 | b'\n' | b'.' | b'!' | b'?')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_bit_for_each_set() {
        const { assert!(SETS <= STOP.trailing_zeros() as usize) };
        assert!(WidePhrases::new().sets.len() <= SETS);
    }
}
