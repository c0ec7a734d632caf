//! The fields of an exchange by the names authors use, and their types.
//!
//! Every documented field is here, also those this version cannot fill: asking for one
//! of them is an error that says so, never a condition that is silently false.

use super::diagnostics::nearest;
use crate::calendar::WEEKDAYS;
use crate::program::{BoolField, Field, NumberField, SingleText, TextField};
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
    /// Only its presence can be asked.
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

/// A field as the reference lists it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct FieldInfo {
    pub path: &'static str,
    /// Absent when this version does not provide the field.
    pub field_type: Option<FieldType>,
}

/// All fields, for documentation and editors.
pub fn field_reference() -> impl Iterator<Item = FieldInfo> {
    let provided = TABLE.iter().map(|(path, field, _)| FieldInfo {
        path,
        field_type: Some(type_of(*field)),
    });
    let later = NOT_PROVIDED.iter().map(|path| FieldInfo {
        path,
        field_type: None,
    });
    provided.chain(later)
}

/// A field found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resolved {
    pub field: Field,
    pub field_type: FieldType,
    /// All values the field can have, where they are few.
    pub domain: Option<&'static [&'static str]>,
}

/// Why there is no such field.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FieldError {
    NotProvided,
    Unknown { help: String },
}

type Row = (&'static str, Field, Option<&'static [&'static str]>);

const fn single(path: &'static str, field: SingleText) -> Row {
    (path, Field::Text(TextField::Single(field)), None)
}

const fn number(path: &'static str, field: NumberField) -> Row {
    (path, Field::Number(field), None)
}

const fn texts(path: &'static str, field: TextField) -> Row {
    (path, Field::Text(field), None)
}

const MESSAGE_ROLE: &str = "request.messages[N].role";
const MESSAGE_CONTENT: &str = "request.messages[N].content";
const USER_ID: &str = "context.user_attributes.user_id";

/// `[N]` stands for an index and is read by [`resolve_message`].
const TABLE: &[Row] = &[
    single("request.model", SingleText::Model),
    ("request.messages", Field::Messages, None),
    texts(MESSAGE_ROLE, TextField::MessageRole(0)),
    texts(MESSAGE_CONTENT, TextField::MessageContent(0)),
    texts("request.messages[*].role", TextField::EveryRole),
    texts("request.messages[*].content", TextField::EveryContent),
    texts("request.text", TextField::EveryText),
    number("request.temperature", NumberField::Temperature),
    number("request.max_tokens", NumberField::MaxTokens),
    number("request.top_p", NumberField::TopP),
    number("request.frequency_penalty", NumberField::FrequencyPenalty),
    number("request.presence_penalty", NumberField::PresencePenalty),
    texts("request.stop", TextField::Stop),
    ("request.stream", Field::Bool(BoolField::Stream), None),
    single("request.user", SingleText::User),
    texts("request.tools", TextField::Tools),
    number(
        "processing.conversation_context.turn_count",
        NumberField::TurnCount,
    ),
    number("context.time.hour", NumberField::Hour),
    number("context.time.minute", NumberField::Minute),
    (
        "context.time.day_of_week",
        Field::Text(TextField::Single(SingleText::DayOfWeek)),
        Some(&WEEKDAYS),
    ),
    number("context.time.day", NumberField::Day),
    number("context.time.month", NumberField::Month),
    number("context.time.year", NumberField::Year),
    single("context.time.date", SingleText::Date),
    number("context.time.timestamp", NumberField::Timestamp),
    single("context.environment", SingleText::Environment),
    single("context.client_ip", SingleText::ClientIp),
    single(USER_ID, SingleText::UserId),
];

/// Part of the language; nothing computes them in this version.
const NOT_PROVIDED: &[&str] = &[
    "response.content",
    "response.finish_reason",
    "response.model",
    "response.usage.prompt_tokens",
    "response.usage.completion_tokens",
    "response.usage.total_tokens",
    "processing.token_estimate.prompt_tokens",
    "processing.token_estimate.completion_tokens",
    "processing.token_estimate.total_tokens",
    "processing.cost_estimate.prompt_cost",
    "processing.cost_estimate.completion_cost",
    "processing.cost_estimate.total_cost",
    "processing.content_analysis.pii_detection.has_pii",
    "processing.content_analysis.pii_detection.pii_types",
    "processing.content_analysis.pii_detection.confidence",
    "processing.content_analysis.sensitive_content.has_sensitive_content",
    "processing.content_analysis.sensitive_content.categories",
    "processing.content_analysis.sensitive_content.severity",
    "processing.content_analysis.prompt_injection.has_prompt_injection",
    "processing.content_analysis.prompt_injection.confidence",
    "processing.content_analysis.prompt_injection.type",
    "processing.content_analysis.sentiment.score",
    "processing.content_analysis.sentiment.label",
    "processing.risk_score",
    "processing.complexity_score",
    "processing.conversation_context.context_window_usage",
    "processing.conversation_context.context_window_percent",
    "context.user_attributes.tier",
    "context.user_attributes.department",
    "context.user_attributes.roles",
    "context.user_attributes.region",
    "context.user_attributes.requests_this_hour",
    "context.user_attributes.requests_today",
    "context.user_attributes.daily_token_usage",
    "context.user_attributes.monthly_token_usage",
    "context.user_attributes.daily_cost",
    "context.user_attributes.monthly_cost",
];

fn type_of(field: Field) -> FieldType {
    match field {
        Field::Number(_) => FieldType::Number,
        Field::Bool(_) => FieldType::Bool,
        Field::Messages => FieldType::Messages,
        Field::Text(TextField::Tools | TextField::Stop) => FieldType::Names,
        Field::Text(TextField::EveryRole | TextField::EveryContent | TextField::EveryText) => {
            FieldType::Texts
        }
        Field::Text(
            TextField::Single(_)
            | TextField::MessageRole(_)
            | TextField::MessageContent(_)
            | TextField::Entry(_),
        ) => FieldType::Text,
    }
}

/// Finds a field by its path.
pub(super) fn resolve(path: &str) -> Result<Resolved, FieldError> {
    if let Some((path, field, domain)) = TABLE.iter().find(|(known, ..)| *known == path)
        && !path.contains("[N]")
    {
        return Ok(Resolved {
            field: *field,
            field_type: type_of(*field),
            domain: *domain,
        });
    }
    if NOT_PROVIDED.contains(&path) {
        return Err(FieldError::NotProvided);
    }
    match path.strip_prefix("request.messages[") {
        Some(rest) => resolve_message(rest),
        None => Err(unknown(path)),
    }
}

/// The rest of `request.messages[`: an index, then `.role` or `.content`.
fn resolve_message(rest: &str) -> Result<Resolved, FieldError> {
    let unknown = |help: &str| FieldError::Unknown {
        help: help.to_owned(),
    };
    let (index, tail) = rest
        .split_once(']')
        .ok_or_else(|| unknown("close the index with `]`"))?;
    let filters = |text: &str| text.contains('=');
    if filters(index) || tail.starts_with(".content[") {
        // Filters and parts of messages are MPL, and not provided.
        return Err(FieldError::NotProvided);
    }
    let field = match (index.parse(), tail) {
        (Ok(index), ".role") => TextField::MessageRole(index),
        (Ok(index), ".content") => TextField::MessageContent(index),
        (Err(_), _) => {
            return Err(unknown(
                "an index is a number such as `0` or `-1` (the last), or `*`",
            ));
        }
        (Ok(_), _) => return Err(unknown("a message has `.role` and `.content`")),
    };
    Ok(Resolved {
        field: Field::Text(field),
        field_type: FieldType::Text,
        domain: None,
    })
}

fn unknown(path: &str) -> FieldError {
    let all = || field_reference().map(|info| info.path);
    let last = |path: &'static str| path.rsplit('.').next().unwrap_or(path);
    // `model` for `request.model` is as common a slip as a typing error.
    let help = match all()
        .find(|known| last(known) == path)
        .or_else(|| nearest(path, all()))
    {
        Some(known) => format!("did you mean `{known}`?"),
        None => "fields begin with `request.`, `context.` or `processing.`".to_owned(),
    };
    FieldError::Unknown { help }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provided_field_resolves_to_its_type() {
        for info in field_reference() {
            let path = info.path.replace("[N]", "[-2]");
            let found = resolve(&path).map(|resolved| resolved.field_type);
            assert_eq!(
                found,
                info.field_type.ok_or(FieldError::NotProvided),
                "{path}"
            );
        }
    }

    #[test]
    fn a_wrong_field_is_answered_with_a_near_one() {
        for (path, help) in [
            ("request.modle", "did you mean `request.model`?"),
            ("model", "did you mean `request.model`?"),
            ("context.time.hours", "did you mean `context.time.hour`?"),
            (
                "request.messages[0].text",
                "a message has `.role` and `.content`",
            ),
            (
                "request.messages[*]",
                "an index is a number such as `0` or `-1` (the last), or `*`",
            ),
            ("request.messages[1", "close the index with `]`"),
            (
                "zzz",
                "fields begin with `request.`, `context.` or `processing.`",
            ),
        ] {
            let help = help.to_owned();
            assert_eq!(
                resolve(path).unwrap_err(),
                FieldError::Unknown { help },
                "{path}"
            );
        }
        let filter = resolve("request.messages[*].content[type=image]");
        assert_eq!(filter.unwrap_err(), FieldError::NotProvided);
    }
}
