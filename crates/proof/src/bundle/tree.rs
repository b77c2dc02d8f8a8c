//! Whether the leaves of a bundle are those of the signed tree.

use super::archive::{Archive, Source};
use super::damage::{DamageKind, VerifyError, damaged, malformed};
use super::lines::{RangeProof, hashes};
use super::manifest::{Manifest, Shape};
use super::names;
use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::consistency::{ConsistencyProof, verify_consistency};
use crate::hash::Hash;
use crate::inclusion::{InclusionProof, verify_inclusion};
use crate::tiles::{TILE_WIDTH, Tile, TilePath};
use crate::tlog_proof::TlogProof;
use crate::tree::Edge;

/// Longest proof file or proof of a range that is looked at.
const MAX_PROOF_BYTES: u64 = 64 << 10;
const TILE_BYTES: u64 = TILE_WIDTH * Hash::BYTES as u64;

/// Takes the leaves of a bundle in order, and says in the end whether the signed tree has them.
pub(super) struct Proving<'a, 's, S: ?Sized> {
    archive: &'a Archive<'s, S>,
    signed: &'a SignedCheckpoint,
    shape: Shaped,
    /// What the tree has to continue, until their roots were compared.
    earlier: Vec<Checkpoint>,
}

enum Shaped {
    Full { edge: Edge, tiles: GrowingTiles },
    Range { edge: Edge, after: Vec<Hash> },
    Selection { proof_count: u64 },
}

impl<'a, 's, S: Source + ?Sized> Proving<'a, 's, S> {
    /// `earlier` are verified checkpoints of the same log that are not newer than `signed`.
    pub(super) fn begin(
        archive: &'a Archive<'s, S>,
        manifest: &Manifest,
        signed: &'a SignedCheckpoint,
        earlier: Vec<Checkpoint>,
    ) -> Result<Self, VerifyError> {
        let shape = match manifest.shape {
            Shape::Full => {
                check_tile_names(archive, manifest.tree_size)?;
                Shaped::Full { edge: Edge::default(), tiles: GrowingTiles::default() }
            }
            Shape::Range => range(archive, manifest.from)?,
            Shape::Selection => Shaped::Selection { proof_count: 0 },
        };
        let mut proving = Self { archive, signed, shape, earlier };
        proving.compare_with_earlier()?;
        Ok(proving)
    }

    /// The next leaf.
    pub(super) fn push(&mut self, index: u64, leaf: Hash) -> Result<(), VerifyError> {
        match &mut self.shape {
            Shaped::Full { edge, tiles } => {
                edge.append(leaf);
                tiles.push(self.archive, leaf)?;
            }
            Shaped::Range { edge, .. } => edge.append(leaf),
            Shaped::Selection { proof_count } => {
                *proof_count += 1;
                check_proof(self.archive, self.signed, index, leaf)?;
            }
        }
        self.compare_with_earlier()
    }

    /// Where the growing tree is as large as an earlier one, their roots have to be equal.
    fn compare_with_earlier(&mut self) -> Result<(), VerifyError> {
        let (Shaped::Full { edge, .. } | Shaped::Range { edge, .. }) = &self.shape else { return Ok(()) };
        let mut reached = self.earlier.extract_if(.., |one| one.size == edge.size());
        match reached.find(|one| one.root != edge.root()) {
            Some(other) => Err(inconsistent(&other)),
            None => Ok(()),
        }
    }

    /// After the last leaf.
    pub(super) fn finish(mut self) -> Result<(), VerifyError> {
        let claim = self.signed.claim();
        match &mut self.shape {
            Shaped::Full { edge, tiles } => {
                tiles.finish(self.archive)?;
                let is_signed = edge.root() == claim.root;
                match (is_signed, tiles.difference.take()) {
                    (true, None) => {}
                    (true, Some(Difference { path, .. })) => {
                        let detail = format!("{path} has other hashes than the leaves below it");
                        return Err(damaged(DamageKind::TileMismatch, detail));
                    }
                    (false, Some(Difference { leaf: Some(index), .. })) => {
                        let detail = format!("the leaf at index {index} is not the one that was sealed");
                        return Err(damaged(DamageKind::LeafMismatch, detail));
                    }
                    (false, _) => return Err(not_included("the leaves do not make up the signed root")),
                }
            }
            Shaped::Range { edge, after } => {
                let (old_size, hashes) = (edge.size(), std::mem::take(after));
                let proof = ConsistencyProof { old_size, new_size: claim.size, hashes };
                verify_consistency(&proof, edge.root(), claim.root)
                    .map_err(|error| not_included(format!("the range is not in the signed tree: {error}")))?;
            }
            Shaped::Selection { proof_count } => {
                let files = self.archive.paths().filter(|path| path.starts_with(names::PROOFS)).count();
                if files as u64 != *proof_count {
                    return Err(damaged(DamageKind::ManifestMismatch, "proofs of events that are not there"));
                }
            }
        }
        self.earlier.iter().try_for_each(|one| self.check_consistency(one))
    }

    /// Where the leaves do not reach the earlier tree, the bundle has to bring a proof.
    fn check_consistency(&self, earlier: &Checkpoint) -> Result<(), VerifyError> {
        let path = format!("{}{}", names::CONSISTENCY, earlier.size);
        if earlier.size > 0 && !self.archive.has(&path) {
            let detail = format!(
                "no proof that the log continues its tree of {} events; export the bundle with that checkpoint as --since",
                earlier.size
            );
            return Err(damaged(DamageKind::Incomplete, detail));
        }
        let text = if earlier.size > 0 { self.archive.text(&path, MAX_PROOF_BYTES)? } else { String::new() };
        let lines: Vec<&str> = text.lines().collect();
        let hashes = hashes(&lines).ok_or_else(|| malformed(format!("{path} is no list of hashes")))?;
        let claim = self.signed.claim();
        let proof = ConsistencyProof { old_size: earlier.size, new_size: claim.size, hashes };
        verify_consistency(&proof, earlier.root, claim.root).map_err(|_| inconsistent(earlier))
    }
}

