//! Fetches the log's own resources: checkpoint, tiles, records.

use crate::client::Client;
use crate::exit::Failure;
use jupiter_evidence::tree::{Checkpoint, Hash, TILE_WIDTH, Tile, TileId, Tiles};
use std::ops::Range;

/// A log as of one checkpoint.
pub struct Log<'a> {
    client: &'a Client,
    /// The signed note; whoever verifies judges the signature.
    pub note: String,
    pub size: u64,
}

#[derive(serde::Deserialize)]
struct Retentions {
    retentions: Vec<RetentionNote>,
}

#[derive(serde::Deserialize)]
struct RetentionNote {
    note: String,
}

fn unusable(what: &str) -> Failure {
    Failure::new(format!("the control plane sent {what}"))
}

impl<'a> Log<'a> {
    pub async fn fetch(client: &'a Client) -> Result<Log<'a>, Failure> {
        let note = client.bytes("v1/log/checkpoint").await?;
        let note = String::from_utf8(note.into()).map_err(|_| unusable("no checkpoint"))?;
        let checkpoint = Checkpoint::unverified(&note).ok_or_else(|| unusable("no checkpoint"))?;
        Ok(Log {
            client,
            note,
            size: checkpoint.size,
        })
    }

    /// What the control plane says is retained no more, as signed notes.
    pub async fn retentions(&self) -> Result<Vec<String>, Failure> {
        let path = ["v1", "evidence", "retentions"];
        let listed: Retentions = self.client.read_as(&path, &[]).await?;
        Ok(listed.retentions.into_iter().map(|it| it.note).collect())
    }

    /// The widest form that a tile of this level and index has.
    fn width(&self, level: u8, index: u64) -> u64 {
        let hashes = self.size.checked_shr(8 * u32::from(level)).unwrap_or(0);
        hashes.saturating_sub(index * TILE_WIDTH).min(TILE_WIDTH)
    }

    async fn tile(&self, id: TileId) -> Result<Tile, Failure> {
        let path = id.path(self.width(id.level, id.index));
        let bytes = self.client.bytes(&format!("v1/log/{path}")).await?;
        Tile::from_bytes(id, &bytes).ok_or_else(|| unusable("a spoiled tile"))
    }

    /// The hashes of these subtrees.
    pub async fn hashes(&self, subtrees: &[Range<u64>]) -> Result<Vec<Hash>, Failure> {
        let mut tiles = Vec::new();
        for id in Tiles::needed_for(subtrees) {
            tiles.push(self.tile(id).await?);
        }
        let tiles: Tiles = tiles.into_iter().collect();
        let hashes = tiles.subtrees(subtrees);
        hashes.ok_or_else(|| unusable("tiles that lack hashes"))
    }

    /// The leaf hashes of one tile, from its first leaf on.
    pub async fn leaves(&self, index: u64) -> Result<Vec<Hash>, Failure> {
        Ok(self.tile(TileId { level: 0, index }).await?.hashes)
    }

    /// The records of one bundle, from its first on; empty where one is not stored.
    pub async fn records(&self, index: u64) -> Result<Vec<Vec<u8>>, Failure> {
        let id = TileId { level: 0, index };
        let path = id.path(self.width(0, index));
        let path = path.replacen("tile/0/", "v1/log/tile/entries/", 1);
        let absent = [("absent", "empty".to_owned())];
        let bundle = self.client.bytes_of(&path, &absent).await?;
        let mut rest: &[u8] = &bundle;
        let mut records = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            let (record, after) = after
                .split_at_checked(length)
                .ok_or_else(|| unusable("a spoiled bundle of records"))?;
            records.push(record.to_vec());
            rest = after;
        }
        Ok(records)
    }
}
