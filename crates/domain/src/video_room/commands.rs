//! What can be asked of a video room, and how it refuses.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::events::{
    DiscardReason, NetworkState, ParticipantKind, RecordingEnd, RecordingStep, RoomAddress, RoomChange,
    RoomEnd, RoomFailure, RoomProvider,
};
use crate::Timestamp;
use crate::aggregate::rejections;
use crate::ids::{AppointmentId, FileId, ParticipantId, PatientId, RecordingId};

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
    /// Give somebody another link in place of the one they have.
    ReissueAccess {
        /// Whose.
        participant_id: ParticipantId,
        /// When this is asked.
        now: Timestamp,
    },
    /// Let somebody's link lead nowhere any more.
    RevokeAccess {
        /// Whose.
        participant_id: ParticipantId,
    },
    /// Let the room stay open for longer.
    Extend {
        /// Who asks for it.
        participant_id: ParticipantId,
        /// By so many minutes.
        minutes: u16,
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
    /// Ask that the consultation be recorded.
    RequestRecording {
        /// What allows it.
        leave: RecordingLeave,
        /// When this is asked.
        now: Timestamp,
    },
    /// Ask that the recording end.
    RequestRecordingStop {
        /// Why.
        reason: RecordingEnd,
    },
    /// Tell that a recording began.
    StartRecording {
        /// As the provider names it.
        recording_id: RecordingId,
        /// When it began.
        started_at: Timestamp,
        /// What allows it.
        leave: RecordingLeave,
    },
    /// Tell that a recording ended.
    StopRecording {
        /// As the provider names it.
        recording_id: RecordingId,
        /// When it ended.
        stopped_at: Timestamp,
    },
    /// Tell that a recording could not be started, stopped or fetched.
    FailRecording {
        /// What was to be done.
        step: RecordingStep,
        /// Why not.
        reason: RoomFailure,
        /// When it is tried again.
        next_attempt_at: Option<Timestamp>,
    },
    /// Tell that a recording lies in the clinic's storage.
    StoreRecording(StoredRecording),
    /// Tell that a recording is not kept, and is deleted wherever it was.
    DiscardRecording {
        /// As the provider names it.
        recording_id: RecordingId,
        /// Why.
        reason: DiscardReason,
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
    /// Where it is, where somebody else runs it.
    pub address: Option<RoomAddress>,
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
    /// Since the sample before.
    pub freeze_count: Option<u16>,
}

/// A recording in the clinic's storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredRecording {
    /// As the provider names it.
    pub recording_id: RecordingId,
    /// The file that it is.
    pub file_id: FileId,
    /// How long it is.
    pub duration_seconds: u32,
    /// How large it is.
    pub size_bytes: i64,
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
        ParticipantUnknown { participant_id: ParticipantId } = NotFound "video_room_participant_unknown",
            "nobody was given a link to the video room as {participant_id}";
        LinkNotRevocable = Conflict "video_room_link_not_revocable",
            "who runs the video room keeps its links until they end by themselves";
        NotExtensible = Conflict "video_room_not_extensible",
            "who runs the video room closes it when its appointment says so";
        ExtensionTooLong { most_minutes: u16 } = Invalid "video_room_extension_too_long",
            "a video room can stay open for 1 to {most_minutes} minutes longer";
        TooManySessions = Conflict "video_room_too_many_sessions",
            "more people came to the video room than can be noted";
        SessionUnknown { session_id: Uuid } = NotFound "video_room_session_unknown",
            "nobody came to the video room in the session {session_id}";
        RecordingNotEnabled = Conflict "recording_not_enabled", "the clinic does not record consultations";
        NoRecordingConsent = Conflict "no_recording_consent",
            "the patient has not agreed to recording, or no longer does";
        AlreadyRecording = Conflict "already_recording", "the consultation is being recorded already";
        NotRecording = Conflict "not_recording", "the consultation is not being recorded";
        TooManyRecordings = Conflict "too_many_recordings",
            "more recordings were made of the appointment than can be noted";
        RecordingDiscarded { recording_id: RecordingId } = Conflict "recording_discarded",
            "the recording {recording_id} is not kept";
        RecordingStored { recording_id: RecordingId } = Conflict "recording_stored",
            "the recording {recording_id} lies in the storage already";
        RecordingUnknown { recording_id: RecordingId } = NotFound "recording_unknown",
            "there is no recording {recording_id}";
    }
}
