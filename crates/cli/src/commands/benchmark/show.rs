//! How a run looks while it lasts, and what it came to.

use super::answer::Class;
use super::load::Progress;
use super::plan::Plan;
use super::results::{Objective, Results};
use super::tally::Percentiles;
use crate::output::{self, Column, Format, Table, plain};
use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

const TITLE: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const INDENT: usize = 2;

/// Where nobody watches: this many lines in a run, and not more often than that.
const LINES: u32 = 10;
const LEAST_BETWEEN_LINES: Duration = Duration::from_secs(10);

/// Progress on stderr.
pub struct Live {
    bar: Option<ProgressBar>,
    duration: Duration,
    line_due: Duration,
    before: Option<Progress>,
    per_second: f64,
}

impl Live {
    pub fn start(plan: &Plan, format: Format) -> Live {
        if format == Format::Text {
            output::say(&opening(plan));
        }
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(millis(plan.duration));
            let style = ProgressStyle::with_template("{bar:30} {wide_msg}");
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Live {
            bar,
            duration: plan.duration,
            line_due: between_lines(plan.duration),
            before: None,
            per_second: 0.0,
        }
    }

    pub fn tell(&mut self, now: &Progress) {
        // Over a second, so that the number can be read.
        let before = *self.before.get_or_insert(*now);
        let past = now.elapsed.saturating_sub(before.elapsed);
        if past >= Duration::from_secs(1) {
            let done = (now.answered + now.denied) - (before.answered + before.denied);
            self.per_second = done as f64 / past.as_secs_f64();
            self.before = Some(*now);
        }
        let line = self.line(now);
        match &self.bar {
            Some(bar) => {
                bar.set_position(millis(now.elapsed.min(self.duration)));
                bar.set_message(line);
            }
            None if now.elapsed >= self.line_due => {
                self.line_due += between_lines(self.duration);
                output::say(&line);
            }
            None => {}
        }
    }

    fn line(&self, now: &Progress) -> String {
        format!(
            "{:.0} of {} s  {:.0}/s  p99 {} ms  {} errors  {} under way",
            now.elapsed.as_secs_f64().floor(),
            self.duration.as_secs_f64(),
            self.per_second,
            time(now.p99),
            now.errors,
            now.under_way,
        )
    }

