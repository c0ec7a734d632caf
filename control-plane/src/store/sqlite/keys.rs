//! Whose idempotency keys are, and which instances live.

use jiff::Timestamp;
use sqlx::Row;
use uuid::Uuid;

use super::append::Tx;
use super::{to_bytes, to_time, to_uuid};
use crate::store::{FORGOTTEN_AT_ONCE, KeyClaim, KeyHolder, SignOfLife, StoreError};

pub(super) async fn claim(
    tx: &mut Tx,
    claim: &KeyClaim,
    instead_of: Option<Uuid>,
) -> Result<KeyHolder, StoreError> {
    sqlx::query(
        "INSERT INTO idempotency_keys (key, request, exchange, instance, claimed_us)
         VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (key) DO UPDATE SET exchange = excluded.exchange,
             instance = excluded.instance, claimed_us = excluded.claimed_us
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
             (SELECT r.record FROM evidence r
              WHERE r.id = k.exchange AND r.epoch_key IS NOT NULL) AS record
         FROM idempotency_keys k WHERE k.key = ?",
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
        record: row.try_get("record")?,
    })
}

pub(super) async fn forget(tx: &mut Tx, before: Timestamp) -> Result<u64, StoreError> {
    let forgotten = sqlx::query(
        "DELETE FROM idempotency_keys WHERE key IN (
             SELECT key FROM idempotency_keys WHERE claimed_us < ?
             ORDER BY claimed_us LIMIT ?)",
    )
    .bind(before.as_microsecond())
    .bind(FORGOTTEN_AT_ONCE)
    .execute(&mut **tx)
    .await?;
    sqlx::query("DELETE FROM signs_of_life WHERE at_us < ?")
        .bind(before.as_microsecond())
        .execute(&mut **tx)
        .await?;
    Ok(forgotten.rows_affected())
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
