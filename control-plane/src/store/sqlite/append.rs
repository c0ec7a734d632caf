//! Appends evidence: which records are new, and the few statements that store
//! them all.
//!
//! What the database knows of a group is read first, everything is decided in
//! memory ([`crate::store::group`]), then written. The one writing connection
//! holds the lock throughout, so nothing changes between the reading and the
//! writing. How records fit their sequences is [`super::sequence`]; what becomes
//! a leaf, [`super::log`].

use jiff::Timestamp;
use jupiter_evidence::LeafHash;
use sqlx::sqlite::SqlitePool;
use sqlx::{QueryBuilder, Row, Sqlite, Transaction};
use std::collections::HashMap;
use std::fmt::Write;
use uuid::Uuid;

use super::log;
use super::sequence::Sequences;
use super::{retention, subjects};
use super::{to_bytes, to_column, to_uuid};
use crate::store::group::{Fresh, Group, Known, Quarantined, Word, may_be_let_go};
use crate::store::{Appended, EvidenceBatch, SUPERSEDED, Source, StoreError};

pub(super) type Tx = Transaction<'static, Sqlite>;

/// Rows of one statement: SQLite allows 32,766 parameters, and gains nothing
/// from longer statements.
pub(super) const ROWS: usize = 100;

/// Stores the batches in one transaction; the answers are in their order.
pub(super) async fn append(
    pool: &SqlitePool,
    batches: &[EvidenceBatch],
) -> Result<Vec<Appended>, StoreError> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    let mut group = Group {
        known: known_records(&mut tx, batches).await?,
        ..Group::default()
    };
    let old = may_be_let_go(batches);
    if !old.is_empty() {
        group.know_let_go(retention::of_these(&mut tx, &old).await?);
    }
    let mut appended: Vec<Appended> = batches
        .iter()
        .enumerate()
        .map(|(number, batch)| group.take(number, batch))
        .collect();
    remove_superseded(&mut tx, &group.superseded).await?;
    let mut sequences = Sequences::default();
    for fresh in &mut group.fresh {
        if fresh.evidence.envelope.provisional {
            continue;
        }
        let placed = sequences
            .place(&mut tx, fresh.evidence, fresh.received_at)
            .await?;
        fresh.epoch_key = Some(placed.epoch_key);
        if let Some(batch) = appended.get_mut(fresh.batch) {
            batch.chain_breaks += placed.chain_breaks;
        }
    }
    sequences.store(&mut tx).await?;
    let keys = subjects::keys(&mut tx, &group.subjects()).await?;
    group.seal_salts(&keys)?;
    let leaves: Vec<LeafHash> = group.fresh.iter().map(|f| f.evidence.leaf).collect();
    let first_arrival = log::enqueue(&mut tx, &leaves).await?;
    insert_records(&mut tx, &group.fresh, first_arrival).await?;
    insert_rules(&mut tx, &group.fresh).await?;
    insert_quarantine(&mut tx, &group.quarantined).await?;
    tx.commit().await?;
    Ok(appended)
}

async fn known_records(
    tx: &mut Tx,
    batches: &[EvidenceBatch],
) -> Result<HashMap<Uuid, Known>, StoreError> {
    let ids = batches.iter().flat_map(|batch| &batch.records);
    // One constant statement for any number of ids.
    let mut list = String::from("[");
    for evidence in ids {
        let comma = if list.len() > 1 { "," } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(list, "{comma}\"{}\"", evidence.envelope.record.id.simple());
    }
    list.push(']');
    let rows = sqlx::query(
        "SELECT e.id, e.leaf, e.source, e.epoch_key IS NULL AS provisional
         FROM json_each(?) wanted CROSS JOIN evidence e ON e.id = unhex(wanted.value)",
    )
    .bind(list)
    .fetch_all(&mut **tx)
    .await?;
    rows.iter()
        .map(|row| {
            let known = Known {
                leaf: LeafHash(to_bytes(row.try_get("leaf")?)?),
                word: Word::of(
                    row.try_get("provisional")?,
                    Source::parse(row.try_get("source")?)?,
                ),
                fresh: None,
            };
            Ok((to_uuid(row.try_get("id")?)?, known))
        })
        .collect()
}

