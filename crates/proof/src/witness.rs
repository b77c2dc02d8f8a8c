//! What a log asks of a witness, and how the witness decides (C2SP tlog-witness, `add-checkpoint`).
//!
//! The witness keeps one checkpoint of each log: the newest one that it has cosigned. It cosigns another one only where
//! that is shown to continue it.

use std::fmt;

use super::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use super::consistency::{ConsistencyProof, verify_consistency};
use super::hash::{EMPTY_ROOT, Hash};
use super::keys::VerifierKey;
use super::tiles::decimal;

/// Lines of a proof that a log may send.
const MAX_HASHES: usize = 63;

/// The body of `add-checkpoint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Leaves of the tree that the witness cosigned last, as the log knows it.
    pub old_size: u64,
    /// That the new tree begins with it.
    pub proof: Vec<Hash>,
    /// The new tree, signed by its log.
    pub checkpoint: SignedCheckpoint,
}

/// Why a witness does not cosign. The numbers are those of HTTP.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WitnessRefusal {
    /// 400: not such a body.
    #[error("expected a line `old <size>`, the lines of a proof, an empty line and a checkpoint")]
    Malformed,
    /// 400: the log says that its tree became smaller.
    #[error("the old size is above that of the checkpoint")]
    OldAboveNew,
    /// 404: nobody told the witness about this log.
    #[error("the log {0} is not known here")]
    UnknownLog(String),
    /// 403: no key of the log has signed, or its signature is false.
    #[error("the log's signature is not accepted: {0}")]
    Untrusted(CheckpointError),
    /// 409: the witness has cosigned a tree of another size last.
    #[error("the newest checkpoint that was cosigned has {size} leaves")]
    Conflict {
        /// Leaves of that tree.
        size: u64,
    },
    /// 422: the tree does not continue the one that was cosigned.
    #[error("the proof does not show that the log continues what was cosigned")]
    Unproven,
}

impl WitnessRefusal {
    /// The HTTP status that the specification names.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed | Self::OldAboveNew => 400,
            Self::Untrusted(_) => 403,
            Self::UnknownLog(_) => 404,
            Self::Conflict { .. } => 409,
            Self::Unproven => 422,
        }
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{}", hash.to_base64()))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl AddCheckpoint {
    /// Takes a body apart. The proof ends with the first empty line.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(body: &str) -> Result<Self, WitnessRefusal> {
        let (head, checkpoint) = body.split_once("\n\n").ok_or(WitnessRefusal::Malformed)?;
        let mut lines = head.split('\n');
        let old_size = lines.next().and_then(|line| line.strip_prefix("old ")).and_then(decimal);
        let proof: Option<Vec<Hash>> = lines.map(Hash::from_base64).take(MAX_HASHES + 1).collect();
        let checkpoint = SignedCheckpoint::parse(checkpoint).ok();
        match (old_size, proof, checkpoint) {
            (Some(old_size), Some(proof), Some(checkpoint)) if proof.len() <= MAX_HASHES => {
                Ok(Self { old_size, proof, checkpoint })
            }
            _ => Err(WitnessRefusal::Malformed),
        }
    }

    /// Whether a witness that knows the log by these keys, and that cosigned `last` of it, may cosign this. Nothing is
    /// to be cosigned before it is kept.
    ///
    /// # Errors
    /// See [`WitnessRefusal`].
    pub fn judge(
        &self,
        log_keys: &[VerifierKey],
        last: Option<&Checkpoint>,
    ) -> Result<&Checkpoint, WitnessRefusal> {
        let origin = &self.checkpoint.claim().origin;
        let keys: Vec<VerifierKey> = log_keys.iter().filter(|key| key.name() == origin).cloned().collect();
        if keys.is_empty() {
            return Err(WitnessRefusal::UnknownLog(origin.clone()));
        }
        let new = self.checkpoint.verify(&keys).map_err(WitnessRefusal::Untrusted)?;
        if self.old_size > new.size {
            return Err(WitnessRefusal::OldAboveNew);
        }
        let (size, root) = last.map_or((0, EMPTY_ROOT), |last| (last.size, last.root));
        if self.old_size != size {
            return Err(WitnessRefusal::Conflict { size });
        }
        let growth = ConsistencyProof { old_size: size, new_size: new.size, hashes: self.proof.clone() };
        verify_consistency(&growth, root, new.root).map_err(|_| WitnessRefusal::Unproven)?;
        Ok(new)
    }
}
