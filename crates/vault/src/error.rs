//! What can go wrong in the vault.

use carelog_domain::{EventId, KeyId, KeyScope, OrganizationId};

/// Why a key cannot be had, or a value not sealed or opened. A destroyed key is no error but a
/// [`KeyState`](crate::KeyState).
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The vault's database did not answer, or refused.
    #[error("vault database failed")]
    Database(#[from] sqlx::Error),
    /// A key was destroyed while it was being made; asking again gives the new state.
    #[error("{} key of organization {} vanished while it was being made", .0.class, .0.organization_id)]
    Vanished(KeyScope),
    /// The operating system gave no random bytes.
    #[error("no random bytes: {0}")]
    Random(getrandom::Error),
    /// The vault has never had a key of this name.
    #[error("unknown key {0}")]
    UnknownKey(KeyId),
    /// The organization's key was destroyed, and with it its blind indexes.
    #[error("the identity key of organization {0} was destroyed")]
    IndexKeyDestroyed(OrganizationId),
    /// The organization's key was destroyed, and with it what is derived from it.
    #[error("the credential key of organization {0} was destroyed")]
    DerivingKeyDestroyed(OrganizationId),
    /// A stored value is not what the vault writes.
    #[error("vault.data_keys.{column} of key {key_id} does not parse")]
    Stored {
        /// The column.
        column: &'static str,
        /// The row.
        key_id: KeyId,
    },
    /// The row was altered, or moved, or belongs to another organization key.
    #[error("vault.data_keys.wrapped of key {0} does not open")]
    DataKeyUnwrap(KeyId),
    /// The row was altered, or moved, or belongs to another root key.
    #[error("vault.organization_keys.wrapped of organization {organization_id} epoch {epoch} does not open")]
    OrganizationKeyUnwrap {
        /// The organization.
        organization_id: OrganizationId,
        /// The epoch.
        epoch: i32,
    },
    /// There never was such an epoch, its key was destroyed, or it belongs to another root key.
    #[error("organization {organization_id} has no pseudonym key of epoch {epoch} that opens")]
    NoPseudonymKey {
        /// The organization.
        organization_id: OrganizationId,
        /// The epoch.
        epoch: i32,
    },
    /// New facts are written under the newest epoch.
    #[error("epoch {epoch} of organization {organization_id} is its newest, which cannot be destroyed")]
    NewestPseudonymKey {
        /// The organization.
        organization_id: OrganizationId,
        /// The epoch.
        epoch: i32,
    },
    /// The key in the vault is not the one that its commitment stands for.
    #[error("vault.data_keys.key_commit of key {0} does not match the key")]
    Commitment(KeyId),
    /// The key belongs to another organization, patient or class than the event.
    #[error("key {key_id} is not of the scope of event {event_id}")]
    OtherScope {
        /// The key.
        key_id: KeyId,
        /// The event.
        event_id: EventId,
    },
    /// The value was sealed with a different key.
    #[error("sealed with key {sealed_with}, not with {key_id}")]
    OtherKey {
        /// The key that was to open it.
        key_id: KeyId,
        /// The key that it names.
        sealed_with: KeyId,
    },
    /// The sealed bytes are cut off, or of a version that this program does not know.
    #[error("sealed part of event {event_id} has an unknown format")]
    SealedFormat {
        /// The event.
        event_id: EventId,
    },
    /// The sealed bytes were altered or stand in a place that they were not sealed for.
    #[error("sealed part of event {event_id} does not open")]
    SealedAuthentication {
        /// The event.
        event_id: EventId,
    },
    /// More than the cipher takes.
    #[error("{byte_count} bytes are too many to seal")]
    TooLong {
        /// The length of the plaintext.
        byte_count: usize,
    },
}

impl VaultError {
    /// Whether trying again may help; everything else needs a person.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Database(_) | Self::Vanished(_) | Self::Random(_))
    }
}
