//! That a tree begins with another one (RFC 6962 §2.1.2, RFC 9162 §2.1.4).

use super::hash::{EMPTY_ROOT, Hash, node_hash};
use super::tree::{MissingNode, Node, ProofError, Subtrees, cover, hash_of_range, split};

/// A proof that nothing before `old_size` was changed when the tree grew to `new_size`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsistencyProof {
    /// Leaves of the older tree.
    pub old_size: u64,
    /// Leaves of the newer one.
    pub new_size: u64,
    /// The hashes.
    pub hashes: Vec<Hash>,
}

impl ConsistencyProof {
    /// Makes the proof. Nothing where the older tree is the larger one.
    ///
    /// # Errors
    /// When a subtree is not at hand.
    pub fn generate(
        subtrees: &impl Subtrees,
        old_size: u64,
        new_size: u64,
    ) -> Result<Option<Self>, MissingNode> {
        if old_size > new_size {
            return Ok(None);
        }
        let hashes = ranges(old_size, new_size)
            .into_iter()
            .map(|(begin, end)| hash_of_range(subtrees, begin, end))
            .collect::<Result<_, _>>()?;
        Ok(Some(Self { old_size, new_size, hashes }))
    }
}

/// The subtrees that a proof is made of.
pub fn consistency_nodes(old_size: u64, new_size: u64) -> Vec<Node> {
    ranges(old_size, new_size).into_iter().flat_map(|(begin, end)| cover(begin, end)).collect()
}

/// The ranges of leaves whose hashes make up the proof, in its order.
fn ranges(old_size: u64, new_size: u64) -> Vec<(u64, u64)> {
    if old_size == 0 || old_size >= new_size {
        return Vec::new();
    }
    let (mut begin, mut end) = (0, new_size);
    let mut ranges = Vec::new();
    // The older tree ends at `old_size`, which lies in the range that is looked at or at its end.
    while end != old_size {
        let middle = begin + split(end - begin);
        if old_size <= middle {
            ranges.push((middle, end));
            end = middle;
        } else {
            ranges.push((begin, middle));
            begin = middle;
        }
    }
    if begin != 0 {
        ranges.push((begin, end));
    }
    ranges.reverse();
    ranges
}

/// Checks that the tree with `new_root` begins with the tree with `old_root`. Every tree begins with the empty one,
/// which needs no hash.
///
/// # Errors
/// See [`ProofError`].
pub fn verify_consistency(
    proof: &ConsistencyProof,
    old_root: Hash,
    new_root: Hash,
) -> Result<(), ProofError> {
    let (old_size, new_size) = (proof.old_size, proof.new_size);
    if old_size > new_size {
        return Err(ProofError::Range);
    }
    if old_size == 0 || old_size == new_size {
        return trivial(proof, old_root, new_root);
    }
    // The older tree's root is the first hash where it is a complete subtree; then it is left out of the proof.
    let own = old_size.is_power_of_two().then_some(old_root);
    let mut hashes = own.into_iter().chain(proof.hashes.iter().copied());
    let seed = hashes.next().filter(|_| !proof.hashes.is_empty()).ok_or(ProofError::Length)?;
    let (mut first, mut last) = (old_size - 1, new_size - 1);
    while first & 1 == 1 {
        first >>= 1;
        last >>= 1;
    }
    let (mut old, mut new) = (seed, seed);
    for beside in hashes {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if first & 1 == 1 || first == last {
            old = node_hash(beside, old);
            new = node_hash(beside, new);
            while first & 1 == 0 && first != 0 {
                first >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(new, beside);
        }
        first >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(ProofError::Length);
    }
    if old != old_root {
        return Err(ProofError::OldRoot);
    }
    if new == new_root { Ok(()) } else { Err(ProofError::Root) }
}

fn trivial(proof: &ConsistencyProof, old_root: Hash, new_root: Hash) -> Result<(), ProofError> {
    if !proof.hashes.is_empty() {
        return Err(ProofError::Length);
    }
    let expected = if proof.old_size == proof.new_size { new_root } else { EMPTY_ROOT };
    match old_root == expected {
        false => Err(ProofError::OldRoot),
        true if proof.new_size == 0 && new_root != EMPTY_ROOT => Err(ProofError::Root),
        true => Ok(()),
    }
}
