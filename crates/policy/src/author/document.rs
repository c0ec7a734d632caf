//! The document: what a policy says of itself, and its rules.

use super::MPL_VERSIONS;
use super::checker::{Checker, Fields, Keys, list, shown};
use super::diagnostics::{Code, Diagnostics, Span};
use super::patterns::Patterns;
use super::typed::{Policy, Rule};
use super::variables::Variables;
use super::yaml::{Node, Value};
use std::collections::{HashMap, HashSet};

const POLICY: Keys = Keys {
    what: "a policy",
    known: &[
        "mpl_version",
        "name",
        "version",
        "description",
        "author",
        "created",
        "updated",
        "tags",
        "variables",
        "priority",
        "rules",
    ],
    later: &[
        "phase",
        "mode",
        "on_error",
        "durability",
        "tests",
        "metadata",
    ],
};

const RULE: Keys = Keys {
    what: "a rule",
    known: &["name", "description", "enabled", "conditions", "actions"],
    later: &[
        "when",
        "phase",
        "mode",
        "on_error",
        "durability",
        "tests",
        "priority",
    ],
};

/// Longest name of a policy or rule: names become path segments and labels.
const MAX_NAME_BYTES: usize = 100;

/// Reads a policy from its tree. `None` only after an error.
pub(super) fn policy(tree: &Node, diagnostics: &mut Diagnostics) -> Option<Policy> {
    let mut checker = Checker {
        diagnostics,
        variables: Variables::default(),
        patterns: Patterns::default(),
    };
    checker.policy(tree)
}

