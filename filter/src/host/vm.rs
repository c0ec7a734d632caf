//! What one VM keeps: its configurations, its exchanges, its outbox.
//!
//! Several root contexts live in one VM while a configuration is replaced;
//! they share the emitter chain and the outbox, so a replacement neither
//! breaks the sequence nor loses a record.

mod exchange;
mod sending;

use self::exchange::{
    Exchange, FAULT, close_response, exchange_end, fault, request_head, respond, witness,
};
use super::abi::{self, Buffer, HostError, Level, Map};
use super::metrics::Metrics;
use crate::answers::{AnswerLine, KEPT_HEADERS, MAX_LINE_BYTES};
use crate::bundles::Settings;
use crate::inspector::{Flow, Inspector, ResponseHead};
use crate::outbox::Outbox;
use crate::record::Seed;
use jupiter_evidence::{EmitterChain, Envelope, IdempotencyAnswer, Outcome};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::rc::Rc;

/// How often the outbox is looked at.
const TICK_MS: u32 = 100;

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
        if line.len() > MAX_LINE_BYTES {
            return IdempotencyAnswer::TooLarge;
        }
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
}

/// Envoy speaks of a context it never announced: nothing may pass.
fn unknown_context() -> Action {
    respond(&fault());
    Action::Pause
}

/// Why a body is not read, as records name it.
const NO_ROOM: &str = "memory_limit";

fn capacity(roots: &BTreeMap<u32, Root>, root: u32) -> usize {
    let settings = roots.get(&root).and_then(|root| root.settings.as_ref());
    settings.map_or(0, |settings| settings.config.evidence.capacity)
}
