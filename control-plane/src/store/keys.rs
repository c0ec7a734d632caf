//! Whose an idempotency key is, and what that exchange was answered.

use jiff::Timestamp;
use std::fmt;
use uuid::Uuid;

use super::StoreError;
use super::subjects::SubjectKey;

/// Deleting so many rows takes a fraction of the time that a call may take.
pub(super) const FORGOTTEN_AT_ONCE: u32 = 10_000;

/// The same of rows that have an answer.
pub(super) const ANSWERS_FORGOTTEN_AT_ONCE: u32 = 100;

/// An exchange that would go on under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyClaim {
    /// SHA-256 of the key and its subject.
    pub key: [u8; 32],
    /// SHA-256 of the request: another one under the same key is a mistake.
    pub request: [u8; 32],
    pub exchange: Uuid,
    pub instance: String,
    /// Not later than it was asked, by the clock of that instance, which also tells when its
    /// Envoy ended.
    pub at: Timestamp,
}

/// Who has a key, and what is known of its exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHolder {
    pub request: [u8; 32],
    pub exchange: Uuid,
    pub instance: String,
    pub since: Timestamp,
    /// When the Envoy ended that had the exchange in hand.
    pub envoy_ended: Option<Timestamp>,
    /// The record of the exchange, once that is over.
    pub record: Option<HoldersRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldersRecord {
    /// Its canonical bytes.
    pub canonical: String,
    pub received_at: Timestamp,
}

/// What an exchange that has a key was answered. `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct NewAnswer {
    pub key: [u8; 32],
    pub exchange: Uuid,
    pub subject: String,
    pub answer: Vec<u8>,
}

impl fmt::Debug for NewAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewAnswer")
            .field("exchange", &self.exchange)
            .field("bytes", &self.answer.len())
            .finish_non_exhaustive()
    }
}

/// What there is of an answer.
#[derive(Clone, PartialEq, Eq)]
pub enum StoredAnswer {
    /// None was stored for this exchange, or the key is another's by now.
    None,
    /// Its subject is erased.
    Erased,
    Whole(Vec<u8>),
}

impl fmt::Debug for StoredAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StoredAnswer::None => "None",
            StoredAnswer::Erased => "Erased",
            StoredAnswer::Whole(_) => "Whole",
        })
    }
}

/// An answer as it is stored.
pub(super) struct SealedAnswer {
    pub(super) subject_ref: Uuid,
    pub(super) sealed: Vec<u8>,
}

impl NewAnswer {
    pub(super) fn seal(&self, key: &SubjectKey) -> Result<SealedAnswer, StoreError> {
        let sealed = key.seal_text(&place(&self.key, self.exchange), &self.answer)?;
        Ok(SealedAnswer {
            subject_ref: key.reference,
            sealed,
        })
    }
}

impl SealedAnswer {
    /// With the key of its subject, where there still is one. What does not open was
    /// another exchange's.
    pub(super) fn open(
        &self,
        key: &[u8; 32],
        exchange: Uuid,
        subject_key: Option<[u8; 32]>,
    ) -> StoredAnswer {
        let Some(secret) = subject_key else {
            return StoredAnswer::Erased;
        };
        let subject = SubjectKey {
            reference: self.subject_ref,
            key: secret,
        };
        let opened = subject.open_text(&place(key, exchange), &self.sealed);
        opened.map_or(StoredAnswer::None, StoredAnswer::Whole)
    }
}

/// What an answer is bound to: it opens nowhere else.
fn place(key: &[u8; 32], exchange: Uuid) -> [u8; 48] {
    let mut place = [0; 48];
    let bytes = key.iter().chain(exchange.as_bytes());
    place
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
    place
}

/// An instance, and when it last said that it lives, by its own clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignOfLife {
    pub instance: String,
    pub at: Timestamp,
}
