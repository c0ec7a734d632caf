//! The answer: read along as it passes, or judged before it leaves.
//!
//! An answer is judged when there are rules on it, or when the request had placeholders
//! put into it or asks for its redaction; else its bytes pass untouched. A whole answer is
//! held with its headers until it is judged; a stream is judged while it passes, see
//! [`super::stream`]. What cannot be read follows the failure mode.

use super::edits::{self, Redacted, Redaction, answer_place, is_content, named};
use super::findings::{self, Found, Tally, is_redacted};
use super::refusal::{HOST_FAULT, Refusal, UNKNOWN_API};
use super::stream::{AnswerRules, Stopped, StreamGuard};
use super::{DECISION_ID_HEADER, Flow, Inspector, ResponseHead, State, Step};
use crate::config::FailureMode;
use jupiter_evidence::{DecisionKind, IdempotencyAnswer};
use jupiter_policy::facts::Place;
use jupiter_policy::{ActionRequest, Decision, RequestedAction, Verdict, decide_response};
use jupiter_provider::{
    Api, BodyKind, Edit, ReadResponse, ResponseReader, TextEdit, TextId, read_response, rewrite,
};
use std::rc::Rc;

/// Most of an answer, or of one event of a stream, that is kept to read it along.
const READ_LIMIT: usize = 1 << 20;

/// What is done with the answer.
#[derive(Debug, Default)]
pub(super) enum Answer {
    #[default]
    None,
    /// Passes as it is, and is read along.
    Along(Box<ResponseReader>),
    /// Held until it is whole.
    Held,
    /// Judged while it passes.
    Guarded(Box<StreamGuard>),
    /// Judged; what is left of it passes.
    Judged,
    /// Refused; what is left of it is dropped.
    Refused,
}

impl Inspector {
    /// The answer's headers, of the provider or of Envoy itself.
    pub fn on_response_headers(&mut self, head: &ResponseHead, end: bool) -> Step {
        if self.state == State::Bypassed {
            return Step::go(Flow::Continue);
        }
        self.recorder.on_response_status(head.status);
        let mut step = match self.state {
            State::Passing => self.begin_answer(head, end),
            _ => Step::go(Flow::Continue),
        };
        if step.flow == Flow::Continue || step.flow == Flow::Hold {
            step.set_headers
                .push((DECISION_ID_HEADER, self.recorder.id()));
        }
        step
    }

    fn begin_answer(&mut self, head: &ResponseHead, end: bool) -> Step {
        let encoding = head.content_encoding.as_deref();
        let (api, kind) = match self.api {
            Some(api) => (api, BodyKind::of(head.content_type.as_deref(), encoding)),
            None => (Api::Models, BodyKind::Opaque(UNKNOWN_API.code)),
        };
        if kind == BodyKind::EventStream {
            self.recorder.on_stream();
        }
        if end {
            self.recorder.on_response_end();
        }
        self.begin_gathering(head, &kind);
        self.response_status = head.status;
        self.had_response_length = head.has_content_length;
        if !self.judges_answer() || end {
            let reader = ResponseReader::new(api, kind, READ_LIMIT);
            self.answer = Answer::Along(Box::new(reader));
            return Step::go(Flow::Continue);
        }
        match kind {
            BodyKind::Opaque(reason) => self.unread_response(reason),
            BodyKind::Json => {
                self.answer = Answer::Held;
                Step::go(Flow::Hold)
            }
            BodyKind::EventStream => self.begin_stream(api),
        }
    }

    /// Whether the answer is judged before it leaves.
    fn judges_answer(&self) -> bool {
        let bundle = self.settings.bundle.as_ref();
        let rules = bundle.is_some_and(|in_force| in_force.bundle.needs().response);
        // Vectors, counts and lists of models are nobody's words.
        let speaks = self
            .api
            .is_some_and(|api| !matches!(api, Api::Embeddings | Api::Models | Api::CountTokens));
        self.is_decided
            && speaks
            && (rules || !self.vault.is_empty() || !self.redactions.is_empty())
    }

