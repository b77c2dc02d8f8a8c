//! What can happen to a video room. Every event names the patient and the appointment, so that a reader needs no other
//! stream.

use uuid::Uuid;

use crate::ids::{AppointmentId, FileId, ParticipantId, PatientId, RecordingId};
use crate::personal::personal_structs;
use crate::{Timestamp, closed_enum, events, facts};

closed_enum! {
    /// Who runs the rooms of an organization.
    pub enum RoomProvider {
        /// Carelog itself: the participants talk to each other directly, and Carelog introduces them. What nobody has
        /// to configure.
        Embedded = "embedded",
        /// Daily, with the organization's own account.
        Daily = "daily",
    }
}

closed_enum! {
    /// Why a room could not be made, moved or closed.
    pub enum RoomFailure {
        /// The provider refuses the organization's credentials.
        Credentials = "credentials",
        /// The provider refuses what was asked for.
        Refused = "refused",
        /// The provider was asked too often.
        RateLimited = "rate_limited",
        /// The provider cannot be reached or failed.
        Unavailable = "unavailable",
        /// No answer came in time: it may have been done.
        Unknown = "unknown",
        /// The organization has no provider any more, or its credentials cannot be read.
        NotConfigured = "not_configured",
    }
}

closed_enum! {
    /// What was to be done with a room that is open.
    pub enum RoomChange {
        /// Give it another window.
        Move = "move",
        /// Close it.
        Close = "close",
    }
}

closed_enum! {
    /// Why a room is closed.
    pub enum RoomEnd {
        /// The appointment is over, and the grace after it.
        WindowOver = "window_over",
        /// The appointment was called off.
        AppointmentCancelled = "appointment_cancelled",
        /// The patient did not come.
        NoShow = "no_show",
    }
}

closed_enum! {
    /// In what part somebody takes part in a consultation.
    pub enum ParticipantKind {
        /// The patient.
        Patient = "patient",
        /// The specialist, who may admit and remove others.
        Specialist = "specialist",
        /// Anybody else, such as an interpreter or a relative.
        Guest = "guest",
    }
}

closed_enum! {
    /// How well a participant's network does.
    pub enum NetworkState {
        /// Well.
        Good = "good",
        /// With losses that can be noticed.
        Warning = "warning",
        /// Too badly to talk.
        Bad = "bad",
        /// Not known.
        Unknown = "unknown",
    }
}

closed_enum! {
    /// Why a recording ends.
    pub enum RecordingEnd {
        /// Somebody asked for it.
        Requested = "requested",
        /// The patient does not agree any more.
        ConsentWithdrawn = "consent_withdrawn",
        /// The clinic records no longer.
        NotEnabled = "not_enabled",
        /// By itself: everybody left, the room closed, or the provider ended it.
        Ended = "ended",
    }
}

closed_enum! {
    /// What was to be done with a recording.
    pub enum RecordingStep {
        /// Begin it.
        Start = "start",
        /// End it.
        Stop = "stop",
        /// Bring it into the clinic's storage.
        Store = "store",
    }
}

closed_enum! {
    /// Why a recording is not kept.
    pub enum DiscardReason {
        /// It was made without the patient's consent.
        NoConsent = "no_consent",
        /// It was made though the clinic does not record.
        NotEnabled = "not_enabled",
        /// Nobody with the right to had asked for it.
        NotRequested = "not_requested",
        /// It is larger than the storage takes.
        TooLarge = "too_large",
        /// There is nothing of it.
        Empty = "empty",
        /// It is no film of a kind that is kept.
        WrongType = "wrong_type",
        /// It could not be stored in time.
        NotStored = "not_stored",
    }
}

personal_structs! {
    /// Where a room is found; whoever knows it could knock there.
    pub struct RoomAddress {
        /// The room's URL.
        pub url: String,
        /// The organization's account with the provider, which tokens for the room name.
        pub account: String,
    }
}

facts! {
    /// A room was made for an appointment.
    pub struct VideoRoomCreated {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
        /// The appointment.
        pub appointment_id: AppointmentId,
        /// Who runs it.
        pub provider: RoomProvider,
        /// Numbers the rooms of the appointment from 1: one that moves after its end gets another room.
        pub opening: u16,
        /// From when it can be entered.
        pub opens_at: Timestamp,
        /// When it closes by itself.
        pub expires_at: Timestamp,
        /// Whether it was found at the provider, where an earlier try had made it without our knowing.
        pub adopted: bool,
    }
    subject patient_id;
    personal Credential: RoomAddress;
}

facts! {
    /// A room could not be made.
    pub struct VideoRoomCreationFailed {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
        /// The appointment.
        pub appointment_id: AppointmentId,
        /// Numbers the failures in a row from 1.
        pub attempt: u16,
        /// Why.
        pub reason: RoomFailure,
        /// When it is tried again; `null` when it is not.
        pub next_attempt_at: Option<Timestamp>,
    }
    subject patient_id;
}

