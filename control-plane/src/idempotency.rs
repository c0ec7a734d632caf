//! One exchange at a time under an idempotency key, on whichever instance.
//!
//! Who claims a key that another exchange has waits until it is known how that one
//! ended: what was answered is not run again; what failed for certain is; what nobody
//! knows the end of, since its Envoy or its whole instance is gone, is run again or
//! refused, as the filter that asks was told. The holder's record decides, and where
//! there is none, the noted end of its Envoy ([`crate::envoy`]) or the silence of its
//! instance ([`Heard`]). Filters ask (`filter/src/inspector/claim.rs`). Where answers are
//! kept ([`answers`]), who comes again gets the one that was given.

mod answers;
mod heard;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use jupiter_evidence::{EvidenceRecord, IdempotencyAnswer, Outcome};
use jupiter_filter::answers::KeptAnswer;
use jupiter_filter::config::OnUnknownOutcome;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::Instrument;
use uuid::Uuid;

use crate::app::App;
use crate::store::{HoldersRecord, KeyClaim, KeyHolder, SignOfLife, StoreError};
use crate::telemetry::spans;
use answers::Found;

pub use answers::{KeepError, QUEUE_BYTES, keep};
pub use heard::Heard;

/// Nobody is kept longer by one question, whatever it says.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What an Envoy asks just before its end may be read just after it; the next Envoy is not
/// there yet (the supervisor's first backoff).
const READ_LATE: SignedDuration = SignedDuration::from_millis(100);

/// A record that an Envoy left in its access log at its end is stored by then.
const WITNESSED_WITHIN: SignedDuration = SignedDuration::from_secs(2);

/// No exchange is waited for longer: of an Envoy that no control plane keeps, nobody
/// tells the end.
const RUNS_AT_MOST: SignedDuration = SignedDuration::from_mins(15);

/// How often an instance says that it lives.
const SAY_EVERY: Duration = Duration::from_secs(1);

const FORGET_EVERY: u32 = 60;

/// How long a key is kept.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);

/// What a claim came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The exchange may go on; what had the key before was not answered, or nobody knows.
    Granted { earlier: Option<Uuid> },
    /// Another exchange has the key, and has not ended.
    NotYet { holder: Uuid },
}

/// Why an exchange may not go on under its key.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    #[error("this idempotency key was used for another request, exchange `{0}`")]
    OtherRequest(Uuid),
    #[error("a request with this idempotency key was answered, exchange `{exchange}`")]
    Finished {
        exchange: Uuid,
        /// What it was answered, where that is kept.
        answer: Option<KeptAnswer>,
    },
    #[error("how a request with this idempotency key ended is not known, exchange `{0}`")]
    UnknownOutcome(Uuid),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How the exchange that has a key stands.
enum Run {
    Going,
    Answered,
    /// The same, and its answer was sent to be kept; since when that is known.
    AnswerSent(Timestamp),
    Failed,
    Unknown,
}

/// 32 bytes from 64 hex digits.
pub fn digest(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

/// When an exchange that asks now began at the latest.
pub fn asked_at(app: &App) -> Timestamp {
    app.clock.now() - READ_LATE
}

/// Takes the key for an exchange, if that can be told within `wait`.
pub async fn claim(
    app: &App,
    claim: &KeyClaim,
    on_unknown: OnUnknownOutcome,
    wait: Duration,
) -> Result<Claimed, ClaimError> {
    let span = spans::claim();
    let claimed = claim_within(app, claim, on_unknown, wait);
    let claimed = claimed.instrument(span.clone()).await;
    if let Err(ClaimError::Store(_)) = &claimed {
        spans::failed(&span);
    }
    claimed
}

async fn claim_within(
    app: &App,
    claim: &KeyClaim,
    on_unknown: OnUnknownOutcome,
    wait: Duration,
) -> Result<Claimed, ClaimError> {
    let until = Instant::now() + wait.min(LONGEST_WAIT);
    let mut earlier = None;
    loop {
        let holder = app.store.claim_key(claim, earlier).await?;
        if holder.exchange == claim.exchange {
            return Ok(Claimed::Granted { earlier });
        }
        if holder.request != claim.request {
            return Err(ClaimError::OtherRequest(holder.exchange));
        }
        let exchange = holder.exchange;
        let finished = |answer| Err(ClaimError::Finished { exchange, answer });
        let run = match run_of(app, &holder)? {
            Run::AnswerSent(at) => match answers::find(app, &claim.key, exchange, at).await? {
                Found::Answer(answer) => return finished(Some(answer)),
                Found::NotYet => Run::Going,
                Found::Never => Run::Answered,
            },
            run => run,
        };
        match (run, on_unknown) {
            (Run::Answered | Run::AnswerSent(_), _) => return finished(None),
            (Run::Unknown, OnUnknownOutcome::Refuse) => {
                return Err(ClaimError::UnknownOutcome(exchange));
            }
            (Run::Failed, _) | (Run::Unknown, OnUnknownOutcome::Rerun) => {
                earlier = Some(exchange);
            }
            (Run::Going, _) if Instant::now() + LOOK_EVERY > until => {
                return Ok(Claimed::NotYet { holder: exchange });
            }
            (Run::Going, _) => sleep(LOOK_EVERY).await,
        }
    }
}

fn run_of(app: &App, holder: &KeyHolder) -> Result<Run, StoreError> {
    let Some(HoldersRecord {
        canonical,
        received_at,
    }) = &holder.record
    else {
        return Ok(match is_gone(app, holder, app.clock.now()) {
            true => Run::Unknown,
            false => Run::Going,
        });
    };
    let record: EvidenceRecord = serde_json::from_str(canonical)
        .map_err(|_| StoreError::Corrupt("a record that cannot be read"))?;
    Ok(match record.outcome {
        // It was given the key when it no longer waited for it.
        _ if record.idempotency_run.is_none() => Run::Failed,
        Outcome::Completed if record.idempotency_answer == Some(IdempotencyAnswer::Kept) => {
            Run::AnswerSent(*received_at)
        }
        Outcome::Completed | Outcome::Withheld => Run::Answered,
        Outcome::Refused | Outcome::ProviderError => Run::Failed,
        Outcome::ProviderReset
        | Outcome::ClientAborted
        | Outcome::FilterFault
        | Outcome::Pending => Run::Unknown,
    })
}

/// Whether nobody is there any more who could end the exchange.
fn is_gone(app: &App, holder: &KeyHolder, now: Timestamp) -> bool {
    let envoy_ended = holder.envoy_ended;
    envoy_ended.is_some_and(|ended| now.duration_since(ended) >= WITNESSED_WITHIN)
        || app.heard.is_silent(&holder.instance)
        || now.duration_since(holder.since) >= RUNS_AT_MOST
}

/// Forgets old keys. Of a store that others share: says that this instance lives, and
/// hears who else does.
pub async fn look_after(app: App, instance: String, shared: bool) {
    let mut tick = interval(SAY_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in (0..FORGET_EVERY).cycle() {
        tick.tick().await;
        let now = app.clock.now();
        let done = async {
            if shared {
                let sign = SignOfLife {
                    instance: instance.clone(),
                    at: now,
                };
                let signs = app.store.note_alive(&sign).await?;
                app.heard.hear(signs, Instant::now());
            }
            while number == 0 && app.store.forget_keys(now - KEPT_FOR).await? > 0 {}
            Ok::<(), StoreError>(())
        };
        if let Err(error) = done.await {
            tracing::debug!(%error, "idempotency keys are not looked after");
        }
    }
}

#[cfg(test)]
mod tests;
