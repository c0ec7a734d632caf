//! The request: held until it is whole, then decided, changed, sent on or refused.

use super::edits::{self, Target};
use super::findings::{self, Found, Tally};
use super::refusal::{
    HOST_FAULT, NO_BUNDLE, NO_EVIDENCE, NO_ROOM, PROBE, Refusal, STALE_BUNDLE, TOO_LARGE,
    UNKNOWN_API, UNSUPPORTED_ENCODING,
};
use super::{BUNDLE_DIGEST_HEADER, Flow, Inspector, LocalResponse, RequestHead, State, Step};
use crate::config::{FailureMode, OnFull, UnknownApi};
use crate::estimate::estimate;
use crate::subject::identify;
use crate::usage::Asked;
use jupiter_evidence::DecisionKind;
use jupiter_policy::facts::RequestFacts;
use jupiter_policy::{Decision, Needs, OnError, Verdict, decide};
use jupiter_provider::{Api, Dialect, ReadRequest, read_request, rewrite};
use jupiter_tokens::prices::price_of;
use std::rc::Rc;

impl Inspector {
    /// The request's headers; `end` says that nothing follows them.
    pub fn on_request_headers(&mut self, head: RequestHead, end: bool, outbox_full: bool) -> Step {
        let path = head.path.split(['?', '#']).next().unwrap_or_default();
        if head.method == "GET" && path == "/health" {
            self.state = State::Bypassed;
            return self.health();
        }
        if path == "/health/deep" {
            self.state = State::Bypassed;
            return Step::go(Flow::Continue);
        }
        let api = Api::of(&head.method, path);
        self.api = api;
        self.had_request_length = head.content_length.is_some();
        self.is_probe = head.is_probe;
        self.dialect = api
            .and_then(Api::dialect)
            .unwrap_or(match &head.anthropic_version {
                Some(_) => Dialect::Anthropic,
                None => Dialect::OpenAi,
            });
        self.recorder.on_request(&head, path, api, self.dialect);
        self.facts.context.client_ip = head.client_ip.clone();
        match identify(&self.settings.config.subject, &head) {
            Ok(subject) => {
                self.recorder.on_subject(subject.id);
                self.facts.context.user_id = subject.user_id;
                self.facts.context.user_attributes = subject.attributes;
            }
            Err(unidentified) => {
                let refusal = Refusal::new(401, unidentified.code(), None);
                return self.refuse(refusal, &unidentified.to_string());
            }
        }
        if let Some(refused) = self.on_key(&head) {
            return refused;
        }

        if self.settings.bundle.is_none() {
            return self.refuse(NO_BUNDLE, "no policy is in force yet");
        }
        if self.is_stale() && self.settings.config.inspection.failure_mode == FailureMode::Closed {
            let message = "the policies in force were not confirmed for too long";
            return self.refuse(STALE_BUNDLE, message);
        }
        if outbox_full && self.settings.config.evidence.on_full == OnFull::Deny {
            return self.refuse(NO_EVIDENCE, "evidence of this exchange could not be kept");
        }
        let Some(api) = api else {
            return self.unknown_api(path);
        };
        if head
            .content_encoding
            .as_deref()
            .is_some_and(|e| !e.eq_ignore_ascii_case("identity"))
        {
            return self.unread(
                UNSUPPORTED_ENCODING,
                "send the body without content-encoding",
            );
        }
        if head
            .content_length
            .is_some_and(|n| n > self.settings.config.inspection.max_body_bytes)
        {
            return self.too_large();
        }
        self.state = State::Holding(Some(api));
        if end {
            self.on_complete_request(b"")
        } else {
            Step::go(Flow::Hold)
        }
    }

    /// `buffered` bytes of the body are held so far.
    pub fn on_request_body(&mut self, buffered: usize, end: bool) -> Step {
        match self.state {
            State::Holding(_)
                if buffered as u64 > self.settings.config.inspection.max_body_bytes =>
            {
                self.recorder.on_request_bytes(buffered);
                self.too_large()
            }
            State::Holding(_) if end => Step::go(Flow::ReadBody),
            State::Holding(_) => Step::go(Flow::Hold),
            State::Claiming(_) | State::Storing(_) => {
                self.recorder.on_request_size(buffered);
                Step::go(Flow::Hold)
            }
            State::Passing => {
                self.recorder.on_request_bytes(buffered);
                Step::go(Flow::Continue)
            }
            State::Refused | State::Replayed => Step::go(Flow::Hold),
            State::Bypassed => Step::go(Flow::Continue),
        }
    }

    /// Trailers end a request too.
    pub fn on_request_trailers(&mut self) -> Step {
        match self.state {
            State::Holding(_) => Step::go(Flow::ReadBody),
            State::Refused | State::Replayed | State::Claiming(_) | State::Storing(_) => {
                Step::go(Flow::Hold)
            }
            State::Passing | State::Bypassed => Step::go(Flow::Continue),
        }
    }

