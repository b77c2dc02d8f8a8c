//! Every command and every rejection of a video room.

mod recordings;

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use uuid::Uuid;

use super::*;
use crate::Timestamp;
use crate::examples::{at, room_address};
use crate::ids::{AppointmentId, FileId, ParticipantId, PatientId, RecordingId};

const PATIENT: PatientId = PatientId::new(Uuid::from_u128(1));
const APPOINTMENT: AppointmentId = AppointmentId::new(Uuid::from_u128(2));
const PARTICIPANT: ParticipantId = ParticipantId::new(Uuid::from_u128(3));
const SESSION: Uuid = Uuid::from_u128(4);
const RECORDING: RecordingId = RecordingId::new(Uuid::from_u128(5));
const FOR: RoomAppointment = RoomAppointment { patient_id: PATIENT, appointment_id: APPOINTMENT };
const ALLOWED: RecordingLeave = RecordingLeave { is_enabled: true, has_consent: true };

fn given(events: impl Into<Vec<VideoRoomEvent>>) -> AggregateTestExecutor<VideoRoom> {
    TestFramework::with(()).given(events.into())
}

fn opens_at() -> Timestamp {
    at("2026-03-02T09:15:00Z")
}

fn expires_at() -> Timestamp {
    at("2026-03-02T10:15:00Z")
}

fn window() -> RoomWindow {
    RoomWindow { opens_at: opens_at(), expires_at: expires_at() }
}

fn later_window() -> RoomWindow {
    RoomWindow { opens_at: expires_at(), expires_at: at("2026-03-02T11:15:00Z") }
}

fn create() -> VideoRoomCommand {
    VideoRoomCommand::Create(CreateRoom {
        appointment: FOR,
        provider: RoomProvider::Daily,
        window: window(),
        adopted: true,
        address: Some(room_address()),
    })
}

fn created_as(opening: u16) -> VideoRoomEvent {
    VideoRoomEvent::Created(VideoRoomCreated {
        patient_id: PATIENT,
        appointment_id: APPOINTMENT,
        provider: RoomProvider::Daily,
        opening,
        opens_at: opens_at(),
        expires_at: expires_at(),
        adopted: true,
        personal: Some(Personal::Open(room_address())),
    })
}

fn created() -> VideoRoomEvent {
    created_as(1)
}

fn fail_creation() -> VideoRoomCommand {
    VideoRoomCommand::FailCreation {
        appointment: FOR,
        reason: RoomFailure::Unavailable,
        next_attempt_at: Some(opens_at()),
    }
}

fn creation_failed(attempt: u16) -> VideoRoomEvent {
    VideoRoomEvent::CreationFailed(VideoRoomCreationFailed {
        patient_id: PATIENT,
        appointment_id: APPOINTMENT,
        attempt,
        reason: RoomFailure::Unavailable,
        next_attempt_at: Some(opens_at()),
    })
}

fn moved() -> VideoRoomEvent {
    let RoomWindow { opens_at, expires_at } = later_window();
    VideoRoomEvent::Moved(VideoRoomMoved {
        patient_id: PATIENT,
        appointment_id: APPOINTMENT,
        opens_at,
        expires_at,
    })
}

const FAIL_MOVE: VideoRoomCommand = VideoRoomCommand::FailChange {
    change: RoomChange::Move,
    reason: RoomFailure::RateLimited,
    next_attempt_at: None,
};

const fn change_failed(attempt: u16) -> VideoRoomEvent {
    VideoRoomEvent::ChangeFailed(VideoRoomChangeFailed {
        patient_id: PATIENT,
        appointment_id: APPOINTMENT,
        change: RoomChange::Move,
        attempt,
        reason: RoomFailure::RateLimited,
        next_attempt_at: None,
    })
}

fn grant(now: Timestamp) -> VideoRoomCommand {
    VideoRoomCommand::GrantAccess { participant_id: PARTICIPANT, participant: ParticipantKind::Patient, now }
}

fn granted_to(participant_id: ParticipantId) -> VideoRoomEvent {
    VideoRoomEvent::AccessGranted(VideoRoomAccessGranted {
        patient_id: PATIENT,
        appointment_id: APPOINTMENT,
        participant_id,
        participant: ParticipantKind::Patient,
        link: 1,
        valid_from: opens_at(),
        valid_until: expires_at(),
    })
}

fn stay() -> Stay {
    Stay { participant_id: Some(PARTICIPANT), session_id: SESSION, joined_at: opens_at() }
}

