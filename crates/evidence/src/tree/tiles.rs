//! Where the tree's hashes live: tiles of 256, eight levels of the tree apart
//! (C2SP `tlog-tiles`).
//!
//! A hash once in a tile never changes, so a wider version of a tile serves
//! whoever asks for a narrower one. Only the last tile of each level still
//! grows; together these are the [`Edge`], all that is needed to append.

use super::{Hash, empty_root, node_hash, split};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::ops::Range;

/// Hashes of a full tile.
pub const TILE_WIDTH: u64 = 256;

/// Levels of the tree from one level of tiles to the next.
const TILE_HEIGHT: u32 = 8;

/// The name of a tile, whatever its width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    /// 0 holds leaves; each hash above is that of a full tile below.
    pub level: u8,
    pub index: u64,
}

impl TileId {
    /// The path of the tile in this width: `tile/0/x001/234` or, not full,
    /// `tile/0/x001/234.p/56`.
    pub fn path(self, width: u64) -> String {
        format!("tile/{}/{}", self.level, numbered(self.index, width))
    }

    /// Reads what follows `tile/`: a tile and its width.
    pub fn parse(path: &str) -> Option<(TileId, u64)> {
        let (level, rest) = path.split_once('/')?;
        let level = number(level).and_then(|level| u8::try_from(level).ok())?;
        let (index, width) = TileId::parse_index(rest)?;
        (level < 64).then_some((TileId { level, index }, width))
    }

    /// Reads an index and its width, as tiles and entry bundles write them.
    pub fn parse_index(path: &str) -> Option<(u64, u64)> {
        let (index, width) = match path.split_once(".p/") {
            Some((index, width)) => (index, number(width)?),
            None => (path, TILE_WIDTH),
        };
        let mut number = 0_u64;
        let mut parts = index.split('/').peekable();
        while let Some(part) = parts.next() {
            let digits = match parts.peek() {
                Some(_) => part.strip_prefix('x')?,
                None => part,
            };
            if digits.len() != 3 || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            number = number
                .checked_mul(1_000)?
                .checked_add(digits.parse().ok()?)?;
        }
        // One tile, one path: neither a leading `x000` nor a full partial tile.
        let canonical = numbered(number, width) == path;
        (canonical && (1..=TILE_WIDTH).contains(&width)).then_some((number, width))
    }
}

fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

fn numbered(index: u64, width: u64) -> String {
    let mut groups = Vec::new();
    let mut rest = index;
    loop {
        groups.push(rest % 1_000);
        rest /= 1_000;
        if rest == 0 {
            break;
        }
    }
    let mut path = String::new();
    for (at, group) in groups.iter().enumerate().rev() {
        let (x, slash) = if at > 0 { ("x", "/") } else { ("", "") };
        // Writing to a string cannot fail.
        let _ = write!(path, "{x}{group:03}{slash}");
    }
    if width < TILE_WIDTH {
        let _ = write!(path, ".p/{width}");
    }
    path
}

/// A tile as wide as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    pub id: TileId,
    /// At most [`TILE_WIDTH`].
    pub hashes: Vec<Hash>,
}

impl Tile {
    /// The hashes one after the other, as a tile is stored and served.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.hashes.concat()
    }

    /// `None` where the bytes are no whole hashes, or too many.
    pub fn from_bytes(id: TileId, bytes: &[u8]) -> Option<Tile> {
        let (hashes, rest) = bytes.as_chunks::<32>();
        let fits = rest.is_empty() && hashes.len() as u64 <= TILE_WIDTH;
        fits.then(|| Tile {
            id,
            hashes: hashes.to_vec(),
        })
    }
}

/// Tiles at hand, and the hashes of subtrees made from them.
#[derive(Debug, Clone, Default)]
pub struct Tiles(BTreeMap<TileId, Vec<Hash>>);

impl FromIterator<Tile> for Tiles {
    fn from_iter<I: IntoIterator<Item = Tile>>(tiles: I) -> Tiles {
        Tiles(
            tiles
                .into_iter()
                .map(|tile| (tile.id, tile.hashes))
                .collect(),
        )
    }
}

