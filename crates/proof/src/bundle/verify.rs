//! The verifier: from the signature down to each byte.
//!
//! 1. The list of files is that of the manifest.
//! 2. The checkpoint is signed by the log's key in the verifier's own policy, and seen by enough witnesses.
//! 3. It is not older than the checkpoint that the verifier kept. Where the policy names the log of checkpoints, one of this
//!    log is in it.
//! 4. Each payload is the one that its leaf commits to; those whose key was destroyed say by which event, which is proved.
//! 5. The leaves make up the signed root, and the roots of the checkpoint that was kept and of the one in the log of
//!    checkpoints.
//! 6. Each file is the one whose SHA-256 the manifest names.

use std::io::Read;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::archive::{Archive, Source};
use super::content::{Contents, destroyed};
use super::damage::{Damage, DamageKind, VerifyError, damaged, malformed};
use super::logged::Logged;
use super::manifest::{Filter, Manifest, Shape};
use super::names;
use super::tree::{Proving, inconsistent};
use crate::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use crate::note::NoteError;
use crate::policy::{Policy, QuorumError};

/// Longest manifest that is looked at: one of half a million files.
const MAX_MANIFEST_BYTES: u64 = 128 << 20;
const MAX_CHECKPOINT_BYTES: u64 = 1 << 20;
const BUFFER_BYTES: usize = 64 << 10;
/// Events between two calls of `progress`.
const PROGRESS_EVERY: u64 = 1_000;

/// What the verifier brings.
pub struct Options<'a> {
    /// Whom it trusts. It must not come from the bundle.
    pub policy: &'a Policy,
    /// A checkpoint of the log that it kept, as a signed note.
    pub since: Option<&'a str>,
    /// Hears of events that were checked, and of how many there are.
    pub progress: &'a dyn Fn(u64, u64),
}

/// What a sound bundle proves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The log's name.
    pub origin: String,
    /// The organization whose log it is.
    pub organization_id: String,
    /// What was checked of the tree.
    pub shape: Shape,
    /// What that proves, for people.
    pub proves: &'static str,
    /// By what events were selected.
    pub filter: Option<Filter>,
    /// Leaves of the signed tree.
    pub tree_size: u64,
    /// The first index, from 0.
    pub from: u64,
    /// The index after the last.
    pub to: u64,
    /// Events that were checked.
    pub event_count: u64,
    /// Events whose personal values are gone with their key, which is proved.
    pub erased_count: u64,
    /// Events that the exporter said were not sealed yet. Nothing proves this number.
    pub unsealed_count: u64,
    /// Witnesses that have seen the checkpoint.
    pub witnesses: Vec<String>,
    /// Leaves of the earlier tree that this one was shown to continue.
    pub continues: Option<u64>,
    /// Leaves of the newest checkpoint of this log that the bundle proves to be in the log of checkpoints.
    pub logged_size: Option<u64>,
    /// Whether the policy names the log of checkpoints and the bundle brings no proof from it.
    pub is_unlogged: bool,
    /// Leaves of the log of checkpoints, where that was read and found to have no other history.
    pub meta_size: Option<u64>,
    /// How many of these leaves are about the organization: where none is, nothing was compared.
    pub meta_own_count: Option<u64>,
}

impl Report {
    /// What is no damage, but something that an auditor has to know.
    pub fn unsealed(&self) -> Option<Damage> {
        let detail = format!(
            "everything is sound, but {} newer events were under no checkpoint yet",
            self.unsealed_count
        );
        (self.unsealed_count > 0).then_some(Damage { kind: DamageKind::UnsealedTail, detail })
    }

    /// What is no damage, but less than the policy asks for.
    pub fn unlogged(&self) -> Option<Damage> {
        let detail =
            "everything is sound, but the bundle brings no proof from the log of checkpoints".to_owned();
        self.is_unlogged.then_some(Damage { kind: DamageKind::Unlogged, detail })
    }
}

