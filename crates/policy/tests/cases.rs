//! Cases are data: `examples/cases` says what `examples/policies` decide.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use jupiter_policy::author::testing;
use jupiter_policy::facts::Facts;
use jupiter_policy::{
    Bundle, Decision, MatchedRule, Policy, Verdict, check, compile, decide, render,
};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseFile {
    policies: Vec<String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    facts: Facts,
    expect: Expected,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    verdict: Verdict,
    /// `policy/rule effect`, in order.
    #[serde(default)]
    matched: Vec<String>,
    /// `level message`, in order.
    #[serde(default)]
    logs: Vec<String>,
    code: Option<String>,
    message: Option<String>,
    /// `policy/rule effect`, in order.
    #[serde(default)]
    shadow: Vec<String>,
    /// Types of the actions asked for, in order.
    #[serde(default)]
    actions: Vec<String>,
    /// Names of the fields that decided; where a case gives none, any.
    facts: Option<Vec<String>>,
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(examples().join(folder)).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn policy(path: &Path) -> Policy {
    let text = std::fs::read_to_string(path).unwrap();
    let checked = check(&text);
    // Examples say what the language can, also where this version cannot do it yet.
    let lacking = ["fact-not-provided", "action-not-provided"];
    let mut faults = checked.diagnostics;
    faults.retain(|fault| !lacking.contains(&fault.code));
    let said = render(&faults, &text, &path.display().to_string());
    assert!(said.is_empty(), "{said}");
    checked.policy.unwrap()
}

fn verify(case: &Case, decision: &Decision) {
    let name = &case.name;
    let named = |rules: &[MatchedRule]| -> Vec<String> {
        let one = |it: &MatchedRule| format!("{}/{} {}", it.policy, it.rule, word(&it.effect));
        rules.iter().map(one).collect()
    };
    let actions: Vec<&str> = decision.actions.iter().map(|it| it.action.kind()).collect();
    let logs: Vec<String> = decision
        .logs
        .iter()
        .map(|line| format!("{} {}", word(&line.level), line.message))
        .collect();
    assert_eq!(decision.verdict, case.expect.verdict, "{name}");
    assert_eq!(named(&decision.matched), case.expect.matched, "{name}");
    assert_eq!(named(&decision.shadow), case.expect.shadow, "{name}");
    assert_eq!(actions, case.expect.actions, "{name}");
    if let Some(facts) = &case.expect.facts {
        assert_eq!(&decision.facts, facts, "{name}");
    }
    assert_eq!(logs, case.expect.logs, "{name}");
    let denial = decision.denial.as_ref();
    assert_eq!(
        denial.map(|denial| &denial.code),
        case.expect.code.as_ref(),
        "{name}"
    );
    if let Some(message) = &case.expect.message {
        assert_eq!(
            denial.map(|denial| &denial.message),
            Some(message),
            "{name}"
        );
    }
}

/// The word an enum is written as.
fn word(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap();
    text.trim_matches('"').to_owned()
}

#[test]
fn every_case_is_decided_as_expected() {
    let mut cases = 0;
    for path in files("cases") {
        let text = std::fs::read_to_string(&path).unwrap();
        let file: CaseFile = serde_saphyr::from_str(&text)
            .unwrap_or_else(|cause| panic!("{}: {cause}", path.display()));
        let policies: Vec<Policy> = file
            .policies
            .iter()
            .map(|name| policy(&examples().join("policies").join(format!("{name}.yaml"))))
            .collect();
        let bundle = Bundle::load(&compile(&policies).unwrap()).unwrap();
        for case in &file.cases {
            verify(case, &decide(&bundle, &case.facts));
            cases += 1;
        }
    }
    assert!(cases >= 25, "only {cases} cases were found");
}

#[test]
fn every_example_policy_has_cases_and_nothing_to_complain_of() {
    for path in files("policies") {
        let policy = policy(&path);
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert_eq!(policy.name(), stem, "a policy's file is named after it");
        let cases = examples().join("cases").join(format!("{stem}.yaml"));
        assert!(cases.exists(), "{} is missing", cases.display());
    }
}

#[test]
fn cases_beside_rules_pass_and_reach_every_rule() {
    let mut cases = 0;
    for path in files("policies") {
        let policy = policy(&path);
        if policy.tests().is_empty() {
            continue;
        }
        let tests = policy.tests().to_vec();
        let report = testing::run(&[policy], &tests).unwrap();
        for outcome in &report.outcomes {
            assert!(
                outcome.passed(),
                "{}: {:?}",
                outcome.name,
                outcome.differences
            );
        }
        assert_eq!(report.coverage.unmatched().count(), 0, "{}", path.display());
        cases += tests.len();
    }
    assert!(cases > 0, "no example has cases beside its rules");
}
