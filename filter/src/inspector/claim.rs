//! Requests with an `Idempotency-Key`: one at a time goes on, whichever instance they
//! come to.
//!
//! What would go on waits until a control plane says that the key is this
//! exchange's. While another one has it and has not ended, the question is asked
//! again, for so long as the configuration says. Where the answer of that one was kept, it
//! is this one's too ([`super::keep`]). When no control plane says anything, the
//! configuration decides, and the record says that nobody knew.

use super::refusal::Refusal;
use super::{Flow, Inspector, RequestHead, State, Step};
use crate::answers::KeptAnswer;
use crate::config::{IdempotencyConfig, OnUnknownOutcome, Unreachable};
use jupiter_evidence::{IdempotencyRun, hex};
use jupiter_policy::OnError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Nobody means a longer one.
const MAX_KEY_BYTES: usize = 255;

/// A key on its way.
#[derive(Debug)]
pub(super) struct Key {
    /// Of the key and its subject.
    digest: String,
    /// With its query.
    path: String,
}

/// What a control plane is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// Of the key and its subject.
    pub key: String,
    /// Of path and body: another request under the same key is a mistake.
    pub request: String,
    pub exchange: String,
    pub instance: String,
    pub on_unknown_outcome: OnUnknownOutcome,
    /// How long it may think.
    pub wait_ms: u32,
}

/// The key is this exchange's, or is not yet.
#[derive(Debug, Default, Deserialize)]
struct Claimed {
    earlier: Option<String>,
}

/// The key is another's, for good.
#[derive(Debug, Deserialize)]
struct NotClaimed {
    code: Reason,
    exchange: Option<String>,
    /// What the exchange was answered, where that is kept.
    answer: Option<KeptAnswer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Reason {
    #[serde(rename = "idempotency_other_request")]
    OtherRequest,
    #[serde(rename = "idempotency_finished")]
    Finished,
    #[serde(rename = "idempotency_unknown_outcome")]
    UnknownOutcome,
}

impl Reason {
    fn refusal(self) -> (Refusal<'static>, &'static str) {
        match self {
            Reason::OtherRequest => (
                Refusal::new(422, "idempotency_other_request", None),
                "this idempotency key was used for another request",
            ),
            Reason::Finished => (
                Refusal::new(409, "idempotency_finished", None),
                "a request with this idempotency key was answered already",
            ),
            Reason::UnknownOutcome => (
                Refusal::new(409, "idempotency_unknown_outcome", None),
                "how an earlier request with this idempotency key ended is not known",
            ),
        }
    }
}

const NO_KEY: Refusal<'_> = Refusal::new(400, "idempotency_key_invalid", None);
const IN_FLIGHT: Refusal<'_> = Refusal::new(409, "idempotency_in_flight", Some(1));
const UNAVAILABLE: Refusal<'_> = Refusal::new(503, "idempotency_unavailable", Some(1));

impl Inspector {
    /// Notes the key of a request, where keys mean something; `Some` refuses it.
    pub(super) fn on_key(&mut self, head: &RequestHead) -> Option<Step> {
        let key = head.idempotency_key.as_deref()?;
        if self.settings.config.idempotency.is_none() || head.method != "POST" {
            return None;
        }
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Some(self.refuse(NO_KEY, "an idempotency key has 1 to 255 bytes"));
        }
        let subject = self.recorder.subject().unwrap_or_default();
        let digest = digest(&[subject.as_bytes(), key.as_bytes()]);
        self.recorder.on_key(&digest);
        let path = head.path.clone();
        self.key = Some(Key { digest, path });
        None
    }

