//! The run side of a pattern: a table of states by classes of bytes.
//!
//! Layout of the bytes, numbers little-endian: version, lane, starts, literals (count, length of
//! each, bytes), classes of the 256 bytes as runs, states, five starting states, then the
//! rows: where most classes lead, a bit for each class that leads elsewhere, and where to.
//! A state takes one byte when there are at most 256.
//!
//! State 0 has matched and stays so. A match shows while reading the byte that follows
//! it, or the end of the text, which is the last class of every row.

use crate::lanes::ByteSet;
use core::fmt;

pub(crate) const VERSION: u8 = 2;

/// The state that has matched.
pub(crate) const MATCHED: u32 = 0;

/// Most transitions, so that a row's start fits 16 bits.
pub(crate) const MAX_ENTRIES: usize = 1 << 16;

/// Literals shorter than this are found too often to be worth a search.
#[cfg(feature = "compile")]
pub(crate) const MIN_LITERAL_BYTES: usize = 3;
pub(crate) const MAX_LITERAL_BYTES: usize = 24;
pub(crate) const MAX_LITERALS: usize = 64;

/// When the table has to be run over a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Over all of it.
    Always = 0,
    /// From each place where one of the literals stands: matches start there.
    Prefix = 1,
    /// Over all of it, if one of the literals stands anywhere.
    Required = 2,
}

/// Where the table's matches start.
///
/// `\b(?:\d[ -]*){13,16}\b` has to count from every word boundary at once: as one automaton
/// it takes a state for each combination, as many runs of a small one a few bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Starts {
    /// Anywhere: one run over a text finds every match.
    Anywhere = 0,
    /// Where a run starts: one is started at each byte, and equal ones are merged, so that
    /// a byte costs [`MAX_TOLD_STATES`] steps at the very most.
    Told = 1,
}

/// Most states of a table that is run from every byte.
pub(crate) const MAX_TOLD_STATES: usize = 256;

/// The kind of byte before a position, as far as assertions see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Previous {
    /// There is none: the text starts here.
    Nothing = 0,
    Other = 1,
    Word = 2,
    LineFeed = 3,
    CarriageReturn = 4,
}

impl Previous {
    pub(crate) const fn of(byte: u8) -> Previous {
        match byte {
            b'\n' => Previous::LineFeed,
            b'\r' => Previous::CarriageReturn,
            b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => Previous::Word,
            _ => Previous::Other,
        }
    }
}

#[cfg(feature = "compile")]
impl Previous {
    pub(crate) const ALL: [Previous; 5] = [
        Previous::Nothing,
        Previous::Other,
        Previous::Word,
        Previous::LineFeed,
        Previous::CarriageReturn,
    ];

    pub(crate) fn example(self) -> Option<u8> {
        match self {
            Previous::Nothing => None,
            Previous::Other => Some(b' '),
            Previous::Word => Some(b'a'),
            Previous::LineFeed => Some(b'\n'),
            Previous::CarriageReturn => Some(b'\r'),
        }
    }
}

/// A DFA as it is built: states are numbers, rows have a class more than there are
/// classes of bytes, for the end of the text.
#[cfg(feature = "compile")]
pub(crate) struct Automaton {
    pub class_of: [u8; 256],
    pub classes: usize,
    pub next: Vec<u32>,
    pub starts: [u32; 5],
    pub begins: Starts,
}

/// A loaded table.
pub(crate) struct Table {
    class_of: [u8; 256],
    /// The class that stands for the end of the text.
    end: u16,
    /// By the start of a row plus a class: the start of the next row; with [`Starts::Told`]
    /// its number.
    next: Vec<u16>,
    starts: [u16; 5],
    pub begins: Starts,
    /// The state that cannot match any more, where it matters: with [`Starts::Told`].
    dead: Option<u16>,
    /// Bytes that lead from no progress to no progress, except where a text starts.
    quiet: [bool; 256],
    /// The others.
    noisy: ByteSet,
}

