//! Subjects, their keys, erasures and legal holds.

use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{QueryBuilder, Row, Sqlite, Transaction};
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

use super::append::ROWS;
use super::{to_bytes, to_count, to_time, to_uuid};
use crate::store::subjects::SubjectKey;
use crate::store::{
    EraseError, Erasure, ErasureStamp, Hold, NewHold, Release, StoreError, SubjectSummary,
};

type Tx = Transaction<'static, Sqlite>;

/// The keys of these subjects, made for those that have none.
pub(super) async fn keys(
    tx: &mut Tx,
    subjects: &BTreeSet<&str>,
) -> Result<HashMap<String, SubjectKey>, StoreError> {
    let wanted: Vec<&str> = subjects.iter().copied().collect();
    let mut keys = HashMap::with_capacity(wanted.len());
    for names in wanted.chunks(ROWS) {
        let mut select = QueryBuilder::new(
            "SELECT subject, subject_ref, key FROM subject_keys WHERE subject IN (",
        );
        let mut list = select.separated(", ");
        for name in names {
            list.push_bind(*name);
        }
        list.push_unseparated(")");
        let select = select.build().persistent(names.len() == ROWS);
        for row in select.fetch_all(&mut **tx).await? {
            let key = SubjectKey {
                reference: to_uuid(row.try_get("subject_ref")?)?,
                key: to_bytes(row.try_get("key")?)?,
            };
            keys.insert(row.try_get("subject")?, key);
        }
    }
    let mut made = Vec::new();
    for name in wanted {
        if !keys.contains_key(name) {
            made.push((name, SubjectKey::random()?));
        }
    }
    for rows in made.chunks(ROWS) {
        let mut insert =
            QueryBuilder::new("INSERT INTO subject_keys (subject_ref, subject, key, created_us) ");
        insert.push_values(rows, |mut row, (name, key)| {
            row.push_bind(key.reference.as_bytes().as_slice())
                .push_bind(*name)
                .push_bind(key.key.as_slice())
                .push("CAST(unixepoch('subsec') * 1000000 AS INTEGER)");
        });
        let insert = insert.build().persistent(rows.len() == ROWS);
        insert.execute(&mut **tx).await?;
    }
    keys.extend(made.into_iter().map(|(name, key)| (name.to_owned(), key)));
    Ok(keys)
}

async fn reference(conn: &mut SqliteConnection, name: &str) -> Result<Option<Uuid>, StoreError> {
    let found: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT subject_ref FROM subject_keys WHERE subject = ?")
            .bind(name)
            .fetch_optional(conn)
            .await?;
    found.map(to_uuid).transpose()
}

pub(super) async fn summary(
    pool: &SqlitePool,
    name: &str,
) -> Result<Option<SubjectSummary>, StoreError> {
    let mut conn = pool.acquire().await?;
    let Some(reference) = reference(&mut conn, name).await? else {
        return Ok(None);
    };
    let records: i64 = sqlx::query_scalar("SELECT count(*) FROM evidence WHERE subject_ref = ?")
        .bind(reference.as_bytes().as_slice())
        .fetch_one(&mut *conn)
        .await?;
    Ok(Some(SubjectSummary {
        reference,
        records: to_count(records)?,
        holds: holds_on(&mut conn, reference).await?,
    }))
}

pub(super) async fn erase(
    tx: &mut Tx,
    name: &str,
    stamp: ErasureStamp,
) -> Result<Erasure, EraseError> {
    let reference = reference(tx, name).await?.ok_or(EraseError::Unknown)?;
    let holds = holds_on(tx, reference).await?;
    if !holds.is_empty() {
        return Err(EraseError::Held(holds));
    }
    let erasure = Erasure {
        reference,
        at: stamp.at,
        by: stamp.by,
        reason: stamp.reason,
    };
    repeat(tx, std::slice::from_ref(&erasure)).await?;
    Ok(erasure)
}

/// How many of the subjects were there.
pub(super) async fn repeat(tx: &mut Tx, erasures: &[Erasure]) -> Result<u64, StoreError> {
    let mut again = 0;
    for erasure in erasures {
        let reference = erasure.reference.as_bytes().as_slice();
        sqlx::query(
            "INSERT INTO erasures (subject_ref, erased_us, erased_by, reason)
             VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(reference)
        .bind(erasure.at.as_microsecond())
        .bind(&erasure.by)
        .bind(&erasure.reason)
        .execute(&mut **tx)
        .await?;
        let gone = sqlx::query("DELETE FROM subject_keys WHERE subject_ref = ?")
            .bind(reference)
            .execute(&mut **tx)
            .await?;
        again += gone.rows_affected();
    }
    Ok(again)
}

/// What was overwritten must not stay readable in the journal. It stays a little
/// longer where somebody reads just now.
pub(super) async fn empty_journal(pool: &SqlitePool) {
    if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .execute(pool)
        .await
    {
        tracing::warn!(%error, "the journal of the database was not emptied after an erasure");
    }
}

pub(super) async fn erasures(pool: &SqlitePool) -> Result<Vec<Erasure>, StoreError> {
    let rows = sqlx::query("SELECT * FROM erasures ORDER BY erased_us, subject_ref")
        .fetch_all(pool)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Erasure {
                reference: to_uuid(row.try_get("subject_ref")?)?,
                at: to_time(row.try_get("erased_us")?)?,
                by: row.try_get("erased_by")?,
                reason: row.try_get("reason")?,
            })
        })
        .collect()
}