async fn remove_superseded(tx: &mut Tx, ids: &[(Uuid, Timestamp)]) -> Result<(), StoreError> {
    for (id, at) in ids {
        let id = id.as_bytes().as_slice();
        sqlx::query(
            "INSERT INTO quarantine
             (hash, reason, source, line, times, first_received_us, last_received_us)
             SELECT leaf, ?, source, CAST(record AS BLOB), 1, received_us, ?
             FROM evidence WHERE id = ?
             ON CONFLICT (hash, reason) DO UPDATE SET times = times + 1",
        )
        .bind(SUPERSEDED)
        .bind(at.as_microsecond())
        .bind(id)
        .execute(&mut **tx)
        .await?;
        sqlx::query("DELETE FROM evidence_rules WHERE id = ?")
            .bind(id)
            .execute(&mut **tx)
            .await?;
        sqlx::query("DELETE FROM evidence WHERE id = ? AND epoch_key IS NULL")
            .bind(id)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

async fn insert_records(
    tx: &mut Tx,
    fresh: &[Fresh<'_>],
    first_arrival: i64,
) -> Result<(), StoreError> {
    let mut arrivals = first_arrival..;
    for rows in fresh.chunks(ROWS) {
        let mut insert = QueryBuilder::new(
            "INSERT INTO evidence (arrival, id, time_us, received_us, source, epoch_key, seq,
             subject_ref, model, decision, leaf, salt, record) ",
        );
        insert.push_values(rows, |mut row, fresh| {
            let evidence = fresh.evidence;
            let record = &evidence.envelope.record;
            row.push_bind(arrivals.next())
                .push_bind(record.id.as_bytes().as_slice())
                .push_bind(evidence.time.as_microsecond())
                .push_bind(fresh.received_at.as_microsecond())
                .push_bind(fresh.source.as_str())
                .push_bind(fresh.epoch_key)
                // Ingest lets no number pass that does not fit.
                .push_bind(to_column(record.emitter.seq))
                .push_bind(
                    fresh
                        .subject
                        .map(|reference| reference.into_bytes().to_vec()),
                )
                .push_bind(record.request_model.as_deref())
                .push_bind(record.decision.as_str())
                .push_bind(evidence.leaf.0.as_slice())
                .push_bind(fresh.salt.as_slice())
                .push_bind(evidence.envelope.canonical.as_str());
        });
        // Only full statements recur and are worth keeping prepared.
        let insert = insert.build().persistent(rows.len() == ROWS);
        insert.execute(&mut **tx).await?;
    }
    Ok(())
}

async fn insert_rules(tx: &mut Tx, fresh: &[Fresh<'_>]) -> Result<(), StoreError> {
    let mut matches = Vec::new();
    for fresh in fresh {
        let record = &fresh.evidence.envelope.record;
        for matched in &record.matched_rules {
            matches.push((matched.rule.clone(), record.id));
            matches.push((format!("{}/{}", matched.policy, matched.rule), record.id));
        }
    }
    for rows in matches.chunks(ROWS) {
        // Two policies may have rules of the same name: one row serves both.
        let mut insert = QueryBuilder::new("INSERT OR IGNORE INTO evidence_rules (rule, id) ");
        insert.push_values(rows, |mut row, (rule, id)| {
            row.push_bind(rule.as_str())
                .push_bind(id.as_bytes().as_slice());
        });
        let insert = insert.build().persistent(rows.len() == ROWS);
        insert.execute(&mut **tx).await?;
    }
    Ok(())
}

async fn insert_quarantine(tx: &mut Tx, rows: &[Quarantined<'_>]) -> Result<(), StoreError> {
    for row in rows {
        sqlx::query(
            "INSERT INTO quarantine
             (hash, reason, source, line, times, first_received_us, last_received_us)
             VALUES (?1, ?2, ?3, ?4, 1, ?5, ?5)
             ON CONFLICT (hash, reason) DO UPDATE
             SET times = times + 1, last_received_us = excluded.last_received_us",
        )
        .bind(row.hash.as_slice())
        .bind(row.reason)
        .bind(row.source.as_str())
        .bind(row.line)
        .bind(row.received_at.as_microsecond())
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}