/// What running a table over a part of a text came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    Matched,
    /// No match is in progress after this many bytes.
    Idle(usize),
    /// The part is read to its end in this state.
    Pending(u16),
}

/// The runs of a table with [`Starts::Told`], by their states.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Live([u64; MAX_TOLD_STATES / 64]);

impl Live {
    fn add(&mut self, state: u16) {
        if let Some(word) = self.0.get_mut(usize::from(state) / 64) {
            *word |= 1 << (state % 64);
        }
    }

    fn is_empty(&self) -> bool {
        self.0 == [0; MAX_TOLD_STATES / 64]
    }

    fn states(&self) -> impl Iterator<Item = u16> {
        self.0.iter().zip(0u16..).flat_map(|(&word, nth)| {
            let mut rest = word;
            core::iter::from_fn(move || {
                let bit = rest.trailing_zeros() as u16;
                (rest != 0).then(|| {
                    rest &= rest - 1;
                    nth * 64 + bit
                })
            })
        })
    }
}

impl Table {
    pub(crate) fn start(&self, before: Option<u8>) -> u16 {
        let kind = before.map_or(Previous::Nothing, Previous::of);
        self.starts.get(kind as usize).copied().unwrap_or(0)
    }

    fn read(&self, state: u16, byte: u8) -> u16 {
        let class = self.class_of.get(usize::from(byte)).copied().unwrap_or(0);
        let at = usize::from(state) + usize::from(class);
        self.next.get(at).copied().unwrap_or(0)
    }

    /// Runs until something is certain: a match, no progress, or the end of the part.
    pub(crate) fn run(&self, mut state: u16, text: &[u8], from: usize) -> Run {
        for (at, &byte) in text.iter().enumerate().skip(from) {
            state = self.read(state, byte);
            if u32::from(state) == MATCHED {
                return Run::Matched;
            }
            if state == self.start(Some(byte)) {
                return Run::Idle(at + 1);
            }
        }
        Run::Pending(state)
    }

    /// Runs over a whole part, skipping bytes that cannot begin a match.
    pub(crate) fn run_all(&self, state: u16, text: &[u8]) -> Run {
        let mut run = self.run(state, text, 0);
        while let Run::Idle(at) = run {
            let rest = text.get(at..).unwrap_or_default();
            let at = at + self.noisy.find(rest).unwrap_or(rest.len());
            let before = at.checked_sub(1).and_then(|last| text.get(last).copied());
            run = self.run(self.start(before), text, at);
        }
        run
    }