    fn begin_stream(&mut self, api: Api) -> Step {
        let guard = StreamGuard::new(AnswerRules {
            settings: Rc::clone(&self.settings),
            api,
            facts: std::mem::take(&mut self.facts),
            vault: std::mem::take(&mut self.vault),
            redactions: std::mem::take(&mut self.redactions),
        });
        // Nothing has left yet: a plain refusal says it best.
        let stopped = guard.stopped().cloned();
        self.answer = Answer::Guarded(Box::new(guard));
        match stopped {
            Some(Stopped::Denied(decision)) => self.deny_response(&decision),
            Some(Stopped::Unread(reason)) => self.refuse_unread(reason),
            None => {
                let mut step = Step::go(Flow::Continue);
                // Its length is about to change.
                step.remove_headers.push("content-length");
                step
            }
        }
    }

    /// Whether the body of the answer is to be handed over as it comes.
    pub fn wants_response_body(&self) -> bool {
        self.state == State::Passing && matches!(self.answer, Answer::Along(_) | Answer::Guarded(_))
    }

    /// The answer is held: so many bytes of it are there.
    pub fn on_held_response(&mut self, buffered: usize, end: bool) -> Step {
        let limit = self.settings.config.inspection.max_response_body_bytes;
        match self.answer {
            Answer::Held if buffered as u64 > limit => {
                self.recorder.on_response_size(buffered);
                self.unread_response("too_large")
            }
            Answer::Held if end => {
                self.recorder.on_response_end();
                Step::go(Flow::ReadBody)
            }
            Answer::Held => Step::go(Flow::Hold),
            Answer::Refused => {
                let mut step = Step::go(Flow::Continue);
                step.body = Some(vec![]);
                step
            }
            _ => {
                if end {
                    self.recorder.on_response_end();
                }
                Step::go(Flow::Continue)
            }
        }
    }

    /// The next bytes of an answer that passes.
    pub fn on_response_body(&mut self, bytes: &[u8], end: bool) -> Step {
        let mut step = Step::go(Flow::Continue);
        if self.state != State::Passing {
            return step;
        }
        self.recorder.on_response_bytes(bytes);
        if end {
            self.recorder.on_response_end();
        }
        let guard = match &mut self.answer {
            Answer::Along(reader) => {
                reader.push(bytes);
                self.gather(bytes);
                return step;
            }
            Answer::Guarded(guard) => guard,
            _ => return step,
        };
        let mut leaving = guard.push(bytes, end);
        if leaving.stopped && !std::mem::replace(&mut self.is_ended, true) {
            let id = self.recorder.id();
            let refusal = match guard.stopped() {
                Some(Stopped::Denied(decision)) => {
                    let (refusal, message) = Refusal::denied(decision);
                    guard.refusal(refusal.error(message, &id))
                }
                _ => {
                    let refusal = Refusal::new(502, UNREADABLE, None);
                    guard.refusal(refusal.error(UNREADABLE_MESSAGE, &id))
                }
            };
            leaving.bytes.extend(refusal);
            step.flow = if end { Flow::Continue } else { Flow::Close };
        }
        step.logs = leaving.logs;
        self.recorder.on_delivered(&leaving.bytes);
        self.gather(&leaving.bytes);
        if leaving.bytes != bytes {
            step.body = Some(leaving.bytes);
        }
        step
    }

    /// Trailers end an answer too.
    pub fn on_response_trailers(&mut self) -> Step {
        self.recorder.on_response_end();
        match &mut self.answer {
            Answer::Held => Step::go(Flow::ReadBody),
            Answer::Guarded(guard) => {
                // Nothing can be added to the body any more: with anything left to say, or
                // to refuse, the stream must not end as if it were whole.
                let leaving = guard.push(&[], true);
                let mut step = match leaving.bytes.is_empty() && !leaving.stopped {
                    true => Step::go(Flow::Continue),
                    false => Step::go(Flow::Close),
                };
                step.logs = leaving.logs;
                if step.flow == Flow::Close {
                    self.stop_gathering(IdempotencyAnswer::Unreadable);
                }
                step
            }
            _ => Step::go(Flow::Continue),
        }
    }

