//! The answer to an exchange, with its reasons.

use crate::settings::OnError;
use serde::{Deserialize, Serialize};

/// What every policy together says of an exchange.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    pub verdict: Verdict,
    /// Present exactly when the verdict is [`Verdict::Deny`].
    pub denial: Option<Denial>,
    /// One rule at most per policy, in the order the policies were evaluated.
    pub matched: Vec<MatchedRule>,
    /// Rules in shadow mode that would have acted: one at most per policy.
    pub shadow: Vec<MatchedRule>,
    /// Names of the fields that made the matched rules hold; never their text.
    pub facts: Vec<String>,
    pub logs: Vec<LogLine>,
    /// What matched rules ask for besides the verdict, in order.
    pub actions: Vec<RequestedAction>,
    /// Of a request that may leave: what is known of it has to be stored before, and what
    /// happens when it cannot be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_first: Option<OnError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Allow,
    Deny,
}

/// Why an exchange is refused, in words for its client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    pub policy: String,
    pub rule: String,
    pub message: String,
    pub code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchedRule {
    pub policy: String,
    pub rule: String,
    pub effect: Effect,
}

/// What a matching rule amounts to: the strongest of its actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    Allow,
    Deny,
    /// None of both: it logs, or asks for other actions.
    Log,
}

/// A line an author asked for. It never holds text of the prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub level: LogLevel,
    pub message: String,
    pub policy: String,
    pub rule: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

impl LogLevel {
    /// The word authors write.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warn => "warn",
            LogLevel::Error => "error",
        }
    }
}

/// An action a matched rule asks for. Deciding carries nothing out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestedAction {
    pub policy: String,
    pub rule: String,
    pub action: ActionRequest,
}

/// Templates are filled in; fields stand as authors write them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ActionRequest {
    /// What detectors found in the texts is taken out.
    Redact {
        fields: Vec<String>,
        texts: ChosenTexts,
        method: RedactMethod,
        replacement: Option<String>,
    },
    Modify {
        field: String,
        texts: ChosenTexts,
        value: ModifyValue,
    },
    Route {
        provider: Option<String>,
        model: Option<String>,
        reason: Option<String>,
    },
    Alert {
        webhook: Option<String>,
        message: String,
        severity: AlertSeverity,
    },
    RateLimit {
        key: String,
        limit: u64,
        window: Window,
    },
    Budget {
        key: String,
        /// Tokens, or millionths of a US dollar.
        limit: u64,
        unit: BudgetUnit,
        window: Window,
    },
    Tag {
        tags: Vec<(String, String)>,
    },
}

impl ActionRequest {
    /// The word authors write.
    pub fn kind(&self) -> &'static str {
        match self {
            ActionRequest::Redact { .. } => "redact",
            ActionRequest::Modify { .. } => "modify",
            ActionRequest::Route { .. } => "route",
            ActionRequest::Alert { .. } => "alert",
            ActionRequest::RateLimit { .. } => "rate_limit",
            ActionRequest::Budget { .. } => "budget",
            ActionRequest::Tag { .. } => "tag",
        }
    }
}

/// The texts of one exchange that the fields of an action name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenTexts {
    /// Indices into the request's messages, sorted.
    pub messages: Vec<u32>,
    /// Text of the request outside its messages.
    pub other: bool,
    pub answer: ChosenAnswer,
}

impl ChosenTexts {
    pub fn has_request(&self) -> bool {
        self.other || !self.messages.is_empty()
    }
}

/// How much of the answer an action is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChosenAnswer {
    #[default]
    None,
    Content,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RedactMethod {
    /// Each character becomes `*`.
    Mask,
    Remove,
    Replace,
    /// A placeholder for the provider, which becomes the text again in the answer.
    Tokenize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModifyValue {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    Texts(Vec<String>),
}

/// How urgent an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertSeverity {
    Low,
    Medium,
    High,
    Critical,
}

/// The span of time a limit counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    Seconds(u64),
    /// Calendar months, UTC.
    Months(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetUnit {
    Tokens,
    UsdMicros,
}