facts! {
    /// The room's window moved with the appointment.
    pub struct VideoRoomMoved {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
        /// The appointment.
        pub appointment_id: AppointmentId,
        /// From when it can be entered now.
        pub opens_at: Timestamp,
        /// When it closes by itself now.
        pub expires_at: Timestamp,
    }
    subject patient_id;
}

facts! {
    /// A room could not be moved or closed.
    pub struct VideoRoomChangeFailed {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
        /// The appointment.
        pub appointment_id: AppointmentId,
        /// What was to be done.
        pub change: RoomChange,
        /// Numbers the failures in a row from 1.
        pub attempt: u16,
        /// Why.
        pub reason: RoomFailure,
        /// When it is tried again; `null` when it is not.
        pub next_attempt_at: Option<Timestamp>,
    }
    subject patient_id;
}

facts! {
    /// Somebody was given a link to the room.
    pub struct VideoRoomAccessGranted {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
        /// The appointment.
        pub appointment_id: AppointmentId,
        /// Whom the provider will report under this id.
        pub participant_id: ParticipantId,
        /// In what part they take part.
        pub participant: ParticipantKind,
        /// Numbers the links of this person from 1. Another number ends the one before; the same one was shown again.
        pub link: u16,
        /// From when the link works.
        pub valid_from: Timestamp,
        /// Until when.
        pub valid_until: Timestamp,
    }
    subject patient_id;
}

facts! {
    /// A link to the room leads nowhere any more.
    pub struct VideoRoomAccessRevoked {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
        /// The appointment.
        pub appointment_id: AppointmentId,
        /// Whose link it was.
        pub participant_id: ParticipantId,
        /// Which of their links.
        pub link: u16,
    }
    subject patient_id;
}

facts! {
    /// The specialist let the room stay open for longer. A further move of the appointment ends that.
    pub struct VideoRoomExtended {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
        /// The appointment.
        pub appointment_id: AppointmentId,
        /// The participant who asked for it.
        pub participant_id: ParticipantId,
        /// When it was to close by its appointment.
        pub planned_expires_at: Timestamp,
        /// When it closes by itself now.
        pub expires_at: Timestamp,
    }
    subject patient_id;
}

facts! {
    /// Somebody came into the room.
    pub struct VideoRoomParticipantJoined {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
        /// The appointment.
        pub appointment_id: AppointmentId,
        /// Who, where the link was one of ours.
        pub participant_id: Option<ParticipantId>,
        /// In what part they take part, where the link was one of ours.
        pub participant: Option<ParticipantKind>,
        /// Names this stay in the room.
        pub session_id: Uuid,
        /// When they came.
        pub joined_at: Timestamp,
    }
    subject patient_id;
}

facts! {
    /// Somebody left the room.
    pub struct VideoRoomParticipantLeft {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
        /// The appointment.
        pub appointment_id: AppointmentId,
        /// Who, where the link was one of ours.
        pub participant_id: Option<ParticipantId>,
        /// In what part they took part, where the link was one of ours.
        pub participant: Option<ParticipantKind>,
        /// Names this stay in the room.
        pub session_id: Uuid,
        /// When they left.
        pub left_at: Timestamp,
        /// For how many seconds they had been there.
        pub duration_seconds: u32,
    }
    subject patient_id;
}

facts! {
    /// A participant's network was measured.
    pub struct VideoRoomQualitySampled {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
        /// The appointment.
        pub appointment_id: AppointmentId,
        /// Whose network, where the link was one of ours.
        pub participant_id: Option<ParticipantId>,
        /// Names the stay in the room.
        pub session_id: Uuid,
        /// When.
        pub sampled_at: Timestamp,
        /// How well it does.
        pub state: NetworkState,
        /// Round trip, in milliseconds.
        pub round_trip_ms: Option<u32>,
        /// Jitter, in milliseconds.
        pub jitter_ms: Option<u32>,
        /// Of a thousand packets that were sent, so many were lost.
        pub send_loss_permille: Option<u16>,
        /// Of a thousand packets that were to be received, so many were lost.
        pub receive_loss_permille: Option<u16>,
        /// Sent, in kilobits per second.
        pub sent_kbps: Option<u32>,
        /// Received, in kilobits per second.
        pub received_kbps: Option<u32>,
        /// How often the picture stood still since the sample before.
        pub freeze_count: Option<u16>,
    }
    subject patient_id;
}

facts! {
    /// Somebody asked that the consultation be recorded, with the clinic's setting and the patient's consent in force.
    pub struct VideoRoomRecordingRequested {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
        /// The appointment.
        pub appointment_id: AppointmentId,
    }
    subject patient_id;
}

