//! Subjects, their keys, erasures and legal holds.
//!
//! Erasing and placing a hold wait for each other: of the two, the later one
//! sees what the earlier one did.

use jiff::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{Connection, PgConnection, Row};
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

use super::{to_bytes, to_count, to_time};
use crate::store::subjects::SubjectKey;
use crate::store::{
    EraseError, Erasure, ErasureStamp, Hold, NewHold, Release, StoreError, SubjectSummary,
};

/// The keys of these subjects, made for those that have none. They come in order, so
/// that groups stored side by side wait for each other at most.
pub(super) async fn keys(
    tx: &mut PgConnection,
    subjects: &BTreeSet<&str>,
) -> Result<HashMap<String, SubjectKey>, StoreError> {
    let wanted: Vec<&str> = subjects.iter().copied().collect();
    let mut keys = HashMap::with_capacity(wanted.len());
    if wanted.is_empty() {
        return Ok(keys);
    }
    let rows =
        sqlx::query("SELECT subject, subject_ref, key FROM subject_keys WHERE subject = ANY($1)")
            .bind(&wanted)
            .fetch_all(&mut *tx)
            .await?;
    for row in &rows {
        keys.insert(row.try_get("subject")?, key(row)?);
    }
    let missing: Vec<&str> = wanted
        .into_iter()
        .filter(|subject| !keys.contains_key(*subject))
        .collect();
    if missing.is_empty() {
        return Ok(keys);
    }
    let (mut references, mut secrets) = (Vec::new(), Vec::new());
    for _ in &missing {
        let key = SubjectKey::random()?;
        references.push(key.reference);
        secrets.push(key.key.to_vec());
    }
    // Somebody else may have been faster: then it is theirs.
    let rows = sqlx::query(
        "INSERT INTO subject_keys AS known (subject_ref, subject, key, created_us)
         SELECT *, (extract(epoch FROM now()) * 1000000)::bigint
         FROM unnest($1::uuid[], $2::text[], $3::bytea[])
         ON CONFLICT (subject) DO UPDATE SET key = known.key
         RETURNING subject, subject_ref, key",
    )
    .bind(references)
    .bind(missing)
    .bind(secrets)
    .fetch_all(tx)
    .await?;
    for row in &rows {
        keys.insert(row.try_get("subject")?, key(row)?);
    }
    Ok(keys)
}

fn key(row: &PgRow) -> Result<SubjectKey, StoreError> {
    Ok(SubjectKey {
        reference: row.try_get("subject_ref")?,
        key: to_bytes(row.try_get("key")?)?,
    })
}

pub(super) async fn reference(
    conn: &mut PgConnection,
    name: &str,
) -> Result<Option<Uuid>, StoreError> {
    let found = sqlx::query_scalar("SELECT subject_ref FROM subject_keys WHERE subject = $1")
        .bind(name)
        .fetch_optional(conn)
        .await?;
    Ok(found)
}

pub(super) async fn summary(
    conn: &mut PgConnection,
    name: &str,
) -> Result<Option<SubjectSummary>, StoreError> {
    let Some(reference) = reference(conn, name).await? else {
        return Ok(None);
    };
    let records: i64 = sqlx::query_scalar("SELECT count(*) FROM evidence WHERE subject_ref = $1")
        .bind(reference)
        .fetch_one(&mut *conn)
        .await?;
    Ok(Some(SubjectSummary {
        reference,
        records: to_count(records)?,
        holds: holds_on(conn, reference).await?,
    }))
}

pub(super) async fn erase(
    conn: &mut PgConnection,
    name: &str,
    stamp: ErasureStamp,
) -> Result<Erasure, EraseError> {
    let mut tx = conn.begin().await?;
    lock(&mut tx).await?;
    let reference = reference(&mut tx, name).await?.ok_or(EraseError::Unknown)?;
    let holds = holds_on(&mut tx, reference).await?;
    if !holds.is_empty() {
        return Err(EraseError::Held(holds));
    }
    let erasure = Erasure {
        reference,
        at: stamp.at,
        by: stamp.by,
        reason: stamp.reason,
    };
    destroy(&mut tx, std::slice::from_ref(&erasure)).await?;
    tx.commit().await?;
    Ok(erasure)
}

pub(super) async fn repeat(
    conn: &mut PgConnection,
    erasures: &[Erasure],
) -> Result<u64, StoreError> {
    let mut tx = conn.begin().await?;
    lock(&mut tx).await?;
    let again = destroy(&mut tx, erasures).await?;
    tx.commit().await?;
    Ok(again)
}

pub(super) async fn lock(tx: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("LOCK TABLE legal_holds IN SHARE ROW EXCLUSIVE MODE")
        .execute(tx)
        .await?;
    Ok(())
}

