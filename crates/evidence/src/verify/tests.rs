//! What an attacker could do to an export, and what is said of it.

use super::*;
use crate::chain::EmitterChain;
use crate::envelope::tests::sample;
use crate::export::{ConsistencyProof, ranges_of};
use crate::tree::{Edge, NoteError, NoteSigner, Tiles, consistency_path, gaps_between};

const ORIGIN: &str = "mercator/test";

fn signer(seed: u8) -> NoteSigner {
    NoteSigner::new(ORIGIN, &[seed; 32]).unwrap()
}

/// The records of one emitter.
fn records(epoch: u8, count: usize) -> Vec<String> {
    let mut chain = EmitterChain::start([epoch; 16]);
    let one = |n: usize| {
        let mut record = sample();
        record.id = uuid::Builder::from_unix_timestamp_millis(n as u64, &[epoch; 10]).into_uuid();
        record.duration_us = n as u64;
        String::from_utf8(chain.seal(&mut record).unwrap().canonical).unwrap()
    };
    (0..count).map(one).collect()
}

/// A log, and what it exports.
struct Log {
    records: Vec<String>,
    tiles: Tiles,
}

impl Log {
    fn new(records: Vec<String>) -> Log {
        let mut edge = Edge::default();
        for record in &records {
            edge.push(crate::LeafHash::of(record.as_bytes()).0);
        }
        let tiles = edge.take_changed().into_iter().collect();
        Log { records, tiles }
    }

    fn checkpoint(&self, size: usize, seed: u8) -> String {
        let checkpoint = Checkpoint {
            origin: ORIGIN.to_owned(),
            size: size as u64,
            root: self.tiles.subtree(0..size as u64).unwrap(),
        };
        checkpoint.sign([&signer(seed)])
    }

    fn export(&self, indexes: &[u64]) -> Export {
        self.export_at(indexes, self.records.len(), &[])
    }

    fn export_at(&self, indexes: &[u64], size: usize, earlier: &[u64]) -> Export {
        let shown: Vec<_> = indexes.iter().map(|index| *index..*index + 1).collect();
        let lines: Vec<String> = indexes
            .iter()
            .map(|index| self.records[*index as usize].clone())
            .collect();
        let consistency = earlier.iter().map(|earlier| ConsistencyProof {
            size: *earlier,
            hashes: self
                .tiles
                .subtrees(&consistency_path(*earlier, size as u64))
                .unwrap(),
        });
        let proof = ExportProof {
            format: PROOF_FORMAT.to_owned(),
            checkpoint: self.checkpoint(size, 1),
            ranges: ranges_of(indexes),
            leaves: lines
                .iter()
                .map(|l| crate::LeafHash::of(l.as_bytes()).0)
                .collect(),
            between: self
                .tiles
                .subtrees(&gaps_between(&shown, size as u64))
                .unwrap(),
            consistency: consistency.collect(),
            retentions: vec![],
        };
        Export { lines, proof }
    }
}

struct Export {
    lines: Vec<String>,
    proof: ExportProof,
}

impl Export {
    fn verify(&self) -> Report {
        self.verify_with(&[1], &[])
    }

    fn verify_with(&self, seeds: &[u8], trusted: &[String]) -> Report {
        let keys: Vec<_> = seeds.iter().map(|seed| signer(*seed).verifier()).collect();
        let lines = self
            .lines
            .iter()
            .map(|l| LineFacts::read(l.as_bytes(), &mut Names::default()));
        let lines: Vec<LineFacts> = lines.collect();
        verify(&lines, &self.proof, &keys, trusted)
    }

    fn line_id(&self, line: usize) -> Option<Uuid> {
        LineFacts::read(self.lines[line].as_bytes(), &mut Names::default()).id
    }
}

fn all(count: u64) -> Vec<u64> {
    (0..count).collect()
}

#[test]
fn untouched_export_is_proven_whole() {
    let mut both = records(1, 300);
    both.extend(records(2, 20));
    let export = Log::new(both).export(&all(320));
    let report = export.verify();
    assert_eq!((report.findings, report.unknown), (vec![], vec![]));
    assert_eq!(report.proven_lines, 320);
    assert!(report.whole_log);
    assert_eq!(report.checkpoint.unwrap().size, 320);
    let sequences = report.sequences;
    assert_eq!((sequences.emitters, sequences.records), (2, 320));
    assert_eq!(report.policies.values().sum::<u64>(), 320);
}

