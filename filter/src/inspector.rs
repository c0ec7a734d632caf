//! Follows one exchange: events in, steps out.
//!
//! INVARIANT: a request goes on ([`Flow::Continue`]) only after its verdict,
//! whichever way its end shows (headers, body, trailers), and where policies
//! want its record stored first ([`Flow::Store`]), or it has a key that others may
//! have ([`Flow::Claim`]), only after that. What is not read is
//! never told as `inspected`. The host carries out each [`Step`]; at the end
//! [`Inspector::finish`] gives the record, for refused, aborted and failed
//! exchanges alike.
//!
//! The request's side is in `request`, the answer's in `response`, streams in
//! `stream`, keys in `claim`, answers that are kept under them in `keep`; what detectors
//! find and what rules change is in `findings`, `edits` and `vault`.

mod claim;
mod edits;
mod findings;
mod keep;
mod refusal;
mod request;
mod response;
mod stream;
mod vault;

use crate::answers::Gathering;
use crate::bundles::Settings;
use crate::config::EvidenceConfig;
use crate::record::{Ending, ExchangeEnd, Recorder, Seed};
use crate::subject::{SubjectConfig, Token};
pub use claim::Claim;
use claim::Key;
pub(crate) use edits::Redacted;
use edits::Redaction;
use jupiter_evidence::EvidenceRecord;
use jupiter_policy::facts::{ContextFacts, Facts};
use jupiter_policy::{LogLine, OnError};
use jupiter_provider::{Api, Dialect};
use response::Answer;
pub(crate) use response::UNREADABLE as UNREADABLE_RESPONSE;
use std::rc::Rc;
pub(crate) use stream::StreamReport;
use vault::Vault;

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
    pub token: Token,
    /// The header that names the subject, where one is configured.
    pub subject_header: Option<String>,
    /// Only asks whether policies are enforced ([`PROBE_HEADER`]).
    pub is_probe: bool,
    pub idempotency_key: Option<String>,
}

/// What the host knows of an answer when its headers are there.
#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    pub status: Option<u16>,
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    pub has_content_length: bool,
    /// Those of [`KEPT_HEADERS`](crate::answers::KEPT_HEADERS) that it has, where
    /// [`Inspector::keeps_answer`].
    pub kept_headers: Vec<(&'static str, String)>,
}

/// What the host is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub flow: Flow,
    /// Headers to set on the message at hand.
    pub set_headers: Vec<(&'static str, String)>,
    pub remove_headers: Vec<&'static str>,
    /// What takes the place of the body, or of the part of it, at hand.
    pub body: Option<Vec<u8>>,
    pub logs: Vec<LogLine>,
}

/// Whether the message at hand goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flow {
    Continue,
    /// Keep it, more is to come.
    Hold,
    /// The message is complete: hand its body to [`Inspector::on_complete_request`]
    /// or [`Inspector::on_complete_response`].
    ReadBody,
    /// Keep it until [`Inspector::intent`] is stored; then [`Inspector::on_stored`] or
    /// [`Inspector::on_not_stored`].
    Store,
    /// Keep it until a control plane has said whose [`Inspector::claim`]'s key is; then
    /// [`Inspector::on_claim_answered`].
    Claim,
    Respond(LocalResponse),
    /// Let go what is at hand, then break off the answer.
    Close,
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
    /// Decided, and to go on when its key is its own; then whether its record is to be stored.
    Claiming(Option<OnError>),
    /// Decided, and to go on when its record is stored; what happens when it cannot be.
    Storing(OnError),
    /// On its way to the provider.
    Passing,
    /// Answered by us.
    Refused,
    /// Answered as an earlier one was.
    Replayed,
    /// Not ours to inspect: no record.
    Bypassed,
}

/// The header by which a client names a decision when it asks about it.
pub const DECISION_ID_HEADER: &str = "x-mercator-decision-id";
/// Told by `/health`, so that a control plane sees what is in force.
pub const BUNDLE_DIGEST_HEADER: &str = "x-mercator-bundle-digest";

