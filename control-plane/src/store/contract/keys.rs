//! Promises about idempotency keys, the answers under them, and signs of life.

use std::sync::Arc;
use uuid::Uuid;

use super::samples::{SUBJECT, SampleEmitter, at, batch, id, provisional};
use crate::store::{
    EnvoyEnd, ErasureStamp, HoldersRecord, KeyClaim, NewAnswer, SignOfLife, Store, StoredAnswer,
};

const SECOND: u64 = 1_000_000;

/// The key of these tests, claimed a minute after the beginning.
fn claim(request: u8, exchange: Uuid) -> KeyClaim {
    KeyClaim {
        key: [7; 32],
        request: [request; 32],
        exchange,
        instance: "jupiter-1".to_owned(),
        at: at(60 * SECOND),
    }
}

pub async fn key_belongs_to_who_claims_it_first(store: Arc<dyn Store>) {
    let (first, second) = (id(1, 1), id(2, 2));
    for (exchange, request) in [(first, 1), (second, 1), (second, 2), (first, 1)] {
        let holder = store.claim_key(&claim(request, exchange), None).await;
        let holder = holder.unwrap();
        assert_eq!((holder.exchange, holder.request), (first, [1; 32]));
        assert_eq!(holder.instance, "jupiter-1");
        assert_eq!(holder.since, at(60 * SECOND));
        assert_eq!((holder.envoy_ended, holder.record), (None, None));
    }
    let other = KeyClaim {
        key: [8; 32],
        ..claim(2, second)
    };
    let holder = store.claim_key(&other, None).await.unwrap();
    assert_eq!((holder.exchange, holder.request), (second, [2; 32]));
}

pub async fn key_changes_hands_only_from_the_holder_that_was_seen(store: Arc<dyn Store>) {
    let [first, second, third] = [id(1, 1), id(2, 2), id(3, 3)];
    store.claim_key(&claim(1, first), None).await.unwrap();
    let later = KeyClaim {
        instance: "jupiter-2".to_owned(),
        at: at(70 * SECOND),
        ..claim(1, second)
    };
    let holder = store.claim_key(&later, Some(first)).await.unwrap();
    assert_eq!((holder.exchange, holder.since), (second, at(70 * SECOND)));
    assert_eq!(holder.instance, "jupiter-2");
    // It saw an earlier holder.
    let stale = store.claim_key(&claim(1, third), Some(first)).await;
    assert_eq!(stale.unwrap().exchange, second);
    // Another request takes nothing over.
    let other = store.claim_key(&claim(2, third), Some(second)).await;
    let other = other.unwrap();
    assert_eq!((other.exchange, other.request), (second, [1; 32]));
}

pub async fn of_racing_claims_one_gets_the_key(store: Arc<dyn Store>) {
    let racing = (1..=8).map(|number| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let claimed = store.claim_key(&claim(1, id(1, number)), None).await;
            claimed.unwrap().exchange
        })
    });
    let racing: Vec<_> = racing.collect();
    let mut holders = Vec::new();
    for claimed in racing {
        holders.push(claimed.await.unwrap());
    }
    assert!(holders.iter().all(|holder| *holder == holders[0]));
}

pub async fn holder_comes_with_its_record_and_the_end_of_its_envoy(store: Arc<dyn Store>) {
    let record = SampleEmitter::new(1).next(|_| ());
    let holder = record.envelope.record.id;
    let seen = async || {
        let claimed = store.claim_key(&claim(1, id(9, 9)), None).await;
        let holder = claimed.unwrap();
        (holder.record, holder.envoy_ended)
    };
    store.claim_key(&claim(1, holder), None).await.unwrap();
    let end = |instance: &str, us| EnvoyEnd {
        instance: instance.to_owned(),
        since: at(0),
        until: at(us),
        how: "signal: 9 (SIGKILL)".to_owned(),
    };
    // An Envoy before it, and another's.
    let ends = [end("jupiter-1", 59 * SECOND), end("jupiter-2", 61 * SECOND)];
    store.note_envoy_ends(&ends).await.unwrap();
    let unfinished = batch(vec![provisional(&record)]);
    store.append_evidence(unfinished).await.unwrap();
    assert_eq!(seen().await, (None, None));

    let ends = [end("jupiter-1", 90 * SECOND), end("jupiter-1", 80 * SECOND)];
    store.note_envoy_ends(&ends).await.unwrap();
    let canonical = record.envelope.canonical.clone();
    store.append_evidence(batch(vec![record])).await.unwrap();
    let record = HoldersRecord {
        canonical,
        received_at: at(60 * SECOND),
    };
    assert_eq!(seen().await, (Some(record), Some(at(80 * SECOND))));
}

/// What the exchange that has the key of these tests was answered.
fn answer(exchange: Uuid, text: &str) -> NewAnswer {
    NewAnswer {
        key: [7; 32],
        exchange,
        subject: SUBJECT.to_owned(),
        answer: text.as_bytes().to_vec(),
    }
}

fn whole(text: &str) -> StoredAnswer {
    StoredAnswer::Whole(text.as_bytes().to_vec())
}

