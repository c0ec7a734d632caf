//! Appends evidence.
//!
//! One transaction for a group: it locks the sequences it adds to, places the
//! records, and stores all of it by one statement. Records are taken for new
//! until that statement says otherwise: in the usual case nobody asks for
//! their ids first. Sequences are locked, and ids stored, in order, so that
//! groups stored side by side wait for each other at most.

use jiff::Timestamp;
use jupiter_evidence::LeafHash;
use sqlx::{Connection, PgConnection, Row};
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

use super::{retention, subjects, to_bytes, to_column, to_count};
use crate::store::group::{Fresh, Group, Known, Quarantined, Word, may_be_let_go};
use crate::store::sequence::{Epoch, EpochRow, Link};
use crate::store::{Appended, EvidenceBatch, SUPERSEDED, Source, StoreError};

/// Whether the group was stored.
pub(super) enum Attempt {
    Stored(Vec<Appended>),
    /// Some records are there already; nothing was stored.
    Known,
}

/// Tries to store the batches in one transaction; the answers are in their
/// order. With `look_first` the ids that are taken are read before anything is
/// decided; they can then be taken only by somebody who is just doing it.
pub(super) async fn append(
    conn: &mut PgConnection,
    region: &str,
    batches: &[EvidenceBatch],
    look_first: bool,
) -> Result<Attempt, StoreError> {
    let mut tx = conn.begin().await?;
    let mut group = Group::default();
    if look_first {
        group.known = known_records(&mut tx, region, batches).await?;
    }
    let old = may_be_let_go(batches);
    if !old.is_empty() {
        group.know_let_go(retention::of_these(&mut tx, &old).await?);
    }
    let mut appended: Vec<Appended> = batches
        .iter()
        .enumerate()
        .map(|(number, batch)| group.take(number, batch))
        .collect();
    let mut epochs = lock_epochs(&mut tx, &group.fresh).await?;
    look_around(&mut tx, &mut epochs, &group.fresh).await?;
    for fresh in &mut group.fresh {
        if fresh.evidence.envelope.provisional {
            continue;
        }
        let emitter = &fresh.evidence.envelope.record.emitter;
        let Some(epoch) = epochs.get_mut(&name_of(fresh)) else {
            continue;
        };
        let link = Link {
            leaf: fresh.evidence.leaf.to_string(),
            prev: emitter.prev.clone(),
        };
        let breaks = epoch.place(emitter.seq, link, fresh.received_at);
        fresh.epoch_key = Some(epoch.row.key);
        if let Some(batch) = appended.get_mut(fresh.batch) {
            batch.chain_breaks += breaks;
        }
    }
    let keys = subjects::keys(&mut tx, &group.subjects()).await?;
    group.seal_salts(&keys)?;
    remove_superseded(&mut tx, region, &group.superseded).await?;
    group
        .fresh
        .sort_by_key(|fresh| fresh.evidence.envelope.record.id);
    if insert(&mut tx, region, &group.fresh, &epochs).await? < group.fresh.len() {
        tx.rollback().await?;
        return Ok(Attempt::Known);
    }
    insert_quarantine(&mut tx, &mut group.quarantined).await?;
    tx.commit().await?;
    Ok(Attempt::Stored(appended))
}

/// Emitter and epoch.
type Name<'a> = (&'a str, &'a str);

fn name_of<'a>(fresh: &Fresh<'a>) -> Name<'a> {
    let emitter = &fresh.evidence.envelope.record.emitter;
    (&emitter.id, &emitter.epoch)
}

