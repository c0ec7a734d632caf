//! Verifies exported records offline: with their bytes, the proof beside them
//! and the keys that are trusted, nothing else.
//!
//! Every line becomes a [`LineFacts`] (in any order, on any number of threads),
//! then [`verify`] compares them all with what the log's key signed. What does
//! not fit becomes a [`Finding`] that names the line; what could not be told
//! becomes an [`Unknown`]. Nothing is concluded from what a record or a proof
//! says of itself.

mod lines;
mod sequences;

pub use lines::{LineFacts, Names};

use crate::export::{ExportProof, PROOF_FORMAT};
use crate::retention::{Retention, RetentionError};
use crate::tree::{
    Checkpoint, CheckpointError, CosignerKey, Hash, Note, NoteVerifier, empty_root,
    proves_consistency, root_of_cover,
};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use uuid::Uuid;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The checkpoint is not one that a trusted key signed.
    Checkpoint(CheckpointError),
    /// A statement of what is retained no more is not one that the log's key signed.
    Retention(RetentionError),
    /// Hashes in the proof do not lead to the signed root.
    ProofAltered,
    /// A line's bytes are not those of the record at this place of the log.
    Changed {
        line: u64,
        index: u64,
        id: Option<Uuid>,
    },
    /// A line that is nowhere in the proven part of the log.
    Inserted { line: u64, id: Option<Uuid> },
    /// A record that is here more than once.
    Repeated { line: u64, index: u64 },
    /// A record that is not at its place among the others.
    OutOfOrder { line: u64, index: u64 },
    /// Records of the log that no line has.
    Deleted { first: u64, count: u64 },
    /// The log is smaller than one that was signed before: it was set back.
    RolledBack { trusted: u64, shown: u64 },
    /// The log and a trusted checkpoint have different records at the same places.
    Forked { trusted: u64 },
    /// Numbers that an emitter gave and no record of the log has.
    Missing {
        emitter: EmitterName,
        first_seq: u64,
        last_seq: u64,
    },
    /// A line under the checkpoint in the name of this cosigner is not its signature.
    FalseCosignature { cosigner: String },
    /// Two records with one number of one emitter.
    TwoOfOneNumber {
        emitter: EmitterName,
        seq: u64,
        lines: (u64, u64),
    },
    /// A record that does not name its predecessor.
    BrokenChain {
        emitter: EmitterName,
        seq: u64,
        line: u64,
    },
}

/// A filter VM.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EmitterName {
    pub id: String,
    pub epoch: String,
}

/// Something that cannot be told from what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unknown {
    /// Whether the log contains that of a trusted checkpoint.
    Consistency { trusted: u64 },
    /// The trusted checkpoint is not signed by a trusted key.
    TrustedCheckpoint(CheckpointError),
    /// The trusted checkpoint is of another log.
    OtherLog { trusted: String },
    /// This cosigner did not vouch for the checkpoint.
    NotCosigned { cosigner: String },
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub findings: Vec<Finding>,
    pub unknown: Vec<Unknown>,
    /// The checkpoint, once its signature holds, and the keys that made it.
    pub checkpoint: Option<Checkpoint>,
    pub signers: Vec<NoteVerifier>,
    /// Lines that are, byte for byte, records under the checkpoint.
    pub proven_lines: u64,
    /// All records of the log are here, from its first to its last, but those that are
    /// retained no more.
    pub whole_log: bool,
    pub retained_no_more: RetainedNoMore,
    /// Trusted checkpoints that the log contains.
    pub consistent_with: Vec<u64>,
    /// Trusted cosigners that vouch for the checkpoint, and when they did so, in
    /// seconds since the Unix epoch.
    pub cosigned_by: Vec<(CosignerKey, u64)>,
    pub sequences: Sequences,
    /// How many records name each policy bundle; the empty name: none.
    pub policies: BTreeMap<String, u64>,
}

/// Records that the log's key says were let go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetainedNoMore {
    /// Of those under the checkpoint that no line is.
    pub records: u64,
    /// The files that have them.
    pub archives: Vec<String>,
}

