//! What is known of a room once anything is.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Decision, ParticipantKind, QualitySample, RecordingLeave, RoomAppointment, RoomWindow, Stay,
    VideoRoomAccessGranted, VideoRoomChangeFailed, VideoRoomCommand, VideoRoomEvent, VideoRoomExpired,
    VideoRoomMoved, VideoRoomParticipantJoined, VideoRoomParticipantLeft, VideoRoomQualitySampled,
    VideoRoomRecordingStarted, VideoRoomRecordingStored, VideoRoomRejection,
};
use crate::Timestamp;
use crate::ids::{ParticipantId, RecordingId};

/// People who are given links to the rooms of one appointment.
const MAX_PARTICIPANTS: usize = 100;
/// Stays that are noted of one appointment: a bad network makes many of one person.
const MAX_SESSIONS: usize = 1_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Course {
    appointment: RoomAppointment,
    /// Of the room that is open.
    pub(super) window: Option<RoomWindow>,
    pub(super) opening: u16,
    pub(super) failures: u16,
    participants: BTreeMap<ParticipantId, ParticipantKind>,
    sessions: BTreeMap<Uuid, Session>,
    recordings: BTreeSet<RecordingId>,
    stored: BTreeSet<RecordingId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    participant_id: Option<ParticipantId>,
    is_over: bool,
    sampled_at: Option<Timestamp>,
}

pub(super) fn check_window(window: RoomWindow) -> Result<(), VideoRoomRejection> {
    let RoomWindow { opens_at, expires_at } = window;
    if expires_at <= opens_at {
        return Err(VideoRoomRejection::WindowEmpty { opens_at, expires_at });
    }
    Ok(())
}

impl Course {
    pub(super) const fn of(appointment: RoomAppointment) -> Self {
        Self {
            appointment,
            window: None,
            opening: 0,
            failures: 0,
            participants: BTreeMap::new(),
            sessions: BTreeMap::new(),
            recordings: BTreeSet::new(),
            stored: BTreeSet::new(),
        }
    }

    pub(super) fn decide(&self, command: &VideoRoomCommand) -> Decision {
        match *command {
            // Decided before there is a course.
            VideoRoomCommand::Create(_) | VideoRoomCommand::FailCreation { .. } => {
                Err(VideoRoomRejection::AlreadyOpen)
            }
            VideoRoomCommand::Move { window } => self.change_window(window),
            VideoRoomCommand::FailChange { change, reason, next_attempt_at } => {
                self.open_window()?;
                let RoomAppointment { patient_id, appointment_id } = self.appointment;
                Ok(vec![VideoRoomEvent::ChangeFailed(VideoRoomChangeFailed {
                    patient_id,
                    appointment_id,
                    change,
                    attempt: self.failures.saturating_add(1),
                    reason,
                    next_attempt_at,
                })])
            }
            VideoRoomCommand::GrantAccess { participant_id, participant, now } => {
                self.grant(participant_id, participant, now)
            }
            VideoRoomCommand::Join(stay) => self.join(stay),
            VideoRoomCommand::Leave { stay, duration_seconds } => self.leave(stay, duration_seconds),
            VideoRoomCommand::SampleQuality(sample) => self.sample(sample),
            VideoRoomCommand::StartRecording { recording_id, started_at, leave } => {
                self.start_recording(recording_id, started_at, leave)
            }
            VideoRoomCommand::StoreRecording { recording_id, duration_seconds, size_bytes } => {
                self.store_recording(recording_id, duration_seconds, size_bytes)
            }
            VideoRoomCommand::Expire { reason } => {
                self.open_window()?;
                let RoomAppointment { patient_id, appointment_id } = self.appointment;
                let expired = VideoRoomExpired { patient_id, appointment_id, reason };
                Ok(vec![VideoRoomEvent::Expired(expired)])
            }
        }
    }

