//! What a policy may know of an exchange, and nothing else.
//!
//! Filled by `jupiter_provider` (the request) and the filter (the context); read by
//! [`crate::decide`]. Plain data: no clock, no I/O. Structures follow the names authors
//! use. `None` means that nobody said, which policies see as null.

use serde::{Deserialize, Serialize};

/// Everything a decision depends on besides its bundle.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Facts {
    pub request: RequestFacts,
    pub context: ContextFacts,
    pub processing: ProcessingFacts,
    pub response: ResponseFacts,
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
    /// The parts of all messages in order; a plain text is one part.
    pub parts: Option<Vec<Part>>,
    /// What is no text in messages.
    pub attachments: Vec<Attachment>,
}

/// One message; `content` holds all its text parts, joined by newlines.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Message {
    pub role: String,
    pub content: String,
}

/// A part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Index into [`RequestFacts::messages`].
    pub message: u32,
    pub kind: PartKind,
}

/// An image, a sound, a file in a message: what can be told of it without reading its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// Index into [`RequestFacts::messages`].
    pub message: u32,
    pub kind: PartKind,
    /// As the request says it; `None` for what it only refers to.
    pub media_type: Option<String>,
    /// Decoded; `None` for what it only refers to.
    pub bytes: Option<u64>,
}

/// What a part of a message is, whatever its dialect calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    Text,
    Image,
    Audio,
    Video,
    File,
    Other,
}

impl PartKind {
    pub const ALL: [PartKind; 6] = [
        PartKind::Text,
        PartKind::Image,
        PartKind::Audio,
        PartKind::Video,
        PartKind::File,
        PartKind::Other,
    ];

    /// As policies write it.
    pub fn as_str(self) -> &'static str {
        match self {
            PartKind::Text => "text",
            PartKind::Image => "image",
            PartKind::Audio => "audio",
            PartKind::Video => "video",
            PartKind::File => "file",
            PartKind::Other => "other",
        }
    }
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
    pub user_attributes: UserAttributes,
}

/// What is known of the subject besides its id.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UserAttributes {
    pub tier: Option<String>,
    pub department: Option<String>,
    pub roles: Option<Vec<String>>,
    pub region: Option<String>,
    pub requests_this_hour: Option<f64>,
    pub requests_today: Option<f64>,
    pub daily_token_usage: Option<f64>,
    pub monthly_token_usage: Option<f64>,
    /// US dollars, as the next.
    pub daily_cost: Option<f64>,
    pub monthly_cost: Option<f64>,
}

/// What was computed about the request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessingFacts {
    pub token_estimate: TokenCounts,
    pub cost_estimate: CostEstimate,
    pub content_analysis: ContentAnalysis,
    pub risk_score: Option<f64>,
    pub complexity_score: Option<f64>,
    pub conversation_context: ConversationContext,
    /// What detectors noticed, and where; present when they looked at all text.
    pub findings: Option<Vec<Finding>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenCounts {
    pub prompt_tokens: Option<f64>,
    pub completion_tokens: Option<f64>,
    pub total_tokens: Option<f64>,
}

/// In US dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CostEstimate {
    pub prompt_cost: Option<f64>,
    pub completion_cost: Option<f64>,
    pub total_cost: Option<f64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContentAnalysis {
    pub pii_detection: PiiDetection,
    pub sensitive_content: SensitiveContent,
    pub prompt_injection: PromptInjection,
    pub sentiment: Sentiment,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PiiDetection {
    pub has_pii: Option<bool>,
    pub pii_types: Option<Vec<String>>,
    pub confidence: Option<f64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SensitiveContent {
    pub has_sensitive_content: Option<bool>,
    pub categories: Option<Vec<String>>,
    pub severity: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PromptInjection {
    pub has_prompt_injection: Option<bool>,
    pub confidence: Option<f64>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sentiment {
    pub score: Option<f64>,
    pub label: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConversationContext {
    pub context_window_usage: Option<f64>,
    pub context_window_percent: Option<f64>,
}

/// Something a detector noticed in one text of the request or the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    pub detector: Detector,
    pub place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detector {
    Pii,
    Injection,
    Sensitive,
}

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Index into [`RequestFacts::messages`].
    Message(u32),
    /// One of [`RequestFacts::other_texts`].
    Other,
    /// [`ResponseFacts::content`].
    Response,
    /// One of [`ResponseFacts::other_texts`].
    ResponseOther,
}

/// What the provider answered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ResponseFacts {
    pub content: Option<String>,
    pub finish_reason: Option<String>,
    pub model: Option<String>,
    pub usage: TokenCounts,
    /// Text outside `content`: tool calls, further choices.
    pub other_texts: Vec<String>,
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
