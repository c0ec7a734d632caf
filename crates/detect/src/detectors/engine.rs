//! Goes through a text once: blocks to candidates, candidates to findings.
//!
//! A candidate is a place where a word or a number begins, or an `@`; each is looked at once,
//! in order, by the lane that knows its form. What a lane concludes depends on the text
//! alone: it may look back [`BACK`] bytes and ahead as far as its form is long, and if the
//! text is cut there, the candidate waits for more. So every division of a text into parts
//! gives the same findings, and each byte is read a bounded number of times.

use super::ahead::Ahead;
use super::blocks::BLOCK;
use super::context::Context;
use super::index::{Act, INDEX, PHRASE, key};
use super::kind::{Confidence, Finding, Kind, KindSet};
use super::passwords::Plain;
use super::secrets::begins_key;
use super::sieve::{Look, Stretch};
use super::text::{RUN, Text, is};
use super::wide::Far;

/// How far before a candidate its finding may begin.
pub(super) const BACK: usize = 64;
/// How much of the text behind is kept: for [`BACK`], and for the words before a finding.
pub(super) const KEPT: usize = 192;
/// Signs that a finding may begin with before its first letter or digit.
const SIGNS: &[u8] = b"<|[]#+(-";
const MAX_SIGNS: usize = 6;

/// What a scan remembers of the text behind it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct State {
    /// Numbers that begin before are done.
    pub(super) numbers_from: usize,
    /// Secret values are looked for from here.
    pub(super) values_from: usize,
    /// IPv6 addresses are looked for from here.
    pub(super) addresses_from: usize,
    /// Up to here nothing ends the authority of a URL that is read, and no `@` stands.
    pub(super) authority_until: usize,
    pub(super) plain: Plain,
    /// The last parts of values by which these were known to be filled in elsewhere.
    pub(super) filled_in: (usize, usize),
    pub(super) opened: (usize, usize),
    /// Up to here there is no option of a command line that a password follows.
    pub(super) options_from: usize,
    /// A finding begins at or after this.
    pub(super) floor: usize,
    pub(super) context: Context,
}

/// Who looks at a candidate.
#[derive(Debug, Clone, Copy)]
enum Lane {
    /// Whether a phrase may begin with it.
    Word(bool),
    Phrase,
    Email,
    Number,
}

#[derive(Debug, Clone)]
pub(super) struct Engine {
    kinds: KindSet,
    /// Candidates before are done.
    at: usize,
    pub(super) state: State,
    /// Words that were read ahead.
    pub(super) ahead: Ahead,
    /// What was found ahead of phrases in scripts without spaces.
    pub(super) far: Far,
    /// What the candidate at hand gave.
    fresh: Vec<Finding>,
    /// The last finding, while a later candidate may still outrank it.
    last: Option<Finding>,
    told: bool,
    /// Where a finding of the candidate at hand would begin at the earliest.
    pub(super) hold: usize,
    waits: bool,
}

impl Engine {
    pub(super) fn new(kinds: KindSet) -> Engine {
        Engine {
            kinds,
            at: 0,
            state: State::default(),
            ahead: Ahead::default(),
            far: Far::default(),
            fresh: Vec::new(),
            last: None,
            told: true,
            hold: 0,
            waits: false,
        }
    }

    /// Candidates before this position are done.
    pub(super) fn done(&self) -> usize {
        self.at
    }

    /// Goes on as far as the text allows.
    pub(super) fn run(&mut self, text: &Text<'_>, found: &mut Vec<Finding>) {
        self.waits = false;
        while self.at < text.end() && !self.waits {
            let stretch = Stretch::new(text, self.at, self.wants_phrases());
            for look in stretch.looks() {
                self.block(text, look, found);
                if self.waits {
                    break;
                }
            }
        }
        // No candidate to come lies within it.
        if self.last.is_some_and(|last| last.end <= self.at) {
            self.tell(found);
        }
    }

    /// The text is over.
    pub(super) fn finish(&mut self, found: &mut Vec<Finding>) {
        self.tell(found);
    }

    fn tell(&mut self, found: &mut Vec<Finding>) {
        if let Some(last) = self.last.filter(|_| !self.told) {
            found.push(last);
        }
        self.told = true;
    }

    /// Goes through the block at the place where it stands.
    #[inline]
    fn block(&mut self, text: &Text<'_>, look: &Look, found: &mut Vec<Finding>) {
        let start = self.at;
        // What is known by its first bytes may begin a phrase as well.
        let mut phrases = 0;
        let mut left = look.words & look.near & !look.hits;
        while left != 0 {
            let nth = left.trailing_zeros() as usize;
            left &= left - 1;
            if let Some(bytes) = text.from(start + nth).get(..4) {
                phrases |= u64::from(INDEX.flags(key(bytes)) & PHRASE != 0) << nth;
            }
        }
        let whole = (text.end() - start).min(BLOCK);
        let mut left = look.hits | phrases | look.numbers | look.ats;
        while left != 0 {
            let bit = left & left.wrapping_neg();
            left ^= bit;
            let nth = bit.trailing_zeros() as usize;
            let at = start + nth;
            if nth >= whole {
                break;
            }
            let lane = match bit {
                _ if bit & look.hits != 0 => Lane::Word(bit & look.near != 0),
                _ if bit & phrases != 0 => Lane::Phrase,
                _ if bit & look.ats != 0 => Lane::Email,
                _ if at < self.state.numbers_from => continue,
                _ => Lane::Number,
            };
            if !self.candidate(text, at, lane, found) {
                self.at = at;
                self.waits = true;
                return;
            }
        }
        self.at = start + whole;
    }

