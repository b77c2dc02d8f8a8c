//! An event as it lies in the log.

use std::sync::Arc;

use carelog_domain::upcast::{UPCASTERS, upcast};
use carelog_domain::{
    Actor, Circumstances, EventId, EventType, OrganizationId, PatientId, PersonalPart, Sealed, StreamKind,
    Timestamp,
};
use uuid::Uuid;

/// A totally ordered part of the log; every organization belongs to one.
pub type Lane = i16;

/// A gapless place in a lane, from 1; 0 stands before the first event.
pub type Position = i64;

/// Where a command's events came to stand. A reader that holds it can wait for its own write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogPosition {
    /// The lane.
    pub lane: Lane,
    /// The place of the last event in the lane.
    pub position: Position,
}

/// A stream: the events of one aggregate of one organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamKey {
    /// The organization.
    pub organization_id: OrganizationId,
    /// The aggregate's kind.
    pub kind: StreamKind,
    /// The aggregate's id.
    pub id: Uuid,
}

/// One event of the log with everything around it.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedEvent {
    /// The lane.
    pub lane: Lane,
    /// Gapless place in the lane, from 1.
    pub position: Position,
    /// Gapless place among the organization's events, from 1.
    pub organization_sequence: i64,
    /// The stream.
    pub stream: StreamKey,
    /// Gapless place in the stream, from 1.
    pub version: i64,
    /// The event's own id.
    pub event_id: EventId,
    /// Its type.
    pub event_type: EventType,
    /// The schema version that its facts are written in.
    pub schema_version: u16,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// When it was written.
    pub recorded_at: Timestamp,
    /// Who, why, and as part of what.
    pub circumstances: Circumstances,
    /// The patient whom it is about.
    pub subject: Option<PatientId>,
    /// Canonical JSON of the facts, byte for byte as hashed.
    pub facts: Arc<[u8]>,
    /// The sealed personal part.
    pub personal: Option<SealedPart>,
    /// Sealed network address and user agent.
    pub network: Option<Sealed>,
    /// The leaf in the organization's tree.
    pub leaf_hash: [u8; 32],
}

/// A sealed personal part with the commitment to its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedPart {
    /// Ciphertext and key id.
    pub sealed: Sealed,
    /// Commitment to the key, which stands in the leaf.
    pub key_commit: [u8; 32],
}

impl RecordedEvent {
    /// The domain event, its personal part still sealed.
    ///
    /// # Errors
    /// When the facts are not those of the type: the event cannot be applied by anybody.
    pub fn decode(&self) -> Result<carelog_domain::Event, carelog_domain::CodecError> {
        let personal = self.personal.as_ref().map(|part| PersonalPart::Sealed(part.sealed.clone()));
        carelog_domain::Event::decode(self.event_type, self.schema_version, &self.facts, personal)
    }

    /// The event as one of its aggregate's own type.
    ///
    /// # Errors
    /// When the facts are not those of the type, or the type belongs to another aggregate.
    pub fn decode_as<E: carelog_domain::StreamEvent>(&self) -> Result<E, carelog_domain::CodecError> {
        let personal = self.personal.as_ref().map(|part| PersonalPart::Sealed(part.sealed.clone()));
        let newest = self.event_type.schema_version();
        if self.schema_version == newest {
            return E::decode(self.event_type, &self.facts, personal);
        }
        let lifted = upcast(UPCASTERS, self.event_type, self.schema_version, newest, &self.facts)?;
        E::decode(self.event_type, &lifted, personal)
    }

    /// Who caused it.
    pub const fn actor(&self) -> &Actor {
        &self.circumstances.actor
    }

    /// Bytes that it takes up, roughly; for bounds on pages and buffers.
    pub fn size(&self) -> usize {
        const ENVELOPE: usize = 320;
        ENVELOPE + self.facts.len() + self.personal.as_ref().map_or(0, |part| part.sealed.bytes.len())
    }
}