/// Locks the sequences that the records belong to, beginning those that are new.
async fn lock_epochs<'a>(
    tx: &mut PgConnection,
    fresh: &[Fresh<'a>],
) -> Result<BTreeMap<Name<'a>, Epoch>, StoreError> {
    let mut first_known: BTreeMap<Name<'a>, (i64, i64)> = BTreeMap::new();
    for fresh in fresh.iter().filter(|f| !f.evidence.envelope.provisional) {
        let seq = to_column(fresh.evidence.envelope.record.emitter.seq);
        first_known
            .entry(name_of(fresh))
            .or_insert((seq, fresh.received_at.as_microsecond()));
    }
    if first_known.is_empty() {
        return Ok(BTreeMap::new());
    }
    let wanted: Vec<Name<'a>> = first_known.keys().copied().collect();
    let (emitters, names): (Vec<&str>, Vec<&str>) = wanted.iter().copied().unzip();
    let (seqs, times): (Vec<i64>, Vec<i64>) = first_known.values().copied().unzip();
    let rows = sqlx::query(
        "INSERT INTO emitter_epochs AS known (emitter, epoch, records, places, first_seq,
         last_seq, chain_breaks, first_received_us, last_received_us)
         SELECT emitter, epoch, 0, 0, seq, seq, 0, received_us, received_us
         FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
              AS wanted (emitter, epoch, seq, received_us)
         ON CONFLICT (emitter, epoch) DO UPDATE SET records = known.records
         RETURNING key, emitter, epoch, records, places, first_seq, last_seq, chain_breaks,
                   last_received_us",
    )
    .bind(&emitters)
    .bind(&names)
    .bind(seqs)
    .bind(times)
    .fetch_all(tx)
    .await?;
    let mut epochs = BTreeMap::new();
    for row in rows {
        let name: Name<'_> = (row.try_get("emitter")?, row.try_get("epoch")?);
        let place = wanted.binary_search_by(|wanted| wanted.cmp(&name));
        if let Some(name) = place.ok().and_then(|place| wanted.get(place)) {
            let row = EpochRow {
                key: row.try_get("key")?,
                records: to_count(row.try_get("records")?)?,
                places: to_count(row.try_get("places")?)?,
                first_seq: to_count(row.try_get("first_seq")?)?,
                last_seq: to_count(row.try_get("last_seq")?)?,
                chain_breaks: to_count(row.try_get("chain_breaks")?)?,
                last_received_us: row.try_get("last_received_us")?,
            };
            epochs.insert(*name, Epoch::new(row));
        }
    }
    Ok(epochs)
}

/// Shows the sequences what the database has beside the new records: in the
/// usual case one place each, that before the first of them.
async fn look_around(
    tx: &mut PgConnection,
    epochs: &mut BTreeMap<Name<'_>, Epoch>,
    fresh: &[Fresh<'_>],
) -> Result<(), StoreError> {
    let mut places: BTreeMap<i64, HashMap<u64, Vec<Link>>> = BTreeMap::new();
    for fresh in fresh.iter().filter(|f| !f.evidence.envelope.provisional) {
        if let Some(epoch) = epochs.get(&name_of(fresh)) {
            let seq = fresh.evidence.envelope.record.emitter.seq;
            for seq in epoch.unseen(seq) {
                let place = places.entry(epoch.row.key).or_default();
                place.insert(seq, Vec::new());
            }
        }
    }
    if places.is_empty() {
        return Ok(());
    }
    let wanted = places
        .iter()
        .flat_map(|(key, seqs)| seqs.keys().map(|seq| (*key, to_column(*seq))));
    let (keys, seqs): (Vec<i64>, Vec<i64>) = wanted.unzip();
    let rows = sqlx::query(
        "SELECT e.epoch_key, e.seq, e.leaf, e.record::json #>> '{emitter,prev}' AS prev
         FROM unnest($1::bigint[], $2::bigint[]) AS wanted (epoch_key, seq)
         JOIN evidence e ON e.epoch_key = wanted.epoch_key AND e.seq = wanted.seq",
    )
    .bind(keys)
    .bind(seqs)
    .fetch_all(tx)
    .await?;
    for row in rows {
        let link = Link {
            leaf: LeafHash(to_bytes(row.try_get("leaf")?)?).to_string(),
            prev: row.try_get("prev")?,
        };
        let seq = to_count(row.try_get("seq")?)?;
        if let Some(seqs) = places.get_mut(&row.try_get("epoch_key")?) {
            seqs.entry(seq).or_default().push(link);
        }
    }
    for epoch in epochs.values_mut() {
        for (seq, links) in places.remove(&epoch.row.key).unwrap_or_default() {
            epoch.see(seq, links);
        }
    }
    Ok(())
}

async fn known_records(
    tx: &mut PgConnection,
    region: &str,
    batches: &[EvidenceBatch],
) -> Result<HashMap<Uuid, Known>, StoreError> {
    let ids: Vec<Uuid> = batches
        .iter()
        .flat_map(|batch| &batch.records)
        .map(|evidence| evidence.envelope.record.id)
        .collect();
    let rows = sqlx::query(
        "SELECT e.id, e.leaf, e.source, e.epoch_key IS NULL AS provisional
         FROM unnest($2::uuid[]) AS wanted (id)
         JOIN evidence e ON e.origin_region = $1 AND e.id = wanted.id",
    )
    .bind(region)
    .bind(ids)
    .fetch_all(tx)
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
            Ok((row.try_get("id")?, known))
        })
        .collect()
}

