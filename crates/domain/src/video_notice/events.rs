//! What can happen to a notice.

use crate::ids::{AppointmentId, PatientId};
use crate::personal::personal_structs;
use crate::video_room::RoomProvider;
use crate::{Timestamp, closed_enum, events, facts};

closed_enum! {
    /// What a notice tells.
    pub enum NoticeKind {
        /// Somebody is in the room again after nobody was.
        MeetingStarted = "meeting_started",
        /// Nobody is in the room any more.
        MeetingEnded = "meeting_ended",
        /// Somebody came.
        ParticipantJoined = "participant_joined",
        /// Somebody left.
        ParticipantLeft = "participant_left",
        /// A recording began.
        RecordingStarted = "recording_started",
        /// A recording can be fetched.
        RecordingReady = "recording_ready",
        /// A recording failed.
        RecordingFailed = "recording_failed",
        /// Something that nothing follows from.
        Other = "other",
    }
}

personal_structs! {
    /// A notice as it came. It may name people.
    pub struct NoticeBody {
        /// The bytes of the request, which are JSON.
        pub json: String,
    }
}

facts! {
    /// A provider told something.
    pub struct VideoNoticeReceived {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
        /// The appointment whose room it is about.
        pub appointment_id: AppointmentId,
        /// Who sent it.
        pub provider: RoomProvider,
        /// What it tells.
        pub kind: NoticeKind,
        /// When the provider says that it sent it.
        pub sent_at: Timestamp,
    }
    subject patient_id;
    personal Identity: NoticeBody;
}

events! {
    /// What can happen to a notice.
    pub enum VideoNoticeEvent in VideoNotice {
        /// It came.
        Received(VideoNoticeReceived) = VideoNoticeReceived,
    }
}