pub async fn answer_is_kept_for_the_exchange_that_has_the_key(store: Arc<dyn Store>) {
    let (first, second) = (id(1, 1), id(2, 2));
    let unclaimed = store.keep_answers(&[answer(first, "too early")]).await;
    assert_eq!(unclaimed.unwrap(), 0);
    store.claim_key(&claim(1, first), None).await.unwrap();
    let none = store.kept_answer(&[7; 32], first).await.unwrap();
    assert_eq!(none, StoredAnswer::None);
    let other = NewAnswer {
        key: [8; 32],
        subject: "key:fedcba9876543210".to_owned(),
        ..answer(second, "another")
    };
    let elsewhere = KeyClaim {
        key: [8; 32],
        ..claim(1, second)
    };
    store.claim_key(&elsewhere, None).await.unwrap();
    let both = [answer(first, "an answer"), other, answer(second, "no")];
    assert_eq!(store.keep_answers(&both).await.unwrap(), 2);
    for (key, exchange, expected) in [
        (7, first, whole("an answer")),
        (8, second, whole("another")),
        (7, second, StoredAnswer::None),
        (9, first, StoredAnswer::None),
    ] {
        let kept = store.kept_answer(&[key; 32], exchange).await.unwrap();
        assert!(kept == expected, "{key} {exchange}: {kept:?}");
    }
    // Senders send again what they do not know to have arrived.
    let again = store.keep_answers(&[answer(first, "an answer")]).await;
    assert_eq!(again.unwrap(), 1);
    let kept = store.kept_answer(&[7; 32], first).await.unwrap();
    assert!(kept == whole("an answer"), "{kept:?}");
    assert_eq!(store.keep_answers(&[]).await.unwrap(), 0);
}

pub async fn answer_leaves_with_its_exchange_or_its_key(store: Arc<dyn Store>) {
    let (first, second) = (id(1, 1), id(2, 2));
    store.claim_key(&claim(1, first), None).await.unwrap();
    let kept = store.keep_answers(&[answer(first, "an answer")]).await;
    assert_eq!(kept.unwrap(), 1);
    let taken = store.claim_key(&claim(1, second), Some(first)).await;
    assert_eq!(taken.unwrap().exchange, second);
    for exchange in [first, second] {
        let none = store.kept_answer(&[7; 32], exchange).await.unwrap();
        assert_eq!(none, StoredAnswer::None);
    }
    // It comes late.
    let late = store.keep_answers(&[answer(first, "an answer")]).await;
    assert_eq!(late.unwrap(), 0);
    let kept = store.keep_answers(&[answer(second, "another")]).await;
    assert_eq!(kept.unwrap(), 1);
    assert_eq!(store.forget_keys(at(61 * SECOND)).await.unwrap(), 1);
    assert_eq!(store.forget_keys(at(61 * SECOND)).await.unwrap(), 0);
    let none = store.kept_answer(&[7; 32], second).await.unwrap();
    assert_eq!(none, StoredAnswer::None);
}

pub async fn answer_of_an_erased_subject_cannot_be_read(store: Arc<dyn Store>) {
    let exchange = id(1, 1);
    store.claim_key(&claim(1, exchange), None).await.unwrap();
    let kept = store.keep_answers(&[answer(exchange, "an answer")]).await;
    assert_eq!(kept.unwrap(), 1);
    let stamp = ErasureStamp {
        at: at(0),
        by: "officer".to_owned(),
        reason: "asked to".to_owned(),
    };
    store.erase_subject(SUBJECT, stamp).await.unwrap();
    let erased = store.kept_answer(&[7; 32], exchange).await.unwrap();
    assert_eq!(erased, StoredAnswer::Erased);
    // Whoever comes by that name is somebody else.
    let record = SampleEmitter::new(1).next(|_| ());
    store.append_evidence(batch(vec![record])).await.unwrap();
    let erased = store.kept_answer(&[7; 32], exchange).await.unwrap();
    assert_eq!(erased, StoredAnswer::Erased);
}

pub async fn old_keys_and_instances_are_forgotten(store: Arc<dyn Store>) {
    let sign = |instance: &str, us| SignOfLife {
        instance: instance.to_owned(),
        at: at(us),
    };
    let (first, second) = (id(1, 1), id(2, 2));
    let (one, two) = (sign("jupiter-1", 1), sign("jupiter-2", 2 * SECOND));
    store.claim_key(&claim(1, first), None).await.unwrap();
    let signs = store.note_alive(&one).await.unwrap();
    assert_eq!(signs, std::slice::from_ref(&one));
    let signs = store.note_alive(&two).await.unwrap();
    assert_eq!(signs, [one, two.clone()]);
    let one = sign("jupiter-1", 3 * SECOND);
    let signs = store.note_alive(&one).await.unwrap();
    assert_eq!(signs, [one.clone(), two]);

    assert_eq!(store.forget_keys(at(3 * SECOND)).await.unwrap(), 0);
    let held = store.claim_key(&claim(1, second), None).await.unwrap();
    assert_eq!(held.exchange, first);
    assert_eq!(store.note_alive(&one).await.unwrap(), [one]);
    assert_eq!(store.forget_keys(at(61 * SECOND)).await.unwrap(), 1);
    let free = store.claim_key(&claim(2, second), None).await.unwrap();
    assert_eq!((free.exchange, free.request), (second, [2; 32]));
}