impl Checker<'_> {
    fn policy(&mut self, tree: &Node) -> Option<Policy> {
        let fields = self.fields(tree, &POLICY)?;
        self.mpl_version(&fields);
        let name = self.name(&fields);
        let version = self.version(&fields);
        let description = self.optional_text(&fields, "description");
        let author = self.optional_text(&fields, "author");
        self.date(&fields, "created");
        self.date(&fields, "updated");
        let tags = self.tags(&fields);
        let priority = self.priority(&fields);
        if let Some(node) = fields.get("variables") {
            self.define_variables(node);
        }
        let rules = self
            .require(&fields, "rules")
            .and_then(|node| self.rules(node));
        self.warn_of_unused_variables();
        Some(Policy {
            name: name?,
            version: version?,
            description: description.map(|(text, _)| text.to_owned()),
            author: author.map(|(text, _)| text.to_owned()),
            tags,
            priority,
            rules: rules?,
        })
    }

    fn mpl_version(&mut self, fields: &Fields<'_>) {
        let Some((text, span)) = self.required_text(fields, "mpl_version") else {
            return;
        };
        if !MPL_VERSIONS.contains(&text) {
            let message = format!("unknown language version `{}`", shown(text));
            let help = format!("this version reads {}", list(MPL_VERSIONS));
            self.report_with_help(Code::MplVersion, span, message, help);
        }
    }

    fn name(&mut self, fields: &Fields<'_>) -> Option<String> {
        let (text, span) = self.required_text(fields, "name")?;
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let starts = text.starts_with(|c: char| c.is_ascii_lowercase());
        if starts && text.chars().all(word) && text.len() <= MAX_NAME_BYTES {
            return Some(text.to_owned());
        }
        let message = format!("`{}` cannot be a name", shown(text));
        let suggestion = kebab(text);
        let help = if suggestion.is_empty() || suggestion == text {
            format!("names are kebab-case: small letters, digits and `-`, at most {MAX_NAME_BYTES}")
        } else {
            format!("names are kebab-case: `{}`", shown(&suggestion))
        };
        self.report_with_help(Code::BadName, span, message, help);
        None
    }

    fn version(&mut self, fields: &Fields<'_>) -> Option<String> {
        let (text, span) = self.required_text(fields, "version")?;
        if is_semver(text) {
            return Some(text.to_owned());
        }
        let message = format!("`{}` is not a semantic version", shown(text));
        let help = "write three numbers, such as \"1.0.0\"";
        self.report_with_help(Code::BadVersion, span, message, help);
        None
    }

    fn date(&mut self, fields: &Fields<'_>, key: &str) {
        let Some((text, span)) = self.optional_text(fields, key) else {
            return;
        };
        if !starts_with_date(text) {
            let message = format!("`{key}` is a date, and this is `{}`", shown(text));
            let help = "write year, month and day: `2026-01-31`";
            self.report_with_help(Code::BadDate, span, message, help);
        }
    }

    fn tags(&mut self, fields: &Fields<'_>) -> Vec<String> {
        let mut tags: Vec<String> = Vec::new();
        let items = fields
            .get("tags")
            .and_then(|node| self.list(node, "`tags`"));
        let mut seen = HashSet::new();
        for item in items.into_iter().flatten() {
            let Some(tag) = self.text(item, "a tag") else {
                continue;
            };
            if seen.insert(tag) {
                tags.push(tag.to_owned());
            } else {
                let message = format!("tag `{}` is given twice", shown(tag));
                self.report(Code::DuplicateTag, item.span, message);
            }
        }
        tags
    }

    fn priority(&mut self, fields: &Fields<'_>) -> i32 {
        let Some(node) = fields.get("priority") else {
            return 0;
        };
        if let Value::Number(number, _) = node.value
            && number.fract() == 0.0
            && number.abs() <= 1_000_000.0
        {
            return number as i32;
        }
        let message = "`priority` is a whole number between -1000000 and 1000000";
        self.report(Code::WrongShape, node.span, message);
        0
    }

    fn rules(&mut self, node: &Node) -> Option<Vec<Rule>> {
        let items = self.list(node, "`rules`")?;
        if items.is_empty() {
            self.report(
                Code::EmptyRules,
                node.span,
                "a policy needs at least one rule",
            );
            return None;
        }
        let mut names: HashMap<String, Span> = HashMap::new();
        let mut rules = Vec::with_capacity(items.len());
        let mut always: Option<(String, Span)> = None;
        let mut sound = true;
        for item in items {
            if self.diagnostics.is_full() {
                return None;
            }
            let Some((rule, span)) = self.rule(item, &mut names) else {
                sound = false;
                continue;
            };
            if let Some((name, at)) = always.take() {
                self.warn_of_unreachable_rule(&rule.name, span, &name, at);
            } else if rule.enabled && rule.condition.constant() == Some(true) {
                always = Some((rule.name.clone(), span));
            }
            rules.push(rule);
        }
        sound.then_some(rules)
    }

    fn rule(&mut self, node: &Node, names: &mut HashMap<String, Span>) -> Option<(Rule, Span)> {
        let fields = self.fields(node, &RULE)?;
        let name = self.name(&fields);
        let span = fields.get("name").map_or(node.span, |name| name.span);
        if let Some(name) = &name
            && let Some(first) = names.insert(name.clone(), span)
        {
            let message = format!("rule `{name}` is already defined in line {}", first.line);
            self.report(Code::DuplicateRule, span, message);
        }
        self.optional_text(&fields, "description");
        let enabled = self.enabled(&fields);
        let conditions = self.require(&fields, "conditions");
        let condition = conditions.and_then(|node| self.conditions(node));
        let actions = self
            .require(&fields, "actions")
            .and_then(|node| self.actions(node));
        let rule = Rule {
            name: name?,
            enabled,
            condition: condition?,
            actions: actions?,
        };
        Some((rule, span))
    }

    fn enabled(&mut self, fields: &Fields<'_>) -> bool {
        match fields.get("enabled").map(|node| (&node.value, node)) {
            None => true,
            Some((Value::Bool(enabled, _), _)) => *enabled,
            Some((_, node)) => {
                let message = format!("`enabled` is a boolean, and this is {}", node.describe());
                let help = "write `true` or `false`, without quotes";
                self.report_with_help(Code::WrongShape, node.span, message, help);
                true
            }
        }
    }

    /// Said once per policy: the rules after the first unreachable one follow from it.
    fn warn_of_unreachable_rule(&mut self, name: &str, span: Span, before: &str, at: Span) {
        let message = format!(
            "rule `{name}`, and any after it, is never reached: rule `{before}` in line {} \
             matches everything",
            at.line
        );
        let help = "the first rule that matches ends a policy; move the general rule to the end";
        self.report_with_help(Code::UnreachableRule, span, message, help);
    }
}

fn kebab(text: &str) -> String {
    let mut kebab = String::new();
    for c in text.chars() {
        if c.is_ascii_uppercase() && kebab.ends_with(|last: char| last.is_ascii_lowercase()) {
            kebab.push('-');
        }
        match c {
            _ if c.is_ascii_alphanumeric() => kebab.push(c.to_ascii_lowercase()),
            _ if !kebab.ends_with('-') => kebab.push('-'),
            _ => {}
        }
    }
    let kebab = kebab.trim_matches(|c: char| c == '-' || c.is_ascii_digit());
    kebab.trim_matches('-').to_owned()
}

/// `MAJOR.MINOR.PATCH`, numbers without leading zeros.
fn is_semver(text: &str) -> bool {
    let number = |part: &str| {
        !part.is_empty()
            && part.len() <= 9
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    text.split('.').count() == 3 && text.split('.').all(number)
}

/// `YYYY-MM-DD`, perhaps with a time after it.
fn starts_with_date(text: &str) -> bool {
    let date = text.split(['T', ' ']).next().unwrap_or_default();
    let shape = [4, 2, 2];
    date.split('-').count() == shape.len()
        && date
            .split('-')
            .zip(shape)
            .all(|(part, length)| part.len() == length && part.bytes().all(|b| b.is_ascii_digit()))
}
