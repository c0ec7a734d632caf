//! Promises about the past of policies, and about replacing all of them.

use std::sync::Arc;

use super::samples::{at, bundle, policy, stamp, stamp_of_commit};
use crate::store::{ChangeError, HistoryPage, SetRevision, Store};

const NONE: SetRevision = SetRevision(0);

/// `a` is put, put again and deleted, by three people.
async fn put_put_delete(store: &dyn Store) {
    let first = store.put_policy(NONE, policy("a", "1"), bundle("one"), stamp("ann", 1));
    first.await.unwrap();
    let mut new = policy("a", "2");
    new.version = "2.0.0".to_owned();
    new.description = Some("what it is for".to_owned());
    let next = store.put_policy(SetRevision(1), new, bundle("two"), stamp("bob", 2));
    next.await.unwrap();
    let gone = store.delete_policy(SetRevision(2), "a", None, stamp("cat", 3));
    gone.await.unwrap();
}

async fn page(store: &dyn Store, before: Option<u64>, limit: u32) -> HistoryPage {
    store.policy_history("a", before, limit).await.unwrap()
}

pub async fn history_tells_puts_and_deletions_newest_first(store: Arc<dyn Store>) {
    put_put_delete(&*store).await;
    let other = store.put_policy(
        SetRevision(3),
        policy("b", "1"),
        bundle("b"),
        stamp("dan", 4),
    );
    other.await.unwrap();
    let history = page(&*store, None, 10).await;
    assert_eq!(history.next, None);
    let told: Vec<_> = history
        .revisions
        .iter()
        .map(|r| {
            (
                r.revision,
                r.deleted,
                r.version.as_deref(),
                r.author.as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (3, true, None, "cat"),
            (2, false, Some("2.0.0"), "bob"),
            (1, false, Some("1.0.0"), "ann"),
        ]
    );
    let second = &history.revisions[1];
    assert_eq!(second.description.as_deref(), Some("what it is for"));
    assert_eq!((second.name.as_str(), second.created_at), ("a", at(2)));
    let unknown = store.policy_history("c", None, 10).await.unwrap();
    assert_eq!((unknown.revisions.len(), unknown.next), (0, None));
}

pub async fn history_is_paged_without_repeating_or_skipping(store: Arc<dyn Store>) {
    for number in 0..5_u64 {
        let text = number.to_string();
        let new = policy("a", &text);
        let put = store.put_policy(
            SetRevision(number),
            new,
            bundle(&text),
            stamp("ann", number),
        );
        put.await.unwrap();
    }
    let numbers = |page: &HistoryPage| -> Vec<u64> {
        page.revisions.iter().map(|one| one.revision).collect()
    };
    let first = page(&*store, None, 2).await;
    assert_eq!((numbers(&first), first.next), (vec![5, 4], Some(4)));
    let next = page(&*store, first.next, 2).await;
    assert_eq!((numbers(&next), next.next), (vec![3, 2], Some(2)));
    let last = page(&*store, next.next, 2).await;
    assert_eq!((numbers(&last), last.next), (vec![1], None));
    let exact = page(&*store, None, 5).await;
    assert_eq!((numbers(&exact).len(), exact.next), (5, None));
    let all = page(&*store, Some(u64::MAX), 10).await;
    assert_eq!(numbers(&all).len(), 5);
}

pub async fn past_revision_keeps_its_text(store: Arc<dyn Store>) {
    put_put_delete(&*store).await;
    for (number, source) in [(1, Some("1")), (2, Some("2")), (3, None)] {
        let past = store.policy_revision("a", number).await.unwrap().unwrap();
        assert_eq!(past.source.as_deref(), source);
        assert_eq!(past.summary.deleted, source.is_none());
        let listed = page(&*store, Some(number + 1), 1).await;
        assert_eq!(listed.revisions, [past.summary]);
    }
    for (name, number) in [("a", 0), ("a", 4), ("a", u64::MAX), ("b", 1)] {
        let none = store.policy_revision(name, number).await.unwrap();
        assert_eq!(none, None, "{name} {number}");
    }
}

pub async fn replaced_set_is_all_that_is_in_force(store: Arc<dyn Store>) {
    for (seen, name) in ["gone", "kept", "changed"].into_iter().enumerate() {
        let seen = SetRevision(seen as u64);
        let put = store.put_policy(seen, policy(name, "old"), bundle(name), stamp("ann", 1));
        put.await.unwrap();
    }
    let set = vec![
        policy("new", "new"),
        policy("kept", "old"),
        policy("changed", "new"),
    ];
    let replaced = store.replace_policies(
        SetRevision(3),
        set,
        bundle("all"),
        stamp_of_commit("bob", 2, "c0ffee"),
    );
    let stored = replaced.await.unwrap();
    assert_eq!(
        (stored.revision, stored.bytes.as_slice()),
        (SetRevision(4), &b"all"[..])
    );
    assert_eq!(stored.commit.as_deref(), Some("c0ffee"));
    assert_eq!(store.current_bundle().await.unwrap(), Some(stored));
    let active = store.active_policies().await.unwrap();
    assert_eq!(active.set, SetRevision(4));
    let told: Vec<_> = active
        .policies
        .iter()
        .map(|p| {
            (
                p.name.as_str(),
                p.revision,
                p.source.as_str(),
                p.author.as_str(),
                p.commit.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("changed", 2, "new", "bob", Some("c0ffee")),
            ("kept", 1, "old", "ann", None),
            ("new", 1, "new", "bob", Some("c0ffee")),
        ]
    );
    let gone = store.policy_revision("gone", 2).await.unwrap().unwrap();
    assert!(gone.summary.deleted);
    assert_eq!(
        (gone.summary.author.as_str(), gone.summary.commit.as_deref()),
        ("bob", Some("c0ffee"))
    );
}

pub async fn same_set_of_another_commit_makes_no_revision(store: Arc<dyn Store>) {
    for (seen, commit) in ["c0ffee", "decaf"].into_iter().enumerate() {
        let seen = SetRevision(seen as u64);
        let stamp = stamp_of_commit("bob", seen.0, commit);
        let replaced = store.replace_policies(seen, vec![policy("a", "1")], bundle("one"), stamp);
        replaced.await.unwrap();
        let current = store.current_bundle().await.unwrap().unwrap();
        assert_eq!(current.commit.as_deref(), Some(commit));
    }
    assert_eq!(page(&*store, None, 10).await.revisions.len(), 1);
}

pub async fn replacing_an_older_set_changes_nothing(store: Arc<dyn Store>) {
    let put = store.put_policy(NONE, policy("a", "1"), bundle("one"), stamp("ann", 1));
    put.await.unwrap();
    let before = store.active_policies().await.unwrap();
    for seen in [SetRevision(0), SetRevision(2)] {
        let set = vec![policy("b", "1")];
        let replaced = store
            .replace_policies(seen, set, bundle("two"), stamp("bob", 2))
            .await;
        assert!(matches!(replaced, Err(ChangeError::Stale)), "{seen:?}");
    }
    assert_eq!(store.active_policies().await.unwrap(), before);
    assert_eq!(store.current_bundle().await.unwrap().unwrap().bytes, b"one");
}

pub async fn commit_belongs_to_the_change_it_came_with(store: Arc<dyn Store>) {
    let stamp_one = stamp_of_commit("bob", 1, "c0ffee");
    let replaced = store.replace_policies(NONE, vec![policy("a", "1")], bundle("one"), stamp_one);
    replaced.await.unwrap();
    // The same policies compiled anew are still those of the commit.
    let anew = stamp_of_commit("mercator", 2, "c0ffee");
    let anew = store.replace_bundle(SetRevision(1), bundle("new"), anew);
    assert_eq!(anew.await.unwrap().commit.as_deref(), Some("c0ffee"));
    let put = store.put_policy(
        SetRevision(2),
        policy("a", "2"),
        bundle("two"),
        stamp("ann", 3),
    );
    let (revision, stored) = put.await.unwrap();
    assert_eq!((revision.commit, stored.commit), (None, None));
    assert_eq!(store.current_bundle().await.unwrap().unwrap().commit, None);
    let history = page(&*store, None, 10).await.revisions;
    let commits: Vec<_> = history.iter().map(|r| r.commit.as_deref()).collect();
    assert_eq!(commits, [None, Some("c0ffee")]);
}