fn not_included(detail: impl Into<String>) -> VerifyError {
    damaged(DamageKind::NotIncluded, detail)
}

/// What is said where the log does not continue a checkpoint that the verifier kept.
pub fn inconsistent(since: &Checkpoint) -> VerifyError {
    let detail = format!(
        "the log's first {} events are not those of the earlier checkpoint: history was rewritten",
        since.size
    );
    damaged(DamageKind::Inconsistent, detail)
}

fn range<S: Source + ?Sized>(archive: &Archive<'_, S>, from: u64) -> Result<Shaped, VerifyError> {
    let refused = || malformed(format!("{} does not parse", names::RANGE));
    let bytes = archive.bytes(names::RANGE, MAX_PROOF_BYTES)?;
    let proof: RangeProof = serde_json::from_slice(&bytes).map_err(|_| refused())?;
    let before: Vec<u8> =
        hashes(&proof.before).ok_or_else(refused)?.into_iter().flat_map(|hash| hash.0).collect();
    let edge = Edge::from_bytes(from, &before).map_err(|_| refused())?;
    Ok(Shaped::Range { edge, after: hashes(&proof.after).ok_or_else(refused)? })
}

/// That one event of a selection is in the signed tree.
fn check_proof<S: Source + ?Sized>(
    archive: &Archive<'_, S>,
    signed: &SignedCheckpoint,
    index: u64,
    leaf: Hash,
) -> Result<(), VerifyError> {
    let path = format!("{}{index}{}", names::PROOFS, names::PROOF);
    let text = archive.text(&path, MAX_PROOF_BYTES)?;
    let proof = TlogProof::parse(&text).map_err(|error| malformed(format!("{path}: {error}")))?;
    if proof.index != index || proof.checkpoint != *signed {
        return Err(not_included(format!("{path} is about another event or checkpoint")));
    }
    let claim = signed.claim();
    let proof = InclusionProof { index, size: claim.size, hashes: proof.hashes };
    verify_inclusion(&proof, leaf, claim.root)
        .map_err(|error| not_included(format!("the event at index {index}: {error}")))
}

/// Tiles that a tree of this size does not have, or has in another width.
fn check_tile_names<S: Source + ?Sized>(archive: &Archive<'_, S>, size: u64) -> Result<(), VerifyError> {
    let is_strange = |path: &&str| {
        let Ok(TilePath::Hashes { tile, width }) = path.parse() else { return false };
        tile.width(size) != width
    };
    match archive.paths().find(is_strange) {
        None => Ok(()),
        Some(path) => {
            let detail = format!("{path} is no tile of a tree of {size} events");
            Err(damaged(DamageKind::TileMismatch, detail))
        }
    }
}

/// The first place where a tile is not that of the leaves.
struct Difference {
    path: String,
    /// The leaf, where it is a tile of leaves.
    leaf: Option<u64>,
}

/// The tiles that the leaves make up, one of each level at a time, compared with those of the bundle.
#[derive(Default)]
struct GrowingTiles {
    levels: Vec<Level>,
    difference: Option<Difference>,
}

#[derive(Default)]
struct Level {
    full_count: u64,
    hashes: Vec<Hash>,
}

impl GrowingTiles {
    fn push<S: Source + ?Sized>(&mut self, archive: &Archive<'_, S>, leaf: Hash) -> Result<(), VerifyError> {
        let mut rising = Some(leaf);
        for number in 0_u8.. {
            let Some(hash) = rising else { return Ok(()) };
            if self.levels.len() <= usize::from(number) {
                self.levels.push(Level::default());
            }
            let Some(level) = self.levels.get_mut(usize::from(number)) else { return Ok(()) };
            level.hashes.push(hash);
            rising = Tile::root_of(&level.hashes);
            if rising.is_some() {
                let tile = Tile { level: number, n: level.full_count };
                let found = compare(archive, tile, &level.hashes)?;
                self.difference = self.difference.take().or(found);
                level.hashes.clear();
                level.full_count += 1;
            }
        }
        Ok(())
    }

    fn finish<S: Source + ?Sized>(&mut self, archive: &Archive<'_, S>) -> Result<(), VerifyError> {
        for (number, level) in (0_u8..).zip(&self.levels) {
            if !level.hashes.is_empty() {
                let found = compare(archive, Tile { level: number, n: level.full_count }, &level.hashes)?;
                self.difference = self.difference.take().or(found);
            }
        }
        Ok(())
    }
}

fn compare<S: Source + ?Sized>(
    archive: &Archive<'_, S>,
    tile: Tile,
    expected: &[Hash],
) -> Result<Option<Difference>, VerifyError> {
    let path = TilePath::Hashes { tile, width: expected.len() as u64 }.to_string();
    let bytes = archive.bytes(&path, TILE_BYTES)?;
    let (found, rest) = bytes.as_chunks::<{ Hash::BYTES }>();
    let is_equal = found.len() == expected.len() && rest.is_empty();
    let place = expected.iter().zip(found).position(|(one, other)| one.0 != *other);
    if is_equal && place.is_none() {
        return Ok(None);
    }
    let place = place.filter(|_| tile.level == 0).map(|place| tile.n * TILE_WIDTH + place as u64);
    Ok(Some(Difference { path, leaf: place }))
}
