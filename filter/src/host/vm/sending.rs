//! What a VM sends to control planes, and what becomes of it: batches of its outboxes, and
//! calls whose exchanges wait. A root context stays until all its calls are answered.

use super::exchange::close_response;
use super::{Vm, capacity};
use crate::config::EvidenceConfig;
use crate::host::abi::{self, Buffer, HostError, Level, Map};
use crate::outbox::{Delivery, Outbox};

/// The answer that says: durably stored.
pub(super) const STORED: u16 = 204;

/// Records, one a line.
pub(super) const RECORDS: &str = "application/x-ndjson";

impl Vm {
    /// Breaks off answers whose end has been said, then sends what is due.
    pub(in crate::host) fn on_tick(&mut self, id: u32) {
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
    pub(in crate::host) fn call_answered(&mut self, id: u32, token: u32, size: usize) {
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
    pub(in crate::host) fn close_root(&mut self, id: u32) -> bool {
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
pub(super) fn post(
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