impl Tiles {
    /// Which tiles the hashes of these subtrees are made from.
    pub fn needed_for<'a>(subtrees: impl IntoIterator<Item = &'a Range<u64>>) -> Vec<TileId> {
        let mut needed = BTreeSet::new();
        for subtree in subtrees {
            subtree_hash(subtree.clone(), &mut |level, index| {
                needed.insert(tile_of(level, index).0);
                Some([0; 32])
            });
        }
        needed.into_iter().collect()
    }

    /// The root over a subtree; `None` where a tile lacks a hash.
    pub fn subtree(&self, subtree: Range<u64>) -> Option<Hash> {
        subtree_hash(subtree, &mut |level, index| self.hash(level, index))
    }

    /// The hashes of all these subtrees.
    pub fn subtrees(&self, subtrees: &[Range<u64>]) -> Option<Vec<Hash>> {
        let hashes = subtrees.iter().map(|range| self.subtree(range.clone()));
        hashes.collect()
    }

    fn hash(&self, level: u8, index: u64) -> Option<Hash> {
        let (tile, place) = tile_of(level, index);
        self.0.get(&tile)?.get(place).copied()
    }
}

fn tile_of(level: u8, index: u64) -> (TileId, usize) {
    let tile = TileId {
        level,
        index: index / TILE_WIDTH,
    };
    (tile, (index % TILE_WIDTH) as usize)
}

/// The hash of a subtree, from the hashes that tiles hold.
fn subtree_hash(
    subtree: Range<u64>,
    hash: &mut impl FnMut(u8, u64) -> Option<Hash>,
) -> Option<Hash> {
    let length = subtree.end.checked_sub(subtree.start)?;
    if length == 0 {
        return Some(empty_root());
    }
    let height = length.trailing_zeros();
    if length.is_power_of_two()
        && height.is_multiple_of(TILE_HEIGHT)
        && subtree.start.is_multiple_of(length)
    {
        let level = u8::try_from(height / TILE_HEIGHT).ok()?;
        return hash(level, subtree.start >> height);
    }
    let middle = split(&subtree);
    let left = subtree_hash(subtree.start..middle, hash)?;
    let right = subtree_hash(middle..subtree.end, hash)?;
    Some(node_hash(&left, &right))
}

/// The growing side of a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    /// The last tile of each level, not full, perhaps empty.
    levels: Vec<Vec<Hash>>,
    /// Tiles that hold hashes they did not hold when last taken.
    changed: BTreeMap<TileId, Vec<Hash>>,
}

impl Edge {
    /// The tiles that make the edge of a tree of `size`.
    pub fn tiles_of(size: u64) -> Vec<TileId> {
        let mut tiles = Vec::new();
        let mut rest = size;
        let mut level = 0;
        while rest > 0 {
            if !rest.is_multiple_of(TILE_WIDTH) {
                let index = rest / TILE_WIDTH;
                tiles.push(TileId { level, index });
            }
            rest /= TILE_WIDTH;
            level += 1;
        }
        tiles
    }

