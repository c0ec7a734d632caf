//! Cases are data: `examples/cases` says what `examples/policies` decide.
#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use jupiter_policy::author::testing::{self, Report};
use jupiter_policy::{Policy, check, render};
use std::path::{Path, PathBuf};

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

fn assert_passed(path: &Path, report: &Report) {
    for outcome in &report.outcomes {
        let (name, differences) = (&outcome.name, outcome.differences.join("\n"));
        assert!(
            outcome.passed(),
            "{}: {name}: {differences}",
            path.display()
        );
    }
}

#[test]
fn every_case_is_decided_as_expected() {
    let mut cases = 0;
    for path in files("cases") {
        let text = std::fs::read_to_string(&path).unwrap();
        let tests = testing::parse_tests(&text);
        let said = render(&tests.diagnostics, &text, &path.display().to_string());
        assert!(said.is_empty(), "{said}");
        let folder = path.parent().unwrap();
        let policies: Vec<Policy> = tests
            .policies
            .expect("a file of tests names its policies")
            .iter()
            .map(|name| policy(&folder.join(name)))
            .collect();
        let tests = tests.cases.unwrap();
        assert_passed(&path, &testing::run(&policies, &tests).unwrap());
        cases += tests.len();
    }
    assert!(cases >= 55, "only {cases} cases were found");
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
        assert_passed(&path, &report);
        assert_eq!(report.coverage.unmatched().count(), 0, "{}", path.display());
        cases += tests.len();
    }
    assert!(cases > 0, "no example has cases beside its rules");
}
