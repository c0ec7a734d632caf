//! Hears the texts of a streamed answer, and says what of them may leave.
//!
//! A text leaves as soon as it can no longer be part of anything that rules look for; what
//! redactions and placeholders ask for is changed in it. The stream itself is
//! [`super::StreamGuard`]'s.

use super::{AnswerRules, Stopped};
use crate::bundles::Settings;
use crate::config::FailureMode;
use crate::inspector::edits::{Redacted, Redaction, answer_place, named};
use crate::inspector::findings::{Tally, is_redacted};
use crate::inspector::vault::Vault;
use jupiter_detect::detectors::{self, Detectors, Finding, Kind};
use jupiter_policy::facts::{Facts, Place, ResponseFacts};
use jupiter_policy::{
    ActionRequest, Bundle, Decision, Heard, Hearing, Needs, Verdict, decide_response,
    decide_streaming,
};
use jupiter_provider::{
    Api, Channel, Edit, Judge, OnUnread, Ruling, Stop, Summary, TextKind, WholeText,
};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// A pattern that has begun to match holds back so many bytes at most; it may go on for ever.
const MAX_PATTERN_HOLD: usize = 1024;

/// What keeping one text takes beside its bytes, in memory and in two collections.
const TEXT_BYTES: usize = 80;

/// Hears the texts of one answer.
#[derive(Debug)]
pub(super) struct Listener {
    settings: Rc<Settings>,
    api: Api,
    needs: Needs,
    facts: Facts,
    vault: Vault,
    redactions: Vec<Redaction>,
    voices: BTreeMap<Channel, Voice>,
    /// Texts that came whole.
    wholes: Vec<(bool, Rc<str>)>,
    /// The same by their channels; texts of no channel are of one.
    told: BTreeMap<Option<Channel>, BTreeSet<Rc<str>>>,
    heard: Heard,
    tally: Tally,
    /// Bytes of text kept for rules on the whole answer.
    kept: usize,
    /// Reads no further: all passes.
    deaf: bool,
    pub(super) unread: Option<&'static str>,
    pub(super) stopped: Option<Stopped>,
    /// The whole answer was judged.
    pub(super) concluded: bool,
    pub(super) decision: Option<Decision>,
    pub(super) found: BTreeMap<(&'static str, Kind), u64>,
    pub(super) redacted: BTreeMap<Redacted, u64>,
    pub(super) not_applied: Vec<String>,
}

/// A text that comes in pieces.
#[derive(Debug)]
struct Voice {
    text: String,
    length: usize,
    released: usize,
    is_content: bool,
    detecting: Option<detectors::Stream>,
    hearing: Option<Hearing>,
    /// Found, and not yet let go.
    pending: Vec<Finding>,
}

impl Listener {
    pub(super) fn new(rules: AnswerRules) -> Listener {
        let AnswerRules {
            settings,
            api,
            facts,
            vault,
            redactions,
        } = rules;
        let bundle = settings.bundle.as_ref();
        Listener {
            needs: bundle.map(|it| it.bundle.needs()).unwrap_or_default(),
            settings,
            api,
            facts,
            vault,
            redactions,
            voices: BTreeMap::new(),
            wholes: vec![],
            told: BTreeMap::new(),
            heard: Heard::default(),
            tally: Tally::default(),
            kept: 0,
            deaf: false,
            unread: None,
            stopped: None,
            concluded: false,
            decision: None,
            found: BTreeMap::new(),
            redacted: BTreeMap::new(),
            not_applied: vec![],
        }
    }

