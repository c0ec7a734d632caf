//! The evidence tree in Postgres.
//!
//! Transactions that append run side by side, so the order of leaves is made
//! afterwards: each leaves a batch waiting, and whoever seals gives the batches
//! their places. A record's row names its batch and its place in it and is never
//! touched again.

use jupiter_evidence::LeafHash;
use jupiter_evidence::tree::{Hash, TILE_WIDTH, Tile, TileId};
use sqlx::postgres::PgRow;
use sqlx::{Connection, PgConnection, Row};
use std::collections::HashMap;
use uuid::Uuid;

use super::{to_bytes, to_column, to_count, to_time};
use crate::store::{
    AdvanceError, Cosigned, LogEntry, LogRecord, LogState, LoggedRecord, SUPERSEDED, Sequenced,
    StoreError, StoredCheckpoint, WaitingBatch,
};

/// The index of row `e` of `evidence`, if it has one in the tree.
pub(super) const LEAF_INDEX: &str = "(SELECT b.first_index + e.batch_place - 1 FROM log_batches b
     WHERE b.batch = e.batch) AS leaf_index";

pub(super) fn leaf_index(row: &PgRow) -> Result<Option<u64>, StoreError> {
    let index: Option<i64> = row.try_get("leaf_index")?;
    index.map(to_count).transpose()
}

pub(super) async fn state(conn: &mut PgConnection) -> Result<LogState, StoreError> {
    // One statement, one snapshot.
    let row = sqlx::query(
        "SELECT l.size AS in_tree,
             (SELECT coalesce(sum(leaves), 0)::bigint FROM log_waiting) AS waiting,
             c.size, c.root, c.note, c.signed_us
         FROM log_state l LEFT JOIN log_checkpoints c
         ON c.size = (SELECT max(size) FROM log_checkpoints)",
    )
    .fetch_one(conn)
    .await?;
    let checkpoint = match row.try_get::<Option<i64>, _>("size")? {
        None => None,
        Some(size) => Some(StoredCheckpoint {
            size: to_count(size)?,
            root: to_bytes(row.try_get("root")?)?,
            note: row.try_get("note")?,
            signed_at: to_time(row.try_get("signed_us")?)?,
        }),
    };
    Ok(LogState {
        size: to_count(row.try_get("in_tree")?)?,
        waiting: to_count(row.try_get("waiting")?)?,
        checkpoint,
    })
}

pub(super) async fn waiting(
    conn: &mut PgConnection,
    leaves: u64,
) -> Result<Vec<WaitingBatch>, StoreError> {
    let rows = sqlx::query(
        "SELECT batch, hashes FROM (
             SELECT batch, hashes, sum(leaves) OVER (ORDER BY batch) - leaves AS before
             FROM log_waiting
         ) w WHERE before < $1 ORDER BY batch",
    )
    .bind(to_column(leaves))
    .fetch_all(conn)
    .await?;
    let batches = rows.iter().map(|row| {
        let bytes: &[u8] = row.try_get("hashes")?;
        let (hashes, rest) = bytes.as_chunks::<32>();
        match rest {
            [] => Ok(WaitingBatch {
                id: row.try_get("batch")?,
                leaves: hashes.iter().copied().map(LeafHash).collect(),
            }),
            _ => Err(StoreError::Corrupt("leaves of the wrong length")),
        }
    });
    batches.collect()
}

pub(super) async fn sequence(
    conn: &mut PgConnection,
    seen: u64,
    sequenced: Sequenced,
) -> Result<(), AdvanceError> {
    let mut tx = conn.begin().await?;
    // The fence: of two who saw the same tree, the second waits here and loses.
    let moved = sqlx::query("UPDATE log_state SET size = $1 WHERE size = $2")
        .bind(to_column(sequenced.size))
        .bind(to_column(seen))
        .execute(&mut *tx)
        .await?;
    if moved.rows_affected() != 1 {
        return Err(AdvanceError::Stale);
    }
    let placed = sqlx::query(
        "WITH gone AS (
             DELETE FROM log_waiting WHERE batch = ANY($1) RETURNING batch, leaves, ids
         ), placed AS (
             SELECT gone.*, $2 + sum(leaves) OVER (ORDER BY place) - leaves AS first_index
             FROM gone JOIN unnest($1) WITH ORDINALITY AS wanted (batch, place) USING (batch)
         ), kept AS (
             INSERT INTO log_batches (batch, first_index, leaves, ids)
             SELECT batch, first_index, leaves, ids FROM placed
         )
         SELECT count(*) AS batches, coalesce(sum(leaves), 0)::bigint AS leaves FROM placed",
    )
    .bind(&sequenced.batches)
    .bind(to_column(seen))
    .fetch_one(&mut *tx)
    .await?;
    if to_count(placed.try_get("batches")?)? != sequenced.batches.len() as u64 {
        return Err(AdvanceError::Stale);
    }
    if seen + to_count(placed.try_get("leaves")?)? != sequenced.size {
        return Err(StoreError::Corrupt("a tree of another size than its leaves").into());
    }
    write_tiles(&mut tx, &sequenced.tiles).await?;
    tx.commit().await?;
    Ok(())
}

