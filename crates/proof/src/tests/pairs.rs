//! Every leaf and every pair of sizes of trees of up to 69 leaves, and of trees around the border of tiles.

use proptest::prelude::*;

use super::super::*;
use super::{at, leaves};

const LARGEST: u64 = 69;

fn roots(tiles: &TileSet, largest: u64) -> Vec<Hash> {
    (0..=largest).map(|size| root(tiles, size).unwrap()).collect()
}

#[test]
fn every_leaf_of_every_tree_is_proved() {
    let leaves = leaves(LARGEST);
    let tiles = TileSet::of_leaves(&leaves);
    for (size, root) in (0..).zip(roots(&tiles, LARGEST)) {
        for index in 0..size {
            let proof = InclusionProof::generate(&tiles, index, size).unwrap().unwrap();

            assert_eq!(verify_inclusion(&proof, leaves[at(index)], root), Ok(()), "{index} of {size}");
        }
        assert_eq!(InclusionProof::generate(&tiles, size, size), Ok(None));
    }
}

#[test]
fn every_pair_of_sizes_is_proved() {
    let tiles = TileSet::of_leaves(&leaves(LARGEST));
    let roots = roots(&tiles, LARGEST);
    for new in 0..=LARGEST {
        for old in 0..=new {
            let proof = ConsistencyProof::generate(&tiles, old, new).unwrap().unwrap();
            let (old_root, new_root) = (roots[at(old)], roots[at(new)]);

            assert_eq!(verify_consistency(&proof, old_root, new_root), Ok(()), "{old} to {new}");
        }
    }
    assert_eq!(ConsistencyProof::generate(&tiles, 2, 1), Ok(None));
}

#[test]
fn no_other_root_is_proved_to_come_before_or_after() {
    let tiles = TileSet::of_leaves(&leaves(LARGEST));
    let roots = roots(&tiles, LARGEST);
    for new in 2..=LARGEST {
        for old in 1..new {
            let proof = ConsistencyProof::generate(&tiles, old, new).unwrap().unwrap();
            let (old_root, new_root) = (roots[at(old)], roots[at(new)]);

            assert!(verify_consistency(&proof, roots[at(old) - 1], new_root).is_err());
            assert!(verify_consistency(&proof, old_root, roots[at(new) - 1]).is_err());
        }
    }
}

#[test]
fn the_edge_gives_the_root_of_every_size_and_lasts() {
    let leaves = leaves(600);
    let tiles = TileSet::of_leaves(&leaves);
    let mut edge = Edge::default();
    for (size, leaf) in (0..).zip(&leaves) {
        assert_eq!(Ok(edge.root()), root(&tiles, size));
        edge = Edge::from_bytes(edge.size(), &edge.to_bytes()).unwrap();
        edge.append(*leaf);
    }
    assert_eq!(Edge::from_bytes(3, &[0; 32]), Err(EdgeError { size: 3, bytes: 32 }));
}

#[test]
fn what_is_not_at_hand_is_named() {
    let tiles = TileSet::of_leaves(&leaves(5));

    assert_eq!(root(&tiles, 6), Err(MissingNode(Node { level: 1, index: 2 })));
}

/// A proof of a random place, and how it is spoilt.
fn spoilt() -> impl Strategy<Value = (u64, u64, usize, u8)> {
    (2_u64..700).prop_flat_map(|size| (Just(size), 0..size, any::<usize>(), 0_u8..5))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_spoilt_proof_proves_nothing((size, index, place, how) in spoilt()) {
        let leaves = leaves(size);
        let tiles = TileSet::of_leaves(&leaves);
        let root = root(&tiles, size).unwrap();
        let mut proof = InclusionProof::generate(&tiles, index, size).unwrap().unwrap();
        prop_assert_eq!(verify_inclusion(&proof, leaves[at(index)], root), Ok(()));

        let spot = place % proof.hashes.len();
        match how {
            0 => proof.hashes[spot].0[place % 32] ^= 1,
            1 => { proof.hashes.remove(spot); }
            2 => proof.hashes.insert(spot, leaves[0]),
            3 => proof.index = (index + 1) % size,
            _ => proof.hashes.push(root),
        }

        prop_assert!(verify_inclusion(&proof, leaves[at(index)], root).is_err());
    }

    #[test]
    fn a_spoilt_growth_proves_nothing((size, old, place, how) in spoilt()) {
        let old = old.max(1);
        let tiles = TileSet::of_leaves(&leaves(size));
        let (old_root, new_root) = (root(&tiles, old).unwrap(), root(&tiles, size).unwrap());
        let mut proof = ConsistencyProof::generate(&tiles, old, size).unwrap().unwrap();
        prop_assert_eq!(verify_consistency(&proof, old_root, new_root), Ok(()));

        let spot = place % proof.hashes.len();
        match how {
            0 => proof.hashes[spot].0[place % 32] ^= 1,
            1 => { proof.hashes.remove(spot); }
            2 => proof.hashes.insert(spot, new_root),
            3 => std::mem::swap(&mut proof.old_size, &mut proof.new_size),
            _ => proof.hashes.push(old_root),
        }

        prop_assert!(verify_consistency(&proof, old_root, new_root).is_err());
    }

    #[test]
    fn proofs_need_no_other_nodes_than_they_say(size in 1_u64..100_000, at in any::<u64>()) {
        let index = at % size;
        for node in inclusion_nodes(index, size).into_iter().chain(consistency_nodes(index, size)) {
            prop_assert!((node.index + 1) << node.level <= size);
            prop_assert!(Tile::of(node).width(size) > 0);
        }
    }
}
