//! The evidence tree in SQLite.
//!
//! There is one writer: the order in which records arrive is the order of their
//! leaves, and a batch is known by the index its first leaf will have. A
//! record's row says where its leaf is without ever being touched again.

use jupiter_evidence::LeafHash;
use jupiter_evidence::tree::{Hash, TILE_WIDTH, Tile, TileId};
use sqlx::Row;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use std::collections::HashMap;

use super::append::Tx;
use super::{to_bytes, to_column, to_count, to_time, to_uuid};
use crate::store::{
    AdvanceError, Cosigned, LogEntry, LogRecord, LogState, LoggedRecord, SUPERSEDED, Sequenced,
    StoreError, StoredCheckpoint, WaitingBatch,
};

/// The index of row `e` of `evidence`, if it has one in the tree.
pub(super) const LEAF_INDEX: &str = "(SELECT e.arrival - l.first_arrival FROM log_state l
     WHERE e.arrival >= l.first_arrival AND e.arrival < l.first_arrival + l.size) AS leaf_index";

pub(super) fn leaf_index(row: &SqliteRow) -> Result<Option<u64>, StoreError> {
    let index: Option<i64> = row.try_get("leaf_index")?;
    index.map(to_count).transpose()
}

/// Lets leaves wait for the tree; `arrival` of the first of their records.
pub(super) async fn enqueue(tx: &mut Tx, leaves: &[LeafHash]) -> Result<i64, StoreError> {
    let row = sqlx::query(
        "UPDATE log_state SET appended = appended + ?
         RETURNING first_arrival, appended - ? AS first_index",
    )
    .bind(leaves.len() as i64)
    .bind(leaves.len() as i64)
    .fetch_one(&mut **tx)
    .await?;
    let first_index: i64 = row.try_get("first_index")?;
    if !leaves.is_empty() {
        let hashes: Vec<[u8; 32]> = leaves.iter().map(|leaf| leaf.0).collect();
        sqlx::query("INSERT INTO log_waiting (first_index, leaves) VALUES (?, ?)")
            .bind(first_index)
            .bind(hashes.concat())
            .execute(&mut **tx)
            .await?;
    }
    let first_arrival: i64 = row.try_get("first_arrival")?;
    Ok(first_arrival + first_index)
}

pub(super) async fn state(pool: &SqlitePool) -> Result<LogState, StoreError> {
    let row = sqlx::query(
        "SELECT l.size AS leaves, l.appended, c.size, c.root, c.note, c.signed_us
         FROM log_state l LEFT JOIN log_checkpoints c
         ON c.size = (SELECT max(size) FROM log_checkpoints)",
    )
    .fetch_one(pool)
    .await?;
    let size = to_count(row.try_get("leaves")?)?;
    let appended = to_count(row.try_get("appended")?)?;
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
        size,
        waiting: appended.saturating_sub(size),
        checkpoint,
    })
}

pub(super) async fn waiting(
    pool: &SqlitePool,
    leaves: u64,
) -> Result<Vec<WaitingBatch>, StoreError> {
    // The first batch tells where the tree ends.
    let rows = sqlx::query(
        "SELECT first_index, leaves FROM log_waiting
         WHERE first_index < (SELECT min(first_index) FROM log_waiting) + ?
         ORDER BY first_index",
    )
    .bind(to_column(leaves))
    .fetch_all(pool)
    .await?;
    let batches = rows.iter().map(|row| {
        let bytes: &[u8] = row.try_get("leaves")?;
        let (hashes, rest) = bytes.as_chunks::<32>();
        match rest {
            [] => Ok(WaitingBatch {
                id: row.try_get("first_index")?,
                leaves: hashes.iter().copied().map(LeafHash).collect(),
            }),
            _ => Err(StoreError::Corrupt("leaves of the wrong length")),
        }
    });
    batches.collect()
}

