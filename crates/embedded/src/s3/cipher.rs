//! Sealing of frames and manifests.

use aes_gcm::aead::{AeadInOut as _, KeyInit as _};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::error::StoreError;

/// Bytes of a frame before it is sealed.
pub(super) const FRAME_BYTES: usize = 64 << 10;
/// What sealing adds to each frame.
pub(super) const TAG_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;
const FORMAT: u8 = 1;

/// Seals the frames of one blob. Each blob has a key of its own, so that its frames may simply be numbered.
pub(super) struct FrameCipher(Aes256Gcm);

impl FrameCipher {
    pub(super) fn new(tenant_key: &[u8; 32], blob: &str) -> Self {
        Self(cipher(tenant_key, &[b"carelog-blob-v1", blob.as_bytes()]))
    }

    /// Seals in place; gives the tag.
    pub(super) fn seal(&self, number: u64, frame: &mut [u8]) -> Result<[u8; TAG_BYTES], StoreError> {
        let tag = self.0.encrypt_inout_detached(&nonce(number), b"", frame.into());
        Ok(tag.map_err(|_| StoreError::Damaged)?.into())
    }

    /// Opens a frame and its tag in place; gives the frame.
    pub(super) fn open<'a>(&self, number: u64, sealed: &'a mut [u8]) -> Result<&'a [u8], StoreError> {
        let (frame, tag) = sealed.split_last_chunk_mut::<TAG_BYTES>().ok_or(StoreError::Damaged)?;
        self.0
            .decrypt_inout_detached(&nonce(number), b"", (&mut *frame).into(), &Tag::from(*tag))
            .map_err(|_| StoreError::Damaged)?;
        Ok(frame)
    }
}

/// Seals a manifest for its place: bucket, kind, name and the line in the clear.
pub(super) fn seal_manifest(
    tenant_key: &[u8; 32],
    place: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|_| StoreError::Random)?;
    let mut body = plaintext.to_vec();
    let tag = cipher(tenant_key, &[b"carelog-manifest-v1"])
        .encrypt_inout_detached(&Nonce::from(nonce), place, body.as_mut_slice().into())
        .map_err(|_| StoreError::Damaged)?;
    let mut sealed = vec![FORMAT];
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&body);
    sealed.extend_from_slice(&tag);
    Ok(sealed)
}

pub(super) fn open_manifest(
    tenant_key: &[u8; 32],
    place: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let rest = sealed.strip_prefix(&[FORMAT]).ok_or(StoreError::Damaged)?;
    let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(StoreError::Damaged)?;
    let (body, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(StoreError::Damaged)?;
    let mut plaintext = body.to_vec();
    cipher(tenant_key, &[b"carelog-manifest-v1"])
        .decrypt_inout_detached(
            &Nonce::from(*nonce),
            place,
            plaintext.as_mut_slice().into(),
            &Tag::from(*tag),
        )
        .map_err(|_| StoreError::Damaged)?;
    Ok(plaintext)
}

fn nonce(number: u64) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut bytes = [0; NONCE_BYTES];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::from(bytes)
}

fn cipher(tenant_key: &[u8; 32], label: &[&[u8]]) -> Aes256Gcm {
    let mut mac =
        <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(tenant_key).expect("HMAC takes keys of any length");
    for part in label {
        mac.update(part);
    }
    let key = Zeroizing::new(<[u8; 32]>::from(mac.finalize().into_bytes()));
    Aes256Gcm::new((&*key).into())
}
