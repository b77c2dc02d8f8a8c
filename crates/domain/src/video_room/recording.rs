//! What is known of the recordings of an appointment's rooms, and what may be done with them.
//!
//! Nothing is recorded without leave: the clinic's setting and the patient's consent, both in force. The caller brings
//! what the log says of them at that moment; here it is asked again at every step that begins something.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Decision, DiscardReason, RecordingEnd, RecordingLeave, RoomAppointment, StoredRecording,
    VideoRoomCommand, VideoRoomEvent, VideoRoomRecordingDiscarded, VideoRoomRecordingFailed,
    VideoRoomRecordingRequested, VideoRoomRecordingStarted, VideoRoomRecordingStopRequested,
    VideoRoomRecordingStopped, VideoRoomRecordingStored, VideoRoomRejection,
};
use crate::Timestamp;
use crate::ids::RecordingId;

/// Recordings that are noted of one appointment: a bad network or many pauses make several.
const MAX_RECORDINGS: usize = 100;

/// Where a recording stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordingPhase {
    /// It goes on.
    Running,
    /// It ended, and lies with the provider, or in pieces in the clinic's storage.
    Stopped,
    /// It lies in the clinic's storage.
    Stored,
    /// It is not kept.
    Discarded,
}

/// The recordings of an appointment's rooms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recordings {
    phases: BTreeMap<RecordingId, RecordingPhase>,
    wanted: bool,
    /// Why the last one was to end.
    end: Option<RecordingEnd>,
    failures: u16,
}

impl RecordingLeave {
    /// # Errors
    /// What is lacking.
    pub const fn check(self) -> Result<(), VideoRoomRejection> {
        match self {
            Self { is_enabled: false, .. } => Err(VideoRoomRejection::RecordingNotEnabled),
            Self { has_consent: false, .. } => Err(VideoRoomRejection::NoRecordingConsent),
            Self { is_enabled: true, has_consent: true } => Ok(()),
        }
    }

    /// Why a recording has to end; nothing where it may go on.
    pub const fn end(self) -> Option<RecordingEnd> {
        match self {
            Self { is_enabled: false, .. } => Some(RecordingEnd::NotEnabled),
            Self { has_consent: false, .. } => Some(RecordingEnd::ConsentWithdrawn),
            Self { is_enabled: true, has_consent: true } => None,
        }
    }
}

impl Recordings {
    pub(super) const fn new() -> Self {
        Self { phases: BTreeMap::new(), wanted: false, end: None, failures: 0 }
    }

    /// Whether the consultation is to be recorded now.
    pub const fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Where a recording stands; nothing where it is not known.
    pub fn phase(&self, recording_id: RecordingId) -> Option<RecordingPhase> {
        self.phases.get(&recording_id).copied()
    }

    /// Those that are known.
    pub fn known(&self) -> impl Iterator<Item = (RecordingId, RecordingPhase)> {
        self.phases.iter().map(|(id, phase)| (*id, *phase))
    }

    /// Whether one goes on.
    pub fn is_running(&self) -> bool {
        self.known().any(|(_, phase)| phase == RecordingPhase::Running)
    }

    /// Why the last one was to end.
    pub const fn end(&self) -> Option<RecordingEnd> {
        self.end
    }

    /// Failures in a row of starting, stopping or fetching one.
    pub const fn failure_count(&self) -> u16 {
        self.failures
    }

    pub(super) fn request(&self, of: RoomAppointment, leave: RecordingLeave) -> Decision {
        leave.check()?;
        if self.wanted {
            return Err(VideoRoomRejection::AlreadyRecording);
        }
        let RoomAppointment { patient_id, appointment_id } = of;
        let requested = VideoRoomRecordingRequested { patient_id, appointment_id };
        Ok(vec![VideoRoomEvent::RecordingRequested(requested)])
    }

    /// What the provider tells, or a worker did, after the room was made.
    pub(super) fn decide(&self, of: RoomAppointment, command: &VideoRoomCommand) -> Decision {
        match *command {
            VideoRoomCommand::RequestRecordingStop { reason } => self.request_stop(of, reason),
            VideoRoomCommand::StartRecording { recording_id, started_at, leave } => {
                self.start(of, recording_id, started_at, leave)
            }
            VideoRoomCommand::StopRecording { recording_id, stopped_at } => {
                self.stop(of, recording_id, stopped_at)
            }
            VideoRoomCommand::FailRecording { step, reason, next_attempt_at } => {
                let RoomAppointment { patient_id, appointment_id } = of;
                Ok(vec![VideoRoomEvent::RecordingFailed(VideoRoomRecordingFailed {
                    patient_id,
                    appointment_id,
                    step,
                    attempt: self.failures.saturating_add(1),
                    reason,
                    next_attempt_at,
                })])
            }
            VideoRoomCommand::StoreRecording(stored) => self.store(of, stored),
            VideoRoomCommand::DiscardRecording { recording_id, reason } => {
                self.discard(of, recording_id, reason)
            }
            // Nothing of recordings.
            VideoRoomCommand::Create(_)
            | VideoRoomCommand::FailCreation { .. }
            | VideoRoomCommand::Move { .. }
            | VideoRoomCommand::FailChange { .. }
            | VideoRoomCommand::GrantAccess { .. }
            | VideoRoomCommand::ReissueAccess { .. }
            | VideoRoomCommand::RevokeAccess { .. }
            | VideoRoomCommand::Extend { .. }
            | VideoRoomCommand::Join(_)
            | VideoRoomCommand::Leave { .. }
            | VideoRoomCommand::SampleQuality(_)
            | VideoRoomCommand::RequestRecording { .. }
            | VideoRoomCommand::Expire { .. } => Ok(Vec::new()),
        }
    }

