//! An example of every event that partners may receive.
//!
//! What partners read in the catalogue is made from these, so they are plausible rather than extreme. They have no
//! personal part, because a webhook has none. A test refuses a public type without an example.

#[cfg(test)]
mod tests;

use uuid::Uuid;

use crate::appointment::{
    AppointmentBooked, AppointmentCancelled, AppointmentCompleted, AppointmentConfirmed, AppointmentEvent,
    AppointmentMode, AppointmentNoShow, AppointmentOnboarded, AppointmentRescheduled, AppointmentStarted,
    CancellationReason, CancelledBy, ConfirmationChannel, RescheduleReason, TimePrecision,
};
use crate::closed::Sha256Digest;
use crate::file::{
    ContentType, FileDeleted, FileDeletion, FileEvent, FileKind, FileStored, StorageEncryption,
};
use crate::form::{FormAssigned, FormEvent, FormSigned, FormVoided, Signatory, VoidReason};
use crate::patient::{
    ConsentKind, PatientConsentGiven, PatientConsentWithdrawn, PatientErased, PatientEvent, PatientOnboarded,
    PatientRegistered,
};
use crate::specialist::{
    DeactivationReason, Profession, SpecialistAdded, SpecialistDeactivated, SpecialistEvent,
};
use crate::treatment_plan::{
    PlanOutcome, SkipReason, TreatmentPlanCompleted, TreatmentPlanCreated, TreatmentPlanEvent,
    TreatmentPlanExerciseAssigned, TreatmentPlanExerciseCompleted, TreatmentPlanExerciseSkipped,
};
use crate::video_room::{
    ParticipantKind, RoomEnd, RoomProvider, VideoRoomCreated, VideoRoomEvent, VideoRoomExpired,
    VideoRoomExtended, VideoRoomMoved, VideoRoomParticipantJoined, VideoRoomParticipantLeft,
    VideoRoomRecordingStarted, VideoRoomRecordingStored,
};
use crate::webhook_subscription::{WebhookSubscriptionEvent, WebhookSubscriptionTestRequested};
use crate::{
    AppointmentId, AssignmentId, Event, EventType, ExerciseId, FileId, FormId, FormTemplateId, ParticipantId,
    PatientId, RecordingId, SpecialistId, StreamKind, Timestamp,
};

const MICROS_PER_HOUR: i64 = 3_600_000_000;

/// An id for examples, the same in every build.
pub const fn example_id(number: u8) -> Uuid {
    Uuid::from_bytes([0x01, 0x9c, 0xad, 0xe2, 0x11, 0xc0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, number])
}

/// The stream in which the examples of this kind stand.
pub const fn example_stream(kind: StreamKind) -> Uuid {
    match kind {
        StreamKind::Organization => example_id(1),
        StreamKind::Patient | StreamKind::LegalHold | StreamKind::Accounting => example_id(2),
        StreamKind::Specialist => example_id(3),
        StreamKind::Appointment => example_id(4),
        StreamKind::Form => example_id(5),
        StreamKind::File => example_id(20),
        StreamKind::WebhookSubscription => example_id(6),
        StreamKind::WebhookDelivery => example_id(7),
        StreamKind::Access => example_id(8),
        StreamKind::WebhookReplay => example_id(10),
        StreamKind::TreatmentPlan => example_id(11),
        StreamKind::VideoRoom => example_id(21),
        StreamKind::VideoNotice => example_id(25),
    }
}

/// When the examples happened: 2026-03-02T09:30:00Z.
pub fn example_moment() -> Timestamp {
    Timestamp::UNIX_EPOCH.saturating_add_micros(1_772_443_800_000_000)
}

/// An event of this type; none of a type that partners may not receive.
pub fn example(event_type: EventType) -> Option<Event> {
    match event_type.stream_kind() {
        StreamKind::Patient => patient(event_type).map(Event::Patient),
        StreamKind::Specialist => specialist(event_type).map(Event::Specialist),
        StreamKind::Appointment => appointment(event_type).map(Event::Appointment),
        StreamKind::Form => form(event_type).map(Event::Form),
        StreamKind::File => file(event_type).map(Event::File),
        StreamKind::TreatmentPlan => treatment_plan(event_type).map(Event::TreatmentPlan),
        StreamKind::VideoRoom => video_room(event_type).map(Event::VideoRoom),
        StreamKind::WebhookSubscription if event_type == EventType::WebhookSubscriptionTestRequested => {
            let facts = WebhookSubscriptionTestRequested {};
            Some(Event::WebhookSubscription(WebhookSubscriptionEvent::TestRequested(facts)))
        }
        StreamKind::Organization
        | StreamKind::LegalHold
        | StreamKind::Accounting
        | StreamKind::WebhookSubscription
        | StreamKind::WebhookDelivery
        | StreamKind::WebhookReplay
        | StreamKind::VideoNotice
        | StreamKind::Access => None,
    }
}