    /// Runs from every byte of a part; whether any run matches.
    pub(crate) fn run_each(&self, live: &mut Live, text: &[u8], mut before: Option<u8>) -> bool {
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            if live.is_empty() && before.is_some() && self.is_quiet(byte) {
                let rest = text.get(at..).unwrap_or_default();
                at += self.noisy.find(rest).unwrap_or(rest.len());
                before = at.checked_sub(1).and_then(|last| text.get(last).copied());
                continue;
            }
            live.add(self.start(before));
            let mut next = Live::default();
            for state in live.states() {
                match self.read(state * self.classes(), byte) {
                    0 => return true,
                    dead if Some(dead) == self.dead => {}
                    state => next.add(state),
                }
            }
            *live = next;
            before = Some(byte);
            at += 1;
        }
        false
    }

    #[inline]
    pub(crate) fn any_matches_at_end(&self, live: &Live, before: Option<u8>) -> bool {
        let mut live = live.clone();
        live.add(self.start(before));
        live.states()
            .any(|state| self.matches_at_end(state * self.classes()))
    }

    fn classes(&self) -> u16 {
        self.end + 1
    }

    fn is_quiet(&self, byte: u8) -> bool {
        self.quiet.get(usize::from(byte)) == Some(&true)
    }

    /// Whether the text may end here.
    pub(crate) fn matches_at_end(&self, state: u16) -> bool {
        let at = usize::from(state) + usize::from(self.end);
        self.next
            .get(at)
            .is_some_and(|&next| u32::from(next) == MATCHED)
    }

    pub(crate) fn is_match(&self, text: &[u8]) -> bool {
        if self.begins == Starts::Told {
            let mut live = Live::default();
            return self.run_each(&mut live, text, None)
                || self.any_matches_at_end(&live, text.last().copied());
        }
        match self.run_all(self.start(None), text) {
            Run::Matched => true,
            Run::Idle(_) => false,
            Run::Pending(state) => self.matches_at_end(state),
        }
    }

    #[inline]
    fn new(
        class_of: [u8; 256],
        classes: u16,
        next: Vec<u16>,
        starts: [u16; 5],
        begins: Starts,
    ) -> Table {
        let mut table = Table {
            class_of,
            end: classes - 1,
            next,
            starts,
            begins,
            dead: None,
            quiet: [false; 256],
            noisy: ByteSet::default(),
        };
        let rows = table.next.chunks(usize::from(classes)).zip(0..);
        table.dead = rows
            .skip(1)
            .find(|(row, own)| row.iter().all(|to| to == own))
            .map(|(_, own)| own);
        let quiet: Vec<bool> = (0..=u8::MAX)
            .map(|byte| {
                let mut starts = starts.iter().skip(1);
                match begins {
                    Starts::Anywhere => {
                        let fresh = table.start(Some(byte));
                        starts.all(|start| table.read(*start, byte) == fresh)
                    }
                    Starts::Told => starts.all(|start| {
                        let reached = table.read(start * classes, byte);
                        reached != 0 && Some(reached) == table.dead
                    }),
                }
            })
            .collect();
        for (slot, quiet) in table.quiet.iter_mut().zip(quiet) {
            *slot = quiet;
        }
        table.noisy = ByteSet::of(|byte| !table.is_quiet(byte));
        table
    }
}

/// The bytes of a pattern.
#[cfg(feature = "compile")]
pub(crate) fn encode(lane: Lane, literals: &[Vec<u8>], automaton: &Automaton) -> Vec<u8> {
    let byte = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
    let lane = match automaton.begins {
        Starts::Told if lane == Lane::Prefix => Lane::Required,
        _ => lane,
    };
    let mut bytes = vec![VERSION, lane as u8, automaton.begins as u8];
    bytes.push(byte(literals.len()));
    bytes.push(byte(literals.first().map_or(0, Vec::len)));
    bytes.extend(literals.iter().flatten());

    let runs: Vec<&[u8]> = automaton.class_of.chunk_by(|a, b| a == b).collect();
    bytes.push(byte(runs.len() - 1));
    for run in runs {
        bytes.extend(run.first());
        bytes.push(byte(run.len() - 1));
    }
    // At most 65,536 transitions and two columns at least: states fit 16 bits.
    let states = automaton.next.len() / automaton.classes;
    bytes.extend(u16::try_from(states).unwrap_or(u16::MAX).to_le_bytes());
    let state_to = |bytes: &mut Vec<u8>, state: u32| {
        let [low, high, ..] = state.to_le_bytes();
        bytes.push(low);
        bytes.extend((states > NARROW).then_some(high));
    };
    for start in automaton.starts {
        state_to(&mut bytes, start);
    }
    for row in automaton.next.chunks(automaton.classes) {
        let most = most_common(row);
        state_to(&mut bytes, most);
        for classes in row.chunks(8) {
            let bits = classes.iter().rev();
            bytes.push(bits.fold(0, |bits, to| bits << 1 | u8::from(*to != most)));
        }
        for to in row.iter().filter(|to| **to != most) {
            state_to(&mut bytes, *to);
        }
    }
    bytes
}

#[cfg(feature = "compile")]
fn most_common(row: &[u32]) -> u32 {
    let mut sorted = row.to_vec();
    sorted.sort_unstable();
    // The last of several: any will do, as long as it is always the same.
    let most = sorted.chunk_by(|a, b| a == b).max_by_key(|run| run.len());
    most.and_then(|run| run.first().copied()).unwrap_or(MATCHED)
}

/// Up to so many states a transition takes one byte.
const NARROW: usize = 256;

