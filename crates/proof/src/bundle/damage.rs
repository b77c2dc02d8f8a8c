//! What can be wrong with a bundle, each kind with a code of its own.

use std::io;

/// A kind of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DamageKind {
    /// Not a bundle, or a file in it is not of its form.
    Malformed,
    /// Something that has to be there is missing.
    Incomplete,
    /// The bundle is not what its manifest says.
    ManifestMismatch,
    /// No key of the policy has signed the checkpoint.
    UnknownKey,
    /// A signature is false.
    BadSignature,
    /// Too few witnesses have seen the checkpoint.
    QuorumUnmet,
    /// The checkpoint is older than the one that the verifier kept.
    Stale,
    /// The tree does not continue the one that the verifier kept.
    Inconsistent,
    /// A stored payload is not the one that its leaf commits to.
    PayloadMismatch,
    /// A leaf is not the one that was sealed.
    LeafMismatch,
    /// A tile has other hashes than the leaves that are under the signed root.
    TileMismatch,
    /// What is there does not lead to the signed root.
    NotIncluded,
    /// A payload is said to be erased, and nothing proves it.
    ErasureUnproven,
    /// Nothing is damaged, but events that were written are under no checkpoint yet.
    UnsealedTail,
    /// Nothing proves that the log of checkpoints, which the policy names, has a checkpoint of this log.
    Unlogged,
    /// An entry of the trail is not the one that its event makes.
    TrailMismatch,
    /// A key in the vault is not the one that leaves commit to.
    KeyMismatch,
}

impl DamageKind {
    /// Every kind.
    pub const ALL: [Self; 17] = [
        Self::Malformed,
        Self::Incomplete,
        Self::ManifestMismatch,
        Self::UnknownKey,
        Self::BadSignature,
        Self::QuorumUnmet,
        Self::Stale,
        Self::Inconsistent,
        Self::PayloadMismatch,
        Self::LeafMismatch,
        Self::TileMismatch,
        Self::NotIncluded,
        Self::ErasureUnproven,
        Self::UnsealedTail,
        Self::Unlogged,
        Self::TrailMismatch,
        Self::KeyMismatch,
    ];

    /// The exit code of a program that found it.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Malformed => 10,
            Self::Incomplete => 11,
            Self::ManifestMismatch => 12,
            Self::UnknownKey => 13,
            Self::BadSignature => 14,
            Self::QuorumUnmet => 15,
            Self::Stale => 16,
            Self::Inconsistent => 17,
            Self::PayloadMismatch => 18,
            Self::LeafMismatch => 19,
            Self::TileMismatch => 20,
            Self::NotIncluded => 21,
            Self::ErasureUnproven => 22,
            Self::UnsealedTail => 23,
            Self::Unlogged => 24,
            Self::TrailMismatch => 25,
            Self::KeyMismatch => 26,
        }
    }

    /// A name for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Incomplete => "incomplete",
            Self::ManifestMismatch => "manifest_mismatch",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::QuorumUnmet => "quorum_unmet",
            Self::Stale => "stale",
            Self::Inconsistent => "inconsistent",
            Self::PayloadMismatch => "payload_mismatch",
            Self::LeafMismatch => "leaf_mismatch",
            Self::TileMismatch => "tile_mismatch",
            Self::NotIncluded => "not_included",
            Self::ErasureUnproven => "erasure_unproven",
            Self::UnsealedTail => "unsealed_tail",
            Self::Unlogged => "unlogged",
            Self::TrailMismatch => "trail_mismatch",
            Self::KeyMismatch => "key_mismatch",
        }
    }

    /// What it means, in a line.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Malformed => "not a bundle, or a file in it is not of its form",
            Self::Incomplete => "something that has to be there is missing",
            Self::ManifestMismatch => "the bundle is not what its manifest says",
            Self::UnknownKey => "no key of the policy has signed the checkpoint",
            Self::BadSignature => "a signature or cosignature is false",
            Self::QuorumUnmet => "too few witnesses have seen the checkpoint",
            Self::Stale => "the checkpoint is older than the one given with --since",
            Self::Inconsistent => {
                "the log does not continue the checkpoint given with --since, or one in the log of checkpoints"
            }
            Self::PayloadMismatch => "facts or ciphertext are not those that the leaf commits to",
            Self::LeafMismatch => "a leaf is not the one that was sealed",
            Self::TileMismatch => "a tile has other hashes than the sealed leaves",
            Self::NotIncluded => "what is there does not lead to the signed root",
            Self::ErasureUnproven => "a payload is said to be erased, and nothing proves it",
            Self::UnsealedTail => "whole, but newer events were not yet sealed",
            Self::Unlogged => "nothing proves that the policy's log of checkpoints has one of this log",
            Self::TrailMismatch => "the trail tells something else than the log",
            Self::KeyMismatch => "a key of the vault is not the one that was sealed with",
        }
    }
}

/// Damage that was found, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", .kind.as_str())]
pub struct Damage {
    /// Which kind.
    pub kind: DamageKind,
    /// What exactly, for a person.
    pub detail: String,
}

/// Why a bundle is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Something is wrong with it.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The file cannot be read, which says nothing about it.
    #[error("the bundle cannot be read: {0}")]
    Read(#[from] io::Error),
}

/// Shorthand for an error of a kind.
pub(super) fn damaged(kind: DamageKind, detail: impl Into<String>) -> VerifyError {
    VerifyError::Damaged(Damage { kind, detail: detail.into() })
}

pub(super) fn malformed(detail: impl Into<String>) -> VerifyError {
    damaged(DamageKind::Malformed, detail)
}
