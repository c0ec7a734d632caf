//! All keywords and patterns of a bundle, asked of a text in one pass.
//!
//! The literals of every pattern and every keyword are searched together; a pattern's
//! table runs only where its literals stand, or over the whole text when it has none.
//! Each table reads each byte once at most, so a scan is linear in the text whatever it
//! says. Texts may come in parts, with the same answer wherever they are cut.

use crate::keywords::{self, Keywords, Progress};
use crate::pattern::TextPattern;
use crate::table::{Lane, Live, Run, Starts, Table};
use core::fmt;
use std::sync::Arc;

/// A text that is searched as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keyword<'t> {
    pub text: &'t str,
    /// Whether ASCII letters match in either case.
    pub any_case: bool,
}

/// Keywords and patterns, ready to be scanned for. The index of a keyword is its place;
/// the patterns follow.
pub struct TextScanner {
    words: Vec<Word>,
    patterns: Vec<Arc<TextPattern>>,
    keywords: Keywords,
    /// By literal: who waits for it.
    waiting: Vec<Vec<Waiting>>,
    /// Keywords without a byte stand in every text.
    empty: Vec<usize>,
}

struct Word {
    text: Vec<u8>,
    any_case: bool,
}

impl Word {
    fn is(&self, found: &[u8]) -> bool {
        match self.any_case {
            true => self.text.eq_ignore_ascii_case(found),
            false => self.text == found,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Word(usize),
    /// Index among the patterns.
    Start(usize),
    Anywhere(usize),
}

/// What was found: one bit per keyword and pattern.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found(Vec<u64>);

impl Found {
    pub fn has(&self, index: usize) -> bool {
        let word = self.0.get(index / 64).copied().unwrap_or(0);
        word >> (index % 64) & 1 == 1
    }

    /// Adds what another text had.
    #[inline]
    pub fn merge(&mut self, other: &Found) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }

    fn set(&mut self, index: usize) {
        if let Some(word) = self.0.get_mut(index / 64) {
            *word |= 1 << (index % 64);
        }
    }
}

/// A text that is being read in parts.
pub struct Scan<'s> {
    scanner: &'s TextScanner,
    found: Found,
    progress: Progress,
    runs: Vec<State>,
    /// The last bytes read: a literal may have begun there.
    tail: Vec<u8>,
    read: usize,
}

/// Where a [`Scan`] stands between two parts, apart from its scanner.
#[derive(Debug, Clone)]
pub struct PausedScan {
    found: Found,
    progress: Progress,
    runs: Vec<State>,
    tail: Vec<u8>,
    read: usize,
}

/// How far a pattern's table has run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct State {
    /// The table's state, while a match is in progress.
    open: Option<u16>,
    /// Where the match in progress began, when it began at a literal.
    began: usize,
    /// The runs of a table that is run from every byte.
    live: Live,
    /// Position in the text up to which the table has read.
    until: usize,
    /// One of the literals of a [`Lane::Required`] was seen.
    wanted: bool,
}

impl TextScanner {
    #[inline]
    pub fn new(words: &[Keyword<'_>], patterns: Vec<Arc<TextPattern>>) -> TextScanner {
        let mut keywords = keywords::Builder::default();
        let mut waiting: Vec<Vec<Waiting>> = Vec::new();
        let mut empty = Vec::new();
        let mut wait = |literals: &mut dyn Iterator<Item = &[u8]>, waits: Waiting| {
            for literal in literals {
                let nth = keywords.add(literal);
                if nth == waiting.len() {
                    waiting.push(Vec::new());
                }
                if let Some(all) = waiting.get_mut(nth) {
                    all.push(waits);
                }
            }
        };
        for (nth, word) in words.iter().enumerate() {
            match word.text.is_empty() {
                true => empty.push(nth),
                false => {
                    let literal = core::iter::once(word.text.as_bytes());
                    wait(&mut { literal }, Waiting::Word(nth));
                }
            }
        }
        for (nth, pattern) in patterns.iter().enumerate() {
            let waits = match pattern.lane {
                Lane::Always => continue,
                Lane::Prefix => Waiting::Start(nth),
                Lane::Required => Waiting::Anywhere(nth),
            };
            wait(&mut pattern.literals.iter().map(Vec::as_slice), waits);
        }
        let words = words.iter().map(|word| Word {
            text: word.text.as_bytes().to_vec(),
            any_case: word.any_case,
        });
        TextScanner {
            words: words.collect(),
            patterns,
            keywords: keywords.finish(),
            waiting,
            empty,
        }
    }

    /// Scans a whole text.
    pub fn scan(&self, text: &str) -> Found {
        let mut scan = self.start();
        scan.whole(text.as_bytes());
        scan.found
    }

    /// Scans whole texts and says what is found in any of them.
    pub fn scan_all(&self, texts: &mut dyn Iterator<Item = &str>) -> Found {
        let mut scan = self.start();
        for text in texts {
            scan.restart();
            scan.whole(text.as_bytes());
        }
        scan.found
    }

    /// Starts to scan a text that comes in parts.
    #[inline(never)]
    pub fn start(&self) -> Scan<'_> {
        let bits = self.words.len() + self.patterns.len();
        Scan {
            scanner: self,
            found: Found(vec![0; bits.div_ceil(64)]),
            progress: Progress::default(),
            runs: vec![State::default(); self.patterns.len()],
            tail: Vec::new(),
            read: 0,
        }
    }