#[test]
fn some_records_are_proven_alone() {
    let log = Log::new(records(1, 300));
    let report = log.export(&[0, 5, 6, 7, 256, 299]).verify();
    assert_eq!((report.findings, report.unknown), (vec![], vec![]));
    assert_eq!(report.proven_lines, 6);
    // What lies between is not here, so nothing can be said of gaps.
    assert!(!report.whole_log && !report.sequences.complete);
}

#[test]
fn changed_record_is_named() {
    let mut export = Log::new(records(1, 40)).export(&all(40));
    let id = export.line_id(17);
    export.lines[17] = export.lines[17].replace("\"deny\"", "\"deny!\"");
    let report = export.verify();
    let changed = Finding::Changed {
        line: 17,
        index: 17,
        id,
    };
    assert_eq!(report.findings[0], changed);
    assert_eq!(report.proven_lines, 39);
    // Its successor names the record that was there.
    let broken = |f: &Finding| {
        matches!(
            f,
            Finding::BrokenChain {
                seq: 18,
                line: 18,
                ..
            }
        )
    };
    assert!(report.findings[1..].iter().all(broken), "{report:?}");
    export.lines[17] = "no record at all".to_owned();
    let changed = Finding::Changed {
        line: 17,
        index: 17,
        id: None,
    };
    assert_eq!(export.verify().findings[0], changed);
}

#[test]
fn deleted_inserted_and_repeated_lines_are_named() {
    let log = Log::new(records(1, 40));
    let mut export = log.export(&all(40));
    export.lines.drain(3..6);
    let findings = export.verify().findings;
    assert_eq!(findings[0], Finding::Deleted { first: 3, count: 3 });

    let mut export = log.export(&all(40));
    export.lines.truncate(35);
    let findings = export.verify().findings;
    assert_eq!(
        findings,
        [Finding::Deleted {
            first: 35,
            count: 5
        }]
    );

    let mut export = log.export(&all(40));
    export.lines.insert(9, records(7, 1).remove(0));
    let id = export.line_id(9);
    assert_eq!(
        export.verify().findings,
        [Finding::Inserted { line: 9, id }]
    );

    let mut export = log.export(&all(40));
    export.lines.insert(30, export.lines[4].clone());
    let repeated = Finding::Repeated { line: 30, index: 4 };
    assert_eq!(export.verify().findings, [repeated]);
}

#[test]
fn moved_line_is_named_and_its_neighbours_are_not() {
    let log = Log::new(records(1, 40));
    for (from, to) in [(39, 0), (0, 39), (10, 20), (20, 10), (5, 6)] {
        let mut export = log.export(&all(40));
        let line = export.lines.remove(from);
        export.lines.insert(to, line);
        let findings = export.verify().findings;
        let [Finding::OutOfOrder { line, index }] = findings[..] else {
            panic!("{findings:?}");
        };
        // Of two neighbours that changed places either one may have moved.
        let moved = (to as u64, from as u64);
        assert!(
            (line, index) == moved || from.abs_diff(to) == 1,
            "{findings:?}"
        );
    }
}

#[test]
fn several_changes_at_once_are_all_named() {
    let mut export = Log::new(records(1, 40)).export(&all(40));
    export.lines[30] = "{}".to_owned();
    export.lines.remove(20);
    export.lines.insert(10, "[]".to_owned());
    let findings = export.verify().findings;
    assert!(findings.contains(&Finding::Inserted { line: 10, id: None }));
    assert!(findings.contains(&Finding::Deleted {
        first: 20,
        count: 1
    }));
    let changed = Finding::Changed {
        line: 30,
        index: 30,
        id: None,
    };
    assert!(findings.contains(&changed), "{findings:?}");
}

#[test]
fn record_altered_together_with_its_proof_does_not_lead_to_the_root() {
    let mut export = Log::new(records(1, 40)).export(&all(40));
    export.lines[17] = export.lines[17].replace("\"deny\"", "\"deny!\"");
    export.proof.leaves[17] = crate::LeafHash::of(export.lines[17].as_bytes()).0;
    let report = export.verify();
    assert_eq!(report.findings[0], Finding::ProofAltered);
    assert_eq!(report.proven_lines, 0);
    // Still, its successor tells which one it is.
    let broken = |f: &Finding| matches!(f, Finding::BrokenChain { seq: 18, .. });
    assert!(report.findings.iter().any(broken), "{report:?}");
}

