//! One exchange in its VM: what the inspector asks is done, and what it has to know is
//! asked of Envoy.

use super::Action;
use super::sending::{RECORDS, STORED, post};
use crate::host::abi::{self, Buffer, HostError, Level, Map};
use crate::host::token;
use crate::inspector::{Flow, Inspector, LocalResponse, PROBE_HEADER, RequestHead, Step};
use crate::record::ExchangeEnd;
use crate::subject::SubjectConfig;
use jupiter_evidence::{Envelope, EvidenceRecord};
use jupiter_policy::LogLevel;

/// The witness: Envoy's access log shows it as `wasm.mercator.evidence`.
const EVIDENCE_PROPERTY: &str = "mercator.evidence";

/// Why a body is not read, as records name it.
pub(super) const FAULT: &str = "filter_fault";

#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) root: u32,
    pub(super) inspector: Inspector,
    /// Its part of [`Vm::kept_bytes`].
    pub(super) kept: usize,
    /// Its part of [`Vm::gathered_bytes`].
    pub(super) gathered: usize,
    /// What had to be said is said: nothing more of the answer leaves.
    pub(super) closing: bool,
    /// The call without whose answer the request does not go on.
    pub(super) awaits: Option<u32>,
    /// How long reading and deciding on the request took, once it did.
    pub(super) inspection_us: Option<u64>,
}

impl Exchange {
    /// Does what the inspector asks, asking it again when it wants the body.
    pub(super) fn carry_out(&mut self, step: Step, map: Map, buffered: usize) -> Action {
        let step = match step.flow {
            Flow::ReadBody => self.read_body(map, buffered),
            _ => step,
        };
        for line in &step.logs {
            abi::log(
                level(line.level),
                &printable(&line.message, &line.policy, &line.rule),
            );
        }
        match &step.flow {
            Flow::Store => match apply(&step, map) {
                Ok(()) => self.store_first(),
                Err(error) => self.fail(map, error),
            },
            Flow::Claim => match apply(&step, map) {
                Ok(()) => self.claim(),
                Err(error) => self.fail(map, error),
            },
            Flow::Hold | Flow::ReadBody => match apply(&step, map) {
                Ok(()) => Action::Pause,
                Err(error) => self.fail(map, error),
            },
            Flow::Continue | Flow::Close => {
                if let Err(error) = apply(&step, map) {
                    return self.fail(map, error);
                }
                self.closing |= step.flow == Flow::Close;
                if matches!(map, Map::Request) {
                    self.witness_provisionally();
                }
                Action::Continue
            }
            Flow::Respond(response) => {
                respond(response);
                Action::Pause
            }
        }
    }

    /// Sends the record to where it is stored; its request waits.
    fn store_first(&mut self) -> Action {
        let config = self.inspector.evidence_config();
        let line = envelope(&self.inspector.intent(), &self.inspector);
        let line = line.ok_or("it cannot be written".to_owned());
        let call = line.and_then(|line| {
            let timeout_ms = config.store_timeout_ms;
            post(config, &config.intent_path, RECORDS, &line, timeout_ms).map_err(|e| e.to_string())
        });
        match call {
            Ok(token) => {
                self.awaits = Some(token);
                Action::Pause
            }
            Err(error) => {
                abi::log(Level::Error, &format!("record not stored first: {error}"));
                let step = self.inspector.on_not_stored();
                self.carry_out(step, Map::Request, 0)
            }
        }
    }

    /// Asks a control plane whose the key is; its request waits.
    fn claim(&mut self) -> Action {
        let call = self.inspector.claim().ok_or("there is no key".to_owned());
        let call = call.and_then(|(config, claim)| {
            let evidence = self.inspector.evidence_config();
            let body = serde_json::to_string(claim).map_err(|e| e.to_string())?;
            let timeout_ms = config.timeout_ms;
            let call = post(
                evidence,
                &config.path,
                "application/json",
                &body,
                timeout_ms,
            );
            call.map_err(|e| e.to_string())
        });
        match call {
            Ok(token) => {
                self.awaits = Some(token);
                Action::Pause
            }
            Err(error) => {
                abi::log(Level::Error, &format!("key not claimed: {error}"));
                let step = self.inspector.on_claim_answered(None, b"", abi::now_us());
                self.carry_out(step, Map::Request, 0)
            }
        }
    }

    /// Lets the request go on, lets it wait for the next answer, or refuses it.
    pub(super) fn on_answered(&mut self, status: Option<u16>, body: &[u8]) {
        self.awaits = None;
        let step = if self.inspector.is_claiming() {
            self.inspector
                .on_claim_answered(status, body, abi::now_us())
        } else if status == Some(STORED) {
            self.inspector.on_stored();
            Step::go(Flow::Continue)
        } else {
            self.inspector.on_not_stored()
        };
        if self.carry_out(step, Map::Request, 0) == Action::Continue
            && let Err(error) = abi::continue_request()
        {
            // It stays held, so it cannot pass; Envoy times it out.
            abi::log(Level::Error, &format!("request not resumed: {error}"));
        }
    }

