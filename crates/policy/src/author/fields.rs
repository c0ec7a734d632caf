//! The fields of an exchange by the names authors use, and their types.
//!
//! Every documented field is here, also those this version cannot fill: they are null,
//! and whoever uses one is told.

use super::diagnostics::nearest;
use crate::calendar::WEEKDAYS;
use crate::program::{
    BoolField, Case, Field, KindFilter, NumberField, PartFilter, Role, SingleText, TextField,
};
use serde::Serialize;

/// What a field holds, as far as operators care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldType {
    Text,
    /// Several texts; a condition holds when it holds for any of them.
    Texts,
    /// A list of names: `contains` means that a name is in it.
    Names,
    Number,
    Bool,
    /// Only its presence and its length can be asked.
    Messages,
}

impl FieldType {
    pub(super) fn describe(self) -> &'static str {
        match self {
            FieldType::Text => "a text",
            FieldType::Texts => "several texts",
            FieldType::Names => "a list of names",
            FieldType::Number => "a number",
            FieldType::Bool => "a boolean",
            FieldType::Messages => "the list of messages",
        }
    }
}

/// Who fills a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Provision {
    /// This version does.
    Provided,
    /// A later version; until then it is null.
    Later,
    /// Known once the provider has answered: rules that read it are decided then.
    Response,
    /// Documented, and computed by nothing: always null.
    Never,
}

/// A field as the reference lists it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct FieldInfo {
    pub path: &'static str,
    pub field_type: FieldType,
    pub provision: Provision,
    /// All values the field can have, where they are few.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<&'static [&'static str]>,
}

/// All fields, for documentation and editors.
pub fn field_reference() -> impl Iterator<Item = FieldInfo> {
    TABLE.iter().map(|row| FieldInfo {
        path: row.path,
        field_type: type_of(row.field),
        provision: row.provision,
        values: row.values,
    })
}

/// A field found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resolved {
    pub field: Field,
    pub field_type: FieldType,
    /// What `lower` and `upper` make of a text.
    pub case: Case,
    /// All values the field can have, where they are few.
    pub domain: Option<&'static [&'static str]>,
    pub provision: Provision,
    /// Written in a way that is understood, and not the way of the reference.
    pub alternate: bool,
}

/// Why there is no such field.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FieldError {
    pub help: String,
}

struct Row {
    path: &'static str,
    field: Field,
    provision: Provision,
    values: Option<&'static [&'static str]>,
}

impl Row {
    const fn new(path: &'static str, field: Field) -> Row {
        Row {
            path,
            field,
            provision: Provision::Provided,
            values: None,
        }
    }

    const fn later(self) -> Row {
        Row {
            provision: Provision::Later,
            ..self
        }
    }

    const fn of_response(self) -> Row {
        Row {
            provision: Provision::Response,
            ..self
        }
    }

    const fn never(self) -> Row {
        Row {
            provision: Provision::Never,
            ..self
        }
    }

    const fn one_of(self, values: &'static [&'static str]) -> Row {
        Row {
            values: Some(values),
            ..self
        }
    }
}

const fn single(path: &'static str, field: SingleText) -> Row {
    Row::new(path, Field::Text(TextField::Single(field)))
}

const fn number(path: &'static str, field: NumberField) -> Row {
    Row::new(path, Field::Number(field))
}

const fn texts(path: &'static str, field: TextField) -> Row {
    Row::new(path, Field::Text(field))
}

const fn boolean(path: &'static str, field: BoolField) -> Row {
    Row::new(path, Field::Bool(field))
}

pub(super) const ROLES: &[&str] = &[
    "system",
    "developer",
    "user",
    "assistant",
    "tool",
    "function",
];
pub(super) const PART_KINDS: &[&str] = &["text", "image", "audio", "video", "file", "other"];
const SEVERITIES: &[&str] = &["none", "low", "medium", "high", "critical"];

const ANY_PART: TextField = TextField::Parts(PartFilter {
    message: None,
    kind: KindFilter::Any,
});

