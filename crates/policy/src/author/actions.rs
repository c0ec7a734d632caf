//! What a matching rule does.

use super::checker::{Checker, Keys, list, shown};
use super::diagnostics::{Code, Span, did_you_mean};
use super::typed::{Action, Template};
use super::yaml::Node;
use crate::decision::LogLevel;

/// Code of a denial whose rule gives none.
const DEFAULT_CODE: &str = "policy_violation";

/// Longest code: it becomes a label.
const MAX_CODE_BYTES: usize = 64;

/// Longest message, before fields are filled in.
const MAX_MESSAGE_BYTES: usize = 4 * 1024;

/// The actions this version provides.
pub const ACTIONS: &[&str] = &["allow", "deny", "log"];

/// Part of the language, not provided by this version.
pub const ACTIONS_NOT_PROVIDED: &[&str] = &[
    "redact",
    "modify",
    "route",
    "alert",
    "rate_limit",
    "budget",
    "tag",
];

const LEVELS: &[&str] = &["debug", "info", "warn", "error"];

const ANY: Keys = Keys {
    what: "an action",
    known: &[
        "type",
        "message",
        "code",
        "level",
        "fields",
        "method",
        "replacement",
        "field",
        "value",
        "provider",
        "model",
        "reason",
        "webhook",
        "severity",
        "key",
        "limit",
        "window",
        "budget_type",
        "tags",
    ],
    later: &[],
};
const ALLOW: Keys = Keys {
    what: "an `allow`",
    known: &["type"],
    later: &[],
};
const DENY: Keys = Keys {
    what: "a `deny`",
    known: &["type", "message", "code"],
    later: &[],
};
const LOG: Keys = Keys {
    what: "a `log`",
    known: &["type", "level", "message"],
    later: &[],
};

impl Checker<'_> {
    /// A rule's actions; `None` after an error in any of them.
    pub(super) fn actions(&mut self, node: &Node) -> Option<Vec<Action>> {
        let items = self.list(node, "`actions`")?;
        if items.is_empty() {
            let help = "a rule allows, denies or logs";
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
        // Keys are checked once the type is known: what is unknown to one is known to another.
        let kind = {
            let super::yaml::Value::Map(entries) = &node.value else {
                self.fields(node, &ANY);
                return None;
            };
            entries
                .iter()
                .find(|entry| entry.key == "type")
                .map(|entry| &entry.value)
        };
        let Some(kind) = kind else {
            let fields = self.fields(node, &ANY)?;
            self.require(&fields, "type");
            return None;
        };
        let name = self.text(kind, "`type`")?;
        match name {
            "allow" => {
                self.fields(node, &ALLOW)?;
                Some(Action::Allow)
            }
            "deny" => self.deny(node),
            "log" => self.log(node),
            _ => {
                self.refuse_action(name, kind.span);
                None
            }
        }
    }

    fn deny(&mut self, node: &Node) -> Option<Action> {
        let fields = self.fields(node, &DENY)?;
        let message = self.required_text(&fields, "message");
        let message = message.and_then(|(text, span)| self.bounded_message(text, span));
        let code = match self.optional_text(&fields, "code") {
            Some((text, span)) => self.denial_code(text, span),
            None => Some(DEFAULT_CODE.to_owned()),
        };
        Some(Action::Deny {
            message: message?,
            code: code?,
        })
    }

    fn log(&mut self, node: &Node) -> Option<Action> {
        let fields = self.fields(node, &LOG)?;
        let level = self.required_text(&fields, "level");
        let level = level
            .and_then(|(text, span)| self.word(text, span, Code::UnknownValue, "level", LEVELS));
        let message = self.required_text(&fields, "message");
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

    fn bounded_message(&mut self, text: &str, span: Span) -> Option<Template> {
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

    fn refuse_action(&mut self, name: &str, span: Span) {
        if ACTIONS_NOT_PROVIDED.contains(&name) {
            let message = format!("action `{name}` is not provided by this version");
            let help = format!("this version provides {}", list(ACTIONS));
            self.report_with_help(Code::ActionNotProvided, span, message, help);
            return;
        }
        let all = ACTIONS.iter().chain(ACTIONS_NOT_PROVIDED).copied();
        let help = did_you_mean(name, all).unwrap_or_else(|| format!("one of {}", list(ACTIONS)));
        let message = format!("unknown action `{}`", shown(name));
        self.report_with_help(Code::UnknownAction, span, message, help);
    }

    /// The first `allow` or `deny` ends a rule.
    fn warn_of_unreachable_actions(&mut self, actions: &[(Option<Action>, Span)]) {
        let ends =
            |action: &Option<Action>| matches!(action, Some(Action::Allow | Action::Deny { .. }));
        let mut rest = actions
            .iter()
            .skip_while(|(action, _)| !ends(action))
            .skip(1);
        if let Some((_, span)) = rest.next() {
            let message = "this action is never reached: the one before it ends the rule";
            let help = "put `log` before `allow` and `deny`";
            self.report_with_help(Code::UnreachableAction, *span, message, help);
        }
    }
}
