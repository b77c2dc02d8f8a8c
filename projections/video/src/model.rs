//! The pure fold: which rooms are intended, and what became of them.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use carelog_domain::appointment::{AppointmentEvent, AppointmentMode, TimePrecision};
use carelog_domain::organization::{IntegrationKind, OrganizationEvent, OrganizationSettings};
use carelog_domain::patient::{ConsentKind, PatientEvent};
use carelog_domain::video_room::{
    RoomAppointment, RoomEnd, RoomFailure, RoomProvider, RoomWindow, VideoRoomEvent,
};
use carelog_domain::{
    AppointmentId, CodecError, EventId, OrganizationId, PatientId, Sealed, StreamKind, Timestamp, closed_enum,
};
use carelog_event_log::effects::{NewEffect, QueueChange, QueueSetting, Wish};
use carelog_event_log::{RecordedEvent, derived_id};
use uuid::Uuid;

/// An appointment of an organization.
pub type RoomKey = (OrganizationId, AppointmentId);

/// The step of every effect here: the looks at the rooms of an organization wait in one queue, which paces them.
pub(crate) const LOOK: Uuid = Uuid::from_u128(0x7669_6465_6f00_8000_8000_0000_0000_0001);

/// What is told of an appointment so long after its beginning is history: a day is the longest that one takes.
const HISTORY_MICROS: i64 = 2 * 24 * 60 * 60 * 1_000_000;

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

/// What a page of events comes to.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The rooms that it is about.
    pub rooms: BTreeMap<RoomKey, RoomRow>,
    /// The organizations that it is about.
    pub organizations: BTreeMap<OrganizationId, OrganizationRow>,
    /// Which rooms changed.
    pub changed_rooms: BTreeSet<RoomKey>,
    /// Which organizations changed.
    pub changed_organizations: BTreeSet<OrganizationId>,
    /// What is to be done.
    pub intents: Vec<Wish>,
}

/// The stream of an appointment's room has the same id wherever it is computed.
pub fn room_id(appointment_id: AppointmentId) -> Uuid {
    derived_id(appointment_id.uuid(), b"video_room")
}

/// Which room an event is about.
///
/// # Errors
/// When the event's facts are not those of its type.
pub(crate) fn room_of(event: &RecordedEvent) -> Result<Option<RoomKey>, CodecError> {
    let organization_id = event.stream.organization_id;
    Ok(match event.stream.kind {
        StreamKind::Appointment => Some((organization_id, AppointmentId::new(event.stream.id))),
        StreamKind::VideoRoom => Some((organization_id, appointment_of(&event.decode_as()?).appointment_id)),
        StreamKind::Organization
        | StreamKind::VideoNotice
        | StreamKind::Patient
        | StreamKind::Specialist
        | StreamKind::File
        | StreamKind::TreatmentPlan
        | StreamKind::Form
        | StreamKind::WebhookSubscription
        | StreamKind::WebhookDelivery
        | StreamKind::WebhookReplay
        | StreamKind::Access => None,
    })
}

impl Page {
    /// Takes the next event. Events of other kinds than appointments, rooms and organizations change nothing.
    ///
    /// # Errors
    /// When the event's facts are not those of its type.
    pub fn fold(&mut self, event: &RecordedEvent) -> Result<(), CodecError> {
        match event.stream.kind {
            StreamKind::Organization => self.fold_organization(event, &event.decode_as()?),
            StreamKind::Appointment => self.fold_appointment(event, &event.decode_as()?),
            StreamKind::VideoRoom => self.fold_room(event, &event.decode_as()?),
            StreamKind::VideoNotice => self.intents.push(look(event)),
            StreamKind::Patient => self.fold_patient(event, &event.decode_as()?),
            StreamKind::Specialist
            | StreamKind::Form
            | StreamKind::File
            | StreamKind::TreatmentPlan
            | StreamKind::WebhookSubscription
            | StreamKind::WebhookDelivery
            | StreamKind::WebhookReplay
            | StreamKind::Access => {}
        }
        Ok(())
    }

    /// Who withdraws may be being recorded.
    fn fold_patient(&mut self, event: &RecordedEvent, change: &PatientEvent) {
        match change {
            PatientEvent::ConsentWithdrawn(withdrawn) if withdrawn.consent == ConsentKind::Recording => {
                self.intents.push(look(event));
            }
            PatientEvent::ErasureRequested(_) => self.intents.push(look(event)),
            PatientEvent::Registered(_)
            | PatientEvent::Onboarded(_)
            | PatientEvent::DetailsChanged(_)
            | PatientEvent::ConsentGiven(_)
            | PatientEvent::ConsentWithdrawn(_)
            | PatientEvent::KeysDestroyed(_)
            | PatientEvent::Erased(_) => {}
        }
    }

