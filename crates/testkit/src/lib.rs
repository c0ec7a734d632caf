//! What tests run against: real programs, and one fake.
//!
//! The fake is [`fake_provider`], because no test may depend on, or pay for, a
//! real model. It is also what `mercator fake-provider` serves.

pub mod fake_provider;
