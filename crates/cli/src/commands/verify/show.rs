//! What `mercator verify` says.

use super::CheckedBundle;
use crate::output;
use jupiter_evidence::verify::{EmitterName, Finding, Report, Unknown};
use serde_json::{Value, json};

/// Findings listed in full; a file that has nothing to do with its proof has
/// as many as it has lines.
const LISTED: usize = 50;

/// Files of an archive that are named.
const ARCHIVES_LISTED: usize = 5;

pub fn text(report: &Report, bundles: &[CheckedBundle], lines: usize) -> String {
    let mut text = String::new();
    let mut part = |title: &str, items: Vec<String>| {
        if !items.is_empty() {
            text.push_str(&format!("{title}\n"));
            for item in items {
                text.push_str(&format!("  {item}\n"));
            }
        }
    };
    let findings = report.findings.iter().take(LISTED).map(finding);
    let mut findings: Vec<String> = findings.collect();
    if report.findings.len() > LISTED {
        findings.push(format!("and {} more", report.findings.len() - LISTED));
    }
    part("Not as it should be", findings);
    part("Proven", proven(report, bundles, lines));
    part("Cannot be told from these files", unknown(report, bundles));
    part("Not proven by any such file", limits(report, bundles));
    text.push_str(verdict(report, bundles));
    text.push('\n');
    text
}

fn verdict(report: &Report, bundles: &[CheckedBundle]) -> &'static str {
    let open = !report.unknown.is_empty() || bundles.iter().any(|bundle| bundle.records == 0);
    match (report.findings.is_empty(), open) {
        (false, _) => "NOT VERIFIED",
        (true, true) => "VERIFIED IN PART",
        (true, false) => "VERIFIED",
    }
}

fn counted(number: u64, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        number => format!("{number} {many}"),
    }
}

fn records(number: u64) -> String {
    counted(number, "record", "records")
}

fn proven(report: &Report, bundles: &[CheckedBundle], lines: usize) -> Vec<String> {
    let mut proven = Vec::new();
    let Some(checkpoint) = &report.checkpoint else {
        return proven;
    };
    let signers: Vec<String> = report
        .signers
        .iter()
        .map(|key| format!("{}+{:08x}", key.name(), key.id()))
        .collect();
    proven.push(format!(
        "the checkpoint of log `{}` over {} is signed by {}",
        output::plain(&checkpoint.origin),
        records(checkpoint.size),
        signers.join(" and ")
    ));
    if report.proven_lines > 0 {
        let whole = match report.whole_log && report.proven_lines == lines as u64 {
            true if report.retained_no_more.records > 0 => {
                ": the whole log, as far as it is retained"
            }
            true => ": the whole log",
            false => "",
        };
        proven.push(format!(
            "{} of {} lines are, byte for byte, under this checkpoint{whole}",
            report.proven_lines, lines,
        ));
    }
    let gone = &report.retained_no_more;
    if gone.records > 0 {
        let archives = gone.archives.iter().map(|name| output::plain(name));
        let mut archives: Vec<String> = archives.collect();
        let more = archives.len().saturating_sub(ARCHIVES_LISTED);
        archives.truncate(ARCHIVES_LISTED);
        if more > 0 {
            archives.push(format!("{more} more"));
        }
        proven.push(format!(
            "the payload of {} is retained no more, as the log's key says: archived in {}",
            records(gone.records),
            archives.join(", ")
        ));
    }
    let sequences = &report.sequences;
    let of_sequences = |finding: &Finding| {
        matches!(
            finding,
            Finding::Missing { .. } | Finding::TwoOfOneNumber { .. } | Finding::BrokenChain { .. }
        )
    };
    if sequences.records > 0 && !report.findings.iter().any(of_sequences) {
        let emitters = counted(sequences.emitters, "emitter", "emitters");
        proven.push(match sequences.complete {
            true => format!("{emitters} numbered their records without gap, fork or repetition"),
            false => format!("{emitters}: no fork or repetition among the records here"),
        });
    }
    for size in &report.consistent_with {
        proven.push(format!(
            "the log contains the trusted checkpoint over {}",
            records(*size)
        ));
    }
    for (key, time) in &report.cosigned_by {
        proven.push(format!(
            "{} vouches for this checkpoint, as of {}",
            output::plain(key.name()),
            time_of(*time)
        ));
    }
    for bundle in bundles.iter().filter(|bundle| bundle.records > 0) {
        proven.push(format!(
            "`{}` is the policy bundle that {} name",
            bundle.path.display(),
            records(bundle.records)
        ));
    }
    proven
}