    /// Asks the rules that hold for good; whether the stream goes on.
    pub(super) fn judge(&mut self) -> bool {
        let settings = Rc::clone(&self.settings);
        let Some(bundle) = bundle(&settings).filter(|_| self.needs.response) else {
            return true;
        };
        let facts = self.facts_so_far(None);
        let decision = decide_streaming(bundle, &facts, &self.heard);
        if decision.verdict == Verdict::Deny {
            self.stopped = Some(Stopped::Denied(Box::new(decision)));
            return false;
        }
        let asked = decision.actions.iter();
        for redaction in asked.filter_map(|asked| Redaction::of(&asked.action)) {
            if redaction.is_of_answer() && !self.redactions.contains(&redaction) {
                self.redactions.push(redaction);
            }
        }
        self.decision = Some(decision);
        true
    }

    /// The whole answer is there.
    pub(super) fn conclude(&mut self, summary: &Summary) {
        self.concluded = true;
        let settings = Rc::clone(&self.settings);
        let Some(bundle) = bundle(&settings).filter(|_| self.needs.response) else {
            return;
        };
        let facts = self.facts_so_far(Some(summary));
        let mut decision = decide_response(bundle, &facts);
        if decision.verdict == Verdict::Deny {
            self.stopped = Some(Stopped::Denied(Box::new(decision)));
            return;
        }
        for asked in &decision.actions {
            let applied = match &asked.action {
                // Came too late for what has left already.
                action @ ActionRequest::Redact { .. } => {
                    let redaction = Redaction::of(action);
                    redaction.is_some_and(|it| self.redactions.contains(&it))
                }
                ActionRequest::Tag { .. } => true,
                _ => false,
            };
            if !applied {
                self.not_applied.push(named(asked));
            }
        }
        // A rule that acted amid the stream did so, whatever came before it in the end.
        let amid = self.decision.take().map(|it| it.matched);
        for rule in amid.into_iter().flatten() {
            if !decision.matched.contains(&rule) {
                decision.matched.push(rule);
            }
        }
        self.decision = Some(decision);
    }

    fn facts_so_far(&self, summary: Option<&Summary>) -> Facts {
        let mut content: Option<String> = None;
        let mut other_texts = Vec::new();
        let voices = self.voices.values();
        let voices = voices.map(|it| (it.is_content, it.text.as_str()));
        let wholes = self.wholes.iter();
        let wholes = wholes.map(|(is_content, it)| (*is_content, &**it));
        for (is_content, text) in voices.chain(wholes) {
            match (&mut content, is_content) {
                (_, false) => other_texts.push(text.to_owned()),
                (Some(content), true) => {
                    content.push('\n');
                    content.push_str(text);
                }
                (None, true) => content = Some(text.to_owned()),
            }
        }
        let mut facts = self.facts.clone();
        facts.response = ResponseFacts {
            content,
            other_texts,
            ..summary.map(Summary::to_facts).unwrap_or_default()
        };
        if self.needs.response_findings {
            facts.processing.content_analysis = self.tally.analysis();
            let findings = facts.processing.findings.get_or_insert_default();
            findings.extend_from_slice(self.tally.places());
        }
        facts
    }

    /// Of several choices the first is the content.
    fn is_content(&self, channel: Channel) -> bool {
        if channel.kind != TextKind::Content {
            return false;
        }
        if !matches!(self.api, Api::ChatCompletions | Api::Completions) {
            return true;
        }
        let mut others = self.voices.iter().filter(|(_, voice)| voice.is_content);
        others.all(|(other, _)| other.index == channel.index)
    }

    fn detecting(&self) -> Option<detectors::Stream> {
        let wanted = self.needs.response_findings;
        wanted.then(|| Detectors::all().stream())
    }

    fn hearing(&self, is_content: bool) -> Option<Hearing> {
        let bundle = bundle(&self.settings).filter(|_| self.needs.response)?;
        Some(bundle.hearing(is_content))
    }

    /// Whether so much more text may be kept.
    fn has_room(&mut self, bytes: usize) -> OnUnread {
        self.kept += bytes;
        let limit = self.settings.config.inspection.max_response_body_bytes;
        if self.kept as u64 <= limit {
            return OnUnread::Pass;
        }
        let ruling = self.on_unread("too_large");
        if ruling == OnUnread::Pass {
            self.go_deaf();
        }
        ruling
    }

