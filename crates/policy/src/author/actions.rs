//! What a matching rule does.

use super::checker::{Checker, Fields, Keys, list, shown};
use super::diagnostics::{Code, Span, did_you_mean};
use super::typed::{Action, Template};
use super::yaml::{Node, Value};
use crate::decision::LogLevel;

/// Code of a denial whose rule gives none.
const DEFAULT_CODE: &str = "policy_violation";

/// Longest code: it becomes a label.
const MAX_CODE_BYTES: usize = 64;

/// Longest message, before fields are filled in.
const MAX_MESSAGE_BYTES: usize = 4 * 1024;

/// The actions of the language.
pub const ACTIONS: &[&str] = &[
    "allow",
    "deny",
    "log",
    "redact",
    "modify",
    "route",
    "alert",
    "rate_limit",
    "budget",
    "tag",
];

/// Those that this version records, and does not carry out.
pub const ACTIONS_NOT_PROVIDED: &[&str] = &["alert", "rate_limit", "budget"];

/// What becomes of an action that is not carried out.
pub(super) const NOT_DONE: &str =
    "the decision and its record name it; nothing else happens until then";

pub(super) const LEVELS: &[&str] = &["debug", "info", "warn", "error"];

/// Keys that only describe.
const ABOUT: &[&str] = &["name", "description", "metadata"];

/// The keys of an action, its `type` first.
pub(super) fn keys(action: &str) -> Keys {
    let (what, known): (_, &[&str]) = match action {
        "allow" => ("an `allow`", &["type"]),
        "deny" => ("a `deny`", &["type", "message", "code"]),
        "log" => ("a `log`", &["type", "level", "message"]),
        "redact" => ("a `redact`", &["type", "fields", "method", "replacement"]),
        "modify" => ("a `modify`", &["type", "field", "value"]),
        "route" => ("a `route`", &["type", "provider", "model", "reason"]),
        "alert" => ("an `alert`", &["type", "message", "webhook", "severity"]),
        "rate_limit" => ("a `rate_limit`", &["type", "key", "limit", "window"]),
        "budget" => (
            "a `budget`",
            &["type", "key", "limit", "window", "budget_type"],
        ),
        _ => ("a `tag`", &["type", "tags", "tag", "key", "value"]),
    };
    Keys {
        what,
        known,
        ignored: ABOUT,
    }
}

