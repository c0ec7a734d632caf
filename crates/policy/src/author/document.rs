//! The document: what a policy says of itself, and its rules.

use super::MPL_VERSIONS;
use super::checker::{Checker, Fields, Keys, list, shown};
use super::diagnostics::{Code, Diagnostics, Span};
use super::patterns::Patterns;
use super::typed::{Condition, Policy, Rule};
use super::uses::RuleUses;
use super::variables::Variables;
use super::yaml::{self, Node, Value};
use crate::settings::{Durability, Mode, OnError, Phase, RuleSettings};
use std::collections::{HashMap, HashSet};

pub(super) const POLICY: Keys = Keys {
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
        "phase",
        "mode",
        "on_error",
        "durability",
        "rules",
        "tests",
    ],
    ignored: &["metadata", "enabled", "labels", "owner"],
};

pub(super) const RULE: Keys = Keys {
    what: "a rule",
    known: &[
        "name",
        "description",
        "enabled",
        "phase",
        "mode",
        "on_error",
        "durability",
        "conditions",
        "match",
        "when",
        "actions",
    ],
    ignored: &[
        "priority", "metadata", "tags", "author", "severity", "category",
    ],
};

/// Longest name of a policy or rule: names become path segments and labels.
const MAX_NAME_BYTES: usize = 100;

/// Reads a policy from its tree. `None` only after an error.
pub(super) fn policy(tree: &Node, source: &str, diagnostics: &mut Diagnostics) -> Option<Policy> {
    let mut checker = Checker {
        source: yaml::without_mark(source),
        diagnostics,
        variables: Variables::default(),
        patterns: Patterns::default(),
        uses: RuleUses::default(),
    };
    checker.policy(tree)
}

