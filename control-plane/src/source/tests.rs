//! From a source to what is in force, and what is told about it.

use std::fs;

use super::*;
use crate::testing::{TestApp, policy};

async fn test_app() -> TestApp {
    TestApp::start_with(tempfile::tempdir().unwrap(), SourceKind::Dir).await
}

fn follower(test: &TestApp, folder: &Path) -> Follower {
    let source = PolicySource::Dir {
        path: folder.to_owned(),
    };
    Follower::new(&test.app, &source, test.folder.path()).unwrap()
}

async fn settle(follower: &mut Follower) {
    follower.look(Reach::All).await;
    follower.look(Reach::All).await;
}

#[tokio::test]
async fn faulty_set_is_told_and_the_last_good_one_stays() {
    let (test, folder) = (test_app().await, tempfile::tempdir().unwrap());
    let file = folder.path().join("a.yaml");
    fs::write(&file, policy("a", "x")).unwrap();
    let mut follower = follower(&test, folder.path());
    follower.begin().await;
    let good = test.app.bundles.borrow().clone().expect("a bundle");
    let status = test.app.source.status();
    assert_eq!(status.last_success_at, Some(test.app.clock.now()));
    assert!(status.revision.unwrap().starts_with("sha256:"));

    test.clock.advance(Duration::from_secs(5));
    fs::write(&file, policy("a", "x").replace("not_in", "not_inn")).unwrap();
    settle(&mut follower).await;
    settle(&mut follower).await;
    let status = test.app.source.status();
    let fault = status.fault.expect("a fault");
    assert_eq!((fault.code, fault.files.len()), ("invalid_policies", 1));
    assert_eq!(fault.files[0].file, "a.yaml");
    assert!(fault.revision.is_some());
    assert!(status.last_success_at < status.last_attempt_at);
    assert_eq!(test.app.bundles.borrow().clone(), Some(Arc::clone(&good)));
    let metrics = test.metrics().await;
    assert!(
        metrics.contains("mercator_policy_source_failures_total 3"),
        "{metrics}"
    );
    assert!(metrics.contains("mercator_policy_source_info{source=\"dir\",commit=\"\"} 1"));
    assert!(metrics.contains("mercator_policy_source_last_success_timestamp_seconds 1"));
    // Checked once, however often it is found.
    assert!(
        metrics.contains("operation=\"replace\",result=\"invalid\"} 1"),
        "{metrics}"
    );

    fs::write(&file, policy("a", "y")).unwrap();
    settle(&mut follower).await;
    assert_eq!(test.app.source.status().fault, None);
    assert_ne!(test.app.bundles.borrow().clone(), Some(good));
}

#[tokio::test]
async fn empty_or_missing_folder_does_not_refuse_everything() {
    let (test, folder) = (test_app().await, tempfile::tempdir().unwrap());
    let inside = folder.path().join("policies");
    fs::create_dir(&inside).unwrap();
    fs::write(inside.join("a.yaml"), policy("a", "x")).unwrap();
    let mut follower = follower(&test, &inside);
    follower.begin().await;
    fs::remove_file(inside.join("a.yaml")).unwrap();
    settle(&mut follower).await;
    let code = || test.app.source.status().fault.map(|fault| fault.code);
    assert_eq!(code(), Some("no_policies"));
    fs::remove_dir(&inside).unwrap();
    settle(&mut follower).await;
    assert_eq!(code(), Some("unreadable"));
    assert!(test.app.bundles.borrow().is_some());
}

#[tokio::test]
async fn store_in_trouble_is_tried_again() {
    use crate::store::faults::Fault;
    let (test, folder) = (test_app().await, tempfile::tempdir().unwrap());
    fs::write(folder.path().join("a.yaml"), policy("a", "x")).unwrap();
    let mut follower = follower(&test, folder.path());
    test.faults.set(Some(Fault::Before));
    follower.begin().await;
    let fault = test.app.source.status().fault.map(|fault| fault.code);
    assert_eq!(fault, Some("store_unavailable"));
    test.faults.set(None);
    follower.look(Reach::All).await;
    assert!(test.app.bundles.borrow().is_some());
    assert_eq!(test.app.source.status().fault, None);
}