    fn open_window(&self) -> Result<RoomWindow, VideoRoomRejection> {
        match self.window {
            Some(window) => Ok(window),
            None if self.opening == 0 => Err(VideoRoomRejection::NotCreated),
            None => Err(VideoRoomRejection::NotOpen),
        }
    }

    /// What the provider tells of a room may come after it has closed.
    const fn was_created(&self) -> Result<(), VideoRoomRejection> {
        if self.opening == 0 { Err(VideoRoomRejection::NotCreated) } else { Ok(()) }
    }

    fn change_window(&self, window: RoomWindow) -> Decision {
        // After a failure, that it is where it was is news.
        if self.open_window()? == window && self.failures == 0 {
            return Err(VideoRoomRejection::SameWindow);
        }
        check_window(window)?;
        let RoomAppointment { patient_id, appointment_id } = self.appointment;
        let RoomWindow { opens_at, expires_at } = window;
        let moved = VideoRoomMoved { patient_id, appointment_id, opens_at, expires_at };
        Ok(vec![VideoRoomEvent::Moved(moved)])
    }

    fn grant(&self, participant_id: ParticipantId, participant: ParticipantKind, now: Timestamp) -> Decision {
        let window = self.open_window()?;
        if window.expires_at <= now {
            return Err(VideoRoomRejection::WindowOver { expires_at: window.expires_at });
        }
        if self.participants.len() >= MAX_PARTICIPANTS && !self.participants.contains_key(&participant_id) {
            return Err(VideoRoomRejection::TooManyParticipants);
        }
        let RoomAppointment { patient_id, appointment_id } = self.appointment;
        Ok(vec![VideoRoomEvent::AccessGranted(VideoRoomAccessGranted {
            patient_id,
            appointment_id,
            participant_id,
            participant,
            valid_from: window.opens_at,
            valid_until: window.expires_at,
        })])
    }

    /// Ours, with their part; whoever came by another link is nobody.
    fn known(&self, stay: Stay) -> (Option<ParticipantId>, Option<ParticipantKind>) {
        let found = stay.participant_id.and_then(|id| self.participants.get_key_value(&id));
        (found.map(|(id, _)| *id), found.map(|(_, kind)| *kind))
    }

    fn joined(&self, stay: Stay) -> VideoRoomEvent {
        let RoomAppointment { patient_id, appointment_id } = self.appointment;
        let (participant_id, participant) = self.known(stay);
        VideoRoomEvent::ParticipantJoined(VideoRoomParticipantJoined {
            patient_id,
            appointment_id,
            participant_id,
            participant,
            session_id: stay.session_id,
            joined_at: stay.joined_at,
        })
    }

    fn join(&self, stay: Stay) -> Decision {
        self.was_created()?;
        if self.sessions.contains_key(&stay.session_id) {
            return Ok(Vec::new());
        }
        if self.sessions.len() >= MAX_SESSIONS {
            return Err(VideoRoomRejection::TooManySessions);
        }
        Ok(vec![self.joined(stay)])
    }

    fn leave(&self, stay: Stay, duration_seconds: u32) -> Decision {
        if self.sessions.get(&stay.session_id).is_some_and(|session| session.is_over) {
            return Ok(Vec::new());
        }
        let mut events = self.join(stay)?;
        let RoomAppointment { patient_id, appointment_id } = self.appointment;
        let (participant_id, participant) = self.known(stay);
        events.push(VideoRoomEvent::ParticipantLeft(VideoRoomParticipantLeft {
            patient_id,
            appointment_id,
            participant_id,
            participant,
            session_id: stay.session_id,
            left_at: stay.joined_at.saturating_add_micros(i64::from(duration_seconds) * 1_000_000),
            duration_seconds,
        }));
        Ok(events)
    }

