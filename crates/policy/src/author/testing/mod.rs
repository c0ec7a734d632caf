//! Tests of policies: cases beside rules or in a file of their own, run and counted.
//!
//! A case is a request as a client would send it, what is known besides, and what is to
//! be decided. `request` turns its mapping into facts, `run` decides and compares,
//! `explain` tells of one exchange how its decision came about.

mod describe;
mod explain;
mod request;
mod run;

pub use explain::{ExplainedCondition, ExplainedRule, Explanation, RuleState, explain};
pub use run::{ConditionCoverage, Coverage, Outcome, Report, RuleCoverage, run};

use super::checker::{Checker, Keys, shown};
use super::diagnostics::{Code, Diagnostic, Diagnostics, Span};
use super::patterns::Patterns;
use super::uses::RuleUses;
use super::variables::Variables;
use super::yaml::{self, Node, Value};
use crate::decide::{decide, decide_response};
use crate::decision::{Decision, Verdict};
use crate::facts::{Facts, ResponseFacts};
use crate::load::Bundle;
use crate::settings::Phase;
use crate::stages::Stage;
use std::collections::HashMap;

/// One case.
#[derive(Debug, Clone, PartialEq)]
pub struct TestCase {
    pub name: String,
    pub description: Option<String>,
    pub facts: Facts,
    pub expect: Expectation,
    /// Where its name stands.
    pub span: Span,
}

/// What a case wants decided. What is `None` may be anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expectation {
    pub action: Option<ExpectedAction>,
    /// The message of the denial.
    pub reason: Option<String>,
    /// The code of the denial.
    pub code: Option<String>,
    /// A matched rule: `rule`, or `policy/rule`.
    pub rule: Option<String>,
    /// A rule that matched in shadow mode.
    pub shadow: Option<String>,
    /// All rules that matched, as `policy/rule`, in order.
    pub rules: Option<Vec<String>>,
    /// All actions that are asked for besides the verdict, by their types, in order.
    pub actions: Option<Vec<String>>,
    /// All lines that are logged, as `level message`, in order.
    pub logs: Option<Vec<String>>,
    /// Names of all fields that decided, in order.
    pub facts: Option<Vec<String>>,
}

/// The verdict, or an action the decision must ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedAction {
    Allow,
    Deny,
    Redact,
    Modify,
    Route,
    Alert,
    RateLimit,
    Budget,
    Tag,
}

pub(super) const EXPECTED: &[(&str, ExpectedAction)] = &[
    ("allow", ExpectedAction::Allow),
    ("deny", ExpectedAction::Deny),
    ("redact", ExpectedAction::Redact),
    ("modify", ExpectedAction::Modify),
    ("route", ExpectedAction::Route),
    ("alert", ExpectedAction::Alert),
    ("rate_limit", ExpectedAction::RateLimit),
    ("budget", ExpectedAction::Budget),
    ("tag", ExpectedAction::Tag),
];

impl ExpectedAction {
    /// As a case writes it.
    pub fn as_str(self) -> &'static str {
        let entry = EXPECTED.iter().find(|(_, action)| *action == self);
        entry.map_or("allow", |(word, _)| word)
    }
}

