//! A subject that was erased stays erased, and nothing else changes.

use jupiter_testkit::Instance;
use serde_json::{Value, json};
use std::path::PathBuf;

use crate::support::{ask, guarded, question, record_of, wait_for_totals};
use crate::tamper::{database_files, evidence, mercator, told, wait_until_sealed};

/// The database as it lies on the disk.
pub(crate) fn backup(instance: &Instance) -> Vec<(Vec<u8>, PathBuf)> {
    let files = database_files(instance).into_iter();
    files
        .map(|path| (std::fs::read(&path).expect("a file"), path))
        .collect()
}

pub(crate) fn says(files: &[(Vec<u8>, PathBuf)], text: &str) -> bool {
    let text = text.as_bytes();
    let mut contents = files.iter().map(|(content, _)| content);
    contents.any(|content| content.windows(text.len()).any(|some| some == text))
}

async fn personal(instance: &Instance, id: &str) -> Value {
    let path = format!("/v1/evidence/{id}/personal");
    instance.admin().get(&path).await.expect(200).json()
}

#[tokio::test]
async fn erased_subject_stays_erased_through_a_restore_and_its_records_are_proven() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut instance = guarded().await;
    let mine = record_of(&instance, &ask(&instance, &question("gpt-4o")).await).await;
    let traffic = instance.traffic();
    let other = traffic.chat(&question("gpt-4o")).bearer_auth("sk-other");
    let other = record_of(&instance, &traffic.complete(other).await).await;
    wait_for_totals(&instance, 2).await;
    wait_until_sealed(&instance, 2).await;
    let [subject, id, other] = [&mine["subject"], &mine["id"], &other["id"]];
    let [subject, id, other] =
        [subject, id, other].map(|text| text.as_str().expect("a text").to_owned());
    assert!(instance.stop().await.success());
    let older = backup(&instance);
    assert!(says(&older, &subject));
    instance.start_control_plane().await;

    let erase = |instance: &Instance, arguments: &[&str]| {
        let mut all = vec!["erase", "--subject", &subject, "--reason", "request 7"];
        all.extend(arguments);
        evidence(instance, folder.path(), &all)
    };
    let dry = erase(&instance, &["--dry-run"]);
    assert_eq!(dry.status.code(), Some(0), "{}", told(&dry));
    assert!(told(&dry).contains("has 1 records"), "{}", told(&dry));
    let unconfirmed = erase(&instance, &[]);
    assert_eq!(unconfirmed.status.code(), Some(2), "{}", told(&unconfirmed));

    // Held: not even with `--yes`.
    let hold = ["hold", "add", "--subject", &subject, "--reason", "case 9"];
    let hold = [&["--format", "json"], &hold[..]].concat();
    let placed = evidence(&instance, folder.path(), &hold);
    let placed: Value = serde_json::from_slice(&placed.stdout).expect("JSON");
    let refused = erase(&instance, &["--yes"]);
    assert_ne!(refused.status.code(), Some(0), "{}", told(&refused));
    assert!(told(&refused).contains("legal hold"), "{}", told(&refused));
    assert_eq!(
        personal(&instance, &id).await["subject"]["name"],
        subject.as_str()
    );
    let hold = placed["id"].as_str().expect("an id");
    let released = evidence(&instance, folder.path(), &["hold", "release", hold]);
    assert_eq!(released.status.code(), Some(0), "{}", told(&released));

    let erased = erase(&instance, &["--yes"]);
    assert_eq!(erased.status.code(), Some(0), "{}", told(&erased));
    let nobody = json!({"subject": {"name": null, "erased": true}, "salt": null});
    assert_eq!(personal(&instance, &id).await, nobody);
    assert_eq!(
        personal(&instance, &other).await["subject"]["erased"],
        false
    );
    let filter = format!("subject={subject}");
    assert!(instance.admin().evidence(&filter).await.is_empty());
    let shown = evidence(&instance, folder.path(), &["show", &id]);
    assert!(told(&shown).contains("erased"), "{}", told(&shown));

    // Every record is proven as before, offline.
    let written = evidence(
        &instance,
        folder.path(),
        &["export", "--output", "all.jsonl"],
    );
    assert_eq!(written.status.code(), Some(0), "{}", told(&written));
    let key = instance.data_dir().join("evidence.pub");
    let key = key.to_str().expect("a path");
    let verified = mercator(folder.path(), &["verify", "all.jsonl", "--key", key]);
    assert_eq!(verified.status.code(), Some(0), "{}", told(&verified));

    assert!(instance.stop().await.success());
    assert!(
        !says(&backup(&instance), &subject),
        "it is still on the disk"
    );
    for path in database_files(&instance) {
        std::fs::remove_file(path).expect("it is removed");
    }
    for (content, path) in older {
        std::fs::write(path, content).expect("the older copy is put back");
    }
    instance.start_control_plane().await;
    assert_eq!(personal(&instance, &id).await, nobody);
    let listed = evidence(&instance, folder.path(), &["erase", "--list"]);
    assert!(told(&listed).contains("request 7"), "{}", told(&listed));
    assert!(instance.stop().await.success());
    assert!(!says(&backup(&instance), &subject), "it came back");
    assert!(instance.all_logs().contains("erasures"));
}