    /// For what is said meanwhile, above the bar.
    pub fn aside(&self) -> Aside {
        Aside(self.bar.clone())
    }

    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Says things without disturbing a bar.
pub struct Aside(pub Option<ProgressBar>);

impl Aside {
    pub fn say(&self, text: &str) {
        match &self.0 {
            Some(bar) => bar.suspend(|| output::say(text)),
            None => output::say(text),
        }
    }
}

fn between_lines(duration: Duration) -> Duration {
    (duration / LINES).max(LEAST_BETWEEN_LINES)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn opening(plan: &Plan) -> String {
    let pace = match plan.rate {
        Some(rate) => format!("{rate} requests/s"),
        None => "as many requests as come back".to_owned(),
    };
    format!(
        "{} for {} s, {pace}, at most {} at once",
        plan.target.url(plan.api),
        plan.duration.as_secs_f64(),
        plan.concurrency
    )
}

/// Three digits, whatever the size: `0.123`, `1.23`, `12.3`, `1230`.
pub fn time(millis: f64) -> String {
    match millis {
        m if m < 1.0 => format!("{m:.3}"),
        m if m < 10.0 => format!("{m:.2}"),
        m if m < 100.0 => format!("{m:.1}"),
        m => format!("{m:.0}"),
    }
}

pub fn summary(results: &Results) -> String {
    let mut text = String::new();
    if let Some(under_way) = results.interrupted_with {
        text += &format!(
            "{BAD}Interrupted{BAD:#} after {} s; {under_way} requests under way count as nothing.\n",
            results.elapsed_seconds
        );
    }
    text += &format!("\n{TITLE}Requests{TITLE:#}\n{}", indented(&counts(results)));
    let latencies = latencies(results);
    if !latencies.is_empty() {
        text += &format!(
            "\n{TITLE}Milliseconds{TITLE:#}\n{}",
            indented(&latencies.for_stdout(INDENT))
        );
    }
    let errors = errors(results);
    if !errors.is_empty() {
        text += &format!("\n{TITLE}Errors{TITLE:#}\n{}", indented(&errors));
    }
    let notes = notes(results);
    if !notes.is_empty() {
        text += &format!("\n{TITLE}Note{TITLE:#}\n{}", indented(&notes));
    }
    text += &format!("\n{TITLE}Objectives{TITLE:#}\n");
    for objective in &results.objectives {
        text += &format!("{:INDENT$}{}\n", "", verdict(objective));
    }
    text
}

fn counts(results: &Results) -> String {
    let requests = &results.requests;
    let mut text = format!("{} answered", requests.answered);
    if results.setup.policy_mix > 0.0 {
        text += &format!(", {} denied as they should be", requests.denied);
    }
    text += &format!(
        ", {} failed ({:.2} %)",
        requests.failed,
        results.error_rate * 100.0
    );
    if let Some(planned) = requests.planned {
        text += &format!(", of {planned}");
    }
    format!(
        "{text}\n{} answers/s over {} s\n",
        results.per_second, results.elapsed_seconds
    )
}

/// What times there are, under the names people use.
pub fn times(results: &Results) -> [(&'static str, Option<Percentiles>); 6] {
    [
        ("latency", results.latency_ms),
        ("first token", results.first_token_ms),
        ("token gap", results.token_gap_ms),
        ("denied", results.denied_ms),
        ("failed", results.failed_ms),
        (
            "send delay",
            results
                .send_delay_ms
                .filter(|_| results.setup.rate.is_some()),
        ),
    ]
}

fn latencies(results: &Results) -> Table {
    let mut table = Table::new(&[
        Column::left(""),
        Column::right("p50"),
        Column::right("p90"),
        Column::right("p95"),
        Column::right("p99"),
        Column::right("p99.9"),
        Column::right("max"),
        Column::right("mean"),
        Column::right("count"),
    ]);
    for (name, times) in times(results) {
        let Some(t) = times else { continue };
        let cells = [t.p50, t.p90, t.p95, t.p99, t.p999, t.max, t.mean].map(time);
        let name = [name.to_owned()];
        table.row(name.into_iter().chain(cells).chain([t.count.to_string()]));
    }
    table
}

fn errors(results: &Results) -> String {
    let counted: Vec<_> = results
        .errors
        .iter()
        .filter(|(_, count)| **count > 0)
        .collect();
    let width = counted
        .iter()
        .map(|(_, count)| count.to_string().len())
        .max();
    let width = width.unwrap_or(0);
    let line = |(class, count): &(&Class, &u64)| format!("{count:>width$}  {}\n", class.words());
    let mut text: String = counted.iter().map(line).collect();
    if !counted.is_empty() && !results.codes.is_empty() {
        let codes: Vec<String> = results
            .codes
            .iter()
            .map(|(code, count)| format!("{} {count}", plain(code)))
            .collect();
        text += &format!("codes: {}\n", codes.join(", "));
    }
    text
}

/// What makes the numbers mean something else than they seem to.
fn notes(results: &Results) -> String {
    let mut notes = String::new();
    let sent = results.requests.sent.max(1);
    let many = |count: u64| count * 100 > sent;
    if results.late.all_busy > 0 {
        notes += &format!(
            "{} requests went late because all {} connections were busy; their latency counts the wait.\n\
             The target cannot keep this rate, or --concurrency is too low for it.\n",
            results.late.all_busy, results.setup.concurrency
        );
    }
    if many(results.late.this_machine) {
        notes += &format!(
            "{} requests went late because this machine was busy: the latencies are partly its own.\n",
            results.late.this_machine
        );
    }
    let wrong = |class| results.errors.get(&class).copied().unwrap_or(0);
    if many(wrong(Class::DeniedWrongly)) {
        notes += "The policy in force denies ordinary requests; another --model, or --denied-prompt with --policy-mix?\n";
    }
    if many(wrong(Class::LetThrough)) {
        notes += "No policy denies what --denied-prompt begins with; is the one meant in force?\n";
    }
    notes
}

fn verdict(objective: &Objective) -> String {
    let word = match objective.held {
        true => format!("{GOOD}ok{GOOD:#}    "),
        false => format!("{BAD}FAILED{BAD:#}"),
    };
    let (name, shown): (&str, fn(f64) -> String) = match objective.name.as_str() {
        "error_rate" => ("requests that fail", |rate| {
            format!("{:.2} %", rate * 100.0)
        }),
        "let_through" => ("requests let through that a policy should deny", |n| {
            format!("{n}")
        }),
        "latency_p99_ms" => ("latency, 99 %", |ms| format!("{} ms", time(ms))),
        "first_token_p99_ms" => ("first token, 99 %", |ms| format!("{} ms", time(ms))),
        other => (other, |n| format!("{n}")),
    };
    let found = objective.found.map_or("nothing measured".to_owned(), shown);
    format!(
        "{word}  {name}: {found}, at most {}",
        shown(objective.limit)
    )
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| format!("{:INDENT$}{line}\n", ""))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_show_three_digits() {
        let shown = [0.1234, 1.234, 12.34, 123.4, 1234.0].map(time);
        assert_eq!(shown, ["0.123", "1.23", "12.3", "123", "1234"]);
    }
}
