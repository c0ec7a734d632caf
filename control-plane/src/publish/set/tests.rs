//! What is in force after a set, good or not.

use super::*;
use crate::auth::Principal;
use crate::publish::{Expected, PublishError, delete_policy, put_policy, rollback_policy};
use crate::source::SourceKind;
use crate::store::faults::Fault;
use crate::testing::{TestApp, eventually, policy};

async fn start(kind: SourceKind) -> TestApp {
    TestApp::start_with(tempfile::tempdir().unwrap(), kind).await
}

fn set(policies: &[(&str, &str)], commit: &str) -> PolicySet {
    let files = policies.iter().map(|(name, model)| PolicyFile {
        path: format!("p/{name}.yaml"),
        text: policy(name, model),
    });
    PolicySet {
        files: files.collect(),
        author: "Ann <ann@example.org>".to_owned(),
        commit: Some(commit.to_owned()),
    }
}

fn enforced(test: &TestApp) -> Vec<String> {
    let bundle = test.app.bundles.borrow().clone().unwrap();
    let bundle = jupiter_policy::Bundle::load(&bundle.bytes).unwrap();
    bundle.policy_names().map(str::to_owned).collect()
}

#[tokio::test]
async fn set_takes_the_place_of_everything() {
    let test = start(SourceKind::Git).await;
    let first = set(&[("a", "x"), ("b", "x")], "c1");
    let bundle = replace_all(&test.app, first).await.unwrap();
    assert_eq!(bundle.commit.as_deref(), Some("c1"));
    let second = set(&[("c", "x"), ("b", "x")], "c2");
    replace_all(&test.app, second.clone()).await.unwrap();
    assert_eq!(enforced(&test), ["b", "c"]);
    let active = test.app.store.active_policies().await.unwrap();
    let told: Vec<_> = active
        .policies
        .iter()
        .map(|p| (p.name.as_str(), p.revision, p.commit.as_deref()))
        .collect();
    assert_eq!(told, [("b", 1, Some("c1")), ("c", 1, Some("c2"))]);
    assert_eq!(active.policies[0].author, "Ann <ann@example.org>");
    // The same again is no change.
    let again = replace_all(&test.app, second).await.unwrap();
    assert_eq!(again.revision, active.set.0);
    // And so after a restart.
    test.app.store.close().await;
    let again = TestApp::start_with(test.folder, SourceKind::Git).await;
    let bundle = again.app.bundles.borrow().clone().unwrap();
    assert_eq!(bundle.commit.as_deref(), Some("c2"));
}

#[tokio::test]
async fn one_faulty_file_changes_nothing() {
    let test = start(SourceKind::Git).await;
    let good = set(&[("a", "x"), ("b", "x")], "c1");
    replace_all(&test.app, good.clone()).await.unwrap();
    let mut broken = set(&[("a", "y"), ("b", "y")], "c2");
    broken.files[1].text = policy("b", "y").replace("request.model", "request.modle");
    let mut twice = set(&[("a", "y"), ("b", "y")], "c2");
    twice.files[1].text = format!("# {}\n{}", "\u{e4}", policy("a", "y"));
    let mut unnameable = set(&[("a", "y")], "c2");
    unnameable.files[0].text = policy("a/b", "y");
    for (set, file, line, code) in [
        (broken, "p/b.yaml", 8, "unknown-field"),
        (twice, "p/b.yaml", 3, "duplicate-policy"),
        (unnameable, "p/a.yaml", 2, "bad-name"),
    ] {
        let Err(SetError::Faulty(faults)) = replace_all(&test.app, set).await else {
            panic!("{code} was taken");
        };
        let diagnostic = &faults[0].diagnostic;
        assert_eq!(
            (
                faults.len(),
                faults[0].file.as_str(),
                diagnostic.span.line,
                diagnostic.code
            ),
            (1, file, line, code)
        );
    }
    let empty = replace_all(&test.app, set(&[], "c2")).await;
    assert!(matches!(empty, Err(SetError::Empty)));
    let bundle = test.app.bundles.borrow().clone().unwrap();
    assert_eq!((bundle.commit.as_deref(), bundle.revision), (Some("c1"), 1));
}

#[tokio::test]
async fn fault_of_the_store_leaves_store_and_announcement_agreeing() {
    for (fault, expected) in [(Fault::Before, "c1"), (Fault::After, "c2")] {
        let test = start(SourceKind::Git).await;
        replace_all(&test.app, set(&[("a", "x")], "c1"))
            .await
            .unwrap();
        test.faults.set(Some(fault));
        let failed = replace_all(&test.app, set(&[("b", "x")], "c2")).await;
        assert!(matches!(failed, Err(SetError::Store(_))), "{fault:?}");
        test.faults.set(None);
        let commit = || {
            let bundle = test.app.bundles.borrow().clone();
            bundle.and_then(|bundle| bundle.commit.clone())
        };
        eventually(|| commit().as_deref() == Some(expected)).await;
        replace_all(&test.app, set(&[("b", "x")], "c2"))
            .await
            .unwrap();
        assert_eq!(enforced(&test), ["b"]);
    }
}

#[tokio::test]
async fn authors_change_nothing_while_policies_come_from_elsewhere() {
    for kind in [SourceKind::Dir, SourceKind::Git] {
        let test = start(kind).await;
        replace_all(&test.app, set(&[("a", "x")], "c1"))
            .await
            .unwrap();
        let (author, name) = (Principal::system(), PolicyName::parse("a").unwrap());
        let any = Expected::Anything;
        let put = put_policy(&test.app, &author, &name, policy("a", "y"), any).await;
        let deleted = delete_policy(&test.app, &author, &name, any).await;
        let back = rollback_policy(&test.app, &author, &name, 1, any).await;
        for refused in [put.map(drop), deleted, back.map(drop)] {
            assert!(matches!(refused, Err(PublishError::ManagedElsewhere(k)) if k == kind));
        }
    }
}
