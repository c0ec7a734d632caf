//! Follows one exchange: events in, steps out.
//!
//! INVARIANT: a request goes on ([`Flow::Continue`]) only after its verdict,
//! whichever way its end shows (headers, body, trailers). What is not read is
//! never told as `inspected`. The host carries out each [`Step`]; at the end
//! [`Inspector::finish`] gives the record, for refused, aborted and failed
//! exchanges alike.

use crate::bundles::Settings;
use crate::config::{FailureMode, OnFull, UnknownApi};
use crate::record::{ExchangeEnd, Recorder, Seed};
use jupiter_evidence::{DecisionKind, EvidenceRecord};
use jupiter_policy::facts::{ContextFacts, Facts};
use jupiter_policy::{LogLine, Verdict, decide};
use jupiter_provider::{
    Api, BodyKind, Dialect, ErrorBody, ResponseReader, error_body, read_request,
};
use std::rc::Rc;

/// What the host knows of a request when its headers are there.
#[derive(Debug, Clone, Default)]
pub struct RequestHead {
    pub method: String,
    /// As it stands on the wire, with its query.
    pub path: String,
    pub authorization: Option<String>,
    pub x_api_key: Option<String>,
    pub anthropic_version: Option<String>,
    pub content_encoding: Option<String>,
    pub content_length: Option<u64>,
    pub request_id: Option<String>,
    pub traceparent: Option<String>,
    pub client_ip: Option<String>,
}

/// What the host knows of an answer when its headers are there.
#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    pub status: Option<u16>,
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
}

/// What the host is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub flow: Flow,
    /// Headers to set on the message at hand.
    pub set_headers: Vec<(&'static str, String)>,
    pub logs: Vec<LogLine>,
}

/// Whether the message at hand goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flow {
    Continue,
    /// Keep it, more is to come.
    Hold,
    /// The request is complete: hand its body to [`Inspector::on_complete_request`].
    ReadBody,
    Respond(LocalResponse),
}

/// An answer of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalResponse {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    /// Short name of the reason, for Envoy's `RESPONSE_CODE_DETAILS`.
    pub details: String,
}

/// Where the request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Held; not yet decided.
    Holding(Option<Api>),
    /// On its way to the provider.
    Passing,
    /// Answered by us.
    Refused,
    /// Not ours to inspect: no record.
    Bypassed,
}

/// The header by which a client names a decision when it asks about it.
pub const DECISION_ID_HEADER: &str = "x-mercator-decision-id";
/// Told by `/health`, so that a control plane sees what is in force.
pub const BUNDLE_DIGEST_HEADER: &str = "x-mercator-bundle-digest";
/// Most of an answer, or of one event of a stream, that is kept to read it.
const RESPONSE_READ_LIMIT: usize = 1 << 20;

/// One exchange.
#[derive(Debug)]
pub struct Inspector {
    settings: Rc<Settings>,
    state: State,
    api: Option<Api>,
    dialect: Dialect,
    recorder: Recorder,
    context: ContextFacts,
    response: Option<ResponseReader>,
}

impl Inspector {
    pub fn new(settings: Rc<Settings>, seed: Seed) -> Inspector {
        let context = ContextFacts {
            environment: Some(settings.config.environment.clone()),
            time_unix_us: seed.time_unix_us,
            ..ContextFacts::default()
        };
        let recorder = Recorder::new(&settings, seed);
        let state = State::Holding(None);
        Inspector {
            settings,
            state,
            api: None,
            dialect: Dialect::OpenAi,
            recorder,
            context,
            response: None,
        }
    }

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
        self.dialect = api
            .and_then(Api::dialect)
            .unwrap_or(match &head.anthropic_version {
                Some(_) => Dialect::Anthropic,
                None => Dialect::OpenAi,
            });
        self.recorder.on_request(&head, path, api, self.dialect);
        self.context.user_id = self.recorder.subject().map(str::to_owned);
        self.context.client_ip = head.client_ip.clone();

