//! How a rule is applied, apart from what it says.

use serde::{Deserialize, Serialize};

/// When a rule is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Before the provider sees the request.
    #[default]
    Request,
    /// Before the client sees the answer.
    Response,
}

/// Whether a rule acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    #[default]
    Enforce,
    /// Decides and records, never acts.
    Shadow,
}

/// What happens when the evidence that a rule requires cannot be stored.
///
/// The stricter of two is the smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The exchange is refused.
    #[default]
    Closed,
    /// The exchange goes on, and its record says so.
    Open,
}

/// What must be true of the evidence before a request goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    #[default]
    BestEffort,
    /// What is known of the exchange is stored first.
    Required,
}

/// Everything a rule can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RuleSettings {
    pub phase: Phase,
    pub mode: Mode,
    pub on_error: OnError,
    pub durability: Durability,
}

impl RuleSettings {
    /// Whether the record is stored before the request leaves, and what happens when it
    /// cannot be.
    pub(crate) fn store_first(&self) -> Option<OnError> {
        (self.durability == Durability::Required).then_some(self.on_error)
    }
}

/// What two parties ask for together: whoever refuses is heard.
pub(crate) fn strictest(one: Option<OnError>, other: Option<OnError>) -> Option<OnError> {
    one.into_iter().chain(other).min()
}
