//! Whole drills against the fake provider, with commands that break and mend it.

use super::course::{self, Commands, Course, Phases};
use super::judge::{self, Limits, Verdict};
use super::report::Report;
use crate::commands::benchmark::line::Dialer;
use crate::commands::benchmark::plan::tests::{ask, pace};
use crate::commands::benchmark::plan::{Pace, Plan};
use crate::exit::{Answer, Failure};
use crate::output::Format;
use jupiter_testkit::fake_provider::{FakeProvider, Script};
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

const PHASES: Phases = Phases {
    steady: Duration::from_secs(2),
    fault: Duration::from_secs(2),
    recovery: Duration::from_secs(2),
};

async fn drill(on_start: &str, on_end: &str) -> Result<(Course, Verdict), Failure> {
    let provider = FakeProvider::start().await.unwrap();
    let target = format!("http://{}", provider.address());
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken");
    let text = |text: &str| text.replace("BROKEN", &broken.display().to_string());
    let mut commands = Commands {
        kind: "provider-outage".to_owned(),
        on_start: text(on_start),
        on_end: Some(text(on_end)),
    };
    // What the commands do to a file, this does to the provider.
    let outage = tokio::spawn(async move {
        loop {
            provider.set_script(Script {
                status: broken.exists().then_some(500),
                ..Script::default()
            });
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let pace = Pace {
        duration: PHASES.total(),
        rate: Some(50.0),
        ..pace()
    };
    let plan = Plan::new(target.parse().unwrap(), &ask(), pace).unwrap();
    let dialer = Dialer::new(&plan.target, None).unwrap();
    let started = SystemTime::now();
    let stop = CancellationToken::new();
    let course = course::run(&plan, dialer, PHASES, &mut commands, &stop, Format::Json).await;
    outage.abort();
    let course = course?;
    let limits = Limits {
        error_rate: 0.6,
        recovery: Duration::from_secs(60),
        recovers_from_its_end: true,
    };
    let verdict = judge::judge(&plan, started, &course, PHASES, None, limits);
    Ok((course, verdict))
}

const BREAK: &str = "touch BROKEN";
const MEND: &str = "rm BROKEN";

#[tokio::test]
async fn fault_is_made_mended_and_its_errors_are_told_from_the_rest() {
    let (course, verdict) = drill(BREAK, MEND).await.unwrap();
    let [before, fault, after] = &verdict.phases;
    assert_eq!(before.errors, 0, "{verdict:?}");
    assert!(
        before.answered > 0 && fault.errors > 0 && after.answered > 0,
        "{verdict:?}"
    );
    assert!(
        verdict.objectives.iter().all(|o| o.held),
        "{:?}",
        verdict.objectives
    );

    let folder = tempfile::tempdir().unwrap();
    let mut report = Report::new("provider-outage".into(), PHASES, &course, verdict);
    report.note = Some("with | a note".into());
    let [readable, machine] = report.keep(folder.path()).unwrap();
    let text = std::fs::read_to_string(readable).unwrap();
    assert!(
        text.starts_with("# Drill provider-outage: held\n"),
        "{text}"
    );
    assert!(
        text.contains("status 5xx") && text.contains("Was not looked at."),
        "{text}"
    );
    let kept: serde_json::Value = serde_json::from_slice(&std::fs::read(machine).unwrap()).unwrap();
    assert_eq!(kept["held"], true);
    assert_eq!(kept["on_start"]["code"], 0);
}

#[tokio::test]
async fn fault_that_is_never_mended_is_no_recovery() {
    let (_, verdict) = drill(BREAK, "true").await.unwrap();
    assert_eq!(verdict.recovery_seconds, None, "{verdict:?}");
    assert!(
        verdict
            .objectives
            .iter()
            .any(|o| o.name == "recovery_seconds" && !o.held)
    );
}

#[tokio::test]
async fn fault_that_could_not_be_made_is_no_drill() {
    let folder = tempfile::tempdir().unwrap();
    let mended = folder.path().join("mended");
    let failure = drill(
        "echo no such pod; exit 3",
        &format!("touch {}", mended.display()),
    )
    .await
    .unwrap_err();
    assert_eq!(failure.answer(), Answer::CouldNotTell);
    let text = failure.to_string();
    assert!(
        text.contains("ended with 3") && text.contains("no such pod"),
        "{text}"
    );
    // It may have been made in part.
    assert!(mended.exists());
}