    fn fold_organization(&mut self, event: &RecordedEvent, change: &OrganizationEvent) {
        let organization_id = event.stream.organization_id;
        let row = self.organizations.entry(organization_id).or_default();
        match change {
            OrganizationEvent::Registered(_) => {}
            OrganizationEvent::SettingsChanged(changed) => {
                let is_over = row.recording_enabled && !changed.recording_enabled;
                if is_over || row.waiting_room_minutes != changed.waiting_room_minutes {
                    self.intents.push(look(event));
                }
                row.recording_enabled = changed.recording_enabled;
                row.waiting_room_minutes = changed.waiting_room_minutes;
            }
            OrganizationEvent::IntegrationConfigured(configured)
                if configured.integration == IntegrationKind::Daily =>
            {
                row.daily = event.personal.as_ref().map(|part| SealedCredentials {
                    sealed: part.sealed.clone(),
                    version: event.version,
                    event_id: event.event_id,
                    schema_version: event.schema_version,
                });
                // What failed for the sake of the old account says nothing of the new one.
                self.intents.push(Wish::Queue(QueueChange {
                    organization_id,
                    step: LOOK,
                    position: event.position,
                    setting: QueueSetting::Open,
                }));
                self.intents.push(look(event));
            }
            OrganizationEvent::IntegrationRemoved(removed)
                if removed.integration == IntegrationKind::Daily =>
            {
                row.daily = None;
                // What Daily did not make is made here.
                self.intents.push(Wish::Queue(QueueChange {
                    organization_id,
                    step: LOOK,
                    position: event.position,
                    setting: QueueSetting::Open,
                }));
                self.intents.push(look(event));
            }
            OrganizationEvent::IntegrationConfigured(_)
            | OrganizationEvent::IntegrationRemoved(_)
            | OrganizationEvent::MemberAdded(_)
            | OrganizationEvent::MemberRemoved(_)
            | OrganizationEvent::ApiKeyIssued(_)
            | OrganizationEvent::ApiKeyRevoked(_) => return,
        }
        self.changed_organizations.insert(organization_id);
    }

    fn fold_appointment(&mut self, event: &RecordedEvent, change: &AppointmentEvent) {
        let key = (event.stream.organization_id, AppointmentId::new(event.stream.id));
        if let AppointmentEvent::Booked(booked) = change {
            if booked.mode == AppointmentMode::Video {
                self.rooms.insert(key, RoomRow::booked(event, booked));
                self.changed_rooms.insert(key);
            }
            return;
        }
        // One that is not by video has no row.
        let Some(row) = self.rooms.get_mut(&key) else { return };
        let was_wanted = row.wish == RoomWish::Wanted;
        match change {
            AppointmentEvent::Onboarded(_) => row.wish = RoomWish::Wanted,
            AppointmentEvent::Rescheduled(moved) => {
                (row.starts_at, row.ends_at) = (moved.starts_at, moved.ends_at);
            }
            AppointmentEvent::Cancelled(_) => row.wish = RoomWish::Cancelled,
            AppointmentEvent::NoShow(_) => row.wish = RoomWish::NoShow,
            // Who talks longer than planned may do so until the room closes by itself.
            AppointmentEvent::Booked(_)
            | AppointmentEvent::Confirmed(_)
            | AppointmentEvent::Started(_)
            | AppointmentEvent::Completed(_) => return,
        }
        row.updated_at = event.recorded_at;
        let is_concerned = was_wanted || row.wish == RoomWish::Wanted;
        self.changed_rooms.insert(key);
        let is_history = event.recorded_at.micros_since(row.starts_at) > HISTORY_MICROS;
        if is_concerned && !is_history {
            self.intents.push(look(event));
        }
    }

    fn fold_room(&mut self, event: &RecordedEvent, change: &VideoRoomEvent) {
        let key = (event.stream.organization_id, appointment_of(change).appointment_id);
        let Some(row) = self.rooms.get_mut(&key) else { return };
        row.apply(change);
        row.version = event.version;
        row.updated_at = event.recorded_at;
        self.changed_rooms.insert(key);
        if matches!(change, VideoRoomEvent::RecordingRequested(_) | VideoRoomEvent::RecordingStopRequested(_))
        {
            self.intents.push(look(event));
        }
    }
}

/// Somebody is to look at what an event means for a room.
fn look(event: &RecordedEvent) -> Wish {
    Wish::Effect(NewEffect {
        organization_id: event.stream.organization_id,
        source_event_id: event.event_id,
        step: LOOK,
        lane: event.lane,
        position: event.position,
    })
}

impl RoomRow {
    fn booked(event: &RecordedEvent, booked: &carelog_domain::appointment::AppointmentBooked) -> Self {
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

    fn apply(&mut self, change: &VideoRoomEvent) {
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

pub(crate) const fn appointment_of(change: &VideoRoomEvent) -> RoomAppointment {
    macro_rules! of {
        ($facts:expr) => {
            RoomAppointment { patient_id: $facts.patient_id, appointment_id: $facts.appointment_id }
        };
    }
    match change {
        VideoRoomEvent::Created(facts) => of!(facts),
        VideoRoomEvent::CreationFailed(facts) => of!(facts),
        VideoRoomEvent::Moved(facts) => of!(facts),
        VideoRoomEvent::ChangeFailed(facts) => of!(facts),
        VideoRoomEvent::AccessGranted(facts) => of!(facts),
        VideoRoomEvent::ParticipantJoined(facts) => of!(facts),
        VideoRoomEvent::ParticipantLeft(facts) => of!(facts),
        VideoRoomEvent::QualitySampled(facts) => of!(facts),
        VideoRoomEvent::RecordingStarted(facts) => of!(facts),
        VideoRoomEvent::RecordingStored(facts) => of!(facts),
        VideoRoomEvent::AccessRevoked(facts) => of!(facts),
        VideoRoomEvent::Extended(facts) => of!(facts),
        VideoRoomEvent::RecordingRequested(facts) => of!(facts),
        VideoRoomEvent::RecordingStopRequested(facts) => of!(facts),
        VideoRoomEvent::RecordingStopped(facts) => of!(facts),
        VideoRoomEvent::RecordingFailed(facts) => of!(facts),
        VideoRoomEvent::RecordingDiscarded(facts) => of!(facts),
        VideoRoomEvent::Expired(facts) => of!(facts),
    }
}