/// What [`parse_tests`] found.
#[derive(Debug, Clone)]
pub struct CheckedTests {
    /// Present exactly when no diagnostic is an error.
    pub cases: Option<Vec<TestCase>>,
    /// Files of the policies the cases are about, relative to the file of tests; none
    /// where it does not say.
    pub policies: Option<Vec<String>>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a file of tests: `tests: [{name, request, expect}]`.
pub fn parse_tests(text: &str) -> CheckedTests {
    let mut policies = None;
    let (cases, diagnostics) = read(text, |checker, tree| {
        let fields = checker.fields(tree, &FILE)?;
        if let Some(node) = fields.get("policies") {
            let paths = checker.texts(node, "`policies`", "a path");
            policies = Some(paths.unwrap_or_default());
        }
        let node = checker.require(&fields, "tests")?;
        Some(checker.tests(node))
    });
    CheckedTests {
        cases,
        policies,
        diagnostics,
    }
}

/// What [`parse_exchange`] found.
#[derive(Debug, Clone)]
pub struct CheckedExchange {
    /// Present exactly when no diagnostic is an error.
    pub facts: Option<Facts>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads one exchange: the body a client sends, or a mapping with `request` and what is
/// known besides, as cases have it.
pub fn parse_exchange(text: &str) -> CheckedExchange {
    let (facts, diagnostics) = read(text, |checker, tree| {
        let has = |key| value_of_map(tree, key).is_some();
        // `metadata` may be a client's own, as may any key that is none of these.
        match ["request", "context", "processing"].into_iter().any(has) {
            true => {
                let fields = checker.fields(tree, &EXCHANGE)?;
                checker.case_facts(&fields)
            }
            false => Some(Facts {
                request: checker.request(tree)?,
                ..Facts::default()
            }),
        }
    });
    CheckedExchange { facts, diagnostics }
}

/// Whether a text is a file of tests rather than a policy with tests beside its rules.
pub fn is_file_of_tests(text: &str) -> bool {
    let tree = yaml::parse(text, &mut Diagnostics::default());
    tree.is_some_and(|tree| {
        let has = |key| value_of_map(&tree, key).is_some();
        has("tests") && !has("rules") && !has("mpl_version")
    })
}

fn read<T>(
    text: &str,
    found: impl FnOnce(&mut Checker<'_>, &Node) -> Option<T>,
) -> (Option<T>, Vec<Diagnostic>) {
    let mut diagnostics = Diagnostics::default();
    let tree = yaml::parse(text, &mut diagnostics);
    let found = tree.and_then(|tree| {
        let mut checker = Checker {
            source: text,
            diagnostics: &mut diagnostics,
            variables: Variables::default(),
            patterns: Patterns::default(),
            uses: RuleUses::default(),
        };
        found(&mut checker, &tree)
    });
    let failed = diagnostics.has_errors();
    (found.filter(|_| !failed), diagnostics.in_order())
}

/// What is decided of a request and, where it is let through and its answer is known, of
/// the answer.
struct Decided {
    request: Decision,
    answer: Option<Decision>,
}

impl Decided {
    fn of(bundle: &Bundle, facts: &Facts) -> Decided {
        let request = decide(bundle, facts);
        let known = facts.response != ResponseFacts::default();
        let asked = known && request.verdict == Verdict::Allow;
        Decided {
            request,
            answer: asked.then(|| decide_response(bundle, facts)),
        }
    }

    /// The decision by the rules of a phase; none where they were not asked.
    fn of_phase(&self, phase: Phase) -> Option<(&Decision, Stage)> {
        match phase {
            Phase::Request => Some((&self.request, Stage::Request)),
            Phase::Response => Some((self.answer.as_ref()?, Stage::Response)),
        }
    }

    /// Both as one: what the client sees, and all that led to it.
    fn together(self) -> Decision {
        let mut decision = self.request;
        if let Some(answer) = self.answer {
            decision.verdict = answer.verdict;
            decision.denial = answer.denial;
            decision.matched.extend(answer.matched);
            decision.shadow.extend(answer.shadow);
            for fact in answer.facts {
                if !decision.facts.contains(&fact) {
                    decision.facts.push(fact);
                }
            }
            decision.logs.extend(answer.logs);
            decision.actions.extend(answer.actions);
        }
        decision
    }
}

fn value_of_map<'n>(node: &'n Node, key: &str) -> Option<&'n Value> {
    match &node.value {
        Value::Map(entries) => request::value_of(entries, key),
        _ => None,
    }
}

pub(super) const FILE: Keys = Keys {
    what: "a file of tests",
    known: &["tests", "policies"],
    ignored: &["name", "description", "metadata", "policy"],
};

const EXCHANGE: Keys = Keys {
    what: "an exchange",
    known: &["request", "context", "processing", "response", "metadata"],
    ignored: &["name", "description", "expect"],
};

pub(super) const CASE: Keys = Keys {
    what: "a case",
    known: &[
        "name",
        "description",
        "request",
        "context",
        "processing",
        "response",
        "metadata",
        "expect",
    ],
    ignored: &["enabled", "tags"],
};

pub(super) const EXPECT: Keys = Keys {
    what: "`expect`",
    known: &[
        "action", "reason", "code", "rule", "shadow", "rules", "actions", "logs", "facts",
    ],
    ignored: &["description"],
};

impl Checker<'_> {
    /// The cases of a list; those that are faulty are left out.
    pub(super) fn tests(&mut self, node: &Node) -> Vec<TestCase> {
        let Some(items) = self.list(node, "`tests`") else {
            return Vec::new();
        };
        if items.is_empty() {
            self.report(Code::EmptyTests, node.span, "`tests` holds no case");
        }
        let mut names = HashMap::new();
        let cases = items.iter().map(|item| self.case(item, &mut names));
        let cases: Vec<_> = cases.collect();
        cases.into_iter().flatten().collect()
    }

