//! Signed notes (C2SP signed-note): a text, an empty line, and signature lines.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::keys::{Algorithm, KeyError, SigningKey, VerifierKey, check_name};

/// Em dash and space, before each signature.
const DASH: &str = "\u{2014} ";
/// Longest note that is looked at.
const MAX_BYTES: usize = 1 << 20;
/// Most signatures that are looked at; the specification asks for sixteen at least.
const MAX_SIGNATURES: usize = 100;

/// One line of a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureLine {
    /// The key's name.
    pub name: String,
    /// The key's id.
    pub key_id: [u8; 4],
    /// What follows the id.
    pub signature: Vec<u8>,
}

/// A text with signatures. That it parses says nothing about whether they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<SignatureLine>,
}

/// Why a note is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not a text, an empty line, and signatures, each ended by a line feed.
    #[error("not a signed note")]
    Form,
    /// A carriage return or another control character.
    #[error("a signed note holds no control character but line feeds")]
    Control,
    /// A line after the text that is no signature.
    #[error("line {0} after the note's text is no signature")]
    Signature(usize),
    /// Longer than any real one.
    #[error("the note is longer, or has more signatures, than is looked at")]
    TooLong,
    /// None of the keys that are trusted has signed.
    #[error("no known key has signed the note")]
    UnknownKeys,
    /// A key that is trusted has not made the signature that bears its name and id.
    #[error("the signature of {0} is false")]
    FalseSignature(String),
}

impl SignatureLine {
    /// Takes a line apart, without its line feed. Nothing where it is none.
    pub fn parse(line: &str) -> Option<Self> {
        let (name, base64) = line.strip_prefix(DASH)?.split_once(' ')?;
        check_name(name).ok()?;
        let blob = STANDARD.decode(base64).ok()?;
        let (key_id, signature) = blob.split_first_chunk::<4>()?;
        if signature.is_empty() {
            return None;
        }
        Some(Self { name: name.to_owned(), key_id: *key_id, signature: signature.to_vec() })
    }

    /// Whether it claims to be of this key.
    pub fn is_of(&self, key: &VerifierKey) -> bool {
        self.key_id == key.id() && self.name == key.name()
    }
}

impl fmt::Display for SignatureLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blob: Vec<u8> = self.key_id.iter().chain(&self.signature).copied().collect();
        writeln!(f, "{DASH}{} {}", self.name, STANDARD.encode(blob))
    }
}

impl Note {
    /// A text that nobody has signed yet.
    ///
    /// # Errors
    /// When the text does not end with a line feed, or holds other control characters.
    pub fn unsigned(text: String) -> Result<Self, NoteError> {
        if text.len() > MAX_BYTES {
            return Err(NoteError::TooLong);
        }
        if text.contains(is_refused) {
            return Err(NoteError::Control);
        }
        if !text.ends_with('\n') {
            return Err(NoteError::Form);
        }
        Ok(Self { text, signatures: Vec::new() })
    }

    /// Takes a note apart. The signatures follow the last empty line.
    ///
    /// # Errors
    /// See [`NoteError`].
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        let split = note.rfind("\n\n").ok_or(NoteError::Form)?;
        let (text, rest) = note.split_at(split + 1);
        let signatures = rest.get(1..).unwrap_or_default();
        let unsigned = Self::unsigned(text.to_owned())?;
        if signatures.contains(is_refused) {
            return Err(NoteError::Control);
        }
        let lines = signatures.strip_suffix('\n').ok_or(NoteError::Form)?;
        if lines.split('\n').count() > MAX_SIGNATURES || note.len() > MAX_BYTES {
            return Err(NoteError::TooLong);
        }
        let signatures = (1..)
            .zip(lines.split('\n'))
            .map(|(number, line)| SignatureLine::parse(line).ok_or(NoteError::Signature(number)))
            .collect::<Result<_, _>>()?;
        Ok(Self { signatures, ..unsigned })
    }

    /// The text, with its last line feed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, whether they hold or not.
    pub fn signatures(&self) -> &[SignatureLine] {
        &self.signatures
    }

    /// Signs the text under a name.
    ///
    /// # Errors
    /// When the name cannot be one.
    pub fn sign(&mut self, key: &SigningKey, name: &str) -> Result<(), KeyError> {
        let verifier = key.verifier(name, Algorithm::Ed25519)?;
        let signature = key.sign(self.text.as_bytes());
        self.add(SignatureLine { name: name.to_owned(), key_id: verifier.id(), signature });
        Ok(())
    }

    pub(super) fn signed_by(&self, keys: &[VerifierKey]) -> Self {
        let lines = self.signatures.iter().filter(|line| keys.iter().any(|key| line.is_of(key)));
        Self { text: self.text.clone(), signatures: lines.cloned().collect() }
    }

    /// Adds a signature that was made somewhere else.
    pub fn add(&mut self, line: SignatureLine) {
        self.signatures.push(line);
    }

    /// Checks the signatures of the keys that are trusted, and gives those that have signed. Signatures of others
    /// are left alone; one false signature of a trusted key refuses the whole note.
    ///
    /// # Errors
    /// When none of the keys has signed, or a signature of theirs is false.
    pub fn verify<'k>(&self, trusted: &'k [VerifierKey]) -> Result<Vec<&'k VerifierKey>, NoteError> {
        let mut signers = Vec::new();
        for line in &self.signatures {
            let own = |key: &&VerifierKey| key.algorithm() == Algorithm::Ed25519 && line.is_of(key);
            for key in trusted.iter().filter(own) {
                if !key.verifies(self.text.as_bytes(), &line.signature) {
                    return Err(NoteError::FalseSignature(key.name().to_owned()));
                }
                if !signers.contains(&key) {
                    signers.push(key);
                }
            }
        }
        if signers.is_empty() { Err(NoteError::UnknownKeys) } else { Ok(signers) }
    }
}

fn is_refused(c: char) -> bool {
    c < ' ' && c != '\n'
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| fmt::Display::fmt(line, f))
    }
}
