//! Which looks are intended, and what rows say afterwards.

use std::sync::Arc;

use carelog_domain::appointment::{
    AppointmentBooked, AppointmentCancelled, AppointmentCompleted, AppointmentNoShow, AppointmentOnboarded,
    AppointmentRescheduled, CancellationReason, CancelledBy, RescheduleReason, TimePrecision,
};
use carelog_domain::organization::{
    OrganizationIntegrationConfigured, OrganizationIntegrationRemoved, OrganizationSettingsChanged,
};
use carelog_domain::video_room::{
    RoomEnd, RoomFailure, RoomProvider, RoomWindow, VideoRoomChangeFailed, VideoRoomCreated,
    VideoRoomCreationFailed, VideoRoomExpired, VideoRoomExtended, VideoRoomMoved,
};
use carelog_domain::{
    Actor, Circumstances, CorrelationId, Event, EventId, KeyId, PatientId, Sealed, Timestamp,
};
use carelog_event_log::{SealedPart, StreamKey};

use super::*;

const ORGANIZATION: OrganizationId = OrganizationId::new(Uuid::from_u128(1));
const PATIENT: PatientId = PatientId::new(Uuid::from_u128(2));
const APPOINTMENT: AppointmentId = AppointmentId::new(Uuid::from_u128(3));
const KEY: RoomKey = (ORGANIZATION, APPOINTMENT);

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

struct Story {
    page: Page,
    position: i64,
}

impl Story {
    fn new() -> Self {
        Self { page: Page::default(), position: 0 }
    }

    /// With a provider.
    fn configured() -> Self {
        let mut story = Self::new();
        story.tell(OrganizationEvent::IntegrationConfigured(OrganizationIntegrationConfigured {
            integration: IntegrationKind::Daily,
            abandoned_open: false,
            personal: None,
        }));
        story
    }

    fn tell(&mut self, event: impl Into<Event>) -> &mut Self {
        let event = event.into();
        self.position += 1;
        let encoded = event.encode().unwrap();
        let id = match event.kind() {
            StreamKind::Organization => ORGANIZATION.uuid(),
            StreamKind::Appointment => APPOINTMENT.uuid(),
            _ => room_id(APPOINTMENT),
        };
        let is_sealed = event.event_type() == carelog_domain::EventType::OrganizationIntegrationConfigured;
        let recorded = RecordedEvent {
            lane: 0,
            position: self.position,
            organization_sequence: self.position,
            version: self.position,
            occurred_at: at("2026-03-01T12:00:00Z"),
            recorded_at: at("2026-03-01T12:00:00Z"),
            stream: StreamKey { organization_id: ORGANIZATION, kind: event.kind(), id },
            event_id: EventId::new(Uuid::from_u128(100 + u128::from(self.position.unsigned_abs()))),
            circumstances: Circumstances::of(Actor::OPERATOR, CorrelationId::new(Uuid::nil())),
            subject: None,
            schema_version: 1,
            event_type: event.event_type(),
            leaf_hash: [0; 32],
            facts: Arc::from(encoded.facts),
            personal: is_sealed.then(|| SealedPart {
                sealed: Sealed { key_id: KeyId::new(Uuid::nil()), bytes: Arc::from([1_u8].as_slice()) },
                key_commit: [0; 32],
            }),
            network: None,
        };
        self.page.fold(&recorded).unwrap();
        self
    }

    /// The places of the events for which somebody looks at a room.
    fn looks(&self) -> Vec<i64> {
        let effects = self.page.intents.iter().filter(|wish| matches!(wish, Wish::Effect(_)));
        effects.map(Wish::position).collect()
    }

    fn row(&self) -> &RoomRow {
        &self.page.rooms[&KEY]
    }
}

fn booked(mode: AppointmentMode) -> AppointmentEvent {
    AppointmentEvent::Booked(AppointmentBooked {
        patient_id: PATIENT,
        specialist_id: None,
        starts_at: at("2026-03-02T09:30:00Z"),
        ends_at: None,
        starts_at_precision: TimePrecision::Minute,
        mode,
        personal: None,
    })
}

const ONBOARDED: AppointmentEvent = AppointmentEvent::Onboarded(AppointmentOnboarded { patient_id: PATIENT });

