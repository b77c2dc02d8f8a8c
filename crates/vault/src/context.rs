//! Where a sealed value stands.

use carelog_domain::{EventId, EventType, KeyId, KeyScope, PatientId, StreamKind};
use uuid::Uuid;

use crate::aead;

const LABEL: &[u8] = b"carelog-seal-v1";

/// The event that a sealed value belongs to. It opens under exactly the context that it was sealed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealContext {
    /// The organization of the event, the patient whose key seals it, if any, and the class.
    pub scope: KeyScope,
    /// The kind of the stream.
    pub stream_kind: StreamKind,
    /// The stream.
    pub stream_id: Uuid,
    /// The event's place in its stream, from 1.
    pub version: u64,
    /// The event.
    pub event_id: EventId,
    /// The type of the event.
    pub event_type: EventType,
    /// The schema version that the event was written in, not the newest one.
    pub schema_version: u16,
}

impl SealContext {
    /// The additional data that authenticates the place.
    pub(crate) fn place(&self, key_id: KeyId) -> Vec<u8> {
        let organization = self.scope.organization_id.uuid();
        let subject = self.scope.subject.map(PatientId::uuid);
        aead::fields(&[
            LABEL,
            organization.as_bytes(),
            aead::optional(subject.as_ref()),
            self.scope.class.as_str().as_bytes(),
            self.stream_kind.as_str().as_bytes(),
            self.stream_id.as_bytes(),
            &self.version.to_be_bytes(),
            self.event_id.uuid().as_bytes(),
            self.event_type.as_str().as_bytes(),
            &self.schema_version.to_be_bytes(),
            key_id.uuid().as_bytes(),
        ])
    }
}
