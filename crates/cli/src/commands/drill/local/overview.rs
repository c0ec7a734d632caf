//! What all drills came to, and how the installation is used when it stays.

use super::super::Kind;
use super::super::report::{Report, cell, in_name};
use super::account::Evidence;
use super::installation::Installation;
use crate::commands::benchmark;
use crate::exit::{Answer, Failure};
use crate::output::{self, Column, Format, Table, when};
use crate::quickstart;
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};

const FORMAT: &str = "mercator-drills-local/1";
const TITLE: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// What became of one drill.
#[derive(Debug)]
pub enum Outcome {
    /// Its report, and where it lies, the readable one first.
    Made(Box<Report>, [PathBuf; 2]),
    /// Why it could not be, in one line.
    NotMade(String),
}

impl Outcome {
    pub fn not_made(why: &str) -> Outcome {
        Outcome::NotMade(why.replace('\n', " "))
    }
}

#[derive(Debug)]
pub struct Overview {
    started_at: String,
    drills: Vec<(Kind, Outcome)>,
    pub account: Option<Evidence>,
}

/// A drill as it is told.
#[derive(Debug, Serialize)]
struct Line<'a> {
    drill: String,
    held: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<Value>,
}

impl<'a> Line<'a> {
    fn new((kind, outcome): &'a (Kind, Outcome)) -> Line<'a> {
        let drill = kind.name();
        match outcome {
            Outcome::Made(report, _) => Line {
                drill,
                held: Some(report.held),
                why: None,
                report: Some(report.json()),
            },
            Outcome::NotMade(why) => Line {
                drill,
                held: None,
                why: Some(why),
                report: None,
            },
        }
    }
}

impl Overview {
    pub fn new(started_at: String) -> Overview {
        Overview {
            started_at,
            drills: Vec::new(),
            account: None,
        }
    }

    pub fn started_at(&self) -> &str {
        &self.started_at
    }

    pub fn add(&mut self, kind: Kind, outcome: Outcome) {
        self.drills.push((kind, outcome));
    }

    /// `None`: nothing failed, and not everything was tried.
    pub fn held(&self) -> Option<bool> {
        let held = |outcome: &Outcome| match outcome {
            Outcome::Made(report, _) => Some(report.held),
            Outcome::NotMade(_) => None,
        };
        let drills = self.drills.iter().map(|(_, outcome)| held(outcome));
        let account = self.account.iter().map(|account| Some(account.verified));
        let all: Vec<Option<bool>> = drills.chain(account).collect();
        if all.contains(&Some(false)) {
            return Some(false);
        }
        (!all.contains(&None)).then_some(true)
    }

    /// Records that clients were told of, and that were found.
    pub fn found_records(&self) -> usize {
        let found = |(_, outcome): &(Kind, Outcome)| match outcome {
            Outcome::Made(report, _) => report.found_records(),
            Outcome::NotMade(_) => 0,
        };
        self.drills.iter().map(found).sum()
    }

    pub fn answer(&self) -> Answer {
        match self.held() {
            Some(true) => Answer::Yes,
            Some(false) => Answer::No,
            None => Answer::CouldNotTell,
        }
    }

    pub fn json(&self) -> Value {
        json!({
            "format": FORMAT,
            "version": env!("CARGO_PKG_VERSION"),
            "started_at": self.started_at,
            "held": self.held(),
            "drills": self.drills.iter().map(Line::new).collect::<Vec<_>>(),
            "evidence": self.account,
        })
    }

    /// Writes it beside the reports of the drills.
    pub fn keep(&self, folder: &Path) -> Result<(), Failure> {
        let name = format!("drills-local-{}", in_name(&self.started_at));
        let path = |extension: &str| folder.join(format!("{name}.{extension}"));
        benchmark::write(&path("md"), &self.markdown())?;
        benchmark::write(&path("json"), &format!("{:#}\n", self.json()))
    }

    fn markdown(&self) -> String {
        let held = match self.held() {
            Some(true) => "held",
            Some(false) => "NOT HELD",
            None => "not all could be made",
        };
        let mut text = format!(
            "# Drills on an installation of their own: {held}\n\n{} UTC, mercator {}: HAProxy, three \
             instances, a Postgres primary and two standbys, a fake provider, on one machine.\n\n\
             | Drill | | Report |\n| --- | --- | --- |\n",
            when(&self.started_at),
            env!("CARGO_PKG_VERSION"),
        );
        for (kind, outcome) in &self.drills {
            let (word, report) = match outcome {
                Outcome::Made(report, [readable, _]) => {
                    let word = if report.held { "held" } else { "**not held**" };
                    let name = readable.file_name().unwrap_or_default().to_string_lossy();
                    (word, format!("[{name}]({name})"))
                }
                Outcome::NotMade(why) => ("could not be made", cell(why)),
            };
            let _ = writeln!(text, "| {} | {word} | {report} |", kind.name());
        }
        if let Some(account) = &self.account {
            let folder = account.folder.file_name().unwrap_or_default();
            let word = if account.verified {
                "verified"
            } else {
                "**NOT VERIFIED**"
            };
            let _ = write!(
                text,
                "\n## Evidence\n\n{} records, {word}, in `{}`: `mercator verify records.jsonl --key \
                 evidence.pub --checkpoint checkpoint` there says\n\n```text\n{}\n```\n",
                account.records,
                folder.to_string_lossy(),
                account.said,
            );
        }
        text
    }