pub(super) async fn sequence(
    tx: &mut Tx,
    seen: u64,
    sequenced: Sequenced,
) -> Result<(), AdvanceError> {
    let moved = sqlx::query("UPDATE log_state SET size = ? WHERE size = ?")
        .bind(to_column(sequenced.size))
        .bind(to_column(seen))
        .execute(&mut **tx)
        .await?;
    if moved.rows_affected() != 1 {
        return Err(AdvanceError::Stale);
    }
    let mut next = to_column(seen);
    for batch in sequenced.batches {
        let gone = sqlx::query(
            "DELETE FROM log_waiting WHERE first_index = ? RETURNING length(leaves) / 32 AS leaves",
        )
        .bind(batch)
        .fetch_optional(&mut **tx)
        .await?;
        let Some(gone) = gone else {
            return Err(AdvanceError::Stale);
        };
        // Another order than that of arrival is not one this store can keep.
        if batch != next {
            return Err(StoreError::Corrupt("leaves out of the order of arrival").into());
        }
        let leaves: i64 = gone.try_get("leaves")?;
        next += leaves;
    }
    if next != to_column(sequenced.size) {
        return Err(StoreError::Corrupt("a tree of another size than its leaves").into());
    }
    for tile in &sequenced.tiles {
        write_tile(tx, tile).await?;
    }
    Ok(())
}

async fn write_tile(tx: &mut Tx, tile: &Tile) -> Result<(), AdvanceError> {
    sqlx::query(
        "INSERT INTO log_tiles (level, tile_index, hashes) VALUES (?, ?, ?)
         ON CONFLICT (level, tile_index) DO UPDATE SET hashes = excluded.hashes
         WHERE length(hashes) < length(excluded.hashes)",
    )
    .bind(i64::from(tile.id.level))
    .bind(to_column(tile.id.index))
    .bind(tile.to_bytes())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) async fn tiles(pool: &SqlitePool, ids: &[TileId]) -> Result<Vec<Tile>, StoreError> {
    let mut tiles = Vec::with_capacity(ids.len());
    // One snapshot for all: a tile may grow meanwhile, but hashes never change.
    for id in ids {
        let row = sqlx::query("SELECT hashes FROM log_tiles WHERE level = ? AND tile_index = ?")
            .bind(i64::from(id.level))
            .bind(to_column(id.index))
            .fetch_optional(pool)
            .await?;
        if let Some(row) = row {
            let tile = Tile::from_bytes(*id, row.try_get("hashes")?);
            tiles.push(tile.ok_or(StoreError::Corrupt("a tile of the wrong length"))?);
        }
    }
    Ok(tiles)
}

pub(super) async fn advance(
    tx: &mut Tx,
    seen: u64,
    checkpoint: StoredCheckpoint,
) -> Result<(), AdvanceError> {
    let written = sqlx::query(
        "INSERT INTO log_checkpoints (size, root, note, signed_us)
         SELECT ?1, ?2, ?3, ?4 FROM log_state
         WHERE size >= ?1 AND ?1 >= ?5
         AND (SELECT coalesce(max(size), 0) FROM log_checkpoints) = ?5
         ON CONFLICT (size) DO UPDATE SET note = excluded.note, signed_us = excluded.signed_us
         WHERE root = excluded.root",
    )
    .bind(to_column(checkpoint.size))
    .bind(checkpoint.root.as_slice())
    .bind(&checkpoint.note)
    .bind(checkpoint.signed_at.as_microsecond())
    .bind(to_column(seen))
    .execute(&mut **tx)
    .await?;
    match written.rows_affected() {
        1 => Ok(()),
        _ => Err(AdvanceError::Stale),
    }
}

pub(super) async fn cosigned(
    pool: &SqlitePool,
    origin: &str,
) -> Result<Option<Cosigned>, StoreError> {
    let row =
        sqlx::query("SELECT size, root, note, cosigned_us FROM cosigned_logs WHERE origin = ?1")
            .bind(origin)
            .fetch_optional(pool)
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
    pool: &SqlitePool,
    origin: &str,
    seen: u64,
    cosigned: Cosigned,
) -> Result<(), AdvanceError> {
    let written = sqlx::query(
        "INSERT INTO cosigned_logs AS known (origin, size, root, note, cosigned_us)
         SELECT ?1, ?2, ?3, ?4, ?5
         WHERE ?6 = 0 OR EXISTS (SELECT 1 FROM cosigned_logs WHERE origin = ?1)
         ON CONFLICT (origin) DO UPDATE SET size = excluded.size, root = excluded.root,
             note = excluded.note, cosigned_us = excluded.cosigned_us
         WHERE known.size = ?6",
    )
    .bind(origin)
    .bind(to_column(cosigned.size))
    .bind(cosigned.root.as_slice())
    .bind(&cosigned.note)
    .bind(cosigned.at.as_microsecond())
    .bind(to_column(seen))
    .execute(pool)
    .await?;
    match written.rows_affected() {
        1 => Ok(()),
        _ => Err(AdvanceError::Stale),
    }
}

