//! Promises about tokens, and the small rest.

use std::sync::Arc;
use uuid::Uuid;

use super::samples::{SampleEmitter, at, batch};
use crate::auth::Role;
use crate::store::{EvidenceFilter, NewToken, Store, StoreError, TokenInfo};

fn token(number: u8, name: &str) -> NewToken {
    NewToken {
        id: Uuid::from_bytes([number; 16]),
        name: name.to_owned(),
        role: Role::Auditor,
        sha256: [number; 32],
        created_at: at(u64::from(number)),
        created_by: "ann".to_owned(),
    }
}

pub async fn token_is_found_by_its_hash(store: Arc<dyn Store>) {
    let made = store.create_token(token(1, "one")).await.unwrap();
    let expected = TokenInfo {
        id: Uuid::from_bytes([1; 16]),
        name: "one".to_owned(),
        role: Role::Auditor,
        created_at: at(1),
        created_by: "ann".to_owned(),
        revoked_at: None,
    };
    assert_eq!(made, expected);
    assert_eq!(store.token_by_hash(&[1; 32]).await.unwrap(), Some(expected));
    assert_eq!(store.token_by_hash(&[2; 32]).await.unwrap(), None);
}

pub async fn revoked_token_stays_revoked(store: Arc<dyn Store>) {
    store.create_token(token(1, "one")).await.unwrap();
    let id = Uuid::from_bytes([1; 16]);
    assert!(store.revoke_token(id, at(50)).await.unwrap());
    assert!(store.revoke_token(id, at(60)).await.unwrap());
    assert!(
        !store
            .revoke_token(Uuid::from_bytes([9; 16]), at(60))
            .await
            .unwrap()
    );
    let known = store.token_by_hash(&[1; 32]).await.unwrap().unwrap();
    assert_eq!(known.revoked_at, Some(at(50)));
}

pub async fn rotation_revokes_the_others_of_that_name(store: Arc<dyn Store>) {
    store.create_token(token(1, "one")).await.unwrap();
    store.create_token(token(2, "two")).await.unwrap();
    store.rotate_token(token(3, "one")).await.unwrap();
    let tokens = store.tokens().await.unwrap();
    let revoked: Vec<_> = tokens.iter().map(|token| token.revoked_at).collect();
    assert_eq!(revoked, [Some(at(3)), None, None]);
}

pub async fn hash_is_stored_once(store: Arc<dyn Store>) {
    store.create_token(token(1, "one")).await.unwrap();
    let mut same = token(2, "two");
    same.sha256 = [1; 32];
    assert!(store.rotate_token(same).await.is_err());
    assert_eq!(store.tokens().await.unwrap().len(), 1);
}

pub async fn cursor_keeps_its_last_value(store: Arc<dyn Store>) {
    assert_eq!(store.cursor("log").await.unwrap(), None);
    for value in ["1", "2"] {
        store.set_cursor("log", value).await.unwrap();
    }
    assert_eq!(store.cursor("log").await.unwrap(), Some("2".to_owned()));
    assert_eq!(store.cursor("other").await.unwrap(), None);
}

pub async fn probes_pass_and_leave_nothing(store: Arc<dyn Store>) {
    for _ in 0..3 {
        store.probe_read().await.unwrap();
        store.probe_write().await.unwrap();
    }
    store
        .append_evidence(batch(SampleEmitter::new(1).take(1)))
        .await
        .unwrap();
}

pub async fn closed_store_refuses(store: Arc<dyn Store>) {
    let records = SampleEmitter::new(1).take(2);
    store
        .append_evidence(batch(records[..1].to_vec()))
        .await
        .unwrap();
    store.close().await;
    let late = store.append_evidence(batch(records[1..].to_vec())).await;
    assert!(matches!(late, Err(StoreError::Closed)));
    let query = store
        .query_evidence(&EvidenceFilter::default(), None, 1)
        .await;
    assert!(matches!(query, Err(StoreError::Closed)));
    store.close().await;
}
