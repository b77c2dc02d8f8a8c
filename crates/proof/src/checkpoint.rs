//! Checkpoints (C2SP tlog-checkpoint): origin, size and root of a tree as the text of a signed note.

use std::fmt;
use std::str::FromStr;

use super::cosignature::Cosignature;
use super::hash::Hash;
use super::keys::{KeyError, SigningKey, VerifierKey, check_name};
use super::note::{Note, NoteError};
use super::tiles::decimal;

/// What a log says about its tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, as a URL without its scheme.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// The root of the tree of these leaves.
    pub root: Hash,
}

/// Why a checkpoint is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Its note is.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Its text is not origin, size and root.
    #[error("not a checkpoint: expected origin, size and root, a line each")]
    Form,
    /// It is another log's.
    #[error("the checkpoint is of {found}, not of {expected}")]
    Origin {
        /// The log that was asked for.
        expected: String,
        /// The log that it names.
        found: String,
    },
    /// A witness's cosignature is false.
    #[error("the cosignature of {0} is false")]
    FalseCosignature(String),
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.size, self.root.to_base64())
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    /// Further lines are extensions, which are covered by the signature and ignored here.
    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.strip_suffix('\n').ok_or(CheckpointError::Form)?.split('\n');
        let origin = lines.next().filter(|origin| check_name(origin).is_ok());
        let size = lines.next().and_then(decimal);
        let root = lines.next().and_then(Hash::from_base64);
        let has_empty_line = lines.any(str::is_empty);
        match (origin, size, root) {
            (Some(origin), Some(size), Some(root)) if !has_empty_line => {
                Ok(Self { origin: origin.to_owned(), size, root })
            }
            _ => Err(CheckpointError::Form),
        }
    }
}

impl Checkpoint {
    /// Signs the checkpoint with the log's key, under the log's name.
    ///
    /// # Errors
    /// When the origin cannot be a key's name.
    pub fn sign(&self, key: &SigningKey) -> Result<SignedCheckpoint, KeyError> {
        let mut note = Note::unsigned(self.to_string()).map_err(|_| KeyError::Name)?;
        note.sign(key, &self.origin)?;
        Ok(SignedCheckpoint { checkpoint: self.clone(), note })
    }
}

/// A checkpoint with its signatures. That it parses says nothing about whether they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: Note,
}

impl SignedCheckpoint {
    /// Takes a signed checkpoint apart.
    ///
    /// # Errors
    /// When it is no signed note, or its text no checkpoint.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let note = Note::parse(text)?;
        Ok(Self { checkpoint: note.text().parse()?, note })
    }

    /// What it says. Not to be believed before [`Self::verify`].
    pub const fn claim(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note.
    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// The same with no other signatures than those that bear one of these keys.
    #[must_use]
    pub fn signed_by(&self, keys: &[VerifierKey]) -> Self {
        Self { checkpoint: self.checkpoint.clone(), note: self.note.signed_by(keys) }
    }

    /// Adds a witness's cosignature, unchecked.
    pub fn add(&mut self, cosignature: &Cosignature) {
        self.note.add(cosignature.line());
    }

    /// What the log has signed, by one of its keys. The log's name is that of the key.
    ///
    /// # Errors
    /// When no key of the log has signed, a signature is false, or the origin is another one.
    pub fn verify(&self, log_keys: &[VerifierKey]) -> Result<&Checkpoint, CheckpointError> {
        let signers = self.note.verify(log_keys)?;
        match signers.iter().find(|key| key.name() == self.checkpoint.origin) {
            Some(_) => Ok(&self.checkpoint),
            None => Err(CheckpointError::Origin {
                expected: signers.first().map_or_else(String::new, |key| key.name().to_owned()),
                found: self.checkpoint.origin.clone(),
            }),
        }
    }

    /// The witnesses among `keys` that have cosigned, with the moments at which they did.
    ///
    /// # Errors
    /// When a cosignature that bears the name and id of one of the keys is false.
    pub fn cosignatures(&self, keys: &[VerifierKey]) -> Result<Vec<Cosignature>, CheckpointError> {
        let mut found = Vec::new();
        for line in self.note.signatures() {
            for key in keys.iter().filter(|key| line.is_of(key)) {
                let cosignature = Cosignature::verify(line, key, &self.checkpoint_text());
                let false_one = || CheckpointError::FalseCosignature(key.name().to_owned());
                found.push(cosignature.ok_or_else(false_one)?);
            }
        }
        Ok(found)
    }

    /// The text that is signed, with extension lines where it has some.
    pub fn checkpoint_text(&self) -> String {
        self.note.text().to_owned()
    }
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.note, f)
    }
}