fn rescheduled() -> AppointmentEvent {
    AppointmentEvent::Rescheduled(AppointmentRescheduled {
        patient_id: PATIENT,
        starts_at: at("2026-03-03T09:30:00Z"),
        ends_at: None,
        reason: RescheduleReason::Other,
    })
}

fn cancelled() -> AppointmentEvent {
    AppointmentEvent::Cancelled(AppointmentCancelled {
        patient_id: PATIENT,
        cancelled_by: CancelledBy::Clinic,
        reason: CancellationReason::Other,
        personal: None,
    })
}

fn created() -> VideoRoomEvent {
    VideoRoomEvent::Created(VideoRoomCreated {
        patient_id: PATIENT,
        appointment_id: APPOINTMENT,
        provider: RoomProvider::Daily,
        opening: 1,
        opens_at: at("2026-03-02T09:15:00Z"),
        expires_at: at("2026-03-02T10:45:00Z"),
        adopted: false,
        personal: None,
    })
}

fn failed(attempt: u16) -> VideoRoomEvent {
    VideoRoomEvent::CreationFailed(VideoRoomCreationFailed {
        patient_id: PATIENT,
        appointment_id: APPOINTMENT,
        attempt,
        reason: RoomFailure::Unavailable,
        next_attempt_at: Some(at("2026-03-01T12:00:05Z")),
    })
}

#[test]
fn the_check_in_wants_a_look_and_so_does_what_changes_it_afterwards() {
    let mut story = Story::configured();

    story.tell(booked(AppointmentMode::Video)).tell(rescheduled());
    assert_eq!((story.looks(), story.row().wish), (vec![1], RoomWish::NotYet));
    story.tell(ONBOARDED).tell(rescheduled()).tell(cancelled());

    assert_eq!((story.looks(), story.row().wish), (vec![1, 4, 5, 6], RoomWish::Cancelled));
    assert_eq!(story.row().starts_at, at("2026-03-03T09:30:00Z"));
}

#[test]
fn a_patient_who_does_not_come_leaves_the_room_to_be_closed() {
    let mut story = Story::configured();

    story.tell(booked(AppointmentMode::Video)).tell(ONBOARDED);
    story.tell(AppointmentEvent::NoShow(AppointmentNoShow { patient_id: PATIENT }));

    assert_eq!((story.looks(), story.row().wish), (vec![1, 3, 4], RoomWish::NoShow));
}

#[test]
fn the_end_of_a_consultation_leaves_its_room_alone() {
    let mut story = Story::configured();

    story.tell(booked(AppointmentMode::Video)).tell(ONBOARDED);
    let completed = AppointmentCompleted { patient_id: PATIENT, duration_minutes: None };
    story.tell(AppointmentEvent::Completed(completed));

    assert_eq!((story.looks(), story.row().wish), (vec![1, 3], RoomWish::Wanted));
}

#[test]
fn an_appointment_that_is_not_by_video_has_no_row_and_wants_nothing() {
    for mode in [AppointmentMode::Phone, AppointmentMode::InPerson] {
        let mut story = Story::configured();

        story.tell(booked(mode)).tell(ONBOARDED).tell(rescheduled()).tell(cancelled());

        assert_eq!((story.looks(), story.page.rooms.len()), (vec![1], 0));
    }
}

#[test]
fn without_a_provider_rooms_are_wanted_too_and_another_provider_wants_a_look_at_all() {
    let mut story = Story::new();
    story.tell(booked(AppointmentMode::Video)).tell(ONBOARDED);
    assert_eq!(story.looks(), [2]);

    let configured = |integration| {
        let configured =
            OrganizationIntegrationConfigured { integration, abandoned_open: false, personal: None };
        OrganizationEvent::IntegrationConfigured(configured)
    };
    story.tell(configured(IntegrationKind::Storage));
    assert_eq!(story.looks(), [2]);
    story.tell(configured(IntegrationKind::Daily));

    assert_eq!(story.looks(), [2, 4]);
    let queue = story.page.intents.iter().find_map(|wish| match wish {
        Wish::Queue(change) => Some((change.step, change.setting)),
        Wish::Effect(_) => None,
    });
    assert_eq!(queue, Some((LOOK, QueueSetting::Open)));
    let integration = IntegrationKind::Daily;
    story.tell(OrganizationEvent::IntegrationRemoved(OrganizationIntegrationRemoved {
        integration,
        abandoned_open: false,
    }));
    story.tell(cancelled());
    assert_eq!(story.looks(), [2, 4, 5, 6]);
    assert_eq!(story.page.organizations[&ORGANIZATION].daily, None);
}

