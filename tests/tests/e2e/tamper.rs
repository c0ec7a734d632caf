//! What was logged can be proven offline, and whatever is done to it shows.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use jupiter_evidence::tree::{Checkpoint, NoteSigner};
use jupiter_testkit::{Instance, target_dir, wait};
use serde_json::Value;

use crate::support::{GUARD, alter, ask, guarded, question, record_of, wait_for_totals};

/// The instance stopped: verification has only files.
struct Exported {
    folder: tempfile::TempDir,
    ids: Vec<String>,
}

pub(crate) fn mercator(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(target_dir().join("debug/mercator"));
    command.current_dir(folder).args(arguments);
    command.output().expect("mercator runs")
}

pub(crate) fn told(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

async fn text_at(instance: &Instance, path: &str) -> String {
    let reply = instance.admin().get(path).await;
    String::from_utf8_lossy(&reply.body).into_owned()
}

pub(crate) async fn wait_until_sealed(instance: &Instance, records: u64) {
    wait::until("all records are sealed", async || {
        let checkpoint = text_at(instance, "/v1/log/checkpoint").await;
        let size = checkpoint.lines().nth(1).map(str::to_owned);
        match size == Some(records.to_string()) {
            true => Ok(()),
            false => Err(checkpoint),
        }
    })
    .await;
}

/// `mercator evidence …`, asking this instance.
pub(crate) fn evidence(instance: &Instance, folder: &Path, arguments: &[&str]) -> Output {
    let admin = instance.admin();
    let token = admin.token().expect("an admin has a token");
    let mut all = vec!["evidence", "--server", admin.base_url(), "--token", token];
    all.extend(arguments);
    mercator(folder, &all)
}

fn export(instance: &Instance, folder: &Path) {
    let output = evidence(instance, folder, &["export", "--output", "records.jsonl"]);
    assert!(output.status.success(), "{}", told(&output));
}

const EXCHANGES: usize = 40;

async fn exported() -> Exported {
    let mut instance = guarded().await;
    let mut ids = Vec::new();
    for number in 0..EXCHANGES {
        let answer = ask(&instance, &question(&format!("gpt-4o-n{number}"))).await;
        ids.push(answer.decision_id());
    }
    wait_for_totals(&instance, EXCHANGES as u64).await;
    wait_until_sealed(&instance, EXCHANGES as u64).await;
    let folder = tempfile::tempdir().expect("a folder");
    export(&instance, folder.path());
    let public = instance.data_dir().join("evidence.pub");
    std::fs::copy(public, folder.path().join("log.pub")).expect("the public key is there");
    assert!(instance.stop().await.success());
    Exported { folder, ids }
}

impl Exported {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("records.jsonl")).expect("it was exported");
        text.lines().map(str::to_owned).collect()
    }

    /// Verifies these lines with the proof that was exported.
    fn verify(&self, lines: &[String]) -> (Option<i32>, String) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(self.path("shown.jsonl"), text).expect("it is written");
        self.verify_file("shown.jsonl", "records.jsonl.proof", &[])
    }

    fn verify_file(&self, file: &str, proof: &str, more: &[&str]) -> (Option<i32>, String) {
        let mut arguments = vec!["verify", file, "--proof", proof, "--key", "log.pub"];
        arguments.extend(more);
        let output = mercator(self.folder.path(), &arguments);
        (output.status.code(), told(&output))
    }
}

#[tokio::test]
async fn exported_evidence_is_verified_with_the_instance_stopped_and_every_change_is_named() {
    let exported = exported().await;
    let lines = exported.lines();
    let (code, text) = exported.verify(&lines);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("40 of 40 lines are, byte for byte"), "{text}");
    assert!(text.contains("the whole log"), "{text}");
    assert!(text.contains("without gap, fork or repetition"), "{text}");
    let logged = lines.iter().map(|line| {
        let record: Value = serde_json::from_str(line).expect("a record");
        record["id"].as_str().expect("an id").to_owned()
    });
    let logged: Vec<String> = logged.collect();
    assert!(exported.ids.iter().all(|id| logged.contains(id)));

    // One byte.
    let mut changed = lines.clone();
    changed[17] = changed[17].replacen("\"allow\"", "\"allox\"", 1);
    let (code, text) = exported.verify(&changed);
    assert_eq!(code, Some(1), "{text}");
    let named = format!("line 18 (record {}) was changed", logged[17]);
    assert!(text.contains(&named), "{named} in {text}");

    let mut deleted = lines.clone();
    deleted.remove(5);
    let (code, text) = exported.verify(&deleted);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("number 5 of the log was left out"), "{text}");

    let mut inserted = lines.clone();
    inserted.insert(9, changed[17].clone());
    let (code, text) = exported.verify(&inserted);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("line 10 (record") && text.contains("was put in"),
        "{text}"
    );

    let mut moved = lines.clone();
    moved.swap(3, 30);
    let (code, text) = exported.verify(&moved);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("was moved"), "{text}");

    let (code, text) = exported.verify(&lines[..33]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("numbers 33 to 39 of the log were left out"),
        "{text}"
    );
}

