//! An appointment, from booking to its end.
//!
//! `booked → confirmed → onboarded → started → completed`, where confirming may be left out and a consultation
//! may be completed without having been started. Until it starts it can move (it is booked again then), be
//! cancelled or turn into a no-show.

mod commands;
mod events;
#[cfg(test)]
mod tests;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use commands::*;
pub use events::*;

use crate::aggregate::write_all;
use crate::ids::PatientId;
use crate::{Personal, StreamKind, Timestamp, closed_enum};

const DAY_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

closed_enum! {
    /// How far an appointment has come.
    pub enum AppointmentStatus {
        /// Made, or moved.
        Booked = "booked",
        /// Confirmed.
        Confirmed = "confirmed",
        /// The patient checked in.
        Onboarded = "onboarded",
        /// The consultation is under way.
        Started = "started",
        /// The consultation took place.
        Completed = "completed",
        /// Called off.
        Cancelled = "cancelled",
        /// The patient did not come.
        NoShow = "no_show",
    }
}

impl AppointmentStatus {
    /// Whether the consultation is still to come.
    pub const fn is_upcoming(self) -> bool {
        match self {
            Self::Booked | Self::Confirmed | Self::Onboarded => true,
            Self::Started | Self::Completed | Self::Cancelled | Self::NoShow => false,
        }
    }
}

/// What an appointment needs to know in order to decide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appointment {
    booking: Option<Booking>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Booking {
    patient_id: PatientId,
    status: AppointmentStatus,
    starts_at: Timestamp,
    ends_at: Option<Timestamp>,
    precision: TimePrecision,
}

impl Appointment {
    /// How far it has come; nothing before it is booked.
    pub fn status(&self) -> Option<AppointmentStatus> {
        self.booking.as_ref().map(|booking| booking.status)
    }

    /// Decides a command without changing anything.
    ///
    /// # Errors
    /// The rejection.
    pub fn decide(&self, command: AppointmentCommand) -> Result<Vec<AppointmentEvent>, AppointmentRejection> {
        let Some(booking) = &self.booking else {
            return match command {
                AppointmentCommand::Book(book) => book_appointment(book),
                _ => Err(AppointmentRejection::NotBooked),
            };
        };
        let event = match command {
            AppointmentCommand::Book(_) => {
                return Err(AppointmentRejection::AlreadyBooked { status: booking.status });
            }
            AppointmentCommand::Confirm { channel } => booking.confirm(channel),
            AppointmentCommand::Onboard => booking.onboard(),
            AppointmentCommand::Reschedule(reschedule) => booking.reschedule(&reschedule),
            AppointmentCommand::Start => booking.start(),
            AppointmentCommand::Complete { duration_minutes } => booking.complete(duration_minutes),
            AppointmentCommand::Cancel { cancelled_by, reason, note } => {
                booking.cancel(cancelled_by, reason, note)
            }
            AppointmentCommand::MarkNoShow => booking.mark_no_show(),
        }?;
        Ok(vec![event])
    }
}

type Decision = Result<AppointmentEvent, AppointmentRejection>;

fn book_appointment(book: BookAppointment) -> Result<Vec<AppointmentEvent>, AppointmentRejection> {
    check_times(book.starts_at, book.ends_at, book.starts_at_precision, book.booked_at)?;
    Ok(vec![AppointmentEvent::Booked(AppointmentBooked {
        patient_id: book.patient_id,
        specialist_id: book.specialist_id,
        starts_at: book.starts_at,
        ends_at: book.ends_at,
        starts_at_precision: book.starts_at_precision,
        mode: book.mode,
        personal: book.note.map(Personal::Open),
    })])
}

/// A day is over 24 hours after its midnight, so an appointment of which only the day is known can still be
/// made on that day.
fn check_times(
    starts_at: Timestamp,
    ends_at: Option<Timestamp>,
    precision: TimePrecision,
    booked_at: Timestamp,
) -> Result<(), AppointmentRejection> {
    let is_too_early = match precision {
        TimePrecision::Minute => starts_at < booked_at,
        TimePrecision::Day => booked_at.micros_since(starts_at) >= DAY_MICROS,
    };
    if is_too_early {
        return Err(AppointmentRejection::StartsBeforeBooking { starts_at, booked_at });
    }
    match ends_at {
        Some(ends_at) if ends_at <= starts_at => {
            Err(AppointmentRejection::EndsBeforeStart { starts_at, ends_at })
        }
        Some(_) | None => Ok(()),
    }
}