/// What was seen of emitters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sequences {
    pub emitters: u64,
    pub records: u64,
    /// Whether gaps could be told: only where the whole log is here.
    pub complete: bool,
    /// Records without a place in a sequence: how their exchange ended is not known.
    pub outside: u64,
}

/// Compares lines with what was signed. `trusted` are checkpoints known from
/// elsewhere, as notes.
pub fn verify(
    lines: &[LineFacts],
    proof: &ExportProof,
    keys: &[NoteVerifier],
    trusted: &[String],
) -> Report {
    let mut report = Report::default();
    let Some(shown) = proof.shown().filter(|_| proof.format == PROOF_FORMAT) else {
        report.findings.push(Finding::ProofAltered);
        return report;
    };
    check_root(&mut report, &shown, proof, keys);
    let matched = lines::compare(&mut report, lines, &shown, &proof.leaves);
    if report.checkpoint.is_some() {
        report.proven_lines = matched;
    }
    let size = report.checkpoint.as_ref().map(|checkpoint| checkpoint.size);
    let all_here = matched == proof.leaves.len() as u64;
    let gone = Gone::of(&mut report, proof, keys);
    let places = gone.with(&shown);
    report.whole_log = all_here && size.is_some_and(|size| covers(&places, size));
    if let Some(size) = size {
        report.retained_no_more.records = gone.unseen(&shown, size);
    }
    for note in trusted {
        check_trusted(&mut report, note, &shown, proof, keys);
    }
    sequences::check(&mut report, lines, &gone.numbers);
    for line in lines {
        let digest = line.policy.as_deref().unwrap_or_default();
        match report.policies.get_mut(digest) {
            Some(records) => *records += 1,
            None => drop(report.policies.insert(digest.to_owned(), 1)),
        }
    }
    report
}

/// Whether these cosigners, who are trusted, vouch for the checkpoint of `note`.
pub fn check_cosigners(report: &mut Report, note: &str, cosigners: &[CosignerKey]) {
    let (Some(_), Ok(note)) = (&report.checkpoint, Note::parse(note)) else {
        return;
    };
    for key in cosigners {
        let cosigner = key.name().to_owned();
        match key.vouched_at(&note) {
            Ok(Some(time)) => report.cosigned_by.push((key.clone(), time)),
            Ok(None) => report.unknown.push(Unknown::NotCosigned { cosigner }),
            Err(_) => report.findings.push(Finding::FalseCosignature { cosigner }),
        }
    }
}

/// What is retained no more.
#[derive(Default)]
struct Gone {
    leaves: Vec<Range<u64>>,
    /// Of each emitter and epoch.
    numbers: HashMap<(String, String), Vec<Range<u64>>>,
}

impl Gone {
    /// What the statements say that the log's key signed.
    fn of(report: &mut Report, proof: &ExportProof, keys: &[NoteVerifier]) -> Gone {
        let mut gone = Gone::default();
        let Some(origin) = report.checkpoint.as_ref().map(|c| c.origin.clone()) else {
            return gone;
        };
        for note in &proof.retentions {
            let opened = match Retention::open(note, keys) {
                Ok(retention) if retention.origin == origin => Ok(retention),
                Ok(_) => Err(RetentionError::OtherLog),
                Err(error) => Err(error),
            };
            match opened {
                Ok(retention) => gone.add(report, retention),
                Err(error) => report.findings.push(Finding::Retention(error)),
            }
        }
        gone.leaves = union(gone.leaves);
        for numbers in gone.numbers.values_mut() {
            *numbers = union(std::mem::take(numbers));
        }
        gone
    }

    fn add(&mut self, report: &mut Report, retention: Retention) {
        report.retained_no_more.archives.push(retention.archive);
        let leaves = retention.leaves.iter();
        self.leaves
            .extend(leaves.map(|gone| gone.first..gone.first.saturating_add(gone.count)));
        for of in retention.sequences {
            let ranges = of.ranges.iter();
            let numbers = ranges.map(|(first, count)| *first..first.saturating_add(*count));
            let known = self.numbers.entry((of.emitter, of.epoch)).or_default();
            known.extend(numbers);
        }
    }