    /// Reads no further, and keeps nothing.
    pub(super) fn go_deaf(&mut self) {
        self.deaf = true;
        self.kept = 0;
        self.wholes = vec![];
        self.told = BTreeMap::new();
        let voices = self.voices.values_mut();
        voices.for_each(|voice| voice.text = String::new());
    }

    /// What it takes to keep what was told.
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept + self.wholes.len() * TEXT_BYTES
    }

    /// Whether a text says again what was told, word for word. What stands in its place is a
    /// text of its own, whatever it is said to repeat.
    fn is_told(&self, channel: Channel, text: &str) -> bool {
        let streamed = self.voices.get(&channel);
        let whole = self.told.get(&kept_by(channel));
        streamed.is_some_and(|voice| voice.text == text)
            || whole.is_some_and(|texts| texts.contains(text))
    }

    /// Takes note of findings; whether rules could say something new.
    fn note(&mut self, found: &[Finding], is_content: bool) -> bool {
        let place = match is_content {
            true => Place::Response,
            false => Place::ResponseOther,
        };
        let mut new = false;
        for finding in found {
            new |= self.tally.add(*finding, place);
            let key = (answer_place(is_content), finding.kind);
            *self.found.entry(key).or_default() += 1;
        }
        new
    }

    /// The edits of findings in a text, those that some redaction covers.
    fn edits(&mut self, text: &str, found: &[Finding], is_content: bool, again: bool) -> Vec<Edit> {
        let mut edits = Vec::new();
        for finding in found.iter().filter(|it| is_redacted(it.kind)) {
            let covers = |it: &&Redaction| it.covers_answer(is_content);
            let Some(redaction) = self.redactions.iter().find(covers) else {
                continue;
            };
            let range = finding.start..finding.end;
            let with = redaction.instead_of(text.get(range.clone()).unwrap_or_default());
            edits.push(Edit { range, with });
            if !again {
                let redacted = Redacted {
                    place: answer_place(is_content).to_owned(),
                    kind: finding.kind,
                    method: redaction.method_name(),
                };
                *self.redacted.entry(redacted).or_default() += 1;
            }
        }
        edits
    }
}

impl Judge for Listener {
    fn on_text(&mut self, channel: Channel, piece: &str, end: bool) -> Ruling {
        let is_content = self.is_content(channel);
        let mut voice = self.voices.remove(&channel).unwrap_or_else(|| Voice {
            text: String::new(),
            length: 0,
            released: 0,
            is_content,
            detecting: self.detecting(),
            hearing: self.hearing(is_content),
            pending: vec![],
        });
        voice.length += piece.len();
        let all = Ruling::Release {
            upto: voice.length,
            edits: vec![],
        };
        if self.deaf {
            self.voices.insert(channel, voice);
            return all;
        }
        if self.has_room(piece.len()) == OnUnread::Stop {
            return Ruling::Stop;
        }
        if self.deaf {
            self.voices.insert(channel, voice);
            return all;
        }
        voice.text.push_str(piece);
        let (held, new) = self.listen(&mut voice, piece, end);
        self.voices.insert(channel, voice);
        if new && !self.judge() {
            return Ruling::Stop;
        }
        let Some(mut voice) = self.voices.remove(&channel) else {
            return Ruling::Stop;
        };
        let ruling = self.release(&mut voice, held);
        self.voices.insert(channel, voice);
        ruling
    }

