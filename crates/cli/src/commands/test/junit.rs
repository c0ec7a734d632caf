//! Results of tests as JUnit XML, which build servers show.

use super::Tested;
use crate::exit::Failure;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

/// One suite a file; a case's class is the file it stands in.
pub(super) fn report(tested: &Tested) -> Result<String, Failure> {
    let mut report = Report::new("mercator test");
    for suite in &tested.suites {
        let mut cases = TestSuite::new(&suite.origin);
        for (line, outcome) in &suite.outcomes {
            let mut status = TestCaseStatus::success();
            if let Some(first) = outcome.differences.first() {
                status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(first.clone());
                status.set_type("decision");
                status.set_description(outcome.differences.join("\n"));
            }
            let mut case = TestCase::new(outcome.name.clone(), status);
            case.set_classname(&suite.origin);
            case.extra
                .insert("file".into(), suite.origin.as_str().into());
            case.extra.insert("line".into(), line.to_string().into());
            cases.add_test_case(case);
        }
        report.add_test_suite(cases);
    }
    report
        .to_string()
        .map_err(|e| Failure::new(format!("the JUnit report cannot be made: {e}")))
}
