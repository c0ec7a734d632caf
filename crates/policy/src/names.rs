//! Fields by the names authors use. Bundles carry the names of what they read.

use crate::facts::Detector;
use crate::program::{
    BoolField, Entry, Field, KindFilter, List, NumberField, PartFilter, SingleText, TextField,
};
use std::borrow::Cow;

/// A name of a field, or of what is computed from it.
pub(crate) fn path(field: Field) -> Cow<'static, str> {
    match field {
        Field::Messages => Cow::Borrowed("request.messages"),
        Field::Text(field) => text_path(field),
        Field::Number(NumberField::Length(field)) => format!("len({})", text_path(field)).into(),
        Field::Number(field) => Cow::Borrowed(number_path(field)),
        Field::Bool(BoolField::Found(detector, field)) => {
            let function = match detector {
                Detector::Pii => "has_pii",
                Detector::Injection => "has_injection",
                Detector::Sensitive => "has_sensitive",
            };
            format!("{function}({})", text_path(field)).into()
        }
        Field::Bool(field) => Cow::Borrowed(match field {
            BoolField::Stream => "request.stream",
            BoolField::HasPii => "processing.content_analysis.pii_detection.has_pii",
            BoolField::HasSensitiveContent => {
                "processing.content_analysis.sensitive_content.has_sensitive_content"
            }
            BoolField::HasInjection | BoolField::Found(..) => {
                "processing.content_analysis.prompt_injection.has_prompt_injection"
            }
        }),
    }
}

fn text_path(field: TextField) -> Cow<'static, str> {
    Cow::Borrowed(match field {
        TextField::Single(field) => single_path(field),
        TextField::MessageRole(index) => return format!("request.messages[{index}].role").into(),
        TextField::MessageContent(index) => {
            return format!("request.messages[{index}].content").into();
        }
        TextField::RoleContent(role) => {
            return format!("request.messages[role={}].content", role.as_str()).into();
        }
        TextField::Parts(filter) => return part_path(filter).into(),
        TextField::EveryRole | TextField::Entry(Entry::Role) => "request.messages[*].role",
        TextField::EveryContent | TextField::Entry(Entry::Content) => "request.messages[*].content",
        TextField::EveryText => "request.text",
        TextField::Tools | TextField::Entry(Entry::Name) => "request.tools",
        TextField::Stop => "request.stop",
        TextField::AttachmentTypes => "request.attachments.media_types",
        TextField::PiiTypes => "processing.content_analysis.pii_detection.pii_types",
        TextField::SensitiveCategories => {
            "processing.content_analysis.sensitive_content.categories"
        }
        TextField::UserRoles => "context.user_attributes.roles",
        TextField::ResponseContent => "response.content",
        TextField::ResponseText => "response.text",
    })
}

fn part_path(filter: PartFilter) -> String {
    let message = match filter.message {
        None => "*".to_owned(),
        Some(index) => index.to_string(),
    };
    match filter.kind {
        KindFilter::Any => format!("request.messages[{message}].content[*].type"),
        KindFilter::Is(kind) => {
            format!(
                "request.messages[{message}].content[type={}]",
                kind.as_str()
            )
        }
        KindFilter::IsNot(kind) => {
            format!(
                "request.messages[{message}].content[type!={}]",
                kind.as_str()
            )
        }
    }
}

fn single_path(field: SingleText) -> &'static str {
    match field {
        SingleText::Model => "request.model",
        SingleText::User => "request.user",
        SingleText::Environment => "context.environment",
        SingleText::ClientIp => "context.client_ip",
        SingleText::UserId => "context.user_attributes.user_id",
        SingleText::DayOfWeek => "context.time.day_of_week",
        SingleText::Date => "context.time.date",
        SingleText::Tier => "context.user_attributes.tier",
        SingleText::Department => "context.user_attributes.department",
        SingleText::Region => "context.user_attributes.region",
        SingleText::SensitiveSeverity => "processing.content_analysis.sensitive_content.severity",
        SingleText::InjectionType => "processing.content_analysis.prompt_injection.type",
        SingleText::SentimentLabel => "processing.content_analysis.sentiment.label",
        SingleText::ResponseModel => "response.model",
        SingleText::FinishReason => "response.finish_reason",
    }
}

fn number_path(field: NumberField) -> &'static str {
    match field {
        NumberField::Temperature => "request.temperature",
        NumberField::MaxTokens => "request.max_tokens",
        NumberField::TopP => "request.top_p",
        NumberField::FrequencyPenalty => "request.frequency_penalty",
        NumberField::PresencePenalty => "request.presence_penalty",
        NumberField::TurnCount => "processing.conversation_context.turn_count",
        NumberField::Hour => "context.time.hour",
        NumberField::Minute => "context.time.minute",
        NumberField::Day => "context.time.day",
        NumberField::Month => "context.time.month",
        NumberField::Year => "context.time.year",
        NumberField::Timestamp => "context.time.timestamp",
        NumberField::EstimatedPromptTokens => "processing.token_estimate.prompt_tokens",
        NumberField::EstimatedCompletionTokens => "processing.token_estimate.completion_tokens",
        NumberField::EstimatedTotalTokens => "processing.token_estimate.total_tokens",
        NumberField::PromptCost => "processing.cost_estimate.prompt_cost",
        NumberField::CompletionCost => "processing.cost_estimate.completion_cost",
        NumberField::TotalCost => "processing.cost_estimate.total_cost",
        NumberField::PiiConfidence => "processing.content_analysis.pii_detection.confidence",
        NumberField::InjectionConfidence => {
            "processing.content_analysis.prompt_injection.confidence"
        }
        NumberField::SentimentScore => "processing.content_analysis.sentiment.score",
        NumberField::RiskScore => "processing.risk_score",
        NumberField::ComplexityScore => "processing.complexity_score",
        NumberField::ContextWindowUsage => "processing.conversation_context.context_window_usage",
        NumberField::ContextWindowPercent => {
            "processing.conversation_context.context_window_percent"
        }
        NumberField::RequestsThisHour => "context.user_attributes.requests_this_hour",
        NumberField::RequestsToday => "context.user_attributes.requests_today",
        NumberField::DailyTokenUsage => "context.user_attributes.daily_token_usage",
        NumberField::MonthlyTokenUsage => "context.user_attributes.monthly_token_usage",
        NumberField::DailyCost => "context.user_attributes.daily_cost",
        NumberField::MonthlyCost => "context.user_attributes.monthly_cost",
        NumberField::UsagePromptTokens => "response.usage.prompt_tokens",
        NumberField::UsageCompletionTokens => "response.usage.completion_tokens",
        NumberField::UsageTotalTokens => "response.usage.total_tokens",
        NumberField::AttachmentCount => "request.attachments.count",
        NumberField::AttachmentBytes => "request.attachments.bytes",
        NumberField::MessageCount | NumberField::Length(_) => "len(request.messages)",
    }
}

pub(crate) fn list_path(list: List) -> &'static str {
    match list {
        List::Messages => "request.messages",
        List::Tools => "request.tools",
        List::Stop => "request.stop",
    }
}
