//! What can happen to an appointment. Every event names the patient, so that a reader needs no other stream.

use crate::ids::{PatientId, SpecialistId};
use crate::personal::personal_structs;
use crate::{Timestamp, closed_enum, events, facts};

closed_enum! {
    /// How exactly the beginning of an appointment is known.
    pub enum TimePrecision {
        /// To the minute.
        Minute = "minute",
        /// Only the day, given as its midnight; old records often know no more.
        Day = "day",
    }
}

closed_enum! {
    /// How patient and specialist meet.
    pub enum AppointmentMode {
        /// By video.
        Video = "video",
        /// At the clinic.
        InPerson = "in_person",
        /// By telephone.
        Phone = "phone",
    }
}

closed_enum! {
    /// How an appointment came to be confirmed.
    pub enum ConfirmationChannel {
        /// By a reminder that went out.
        Reminder = "reminder",
        /// By the patient.
        Patient = "patient",
        /// By the clinic's staff.
        Clinic = "clinic",
    }
}

closed_enum! {
    /// Why an appointment moved.
    pub enum RescheduleReason {
        /// The patient wished it.
        PatientRequest = "patient_request",
        /// The specialist cannot come.
        SpecialistUnavailable = "specialist_unavailable",
        /// Something technical failed.
        Technical = "technical",
        /// Anything else, or not known.
        Other = "other",
    }
}

closed_enum! {
    /// Who called an appointment off.
    pub enum CancelledBy {
        /// The patient.
        Patient = "patient",
        /// The clinic.
        Clinic = "clinic",
        /// Carelog, following a rule.
        System = "system",
    }
}

closed_enum! {
    /// Why an appointment was called off.
    pub enum CancellationReason {
        /// The patient wished it.
        PatientRequest = "patient_request",
        /// The patient is ill.
        Illness = "illness",
        /// The specialist cannot come.
        SpecialistUnavailable = "specialist_unavailable",
        /// Something technical failed.
        Technical = "technical",
        /// It was booked twice or in error.
        BookedInError = "booked_in_error",
        /// Anything else, or not known.
        Other = "other",
    }
}

personal_structs! {
    /// Free text about an appointment.
    pub struct AppointmentNote {
        /// The text.
        pub note: String,
    }
}

facts! {
    /// An appointment was made.
    pub struct AppointmentBooked {
        /// The patient for whom it was made.
        pub patient_id: PatientId,
        /// The specialist; `null` while that is not known.
        pub specialist_id: Option<SpecialistId>,
        /// When it begins.
        pub starts_at: Timestamp,
        /// When it ends; `null` where that was not said.
        pub ends_at: Option<Timestamp>,
        /// How exactly `starts_at` is known.
        pub starts_at_precision: TimePrecision,
        /// How patient and specialist meet.
        pub mode: AppointmentMode,
    }
    subject patient_id;
    personal Clinical: AppointmentNote;
}

facts! {
    /// It was confirmed, or a reminder went out.
    pub struct AppointmentConfirmed {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
        /// How it came to be confirmed.
        pub channel: ConfirmationChannel,
    }
    subject patient_id;
}

facts! {
    /// The patient checked in.
    pub struct AppointmentOnboarded {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
    }
    subject patient_id;
}

facts! {
    /// It moved to another time.
    pub struct AppointmentRescheduled {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
        /// When it begins now.
        pub starts_at: Timestamp,
        /// When it ends now; `null` where that was not said.
        pub ends_at: Option<Timestamp>,
        /// Why it moved.
        pub reason: RescheduleReason,
    }
    subject patient_id;
}

facts! {
    /// The consultation began.
    pub struct AppointmentStarted {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
    }
    subject patient_id;
}

facts! {
    /// The consultation took place.
    pub struct AppointmentCompleted {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
        /// How long it took, in minutes; `null` where that was not said.
        pub duration_minutes: Option<u16>,
    }
    subject patient_id;
}

facts! {
    /// It was called off.
    pub struct AppointmentCancelled {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
        /// Who called it off.
        pub cancelled_by: CancelledBy,
        /// Why it was called off.
        pub reason: CancellationReason,
    }
    subject patient_id;
    personal Clinical: AppointmentNote;
}

facts! {
    /// The patient did not come.
    pub struct AppointmentNoShow {
        /// The patient whose appointment it is.
        pub patient_id: PatientId,
    }
    subject patient_id;
}

events! {
    /// What can happen to an appointment.
    pub enum AppointmentEvent in Appointment {
        /// An appointment was made.
        Booked(AppointmentBooked) = AppointmentBooked,
        /// It was confirmed, or a reminder went out.
        Confirmed(AppointmentConfirmed) = AppointmentConfirmed,
        /// The patient checked in.
        Onboarded(AppointmentOnboarded) = AppointmentOnboarded,
        /// It moved to another time.
        Rescheduled(AppointmentRescheduled) = AppointmentRescheduled,
        /// The consultation began.
        Started(AppointmentStarted) = AppointmentStarted,
        /// The consultation took place.
        Completed(AppointmentCompleted) = AppointmentCompleted,
        /// It was called off.
        Cancelled(AppointmentCancelled) = AppointmentCancelled,
        /// The patient did not come.
        NoShow(AppointmentNoShow) = AppointmentNoShow,
    }
}
