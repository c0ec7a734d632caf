//! `mercator benchmark compare`: is the second run as good as the first?

use super::plan::Share;
use super::results::{Results, Setup};
use super::show;
use super::tally::Percentiles;
use crate::exit::{Answer, Failure};
use crate::output::{self, Column, Format, Table};
use serde::Serialize;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 as good or better; 1 worse by more than the tolerance; 2 could not tell."
)]
pub struct CompareArgs {
    /// Results to compare with
    before: PathBuf,
    /// Results to judge
    after: PathBuf,
    /// How much worse counts as the same
    #[arg(long, value_name = "SHARE", default_value_t = Share(0.1))]
    tolerance: Share,
}

/// One number of two runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    name: String,
    before: Option<f64>,
    after: Option<f64>,
    /// Relative to before; `None`: one of them has none, or before is zero.
    change: Option<f64>,
    /// By more than the tolerance.
    worse: bool,
}

/// A difference between error rates below this is none: one request in ten thousand.
const ERROR_RATE_STEP: f64 = 1e-4;
/// Nobody feels a difference smaller than this.
const LEAST_MILLIS: f64 = 0.05;

pub fn run(args: &CompareArgs, format: Format) -> Result<Answer, Failure> {
    let (before, after) = (Results::read(&args.before)?, Results::read(&args.after)?);
    let differences = differences(&before.setup, &after.setup);
    let rows = rows(&before, &after, args.tolerance.0);
    let worse = rows.iter().any(|row| row.worse);
    match format {
        Format::Json => output::print_json(&serde_json::json!({
            "worse": worse, "tolerance": args.tolerance.0,
            "setups_differ_in": differences, "measures": rows,
        })),
        Format::Text => {
            output::print(&table(&rows).for_stdout(0));
            if !differences.is_empty() {
                output::say(&format!(
                    "the two did not ask for the same: they differ in {}",
                    differences.join(", ")
                ));
            }
        }
    }
    Ok(if worse { Answer::No } else { Answer::Yes })
}

/// What makes two runs hard to compare; the target may well be another.
fn differences(before: &Setup, after: &Setup) -> Vec<String> {
    let fields = |setup: &Setup| match serde_json::to_value(setup) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => Default::default(),
    };
    let after = fields(after);
    fields(before)
        .into_iter()
        .filter(|(name, value)| name != "target" && after.get(name) != Some(value))
        .map(|(name, _)| name)
        .collect()
}

/// One of several percentiles.
type Of = fn(&Percentiles) -> f64;

fn rows(before: &Results, after: &Results, tolerance: f64) -> Vec<Row> {
    let row = |name: &str, (old, new): (Option<f64>, Option<f64>), worse: bool| Row {
        name: name.to_owned(),
        before: old,
        after: new,
        change: match (old, new) {
            (Some(old), Some(new)) if old > 0.0 => Some(new / old - 1.0),
            _ => None,
        },
        worse,
    };
    let (rate, new_rate) = (before.per_second, after.per_second);
    let (errors, new_errors) = (before.error_rate, after.error_rate);
    let mut rows = vec![
        row(
            "answers/s",
            (Some(rate), Some(new_rate)),
            new_rate < rate * (1.0 - tolerance),
        ),
        row(
            "error rate",
            (Some(errors), Some(new_errors)),
            new_errors > errors * (1.0 + tolerance) + ERROR_RATE_STEP,
        ),
    ];
    let percentiles: [(&str, Of); 4] = [
        ("p50", |t| t.p50),
        ("p90", |t| t.p90),
        ("p99", |t| t.p99),
        ("max", |t| t.max),
    ];
    for ((name, old), (_, new)) in show::times(before).into_iter().zip(show::times(after)) {
        if old.is_none() && new.is_none() {
            continue;
        }
        for (percentile, of) in percentiles {
            let (old, new) = (old.as_ref().map(of), new.as_ref().map(of));
            // One slow request makes a maximum, and how fast errors come is no virtue.
            let judged = percentile != "max" && !matches!(name, "failed" | "send delay");
            let worse = match (old, new) {
                (Some(old), Some(new)) => new > old * (1.0 + tolerance) + LEAST_MILLIS,
                _ => false,
            };
            rows.push(row(
                &format!("{name} {percentile}"),
                (old, new),
                judged && worse,
            ));
        }
    }
    rows
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        Column::left("measure"),
        Column::right("before"),
        Column::right("after"),
        Column::right("change"),
        Column::left(""),
    ]);
    for row in rows {
        let shown = |value: Option<f64>| match value {
            Some(value) if row.name == "error rate" => format!("{:.2} %", value * 100.0),
            Some(value) if row.name == "answers/s" => format!("{value:.1}"),
            Some(value) => format!("{} ms", show::time(value)),
            None => String::new(),
        };
        let change = row.change.map(|c| format!("{:+.1} %", c * 100.0));
        let word = if row.worse { "worse" } else { " " };
        table.row([
            row.name.clone(),
            shown(row.before),
            shown(row.after),
            change.unwrap_or_default(),
            word.to_owned(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::tests::results;
    use super::*;

    fn worse(change: impl FnOnce(&mut Results)) -> Vec<String> {
        let before = results();
        let mut after = before.clone();
        change(&mut after);
        let rows = rows(&before, &after, 0.1);
        rows.into_iter()
            .filter(|row| row.worse)
            .map(|row| row.name)
            .collect()
    }

    #[test]
    fn same_run_is_not_worse_than_itself() {
        assert_eq!(worse(|_| ()), [""; 0]);
    }

    #[test]
    fn more_than_the_tolerance_is_worse_in_every_measure() {
        assert_eq!(worse(|r| r.per_second *= 0.95), [""; 0]);
        assert_eq!(worse(|r| r.per_second *= 0.85), ["answers/s"]);
        assert_eq!(worse(|r| r.error_rate += 0.01), ["error rate"]);
        let p99 = |factor: f64| {
            move |r: &mut Results| {
                if let Some(times) = &mut r.latency_ms {
                    times.p99 *= factor;
                }
            }
        };
        assert_eq!(worse(p99(1.05)), [""; 0]);
        assert_eq!(worse(p99(1.5)), ["latency p99"]);
        assert_eq!(worse(p99(0.5)), [""; 0]);
    }

    #[test]
    fn other_settings_are_told() {
        let before = results().setup;
        let mut after = before.clone();
        after.target = "http://other".to_owned();
        assert_eq!(differences(&before, &after), [""; 0]);
        after.rate = Some(7.0);
        assert_eq!(differences(&before, &after), ["rate"]);
    }
}