    /// The edge of a tree of `size`; `None` where `tiles` lack a hash of it.
    pub fn restore(size: u64, tiles: &Tiles) -> Option<Edge> {
        let mut levels = Vec::new();
        let mut rest = size;
        while rest > 0 {
            let id = TileId {
                level: u8::try_from(levels.len()).ok()?,
                index: rest / TILE_WIDTH,
            };
            let width = (rest % TILE_WIDTH) as usize;
            levels.push(match width {
                0 => Vec::new(),
                _ => tiles.0.get(&id)?.get(..width)?.to_vec(),
            });
            rest /= TILE_WIDTH;
        }
        Some(Edge {
            size,
            levels,
            changed: BTreeMap::new(),
        })
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn push(&mut self, leaf: Hash) {
        self.size += 1;
        let mut hash = leaf;
        // The count of hashes at each level, with the new one.
        let mut count = self.size;
        let mut level = 0_u8;
        loop {
            if self.levels.len() <= usize::from(level) {
                self.levels.push(Vec::with_capacity(TILE_WIDTH as usize));
            }
            let Some(pending) = self.levels.get_mut(usize::from(level)) else {
                return;
            };
            pending.push(hash);
            let id = TileId {
                level,
                index: (count - 1) / TILE_WIDTH,
            };
            if (pending.len() as u64) < TILE_WIDTH {
                // Its hashes are taken from the level when asked for.
                self.changed.entry(id).or_default();
                return;
            }
            hash = full_tile_hash(pending);
            self.changed.insert(id, std::mem::take(pending));
            count /= TILE_WIDTH;
            level += 1;
        }
    }

    pub fn root(&self) -> Hash {
        let edge = subtree_hash(0..self.size, &mut |level, index| {
            let (_, place) = tile_of(level, index);
            self.levels.get(usize::from(level))?.get(place).copied()
        });
        // The edge holds every hash that its root is made of.
        edge.unwrap_or_else(empty_root)
    }

    /// Every tile that grew since this was last asked, as wide as it is now.
    pub fn take_changed(&mut self) -> Vec<Tile> {
        let changed = std::mem::take(&mut self.changed);
        let tiles = changed.into_iter().map(|(id, full)| {
            let hashes = match full.is_empty() {
                false => full,
                true => self
                    .levels
                    .get(usize::from(id.level))
                    .cloned()
                    .unwrap_or_default(),
            };
            Tile { id, hashes }
        });
        tiles.collect()
    }
}

fn full_tile_hash(hashes: &[Hash]) -> Hash {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        let pairs = row.as_chunks::<2>().0.iter();
        row = pairs.map(|[left, right]| node_hash(left, right)).collect();
    }
    row.first().copied().unwrap_or_else(empty_root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        for (level, index, width, path) in [
            (0, 1_234_067, 256, "0/x001/x234/067"),
            (1, 0, 256, "1/000"),
            (0, 273, 112, "0/273.p/112"),
            (2, 1_000, 1, "2/x001/000.p/1"),
        ] {
            let id = TileId { level, index };
            assert_eq!(id.path(width), format!("tile/{path}"));
            assert_eq!(TileId::parse(path), Some((id, width)));
        }
    }

    #[test]
    fn one_tile_has_one_path() {
        for path in [
            "0/1",
            "0/0001",
            "0/x000/001",
            "64/000",
            "00/000",
            "0/000.p/0",
            "0/000.p/256",
            "0/000.p/01",
            "0/x001",
            "0/001/002",
            "0/",
            "0/-01",
            "0/+01",
            "a/000",
            "0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(TileId::parse(path), None, "{path}");
        }
    }

    #[test]
    fn edge_goes_on_from_stored_tiles() {
        let leaf = |n: u64| -> Hash {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&n.to_be_bytes());
            hash
        };
        let mut whole = Edge::default();
        let mut stored: BTreeMap<TileId, Tile> = BTreeMap::new();
        let mut edge = Edge::default();
        for n in 0..70_000 {
            whole.push(leaf(n));
            edge.push(leaf(n));
            // In pieces whose ends fall before, on and after a tile's.
            if n % 1_023 == 0 || n % 65_536 == 65_535 {
                for tile in edge.take_changed() {
                    stored.insert(tile.id, tile);
                }
                let tiles = stored.values().cloned().collect();
                edge = Edge::restore(edge.size(), &tiles).unwrap();
                assert_eq!(edge.root(), whole.root(), "{n}");
            }
        }
        for tile in edge.take_changed() {
            stored.insert(tile.id, tile);
        }
        // As the specification counts them: 273 full and one of 112 at level 0,
        // one full and one of 17 at level 1, one of 1 at level 2.
        assert_eq!(stored.len(), 277);
        let width = |level, index| stored[&TileId { level, index }].hashes.len();
        assert_eq!([width(0, 273), width(1, 1), width(2, 0)], [112, 17, 1]);
        assert_eq!(Edge::tiles_of(70_000).len(), 3);
        let tiles: Tiles = stored.into_values().collect();
        assert_eq!(tiles.subtree(0..70_000), Some(whole.root()));
    }
}