async fn write_tiles(tx: &mut PgConnection, tiles: &[Tile]) -> Result<(), sqlx::Error> {
    let levels: Vec<i16> = tiles.iter().map(|tile| i16::from(tile.id.level)).collect();
    let indexes: Vec<i64> = tiles.iter().map(|tile| to_column(tile.id.index)).collect();
    let hashes: Vec<Vec<u8>> = tiles.iter().map(Tile::to_bytes).collect();
    sqlx::query(
        "INSERT INTO log_tiles AS known (level, tile_index, hashes)
         SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[])
         ON CONFLICT (level, tile_index) DO UPDATE SET hashes = excluded.hashes
         WHERE length(known.hashes) < length(excluded.hashes)",
    )
    .bind(levels)
    .bind(indexes)
    .bind(hashes)
    .execute(tx)
    .await?;
    Ok(())
}

pub(super) async fn tiles(
    conn: &mut PgConnection,
    ids: &[TileId],
) -> Result<Vec<Tile>, StoreError> {
    let levels: Vec<i16> = ids.iter().map(|id| i16::from(id.level)).collect();
    let indexes: Vec<i64> = ids.iter().map(|id| to_column(id.index)).collect();
    let rows = sqlx::query(
        "SELECT wanted.place, t.hashes
         FROM unnest($1::smallint[], $2::bigint[]) WITH ORDINALITY
             AS wanted (level, tile_index, place)
         JOIN log_tiles t USING (level, tile_index) ORDER BY wanted.place",
    )
    .bind(levels)
    .bind(indexes)
    .fetch_all(conn)
    .await?;
    let tiles = rows.iter().map(|row| {
        let place = to_count(row.try_get("place")?)?.saturating_sub(1);
        let id = usize::try_from(place).ok().and_then(|place| ids.get(place));
        id.and_then(|id| Tile::from_bytes(*id, row.try_get("hashes").ok()?))
            .ok_or(StoreError::Corrupt("a tile of the wrong length"))
    });
    tiles.collect()
}

pub(super) async fn advance(
    conn: &mut PgConnection,
    seen: u64,
    checkpoint: StoredCheckpoint,
) -> Result<(), AdvanceError> {
    let mut tx = conn.begin().await?;
    // Of two who saw the same checkpoint, the second waits here and loses.
    sqlx::query("SELECT size FROM log_state FOR UPDATE")
        .fetch_one(&mut *tx)
        .await?;
    let written = sqlx::query(
        "INSERT INTO log_checkpoints AS known (size, root, note, signed_us)
         SELECT $1, $2, $3, $4 FROM log_state
         WHERE size >= $1 AND $1 >= $5
         AND (SELECT coalesce(max(size), 0) FROM log_checkpoints) = $5
         ON CONFLICT (size) DO UPDATE SET note = excluded.note, signed_us = excluded.signed_us
         WHERE known.root = excluded.root",
    )
    .bind(to_column(checkpoint.size))
    .bind(checkpoint.root.as_slice())
    .bind(&checkpoint.note)
    .bind(checkpoint.signed_at.as_microsecond())
    .bind(to_column(seen))
    .execute(&mut *tx)
    .await?;
    if written.rows_affected() != 1 {
        return Err(AdvanceError::Stale);
    }
    tx.commit().await?;
    Ok(())
}

pub(super) async fn cosigned(
    conn: &mut PgConnection,
    origin: &str,
) -> Result<Option<Cosigned>, StoreError> {
    let row =
        sqlx::query("SELECT size, root, note, cosigned_us FROM cosigned_logs WHERE origin = $1")
            .bind(origin)
            .fetch_optional(conn)
            .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    Ok(Some(Cosigned {
        size: to_count(row.try_get("size")?)?,
        root: to_bytes(row.try_get("root")?)?,
        note: row.try_get("note")?,
        at: to_time(row.try_get("cosigned_us")?)?,
    }))
}