fn joined(participant_id: Option<ParticipantId>, session_id: Uuid) -> VideoRoomEvent {
    VideoRoomEvent::ParticipantJoined(VideoRoomParticipantJoined {
        patient_id: PATIENT,
        appointment_id: APPOINTMENT,
        participant_id,
        participant: participant_id.map(|_| ParticipantKind::Patient),
        session_id,
        joined_at: opens_at(),
    })
}

fn leave() -> VideoRoomCommand {
    VideoRoomCommand::Leave { stay: stay(), duration_seconds: 90 }
}

fn left(participant_id: Option<ParticipantId>) -> VideoRoomEvent {
    VideoRoomEvent::ParticipantLeft(VideoRoomParticipantLeft {
        patient_id: PATIENT,
        appointment_id: APPOINTMENT,
        participant_id,
        participant: participant_id.map(|_| ParticipantKind::Patient),
        session_id: SESSION,
        left_at: at("2026-03-02T09:16:30Z"),
        duration_seconds: 90,
    })
}

fn sample(sampled_at: Timestamp) -> VideoRoomCommand {
    VideoRoomCommand::SampleQuality(QualitySample {
        session_id: SESSION,
        sampled_at,
        state: NetworkState::Bad,
        round_trip_ms: Some(900),
        jitter_ms: None,
        send_loss_permille: Some(120),
        receive_loss_permille: None,
        sent_kbps: Some(30),
        received_kbps: None,
        freeze_count: Some(2),
    })
}

fn sampled(sampled_at: Timestamp) -> VideoRoomEvent {
    VideoRoomEvent::QualitySampled(VideoRoomQualitySampled {
        patient_id: PATIENT,
        appointment_id: APPOINTMENT,
        participant_id: Some(PARTICIPANT),
        session_id: SESSION,
        sampled_at,
        state: NetworkState::Bad,
        round_trip_ms: Some(900),
        jitter_ms: None,
        send_loss_permille: Some(120),
        receive_loss_permille: None,
        sent_kbps: Some(30),
        received_kbps: None,
        freeze_count: Some(2),
    })
}

fn record(leave: RecordingLeave) -> VideoRoomCommand {
    VideoRoomCommand::StartRecording { recording_id: RECORDING, started_at: opens_at(), leave }
}

fn recording() -> VideoRoomEvent {
    VideoRoomEvent::RecordingStarted(VideoRoomRecordingStarted {
        patient_id: PATIENT,
        appointment_id: APPOINTMENT,
        recording_id: RECORDING,
        started_at: opens_at(),
    })
}

const FILE: FileId = FileId::new(Uuid::from_u128(6));

const STORE: VideoRoomCommand = VideoRoomCommand::StoreRecording(StoredRecording {
    recording_id: RECORDING,
    file_id: FILE,
    duration_seconds: 60,
    size_bytes: 7,
});

const STORED: VideoRoomEvent = VideoRoomEvent::RecordingStored(VideoRoomRecordingStored {
    patient_id: PATIENT,
    appointment_id: APPOINTMENT,
    recording_id: RECORDING,
    file_id: FILE,
    duration_seconds: 60,
    size_bytes: 7,
});

const EXPIRE: VideoRoomCommand = VideoRoomCommand::Expire { reason: RoomEnd::WindowOver };

const EXPIRED: VideoRoomEvent = VideoRoomEvent::Expired(VideoRoomExpired {
    patient_id: PATIENT,
    appointment_id: APPOINTMENT,
    reason: RoomEnd::WindowOver,
});

/// Everything that needs a room.
fn of_a_room() -> Vec<VideoRoomCommand> {
    vec![
        VideoRoomCommand::Move { window: later_window() },
        FAIL_MOVE,
        grant(opens_at()),
        VideoRoomCommand::Join(stay()),
        leave(),
        record(ALLOWED),
        VideoRoomCommand::RequestRecording { leave: ALLOWED, now: opens_at() },
        VideoRoomCommand::RequestRecordingStop { reason: RecordingEnd::Requested },
        VideoRoomCommand::StopRecording { recording_id: RECORDING, stopped_at: opens_at() },
        STORE,
        EXPIRE,
    ]
}

#[test]
fn given_nothing_when_created_then_created() {
    given([]).when(create()).then_expect_events(vec![created()]);
    given([creation_failed(1)]).when(create()).then_expect_events(vec![created()]);
}

#[test]
fn given_closed_when_created_then_it_is_the_next_opening() {
    given([created(), EXPIRED]).when(create()).then_expect_events(vec![created_as(2)]);
}

