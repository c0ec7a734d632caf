//! Emitters' sequences: every number once, each record naming the one before.

use super::lines::LineFacts;
use super::{EmitterName, Finding, Report, Sequences};
use crate::tree::Hash;
use std::collections::HashMap;
use std::ops::Range;

struct Numbered {
    seq: u64,
    line: u64,
    leaf: Hash,
    prev: Option<Hash>,
}

/// `gone` are numbers of records that are retained no more, in order.
pub(super) fn check(
    report: &mut Report,
    lines: &[LineFacts],
    gone: &HashMap<(String, String), Vec<Range<u64>>>,
) {
    let complete = report.whole_log;
    let mut emitters: HashMap<(&str, &str), Vec<Numbered>> = HashMap::new();
    let mut records = 0;
    let mut outside = 0;
    for (line, facts) in (0..).zip(lines) {
        let Some(place) = &facts.place else {
            outside += u64::from(facts.id.is_some());
            continue;
        };
        records += 1;
        let name = (&*place.emitter, &*place.epoch);
        emitters.entry(name).or_default().push(Numbered {
            seq: place.seq,
            line,
            leaf: facts.leaf,
            prev: place.prev,
        });
    }
    let mut names: Vec<_> = emitters.keys().copied().collect();
    names.sort_unstable();
    for name in names {
        if let Some(numbered) = emitters.get_mut(&name) {
            numbered.sort_unstable_by_key(|one| (one.seq, one.line));
            let emitter = EmitterName {
                id: name.0.to_owned(),
                epoch: name.1.to_owned(),
            };
            let key = (emitter.id.clone(), emitter.epoch.clone());
            let gone = gone.get(&key).map(Vec::as_slice).unwrap_or_default();
            check_one(&mut report.findings, &emitter, numbered, complete, gone);
        }
    }
    report.sequences = Sequences {
        emitters: emitters.len() as u64,
        records,
        complete,
        outside,
    };
}

fn check_one(
    findings: &mut Vec<Finding>,
    emitter: &EmitterName,
    numbered: &[Numbered],
    complete: bool,
    gone: &[Range<u64>],
) {
    let mut missing = |first_seq: u64, next: u64| {
        if !complete {
            return;
        }
        // What is left between those that went.
        let mut first_seq = first_seq;
        let last = std::iter::once(next..next);
        let from = gone.partition_point(|range| range.end <= first_seq);
        let inside = gone.iter().skip(from).cloned();
        for range in inside.take_while(|range| range.start < next).chain(last) {
            if range.start > first_seq {
                findings.push(Finding::Missing {
                    emitter: emitter.clone(),
                    first_seq,
                    last_seq: range.start - 1,
                });
            }
            first_seq = first_seq.max(range.end);
        }
    };
    if let Some(first) = numbered.first() {
        missing(0, first.seq);
    }
    for pair in numbered.windows(2) {
        if let [one, next] = pair {
            missing(one.seq.saturating_add(1), next.seq);
        }
    }
    // All records of one number, and those of the number before.
    let mut before: &[Numbered] = &[];
    for same in numbered.chunk_by(|one, next| one.seq == next.seq) {
        let [one, others @ ..] = same else { continue };
        for other in others.iter().filter(|other| other.leaf != one.leaf) {
            findings.push(Finding::TwoOfOneNumber {
                emitter: emitter.clone(),
                seq: one.seq,
                lines: (one.line, other.line),
            });
        }
        let follows = before.first().map(|b| b.seq.saturating_add(1)) == Some(one.seq);
        for record in same {
            let named = |b: &Numbered| record.prev == Some(b.leaf);
            let begins = record.seq == 0;
            let broken = match (begins, follows) {
                (true, _) => record.prev.is_some(),
                (false, true) => !before.iter().any(named),
                (false, false) => false,
            };
            if broken {
                findings.push(Finding::BrokenChain {
                    emitter: emitter.clone(),
                    seq: record.seq,
                    line: record.line,
                });
            }
        }
        before = same;
    }
}
