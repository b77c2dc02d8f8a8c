//! That a leaf is in a tree (RFC 6962 §2.1.1, RFC 9162 §2.1.3).

use super::hash::{Hash, node_hash};
use super::tree::{MissingNode, Node, ProofError, Subtrees, cover, hash_of_range, split};

/// A way from a leaf to a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionProof {
    /// Place of the leaf, from 0.
    pub index: u64,
    /// Leaves of the tree.
    pub size: u64,
    /// Hashes beside the way, from the leaf to the root.
    pub hashes: Vec<Hash>,
}

impl InclusionProof {
    /// Makes the proof for a leaf of a tree. Nothing where the tree has no such leaf.
    ///
    /// # Errors
    /// When a subtree is not at hand.
    pub fn generate(subtrees: &impl Subtrees, index: u64, size: u64) -> Result<Option<Self>, MissingNode> {
        if index >= size {
            return Ok(None);
        }
        let hashes = path(index, size)
            .into_iter()
            .map(|(begin, end)| hash_of_range(subtrees, begin, end))
            .collect::<Result<_, _>>()?;
        Ok(Some(Self { index, size, hashes }))
    }
}

/// The subtrees that the proof for a leaf is made of.
pub fn inclusion_nodes(index: u64, size: u64) -> Vec<Node> {
    if index >= size {
        return Vec::new();
    }
    path(index, size).into_iter().flat_map(|(begin, end)| cover(begin, end)).collect()
}

/// The ranges of leaves beside the way, from the leaf to the root.
fn path(index: u64, size: u64) -> Vec<(u64, u64)> {
    let (mut begin, mut end) = (0, size);
    let mut beside = Vec::new();
    while end - begin > 1 {
        let middle = begin + split(end - begin);
        if index < middle {
            beside.push((middle, end));
            end = middle;
        } else {
            beside.push((begin, middle));
            begin = middle;
        }
    }
    beside.reverse();
    beside
}

/// Checks that `leaf` is at `proof.index` in the tree of `proof.size` leaves with this root. Take size and root from
/// one signed checkpoint: a proof alone says nothing about the size.
///
/// # Errors
/// See [`ProofError`].
pub fn verify_inclusion(proof: &InclusionProof, leaf: Hash, root: Hash) -> Result<(), ProofError> {
    if proof.index >= proof.size {
        return Err(ProofError::Range);
    }
    let (mut first, mut last) = (proof.index, proof.size - 1);
    let mut hash = leaf;
    for beside in &proof.hashes {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if first & 1 == 1 || first == last {
            hash = node_hash(*beside, hash);
            while first & 1 == 0 && first != 0 {
                first >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(hash, *beside);
        }
        first >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if hash == root { Ok(()) } else { Err(ProofError::Root) }
}