/// The moment, from seconds since the Unix epoch.
fn time_of(seconds: u64) -> String {
    jupiter_evidence::rfc3339_micros(seconds.saturating_mul(1_000_000))
}

fn unknown(report: &Report, bundles: &[CheckedBundle]) -> Vec<String> {
    let mut unknown: Vec<String> = report.unknown.iter().map(one_unknown).collect();
    let strangers = bundles.iter().filter(|bundle| bundle.records == 0);
    unknown.extend(strangers.map(|bundle| {
        let (path, digest) = (bundle.path.display(), &bundle.digest);
        format!("what `{path}` is for: no record names {digest}")
    }));
    unknown
}

fn one_unknown(unknown: &Unknown) -> String {
    match unknown {
        Unknown::Consistency { trusted } => format!(
            "whether the log contains the trusted checkpoint over {}: \
             export again with `--checkpoint`",
            records(*trusted)
        ),
        Unknown::TrustedCheckpoint(error) => format!("a trusted checkpoint: {error}"),
        Unknown::OtherLog { trusted } => {
            let trusted = output::plain(trusted);
            format!("a trusted checkpoint is of another log, `{trusted}`")
        }
        Unknown::NotCosigned { cosigner } => format!(
            "whether {} saw this same log: it did not sign the checkpoint",
            output::plain(cosigner)
        ),
    }
}

fn limits(report: &Report, bundles: &[CheckedBundle]) -> Vec<String> {
    let mut limits = Vec::new();
    if report.checkpoint.is_none() {
        return limits;
    }
    if !report.sequences.complete && report.sequences.records > 0 {
        limits.push("that no record is missing: the whole log is not here".to_owned());
    }
    if report.sequences.outside > 0 {
        limits.push(format!(
            "how the exchanges of {} ended: the filter stopped before it knew",
            records(report.sequences.outside)
        ));
    }
    if report.consistent_with.is_empty() && report.cosigned_by.is_empty() {
        limits.push(
            "that everyone is shown this same log: compare with a checkpoint from elsewhere \
             (`--checkpoint`), or ask who vouches for it (`--cosigner`)"
                .to_owned(),
        );
    }
    let digests = report.policies.keys().filter(|digest| !digest.is_empty());
    let checked = |digest: &&String| !bundles.iter().any(|bundle| bundle.digest == **digest);
    let digests = digests.filter(checked).count() as u64;
    if digests > 0 {
        let digests = counted(digests, "policy bundle", "policy bundles");
        limits.push(format!(
            "what the {digests} said that records name (`--bundle`)"
        ));
    }
    limits.push("that what the filter wrote down is what happened".to_owned());
    limits
}

/// People count lines from 1, and so do editors.
fn line(number: u64) -> u64 {
    number + 1
}

fn id(id: &Option<uuid::Uuid>) -> String {
    match id {
        Some(id) => format!("record {id}"),
        None => "no record".to_owned(),
    }
}

fn emitter(emitter: &EmitterName) -> String {
    let epoch: String = emitter.epoch.chars().take(8).collect();
    output::plain(&format!("{} {epoch}", emitter.id))
}

