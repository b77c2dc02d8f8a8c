//! What can be recorded of a notice, and how that is refused.

use super::events::{NoticeBody, NoticeKind};
use crate::Timestamp;
use crate::aggregate::rejections;
use crate::ids::{AppointmentId, PatientId};
use crate::video_room::RoomProvider;

/// A wish about a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VideoNoticeCommand {
    /// Record that it came.
    Receive(ReceiveNotice),
}

/// A notice that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiveNotice {
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
    /// As it came.
    pub body: NoticeBody,
}

rejections! {
    /// Why a notice is not recorded.
    pub enum VideoNoticeRejection {
        AlreadyReceived = Conflict "already_received", "the notice came before";
    }
}