#[tokio::test]
async fn database_altered_behind_our_back_is_found_by_verify() {
    let mut instance = guarded().await;
    let answer = ask(&instance, &question("gpt-4o")).await;
    let id = answer.decision_id();
    record_of(&instance, &answer).await;
    for _ in 0..4 {
        ask(&instance, &question("gpt-4o")).await;
    }
    wait_for_totals(&instance, 5).await;
    wait_until_sealed(&instance, 5).await;
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoint = text_at(&instance, "/v1/log/checkpoint").await;
    std::fs::write(folder.path().join("trusted.checkpoint"), checkpoint).expect("it is written");
    assert!(instance.stop().await.success());
    alter(
        &instance,
        &format!(
            "UPDATE evidence SET record = replace(record, 'allow', 'deny') WHERE id = x'{}'",
            id.replace('-', "")
        ),
    );
    instance.start_control_plane().await;
    wait_until_sealed(&instance, 5).await;
    export(&instance, folder.path());
    let key = instance.data_dir().join("evidence.pub");
    let key = key.to_str().expect("UTF-8");
    let verify = [
        "verify",
        "records.jsonl",
        "--key",
        key,
        "--checkpoint",
        "trusted.checkpoint",
    ];
    let output = mercator(folder.path(), &verify);
    let text = told(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains(&format!("record {id}) was changed")),
        "{text}"
    );
}

/// What was fetched before need not be fetched again: the rest proves itself.
#[tokio::test]
async fn export_from_an_index_is_proven_and_a_change_in_it_is_named() {
    let instance = guarded().await;
    for number in 0..30 {
        ask(&instance, &question(&format!("gpt-4o-n{number}"))).await;
    }
    wait_for_totals(&instance, 30).await;
    wait_until_sealed(&instance, 30).await;
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = ["export", "--from-index", "13", "--output", "records.jsonl"];
    let output = evidence(&instance, folder.path(), &arguments);
    assert!(output.status.success(), "{}", told(&output));
    let records = folder.path().join("records.jsonl");
    let text = std::fs::read_to_string(&records).expect("it was exported");
    assert_eq!(text.lines().count(), 17);
    let first: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    let path = format!("/v1/evidence/{}", first["id"].as_str().expect("an id"));
    let reply = instance.admin().get(&path).await;
    assert_eq!(reply.header("x-mercator-leaf-index"), Some("13"));

    let key = instance.data_dir().join("evidence.pub");
    let key = key.to_str().expect("UTF-8").to_owned();
    let verify = || {
        let output = mercator(folder.path(), &["verify", "records.jsonl", "--key", &key]);
        (output.status.code(), told(&output))
    };
    let (code, said) = verify();
    assert_eq!(code, Some(0), "{said}");
    let shorter: String = text.split_inclusive('\n').skip(1).collect();
    for changed in [shorter, text.replacen("gpt-4o-n", "gpt-4o-m", 1)] {
        std::fs::write(&records, changed).expect("it is written");
        let (code, said) = verify();
        assert_eq!(code, Some(1), "{said}");
    }
}

/// Whoever keeps checkpoints elsewhere notices when the log no longer has what
/// they are about, even if whoever owns it has database and key.
#[tokio::test]
async fn kept_checkpoint_tells_whether_the_log_still_contains_it() {
    let instance = guarded().await;
    let folder = tempfile::tempdir().expect("a folder");
    let key = instance.data_dir().join("evidence.pub");
    let key = key.to_str().expect("UTF-8").to_owned();
    let arguments = ["checkpoint", "--keep", "kept", "--key", &key];
    let check = || {
        let output = evidence(&instance, folder.path(), &arguments);
        (output.status.code(), told(&output))
    };
    for records in 1..=3 {
        ask(&instance, &question("gpt-4o")).await;
        wait_for_totals(&instance, records).await;
        wait_until_sealed(&instance, records).await;
        let (code, text) = check();
        assert_eq!(code, Some(0), "{text}");
        assert!(
            text.contains(&format!("mercator/local\n{records}\n")),
            "{text}"
        );
    }
    // What its owner once showed: another history, or a longer one.
    let secret = instance.data_dir().join("evidence.key");
    let secret = std::fs::read_to_string(secret).expect("the key is there");
    let signer: NoteSigner = secret.trim().parse().expect("it is a key");
    for (size, expected) in [(2, "two histories"), (9, "it was set back")] {
        let shown = Checkpoint {
            origin: "mercator/local".to_owned(),
            size,
            root: [7; 32],
        };
        let note = shown.sign([&signer]);
        std::fs::write(folder.path().join("kept"), &note).expect("it is written");
        let (code, text) = check();
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(expected), "{text}");
        let kept = std::fs::read_to_string(folder.path().join("kept"));
        assert_eq!(
            kept.expect("it is kept"),
            note,
            "what proves it is not overwritten"
        );
    }
}

