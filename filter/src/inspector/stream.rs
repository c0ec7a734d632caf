//! Judges a streamed answer while it passes.
//!
//! A [`Listener`] hears every text of the stream, lets it go as soon as it can no longer
//! be part of anything that rules look for, and stops the stream at a denial: what left
//! before stays said, and the client is told by the dialect's own error that this is not
//! the whole answer. Rules that only the whole answer can decide are asked when it ends,
//! before its last event leaves.

use super::edits::{Redacted, Redaction, answer_place, named};
use super::findings::{Tally, is_redacted};
use super::vault::Vault;
use crate::bundles::Settings;
use crate::config::FailureMode;
use jupiter_detect::detectors::{self, Detectors, Finding, Kind};
use jupiter_policy::facts::{Facts, Place, ResponseFacts};
use jupiter_policy::{
    ActionRequest, Bundle, Decision, Heard, Hearing, LogLine, Needs, Verdict, decide_response,
    decide_streaming,
};
use jupiter_provider::{
    Api, Channel, Edit, ErrorBody, Judge, OnUnread, Progress, Ruling, Stop, StreamEditor,
    StreamLimits, Summary, TextKind, WholeText,
};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Largest event, and most text held back in one stream: far more than a detector or a
/// keyword asks for.
const LIMITS: StreamLimits = StreamLimits {
    event_bytes: 1 << 20,
    held_bytes: 64 << 10,
};

/// A pattern that has begun to match holds back so many bytes at most; it may go on for ever.
const MAX_PATTERN_HOLD: usize = 1024;

/// Why a stream was stopped.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stopped {
    Denied(Box<Decision>),
    /// It could not be read, and the failure mode is closed.
    Unread(&'static str),
}

/// What leaves for the client.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Leaving {
    pub bytes: Vec<u8>,
    /// Nothing more leaves after these.
    pub stopped: bool,
    pub logs: Vec<LogLine>,
}

/// What an exchange brings along to its answer.
#[derive(Debug)]
pub(super) struct AnswerRules {
    pub settings: Rc<Settings>,
    pub api: Api,
    pub facts: Facts,
    pub vault: Vault,
    pub redactions: Vec<Redaction>,
}

/// What came of a stream, for its record.
#[derive(Debug)]
pub(crate) struct StreamReport {
    pub summary: Summary,
    /// Of the rules that acted amid the stream and at its end.
    pub decision: Option<Decision>,
    pub is_stopped: bool,
    /// It was stopped because it could not be read.
    pub is_unread_refusal: bool,
    pub found: BTreeMap<(&'static str, Kind), u64>,
    pub redacted: BTreeMap<Redacted, u64>,
    pub not_applied: Vec<String>,
}

/// One streamed answer on its way.
#[derive(Debug)]
pub(super) struct StreamGuard {
    editor: StreamEditor,
    listener: Listener,
}

impl StreamGuard {
    pub fn new(rules: AnswerRules) -> StreamGuard {
        let editor = StreamEditor::new(rules.api, LIMITS);
        let mut listener = Listener::new(rules);
        // Rules that need nothing of the answer act before its first byte.
        listener.judge();
        StreamGuard { editor, listener }
    }

    pub fn stopped(&self) -> Option<&Stopped> {
        self.listener.stopped.as_ref()
    }

    pub fn kept_bytes(&self) -> usize {
        self.editor.kept_bytes() + self.listener.kept
    }

    /// The next bytes; `end` says that the transport has no more.
    pub fn push(&mut self, bytes: &[u8], end: bool) -> Leaving {
        let mut leaving = Leaving::default();
        if self.listener.stopped.is_some() {
            leaving.stopped = true;
            return leaving;
        }
        let progress = self
            .editor
            .push(bytes, &mut self.listener, &mut leaving.bytes);
        if progress == Progress::Open && end {
            self.close(&mut leaving.bytes);
        }
        leaving.stopped = self.listener.stopped.is_some();
        leaving.logs = match &mut self.listener.stopped {
            Some(Stopped::Denied(decision)) => std::mem::take(&mut decision.logs),
            Some(Stopped::Unread(_)) => vec![],
            None if self.listener.concluded => {
                let decision = self.listener.decision.as_mut();
                decision
                    .map(|it| std::mem::take(&mut it.logs))
                    .unwrap_or_default()
            }
            None => vec![],
        };
        leaving
    }

