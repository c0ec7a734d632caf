//! The filter's configuration, as it arrives in Envoy's plugin `configuration`.
//!
//! The control plane writes it, the filter reads it: one definition for both.
//! Unknown keys are refused, so a newer control plane cannot ask an older
//! filter for something it would silently not do.

use crate::subject::SubjectConfig;
use serde::{Deserialize, Serialize};

pub use jupiter_tokens::prices::{ModelPrice, Price};

/// Everything one plugin instance is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginConfig {
    /// Names the emitter in evidence.
    pub instance: String,
    pub region: String,
    /// `context.environment` of policies.
    pub environment: String,
    /// Absent: every exchange is refused with 503.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundleConfig>,
    #[serde(default)]
    pub inspection: InspectionConfig,
    #[serde(default)]
    pub evidence: EvidenceConfig,
    /// Absent: an `Idempotency-Key` means nothing here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<IdempotencyConfig>,
    #[serde(default, skip_serializing_if = "SubjectConfig::is_empty")]
    pub subject: SubjectConfig,
    /// What models cost here; others cost what the vendors list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prices: Vec<ModelPrice>,
}

/// A compiled bundle, carried inline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleConfig {
    /// `sha256:` and 64 hex digits; checked against `data`.
    pub digest: String,
    /// Standard base64.
    pub data: String,
    /// The Git commit its policies came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// When a control plane last said that it is in force; absent where no age is too old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_unix_s: Option<u64>,
}

/// What is read, and what happens when it cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InspectionConfig {
    /// Larger request bodies follow `failure_mode`.
    pub max_body_bytes: u64,
    /// Larger answers follow `failure_mode` where rules have to judge them.
    pub max_response_body_bytes: u64,
    /// Paths under `governed_prefix` whose API is not known.
    pub unknown_api: UnknownApi,
    /// What happens to a request, or to an answer that rules have to judge,
    /// when it could not be read.
    pub failure_mode: FailureMode,
    pub governed_prefix: String,
    /// A bundle confirmed longer ago than this follows `failure_mode` too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_staleness_s: Option<u64>,
}

impl Default for InspectionConfig {
    fn default() -> Self {
        InspectionConfig {
            max_body_bytes: 1_048_576,
            max_response_body_bytes: 1_048_576,
            unknown_api: UnknownApi::Deny,
            failure_mode: FailureMode::Closed,
            governed_prefix: "/v1/".to_owned(),
            max_staleness_s: None,
        }
    }
}

/// May an API that the filter cannot read be used?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownApi {
    Deny,
    Allow,
}

/// What happens when we cannot decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureMode {
    /// Refuse.
    Closed,
    /// Let through, recorded `unscanned`.
    Open,
}

/// Where evidence goes, and what happens when it cannot leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvidenceConfig {
    /// Envoy cluster of the control plane.
    pub cluster: String,
    pub authority: String,
    pub path: String,
    /// Where a record goes that has to be stored before its request leaves.
    pub intent_path: String,
    /// How long such a request waits at most.
    pub store_timeout_ms: u32,
    /// Records a worker's outbox holds at most.
    pub capacity: usize,
    pub on_full: OnFull,
}

impl Default for EvidenceConfig {
    fn default() -> Self {
        EvidenceConfig {
            cluster: "mercator-control-plane".to_owned(),
            authority: "mercator-control-plane".to_owned(),
            path: "/v1/evidence".to_owned(),
            intent_path: "/v1/evidence/intents".to_owned(),
            store_timeout_ms: 1_000,
            capacity: 10_000,
            on_full: OnFull::DropCounted,
        }
    }
}

/// What becomes of POSTs with an `Idempotency-Key`. Control planes are asked over the
/// cluster that takes evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdempotencyConfig {
    pub path: String,
    /// How long a control plane may take to answer.
    pub timeout_ms: u32,
    /// How long a request waits for another one under its key.
    pub wait_ms: u32,
    pub unreachable: Unreachable,
    pub on_unknown_outcome: OnUnknownOutcome,
    /// Absent: answers are not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<AnswersConfig>,
}

/// Answers that are kept for whoever sends their request again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswersConfig {
    /// Where they go.
    pub path: String,
    /// Larger ones are not kept.
    pub max_bytes: u32,
}

/// May a request with a key go on when no control plane says whose the key is?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unreachable {
    Refuse,
    /// It goes on, and its record says so.
    Unprotected,
}

/// What becomes of a request whose key another exchange had, when nobody knows how that
/// one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknownOutcome {
    Rerun,
    Refuse,
}

/// What a full outbox does to the next exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFull {
    /// Refuse it: no evidence, no exchange.
    Deny,
    /// Let it through; its record remains only with the witness, and is counted.
    DropCounted,
}

impl PluginConfig {
    /// Reads the bytes Envoy hands over; the error says where they go wrong.
    pub fn parse(bytes: &[u8]) -> Result<PluginConfig, String> {
        serde_json::from_slice(bytes).map_err(|e| format!("plugin configuration: {e}"))
    }
}
