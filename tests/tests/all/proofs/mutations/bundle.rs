//! Mutations of what left the system: bundles, checkpoints, cosignatures and proofs.
//!
//! The bundles are those of the product. Their checkpoints are signed anew by a key that the test has, so that it can also
//! do what only the holder of the log's key could.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use carelog_audit::proof::bundle::{BundleWriter, DamageKind as D, LeafLine, Manifest, PayloadLine, names};
use carelog_audit::proof::{
    Algorithm, Checkpoint, Cosignature, Hash, InclusionProof, Note, SignatureLine, SignedCheckpoint,
    SigningKey, TileSet, TlogProof, root,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::KEPT;

const WITNESS: &str = "witness.example/w1";
/// The index of the event that is changed.
const AT: usize = 60;

/// A case, what is done, and the name of the damage.
pub(super) type Mutation = (&'static str, fn(&mut Trial), D);

/// The files of a bundle.
#[derive(Clone)]
pub(super) struct Bundle {
    files: BTreeMap<String, Vec<u8>>,
    manifest: Manifest,
}

/// A bundle, and what its auditor has.
#[derive(Clone)]
pub(super) struct Trial {
    pub(super) bundle: Bundle,
    pub(super) policy: String,
    pub(super) since: Option<SignedCheckpoint>,
    /// More leaves of the log than the bundle's tree has.
    leaves: Vec<Hash>,
}

fn own_key() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

fn take_files(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            take_files(&entry.path(), &format!("{name}/"), files);
        } else {
            files.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
}

impl Bundle {
    /// Unpacks a bundle and puts a key that is known in the place of its log's.
    pub(super) fn open(path: &Path) -> Self {
        let folder = TempDir::new().unwrap();
        let unpacked = Command::new("tar").arg("xf").arg(path).arg("-C").arg(folder.path()).status();
        assert!(unpacked.unwrap().success());
        let mut files = BTreeMap::new();
        take_files(folder.path(), "", &mut files);
        let manifest = serde_json::from_slice(&files.remove(names::MANIFEST).unwrap()).unwrap();
        let mut bundle = Self { files, manifest };
        let checkpoint = bundle.claim().sign(&own_key()).unwrap();
        for bytes in
            bundle.files.iter_mut().filter(|(name, _)| name.starts_with(names::PROOFS)).map(|(_, file)| file)
        {
            let proof = TlogProof::parse(std::str::from_utf8(bytes).unwrap()).unwrap();
            *bytes = TlogProof { checkpoint: checkpoint.clone(), ..proof }.to_string().into_bytes();
        }
        bundle.set_text(names::CHECKPOINT, checkpoint.to_string());
        bundle
    }

    /// The file, with a manifest that fits.
    pub(super) fn pack(&self) -> Vec<u8> {
        let mut writer = BundleWriter::new(Vec::new());
        for (path, bytes) in &self.files {
            writer.add(path, bytes).unwrap();
        }
        writer.finish(self.manifest.clone()).unwrap()
    }

    fn claim(&self) -> Checkpoint {
        SignedCheckpoint::parse(&self.text(names::CHECKPOINT)).unwrap().claim().clone()
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.files[name].clone()).unwrap()
    }

    fn set_text(&mut self, name: &str, text: impl Into<String>) {
        self.files.insert(name.to_owned(), text.into().into_bytes());
    }

    fn replace(&mut self, name: &str, from: &str, to: &str) {
        let (old, new) = (self.text(name), self.text(name).replacen(from, to, 1));
        assert_ne!(old, new, "{name} has {from}");
        self.set_text(name, new);
    }

    fn bytes(&mut self, name: &str) -> &mut Vec<u8> {
        self.files.get_mut(name).unwrap()
    }

    fn edit<T: Serialize + DeserializeOwned>(&mut self, name: &str, change: impl FnOnce(&mut Vec<T>)) {
        let mut lines: Vec<T> =
            self.text(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        change(&mut lines);
        let lines = lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n");
        self.set_text(name, lines.collect::<String>());
    }

    fn edit_leaf(&mut self, from: &str, to: &str) {
        self.edit(names::LEAVES, |lines: &mut Vec<LeafLine>| {
            let changed = lines[AT].leaf.replacen(from, to, 1);
            assert_ne!(changed, lines[AT].leaf);
            lines[AT].leaf = changed;
        });
    }

    fn edit_both(&mut self, leaf: impl Fn(&mut Vec<LeafLine>), payload: impl Fn(&mut Vec<PayloadLine>)) {
        self.edit(names::LEAVES, leaf);
        self.edit(names::PAYLOADS, payload);
    }

    fn partial_tile(&self) -> (String, usize) {
        let name =
            self.files.keys().find(|name| name.starts_with("tile/0/") && name.contains(".p/")).unwrap();
        (name.clone(), name.rsplit_once('/').unwrap().1.parse().unwrap())
    }
}

impl Trial {
    pub(super) fn new(bundle: &Bundle, leaves: Vec<Hash>) -> Self {
        let key = own_key().verifier(&bundle.claim().origin, Algorithm::Ed25519).unwrap();
        let policy = format!("log {key}\nquorum none\n");
        Self { bundle: bundle.clone(), policy, since: None, leaves }
    }

    /// The log's checkpoint at another size.
    fn checkpoint(&self, size: u64) -> Checkpoint {
        let root = root(&TileSet::of_leaves(&self.leaves), size).unwrap();
        Checkpoint { root, size, ..self.bundle.claim() }
    }

    fn cosigned(&self) -> SignedCheckpoint {
        let mut signed = self.bundle.claim().sign(&own_key()).unwrap();
        let text = signed.checkpoint_text();
        signed.add(&Cosignature::make(&own_key(), WITNESS, 1_767_225_600, &text).unwrap());
        signed
    }

    fn ask_for_witness(&mut self) {
        let witness = own_key().verifier(WITNESS, Algorithm::Cosignature).unwrap();
        let log = self.policy.lines().next().unwrap();
        self.policy = format!("{log}\nwitness one {witness}\nquorum one\n");
    }

    /// Puts a proof for a tree of another size in the place of one that the bundle has.
    fn prove_at(&mut self, size: u64) {
        let index = self
            .bundle
            .files
            .keys()
            .find_map(|name| name.strip_prefix(names::PROOFS)?.strip_suffix(names::PROOF)?.parse().ok());
        let index = index.unwrap();
        let tree = TileSet::of_leaves(&self.leaves);
        let hashes = InclusionProof::generate(&tree, index, size).unwrap().unwrap().hashes;
        let checkpoint = self.bundle.claim().sign(&own_key()).unwrap();
        let proof = TlogProof { extra: None, index, hashes, checkpoint };
        self.bundle.set_text(&format!("{}{index}{}", names::PROOFS, names::PROOF), proof.to_string());
    }
}

/// Mutations of a bundle of the whole log.
pub(super) fn in_full() -> Vec<Mutation> {
    [events(), tiles(), checkpoints(), kept()].concat()
}

fn events() -> Vec<Mutation> {
    vec![
        (
            "a byte of a payload",
            |t| {
                t.bundle.edit(names::PAYLOADS, |lines: &mut Vec<PayloadLine>| {
                    lines[AT].facts.replace_range(0..1, "f");
                });
            },
            D::PayloadMismatch,
        ),
        (
            "the time of recording",
            |t| t.bundle.edit_leaf("\"recorded_at\":\"2", "\"recorded_at\":\"1"),
            D::LeafMismatch,
        ),
        ("the actor", |t| t.bundle.edit_leaf("\"role\":\"", "\"role\":\"x"), D::LeafMismatch),
        ("the number of an event", |t| t.bundle.edit_leaf("\"seq\":", "\"seq\":9"), D::LeafMismatch),
        (
            "two events swapped",
            |t| {
                t.bundle.edit_both(
                    |lines| {
                        lines.swap(AT, AT + 1);
                        (AT..AT + 2).for_each(|at| lines[at].index = at as u64);
                    },
                    |lines| {
                        lines.swap(AT, AT + 1);
                        (AT..AT + 2).for_each(|at| lines[at].index = at as u64);
                    },
                );
            },
            D::LeafMismatch,
        ),
        (
            "an event in the middle gone",
            |t| t.bundle.edit_both(|lines| drop(lines.remove(AT)), |lines| drop(lines.remove(AT))),
            D::Incomplete,
        ),
        (
            "the last sealed event gone",
            |t| t.bundle.edit_both(|lines| drop(lines.pop()), |lines| drop(lines.pop())),
            D::Incomplete,
        ),
        (
            "a back-dated event put in",
            |t| {
                t.bundle.edit_both(
                    |lines| {
                        let leaf = lines[AT].leaf.replacen("\"recorded_at\":\"2", "\"recorded_at\":\"1", 1);
                        lines.insert(AT, LeafLine { leaf, ..lines[AT].clone() });
                        lines.pop();
                        (0..).zip(lines).for_each(|(index, line)| line.index = index);
                    },
                    |lines| {
                        lines.insert(AT, lines[AT].clone());
                        lines.pop();
                        (0..).zip(lines).for_each(|(index, line)| line.index = index);
                    },
                );
            },
            D::LeafMismatch,
        ),
        (
            "a ciphertext of another event",
            |t| {
                t.bundle.edit(names::PAYLOADS, |lines: &mut Vec<PayloadLine>| {
                    let sealed: Vec<usize> =
                        (0..lines.len()).filter(|at| lines[*at].personal.is_some()).collect();
                    let other = lines[sealed[1]].personal.clone();
                    lines[sealed[0]].personal = other;
                });
            },
            D::PayloadMismatch,
        ),
    ]
}

fn tiles() -> Vec<Mutation> {
    vec![
        ("a hash of a tile", |t| t.bundle.bytes("tile/0/000")[40] ^= 1, D::TileMismatch),
        ("a tile cut short", |t| t.bundle.bytes("tile/0/000").truncate(8_000), D::TileMismatch),
        (
            "a partial tile of another width",
            |t| {
                let (name, width) = t.bundle.partial_tile();
                let bytes = t.bundle.files.remove(&name).unwrap()[..(width - 1) * Hash::BYTES].to_vec();
                let narrower = name.replace(&format!(".p/{width}"), &format!(".p/{}", width - 1));
                t.bundle.files.insert(narrower, bytes);
            },
            D::TileMismatch,
        ),
    ]
}

fn checkpoints() -> Vec<Mutation> {
    vec![
        (
            "a size with a zero in front",
            |t| {
                let size = t.bundle.claim().size;
                t.bundle.replace(names::CHECKPOINT, &format!("\n{size}\n"), &format!("\n0{size}\n"));
            },
            D::Malformed,
        ),
        (
            "the root of another size",
            |t| {
                let claim = t.bundle.claim();
                let other = t.checkpoint(claim.size - 1);
                t.bundle.replace(names::CHECKPOINT, &claim.root.to_base64(), &other.root.to_base64());
            },
            D::BadSignature,
        ),
        (
            "signed by an unknown key alone",
            |t| {
                let signed = t.bundle.claim().sign(&SigningKey::from_seed(&[8; 32])).unwrap();
                t.bundle.set_text(names::CHECKPOINT, signed.to_string());
            },
            D::UnknownKey,
        ),
        (
            "a false signature of a known key",
            |t| {
                let other = t.checkpoint(1).sign(&own_key()).unwrap();
                let mut note = Note::unsigned(t.bundle.claim().to_string()).unwrap();
                note.add(other.note().signatures()[0].clone());
                t.bundle.set_text(names::CHECKPOINT, note.to_string());
            },
            D::BadSignature,
        ),
        (
            "the name of a known key with another id",
            |t| {
                let other = SigningKey::from_seed(&[8; 32]);
                let key = other.verifier(&t.bundle.claim().origin, Algorithm::Ed25519).unwrap();
                t.policy = format!("log {key}\nquorum none\n");
            },
            D::UnknownKey,
        ),
        (
            "lines that end as on another system",
            |t| {
                let changed = t.bundle.text(names::CHECKPOINT).replace('\n', "\r\n");
                t.bundle.set_text(names::CHECKPOINT, changed);
            },
            D::Malformed,
        ),
        (
            "the last line feed gone",
            |t| assert_eq!(t.bundle.bytes(names::CHECKPOINT).pop(), Some(b'\n')),
            D::Malformed,
        ),
    ]
}

fn kept() -> Vec<Mutation> {
    vec![
        (
            "a cosignature for another time",
            |t| {
                t.ask_for_witness();
                let cosigned = t.cosigned();
                let line = &cosigned.note().signatures()[1];
                let mut signature = line.signature.clone();
                signature[7] ^= 1;
                let late = SignatureLine { signature, ..line.clone() };
                let changed = cosigned.to_string().replace(&line.to_string(), &late.to_string());
                t.bundle.set_text(names::CHECKPOINT, changed);
            },
            D::BadSignature,
        ),
        (
            "an older checkpoint played again",
            |t| t.since = Some(t.checkpoint(t.bundle.claim().size + 1).sign(&own_key()).unwrap()),
            D::Stale,
        ),
        (
            "a fork of the same size",
            |t| {
                let fork = Checkpoint { root: t.checkpoint(1).root, ..t.bundle.claim() };
                t.since = Some(fork.sign(&own_key()).unwrap());
            },
            D::Inconsistent,
        ),
    ]
}

/// Mutations of a bundle of one patient's events.
pub(super) fn in_selection() -> Vec<Mutation> {
    vec![
        (
            "a proof of consistency with a hash too many",
            |t| {
                t.since = Some(t.checkpoint(KEPT).sign(&own_key()).unwrap());
                let name = format!("{}{KEPT}", names::CONSISTENCY);
                let text = t.bundle.text(&name);
                let line = text.lines().next().unwrap();
                t.bundle.set_text(&name, format!("{text}{line}\n"));
            },
            D::Inconsistent,
        ),
        ("a proof for another size", |t| t.prove_at(t.bundle.claim().size - 1), D::NotIncluded),
        ("a proof for another size", |t| t.prove_at(t.bundle.claim().size + 1), D::NotIncluded),
    ]
}