    /// The host cannot keep on reading.
    pub fn give_up(&mut self, reason: &'static str) {
        if self.listener.on_unread(reason) == OnUnread::Pass {
            self.listener.deaf = true;
        }
    }

    /// The error by which a stopped stream ends.
    pub fn refusal(&self, error: ErrorBody<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.editor.refuse(error, &mut bytes);
        bytes
    }

    /// No more comes: a stream without its last event was cut, and must not look complete.
    fn close(&mut self, out: &mut Vec<u8>) {
        if self.editor.close(&mut self.listener, out) == Progress::Stopped {
            return;
        }
        if !self.editor.has_ended() && self.listener.on_unread("cut") == OnUnread::Pass {
            self.listener.conclude(self.editor.summary());
        }
    }

    pub fn finish(self) -> StreamReport {
        let mut listener = self.listener;
        let mut summary = self.editor.finish(&mut Silent, &mut Vec::new()).summary;
        let unread = match &listener.stopped {
            Some(Stopped::Denied(_)) => (!listener.concluded).then_some("denied"),
            Some(Stopped::Unread(reason)) => Some(*reason),
            None => listener.unread,
        };
        if let Some(reason) = unread {
            summary.unscanned.get_or_insert(reason);
        }
        let decision = match &listener.stopped {
            Some(Stopped::Denied(decision)) => Some(decision.as_ref().clone()),
            _ => listener.decision.take(),
        };
        StreamReport {
            summary,
            decision,
            is_stopped: listener.stopped.is_some(),
            is_unread_refusal: matches!(listener.stopped, Some(Stopped::Unread(_))),
            found: listener.found,
            redacted: listener.redacted,
            not_applied: listener.not_applied,
        }
    }
}

/// Lets nothing go: the exchange is over.
struct Silent;

impl Judge for Silent {
    fn on_text(&mut self, _: Channel, _: &str, _: bool) -> Ruling {
        Ruling::Stop
    }

    fn on_whole(&mut self, _: WholeText<'_>) -> Result<Vec<Edit>, Stop> {
        Err(Stop)
    }

    fn on_last(&mut self, _: &Summary) -> Result<(), Stop> {
        Err(Stop)
    }

    fn on_unread(&mut self, _: &'static str) -> OnUnread {
        OnUnread::Stop
    }
}

/// Hears the texts of one answer.
#[derive(Debug)]
struct Listener {
    settings: Rc<Settings>,
    api: Api,
    needs: Needs,
    facts: Facts,
    vault: Vault,
    redactions: Vec<Redaction>,
    voices: BTreeMap<Channel, Voice>,
    /// Texts that came whole.
    wholes: Vec<(bool, String)>,
    heard: Heard,
    tally: Tally,
    /// Bytes of text kept for rules on the whole answer.
    kept: usize,
    /// Reads no further: all passes.
    deaf: bool,
    unread: Option<&'static str>,
    stopped: Option<Stopped>,
    /// The whole answer was judged.
    concluded: bool,
    decision: Option<Decision>,
    found: BTreeMap<(&'static str, Kind), u64>,
    redacted: BTreeMap<Redacted, u64>,
    not_applied: Vec<String>,
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
    fn new(rules: AnswerRules) -> Listener {
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
    fn judge(&mut self) -> bool {
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
    fn conclude(&mut self, summary: &Summary) {
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
        let voices = self.voices.values().map(|it| (it.is_content, &it.text));
        let wholes = self.wholes.iter().map(|(is_content, it)| (*is_content, it));
        for (is_content, text) in voices.chain(wholes) {
            match (&mut content, is_content) {
                (_, false) => other_texts.push(text.clone()),
                (Some(content), true) => {
                    content.push('\n');
                    content.push_str(text);
                }
                (None, true) => content = Some(text.clone()),
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
            self.deaf = true;
            self.kept = 0;
            self.voices
                .values_mut()
                .for_each(|voice| voice.text = String::new());
        }
        ruling
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
        let WholeText { text, repeated, .. } = whole;
        let is_content = self.is_content(whole.channel);
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
            self.wholes.push((is_content, text.to_owned()));
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

fn bundle(settings: &Settings) -> Option<&Bundle> {
    settings.bundle.as_ref().map(|in_force| &in_force.bundle)
}
