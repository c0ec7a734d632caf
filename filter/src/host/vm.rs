//! What one VM keeps: its configurations, its exchanges, its outbox.
//!
//! Several root contexts live in one VM while a configuration is replaced;
//! they share the emitter chain and the outbox, so a replacement neither
//! breaks the sequence nor loses a record.

use super::abi::{self, Buffer, HostError, Level, Map};
use super::metrics::Metrics;
use super::token;
use crate::answers::{AnswerLine, KEPT_HEADERS};
use crate::bundles::Settings;
use crate::config::EvidenceConfig;
use crate::inspector::{
    Flow, Inspector, LocalResponse, PROBE_HEADER, RequestHead, ResponseHead, Step,
};
use crate::outbox::{Delivery, Outbox};
use crate::record::{ExchangeEnd, Seed};
use crate::subject::SubjectConfig;
use jupiter_evidence::{EmitterChain, Envelope, EvidenceRecord, IdempotencyAnswer, Outcome};
use jupiter_policy::LogLevel;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::rc::Rc;

/// How often the outbox is looked at.
const TICK_MS: u32 = 100;
/// The witness: Envoy's access log shows it as `wasm.mercator.evidence`.
const EVIDENCE_PROPERTY: &str = "mercator.evidence";

/// The answer that says: durably stored.
const STORED: u16 = 204;

/// Records, one a line.
const RECORDS: &str = "application/x-ndjson";

/// Most that all exchanges may hold together: bodies that Envoy buffers for us,
/// and what reading along and judging keep here. With the outbox, answers to be kept
/// and one request's parse tree it stays below the VM's memory (128 MiB).
const MAX_KEPT_BYTES: usize = 48 << 20;

/// Most that answers to be kept may take together, in their exchanges and on their
/// way. What is more is not kept; it delays and refuses nothing.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Whether Envoy may go on with the message at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Continue = 0,
    Pause = 1,
}

/// One VM.
#[derive(Debug, Default)]
pub(super) struct Vm {
    roots: BTreeMap<u32, Root>,
    exchanges: BTreeMap<u32, Exchange>,
    emitter: Option<EmitterState>,
    outbox: Outbox,
    /// Answers to be kept.
    answers: Outbox,
    metrics: Metrics,
    /// Of all exchanges together.
    kept_bytes: usize,
    /// Of answers that exchanges gather.
    gathered_bytes: usize,
    /// The exchange that waits for each call of its own.
    waiting: BTreeMap<u32, u32>,
    /// Exchanges whose answer is to be broken off.
    closing: Vec<u32>,
}

#[derive(Debug, Default)]
struct Root {
    settings: Option<Rc<Settings>>,
    /// Calls of the outboxes.
    awaits: Vec<u32>,
    closing: bool,
}

#[derive(Debug)]
struct Exchange {
    root: u32,
    inspector: Inspector,
    /// Its part of [`Vm::kept_bytes`].
    kept: usize,
    /// Its part of [`Vm::gathered_bytes`].
    gathered: usize,
    /// What had to be said is said: nothing more of the answer leaves.
    closing: bool,
    /// The call without whose answer the request does not go on.
    awaits: Option<u32>,
    /// How long reading and deciding on the request took, once it did.
    inspection_us: Option<u64>,
}

#[derive(Debug)]
struct EmitterState {
    chain: EmitterChain,
    secret: [u8; 32],
    exchanges: u64,
}

impl EmitterState {
    fn start() -> Result<EmitterState, HostError> {
        let (epoch, secret) = (abi::random()?, abi::random()?);
        Ok(EmitterState {
            chain: EmitterChain::start(epoch),
            secret,
            exchanges: 0,
        })
    }

    /// Ids and salts nobody can foresee, without asking the host each time.
    fn seed(&mut self) -> Seed {
        self.exchanges += 1;
        let mut hasher = Sha256::new();
        hasher.update(self.secret);
        hasher.update(self.exchanges.to_le_bytes());
        let random: [u8; 32] = hasher.finalize().into();
        let (mut id_random, mut salt) = ([0; 10], [0; 16]);
        let mut source = random.into_iter();
        id_random
            .iter_mut()
            .chain(&mut salt)
            .zip(&mut source)
            .for_each(|(to, from)| *to = from);
        Seed {
            time_unix_us: abi::now_us(),
            id_random,
            salt,
        }
    }
}