pub(super) async fn place_hold(tx: &mut Tx, hold: NewHold) -> Result<Hold, StoreError> {
    let reference = match hold.subject.as_deref() {
        None => None,
        Some(subject) => {
            let keys = keys(tx, &BTreeSet::from([subject])).await?;
            keys.get(subject).map(|key| key.reference)
        }
    };
    sqlx::query(
        "INSERT INTO legal_holds (id, subject_ref, reason, placed_us, placed_by, since_us, until_us)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(hold.id.as_bytes().as_slice())
    .bind(reference.map(|reference| reference.into_bytes().to_vec()))
    .bind(&hold.reason)
    .bind(hold.at.as_microsecond())
    .bind(&hold.by)
    .bind(hold.since.map(Timestamp::as_microsecond))
    .bind(hold.until.map(Timestamp::as_microsecond))
    .execute(&mut **tx)
    .await?;
    Ok(Hold {
        id: hold.id,
        reference,
        subject: hold.subject,
        since: hold.since,
        until: hold.until,
        reason: hold.reason,
        placed_at: hold.at,
        placed_by: hold.by,
        released: None,
    })
}

pub(super) async fn release_hold(
    tx: &mut Tx,
    id: Uuid,
    release: Release,
) -> Result<Option<Hold>, StoreError> {
    sqlx::query(
        "UPDATE legal_holds SET released_us = ?, released_by = ?
         WHERE id = ? AND released_us IS NULL",
    )
    .bind(release.at.as_microsecond())
    .bind(&release.by)
    .bind(id.as_bytes().as_slice())
    .execute(&mut **tx)
    .await?;
    let holds = holds(tx).await?;
    Ok(holds.into_iter().find(|hold| hold.id == id))
}

pub(super) async fn holds(conn: &mut SqliteConnection) -> Result<Vec<Hold>, StoreError> {
    let rows = sqlx::query(
        "SELECT h.*, k.subject FROM legal_holds h LEFT JOIN subject_keys k USING (subject_ref)
         ORDER BY h.placed_us, h.id",
    )
    .fetch_all(conn)
    .await?;
    rows.iter().map(hold).collect()
}

/// Those in force that cover a subject.
async fn holds_on(conn: &mut SqliteConnection, reference: Uuid) -> Result<Vec<Hold>, StoreError> {
    let mut concerned = holds(conn).await?;
    concerned.retain(|hold| hold.concerns(reference));
    let mut held = Vec::new();
    for hold in concerned {
        if !hold.is_of_a_time() || has_records_of_its_time(conn, &hold, reference).await? {
            held.push(hold);
        }
    }
    Ok(held)
}

async fn has_records_of_its_time(
    conn: &mut SqliteConnection,
    hold: &Hold,
    reference: Uuid,
) -> Result<bool, StoreError> {
    let found = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM evidence WHERE subject_ref = ? AND time_us >= ? AND time_us < ?)",
    )
    .bind(reference.as_bytes().as_slice())
    .bind(hold.since.map_or(i64::MIN, Timestamp::as_microsecond))
    .bind(hold.until.map_or(i64::MAX, Timestamp::as_microsecond))
    .fetch_one(conn)
    .await?;
    Ok(found)
}

fn hold(row: &SqliteRow) -> Result<Hold, StoreError> {
    let reference: Option<Vec<u8>> = row.try_get("subject_ref")?;
    let released_us: Option<i64> = row.try_get("released_us")?;
    let since_us: Option<i64> = row.try_get("since_us")?;
    let until_us: Option<i64> = row.try_get("until_us")?;
    let released_by: Option<String> = row.try_get("released_by")?;
    let released_at: Option<Timestamp> = released_us.map(to_time).transpose()?;
    Ok(Hold {
        id: to_uuid(row.try_get("id")?)?,
        reference: reference.map(to_uuid).transpose()?,
        subject: row.try_get("subject")?,
        since: since_us.map(to_time).transpose()?,
        until: until_us.map(to_time).transpose()?,
        reason: row.try_get("reason")?,
        placed_at: to_time(row.try_get("placed_us")?)?,
        placed_by: row.try_get("placed_by")?,
        released: released_at
            .zip(released_by)
            .map(|(at, by)| Release { at, by }),
    })
}