/// A request with it is judged and recorded like any other, and never goes on:
/// a control plane sees by it that refusing works.
pub const PROBE_HEADER: &str = "x-mercator-probe";

/// One exchange.
#[derive(Debug)]
pub struct Inspector {
    settings: Rc<Settings>,
    state: State,
    api: Option<Api>,
    dialect: Dialect,
    recorder: Recorder,
    /// The context at first, then what rules on the answer may ask of the request.
    facts: Facts,
    had_request_length: bool,
    is_probe: bool,
    /// Until the request is decided.
    key: Option<Key>,
    /// From then on.
    claim: Option<Claim>,
    /// The request was read and decided upon by the bundle in force.
    is_decided: bool,
    vault: Vault,
    /// Of the answer, as the request's rules asked.
    redactions: Vec<Redaction>,
    answer: Answer,
    /// What the client gets of it, where that is kept.
    gathering: Option<Gathering>,
    response_status: Option<u16>,
    /// The last words on a stream were said.
    is_ended: bool,
    had_response_length: bool,
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
            facts: Facts {
                context,
                ..Facts::default()
            },
            had_request_length: false,
            is_probe: false,
            key: None,
            claim: None,
            is_decided: false,
            vault: Vault::default(),
            redactions: vec![],
            answer: Answer::None,
            gathering: None,
            response_status: None,
            is_ended: false,
            had_response_length: false,
        }
    }

    /// How the subject is told, for the host to read what that takes.
    pub fn subject_config(&self) -> &SubjectConfig {
        &self.settings.config.subject
    }

    /// What the exchange holds at the moment.
    pub fn kept_bytes(&self) -> usize {
        let answer = match &self.answer {
            Answer::Along(reader) => reader.kept_bytes(),
            Answer::Guarded(guard) => guard.kept_bytes(),
            Answer::None | Answer::Held | Answer::Judged | Answer::Refused => 0,
        };
        let request = self.facts.request.texts().map(str::len).sum::<usize>();
        answer + request + self.recorder.kept_bytes()
    }

    /// The record as it stands, for the witness; `None` where there is none to write.
    pub fn provisional(&self) -> Option<EvidenceRecord> {
        (self.state != State::Bypassed).then(|| self.recorder.provisional())
    }

    /// What has to be stored before the request leaves.
    pub fn intent(&self) -> EvidenceRecord {
        self.recorder.intent()
    }

    /// Where evidence goes.
    pub fn evidence_config(&self) -> &EvidenceConfig {
        &self.settings.config.evidence
    }

    /// The record of the finished exchange.
    pub fn finish(mut self, end: &ExchangeEnd) -> Option<EvidenceRecord> {
        let ending = match self.state {
            State::Bypassed => return None,
            State::Holding(_) => Ending::Undecided,
            State::Claiming(_) | State::Storing(_) => Ending::Unsent,
            State::Refused => Ending::Refused,
            State::Replayed => Ending::Replayed,
            State::Passing => Ending::Passed,
        };
        match self.answer {
            Answer::Along(reader) if reader.has_body() => {
                let complete = self.recorder.response_ended();
                self.recorder.on_summary(&reader.finish(complete));
            }
            Answer::Guarded(guard) => self.recorder.on_stream_report(guard.finish()),
            // Held to the end of the exchange: the provider or the client broke it off.
            Answer::Held => self.recorder.on_unscanned_response("cut"),
            Answer::Along(_) | Answer::None | Answer::Judged | Answer::Refused => {}
        }
        Some(self.recorder.finish(end, ending))
    }

    /// What travels beside the record: the salt of its digests, in hex, and who asks.
    pub fn beside(&self) -> (String, Option<String>) {
        let subject = self.recorder.subject().map(str::to_owned);
        (self.recorder.salt(), subject)
    }
}

impl Step {
    pub(crate) fn go(flow: Flow) -> Step {
        Step {
            flow,
            set_headers: vec![],
            remove_headers: vec![],
            body: None,
            logs: vec![],
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_answers;
#[cfg(test)]
mod tests_of_keys;
