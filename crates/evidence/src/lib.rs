//! Evidence: the record of an exchange, its exact bytes and their hashes.
//!
//! A record's canonical bytes (RFC 8785) are what is stored, hashed, chained
//! and later sealed; nobody re-derives them. No I/O, no clock, no randomness:
//! time and random bytes are arguments. Written by the filter, read back by
//! the control plane's ingest.

mod chain;
mod envelope;
mod record;

pub use chain::{EmitterChain, LeafHash, SealedRecord};
pub use envelope::{Envelope, EnvelopeError, salted_digest};
pub use record::{
    DecisionKind, Emitter, EvidenceRecord, InspectionStatus, MatchedRule, Outcome, PolicyInForce,
    RECORD_VERSION, rfc3339_micros,
};
