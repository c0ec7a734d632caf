//! What is in force after each change, and after each fault.

use super::*;
use crate::store::SetRevision;
use crate::store::faults::Fault;
use crate::testing::{TestApp, eventually, policy};

fn ann() -> Principal {
    Principal {
        name: "ann".to_owned(),
        role: crate::auth::Role::Author,
    }
}

fn name(text: &str) -> PolicyName {
    PolicyName::parse(text).unwrap()
}

async fn put(test: &TestApp, who: &str, text: &str) -> Result<Put, PublishError> {
    put_policy(
        &test.app,
        &ann(),
        &name(who),
        text.to_owned(),
        Expected::Anything,
    )
    .await
}

fn in_force(test: &TestApp) -> Option<Arc<PublishedBundle>> {
    test.app.bundles.borrow().clone()
}

/// Names of the policies in the bundle that is in force.
fn enforced(test: &TestApp) -> Vec<String> {
    let bundle = in_force(test).expect("a bundle");
    let bundle = jupiter_policy::Bundle::load(&bundle.bytes).unwrap();
    bundle.policy_names().map(str::to_owned).collect()
}

#[tokio::test]
async fn put_policy_is_announced_and_stored() {
    let test = TestApp::start().await;
    assert!(in_force(&test).is_none());
    let put = put(&test, "guard", &policy("guard", "gpt-4o"))
        .await
        .unwrap();
    assert!(put.created);
    assert!(put.diagnostics.is_empty(), "{:?}", put.diagnostics);
    assert_eq!(in_force(&test), Some(Arc::clone(&put.bundle)));
    assert_eq!(put.bundle.digest, BundleDigest::of(&put.bundle.bytes));
    assert_eq!(put.bundle.created_at, test.app.clock.now());
    let stored = test.app.store.current_bundle().await.unwrap().unwrap();
    assert_eq!(stored.bytes, put.bundle.bytes);
    assert_eq!(enforced(&test), ["guard"]);
}

#[tokio::test]
async fn bundle_holds_all_policies_and_loses_deleted_ones() {
    let test = TestApp::start().await;
    for who in ["b", "a"] {
        put(&test, who, &policy(who, "gpt-4o")).await.unwrap();
    }
    assert_eq!(enforced(&test), ["a", "b"]);
    delete_policy(&test.app, &ann(), &name("a"), Expected::Anything)
        .await
        .unwrap();
    assert_eq!(enforced(&test), ["b"]);
    delete_policy(&test.app, &ann(), &name("b"), Expected::Anything)
        .await
        .unwrap();
    assert!(in_force(&test).is_none());
    let gone = delete_policy(&test.app, &ann(), &name("b"), Expected::Anything).await;
    assert!(matches!(gone, Err(PublishError::UnknownPolicy(_))));
}

#[tokio::test]
async fn broken_policy_leaves_the_good_one_in_force() {
    let test = TestApp::start().await;
    put(&test, "guard", &policy("guard", "gpt-4o"))
        .await
        .unwrap();
    let before = in_force(&test);
    let broken = policy("guard", "gpt-4o").replace("not_in", "not_inn");
    let Err(PublishError::Invalid { diagnostics }) = put(&test, "guard", &broken).await else {
        panic!("a broken policy was taken");
    };
    assert_eq!(diagnostics[0].code, "unknown-operator");
    let misnamed = put(&test, "guard", &policy("other", "gpt-4o")).await;
    assert!(matches!(misnamed, Err(PublishError::NameMismatch { .. })));
    assert_eq!(in_force(&test), before);
    assert_eq!(
        test.app.store.active_policies().await.unwrap().set,
        SetRevision(1)
    );
}

#[tokio::test]
async fn same_text_again_changes_nothing() {
    let test = TestApp::start().await;
    let first = put(&test, "guard", &policy("guard", "gpt-4o"))
        .await
        .unwrap();
    let again = put(&test, "guard", &policy("guard", "gpt-4o"))
        .await
        .unwrap();
    assert!(!again.created);
    assert_eq!(again.policy, first.policy);
    assert_eq!(again.bundle, first.bundle);
}

#[tokio::test]
async fn expectation_that_does_not_fit_changes_nothing() {
    let test = TestApp::start().await;
    let text = |model| policy("guard", model);
    let put_if = async |text: String, expected| {
        put_policy(&test.app, &ann(), &name("guard"), text, expected).await
    };
    for expected in [Expected::AnyRevision, Expected::Revision(1)] {
        let refused = put_if(text("gpt-4o"), expected).await;
        assert!(matches!(
            refused,
            Err(PublishError::Unexpected { revision: None })
        ));
    }
    put_if(text("gpt-4o"), Expected::Nothing).await.unwrap();
    for expected in [Expected::Nothing, Expected::Revision(2)] {
        let refused = put_if(text("gpt-4"), expected).await;
        assert!(matches!(
            refused,
            Err(PublishError::Unexpected { revision: Some(1) })
        ));
        let refused = delete_policy(&test.app, &ann(), &name("guard"), expected).await;
        assert!(matches!(
            refused,
            Err(PublishError::Unexpected { revision: Some(1) })
        ));
    }
    let put = put_if(text("gpt-4"), Expected::Revision(1)).await.unwrap();
    assert_eq!(put.policy.revision, 2);
    let right = Expected::Revision(2);
    delete_policy(&test.app, &ann(), &name("guard"), right)
        .await
        .unwrap();
}