    /// What would go on: with a key it waits for that. A body that was not read
    /// cannot be told from another one, so its key protects nothing.
    pub(super) fn keyed(&mut self, body: Option<&[u8]>, store_first: Option<OnError>) -> Flow {
        let (Some(key), Some(body)) = (self.key.take(), body) else {
            return self.unprotected(store_first);
        };
        let Some(config) = &self.settings.config.idempotency else {
            return self.unprotected(store_first);
        };
        self.claim = Some(Claim {
            key: key.digest,
            request: digest(&[key.path.as_bytes(), body]),
            exchange: self.recorder.id(),
            instance: self.settings.config.instance.clone(),
            on_unknown_outcome: config.on_unknown_outcome,
            // The answer has to come back, too.
            wait_ms: config.timeout_ms / 2,
        });
        self.state = State::Claiming(store_first);
        Flow::Claim
    }

    fn unprotected(&mut self, store_first: Option<OnError>) -> Flow {
        self.recorder.on_run(IdempotencyRun::Unprotected);
        self.send(store_first)
    }

    /// What to ask a control plane, and where.
    pub fn claim(&self) -> Option<(&IdempotencyConfig, &Claim)> {
        let config = self.settings.config.idempotency.as_ref()?;
        Some((config, self.claim.as_ref()?))
    }

    pub fn is_claiming(&self) -> bool {
        matches!(self.state, State::Claiming(_))
    }

    /// What a control plane said, `None` when it said nothing.
    pub fn on_claim_answered(&mut self, status: Option<u16>, body: &[u8], now_us: u64) -> Step {
        let State::Claiming(store_first) = self.state else {
            return Step::go(Flow::Hold);
        };
        match status {
            Some(200) => match serde_json::from_slice::<Claimed>(body) {
                Ok(claimed) => self.granted(&claimed, store_first),
                Err(_) => self.unclaimed(store_first),
            },
            Some(202) if now_us < self.waits_until_us() => Step::go(Flow::Claim),
            Some(202) => {
                let claimed: Claimed = serde_json::from_slice(body).unwrap_or_default();
                self.note_earlier(claimed.earlier.as_deref());
                self.refuse_for(
                    IN_FLIGHT,
                    "a request with this idempotency key is in flight",
                )
            }
            Some(409 | 422) => match serde_json::from_slice::<NotClaimed>(body) {
                Ok(not) => {
                    self.note_earlier(not.exchange.as_deref());
                    if let Some(answer) = not.answer {
                        return self.replay(answer);
                    }
                    let (refusal, message) = not.code.refusal();
                    self.refuse_for(refusal, message)
                }
                Err(_) => self.unclaimed(store_first),
            },
            _ => self.unclaimed(store_first),
        }
    }

    fn granted(&mut self, claimed: &Claimed, store_first: Option<OnError>) -> Step {
        let run = match claimed.earlier {
            Some(_) => IdempotencyRun::Again,
            None => IdempotencyRun::First,
        };
        self.note_earlier(claimed.earlier.as_deref());
        self.recorder.on_run(run);
        Step::go(self.send(store_first))
    }

    fn unclaimed(&mut self, store_first: Option<OnError>) -> Step {
        let config = self.settings.config.idempotency.as_ref();
        match config.map(|config| config.unreachable) {
            Some(Unreachable::Refuse) => {
                let message = "no control plane could say whether this request runs already";
                self.refuse(UNAVAILABLE, message)
            }
            Some(Unreachable::Unprotected) | None => Step::go(self.unprotected(store_first)),
        }
    }

    /// The client is told which exchange has its key.
    fn refuse_for(&mut self, refusal: Refusal<'_>, message: &str) -> Step {
        match self.recorder.earlier() {
            Some(exchange) => self.refuse(refusal, &format!("{message}: exchange `{exchange}`")),
            None => self.refuse(refusal, message),
        }
    }

    fn note_earlier(&mut self, exchange: Option<&str>) {
        let exchange = exchange.and_then(|id| Uuid::try_parse(id).ok());
        self.recorder.on_earlier(exchange);
    }

    fn waits_until_us(&self) -> u64 {
        let config = self.settings.config.idempotency.as_ref();
        let wait_ms = config.map_or(0, |config| config.wait_ms);
        self.facts.context.time_unix_us + u64::from(wait_ms) * 1_000
    }
}

fn digest(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    hex(&digest)
}
