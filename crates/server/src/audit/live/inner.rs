//! The tiles above those of the leaves, made anew from the leaves.

use carelog_audit::proof::{Hash, Tile};

/// Hashes of a full tile.
const WIDTH: usize = 256;

/// The tiles of level 1 and above, as a tree grows by full tiles of leaves. Of each level the last one is held.
#[derive(Debug, Default)]
pub(super) struct Inner {
    levels: Vec<Level>,
}

#[derive(Debug, Default)]
struct Level {
    /// Full tiles so far.
    n: u64,
    hashes: Vec<Hash>,
}

impl Inner {
    /// Takes the root of the next full tile of leaves; gives the tiles that become full by it, the lowest first.
    pub(super) fn push(&mut self, root: Hash) -> Vec<(Tile, Vec<Hash>)> {
        let mut full = Vec::new();
        let mut carried = Some(root);
        for number in 1.. {
            let Some(hash) = carried.take() else { break };
            let at = usize::from(number) - 1;
            if self.levels.len() == at {
                self.levels.push(Level::default());
            }
            let Some(level) = self.levels.get_mut(at) else { break };
            level.hashes.push(hash);
            if level.hashes.len() == WIDTH {
                let hashes = std::mem::take(&mut level.hashes);
                carried = Tile::root_of(&hashes);
                full.push((Tile { level: number, n: level.n }, hashes));
                level.n += 1;
            }
        }
        full
    }

    /// The tiles that are not full.
    pub(super) fn rest(self) -> Vec<(Tile, Vec<Hash>)> {
        let levels = (1..).zip(self.levels).filter(|(_, level)| !level.hashes.is_empty());
        levels.map(|(number, level)| (Tile { level: number, n: level.n }, level.hashes)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use carelog_audit::proof::TileSet;

    use super::*;

    /// Leaves that differ. What they were made of does not matter to a tree.
    fn leaves(count: u64) -> Vec<Hash> {
        let leaf = |number: u64| {
            let mut bytes = [7; Hash::BYTES];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            Hash(bytes)
        };
        (0..count).map(leaf).collect()
    }

    fn inner(leaves: &[Hash]) -> BTreeMap<Tile, Vec<Hash>> {
        let mut inner = Inner::default();
        let mut tiles: BTreeMap<_, _> =
            leaves.chunks(WIDTH).filter_map(Tile::root_of).flat_map(|root| inner.push(root)).collect();
        tiles.extend(inner.rest());
        tiles
    }

    #[test]
    fn every_inner_tile_of_a_large_tree_is_made_once() {
        // 256² leaves fill a tile of level 1 and begin one of level 2; a few more begin the next one of level 1.
        for count in [0, 255, 256, 65_535, 65_536, 65_536 + 3 * 256 + 9, 2 * 65_536] {
            let leaves = leaves(count);
            let expected = TileSet::of_leaves(&leaves);

            let made = inner(&leaves);

            let widths =
                |level: u8| (0..3).map(move |n| Tile { level, n }).map(|tile| (tile, tile.width(count)));
            for (tile, width) in (1..=2).flat_map(widths) {
                let hashes = made.get(&tile).map(Vec::as_slice);
                assert_eq!(hashes, expected.get(tile), "{tile:?} of {count} leaves");
                assert_eq!(
                    hashes.map_or(0, |hashes| hashes.len() as u64),
                    width,
                    "{tile:?} of {count} leaves"
                );
            }
        }
    }

    #[test]
    fn a_changed_leaf_shows_in_every_tile_above_it() {
        let sealed = leaves(65_536 + 256);
        let mut changed = sealed.clone();
        changed[300] = Hash([0; Hash::BYTES]);

        let (sealed, changed) = (inner(&sealed), inner(&changed));

        let differ: Vec<Tile> = sealed.keys().filter(|tile| sealed[tile] != changed[tile]).copied().collect();
        assert_eq!(differ, [Tile { level: 1, n: 0 }, Tile { level: 2, n: 0 }]);
    }
}
