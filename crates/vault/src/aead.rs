//! AES-256-GCM in the one layout that the vault writes: version, nonce, ciphertext, tag.

use aes_gcm::{AeadInOut as _, Aes256Gcm, KeyInit as _};

use crate::secret::Secret;

/// The version that every box begins with.
pub(crate) const FORMAT: u8 = 1;
/// Length of a nonce. 96 random bits stay safe far below 2^32 boxes under one key.
pub(crate) const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const HEADER_BYTES: usize = 1 + NONCE_BYTES;

/// Why a box does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too short, or of a version that this program does not know.
    Format,
    /// Another key, another place, or altered bytes; which of them cannot be told.
    Authentication,
}

/// Computes the key schedule.
pub(crate) fn cipher(secret: &Secret) -> Aes256Gcm {
    Aes256Gcm::new(secret.bytes().into())
}

/// Fails only above the cipher's limit of 64 GiB.
pub(crate) fn encrypt(
    cipher: &Aes256Gcm,
    nonce: [u8; NONCE_BYTES],
    additional: &[u8],
    plaintext: &[u8],
) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + plaintext.len() + TAG_BYTES);
    bytes.push(FORMAT);
    bytes.extend_from_slice(&nonce);
    bytes.extend_from_slice(plaintext);
    let (_, body) = bytes.split_at_mut(HEADER_BYTES);
    let tag = cipher.encrypt_inout_detached(&nonce.into(), additional, body.into()).ok()?;
    bytes.extend_from_slice(&tag);
    Some(bytes)
}

pub(crate) fn decrypt(cipher: &Aes256Gcm, additional: &[u8], bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    let (&format, rest) = bytes.split_first().ok_or(Refusal::Format)?;
    if format != FORMAT {
        return Err(Refusal::Format);
    }
    let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(Refusal::Format)?;
    let (body, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(Refusal::Format)?;
    let mut plaintext = body.to_vec();
    cipher
        .decrypt_inout_detached(nonce.into(), additional, plaintext.as_mut_slice().into(), tag.into())
        .map_err(|_| Refusal::Authentication)?;
    Ok(plaintext)
}

/// Joins fields so that no two lists give the same bytes: each is led by its length as u32 big-endian.
pub(crate) fn fields(parts: &[&[u8]]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(parts.iter().map(|part| 4 + part.len()).sum());
    for part in parts {
        let length = u32::try_from(part.len()).expect("fields are ids, names and values of a request");
        joined.extend_from_slice(&length.to_be_bytes());
        joined.extend_from_slice(part);
    }
    joined
}

/// The bytes of an id, or none.
pub(crate) fn optional(id: Option<&uuid::Uuid>) -> &[u8] {
    id.map_or(&[], |id| id.as_bytes())
}
