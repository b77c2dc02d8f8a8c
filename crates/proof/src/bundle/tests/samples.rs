//! A log that is made up, and bundles of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::super::*;
use crate::*;

pub(super) const ORIGIN: &str = "log.example/clinic";
pub(super) const ORGANIZATION: &str = "clinic";
pub(super) const PATIENT: &str = "erased";
/// Two full tiles, and a third that is not.
pub(super) const SIZE: u64 = 600;
/// Where the patient's keys were destroyed.
pub(super) const DESTROYED_AT: u64 = 500;

pub(super) fn log_key() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

pub(super) fn witness_key() -> SigningKey {
    SigningKey::from_seed(&[9; 32])
}

pub(super) fn policy_text() -> String {
    format!("log {}\nquorum none\n", log_key().verifier(ORIGIN, Algorithm::Ed25519).unwrap())
}

pub(super) fn policy() -> Policy {
    policy_text().parse().unwrap()
}

fn event_id(index: u64) -> String {
    format!("event-{index}")
}

fn facts(index: u64) -> Vec<u8> {
    let patient = if index.is_multiple_of(7) { PATIENT } else { "other" };
    format!("{{\"number\":{index},\"patient_id\":\"{patient}\"}}").into_bytes()
}

fn personal(index: u64) -> Option<Vec<u8>> {
    index.is_multiple_of(7).then(|| format!("ciphertext {index}").into_bytes())
}

pub(super) fn leaf(index: u64) -> String {
    let sha = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    let is_end = index == DESTROYED_AT;
    let (kind, stream) = if is_end {
        ("patient.keys_destroyed", format!("patient/{PATIENT}"))
    } else {
        ("form.saved", format!("form/{index}"))
    };
    let private = personal(index).map(|bytes| format!("\"private_sha256\":\"{}\",", sha(&bytes)));
    format!(
        "{{\"actor\":\"nurse\",\"event_id\":\"{}\",\"facts_sha256\":\"{}\",\"key_commit\":\"aa\",{}\
         \"recorded_at\":\"2026-03-01T00:00:00.000000Z\",\"seq\":1,\"stream\":\"{stream}\",\
         \"tenant\":\"{ORGANIZATION}\",\"type\":\"{kind}\"}}",
        event_id(index),
        sha(&facts(index)),
        private.unwrap_or_default(),
    )
}

pub(super) fn payload(index: u64) -> PayloadLine {
    let is_erased = personal(index).is_some() && index < 100;
    PayloadLine {
        index,
        facts: STANDARD.encode(facts(index)),
        personal: personal(index).filter(|_| !is_erased).map(|bytes| STANDARD.encode(bytes)),
        destroyed_by: is_erased.then(|| event_id(DESTROYED_AT)),
        network: None,
    }
}

/// The tree of the first so many events.
pub(super) fn tiles(size: u64) -> TileSet {
    let leaves: Vec<Hash> = (0..size).map(|index| leaf_hash(leaf(index).as_bytes())).collect();
    TileSet::of_leaves(&leaves)
}

pub(super) fn signed_by(key: &SigningKey, size: u64) -> SignedCheckpoint {
    let root = root(&tiles(size), size).unwrap();
    Checkpoint { origin: ORIGIN.to_owned(), size, root }.sign(key).unwrap()
}

pub(super) fn signed(size: u64) -> SignedCheckpoint {
    signed_by(&log_key(), size)
}

/// The log of checkpoints, in which the sample's stands between those of others.
pub(super) const META: &str = "log.example/00000000-0000-0000-0000-000000000000";

pub(super) fn logged(size: u64) -> TlogProof {
    logged_text(&signed(size).claim().to_string())
}

/// The proof for whatever text.
pub(super) fn logged_text(text: &str) -> TlogProof {
    let leaves: Vec<Hash> = ["one", text, "another"].iter().map(|text| leaf_hash(text.as_bytes())).collect();
    let (tree, size) = (TileSet::of_leaves(&leaves), leaves.len() as u64);
    let hashes = InclusionProof::generate(&tree, 1, size).unwrap().unwrap().hashes;
    let root = root(&tree, size).unwrap();
    let checkpoint = Checkpoint { origin: META.to_owned(), size, root }.sign(&log_key()).unwrap();
    TlogProof { extra: Some(text.into()), index: 1, hashes, checkpoint }
}

/// A bundle in parts, so that tests can damage each.
pub(super) struct Parts {
    pub(super) leaves: Vec<LeafLine>,
    pub(super) payloads: Vec<PayloadLine>,
    pub(super) files: Vec<(String, Vec<u8>)>,
    pub(super) manifest: Manifest,
}