/// What an auditor who kept a checkpoint runs: (exit code, what it says).
pub(crate) fn audit(instance: &Instance, folder: &Path, key: &Path) -> (Option<i32>, String) {
    export(instance, folder);
    let key = key.to_str().expect("UTF-8");
    let proven = [
        "verify",
        "records.jsonl",
        "--checkpoint",
        "kept",
        "--key",
        key,
    ];
    let output = mercator(folder, &proven);
    (output.status.code(), told(&output))
}

/// Keeps the checkpoint as it is now.
pub(crate) fn keep_checkpoint(instance: &Instance, folder: &Path, key: &Path) {
    let key = key.to_str().expect("UTF-8");
    let output = evidence(
        instance,
        folder,
        &["checkpoint", "--keep", "kept", "--key", key],
    );
    assert!(output.status.success(), "{}", told(&output));
}

#[tokio::test]
async fn rotated_key_raises_no_alarm_and_a_foreign_one_does() {
    let builder = Instance::builder().policy("guard", GUARD);
    let mut instance = builder.evidence("backend: sqlite").start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let known = instance.data_dir().join("evidence.pub");
    ask(&instance, &question("gpt-4o")).await;
    wait_for_totals(&instance, 1).await;
    wait_until_sealed(&instance, 1).await;
    keep_checkpoint(&instance, folder.path(), &known);
    let old_public = folder.path().join("old.pub");
    std::fs::copy(&known, &old_public).expect("the public key is there");

    let old = std::fs::read_to_string(instance.data_dir().join("evidence.key"));
    let old = old.expect("the key is there").trim().to_owned();
    let new = NoteSigner::new("mercator/local", &[9; 32]).expect("a name of a key");
    let new = new.to_secret_text();
    let plain = std::fs::read_to_string(instance.config_file()).expect("a configuration");
    // Both sign, then the new one alone.
    for (records, keys, old_suffices) in [(2, format!("{new},{old}"), true), (3, new, false)] {
        assert!(instance.stop().await.success());
        let line = format!("evidence:\n  signing_key: \"{keys}\"\n");
        let text = plain.replacen("evidence:\n", &line, 1);
        std::fs::write(instance.config_file(), text).expect("it is written");
        instance.start_control_plane().await;
        ask(&instance, &question("gpt-4o")).await;
        wait_for_totals(&instance, records).await;
        wait_until_sealed(&instance, records).await;
        let (code, text) = audit(&instance, folder.path(), &known);
        assert_eq!(code, Some(0), "{text}");
        assert!(
            text.contains("contains the trusted checkpoint over 1 record"),
            "{text}"
        );
        let (code, text) = audit(&instance, folder.path(), &old_public);
        assert_eq!(code == Some(0), old_suffices, "{text}");
        let foreign = text.contains("not signed by a trusted key");
        assert_eq!(foreign, !old_suffices, "{text}");
    }
}

/// The database with its journals.
pub(crate) fn database_files(instance: &Instance) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(instance.data_dir()).expect("the data directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let database = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("mercator.db"))
    };
    paths.filter(database).collect()
}

#[tokio::test]
async fn older_copy_of_the_database_stops_sealing_and_says_so() {
    let mut instance = guarded().await;
    ask(&instance, &question("gpt-4o")).await;
    wait_for_totals(&instance, 1).await;
    wait_until_sealed(&instance, 1).await;
    assert!(instance.stop().await.success());
    let backup: Vec<_> = database_files(&instance)
        .into_iter()
        .map(|path| (std::fs::read(&path).expect("a backup"), path))
        .collect();

    instance.start_control_plane().await;
    ask(&instance, &question("gpt-4o")).await;
    wait_for_totals(&instance, 2).await;
    wait_until_sealed(&instance, 2).await;
    assert!(instance.stop().await.success());
    for path in database_files(&instance) {
        std::fs::remove_file(path).expect("it is removed");
    }
    for (content, path) in backup {
        std::fs::write(path, content).expect("the older copy is put back");
    }

    instance.start_control_plane().await;
    wait::until("health says that nothing is signed", async || {
        let health = text_at(&instance, "/health/deep").await;
        match health.contains("it is an older copy") {
            true => Ok(()),
            false => Err(health),
        }
    })
    .await;
    let metrics = instance.metrics().get("/metrics").await.body;
    let metrics = String::from_utf8_lossy(&metrics).into_owned();
    assert!(
        metrics.contains("mercator_evidence_seal_refused 1"),
        "{metrics}"
    );
}