async fn remove_superseded(
    tx: &mut PgConnection,
    region: &str,
    superseded: &[(Uuid, Timestamp)],
) -> Result<(), StoreError> {
    if superseded.is_empty() {
        return Ok(());
    }
    let (ids, times): (Vec<Uuid>, Vec<i64>) = superseded
        .iter()
        .map(|(id, at)| (*id, at.as_microsecond()))
        .unzip();
    sqlx::query(
        "WITH removed AS (
             DELETE FROM evidence USING unnest($2::uuid[], $4::bigint[]) AS gone (id, at)
             WHERE origin_region = $1 AND evidence.id = gone.id AND epoch_key IS NULL
             RETURNING evidence.id, leaf, source, record, received_us, at
         ), unmatched AS (
             DELETE FROM evidence_rules r USING removed,
                 json_array_elements(coalesce(record::json -> 'matched_rules', '[]')) AS m
             WHERE r.origin_region = $1 AND r.id = removed.id
               AND r.rule IN (m ->> 'rule', (m ->> 'policy') || '/' || (m ->> 'rule'))
         )
         INSERT INTO quarantine AS known
         (hash, reason, source, line, times, first_received_us, last_received_us)
         SELECT leaf, $3, source, convert_to(record, 'UTF8'), 1, received_us, at
         FROM removed ORDER BY leaf
         ON CONFLICT (hash, reason) DO UPDATE SET times = known.times + 1",
    )
    .bind(region)
    .bind(ids)
    .bind(SUPERSEDED)
    .bind(times)
    .execute(tx)
    .await?;
    Ok(())
}

