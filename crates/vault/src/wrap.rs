//! Keys that encrypt other keys.

use aes_gcm::Aes256Gcm;
use carelog_domain::{KeyId, KeyScope, OrganizationId};
use zeroize::Zeroizing;

use crate::aead::{self, NONCE_BYTES};
use crate::secret::Secret;
use crate::{VaultError, random};

const LABEL: &[u8] = b"carelog-wrap-v1";

/// The root key or an organization's key.
pub(crate) struct WrappingKey(Aes256Gcm);

impl WrappingKey {
    pub(crate) fn new(secret: &Secret) -> Self {
        Self(aead::cipher(secret))
    }

    pub(crate) fn wrap(&self, additional: &[u8], secret: &Secret) -> Result<Vec<u8>, VaultError> {
        Ok(self.wrap_with(random::bytes()?, additional, secret))
    }

    pub(crate) fn wrap_with(&self, nonce: [u8; NONCE_BYTES], additional: &[u8], secret: &Secret) -> Vec<u8> {
        aead::encrypt(&self.0, nonce, additional, secret.bytes()).expect("32 bytes are below the limit")
    }

    /// Nothing when the key, the place or the bytes are not the right ones.
    pub(crate) fn unwrap(&self, additional: &[u8], wrapped: &[u8]) -> Option<Secret> {
        let bytes = Zeroizing::new(aead::decrypt(&self.0, additional, wrapped).ok()?);
        Secret::from_slice(&bytes)
    }
}

/// What a wrapped organization key is bound to.
pub(crate) fn organization_place(organization_id: OrganizationId, epoch: u32) -> Vec<u8> {
    let organization = organization_id.uuid();
    aead::fields(&[LABEL, organization.as_bytes(), &[], b"organization", &epoch.to_be_bytes()])
}

/// What a wrapped key of pseudonyms is bound to.
pub(crate) fn pseudonym_place(organization_id: OrganizationId, epoch: u32) -> Vec<u8> {
    let organization = organization_id.uuid();
    aead::fields(&[LABEL, organization.as_bytes(), &[], b"pseudonym", &epoch.to_be_bytes()])
}

/// What a wrapped data key is bound to.
pub(crate) fn data_key_place(scope: &KeyScope, key_id: KeyId) -> Vec<u8> {
    let organization = scope.organization_id.uuid();
    let subject = scope.subject.map(carelog_domain::PatientId::uuid);
    aead::fields(&[
        LABEL,
        organization.as_bytes(),
        aead::optional(subject.as_ref()),
        scope.class.as_str().as_bytes(),
        key_id.uuid().as_bytes(),
    ])
}