/// What a policy sets for its rules.
#[derive(Default)]
struct Defaults {
    phase: Option<Phase>,
    mode: Mode,
    on_error: OnError,
    durability: Durability,
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
        let on_error = self.setting(&fields, "on_error", ON_ERROR);
        let defaults = Defaults {
            phase: self
                .setting(&fields, "phase", PHASES)
                .map(|(phase, _)| phase),
            mode: self
                .setting(&fields, "mode", MODES)
                .map_or(Mode::Enforce, |(mode, _)| mode),
            on_error: on_error.map_or(OnError::Closed, |(on_error, _)| on_error),
            durability: self
                .setting(&fields, "durability", DURABILITY)
                .map_or(Durability::BestEffort, |(durability, _)| durability),
        };
        let rules = self
            .require(&fields, "rules")
            .and_then(|node| self.rules(node, &defaults));
        let required = |rule: &Rule| rule.settings.durability == Durability::Required;
        if let Some((_, span)) = on_error
            && defaults.durability == Durability::BestEffort
            && !rules.iter().flatten().any(required)
        {
            self.idle_on_error(span);
        }
        let tests = fields.get("tests").map(|node| self.tests(node));
        self.warn_of_unused_variables();
        Some(Policy {
            name: name?,
            version: version?,
            description: description.map(|(text, _)| text.to_owned()),
            author: author.map(|(text, _)| text.to_owned()),
            tags,
            priority,
            store_unmatched: (defaults.durability == Durability::Required)
                .then_some(defaults.on_error),
            rules: rules?,
            tests: tests.unwrap_or_default(),
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

    fn rules(&mut self, node: &Node, defaults: &Defaults) -> Option<Vec<Rule>> {
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
        let mut sound = true;
        for item in items {
            if self.diagnostics.is_full() {
                return None;
            }
            let Some((rule, span)) = self.rule(item, defaults, &mut names) else {
                sound = false;
                continue;
            };
            rules.push((rule, span));
        }
        if !self.diagnostics.has_errors() {
            self.analyse(&rules);
        }
        sound.then(|| rules.into_iter().map(|(rule, _)| rule).collect())
    }

    fn rule(
        &mut self,
        node: &Node,
        defaults: &Defaults,
        names: &mut HashMap<String, Span>,
    ) -> Option<(Rule, Span)> {
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
        let phase = self.setting(&fields, "phase", PHASES);
        let mode = self.setting(&fields, "mode", MODES);
        let on_error = self.setting(&fields, "on_error", ON_ERROR);
        let durability = self
            .setting(&fields, "durability", DURABILITY)
            .map_or(defaults.durability, |(durability, _)| durability);
        if let Some((_, span)) = on_error
            && durability == Durability::BestEffort
        {
            self.idle_on_error(span);
        }
        self.uses.in_conditions = true;
        let condition = self.rule_conditions(&fields);
        self.uses.in_conditions = false;
        let actions = self
            .require(&fields, "actions")
            .and_then(|node| self.actions(node));
        let suspicious = self.uses.suspicious;
        let phase = phase.or(defaults.phase.map(|phase| (phase, span)));
        let rule = Rule {
            name: name?,
            enabled,
            settings: RuleSettings {
                phase: self.phase(phase),
                mode: mode.map_or(defaults.mode, |(mode, _)| mode),
                on_error: on_error.map_or(defaults.on_error, |(on_error, _)| on_error),
                durability,
            },
            condition: condition?,
            actions: actions?,
            suspicious,
        };
        Some((rule, span))
    }

    /// What `conditions` and `when` say together.
    fn rule_conditions(&mut self, fields: &Fields<'_>) -> Option<Condition> {
        let Some(when) = fields.get("when") else {
            return self.listed_conditions(fields);
        };
        let when = self.when(when);
        let mut listed = ["conditions", "match"].iter();
        if !listed.any(|key| fields.entry(key).is_some()) {
            return when;
        }
        let conditions = self.listed_conditions(fields);
        Some(Condition::All(vec![conditions?, when?]))
    }

    fn listed_conditions(&mut self, fields: &Fields<'_>) -> Option<Condition> {
        match fields.entry("match") {
            Some(entry) if fields.entry("conditions").is_none() => {
                self.alternate("`match`", "`conditions`", entry.key_span);
                self.matched(&entry.value)
            }
            Some(entry) => {
                let message = "a rule has `conditions` or `match`, not both";
                self.report(Code::WrongShape, entry.key_span, message);
                None
            }
            None => {
                let conditions = self.require(fields, "conditions");
                conditions.and_then(|node| self.conditions(node))
            }
        }
    }

    /// One of a setting's words.
    fn setting<T: Copy>(
        &mut self,
        fields: &Fields<'_>,
        key: &str,
        words: &[(&'static str, T)],
    ) -> Option<(T, Span)> {
        let (text, span) = self.optional_text(fields, key)?;
        let names: Vec<&'static str> = words.iter().map(|(word, _)| *word).collect();
        let word = self.word(text, span, Code::UnknownValue, key, &names)?;
        let (_, value) = words.iter().find(|(known, _)| *known == word)?;
        Some((*value, span))
    }

    fn idle_on_error(&mut self, span: Span) {
        let message = "`on_error` has nothing to decide on";
        let help = "it says what happens when evidence that `durability: required` asks for \
                    cannot be stored; what happens to an exchange that cannot be read is the \
                    instance's failure mode";
        self.report_with_help(Code::SettingNotApplied, span, message, help);
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
}

pub(super) const PHASES: &[(&str, Phase)] =
    &[("request", Phase::Request), ("response", Phase::Response)];
pub(super) const MODES: &[(&str, Mode)] = &[("enforce", Mode::Enforce), ("shadow", Mode::Shadow)];
pub(super) const ON_ERROR: &[(&str, OnError)] =
    &[("closed", OnError::Closed), ("open", OnError::Open)];
pub(super) const DURABILITY: &[(&str, Durability)] = &[
    ("best_effort", Durability::BestEffort),
    ("required", Durability::Required),
];

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