    /// Looks at one candidate; whether it is done with.
    #[inline(never)]
    fn candidate(
        &mut self,
        text: &Text<'_>,
        at: usize,
        lane: Lane,
        found: &mut Vec<Finding>,
    ) -> bool {
        // Of a whole text no lane wants more.
        let before = (!text.whole()).then_some(self.state);
        if let Some(last) = self.last.filter(|last| last.end <= at) {
            self.state.floor = last.end;
        }
        text.clear();
        self.fresh.clear();
        self.hold = at;
        match lane {
            Lane::Word(near) => self.word(text, at, near),
            Lane::Phrase => self.phrase(text, at),
            Lane::Email => self.email(text, at),
            Lane::Number => self.number(text, at),
        }
        if let Some(before) = before
            && text.short()
        {
            self.state = before;
            self.ahead.forget();
            self.far.forget();
            return false;
        }
        for nth in 0..self.fresh.len() {
            if let Some(finding) = self.fresh.get(nth).copied() {
                self.accept(finding, found);
            }
        }
        true
    }

    /// Findings never overlap: the one of the higher rank stays, of equals the first.
    fn accept(&mut self, finding: Finding, found: &mut Vec<Finding>) {
        if finding.start < self.state.floor || finding.end <= finding.start {
            return;
        }
        if let Some(last) = self.last
            && finding.start < last.end
        {
            if finding.kind.rank() > last.kind.rank() {
                self.last = Some(finding);
            }
            return;
        }
        if let Some(last) = self.last {
            self.state.floor = last.end;
        }
        self.tell(found);
        self.last = Some(finding);
        self.told = false;
    }

    pub(super) fn wants(&self, kind: Kind) -> bool {
        self.kinds.has(kind)
    }

    /// Notes what a lane found.
    pub(super) fn note(
        &mut self,
        kind: Kind,
        rule: &'static str,
        (start, end): (usize, usize),
        percent: u8,
    ) {
        if self.kinds.has(kind) {
            self.fresh.push(Finding {
                kind,
                rule,
                start,
                end,
                confidence: Confidence::new(percent),
            });
        }
    }

    /// Whether a finding that begins here would be given up for the one before.
    pub(super) fn is_outranked(&self, at: usize, kind: Kind) -> bool {
        self.last
            .is_some_and(|last| at < last.end && kind.rank() <= last.kind.rank())
    }

    /// Whether the candidate at hand gave something.
    pub(super) fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// The earliest start of a finding around `at`.
    pub(super) fn back(&self, at: usize) -> usize {
        self.state.floor.max(at.saturating_sub(BACK))
    }

    /// A word: everything that is known to begin like it.
    #[inline(never)]
    fn word(&mut self, text: &Text<'_>, at: usize, near: bool) {
        let first = text.eight(at);
        let key = match first {
            Some(first) => key(&first.to_le_bytes()),
            None => key(&core::array::from_fn::<u8, 4, _>(|nth| text.at(at + nth))),
        };
        if text.short() {
            return;
        }
        for anchor in INDEX.anchors(key) {
            let may = match anchor.act {
                Act::Family(_) => begins_key(text, at),
                Act::Phrase => near,
                _ => true,
            };
            if !may || !anchor.stands(text, at, first) {
                continue;
            }
            match anchor.act {
                Act::Family(nth) => self.family(text, at, nth),
                Act::Scheme => self.url(text, at),
                Act::PasswordKey => self.password(text, at, at + anchor.literal.len()),
                Act::PasswordCommand => self.password_value(text, at + anchor.literal.len(), false),
                Act::Curl => self.curl(text, at + anchor.literal.len()),
                Act::Pem => self.pem(text, at),
                Act::Mark(nth) => self.mark(text, at, nth),
                Act::Phrase => self.phrase(text, at),
                Act::Wide(nth) => self.wide(text, at, at + anchor.literal.len(), nth),
            }
        }
    }

    /// Bytes before this position are in no finding to come.
    pub(super) fn held_from(&self, text: &Text<'_>) -> usize {
        let mut held = self.begins(text, self.at);
        if self.waits {
            held = held.min(self.hold);
        }
        match self.last {
            Some(last) if !self.told => held.min(last.start),
            _ => held,
        }
        .max(self.state.floor.min(text.end()))
    }

    /// The earliest start of what a candidate at or after `at` may find.
    fn begins(&self, text: &Text<'_>, at: usize) -> usize {
        let floor = match self.last {
            Some(last) if last.end <= at => last.end,
            _ => self.state.floor,
        };
        let floor = floor.max(at.saturating_sub(BACK)).max(text.base());
        let mut start = text.run_back(at, RUN, floor);
        let least = start.saturating_sub(MAX_SIGNS).max(floor);
        while start > least && SIGNS.contains(&text.before(start)) {
            start -= 1;
        }
        // `(+44`: signs may stand within.
        if start > floor && is(text.before(start), RUN) {
            start = text.run_back(start, RUN, floor);
        }
        start
    }
}