pub(super) async fn entries(
    pool: &SqlitePool,
    first: u64,
    limit: u32,
) -> Result<Vec<LogEntry>, StoreError> {
    let size: i64 = sqlx::query_scalar("SELECT size FROM log_state")
        .fetch_one(pool)
        .await?;
    let end = to_count(size)?.min(first.saturating_add(u64::from(limit)));
    let rows = sqlx::query(
        "SELECT e.arrival - l.first_arrival AS leaf_index, e.record, e.received_us, e.subject_ref
         FROM log_state l JOIN evidence e
         ON e.arrival >= l.first_arrival + ? AND e.arrival < l.first_arrival + ?
         ORDER BY e.arrival",
    )
    .bind(to_column(first))
    .bind(to_column(end))
    .fetch_all(pool)
    .await?;
    let mut known = HashMap::with_capacity(rows.len());
    for row in &rows {
        let index = leaf_index(row)?.ok_or(StoreError::Corrupt("a leaf without a place"))?;
        known.insert(index, LogRecord::Stored(logged(row)?));
    }
    let others: Vec<u64> = (first..end).filter(|at| !known.contains_key(at)).collect();
    if !others.is_empty() {
        known.extend(let_go(pool, &others).await?);
        known.extend(superseded(pool, &others).await?);
    }
    let entry = |index| LogEntry {
        index,
        record: known.remove(&index).unwrap_or(LogRecord::Lost),
    };
    Ok((first..end).map(entry).collect())
}

fn logged(row: &SqliteRow) -> Result<LoggedRecord, StoreError> {
    let subject_ref: Option<Vec<u8>> = row.try_get("subject_ref")?;
    Ok(LoggedRecord {
        canonical: row.try_get("record")?,
        received_at: to_time(row.try_get("received_us")?)?,
        subject_ref: subject_ref.map(to_uuid).transpose()?,
    })
}

/// Those of the leaves whose records were let go.
async fn let_go(pool: &SqlitePool, leaves: &[u64]) -> Result<Vec<(u64, LogRecord)>, StoreError> {
    let (Some(first), Some(last)) = (leaves.first(), leaves.last()) else {
        return Ok(Vec::new());
    };
    let indexes: Vec<i64> = sqlx::query_scalar(
        "SELECT leaf_index FROM retired_evidence WHERE leaf_index BETWEEN ? AND ?",
    )
    .bind(to_column(*first))
    .bind(to_column(*last))
    .fetch_all(pool)
    .await?;
    let one = |index| Ok((to_count(index)?, LogRecord::LetGo));
    indexes.into_iter().map(one).collect()
}

/// Provisional records that had become leaves before their final ones came.
async fn superseded(
    pool: &SqlitePool,
    leaves: &[u64],
) -> Result<Vec<(u64, LogRecord)>, StoreError> {
    let mut ids: Vec<TileId> = leaves.iter().map(|index| tile_of(*index)).collect();
    ids.dedup();
    let tiles: HashMap<u64, Vec<Hash>> = tiles(pool, &ids)
        .await?
        .into_iter()
        .map(|tile| (tile.id.index, tile.hashes))
        .collect();
    let hash = |index: &u64| {
        let hashes = tiles.get(&(index / TILE_WIDTH))?;
        Some((*index, *hashes.get((index % TILE_WIDTH) as usize)?))
    };
    let wanted: Vec<(u64, Hash)> = leaves.iter().filter_map(hash).collect();
    let rows = sqlx::query(
        "SELECT value ->> 0 AS leaf_index, CAST(q.line AS TEXT) AS record,
             q.first_received_us AS received_us, e.subject_ref
         FROM json_each(?) w
         JOIN quarantine q ON q.hash = unhex(w.value ->> 1) AND q.reason = ?
         LEFT JOIN evidence e
             ON e.id = unhex(replace(json_extract(CAST(q.line AS TEXT), '$.id'), '-', ''))",
    )
    .bind(crate::store::retention::wanted(&wanted))
    .bind(SUPERSEDED)
    .fetch_all(pool)
    .await?;
    let record = |row: &SqliteRow| {
        let index = leaf_index(row)?.ok_or(StoreError::Corrupt("a leaf without a place"))?;
        Ok((index, LogRecord::Stored(logged(row)?)))
    };
    rows.iter().map(record).collect()
}

fn tile_of(index: u64) -> TileId {
    TileId {
        level: 0,
        index: index / TILE_WIDTH,
    }
}