#[test]
fn settings_that_rooms_depend_on_are_kept() {
    let mut story = Story::new();

    story.tell(OrganizationEvent::SettingsChanged(OrganizationSettingsChanged {
        recording_enabled: true,
        small_cell_threshold: 11,
        waiting_room_minutes: 5,
        personal: None,
    }));

    let row = &story.page.organizations[&ORGANIZATION];
    assert_eq!((row.recording_enabled, row.waiting_room_minutes), (true, 5));
}

#[test]
fn a_row_tells_what_became_of_its_room() {
    let mut story = Story::configured();
    story.tell(booked(AppointmentMode::Video)).tell(ONBOARDED).tell(failed(1)).tell(failed(2));
    let row = story.row();
    assert_eq!((row.attempt_count, row.failure), (2, Some(RoomFailure::Unavailable)));
    assert_eq!((row.next_attempt_at, row.is_failing()), (Some(at("2026-03-01T12:00:05Z")), true));

    story.tell(created());
    let row = story.row();
    assert_eq!((row.status, row.opening, row.attempt_count), (RoomStatus::Open, 1, 0));
    assert_eq!((row.failure, row.next_attempt_at, row.version), (None, None, 6));

    story.tell(VideoRoomEvent::ChangeFailed(VideoRoomChangeFailed {
        patient_id: PATIENT,
        appointment_id: APPOINTMENT,
        change: carelog_domain::video_room::RoomChange::Move,
        attempt: 1,
        reason: RoomFailure::Credentials,
        next_attempt_at: None,
    }));
    assert!(story.row().is_failing());
    let (opens_at, expires_at) = (at("2026-03-03T09:15:00Z"), at("2026-03-03T10:45:00Z"));
    story.tell(VideoRoomEvent::Moved(VideoRoomMoved {
        patient_id: PATIENT,
        appointment_id: APPOINTMENT,
        opens_at,
        expires_at,
    }));
    assert_eq!(story.row().window, Some(RoomWindow { opens_at, expires_at }));
    story.tell(cancelled());
    story.tell(VideoRoomEvent::Expired(VideoRoomExpired {
        patient_id: PATIENT,
        appointment_id: APPOINTMENT,
        reason: RoomEnd::AppointmentCancelled,
    }));
    let row = story.row();
    assert_eq!((row.status, row.end), (RoomStatus::Closed, Some(RoomEnd::AppointmentCancelled)));
    assert!(!row.is_failing());
}

#[test]
fn a_failure_of_what_nobody_wants_any_more_is_none() {
    let mut story = Story::configured();

    story.tell(booked(AppointmentMode::Video)).tell(ONBOARDED).tell(failed(1)).tell(cancelled());

    assert!(!story.row().is_failing());
}

#[test]
fn history_wants_no_look() {
    let mut story = Story::new();
    let AppointmentEvent::Booked(long_ago) = booked(AppointmentMode::Video) else { panic!("it is one") };
    let long_ago = AppointmentBooked { starts_at: at("2026-02-20T09:30:00Z"), ..long_ago };

    story.tell(AppointmentEvent::Booked(long_ago)).tell(ONBOARDED);

    assert_eq!((story.looks(), story.row().wish), (vec![], RoomWish::Wanted));
}

#[test]
fn what_was_added_to_a_room_is_kept_beside_what_was_planned() {
    let mut story = Story::new();
    story.tell(booked(AppointmentMode::Video)).tell(ONBOARDED).tell(created());
    let planned = at("2026-03-02T10:45:00Z");
    story.tell(VideoRoomEvent::Extended(VideoRoomExtended {
        patient_id: PATIENT,
        appointment_id: APPOINTMENT,
        participant_id: carelog_domain::ParticipantId::new(Uuid::nil()),
        planned_expires_at: planned,
        expires_at: at("2026-03-02T11:00:00Z"),
    }));

    let row = story.row();
    assert_eq!(row.window.map(|window| window.expires_at), Some(at("2026-03-02T11:00:00Z")));
    assert_eq!(row.planned_expires_at, Some(planned));
}
