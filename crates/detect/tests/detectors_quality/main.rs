//! How well the detectors find what they are for, on labelled texts made from a seed.
//!
//! Half of the forms and sentences were kept apart from those the detectors were tuned on,
//! until their misses were read; [`fresh`] has those that were written after that.
//! `docs/reference/detectors.md` has the numbers; `just bless`
//! (`MERCATOR_BLESS=1`) rewrites them for review, and the floors below may not be undercut.
#![expect(
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::expect_used,
    reason = "test helpers fail by panicking"
)]

mod fresh;
mod phrases;
mod sentences;
mod values;

use jupiter_detect::detectors::{Class, Detectors, Finding, Kind};
use sentences::{Sample, samples};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

#[derive(Default)]
struct Score {
    expected: usize,
    found: usize,
    exact: usize,
    wrong: usize,
    misses: Vec<String>,
    mistakes: Vec<String>,
}

impl Score {
    fn precision(&self) -> f64 {
        percent(self.found, self.found + self.wrong)
    }

    fn recall(&self) -> f64 {
        percent(self.found, self.expected)
    }
}

fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        100.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

/// A secret counts as found when it is found as any secret: its kinds say how it was noticed.
fn counts_for(found: Kind, expected: Kind) -> bool {
    match expected.class() {
        Class::Secret => found.class() == Class::Secret,
        Class::Injection => found.class() == Class::Injection,
        Class::Pii => found == expected,
    }
}

fn score(samples: &[Sample]) -> BTreeMap<Kind, Score> {
    let mut scores: BTreeMap<Kind, Score> = BTreeMap::new();
    for sample in samples {
        let found = Detectors::all().scan(sample.text.as_bytes());
        let covers = |finding: &Finding, start: usize, end: usize| {
            let common = finding
                .end
                .min(end)
                .saturating_sub(finding.start.max(start));
            // Of a phrase any part says what it is.
            common * 10 >= (end - start) * 9
                || (finding.kind.class() == Class::Injection && common > 0)
        };
        let mut used = vec![false; found.len()];
        for (kind, range) in &sample.labels {
            let score = scores.entry(*kind).or_default();
            score.expected += 1;
            let hit = found.iter().position(|finding| {
                counts_for(finding.kind, *kind) && covers(finding, range.start, range.end)
            });
            match hit {
                Some(nth) => {
                    used[nth] = true;
                    score.found += 1;
                    score.exact +=
                        usize::from(found[nth].start == range.start && found[nth].end == range.end);
                }
                None => score.misses.push(sample.text.clone()),
            }
        }
        for (finding, used) in found.iter().zip(used) {
            // A second finding within the same label is no mistake.
            let within = sample.labels.iter().any(|(kind, range)| {
                counts_for(finding.kind, *kind)
                    && finding.start < range.end
                    && finding.end > range.start
            });
            if !used && !within {
                let score = scores.entry(finding.kind).or_default();
                score.wrong += 1;
                score.mistakes.push(format!(
                    "`{}` in `{}`",
                    &sample.text.get(finding.start..finding.end).unwrap_or(""),
                    sample.text
                ));
            }
        }
    }
    scores
}

fn table(out: &mut String, scores: &BTreeMap<Kind, Score>) {
    let _ = writeln!(
        out,
        "| kind | labelled | recall % | precision % | exact span % |\n| --- | --- | --- | --- | --- |"
    );
    for (kind, score) in scores {
        let _ = writeln!(
            out,
            "| `{kind}` | {} | {:.1} | {:.1} | {:.1} |",
            score.expected,
            score.recall(),
            score.precision(),
            percent(score.exact, score.found),
        );
    }
}

/// Some of what was missed or mistaken, one of each text.
fn examples(out: &mut String, scores: &BTreeMap<Kind, Score>) {
    for (kind, score) in scores {
        for (title, lines) in [("missed", &score.misses), ("mistaken", &score.mistakes)] {
            let mut lines: Vec<&String> = lines.iter().collect();
            lines.sort_by_key(|line| (line.len(), line.as_str()));
            lines.dedup();
            for line in lines.iter().take(4) {
                let line: String = line.chars().take(160).collect();
                let _ = writeln!(out, "- {title}, `{kind}`: {}", line.replace('\n', " "));
            }
        }
    }
}

const BEGIN: &str = "<!-- measured: begin -->\n";
const END: &str = "<!-- measured: end -->\n";

fn measured() -> String {
    let mut out = String::new();
    for (samples, title) in [
        (samples(false), "Forms and sentences known while tuning"),
        (samples(true), "Kept apart at first"),
        (
            fresh::samples(),
            "Written after the detectors, measured once",
        ),
    ] {
        let scores = score(&samples);
        let _ = writeln!(out, "\n### {title}\n");
        table(&mut out, &scores);
        let _ = writeln!(
            out,
            "\nNot all is found, and not all that is found is right:\n"
        );
        examples(&mut out, &scores);
    }
    let (benign, wrong) = phrases::benign();
    let _ = writeln!(
        out,
        "\n### Ordinary requests that speak of instructions, prompts and roles\n\n{} of {} taken for prompt injection or a jailbreak ({:.3} %).\n",
        wrong.len(),
        benign,
        percent(wrong.len(), benign)
    );
    for line in wrong.iter().take(10) {
        let _ = writeln!(out, "- {line}");
    }
    out
}

#[test]
fn the_documented_numbers_are_the_measured_ones() {
    let path = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/reference/detectors.md"
    ));
    let text = std::fs::read_to_string(&path).expect("the document is there");
    let (head, rest) = text.split_once(BEGIN).expect("where the numbers begin");
    let (documented, tail) = rest.split_once(END).expect("where the numbers end");
    let measured = measured();
    if std::env::var_os("MERCATOR_BLESS").is_some() {
        std::fs::write(&path, format!("{head}{BEGIN}{measured}{END}{tail}")).expect("written");
        return;
    }
    assert!(
        documented == measured,
        "run `just bless`, and look at what changed:\n{measured}"
    );
}

#[test]
fn the_floors_hold_on_what_was_kept_apart() {
    let scores = score(&samples(true));
    for (kind, recall, precision) in [
        (Kind::Email, 98.0, 98.0),
        (Kind::Phone, 90.0, 97.0),
        (Kind::CreditCard, 97.0, 97.0),
        (Kind::Iban, 98.0, 98.0),
        (Kind::Ssn, 98.0, 97.0),
        (Kind::IpAddress, 97.0, 95.0),
        (Kind::Passport, 85.0, 95.0),
        (Kind::ApiKey, 95.0, 97.0),
        (Kind::PrivateKey, 99.0, 99.0),
        (Kind::Jwt, 99.0, 99.0),
        (Kind::Password, 95.0, 95.0),
        (Kind::HighEntropySecret, 93.0, 95.0),
    ] {
        let score = scores.get(&kind).expect("every kind has labels");
        assert!(
            score.recall() >= recall,
            "{kind}: recall {:.1} %",
            score.recall()
        );
        assert!(
            score.precision() >= precision,
            "{kind}: precision {:.1} %",
            score.precision()
        );
    }
    let (benign, wrong) = phrases::benign();
    assert!(
        wrong.len() * 1000 <= benign,
        "{} of {benign} benign texts: {wrong:?}",
        wrong.len()
    );
}
