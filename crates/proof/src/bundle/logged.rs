//! Whether the log of checkpoints, which is over the logs of all organizations, has a checkpoint of this one.
//!
//! The bundle brings the newest one that was in it, which may be older than the bundle's own: the tree has to continue it.

use super::archive::{Archive, Source};
use super::damage::{DamageKind, VerifyError, damaged, malformed};
use super::names;
use super::tree::inconsistent;
use super::verify::accepted;
use crate::checkpoint::Checkpoint;
use crate::hash::leaf_hash;
use crate::inclusion::{InclusionProof, verify_inclusion};
use crate::policy::Policy;
use crate::tlog_proof::TlogProof;

/// The log of checkpoints has the id of nobody where the others have that of their organization.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";
/// Longest proof that is looked at, with all cosignatures.
const MAX_PROOF_BYTES: u64 = 1 << 20;

/// What a bundle shows of the log of checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Logged {
    /// The policy does not name that log.
    Unasked,
    /// The bundle brings no proof.
    Unproved,
    /// It has this checkpoint, which the tree has to continue.
    Proved(Checkpoint),
}

impl Logged {
    /// Reads the proof, where the policy names the log of checkpoints. `claim` is what the bundle is about.
    pub(super) fn read<S: Source + ?Sized>(
        archive: &Archive<'_, S>,
        policy: &Policy,
        claim: &Checkpoint,
    ) -> Result<Self, VerifyError> {
        let origin = claim.origin.rsplit_once('/').map(|(prefix, _)| format!("{prefix}/{NOBODY}"));
        let Some(origin) = origin.filter(|origin| policy.log_keys().iter().any(|key| key.name() == origin))
        else {
            return Ok(Self::Unasked);
        };
        if !archive.has(names::LOGGED) {
            return Ok(Self::Unproved);
        }
        let text = archive.text(names::LOGGED, MAX_PROOF_BYTES)?;
        let proof =
            TlogProof::parse(&text).map_err(|error| malformed(format!("{}: {error}", names::LOGGED)))?;
        if proof.checkpoint.claim().origin != origin {
            return Err(unlogged("the proof is of another log than the one of checkpoints"));
        }
        accepted(&proof.checkpoint, policy, "the checkpoint of the log of checkpoints")?;
        own(&proof, claim).map(Self::Proved)
    }
}

/// The checkpoint that a proof is about.
fn own(proof: &TlogProof, claim: &Checkpoint) -> Result<Checkpoint, VerifyError> {
    let text = proof.extra.as_deref().unwrap_or_default();
    let own: Option<Checkpoint> = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    let own = own.filter(|own| own.origin == claim.origin && own.size <= claim.size);
    let own = own.ok_or_else(|| unlogged("the proof is about no checkpoint that this log continues"))?;
    let tree = proof.checkpoint.claim();
    let inclusion = InclusionProof { index: proof.index, size: tree.size, hashes: proof.hashes.clone() };
    verify_inclusion(&inclusion, leaf_hash(text), tree.root)
        .map_err(|error| unlogged(format!("the checkpoint of {} events: {error}", own.size)))?;
    if own.size == claim.size && own.root != claim.root {
        return Err(inconsistent(&own));
    }
    Ok(own)
}

fn unlogged(detail: impl Into<String>) -> VerifyError {
    damaged(DamageKind::Unlogged, detail)
}
