//! Recordings: asked for, begun, ended, stored or not kept.

use super::*;

const NO_CONSENT: RecordingLeave = RecordingLeave { has_consent: false, ..ALLOWED };
const DISABLED: RecordingLeave = RecordingLeave { is_enabled: false, ..ALLOWED };

fn request(leave: RecordingLeave) -> VideoRoomCommand {
    VideoRoomCommand::RequestRecording { leave, now: opens_at() }
}

const REQUESTED: VideoRoomEvent = VideoRoomEvent::RecordingRequested(VideoRoomRecordingRequested {
    patient_id: PATIENT,
    appointment_id: APPOINTMENT,
});

const fn request_stop(reason: RecordingEnd) -> VideoRoomCommand {
    VideoRoomCommand::RequestRecordingStop { reason }
}

const fn stop_requested(reason: RecordingEnd) -> VideoRoomEvent {
    VideoRoomEvent::RecordingStopRequested(VideoRoomRecordingStopRequested {
        patient_id: PATIENT,
        appointment_id: APPOINTMENT,
        reason,
    })
}

fn stop() -> VideoRoomCommand {
    VideoRoomCommand::StopRecording { recording_id: RECORDING, stopped_at: expires_at() }
}

fn stopped(reason: RecordingEnd) -> VideoRoomEvent {
    VideoRoomEvent::RecordingStopped(VideoRoomRecordingStopped {
        patient_id: PATIENT,
        appointment_id: APPOINTMENT,
        recording_id: RECORDING,
        stopped_at: expires_at(),
        reason,
    })
}

const FAIL: VideoRoomCommand = VideoRoomCommand::FailRecording {
    step: RecordingStep::Start,
    reason: RoomFailure::Unavailable,
    next_attempt_at: None,
};

const fn failed(attempt: u16) -> VideoRoomEvent {
    VideoRoomEvent::RecordingFailed(VideoRoomRecordingFailed {
        patient_id: PATIENT,
        appointment_id: APPOINTMENT,
        step: RecordingStep::Start,
        attempt,
        reason: RoomFailure::Unavailable,
        next_attempt_at: None,
    })
}

const DISCARD: VideoRoomCommand =
    VideoRoomCommand::DiscardRecording { recording_id: RECORDING, reason: DiscardReason::NoConsent };

const DISCARDED: VideoRoomEvent = VideoRoomEvent::RecordingDiscarded(VideoRoomRecordingDiscarded {
    patient_id: PATIENT,
    appointment_id: APPOINTMENT,
    recording_id: RECORDING,
    reason: DiscardReason::NoConsent,
});

#[test]
fn given_leave_when_recording_requested_then_requested_once() {
    given([created()]).when(request(ALLOWED)).then_expect_events(vec![REQUESTED]);
    given([created(), REQUESTED])
        .when(request(ALLOWED))
        .then_expect_error(VideoRoomRejection::AlreadyRecording);
    given([created(), REQUESTED, stop_requested(RecordingEnd::Requested)])
        .when(request(ALLOWED))
        .then_expect_events(vec![REQUESTED]);
}

#[test]
fn given_no_setting_or_no_consent_when_recording_requested_or_started_then_refused() {
    for command in [request, record] {
        given([created()]).when(command(DISABLED)).then_expect_error(VideoRoomRejection::RecordingNotEnabled);
        given([created()])
            .when(command(RecordingLeave { has_consent: false, ..DISABLED }))
            .then_expect_error(VideoRoomRejection::RecordingNotEnabled);
        given([created()])
            .when(command(NO_CONSENT))
            .then_expect_error(VideoRoomRejection::NoRecordingConsent);
    }
}

#[test]
fn given_leave_withdrawn_since_the_request_when_recording_starts_then_refused() {
    given([created(), REQUESTED])
        .when(record(NO_CONSENT))
        .then_expect_error(VideoRoomRejection::NoRecordingConsent);
}