    fn case(&mut self, node: &Node, names: &mut HashMap<String, usize>) -> Option<TestCase> {
        if self.diagnostics.is_full() {
            return None;
        }
        let fields = self.fields(node, &CASE)?;
        let (name, span) = self.required_text(&fields, "name")?;
        if let Some(line) = names.insert(name.to_owned(), span.line) {
            let message = format!("case `{}` is already there in line {line}", shown(name));
            let help = "give each case a name of its own";
            self.report_with_help(Code::BadCase, span, message, help);
        }
        let description = self.optional_text(&fields, "description");
        let facts = self.case_facts(&fields);
        let expect = self
            .require(&fields, "expect")
            .and_then(|node| self.expectation(node));
        Some(TestCase {
            name: name.to_owned(),
            description: description.map(|(text, _)| text.to_owned()),
            facts: facts?,
            expect: expect?,
            span,
        })
    }

    fn expectation(&mut self, node: &Node) -> Option<Expectation> {
        if let Value::Text(word) = &node.value {
            self.alternate("`expect` with one word", "`expect: {action: …}`", node.span);
            return Some(Expectation {
                action: Some(self.expected_action(word, node.span)?),
                ..Expectation::default()
            });
        }
        let fields = self.fields(node, &EXPECT)?;
        let mut expect = Expectation::default();
        if let Some((word, span)) = self.optional_text(&fields, "action") {
            expect.action = Some(self.expected_action(word, span)?);
        }
        // Files of the first generation write an empty text for "any".
        let mut some = |key| {
            let text = self.optional_text(&fields, key)?;
            Some(text.0.to_owned()).filter(|text| !text.is_empty())
        };
        expect.reason = some("reason");
        expect.code = some("code");
        expect.rule = some("rule");
        expect.shadow = some("shadow");
        let mut all = |key, what| {
            let node = fields.get(key)?;
            self.texts(node, &format!("`{key}`"), what)
        };
        expect.rules = all("rules", "a rule");
        expect.actions = all("actions", "an action");
        expect.logs = all("logs", "a line");
        expect.facts = all("facts", "a field");
        if expect == Expectation::default() {
            let help = "write `action: allow` or `action: deny`, or name a `rule`";
            self.report_with_help(Code::BadCase, node.span, "`expect` asks for nothing", help);
            return None;
        }
        Some(expect)
    }

    fn texts(&mut self, node: &Node, list: &str, what: &str) -> Option<Vec<String>> {
        let items = self.list(node, list)?;
        let text = |item| self.text(item, what).map(str::to_owned);
        items.iter().map(text).collect()
    }

    fn expected_action(&mut self, word: &str, span: Span) -> Option<ExpectedAction> {
        let canonical = match word {
            "block" => "deny",
            "transform" => "modify",
            _ => word,
        };
        if canonical != word {
            self.alternate(&format!("`{word}`"), &format!("`{canonical}`"), span);
        }
        let words: Vec<&'static str> = EXPECTED.iter().map(|(word, _)| *word).collect();
        let found = self.word(canonical, span, Code::UnknownValue, "action", &words)?;
        let entry = EXPECTED.iter().find(|(word, _)| *word == found)?;
        Some(entry.1)
    }
}