impl Booking {
    fn confirm(&self, channel: ConfirmationChannel) -> Decision {
        match self.status {
            AppointmentStatus::Booked => {
                let patient_id = self.patient_id;
                Ok(AppointmentEvent::Confirmed(AppointmentConfirmed { patient_id, channel }))
            }
            AppointmentStatus::Confirmed => Err(AppointmentRejection::AlreadyConfirmed),
            status => Err(AppointmentRejection::CannotConfirm { status }),
        }
    }

    fn onboard(&self) -> Decision {
        match self.status {
            AppointmentStatus::Booked | AppointmentStatus::Confirmed => {
                Ok(AppointmentEvent::Onboarded(AppointmentOnboarded { patient_id: self.patient_id }))
            }
            status => Err(AppointmentRejection::CannotOnboard { status }),
        }
    }

    fn reschedule(&self, wish: &RescheduleAppointment) -> Decision {
        if !self.status.is_upcoming() {
            return Err(AppointmentRejection::CannotReschedule { status: self.status });
        }
        if (wish.starts_at, wish.ends_at) == (self.starts_at, self.ends_at) {
            return Err(AppointmentRejection::SameTime { starts_at: self.starts_at });
        }
        check_times(wish.starts_at, wish.ends_at, self.precision, wish.now)?;
        Ok(AppointmentEvent::Rescheduled(AppointmentRescheduled {
            patient_id: self.patient_id,
            starts_at: wish.starts_at,
            ends_at: wish.ends_at,
            reason: wish.reason,
        }))
    }

    fn start(&self) -> Decision {
        match self.status {
            AppointmentStatus::Onboarded => {
                Ok(AppointmentEvent::Started(AppointmentStarted { patient_id: self.patient_id }))
            }
            status => Err(AppointmentRejection::CannotStart { status }),
        }
    }

    fn complete(&self, duration_minutes: Option<u16>) -> Decision {
        match self.status {
            AppointmentStatus::Onboarded | AppointmentStatus::Started => {
                let patient_id = self.patient_id;
                Ok(AppointmentEvent::Completed(AppointmentCompleted { patient_id, duration_minutes }))
            }
            status => Err(AppointmentRejection::CannotComplete { status }),
        }
    }

    fn cancel(
        &self,
        cancelled_by: CancelledBy,
        reason: CancellationReason,
        note: Option<AppointmentNote>,
    ) -> Decision {
        if !self.status.is_upcoming() {
            return Err(AppointmentRejection::CannotCancel { status: self.status });
        }
        let (patient_id, personal) = (self.patient_id, note.map(Personal::Open));
        Ok(AppointmentEvent::Cancelled(AppointmentCancelled { patient_id, cancelled_by, reason, personal }))
    }

    fn mark_no_show(&self) -> Decision {
        if !self.status.is_upcoming() {
            return Err(AppointmentRejection::CannotMarkNoShow { status: self.status });
        }
        Ok(AppointmentEvent::NoShow(AppointmentNoShow { patient_id: self.patient_id }))
    }
}

impl Aggregate for Appointment {
    const TYPE: &'static str = StreamKind::Appointment.as_str();
    type Command = AppointmentCommand;
    type Event = AppointmentEvent;
    type Error = AppointmentRejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: AppointmentCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), AppointmentRejection> {
        write_all(self.decide(command)?, self, sink).await;
        Ok(())
    }

    fn apply(&mut self, event: AppointmentEvent) {
        match event {
            AppointmentEvent::Booked(booked) => {
                self.booking = Some(Booking {
                    patient_id: booked.patient_id,
                    status: AppointmentStatus::Booked,
                    starts_at: booked.starts_at,
                    ends_at: booked.ends_at,
                    precision: booked.starts_at_precision,
                });
            }
            AppointmentEvent::Rescheduled(moved) => {
                if let Some(booking) = &mut self.booking {
                    (booking.starts_at, booking.ends_at) = (moved.starts_at, moved.ends_at);
                }
                self.reach(AppointmentStatus::Booked);
            }
            AppointmentEvent::Confirmed(_) => self.reach(AppointmentStatus::Confirmed),
            AppointmentEvent::Onboarded(_) => self.reach(AppointmentStatus::Onboarded),
            AppointmentEvent::Started(_) => self.reach(AppointmentStatus::Started),
            AppointmentEvent::Completed(_) => self.reach(AppointmentStatus::Completed),
            AppointmentEvent::Cancelled(_) => self.reach(AppointmentStatus::Cancelled),
            AppointmentEvent::NoShow(_) => self.reach(AppointmentStatus::NoShow),
        }
    }
}

impl Appointment {
    fn reach(&mut self, status: AppointmentStatus) {
        if let Some(booking) = &mut self.booking {
            booking.status = status;
        }
    }
}