impl Parts {
    fn of(shape: Shape, indexes: &[u64]) -> Self {
        let (tree, checkpoint) = (tiles(SIZE), signed(SIZE));
        let (from, to) = match shape {
            Shape::Selection => (0, SIZE),
            Shape::Full | Shape::Range => (indexes[0], indexes[indexes.len() - 1] + 1),
        };
        let proof = InclusionProof::generate(&tree, DESTROYED_AT, SIZE).unwrap().unwrap();
        let destroyed = DestroyedLine {
            index: DESTROYED_AT,
            leaf: leaf(DESTROYED_AT),
            hashes: proof.hashes.iter().map(|hash| hash.to_base64()).collect(),
        };
        let files = vec![
            (names::CHECKPOINT.to_owned(), checkpoint.to_string().into_bytes()),
            (names::POLICY.to_owned(), policy_text().into_bytes()),
            (names::DESTROYED.to_owned(), line(&destroyed)),
        ];
        let payloads: Vec<PayloadLine> = indexes.iter().map(|index| payload(*index)).collect();
        let manifest = Manifest {
            format: Manifest::format(),
            tool: "test".to_owned(),
            origin: ORIGIN.to_owned(),
            organization_id: ORGANIZATION.to_owned(),
            shape,
            proves: shape.proves().to_owned(),
            filter: (shape == Shape::Selection).then(|| Filter { patient_id: PATIENT.to_owned() }),
            tree_size: SIZE,
            from,
            to,
            event_count: indexes.len() as u64,
            erased_count: payloads.iter().filter(|payload| payload.destroyed_by.is_some()).count() as u64,
            unsealed_count: 0,
            files: std::collections::BTreeMap::new(),
        };
        let leaves = indexes.iter().map(|&index| LeafLine { index, leaf: leaf(index) }).collect();
        Self { leaves, payloads, files, manifest }
    }

    /// Everything.
    pub(super) fn full() -> Self {
        let indexes: Vec<u64> = (0..SIZE).collect();
        let mut parts = Self::of(Shape::Full, &indexes);
        let tree = tiles(SIZE);
        for (level, n) in [(0, 0), (0, 1), (0, 2), (1, 0)] {
            let tile = Tile { level, n };
            let path = TilePath::Hashes { tile, width: tile.width(SIZE) };
            let bytes = tree.get(tile).unwrap().iter().flat_map(|hash| hash.0).collect();
            parts.files.push((path.to_string(), bytes));
        }
        parts
    }

    /// What came between two checkpoints.
    pub(super) fn range(from: u64, to: u64) -> Self {
        let indexes: Vec<u64> = (from..to).collect();
        let mut parts = Self::of(Shape::Range, &indexes);
        let tree = tiles(SIZE);
        let texts = |hashes: Vec<Hash>| hashes.into_iter().map(Hash::to_base64).collect();
        let before = root_nodes(from).into_iter().map(|node| tree.node(node).unwrap()).collect();
        let after = ConsistencyProof::generate(&tree, to, SIZE).unwrap().unwrap().hashes;
        let proof = RangeProof { before: texts(before), after: texts(after) };
        parts.files.push((names::RANGE.to_owned(), line(&proof)));
        parts
    }

    /// One patient's events.
    pub(super) fn selection() -> Self {
        let indexes: Vec<u64> = (0..SIZE).filter(|index| index.is_multiple_of(7)).collect();
        let mut parts = Self::of(Shape::Selection, &indexes);
        let (tree, checkpoint) = (tiles(SIZE), signed(SIZE));
        for index in indexes {
            let hashes = InclusionProof::generate(&tree, index, SIZE).unwrap().unwrap().hashes;
            let proof = TlogProof { extra: None, index, hashes, checkpoint: checkpoint.clone() };
            let path = format!("{}{index}{}", names::PROOFS, names::PROOF);
            parts.files.push((path, proof.to_string().into_bytes()));
        }
        parts
    }

    /// With the proof that the tree continues an earlier one.
    pub(super) fn with_consistency(mut self, size: u64) -> Self {
        let proof = ConsistencyProof::generate(&tiles(SIZE), size, SIZE).unwrap().unwrap();
        let path = format!("{}{size}", names::CONSISTENCY);
        self.files.push((path, consistency_lines(&proof.hashes).into_bytes()));
        self
    }

    /// With the proof that the log of checkpoints has one of the tree, and that the tree continues it.
    pub(super) fn with_logged(mut self, size: u64) -> Self {
        self.files.push((names::LOGGED.to_owned(), logged(size).to_string().into_bytes()));
        let is_needed = self.manifest.shape != Shape::Full && size < SIZE;
        if is_needed { self.with_consistency(size) } else { self }
    }

    pub(super) fn file(&mut self, path: &str) -> &mut Vec<u8> {
        let found = self.files.iter_mut().find(|(name, _)| name == path);
        &mut found.unwrap_or_else(|| panic!("no {path}")).1
    }

    pub(super) fn remove(&mut self, path: &str) {
        self.files.retain(|(name, _)| name != path);
    }

    /// Packs whatever the parts are now, with a manifest of their hashes.
    pub(super) fn pack(self) -> Vec<u8> {
        let mut writer = BundleWriter::new(Vec::new());
        let list = |lines: Vec<Vec<u8>>| lines.concat();
        for (path, bytes) in &self.files {
            writer.add(path, bytes).unwrap();
        }
        writer.add(names::LEAVES, &list(self.leaves.iter().map(line).collect())).unwrap();
        writer.add(names::PAYLOADS, &list(self.payloads.iter().map(line).collect())).unwrap();
        writer.finish(self.manifest).unwrap()
    }
}

fn line(value: &impl serde::Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap();
    line.push(b'\n');
    line
}
