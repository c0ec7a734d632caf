//! The report of a drill: dated, for people and for programs.

use super::super::benchmark::results::Objective;
use super::super::benchmark::show;
use super::course::{Course, Event, Phases};
use super::judge::Verdict;
use crate::exit::Failure;
use crate::output::plain;
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write;
use std::path::{Path, PathBuf};

const FORMAT: &str = "mercator-drill/1";
const TITLE: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

#[derive(Debug, Serialize)]
pub struct Report {
    format: &'static str,
    drill: String,
    started_at: String,
    pub held: bool,
    /// On an installation that was there for this alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub local: bool,
    pub note: Option<String>,
    planned_seconds: [f64; 3],
    on_start: Event,
    on_end: Option<Event>,
    #[serde(flatten)]
    verdict: Verdict,
}

impl Report {
    pub fn new(drill: String, phases: Phases, course: &Course, verdict: Verdict) -> Report {
        Report {
            format: FORMAT,
            drill,
            started_at: verdict.results.started_at.clone(),
            held: verdict.objectives.iter().all(|objective| objective.held),
            local: false,
            note: None,
            planned_seconds: [phases.steady, phases.fault, phases.recovery]
                .map(|p| p.as_secs_f64()),
            on_start: course.start.clone(),
            on_end: course.end.clone(),
            verdict,
        }
    }

    pub fn found_records(&self) -> usize {
        let records = self.verdict.records.as_ref();
        records.map_or(0, |records| records.expected - records.not_found)
    }

    pub fn json(&self) -> Value {
        // Its keys are text and its numbers finite, so it always has a JSON form.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Writes both files; their paths, the readable one first.
    pub fn keep(&self, folder: &Path) -> Result<[PathBuf; 2], Failure> {
        let name = format!("drill-{}-{}", self.drill, in_name(&self.started_at));
        let files = ["md", "json"].map(|extension| folder.join(format!("{name}.{extension}")));
        let [readable, machine] = &files;
        super::benchmark::write(readable, &self.markdown())?;
        super::benchmark::write(machine, &format!("{:#}\n", self.json()))?;
        Ok(files)
    }

    fn markdown(&self) -> String {
        let results = &self.verdict.results;
        let setup = &results.setup;
        let held = if self.held { "held" } else { "NOT HELD" };
        let mut text = format!(
            "# Drill {}: {held}\n\n{} UTC, mercator {}, {} at {} requests/s, at most {} at once{}\n",
            self.drill,
            crate::output::when(&self.started_at),
            results.version,
            cell(&setup.target),
            setup.rate.unwrap_or_default(),
            setup.concurrency,
            if setup.stream { ", streamed" } else { "" },
        );
        if self.local {
            text += "\nOn an installation that was started on one machine for this alone.\n";
        }
        if let Some(note) = &self.note {
            text += &format!("\n{}\n", plain(note));
        }
        text +=
            "\n## Objectives\n\n| Objective | Found | At most | |\n| --- | ---: | ---: | --- |\n";
        for objective in &self.verdict.objectives {
            let (name, found, limit) = words(objective);
            let word = if objective.held {
                "held"
            } else {
                "**not held**"
            };
            let _ = writeln!(text, "| {name} | {found} | {limit} | {word} |");
        }
        text += "\n## Course\n\n| Seconds | What |\n| ---: | --- |\n| 0.0 | load begins |\n";
        for (event, what) in [
            (Some(&self.on_start), "fault"),
            (self.on_end.as_ref(), "end of the fault"),
        ] {
            let Some(event) = event else { continue };
            let took = event.ended.saturating_sub(event.began).as_secs_f64();
            let _ = writeln!(
                text,
                "| {:.1} | {what}: `{}`, took {took:.1} s |",
                event.began.as_secs_f64(),
                cell(&event.command)
            );
        }
        let _ = writeln!(
            text,
            "| {:.1} | the last request ended |",
            results.elapsed_seconds
        );
        text += "\n## What clients saw\n\n| | Answered | Denied | Errors | p99 of the worst second, ms |\n| --- | ---: | ---: | ---: | ---: |\n";
        for phase in &self.verdict.phases {
            let p99 = phase.p99_ms.map_or("-".to_owned(), show::time);
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {p99} |",
                phase.name, phase.answered, phase.denied, phase.errors
            );
        }
        text += &format!(
            "\nThe longest time without an answer was {:.1} s.\n",
            self.verdict.longest_silence_seconds
        );
        for (class, count) in results.errors.iter().filter(|(_, count)| **count > 0) {
            let _ = writeln!(text, "- {count}: {}", class.words());
        }
        text += &format!("\n## Evidence\n\n{}\n", self.evidence());
        text
    }

