//! What is known of a room once anything is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::recording::Recordings;
use super::{
    Decision, ParticipantKind, QualitySample, RecordingEnd, RoomAppointment, RoomProvider, RoomWindow, Stay,
    VideoRoomAccessGranted, VideoRoomAccessRevoked, VideoRoomChangeFailed, VideoRoomCommand, VideoRoomEvent,
    VideoRoomExpired, VideoRoomExtended, VideoRoomMoved, VideoRoomParticipantJoined,
    VideoRoomParticipantLeft, VideoRoomQualitySampled, VideoRoomRejection,
};
use crate::Timestamp;
use crate::ids::ParticipantId;

/// People who are given links to the rooms of one appointment.
const MAX_PARTICIPANTS: usize = 100;
/// Stays that are noted of one appointment: a bad network makes many of one person.
const MAX_SESSIONS: usize = 1_000;
/// How long a room can stay open beyond what its appointment says: nobody is kept waiting for longer.
const MAX_EXTENSION_MINUTES: u16 = 120;
const MINUTE_MICROS: i64 = 60_000_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Course {
    appointment: RoomAppointment,
    /// Of the room that is open.
    pub(super) window: Option<RoomWindow>,
    /// When it was to close by its appointment.
    planned_expires_at: Option<Timestamp>,
    pub(super) provider: Option<RoomProvider>,
    pub(super) opening: u16,
    pub(super) failures: u16,
    participants: BTreeMap<ParticipantId, Participant>,
    sessions: BTreeMap<Uuid, Session>,
    pub(super) recordings: Recordings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Participant {
    kind: ParticipantKind,
    /// Number of the newest link.
    link: u16,
    is_revoked: bool,
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
            planned_expires_at: None,
            provider: None,
            opening: 0,
            failures: 0,
            participants: BTreeMap::new(),
            sessions: BTreeMap::new(),
            recordings: Recordings::new(),
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
                let known = self.participants.get(&participant_id);
                // Whoever has a link sees it once more; one that was revoked stays so.
                let link = known.map_or(1, |known| known.link.saturating_add(u16::from(known.is_revoked)));
                self.grant(participant_id, participant, link, now)
            }
            VideoRoomCommand::ReissueAccess { participant_id, now } => {
                let known = self.participant(participant_id)?;
                self.grant(participant_id, known.kind, known.link.saturating_add(1), now)
            }
            VideoRoomCommand::RevokeAccess { participant_id } => self.revoke(participant_id),
            VideoRoomCommand::Extend { participant_id, minutes, now } => {
                self.extend(participant_id, minutes, now)
            }
            VideoRoomCommand::Join(stay) => self.join(stay),
            VideoRoomCommand::Leave { stay, duration_seconds } => self.leave(stay, duration_seconds),
            VideoRoomCommand::SampleQuality(sample) => self.sample(sample),
            VideoRoomCommand::RequestRecording { leave, now } => {
                let window = self.open_window()?;
                if window.expires_at <= now {
                    return Err(VideoRoomRejection::WindowOver { expires_at: window.expires_at });
                }
                self.recordings.request(self.appointment, leave)
            }
            VideoRoomCommand::RequestRecordingStop { .. }
            | VideoRoomCommand::StartRecording { .. }
            | VideoRoomCommand::StopRecording { .. }
            | VideoRoomCommand::FailRecording { .. }
            | VideoRoomCommand::StoreRecording(_)
            | VideoRoomCommand::DiscardRecording { .. } => {
                self.was_created()?;
                self.recordings.decide(self.appointment, command)
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

    fn grant(
        &self,
        participant_id: ParticipantId,
        participant: ParticipantKind,
        link: u16,
        now: Timestamp,
    ) -> Decision {
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
            link,
            valid_from: window.opens_at,
            valid_until: window.expires_at,
        })])
    }

    fn participant(&self, participant_id: ParticipantId) -> Result<Participant, VideoRoomRejection> {
        self.was_created()?;
        // Elsewhere, what was given out keeps working until its end.
        if self.provider != Some(RoomProvider::Embedded) {
            return Err(VideoRoomRejection::LinkNotRevocable);
        }
        let known = self.participants.get(&participant_id).copied();
        known.ok_or(VideoRoomRejection::ParticipantUnknown { participant_id })
    }

    /// The part and the number of the link that leads in.
    pub(super) fn link(&self, participant_id: ParticipantId) -> Option<(ParticipantKind, u16)> {
        let known = self.participants.get(&participant_id)?;
        (!known.is_revoked).then_some((known.kind, known.link))
    }

    fn revoke(&self, participant_id: ParticipantId) -> Decision {
        let known = self.participant(participant_id)?;
        if known.is_revoked {
            return Ok(Vec::new());
        }
        let RoomAppointment { patient_id, appointment_id } = self.appointment;
        let link = known.link;
        let revoked = VideoRoomAccessRevoked { patient_id, appointment_id, participant_id, link };
        Ok(vec![VideoRoomEvent::AccessRevoked(revoked)])
    }

    fn extend(&self, participant_id: ParticipantId, minutes: u16, now: Timestamp) -> Decision {
        let window = self.open_window()?;
        if self.provider != Some(RoomProvider::Embedded) {
            return Err(VideoRoomRejection::NotExtensible);
        }
        if window.expires_at <= now {
            return Err(VideoRoomRejection::WindowOver { expires_at: window.expires_at });
        }
        let planned_expires_at = self.planned_expires_at.unwrap_or(window.expires_at);
        let expires_at = window.expires_at.saturating_add_micros(i64::from(minutes) * MINUTE_MICROS);
        let most = planned_expires_at.saturating_add_micros(i64::from(MAX_EXTENSION_MINUTES) * MINUTE_MICROS);
        if minutes == 0 || expires_at > most {
            return Err(VideoRoomRejection::ExtensionTooLong { most_minutes: MAX_EXTENSION_MINUTES });
        }
        let RoomAppointment { patient_id, appointment_id } = self.appointment;
        Ok(vec![VideoRoomEvent::Extended(VideoRoomExtended {
            patient_id,
            appointment_id,
            participant_id,
            planned_expires_at,
            expires_at,
        })])
    }

    /// Ours, with their part; whoever came by another link is nobody.
    fn known(&self, stay: Stay) -> (Option<ParticipantId>, Option<ParticipantKind>) {
        let found = stay.participant_id.and_then(|id| self.participants.get_key_value(&id));
        (found.map(|(id, _)| *id), found.map(|(_, known)| known.kind))
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
        // The specialist's page is what records here.
        let is_specialist = participant == Some(ParticipantKind::Specialist);
        if is_specialist && self.provider == Some(RoomProvider::Embedded) && self.recordings.is_wanted() {
            let stop = VideoRoomCommand::RequestRecordingStop { reason: RecordingEnd::Ended };
            events.extend(self.recordings.decide(self.appointment, &stop)?);
        }
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
            freeze_count: sample.freeze_count,
        })])
    }

    pub(super) const fn open(&mut self, opening: u16, provider: RoomProvider, window: RoomWindow) {
        self.opening = opening;
        self.provider = Some(provider);
        self.window = Some(window);
        self.planned_expires_at = Some(window.expires_at);
        self.failures = 0;
    }

    pub(super) fn apply(&mut self, event: &VideoRoomEvent) {
        self.recordings.apply(event);
        match event {
            VideoRoomEvent::Moved(moved) => {
                self.window = Some(RoomWindow { opens_at: moved.opens_at, expires_at: moved.expires_at });
                self.planned_expires_at = Some(moved.expires_at);
                self.failures = 0;
            }
            VideoRoomEvent::ChangeFailed(failed) => self.failures = failed.attempt,
            VideoRoomEvent::AccessGranted(granted) => {
                let VideoRoomAccessGranted { participant: kind, link, .. } = *granted;
                let known = Participant { kind, link, is_revoked: false };
                self.participants.insert(granted.participant_id, known);
            }
            VideoRoomEvent::AccessRevoked(revoked) => {
                if let Some(known) = self.participants.get_mut(&revoked.participant_id) {
                    known.is_revoked = true;
                }
            }
            VideoRoomEvent::Extended(extended) => {
                if let Some(window) = &mut self.window {
                    window.expires_at = extended.expires_at;
                }
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
            // Made the course, or began it anew; or noted with the recordings.
            VideoRoomEvent::Created(_)
            | VideoRoomEvent::CreationFailed(_)
            | VideoRoomEvent::RecordingRequested(_)
            | VideoRoomEvent::RecordingStopRequested(_)
            | VideoRoomEvent::RecordingStarted(_)
            | VideoRoomEvent::RecordingStopped(_)
            | VideoRoomEvent::RecordingFailed(_)
            | VideoRoomEvent::RecordingStored(_)
            | VideoRoomEvent::RecordingDiscarded(_) => {}
            VideoRoomEvent::Expired(_) => {
                self.window = None;
                self.failures = 0;
            }
        }
    }
}
