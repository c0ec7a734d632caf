//! Runs cases, and counts which rules and conditions ever decided anything.

use super::describe::describe;
use super::{Decided, Expectation, ExpectedAction, TestCase};
use crate::author::compile::{CompileError, compile};
use crate::author::typed::Policy;
use crate::decision::{Decision, LogLine, MatchedRule, Verdict};
use crate::eval::Evaluation;
use crate::load::Bundle;
use crate::program::{Node, NodeId};
use crate::settings::{Mode, Phase};
use serde::Serialize;

/// What came of all cases.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// In the order of the cases.
    pub outcomes: Vec<Outcome>,
    pub coverage: Coverage,
}

impl Report {
    pub fn failed(&self) -> usize {
        let failed = self.outcomes.iter().filter(|outcome| !outcome.passed());
        failed.count()
    }
}

/// What came of one case.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    pub name: String,
    /// What differs from what was expected; empty when the case passes.
    pub differences: Vec<String>,
    pub decision: Decision,
}

impl Outcome {
    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }
}

/// What the cases reached.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Coverage {
    pub rules: Vec<RuleCoverage>,
}

impl Coverage {
    /// Rules that no case made match.
    pub fn unmatched(&self) -> impl Iterator<Item = &RuleCoverage> {
        self.rules.iter().filter(|rule| rule.matched == 0)
    }
}

/// One rule, counted over all cases.
#[derive(Debug, Clone, Serialize)]
pub struct RuleCoverage {
    pub policy: String,
    pub rule: String,
    /// Cases in which its conditions were looked at.
    pub evaluated: usize,
    pub matched: usize,
    pub conditions: Vec<ConditionCoverage>,
}

/// One condition of a rule.
#[derive(Debug, Clone, Serialize)]
pub struct ConditionCoverage {
    /// As a policy would write it.
    pub text: String,
    pub held: usize,
    pub failed: usize,
}

impl ConditionCoverage {
    /// It made a difference: it held in one case, and failed in another.
    pub fn decided(&self) -> bool {
        self.held > 0 && self.failed > 0
    }
}

/// Decides every case against all the policies together.
pub fn run(policies: &[Policy], cases: &[TestCase]) -> Result<Report, CompileError> {
    let bytes = compile(policies)?;
    let bundle = Bundle::load(&bytes).map_err(CompileError::Unloadable)?;
    let mut rules = rules_of(&bundle);
    let mut outcomes = Vec::with_capacity(cases.len());
    for case in cases {
        let decided = Decided::of(&bundle, &case.facts);
        for rule in &mut rules {
            if let Some((decision, stage)) = decided.of_phase(rule.phase) {
                let evaluation = Evaluation::new(&bundle, &case.facts, stage);
                rule.count(&evaluation, decision);
            }
        }
        let decision = decided.together();
        outcomes.push(Outcome {
            name: case.name.clone(),
            differences: differences(&case.expect, &decision),
            decision,
        });
    }
    Ok(Report {
        outcomes,
        coverage: Coverage {
            rules: rules.into_iter().map(|rule| rule.coverage).collect(),
        },
    })
}

struct Counted {
    /// Of its policy, in the order of evaluation.
    position: usize,
    phase: Phase,
    coverage: RuleCoverage,
    leaves: Vec<NodeId>,
    /// Rules of its policy and phase that act before it; after one of them it is not
    /// looked at.
    before: Vec<String>,
}

impl Counted {
    fn count(&mut self, evaluation: &Evaluation<'_>, decision: &Decision) {
        // A denial is final: the policies after it were not looked at.
        if let Some(denial) = &decision.denial {
            let mut names = evaluation.bundle.policy_names();
            let last = names.position(|name| name == denial.policy);
            if last.is_some_and(|last| self.position > last) {
                return;
            }
        }
        let RuleCoverage { policy, rule, .. } = &self.coverage;
        let is = |matched: &&MatchedRule| matched.policy == *policy;
        let acted = decision.matched.iter().find(is).map(|it| it.rule.as_str());
        if acted.is_some_and(|acted| self.before.iter().any(|name| name == acted)) {
            return;
        }
        let shadow = decision.shadow.iter().filter(is);
        let mut matched = shadow.map(|it| it.rule.as_str()).chain(acted);
        let matched = matched.any(|name| name == rule);
        self.coverage.evaluated += 1;
        self.coverage.matched += usize::from(matched);
        for (id, condition) in self.leaves.iter().zip(&mut self.coverage.conditions) {
            match evaluation.holds(*id) {
                true => condition.held += 1,
                false => condition.failed += 1,
            }
        }
    }
}

