//! A proof that can be handed on as one file (C2SP tlog-proof, extension `.tlog-proof`).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::checkpoint::{CheckpointError, SignedCheckpoint};
use super::hash::Hash;
use super::inclusion::{InclusionProof, verify_inclusion};
use super::keys::VerifierKey;
use super::tiles::decimal;
use super::tree::ProofError;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";
/// A tree cannot be higher.
const MAX_HASHES: usize = 63;

/// Where a leaf stands in a tree that its log, and maybe witnesses, have signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// What the file says besides; no signature covers it.
    pub extra: Option<Vec<u8>>,
    /// Place of the leaf, from 0.
    pub index: u64,
    /// From the leaf to the root.
    pub hashes: Vec<Hash>,
    /// The signed tree.
    pub checkpoint: SignedCheckpoint,
}

/// Why a proof file is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlogProofError {
    /// Not such a file.
    #[error("not a tlog-proof file")]
    Form,
    /// Its checkpoint is refused.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// It does not prove that the leaf is in the tree.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl TlogProof {
    /// Takes a file apart. The proof ends with the first empty line.
    ///
    /// # Errors
    /// When it is no such file, or its checkpoint none.
    pub fn parse(text: &str) -> Result<Self, TlogProofError> {
        let (head, checkpoint) = text.split_once("\n\n").ok_or(TlogProofError::Form)?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(FIRST_LINE) {
            return Err(TlogProofError::Form);
        }
        let extra = match lines.next_if(|line| line.starts_with("extra ")) {
            None => None,
            Some(line) => {
                let base64 = line.strip_prefix("extra ").unwrap_or_default();
                Some(STANDARD.decode(base64).map_err(|_| TlogProofError::Form)?)
            }
        };
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(decimal);
        let hashes: Vec<Hash> = lines
            .map(|line| Hash::from_base64(line).ok_or(TlogProofError::Form))
            .take(MAX_HASHES + 1)
            .collect::<Result<_, _>>()?;
        if hashes.len() > MAX_HASHES {
            return Err(TlogProofError::Form);
        }
        let checkpoint = SignedCheckpoint::parse(checkpoint)?;
        Ok(Self { extra, index: index.ok_or(TlogProofError::Form)?, hashes, checkpoint })
    }

    /// Checks that the log has signed a tree in which this leaf stands at the index.
    ///
    /// # Errors
    /// See [`TlogProofError`].
    pub fn verify(&self, leaf: Hash, log_keys: &[VerifierKey]) -> Result<(), TlogProofError> {
        let tree = self.checkpoint.verify(log_keys)?;
        let proof = InclusionProof { index: self.index, size: tree.size, hashes: self.hashes.clone() };
        Ok(verify_inclusion(&proof, leaf, tree.root)?)
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", hash.to_base64()))?;
        write!(f, "\n{}", self.checkpoint)
    }
}
