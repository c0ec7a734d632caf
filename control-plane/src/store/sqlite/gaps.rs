//! What is missing, found where the accounting of sequences says there is
//! something to find.

use sqlx::Row;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use uuid::Uuid;

use super::append::Tx;
use super::{to_count, to_time, to_uuid};
use crate::store::{
    EnvoyEnd, EvidenceGaps, MissingPlaces, RecoveredRecord, StoreError, UnfinishedRecord,
    UnrecordedExchange,
};

pub(super) async fn note(tx: &mut Tx, exchanges: &[UnrecordedExchange]) -> Result<(), StoreError> {
    for exchange in exchanges {
        sqlx::query(
            "INSERT INTO unrecorded_exchanges
             (line, found_us, instance, request_id, status_code, details)
             VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (line) DO NOTHING",
        )
        .bind(&exchange.line)
        .bind(exchange.found_at.as_microsecond())
        .bind(&exchange.instance)
        .bind(exchange.request_id.map(|id| id.into_bytes().to_vec()))
        .bind(i64::from(exchange.status_code))
        .bind(&exchange.details)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

pub(super) async fn note_ends(tx: &mut Tx, ends: &[EnvoyEnd]) -> Result<(), StoreError> {
    for end in ends {
        sqlx::query(
            "INSERT INTO envoy_ends (instance, until_us, since_us, how) VALUES (?, ?, ?, ?)
             ON CONFLICT DO NOTHING",
        )
        .bind(&end.instance)
        .bind(end.until.as_microsecond())
        .bind(end.since.as_microsecond())
        .bind(&end.how)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

pub(super) async fn list(pool: &SqlitePool, limit: u32) -> Result<EvidenceGaps, StoreError> {
    Ok(EvidenceGaps {
        missing: missing(pool, limit).await?,
        unrecorded: unrecorded(pool, limit).await?,
        recovered: recovered(pool, limit).await?,
        unfinished: unfinished(pool, limit).await?,
        envoy_ends: envoy_ends(pool, limit).await?,
        envoy_ends_total: count(pool, "SELECT count(*) FROM envoy_ends").await?,
        unrecorded_total: count(pool, "SELECT count(*) FROM unrecorded_exchanges").await?,
        recovered_total: count(
            pool,
            "SELECT count(*) FROM evidence WHERE source = 'witness'",
        )
        .await?,
        unfinished_total: count(
            pool,
            "SELECT count(*) FROM evidence WHERE source = 'outbox' AND epoch_key IS NULL",
        )
        .await?,
    })
}

async fn count(pool: &SqlitePool, select: &'static str) -> Result<u64, StoreError> {
    to_count(sqlx::query_scalar(select).fetch_one(pool).await?)
}

/// The youngest sequences first; only those with a gap are walked through.
async fn missing(pool: &SqlitePool, limit: u32) -> Result<Vec<MissingPlaces>, StoreError> {
    let rows = sqlx::query(
        "SELECT p.emitter, p.epoch, p.last_received_us, g.first_seq, g.last_seq
         FROM emitter_epochs p JOIN (
             SELECT epoch_key, coalesce(lag(seq) OVER w, -1) + 1 AS first_seq, seq - 1 AS last_seq
             FROM (
                 SELECT epoch_key, seq FROM evidence
                 UNION ALL SELECT epoch_key, seq FROM retired_evidence
             ) placed
             WHERE epoch_key IN (SELECT key FROM emitter_epochs WHERE last_seq + 1 > places)
             WINDOW w AS (PARTITION BY epoch_key ORDER BY seq)
         ) g ON g.epoch_key = p.key AND g.first_seq <= g.last_seq
         ORDER BY p.key DESC, g.first_seq DESC LIMIT ?",
    )
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    let places = |row: &SqliteRow| {
        Ok(MissingPlaces {
            emitter: row.try_get("emitter")?,
            epoch: row.try_get("epoch")?,
            first_seq: to_count(row.try_get("first_seq")?)?,
            last_seq: to_count(row.try_get("last_seq")?)?,
            last_received_at: to_time(row.try_get("last_received_us")?)?,
        })
    };
    rows.iter().map(places).collect()
}

async fn unrecorded(pool: &SqlitePool, limit: u32) -> Result<Vec<UnrecordedExchange>, StoreError> {
    let rows =
        sqlx::query("SELECT * FROM unrecorded_exchanges ORDER BY found_us DESC, line LIMIT ?")
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await?;
    let exchange = |row: &SqliteRow| {
        let request_id: Option<Vec<u8>> = row.try_get("request_id")?;
        let status_code: i64 = row.try_get("status_code")?;
        Ok(UnrecordedExchange {
            line: row.try_get("line")?,
            found_at: to_time(row.try_get("found_us")?)?,
            instance: row.try_get("instance")?,
            request_id: request_id.map(to_uuid).transpose()?,
            status_code: u16::try_from(status_code)
                .map_err(|_| StoreError::Corrupt("an impossible status code"))?,
            details: row.try_get("details")?,
        })
    };
    rows.iter().map(exchange).collect()
}

async fn recovered(pool: &SqlitePool, limit: u32) -> Result<Vec<RecoveredRecord>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, received_us, epoch_key IS NULL AS provisional FROM evidence
         WHERE source = 'witness' ORDER BY id DESC LIMIT ?",
    )
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    let record = |row: &SqliteRow| {
        let id: Uuid = to_uuid(row.try_get("id")?)?;
        Ok(RecoveredRecord {
            id,
            received_at: to_time(row.try_get("received_us")?)?,
            provisional: row.try_get("provisional")?,
        })
    };
    rows.iter().map(record).collect()
}

async fn unfinished(pool: &SqlitePool, limit: u32) -> Result<Vec<UnfinishedRecord>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, received_us FROM evidence
         WHERE source = 'outbox' AND epoch_key IS NULL ORDER BY id DESC LIMIT ?",
    )
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    let record = |row: &SqliteRow| {
        Ok(UnfinishedRecord {
            id: to_uuid(row.try_get("id")?)?,
            received_at: to_time(row.try_get("received_us")?)?,
        })
    };
    rows.iter().map(record).collect()
}

async fn envoy_ends(pool: &SqlitePool, limit: u32) -> Result<Vec<EnvoyEnd>, StoreError> {
    let rows = sqlx::query(
        "SELECT instance, until_us, since_us, how FROM envoy_ends
         ORDER BY until_us DESC, instance LIMIT ?",
    )
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    let end = |row: &SqliteRow| {
        Ok(EnvoyEnd {
            instance: row.try_get("instance")?,
            since: to_time(row.try_get("since_us")?)?,
            until: to_time(row.try_get("until_us")?)?,
            how: row.try_get("how")?,
        })
    };
    rows.iter().map(end).collect()
}