/// Checks a bundle.
///
/// # Errors
/// The first damage that is found, or that the source cannot be read.
pub fn verify<S: Source + ?Sized>(source: &S, options: &Options<'_>) -> Result<Report, VerifyError> {
    let archive = Archive::open(source)?;
    let manifest = read_manifest(&archive)?;
    check_files(&archive, &manifest)?;
    let text = archive.text(names::CHECKPOINT, MAX_CHECKPOINT_BYTES)?;
    let (signed, witnesses) = trusted(&text, options.policy)?;
    let claim = signed.claim();
    if (&claim.origin, claim.size) != (&manifest.origin, manifest.tree_size) {
        return Err(damaged(DamageKind::ManifestMismatch, "the checkpoint is of another log or size"));
    }
    let since = options.since.map(|text| earlier(text, options.policy, claim)).transpose()?;
    let continues = since.as_ref().map(|since| since.size);
    let logged = Logged::read(&archive, options.policy, claim)?;
    let (logged, is_unlogged) = match logged {
        Logged::Proved(checkpoint) => (Some(checkpoint), false),
        Logged::Unproved => (None, true),
        Logged::Unasked => (None, false),
    };
    let logged_size = logged.as_ref().map(|logged| logged.size);
    // One of the same size was compared.
    let logged = logged.filter(|logged| logged.size < claim.size);
    let earlier = since.into_iter().chain(logged).collect();
    let destroyed = destroyed(&archive, &manifest.organization_id, claim)?;
    let mut contents = Contents::open(&archive, &manifest, &destroyed)?;
    let mut proving = Proving::begin(&archive, &manifest, &signed, earlier)?;
    while let Some((index, leaf)) = contents.next()? {
        proving.push(index, leaf)?;
        if contents.event_count.is_multiple_of(PROGRESS_EVERY) {
            (options.progress)(contents.event_count, manifest.event_count);
        }
    }
    proving.finish()?;
    check_digests(&archive, &manifest)?;
    (options.progress)(contents.event_count, manifest.event_count);
    let (event_count, erased_count) = (contents.event_count, contents.erased_count);
    Ok(Report {
        proves: manifest.shape.proves(),
        origin: manifest.origin,
        organization_id: manifest.organization_id,
        shape: manifest.shape,
        filter: manifest.filter,
        tree_size: manifest.tree_size,
        from: manifest.from,
        to: manifest.to,
        event_count,
        erased_count,
        unsealed_count: manifest.unsealed_count,
        witnesses,
        continues,
        logged_size,
        is_unlogged,
        meta_size: None,
        meta_own_count: None,
    })
}

fn read_manifest<S: Source + ?Sized>(archive: &Archive<'_, S>) -> Result<Manifest, VerifyError> {
    let bytes = archive.bytes(names::MANIFEST, MAX_MANIFEST_BYTES)?;
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|error| malformed(format!("{} does not parse: {error}", names::MANIFEST)))?;
    let Manifest { shape, from, to, tree_size, .. } = manifest;
    if manifest.format != Manifest::format() {
        return Err(malformed("a bundle of another format or version"));
    }
    let is_whole = (from, to) == (0, tree_size);
    if from >= to || to > tree_size || (shape == Shape::Full && !is_whole) {
        return Err(damaged(DamageKind::ManifestMismatch, "the manifest's range is not one of its tree"));
    }
    if (shape == Shape::Selection) != manifest.filter.is_some() || manifest.proves != shape.proves() {
        return Err(damaged(
            DamageKind::ManifestMismatch,
            "the manifest says other things than its shape proves",
        ));
    }
    Ok(manifest)
}

/// Every file is named, every named file is there, and each belongs to a bundle of this shape.
fn check_files<S: Source + ?Sized>(archive: &Archive<'_, S>, manifest: &Manifest) -> Result<(), VerifyError> {
    for path in archive.paths().filter(|path| *path != names::MANIFEST) {
        if !manifest.files.contains_key(path) || !belongs(path, manifest.shape) {
            let detail = format!("{path} is not a file that the manifest names for this bundle");
            return Err(damaged(DamageKind::ManifestMismatch, detail));
        }
    }
    match manifest.files.keys().find(|path| !archive.has(path)) {
        Some(path) => Err(damaged(DamageKind::Incomplete, format!("{path} is missing"))),
        None => Ok(()),
    }
}