impl Checker<'_> {
    /// A rule's actions; `None` after an error in any of them.
    pub(super) fn actions(&mut self, node: &Node) -> Option<Vec<Action>> {
        let items = match &node.value {
            Value::Map(_) => {
                self.alternate("one action by itself", "a list of actions", node.span);
                std::slice::from_ref(node)
            }
            _ => self.list(node, "`actions`")?,
        };
        if items.is_empty() {
            let help = "a rule allows, denies, logs, or asks for another action";
            self.report_with_help(Code::EmptyActions, node.span, "a rule does nothing", help);
            return None;
        }
        let actions: Vec<_> = items
            .iter()
            .map(|item| (self.action(item), item.span))
            .collect();
        self.warn_of_unreachable_actions(&actions);
        actions.into_iter().map(|(action, _)| action).collect()
    }

    fn action(&mut self, node: &Node) -> Option<Action> {
        let entries = match &node.value {
            Value::Map(entries) => entries,
            Value::Text(name) if name == "allow" => {
                self.alternate("`allow` by itself", "`type: allow`", node.span);
                return Some(Action::Allow);
            }
            other => {
                let message = format!("an action is a mapping, and this is {}", other.describe());
                self.report(Code::WrongShape, node.span, message);
                return None;
            }
        };
        if let Some(kind) = entries.iter().find(|entry| entry.key == "type") {
            let name = self.text(&kind.value, "`type`")?;
            return self.action_of(name, kind.value.span, node);
        }
        // `- deny: {message: …}` says its type by its only key.
        if let [entry] = entries.as_slice()
            && ACTIONS.contains(&entry.key.as_str())
        {
            let said = format!("`{}` as a key", entry.key);
            let canonical = format!("`type: {}` beside its keys", entry.key);
            self.alternate(&said, &canonical, entry.key_span);
            let node = match (&entry.value.value, entry.key.as_str()) {
                // A tag by itself.
                (Value::Text(_), "tag") => node,
                _ => &entry.value,
            };
            return self.action_of(&entry.key, entry.key_span, node);
        }
        let message = "an action needs `type`";
        let span = entries.first().map_or(node.span, |entry| entry.key_span);
        self.report(Code::MissingKey, span, message);
        None
    }

    fn action_of(&mut self, name: &str, span: Span, node: &Node) -> Option<Action> {
        if !ACTIONS.contains(&name) {
            let help = did_you_mean(name, ACTIONS.iter().copied())
                .unwrap_or_else(|| format!("one of {}", list(ACTIONS)));
            let message = format!("unknown action `{}`", shown(name));
            self.report_with_help(Code::UnknownAction, span, message, help);
            return None;
        }
        if ACTIONS_NOT_PROVIDED.contains(&name) {
            let message = format!("action `{name}` is not carried out by this version");
            self.report_with_help(Code::ActionNotProvided, span, message, NOT_DONE);
        }
        let fields = self.fields(node, &keys(name))?;
        match name {
            "allow" => Some(Action::Allow),
            "deny" => self.deny(&fields),
            "log" => self.log(&fields),
            "redact" => self.redact(&fields),
            "modify" => self.modify(&fields),
            "route" => self.route(&fields),
            "alert" => self.alert(&fields),
            "rate_limit" => self.rate_limit(&fields),
            "budget" => self.budget(&fields),
            _ => self.tag(&fields),
        }
    }

    fn deny(&mut self, fields: &Fields<'_>) -> Option<Action> {
        let message = self.required_text(fields, "message");
        let message = message.and_then(|(text, span)| self.bounded_message(text, span));
        let code = match self.optional_text(fields, "code") {
            Some((text, span)) => self.denial_code(text, span),
            None => Some(DEFAULT_CODE.to_owned()),
        };
        Some(Action::Deny {
            message: message?,
            code: code?,
        })
    }

    fn log(&mut self, fields: &Fields<'_>) -> Option<Action> {
        let level = self.required_text(fields, "level");
        let level = level.and_then(|(text, span)| {
            let usual = match text {
                "warning" => "warn",
                "critical" | "fatal" => "error",
                _ => text,
            };
            if usual != text {
                self.alternate(&format!("`{text}`"), &format!("`{usual}`"), span);
            }
            self.word(usual, span, Code::UnknownValue, "level", LEVELS)
        });
        let message = self.required_text(fields, "message");
        let message = message.and_then(|(text, span)| self.bounded_message(text, span));
        let level = match level? {
            "debug" => LogLevel::Debug,
            "info" => LogLevel::Info,
            "warn" => LogLevel::Warn,
            _ => LogLevel::Error,
        };
        Some(Action::Log {
            level,
            message: message?,
        })
    }

    pub(super) fn bounded_message(&mut self, text: &str, span: Span) -> Option<Template> {
        if text.trim().is_empty() {
            let help = "say what is refused and what to do instead";
            self.report_with_help(Code::MissingKey, span, "`message` is empty", help);
            return None;
        }
        if text.len() > MAX_MESSAGE_BYTES {
            let message = format!("`message` has more than {MAX_MESSAGE_BYTES} bytes");
            self.report(Code::TextTooLarge, span, message);
            return None;
        }
        self.message(text, span)
    }

    fn denial_code(&mut self, text: &str, span: Span) -> Option<String> {
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if text.is_empty() || text.len() > MAX_CODE_BYTES || !text.chars().all(word) {
            let message = format!("`{}` cannot be a code", shown(text));
            let help = format!(
                "a code is up to {MAX_CODE_BYTES} letters, digits, `_`, `-` and `.`, such as \
                 `model_not_approved`"
            );
            self.report_with_help(Code::BadCode, span, message, help);
            return None;
        }
        Some(text.to_owned())
    }

    /// The first `allow` or `deny` ends a rule.
    fn warn_of_unreachable_actions(&mut self, actions: &[(Option<Action>, Span)]) {
        let ends = |action: &Option<Action>| action.as_ref().is_some_and(Action::is_decisive);
        let mut rest = actions
            .iter()
            .skip_while(|(action, _)| !ends(action))
            .skip(1);
        if let Some((_, span)) = rest.next() {
            let message = "this action is never reached: the one before it ends the rule";
            let help = "put `allow` and `deny` last";
            self.report_with_help(Code::UnreachableAction, *span, message, help);
        }
    }
}
