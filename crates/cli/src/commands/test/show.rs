//! Results of tests as people and scripts read them.

use super::{Covered, Suite, Tested};
use crate::output::{Column, Table, counted, plain};
use jupiter_policy::author::testing::{ConditionCoverage, Outcome};
use serde_json::{Value, json};
use std::fmt::Write;

pub(super) fn text(tested: &Tested) -> String {
    let mut out = String::new();
    for suite in &tested.suites {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}\n{}", plain(&suite.origin), results(suite));
    }
    for suite in &tested.suites {
        for (line, outcome) in &suite.outcomes {
            if !outcome.passed() {
                let place = format!("{}:{line}", suite.origin);
                let _ = writeln!(out, "FAILED {}: {}", plain(&place), plain(&outcome.name));
                for difference in &outcome.differences {
                    let _ = writeln!(out, "  {}", plain(difference));
                }
                out.push('\n');
            }
        }
    }
    let idle = idle(tested);
    if !idle.is_empty() {
        let _ = writeln!(out, "Never decided anything\n{idle}");
    }
    out.push_str(&summary(tested));
    out
}

fn results(suite: &Suite) -> String {
    let mut table = Table::new(&[
        Column::left("result"),
        Column::left("case").may_cut(),
        Column::left("decision"),
        Column::left("rules").may_cut(),
    ]);
    for (_, outcome) in &suite.outcomes {
        table.row([
            if outcome.passed() { "ok" } else { "FAILED" }.to_owned(),
            outcome.name.clone(),
            match outcome.decision.denial {
                None => "allow",
                Some(_) => "deny",
            }
            .to_owned(),
            rules(outcome),
        ]);
    }
    table.for_stdout(0)
}

/// The rules that matched, those in shadow mode in brackets.
fn rules(outcome: &Outcome) -> String {
    let decision = &outcome.decision;
    let matched = decision.matched.iter().map(|it| it.rule.clone());
    let shadow = decision.shadow.iter().map(|it| format!("({})", it.rule));
    matched.chain(shadow).collect::<Vec<_>>().join(", ")
}

/// Rules that no case made match, and conditions that always came out the same.
fn idle(tested: &Tested) -> String {
    let mut table = Table::new(&[
        Column::left("policy"),
        Column::left("rule"),
        Column::left("what"),
        Column::left("condition").may_cut(),
    ]);
    for Covered { rule, .. } in &tested.coverage {
        let mut row = |what: &str, condition: &str| {
            let named = [&rule.policy, &rule.rule, what, condition];
            table.row(named.map(str::to_owned));
        };
        if rule.evaluated == 0 {
            row("never looked at", "");
            continue;
        }
        if rule.matched == 0 {
            row("never matched", "");
        }
        for condition in &rule.conditions {
            if let Some(what) = always(condition) {
                row(what, &condition.text);
            }
        }
    }
    match table.is_empty() {
        true => String::new(),
        false => table.for_stdout(0),
    }
}

fn always(condition: &ConditionCoverage) -> Option<&'static str> {
    match (condition.held, condition.failed) {
        (0, 0) => None,
        (0, _) => Some("never held"),
        (_, 0) => Some("always held"),
        _ => None,
    }
}

fn summary(tested: &Tested) -> String {
    let (conditions, decided) = tested.conditions();
    let failed = match tested.failed() {
        0 => "all passed".to_owned(),
        n => format!("{n} failed"),
    };
    format!(
        "{}, {failed}; {} of {} and {decided} of {} decided\n",
        counted(tested.cases(), "case", "cases"),
        tested.rules_decided(),
        counted(tested.coverage.len(), "rule", "rules"),
        counted(conditions, "condition", "conditions"),
    )
}

pub(super) fn json(tested: &Tested) -> Value {
    let (conditions, decided) = tested.conditions();
    json!({
        "passed": tested.failed() == 0,
        "cases": tested.cases(),
        "failed": tested.failed(),
        "suites": tested.suites.iter().map(suite).collect::<Vec<_>>(),
        "coverage": {
            "rules": tested.coverage.len(),
            "rules_decided": tested.rules_decided(),
            "conditions": conditions,
            "conditions_decided": decided,
            "by_rule": tested.coverage.iter().map(covered).collect::<Vec<_>>(),
        },
    })
}

fn suite(suite: &Suite) -> Value {
    let case = |(line, outcome): &(usize, Outcome)| {
        json!({
            "name": outcome.name,
            "line": line,
            "passed": outcome.passed(),
            "differences": outcome.differences,
            "decision": outcome.decision,
        })
    };
    json!({
        "path": suite.origin,
        "policies": suite.policies,
        "cases": suite.outcomes.iter().map(case).collect::<Vec<_>>(),
    })
}

fn covered(covered: &Covered) -> Value {
    let condition = |one: &ConditionCoverage| json!({"text": one.text, "held": one.held, "failed": one.failed, "decided": one.decided()});
    let rule = &covered.rule;
    json!({
        "path": covered.origin,
        "policy": rule.policy,
        "rule": rule.rule,
        "evaluated": rule.evaluated,
        "matched": rule.matched,
        "conditions": rule.conditions.iter().map(condition).collect::<Vec<_>>(),
    })
}