        if self.settings.bundle.is_none() {
            return self.refuse(NO_BUNDLE, "no policy is in force yet");
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
            State::Passing => {
                self.recorder.on_request_bytes(buffered);
                Step::go(Flow::Continue)
            }
            State::Refused => Step::go(Flow::Hold),
            State::Bypassed => Step::go(Flow::Continue),
        }
    }

    /// Trailers end a request too.
    pub fn on_request_trailers(&mut self) -> Step {
        match self.state {
            State::Holding(_) => Step::go(Flow::ReadBody),
            State::Refused => Step::go(Flow::Hold),
            State::Passing | State::Bypassed => Step::go(Flow::Continue),
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
        let read = match read_request(api, body) {
            Ok(read) => read,
            Err(unreadable) => {
                let refusal = Refusal {
                    status: 400,
                    code: unreadable.code(),
                    retry: None,
                };
                return self.unread(refusal, &unreadable.to_string());
            }
        };
        self.recorder.on_read(&read, body.is_empty());
        let facts = Facts {
            request: read.facts,
            context: self.context.clone(),
            ..Facts::default()
        };
        let decision = decide(&in_force.bundle, &facts);
        self.recorder.on_decision(&decision);
        let mut step = match (decision.verdict, decision.denial) {
            (Verdict::Allow, _) => self.pass(),
            (Verdict::Deny, Some(denial)) => {
                let refusal = Refusal {
                    status: 403,
                    code: &denial.code,
                    retry: None,
                };
                self.respond(refusal, &denial.message)
            }
            (Verdict::Deny, None) => {
                let refusal = Refusal {
                    status: 403,
                    code: "policy_violation",
                    retry: None,
                };
                self.respond(refusal, "refused by policy")
            }
        };
        step.logs = decision.logs;
        step
    }

    /// The host could not hand over the body.
    pub fn on_unreadable_body(&mut self) -> Step {
        self.unread(HOST_FAULT, "the request could not be read")
    }

    /// The answer's headers, of the provider or of Envoy itself.
    pub fn on_response_headers(&mut self, head: &ResponseHead, end: bool) -> Step {
        if self.state == State::Bypassed {
            return Step::go(Flow::Continue);
        }
        self.recorder.on_response_status(head.status);
        if self.state == State::Passing {
            let (api, kind) = match self.api {
                Some(api) => {
                    let encoding = head.content_encoding.as_deref();
                    (api, BodyKind::of(head.content_type.as_deref(), encoding))
                }
                None => (Api::Models, BodyKind::Opaque(UNKNOWN_API.code)),
            };
            if kind == BodyKind::EventStream {
                self.recorder.on_stream();
            }
            self.response = Some(ResponseReader::new(api, kind, RESPONSE_READ_LIMIT));
            if end {
                self.recorder.on_response_end();
            }
        }
        let mut step = Step::go(Flow::Continue);
        step.set_headers
            .push((DECISION_ID_HEADER, self.recorder.id()));
        step
    }

    /// Whether the body of the answer is to be handed over.
    pub fn wants_response_body(&self) -> bool {
        self.state == State::Passing
    }

    /// The next bytes of the answer; they pass as they are.
    pub fn on_response_body(&mut self, bytes: &[u8], end: bool) {
        if self.state != State::Passing {
            return;
        }
        self.recorder.on_response_bytes(bytes);
        if let Some(reader) = &mut self.response {
            reader.push(bytes);
        }
        if end {
            self.recorder.on_response_end();
        }
    }

    /// Trailers end an answer too.
    pub fn on_response_trailers(&mut self) {
        self.recorder.on_response_end();
    }

    /// What reading the answer along holds at the moment.
    pub fn kept_bytes(&self) -> usize {
        self.response.as_ref().map_or(0, ResponseReader::kept_bytes)
    }

    /// A part of the answer could not be read, or not be kept.
    pub fn stop_reading_response(&mut self, reason: &'static str) {
        if let Some(reader) = &mut self.response {
            reader.give_up(reason);
        }
    }

    /// The record as it stands, for the witness; `None` where there is none to write.
    pub fn provisional(&self) -> Option<EvidenceRecord> {
        (self.state != State::Bypassed).then(|| self.recorder.provisional())
    }

    /// The record of the finished exchange.
    pub fn finish(mut self, end: &ExchangeEnd) -> Option<EvidenceRecord> {
        if self.state == State::Bypassed {
            return None;
        }
        let undecided = matches!(self.state, State::Holding(_));
        let refused = self.state == State::Refused;
        Some(
            self.recorder
                .finish(end, self.response.take(), undecided, refused),
        )
    }

    /// Of the body digests, in hex.
    pub fn salt(&self) -> String {
        self.recorder.salt()
    }

    fn health(&self) -> Step {
        let (status, body, digest) = match &self.settings.bundle {
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
                self.pass()
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
                self.pass()
            }
        }
    }

    fn pass(&mut self) -> Step {
        self.state = State::Passing;
        let mut step = Step::go(Flow::Continue);
        // An encoded answer could not be read along.
        step.set_headers
            .push(("accept-encoding", "identity".to_owned()));
        step
    }

    fn refuse(&mut self, refusal: Refusal<'_>, message: &str) -> Step {
        self.recorder
            .on_verdict(DecisionKind::Deny, Some(refusal.code));
        self.respond(refusal, message)
    }

    fn respond(&mut self, refusal: Refusal<'_>, message: &str) -> Step {
        self.state = State::Refused;
        let Refusal {
            status,
            code,
            retry,
        } = refusal;
        let decision_id = self.recorder.id();
        let body = error_body(
            self.dialect,
            ErrorBody {
                status,
                code,
                message,
                decision_id: &decision_id,
            },
        );
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            (DECISION_ID_HEADER, decision_id),
        ];
        headers.push(match retry {
            Some(seconds) => ("retry-after", seconds.to_string()),
            None => ("x-should-retry", "false".to_owned()),
        });
        let details = format!("mercator_{}", refusal.details());
        Step::go(Flow::Respond(LocalResponse {
            status,
            headers,
            body,
            details,
        }))
    }
}

