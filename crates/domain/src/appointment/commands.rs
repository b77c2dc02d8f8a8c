//! What can be asked of an appointment, and how it refuses.

use super::AppointmentStatus;
use super::events::{
    AppointmentMode, AppointmentNote, CancellationReason, CancelledBy, ConfirmationChannel, RescheduleReason,
    TimePrecision,
};
use crate::Timestamp;
use crate::aggregate::rejections;
use crate::ids::{PatientId, SpecialistId};

/// A wish about an appointment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppointmentCommand {
    /// Make it.
    Book(BookAppointment),
    /// Confirm it.
    Confirm {
        /// How.
        channel: ConfirmationChannel,
    },
    /// Check the patient in.
    Onboard,
    /// Move it.
    Reschedule(RescheduleAppointment),
    /// Begin the consultation.
    Start,
    /// End the consultation.
    Complete {
        /// How long it took, when that is known.
        duration_minutes: Option<u16>,
    },
    /// Call it off.
    Cancel {
        /// Who calls it off.
        cancelled_by: CancelledBy,
        /// Why.
        reason: CancellationReason,
        /// In words.
        note: Option<AppointmentNote>,
    },
    /// The patient did not come.
    MarkNoShow,
}

/// An appointment to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookAppointment {
    /// For whom.
    pub patient_id: PatientId,
    /// With whom, once that is known.
    pub specialist_id: Option<SpecialistId>,
    /// When it begins; the day's midnight when only the day is known.
    pub starts_at: Timestamp,
    /// When it ends.
    pub ends_at: Option<Timestamp>,
    /// How exactly the beginning is known.
    pub starts_at_precision: TimePrecision,
    /// How they meet.
    pub mode: AppointmentMode,
    /// In words.
    pub note: Option<AppointmentNote>,
    /// When it is made.
    pub booked_at: Timestamp,
}

/// An appointment to be moved; the precision stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RescheduleAppointment {
    /// When it is to begin.
    pub starts_at: Timestamp,
    /// When it is to end.
    pub ends_at: Option<Timestamp>,
    /// Why.
    pub reason: RescheduleReason,
    /// When this is asked.
    pub now: Timestamp,
}

rejections! {
    /// Why an appointment refuses a command.
    pub enum AppointmentRejection {
        NotBooked = NotFound "not_booked", "there is no such appointment";
        AlreadyBooked { status: AppointmentStatus } = Conflict "already_booked",
            "the appointment already exists and is {status}";
        StartsBeforeBooking { starts_at: Timestamp, booked_at: Timestamp } = Invalid "starts_before_booking",
            "the appointment would start at {starts_at}, before it is made at {booked_at}";
        EndsBeforeStart { starts_at: Timestamp, ends_at: Timestamp } = Invalid "ends_before_start",
            "the appointment would end at {ends_at}, not after its start at {starts_at}";
        AlreadyConfirmed = Conflict "already_confirmed", "the appointment is already confirmed";
        CannotConfirm { status: AppointmentStatus } = Conflict "cannot_confirm",
            "an appointment that is {status} cannot be confirmed";
        CannotOnboard { status: AppointmentStatus } = Conflict "cannot_onboard",
            "an appointment that is {status} cannot be onboarded";
        CannotReschedule { status: AppointmentStatus } = Conflict "cannot_reschedule",
            "an appointment that is {status} cannot be rescheduled";
        SameTime { starts_at: Timestamp } = Conflict "same_time",
            "the appointment already starts at {starts_at} and ends as asked";
        CannotStart { status: AppointmentStatus } = Conflict "cannot_start",
            "an appointment that is {status} cannot be started";
        CannotComplete { status: AppointmentStatus } = Conflict "cannot_complete",
            "an appointment that is {status} cannot be completed";
        CannotCancel { status: AppointmentStatus } = Conflict "cannot_cancel",
            "an appointment that is {status} cannot be cancelled";
        CannotMarkNoShow { status: AppointmentStatus } = Conflict "cannot_mark_no_show",
            "an appointment that is {status} cannot become a no-show";
    }
}