fn patient(event_type: EventType) -> Option<PatientEvent> {
    let event = match event_type {
        EventType::PatientRegistered => {
            PatientEvent::Registered(PatientRegistered { birth_year: Some(1964), personal: None })
        }
        EventType::PatientOnboarded => PatientEvent::Onboarded(PatientOnboarded {}),
        EventType::PatientConsentGiven => {
            PatientEvent::ConsentGiven(PatientConsentGiven { consent: ConsentKind::Recording, version: 2 })
        }
        EventType::PatientConsentWithdrawn => {
            PatientEvent::ConsentWithdrawn(PatientConsentWithdrawn { consent: ConsentKind::Recording })
        }
        EventType::PatientErased => PatientEvent::Erased(PatientErased {}),
        _ => return None,
    };
    Some(event)
}

fn specialist(event_type: EventType) -> Option<SpecialistEvent> {
    let event = match event_type {
        EventType::SpecialistAdded => SpecialistEvent::Added(SpecialistAdded {
            profession: Profession::Physiotherapist,
            personal: None,
        }),
        EventType::SpecialistDeactivated => {
            SpecialistEvent::Deactivated(SpecialistDeactivated { reason: DeactivationReason::Leave })
        }
        _ => return None,
    };
    Some(event)
}

fn appointment(event_type: EventType) -> Option<AppointmentEvent> {
    let patient_id = PatientId::new(example_stream(StreamKind::Patient));
    let tomorrow = example_moment().saturating_add_micros(24 * MICROS_PER_HOUR);
    let event = match event_type {
        EventType::AppointmentBooked => AppointmentEvent::Booked(AppointmentBooked {
            patient_id,
            specialist_id: Some(SpecialistId::new(example_stream(StreamKind::Specialist))),
            starts_at: tomorrow,
            ends_at: Some(tomorrow.saturating_add_micros(MICROS_PER_HOUR)),
            starts_at_precision: TimePrecision::Minute,
            mode: AppointmentMode::Video,
            personal: None,
        }),
        EventType::AppointmentConfirmed => AppointmentEvent::Confirmed(AppointmentConfirmed {
            patient_id,
            channel: ConfirmationChannel::Patient,
        }),
        EventType::AppointmentOnboarded => AppointmentEvent::Onboarded(AppointmentOnboarded { patient_id }),
        EventType::AppointmentRescheduled => AppointmentEvent::Rescheduled(AppointmentRescheduled {
            patient_id,
            starts_at: tomorrow,
            ends_at: None,
            reason: RescheduleReason::PatientRequest,
        }),
        EventType::AppointmentStarted => AppointmentEvent::Started(AppointmentStarted { patient_id }),
        EventType::AppointmentCompleted => {
            AppointmentEvent::Completed(AppointmentCompleted { patient_id, duration_minutes: Some(55) })
        }
        EventType::AppointmentCancelled => AppointmentEvent::Cancelled(AppointmentCancelled {
            patient_id,
            cancelled_by: CancelledBy::Patient,
            reason: CancellationReason::Illness,
            personal: None,
        }),
        EventType::AppointmentNoShow => AppointmentEvent::NoShow(AppointmentNoShow { patient_id }),
        _ => return None,
    };
    Some(event)
}

fn form(event_type: EventType) -> Option<FormEvent> {
    let patient_id = PatientId::new(example_stream(StreamKind::Patient));
    let event = match event_type {
        EventType::FormAssigned => FormEvent::Assigned(FormAssigned {
            patient_id,
            template_id: FormTemplateId::new(example_id(9)),
            template_version: 3,
            appointment_id: Some(AppointmentId::new(example_stream(StreamKind::Appointment))),
            due_at: Some(example_moment().saturating_add_micros(24 * MICROS_PER_HOUR)),
        }),
        EventType::FormSigned => FormEvent::Signed(FormSigned {
            patient_id,
            content_sha256: Sha256Digest::new([0x5e; 32]),
            signed_by: Signatory::Patient,
        }),
        EventType::FormVoided => FormEvent::Voided(FormVoided { patient_id, reason: VoidReason::Superseded }),
        _ => return None,
    };
    Some(event)
}

