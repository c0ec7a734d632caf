//! Reads evidence.
//!
//! Every filter has an index whose entries are in order of id, so that a page
//! costs the same wherever it begins; weeks that cannot hold any are not looked
//! at. UUIDv7 carries its time: `since` and `until` become bounds of ids, then
//! are checked exactly. What is asked for is bound as a value, so that Postgres knows
//! how often it is there. Columns are named one by one: a column that a later
//! version adds must not invalidate the statements of this one.

use jiff::{SignedDuration, Timestamp};
use jupiter_evidence::{DecisionKind, LeafHash};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, QueryBuilder, Row};
use uuid::Uuid;

use super::{log, subjects, to_bytes, to_count, to_time};
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
    conn: &mut PgConnection,
    filter: &EvidenceFilter,
    before: Option<Uuid>,
    limit: u32,
) -> Result<EvidencePage, StoreError> {
    let subject = match &filter.subject {
        None => None,
        Some(name) => match subjects::reference(conn, name).await? {
            None => return Ok(EvidencePage::default()),
            reference => reference,
        },
    };
    let mut select = QueryBuilder::new("");
    selection_into(&mut select, filter, subject, before);
    // One more than asked for tells whether there are more.
    select.push_bind(i64::from(limit) + 1);
    // A plan for any values would read every week; these are not worth keeping.
    let rows = select.build().persistent(false).fetch_all(conn).await?;
    let limit = limit as usize;
    let next = match rows.get(limit) {
        Some(_) => rows
            .get(limit.saturating_sub(1))
            .map(|row| row.try_get("id"))
            .transpose()?,
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
    select: &mut QueryBuilder<Postgres>,
    filter: &EvidenceFilter,
    subject: Option<Uuid>,
    before: Option<Uuid>,
) {
    select.push("SELECT e.id, e.record, e.subject_ref, ");
    select.push(SUBJECT).push(", ").push(log::LEAF_INDEX);
    select.push(" FROM ");
    let id = match &filter.rule {
        Some(rule) => {
            // The side table leads, in its order, and records are looked up one by
            // one: OFFSET keeps Postgres from joining all of them first.
            select.push(
                "evidence_rules r CROSS JOIN LATERAL (
                     SELECT * FROM evidence e
                     WHERE e.id = r.id AND e.origin_region = r.origin_region OFFSET 0
                 ) e WHERE r.rule = ",
            );
            select.push_bind(rule.clone());
            "r.id"
        }
        None => {
            select.push("evidence e WHERE true");
            "e.id"
        }
    };
    if let Some(before) = before {
        select.push(format_args!(" AND {id} < ")).push_bind(before);
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
    if let Some(subject) = subject {
        select.push(" AND e.subject_ref = ").push_bind(subject);
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
fn id_bound(time: Timestamp, shift: SignedDuration) -> Uuid {
    let shifted = time.checked_add(shift).unwrap_or(time);
    // One millisecond further covers the part of a millisecond that an id lacks.
    let millis = shifted.as_millisecond() + i64::from(shift.is_positive());
    Uuid::from_u128(u128::from(u64::try_from(millis).unwrap_or(0)) << 80)
}

fn reference_of(row: &PgRow) -> Result<Option<Uuid>, StoreError> {
    Ok(row.try_get("subject_ref")?)
}

fn subject_of(row: &PgRow) -> Result<Subject, StoreError> {
    Ok(Subject::of(reference_of(row)?, row.try_get("subject")?))
}

pub(super) async fn get(
    conn: &mut PgConnection,
    id: Uuid,
) -> Result<Option<StoredEvidence>, StoreError> {
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT e.record, e.leaf, e.received_us, e.source, e.epoch_key IS NULL AS provisional,
             e.salt, e.subject_ref, {SUBJECT},
             (SELECT key FROM subject_keys k WHERE k.subject_ref = e.subject_ref) AS key,
             {} FROM evidence e WHERE e.id = $1 LIMIT 1",
        log::LEAF_INDEX
    )))
    .bind(id)
    .fetch_optional(conn)
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
    conn: &mut PgConnection,
    before: Option<i64>,
    limit: u32,
) -> Result<EmitterPage, StoreError> {
    let rows = sqlx::query(
        "SELECT key, emitter, epoch, records, places, first_seq, last_seq, chain_breaks,
                first_received_us, last_received_us
         FROM emitter_epochs WHERE key < $1 ORDER BY key DESC LIMIT $2",
    )
    .bind(before.unwrap_or(i64::MAX))
    .bind(i64::from(limit) + 1)
    .fetch_all(conn)
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

fn epoch(row: &PgRow) -> Result<EmitterEpoch, StoreError> {
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

pub(super) async fn totals(conn: &mut PgConnection) -> Result<EvidenceTotals, StoreError> {
    // `sum` of bigints is a numeric; ours stay far below.
    let row = sqlx::query(
        "SELECT count(*) AS epochs, coalesce(sum(records), 0)::bigint AS records,
         coalesce(sum(last_seq + 1 - places), 0)::bigint AS missing,
         coalesce(sum(chain_breaks), 0)::bigint AS chain_breaks FROM emitter_epochs",
    )
    .fetch_one(conn)
    .await?;
    Ok(EvidenceTotals {
        epochs: to_count(row.try_get("epochs")?)?,
        records: to_count(row.try_get("records")?)?,
        missing: to_count(row.try_get("missing")?)?,
        chain_breaks: to_count(row.try_get("chain_breaks")?)?,
    })
}

/// How Postgres would go about a query.
#[cfg(any(test, feature = "store-contract"))]
pub(super) async fn plan(
    conn: &mut PgConnection,
    filter: &EvidenceFilter,
) -> Result<String, StoreError> {
    let mut explain = QueryBuilder::new("EXPLAIN (COSTS OFF) ");
    let subject = match &filter.subject {
        None => None,
        Some(name) => subjects::reference(conn, name).await?,
    };
    selection_into(&mut explain, filter, subject, None);
    explain.push_bind(10_i64);
    let explain = explain.build_query_scalar::<String>().persistent(false);
    Ok(explain.fetch_all(conn).await?.join("\n"))
}