    pub fn show(&self, format: Format) {
        match format {
            _ if self.drills.is_empty() => {}
            Format::Json => output::print_json(&self.json()),
            Format::Text => output::print(&self.text()),
        }
    }

    fn text(&self) -> String {
        let mut table = Table::new(&[
            Column::left("drill"),
            Column::left("objectives"),
            Column::left("report").may_cut(),
        ]);
        for (kind, outcome) in &self.drills {
            let (word, report) = match outcome {
                Outcome::Made(report, [readable, _]) => (
                    if report.held { "held" } else { "NOT HELD" },
                    readable.display().to_string(),
                ),
                Outcome::NotMade(why) => ("not made", why.clone()),
            };
            table.row([kind.name(), word.to_owned(), report]);
        }
        let mut text = format!("\n{TITLE}All drills{TITLE:#}\n");
        for line in table.for_stdout(2).lines() {
            let _ = writeln!(text, "  {line}");
        }
        if let Some(account) = &self.account {
            let word = match account.verified {
                true => format!("{GOOD}verified{GOOD:#}"),
                false => format!("{BAD}NOT VERIFIED{BAD:#}"),
            };
            let _ = writeln!(
                text,
                "\n{TITLE}Evidence{TITLE:#}\n  {} records {word}: {}",
                account.records,
                account.folder.display()
            );
            if !account.verified {
                for line in account.said.lines() {
                    let _ = writeln!(text, "  {}", output::plain(line));
                }
            }
        }
        text
    }
}

/// What is there, and what to try; the comments may be pasted along.
pub fn invitation(installation: &Installation) -> String {
    let traffic = installation.traffic_url();
    let mut text = format!("\nTraffic    {traffic}  (HAProxy)\n");
    for instance in &installation.instances {
        let ports = instance.ports();
        let _ = writeln!(
            text,
            "{:<10} admin http://127.0.0.1:{}, traffic :{}, metrics :{}, token in {}",
            instance.name(),
            ports.admin,
            ports.traffic,
            ports.metrics,
            instance.token_file().display()
        );
    }
    for (number, node) in installation.postgres.nodes().iter().enumerate() {
        let role = match number == installation.primary {
            true => "primary",
            false => "standby",
        };
        let _ = writeln!(text, "Postgres   {role} on 127.0.0.1:{}", node.port);
    }
    let folder = installation.folder.display();
    let first = installation.instances.first();
    let admin = first.map_or(0, |instance| instance.ports().admin);
    let token = first.map_or_else(PathBuf::new, |instance| instance.token_file());
    let pid = first.and_then(|instance| instance.envoy_pid());
    let fault = pid.map_or_else(String::new, |pid| {
        format!(
            "\n# a fault of your own, under load\n\
             mercator drill run freeze-instance --target {traffic} --server http://127.0.0.1:{admin} \\\n  \
               --token-file {} --on-start 'kill -STOP {pid}' --on-end 'kill -CONT {pid}'\n",
            token.display()
        )
    });
    let _ = write!(
        text,
        "Data, logs {folder}\n\
         \n# a call that the policy refuses\n\
         curl -s {traffic}{} -H 'authorization: Bearer {}' -H 'content-type: application/json' -d '{}'\n\
         \n# the evidence\n\
         mercator evidence query --server http://127.0.0.1:{admin} --token-file {}\n\
         {fault}\n\
         Ctrl-C ends all of it.\n",
        quickstart::CHAT_PATH,
        quickstart::CLIENT_KEY,
        quickstart::REFUSED,
        token.display(),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(verified: bool) -> Evidence {
        Evidence {
            folder: "reports/evidence-local".into(),
            records: 7,
            verified,
            said: "as it is".into(),
        }
    }

    fn overview(outcomes: Vec<Outcome>, verified: bool) -> Overview {
        let mut overview = Overview::new("2026-11-27T09:00:00.000000Z".into());
        for outcome in outcomes {
            overview.add(Kind::Partition, outcome);
        }
        overview.account = Some(evidence(verified));
        overview
    }

    #[test]
    fn drill_that_could_not_be_made_is_told_with_its_reason_and_is_no_yes() {
        let overview = overview(vec![Outcome::not_made("no | nft\nhere")], true);
        assert_eq!(overview.answer(), Answer::CouldNotTell);
        let report = overview.markdown();
        assert!(
            report.contains("| partition | could not be made | no \\| nft here |"),
            "{report}"
        );
        assert_eq!(overview.json()["held"], Value::Null);
        assert_eq!(overview.json()["drills"][0]["why"], "no | nft here");
    }

    #[test]
    fn evidence_that_does_not_verify_is_a_no() {
        let good = overview(vec![], true);
        assert_eq!(good.answer(), Answer::Yes);
        let bad = overview(vec![Outcome::not_made("no nft")], false);
        assert_eq!(bad.answer(), Answer::No);
        assert!(bad.markdown().contains("7 records, **NOT VERIFIED**"));
    }
}