    fn sample(&self, sample: QualitySample) -> Decision {
        let session_id = sample.session_id;
        let session =
            self.sessions.get(&session_id).ok_or(VideoRoomRejection::SessionUnknown { session_id })?;
        if session.sampled_at.is_some_and(|last| sample.sampled_at <= last) {
            return Ok(Vec::new());
        }
        let RoomAppointment { patient_id, appointment_id } = self.appointment;
        Ok(vec![VideoRoomEvent::QualitySampled(VideoRoomQualitySampled {
            patient_id,
            appointment_id,
            participant_id: session.participant_id,
            session_id,
            sampled_at: sample.sampled_at,
            state: sample.state,
            round_trip_ms: sample.round_trip_ms,
            jitter_ms: sample.jitter_ms,
            send_loss_permille: sample.send_loss_permille,
            receive_loss_permille: sample.receive_loss_permille,
            sent_kbps: sample.sent_kbps,
            received_kbps: sample.received_kbps,
        })])
    }

    fn start_recording(
        &self,
        recording_id: RecordingId,
        started_at: Timestamp,
        leave: RecordingLeave,
    ) -> Decision {
        self.was_created()?;
        if !leave.is_enabled {
            return Err(VideoRoomRejection::RecordingNotEnabled);
        }
        if !leave.has_consent {
            return Err(VideoRoomRejection::NoRecordingConsent);
        }
        if self.recordings.contains(&recording_id) {
            return Ok(Vec::new());
        }
        let RoomAppointment { patient_id, appointment_id } = self.appointment;
        let started = VideoRoomRecordingStarted { patient_id, appointment_id, recording_id, started_at };
        Ok(vec![VideoRoomEvent::RecordingStarted(started)])
    }

    fn store_recording(&self, recording_id: RecordingId, duration_seconds: u32, size_bytes: i64) -> Decision {
        if !self.recordings.contains(&recording_id) {
            return Err(VideoRoomRejection::RecordingUnknown { recording_id });
        }
        if self.stored.contains(&recording_id) {
            return Ok(Vec::new());
        }
        let RoomAppointment { patient_id, appointment_id } = self.appointment;
        Ok(vec![VideoRoomEvent::RecordingStored(VideoRoomRecordingStored {
            patient_id,
            appointment_id,
            recording_id,
            duration_seconds,
            size_bytes,
        })])
    }

    pub(super) const fn open(&mut self, opening: u16, window: RoomWindow) {
        self.opening = opening;
        self.window = Some(window);
        self.failures = 0;
    }

    pub(super) fn apply(&mut self, event: &VideoRoomEvent) {
        match event {
            // Made the course, or began it anew.
            VideoRoomEvent::Created(_) | VideoRoomEvent::CreationFailed(_) => {}
            VideoRoomEvent::Moved(moved) => {
                self.window = Some(RoomWindow { opens_at: moved.opens_at, expires_at: moved.expires_at });
                self.failures = 0;
            }
            VideoRoomEvent::ChangeFailed(failed) => self.failures = failed.attempt,
            VideoRoomEvent::AccessGranted(granted) => {
                self.participants.insert(granted.participant_id, granted.participant);
            }
            VideoRoomEvent::ParticipantJoined(joined) => {
                let session =
                    Session { participant_id: joined.participant_id, is_over: false, sampled_at: None };
                self.sessions.insert(joined.session_id, session);
            }
            VideoRoomEvent::ParticipantLeft(left) => {
                if let Some(session) = self.sessions.get_mut(&left.session_id) {
                    session.is_over = true;
                }
            }
            VideoRoomEvent::QualitySampled(sampled) => {
                if let Some(session) = self.sessions.get_mut(&sampled.session_id) {
                    session.sampled_at = Some(sampled.sampled_at);
                }
            }
            VideoRoomEvent::RecordingStarted(started) => {
                self.recordings.insert(started.recording_id);
            }
            VideoRoomEvent::RecordingStored(stored) => {
                self.stored.insert(stored.recording_id);
            }
            VideoRoomEvent::Expired(_) => {
                self.window = None;
                self.failures = 0;
            }
        }
    }
}