/// Stores records, their rules, what became of their sequences, and their leaves
/// to wait for the tree; how many of the records were not there before. The records come in order of id.
async fn insert(
    tx: &mut PgConnection,
    region: &str,
    fresh: &[Fresh<'_>],
    epochs: &BTreeMap<Name<'_>, Epoch>,
) -> Result<usize, StoreError> {
    if fresh.is_empty() {
        return Ok(0);
    }
    let mut rules: Vec<(String, Uuid)> = Vec::new();
    for fresh in fresh {
        let record = &fresh.evidence.envelope.record;
        for matched in &record.matched_rules {
            rules.push((matched.rule.clone(), record.id));
            rules.push((format!("{}/{}", matched.policy, matched.rule), record.id));
        }
    }
    let (rules, matching): (Vec<String>, Vec<Uuid>) = rules.into_iter().unzip();
    let records = || fresh.iter().map(|fresh| fresh.evidence);
    let rows = || epochs.values().map(|epoch| &epoch.row);
    let stored: i64 = sqlx::query_scalar(
        "WITH waiting AS (
             INSERT INTO log_waiting (leaves, hashes, ids)
             VALUES (cardinality($2::uuid[]), $23, $2::uuid[]) RETURNING batch
         ), stored AS (
             INSERT INTO evidence (origin_region, id, time_us, received_us, source, epoch_key,
                 seq, subject_ref, model, decision, leaf, salt, record, batch_place, batch)
             SELECT $1, new.*, waiting.batch FROM waiting,
                 unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::text[],
                 $6::bigint[], $7::bigint[], $8::uuid[], $9::text[], $10::text[],
                 $11::bytea[], $12::bytea[], $13::text[]) WITH ORDINALITY AS new
             ON CONFLICT (id, origin_region) DO NOTHING
             RETURNING id
         ), matched AS (
             INSERT INTO evidence_rules (rule, origin_region, id)
             SELECT rule, $1, id FROM unnest($14::text[], $15::uuid[]) AS m (rule, id)
             -- Two policies may have rules of the same name: one row serves both.
             ON CONFLICT DO NOTHING
         ), accounted AS (
             UPDATE emitter_epochs known
             SET records = now.records, places = now.places, first_seq = now.first_seq,
                 last_seq = now.last_seq, chain_breaks = now.chain_breaks,
                 last_received_us = now.last_received_us
             FROM unnest($16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[],
                 $20::bigint[], $21::bigint[], $22::bigint[])
                 AS now (key, records, places, first_seq, last_seq, chain_breaks,
                         last_received_us)
             WHERE known.key = now.key
         )
         SELECT count(*) FROM stored",
    )
    .bind(region)
    .bind(column(records(), |e| e.envelope.record.id))
    .bind(column(records(), |e| e.time.as_microsecond()))
    .bind(column(fresh.iter(), |f| f.received_at.as_microsecond()))
    .bind(column(fresh.iter(), |f| f.source.as_str()))
    .bind(column(fresh.iter(), |f| f.epoch_key))
    .bind(column(records(), |e| {
        to_column(e.envelope.record.emitter.seq)
    }))
    .bind(column(fresh.iter(), |f| f.subject))
    .bind(column(records(), |e| {
        e.envelope.record.request_model.as_deref()
    }))
    .bind(column(records(), |e| e.envelope.record.decision.as_str()))
    .bind(column(records(), |e| e.leaf.0.as_slice()))
    .bind(column(fresh.iter(), |f| f.salt.as_slice()))
    .bind(column(records(), |e| e.envelope.canonical.as_str()))
    .bind(rules)
    .bind(matching)
    .bind(column(rows(), |row| row.key))
    .bind(column(rows(), |row| to_column(row.records)))
    .bind(column(rows(), |row| to_column(row.places)))
    .bind(column(rows(), |row| to_column(row.first_seq)))
    .bind(column(rows(), |row| to_column(row.last_seq)))
    .bind(column(rows(), |row| to_column(row.chain_breaks)))
    .bind(column(rows(), |row| row.last_received_us))
    .bind(column(records(), |e| e.leaf.0).concat())
    .fetch_one(tx)
    .await?;
    Ok(usize::try_from(stored).unwrap_or_default())
}

fn column<T, C>(rows: impl Iterator<Item = T>, of: impl Fn(T) -> C) -> Vec<C> {
    rows.map(of).collect()
}

async fn insert_quarantine(
    tx: &mut PgConnection,
    rows: &mut [Quarantined<'_>],
) -> Result<(), StoreError> {
    // In one order, as everything that others may be storing too.
    rows.sort_by_key(|row| row.hash);
    for row in rows {
        sqlx::query(
            "INSERT INTO quarantine AS known
             (hash, reason, source, line, times, first_received_us, last_received_us)
             VALUES ($1, $2, $3, $4, 1, $5, $5)
             ON CONFLICT (hash, reason) DO UPDATE
             SET times = known.times + 1, last_received_us = excluded.last_received_us",
        )
        .bind(row.hash.as_slice())
        .bind(row.reason)
        .bind(row.source.as_str())
        .bind(row.line)
        .bind(row.received_at.as_microsecond())
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}
