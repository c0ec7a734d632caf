//! What a policy may know of an exchange, and nothing else.
//!
//! Filled by `jupiter_provider` (the request) and the filter (the context);
//! read by [`crate::decide`]. Plain data: no clock, no I/O.

use serde::{Deserialize, Serialize};

/// Everything a decision depends on besides its bundle.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Facts {
    pub request: RequestFacts,
    pub context: ContextFacts,
}

/// The request as the provider's dialect expresses it, normalised.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RequestFacts {
    pub model: Option<String>,
    pub messages: Vec<Message>,
    pub temperature: Option<f64>,
    pub max_tokens: Option<f64>,
    pub top_p: Option<f64>,
    pub frequency_penalty: Option<f64>,
    pub presence_penalty: Option<f64>,
    pub stop: Vec<String>,
    pub stream: Option<bool>,
    pub user: Option<String>,
    /// Names of the tools on offer.
    pub tools: Vec<String>,
    /// Text outside messages: tool definitions, call arguments, embedding inputs.
    pub other_texts: Vec<String>,
}

/// One message; `content` holds all its text parts, joined by newlines.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Message {
    pub role: String,
    pub content: String,
}

/// Where and when the exchange takes place, and who asks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContextFacts {
    pub environment: Option<String>,
    pub client_ip: Option<String>,
    /// The subject: who is asking, as far as it is known.
    pub user_id: Option<String>,
    /// Microseconds since the Unix epoch, UTC; `context.time.*` derive from it.
    pub time_unix_us: u64,
}

impl RequestFacts {
    /// All text of the request, piece by piece, in order.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.messages
            .iter()
            .map(|m| m.content.as_str())
            .chain(self.other_texts.iter().map(String::as_str))
    }
}
