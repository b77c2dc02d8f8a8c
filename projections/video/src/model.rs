//! The pure fold: which rooms are intended, and what became of them.

mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use carelog_domain::appointment::{AppointmentEvent, AppointmentMode};
use carelog_domain::organization::{IntegrationKind, OrganizationEvent};
use carelog_domain::patient::{ConsentKind, PatientEvent};
use carelog_domain::video_room::{RoomAppointment, VideoRoomEvent};
use carelog_domain::{AppointmentId, CodecError, OrganizationId, StreamKind};
use carelog_event_log::effects::{NewEffect, QueueChange, QueueSetting, Wish};
use carelog_event_log::{RecordedEvent, derived_id};
use uuid::Uuid;

pub use self::rows::{OrganizationRow, RoomRow, RoomState, RoomStatus, RoomWish, SealedCredentials};

/// An appointment of an organization.
pub type RoomKey = (OrganizationId, AppointmentId);

/// The step of every effect here: the looks at the rooms of an organization wait in one queue, which paces them.
pub(crate) const LOOK: Uuid = Uuid::from_u128(0x7669_6465_6f00_8000_8000_0000_0000_0001);

/// What is told of an appointment so long after its beginning is history: a day is the longest that one takes.
const HISTORY_MICROS: i64 = 2 * 24 * 60 * 60 * 1_000_000;

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
        | StreamKind::LegalHold
        | StreamKind::Accounting
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
            StreamKind::LegalHold
            | StreamKind::Accounting
            | StreamKind::Specialist
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
            | PatientEvent::AccountingSuspended(_)
            | PatientEvent::AccountingResumed(_)
            | PatientEvent::KeysDestroyed(_)
            | PatientEvent::LegalHoldPlaced(_)
            | PatientEvent::LegalHoldReleased(_)
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
                    revision: None,
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
                    revision: None,
                }));
                self.intents.push(look(event));
            }
            OrganizationEvent::IntegrationConfigured(_)
            | OrganizationEvent::IntegrationRemoved(_)
            | OrganizationEvent::MemberAdded(_)
            | OrganizationEvent::MemberRemoved(_)
            | OrganizationEvent::ApiKeyIssued(_)
            | OrganizationEvent::ApiKeyRevoked(_)
            | OrganizationEvent::PseudonymEpochBegun(_)
            | OrganizationEvent::PseudonymKeyDestroyed(_) => return,
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
