//! What matched rules change, as edits of a body.
//!
//! Redactions act on the exact span of each finding in the texts their fields name. Of
//! several that cover a finding the first one acts. A text that a rule sets anew is not
//! redacted besides. What cannot be carried out is told, never passed over.

use super::findings::{Found, is_redacted};
use super::vault::Vault;
use jupiter_detect::detectors::{Finding, Kind};
use jupiter_policy::facts::{RequestFacts, ResponseFacts};
use jupiter_policy::{
    ActionRequest, ChosenAnswer, ChosenTexts, ModifyValue, RedactMethod, RequestedAction,
};
use jupiter_provider::{Api, Edit, MemberEdit, TextEdit, TextId};
use serde::de::IgnoredAny;
use serde_json::Value;
use std::collections::BTreeMap;

/// What replaces a finding when the rule names nothing.
const REPLACEMENT: &str = "[REDACTED]";

/// A rule's redaction, in force for this exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Redaction {
    texts: ChosenTexts,
    method: RedactMethod,
    replacement: Option<String>,
}

impl Redaction {
    pub fn of(action: &ActionRequest) -> Option<Redaction> {
        match action {
            ActionRequest::Redact {
                texts,
                method,
                replacement,
                ..
            } => Some(Redaction {
                texts: texts.clone(),
                method: *method,
                replacement: replacement.clone(),
            }),
            _ => None,
        }
    }

    /// Whether it is about the answer.
    pub fn is_of_answer(&self) -> bool {
        self.texts.answer != ChosenAnswer::None
    }

    fn covers(&self, text: TextId) -> bool {
        match text {
            TextId::Message(nth) => {
                let nth = u32::try_from(nth).unwrap_or(u32::MAX);
                self.texts.messages.binary_search(&nth).is_ok()
            }
            TextId::Other(_) => self.texts.other,
            TextId::Content => false,
        }
    }

    pub fn covers_answer(&self, is_content: bool) -> bool {
        match self.texts.answer {
            ChosenAnswer::None => false,
            ChosenAnswer::Content => is_content,
            ChosenAnswer::All => true,
        }
    }

    /// What stands in the place of a finding; tokenizing is up to a [`Vault`].
    pub fn instead_of(&self, text: &str) -> String {
        match self.method {
            RedactMethod::Mask => "*".repeat(text.chars().count()),
            RedactMethod::Remove => String::new(),
            RedactMethod::Replace => self
                .replacement
                .as_deref()
                .unwrap_or(REPLACEMENT)
                .to_owned(),
            // In an answer there is nobody to restore it for.
            RedactMethod::Tokenize => REPLACEMENT.to_owned(),
        }
    }

    pub fn method_name(&self) -> &'static str {
        match self.method {
            RedactMethod::Mask => "mask",
            RedactMethod::Remove => "remove",
            RedactMethod::Replace => "replace",
            RedactMethod::Tokenize => "tokenize",
        }
    }
}

/// A finding that was taken out, for the record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Redacted {
    pub place: String,
    pub kind: Kind,
    pub method: &'static str,
}

/// All that is done to a body.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub texts: Vec<TextEdit>,
    pub members: Vec<MemberEdit<'static>>,
    pub redacted: Vec<Redacted>,
    /// Names of fields that were set.
    pub set: Vec<String>,
    pub tags: Vec<(String, String)>,
    /// Redactions of the answer to come.
    pub of_answer: Vec<Redaction>,
    pub not_applied: Vec<String>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.members.is_empty()
    }
}

/// The request as it was read.
pub(super) struct Target<'a> {
    pub api: Api,
    pub body: &'a [u8],
    pub facts: &'a RequestFacts,
    pub found: &'a [Found],
}

/// What the actions of matched rules do to a request.
pub(super) fn of_request(
    actions: &[RequestedAction],
    target: &Target<'_>,
    vault: &mut Vault,
) -> Changes {
    let mut changes = Changes::default();
    let mut redactions = Vec::new();
    for asked in actions {
        let applied = match &asked.action {
            action @ ActionRequest::Redact { texts, .. } => {
                redactions.extend(Redaction::of(action));
                texts.has_request() || texts.answer != ChosenAnswer::None
            }
            ActionRequest::Modify {
                field,
                texts,
                value,
            } => target.modify(field, texts, value, &mut changes),
            ActionRequest::Route {
                provider, model, ..
            } => {
                if let Some(model) = model {
                    let model = ModifyValue::Text(model.clone());
                    target.modify(
                        "request.model",
                        &ChosenTexts::default(),
                        &model,
                        &mut changes,
                    );
                }
                provider.is_none()
            }
            ActionRequest::Tag { tags } => {
                changes.tags.extend(tags.iter().cloned());
                true
            }
            ActionRequest::Alert { .. }
            | ActionRequest::RateLimit { .. }
            | ActionRequest::Budget { .. } => false,
        };
        if !applied {
            changes.not_applied.push(named(asked));
        }
    }
    let set: Vec<TextId> = changes.texts.iter().map(|edit| edit.text).collect();
    for Found { text, finding } in target.found {
        let covering = redactions.iter().find(|it| it.covers(*text));
        if let Some(redaction) = covering.filter(|_| is_redacted(finding.kind))
            && !set.contains(text)
        {
            target.redact(redaction, *text, finding, vault, &mut changes);
        }
    }
    redactions.retain(Redaction::is_of_answer);
    changes.of_answer = redactions;
    changes
}

