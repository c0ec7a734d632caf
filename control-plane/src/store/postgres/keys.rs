//! Whose idempotency keys are, what those were answered, and which instances live.

use jiff::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{Connection, PgConnection, Row};
use std::collections::BTreeSet;
use uuid::Uuid;

use super::{subjects, to_bytes, to_time};
use crate::store::keys::{ANSWERS_FORGOTTEN_AT_ONCE, FORGOTTEN_AT_ONCE, SealedAnswer};
use crate::store::{
    HoldersRecord, KeyClaim, KeyHolder, NewAnswer, SignOfLife, StoreError, StoredAnswer,
};

pub(super) async fn claim(
    conn: &mut PgConnection,
    claim: &KeyClaim,
    instead_of: Option<Uuid>,
) -> Result<KeyHolder, StoreError> {
    let mut tx = conn.begin().await?;
    sqlx::query(
        "INSERT INTO idempotency_keys AS held (key, request, exchange, instance, claimed_us)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (key) DO UPDATE SET exchange = excluded.exchange,
             instance = excluded.instance, claimed_us = excluded.claimed_us,
             answer = NULL, answer_subject_ref = NULL
         WHERE held.exchange = $6 AND held.request = excluded.request",
    )
    .bind(claim.key.as_slice())
    .bind(claim.request.as_slice())
    .bind(claim.exchange)
    .bind(&claim.instance)
    .bind(claim.at.as_microsecond())
    .bind(instead_of)
    .execute(&mut *tx)
    .await?;
    let row = sqlx::query(
        "SELECT k.request, k.exchange, k.instance, k.claimed_us,
             (SELECT min(e.until_us) FROM envoy_ends e
              WHERE e.instance = k.instance AND e.until_us >= k.claimed_us) AS ended_us,
             r.record, r.received_us
         FROM idempotency_keys k
         LEFT JOIN evidence r ON r.id = k.exchange AND r.epoch_key IS NOT NULL
         WHERE k.key = $1 LIMIT 1",
    )
    .bind(claim.key.as_slice())
    .fetch_one(&mut *tx)
    .await?;
    tx.commit().await?;
    let ended: Option<i64> = row.try_get("ended_us")?;
    Ok(KeyHolder {
        request: to_bytes(row.try_get("request")?)?,
        exchange: row.try_get("exchange")?,
        instance: row.try_get("instance")?,
        since: to_time(row.try_get("claimed_us")?)?,
        envoy_ended: ended.map(to_time).transpose()?,
        record: record(&row)?,
    })
}

fn record(row: &PgRow) -> Result<Option<HoldersRecord>, StoreError> {
    let canonical: Option<String> = row.try_get("record")?;
    let received_us: Option<i64> = row.try_get("received_us")?;
    canonical
        .zip(received_us)
        .map(|(canonical, received_us)| {
            Ok(HoldersRecord {
                canonical,
                received_at: to_time(received_us)?,
            })
        })
        .transpose()
}

pub(super) async fn keep_answers(
    conn: &mut PgConnection,
    answers: &[NewAnswer],
) -> Result<u64, StoreError> {
    let mut tx = conn.begin().await?;
    let names: BTreeSet<&str> = answers.iter().map(|it| it.subject.as_str()).collect();
    let subjects = subjects::keys(&mut tx, &names).await?;
    let (mut keys, mut exchanges) = (Vec::new(), Vec::new());
    let (mut references, mut sealed) = (Vec::new(), Vec::new());
    for answer in answers {
        if let Some(subject) = subjects.get(&answer.subject) {
            let answer_sealed = answer.seal(subject)?;
            keys.push(answer.key.as_slice());
            exchanges.push(answer.exchange);
            references.push(answer_sealed.subject_ref);
            sealed.push(answer_sealed.sealed);
        }
    }
    let kept = sqlx::query(
        "UPDATE idempotency_keys k
         SET answer = a.answer, answer_subject_ref = a.subject_ref
         FROM unnest($1::bytea[], $2::uuid[], $3::uuid[], $4::bytea[])
             AS a(key, exchange, subject_ref, answer)
         WHERE k.key = a.key AND k.exchange = a.exchange",
    )
    .bind(keys)
    .bind(exchanges)
    .bind(references)
    .bind(sealed)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(kept.rows_affected())
}

pub(super) async fn kept_answer(
    conn: &mut PgConnection,
    key: &[u8; 32],
    exchange: Uuid,
) -> Result<StoredAnswer, StoreError> {
    let row = sqlx::query(
        "SELECT k.answer, k.answer_subject_ref, s.key AS subject_key
         FROM idempotency_keys k
         LEFT JOIN subject_keys s ON s.subject_ref = k.answer_subject_ref
         WHERE k.key = $1 AND k.exchange = $2 AND k.answer IS NOT NULL",
    )
    .bind(key.as_slice())
    .bind(exchange)
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else {
        return Ok(StoredAnswer::None);
    };
    let sealed = SealedAnswer {
        subject_ref: row.try_get("answer_subject_ref")?,
        sealed: row.try_get("answer")?,
    };
    let subject_key: Option<Vec<u8>> = row.try_get("subject_key")?;
    Ok(sealed.open(key, exchange, subject_key.map(to_bytes).transpose()?))
}

pub(super) async fn forget(conn: &mut PgConnection, before: Timestamp) -> Result<u64, StoreError> {
    let mut tx = conn.begin().await?;
    let mut forgotten = 0;
    for (answered, limit) in [
        (false, FORGOTTEN_AT_ONCE),
        (true, ANSWERS_FORGOTTEN_AT_ONCE),
    ] {
        // Others do the same meanwhile.
        let rows = sqlx::query(
            "DELETE FROM idempotency_keys WHERE key IN (
                 SELECT key FROM idempotency_keys
                 WHERE claimed_us < $1 AND (answer IS NOT NULL) = $2
                 ORDER BY claimed_us LIMIT $3 FOR UPDATE SKIP LOCKED)",
        )
        .bind(before.as_microsecond())
        .bind(answered)
        .bind(i64::from(limit))
        .execute(&mut *tx)
        .await?;
        forgotten += rows.rows_affected();
    }
    sqlx::query("DELETE FROM signs_of_life WHERE at_us < $1")
        .bind(before.as_microsecond())
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(forgotten)
}

pub(super) async fn note_alive(
    conn: &mut PgConnection,
    sign: &SignOfLife,
) -> Result<Vec<SignOfLife>, StoreError> {
    let mut tx = conn.begin().await?;
    sqlx::query(
        "INSERT INTO signs_of_life (instance, at_us) VALUES ($1, $2)
         ON CONFLICT (instance) DO UPDATE SET at_us = excluded.at_us",
    )
    .bind(&sign.instance)
    .bind(sign.at.as_microsecond())
    .execute(&mut *tx)
    .await?;
    let rows = sqlx::query("SELECT instance, at_us FROM signs_of_life ORDER BY instance")
        .fetch_all(&mut *tx)
        .await?;
    tx.commit().await?;
    let signs = rows.iter().map(|row| {
        Ok(SignOfLife {
            instance: row.try_get("instance")?,
            at: to_time(row.try_get("at_us")?)?,
        })
    });
    signs.collect()
}