    /// The whole answer is there: decide.
    pub fn on_complete_response(&mut self, body: &[u8]) -> Step {
        let (Some(api), Answer::Held) = (self.api, &self.answer) else {
            return Step::go(Flow::Continue);
        };
        self.recorder.on_response_bytes(body);
        if body.is_empty() {
            self.answer = Answer::Judged;
            return Step::go(Flow::Continue);
        }
        let read = match read_response(api, body) {
            Ok(read) => read,
            Err(reason) => return self.unread_response(reason),
        };
        self.recorder.on_summary(&read.summary);
        let settings = Rc::clone(&self.settings);
        let Some(in_force) = &settings.bundle else {
            return self.refuse_unread(HOST_FAULT.code);
        };
        let needs = in_force.bundle.needs();
        let found = match needs.response_findings {
            true => findings::of_answer(&read.facts),
            false => vec![],
        };
        for Found { text, finding } in &found {
            let place = answer_place(is_content(*text));
            self.recorder.on_finding(place, finding.kind, 1);
        }
        let decision = needs.response.then(|| {
            let mut facts = std::mem::take(&mut self.facts);
            facts.response = read.facts.clone();
            if needs.response_findings {
                let tally = tally(&found);
                facts.processing.content_analysis = tally.analysis();
                let findings = facts.processing.findings.get_or_insert_default();
                findings.extend_from_slice(tally.places());
            }
            decide_response(&in_force.bundle, &facts)
        });
        if let Some(decision) = &decision {
            self.recorder.on_response_decision(decision);
            if decision.verdict == Verdict::Deny {
                return self.deny_response(decision);
            }
        }
        let actions = decision.as_ref().map(|it| it.actions.as_slice());
        let mut step = self.change_response(body, &read, &found, actions.unwrap_or_default());
        step.logs = decision.map(|decision| decision.logs).unwrap_or_default();
        step
    }

    fn change_response(
        &mut self,
        body: &[u8],
        read: &ReadResponse,
        found: &[Found],
        actions: &[RequestedAction],
    ) -> Step {
        let mut redactions = std::mem::take(&mut self.redactions);
        let mut not_applied = Vec::new();
        let mut texts: Vec<TextEdit> = Vec::new();
        for asked in actions {
            let applied = match &asked.action {
                action @ ActionRequest::Redact { .. } => {
                    let redaction = Redaction::of(action).filter(Redaction::is_of_answer);
                    let is_some = redaction.is_some();
                    redactions.extend(redaction);
                    is_some
                }
                ActionRequest::Modify {
                    field,
                    value: jupiter_policy::ModifyValue::Text(with),
                    ..
                } if field == "response.content" => {
                    let length = read.facts.content.as_ref().map(String::len);
                    texts.extend(length.map(|length| TextEdit {
                        text: TextId::Content,
                        edit: Edit {
                            range: 0..length,
                            with: with.clone(),
                        },
                    }));
                    self.recorder.on_set(field);
                    true
                }
                ActionRequest::Tag { tags } => {
                    self.recorder.on_tags(tags);
                    true
                }
                _ => false,
            };
            if !applied {
                not_applied.push(named(asked));
            }
        }
        self.recorder.on_not_applied(not_applied);
        let set: Vec<TextId> = texts.iter().map(|edit| edit.text).collect();
        for (id, text) in edits::answer_texts(&read.facts) {
            if set.contains(&id) {
                continue;
            }
            let place = is_content(id);
            let redaction = redactions.iter().find(|it| it.covers_answer(place));
            let here = found
                .iter()
                .filter(|it| it.text == id && is_redacted(it.finding.kind));
            for (Found { finding, .. }, redaction) in here.zip(std::iter::repeat(redaction)) {
                let Some(redaction) = redaction else { continue };
                let range = finding.start..finding.end;
                let with = redaction.instead_of(text.get(range.clone()).unwrap_or_default());
                texts.push(TextEdit {
                    text: id,
                    edit: Edit { range, with },
                });
                self.recorder.on_redacted(&[Redacted {
                    place: answer_place(place).to_owned(),
                    kind: finding.kind,
                    method: redaction.method_name(),
                }]);
            }
            let restored = self.vault.restorations(text, 0..text.len());
            texts.extend(restored.into_iter().map(|edit| TextEdit { text: id, edit }));
        }
        self.answer = Answer::Judged;
        let mut step = Step::go(Flow::Continue);
        if texts.is_empty() {
            self.recorder.on_delivered(body);
            self.gather(body);
            return step;
        }
        match rewrite(body, &read.places, &texts, &[]) {
            Ok(changed) => {
                self.recorder.on_delivered(&changed);
                self.gather(&changed);
                if self.had_response_length {
                    step.set_headers
                        .push(("content-length", changed.len().to_string()));
                }
                step.body = Some(changed);
                step
            }
            Err(_) => self.unread_response(HOST_FAULT.code),
        }
    }