#[test]
fn given_open_when_created_then_already_open() {
    for command in [create(), fail_creation()] {
        given([created()]).when(command).then_expect_error(VideoRoomRejection::AlreadyOpen);
    }
}

#[test]
fn given_nothing_when_created_for_no_time_then_window_empty() {
    let VideoRoomCommand::Create(create) = create() else { panic!("it is one") };
    let window = RoomWindow { opens_at: expires_at(), expires_at: expires_at() };

    given([]).when(VideoRoomCommand::Create(CreateRoom { window, ..create })).then_expect_error(
        VideoRoomRejection::WindowEmpty { opens_at: expires_at(), expires_at: expires_at() },
    );
}

#[test]
fn given_failures_when_creation_fails_then_they_are_counted_until_it_is_created() {
    given([]).when(fail_creation()).then_expect_events(vec![creation_failed(1)]);
    given([creation_failed(1)]).when(fail_creation()).then_expect_events(vec![creation_failed(2)]);
    given([creation_failed(1), created(), EXPIRED])
        .when(fail_creation())
        .then_expect_events(vec![creation_failed(1)]);
}

#[test]
fn given_no_room_when_anything_else_then_not_created() {
    for events in [vec![], vec![creation_failed(1)]] {
        for command in of_a_room() {
            given(events.clone()).when(command).then_expect_error(VideoRoomRejection::NotCreated);
        }
    }
}

#[test]
fn given_closed_when_changed_or_entered_then_not_open() {
    let commands = [VideoRoomCommand::Move { window: later_window() }, FAIL_MOVE, grant(opens_at()), EXPIRE];
    for command in commands {
        given([created(), EXPIRED]).when(command).then_expect_error(VideoRoomRejection::NotOpen);
    }
}

#[test]
fn given_open_when_moved_then_moved() {
    given([created()])
        .when(VideoRoomCommand::Move { window: later_window() })
        .then_expect_events(vec![moved()]);
}

#[test]
fn given_open_when_moved_nowhere_then_same_window() {
    let events = [vec![created()], vec![created(), moved()]];
    for (events, window) in events.into_iter().zip([window(), later_window()]) {
        given(events)
            .when(VideoRoomCommand::Move { window })
            .then_expect_error(VideoRoomRejection::SameWindow);
    }
}

#[test]
fn given_failed_move_when_moved_to_where_it_was_then_moved_and_failures_are_forgotten() {
    let failed_after_move = [created(), moved(), change_failed(1)];

    given(failed_after_move)
        .when(VideoRoomCommand::Move { window: later_window() })
        .then_expect_events(vec![moved()]);
}

#[test]
fn given_open_when_moved_to_no_time_then_window_empty() {
    let (opens_at, expires_at) = (expires_at(), opens_at());
    let window = RoomWindow { opens_at, expires_at };

    given([created()])
        .when(VideoRoomCommand::Move { window })
        .then_expect_error(VideoRoomRejection::WindowEmpty { opens_at, expires_at });
}

#[test]
fn given_open_when_change_fails_then_failures_are_counted_until_it_succeeds() {
    given([creation_failed(3), created()]).when(FAIL_MOVE).then_expect_events(vec![change_failed(1)]);
    given([created(), change_failed(1)]).when(FAIL_MOVE).then_expect_events(vec![change_failed(2)]);
    given([created(), change_failed(1), moved()]).when(FAIL_MOVE).then_expect_events(vec![change_failed(1)]);
}

#[test]
fn given_open_when_access_granted_then_granted_for_the_window() {
    given([created()]).when(grant(opens_at())).then_expect_events(vec![granted_to(PARTICIPANT)]);
}

#[test]
fn given_window_over_when_access_granted_then_window_over() {
    given([created()])
        .when(grant(expires_at()))
        .then_expect_error(VideoRoomRejection::WindowOver { expires_at: expires_at() });
}

#[test]
fn given_many_participants_when_another_comes_then_too_many_but_the_known_may_return() {
    let mut events = vec![created(), granted_to(PARTICIPANT)];
    events.extend((1_000..1_099).map(|id| granted_to(ParticipantId::new(Uuid::from_u128(id)))));

    given(events.clone()).when(grant(opens_at())).then_expect_events(vec![granted_to(PARTICIPANT)]);
    given(events)
        .when(VideoRoomCommand::GrantAccess {
            participant_id: ParticipantId::new(Uuid::from_u128(7)),
            participant: ParticipantKind::Guest,
            now: opens_at(),
        })
        .then_expect_error(VideoRoomRejection::TooManyParticipants);
}