/// `[N]`, `[role=R]` and `[type=K]` stand for selectors, which [`resolve`] reads.
const TABLE: &[Row] = &[
    single("request.model", SingleText::Model),
    Row::new("request.messages", Field::Messages),
    texts("request.messages[N].role", TextField::MessageRole(0)).one_of(ROLES),
    texts("request.messages[N].content", TextField::MessageContent(0)),
    texts("request.messages[*].role", TextField::EveryRole).one_of(ROLES),
    texts("request.messages[*].content", TextField::EveryContent),
    texts(
        "request.messages[role=R].content",
        TextField::RoleContent(Role::User),
    ),
    texts("request.messages[*].content[*].type", ANY_PART)
        .one_of(PART_KINDS)
        .later(),
    texts("request.messages[*].content[type=K]", ANY_PART)
        .one_of(PART_KINDS)
        .later(),
    texts("request.text", TextField::EveryText),
    number("request.attachments.count", NumberField::AttachmentCount),
    number("request.attachments.bytes", NumberField::AttachmentBytes),
    texts(
        "request.attachments.media_types",
        TextField::AttachmentTypes,
    ),
    number("request.temperature", NumberField::Temperature),
    number("request.max_tokens", NumberField::MaxTokens),
    number("request.top_p", NumberField::TopP),
    number("request.frequency_penalty", NumberField::FrequencyPenalty),
    number("request.presence_penalty", NumberField::PresencePenalty),
    texts("request.stop", TextField::Stop),
    boolean("request.stream", BoolField::Stream),
    single("request.user", SingleText::User),
    texts("request.tools", TextField::Tools),
    texts("response.content", TextField::ResponseContent).of_response(),
    texts("response.text", TextField::ResponseText).of_response(),
    single("response.finish_reason", SingleText::FinishReason).of_response(),
    single("response.model", SingleText::ResponseModel).of_response(),
    number(
        "response.usage.prompt_tokens",
        NumberField::UsagePromptTokens,
    )
    .of_response(),
    number(
        "response.usage.completion_tokens",
        NumberField::UsageCompletionTokens,
    )
    .of_response(),
    number("response.usage.total_tokens", NumberField::UsageTotalTokens).of_response(),
    number(
        "processing.token_estimate.prompt_tokens",
        NumberField::EstimatedPromptTokens,
    ),
    number(
        "processing.token_estimate.completion_tokens",
        NumberField::EstimatedCompletionTokens,
    ),
    number(
        "processing.token_estimate.total_tokens",
        NumberField::EstimatedTotalTokens,
    ),
    number(
        "processing.cost_estimate.prompt_cost",
        NumberField::PromptCost,
    ),
    number(
        "processing.cost_estimate.completion_cost",
        NumberField::CompletionCost,
    ),
    number(
        "processing.cost_estimate.total_cost",
        NumberField::TotalCost,
    ),
    boolean(
        "processing.content_analysis.pii_detection.has_pii",
        BoolField::HasPii,
    ),
    texts(
        "processing.content_analysis.pii_detection.pii_types",
        TextField::PiiTypes,
    ),
    number(
        "processing.content_analysis.pii_detection.confidence",
        NumberField::PiiConfidence,
    ),
    boolean(
        "processing.content_analysis.sensitive_content.has_sensitive_content",
        BoolField::HasSensitiveContent,
    ),
    texts(
        "processing.content_analysis.sensitive_content.categories",
        TextField::SensitiveCategories,
    ),
    single(
        "processing.content_analysis.sensitive_content.severity",
        SingleText::SensitiveSeverity,
    )
    .one_of(SEVERITIES),
    boolean(
        "processing.content_analysis.prompt_injection.has_prompt_injection",
        BoolField::HasInjection,
    ),
    number(
        "processing.content_analysis.prompt_injection.confidence",
        NumberField::InjectionConfidence,
    ),
    single(
        "processing.content_analysis.prompt_injection.type",
        SingleText::InjectionType,
    ),
    number(
        "processing.content_analysis.sentiment.score",
        NumberField::SentimentScore,
    )
    .never(),
    single(
        "processing.content_analysis.sentiment.label",
        SingleText::SentimentLabel,
    )
    .never(),
    number("processing.risk_score", NumberField::RiskScore).later(),
    number("processing.complexity_score", NumberField::ComplexityScore).later(),
    number(
        "processing.conversation_context.turn_count",
        NumberField::TurnCount,
    ),
    number(
        "processing.conversation_context.context_window_usage",
        NumberField::ContextWindowUsage,
    )
    .later(),
    number(
        "processing.conversation_context.context_window_percent",
        NumberField::ContextWindowPercent,
    )
    .later(),
    number("context.time.hour", NumberField::Hour),
    number("context.time.minute", NumberField::Minute),
    single("context.time.day_of_week", SingleText::DayOfWeek).one_of(&WEEKDAYS),
    number("context.time.day", NumberField::Day),
    number("context.time.month", NumberField::Month),
    number("context.time.year", NumberField::Year),
    single("context.time.date", SingleText::Date),
    number("context.time.timestamp", NumberField::Timestamp),
    single("context.environment", SingleText::Environment),
    single("context.client_ip", SingleText::ClientIp),
    single("context.user_attributes.user_id", SingleText::UserId),
    single("context.user_attributes.tier", SingleText::Tier),
    single("context.user_attributes.department", SingleText::Department),
    texts("context.user_attributes.roles", TextField::UserRoles),
    single("context.user_attributes.region", SingleText::Region),
    number(
        "context.user_attributes.requests_this_hour",
        NumberField::RequestsThisHour,
    )
    .later(),
    number(
        "context.user_attributes.requests_today",
        NumberField::RequestsToday,
    )
    .later(),
    number(
        "context.user_attributes.daily_token_usage",
        NumberField::DailyTokenUsage,
    )
    .later(),
    number(
        "context.user_attributes.monthly_token_usage",
        NumberField::MonthlyTokenUsage,
    )
    .later(),
    number("context.user_attributes.daily_cost", NumberField::DailyCost).later(),
    number(
        "context.user_attributes.monthly_cost",
        NumberField::MonthlyCost,
    )
    .later(),
];