impl Vm {
    pub(super) fn create_root(&mut self, id: u32) {
        self.roots.insert(id, Root::default());
    }

    /// `false` refuses the configuration; the previous one keeps serving.
    pub(super) fn configure(&mut self, id: u32, size: usize) -> bool {
        let settings = match self.read_settings(size) {
            Ok(settings) => settings,
            Err(error) => {
                abi::log(Level::Error, &format!("configuration refused: {error}"));
                return false;
            }
        };
        let digest = settings
            .bundle
            .as_ref()
            .map(|bundle| bundle.digest.as_str());
        let shown = digest.unwrap_or("none");
        abi::log(Level::Info, &format!("policy bundle in force: {shown}"));
        let confirmed = settings.bundle.as_ref().and_then(|b| b.confirmed_unix_s);
        self.metrics.bundle(digest, confirmed);
        self.roots.entry(id).or_default().settings = Some(Rc::new(settings));
        true
    }

    fn read_settings(&mut self, size: usize) -> Result<Settings, String> {
        if self.emitter.is_none() {
            self.emitter = Some(EmitterState::start().map_err(|e| e.to_string())?);
        }
        abi::set_tick_period(TICK_MS).map_err(|e| e.to_string())?;
        let bytes = abi::buffer(Buffer::PluginConfiguration, size).map_err(|e| e.to_string())?;
        Settings::parse(&bytes.unwrap_or_default()).map_err(|e| e.to_string())
    }

    pub(super) fn create_exchange(&mut self, id: u32, root: u32) {
        let settings = self.roots.get(&root).and_then(|root| root.settings.clone());
        if let (Some(settings), Some(emitter)) = (settings, &mut self.emitter) {
            let inspector = Inspector::new(settings, emitter.seed());
            let exchange = Exchange {
                root,
                inspector,
                kept: 0,
                gathered: 0,
                closing: false,
                awaits: None,
                inspection_us: None,
            };
            self.exchanges.insert(id, exchange);
        }
    }