#[test]
fn given_room_when_somebody_joins_then_joined_once_and_named_only_with_a_link_of_ours() {
    let join = VideoRoomCommand::Join(stay());

    given([created()]).when(join.clone()).then_expect_events(vec![joined(None, SESSION)]);
    given([created(), granted_to(PARTICIPANT)])
        .when(join.clone())
        .then_expect_events(vec![joined(Some(PARTICIPANT), SESSION)]);
    given([created(), joined(None, SESSION)]).when(join).then_expect_events(vec![]);
}

#[test]
fn given_many_sessions_when_another_begins_then_too_many() {
    let mut events = vec![created()];
    events.extend((1_000..2_000).map(|id| joined(None, Uuid::from_u128(id))));
    for command in [VideoRoomCommand::Join(stay()), leave()] {
        given(events.clone()).when(command).then_expect_error(VideoRoomRejection::TooManySessions);
    }
}

#[test]
fn given_joined_or_not_when_somebody_leaves_then_left_once_and_joined_before() {
    let here = joined(Some(PARTICIPANT), SESSION);

    given([created(), granted_to(PARTICIPANT), here.clone()])
        .when(leave())
        .then_expect_events(vec![left(Some(PARTICIPANT))]);
    given([created(), granted_to(PARTICIPANT), EXPIRED])
        .when(leave())
        .then_expect_events(vec![here, left(Some(PARTICIPANT))]);
    given([created(), joined(None, SESSION), left(None)]).when(leave()).then_expect_events(vec![]);
}

#[test]
fn given_joined_when_sampled_then_sampled_in_order_of_time() {
    let events = [created(), granted_to(PARTICIPANT), joined(Some(PARTICIPANT), SESSION)];
    let (first, second) = (opens_at(), opens_at().saturating_add_micros(15_000_000));
    let after_the_first = [&events[..], &[sampled(first)]].concat();

    given(events).when(sample(first)).then_expect_events(vec![sampled(first)]);
    given(after_the_first.clone()).when(sample(second)).then_expect_events(vec![sampled(second)]);
    given(after_the_first).when(sample(first)).then_expect_events(vec![]);
}

#[test]
fn given_nobody_when_sampled_then_session_unknown() {
    given([created()])
        .when(sample(opens_at()))
        .then_expect_error(VideoRoomRejection::SessionUnknown { session_id: SESSION });
}

#[test]
fn given_open_when_expired_then_expired() {
    for events in [vec![created()], vec![created(), change_failed(1)], vec![created(), moved()]] {
        given(events).when(EXPIRE).then_expect_events(vec![EXPIRED]);
    }
}

#[test]
fn state_tells_the_window_and_what_was_tried() {
    let mut room = VideoRoom::default();
    let mut states = Vec::new();
    for event in [creation_failed(1), created(), change_failed(1), moved(), EXPIRED] {
        room.apply(event);
        states.push((room.window(), room.opening_count(), room.failure_count()));
    }

    let expected = [
        (None, 0, 1),
        (Some(window()), 1, 0),
        (Some(window()), 1, 1),
        (Some(later_window()), 1, 0),
        (None, 1, 0),
    ];
    assert_eq!(states, expected);
}

/// Made by Carelog itself.
fn embedded() -> VideoRoomEvent {
    VideoRoomEvent::Created(VideoRoomCreated {
        patient_id: PATIENT,
        appointment_id: APPOINTMENT,
        provider: RoomProvider::Embedded,
        opening: 1,
        opens_at: opens_at(),
        expires_at: expires_at(),
        adopted: false,
        personal: None,
    })
}

fn granted_link(link: u16) -> VideoRoomEvent {
    let VideoRoomEvent::AccessGranted(granted) = granted_to(PARTICIPANT) else { panic!("it is one") };
    VideoRoomEvent::AccessGranted(VideoRoomAccessGranted { link, ..granted })
}

const REISSUE_AT: fn(Timestamp) -> VideoRoomCommand =
    |now| VideoRoomCommand::ReissueAccess { participant_id: PARTICIPANT, now };
const REVOKE: VideoRoomCommand = VideoRoomCommand::RevokeAccess { participant_id: PARTICIPANT };

const fn revoked(link: u16) -> VideoRoomEvent {
    VideoRoomEvent::AccessRevoked(VideoRoomAccessRevoked {
        patient_id: PATIENT,
        appointment_id: APPOINTMENT,
        participant_id: PARTICIPANT,
        link,
    })
}

