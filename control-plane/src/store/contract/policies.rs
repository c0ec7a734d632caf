//! Promises about policies and bundles.

use std::sync::Arc;
use tokio::task::JoinSet;

use super::samples::{at, bundle, policy, stamp};
use crate::store::{ChangeError, SetRevision, Store};

const NONE: SetRevision = SetRevision(0);

pub async fn empty_store_has_neither_policy_nor_bundle(store: Arc<dyn Store>) {
    let active = store.active_policies().await.unwrap();
    assert_eq!((active.set, active.policies.len()), (NONE, 0));
    assert_eq!(store.policy("a").await.unwrap(), None);
    assert_eq!(store.current_bundle().await.unwrap(), None);
}

pub async fn put_policy_is_in_force_with_its_bundle(store: Arc<dyn Store>) {
    let mut new = policy("a", "name: a # \u{fc}\r\n");
    new.description = Some("what it is for".to_owned());
    let put = store
        .put_policy(NONE, new, bundle("one"), stamp("ann", 5))
        .await;
    let (revision, stored) = put.unwrap();
    assert_eq!(revision.revision, 1);
    assert_eq!(revision.source, "name: a # \u{fc}\r\n");
    assert_eq!(
        (revision.author.as_str(), revision.created_at),
        ("ann", at(5))
    );
    assert_eq!(
        (stored.revision, stored.activated_at),
        (SetRevision(1), at(5))
    );
    assert_eq!(store.policy("a").await.unwrap(), Some(revision.clone()));
    assert_eq!(store.current_bundle().await.unwrap(), Some(stored));
    let active = store.active_policies().await.unwrap();
    assert_eq!(
        (active.set, active.policies),
        (SetRevision(1), vec![revision])
    );
}

pub async fn policies_are_listed_by_name(store: Arc<dyn Store>) {
    for (seen, name) in ["b", "c", "a"].into_iter().enumerate() {
        let seen = SetRevision(seen as u64);
        let put = store.put_policy(seen, policy(name, name), bundle(name), stamp("ann", 1));
        put.await.unwrap();
    }
    let active = store.active_policies().await.unwrap();
    let names: Vec<_> = active.policies.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

pub async fn second_text_is_the_next_revision(store: Arc<dyn Store>) {
    let first = store.put_policy(NONE, policy("a", "1"), bundle("one"), stamp("ann", 1));
    let (_, stored) = first.await.unwrap();
    let next = store.put_policy(
        stored.revision,
        policy("a", "2"),
        bundle("two"),
        stamp("bob", 2),
    );
    let (revision, stored) = next.await.unwrap();
    assert_eq!((revision.revision, revision.source.as_str()), (2, "2"));
    assert_eq!(store.current_bundle().await.unwrap(), Some(stored));
    assert_eq!(
        store.active_policies().await.unwrap().policies,
        vec![revision]
    );
}

pub async fn revisions_go_on_after_a_delete(store: Arc<dyn Store>) {
    let put = store.put_policy(NONE, policy("a", "1"), bundle("one"), stamp("ann", 1));
    put.await.unwrap();
    let gone = store
        .delete_policy(SetRevision(1), "a", None, stamp("ann", 2))
        .await;
    assert_eq!(gone.unwrap(), None);
    let put = store.put_policy(
        SetRevision(2),
        policy("a", "3"),
        bundle("three"),
        stamp("ann", 3),
    );
    // The delete took number 2.
    assert_eq!(put.await.unwrap().0.revision, 3);
}

pub async fn last_delete_leaves_no_bundle(store: Arc<dyn Store>) {
    let put = store.put_policy(NONE, policy("a", "1"), bundle("one"), stamp("ann", 1));
    put.await.unwrap();
    let put = store.put_policy(
        SetRevision(1),
        policy("b", "1"),
        bundle("two"),
        stamp("ann", 2),
    );
    put.await.unwrap();
    let rest = bundle("rest");
    let left = store
        .delete_policy(SetRevision(2), "a", Some(rest), stamp("ann", 3))
        .await;
    assert_eq!(left.unwrap().unwrap().bytes, b"rest");
    let left = store
        .delete_policy(SetRevision(3), "b", None, stamp("ann", 4))
        .await;
    assert_eq!(left.unwrap(), None);
    assert_eq!(store.current_bundle().await.unwrap(), None);
    let active = store.active_policies().await.unwrap();
    assert_eq!((active.set, active.policies.len()), (SetRevision(4), 0));
}

pub async fn writer_who_saw_an_older_set_changes_nothing(store: Arc<dyn Store>) {
    let put = store.put_policy(NONE, policy("a", "1"), bundle("one"), stamp("ann", 1));
    put.await.unwrap();
    let before = store.active_policies().await.unwrap();
    for seen in [SetRevision(0), SetRevision(2)] {
        let put = store
            .put_policy(seen, policy("a", "2"), bundle("two"), stamp("bob", 2))
            .await;
        assert!(matches!(put, Err(ChangeError::Stale)), "{seen:?}");
        let delete = store.delete_policy(seen, "a", None, stamp("bob", 2)).await;
        assert!(matches!(delete, Err(ChangeError::Stale)), "{seen:?}");
        let replace = store
            .replace_bundle(seen, bundle("two"), stamp("bob", 2))
            .await;
        assert!(matches!(replace, Err(ChangeError::Stale)), "{seen:?}");
    }
    let unknown = store
        .delete_policy(SetRevision(1), "b", None, stamp("bob", 2))
        .await;
    assert!(matches!(unknown, Err(ChangeError::Stale)));
    assert_eq!(store.active_policies().await.unwrap(), before);
    assert_eq!(store.current_bundle().await.unwrap().unwrap().bytes, b"one");
}

pub async fn of_racing_writers_one_wins(store: Arc<dyn Store>) {
    let mut writers = JoinSet::new();
    for number in 0..8 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let name = format!("p{number}");
            let new = policy(&name, &name);
            store
                .put_policy(NONE, new, bundle(&name), stamp(&name, 1))
                .await
        });
    }
    let outcomes = writers.join_all().await;
    let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let late = outcomes
        .iter()
        .filter(|o| matches!(o, Err(ChangeError::Stale)))
        .count();
    assert_eq!((won, late), (1, 7));
    let active = store.active_policies().await.unwrap();
    assert_eq!((active.set, active.policies.len()), (SetRevision(1), 1));
}

pub async fn bundle_may_come_back(store: Arc<dyn Store>) {
    for (seen, text) in ["one", "two", "one"].into_iter().enumerate() {
        let seen = SetRevision(seen as u64);
        let put = store.put_policy(seen, policy("a", text), bundle(text), stamp("ann", seen.0));
        put.await.unwrap();
    }
    let current = store.current_bundle().await.unwrap().unwrap();
    assert_eq!(current.bytes, b"one");
    assert_eq!(
        (current.revision, current.activated_at),
        (SetRevision(3), at(2))
    );
}

pub async fn replaced_bundle_leaves_policies_alone(store: Arc<dyn Store>) {
    let put = store.put_policy(NONE, policy("a", "1"), bundle("old"), stamp("ann", 1));
    let (revision, _) = put.await.unwrap();
    let replaced = store
        .replace_bundle(SetRevision(1), bundle("new"), stamp("mercator", 2))
        .await;
    assert_eq!(
        store.current_bundle().await.unwrap(),
        Some(replaced.unwrap())
    );
    let active = store.active_policies().await.unwrap();
    assert_eq!(
        (active.set, active.policies),
        (SetRevision(2), vec![revision])
    );
}
