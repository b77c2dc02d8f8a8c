//! A data key in memory.

use std::fmt;
use std::sync::Arc;

use aes_gcm::Aes256Gcm;
use carelog_domain::{KeyId, KeyScope, Sealed};

use crate::aead::{self, NONCE_BYTES, Refusal};
use crate::context::SealContext;
use crate::secret::Secret;
use crate::{VaultError, random};

/// HMAC-SHA256 that says which key a key id meant, without telling the key.
pub type KeyCommit = [u8; 32];

/// What became of a key.
#[derive(Clone, Debug)]
pub enum KeyState {
    /// It can seal and open.
    Live(DataKey),
    /// It was destroyed: what it sealed is gone, and its scope gets no other.
    Destroyed,
}

impl KeyState {
    /// The key, while it lives.
    pub const fn live(&self) -> Option<&DataKey> {
        match self {
            Self::Live(key) => Some(key),
            Self::Destroyed => None,
        }
    }
}

/// A key that seals the personal parts of one scope. Cloning is cheap; the bytes are shared, and overwritten when
/// the last clone is dropped.
#[derive(Clone)]
pub struct DataKey(Arc<Inner>);

struct Inner {
    id: KeyId,
    scope: KeyScope,
    secret: Secret,
    cipher: Aes256Gcm,
    commit: KeyCommit,
}

impl DataKey {
    pub(crate) fn new(id: KeyId, scope: KeyScope, secret: Secret) -> Self {
        let cipher = aead::cipher(&secret);
        let commit = secret.hmac(&[b"commit", id.uuid().as_bytes()]);
        Self(Arc::new(Inner { id, scope, secret, cipher, commit }))
    }

    /// The key's name.
    pub fn id(&self) -> KeyId {
        self.0.id
    }

    /// What the key is for.
    pub fn scope(&self) -> &KeyScope {
        &self.0.scope
    }

    /// The commitment that goes into the leaf of each event sealed with this key.
    pub fn commit(&self) -> &KeyCommit {
        &self.0.commit
    }

    /// Encrypts a personal part for one event.
    ///
    /// # Errors
    /// When the key is of another scope than the event's, or the system gives no random bytes.
    pub fn seal(&self, context: &SealContext, plaintext: &[u8]) -> Result<Sealed, VaultError> {
        self.seal_with(random::bytes()?, context, plaintext)
    }

    pub(crate) fn seal_with(
        &self,
        nonce: [u8; NONCE_BYTES],
        context: &SealContext,
        plaintext: &[u8],
    ) -> Result<Sealed, VaultError> {
        self.check_scope(context)?;
        let bytes = aead::encrypt(&self.0.cipher, nonce, &context.place(self.id()), plaintext)
            .ok_or(VaultError::TooLong { byte_count: plaintext.len() })?;
        Ok(Sealed { key_id: self.id(), bytes: bytes.into() })
    }

    /// Decrypts what was sealed for this event with this key.
    ///
    /// # Errors
    /// When it was sealed with another key or for another place, or was altered.
    pub fn open(&self, context: &SealContext, sealed: &Sealed) -> Result<Vec<u8>, VaultError> {
        self.check_scope(context)?;
        if sealed.key_id != self.id() {
            return Err(VaultError::OtherKey { key_id: self.id(), sealed_with: sealed.key_id });
        }
        let event_id = context.event_id;
        aead::decrypt(&self.0.cipher, &context.place(self.id()), &sealed.bytes).map_err(|refusal| {
            match refusal {
                Refusal::Format => VaultError::SealedFormat { event_id },
                Refusal::Authentication => VaultError::SealedAuthentication { event_id },
            }
        })
    }

    /// A value's blind index under this key: as [`Vault::blind_index`](crate::Vault::blind_index), for a column whose
    /// values are sealed under the key that they are looked up by, so that they can be found as long as they can be read.
    pub fn blind_index(&self, purpose: &str, value: &[u8]) -> [u8; 32] {
        let index_key = zeroize::Zeroizing::new(self.0.secret.hmac(&[b"carelog-index-v1"]));
        let index_key = Secret::from_slice(index_key.as_slice()).expect("SHA-256 gives 32 bytes");
        index_key.hmac(&[&aead::fields(&[purpose.as_bytes(), value])])
    }

    /// A secret that follows from this key.
    pub(crate) fn derived_secret(&self, purpose: &str) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.0.secret.hmac(&[b"carelog-derived-v1", purpose.as_bytes()]))
    }

    fn check_scope(&self, context: &SealContext) -> Result<(), VaultError> {
        if self.0.scope == context.scope {
            return Ok(());
        }
        Err(VaultError::OtherScope { key_id: self.id(), event_id: context.event_id })
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey({})", self.id())
    }
}
