//! The tree: how it grows, and which of its complete subtrees make up a root or a proof.

use super::hash::{EMPTY_ROOT, Hash, node_hash};

/// The root of a complete subtree: 2^`level` leaves from `index` · 2^`level` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// Height above the leaves.
    pub level: u8,
    /// Which one of its level, from 0.
    pub index: u64,
}

/// Hashes of complete subtrees.
pub trait Subtrees {
    /// The hash of a subtree; nothing where it is not at hand.
    fn node(&self, node: Node) -> Option<Hash>;
}

/// A subtree that a root or a proof needs is not at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the tree has no hash at level {} index {}", .0.level, .0.index)]
pub struct MissingNode(pub Node);

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The index is not in a tree of that size, or the older tree is the larger one.
    #[error("the proof is about a place outside the tree")]
    Range,
    /// It holds more or fewer hashes than a proof for these sizes has.
    #[error("the proof has another length than one for these sizes")]
    Length,
    /// The hashes do not lead to the root of the older tree.
    #[error("the proof does not lead to the older root")]
    OldRoot,
    /// The hashes do not lead to the root.
    #[error("the proof does not lead to the root")]
    Root,
}

/// The complete subtrees that cover the leaves from `begin` to before `end`, from left to right, where `begin` is a
/// multiple of the largest power of two that is not above the length, as it is for every range of RFC 6962.
pub(super) fn cover(begin: u64, end: u64) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut at = begin;
    while at < end {
        let level = (end - at).ilog2();
        nodes.push(Node { level: u8::try_from(level).expect("a logarithm is below 64"), index: at >> level });
        at += 1 << level;
    }
    nodes
}

/// The subtrees that make up the root of a tree.
pub fn root_nodes(size: u64) -> Vec<Node> {
    cover(0, size)
}

/// The hash over neighbouring subtrees, folded from the right. The empty root where there are none.
pub(super) fn fold(hashes: impl DoubleEndedIterator<Item = Hash>) -> Hash {
    hashes.rev().reduce(|right, left| node_hash(left, right)).unwrap_or(EMPTY_ROOT)
}

pub(super) fn hash_of_range(subtrees: &impl Subtrees, begin: u64, end: u64) -> Result<Hash, MissingNode> {
    let hashes: Vec<Hash> = cover(begin, end)
        .into_iter()
        .map(|node| subtrees.node(node).ok_or(MissingNode(node)))
        .collect::<Result<_, _>>()?;
    Ok(fold(hashes.into_iter()))
}

/// The root of the tree of the first `size` leaves.
///
/// # Errors
/// When a subtree is not at hand.
pub fn root(subtrees: &impl Subtrees, size: u64) -> Result<Hash, MissingNode> {
    hash_of_range(subtrees, 0, size)
}

/// The largest power of two below `size`, which is 2 at least: where RFC 6962 splits a tree.
pub(super) const fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The right edge of a growing tree: the complete subtrees that its root is made of, the largest first. All that is
/// needed to append.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    peaks: Vec<Hash>,
}

/// The stored edge is not that of a tree of this size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the edge of a tree of {size} leaves has {} hashes, and {bytes} bytes are no such edge", .size.count_ones())]
pub struct EdgeError {
    /// Leaves.
    pub size: u64,
    /// What is stored.
    pub bytes: usize,
}

impl Edge {
    /// From what [`Self::to_bytes`] gave.
    ///
    /// # Errors
    /// When the number of hashes is not that of a tree of this size.
    pub fn from_bytes(size: u64, bytes: &[u8]) -> Result<Self, EdgeError> {
        let (hashes, rest) = bytes.as_chunks::<{ Hash::BYTES }>();
        if !rest.is_empty() || hashes.len() != size.count_ones() as usize {
            return Err(EdgeError { size, bytes: bytes.len() });
        }
        Ok(Self { size, peaks: hashes.iter().map(|hash| Hash(*hash)).collect() })
    }

    /// The hashes, one after the other.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.peaks.iter().flat_map(|hash| hash.0).collect()
    }

    /// Leaves.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf.
    pub fn append(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            let left = self.peaks.pop().expect("each bit of the size has a subtree");
            hash = node_hash(left, hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root.
    pub fn root(&self) -> Hash {
        fold(self.peaks.iter().copied())
    }
}