fn video_room(event_type: EventType) -> Option<VideoRoomEvent> {
    let patient_id = PatientId::new(example_stream(StreamKind::Patient));
    let appointment_id = AppointmentId::new(example_stream(StreamKind::Appointment));
    let (opens_at, expires_at) = (example_moment(), example_moment().saturating_add_micros(MICROS_PER_HOUR));
    let participant_id = Some(ParticipantId::new(example_id(22)));
    let participant = Some(ParticipantKind::Patient);
    let (session_id, recording_id) = (example_id(23), RecordingId::new(example_id(24)));
    let event = match event_type {
        EventType::VideoRoomCreated => VideoRoomEvent::Created(VideoRoomCreated {
            patient_id,
            appointment_id,
            provider: RoomProvider::Daily,
            opening: 1,
            opens_at,
            expires_at,
            adopted: false,
            personal: None,
        }),
        EventType::VideoRoomMoved => {
            VideoRoomEvent::Moved(VideoRoomMoved { patient_id, appointment_id, opens_at, expires_at })
        }
        EventType::VideoRoomExtended => VideoRoomEvent::Extended(VideoRoomExtended {
            patient_id,
            appointment_id,
            participant_id: ParticipantId::new(example_id(22)),
            planned_expires_at: opens_at,
            expires_at,
        }),
        EventType::VideoRoomParticipantJoined => {
            VideoRoomEvent::ParticipantJoined(VideoRoomParticipantJoined {
                patient_id,
                appointment_id,
                participant_id,
                participant,
                session_id,
                joined_at: opens_at,
            })
        }
        EventType::VideoRoomParticipantLeft => VideoRoomEvent::ParticipantLeft(VideoRoomParticipantLeft {
            patient_id,
            appointment_id,
            participant_id,
            participant,
            session_id,
            left_at: expires_at,
            duration_seconds: 3_600,
        }),
        EventType::VideoRoomRecordingStarted => VideoRoomEvent::RecordingStarted(VideoRoomRecordingStarted {
            patient_id,
            appointment_id,
            recording_id,
            started_at: opens_at,
        }),
        EventType::VideoRoomRecordingStored => VideoRoomEvent::RecordingStored(VideoRoomRecordingStored {
            patient_id,
            appointment_id,
            recording_id,
            file_id: FileId::new(example_stream(StreamKind::File)),
            duration_seconds: 1_500,
            size_bytes: 187_000_000,
        }),
        EventType::VideoRoomExpired => VideoRoomEvent::Expired(VideoRoomExpired {
            patient_id,
            appointment_id,
            reason: RoomEnd::WindowOver,
        }),
        _ => return None,
    };
    Some(event)
}

fn file(event_type: EventType) -> Option<FileEvent> {
    let patient_id = Some(PatientId::new(example_stream(StreamKind::Patient)));
    let event = match event_type {
        EventType::FileStored => FileEvent::Stored(FileStored {
            patient_id,
            form_id: Some(FormId::new(example_stream(StreamKind::Form))),
            kind: FileKind::FormAttachment,
            content_type: ContentType::Pdf,
            size_bytes: 48_213,
            content_sha256: Sha256Digest::new([0x7d; 32]),
            encryption: StorageEncryption::Aes256,
        }),
        EventType::FileDeleted => {
            FileEvent::Deleted(FileDeleted { patient_id, reason: FileDeletion::Requested })
        }
        _ => return None,
    };
    Some(event)
}

fn treatment_plan(event_type: EventType) -> Option<TreatmentPlanEvent> {
    let patient_id = PatientId::new(example_stream(StreamKind::Patient));
    let assignment_id = AssignmentId::new(example_id(12));
    let exercise_id = ExerciseId::new(example_id(13));
    let event = match event_type {
        EventType::TreatmentPlanCreated => TreatmentPlanEvent::Created(TreatmentPlanCreated {
            patient_id,
            specialist_id: SpecialistId::new(example_stream(StreamKind::Specialist)),
            starts_at: example_moment(),
            week_count: 6,
            personal: None,
        }),
        EventType::TreatmentPlanExerciseAssigned => {
            TreatmentPlanEvent::ExerciseAssigned(TreatmentPlanExerciseAssigned {
                patient_id,
                assignment_id,
                exercise_id,
                week: 1,
                session_count: 3,
                sets: 3,
                repetitions: Some(12),
                seconds: None,
                personal: None,
            })
        }
        EventType::TreatmentPlanExerciseCompleted => {
            TreatmentPlanEvent::ExerciseCompleted(TreatmentPlanExerciseCompleted {
                patient_id,
                assignment_id,
                exercise_id,
                week: 1,
                session: 1,
                duration_seconds: Some(540),
                pain: Some(2),
                exertion: Some(5),
            })
        }
        EventType::TreatmentPlanExerciseSkipped => {
            TreatmentPlanEvent::ExerciseSkipped(TreatmentPlanExerciseSkipped {
                patient_id,
                assignment_id,
                exercise_id,
                week: 1,
                session: 2,
                reason: SkipReason::Fatigue,
            })
        }
        EventType::TreatmentPlanCompleted => TreatmentPlanEvent::Completed(TreatmentPlanCompleted {
            patient_id,
            outcome: PlanOutcome::GoalsReached,
            assigned_sessions: 54,
            completed_sessions: 47,
            skipped_sessions: 4,
        }),
        _ => return None,
    };
    Some(event)
}