    /// These places and those of what is gone.
    fn with(&self, shown: &[Range<u64>]) -> Vec<Range<u64>> {
        union(self.leaves.iter().chain(shown).cloned().collect())
    }

    /// How many of the first `size` leaves are gone and not shown.
    fn unseen(&self, shown: &[Range<u64>], size: u64) -> u64 {
        let count = |ranges: &[Range<u64>]| -> u64 {
            let ends = ranges.iter().map(|r| (r.start.min(size), r.end.min(size)));
            ends.map(|(start, end)| end - start).sum()
        };
        count(&self.with(shown)) - count(&union(shown.to_vec()))
    }
}

/// The same numbers in order, none twice.
fn union(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut union: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match union.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => union.push(range),
        }
    }
    union
}

fn covers(shown: &[Range<u64>], size: u64) -> bool {
    let mut end = 0;
    for range in shown {
        if range.start != end {
            return false;
        }
        end = range.end;
    }
    end >= size
}

/// Whether the hashes in the proof are those that were signed.
fn check_root(
    report: &mut Report,
    shown: &[Range<u64>],
    proof: &ExportProof,
    keys: &[NoteVerifier],
) {
    let (checkpoint, signers) = match Checkpoint::open(&proof.checkpoint, keys) {
        Ok(opened) => opened,
        Err(error) => {
            report.findings.push(Finding::Checkpoint(error));
            return;
        }
    };
    let leaves = proof.leaves.iter().copied();
    let between = proof.between.iter().copied();
    let root = root_of_cover(checkpoint.size, shown, leaves, between);
    if root != Some(checkpoint.root) {
        report.findings.push(Finding::ProofAltered);
        return;
    }
    report.signers = signers.into_iter().cloned().collect();
    report.checkpoint = Some(checkpoint);
}

fn check_trusted(
    report: &mut Report,
    note: &str,
    shown: &[Range<u64>],
    proof: &ExportProof,
    keys: &[NoteVerifier],
) {
    let Some(checkpoint) = &report.checkpoint else {
        return;
    };
    let trusted = match Checkpoint::open(note, keys) {
        Ok((trusted, _)) => trusted,
        Err(error) => {
            report.unknown.push(Unknown::TrustedCheckpoint(error));
            return;
        }
    };
    if trusted.origin != checkpoint.origin {
        let trusted = trusted.origin;
        report.unknown.push(Unknown::OtherLog { trusted });
        return;
    }
    let size = trusted.size;
    if size > checkpoint.size {
        let (trusted, shown) = (size, checkpoint.size);
        report.findings.push(Finding::RolledBack { trusted, shown });
        return;
    }
    match contains(&trusted, checkpoint, shown, proof) {
        Some(true) => report.consistent_with.push(size),
        Some(false) => report.findings.push(Finding::Forked { trusted: size }),
        None => report.unknown.push(Unknown::Consistency { trusted: size }),
    }
}

/// Whether the log begins with that of an earlier checkpoint; `None` where
/// nothing shows it.
fn contains(
    earlier: &Checkpoint,
    checkpoint: &Checkpoint,
    shown: &[Range<u64>],
    proof: &ExportProof,
) -> Option<bool> {
    if earlier.size == checkpoint.size {
        return Some(earlier.root == checkpoint.root);
    }
    if covers(shown, earlier.size) {
        let leaves = proof.leaves.iter().copied();
        let leaves = leaves.take(usize::try_from(earlier.size).ok()?);
        let all = 0..earlier.size;
        let root = match earlier.size {
            0 => Some(empty_root()),
            size => root_of_cover(size, std::slice::from_ref(&all), leaves, []),
        };
        return Some(root == Some(earlier.root));
    }
    let mut proofs = proof.consistency.iter();
    let hashes: &[Hash] = &proofs.find(|proof| proof.size == earlier.size)?.hashes;
    let old = (earlier.size, &earlier.root);
    // A proof that does not hold shows a fork as little as none does.
    proves_consistency(old, (checkpoint.size, &checkpoint.root), hashes).then_some(true)
}

#[cfg(test)]
mod tests;
