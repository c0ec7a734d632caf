//! The course of a drill: steady load, the fault, its end, recovery.

use super::super::benchmark::line::Dialer;
use super::super::benchmark::load::{self, Ran};
use super::super::benchmark::plan::Plan;
use super::super::benchmark::show::Live;
use crate::exit::{Failure, with_causes};
use crate::output::{Format, plain};
use serde::Serialize;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Of what a command said, the end.
const SAID_BYTES: usize = 2_000;
/// A command that takes longer was not what makes or mends a fault.
const COMMAND_WITHIN: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy)]
pub struct Phases {
    pub steady: Duration,
    pub fault: Duration,
    pub recovery: Duration,
}

impl Phases {
    pub fn total(self) -> Duration {
        self.steady + self.fault + self.recovery
    }
}

/// What makes a fault, and mends it.
pub trait Fault {
    async fn make(&mut self) -> Done;
    /// Also what was made in part. `None`: nothing is to be done.
    async fn mend(&mut self) -> Option<Done>;
}

/// Something that was done.
#[derive(Debug, Clone)]
pub struct Done {
    /// What it was: a command, or words.
    pub what: String,
    /// 0 when it went well; `None`: a signal ended it.
    pub code: Option<i32>,
    pub said: String,
}

/// A fault by commands of those who own the installation.
#[derive(Debug, Clone)]
pub struct Commands {
    pub kind: String,
    pub on_start: String,
    pub on_end: Option<String>,
}

impl Fault for Commands {
    async fn make(&mut self) -> Done {
        command(&self.on_start, &self.kind).await
    }

    async fn mend(&mut self) -> Option<Done> {
        match &self.on_end {
            Some(on_end) => Some(command(on_end, &self.kind).await),
            None => None,
        }
    }
}

/// What was done, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    pub command: String,
    /// From the begin of the load, when it was started and when it was over.
    pub began: Duration,
    pub ended: Duration,
    /// How it said it went; `None`: a signal ended it.
    pub code: Option<i32>,
    pub said: String,
}

impl Event {
    fn new(done: Done, began: Duration, zero: Instant) -> Event {
        Event {
            command: done.what,
            began,
            ended: zero.elapsed(),
            code: done.code,
            said: done.said,
        }
    }

    fn line(&self, what: &str) -> String {
        let began = self.began.as_secs_f64();
        format!("{began:.1} s  {what}: {}", plain(&self.command))
    }
}

#[derive(Debug)]
pub struct Course {
    pub ran: Ran,
    pub start: Event,
    pub end: Option<Event>,
}

/// Runs the load with the fault in its midst. A fault that could not be made is
/// no drill; what was made is mended, also when somebody stops it.
pub async fn run(
    plan: &Plan,
    dialer: Dialer,
    phases: Phases,
    fault: &mut impl Fault,
    stopped: &CancellationToken,
    format: Format,
) -> Result<Course, Failure> {
    let url = plan.target.url(plan.api);
    let stop = CancellationToken::new();
    let mut live = Live::start(plan, format);
    let aside = live.aside();
    // The clock of the load starts once its connections are open.
    let (began, begun) = tokio::sync::oneshot::channel();
    let mut began = Some(began);
    let load = load::run(plan.clone(), dialer, stop.clone(), |progress| {
        if let Some(began) = began.take() {
            let _ = began.send(Instant::now() - progress.elapsed);
        }
        live.tell(progress);
    });
    let faults = async {
        // Dropped without a word: there was no load.
        let Ok(zero) = begun.await else {
            return Ok(None);
        };
        tokio::select! {
            () = tokio::time::sleep_until(zero + phases.steady) => {}
            () = stopped.cancelled() => {
                stop.cancel();
                return Err(Failure::new("stopped before anything was broken"));
            }
        }
        let began = zero.elapsed();
        let start = Event::new(fault.make().await, began, zero);
        aside.say(&start.line("fault"));
        let mut early = false;
        if start.code == Some(0) {
            tokio::select! {
                () = tokio::time::sleep_until(zero + phases.steady + phases.fault) => {}
                () = stopped.cancelled() => early = true,
            }
        }
        let began = zero.elapsed();
        let end = fault.mend().await;
        let end = end.map(|done| Event::new(done, began, zero));
        if let Some(end) = &end {
            aside.say(&end.line("its end"));
        }
        if early || start.code != Some(0) {
            stop.cancel();
        }
        if early {
            return Err(Failure::new(
                "stopped before its end; what was broken is mended",
            ));
        }
        failed(&start, "made")?;
        if let Some(end) = &end {
            failed(end, "mended")?;
        }
        tokio::select! {
            () = tokio::time::sleep_until(zero + phases.total()) => Ok(Some((start, end))),
            () = stopped.cancelled() => {
                stop.cancel();
                Err(Failure::new("stopped before its end; what was broken is mended"))
            }
        }
    };
    let (ran, faults) = tokio::join!(load, faults);
    live.end();
    let ran = ran.map_err(|e| {
        Failure::new(format!("nobody answers at {url}: {}", with_causes(&e)))
            .help("is it running, and is this its address for traffic?")
    })?;
    match faults? {
        Some((start, end)) => Ok(Course { ran, start, end }),
        None => Err(Failure::new("the load ended before it began")),
    }
}

fn failed(event: &Event, what: &str) -> Result<(), Failure> {
    match event.code {
        Some(0) => Ok(()),
        code => Err(Failure::new(format!(
            "the fault was not {what}: `{}` ended with {}",
            event.command,
            code.map_or("a signal".to_owned(), |code| code.to_string())
        ))
        .help(match event.said.is_empty() {
            true => "it said nothing".to_owned(),
            false => format!("it said: {}", plain(&event.said)),
        })),
    }
}

async fn command(text: &str, kind: &str) -> Done {
    let output = Command::new("sh")
        .args(["-c", text])
        .env("MERCATOR_DRILL", kind)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let (code, said) = match tokio::time::timeout(COMMAND_WITHIN, output).await {
        Ok(Ok(output)) => {
            let said = [output.stdout, output.stderr].concat();
            let from = said.len().saturating_sub(SAID_BYTES);
            let end = said.get(from..).unwrap_or_default();
            (
                output.status.code(),
                String::from_utf8_lossy(end).trim().to_owned(),
            )
        }
        Ok(Err(error)) => (None, error.to_string()),
        Err(_) => (None, "it did not come to an end".to_owned()),
    };
    Done {
        what: text.to_owned(),
        code,
        said,
    }
}
