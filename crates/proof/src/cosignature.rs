//! Cosignatures (C2SP tlog-cosignature): a witness says that it saw a checkpoint at a time, and that it never saw
//! one of the same log that contradicts it.

use super::keys::{Algorithm, KeyError, SigningKey, VerifierKey};
use super::note::SignatureLine;

/// A checked or freshly made cosignature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    /// Whose it is.
    pub witness: VerifierKey,
    /// When the witness saw it, in seconds since 1970.
    pub unix_seconds: u64,
    signature: Vec<u8>,
}

impl Cosignature {
    /// Cosigns the text of a checkpoint as the witness of this name.
    ///
    /// # Errors
    /// When the name cannot be one.
    pub fn make(
        key: &SigningKey,
        witness: &str,
        unix_seconds: u64,
        checkpoint_text: &str,
    ) -> Result<Self, KeyError> {
        let verifier = key.verifier(witness, Algorithm::Cosignature)?;
        let signature = key.sign(message(unix_seconds, checkpoint_text).as_bytes());
        Ok(Self { witness: verifier, unix_seconds, signature })
    }

    /// The cosignature of a line, if it is one of this key over this text.
    pub fn verify(line: &SignatureLine, key: &VerifierKey, checkpoint_text: &str) -> Option<Self> {
        if key.algorithm() != Algorithm::Cosignature || !line.is_of(key) {
            return None;
        }
        let (time, signature) = line.signature.split_first_chunk::<8>()?;
        let unix_seconds = u64::from_be_bytes(*time);
        let is_true = key.verifies(message(unix_seconds, checkpoint_text).as_bytes(), signature);
        is_true.then(|| Self { witness: key.clone(), unix_seconds, signature: signature.to_vec() })
    }

    /// The line of the note.
    pub fn line(&self) -> SignatureLine {
        let signature =
            self.unix_seconds.to_be_bytes().into_iter().chain(self.signature.iter().copied()).collect();
        SignatureLine { name: self.witness.name().to_owned(), key_id: self.witness.id(), signature }
    }
}

fn message(unix_seconds: u64, checkpoint_text: &str) -> String {
    format!("cosignature/v1\ntime {unix_seconds}\n{checkpoint_text}")
}
