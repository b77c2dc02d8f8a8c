//! Tiles of eight levels, as C2SP tlog-tiles serves them: a full tile is 256 hashes, 8,192 bytes.
//!
//! The hash at place i of level l is that of the complete subtree of 256^l leaves from i · 256^l on: a leaf on level
//! 0, the root of a full tile of the level below on every other. So a partial tile is never hashed upward.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::hash::{Hash, node_hash};
use super::tree::{Node, Subtrees};

/// Hashes of a full tile.
pub const TILE_WIDTH: u64 = 256;
/// Levels of nodes in a tile.
const HEIGHT: u8 = 8;
/// The largest level that the specification allows.
const MAX_LEVEL: u8 = 63;
/// A path has no more groups of digits: a tree of 10^18 tiles is larger than any.
const MAX_GROUPS: usize = 6;

/// A tile of hashes: the `n`th of its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    /// Level, from 0 for the leaves.
    pub level: u8,
    /// Which one, from 0.
    pub n: u64,
}

impl Tile {
    /// How many of its hashes a tree of `size` leaves has, up to 256.
    pub fn width(self, size: u64) -> u64 {
        let hashes = size.checked_shr(u32::from(HEIGHT) * u32::from(self.level)).unwrap_or(0);
        hashes.saturating_sub(self.n.saturating_mul(TILE_WIDTH)).min(TILE_WIDTH)
    }

    /// The tile that holds what is needed to make up a node.
    pub const fn of(node: Node) -> Self {
        Self { level: node.level / HEIGHT, n: (node.index << (node.level % HEIGHT)) / TILE_WIDTH }
    }

    /// The root of a full tile, which is a hash of the tile above. Nothing where it is not full.
    pub fn root_of(hashes: &[Hash]) -> Option<Hash> {
        (hashes.len() as u64 == TILE_WIDTH).then(|| subtree(hashes)).flatten()
    }
}

/// The hash over a power of two of hashes.
fn subtree(hashes: &[Hash]) -> Option<Hash> {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(*left, *right)).collect();
    }
    row.first().copied()
}

/// Tiles that are at hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TileSet {
    tiles: BTreeMap<Tile, Vec<Hash>>,
}

impl TileSet {
    /// The tiles that are needed to make up nodes.
    pub fn needed(nodes: &[Node]) -> BTreeSet<Tile> {
        nodes.iter().copied().map(Tile::of).collect()
    }

    /// Every tile of the tree over these leaves.
    pub fn of_leaves(leaves: &[Hash]) -> Self {
        let mut tiles = BTreeMap::new();
        let (mut level, mut row) = (0, leaves.to_vec());
        while !row.is_empty() {
            let mut above = Vec::new();
            for (n, hashes) in (0..).zip(row.chunks(256)) {
                above.extend(Tile::root_of(hashes));
                tiles.insert(Tile { level, n }, hashes.to_vec());
            }
            (level, row) = (level + 1, above);
        }
        Self { tiles }
    }

    /// Adds a tile, or what there is of it.
    pub fn insert(&mut self, tile: Tile, hashes: Vec<Hash>) {
        self.tiles.insert(tile, hashes);
    }

    /// The hashes of a tile.
    pub fn get(&self, tile: Tile) -> Option<&[Hash]> {
        self.tiles.get(&tile).map(Vec::as_slice)
    }
}

impl Subtrees for TileSet {
    fn node(&self, node: Node) -> Option<Hash> {
        let count = 1_usize << (node.level % HEIGHT);
        let first = usize::try_from((node.index << (node.level % HEIGHT)) % TILE_WIDTH).ok()?;
        subtree(self.get(Tile::of(node))?.get(first..first + count)?)
    }
}

/// What the end of a URL names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TilePath {
    /// `tile/<level>/<n>[.p/<width>]`: hashes.
    Hashes {
        /// Which tile.
        tile: Tile,
        /// How many hashes, 1 to 256.
        width: u64,
    },
    /// `tile/entries/<n>[.p/<width>]`: leaf data.
    Entries {
        /// Which tile of level 0.
        n: u64,
        /// How many entries, 1 to 256.
        width: u64,
    },
}

/// Not the path of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the path of a tile: expected `tile/<level>/<n>`, `tile/entries/<n>`, or one of them with `.p/<width>`"
)]
pub struct PathError;

impl FromStr for TilePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let rest = text.strip_prefix("tile/").ok_or(PathError)?;
        let (kind, place) = rest.split_once('/').ok_or(PathError)?;
        let (number, width) = match place.split_once(".p/") {
            None => (place, TILE_WIDTH),
            Some((number, width)) => (number, decimal(width).ok_or(PathError)?),
        };
        let is_partial = place.len() > number.len();
        if is_partial && !(1..TILE_WIDTH).contains(&width) {
            return Err(PathError);
        }
        let n = tile_number(number).ok_or(PathError)?;
        if kind == "entries" {
            return Ok(Self::Entries { n, width });
        }
        let level =
            decimal(kind).and_then(|level| u8::try_from(level).ok()).filter(|level| *level <= MAX_LEVEL);
        Ok(Self::Hashes { tile: Tile { level: level.ok_or(PathError)?, n }, width })
    }
}

/// Decimal digits without leading zeros.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_shortest = text == "0" || !text.starts_with('0');
    (is_plain && is_shortest).then(|| text.parse().ok()).flatten()
}

/// Groups of three digits, all but the last of which are marked by `x`; no group of zeros in front.
fn tile_number(text: &str) -> Option<u64> {
    let groups: Vec<&str> = text.split('/').collect();
    let (last, first) = groups.split_last()?;
    if groups.len() > MAX_GROUPS || (first.first() == Some(&"x000")) {
        return None;
    }
    let marked = first.iter().map(|group| group.strip_prefix('x'));
    marked.chain([Some(*last)]).try_fold(0_u64, |number, group| {
        let digits =
            group.filter(|group| group.len() == 3 && group.bytes().all(|byte| byte.is_ascii_digit()))?;
        number.checked_mul(1_000)?.checked_add(digits.parse().ok()?)
    })
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, width) = match self {
            Self::Hashes { tile, width } => {
                write!(f, "tile/{}/", tile.level)?;
                (tile.n, *width)
            }
            Self::Entries { n, width } => {
                f.write_str("tile/entries/")?;
                (*n, *width)
            }
        };
        let mut groups = vec![format!("{:03}", n % 1_000)];
        let mut rest = n / 1_000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1_000));
            rest /= 1_000;
        }
        groups.reverse();
        f.write_str(&groups.join("/"))?;
        if width < TILE_WIDTH { write!(f, ".p/{width}") } else { Ok(()) }
    }
}

/// Leaf data one after the other, each behind its length as a big-endian 16-bit number. Nothing where one is longer
/// than such a number says.
pub fn entry_bundle<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut bundle = Vec::new();
    for entry in entries {
        bundle.extend(u16::try_from(entry.len()).ok()?.to_be_bytes());
        bundle.extend(entry);
    }
    Some(bundle)
}

/// The entries of a bundle. Nothing where it ends within one.
pub fn split_bundle(bundle: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut entries, mut rest) = (Vec::new(), bundle);
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        let (entry, after) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        rest = after;
    }
    Some(entries)
}