fn rules_of(bundle: &Bundle) -> Vec<Counted> {
    let mut counted = Vec::new();
    for (position, policy) in bundle.program.policies().enumerate() {
        let (mut requests, mut answers) = (Vec::new(), Vec::new());
        let rules = policy.rules.iter();
        for rule in rules.filter_map(|rule| bundle.program.rule(*rule)) {
            let phase = rule.settings.phase;
            let before = match phase {
                Phase::Request => &mut requests,
                Phase::Response => &mut answers,
            };
            let mut leaves = Vec::new();
            collect_leaves(bundle, rule.condition, &mut leaves);
            let name = bundle.string(rule.name).to_owned();
            counted.push(Counted {
                position,
                phase,
                coverage: RuleCoverage {
                    policy: bundle.string(policy.name).to_owned(),
                    rule: name.clone(),
                    evaluated: 0,
                    matched: 0,
                    conditions: leaves
                        .iter()
                        .map(|id| ConditionCoverage {
                            text: describe(bundle, *id),
                            held: 0,
                            failed: 0,
                        })
                        .collect(),
                },
                leaves,
                before: before.clone(),
            });
            if rule.settings.mode == Mode::Enforce {
                before.push(name);
            }
        }
    }
    counted
}

fn collect_leaves(bundle: &Bundle, id: NodeId, leaves: &mut Vec<NodeId>) {
    match bundle.program.node(id) {
        None | Some(Node::Constant(_)) => {}
        Some(Node::Not(child)) => collect_leaves(bundle, child, leaves),
        Some(Node::All(children) | Node::Any(children)) => {
            for child in children {
                collect_leaves(bundle, *child, leaves);
            }
        }
        Some(Node::If(condition, then, otherwise)) => {
            for child in [condition, then, otherwise] {
                collect_leaves(bundle, child, leaves);
            }
        }
        Some(_) => leaves.push(id),
    }
}

fn differences(expect: &Expectation, decision: &Decision) -> Vec<String> {
    let mut differences = Vec::new();
    let mut differ = |what: &str, wanted: &str, found: &str| {
        let found = if found.is_empty() { "nothing" } else { found };
        differences.push(format!("expected {what} `{wanted}`, got `{found}`"));
    };
    let verdict = match decision.verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
    };
    if let Some(action) = expect.action {
        let wanted = action.as_str();
        let asked = kinds(decision);
        let is_verdict = matches!(action, ExpectedAction::Allow | ExpectedAction::Deny);
        if is_verdict || decision.verdict == Verdict::Deny {
            if wanted != verdict {
                differ("action", wanted, verdict);
            }
        } else if !asked.iter().any(|it| it == wanted) {
            differ("action", wanted, &asked.join(", "));
        }
    }
    let denial = decision.denial.as_ref();
    if let Some(reason) = &expect.reason {
        let found = denial.map_or("", |denial| &denial.message);
        if found != reason {
            differ("reason", reason, found);
        }
    }
    if let Some(code) = &expect.code {
        let found = denial.map_or("", |denial| &denial.code);
        if found != code {
            differ("code", code, found);
        }
    }
    for (what, wanted, found) in [
        ("rule", &expect.rule, &decision.matched),
        ("rule in shadow mode", &expect.shadow, &decision.shadow),
    ] {
        if let Some(wanted) = wanted
            && !found.iter().any(|rule| is_named(rule, wanted))
        {
            differ(what, wanted, &names(found).join(", "));
        }
    }
    for (what, wanted, found) in [
        ("rules", &expect.rules, names(&decision.matched)),
        ("actions", &expect.actions, kinds(decision)),
        ("logs", &expect.logs, lines(decision)),
        ("facts", &expect.facts, decision.facts.clone()),
    ] {
        if let Some(wanted) = wanted
            && *wanted != found
        {
            let told = |list: &[String]| match list {
                [] => "nothing".to_owned(),
                some => format!("`{}`", some.join("`, `")),
            };
            differences.push(format!(
                "expected {what} {}, got {}",
                told(wanted),
                told(&found)
            ));
        }
    }
    differences
}

fn names(rules: &[MatchedRule]) -> Vec<String> {
    let name = |rule: &MatchedRule| format!("{}/{}", rule.policy, rule.rule);
    rules.iter().map(name).collect()
}

fn kinds(decision: &Decision) -> Vec<String> {
    let asked = decision.actions.iter();
    asked.map(|it| it.action.kind().to_owned()).collect()
}

fn lines(decision: &Decision) -> Vec<String> {
    let line = |it: &LogLine| format!("{} {}", it.level.as_str(), it.message);
    decision.logs.iter().map(line).collect()
}

fn is_named(rule: &MatchedRule, name: &str) -> bool {
    match name.split_once('/') {
        Some((policy, name)) => rule.policy == policy && rule.rule == name,
        None => rule.rule == name,
    }
}
