//! What every row has, whatever it shows.

use carelog_domain::{EventType, Sealed, Timestamp};
use carelog_event_log::{Lane, Position, RecordedEvent, SealedPlace};
use uuid::Uuid;

/// Which events a row comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Version of the stream after the last event that touched the row.
    pub version: i64,
    /// The lane of the organization.
    pub lane: Lane,
    /// Place of that event in the lane.
    pub position: Position,
    /// Place of the event that made the row; lists run along it.
    pub created_position: Position,
    /// When the event that made the row happened.
    pub created_at: Timestamp,
    /// When the last event that touched the row happened.
    pub occurred_at: Timestamp,
    /// When the last event that touched the row was written.
    pub updated_at: Timestamp,
}

impl Stamp {
    /// Of a row that an event makes.
    pub(super) const fn new(event: &RecordedEvent) -> Self {
        Self {
            version: event.version,
            lane: event.lane,
            position: event.position,
            created_position: event.position,
            created_at: event.occurred_at,
            occurred_at: event.occurred_at,
            updated_at: event.recorded_at,
        }
    }

    pub(super) const fn touch(&mut self, event: &RecordedEvent) {
        self.version = event.version;
        self.lane = event.lane;
        self.position = event.position;
        self.occurred_at = event.occurred_at;
        self.updated_at = event.recorded_at;
    }
}

/// A sealed personal part with everything that is needed to open it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedColumns {
    /// The place that it was sealed for.
    pub place: SealedPlace,
    /// Ciphertext and key id.
    pub sealed: Sealed,
}

impl SealedColumns {
    /// The personal part of an event.
    pub(super) fn of(event: &RecordedEvent) -> Option<Self> {
        let part = event.personal.as_ref()?;
        Some(Self { place: SealedPlace::of(event), sealed: part.sealed.clone() })
    }

    /// What the vault opens.
    pub fn parts(&self) -> (SealedPlace, Sealed) {
        (self.place, self.sealed.clone())
    }
}

/// The newest personal part wins; an event without one leaves the earlier.
pub(super) fn replace_personal(personal: &mut Option<SealedColumns>, event: &RecordedEvent) {
    if let Some(newer) = SealedColumns::of(event) {
        *personal = Some(newer);
    }
}

/// Why an event does not fit the rows that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// It changes something of which there is no row.
    #[error("{event_type} at version {version} of stream {stream_id} changes a row that is not there")]
    NotThere {
        /// The event's type.
        event_type: EventType,
        /// Its stream.
        stream_id: Uuid,
        /// Its version.
        version: i64,
    },
    /// It makes something that is there already.
    #[error("{event_type} at version {version} of stream {stream_id} makes a row that is there already")]
    AlreadyThere {
        /// The event's type.
        event_type: EventType,
        /// Its stream.
        stream_id: Uuid,
        /// Its version.
        version: i64,
    },
}

/// The row that an event changes.
pub(super) fn existing<R>(row: Option<R>, event: &RecordedEvent) -> Result<R, FoldError> {
    let (event_type, stream_id, version) = (event.event_type, event.stream.id, event.version);
    row.ok_or(FoldError::NotThere { event_type, stream_id, version })
}

/// Makes sure that there is no row yet.
pub(super) fn absent<R>(row: Option<&R>, event: &RecordedEvent) -> Result<(), FoldError> {
    let (event_type, stream_id, version) = (event.event_type, event.stream.id, event.version);
    match row {
        None => Ok(()),
        Some(_) => Err(FoldError::AlreadyThere { event_type, stream_id, version }),
    }
}
