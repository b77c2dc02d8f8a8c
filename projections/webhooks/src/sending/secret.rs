//! The shared secret of a subscription.
//!
//! Standard Webhooks 1.0.0: 24 to 64 random bytes, written as `whsec_` and standard base64 with padding.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

const PREFIX: &str = "whsec_";
const MIN_BYTES: usize = 24;
const MAX_BYTES: usize = 64;

/// A signing secret. It shows itself only where [`WebhookSecret::reveal`] or
/// [`WebhookSecret::reveal_bytes`] is called, and is wiped when dropped.
#[derive(Clone)]
pub struct WebhookSecret(Zeroizing<Vec<u8>>);

/// Why a text or a byte string is not a secret. Never carries the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("a webhook secret starts with whsec_")]
    MissingPrefix,
    #[error("a webhook secret is standard base64 with padding after whsec_")]
    InvalidBase64,
    #[error("a webhook secret has 24 to 64 bytes, this one has {bytes}")]
    WrongLength { bytes: usize },
}

impl WebhookSecret {
    /// Reads `whsec_…`.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(SecretError::MissingPrefix)?;
        let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| SecretError::InvalidBase64)?);
        Self::checked(bytes)
    }

    /// Takes the raw key, as it was sealed in storage.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, SecretError> {
        Self::checked(Zeroizing::new(bytes))
    }

    /// A new secret from 32 bytes that the caller drew from a cryptographic generator.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// The text for the partner, shown once when it is created or rotated.
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + MAX_BYTES.div_ceil(3) * 4));
        text.push_str(PREFIX);
        STANDARD.encode_string(&*self.0, &mut text);
        text
    }

    /// The raw key, to be signed with or sealed.
    pub fn reveal_bytes(&self) -> &[u8] {
        &self.0
    }

    fn checked(bytes: Zeroizing<Vec<u8>>) -> Result<Self, SecretError> {
        match bytes.len() {
            MIN_BYTES..=MAX_BYTES => Ok(Self(bytes)),
            other => Err(SecretError::WrongLength { bytes: other }),
        }
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(redacted)")
    }
}

#[cfg(test)]
mod tests;
