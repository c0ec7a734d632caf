//! Phrases in scripts without spaces: texts, with a bounded number of bytes between.
//!
//! Where the next text of a set stands does not depend on where a phrase began, so it is
//! remembered: however many phrases begin, no set is looked for twice at the same place. The
//! phrases themselves are in [`super::phrase_list`], those made of words in
//! [`super::phrases`].

use super::engine::Engine;
use super::index::INDEX;
use super::kind::Kind;
use super::phrase_list::WIDE_PHRASES;
use super::text::Text;
use std::collections::BTreeMap;

/// The phrases, ready to be followed.
pub(super) struct WidePhrases {
    starts: Vec<(&'static str, Vec<Phrase>)>,
    sets: Vec<Set>,
}

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
    texts: Vec<Begun>,
    /// What they may begin with, see [`begin`].
    begins: [u64; 4],
}

/// A text, and its first four bytes or fewer.
struct Begun {
    first: u32,
    there: u32,
    text: &'static str,
}

/// One of 256 classes of the first character of a text: the word of its bit, and the bit.
#[inline]
fn begin(first: u32) -> (usize, u64) {
    let three = match first & 0x80 {
        0 => first & 0xffff,
        _ => first & 0x00ff_ffff,
    };
    let class = three.wrapping_mul(0x9e37_79b1) >> 24;
    (class as usize / 64, 1 << (class % 64))
}

impl Set {
    fn of(form: &'static str) -> Set {
        let begun = form.split('|').map(|text| {
            let mut first = [0; 4];
            let mut there = [0; 4];
            for ((to, is), from) in first.iter_mut().zip(&mut there).zip(text.bytes()) {
                (*to, *is) = (from, 0xff);
            }
            Begun {
                first: u32::from_le_bytes(first),
                there: u32::from_le_bytes(there),
                text,
            }
        });
        let texts: Vec<Begun> = begun.collect();
        let mut begins = [0; 4];
        for (word, bit) in texts.iter().map(|text| begin(text.first)) {
            if let Some(bits) = begins.get_mut(word) {
                *bits |= bit;
            }
        }
        Set { texts, begins }
    }

    #[inline]
    fn may_begin(&self, first: u32) -> bool {
        let (word, bit) = begin(first);
        self.begins.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// Where one of the texts ends that begins at a place.
    fn stands(&self, text: &Text<'_>, at: usize) -> Option<usize> {
        let first = text.from(at).first_chunk::<4>().copied();
        let first = first.map(u32::from_le_bytes);
        if first.is_some_and(|first| !self.may_begin(first)) {
            return None;
        }
        text.count(1);
        let may = |begun: &&Begun| first.is_none_or(|first| first & begun.there == begun.first);
        let mut texts = self.texts.iter().filter(may);
        let found = texts.find(|begun| text.has(at, begun.text.as_bytes()))?;
        Some(at + found.text.len())
    }
}

impl WidePhrases {
    pub(super) fn new() -> WidePhrases {
        let mut sets = Vec::new();
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
        }
    }

    /// What the phrases begin with, for the index.
    pub(super) fn starts(&self) -> impl Iterator<Item = &'static str> {
        self.starts.iter().map(|(start, _)| *start)
    }
}

impl Engine {
    /// The phrases of a script without spaces of which the first text ends at `end`.
    pub(super) fn wide(&mut self, text: &Text<'_>, at: usize, end: usize, nth: usize) {
        if !self.wants_phrases() || self.is_outranked(at, Kind::Jailbreak) {
            return;
        }
        let Some((_, phrases)) = INDEX.wide.starts.get(nth) else {
            return;
        };
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

/// Where the texts of each set stand next, as far as that was asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Far {
    sets: Vec<Seen>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Between these none of the texts begins, and nothing stops.
    from: usize,
    until: usize,
    /// What is there.
    there: There,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum There {
    #[default]
    Unknown,
    /// One of the texts, which ends here.
    Text(usize),
    /// The end of a sentence.
    Stop,
}

impl Far {
    pub(super) fn forget(&mut self) {
        self.sets.clear();
    }

    /// Where the next text of a step ends, of those that begin within its reach.
    fn next(&mut self, text: &Text<'_>, at: usize, step: Step) -> Option<usize> {
        let sets = &INDEX.wide.sets;
        let set = sets.get(step.set)?;
        self.sets.resize(sets.len(), Seen::default());
        let seen = self.sets.get_mut(step.set)?;
        if !(seen.from..=seen.until).contains(&at) {
            *seen = Seen {
                from: at,
                until: at,
                there: There::Unknown,
            };
        }
        while seen.until - at <= step.gap {
            match seen.there {
                There::Text(end) => return Some(end),
                There::Stop => return None,
                There::Unknown => {}
            }
            if let Some(end) = set.stands(text, seen.until) {
                seen.there = There::Text(end);
            } else if stops(text, seen.until) {
                seen.there = There::Stop;
            } else {
                // To the next character, wherever this one began.
                seen.until += 1;
                while text.at(seen.until) & 0xc0 == 0x80 {
                    seen.until += 1;
                }
            }
        }
        None
    }
}

fn stops(text: &Text<'_>, at: usize) -> bool {
    match text.at(at) {
        0 | b'\n' | b'.' | b'!' | b'?' => true,
        0xe3 => text.has(at, "。".as_bytes()),
        _ => false,
    }
}