#[test]
fn altered_proof_is_refused() {
    let log = Log::new(records(1, 40));
    let spoil: [fn(&mut ExportProof); 6] = [
        |proof| proof.leaves[3][0] ^= 1,
        |proof| proof.between[0][0] ^= 1,
        |proof| proof.leaves.truncate(19),
        |proof| proof.ranges[0].0 += 1,
        |proof| proof.ranges.clear(),
        |proof| proof.format.push('2'),
    ];
    for spoil in spoil {
        let mut export = log.export(&all(20));
        spoil(&mut export.proof);
        let report = export.verify();
        assert!(
            report.findings.contains(&Finding::ProofAltered),
            "{report:?}"
        );
        assert_eq!(report.proven_lines, 0);
    }
}

#[test]
fn checkpoint_of_another_key_is_refused() {
    let log = Log::new(records(1, 40));
    let mut export = log.export(&all(40));
    export.proof.checkpoint = log.checkpoint(40, 2);
    let refused = Finding::Checkpoint(NoteError::UnknownSigner.into());
    assert_eq!(export.verify().findings, [refused]);
    // With both keys trusted, as after a rotation, it is good.
    assert_eq!(export.verify_with(&[1, 2], &[]).findings, []);
    export.proof.checkpoint = log.checkpoint(40, 1).replace("\n40\n", "\n41\n");
    let refused = Finding::Checkpoint(NoteError::BadSignature.into());
    assert_eq!(export.verify().findings, [refused]);
}

#[test]
fn log_set_back_to_an_older_copy_is_named() {
    let log = Log::new(records(1, 40));
    let older = log.export_at(&all(30), 30, &[]);
    assert_eq!(older.verify().findings, []);
    let report = older.verify_with(&[1], &[log.checkpoint(40, 1)]);
    let rolled_back = Finding::RolledBack {
        trusted: 40,
        shown: 30,
    };
    assert_eq!(report.findings, [rolled_back]);
}

#[test]
fn fork_is_named() {
    let log = Log::new(records(1, 40));
    let mut other = records(1, 40);
    other[10] = records(3, 1).remove(0);
    let fork = Log::new(other);
    for (trusted, forked) in [(5, false), (20, true), (40, true)] {
        let report = log
            .export(&all(40))
            .verify_with(&[1], &[fork.checkpoint(trusted, 1)]);
        match forked {
            true => {
                let trusted = trusted as u64;
                assert_eq!(report.findings, [Finding::Forked { trusted }]);
            }
            false => assert_eq!(report.consistent_with, [5]),
        }
    }
}

#[test]
fn part_of_a_log_shows_consistency_where_the_proof_has_it() {
    let log = Log::new(records(1, 40));
    let export = log.export_at(&[7, 8], 40, &[20]);
    let report = export.verify_with(&[1], &[log.checkpoint(20, 1), log.checkpoint(21, 1)]);
    assert_eq!(report.findings, []);
    assert_eq!(report.consistent_with, [20]);
    assert_eq!(report.unknown, [Unknown::Consistency { trusted: 21 }]);
    let other = log.checkpoint(20, 1).replace(ORIGIN, "mercator/other");
    let report = export.verify_with(&[1], &[other, log.checkpoint(20, 2)]);
    assert_eq!(report.unknown.len(), 2, "{report:?}");
}

#[test]
fn what_an_emitter_numbered_and_nobody_logged_is_named() {
    let mut some = records(1, 40);
    some.drain(10..12);
    some.remove(0);
    let log = Log::new(some);
    let findings = log.export(&all(37)).verify().findings;
    let missing: Vec<(u64, u64)> = findings
        .iter()
        .filter_map(|finding| match finding {
            Finding::Missing {
                first_seq,
                last_seq,
                ..
            } => Some((*first_seq, *last_seq)),
            _ => None,
        })
        .collect();
    assert_eq!((missing.len(), findings.len()), (2, 2));
    assert_eq!(missing, [(0, 0), (10, 11)]);
}

#[test]
fn emitter_that_tells_two_stories_is_named() {
    let mut story = records(1, 5);
    let other = story[2].replace("\"duration_us\":2", "\"duration_us\":3");
    story.push(other);
    let findings = Log::new(story).export(&all(6)).verify().findings;
    let [
        Finding::TwoOfOneNumber {
            seq: 2,
            lines: (2, 5),
            ..
        },
    ] = findings[..]
    else {
        panic!("{findings:?}");
    };
}

