//! `just bench scan`: how fast texts are read inside Envoy (the `envoy` on `PATH`), as a table.
//!
//! Detectors alone, matchers of 20 rules alone, and both, which is what the filter does.
//! Of the hostile texts the slowest are shown.

use jupiter_bench::{sets, texts};
use jupiter_bench_probe::envoy;
use jupiter_bench_probe::scans::{ScanTimes, ScannedText, Scans, TextTimes};
use jupiter_bench_probe::tasks::{MARK, Task};
use std::path::{Path, PathBuf};

const USAGE: &str = "usage: scan PROBE.wasm [SAMPLES]";
const SAMPLES: u32 = 60;
/// Hostile texts that are shown.
const SHOWN: usize = 12;

fn main() -> Result<(), String> {
    let mut arguments = std::env::args().skip(1);
    let probe = PathBuf::from(arguments.next().ok_or(USAGE)?);
    let samples = match arguments.next() {
        None => SAMPLES,
        Some(number) => number.parse().map_err(|_| USAGE)?,
    };
    let ordinary = ask(&probe, texts::ordinary(), samples)?;
    println!(
        "The first scan of a VM: {:.2} ms\n\nMB/s inside Envoy:\n",
        ordinary.first / 1e6
    );
    table(&ordinary.texts);
    // There are many, and the least of fewer samples is near enough.
    let mut hostile = ask(&probe, texts::hostile(), samples.div_ceil(4))?.texts;
    hostile.sort_by(|a, b| both(b).total_cmp(&both(a)));
    hostile.truncate(SHOWN);
    println!("\nThe slowest of the hostile texts, each repeated to 64 KB:\n");
    table(&hostile);
    Ok(())
}

fn ask(probe: &Path, texts: Vec<ScannedText>, samples: u32) -> Result<ScanTimes, String> {
    let task = Task::Scan(Box::new(Scans {
        samples,
        bundle: sets::twenty_with_text()?,
        facts: sets::facts(),
        texts,
    }));
    let lines = envoy::ask(Path::new("envoy"), probe, &task)?;
    let line = lines.first().ok_or("the probe said nothing")?;
    let line = line.trim_start_matches(MARK);
    serde_json::from_str(line).map_err(|_| line.to_owned())
}

/// Nanoseconds per byte.
fn both(times: &TextTimes) -> f64 {
    (times.detectors + times.matchers) / times.bytes.max(1) as f64
}

fn table(texts: &[TextTimes]) {
    println!("| text | findings | detectors | rules that match | matchers | both |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for times in texts {
        let rate = |nanoseconds: f64| times.bytes as f64 * 1_000.0 / nanoseconds.max(1.0);
        println!(
            "| {} | {} | {:.0} | {} | {:.0} | {:.0} |",
            times.name,
            times.findings,
            rate(times.detectors),
            times.matched,
            rate(times.matchers),
            rate(times.detectors + times.matchers),
        );
    }
}
