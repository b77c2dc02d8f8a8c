//! Entries by the network address that the request came from, which stands nowhere in the trail, and by the session of the
//! console that it was part of.
//!
//! The log keeps both sealed under the organization's key of class *network*. The trail keeps a keyed hash of
//! each address under the same key: whoever has the trail alone learns no address from it, and once the key is destroyed nobody can ask by one
//! any more, as nobody can open what the log keeps. Entries from before stay, with a hash that leads nowhere; a rebuild
//! makes them without. A session's id is random and says nothing about anybody, so it stands there as it is.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use carelog_domain::{KeyId, OrganizationId};
use carelog_event_log::{Network, RecordedEvent};
use carelog_vault::{DataKey, KeyState, Vault, VaultError};
use uuid::Uuid;

/// Of the blind index.
const PURPOSE: &str = "trail.address";
const BYTES: usize = 16;

/// What stands for an address: the first 16 bytes of its blind index under the organization's key of class *network*. The
/// value that is indexed is the address as text (RFC 5952), an IPv4 address also where it came as an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressIndex([u8; BYTES]);

impl AddressIndex {
    /// What no address has, but for one in 2¹²⁸.
    const OF_NONE: Self = Self([0; BYTES]);

    fn of(key: &DataKey, address: IpAddr) -> Self {
        let index = key.blind_index(PURPOSE, address.to_canonical().to_string().as_bytes());
        Self(*index.first_chunk().expect("SHA-256 gives 32 bytes"))
    }

    /// By which entries are found whose requests came from an address, with the key of now.
    ///
    /// # Errors
    /// When the keys cannot be reached.
    pub async fn find(
        vault: &Vault,
        organization_id: OrganizationId,
        address: IpAddr,
    ) -> Result<Self, VaultError> {
        Ok(match vault.data_key(&Network::scope(organization_id)).await? {
            KeyState::Live(key) => Self::of(&key, address),
            KeyState::Destroyed => Self::OF_NONE,
        })
    }

    /// What stands in a column; nothing where that is none.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// As it stands in the column.
    pub const fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Where an event was asked for from, as the trail tells it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AskedFrom {
    pub(crate) address: AddressIndex,
    pub(crate) session_id: Option<Uuid>,
}

/// Where the events of a page were asked for from, one by one, for one question to the vault at most. Nothing where that is
/// not known, where its key was destroyed, or where it does not open: that is told, and no reason to keep the entry back.
///
/// # Errors
/// When the vault does not answer.
pub(crate) async fn of_page(
    vault: &Vault,
    page: &[Arc<RecordedEvent>],
) -> Result<Vec<Option<AskedFrom>>, VaultError> {
    let key_ids = page.iter().filter_map(|event| Some(event.network.as_ref()?.key_id));
    let keys = keys(vault, key_ids.collect()).await?;
    let asked_from = |event: &Arc<RecordedEvent>| {
        let key = keys.get(&event.network.as_ref()?.key_id)?;
        match event.open_network(key) {
            Ok(network) => network.map(|Network { address, session_id, .. }| AskedFrom {
                address: AddressIndex::of(key, address),
                session_id,
            }),
            Err(error) => {
                tracing::error!(event.position = event.position, lane = event.lane, %error, "where a request came from does not open");
                None
            }
        }
    };
    Ok(page.iter().map(asked_from).collect())
}

/// The keys that live, of those that are named.
async fn keys(vault: &Vault, key_ids: BTreeSet<KeyId>) -> Result<HashMap<KeyId, DataKey>, VaultError> {
    let key_ids: Vec<KeyId> = key_ids.into_iter().collect();
    let states = match vault.keys(&key_ids).await {
        Err(error) if !error.is_transient() => one_by_one(vault, &key_ids).await?,
        answered => answered?,
    };
    let live = key_ids.into_iter().zip(states).filter_map(|(id, state)| Some((id, state.live()?.clone())));
    Ok(live.collect())
}

/// The same where one of the keys cannot be had, for the sake of the others.
async fn one_by_one(vault: &Vault, key_ids: &[KeyId]) -> Result<Vec<KeyState>, VaultError> {
    let mut states = Vec::with_capacity(key_ids.len());
    for key_id in key_ids {
        states.push(match vault.key(*key_id).await {
            Err(error) if !error.is_transient() => {
                tracing::error!(key.id = %key_id, %error, "a key of class network cannot be had");
                KeyState::Destroyed
            }
            answered => answered?,
        });
    }
    Ok(states)
}
