//! What a module is asked in its configuration, and how it answers.
//!
//! Bundles and facts travel as bytes, so that every number arrives as it was; answers
//! are lines of text that begin with [`MARK`], the last of them [`END`].

use crate::scans::Scans;
use crate::timing::{self, Timed};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jupiter_policy::facts::Facts;
use jupiter_policy::{Bundle, decide};
use jupiter_provider::{Api, read_request};
use serde::{Deserialize, Serialize};
use std::hint::black_box;

/// Begins every line of an answer.
pub const MARK: &str = "answer: ";
/// The last line, after [`MARK`].
pub const END: &str = "end";

#[derive(Debug, Serialize, Deserialize)]
pub enum Task {
    /// Decide all facts by all bundles; a line for each.
    Decide {
        bundles: Vec<Vec<u8>>,
        facts: Vec<Facts>,
    },
    /// Time sets of rules and the reading of a request; one line.
    Time(Timings),
    /// Time the reading of texts by detectors and matchers; one line.
    Scan(Box<Scans>),
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Timings {
    pub samples: u32,
    /// A chat request whose reading is timed.
    pub body: Vec<u8>,
    pub sets: Vec<Set>,
}

/// Rules, and the same conditions as expressions.
#[derive(Debug, Serialize, Deserialize)]
pub struct Set {
    pub name: String,
    pub bundle: Vec<u8>,
    pub facts: Facts,
    pub expressions: Vec<String>,
}

/// Nanoseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Times {
    pub read: f64,
    pub sets: Vec<SetTimes>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetTimes {
    pub name: String,
    pub decide: f64,
    /// `None` in a module without it.
    pub cel: Option<CelTimes>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CelTimes {
    /// With regular expressions compiled once.
    pub kept: f64,
    /// As the crate comes.
    pub stock: f64,
}

/// A task as a configuration.
pub fn configuration(task: &Task) -> Result<String, postcard::Error> {
    Ok(STANDARD.encode(postcard::to_allocvec(task)?))
}

/// Does what a configuration asks.
pub fn carry_out(configuration: &[u8], now_ns: &dyn Fn() -> u64, say: &mut dyn FnMut(&str)) {
    let task = STANDARD.decode(configuration).ok();
    match task.and_then(|bytes| postcard::from_bytes(&bytes).ok()) {
        None => say(&format!("{MARK}the configuration is no task")),
        Some(Task::Decide { bundles, facts }) => {
            bundles
                .iter()
                .for_each(|bundle| decided(bundle, &facts, say));
        }
        Some(Task::Time(timings)) => {
            let answer = match times(&timings, now_ns) {
                Ok(times) => serde_json::to_string(&times).unwrap_or_default(),
                Err(cause) => cause,
            };
            say(&format!("{MARK}{answer}"));
        }
        Some(Task::Scan(scans)) => {
            let answer = match crate::scans::times(&scans, now_ns) {
                Ok(times) => serde_json::to_string(&times).unwrap_or_default(),
                Err(cause) => cause,
            };
            say(&format!("{MARK}{answer}"));
        }
    }
    say(&format!("{MARK}{END}"));
}

fn decided(bundle: &[u8], facts: &[Facts], say: &mut dyn FnMut(&str)) {
    match Bundle::load(bundle) {
        Err(cause) => say(&format!("{MARK}{cause}")),
        Ok(bundle) => {
            for facts in facts {
                let decision = decide(&bundle, facts);
                let decision = serde_json::to_string(&decision).unwrap_or_default();
                say(&format!("{MARK}{decision}"));
            }
        }
    }
}

fn times(timings: &Timings, now_ns: &dyn Fn() -> u64) -> Result<Times, String> {
    let mut sets = Vec::new();
    for set in &timings.sets {
        let bundle = Bundle::load(&set.bundle).map_err(|cause| cause.to_string())?;
        let ours = Timed::new(|| {
            black_box(decide(black_box(&bundle), black_box(&set.facts)));
        });
        sets.push(in_turns(set, ours, timings.samples, now_ns)?);
    }
    let mut read = [Timed::new(|| {
        let read = read_request(Api::ChatCompletions, black_box(&timings.body));
        let _ = black_box(read);
    })];
    let read = timing::least(&mut read, timings.samples, now_ns);
    let read = read.first().copied().unwrap_or_default();
    Ok(Times { read, sets })
}

#[cfg(not(feature = "cel"))]
fn in_turns(
    set: &Set,
    ours: Timed<'_>,
    samples: u32,
    now_ns: &dyn Fn() -> u64,
) -> Result<SetTimes, String> {
    let least = timing::least(&mut [ours], samples, now_ns);
    Ok(SetTimes {
        name: set.name.clone(),
        decide: least.first().copied().unwrap_or_default(),
        cel: None,
    })
}

#[cfg(feature = "cel")]
fn in_turns(
    set: &Set,
    ours: Timed<'_>,
    samples: u32,
    now_ns: &dyn Fn() -> u64,
) -> Result<SetTimes, String> {
    use crate::in_cel::{Expressions, Regexes};

    let kept = Expressions::new(&set.expressions, &set.facts, Regexes::Kept)?;
    let stock = Expressions::new(&set.expressions, &set.facts, Regexes::Stock)?;
    let run = |expressions: &Expressions<'_>| {
        let _ = black_box(black_box(expressions).first_match());
    };
    let mut all = [ours, Timed::new(|| run(&kept)), Timed::new(|| run(&stock))];
    let least = timing::least(&mut all, samples, now_ns);
    let [decide, kept, stock] = least.as_slice() else {
        return Err("nothing was timed".to_owned());
    };
    Ok(SetTimes {
        name: set.name.clone(),
        decide: *decide,
        cel: Some(CelTimes {
            kept: *kept,
            stock: *stock,
        }),
    })
}