    pub(super) fn read_body(&mut self, map: Map, buffered: usize) -> Step {
        let inspector = &mut self.inspector;
        match (map, abi::buffer(body_of(map), buffered)) {
            (Map::Request, Ok(body)) => {
                let began = abi::now_us();
                let step = inspector.on_complete_request(&body.unwrap_or_default());
                self.inspection_us = Some(abi::now_us().saturating_sub(began));
                step
            }
            (_, Ok(body)) => inspector.on_complete_response(&body.unwrap_or_default()),
            (map, Err(error)) => {
                abi::log(Level::Error, &format!("body not read: {error}"));
                match map {
                    Map::Request => inspector.on_unreadable_body(),
                    _ => inspector.on_unreadable_response(FAULT),
                }
            }
        }
    }

    /// What should have changed did not: nothing may pass.
    pub(super) fn fail(&mut self, map: Map, error: HostError) -> Action {
        abi::log(Level::Error, &format!("message not changed: {error}"));
        self.inspector.on_change_failed();
        match map {
            Map::Request => respond(&fault()),
            _ => close_response(),
        }
        Action::Pause
    }

    /// Should the VM die before the exchange ends, this is what is known of it.
    fn witness_provisionally(&self) {
        let provisional = self.inspector.provisional();
        let line = provisional.and_then(|record| envelope(&record, &self.inspector));
        if let Some(line) = line {
            witness(&line);
        }
    }
}

/// A record that is not the last word on its exchange.
fn envelope(record: &EvidenceRecord, inspector: &Inspector) -> Option<String> {
    let (salt, subject) = inspector.beside();
    Envelope::write(
        &record.to_canonical().ok()?,
        &salt,
        subject.as_deref(),
        true,
    )
    .ok()
}

/// Headers and body as the inspector wants them.
pub(super) fn apply(step: &Step, map: Map) -> Result<(), HostError> {
    for name in &step.remove_headers {
        abi::remove_header(map, name)?;
    }
    for (name, value) in &step.set_headers {
        abi::set_header(map, name, value)?;
    }
    match &step.body {
        Some(body) => abi::set_buffer(body_of(map), body),
        None => Ok(()),
    }
}

fn body_of(map: Map) -> Buffer {
    match map {
        Map::Request => Buffer::RequestBody,
        Map::Response | Map::CallResponse => Buffer::ResponseBody,
    }
}

pub(super) fn close_response() {
    if let Err(error) = abi::close_response() {
        // It stays as it is, held or without its end, until Envoy times it out.
        abi::log(Level::Error, &format!("answer not broken off: {error}"));
    }
}

pub(super) fn witness(line: &str) {
    if let Err(error) = abi::set_property(EVIDENCE_PROPERTY, line) {
        abi::log(Level::Error, &format!("witness not told: {error}"));
    }
}

pub(super) fn respond(response: &LocalResponse) {
    let headers: Vec<_> = response
        .headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let sent =
        abi::send_local_response(response.status, &response.details, &headers, &response.body);
    if let Err(error) = sent {
        // The request stays held, so it cannot pass unjudged; Envoy times it out.
        abi::log(Level::Error, &format!("refusal not sent: {error}"));
    }
}

pub(super) fn fault() -> LocalResponse {
    LocalResponse {
        status: 503,
        headers: vec![],
        body: String::new(),
        details: "mercator_filter_fault".to_owned(),
    }
}

pub(super) fn request_head(subject: &SubjectConfig) -> RequestHead {
    let headers = abi::headers(Map::Request);
    let header = |name: &str| headers.get(name);
    RequestHead {
        method: header(":method").unwrap_or_default(),
        path: header(":path").unwrap_or_default(),
        authorization: header("authorization"),
        x_api_key: header("x-api-key"),
        anthropic_version: header("anthropic-version"),
        content_encoding: header("content-encoding"),
        content_length: header("content-length").and_then(|length| length.parse().ok()),
        request_id: header("x-request-id"),
        traceparent: header("traceparent"),
        client_ip: abi::property(&["source", "address"])
            .map(|address| without_port(&String::from_utf8_lossy(&address)).to_owned()),
        token: subject.jwt.as_ref().map(token::read).unwrap_or_default(),
        subject_header: subject.header.as_ref().and_then(|rule| header(&rule.name)),
        is_probe: header(PROBE_HEADER).is_some(),
        idempotency_key: header("idempotency-key"),
    }
}

/// `10.0.0.1:80` and `[::1]:80` without their ports.
fn without_port(address: &str) -> &str {
    address
        .rsplit_once(':')
        .map_or(address, |(host, _)| host)
        .trim_matches(['[', ']'])
}

pub(super) fn exchange_end() -> ExchangeEnd {
    let status = abi::property(&["response", "code"])
        .and_then(|bytes| bytes.try_into().ok())
        .map(i64::from_le_bytes)
        .and_then(|status| u16::try_from(status).ok());
    let details = abi::property(&["response", "code_details"])
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    ExchangeEnd {
        time_unix_us: abi::now_us(),
        status,
        details,
    }
}

fn level(level: LogLevel) -> Level {
    match level {
        LogLevel::Debug => Level::Debug,
        LogLevel::Info => Level::Info,
        LogLevel::Warn => Level::Warn,
        LogLevel::Error => Level::Error,
    }
}

/// One line, whatever a model name or a user field holds.
fn printable(message: &str, policy: &str, rule: &str) -> String {
    let message: String = message
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    format!("policy={policy} rule={rule} {message}")
}