fn extended(minutes: i64) -> VideoRoomEvent {
    VideoRoomEvent::Extended(VideoRoomExtended {
        patient_id: PATIENT,
        appointment_id: APPOINTMENT,
        participant_id: PARTICIPANT,
        planned_expires_at: expires_at(),
        expires_at: expires_at().saturating_add_micros(minutes * 60_000_000),
    })
}

#[test]
fn given_embedded_when_created_then_nothing_is_personal() {
    let VideoRoomCommand::Create(create) = create() else { panic!("it is one") };
    let create = CreateRoom { provider: RoomProvider::Embedded, adopted: false, address: None, ..create };

    given([]).when(VideoRoomCommand::Create(create)).then_expect_events(vec![embedded()]);
}

#[test]
fn given_link_when_asked_again_then_it_is_shown_again_and_one_that_was_revoked_is_not() {
    given([embedded(), granted_link(1)]).when(grant(opens_at())).then_expect_events(vec![granted_link(1)]);
    given([embedded(), granted_link(1), revoked(1)])
        .when(grant(opens_at()))
        .then_expect_events(vec![granted_link(2)]);
}

#[test]
fn given_link_when_reissued_then_the_next_number() {
    given([embedded(), granted_link(1)])
        .when(REISSUE_AT(opens_at()))
        .then_expect_events(vec![granted_link(2)]);
    given([embedded(), granted_link(2), revoked(2)])
        .when(REISSUE_AT(opens_at()))
        .then_expect_events(vec![granted_link(3)]);
}

#[test]
fn given_link_when_revoked_then_revoked_once() {
    given([embedded(), granted_link(3)]).when(REVOKE).then_expect_events(vec![revoked(3)]);
    given([embedded(), granted_link(3), revoked(3)]).when(REVOKE).then_expect_events(vec![]);
}

#[test]
fn given_nobody_or_another_provider_when_reissued_or_revoked_then_refused() {
    for command in [REISSUE_AT(opens_at()), REVOKE] {
        given([embedded()])
            .when(command.clone())
            .then_expect_error(VideoRoomRejection::ParticipantUnknown { participant_id: PARTICIPANT });
        given([created(), granted_link(1)])
            .when(command.clone())
            .then_expect_error(VideoRoomRejection::LinkNotRevocable);
        given([]).when(command).then_expect_error(VideoRoomRejection::NotCreated);
    }
    given([embedded(), granted_link(1)])
        .when(REISSUE_AT(expires_at()))
        .then_expect_error(VideoRoomRejection::WindowOver { expires_at: expires_at() });
}

#[test]
fn given_open_when_extended_then_it_closes_later_and_not_without_end() {
    let now = opens_at();
    let extend = |minutes| VideoRoomCommand::Extend { participant_id: PARTICIPANT, minutes, now };

    given([embedded()]).when(extend(15)).then_expect_events(vec![extended(15)]);
    given([embedded(), extended(100)]).when(extend(20)).then_expect_events(vec![extended(120)]);
    for (events, minutes) in [(vec![embedded(), extended(100)], 21), (vec![embedded()], 0)] {
        given(events)
            .when(extend(minutes))
            .then_expect_error(VideoRoomRejection::ExtensionTooLong { most_minutes: 120 });
    }
}

#[test]
fn given_over_closed_or_elsewhere_when_extended_then_refused() {
    let extend = |now| VideoRoomCommand::Extend { participant_id: PARTICIPANT, minutes: 15, now };

    given([embedded()])
        .when(extend(expires_at()))
        .then_expect_error(VideoRoomRejection::WindowOver { expires_at: expires_at() });
    given([embedded(), EXPIRED]).when(extend(opens_at())).then_expect_error(VideoRoomRejection::NotOpen);
    given([created()]).when(extend(opens_at())).then_expect_error(VideoRoomRejection::NotExtensible);
}

#[test]
fn state_tells_which_link_leads_in_and_who_runs_the_room() {
    let mut room = VideoRoom::default();
    let mut states = Vec::new();
    for event in [embedded(), granted_link(1), granted_link(2), revoked(2), extended(15)] {
        room.apply(event);
        states.push((
            room.link(PARTICIPANT).map(|(_, link)| link),
            room.window().map(|window| window.expires_at),
        ));
    }

    let (planned, later) = (Some(expires_at()), Some(expires_at().saturating_add_micros(15 * 60_000_000)));
    assert_eq!(
        states,
        [(None, planned), (Some(1), planned), (Some(2), planned), (None, planned), (None, later)]
    );
    assert_eq!(room.provider(), Some(RoomProvider::Embedded));
}
