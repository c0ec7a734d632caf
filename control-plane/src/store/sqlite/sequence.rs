//! The rows behind [`crate::store::sequence`].
//!
//! In the usual case, records that go on where the sequence ended, one look at
//! the database serves a whole group.

use jiff::Timestamp;
use jupiter_evidence::LeafHash;
use sqlx::Row;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::append::Tx;
use super::{to_bytes, to_column, to_count};
use crate::store::sequence::{Epoch, EpochRow, Link};
use crate::store::{NewEvidence, StoreError};

/// The sequences a group touches.
#[derive(Default)]
pub(super) struct Sequences {
    epochs: HashMap<(String, String), Epoch>,
}

/// Where a record went.
pub(super) struct Placed {
    pub(super) epoch_key: i64,
    pub(super) chain_breaks: u64,
}

impl Sequences {
    pub(super) async fn place(
        &mut self,
        tx: &mut Tx,
        evidence: &NewEvidence,
        received_at: Timestamp,
    ) -> Result<Placed, StoreError> {
        let emitter = &evidence.envelope.record.emitter;
        let name = (emitter.id.clone(), emitter.epoch.clone());
        let epoch = match self.epochs.entry(name) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                let (emitter, epoch) = free.key();
                let epoch = load(tx, emitter, epoch, emitter_start(evidence, received_at)).await?;
                free.insert(epoch)
            }
        };
        let unseen: Vec<u64> = epoch.unseen(emitter.seq).collect();
        for seq in unseen {
            epoch.see(seq, links(tx, epoch.row.key, seq).await?);
        }
        let link = Link {
            leaf: evidence.leaf.to_string(),
            prev: emitter.prev.clone(),
        };
        Ok(Placed {
            epoch_key: epoch.row.key,
            chain_breaks: epoch.place(emitter.seq, link, received_at),
        })
    }

    pub(super) async fn store(&self, tx: &mut Tx) -> Result<(), StoreError> {
        for Epoch { row, .. } in self.epochs.values() {
            sqlx::query(
                "UPDATE emitter_epochs SET records = ?, places = ?, first_seq = ?, last_seq = ?,
                 chain_breaks = ?, last_received_us = max(last_received_us, ?) WHERE key = ?",
            )
            .bind(to_column(row.records))
            .bind(to_column(row.places))
            .bind(to_column(row.first_seq))
            .bind(to_column(row.last_seq))
            .bind(to_column(row.chain_breaks))
            .bind(row.last_received_us)
            .bind(row.key)
            .execute(&mut **tx)
            .await?;
        }
        Ok(())
    }
}

/// The records in one place.
async fn links(tx: &mut Tx, key: i64, seq: u64) -> Result<Vec<Link>, StoreError> {
    let rows = sqlx::query(
        "SELECT leaf, json_extract(record, '$.emitter.prev') AS prev
         FROM evidence WHERE epoch_key = ? AND seq = ?",
    )
    .bind(key)
    .bind(to_column(seq))
    .fetch_all(&mut **tx)
    .await?;
    let links = rows.iter().map(|row| {
        Ok(Link {
            leaf: LeafHash(to_bytes(row.try_get("leaf")?)?).to_string(),
            prev: row.try_get("prev")?,
        })
    });
    links.collect()
}

/// What a sequence is first known by.
fn emitter_start(evidence: &NewEvidence, received_at: Timestamp) -> (u64, i64) {
    (
        evidence.envelope.record.emitter.seq,
        received_at.as_microsecond(),
    )
}

async fn load(
    tx: &mut Tx,
    emitter: &str,
    epoch: &str,
    (seq, received_us): (u64, i64),
) -> Result<Epoch, StoreError> {
    let row = sqlx::query(
        "INSERT INTO emitter_epochs (emitter, epoch, records, places, first_seq, last_seq,
         chain_breaks, first_received_us, last_received_us)
         VALUES (?1, ?2, 0, 0, ?3, ?3, 0, ?4, ?4)
         ON CONFLICT (emitter, epoch) DO UPDATE SET records = records
         RETURNING key, records, places, first_seq, last_seq, chain_breaks, last_received_us",
    )
    .bind(emitter)
    .bind(epoch)
    .bind(to_column(seq))
    .bind(received_us)
    .fetch_one(&mut **tx)
    .await?;
    Ok(Epoch::new(EpochRow {
        key: row.try_get("key")?,
        records: to_count(row.try_get("records")?)?,
        places: to_count(row.try_get("places")?)?,
        first_seq: to_count(row.try_get("first_seq")?)?,
        last_seq: to_count(row.try_get("last_seq")?)?,
        chain_breaks: to_count(row.try_get("chain_breaks")?)?,
        last_received_us: row.try_get("last_received_us")?,
    }))
}