    /// Goes on with a scan that this scanner began.
    pub fn resume(&self, paused: PausedScan) -> Scan<'_> {
        let PausedScan {
            found,
            progress,
            runs,
            tail,
            read,
        } = paused;
        Scan {
            scanner: self,
            found,
            progress,
            runs,
            tail,
            read,
        }
    }

    fn bit(&self, pattern: usize) -> usize {
        self.words.len() + pattern
    }
}

impl Scan<'_> {
    /// Forgets where it stands, not what was found.
    fn restart(&mut self) {
        self.progress = Progress::default();
        self.runs.fill(State::default());
        self.tail.clear();
        self.read = 0;
    }

    /// Reads the next part.
    pub fn push(&mut self, part: &[u8]) {
        let scanner = self.scanner;
        for (nth, pattern) in scanner.patterns.iter().enumerate() {
            match pattern.lane {
                // What is not searched from a literal has to see every part.
                Lane::Always | Lane::Required => self.run_over(nth, &pattern.table, part),
                Lane::Prefix => {}
            }
        }
        let mut text = std::mem::take(&mut self.tail);
        let from = text.len();
        let base = self.read - from;
        text.extend_from_slice(part);
        self.continue_open(&text, base);
        self.search(&text, base, from);
        self.read += part.len();
        let kept = scanner.keywords.longest() + 1;
        text.drain(..text.len().saturating_sub(kept));
        self.tail = text;
    }

    /// What is certain already, whatever follows.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// How many of the last bytes read may be the beginning of a keyword, or of a match that
    /// begins with a literal. A pattern without literals at its beginning holds nothing.
    pub fn open_bytes(&self) -> usize {
        let literal = self.scanner.keywords.depth(self.progress);
        let patterns = self.scanner.patterns.iter().zip(&self.runs).zip(0..);
        let open = patterns.filter(|((pattern, run), nth)| {
            let found = self.found.has(self.scanner.bit(*nth));
            pattern.lane == Lane::Prefix && run.open.is_some() && !found
        });
        let began = open.map(|((_, run), _)| self.read - run.began.min(self.read));
        began.max().unwrap_or(0).max(literal)
    }

    /// Stops between two parts, to go on by [`TextScanner::resume`].
    pub fn pause(self) -> PausedScan {
        PausedScan {
            found: self.found,
            progress: self.progress,
            runs: self.runs,
            tail: self.tail,
            read: self.read,
        }
    }

    /// Ends the text; says what was found in it.
    pub fn finish(mut self) -> Found {
        for (nth, pattern) in self.scanner.patterns.iter().enumerate() {
            let table = &pattern.table;
            let Some(run) = self.runs.get(nth) else {
                continue;
            };
            let matches = match (pattern.lane, table.begins) {
                (Lane::Prefix, _) => run.open.is_some_and(|state| table.matches_at_end(state)),
                (_, Starts::Anywhere) => table.matches_at_end(run.state(table)),
                (_, Starts::Told) => table.any_matches_at_end(&run.live, self.tail.last().copied()),
            };
            if matches {
                self.found.set(self.scanner.bit(nth));
            }
        }
        self.set_empty();
        self.found
    }

    fn whole(&mut self, text: &[u8]) {
        self.search(text, 0, 0);
        for (nth, pattern) in self.scanner.patterns.iter().enumerate() {
            let bit = self.scanner.bit(nth);
            if self.found.has(bit) {
                continue;
            }
            let Some(run) = self.runs.get(nth) else {
                continue;
            };
            let matches = match pattern.lane {
                Lane::Always => pattern.table.is_match(text),
                Lane::Required => run.wanted && pattern.table.is_match(text),
                Lane::Prefix => run
                    .open
                    .is_some_and(|state| pattern.table.matches_at_end(state)),
            };
            if matches {
                self.found.set(bit);
            }
        }
        self.set_empty();
    }

    fn set_empty(&mut self) {
        for word in &self.scanner.empty {
            self.found.set(*word);
        }
    }

    /// Searches the literals in `text[from..]`; `base` is the position of `text[0]`.
    fn search(&mut self, text: &[u8], base: usize, from: usize) {
        let scanner = self.scanner;
        let Scan {
            found,
            progress,
            runs,
            ..
        } = self;
        let tell = |literal: usize, end: usize| {
            let start = end.saturating_sub(scanner.keywords.length(literal));
            for waiting in scanner.waiting.get(literal).into_iter().flatten() {
                match *waiting {
                    Waiting::Word(nth) => {
                        let there = text.get(start..end).unwrap_or_default();
                        if scanner.words.get(nth).is_some_and(|word| word.is(there)) {
                            found.set(nth);
                        }
                    }
                    Waiting::Anywhere(nth) => {
                        if let Some(run) = runs.get_mut(nth) {
                            run.wanted = true;
                        }
                    }
                    Waiting::Start(nth) => {
                        let bit = scanner.bit(nth);
                        let run = runs.get_mut(nth).filter(|_| !found.has(bit));
                        if let (Some(run), Some(pattern)) = (run, scanner.patterns.get(nth))
                            && run.try_from(&pattern.table, text, base, start)
                        {
                            found.set(bit);
                        }
                    }
                }
            }
        };
        scanner.keywords.read(progress, text, from, tell);
    }

    /// Matches that were in progress when the last part ended.
    fn continue_open(&mut self, text: &[u8], base: usize) {
        for (nth, pattern) in self.scanner.patterns.iter().enumerate() {
            let bit = self.scanner.bit(nth);
            if pattern.lane == Lane::Prefix
                && let Some(run) = self.runs.get_mut(nth)
                && let Some(state) = run.open
                && run.go_on(&pattern.table, text, base, run.until - base, state)
            {
                self.found.set(bit);
            }
        }
    }

    /// Runs a table that reads everything over the next part.
    fn run_over(&mut self, nth: usize, table: &Table, part: &[u8]) {
        let bit = self.scanner.bit(nth);
        if self.found.has(bit) {
            return;
        }
        let Some(run) = self.runs.get_mut(nth) else {
            return;
        };
        let matched = match table.begins {
            Starts::Anywhere => match table.run_all(run.state(table), part) {
                Run::Matched => true,
                Run::Idle(_) => false,
                Run::Pending(state) => {
                    run.open = Some(state);
                    false
                }
            },
            Starts::Told => table.run_each(&mut run.live, part, self.tail.last().copied()),
        };
        if matched {
            self.found.set(bit);
        }
    }
}

impl State {
    fn state(&self, table: &Table) -> u16 {
        self.open.unwrap_or_else(|| table.start(None))
    }

    /// A match may start here, unless the table has read on from an earlier place; whether
    /// it does.
    fn try_from(&mut self, table: &Table, text: &[u8], base: usize, start: usize) -> bool {
        if base + start < self.until {
            return false;
        }
        self.began = base + start;
        let before = start.checked_sub(1).and_then(|at| text.get(at).copied());
        self.go_on(table, text, base, start, table.start(before))
    }

    fn go_on(&mut self, table: &Table, text: &[u8], base: usize, at: usize, state: u16) -> bool {
        self.open = None;
        match table.run(state, text, at) {
            Run::Matched => return true,
            Run::Idle(end) => self.until = base + end,
            Run::Pending(state) => {
                self.open = Some(state);
                self.until = base + text.len();
            }
        }
        false
    }
}

impl fmt::Debug for TextScanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextScanner")
            .field("words", &self.words.len())
            .field("patterns", &self.patterns.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Scan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("read", &self.read)
            .finish_non_exhaustive()
    }
}
