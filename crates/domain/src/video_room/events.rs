//! What can happen to a video room. Every event names the patient and the appointment, so that a reader needs no other
//! stream.

use uuid::Uuid;

use crate::ids::{AppointmentId, ParticipantId, PatientId, RecordingId};
use crate::personal::personal_structs;
use crate::{Timestamp, closed_enum, events, facts};

closed_enum! {
    /// Who runs the rooms of an organization.
    pub enum RoomProvider {
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
        /// From when the link works.
        pub valid_from: Timestamp,
        /// Until when.
        pub valid_until: Timestamp,
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
        /// How long it is, in seconds.
        pub duration_seconds: u32,
        /// How large it is, in bytes.
        pub size_bytes: i64,
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
        /// The room is closed.
        Expired(VideoRoomExpired) = VideoRoomExpired,
    }
}