fn belongs(path: &str, shape: Shape) -> bool {
    if path.starts_with("tile/") {
        return shape == Shape::Full;
    }
    if path.starts_with(names::PROOFS) {
        return shape == Shape::Selection;
    }
    path != names::RANGE || shape == Shape::Range
}

/// A checkpoint that the policy accepts, and the witnesses that have seen it.
///
/// # Errors
/// When it is no signed checkpoint, or the policy does not accept it.
pub fn trusted(text: &str, policy: &Policy) -> Result<(SignedCheckpoint, Vec<String>), VerifyError> {
    const WHAT: &str = "the checkpoint";
    let signed = parse(text, WHAT)?;
    let witnesses = accepted(&signed, policy, WHAT)?;
    Ok((signed, witnesses))
}

/// The witnesses that have seen a checkpoint which the policy accepts.
pub(super) fn accepted(
    signed: &SignedCheckpoint,
    policy: &Policy,
    what: &str,
) -> Result<Vec<String>, VerifyError> {
    policy.verify(signed).map_err(|error| match error {
        QuorumError::Unmet { .. } => damaged(DamageKind::QuorumUnmet, format!("{what}: {error}")),
        QuorumError::Checkpoint(error) => refused(what, &error),
    })
}

fn parse(text: &str, what: &str) -> Result<SignedCheckpoint, VerifyError> {
    SignedCheckpoint::parse(text).map_err(|error| malformed(format!("{what}: {error}")))
}

fn refused(what: &str, error: &CheckpointError) -> VerifyError {
    let kind = match error {
        CheckpointError::FalseCosignature(_) | CheckpointError::Note(NoteError::FalseSignature(_)) => {
            DamageKind::BadSignature
        }
        CheckpointError::Origin { .. } | CheckpointError::Note(NoteError::UnknownKeys) => {
            DamageKind::UnknownKey
        }
        CheckpointError::Form | CheckpointError::Note(_) => DamageKind::Malformed,
    };
    damaged(kind, format!("{what}: {error}"))
}

/// What the verifier kept: a checkpoint of the same log that is not newer than `claim`.
///
/// # Errors
/// When the policy does not know it, it is of another log or newer, or contradicts `claim`.
pub fn earlier(text: &str, policy: &Policy, claim: &Checkpoint) -> Result<Checkpoint, VerifyError> {
    const WHAT: &str = "the earlier checkpoint";
    let since = parse(text, WHAT)?;
    // Whoever kept it saw it: no witness has to have.
    policy.verify_log(&since).map_err(|error| refused(WHAT, &error))?;
    let since = since.claim();
    if since.origin != claim.origin {
        let detail = format!("the earlier checkpoint is of {}, this one of {}", since.origin, claim.origin);
        return Err(damaged(DamageKind::Inconsistent, detail));
    }
    if since.size > claim.size {
        let detail = format!("it covers {} events, the earlier checkpoint {}", claim.size, since.size);
        return Err(damaged(DamageKind::Stale, detail));
    }
    if since.size == claim.size && since.root != claim.root {
        return Err(inconsistent(since));
    }
    Ok(since.clone())
}

fn check_digests<S: Source + ?Sized>(
    archive: &Archive<'_, S>,
    manifest: &Manifest,
) -> Result<(), VerifyError> {
    let mut buffer = vec![0; BUFFER_BYTES];
    for (path, expected) in &manifest.files {
        let mut file = archive.read(path)?;
        let mut digest = Sha256::new();
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            digest.update(buffer.get(..count).unwrap_or_default());
        }
        let is_true =
            hex::encode(digest.finalize()) == expected.sha256 && archive.length(path) == Some(expected.bytes);
        if !is_true {
            let detail = format!("{path} is not the file whose SHA-256 the manifest names");
            return Err(damaged(DamageKind::ManifestMismatch, detail));
        }
    }
    Ok(())
}