    fn on_whole(&mut self, whole: WholeText<'_>) -> Result<Vec<Edit>, Stop> {
        if self.deaf {
            return Ok(vec![]);
        }
        let WholeText { channel, text } = whole;
        let is_content = self.is_content(channel);
        let repeated = self.is_told(channel, text);
        let found = match self.needs.response_findings {
            true => Detectors::all().scan(text.as_bytes()),
            false => vec![],
        };
        if !repeated {
            if self.has_room(text.len()) == OnUnread::Stop {
                return Err(Stop);
            }
            let before = self.heard.clone();
            if let (Some(mut hearing), Some(bundle)) =
                (self.hearing(is_content), bundle(&self.settings))
            {
                bundle.hear(&mut hearing, text, &mut self.heard);
            }
            let new = self.note(&found, is_content) || self.heard != before;
            let text: Rc<str> = text.into();
            let told = self.told.entry(kept_by(channel)).or_default();
            told.insert(Rc::clone(&text));
            self.wholes.push((is_content, text));
            if new && !self.judge() {
                return Err(Stop);
            }
        }
        let mut edits = self.edits(text, &found, is_content, repeated);
        edits.extend(self.vault.restorations(text, 0..text.len()));
        Ok(edits)
    }

    fn on_last(&mut self, summary: &Summary) -> Result<(), Stop> {
        self.conclude(summary);
        match self.stopped {
            Some(_) => Err(Stop),
            None => Ok(()),
        }
    }

    fn on_unread(&mut self, reason: &'static str) -> OnUnread {
        self.unread.get_or_insert(reason);
        match self.settings.config.inspection.failure_mode {
            FailureMode::Open => OnUnread::Pass,
            FailureMode::Closed => {
                self.stopped.get_or_insert(Stopped::Unread(reason));
                OnUnread::Stop
            }
        }
    }
}

impl Listener {
    /// Reads on; from where the text is held, and whether rules could say something new.
    fn listen(&mut self, voice: &mut Voice, piece: &str, end: bool) -> (usize, bool) {
        let mut held = voice.length;
        let mut found = Vec::new();
        if let Some(detecting) = &mut voice.detecting {
            detecting.push(piece.as_bytes(), &mut found);
            held = held.min(detecting.held_from());
        }
        if end && let Some(detecting) = voice.detecting.take() {
            detecting.finish(&mut found);
        }
        let before = self.heard.clone();
        if let (Some(hearing), Some(bundle)) = (&mut voice.hearing, bundle(&self.settings)) {
            let open = bundle.hear(hearing, piece, &mut self.heard);
            held = held.min(voice.length - open.min(MAX_PATTERN_HOLD).min(voice.length));
        }
        held = held.min(voice.length - self.vault.open_bytes(&voice.text).min(voice.length));
        let new = self.note(&found, voice.is_content) || self.heard != before;
        voice.pending.extend(found);
        (if end { voice.length } else { held }, new)
    }

    /// Lets go what is not held, changed where a redaction or a placeholder asks for it.
    fn release(&mut self, voice: &mut Voice, held: usize) -> Ruling {
        let text = std::mem::take(&mut voice.text);
        let mut upto = held.max(voice.released);
        while !text.is_char_boundary(upto) {
            upto -= 1;
        }
        let restored = self.vault.restorations(&text, voice.released..text.len());
        // Nothing leaves in part.
        let pending = voice.pending.iter().map(|it| it.start..it.end);
        for range in pending.chain(restored.iter().map(|it| it.range.clone())) {
            if range.start < upto && upto < range.end {
                upto = range.start;
            }
        }
        let pending = std::mem::take(&mut voice.pending);
        let (leaving, pending): (Vec<_>, Vec<_>) =
            pending.into_iter().partition(|it| it.end <= upto);
        voice.pending = pending;
        let mut edits = self.edits(&text, &leaving, voice.is_content, false);
        edits.extend(restored.into_iter().filter(|it| it.range.end <= upto));
        voice.text = text;
        voice.released = upto;
        Ruling::Release { upto, edits }
    }
}

/// Where a text belongs. Those of no channel are told again elsewhere.
fn kept_by(channel: Channel) -> Option<Channel> {
    (channel.kind != TextKind::Other).then_some(channel)
}

fn bundle(settings: &Settings) -> Option<&Bundle> {
    settings.bundle.as_ref().map(|in_force| &in_force.bundle)
}
