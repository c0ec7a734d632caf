//! Judges a streamed answer while it passes.
//!
//! A [`Listener`] hears every text of the stream, lets it go as soon as it can no longer
//! be part of anything that rules look for, and stops the stream at a denial: what left
//! before stays said, and the client is told by the dialect's own error that this is not
//! the whole answer. Rules that only the whole answer can decide are asked when it ends,
//! before its last event leaves.

mod listener;

use self::listener::Listener;
use super::edits::{Redacted, Redaction};
use super::vault::Vault;
use crate::bundles::Settings;
use jupiter_detect::detectors::Kind;
use jupiter_policy::facts::Facts;
use jupiter_policy::{Decision, LogLine};
use jupiter_provider::{
    Api, Channel, Edit, ErrorBody, Judge, OnUnread, Progress, Ruling, Stop, StreamEditor,
    StreamLimits, Summary, WholeText,
};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Largest event, and most text held back in one stream: far more than a detector or a
/// keyword asks for.
const LIMITS: StreamLimits = StreamLimits {
    event_bytes: 1 << 20,
    held_bytes: 64 << 10,
};

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
        self.editor.kept_bytes() + self.listener.kept_bytes()
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
            self.listener.go_deaf();
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
