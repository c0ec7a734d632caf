//! `mercator verify`, as auditors use it: files in, an answer and an exit code out.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers that fail, fail their test"
)]

use jupiter_evidence::LeafHash;
use jupiter_evidence::export::{ExportProof, PROOF_FORMAT, ranges_of};
use jupiter_evidence::tree::{
    Checkpoint, Edge, Hash, InclusionProof, NoteSigner, Tiles, gaps_between, inclusion_path,
};
use std::path::Path;
use std::process::Command;

const ORIGIN: &str = "mercator/test";

fn signer(seed: u8) -> NoteSigner {
    NoteSigner::new(ORIGIN, &[seed; 32]).unwrap()
}

/// A log in a folder: `log.pub`, and what is exported of it.
struct Log {
    folder: tempfile::TempDir,
    lines: Vec<String>,
    leaves: Vec<Hash>,
    tiles: Tiles,
}

impl Log {
    fn new(count: u64) -> Log {
        let folder = tempfile::tempdir().unwrap();
        let (mut lines, mut leaves): (Vec<String>, Vec<Hash>) = (Vec::new(), Vec::new());
        let mut edge = Edge::default();
        for seq in 0..count {
            let prev = leaves
                .last()
                .map_or(String::new(), |hash| LeafHash(*hash).to_string());
            let line = format!(
                r#"{{"emitter":{{"epoch":"{}","id":"jupiter-1","prev":"{prev}","seq":{seq}}},"id":"00000000-0000-7000-8000-{seq:012}","policy":{{"digest":"sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"}}}}"#,
                "0a".repeat(16)
            );
            let leaf = LeafHash::of(line.as_bytes()).0;
            edge.push(leaf);
            lines.push(line);
            leaves.push(leaf);
        }
        let tiles = edge.take_changed().into_iter().collect();
        let log = Log {
            folder,
            lines,
            leaves,
            tiles,
        };
        log.write("log.pub", &format!("{}\n", signer(1).verifier()));
        log
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.folder.path().join(name), content).unwrap();
    }

    fn checkpoint(&self, size: u64, seed: u8) -> String {
        let checkpoint = Checkpoint {
            origin: ORIGIN.to_owned(),
            size,
            root: self.tiles.subtree(0..size).unwrap(),
        };
        checkpoint.sign([&signer(seed)])
    }

    fn export(&self, indexes: &[u64]) {
        let size = self.lines.len() as u64;
        let shown: Vec<_> = indexes.iter().map(|at| *at..at + 1).collect();
        let proof = ExportProof {
            format: PROOF_FORMAT.to_owned(),
            checkpoint: self.checkpoint(size, 1),
            ranges: ranges_of(indexes),
            leaves: indexes.iter().map(|at| self.leaves[*at as usize]).collect(),
            between: self.tiles.subtrees(&gaps_between(&shown, size)).unwrap(),
            consistency: vec![],
            retentions: vec![],
        };
        let lines: Vec<&str> = indexes
            .iter()
            .map(|at| self.lines[*at as usize].as_str())
            .collect();
        self.write("records.jsonl", &(lines.join("\n") + "\n"));
        self.write(
            "records.jsonl.proof",
            &serde_json::to_string(&proof).unwrap(),
        );
    }

    fn verify(&self, arguments: &[&str]) -> (i32, String) {
        let mut all = vec!["verify"];
        all.extend(arguments);
        if !arguments.contains(&"--key") {
            all.extend(["--key", "log.pub"]);
        }
        run(self.folder.path(), &all)
    }
}

fn run(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mercator"));
    command.current_dir(folder).args(arguments);
    let output = command.env_remove("MERCATOR_DATA_DIR").output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(text).unwrap(),
    )
}

