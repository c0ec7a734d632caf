//! What is retained no more is told so, and a deletion is not passed off as that.

use std::path::Path;

use jupiter_testkit::{Instance, wait};
use serde_json::Value;

use crate::support::{GUARD, alter, ask, question, wait_for_totals};
use crate::tamper::{evidence, mercator, told, wait_until_sealed};

fn export(instance: &Instance, folder: &Path, file: &str) -> Vec<String> {
    let output = evidence(instance, folder, &["export", "--output", file]);
    assert!(output.status.success(), "{}", told(&output));
    let text = std::fs::read_to_string(folder.join(file)).expect("it was exported");
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn retained_no_more_is_told_and_a_deletion_is_not_passed_off_as_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let archive = folder.path().join("archive");
    let retention = format!(
        "retention: {{keep: 1d, archive: '{}', interval: 1s}}",
        archive.display()
    );
    let builder = Instance::builder().policy("guard", GUARD);
    let mut instance = builder.evidence(&retention).start().await;
    for _ in 0..6 {
        ask(&instance, &question("gpt-4o")).await;
    }
    wait_for_totals(&instance, 6).await;
    wait_until_sealed(&instance, 6).await;
    let before = export(&instance, folder.path(), "before.jsonl");
    let first: Value = serde_json::from_str(&before[0]).expect("a record");
    let id = first["id"].as_str().expect("an id");
    let kept = instance.admin().get("/v1/log/checkpoint").await.body;
    std::fs::write(folder.path().join("kept"), kept).expect("it is kept");
    let key = instance.data_dir().join("evidence.pub");
    let key = key.to_str().expect("UTF-8").to_owned();
    let verify = |file: &str, more: &[&str]| {
        let mut arguments = vec!["verify", file, "--key", &key];
        arguments.extend(more);
        let output = mercator(folder.path(), &arguments);
        (output.status.code(), told(&output))
    };
    assert!(instance.stop().await.success());
    // Two days go by for four of them.
    alter(
        &instance,
        "UPDATE evidence SET received_us = received_us - 172800000000
         WHERE arrival < (SELECT first_arrival + 4 FROM log_state)",
    );
    instance.start_control_plane().await;
    wait::until("old records go", async || {
        let listed = instance.admin().get("/v1/evidence/retentions").await;
        let listed = listed.expect(200).json();
        match listed["retentions"][0]["records"] == 4 {
            true => Ok(()),
            false => Err(listed),
        }
    })
    .await;

    let after = export(&instance, folder.path(), "after.jsonl");
    assert_eq!(after, before[4..]);
    let (code, text) = verify("after.jsonl", &["--checkpoint", "kept"]);
    assert_eq!(code, Some(0), "{text}");
    for said in [
        "the payload of 4 records is retained no more",
        "the whole log, as far as it is retained",
        "without gap, fork or repetition",
        "contains the trusted checkpoint over 6 records",
    ] {
        assert!(text.contains(said), "{said} in {text}");
    }
    let show = evidence(&instance, folder.path(), &["show", id]);
    assert!(
        told(&show).contains("is retained no more since"),
        "{}",
        told(&show)
    );
    let names = std::fs::read_dir(&archive).expect("an archive");
    let names = names.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = names
        .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .collect();
    let file = files.pop().expect("a file of the archive");
    let listed = evidence(&instance, folder.path(), &["retentions"]);
    assert_eq!(listed.status.code(), Some(0), "{}", told(&listed));
    let listed = told(&listed);
    let name = file.file_name().and_then(|name| name.to_str());
    let name = name.expect("a name");
    let row = listed.lines().find(|line| line.ends_with(name));
    let row: Vec<&str> = row.expect("a row").split_whitespace().collect();
    assert_eq!(row[2..], ["4", "0", "to", "3", name], "{listed}");
    assert!(
        listed.contains("4 records are retained no more"),
        "{listed}"
    );
    let json = evidence(
        &instance,
        folder.path(),
        &["retentions", "--format", "json"],
    );
    let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(json["retentions"][0]["archive"], name, "{json:#}");
    let text = std::fs::read_to_string(&file).expect("records");
    assert_eq!(text.lines().collect::<Vec<_>>(), before[..4]);
    let (code, text) = verify(file.to_str().expect("UTF-8"), &[]);
    assert_eq!(code, Some(0), "{text}");
    // The proof of one that went fits its line of the archive.
    let proof = evidence(&instance, folder.path(), &["proof", id]);
    std::fs::write(folder.path().join("one.proof"), &proof.stdout).expect("a proof");
    std::fs::write(folder.path().join("one"), format!("{}\n", before[0])).expect("a line");
    let (code, text) = verify("one", &[]);
    assert_eq!(code, Some(0), "{text}");

    // Another record is deleted, and its row says that it went as the others did.
    assert!(instance.stop().await.success());
    alter(
        &instance,
        "INSERT INTO retired_evidence (leaf_index, id, epoch_key, seq, archive)
         SELECT 4, id, epoch_key, seq, (SELECT archive FROM retentions) FROM evidence
         WHERE arrival = (SELECT first_arrival + 4 FROM log_state);
         DELETE FROM evidence WHERE arrival = (SELECT first_arrival + 4 FROM log_state)",
    );
    instance.start_control_plane().await;
    wait_until_sealed(&instance, 6).await;
    export(&instance, folder.path(), "altered.jsonl");
    let (code, text) = verify("altered.jsonl", &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("number 4 of the log was left out"), "{text}");
}
