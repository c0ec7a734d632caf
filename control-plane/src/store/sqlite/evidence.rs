//! Reads evidence.
//!
//! Every filter has an index whose entries are in order of id, so that a page
//! costs the same wherever it begins. UUIDv7 carries its time: `since` and
//! `until` become bounds of ids, then are checked exactly.

use jiff::{SignedDuration, Timestamp};
use jupiter_evidence::{DecisionKind, LeafHash};
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, QueryBuilder, Row, Sqlite};
use uuid::Uuid;

use super::{log, to_bytes, to_count, to_time};
use crate::ingest::ID_TIME_TOLERANCE;
use crate::store::subjects::open_salt;
use crate::store::{
    EmitterEpoch, EmitterPage, EvidenceFilter, EvidencePage, EvidenceTotals, Source, StoreError,
    StoredEvidence, Subject,
};

/// Its name, as long as there is one; a subquery, so that no plan is led by it.
const SUBJECT: &str = "(SELECT subject FROM subject_keys k WHERE k.subject_ref = e.subject_ref)
     AS subject";

pub(super) async fn query(
    pool: &SqlitePool,
    filter: &EvidenceFilter,
    before: Option<Uuid>,
    limit: u32,
) -> Result<EvidencePage, StoreError> {
    let mut select = QueryBuilder::new("");
    selection_into(&mut select, filter, before);
    // One more than asked for tells whether there are more.
    select.push_bind(i64::from(limit) + 1);
    let rows = select.build().fetch_all(pool).await?;
    let limit = limit as usize;
    let next = match rows.get(limit) {
        Some(_) => rows.get(limit.saturating_sub(1)).map(id_of).transpose()?,
        None => None,
    };
    let records = rows.iter().take(limit).map(|row| row.try_get("record"));
    let indexes = rows.iter().take(limit).map(log::leaf_index);
    let subjects = rows.iter().take(limit).map(subject_of);
    Ok(EvidencePage {
        records: records.collect::<Result<_, _>>()?,
        subjects: subjects.collect::<Result<_, _>>()?,
        leaf_indexes: indexes.collect::<Result<_, _>>()?,
        next,
    })
}

/// Everything of the query up to `LIMIT`.
fn selection_into(
    select: &mut QueryBuilder<Sqlite>,
    filter: &EvidenceFilter,
    before: Option<Uuid>,
) {
    select.push("SELECT e.id, e.record, e.subject_ref, ");
    select.push(SUBJECT).push(", ").push(log::LEAF_INDEX);
    select.push(" FROM ");
    let id = match &filter.rule {
        // The side table leads; CROSS JOIN keeps SQLite from thinking otherwise.
        Some(rule) => {
            select.push("evidence_rules r CROSS JOIN evidence e ON e.id = r.id WHERE r.rule = ");
            select.push_bind(rule.clone());
            "r.id"
        }
        None => {
            select.push("evidence e WHERE true");
            "e.id"
        }
    };
    if let Some(before) = before {
        select
            .push(format_args!(" AND {id} < "))
            .push_bind(before.into_bytes().to_vec());
    }
    if let Some(since) = filter.since {
        select
            .push(format_args!(" AND {id} >= "))
            .push_bind(id_bound(since, -ID_TIME_TOLERANCE));
        select
            .push(" AND e.time_us >= ")
            .push_bind(since.as_microsecond());
    }
    if let Some(until) = filter.until {
        select
            .push(format_args!(" AND {id} < "))
            .push_bind(id_bound(until, ID_TIME_TOLERANCE));
        select
            .push(" AND e.time_us < ")
            .push_bind(until.as_microsecond());
    }
    if let Some(subject) = &filter.subject {
        select
            .push(" AND e.subject_ref = (SELECT subject_ref FROM subject_keys WHERE subject = ")
            .push_bind(subject.clone())
            .push(")");
    }
    if let Some(model) = &filter.model {
        select.push(" AND e.model = ").push_bind(model.clone());
    }
    // Literals, as partial indexes serve only those.
    select.push(match filter.decision {
        None => "",
        Some(DecisionKind::Allow) => " AND e.decision = 'allow'",
        Some(DecisionKind::Deny) => " AND e.decision = 'deny'",
        Some(DecisionKind::Error) => " AND e.decision = 'error'",
    });
    select.push(format_args!(" ORDER BY {id} DESC LIMIT "));
}

/// The least id of a moment, shifted by what id and `time` may differ.
fn id_bound(time: Timestamp, shift: SignedDuration) -> Vec<u8> {
    let shifted = time.checked_add(shift).unwrap_or(time);
    // One millisecond further covers the part of a millisecond that an id lacks.
    let millis = shifted.as_millisecond() + i64::from(shift.is_positive());
    let millis = u64::try_from(millis).unwrap_or(0);
    let [_, _, bytes @ ..] = millis.to_be_bytes();
    let mut bound = bytes.to_vec();
    bound.resize(16, 0);
    bound
}

