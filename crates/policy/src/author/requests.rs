//! Actions besides the verdict: redact, modify, route, alert, tag.

use super::actions::NOT_DONE;
use super::checker::{Checker, Fields, shown};
use super::diagnostics::{Code, Span};
use super::fields::{FieldType, Resolved};
use super::operands::Operand;
use super::templates::piece;
use super::typed::{Action, NewValue, Piece, Template};
use super::variables::Constant;
use super::yaml::{Node, Value};
use crate::decision::{AlertSeverity, RedactMethod};
use crate::names;
use crate::program::{Field, NumberField, SingleText, TextField};

pub(super) const METHODS: &[&str] = &["mask", "remove", "replace", "tokenize"];
pub(super) const SEVERITIES: &[&str] = &["low", "medium", "high", "critical"];

/// Longest replacement, name of a tag, or address.
const MAX_TEXT_BYTES: usize = 1024;

impl Checker<'_> {
    pub(super) fn redact(&mut self, fields: &Fields<'_>) -> Option<Action> {
        let targets = self
            .require(fields, "fields")
            .and_then(|node| self.redacted(node));
        let method = self
            .required_text(fields, "method")
            .and_then(|(text, span)| self.word(text, span, Code::UnknownValue, "method", METHODS));
        let replacement = self.optional_text(fields, "replacement");
        if let (Some("mask" | "remove" | "tokenize"), Some((_, span))) = (method, replacement) {
            let message = "`replacement` belongs to the method `replace`";
            let help = "write `method: replace`, or leave `replacement` out";
            self.report_with_help(Code::KeyIgnored, span, message, help);
        }
        let replacement = match replacement {
            Some((text, span)) => Some(self.bounded(text, "`replacement`", span)?.to_owned()),
            None => None,
        };
        let method = match method? {
            "mask" => RedactMethod::Mask,
            "remove" => RedactMethod::Remove,
            "tokenize" => RedactMethod::Tokenize,
            _ => RedactMethod::Replace,
        };
        Some(Action::Redact {
            fields: targets?,
            method,
            replacement: replacement.filter(|_| method == RedactMethod::Replace),
        })
    }

    fn redacted(&mut self, node: &Node) -> Option<Vec<Field>> {
        let items = match &node.value {
            Value::Text(_) => {
                self.alternate("one field by itself", "a list of fields", node.span);
                std::slice::from_ref(node)
            }
            _ => self.list(node, "`fields`")?,
        };
        if items.is_empty() {
            self.report(Code::MissingKey, node.span, "`fields` names nothing");
            return None;
        }
        let targets: Vec<_> = items.iter().map(|item| self.text_target(item)).collect();
        targets.into_iter().collect()
    }

    /// A field of text that can be taken out of a request or response.
    fn text_target(&mut self, node: &Node) -> Option<Field> {
        let path = self.text(node, "a field")?;
        let found = self.target(path, node.span)?;
        match found.field {
            Field::Messages => Some(found.field),
            Field::Text(field) if field.is_prompt() || is_short(field) => Some(found.field),
            _ => {
                let message = format!("`{}` holds no text that could be redacted", shown(path));
                let help = "redact text, such as `request.messages[*].content` or `request.text`";
                self.report_with_help(Code::ActionTarget, node.span, message, help);
                None
            }
        }
    }

    /// A field that an action may change.
    fn target(&mut self, path: &str, span: Span) -> Option<Resolved> {
        let path = path
            .strip_prefix("{{")
            .and_then(|rest| rest.strip_suffix("}}"))
            .map_or(path, str::trim);
        let found = self.known_field(path, span)?;
        let name = names::path(found.field);
        if name.starts_with("request.") {
            self.uses.changed.push((shown(path), span));
            return Some(found);
        }
        if name.starts_with("response.") {
            return Some(found);
        }
        let message = format!("`{}` is not a part of the exchange", shown(path));
        let help = "only what begins with `request.` or `response.` can be changed";
        self.report_with_help(Code::ActionTarget, span, message, help);
        None
    }

    pub(super) fn modify(&mut self, fields: &Fields<'_>) -> Option<Action> {
        let target = self.required_text(fields, "field");
        let target = target.and_then(|(path, span)| Some((self.target(path, span)?, span)));
        let value = self.require(fields, "value");
        let operand = value.and_then(|node| self.operand(node));
        let (target, span) = target?;
        if !is_settable(target.field) {
            let name = names::path(target.field);
            let message = format!("setting `{name}` is not carried out by this version");
            self.report_with_help(Code::ActionNotProvided, span, message, NOT_DONE);
        } else if let Field::Text(TextField::ResponseContent) = target.field {
            let message = "in a stream, `response.content` is not set: its text has left by then";
            let help = "whole answers are changed; of a stream the record names the action. \
                        `redact` changes both, a `deny` where `request.stream` holds refuses them";
            self.report_with_help(Code::ActionNotProvided, span, message, help);
        }
        let value = self.new_value(&target, operand?, value.map_or(span, |node| node.span))?;
        Some(Action::Modify {
            field: target.field,
            value,
        })
    }

    fn new_value(&mut self, target: &Resolved, operand: Operand, span: Span) -> Option<NewValue> {
        let kind = match target.field {
            Field::Text(TextField::Tools | TextField::Parts(_) | TextField::AttachmentTypes)
            | Field::Messages => None,
            Field::Number(
                NumberField::MessageCount
                | NumberField::AttachmentCount
                | NumberField::AttachmentBytes
                | NumberField::Length(_),
            ) => None,
            _ => Some(target.field_type),
        };
        Some(match (kind, operand) {
            (None, _) => {
                let message = "this cannot be set to a value";
                let help = "set a text, number or boolean of the request";
                self.report_with_help(Code::ActionTarget, span, message, help);
                return None;
            }
            (Some(_), Operand::Null) => NewValue::Null,
            (Some(FieldType::Number), Operand::Constant(Constant::Number(number))) => {
                NewValue::Number(number)
            }
            (Some(FieldType::Bool), Operand::Constant(Constant::Bool(value))) => {
                NewValue::Bool(value)
            }
            (Some(FieldType::Text | FieldType::Texts), Operand::Constant(Constant::Text(text))) => {
                NewValue::Text(vec![Piece::Text(text)])
            }
            (Some(FieldType::Text | FieldType::Texts), Operand::Template(template)) => {
                NewValue::Text(template)
            }
            (Some(FieldType::Text | FieldType::Texts), Operand::Field(found)) => {
                NewValue::Text(vec![piece(&found)])
            }
            (Some(FieldType::Names), Operand::Constant(Constant::Texts(texts))) => {
                NewValue::Texts(texts)
            }
            (Some(wanted), operand) => {
                let message = format!(
                    "the field is {}, and the value is {}",
                    wanted.describe(),
                    operand.describe()
                );
                self.report(Code::ValueType, span, message);
                return None;
            }
        })
    }

    pub(super) fn route(&mut self, fields: &Fields<'_>) -> Option<Action> {
        let mut template = |key| match self.optional_text(fields, key) {
            Some((text, span)) => self.bounded_message(text, span).map(Some),
            None => Some(None),
        };
        let (provider, model, reason) =
            (template("provider"), template("model"), template("reason"));
        let (provider, model, reason) = (provider?, model?, reason?);
        if provider.is_none() && model.is_none() {
            let message = "a `route` needs `provider` or `model`";
            let span = fields.get("type").map_or(fields.span(), |node| node.span);
            self.report(Code::MissingKey, span, message);
            return None;
        }
        if provider.is_some() {
            let message = "the `provider` of a `route` is not chosen by this version";
            let span = fields
                .get("provider")
                .map_or(fields.span(), |node| node.span);
            self.report_with_help(Code::ActionNotProvided, span, message, NOT_DONE);
        }
        Some(Action::Route {
            provider,
            model,
            reason,
        })
    }

    pub(super) fn alert(&mut self, fields: &Fields<'_>) -> Option<Action> {
        let message = self.required_text(fields, "message");
        let message = message.and_then(|(text, span)| self.bounded_message(text, span));
        let webhook = match self.optional_text(fields, "webhook") {
            Some((text, span)) => Some(Some(self.webhook(text, span)?)),
            None => Some(None),
        };
        let severity = match self.optional_text(fields, "severity") {
            Some((text, span)) => {
                let words = SEVERITIES;
                match self.word(text, span, Code::UnknownValue, "severity", words)? {
                    "low" => AlertSeverity::Low,
                    "medium" => AlertSeverity::Medium,
                    "high" => AlertSeverity::High,
                    _ => AlertSeverity::Critical,
                }
            }
            None => AlertSeverity::Medium,
        };
        Some(Action::Alert {
            webhook: webhook?,
            message: message?,
            severity,
        })
    }

    /// An address known when the policy is read: variables may stand in it, fields may not.
    fn webhook(&mut self, text: &str, span: Span) -> Option<String> {
        let operand = self.text_operand(text, span)?;
        let Operand::Constant(Constant::Text(address)) = operand else {
            let message = "a webhook cannot depend on the exchange";
            let help = "write the address, or a variable";
            self.report_with_help(Code::BadWebhook, span, message, help);
            return None;
        };
        let rest = address
            .strip_prefix("https://")
            .or_else(|| address.strip_prefix("http://"));
        let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
        let sound = address.len() <= MAX_TEXT_BYTES
            && !address.contains(|c: char| c.is_control() || c.is_whitespace())
            && host.is_some_and(|host| !host.is_empty() && !host.contains('@'));
        if !sound {
            let message = format!("`{}` is not the address of a webhook", shown(&address));
            let help = "an address begins with `https://` and holds no password";
            self.report_with_help(Code::BadWebhook, span, message, help);
            return None;
        }
        Some(address)
    }

    pub(super) fn tag(&mut self, fields: &Fields<'_>) -> Option<Action> {
        let mut tags = Vec::new();
        if let Some(node) = fields.get("tags") {
            match &node.value {
                Value::Map(entries) => {
                    for entry in entries {
                        let value = self.text(&entry.value, "a tag's value")?;
                        let value = self.message(value, entry.value.span)?;
                        tags.push((self.tag_name(&entry.key, entry.key_span)?, value));
                    }
                }
                _ => {
                    for item in self.list(node, "`tags`")? {
                        let text = self.text(item, "a tag")?;
                        tags.push(self.label(text, item.span)?);
                    }
                }
            }
        }
        if let Some((name, span)) = self.optional_text(fields, "tag") {
            self.alternate("`tag`", "`tags: [name]`", span);
            tags.push(self.label(name, span)?);
        }
        if let Some((name, span)) = self.optional_text(fields, "key") {
            self.alternate("`key` and `value`", "`tags: {name: value}`", span);
            let value = match self.optional_text(fields, "value") {
                Some((text, span)) => self.message(text, span)?,
                None => Template::new(),
            };
            tags.push((self.tag_name(name, span)?, value));
        }
        if tags.is_empty() {
            let message = "a `tag` needs `tags`";
            let help = "write `tags: {name: value}` or `tags: [name]`";
            self.report_with_help(Code::MissingKey, fields.span(), message, help);
            return None;
        }
        Some(Action::Tag(tags))
    }

    /// A tag by itself; one with a template behind its name is a name with a value.
    fn label(&mut self, text: &str, span: Span) -> Option<(String, Template)> {
        match text.split_once([':', '=']) {
            Some((name, value)) if value.contains("{{") && !name.contains("{{") => {
                self.alternate("a tag with a template", "`tags: {name: value}`", span);
                let value = self.message(value.trim(), span)?;
                Some((self.tag_name(name.trim(), span)?, value))
            }
            _ => Some((self.tag_name(text, span)?, Template::new())),
        }
    }

    fn tag_name(&mut self, name: &str, span: Span) -> Option<String> {
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/');
        if name.is_empty() || name.len() > 64 || !name.chars().all(word) {
            let message = format!("`{}` cannot be a tag", shown(name));
            let help = "a tag is up to 64 letters, digits, `_`, `-`, `.`, `:` and `/`";
            self.report_with_help(Code::BadCode, span, message, help);
            return None;
        }
        Some(name.to_owned())
    }

    fn bounded<'t>(&mut self, text: &'t str, what: &str, span: Span) -> Option<&'t str> {
        if text.len() > MAX_TEXT_BYTES {
            let message = format!("{what} has more than {MAX_TEXT_BYTES} bytes");
            self.report(Code::TextTooLarge, span, message);
            return None;
        }
        Some(text)
    }
}

/// What a `modify` of this version sets.
fn is_settable(field: Field) -> bool {
    match field {
        Field::Text(field) => matches!(
            field,
            TextField::Single(SingleText::Model | SingleText::User)
                | TextField::Stop
                | TextField::MessageContent(_)
                | TextField::EveryContent
                | TextField::RoleContent(_)
                | TextField::ResponseContent
        ),
        Field::Number(field) => matches!(
            field,
            NumberField::Temperature
                | NumberField::MaxTokens
                | NumberField::TopP
                | NumberField::FrequencyPenalty
                | NumberField::PresencePenalty
        ),
        Field::Bool(_) | Field::Messages => false,
    }
}

/// Texts beside the prompt that clients and models write.
fn is_short(field: TextField) -> bool {
    matches!(
        field,
        TextField::Single(SingleText::User) | TextField::Tools
    )
}