#[tokio::test]
async fn concurrent_authors_lose_no_policy() {
    let test = TestApp::start().await;
    let names: Vec<String> = (0..6).map(|number| format!("p{number}")).collect();
    let puts = names.iter().map(|who| put_policy_owned(&test, who));
    for put in puts.collect::<Vec<_>>() {
        put.await.unwrap().unwrap();
    }
    assert_eq!(enforced(&test), names);
}

fn put_policy_owned(
    test: &TestApp,
    who: &str,
) -> tokio::task::JoinHandle<Result<Put, PublishError>> {
    let (app, text, who) = (test.app.clone(), policy(who, "gpt-4o"), name(who));
    tokio::spawn(async move { put_policy(&app, &ann(), &who, text, Expected::Anything).await })
}

#[tokio::test]
async fn author_who_hangs_up_leaves_no_stored_bundle_unannounced() {
    let test = TestApp::start().await;
    let text = policy("guard", "gpt-4o");
    let (ann, guard) = (ann(), name("guard"));
    let put = put_policy(&test.app, &ann, &guard, text, Expected::Anything);
    // Polled once, then dropped, as the server does with a client that is gone.
    assert!(tokio::time::timeout(Duration::ZERO, put).await.is_err());
    eventually(|| in_force(&test).is_some()).await;
}

#[tokio::test]
async fn restart_announces_what_was_in_force() {
    let test = TestApp::start().await;
    let put = put(&test, "guard", &policy("guard", "gpt-4o"))
        .await
        .unwrap();
    test.app.store.close().await;
    let again = TestApp::start_in(test.folder).await;
    assert_eq!(in_force(&again), Some(put.bundle));
}

#[tokio::test]
async fn bundle_of_another_format_is_compiled_anew_at_start() {
    let test = TestApp::start().await;
    let put = put(&test, "guard", &policy("guard", "gpt-4o"))
        .await
        .unwrap();
    let bytes = b"MERCATOR, but of long ago".to_vec();
    let old = NewBundle {
        digest: BundleDigest::of(&bytes).to_string(),
        bytes,
    };
    let stamp = Stamp {
        author: "mercator".to_owned(),
        at: test.app.clock.now(),
    };
    test.app
        .store
        .replace_bundle(SetRevision(1), old, stamp)
        .await
        .unwrap();
    test.app.store.close().await;
    let again = TestApp::start_in(test.folder).await;
    let bundle = in_force(&again).unwrap();
    assert_eq!((&bundle.bytes, bundle.revision), (&put.bundle.bytes, 3));
}

/// For each write: what the caller is told, and what is in force in the end.
#[tokio::test]
async fn faults_of_the_store_leave_store_and_announcement_agreeing() {
    for (operation, fault, expected) in [
        ("put", Fault::Before, Some("gpt-4o")),
        ("put", Fault::After, Some("gpt-4")),
        ("delete", Fault::Before, Some("gpt-4o")),
        ("delete", Fault::After, None),
    ] {
        let test = TestApp::start().await;
        put(&test, "guard", &policy("guard", "gpt-4o"))
            .await
            .unwrap();
        test.faults.set(Some(fault));
        let failed = match operation {
            "put" => put(&test, "guard", &policy("guard", "gpt-4"))
                .await
                .map(drop),
            _ => delete_policy(&test.app, &ann(), &name("guard"), Expected::Anything).await,
        };
        assert!(
            matches!(failed, Err(PublishError::Store(_))),
            "{operation} {fault:?}"
        );
        test.faults.set(None);
        let bytes = expected.map(|model| {
            let checked = jupiter_policy::check(&policy("guard", model));
            jupiter_policy::compile(&[checked.policy.unwrap()]).unwrap()
        });
        eventually(|| in_force(&test).map(|bundle| bundle.bytes.clone()) == bytes).await;
        let stored = test.app.store.current_bundle().await.unwrap();
        assert_eq!(
            stored.map(|stored| stored.bytes),
            bytes,
            "{operation} {fault:?}"
        );
        // And it goes on.
        put(&test, "guard", &policy("guard", "o1")).await.unwrap();
    }
}

#[test]
fn names_of_policies_can_stand_in_paths() {
    for good in ["a", "model-allowlist", "A_1.b", "9"] {
        assert!(PolicyName::parse(good).is_some(), "{good}");
    }
    let long = "a".repeat(129);
    for bad in [
        "",
        "-a",
        ".",
        "..",
        "a/b",
        "a b",
        "\u{e4}",
        "a\n",
        long.as_str(),
    ] {
        assert!(PolicyName::parse(bad).is_none(), "{bad:?}");
    }
}