/// Why bytes are not a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternLoadError {
    /// Made by another version of this crate.
    UnknownVersion,
    /// Cut short, too long, or with numbers no pattern has.
    Malformed,
}

/// A pattern's bytes, taken apart and checked.
pub(crate) struct Loaded {
    pub lane: Lane,
    pub literals: Vec<Vec<u8>>,
    pub table: Table,
}

/// Every transition is checked to lead to a state that exists, so a run stays inside.
#[inline]
pub(crate) fn decode(bytes: &[u8]) -> Result<Loaded, PatternLoadError> {
    let mut reader = Reader(bytes);
    match reader.byte() {
        Some(VERSION) => decode_body(&mut reader).ok_or(PatternLoadError::Malformed),
        Some(_) => Err(PatternLoadError::UnknownVersion),
        None => Err(PatternLoadError::Malformed),
    }
}

#[inline]
fn decode_body(reader: &mut Reader<'_>) -> Option<Loaded> {
    let lane = match reader.byte()? {
        0 => Lane::Always,
        1 => Lane::Prefix,
        2 => Lane::Required,
        _ => return None,
    };
    let begins = match reader.byte()? {
        0 => Starts::Anywhere,
        1 if lane != Lane::Prefix => Starts::Told,
        _ => return None,
    };
    let count = usize::from(reader.byte()?);
    let length = usize::from(reader.byte()?);
    let searched = count > 0 && length > 0;
    let bounded = count <= MAX_LITERALS && length <= MAX_LITERAL_BYTES;
    if searched != (lane != Lane::Always) || !bounded {
        return None;
    }
    let mut literals = Vec::with_capacity(count);
    for _ in 0..count {
        let literal = reader.take(length)?;
        if literal.iter().any(u8::is_ascii_uppercase) {
            return None;
        }
        literals.push(literal.to_vec());
    }

    let mut class_of = [0; 256];
    let mut slots = class_of.iter_mut();
    let mut classes = 0;
    for _ in 0..=reader.byte()? {
        let (class, more) = (reader.byte()?, reader.byte()?);
        for _ in 0..=more {
            *slots.next()? = class;
        }
        classes = classes.max(u16::from(class) + 2);
    }
    if slots.next().is_some() {
        return None;
    }

    let states = u16::from_le_bytes([reader.byte()?, reader.byte()?]);
    let entries = usize::from(states) * usize::from(classes);
    let many = begins == Starts::Told && usize::from(states) > MAX_TOLD_STATES;
    if many || entries > MAX_ENTRIES {
        return None;
    }
    let scale = match begins {
        Starts::Anywhere => classes,
        Starts::Told => 1,
    };
    let state = |reader: &mut Reader<'_>| {
        let low = reader.byte()?;
        let high = match usize::from(states) > NARROW {
            true => reader.byte()?,
            false => 0,
        };
        let state = u16::from_le_bytes([low, high]);
        (state < states).then(|| state * scale)
    };
    let mut starts = [0; 5];
    for start in &mut starts {
        *start = state(reader)?;
    }
    let mut next = Vec::with_capacity(entries);
    for _ in 0..states {
        let most = state(reader)?;
        let elsewhere = reader.take(usize::from(classes).div_ceil(8))?;
        for class in 0..usize::from(classes) {
            let bits = elsewhere.get(class / 8).copied().unwrap_or(0);
            next.push(match bits >> (class % 8) & 1 {
                0 => most,
                _ => state(reader)?,
            });
        }
    }
    let stays = next.iter().take(usize::from(classes)).all(|&to| to == 0);
    (stays && reader.0.is_empty()).then(|| Loaded {
        lane,
        literals,
        table: Table::new(class_of, classes, next, starts, begins),
    })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        self.take(1).and_then(|bytes| bytes.first().copied())
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }
}

impl fmt::Display for PatternLoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PatternLoadError::UnknownVersion => "the pattern was compiled by another version",
            PatternLoadError::Malformed => "the compiled pattern is cut short or corrupt",
        })
    }
}

impl core::error::Error for PatternLoadError {}