    pub(super) fn request_headers(&mut self, id: u32, end: bool) -> Action {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return unknown_context();
        };
        let head = request_head(exchange.inspector.subject_config());
        let capacity = capacity(&self.roots, exchange.root);
        let full = self.outbox.is_full(capacity);
        let step = exchange.inspector.on_request_headers(head, end, full);
        let action = exchange.carry_out(step, Map::Request, 0);
        self.account(id, action, 0)
    }

    pub(super) fn request_body(&mut self, id: u32, buffered: usize, end: bool) -> Action {
        let kept = self.kept_bytes;
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return unknown_context();
        };
        let step = match kept.saturating_sub(exchange.kept) + buffered > MAX_KEPT_BYTES {
            true => exchange.inspector.on_no_room(),
            false => exchange.inspector.on_request_body(buffered, end),
        };
        let action = exchange.carry_out(step, Map::Request, buffered);
        self.account(id, action, buffered)
    }

    pub(super) fn request_trailers(&mut self, id: u32) -> Action {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return unknown_context();
        };
        let step = exchange.inspector.on_request_trailers();
        let action = exchange.carry_out(step, Map::Request, usize::MAX);
        self.account(id, action, 0)
    }

    pub(super) fn response_headers(&mut self, id: u32, end: bool) -> Action {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return Action::Continue;
        };
        let headers = abi::headers(Map::Response);
        let header = |name| headers.get(name);
        let kept = exchange.inspector.keeps_answer().then_some(KEPT_HEADERS);
        let kept = kept.into_iter().flatten();
        let head = ResponseHead {
            kept_headers: kept
                .filter_map(|name| Some((name, header(name)?)))
                .collect(),
            status: header(":status").and_then(|status| status.parse().ok()),
            content_type: header("content-type"),
            content_encoding: header("content-encoding"),
            has_content_length: header("content-length").is_some(),
        };
        let step = exchange.inspector.on_response_headers(&head, end);
        let action = exchange.carry_out(step, Map::Response, 0);
        self.account(id, action, 0)
    }

    pub(super) fn response_body(&mut self, id: u32, size: usize, end: bool) -> Action {
        let kept = self.kept_bytes;
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return Action::Continue;
        };
        if exchange.closing {
            close_response();
            return Action::Pause;
        }
        let full = kept.saturating_sub(exchange.kept) + size > MAX_KEPT_BYTES;
        let inspector = &mut exchange.inspector;
        let step = match (inspector.wants_response_body(), full) {
            (true, full) => {
                if full {
                    inspector.stop_reading_response(NO_ROOM);
                }
                let bytes = abi::buffer(Buffer::ResponseBody, size).unwrap_or_else(|error| {
                    abi::log(Level::Error, &format!("answer not read: {error}"));
                    inspector.stop_gathering(IdempotencyAnswer::Unreadable);
                    inspector.stop_reading_response(FAULT);
                    None
                });
                inspector.on_response_body(&bytes.unwrap_or_default(), end)
            }
            (false, true) => inspector.on_unreadable_response(NO_ROOM),
            (false, false) => inspector.on_held_response(size, end),
        };
        if step.flow == Flow::Close {
            self.closing.push(id);
        }
        let action = exchange.carry_out(step, Map::Response, size);
        self.account(id, action, size)
    }

    pub(super) fn response_trailers(&mut self, id: u32) -> Action {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return Action::Continue;
        };
        let step = match exchange.closing {
            true => {
                close_response();
                return Action::Pause;
            }
            false => exchange.inspector.on_response_trailers(),
        };
        if step.flow == Flow::Close {
            close_response();
            return Action::Pause;
        }
        let action = exchange.carry_out(step, Map::Response, usize::MAX);
        self.account(id, action, 0)
    }

    /// Notes what an exchange keeps now; a body that goes on is Envoy's business.
    fn account(&mut self, id: u32, action: Action, buffered: usize) -> Action {
        if let Some(exchange) = self.exchanges.get_mut(&id) {
            let held = if action == Action::Pause { buffered } else { 0 };
            let now = exchange.inspector.kept_bytes() + held;
            self.kept_bytes = self.kept_bytes.saturating_sub(exchange.kept) + now;
            exchange.kept = now;
            let others = self.gathered_bytes.saturating_sub(exchange.gathered);
            let room = MAX_ANSWER_BYTES.saturating_sub(others + self.answers.bytes());
            if exchange.inspector.gathered_bytes() > room {
                exchange.inspector.stop_gathering(IdempotencyAnswer::NoRoom);
            }
            exchange.gathered = exchange.inspector.gathered_bytes();
            self.gathered_bytes = others + exchange.gathered;
        }
        self.note_call(id);
        action
    }

    /// Remembers who waits for the call that an exchange has made.
    fn note_call(&mut self, id: u32) {
        let exchange = self.exchanges.get(&id);
        if let Some(token) = exchange.and_then(|exchange| exchange.awaits) {
            self.waiting.insert(token, id);
        }
    }

    /// The exchange is over: chain its record, hand it to outbox and witness.
    pub(super) fn log(&mut self, id: u32) {
        let Some(mut exchange) = self.remove_exchange(id) else {
            return;
        };
        let capacity = capacity(&self.roots, exchange.root);
        let end = exchange_end();
        let (salt, subject) = exchange.inspector.beside();
        let inspection_us = exchange.inspection_us;
        let answer = exchange.inspector.take_answer();
        let Some(mut record) = exchange.inspector.finish(&end) else {
            return;
        };
        if record.outcome == Outcome::Completed {
            record.idempotency_answer = answer.map(|answer| self.keep(answer));
        }
        self.metrics.recorded(&record);
        let Some(emitter) = &mut self.emitter else {
            return;
        };
        if let Some(microseconds) = inspection_us {
            self.metrics.inspected(microseconds);
        }
        let line = emitter.chain.seal(&mut record).and_then(|sealed| {
            Envelope::write(&sealed.canonical, &salt, subject.as_deref(), false)
        });
        match line {
            Ok(line) => {
                witness(&line);
                if self.outbox.push(line, capacity).is_err() {
                    self.metrics.dropped();
                }
            }
            Err(error) => abi::log(Level::Error, &format!("record not written: {error}")),
        }
    }

    /// Sends an answer to where it is kept, if there is room on the way.
    fn keep(&mut self, answer: Result<AnswerLine, IdempotencyAnswer>) -> IdempotencyAnswer {
        let line = match answer.map(|line| serde_json::to_string(&line)) {
            Ok(Ok(line)) => line,
            Ok(Err(_)) => return IdempotencyAnswer::Unreadable,
            Err(why) => return why,
        };
        let all = self.gathered_bytes + self.answers.bytes() + line.len();
        match all <= MAX_ANSWER_BYTES && self.answers.push(line, usize::MAX).is_ok() {
            true => IdempotencyAnswer::Kept,
            false => IdempotencyAnswer::NoRoom,
        }
    }

    pub(super) fn delete(&mut self, id: u32) {
        self.remove_exchange(id);
        self.roots.remove(&id);
    }

    fn remove_exchange(&mut self, id: u32) -> Option<Exchange> {
        let exchange = self.exchanges.remove(&id)?;
        self.kept_bytes = self.kept_bytes.saturating_sub(exchange.kept);
        self.gathered_bytes = self.gathered_bytes.saturating_sub(exchange.gathered);
        if let Some(token) = exchange.awaits {
            self.waiting.remove(&token);
        }
        Some(exchange)
    }

    /// Breaks off answers whose end has been said, then sends what is due.
    pub(super) fn on_tick(&mut self, id: u32) {
        let closing = std::mem::take(&mut self.closing);
        for exchange in &closing {
            if self.exchanges.contains_key(exchange)
                && abi::set_effective_context(*exchange).is_ok()
            {
                close_response();
            }
        }
        if !closing.is_empty()
            && let Err(error) = abi::set_effective_context(id)
        {
            abi::log(Level::Error, &format!("root context not current: {error}"));
            return;
        }
        self.tick(id);
    }

    /// Sends what is due, through the root context the host has made current.
    fn tick(&mut self, id: u32) {
        self.metrics.outbox(self.outbox.len());
        let Some(root) = self.roots.get_mut(&id) else {
            return;
        };
        let Some(settings) = &root.settings else {
            return;
        };
        let now = abi::now_us();
        let evidence = &settings.config.evidence;
        let idempotency = settings.config.idempotency.as_ref();
        match idempotency.and_then(|config| config.answers.as_ref()) {
            Some(config) => {
                let call = dispatch(&mut self.answers, evidence, &config.path, now);
                root.awaits.extend(call);
            }
            None => self.metrics.answers_lost(self.answers.abandon()),
        }
        let call = dispatch(&mut self.outbox, evidence, &evidence.path, now);
        root.awaits.extend(call);
    }

    /// A call of an outbox, or of an exchange that waits for its answer.
    pub(super) fn call_answered(&mut self, id: u32, token: u32, size: usize) {
        let status = abi::header(Map::CallResponse, ":status").and_then(|s| s.parse().ok());
        match self.waiting.remove(&token) {
            Some(exchange) => self.exchange_answered(id, exchange, status, size),
            None => self.batch_answered(id, token, status),
        }
    }

    /// The host tells the root context; the exchange that waits is made current.
    fn exchange_answered(&mut self, root: u32, id: u32, status: Option<u16>, size: usize) {
        let Some(exchange) = self.exchanges.get_mut(&id) else {
            return;
        };
        let body = match exchange.inspector.is_claiming() {
            true => abi::buffer(Buffer::CallResponseBody, size).ok().flatten(),
            false => {
                self.metrics.stored_first(status == Some(STORED));
                None
            }
        };
        let switched = abi::set_effective_context(id).and_then(|()| {
            exchange.on_answered(status, &body.unwrap_or_default());
            abi::set_effective_context(root)
        });
        self.note_call(id);
        if let Err(error) = switched {
            // What is held stays held, so it cannot pass; Envoy times it out.
            abi::log(Level::Error, &format!("context not current: {error}"));
        }
        self.close_if_done(root);
    }

    fn batch_answered(&mut self, id: u32, token: u32, status: Option<u16>) {
        let of_answers = self.answers.awaits(token);
        let (outbox, name) = match of_answers {
            true => (&mut self.answers, "answers"),
            false => (&mut self.outbox, "evidence"),
        };
        let before = outbox.refused;
        match outbox.answered(token, status, abi::now_us()) {
            Delivery::Acknowledged => {
                let closing = self.roots.get(&id).is_some_and(|root| root.closing);
                if closing || outbox.has_full_batch(capacity(&self.roots, id)) {
                    self.tick(id);
                }
            }
            Delivery::Refused => {
                let refused = outbox.refused - before;
                match of_answers {
                    true => self.metrics.answers_lost(refused),
                    false => self.metrics.refused(refused),
                }
                abi::log(
                    Level::Error,
                    &format!("batch of {name} refused with status {status:?}"),
                );
            }
            Delivery::Postponed | Delivery::Unknown => {}
        }
        if let Some(root) = self.roots.get_mut(&id) {
            root.awaits.retain(|awaited| *awaited != token);
        }
        self.close_if_done(id);
    }

    fn close_if_done(&mut self, id: u32) {
        if self.roots.get(&id).is_some_and(|root| root.closing) && self.may_close(id) {
            // The context is closed either way; a refusal changes nothing.
            let _ = abi::done();
        }
    }

    /// Whether a root context may go now; otherwise [`abi::done`] follows.
    pub(super) fn close_root(&mut self, id: u32) -> bool {
        match self.roots.get_mut(&id) {
            None => return true,
            Some(root) => root.closing = true,
        }
        if !self.has_successor(id) {
            self.tick(id);
        }
        self.may_close(id)
    }

    fn may_close(&self, id: u32) -> bool {
        let awaits = self
            .roots
            .get(&id)
            .is_some_and(|root| !root.awaits.is_empty());
        // The answers to their calls would be lost with it.
        let mut exchanges = self.exchanges.values();
        let calls = exchanges.any(|exchange| exchange.root == id && exchange.awaits.is_some());
        let sent = self.outbox.is_empty() && self.answers.is_empty();
        !awaits && !calls && (sent || self.has_successor(id))
    }

    fn has_successor(&self, id: u32) -> bool {
        self.roots
            .iter()
            .any(|(other, root)| *other != id && !root.closing)
    }
}

