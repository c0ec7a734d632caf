//! `just bench policy`: the same measurements natively and inside Envoy (the `envoy` on `PATH`), as
//! a table.

use jupiter_bench::sets;
use jupiter_bench_probe::envoy;
use jupiter_bench_probe::in_cel::{Expressions, Regexes};
use jupiter_bench_probe::tasks::{self, MARK, Task, Times, Timings};
use jupiter_policy::{Bundle, decide};
use std::path::{Path, PathBuf};
use std::time::Instant;

const USAGE: &str = "usage: jupiter-bench PROBE.wasm [SAMPLES]";
const SAMPLES: u32 = 60;

fn main() -> Result<(), String> {
    let mut arguments = std::env::args().skip(1);
    let probe = PathBuf::from(arguments.next().ok_or(USAGE)?);
    let samples = match arguments.next() {
        None => SAMPLES,
        Some(number) => number.parse().map_err(|_| USAGE)?,
    };
    let timings = sets::timings(samples)?;
    same_answers(&timings)?;
    let bytes = timings.body.len();
    let task = Task::Time(timings);

    let mut lines = Vec::new();
    let started = Instant::now();
    let now = || u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let configuration = tasks::configuration(&task).map_err(|cause| cause.to_string())?;
    tasks::carry_out(configuration.as_bytes(), &now, &mut |line| {
        lines.push(line.trim_start_matches(MARK).to_owned());
    });
    show("natively", bytes, &times(&lines)?);

    let lines = envoy::ask(Path::new("envoy"), &probe, &task)?;
    show("inside Envoy", bytes, &times(&lines)?);
    Ok(())
}

fn times(lines: &[String]) -> Result<Times, String> {
    let line = lines.first().ok_or("the probe said nothing")?;
    serde_json::from_str(line).map_err(|_| line.clone())
}

/// What is compared must decide alike.
fn same_answers(timings: &Timings) -> Result<(), String> {
    for set in &timings.sets {
        let bundle = Bundle::load(&set.bundle).map_err(|cause| cause.to_string())?;
        let ours = decide(&bundle, &set.facts).matched;
        let ours = ours
            .first()
            .map(|matched| format!("{}/{}", matched.policy, matched.rule));
        for regexes in [Regexes::Kept, Regexes::Stock] {
            let cel = Expressions::new(&set.expressions, &set.facts, regexes)?.first_match()?;
            let cel = cel.map(|nth| format!("policy-{}/rule-{}", nth / 100, nth % 100));
            if ours != cel {
                return Err(format!("{}: we say {ours:?}, `cel` says {cel:?}", set.name));
            }
        }
    }
    Ok(())
}

fn show(place: &str, bytes: usize, times: &Times) {
    let us = |nanoseconds: f64| format!("{:.2}", nanoseconds / 1_000.0);
    println!("Measured {place}, in µs (`cel`: regexes compiled once / at every call)\n");
    println!("| | time | `cel` | ratio |\n| --- | ---: | ---: | ---: |");
    println!(
        "| facts of a chat request of {bytes} bytes | {} | | |",
        us(times.read)
    );
    for set in &times.sets {
        let (cel, ratio) = match &set.cel {
            None => Default::default(),
            Some(cel) => (
                format!("{} / {}", us(cel.kept), us(cel.stock)),
                format!(
                    "{:.0} / {:.0}",
                    cel.kept / set.decide,
                    cel.stock / set.decide
                ),
            ),
        };
        println!("| {} | {} | {cel} | {ratio} |", set.name, us(set.decide));
    }
    println!();
}