/// `policy/rule: kind`, as records name an action.
pub(super) fn named(asked: &RequestedAction) -> String {
    format!("{}/{}: {}", asked.policy, asked.rule, asked.action.kind())
}

impl Target<'_> {
    fn text(&self, id: TextId) -> &str {
        let text = match id {
            TextId::Message(nth) => self.facts.messages.get(nth).map(|it| &it.content),
            TextId::Other(nth) => self.facts.other_texts.get(nth),
            TextId::Content => None,
        };
        text.map(String::as_str).unwrap_or_default()
    }

    fn redact(
        &self,
        redaction: &Redaction,
        id: TextId,
        finding: &Finding,
        vault: &mut Vault,
        changes: &mut Changes,
    ) {
        let range = finding.start..finding.end;
        let text = self.text(id).get(range.clone()).unwrap_or_default();
        let with = match redaction.method {
            RedactMethod::Tokenize => {
                let taken = |name: &str| self.facts.texts().any(|text| text.contains(name));
                vault.placeholder(finding.kind, text, taken)
            }
            _ => redaction.instead_of(text),
        };
        changes.texts.push(TextEdit {
            text: id,
            edit: Edit { range, with },
        });
        changes.redacted.push(Redacted {
            place: place(id),
            kind: finding.kind,
            method: redaction.method_name(),
        });
    }

    /// Whether the field could be set.
    fn modify(
        &self,
        field: &str,
        texts: &ChosenTexts,
        value: &ModifyValue,
        changes: &mut Changes,
    ) -> bool {
        let done = match (self.member(field), value) {
            (Some(keys), _) if self.api.has_body() => {
                for key in keys {
                    changes.members.push(MemberEdit {
                        key,
                        value: json(value),
                    });
                }
                true
            }
            (None, ModifyValue::Text(text)) if !texts.messages.is_empty() => {
                for nth in &texts.messages {
                    let id = TextId::Message(*nth as usize);
                    let edit = Edit {
                        range: 0..self.text(id).len(),
                        with: text.clone(),
                    };
                    changes.texts.push(TextEdit { text: id, edit });
                }
                true
            }
            _ => false,
        };
        if done {
            changes.set.push(field.to_owned());
        }
        done
    }

    /// The members of the body that a field is read from.
    fn member(&self, field: &str) -> Option<Vec<&'static str>> {
        let anthropic = matches!(self.api, Api::Messages | Api::CountTokens);
        Some(match field {
            "request.model" => vec!["model"],
            "request.temperature" => vec!["temperature"],
            "request.top_p" => vec!["top_p"],
            "request.frequency_penalty" => vec!["frequency_penalty"],
            "request.presence_penalty" => vec!["presence_penalty"],
            "request.max_tokens" => self.limits(),
            "request.stop" if anthropic => vec!["stop_sequences"],
            "request.stop" => vec!["stop"],
            "request.user" if !anthropic => vec!["user"],
            _ => return None,
        })
    }

    /// Every limit that the client gave, so that none of them stands higher; else its usual name.
    fn limits(&self) -> Vec<&'static str> {
        const NAMES: [&str; 3] = ["max_tokens", "max_completion_tokens", "max_output_tokens"];
        let members: BTreeMap<String, IgnoredAny> =
            serde_json::from_slice(self.body).unwrap_or_default();
        let given = NAMES.into_iter().filter(|name| members.contains_key(*name));
        let given: Vec<_> = given.collect();
        match (given.is_empty(), self.api) {
            (false, _) => given,
            (true, Api::Responses) => vec!["max_output_tokens"],
            (true, _) => vec!["max_tokens"],
        }
    }
}

/// `None` removes the member.
fn json(value: &ModifyValue) -> Option<Value> {
    Some(match value {
        ModifyValue::Null => return None,
        ModifyValue::Bool(value) => Value::Bool(*value),
        // A whole number stays one: providers refuse `100.0` tokens.
        ModifyValue::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
            Value::from(*number as i64)
        }
        ModifyValue::Number(number) => Value::from(*number),
        ModifyValue::Text(text) => Value::String(text.clone()),
        ModifyValue::Texts(texts) => texts.iter().map(|it| Value::String(it.clone())).collect(),
    })
}

/// Where a text stands, in the words of policies.
pub(super) fn place(id: TextId) -> String {
    match id {
        TextId::Message(nth) => format!("request.messages[{nth}].content"),
        TextId::Other(_) => "request.text".to_owned(),
        TextId::Content => "response.content".to_owned(),
    }
}

pub(super) fn is_content(id: TextId) -> bool {
    id == TextId::Content
}

/// The texts of an answer.
pub(super) fn answer_texts(facts: &ResponseFacts) -> impl Iterator<Item = (TextId, &str)> {
    let content = facts.content.as_deref().map(|text| (TextId::Content, text));
    let others = facts.other_texts.iter().enumerate();
    let others = others.map(|(nth, text)| (TextId::Other(nth), text.as_str()));
    content.into_iter().chain(others)
}

pub(super) fn answer_place(is_content: bool) -> &'static str {
    match is_content {
        true => "response.content",
        false => "response.text",
    }
}
