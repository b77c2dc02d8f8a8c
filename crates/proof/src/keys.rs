//! Keys of signed notes (C2SP signed-note): a name, an algorithm, and four bytes that tell keys of one name apart.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sha2::{Digest, Sha256};

const ED25519_BYTES: usize = 32;

/// What a key signs, by the byte that stands for it in keys and their ids. Others are left alone, as the
/// specification demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// The note's text, with Ed25519.
    Ed25519,
    /// A checkpoint and the time at which a witness saw it, with Ed25519.
    Cosignature,
}

impl Algorithm {
    pub(super) const fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::Cosignature => 0x04,
        }
    }
}

/// Why a text is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not `name+id+key`.
    #[error("not a verifier key: expected `<name>+<id>+<key>`")]
    Form,
    /// A name is empty, or holds a space or a plus sign.
    #[error("a key's name must not be empty or hold spaces or plus signs")]
    Name,
    /// The id is that of another key.
    #[error("the verifier key's id is not that of its key")]
    Id,
    /// Neither Ed25519 nor an Ed25519 cosignature.
    #[error("the verifier key is of an algorithm that is not known here")]
    Algorithm,
}

/// A public key with its name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifierKey {
    name: String,
    algorithm: Algorithm,
    public: [u8; ED25519_BYTES],
}

impl VerifierKey {
    /// A key by its parts.
    ///
    /// # Errors
    /// When the name cannot be one.
    pub fn new(name: &str, algorithm: Algorithm, public: [u8; ED25519_BYTES]) -> Result<Self, KeyError> {
        check_name(name)?;
        Ok(Self { name: name.to_owned(), algorithm, public })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The first four bytes of SHA-256 over name, line feed, algorithm and key.
    pub fn id(&self) -> [u8; 4] {
        let digest = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', self.algorithm.byte()])
            .chain_update(self.public)
            .finalize();
        let mut id = [0; 4];
        id.iter_mut().zip(digest).for_each(|(place, byte)| *place = byte);
        id
    }

    /// Whether `signature` is this key's over `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.public).verify(message, signature).is_ok()
    }
}

/// Names stand on lines whose parts are separated by spaces, and in keys whose parts are separated by plus signs.
pub(super) fn check_name(name: &str) -> Result<(), KeyError> {
    let is_bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    if name.is_empty() || name.contains(is_bad) { Err(KeyError::Name) } else { Ok(()) }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Form);
        };
        let key = STANDARD.decode(key).map_err(|_| KeyError::Form)?;
        let (algorithm, public) = key.split_first().ok_or(KeyError::Form)?;
        let algorithm = match algorithm {
            0x01 => Algorithm::Ed25519,
            0x04 => Algorithm::Cosignature,
            _ => return Err(KeyError::Algorithm),
        };
        let public = public.try_into().map_err(|_| KeyError::Form)?;
        let key = Self::new(name, algorithm, public)?;
        if hexadecimal(key.id()) == id { Ok(key) } else { Err(KeyError::Id) }
    }
}

fn hexadecimal(id: [u8; 4]) -> String {
    format!("{:08x}", u32::from_be_bytes(id))
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key: Vec<u8> = std::iter::once(self.algorithm.byte()).chain(self.public).collect();
        write!(f, "{}+{}+{}", self.name, hexadecimal(self.id()), STANDARD.encode(key))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key that signs. One may sign under several names: the name of a log stands in the text that is signed.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// The key of a secret seed (RFC 8032).
    pub fn from_seed(seed: &[u8; ED25519_BYTES]) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(seed).expect("every 32 bytes are a seed"))
    }

    /// The public half under a name.
    ///
    /// # Errors
    /// When the name cannot be one.
    pub fn verifier(&self, name: &str, algorithm: Algorithm) -> Result<VerifierKey, KeyError> {
        VerifierKey::new(name, algorithm, self.public())
    }

    /// The public half.
    pub fn public(&self) -> [u8; ED25519_BYTES] {
        self.0.public_key().as_ref().try_into().expect("an Ed25519 key has 32 bytes")
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}
