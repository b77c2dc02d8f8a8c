//! What can be asked of a video room, and how it refuses.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::events::{
    NetworkState, ParticipantKind, RoomAddress, RoomChange, RoomEnd, RoomFailure, RoomProvider,
};
use crate::Timestamp;
use crate::aggregate::rejections;
use crate::ids::{AppointmentId, ParticipantId, PatientId, RecordingId};

/// A wish about a video room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VideoRoomCommand {
    /// Tell that it was made.
    Create(CreateRoom),
    /// Tell that it could not be made.
    FailCreation {
        /// For whom.
        appointment: RoomAppointment,
        /// Why.
        reason: RoomFailure,
        /// When it is tried again.
        next_attempt_at: Option<Timestamp>,
    },
    /// Tell that its window moved.
    Move {
        /// The new window.
        window: RoomWindow,
    },
    /// Tell that it could not be moved or closed.
    FailChange {
        /// What was to be done.
        change: RoomChange,
        /// Why not.
        reason: RoomFailure,
        /// When it is tried again.
        next_attempt_at: Option<Timestamp>,
    },
    /// Let somebody in.
    GrantAccess {
        /// The id under which the provider will report them.
        participant_id: ParticipantId,
        /// In what part they take part.
        participant: ParticipantKind,
        /// When this is asked.
        now: Timestamp,
    },
    /// Tell that somebody came.
    Join(Stay),
    /// Tell that somebody left; where their coming was not told, it is told too.
    Leave {
        /// Their stay.
        stay: Stay,
        /// For how many seconds they had been there.
        duration_seconds: u32,
    },
    /// Tell how somebody's network does.
    SampleQuality(QualitySample),
    /// Tell that a recording began.
    StartRecording {
        /// As the provider names it.
        recording_id: RecordingId,
        /// When it began.
        started_at: Timestamp,
        /// What allows it.
        leave: RecordingLeave,
    },
    /// Tell that a recording lies in the clinic's storage.
    StoreRecording {
        /// As the provider names it.
        recording_id: RecordingId,
        /// How long it is.
        duration_seconds: u32,
        /// How large it is.
        size_bytes: i64,
    },
    /// Tell that it is closed.
    Expire {
        /// Why.
        reason: RoomEnd,
    },
}

/// The appointment that a room is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomAppointment {
    /// The patient.
    pub patient_id: PatientId,
    /// The appointment.
    pub appointment_id: AppointmentId,
}

/// When a room can be entered: from the join window before the appointment until the grace after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomWindow {
    /// From this moment.
    pub opens_at: Timestamp,
    /// Until this moment.
    pub expires_at: Timestamp,
}

/// A room that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateRoom {
    /// For whom.
    pub appointment: RoomAppointment,
    /// Who runs it.
    pub provider: RoomProvider,
    /// When it can be entered.
    pub window: RoomWindow,
    /// Whether it was found, and not made just now.
    pub adopted: bool,
    /// Where it is.
    pub address: RoomAddress,
}

/// Somebody's stay in a room, as the provider tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// Who, where the link was one of ours.
    pub participant_id: Option<ParticipantId>,
    /// Names the stay.
    pub session_id: Uuid,
    /// When they came.
    pub joined_at: Timestamp,
}

/// How a participant's network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QualitySample {
    /// Names the stay.
    pub session_id: Uuid,
    /// When it was measured.
    pub sampled_at: Timestamp,
    /// How well it does.
    pub state: NetworkState,
    /// In milliseconds.
    pub round_trip_ms: Option<u32>,
    /// In milliseconds.
    pub jitter_ms: Option<u32>,
    /// Of a thousand packets.
    pub send_loss_permille: Option<u16>,
    /// Of a thousand packets.
    pub receive_loss_permille: Option<u16>,
    /// In kilobits per second.
    pub sent_kbps: Option<u32>,
    /// In kilobits per second.
    pub received_kbps: Option<u32>,
}

/// What has to be in force for a recording to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordingLeave {
    /// Whether the clinic records at all.
    pub is_enabled: bool,
    /// Whether the patient has agreed, and not withdrawn it.
    pub has_consent: bool,
}

rejections! {
    /// Why a video room refuses a command.
    pub enum VideoRoomRejection {
        NotCreated = NotFound "video_room_not_created", "there is no video room for this appointment";
        NotOpen = Conflict "video_room_not_open", "the video room is closed";
        AlreadyOpen = Conflict "video_room_already_open", "the appointment has a video room already";
        WindowEmpty { opens_at: Timestamp, expires_at: Timestamp } = Invalid "video_room_window_empty",
            "the video room would close at {expires_at}, not after it opens at {opens_at}";
        SameWindow = Conflict "video_room_same_window", "the video room has this window already";
        WindowOver { expires_at: Timestamp } = Conflict "video_room_window_over",
            "the video room closed at {expires_at}";
        TooManyParticipants = Conflict "video_room_too_many_participants",
            "more links to the video room were given out than anybody can need";
        TooManySessions = Conflict "video_room_too_many_sessions",
            "more people came to the video room than can be noted";
        SessionUnknown { session_id: Uuid } = NotFound "video_room_session_unknown",
            "nobody came to the video room in the session {session_id}";
        RecordingNotEnabled = Conflict "recording_not_enabled", "the clinic does not record consultations";
        NoRecordingConsent = Conflict "no_recording_consent",
            "the patient has not agreed to recording, or no longer does";
        RecordingUnknown { recording_id: RecordingId } = NotFound "recording_unknown",
            "there is no recording {recording_id}";
    }
}
