//! The one place of this crate where random values come from: the operating system.

use carelog_domain::KeyId;
use uuid::Uuid;

use crate::VaultError;

/// Fills an array with random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], VaultError> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// Fills a place that already exists, so that no copy of a secret stays behind.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), VaultError> {
    getrandom::fill(bytes).map_err(VaultError::Random)
}

/// A name for a new data key.
#[expect(clippy::disallowed_methods, reason = "the vault names its own keys; this is its one place for ids")]
pub(crate) fn key_id() -> KeyId {
    KeyId::new(Uuid::now_v7())
}