    /// A part of the answer could not be read, or not be kept.
    pub fn stop_reading_response(&mut self, reason: &'static str) {
        match &mut self.answer {
            Answer::Along(reader) => reader.give_up(reason),
            Answer::Guarded(guard) => guard.give_up(reason),
            _ => {}
        }
    }

    /// A held answer cannot be had, or not be kept.
    pub fn on_unreadable_response(&mut self, reason: &'static str) -> Step {
        match self.answer {
            Answer::Held => self.unread_response(reason),
            _ => Step::go(Flow::Continue),
        }
    }

    /// The answer cannot be read: the failure mode decides.
    fn unread_response(&mut self, reason: &'static str) -> Step {
        self.recorder.on_unscanned_response(reason);
        match self.settings.config.inspection.failure_mode {
            FailureMode::Closed => self.refuse_unread(reason),
            FailureMode::Open => {
                self.answer = Answer::Judged;
                self.stop_gathering(IdempotencyAnswer::Unreadable);
                Step::go(Flow::Continue)
            }
        }
    }

    fn refuse_unread(&mut self, reason: &'static str) -> Step {
        self.recorder.on_unscanned_response(reason);
        self.recorder
            .on_verdict(DecisionKind::Error, Some(UNREADABLE));
        // An error of the provider stays one that clients treat alike.
        let status = self.response_status.filter(|status| *status >= 400);
        let refusal = Refusal::new(status.unwrap_or(502), UNREADABLE, None);
        self.withhold(refusal, UNREADABLE_MESSAGE)
    }

    fn deny_response(&mut self, decision: &Decision) -> Step {
        let (refusal, message) = Refusal::denied(decision);
        let mut step = self.withhold(refusal, message);
        step.logs = decision.logs.clone();
        step
    }

    fn withhold(&mut self, refusal: Refusal<'_>, message: &str) -> Step {
        if !matches!(self.answer, Answer::Guarded(_)) {
            self.answer = Answer::Refused;
        }
        self.recorder.on_withheld();
        Step::go(refusal.respond(self.dialect, message, self.recorder.id()))
    }
}

pub(crate) const UNREADABLE: &str = "unreadable_response";
const UNREADABLE_MESSAGE: &str = "the provider's answer could not be inspected";

fn tally(found: &[Found]) -> Tally {
    let mut tally = Tally::default();
    for Found { text, finding } in found {
        let place = match is_content(*text) {
            true => Place::Response,
            false => Place::ResponseOther,
        };
        tally.add(*finding, place);
    }
    tally
}
