//! What becomes of requests with an `Idempotency-Key`.

use std::time::Duration;

pub use jupiter_filter::config::{OnUnknownOutcome, Unreachable};

use super::reader::{Document, Section};
use super::values;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyConfig {
    /// Whether keys mean anything here.
    pub enabled: bool,
    /// How long a control plane may take to answer.
    pub timeout: Duration,
    /// How long a request waits for another one under its key.
    pub wait: Duration,
    pub unreachable: Unreachable,
    pub on_unknown_outcome: OnUnknownOutcome,
    /// How large an answer may be to be kept; `None`: none is.
    pub max_answer_bytes: Option<u32>,
}

pub(super) fn read(document: &mut Document<'_>, root: &mut Section) -> Option<IdempotencyConfig> {
    let mut s = document.section(root, "idempotency");
    let enabled = document.value(&mut s, "enabled", "true", values::boolean);
    let timeout = document.value(&mut s, "timeout", "1s", timeout);
    let wait = document.value(&mut s, "wait", "15s", wait);
    let unreachable = document.value(&mut s, "unreachable", "unprotected", unreachable);
    let unknown = document.value(&mut s, "on_unknown_outcome", "rerun", on_unknown_outcome);
    let keep = document.value(&mut s, "keep_answers", "false", values::boolean);
    let max_answer = document.value(&mut s, "max_answer_bytes", "262144", answer_bytes);
    document.finish(&s);
    Some(IdempotencyConfig {
        enabled: enabled?,
        timeout: timeout?,
        wait: wait?,
        unreachable: unreachable?,
        on_unknown_outcome: unknown?,
        max_answer_bytes: keep?.then_some(max_answer?),
    })
}

/// Half of it is for the control plane to look again.
fn timeout(text: &str) -> Result<Duration, String> {
    match values::duration(text)? {
        least if least < Duration::from_millis(100) => {
            Err(format!("`{text}` is less than `100ms`"))
        }
        most if most > Duration::from_secs(10) => Err(format!("`{text}` is more than `10s`")),
        duration => Ok(duration),
    }
}

fn wait(text: &str) -> Result<Duration, String> {
    match values::duration(text)? {
        most if most > Duration::from_secs(600) => Err(format!("`{text}` is more than `600s`")),
        duration => Ok(duration),
    }
}

/// A filter holds it while it is given, and a batch of them has to fit into one call.
fn answer_bytes(text: &str) -> Result<u32, String> {
    values::integer(text, 1_024, 1_048_576).map(|value| value as u32)
}

fn unreachable(text: &str) -> Result<Unreachable, String> {
    values::choice(
        text,
        &[
            ("refuse", Unreachable::Refuse),
            ("unprotected", Unreachable::Unprotected),
        ],
    )
}

fn on_unknown_outcome(text: &str) -> Result<OnUnknownOutcome, String> {
    values::choice(
        text,
        &[
            ("rerun", OnUnknownOutcome::Rerun),
            ("refuse", OnUnknownOutcome::Refuse),
        ],
    )
}
