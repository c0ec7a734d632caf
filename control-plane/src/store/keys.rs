//! Whose an idempotency key is.

use jiff::Timestamp;
use uuid::Uuid;

/// Deleting so many rows takes a fraction of the time that a call may take.
pub const FORGOTTEN_AT_ONCE: u32 = 10_000;

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
    pub record: Option<String>,
}

/// An instance, and when it last said that it lives, by its own clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignOfLife {
    pub instance: String,
    pub at: Timestamp,
}
