//! Whose idempotency keys are, and which instances live.

use jiff::Timestamp;
use sqlx::{Connection, PgConnection, Row};
use uuid::Uuid;

use super::{to_bytes, to_time};
use crate::store::{FORGOTTEN_AT_ONCE, KeyClaim, KeyHolder, SignOfLife, StoreError};

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
             instance = excluded.instance, claimed_us = excluded.claimed_us
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
             (SELECT r.record FROM evidence r
              WHERE r.id = k.exchange AND r.epoch_key IS NOT NULL LIMIT 1) AS record
         FROM idempotency_keys k WHERE k.key = $1",
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
        record: row.try_get("record")?,
    })
}

pub(super) async fn forget(conn: &mut PgConnection, before: Timestamp) -> Result<u64, StoreError> {
    let mut tx = conn.begin().await?;
    // Others do the same meanwhile.
    let forgotten = sqlx::query(
        "DELETE FROM idempotency_keys WHERE key IN (
             SELECT key FROM idempotency_keys WHERE claimed_us < $1
             ORDER BY claimed_us LIMIT $2 FOR UPDATE SKIP LOCKED)",
    )
    .bind(before.as_microsecond())
    .bind(i64::from(FORGOTTEN_AT_ONCE))
    .execute(&mut *tx)
    .await?;
    sqlx::query("DELETE FROM signs_of_life WHERE at_us < $1")
        .bind(before.as_microsecond())
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(forgotten.rows_affected())
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
