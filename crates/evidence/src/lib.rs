//! Evidence: the record of an exchange, its exact bytes and their hashes.
//!
//! A record's canonical bytes (RFC 8785) are what is stored, hashed, chained
//! and later sealed; nobody re-derives them. [`tree`] proves that a record is
//! in the log, and that the log only ever grew. No I/O, no clock, no
//! randomness: time and random bytes are arguments. Written by the filter, read
//! back by the control plane's ingest, proven by its sealing.

mod chain;
mod envelope;
pub mod export;
mod record;
pub mod retention;
pub mod tree;
pub mod verify;

pub use chain::{EmitterChain, LeafHash, SealedRecord};
pub use envelope::{
    Envelope, EnvelopeError, MAX_SUBJECT_BYTES, hex, salted_digest, subject_digest,
};
pub use record::{
    AttachmentCount, DecisionKind, Emitter, EvidenceRecord, FindingCount, IdempotencyAnswer,
    IdempotencyRun, InspectionStatus, MAX_INTEGER, MatchedRule, Outcome, PolicyInForce,
    RECORD_VERSION, RedactionCount, Tag, rfc3339_micros,
};

/// The JSON Schema of a record, as it is published.
pub const RECORD_SCHEMA: &str = include_str!("../../../docs/reference/evidence-record.schema.json");
