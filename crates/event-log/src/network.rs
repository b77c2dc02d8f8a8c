//! Where a request came from. It is sealed with the first event of the request's command, under the organization's own key
//! of class *network*, and belongs to the request: its place is the request's id.

use std::fmt;
use std::net::IpAddr;

use carelog_domain::{
    DataClass, EventId, EventType, KeyScope, OrganizationId, RequestId, Sealed, StreamKind,
};
use carelog_vault::{DataKey, KeyState, SealContext, VaultError};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::log::EventLog;
use crate::recorded::RecordedEvent;

/// What is sealed of it, as JSON.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The client's address, as it came.
    pub address: IpAddr,
    /// What the client says it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The session of the console that it is part of. The id is random and says nothing about anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<Uuid>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}

impl Network {
    /// The key that seals it.
    pub const fn scope(organization_id: OrganizationId) -> KeyScope {
        KeyScope { organization_id, subject: None, class: DataClass::Network }
    }
}

impl EventLog {
    /// Seals where a request came from, for [`Scope::network`](crate::Scope::network). Nothing comes back once the
    /// organization can have no key of that class any more.
    ///
    /// # Errors
    /// When the vault cannot be reached.
    pub async fn seal_network(
        &self,
        organization_id: OrganizationId,
        request_id: RequestId,
        network: &Network,
    ) -> Result<Option<Sealed>, VaultError> {
        let plaintext = serde_json::to_vec(network).expect("an address and a text can be written as JSON");
        let scope = Network::scope(organization_id);
        match self.vault().data_key(&scope).await? {
            KeyState::Destroyed => Ok(None),
            KeyState::Live(key) => key.seal(&context(scope, request_id), &plaintext).map(Some),
        }
    }
}

impl RecordedEvent {
    /// Where the request came from that led to the event; nothing where the event has no such part, or the part tells of no
    /// address.
    ///
    /// # Errors
    /// When it was sealed with another key or for another request, or was altered.
    pub fn open_network(&self, key: &DataKey) -> Result<Option<Network>, VaultError> {
        let Some((sealed, request_id)) = self.network.as_ref().zip(self.circumstances.request_id) else {
            return Ok(None);
        };
        let scope = Network::scope(self.stream.organization_id);
        let plaintext = key.open(&context(scope, request_id), sealed)?;
        Ok(serde_json::from_slice(&plaintext).ok())
    }
}

const fn context(scope: KeyScope, request_id: RequestId) -> SealContext {
    SealContext {
        scope,
        stream_kind: StreamKind::Access,
        stream_id: request_id.uuid(),
        version: 0,
        event_id: EventId::new(request_id.uuid()),
        event_type: EventType::AccessRecordViewed,
        schema_version: 0,
    }
}