    fn evidence(&self) -> String {
        let Some(records) = &self.verdict.records else {
            return "Was not looked at.".to_owned();
        };
        let mut text = format!(
            "{} answers named their record; {} of these records were not found.",
            records.expected, records.not_found
        );
        if records.listed > 0 {
            let _ = write!(
                text,
                " {} of these requests may have been under way, or just over, when an Envoy ended \
                 that `mercator evidence gaps` lists: their records it may have taken along.",
                records.listed
            );
        }
        if let Some(seconds) = records.complete_after_seconds {
            let _ = write!(text, " All was there {seconds:.1} s after the load ended.");
        }
        let _ = write!(
            text,
            " Missing in emitters' sequences: {} before, {} after.",
            records.missing_before, records.missing_after
        );
        if let Some(error) = &records.error {
            let _ = write!(text, " The last look failed: {}.", cell(error));
        }
        text
    }

    pub fn summary(&self, [readable, _]: &[PathBuf; 2]) -> String {
        let mut text = format!("\n{TITLE}Drill {}{TITLE:#}\n", self.drill);
        for phase in &self.verdict.phases {
            let p99 = phase.p99_ms.map_or("-".to_owned(), show::time);
            let _ = writeln!(
                text,
                "  {:<7} {:>7} answered {:>6} denied {:>6} errors   p99 of the worst second {p99} ms",
                phase.name, phase.answered, phase.denied, phase.errors
            );
        }
        let _ = writeln!(text, "\n{TITLE}Objectives{TITLE:#}");
        for objective in &self.verdict.objectives {
            let (name, found, limit) = words(objective);
            let word = match objective.held {
                true => format!("{GOOD}ok{GOOD:#}    "),
                false => format!("{BAD}FAILED{BAD:#}"),
            };
            let _ = writeln!(text, "  {word}  {name}: {found}, at most {limit}");
        }
        text + &format!("\n{}\n", readable.display())
    }
}

/// A time as files are named by it.
pub fn in_name(time: &str) -> String {
    let seconds = time.split('.').next().unwrap_or(time);
    format!("{}Z", seconds.replace(':', "-"))
}

/// Name, what was found, and the limit.
fn words(objective: &Objective) -> (&str, String, String) {
    let (name, shown): (&str, fn(f64) -> String) = match objective.name.as_str() {
        "errors_before" => ("errors before the fault", |n| format!("{n}")),
        "error_rate" => ("requests that fail", |rate| {
            format!("{:.2} %", rate * 100.0)
        }),
        "let_through" => ("requests let through that a policy should deny", |n| {
            format!("{n}")
        }),
        "recovery_seconds" => ("time to recovery", |seconds| format!("{seconds:.1} s")),
        "evidence_lost" => ("records lost", |n| format!("{n}")),
        other => (other, |n| format!("{n}")),
    };
    let found = objective
        .found
        .map_or("never, or not known".to_owned(), shown);
    (name, found, shown(objective.limit))
}

/// Text from outside in a table of Markdown.
pub fn cell(text: &str) -> String {
    plain(text).replace('|', "\\|").replace('`', "'")
}