#[test]
fn whole_log_is_verified_and_the_answer_says_what_is_not_proven() {
    let log = Log::new(300);
    log.export(&(0..300).collect::<Vec<_>>());
    let (code, text) = log.verify(&["records.jsonl"]);
    assert_eq!(code, 0, "{text}");
    for told in [
        "is signed by mercator/test+",
        "300 of 300 lines are, byte for byte, under this checkpoint: the whole log",
        "1 emitter numbered their records without gap, fork or repetition",
        "that everyone is shown this same log",
        "that what the filter wrote down is what happened",
        "VERIFIED\n",
    ] {
        assert!(text.contains(told), "{told} in {text}");
    }
    // As is the instance's own key, where nobody gives one.
    std::fs::create_dir(log.folder.path().join("data")).unwrap();
    log.write("data/evidence.pub", &signer(1).verifier().to_string());
    let (code, text) = run(log.folder.path(), &["verify", "records.jsonl"]);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn one_changed_byte_is_no_and_names_the_record() {
    let log = Log::new(20);
    log.export(&(0..20).collect::<Vec<_>>());
    let text = log
        .lines
        .join("\n")
        .replacen("\"seq\":7}", "\"seq\":7 }", 1);
    log.write("records.jsonl", &text);
    let (code, text) = log.verify(&["records.jsonl"]);
    assert_eq!(code, 1, "{text}");
    let named = "line 8 (record 00000000-0000-7000-8000-000000000007) was changed";
    assert!(
        text.contains(named) && text.contains("NOT VERIFIED"),
        "{text}"
    );
    let (code, text) = log.verify(&["records.jsonl", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &json["verdict"]), (1, &"not_verified".into()));
    assert_eq!(json["findings"][0]["code"], "changed");
}

#[test]
fn what_cannot_be_told_is_neither_yes_nor_no() {
    let log = Log::new(20);
    log.export(&[3, 4]);
    log.write("old.checkpoint", &log.checkpoint(10, 1));
    let (code, text) = log.verify(&["records.jsonl", "--checkpoint", "old.checkpoint"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("export again with `--checkpoint`"), "{text}");
    assert!(text.contains("VERIFIED IN PART"), "{text}");
    for arguments in [
        &["nowhere.jsonl", "--proof", "records.jsonl.proof"][..],
        &["records.jsonl", "--proof", "nowhere"],
        &["records.jsonl", "--proof", "log.pub"],
        &["records.jsonl", "--key", "nowhere"],
        &["records.jsonl", "--key", "records.jsonl"],
    ] {
        let (code, text) = log.verify(arguments);
        assert_eq!(code, 2, "{arguments:?}: {text}");
        assert!(text.starts_with("error: "), "{text}");
    }
}

#[test]
fn trusted_checkpoints_tell_of_forks_and_of_older_copies() {
    let log = Log::new(20);
    log.export(&(0..20).collect::<Vec<_>>());
    log.write("good.checkpoint", &log.checkpoint(10, 1));
    let (code, text) = log.verify(&["records.jsonl", "--checkpoint", "good.checkpoint"]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("contains the trusted checkpoint over 10 records"),
        "{text}"
    );
    let longer = Log::new(30);
    log.write("later.checkpoint", &longer.checkpoint(30, 1));
    let (code, text) = log.verify(&["records.jsonl", "--checkpoint", "later.checkpoint"]);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("the log has 20 records and had 30 before"),
        "{text}"
    );
    log.write("stranger.checkpoint", &log.checkpoint(10, 2));
    let (code, text) = log.verify(&["records.jsonl", "--checkpoint", "stranger.checkpoint"]);
    assert_eq!(code, 2, "{text}");
    log.write("other.pub", &signer(2).verifier().to_string());
    let (code, text) = log.verify(&["records.jsonl", "--key", "other.pub"]);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("the checkpoint: not signed by a trusted key"),
        "{text}"
    );
}

#[test]
fn record_with_its_proof_file_is_verified_alone() {
    let log = Log::new(20);
    let proof = InclusionProof {
        index: 13,
        hashes: log.tiles.subtrees(&inclusion_path(13, 20)).unwrap(),
        checkpoint: log.checkpoint(20, 1),
    };
    log.write("one.json", &log.lines[13]);
    log.write("one.json.proof", &proof.to_string());
    let (code, text) = log.verify(&["one.json"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("1 of 1 lines are"), "{text}");
    log.write("one.json", &log.lines[12]);
    let (code, text) = log.verify(&["one.json"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("line 1 (record"), "{text}");
}

#[test]
fn bundle_is_the_one_that_records_name_or_a_stranger() {
    let log = Log::new(5);
    log.export(&[0, 1, 2, 3, 4]);
    // SHA-256 of these three bytes is what the records name.
    log.write("bundle", "foo");
    let (code, text) = log.verify(&["records.jsonl", "--bundle", "bundle"]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("`bundle` is the policy bundle that 5 records name"),
        "{text}"
    );
    log.write("bundle", "bar");
    let (code, text) = log.verify(&["records.jsonl", "--bundle", "bundle"]);
    assert_eq!(code, 2, "{text}");
}