#[test]
fn any_bytes_are_read_without_a_panic() {
    use proptest::prelude::*;
    proptest!(|(bytes: Vec<u8>)| { LineFacts::read(&bytes, &mut Names::default()); });
    proptest!(|(order in prop::collection::vec(0_u8..12, 0..14))| {
        let log = Log::new(records(1, 10));
        let mut export = log.export(&all(10));
        let line = |n: &u8| log.records.get(usize::from(*n)).cloned().unwrap_or_default();
        export.lines = order.iter().map(line).collect();
        let report = export.verify();
        prop_assert_eq!(report.findings.is_empty(), export.lines == log.records);
    });
}

/// A statement that these records of the log are retained no more.
fn retention(log: &Log, indexes: &[u64], numbers: (u64, u64), seed: u8) -> String {
    let leaf = |index: &u64| {
        let record = log.records[*index as usize].as_bytes();
        (*index, crate::LeafHash::of(record).0)
    };
    let leaves: Vec<_> = indexes.iter().map(leaf).collect();
    let emitter = crate::EvidenceRecord::clone(&serde_json::from_str(&log.records[0]).unwrap());
    let retention = crate::retention::Retention {
        archive: "evidence.jsonl".to_owned(),
        archive_sha256: "ab".repeat(32),
        at: "2026-11-27T06:00:00.000000Z".to_owned(),
        leaves: crate::retention::leaves_gone(&leaves),
        origin: ORIGIN.to_owned(),
        sequences: vec![crate::retention::NumbersGone {
            emitter: emitter.emitter.id,
            epoch: emitter.emitter.epoch,
            ranges: vec![numbers],
        }],
    };
    retention.sign([&signer(seed)]).unwrap()
}

fn told(export: &Export) -> Report {
    let mut names = Names::default();
    let lines = export.lines.iter();
    let lines: Vec<_> = lines
        .map(|line| LineFacts::read(line.as_bytes(), &mut names))
        .collect();
    verify(&lines, &export.proof, &[signer(1).verifier()], &[])
}

#[test]
fn what_is_retained_no_more_is_neither_missing_nor_broken() {
    let log = Log::new(records(1, 12));
    let left: Vec<u64> = [0, 1].into_iter().chain(6..12).collect();
    let mut export = log.export(&left);
    assert!(!told(&export).whole_log, "nothing says where they are");
    let went: Vec<u64> = (2..6).collect();
    export.proof.retentions = vec![retention(&log, &went, (2, 4), 1)];
    let report = told(&export);
    assert_eq!((report.findings, report.unknown), (vec![], vec![]));
    assert!(report.whole_log && report.sequences.complete);
    assert_eq!(report.retained_no_more.records, 4);
    assert_eq!(report.retained_no_more.archives, ["evidence.jsonl"]);
}

#[test]
fn deletion_is_no_retention_unless_the_logs_key_says_so() {
    let log = Log::new(records(1, 12));
    let left: Vec<u64> = [0, 1].into_iter().chain(6..12).collect();
    let went: Vec<u64> = (2..6).collect();
    let mut export = log.export(&left);
    export.proof.retentions = vec![retention(&log, &went, (2, 4), 2)];
    let report = told(&export);
    let stranger = RetentionError::Note(NoteError::UnknownSigner);
    assert_eq!(report.findings, [Finding::Retention(stranger)]);
    assert!(!report.whole_log && report.retained_no_more.records == 0);

    // A statement about some covers no others.
    export.proof.retentions = vec![retention(&log, &went[..3], (2, 3), 1)];
    assert!(!told(&export).whole_log);
    let mut export = log.export(&(0..12).collect::<Vec<_>>());
    export.proof.retentions = vec![retention(&log, &went, (2, 4), 1)];
    export.lines.remove(8);
    let left_out = [Finding::Deleted { first: 8, count: 1 }];
    assert_eq!(told(&export).findings, left_out);
    // Numbers that went are told from numbers that were never there.
    let mut gap = records(1, 12);
    gap.remove(8);
    let log = Log::new(gap);
    let left: Vec<u64> = [0, 1].into_iter().chain(6..11).collect();
    let mut export = log.export(&left);
    export.proof.retentions = vec![retention(&log, &went, (2, 4), 1)];
    assert!(matches!(
        told(&export).findings[..],
        [Finding::Missing {
            first_seq: 8,
            last_seq: 8,
            ..
        }]
    ));
}
