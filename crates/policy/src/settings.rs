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

/// What happens when a rule cannot be decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The exchange is refused.
    #[default]
    Closed,
    /// The exchange goes on as if the rule were not there.
    Open,
}

/// What must be true of the evidence before an exchange goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    #[default]
    BestEffort,
    /// The record is stored first.
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
