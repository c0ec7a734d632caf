//! Whose idempotency keys are, what those were answered, and which instances live.

use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use std::collections::BTreeSet;
use uuid::Uuid;

use super::append::Tx;
use super::{subjects, to_bytes, to_time, to_uuid};
use crate::store::keys::{ANSWERS_FORGOTTEN_AT_ONCE, FORGOTTEN_AT_ONCE, SealedAnswer};
use crate::store::{
    HoldersRecord, KeyClaim, KeyHolder, NewAnswer, SignOfLife, StoreError, StoredAnswer,
};

pub(super) async fn claim(
    tx: &mut Tx,
    claim: &KeyClaim,
    instead_of: Option<Uuid>,
) -> Result<KeyHolder, StoreError> {
    sqlx::query(
        "INSERT INTO idempotency_keys (key, request, exchange, instance, claimed_us)
         VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (key) DO UPDATE SET exchange = excluded.exchange,
             instance = excluded.instance, claimed_us = excluded.claimed_us,
             answer = NULL, answer_subject_ref = NULL
         WHERE idempotency_keys.exchange = ? AND idempotency_keys.request = excluded.request",
    )
    .bind(claim.key.as_slice())
    .bind(claim.request.as_slice())
    .bind(claim.exchange.as_bytes().as_slice())
    .bind(&claim.instance)
    .bind(claim.at.as_microsecond())
    .bind(instead_of.map(|exchange| exchange.into_bytes().to_vec()))
    .execute(&mut **tx)
    .await?;
    let row = sqlx::query(
        "SELECT k.request, k.exchange, k.instance, k.claimed_us,
             (SELECT min(e.until_us) FROM envoy_ends e
              WHERE e.instance = k.instance AND e.until_us >= k.claimed_us) AS ended_us,
             r.record, r.received_us
         FROM idempotency_keys k
         LEFT JOIN evidence r ON r.id = k.exchange AND r.epoch_key IS NOT NULL
         WHERE k.key = ?",
    )
    .bind(claim.key.as_slice())
    .fetch_one(&mut **tx)
    .await?;
    let ended: Option<i64> = row.try_get("ended_us")?;
    Ok(KeyHolder {
        request: to_bytes(row.try_get("request")?)?,
        exchange: to_uuid(row.try_get("exchange")?)?,
        instance: row.try_get("instance")?,
        since: to_time(row.try_get("claimed_us")?)?,
        envoy_ended: ended.map(to_time).transpose()?,
        record: record(&row)?,
    })
}

fn record(row: &SqliteRow) -> Result<Option<HoldersRecord>, StoreError> {
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

pub(super) async fn keep_answers(tx: &mut Tx, answers: &[NewAnswer]) -> Result<u64, StoreError> {
    let names: BTreeSet<&str> = answers.iter().map(|it| it.subject.as_str()).collect();
    let subjects = subjects::keys(tx, &names).await?;
    let mut kept = 0;
    for answer in answers {
        let Some(subject) = subjects.get(&answer.subject) else {
            continue;
        };
        let sealed = answer.seal(subject)?;
        let rows = sqlx::query(
            "UPDATE idempotency_keys SET answer = ?, answer_subject_ref = ?
             WHERE key = ? AND exchange = ?",
        )
        .bind(sealed.sealed)
        .bind(sealed.subject_ref.as_bytes().as_slice())
        .bind(answer.key.as_slice())
        .bind(answer.exchange.as_bytes().as_slice())
        .execute(&mut **tx)
        .await?;
        kept += rows.rows_affected();
    }
    Ok(kept)
}

pub(super) async fn kept_answer(
    pool: &SqlitePool,
    key: &[u8; 32],
    exchange: Uuid,
) -> Result<StoredAnswer, StoreError> {
    let row = sqlx::query(
        "SELECT k.answer, k.answer_subject_ref, s.key AS subject_key
         FROM idempotency_keys k
         LEFT JOIN subject_keys s ON s.subject_ref = k.answer_subject_ref
         WHERE k.key = ? AND k.exchange = ? AND k.answer IS NOT NULL",
    )
    .bind(key.as_slice())
    .bind(exchange.as_bytes().as_slice())
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else {
        return Ok(StoredAnswer::None);
    };
    let sealed = SealedAnswer {
        subject_ref: to_uuid(row.try_get("answer_subject_ref")?)?,
        sealed: row.try_get("answer")?,
    };
    let subject_key: Option<Vec<u8>> = row.try_get("subject_key")?;
    Ok(sealed.open(key, exchange, subject_key.map(to_bytes).transpose()?))
}

pub(super) async fn forget(tx: &mut Tx, before: Timestamp) -> Result<u64, StoreError> {
    let mut forgotten = 0;
    for (answered, limit) in [
        (false, FORGOTTEN_AT_ONCE),
        (true, ANSWERS_FORGOTTEN_AT_ONCE),
    ] {
        let rows = sqlx::query(
            "DELETE FROM idempotency_keys WHERE key IN (
                 SELECT key FROM idempotency_keys
                 WHERE claimed_us < ? AND (answer IS NOT NULL) = ?
                 ORDER BY claimed_us LIMIT ?)",
        )
        .bind(before.as_microsecond())
        .bind(answered)
        .bind(limit)
        .execute(&mut **tx)
        .await?;
        forgotten += rows.rows_affected();
    }
    sqlx::query("DELETE FROM signs_of_life WHERE at_us < ?")
        .bind(before.as_microsecond())
        .execute(&mut **tx)
        .await?;
    Ok(forgotten)
}

pub(super) async fn note_alive(
    tx: &mut Tx,
    sign: &SignOfLife,
) -> Result<Vec<SignOfLife>, StoreError> {
    sqlx::query(
        "INSERT INTO signs_of_life (instance, at_us) VALUES (?, ?)
         ON CONFLICT (instance) DO UPDATE SET at_us = excluded.at_us",
    )
    .bind(&sign.instance)
    .bind(sign.at.as_microsecond())
    .execute(&mut **tx)
    .await?;
    let rows = sqlx::query("SELECT instance, at_us FROM signs_of_life ORDER BY instance")
        .fetch_all(&mut **tx)
        .await?;
    let signs = rows.iter().map(|row| {
        Ok(SignOfLife {
            instance: row.try_get("instance")?,
            at: to_time(row.try_get("at_us")?)?,
        })
    });
    signs.collect()
}