/// Other names that policies use, with one clear meaning.
const ALTERNATES: &[(&str, &str)] = &[
    (
        "processing.content_analysis.pii_detection.detected",
        "processing.content_analysis.pii_detection.has_pii",
    ),
    (
        "processing.content_analysis.sensitive_content.detected",
        "processing.content_analysis.sensitive_content.has_sensitive_content",
    ),
    (
        "processing.content_analysis.sensitive_content.has_sensitive",
        "processing.content_analysis.sensitive_content.has_sensitive_content",
    ),
    (
        "processing.content_analysis.prompt_injection.detected",
        "processing.content_analysis.prompt_injection.has_prompt_injection",
    ),
    (
        "processing.content_analysis.prompt_injection.has_injection",
        "processing.content_analysis.prompt_injection.has_prompt_injection",
    ),
    ("request.max_completion_tokens", "request.max_tokens"),
    ("request.tools[*].name", "request.tools"),
    ("request.tools[*].function.name", "request.tools"),
    (
        "request.messages[*].content[*]",
        "request.messages[*].content[*].type",
    ),
];

pub(super) fn type_of(field: Field) -> FieldType {
    match field {
        Field::Number(_) => FieldType::Number,
        Field::Bool(_) => FieldType::Bool,
        Field::Messages => FieldType::Messages,
        Field::Text(
            TextField::Tools
            | TextField::Stop
            | TextField::Parts(_)
            | TextField::AttachmentTypes
            | TextField::PiiTypes
            | TextField::SensitiveCategories
            | TextField::UserRoles,
        ) => FieldType::Names,
        Field::Text(
            TextField::EveryRole
            | TextField::EveryContent
            | TextField::EveryText
            | TextField::RoleContent(_)
            | TextField::ResponseText,
        ) => FieldType::Texts,
        Field::Text(
            TextField::Single(_)
            | TextField::MessageRole(_)
            | TextField::MessageContent(_)
            | TextField::Entry(_)
            | TextField::ResponseContent,
        ) => FieldType::Text,
    }
}