fn finding(finding: &Finding) -> String {
    match finding {
        Finding::FalseCosignature { cosigner } => format!(
            "a line under the checkpoint in the name of {} is not its signature",
            output::plain(cosigner)
        ),
        Finding::Checkpoint(error) => format!("the checkpoint: {error}"),
        Finding::Retention(error) => {
            format!("a statement of what is retained no more: {error}")
        }
        Finding::ProofAltered => {
            "the hashes in the proof do not lead to the signed root: the proof was altered, \
             or is another log's"
                .to_owned()
        }
        Finding::Changed {
            line: at,
            index,
            id: record,
        } => format!(
            "line {} ({}) was changed: it is not what was logged as number {index}",
            line(*at),
            id(record)
        ),
        Finding::Inserted {
            line: at,
            id: record,
        } => {
            format!(
                "line {} ({}) was put in: it was not logged",
                line(*at),
                id(record)
            )
        }
        Finding::Repeated { line: at, index } => {
            format!("line {} repeats number {index} of the log", line(*at))
        }
        Finding::OutOfOrder { line: at, index } => format!(
            "line {} was moved: it is number {index} of the log",
            line(*at)
        ),
        Finding::Deleted { first, count: 1 } => {
            format!("number {first} of the log was left out")
        }
        Finding::Deleted { first, count } => {
            let last = first + count - 1;
            format!("numbers {first} to {last} of the log were left out")
        }
        Finding::RolledBack { trusted, shown } => format!(
            "the log has {} and had {trusted} before: it was set back, or is an older export",
            records(*shown)
        ),
        Finding::Forked { trusted } => format!(
            "the log and the trusted checkpoint over {} differ: there are two histories",
            records(*trusted)
        ),
        Finding::Missing {
            emitter: name,
            first_seq,
            last_seq,
        } => match first_seq == last_seq {
            true => format!("emitter {}: number {first_seq} is missing", emitter(name)),
            false => format!(
                "emitter {}: numbers {first_seq} to {last_seq} are missing",
                emitter(name)
            ),
        },
        Finding::TwoOfOneNumber {
            emitter: name,
            seq,
            lines: (one, other),
        } => format!(
            "emitter {}: lines {} and {} both are number {seq}",
            emitter(name),
            line(*one),
            line(*other)
        ),
        Finding::BrokenChain {
            emitter: name,
            seq,
            line: at,
        } => format!(
            "emitter {}: line {} (number {seq}) names another predecessor than the one here",
            emitter(name),
            line(*at)
        ),
    }
}

/// A stable word for each kind.
fn code(finding: &Finding) -> &'static str {
    match finding {
        Finding::FalseCosignature { .. } => "false_cosignature",
        Finding::Checkpoint(_) => "checkpoint",
        Finding::Retention(_) => "retention",
        Finding::ProofAltered => "proof_altered",
        Finding::Changed { .. } => "changed",
        Finding::Inserted { .. } => "inserted",
        Finding::Repeated { .. } => "repeated",
        Finding::OutOfOrder { .. } => "out_of_order",
        Finding::Deleted { .. } => "deleted",
        Finding::RolledBack { .. } => "rolled_back",
        Finding::Forked { .. } => "forked",
        Finding::Missing { .. } => "missing",
        Finding::TwoOfOneNumber { .. } => "two_of_one_number",
        Finding::BrokenChain { .. } => "broken_chain",
    }
}

pub fn json(report: &Report, bundles: &[CheckedBundle], lines: usize) -> Value {
    let findings = report.findings.iter();
    let findings: Vec<Value> = findings
        .map(|found| json!({"code": code(found), "detail": finding(found)}))
        .collect();
    let checkpoint = report.checkpoint.as_ref();
    let signers: Vec<String> = report.signers.iter().map(ToString::to_string).collect();
    json!({
        "verdict": match verdict(report, bundles) {
            "VERIFIED" => "verified",
            "VERIFIED IN PART" => "in_part",
            _ => "not_verified",
        },
        "lines": lines,
        "proven_lines": report.proven_lines,
        "whole_log": report.whole_log,
        "retained_no_more": report.retained_no_more.records,
        "archives": report.retained_no_more.archives,
        "origin": checkpoint.map(|c| &c.origin),
        "size": checkpoint.map(|c| c.size),
        "signers": signers,
        "consistent_with": report.consistent_with,
        "cosigned_by": report.cosigned_by.iter().map(|(key, time)| {
            json!({"key": key.to_string(), "time": time_of(*time)})
        }).collect::<Vec<Value>>(),
        "emitters": report.sequences.emitters,
        "policies": report.policies,
        "findings": findings,
        "unknown": unknown(report, bundles),
        "limits": limits(report, bundles),
    })
}