facts! {
    /// The recording has to end.
    pub struct VideoRoomRecordingStopRequested {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
        /// The appointment.
        pub appointment_id: AppointmentId,
        /// Why.
        pub reason: RecordingEnd,
    }
    subject patient_id;
}

facts! {
    /// A recording began, with the clinic's setting and the patient's consent in force.
    pub struct VideoRoomRecordingStarted {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
        /// The appointment.
        pub appointment_id: AppointmentId,
        /// The recording, as the provider names it.
        pub recording_id: RecordingId,
        /// When it began.
        pub started_at: Timestamp,
    }
    subject patient_id;
}

facts! {
    /// A recording lies in the clinic's own storage.
    pub struct VideoRoomRecordingStored {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
        /// The appointment.
        pub appointment_id: AppointmentId,
        /// The recording.
        pub recording_id: RecordingId,
        /// The file that it is.
        pub file_id: FileId,
        /// How long it is, in seconds.
        pub duration_seconds: u32,
        /// How large it is, in bytes.
        pub size_bytes: i64,
    }
    subject patient_id;
}

facts! {
    /// A recording ended.
    pub struct VideoRoomRecordingStopped {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
        /// The appointment.
        pub appointment_id: AppointmentId,
        /// The recording.
        pub recording_id: RecordingId,
        /// When it ended.
        pub stopped_at: Timestamp,
        /// Why.
        pub reason: RecordingEnd,
    }
    subject patient_id;
}

facts! {
    /// A recording could not be started, stopped or fetched.
    pub struct VideoRoomRecordingFailed {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
        /// The appointment.
        pub appointment_id: AppointmentId,
        /// What was to be done.
        pub step: RecordingStep,
        /// Numbers the failures in a row from 1.
        pub attempt: u16,
        /// Why.
        pub reason: RoomFailure,
        /// When it is tried again; `null` when it is not.
        pub next_attempt_at: Option<Timestamp>,
    }
    subject patient_id;
}

facts! {
    /// A recording is not kept: it is deleted wherever it was.
    pub struct VideoRoomRecordingDiscarded {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
        /// The appointment.
        pub appointment_id: AppointmentId,
        /// The recording, as the provider names it.
        pub recording_id: RecordingId,
        /// Why.
        pub reason: DiscardReason,
    }
    subject patient_id;
}

facts! {
    /// The room is closed. A link to it leads nowhere any more.
    pub struct VideoRoomExpired {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
        /// The appointment.
        pub appointment_id: AppointmentId,
        /// Why.
        pub reason: RoomEnd,
    }
    subject patient_id;
}

events! {
    /// What can happen to a video room.
    pub enum VideoRoomEvent in VideoRoom {
        /// A room was made for an appointment.
        Created(VideoRoomCreated) = VideoRoomCreated,
        /// A room could not be made.
        CreationFailed(VideoRoomCreationFailed) = VideoRoomCreationFailed,
        /// The room's window moved with the appointment.
        Moved(VideoRoomMoved) = VideoRoomMoved,
        /// A room could not be moved or closed.
        ChangeFailed(VideoRoomChangeFailed) = VideoRoomChangeFailed,
        /// Somebody was given a link to the room.
        AccessGranted(VideoRoomAccessGranted) = VideoRoomAccessGranted,
        /// A link to the room leads nowhere any more.
        AccessRevoked(VideoRoomAccessRevoked) = VideoRoomAccessRevoked,
        /// The specialist let the room stay open for longer.
        Extended(VideoRoomExtended) = VideoRoomExtended,
        /// Somebody came into the room.
        ParticipantJoined(VideoRoomParticipantJoined) = VideoRoomParticipantJoined,
        /// Somebody left the room.
        ParticipantLeft(VideoRoomParticipantLeft) = VideoRoomParticipantLeft,
        /// A participant's network was measured.
        QualitySampled(VideoRoomQualitySampled) = VideoRoomQualitySampled,
        /// A recording began.
        RecordingStarted(VideoRoomRecordingStarted) = VideoRoomRecordingStarted,
        /// A recording lies in the clinic's own storage.
        RecordingStored(VideoRoomRecordingStored) = VideoRoomRecordingStored,
        /// Somebody asked for a recording.
        RecordingRequested(VideoRoomRecordingRequested) = VideoRoomRecordingRequested,
        /// The recording has to end.
        RecordingStopRequested(VideoRoomRecordingStopRequested) = VideoRoomRecordingStopRequested,
        /// A recording ended.
        RecordingStopped(VideoRoomRecordingStopped) = VideoRoomRecordingStopped,
        /// A recording could not be started, stopped or fetched.
        RecordingFailed(VideoRoomRecordingFailed) = VideoRoomRecordingFailed,
        /// A recording is not kept.
        RecordingDiscarded(VideoRoomRecordingDiscarded) = VideoRoomRecordingDiscarded,
        /// The room is closed.
        Expired(VideoRoomExpired) = VideoRoomExpired,
    }
}
