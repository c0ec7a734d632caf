//! Fits records into the sequences of their emitters.
//!
//! Every pair of neighbours is compared once, when the second of them comes,
//! in whatever order they come. In the usual case, records that go on where
//! the sequence ended, one look at the database serves a whole group.

use jiff::Timestamp;
use jupiter_evidence::LeafHash;
use sqlx::Row;
use std::collections::HashMap;

use super::append::Tx;
use super::{to_bytes, to_column, to_count};
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

struct Epoch {
    key: i64,
    /// What of the sequence is in the database, before this group.
    stored: Option<(u64, u64)>,
    records: u64,
    places: u64,
    first_seq: u64,
    last_seq: u64,
    chain_breaks: u64,
    last_received_us: i64,
    /// Taken places, as far as anyone looked.
    taken: HashMap<u64, Vec<Link>>,
}

struct Link {
    leaf: String,
    prev: String,
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
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(free) => {
                let (emitter, epoch) = free.key();
                let epoch = load(tx, emitter, epoch, emitter_start(evidence, received_at)).await?;
                free.insert(epoch)
            }
        };
        let link = Link {
            leaf: evidence.leaf.to_string(),
            prev: emitter.prev.clone(),
        };
        let chain_breaks = epoch.chain_breaks_of(tx, emitter.seq, &link).await?;
        epoch.take(emitter.seq, link, chain_breaks, received_at);
        Ok(Placed {
            epoch_key: epoch.key,
            chain_breaks,
        })
    }

    pub(super) async fn store(&self, tx: &mut Tx) -> Result<(), StoreError> {
        for epoch in self.epochs.values() {
            sqlx::query(
                "UPDATE emitter_epochs SET records = ?, places = ?, first_seq = ?, last_seq = ?,
                 chain_breaks = ?, last_received_us = max(last_received_us, ?) WHERE key = ?",
            )
            .bind(to_column(epoch.records))
            .bind(to_column(epoch.places))
            .bind(to_column(epoch.first_seq))
            .bind(to_column(epoch.last_seq))
            .bind(to_column(epoch.chain_breaks))
            .bind(epoch.last_received_us)
            .bind(epoch.key)
            .execute(&mut **tx)
            .await?;
        }
        Ok(())
    }
}

impl Epoch {
    async fn chain_breaks_of(
        &mut self,
        tx: &mut Tx,
        seq: u64,
        link: &Link,
    ) -> Result<u64, StoreError> {
        if !self.at(tx, seq).await?.is_empty() {
            // Two records in one place; which of them is the true one, the
            // successor's `prev` tells.
            return Ok(1);
        }
        let mut breaks = 0;
        if let Some(before) = seq.checked_sub(1) {
            let before = self.at(tx, before).await?;
            if !before.is_empty() && before.iter().all(|other| other.leaf != link.prev) {
                breaks += 1;
            }
        }
        if let Some(after) = seq.checked_add(1) {
            let after = self.at(tx, after).await?;
            breaks += after.iter().filter(|other| other.prev != link.leaf).count() as u64;
        }
        Ok(breaks)
    }

    /// The records in one place, from the database when it may have any.
    async fn at(&mut self, tx: &mut Tx, seq: u64) -> Result<&[Link], StoreError> {
        let stored = self
            .stored
            .is_some_and(|(first, last)| (first..=last).contains(&seq));
        if stored && !self.taken.contains_key(&seq) {
            let rows = sqlx::query(
                "SELECT leaf, json_extract(record, '$.emitter.prev') AS prev
                 FROM evidence WHERE epoch_key = ? AND seq = ?",
            )
            .bind(self.key)
            .bind(to_column(seq))
            .fetch_all(&mut **tx)
            .await?;
            let links = rows.iter().map(|row| {
                Ok(Link {
                    leaf: LeafHash(to_bytes(row.try_get("leaf")?)?).to_string(),
                    prev: row.try_get("prev")?,
                })
            });
            let links = links.collect::<Result<Vec<_>, StoreError>>()?;
            self.taken.insert(seq, links);
        }
        Ok(self.taken.get(&seq).map(Vec::as_slice).unwrap_or_default())
    }

    fn take(&mut self, seq: u64, link: Link, chain_breaks: u64, received_at: Timestamp) {
        let place = self.taken.entry(seq).or_default();
        self.places += u64::from(place.is_empty());
        place.push(link);
        self.records += 1;
        self.first_seq = self.first_seq.min(seq);
        self.last_seq = self.last_seq.max(seq);
        self.chain_breaks += chain_breaks;
        self.last_received_us = self.last_received_us.max(received_at.as_microsecond());
    }
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
    let records = to_count(row.try_get("records")?)?;
    let first_seq = to_count(row.try_get("first_seq")?)?;
    let last_seq = to_count(row.try_get("last_seq")?)?;
    Ok(Epoch {
        key: row.try_get("key")?,
        stored: (records > 0).then_some((first_seq, last_seq)),
        records,
        places: to_count(row.try_get("places")?)?,
        first_seq,
        last_seq,
        chain_breaks: to_count(row.try_get("chain_breaks")?)?,
        last_received_us: row.try_get("last_received_us")?,
        taken: HashMap::new(),
    })
}