impl Step {
    fn go(flow: Flow) -> Step {
        Step {
            flow,
            set_headers: vec![],
            logs: vec![],
        }
    }
}

/// How a request is refused: status and stable code, and whether and when a
/// repetition makes sense.
#[derive(Debug, Clone, Copy)]
struct Refusal<'a> {
    status: u16,
    code: &'a str,
    retry: Option<u32>,
}

impl Refusal<'_> {
    /// Envoy shows details in logs and statistics; a policy's own code may hold anything.
    fn details(&self) -> &str {
        let plain = self
            .code
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if plain { self.code } else { "policy_violation" }
    }
}

const NO_BUNDLE: Refusal<'_> = Refusal {
    status: 503,
    code: "no_policy_bundle",
    retry: Some(1),
};
const NO_EVIDENCE: Refusal<'_> = Refusal {
    status: 503,
    code: "evidence_unavailable",
    retry: Some(1),
};
const UNKNOWN_API: Refusal<'_> = Refusal {
    status: 403,
    code: "unknown_api",
    retry: None,
};
const TOO_LARGE: Refusal<'_> = Refusal {
    status: 413,
    code: "body_too_large",
    retry: None,
};
const UNSUPPORTED_ENCODING: Refusal<'_> = Refusal {
    status: 415,
    code: "unsupported_content_encoding",
    retry: None,
};
const HOST_FAULT: Refusal<'_> = Refusal {
    status: 503,
    code: "filter_fault",
    retry: Some(1),
};

#[cfg(test)]
mod tests;