pub(super) async fn advance_cosigned(
    conn: &mut PgConnection,
    origin: &str,
    seen: u64,
    cosigned: &Cosigned,
) -> Result<(), AdvanceError> {
    let written = sqlx::query(
        "INSERT INTO cosigned_logs AS known (origin, size, root, note, cosigned_us)
         SELECT $1, $2, $3, $4, $5
         WHERE $6 = 0 OR EXISTS (SELECT 1 FROM cosigned_logs WHERE origin = $1)
         ON CONFLICT (origin) DO UPDATE SET size = excluded.size, root = excluded.root,
             note = excluded.note, cosigned_us = excluded.cosigned_us
         WHERE known.size = $6",
    )
    .bind(origin)
    .bind(to_column(cosigned.size))
    .bind(cosigned.root.as_slice())
    .bind(&cosigned.note)
    .bind(cosigned.at.as_microsecond())
    .bind(to_column(seen))
    .execute(conn)
    .await?;
    match written.rows_affected() {
        1 => Ok(()),
        _ => Err(AdvanceError::Stale),
    }
}

pub(super) async fn entries(
    conn: &mut PgConnection,
    first: u64,
    limit: u32,
) -> Result<Vec<LogEntry>, StoreError> {
    let end = first.saturating_add(u64::from(limit));
    let rows = sqlx::query(
        "SELECT b.first_index + member.place - 1 AS leaf_index, member.id, e.record,
             e.received_us, e.subject_ref, retired.leaf_index IS NOT NULL AS let_go
         FROM log_batches b
         CROSS JOIN unnest(b.ids) WITH ORDINALITY AS member (id, place)
         LEFT JOIN evidence e ON e.id = member.id AND e.batch = b.batch
         LEFT JOIN retired_evidence retired
             ON retired.leaf_index = b.first_index + member.place - 1
         WHERE b.first_index < $2
         AND b.first_index >= coalesce((SELECT max(first_index) FROM log_batches
                                        WHERE first_index <= $1), 0)
         AND b.first_index + member.place - 1 >= $1
         AND b.first_index + member.place - 1 < $2
         ORDER BY 1",
    )
    .bind(to_column(first))
    .bind(to_column(end))
    .fetch_all(&mut *conn)
    .await?;
    let mut entries = Vec::with_capacity(rows.len());
    let mut others = Vec::new();
    for row in rows {
        let index = to_count(row.try_get("leaf_index")?)?;
        let stored: Option<String> = row.try_get("record")?;
        let record = match (stored, row.try_get("let_go")?) {
            (Some(_), _) => LogRecord::Stored(logged(&row)?),
            (None, true) => LogRecord::LetGo,
            (None, false) => {
                others.push((index, row.try_get("id")?));
                LogRecord::Lost
            }
        };
        entries.push(LogEntry { index, record });
    }
    if !others.is_empty() {
        let mut replaced = superseded(conn, &others).await?;
        for entry in &mut entries {
            if let Some(record) = replaced.remove(&entry.index) {
                entry.record = LogRecord::Stored(record);
            }
        }
    }
    Ok(entries)
}

fn logged(row: &PgRow) -> Result<LoggedRecord, StoreError> {
    Ok(LoggedRecord {
        canonical: row.try_get("record")?,
        received_at: to_time(row.try_get("received_us")?)?,
        subject_ref: row.try_get("subject_ref")?,
    })
}

/// Provisional records that had become leaves before their final ones came.
async fn superseded(
    conn: &mut PgConnection,
    leaves: &[(u64, Uuid)],
) -> Result<HashMap<u64, LoggedRecord>, StoreError> {
    let tile_of = |(index, _): &(u64, Uuid)| TileId {
        level: 0,
        index: index / TILE_WIDTH,
    };
    let mut needed: Vec<TileId> = leaves.iter().map(tile_of).collect();
    needed.dedup();
    let tiles: HashMap<u64, Vec<Hash>> = tiles(conn, &needed)
        .await?
        .into_iter()
        .map(|tile| (tile.id.index, tile.hashes))
        .collect();
    let (mut indexes, mut ids, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
    for (index, id) in leaves {
        let hash = tiles.get(&(index / TILE_WIDTH));
        let hash = hash.and_then(|hashes| hashes.get((index % TILE_WIDTH) as usize));
        if let Some(hash) = hash {
            indexes.push(to_column(*index));
            ids.push(*id);
            hashes.push(hash.to_vec());
        }
    }
    let rows = sqlx::query(
        "SELECT w.leaf_index, convert_from(q.line, 'UTF8') AS record,
             q.first_received_us AS received_us,
             (SELECT e.subject_ref FROM evidence e WHERE e.id = w.id LIMIT 1) AS subject_ref
         FROM unnest($1::bigint[], $2::uuid[], $3::bytea[]) AS w (leaf_index, id, hash)
         JOIN quarantine q ON q.hash = w.hash AND q.reason = $4",
    )
    .bind(indexes)
    .bind(ids)
    .bind(hashes)
    .bind(SUPERSEDED)
    .fetch_all(conn)
    .await?;
    let one = |row: &PgRow| Ok((to_count(row.try_get("leaf_index")?)?, logged(row)?));
    rows.iter().map(one).collect()
}
