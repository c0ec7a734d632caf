//! What an instance promises, tried on the real programs: one module a promise.
//!
//! Every test has an instance of its own (`mercator run`, Envoy, a fake
//! provider), so they run beside each other. `./justw test` builds and fetches
//! what they need; a missing program fails them with advice.

#[cfg(test)]
mod accounting;
#[cfg(test)]
mod answers;
#[cfg(test)]
mod behind_haproxy;
#[cfg(test)]
mod benchmark;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod cosigning;
#[cfg(test)]
mod dialects;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod drill;
mod durability;
#[cfg(test)]
mod erasure;
mod estimates;
#[cfg(test)]
mod evasion;
#[cfg(test)]
mod evidence;
#[cfg(test)]
mod examples;
#[cfg(test)]
mod failure_modes;
#[cfg(test)]
mod gitops;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod idempotency;
mod kept_answers;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod parity;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod repository;
#[cfg(test)]
mod request_path;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod rollout;
#[cfg(test)]
mod shared_database;
#[cfg(test)]
mod splits;
#[cfg(test)]
mod streaming;
#[cfg(test)]
mod subject;
#[cfg(test)]
mod supervision;
#[cfg(test)]
mod support;
#[cfg(test)]
mod surface;
#[cfg(test)]
mod tamper;
#[cfg(test)]
mod telemetry;
#[cfg(test)]
mod trailers;
#[cfg(test)]
mod trapping;
#[cfg(test)]
mod wires;