/// How many of the subjects were there.
async fn destroy(tx: &mut PgConnection, erasures: &[Erasure]) -> Result<u64, StoreError> {
    let references: Vec<Uuid> = erasures.iter().map(|erasure| erasure.reference).collect();
    let times: Vec<i64> = erasures.iter().map(|it| it.at.as_microsecond()).collect();
    let names: Vec<&str> = erasures.iter().map(|it| it.by.as_str()).collect();
    let reasons: Vec<&str> = erasures.iter().map(|it| it.reason.as_str()).collect();
    sqlx::query(
        "INSERT INTO erasures (subject_ref, erased_us, erased_by, reason)
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[])
         ON CONFLICT DO NOTHING",
    )
    .bind(&references)
    .bind(times)
    .bind(names)
    .bind(reasons)
    .execute(&mut *tx)
    .await?;
    let gone = sqlx::query("DELETE FROM subject_keys WHERE subject_ref = ANY($1)")
        .bind(references)
        .execute(tx)
        .await?;
    Ok(gone.rows_affected())
}

pub(super) async fn erasures(conn: &mut PgConnection) -> Result<Vec<Erasure>, StoreError> {
    let rows = sqlx::query(
        "SELECT subject_ref, erased_us, erased_by, reason FROM erasures
         ORDER BY erased_us, subject_ref",
    )
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Erasure {
                reference: row.try_get("subject_ref")?,
                at: to_time(row.try_get("erased_us")?)?,
                by: row.try_get("erased_by")?,
                reason: row.try_get("reason")?,
            })
        })
        .collect()
}

pub(super) async fn place_hold(conn: &mut PgConnection, hold: NewHold) -> Result<Hold, StoreError> {
    let mut tx = conn.begin().await?;
    lock(&mut tx).await?;
    let reference = match hold.subject.as_deref() {
        None => None,
        Some(subject) => {
            let keys = keys(&mut tx, &BTreeSet::from([subject])).await?;
            keys.get(subject).map(|key| key.reference)
        }
    };
    sqlx::query(
        "INSERT INTO legal_holds (id, subject_ref, reason, placed_us, placed_by, since_us, until_us)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(hold.id)
    .bind(reference)
    .bind(&hold.reason)
    .bind(hold.at.as_microsecond())
    .bind(&hold.by)
    .bind(hold.since.map(Timestamp::as_microsecond))
    .bind(hold.until.map(Timestamp::as_microsecond))
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
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
    conn: &mut PgConnection,
    id: Uuid,
    release: Release,
) -> Result<Option<Hold>, StoreError> {
    sqlx::query(
        "UPDATE legal_holds SET released_us = $1, released_by = $2
         WHERE id = $3 AND released_us IS NULL",
    )
    .bind(release.at.as_microsecond())
    .bind(&release.by)
    .bind(id)
    .execute(&mut *conn)
    .await?;
    let holds = holds(conn).await?;
    Ok(holds.into_iter().find(|hold| hold.id == id))
}

pub(super) async fn holds(conn: &mut PgConnection) -> Result<Vec<Hold>, StoreError> {
    let rows = sqlx::query(
        "SELECT h.id, h.subject_ref, k.subject, h.reason, h.placed_us, h.placed_by,
                h.released_us, h.released_by, h.since_us, h.until_us
         FROM legal_holds h LEFT JOIN subject_keys k USING (subject_ref)
         ORDER BY h.placed_us, h.id",
    )
    .fetch_all(conn)
    .await?;
    rows.iter().map(hold).collect()
}

/// Those in force that cover a subject.
async fn holds_on(conn: &mut PgConnection, reference: Uuid) -> Result<Vec<Hold>, StoreError> {
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
    conn: &mut PgConnection,
    hold: &Hold,
    reference: Uuid,
) -> Result<bool, StoreError> {
    let found = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM evidence
             WHERE subject_ref = $1 AND time_us >= $2 AND time_us < $3)",
    )
    .bind(reference)
    .bind(hold.since.map_or(i64::MIN, Timestamp::as_microsecond))
    .bind(hold.until.map_or(i64::MAX, Timestamp::as_microsecond))
    .fetch_one(conn)
    .await?;
    Ok(found)
}

fn hold(row: &PgRow) -> Result<Hold, StoreError> {
    let released_us: Option<i64> = row.try_get("released_us")?;
    let since_us: Option<i64> = row.try_get("since_us")?;
    let until_us: Option<i64> = row.try_get("until_us")?;
    let released_by: Option<String> = row.try_get("released_by")?;
    let released_at: Option<Timestamp> = released_us.map(to_time).transpose()?;
    Ok(Hold {
        id: row.try_get("id")?,
        reference: row.try_get("subject_ref")?,
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
