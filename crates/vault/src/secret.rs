//! 256 bits that nobody may see.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{VaultError, random};

/// Length of every key, in bytes.
pub(crate) const SECRET_BYTES: usize = 32;

/// A key's bytes: overwritten when dropped, and without `Debug`, so that they cannot be printed.
pub(crate) struct Secret(Zeroizing<[u8; SECRET_BYTES]>);

impl Secret {
    pub(crate) fn random() -> Result<Self, VaultError> {
        let mut secret = Self::zero();
        random::fill(secret.0.as_mut())?;
        Ok(secret)
    }

    /// Takes exactly [`SECRET_BYTES`] bytes.
    pub(crate) fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut secret = Self::zero();
        if bytes.len() != SECRET_BYTES {
            return None;
        }
        secret.0.copy_from_slice(bytes);
        Some(secret)
    }

    pub(crate) fn bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }

    /// HMAC-SHA256 over the parts, one after the other.
    pub(crate) fn hmac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.bytes()).expect("HMAC takes keys of any length");
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    fn zero() -> Self {
        Self(Zeroizing::new([0; SECRET_BYTES]))
    }
}