#[test]
fn given_room_closed_or_over_when_recording_requested_then_refused() {
    given([created(), EXPIRED]).when(request(ALLOWED)).then_expect_error(VideoRoomRejection::NotOpen);
    given([created()])
        .when(VideoRoomCommand::RequestRecording { leave: ALLOWED, now: expires_at() })
        .then_expect_error(VideoRoomRejection::WindowOver { expires_at: expires_at() });
}

#[test]
fn given_embedded_room_when_recording_requested_then_requested() {
    given([embedded()]).when(request(ALLOWED)).then_expect_events(vec![REQUESTED]);
}

#[test]
fn given_embedded_room_that_is_recorded_when_its_specialist_leaves_then_the_recording_ends() {
    let of_specialist = |event| match event {
        VideoRoomEvent::ParticipantJoined(joined) => {
            let participant = Some(ParticipantKind::Specialist);
            VideoRoomEvent::ParticipantJoined(VideoRoomParticipantJoined { participant, ..joined })
        }
        VideoRoomEvent::ParticipantLeft(left) => {
            let participant = Some(ParticipantKind::Specialist);
            VideoRoomEvent::ParticipantLeft(VideoRoomParticipantLeft { participant, ..left })
        }
        other => other,
    };
    let granted = |participant| match granted_to(PARTICIPANT) {
        VideoRoomEvent::AccessGranted(granted) => {
            VideoRoomEvent::AccessGranted(VideoRoomAccessGranted { participant, ..granted })
        }
        _ => unreachable!("it was granted"),
    };
    let (here, gone) =
        (of_specialist(joined(Some(PARTICIPANT), SESSION)), of_specialist(left(Some(PARTICIPANT))));
    let specialist = granted(ParticipantKind::Specialist);
    let ended = stop_requested(RecordingEnd::Ended);
    given([embedded(), specialist.clone(), here.clone(), REQUESTED, recording()])
        .when(leave())
        .then_expect_events(vec![gone.clone(), ended]);
    // Elsewhere the provider records, and nobody else's page does.
    given([created(), specialist.clone(), here.clone(), REQUESTED, recording()])
        .when(leave())
        .then_expect_events(vec![gone.clone()]);
    given([embedded(), specialist, here]).when(leave()).then_expect_events(vec![gone]);
    given([embedded(), granted_to(PARTICIPANT), joined(Some(PARTICIPANT), SESSION), REQUESTED, recording()])
        .when(leave())
        .then_expect_events(vec![left(Some(PARTICIPANT))]);
}

#[test]
fn given_leave_when_recording_starts_then_started_once() {
    given([created()]).when(record(ALLOWED)).then_expect_events(vec![recording()]);
    given([created(), recording()]).when(record(ALLOWED)).then_expect_events(vec![]);
    given([created(), DISCARDED]).when(record(ALLOWED)).then_expect_events(vec![]);
}

#[test]
fn given_request_when_stop_requested_then_once_and_with_its_reason() {
    for reason in [RecordingEnd::Requested, RecordingEnd::ConsentWithdrawn, RecordingEnd::NotEnabled] {
        given([created(), REQUESTED])
            .when(request_stop(reason))
            .then_expect_events(vec![stop_requested(reason)]);
    }
    for events in [vec![created()], vec![created(), REQUESTED, stop_requested(RecordingEnd::Requested)]] {
        given(events)
            .when(request_stop(RecordingEnd::Requested))
            .then_expect_error(VideoRoomRejection::NotRecording);
    }
}

