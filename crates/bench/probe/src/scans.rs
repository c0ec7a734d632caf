//! Times how fast texts are read: by all detectors, and by the matchers of a bundle.
//!
//! As the filter does it: each text once by the detectors, once by the conditions of the
//! rules, which search all their keywords and patterns together.

use crate::timing::{self, Timed};
use jupiter_detect::detectors::Detectors;
use jupiter_policy::facts::Facts;
use jupiter_policy::{Bundle, decide};
use serde::{Deserialize, Serialize};
use std::hint::black_box;

#[derive(Debug, Serialize, Deserialize)]
pub struct Scans {
    pub samples: u32,
    pub bundle: Vec<u8>,
    /// What is known besides the text.
    pub facts: Facts,
    pub texts: Vec<ScannedText>,
}

/// A text that is read as the content of one message.
#[derive(Debug, Serialize, Deserialize)]
pub struct ScannedText {
    pub name: String,
    /// Written so many times.
    pub unit: String,
    pub times: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScanTimes {
    /// The first scan of all, nanoseconds.
    pub first: f64,
    pub texts: Vec<TextTimes>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextTimes {
    pub name: String,
    pub bytes: usize,
    pub findings: usize,
    pub matched: usize,
    /// Nanoseconds.
    pub detectors: f64,
    /// Nanoseconds that deciding takes longer than without the text.
    pub matchers: f64,
}

pub(crate) fn times(scans: &Scans, now_ns: &dyn Fn() -> u64) -> Result<ScanTimes, String> {
    let bundle = Bundle::load(&scans.bundle).map_err(|cause| cause.to_string())?;
    let begun = now_ns();
    black_box(Detectors::all().scan(black_box(&b"The first text of all."[..])));
    let first = now_ns().saturating_sub(begun) as f64;
    let texts = scans
        .texts
        .iter()
        .map(|text| one(text, &bundle, scans, now_ns));
    Ok(ScanTimes {
        first,
        texts: texts.collect::<Result<_, _>>()?,
    })
}

fn one(
    text: &ScannedText,
    bundle: &Bundle,
    scans: &Scans,
    now_ns: &dyn Fn() -> u64,
) -> Result<TextTimes, String> {
    let content = text.unit.repeat(text.times);
    let bytes = content.len();
    let mut without = scans.facts.clone();
    without.request.other_texts.clear();
    without.request.messages.truncate(1);
    for message in &mut without.request.messages {
        message.content.clear();
    }
    let mut with = without.clone();
    for message in &mut with.request.messages {
        message.content.clone_from(&content);
    }
    let findings = Detectors::all().scan(content.as_bytes()).len();
    let matched = decide(bundle, &with).matched.len();
    let mut all = [
        Timed::new(|| {
            black_box(Detectors::all().scan(black_box(content.as_bytes())));
        }),
        Timed::new(|| {
            black_box(decide(bundle, black_box(&with)));
        }),
        Timed::new(|| {
            black_box(decide(bundle, black_box(&without)));
        }),
    ];
    let least = timing::least(&mut all, scans.samples, now_ns);
    let [detectors, with, without] = least.as_slice() else {
        return Err("nothing was timed".to_owned());
    };
    Ok(TextTimes {
        name: text.name.clone(),
        bytes,
        findings,
        matched,
        detectors: *detectors,
        matchers: (with - without).max(0.0),
    })
}
