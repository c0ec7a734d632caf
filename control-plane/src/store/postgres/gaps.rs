//! What is missing, found where the accounting of sequences says there is
//! something to find.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::{to_count, to_time};
use crate::store::{
    EnvoyEnd, EvidenceGaps, MissingPlaces, RecoveredRecord, StoreError, UnfinishedRecord,
    UnrecordedExchange,
};

pub(super) async fn note(
    conn: &mut PgConnection,
    exchanges: &[UnrecordedExchange],
) -> Result<(), StoreError> {
    let each = exchanges.iter();
    sqlx::query(
        "INSERT INTO unrecorded_exchanges
         (line, found_us, instance, request_id, status_code, details)
         SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::uuid[], $5::integer[],
             $6::text[]) AS new (line) ORDER BY new.line
         ON CONFLICT (line) DO NOTHING",
    )
    .bind(each.clone().map(|e| e.line.as_str()).collect::<Vec<_>>())
    .bind(
        each.clone()
            .map(|e| e.found_at.as_microsecond())
            .collect::<Vec<_>>(),
    )
    .bind(
        each.clone()
            .map(|e| e.instance.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(each.clone().map(|e| e.request_id).collect::<Vec<_>>())
    .bind(
        each.clone()
            .map(|e| i32::from(e.status_code))
            .collect::<Vec<_>>(),
    )
    .bind(each.map(|e| e.details.as_str()).collect::<Vec<_>>())
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn note_ends(
    conn: &mut PgConnection,
    ends: &[EnvoyEnd],
) -> Result<(), StoreError> {
    let each = ends.iter();
    let instances: Vec<&str> = each.clone().map(|end| end.instance.as_str()).collect();
    let untils: Vec<i64> = each.clone().map(|end| end.until.as_microsecond()).collect();
    let sinces: Vec<i64> = each.clone().map(|end| end.since.as_microsecond()).collect();
    let hows: Vec<&str> = each.map(|end| end.how.as_str()).collect();
    sqlx::query(
        "INSERT INTO envoy_ends (instance, until_us, since_us, how)
         SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[]) AS new
             (instance, until_us, since_us, how) ORDER BY new.instance, new.until_us
         ON CONFLICT DO NOTHING",
    )
    .bind(instances)
    .bind(untils)
    .bind(sinces)
    .bind(hows)
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn list(conn: &mut PgConnection, limit: u32) -> Result<EvidenceGaps, StoreError> {
    Ok(EvidenceGaps {
        missing: missing(conn, limit).await?,
        unrecorded: unrecorded(conn, limit).await?,
        recovered: recovered(conn, limit).await?,
        unfinished: unfinished(conn, limit).await?,
        envoy_ends: envoy_ends(conn, limit).await?,
        envoy_ends_total: count(conn, "SELECT count(*) FROM envoy_ends").await?,
        unrecorded_total: count(conn, "SELECT count(*) FROM unrecorded_exchanges").await?,
        recovered_total: count(
            conn,
            "SELECT count(*) FROM evidence WHERE source = 'witness'",
        )
        .await?,
        unfinished_total: count(
            conn,
            "SELECT count(*) FROM evidence WHERE source = 'outbox' AND epoch_key IS NULL",
        )
        .await?,
    })
}

async fn count(conn: &mut PgConnection, select: &'static str) -> Result<u64, StoreError> {
    to_count(sqlx::query_scalar(select).fetch_one(conn).await?)
}

/// The youngest sequences first; only those with a gap are walked through.
async fn missing(conn: &mut PgConnection, limit: u32) -> Result<Vec<MissingPlaces>, StoreError> {
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
         ORDER BY p.key DESC, g.first_seq DESC LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await?;
    let places = |row: &PgRow| {
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

async fn unrecorded(
    conn: &mut PgConnection,
    limit: u32,
) -> Result<Vec<UnrecordedExchange>, StoreError> {
    let rows = sqlx::query(
        "SELECT line, found_us, instance, request_id, status_code, details
         FROM unrecorded_exchanges ORDER BY found_us DESC, line COLLATE \"C\" LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await?;
    let exchange = |row: &PgRow| {
        let status_code: i32 = row.try_get("status_code")?;
        Ok(UnrecordedExchange {
            line: row.try_get("line")?,
            found_at: to_time(row.try_get("found_us")?)?,
            instance: row.try_get("instance")?,
            request_id: row.try_get("request_id")?,
            status_code: u16::try_from(status_code)
                .map_err(|_| StoreError::Corrupt("an impossible status code"))?,
            details: row.try_get("details")?,
        })
    };
    rows.iter().map(exchange).collect()
}

async fn recovered(
    conn: &mut PgConnection,
    limit: u32,
) -> Result<Vec<RecoveredRecord>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, received_us, epoch_key IS NULL AS provisional FROM evidence
         WHERE source = 'witness' ORDER BY id DESC LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await?;
    let record = |row: &PgRow| {
        Ok(RecoveredRecord {
            id: row.try_get("id")?,
            received_at: to_time(row.try_get("received_us")?)?,
            provisional: row.try_get("provisional")?,
        })
    };
    rows.iter().map(record).collect()
}

async fn unfinished(
    conn: &mut PgConnection,
    limit: u32,
) -> Result<Vec<UnfinishedRecord>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, received_us FROM evidence
         WHERE source = 'outbox' AND epoch_key IS NULL ORDER BY id DESC LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await?;
    let record = |row: &PgRow| {
        Ok(UnfinishedRecord {
            id: row.try_get("id")?,
            received_at: to_time(row.try_get("received_us")?)?,
        })
    };
    rows.iter().map(record).collect()
}

async fn envoy_ends(conn: &mut PgConnection, limit: u32) -> Result<Vec<EnvoyEnd>, StoreError> {
    let rows = sqlx::query(
        "SELECT instance, until_us, since_us, how FROM envoy_ends
         ORDER BY until_us DESC, instance LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await?;
    let end = |row: &PgRow| {
        Ok(EnvoyEnd {
            instance: row.try_get("instance")?,
            since: to_time(row.try_get("since_us")?)?,
            until: to_time(row.try_get("until_us")?)?,
            how: row.try_get("how")?,
        })
    };
    rows.iter().map(end).collect()
}
