//! Built-in detectors: personal data, secrets, and the wording of prompt injection.
//!
//! [`Detectors::scan`] reads a whole text, [`Detectors::stream`] one that comes in parts:
//! however it is cut, the findings are the same. [`Stream::held_from`] says what may be
//! passed on already.
//!
//! - Findings come in order and never overlap. Where two forms fit, the stronger stays.
//! - One pass; work is bounded by the length of the text, whatever it says. State is bounded:
//!   a stream keeps a few hundred bytes behind its place, and ahead only what a form that has
//!   begun may still take (a private key: 8 KiB, anything else: less).
//! - Nothing of a text is in what is told about it, except offsets.
//! - Bytes that are no UTF-8 are read like any others.
//!
//! How it goes: [`blocks`] marks where words and numbers begin, 64 bytes at a time; [`sieve`]
//! lets go the words that begin nothing; [`engine`] looks at each other such place with the
//! lane that knows its form: [`number`] ([`phone`],
//! [`card`], [`address`]), [`email`], [`secrets`] over the table of [`families`],
//! [`passwords`], [`phrases`] over [`words`] read [`ahead`], [`wide`]. What is known of their
//! precision and recall is in `docs/reference/detectors.md`. The patterns and keywords of
//! policies are those of `crates/matchers`.

mod address;
mod ahead;
mod blocks;
mod card;
mod chance;
mod context;
mod email;
mod engine;
mod families;
mod follow;
mod index;
mod kind;
mod known;
mod number;
mod passwords;
mod phone;
mod phrase_list;
mod phrases;
mod secrets;
mod sieve;
mod text;
mod wide;
mod words;
#[cfg(test)]
mod work;

pub use kind::{Class, Confidence, Finding, Kind, KindSet};

use engine::{Engine, KEPT};
use text::Text;

/// The detectors of some kinds. Costs nothing to make: tables are shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detectors {
    kinds: KindSet,
}

impl Detectors {
    /// Of all kinds.
    pub const fn all() -> Detectors {
        Detectors {
            kinds: KindSet::ALL,
        }
    }

    /// Of these kinds only; a stream then holds less back.
    pub const fn of(kinds: KindSet) -> Detectors {
        Detectors { kinds }
    }

    pub const fn kinds(&self) -> KindSet {
        self.kinds
    }

    /// What is in a whole text.
    pub fn scan(&self, text: &[u8]) -> Vec<Finding> {
        let mut found = Vec::new();
        if self.kinds.is_empty() {
            return found;
        }
        let mut engine = Engine::new(self.kinds);
        engine.run(&Text::new(text, 0, true), &mut found);
        engine.finish(&mut found);
        found
    }

    /// Starts to read a text that comes in parts.
    pub fn stream(&self) -> Stream {
        Stream {
            kinds: self.kinds,
            engine: Engine::new(self.kinds),
            kept: Vec::new(),
            base: 0,
            held: 0,
        }
    }
}

/// A text that is being read in parts.
#[derive(Clone)]
pub struct Stream {
    kinds: KindSet,
    engine: Engine,
    /// The end of what was read.
    kept: Vec<u8>,
    /// Position of its first byte.
    base: usize,
    held: usize,
}

impl Stream {
    /// Reads the next part; adds what it completes.
    pub fn push(&mut self, part: &[u8], found: &mut Vec<Finding>) {
        if self.kinds.is_empty() {
            self.held += part.len();
            return;
        }
        self.kept.extend_from_slice(part);
        let text = Text::new(&self.kept, self.base, false);
        self.engine.run(&text, found);
        self.held = self.engine.held_from(&text);
        let done = self.engine.done().saturating_sub(KEPT);
        if done > self.base {
            self.kept.drain(..done - self.base);
            self.base = done;
        }
    }

    /// Bytes before this offset are in no finding to come.
    pub fn held_from(&self) -> usize {
        self.held
    }

    /// The text is over; adds what is found at its end.
    pub fn finish(mut self, found: &mut Vec<Finding>) {
        self.engine
            .run(&Text::new(&self.kept, self.base, true), found);
        self.engine.finish(found);
    }
}

impl core::fmt::Debug for Stream {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Stream")
            .field("read", &(self.base + self.kept.len()))
            .field("held_from", &self.held)
            .finish_non_exhaustive()
    }
}