impl Exchange {
    /// Does what the inspector asks, asking it again when it wants the body.
    fn carry_out(&mut self, step: Step, map: Map, buffered: usize) -> Action {
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
    fn on_answered(&mut self, status: Option<u16>, body: &[u8]) {
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

    fn read_body(&mut self, map: Map, buffered: usize) -> Step {
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
    fn fail(&mut self, map: Map, error: HostError) -> Action {
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

/// Sends the batch of an outbox that is due; the token is that of its answer.
fn dispatch(
    outbox: &mut Outbox,
    evidence: &EvidenceConfig,
    path: &str,
    now_us: u64,
) -> Option<u32> {
    let body = outbox.due(now_us)?;
    let timeout_ms = Outbox::dispatch_timeout_ms();
    match post(evidence, path, RECORDS, &body, timeout_ms) {
        Ok(token) => {
            outbox.sent(token);
            Some(token)
        }
        Err(_) => {
            outbox.not_sent(now_us);
            None
        }
    }
}

/// Asks a control plane; the token is that of its answer.
fn post(
    config: &EvidenceConfig,
    path: &str,
    content_type: &str,
    body: &str,
    timeout_ms: u32,
) -> Result<u32, HostError> {
    let headers = [
        (":method", "POST"),
        (":path", path),
        (":authority", config.authority.as_str()),
        ("content-type", content_type),
    ];
    abi::http_call(&config.cluster, &headers, body, timeout_ms)
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
fn apply(step: &Step, map: Map) -> Result<(), HostError> {
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

fn close_response() {
    if let Err(error) = abi::close_response() {
        // It stays as it is, held or without its end, until Envoy times it out.
        abi::log(Level::Error, &format!("answer not broken off: {error}"));
    }
}

fn witness(line: &str) {
    if let Err(error) = abi::set_property(EVIDENCE_PROPERTY, line) {
        abi::log(Level::Error, &format!("witness not told: {error}"));
    }
}

fn respond(response: &LocalResponse) {
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

/// Envoy speaks of a context it never announced: nothing may pass.
fn unknown_context() -> Action {
    respond(&fault());
    Action::Pause
}

fn fault() -> LocalResponse {
    LocalResponse {
        status: 503,
        headers: vec![],
        body: String::new(),
        details: "mercator_filter_fault".to_owned(),
    }
}

/// Reasons for which a body is not read, as records name them.
const NO_ROOM: &str = "memory_limit";
const FAULT: &str = "filter_fault";

fn capacity(roots: &BTreeMap<u32, Root>, root: u32) -> usize {
    let settings = roots.get(&root).and_then(|root| root.settings.as_ref());
    settings.map_or(0, |settings| settings.config.evidence.capacity)
}

fn request_head(subject: &SubjectConfig) -> RequestHead {
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

fn exchange_end() -> ExchangeEnd {
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
