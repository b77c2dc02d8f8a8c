//! Appointments by video with their rooms, and what rooms of an organization depend on.

use carelog_domain::appointment::{AppointmentBooked, TimePrecision};
use carelog_domain::organization::OrganizationSettings;
use carelog_domain::video_room::{RoomEnd, RoomFailure, RoomProvider, RoomWindow, VideoRoomEvent};
use carelog_domain::{EventId, PatientId, Sealed, Timestamp, closed_enum};
use carelog_event_log::RecordedEvent;

closed_enum! {
    /// What an appointment asks for.
    pub enum RoomWish {
        /// No room before the patient has checked in.
        NotYet = "not_yet",
        /// A room.
        Wanted = "wanted",
        /// No room any more: it was called off.
        Cancelled = "cancelled",
        /// No room any more: nobody came.
        NoShow = "no_show",
    }
}

closed_enum! {
    /// What the provider has, as far as is known.
    pub enum RoomStatus {
        /// No room yet.
        None = "none",
        /// A room, whose window may still be to come.
        Open = "open",
        /// No room any more.
        Closed = "closed",
    }
}

closed_enum! {
    /// Where the room of an appointment stands, for people.
    pub enum RoomState {
        /// The patient has not checked in yet.
        Planned = "planned",
        /// It is about to be made, or its organization's account with the provider cannot be read.
        Pending = "pending",
        /// It is there; its window may still be to come.
        Open = "open",
        /// Making, moving or closing it did not succeed.
        Failing = "failing",
        /// It is closed, or was never needed.
        Closed = "closed",
    }
}

/// An appointment by video and its room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomRow {
    /// The patient.
    pub patient_id: PatientId,
    /// When the appointment begins.
    pub starts_at: Timestamp,
    /// When it ends, where that was said.
    pub ends_at: Option<Timestamp>,
    /// How exactly its beginning is known.
    pub precision: TimePrecision,
    /// What it asks for.
    pub wish: RoomWish,
    /// What there is.
    pub status: RoomStatus,
    /// Who ran the newest room.
    pub provider: Option<RoomProvider>,
    /// How many rooms there were.
    pub opening: u16,
    /// When the newest room can be entered.
    pub window: Option<RoomWindow>,
    /// When the newest room was to close before its specialist let it stay open for longer.
    pub planned_expires_at: Option<Timestamp>,
    /// Failures in a row.
    pub attempt_count: u16,
    /// Why it failed last.
    pub failure: Option<RoomFailure>,
    /// When it is tried again.
    pub next_attempt_at: Option<Timestamp>,
    /// Why the newest room was closed.
    pub end: Option<RoomEnd>,
    /// Version of the room's stream.
    pub version: i64,
    /// Place of the booking in its lane.
    pub created_position: i64,
    /// When the last event that touched it was recorded.
    pub updated_at: Timestamp,
}

/// Credentials of an organization, as its event sealed them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedCredentials {
    /// The sealed settings.
    pub sealed: Sealed,
    /// The event's version in the stream of the organization.
    pub version: i64,
    /// The event.
    pub event_id: EventId,
    /// The schema version that it was written in.
    pub schema_version: u16,
}

/// What rooms of an organization depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrganizationRow {
    /// Whether consultations may be recorded at all.
    pub recording_enabled: bool,
    /// How long before an appointment its room opens.
    pub waiting_room_minutes: u16,
    /// Who runs its rooms, and the account there.
    pub daily: Option<SealedCredentials>,
}

impl Default for OrganizationRow {
    fn default() -> Self {
        let settings = OrganizationSettings::default();
        Self {
            recording_enabled: settings.recording_enabled,
            waiting_room_minutes: settings.waiting_room_minutes,
            daily: None,
        }
    }
}

impl RoomRow {
    pub(super) fn booked(event: &RecordedEvent, booked: &AppointmentBooked) -> Self {
        Self {
            patient_id: booked.patient_id,
            starts_at: booked.starts_at,
            ends_at: booked.ends_at,
            precision: booked.starts_at_precision,
            wish: RoomWish::NotYet,
            status: RoomStatus::None,
            provider: None,
            opening: 0,
            window: None,
            planned_expires_at: None,
            attempt_count: 0,
            failure: None,
            next_attempt_at: None,
            end: None,
            version: 0,
            created_position: event.position,
            updated_at: event.recorded_at,
        }
    }

    /// Whether something that is to be done with it does not succeed.
    pub const fn is_failing(&self) -> bool {
        self.attempt_count > 0
            && (matches!(self.wish, RoomWish::Wanted) || matches!(self.status, RoomStatus::Open))
    }

    /// Where it stands.
    pub const fn state(&self) -> RoomState {
        if self.is_failing() {
            return RoomState::Failing;
        }
        match (self.status, self.wish) {
            (RoomStatus::Open, _) => RoomState::Open,
            (RoomStatus::Closed, _) | (RoomStatus::None, RoomWish::Cancelled | RoomWish::NoShow) => {
                RoomState::Closed
            }
            (RoomStatus::None, RoomWish::NotYet) => RoomState::Planned,
            (RoomStatus::None, RoomWish::Wanted) => RoomState::Pending,
        }
    }

    pub(super) fn apply(&mut self, change: &VideoRoomEvent) {
        match change {
            VideoRoomEvent::Created(created) => {
                self.status = RoomStatus::Open;
                self.provider = Some(created.provider);
                self.opening = created.opening;
                self.end = None;
                self.succeed(created.opens_at, created.expires_at);
            }
            VideoRoomEvent::Moved(moved) => self.succeed(moved.opens_at, moved.expires_at),
            VideoRoomEvent::CreationFailed(failed) => {
                self.fail(failed.attempt, failed.reason, failed.next_attempt_at);
            }
            VideoRoomEvent::ChangeFailed(failed) => {
                self.fail(failed.attempt, failed.reason, failed.next_attempt_at);
            }
            VideoRoomEvent::Expired(expired) => {
                self.status = RoomStatus::Closed;
                self.end = Some(expired.reason);
                self.forget_failures();
            }
            VideoRoomEvent::Extended(extended) => {
                if let Some(window) = &mut self.window {
                    window.expires_at = extended.expires_at;
                }
            }
            VideoRoomEvent::AccessGranted(_)
            | VideoRoomEvent::AccessRevoked(_)
            | VideoRoomEvent::ParticipantJoined(_)
            | VideoRoomEvent::ParticipantLeft(_)
            | VideoRoomEvent::QualitySampled(_)
            | VideoRoomEvent::RecordingStarted(_)
            | VideoRoomEvent::RecordingStored(_)
            | VideoRoomEvent::RecordingRequested(_)
            | VideoRoomEvent::RecordingStopRequested(_)
            | VideoRoomEvent::RecordingStopped(_)
            | VideoRoomEvent::RecordingFailed(_)
            | VideoRoomEvent::RecordingDiscarded(_) => {}
        }
    }

    const fn succeed(&mut self, opens_at: Timestamp, expires_at: Timestamp) {
        self.window = Some(RoomWindow { opens_at, expires_at });
        self.planned_expires_at = Some(expires_at);
        self.forget_failures();
    }

    const fn fail(&mut self, attempt: u16, reason: RoomFailure, next_attempt_at: Option<Timestamp>) {
        self.attempt_count = attempt;
        self.failure = Some(reason);
        self.next_attempt_at = next_attempt_at;
    }

    const fn forget_failures(&mut self) {
        self.attempt_count = 0;
        self.failure = None;
        self.next_attempt_at = None;
    }
}
