//! The same trees by another implementation, the crate `tlog_tiles`.

use tlog_tiles as theirs;

use super::super::*;
use super::{at, leaves};

const SIZES: [u64; 8] = [1, 2, 7, 69, 255, 256, 257, 1_000];

/// Every hash of a tree, as their functions want to read them.
struct Stored(Vec<theirs::Hash>);

impl theirs::HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<theirs::Hash>, theirs::Error> {
        Ok(indexes.iter().map(|index| self.0[at(*index)]).collect())
    }
}

fn stored(leaves: &[Hash]) -> Stored {
    let mut stored = Stored(Vec::new());
    for (n, leaf) in (0..).zip(leaves) {
        let more = theirs::stored_hashes_for_record_hash(n, theirs::Hash(leaf.0), &stored).unwrap();
        stored.0.extend(more);
    }
    stored
}

fn into_theirs(hashes: &[Hash]) -> Vec<theirs::Hash> {
    hashes.iter().map(|hash| theirs::Hash(hash.0)).collect()
}

#[test]
fn another_implementation_has_the_same_roots_and_proofs() {
    let leaves = leaves(1_000);
    let (ours, stored) = (TileSet::of_leaves(&leaves), stored(&leaves));
    for size in SIZES {
        let root = root(&ours, size).unwrap();
        let their_root = theirs::tree_hash(size, &stored).unwrap();
        assert_eq!(root.0, their_root.0, "root of {size}");
        for index in [0, size / 3, size / 2, size - 1] {
            let proof = InclusionProof::generate(&ours, index, size).unwrap().unwrap();
            let hashes = into_theirs(&proof.hashes);
            let leaf = theirs::Hash(leaves[at(index)].0);

            assert_eq!(hashes, theirs::prove_record(size, index, &stored).unwrap());
            theirs::check_record(&hashes, size, their_root, index, leaf).unwrap();
        }
        for old in [1, size.div_ceil(3), size.div_ceil(2), size] {
            let proof = ConsistencyProof::generate(&ours, old, size).unwrap().unwrap();
            let hashes = into_theirs(&proof.hashes);
            let old_root = theirs::tree_hash(old, &stored).unwrap();

            assert_eq!(hashes, theirs::prove_tree(size, old, &stored).unwrap());
            theirs::check_tree(&hashes, size, their_root, old, old_root).unwrap();
        }
    }
}

#[test]
fn another_implementation_has_the_same_tiles() {
    let leaves = leaves(1_000);
    let (ours, stored) = (TileSet::of_leaves(&leaves), stored(&leaves));
    for tile in theirs::Tile::new_tiles(8, 0, 1_000) {
        let place = Tile { level: tile.level(), n: tile.level_index() };
        let bytes: Vec<u8> = ours.get(place).unwrap().iter().flat_map(|hash| hash.0).collect();

        assert_eq!(bytes, tile.read_data(&stored).unwrap(), "{}", tile.path());
    }
}

#[test]
fn another_implementation_reads_our_checkpoint() {
    let root = root(&TileSet::of_leaves(&leaves(9)), 9).unwrap();
    let ours = Checkpoint { origin: "audit.example/clinic-7".to_owned(), size: 9, root };

    let read = theirs::Checkpoint::from_bytes(ours.to_string().as_bytes()).unwrap();

    assert_eq!((read.origin(), read.size(), read.hash().0), (ours.origin.as_str(), 9, root.0));
}