    /// So many bytes of so many exchanges are held that this one must not wait with them.
    pub fn on_no_room(&mut self) -> Step {
        match self.state {
            State::Holding(_) => self.unread(NO_ROOM, "too many requests are being held"),
            _ => Step::go(Flow::Continue),
        }
    }

    /// The whole body is there: decide.
    pub fn on_complete_request(&mut self, body: &[u8]) -> Step {
        let State::Holding(Some(api)) = self.state else {
            return Step::go(Flow::Hold);
        };
        let settings = Rc::clone(&self.settings);
        let Some(in_force) = &settings.bundle else {
            return self.refuse(NO_BUNDLE, "no policy is in force yet");
        };
        self.recorder.on_request_body(body);
        let mut read = match read_request(api, body) {
            Ok(read) => read,
            Err(unreadable) => {
                let refusal = Refusal::new(400, unreadable.code(), None);
                return self.unread(refusal, &unreadable.to_string());
            }
        };
        self.recorder.on_read(&read, body.is_empty());
        let needs = in_force.bundle.needs();
        let found = self.analyse(&read.facts, needs);
        let model = read.facts.model.as_deref().unwrap_or_default();
        let price = price_of(model, &settings.config.prices);
        self.recorder.on_price(price);
        if let Some(exact_from) = needs.estimates {
            let estimate = estimate(api, &read.facts, price, exact_from);
            self.facts.processing.token_estimate = estimate.tokens;
            self.facts.processing.cost_estimate = estimate.cost;
        }
        self.facts.request = std::mem::take(&mut read.facts);
        let decision = decide(&in_force.bundle, &self.facts);
        self.recorder.on_decision(&decision);
        self.is_decided = true;
        let mut step = match decision.verdict {
            Verdict::Deny => {
                let asked = decision.actions.iter().map(edits::named);
                self.recorder.on_not_applied(asked.collect());
                let (refusal, message) = Refusal::denied(&decision);
                self.respond(refusal, message)
            }
            Verdict::Allow if self.is_probe => self.end_probe(),
            Verdict::Allow => self.change_request(api, body, &read, &found, &decision),
        };
        step.logs = decision.logs;
        if self.state != State::Refused && api.generates() {
            self.recorder.on_asked(Asked::of(&self.facts.request));
        }
        self.forget_request(needs);
        step
    }

    /// Asks the detectors, where rules want to know.
    fn analyse(&mut self, facts: &RequestFacts, needs: Needs) -> Vec<Found> {
        if !needs.request_findings {
            return vec![];
        }
        let found = findings::of_request(facts);
        for Found { text, finding } in &found {
            self.recorder
                .on_finding(&edits::place(*text), finding.kind, 1);
        }
        let tally = Tally::of_request(&found);
        self.facts.processing.content_analysis = tally.analysis();
        self.facts.processing.findings = Some(tally.places().to_vec());
        found
    }

    fn change_request(
        &mut self,
        api: Api,
        body: &[u8],
        read: &ReadRequest,
        found: &[Found],
        decision: &Decision,
    ) -> Step {
        let target = Target {
            api,
            body,
            facts: &self.facts.request,
            found,
        };
        let mut vault = std::mem::take(&mut self.vault);
        let changes = edits::of_request(&decision.actions, &target, &mut vault);
        self.vault = vault;
        self.recorder.on_not_applied(changes.not_applied.clone());
        self.recorder.on_tags(&changes.tags);
        if changes.is_empty() {
            self.redactions = changes.of_answer;
            return self.pass(Some(body), decision.store_first);
        }
        let Ok(changed) = rewrite(body, &read.places, &changes.texts, &changes.members) else {
            return self.unread(
                HOST_FAULT,
                "the request could not be changed as a rule asks",
            );
        };
        self.redactions = changes.of_answer;
        self.recorder.on_redacted(&changes.redacted);
        changes
            .set
            .iter()
            .for_each(|field| self.recorder.on_set(field));
        self.recorder.on_forwarded(&changed);
        let mut step = self.pass(Some(body), decision.store_first);
        // A length that is not the body's makes a second request of what is left over.
        if self.had_request_length {
            step.set_headers
                .push(("content-length", changed.len().to_string()));
        }
        step.body = Some(changed);
        step
    }

    /// Keeps of the request what rules on its answer may ask for.
    fn forget_request(&mut self, needs: Needs) {
        if !needs.response {
            self.facts.request = RequestFacts::default();
        } else if !needs.request_text_in_response {
            let request = &mut self.facts.request;
            request.other_texts = vec![];
            request
                .messages
                .iter_mut()
                .for_each(|it| it.content = String::new());
        }
    }

    /// The host could not change a message as it was told.
    pub fn on_change_failed(&mut self) {
        self.state = State::Refused;
        self.recorder
            .on_verdict(DecisionKind::Error, Some(HOST_FAULT.code));
    }

    /// The host could not hand over the body.
    pub fn on_unreadable_body(&mut self) -> Step {
        self.unread(HOST_FAULT, "the request could not be read")
    }

