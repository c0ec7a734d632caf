//! Lets old records go.
//!
//! Rows go one by one, as records of one week may be kept for different times; a week
//! without any is dropped ([`super::partitions`]).

use sqlx::postgres::PgRow;
use sqlx::{Connection, PgConnection, Row};
use uuid::Uuid;

use super::{subjects, to_column, to_count, to_time};
use crate::store::retention::in_force;
use crate::store::{Hold, LetGo, LetGoError, Retention, RetiredRecord, SUPERSEDED, StoreError};

pub(super) async fn let_go(
    conn: &mut PgConnection,
    seen: &[Hold],
    let_go: &LetGo,
) -> Result<(), LetGoError> {
    let mut tx = conn.begin().await?;
    // Placing a hold waits, or has happened.
    subjects::lock(&mut tx).await?;
    if in_force(&subjects::holds(&mut tx).await?) != in_force(seen) {
        return Err(LetGoError::Stale);
    }
    if remove(&mut tx, let_go).await? != let_go.leaves.len() as u64 {
        return Err(LetGoError::Stale);
    }
    tx.commit().await?;
    Ok(())
}

pub(super) async fn let_go_again(
    conn: &mut PgConnection,
    let_go: &LetGo,
) -> Result<u64, StoreError> {
    let mut tx = conn.begin().await?;
    let again = remove(&mut tx, let_go).await?;
    tx.commit().await?;
    Ok(again)
}

/// How many of the records were there.
async fn remove(tx: &mut PgConnection, let_go: &LetGo) -> Result<u64, StoreError> {
    let retention = &let_go.retention;
    sqlx::query(
        "INSERT INTO retentions (archive, let_go_us, records, note) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
    )
    .bind(&retention.archive)
    .bind(retention.at.as_microsecond())
    .bind(to_column(retention.records))
    .bind(&retention.note)
    .execute(&mut *tx)
    .await?;
    let leaves = || let_go.leaves.iter();
    let indexes: Vec<i64> = leaves().map(|(index, _)| to_column(*index)).collect();
    let hashes: Vec<&[u8]> = leaves().map(|(_, hash)| hash.as_slice()).collect();
    let (first, last) = (indexes.first().copied(), indexes.last().copied());
    let removed: i64 = sqlx::query_scalar(
        "WITH named AS (
             SELECT w.leaf_index, w.leaf, b.id, b.batch
             FROM unnest($1::bigint[], $2::bytea[]) AS w (leaf_index, leaf)
             JOIN (
                 SELECT b.first_index + m.place - 1 AS leaf_index, m.id, b.batch
                 FROM log_batches b CROSS JOIN unnest(b.ids) WITH ORDINALITY AS m (id, place)
                 WHERE b.first_index <= $4
                 AND b.first_index >= coalesce((SELECT max(first_index) FROM log_batches
                                                WHERE first_index <= $3), 0)
             ) b USING (leaf_index)
         ), stored AS (
             DELETE FROM evidence e USING named n
             WHERE e.id = n.id AND e.batch = n.batch AND e.leaf = n.leaf
             RETURNING n.leaf_index, e.id, e.epoch_key, e.seq
         ), unmatched AS (
             DELETE FROM evidence_rules r USING stored s WHERE r.id = s.id
         ), replaced AS (
             DELETE FROM quarantine q USING named n
             WHERE q.hash = n.leaf AND q.reason = $6
             RETURNING n.leaf_index, n.id
         ), retired AS (
             INSERT INTO retired_evidence (leaf_index, id, epoch_key, seq, archive)
             SELECT leaf_index, id, epoch_key, seq, $5 FROM stored
             UNION ALL SELECT leaf_index, id, NULL, 0, $5 FROM replaced
             ON CONFLICT DO NOTHING
         )
         SELECT (SELECT count(*) FROM stored) + (SELECT count(*) FROM replaced)",
    )
    // A plan for any number of records is one for none of them.
    .persistent(false)
    .bind(&indexes)
    .bind(hashes)
    .bind(first.unwrap_or(0))
    .bind(last.unwrap_or(-1))
    .bind(&retention.archive)
    .bind(SUPERSEDED)
    .fetch_one(tx)
    .await?;
    to_count(removed)
}

pub(super) async fn list(conn: &mut PgConnection) -> Result<Vec<Retention>, StoreError> {
    let rows = sqlx::query(
        "SELECT archive, let_go_us, records, note FROM retentions ORDER BY let_go_us, archive",
    )
    .fetch_all(conn)
    .await?;
    let retention = |row: &PgRow| {
        Ok(Retention {
            archive: row.try_get("archive")?,
            at: to_time(row.try_get("let_go_us")?)?,
            records: to_count(row.try_get("records")?)?,
            note: row.try_get("note")?,
        })
    };
    rows.iter().map(retention).collect()
}

pub(super) async fn retired(
    conn: &mut PgConnection,
    id: Uuid,
) -> Result<Option<RetiredRecord>, StoreError> {
    let row = sqlx::query(
        "SELECT e.leaf_index, e.archive, r.let_go_us
         FROM retired_evidence e JOIN retentions r USING (archive)
         WHERE e.id = $1 ORDER BY e.leaf_index DESC LIMIT 1",
    )
    .bind(id)
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        Ok(RetiredRecord {
            leaf_index: to_count(row.try_get("leaf_index")?)?,
            let_go_at: to_time(row.try_get("let_go_us")?)?,
            archive: row.try_get("archive")?,
        })
    })
    .transpose()
}

/// Those of these ids whose last word was let go.
pub(super) async fn of_these(tx: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
    let found = sqlx::query_scalar(
        "SELECT id FROM retired_evidence WHERE id = ANY($1) AND epoch_key IS NOT NULL",
    )
    .bind(ids)
    .fetch_all(tx)
    .await?;
    Ok(found)
}
