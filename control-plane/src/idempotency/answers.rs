//! Answers that are kept for whoever sends their request again.
//!
//! Filters send them when their exchanges are over (`filter/src/answers.rs`), at least
//! once, and the record says that one was sent: answer and record may come in either
//! order. The store seals an answer under the key of its subject and forgets it with the
//! idempotency key. Nothing of one is ever logged.

use jiff::{SignedDuration, Timestamp};
use jupiter_filter::answers::{AnswerLine, KeptAnswer, MAX_LINE_BYTES};
use uuid::Uuid;

use super::digest;
use crate::app::App;
use crate::ingest::{IngestError, MAX_BODY_BYTES};
use crate::store::{NewAnswer, StoreError, StoredAnswer};

/// An answer that has not come so long after its record does not come any more: filters
/// send both at once, and again after at most five seconds.
const SENT_WITHIN: SignedDuration = SignedDuration::from_secs(10);

/// What may wait for the database.
pub const QUEUE_BYTES: usize = 32 * 1024 * 1024;

/// What filters send one by one fits into a request.
const _: () = assert!(MAX_LINE_BYTES < MAX_BODY_BYTES);

/// Larger batches are not parsed on a thread that answers requests.
const INLINE_BYTES: usize = 64 * 1024;

/// Why answers were not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Counted from 0.
    #[error("line {0} is not an answer")]
    BadLine(usize),
    #[error("too many answers wait for the database")]
    Overloaded,
    /// The task that read them ended before its time.
    #[error("reading the answers was interrupted")]
    Interrupted,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What there is to be had of an answer that was sent.
pub(super) enum Found {
    Answer(KeptAnswer),
    /// It may still come.
    NotYet,
    /// It was lost on its way, or its subject is erased.
    Never,
}

/// Keeps answers, one a line. Those whose key another exchange has by now are left out.
pub async fn keep(app: &App, body: &[u8]) -> Result<(), KeepError> {
    let room = app.answers.enter(body.len());
    let _room = room.map_err(|_: IngestError| KeepError::Overloaded)?;
    let answers = match body.len() <= INLINE_BYTES {
        true => parse(body),
        false => {
            let body = body.to_vec();
            let parsed = tokio::task::spawn_blocking(move || parse(&body)).await;
            parsed.map_err(|_| KeepError::Interrupted)?
        }
    }?;
    let kept = app.store.keep_answers(&answers).await?;
    app.metrics.answers_stored.inc_by(kept);
    Ok(())
}

fn parse(body: &[u8]) -> Result<Vec<NewAnswer>, KeepError> {
    let lines = body.split(|&byte| byte == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    let answers = lines.map(|(number, line)| answer(line).ok_or(KeepError::BadLine(number)));
    answers.collect()
}

fn answer(line: &[u8]) -> Option<NewAnswer> {
    let line: AnswerLine = serde_json::from_slice(line).ok()?;
    Some(NewAnswer {
        key: digest(&line.key)?,
        exchange: Uuid::try_parse(&line.exchange).ok()?,
        subject: line.subject,
        answer: serde_json::to_vec(&line.answer).ok()?,
    })
}

/// The answer of the exchange that has the key, whose record says that it was sent.
pub(super) async fn find(
    app: &App,
    key: &[u8; 32],
    exchange: Uuid,
    recorded_at: Timestamp,
) -> Result<Found, StoreError> {
    let found = match app.store.kept_answer(key, exchange).await? {
        StoredAnswer::Whole(text) => serde_json::from_slice(&text).ok().map(Found::Answer),
        StoredAnswer::Erased => return Ok(Found::Never),
        StoredAnswer::None if app.clock.now().duration_since(recorded_at) < SENT_WITHIN => {
            return Ok(Found::NotYet);
        }
        StoredAnswer::None => None,
    };
    let counter = match found {
        Some(_) => &app.metrics.answers_given_again,
        None => &app.metrics.answers_missing,
    };
    counter.inc();
    Ok(found.unwrap_or(Found::Never))
}