    fn is_stale(&self) -> bool {
        self.settings.is_stale(self.facts.context.time_unix_us)
    }

    fn health(&self) -> Step {
        let (status, body, digest) = match &self.settings.bundle {
            Some(in_force) if self.is_stale() => (
                match self.settings.config.inspection.failure_mode {
                    FailureMode::Closed => 503,
                    FailureMode::Open => 200,
                },
                r#"{"status":"stale policy bundle"}"#,
                Some(in_force.digest.clone()),
            ),
            Some(in_force) => (200, r#"{"status":"ok"}"#, Some(in_force.digest.clone())),
            None => (503, r#"{"status":"no policy bundle"}"#, None),
        };
        let mut headers = vec![("content-type", "application/json".to_owned())];
        headers.extend(digest.map(|digest| (BUNDLE_DIGEST_HEADER, digest)));
        let details = "mercator_health".to_owned();
        Step::go(Flow::Respond(LocalResponse {
            status,
            headers,
            body: body.to_owned(),
            details,
        }))
    }

    fn unknown_api(&mut self, path: &str) -> Step {
        let governed = path.starts_with(&self.settings.config.inspection.governed_prefix);
        match self.settings.config.inspection.unknown_api {
            UnknownApi::Deny => {
                self.recorder.on_unscanned_request(UNKNOWN_API.code);
                let message = match governed {
                    true => "this API is not one that can be inspected",
                    false => "this path leads to no provider API",
                };
                self.refuse(UNKNOWN_API, message)
            }
            UnknownApi::Allow => {
                self.recorder.on_unscanned_request(UNKNOWN_API.code);
                self.recorder.on_verdict(DecisionKind::Allow, None);
                self.pass_unread()
            }
        }
    }

    fn too_large(&mut self) -> Step {
        let limit = self.settings.config.inspection.max_body_bytes;
        self.unread(
            TOO_LARGE,
            &format!("the request body is larger than {limit} bytes"),
        )
    }

    /// The request cannot be read: the failure mode decides.
    fn unread(&mut self, refusal: Refusal<'_>, message: &str) -> Step {
        self.recorder.on_unscanned_request(refusal.code);
        match self.settings.config.inspection.failure_mode {
            FailureMode::Closed => {
                self.recorder
                    .on_verdict(DecisionKind::Error, Some(refusal.code));
                self.respond(refusal, message)
            }
            FailureMode::Open => {
                self.recorder
                    .on_verdict(DecisionKind::Error, Some(refusal.code));
                self.pass_unread()
            }
        }
    }

    /// What nobody could judge goes on: whatever asks for evidence first is heard.
    fn pass_unread(&mut self) -> Step {
        let bundle = self.settings.bundle.as_ref();
        let store_first = bundle.and_then(|in_force| in_force.bundle.needs().store_first);
        self.pass(None, store_first)
    }

    /// The record is stored: the request may leave.
    pub fn on_stored(&mut self) {
        if let State::Storing(_) = self.state {
            self.state = State::Passing;
            self.recorder.on_stored_first(true);
        }
    }

    /// The record could not be stored, or nobody knows whether it was.
    pub fn on_not_stored(&mut self) -> Step {
        let State::Storing(on_error) = self.state else {
            return Step::go(Flow::Hold);
        };
        self.recorder.on_stored_first(false);
        match on_error {
            OnError::Closed => {
                let message = "evidence of this exchange could not be stored before it goes on";
                self.refuse(NO_EVIDENCE, message)
            }
            OnError::Open => {
                self.state = State::Passing;
                Step::go(Flow::Continue)
            }
        }
    }

    /// `body`: as the client sent it, if it was read.
    fn pass(&mut self, body: Option<&[u8]>, store_first: Option<OnError>) -> Step {
        if self.is_probe {
            return self.end_probe();
        }
        let flow = match self.key {
            Some(_) => self.keyed(body, store_first),
            None => self.send(store_first),
        };
        let mut step = Step::go(flow);
        // An encoded answer could not be read along.
        step.set_headers
            .push(("accept-encoding", "identity".to_owned()));
        step
    }

    /// Nothing but its record may keep it any more.
    pub(super) fn send(&mut self, store_first: Option<OnError>) -> Flow {
        let (state, flow) = match store_first {
            Some(on_error) => (State::Storing(on_error), Flow::Store),
            None => (State::Passing, Flow::Continue),
        };
        self.state = state;
        flow
    }

    fn end_probe(&mut self) -> Step {
        self.refuse(
            PROBE,
            "this request only asks whether policies are enforced",
        )
    }

    pub(super) fn refuse(&mut self, refusal: Refusal<'_>, message: &str) -> Step {
        self.recorder
            .on_verdict(DecisionKind::Deny, Some(refusal.code));
        self.respond(refusal, message)
    }

    fn respond(&mut self, refusal: Refusal<'_>, message: &str) -> Step {
        self.state = State::Refused;
        Step::go(refusal.respond(self.dialect, message, self.recorder.id()))
    }
}