#[test]
fn given_recording_when_stopped_then_once_and_for_the_reason_that_was_asked() {
    let withdrawn = RecordingEnd::ConsentWithdrawn;
    given([created(), REQUESTED, recording(), stop_requested(withdrawn)])
        .when(stop())
        .then_expect_events(vec![stopped(withdrawn)]);
    given([created(), REQUESTED, recording()])
        .when(stop())
        .then_expect_events(vec![stopped(RecordingEnd::Ended)]);
    for end in [stopped(RecordingEnd::Ended), STORED, DISCARDED] {
        given([created(), recording(), end]).when(stop()).then_expect_events(vec![]);
    }
    given([created()])
        .when(stop())
        .then_expect_error(VideoRoomRejection::RecordingUnknown { recording_id: RECORDING });
}

#[test]
fn given_failures_when_recording_fails_then_they_are_counted_until_something_succeeds() {
    given([created(), REQUESTED]).when(FAIL).then_expect_events(vec![failed(1)]);
    given([created(), REQUESTED, failed(1)]).when(FAIL).then_expect_events(vec![failed(2)]);
    given([created(), failed(1), recording()]).when(FAIL).then_expect_events(vec![failed(1)]);
}

#[test]
fn given_recording_when_stored_then_stored_once() {
    given([created(), recording(), EXPIRED]).when(STORE).then_expect_events(vec![STORED]);
    given([created(), recording(), STORED]).when(STORE).then_expect_events(vec![]);
    given([created()])
        .when(STORE)
        .then_expect_error(VideoRoomRejection::RecordingUnknown { recording_id: RECORDING });
    given([created(), recording(), DISCARDED])
        .when(STORE)
        .then_expect_error(VideoRoomRejection::RecordingDiscarded { recording_id: RECORDING });
}

#[test]
fn given_recording_known_or_not_when_discarded_then_once_unless_stored() {
    for events in [vec![created()], vec![created(), recording()]] {
        given(events).when(DISCARD).then_expect_events(vec![DISCARDED]);
    }
    given([created(), DISCARDED]).when(DISCARD).then_expect_events(vec![]);
    given([created(), recording(), STORED])
        .when(DISCARD)
        .then_expect_error(VideoRoomRejection::RecordingStored { recording_id: RECORDING });
}

#[test]
fn given_many_recordings_when_another_begins_or_is_discarded_then_too_many() {
    let mut events = vec![created()];
    events.extend((1_000..1_100).map(|id| {
        VideoRoomEvent::RecordingStarted(VideoRoomRecordingStarted {
            patient_id: PATIENT,
            appointment_id: APPOINTMENT,
            recording_id: RecordingId::new(Uuid::from_u128(id)),
            started_at: opens_at(),
        })
    }));
    for command in [record(ALLOWED), DISCARD] {
        given(events.clone()).when(command).then_expect_error(VideoRoomRejection::TooManyRecordings);
    }
}

#[test]
fn state_tells_what_is_wanted_and_where_each_recording_stands() {
    let mut room = VideoRoom::default();
    let mut states = Vec::new();
    let withdrawn = RecordingEnd::ConsentWithdrawn;
    for event in
        [created(), REQUESTED, failed(1), recording(), stop_requested(withdrawn), stopped(withdrawn), STORED]
    {
        room.apply(event);
        let recordings = room.recordings().unwrap();
        states.push((
            recordings.is_wanted(),
            recordings.is_running(),
            recordings.phase(RECORDING),
            recordings.failure_count(),
            recordings.end(),
        ));
    }

    let expected = [
        (false, false, None, 0, None),
        (true, false, None, 0, None),
        (true, false, None, 1, None),
        (true, true, Some(RecordingPhase::Running), 0, None),
        (false, true, Some(RecordingPhase::Running), 0, Some(withdrawn)),
        (false, false, Some(RecordingPhase::Stopped), 0, Some(withdrawn)),
        (false, false, Some(RecordingPhase::Stored), 0, Some(withdrawn)),
    ];
    assert_eq!(states, expected);
    assert_eq!((ALLOWED.end(), NO_CONSENT.end()), (None, Some(withdrawn)));
    assert_eq!(DISABLED.end(), Some(RecordingEnd::NotEnabled));
}
