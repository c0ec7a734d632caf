//! Lets old records go.
//!
//! A file of SQLite does not shrink: what comes later takes the room.

use sqlx::Row;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use uuid::Uuid;

use super::append::Tx;
use super::subjects;
use super::{to_column, to_count, to_time, to_uuid};
use crate::store::retention::{in_force, wanted};
use crate::store::{Hold, LetGo, LetGoError, Retention, RetiredRecord, SUPERSEDED, StoreError};

/// The leaves asked for, and the rows that are these records.
const WANTED: &str = "WITH wanted AS MATERIALIZED (
         SELECT value ->> 0 AS leaf_index, unhex(value ->> 1) AS leaf FROM json_each(?1)
     ), stored AS MATERIALIZED (
         SELECT w.leaf_index, e.arrival, e.id, e.epoch_key, e.seq
         FROM log_state l, wanted w
         JOIN evidence e ON e.arrival = l.first_arrival + w.leaf_index AND e.leaf = w.leaf
     ), replaced AS MATERIALIZED (
         SELECT w.leaf_index, w.leaf, json_extract(CAST(q.line AS TEXT), '$.id') AS id
         FROM wanted w JOIN quarantine q ON q.hash = w.leaf AND q.reason = ?2
     )";

pub(super) async fn let_go(tx: &mut Tx, seen: &[Hold], let_go: &LetGo) -> Result<(), LetGoError> {
    if in_force(&subjects::holds(tx).await?) != in_force(seen) {
        return Err(LetGoError::Stale);
    }
    match remove(tx, let_go).await? == let_go.leaves.len() as u64 {
        true => Ok(()),
        false => Err(LetGoError::Stale),
    }
}

/// How many of the records were there.
pub(super) async fn remove(tx: &mut Tx, let_go: &LetGo) -> Result<u64, StoreError> {
    let retention = &let_go.retention;
    sqlx::query(
        "INSERT INTO retentions (archive, let_go_us, records, note) VALUES (?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(&retention.archive)
    .bind(retention.at.as_microsecond())
    .bind(to_column(retention.records))
    .bind(&retention.note)
    .execute(&mut **tx)
    .await?;
    let wanted = wanted(&let_go.leaves);
    let retire = format!(
        "{WANTED} INSERT INTO retired_evidence (leaf_index, id, epoch_key, seq, archive)
         SELECT leaf_index, id, epoch_key, seq, ?3 FROM stored
         UNION ALL SELECT leaf_index, unhex(replace(id, '-', '')), NULL, 0, ?3 FROM replaced
         WHERE true
         ON CONFLICT DO NOTHING"
    );
    let unmatch =
        format!("{WANTED} DELETE FROM evidence_rules WHERE id IN (SELECT id FROM stored)");
    let delete =
        format!("{WANTED} DELETE FROM evidence WHERE arrival IN (SELECT arrival FROM stored)");
    let forget = format!(
        "{WANTED} DELETE FROM quarantine WHERE reason = ?2 AND hash IN (SELECT leaf FROM replaced)"
    );
    let mut gone = 0;
    let steps = [
        (retire, true, false),
        (unmatch, false, false),
        (delete, false, true),
        (forget, false, true),
    ];
    for (statement, names, counts) in steps {
        let step = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(&wanted)
            .bind(SUPERSEDED);
        let step = match names {
            true => step.bind(&retention.archive),
            false => step,
        };
        let done = step.execute(&mut **tx).await?;
        gone += done.rows_affected() * u64::from(counts);
    }
    Ok(gone)
}

pub(super) async fn list(pool: &SqlitePool) -> Result<Vec<Retention>, StoreError> {
    let rows = sqlx::query(
        "SELECT archive, let_go_us, records, note FROM retentions ORDER BY let_go_us, archive",
    )
    .fetch_all(pool)
    .await?;
    let retention = |row: &SqliteRow| {
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
    pool: &SqlitePool,
    id: Uuid,
) -> Result<Option<RetiredRecord>, StoreError> {
    let row = sqlx::query(
        "SELECT e.leaf_index, e.archive, r.let_go_us
         FROM retired_evidence e JOIN retentions r USING (archive)
         WHERE e.id = ? ORDER BY e.leaf_index DESC LIMIT 1",
    )
    .bind(id.as_bytes().as_slice())
    .fetch_optional(pool)
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
pub(super) async fn of_these(tx: &mut Tx, ids: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
    let each = ids.iter().map(|id| format!("\"{}\"", id.simple()));
    let list = format!("[{}]", each.collect::<Vec<_>>().join(","));
    let found: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT e.id FROM json_each(?) w CROSS JOIN retired_evidence e ON e.id = unhex(w.value)
         WHERE e.epoch_key IS NOT NULL",
    )
    .bind(list)
    .fetch_all(&mut **tx)
    .await?;
    found.into_iter().map(to_uuid).collect()
}