/// Finds a field by its path.
pub(super) fn resolve(path: &str) -> Result<Resolved, FieldError> {
    if let Some(found) = in_table(path) {
        return Ok(found);
    }
    let other = ALTERNATES
        .iter()
        .find(|(alternate, _)| *alternate == path)
        .map(|(_, canonical)| *canonical)
        .or_else(|| path.strip_suffix("[*]"));
    if let Some(found) = other.and_then(in_table) {
        return Ok(Resolved {
            alternate: true,
            ..found
        });
    }
    match path.strip_prefix("request.messages[") {
        Some(rest) => super::selectors::message(rest),
        None => Err(unknown(path)),
    }
}

fn in_table(path: &str) -> Option<Resolved> {
    // `[*]` stands for itself; the others for what a selector reads.
    let placeholder = ["[N]", "[role=R]", "[type=K]"];
    if placeholder.iter().any(|mark| path.contains(mark)) {
        return None;
    }
    let row = TABLE.iter().find(|row| row.path == path)?;
    Some(Resolved {
        field: row.field,
        field_type: type_of(row.field),
        case: Case::AsIs,
        domain: row.values,
        provision: row.provision,
        alternate: false,
    })
}

/// A field by what it is, for what has no row of its own.
pub(super) fn resolved(field: Field) -> Resolved {
    let (provision, domain) = match field {
        Field::Text(TextField::Parts(_)) => (Provision::Later, Some(PART_KINDS)),
        Field::Text(TextField::MessageRole(_)) => (Provision::Provided, Some(ROLES)),
        _ => (Provision::Provided, None),
    };
    Resolved {
        field,
        field_type: type_of(field),
        case: Case::AsIs,
        domain,
        provision,
        alternate: false,
    }
}

fn unknown(path: &str) -> FieldError {
    let all = || TABLE.iter().map(|row| row.path);
    let last = |path: &'static str| path.rsplit('.').next().unwrap_or(path);
    // `model` for `request.model` is as common a slip as a typing error.
    let help = match all()
        .find(|known| last(known) == path)
        .or_else(|| nearest(path, all()))
    {
        Some(known) => format!("did you mean `{known}`?"),
        None => "fields begin with `request.`, `response.`, `context.` or `processing.`".to_owned(),
    };
    FieldError { help }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_resolves_to_what_the_table_says_and_is_shown_by_its_name() {
        for info in field_reference() {
            let path = info
                .path
                .replace("[N]", "[-2]")
                .replace("role=R", "role=user")
                .replace("type=K", "type=image");
            let found = resolve(&path).unwrap();
            assert_eq!(found.field_type, info.field_type, "{path}");
            assert_eq!(found.provision, info.provision, "{path}");
            assert!(!found.alternate, "{path}");
            assert_eq!(crate::names::path(found.field), path);
        }
    }

    #[test]
    fn alternates_mean_fields_there_are() {
        for (alternate, canonical) in ALTERNATES {
            let found = resolve(alternate).unwrap();
            assert!(found.alternate, "{alternate}");
            assert_eq!(crate::names::path(found.field), *canonical);
        }
        assert!(resolve("request.tools[*]").unwrap().alternate);
    }

    #[test]
    fn a_wrong_field_is_answered_with_a_near_one() {
        for (path, help) in [
            ("request.modle", "did you mean `request.model`?"),
            ("model", "did you mean `request.model`?"),
            ("context.time.hours", "did you mean `context.time.hour`?"),
            (
                "zzz",
                "fields begin with `request.`, `response.`, `context.` or `processing.`",
            ),
        ] {
            let help = help.to_owned();
            assert_eq!(resolve(path).unwrap_err(), FieldError { help }, "{path}");
        }
    }

    #[test]
    fn words_of_the_table_are_those_of_the_program() {
        assert_eq!(Role::ALL.map(Role::as_str), ROLES);
        let kinds = crate::facts::PartKind::ALL.map(|kind| kind.as_str());
        assert_eq!(kinds, PART_KINDS);
    }
}