fn id_of(row: &SqliteRow) -> Result<Uuid, StoreError> {
    super::to_uuid(row.try_get("id")?)
}

fn reference_of(row: &SqliteRow) -> Result<Option<Uuid>, StoreError> {
    let reference: Option<Vec<u8>> = row.try_get("subject_ref")?;
    reference.map(super::to_uuid).transpose()
}

fn subject_of(row: &SqliteRow) -> Result<Subject, StoreError> {
    Ok(Subject::of(reference_of(row)?, row.try_get("subject")?))
}

pub(super) async fn get(pool: &SqlitePool, id: Uuid) -> Result<Option<StoredEvidence>, StoreError> {
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT e.record, e.leaf, e.received_us, e.source, e.epoch_key IS NULL AS provisional,
             e.salt, e.subject_ref, {SUBJECT},
             (SELECT key FROM subject_keys k WHERE k.subject_ref = e.subject_ref) AS key,
             {} FROM evidence e WHERE e.id = ?",
        log::LEAF_INDEX
    )))
    .bind(id.as_bytes().as_slice())
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let source: &str = row.try_get("source")?;
    let leaf = LeafHash(to_bytes(row.try_get("leaf")?)?);
    let key: Option<Vec<u8>> = row.try_get("key")?;
    let key = key.map(to_bytes).transpose()?;
    Ok(Some(StoredEvidence {
        canonical: row.try_get("record")?,
        subject: subject_of(&row)?,
        salt: open_salt(&leaf, row.try_get("salt")?, reference_of(&row)?, key)?,
        leaf,
        received_at: to_time(row.try_get("received_us")?)?,
        source: Source::parse(source)?,
        provisional: row.try_get("provisional")?,
        leaf_index: log::leaf_index(&row)?,
    }))
}

pub(super) async fn emitters(
    pool: &SqlitePool,
    before: Option<i64>,
    limit: u32,
) -> Result<EmitterPage, StoreError> {
    let rows = sqlx::query("SELECT * FROM emitter_epochs WHERE key < ? ORDER BY key DESC LIMIT ?")
        .bind(before.unwrap_or(i64::MAX))
        .bind(i64::from(limit) + 1)
        .fetch_all(pool)
        .await?;
    let limit = limit as usize;
    let next = match rows.get(limit) {
        Some(_) => rows
            .get(limit.saturating_sub(1))
            .map(|row| row.try_get("key"))
            .transpose()?,
        None => None,
    };
    let epochs = rows.iter().take(limit).map(epoch);
    Ok(EmitterPage {
        epochs: epochs.collect::<Result<_, _>>()?,
        next,
    })
}

fn epoch(row: &SqliteRow) -> Result<EmitterEpoch, StoreError> {
    let last_seq = to_count(row.try_get("last_seq")?)?;
    let places = to_count(row.try_get("places")?)?;
    Ok(EmitterEpoch {
        emitter: row.try_get("emitter")?,
        epoch: row.try_get("epoch")?,
        records: to_count(row.try_get("records")?)?,
        first_seq: to_count(row.try_get("first_seq")?)?,
        last_seq,
        missing: last_seq.saturating_add(1).saturating_sub(places),
        chain_breaks: to_count(row.try_get("chain_breaks")?)?,
        first_received_at: to_time(row.try_get("first_received_us")?)?,
        last_received_at: to_time(row.try_get("last_received_us")?)?,
    })
}

pub(super) async fn totals(pool: &SqlitePool) -> Result<EvidenceTotals, StoreError> {
    let row = sqlx::query(
        "SELECT count(*) AS epochs, coalesce(sum(records), 0) AS records,
         coalesce(sum(last_seq + 1 - places), 0) AS missing,
         coalesce(sum(chain_breaks), 0) AS chain_breaks FROM emitter_epochs",
    )
    .fetch_one(pool)
    .await?;
    Ok(EvidenceTotals {
        epochs: to_count(row.try_get("epochs")?)?,
        records: to_count(row.try_get("records")?)?,
        missing: to_count(row.try_get("missing")?)?,
        chain_breaks: to_count(row.try_get("chain_breaks")?)?,
    })
}

/// How SQLite would go about a query.
#[cfg(test)]
pub(super) async fn plan(pool: &SqlitePool, filter: &EvidenceFilter) -> String {
    let mut explain = QueryBuilder::<Sqlite>::new("EXPLAIN QUERY PLAN ");
    selection_into(&mut explain, filter, Some(Uuid::nil()));
    explain.push_bind(10_i64);
    let rows = explain.build().fetch_all(pool).await.unwrap();
    let steps = rows
        .iter()
        .map(|row| row.try_get::<String, _>("detail").unwrap());
    steps.collect::<Vec<_>>().join("; ")
}