    fn request_stop(&self, of: RoomAppointment, reason: RecordingEnd) -> Decision {
        if !self.wanted {
            return Err(VideoRoomRejection::NotRecording);
        }
        let RoomAppointment { patient_id, appointment_id } = of;
        let requested = VideoRoomRecordingStopRequested { patient_id, appointment_id, reason };
        Ok(vec![VideoRoomEvent::RecordingStopRequested(requested)])
    }

    fn start(
        &self,
        of: RoomAppointment,
        recording_id: RecordingId,
        started_at: Timestamp,
        leave: RecordingLeave,
    ) -> Decision {
        leave.check()?;
        if self.phases.contains_key(&recording_id) {
            return Ok(Vec::new());
        }
        self.has_room()?;
        let RoomAppointment { patient_id, appointment_id } = of;
        let started = VideoRoomRecordingStarted { patient_id, appointment_id, recording_id, started_at };
        Ok(vec![VideoRoomEvent::RecordingStarted(started)])
    }

    fn has_room(&self) -> Result<(), VideoRoomRejection> {
        if self.phases.len() >= MAX_RECORDINGS {
            return Err(VideoRoomRejection::TooManyRecordings);
        }
        Ok(())
    }

    fn stop(&self, of: RoomAppointment, recording_id: RecordingId, stopped_at: Timestamp) -> Decision {
        match self.phase(recording_id) {
            None => Err(VideoRoomRejection::RecordingUnknown { recording_id }),
            Some(RecordingPhase::Stopped | RecordingPhase::Stored | RecordingPhase::Discarded) => {
                Ok(Vec::new())
            }
            Some(RecordingPhase::Running) => {
                let RoomAppointment { patient_id, appointment_id } = of;
                // One that is still wanted ended by itself.
                let reason = self.end.filter(|_| !self.wanted).unwrap_or(RecordingEnd::Ended);
                Ok(vec![VideoRoomEvent::RecordingStopped(VideoRoomRecordingStopped {
                    patient_id,
                    appointment_id,
                    recording_id,
                    stopped_at,
                    reason,
                })])
            }
        }
    }

    fn store(&self, of: RoomAppointment, stored: StoredRecording) -> Decision {
        let StoredRecording { recording_id, file_id, duration_seconds, size_bytes } = stored;
        match self.phase(recording_id) {
            None => Err(VideoRoomRejection::RecordingUnknown { recording_id }),
            Some(RecordingPhase::Discarded) => Err(VideoRoomRejection::RecordingDiscarded { recording_id }),
            Some(RecordingPhase::Stored) => Ok(Vec::new()),
            Some(RecordingPhase::Running | RecordingPhase::Stopped) => {
                let RoomAppointment { patient_id, appointment_id } = of;
                Ok(vec![VideoRoomEvent::RecordingStored(VideoRoomRecordingStored {
                    patient_id,
                    appointment_id,
                    recording_id,
                    file_id,
                    duration_seconds,
                    size_bytes,
                })])
            }
        }
    }

    fn discard(&self, of: RoomAppointment, recording_id: RecordingId, reason: DiscardReason) -> Decision {
        match self.phase(recording_id) {
            Some(RecordingPhase::Stored) => Err(VideoRoomRejection::RecordingStored { recording_id }),
            Some(RecordingPhase::Discarded) => Ok(Vec::new()),
            known => {
                if known.is_none() {
                    self.has_room()?;
                }
                let RoomAppointment { patient_id, appointment_id } = of;
                Ok(vec![VideoRoomEvent::RecordingDiscarded(VideoRoomRecordingDiscarded {
                    patient_id,
                    appointment_id,
                    recording_id,
                    reason,
                })])
            }
        }
    }

    pub(super) fn apply(&mut self, event: &VideoRoomEvent) {
        match event {
            VideoRoomEvent::RecordingRequested(_) => {
                self.wanted = true;
                self.end = None;
                self.failures = 0;
            }
            VideoRoomEvent::RecordingStopRequested(requested) => {
                self.wanted = false;
                self.end = Some(requested.reason);
                self.failures = 0;
            }
            VideoRoomEvent::RecordingStarted(started) => {
                self.reach(started.recording_id, RecordingPhase::Running);
            }
            VideoRoomEvent::RecordingStopped(stopped) => {
                self.wanted = false;
                self.reach(stopped.recording_id, RecordingPhase::Stopped);
            }
            VideoRoomEvent::RecordingFailed(failed) => self.failures = failed.attempt,
            VideoRoomEvent::RecordingStored(stored) => {
                self.reach(stored.recording_id, RecordingPhase::Stored);
            }
            VideoRoomEvent::RecordingDiscarded(discarded) => {
                self.reach(discarded.recording_id, RecordingPhase::Discarded);
            }
            // Whatever still runs ends with the room.
            VideoRoomEvent::Expired(_) => self.wanted = false,
            VideoRoomEvent::Created(_)
            | VideoRoomEvent::CreationFailed(_)
            | VideoRoomEvent::Moved(_)
            | VideoRoomEvent::ChangeFailed(_)
            | VideoRoomEvent::AccessGranted(_)
            | VideoRoomEvent::AccessRevoked(_)
            | VideoRoomEvent::Extended(_)
            | VideoRoomEvent::ParticipantJoined(_)
            | VideoRoomEvent::ParticipantLeft(_)
            | VideoRoomEvent::QualitySampled(_) => {}
        }
    }

    fn reach(&mut self, recording_id: RecordingId, phase: RecordingPhase) {
        self.phases.insert(recording_id, phase);
        self.failures = 0;
    }
}
