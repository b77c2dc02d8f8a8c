//! Facts about appointments.

use carelog_domain::appointment::{
    AppointmentBooked, AppointmentEvent, AppointmentMode, AppointmentStatus, CancelledBy,
    ConfirmationChannel, TimePrecision,
};
use carelog_domain::{OrganizationId, Origin, Timestamp};
use carelog_vault::{Pseudonym, PseudonymKind};
use time::{Date, OffsetDateTime};

use super::Known;
use super::analytic::{Coarse, analytic_facts, cut_minutes, day, narrow};

const MICROS_PER_HOUR: i64 = 3_600_000_000;
const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;
/// More states than an appointment has that does not move to and fro.
const MAX_PATH: usize = 16;

analytic_facts! {
    /// An appointment.
    pub struct AppointmentFact in "appointment_facts"
    at {
        /// Place of the booking.
        pub position,
        /// Place of the newest event.
        pub last_position,
    }
    says {
        /// The clinic.
        pub organization_id: OrganizationId,
        /// The appointment.
        pub appointment: Pseudonym,
        /// The patient.
        pub patient: Pseudonym,
        /// The specialist, where known.
        pub specialist: Option<Pseudonym>,
        /// How they meet.
        pub mode: AppointmentMode,
        /// Made here, or brought in.
        pub origin: Origin,
        /// Where it stands.
        pub status: AppointmentStatus,
        /// The states that it went through, the first [`MAX_PATH`].
        pub status_path: Vec<AppointmentStatus>,
        /// How exactly the beginning is known.
        pub precision: TimePrecision,
        /// When it was made.
        pub booked_at: Coarse,
        /// When it is to begin.
        pub starts_at: Coarse,
        /// On which day.
        pub starts_on: Date,
        /// On which weekday, 1 (Monday) to 7.
        pub weekday: u8,
        /// In which hour, where more than the day is known.
        pub start_hour: Option<u8>,
        /// From booking to beginning, days.
        pub lead_days: i32,
        /// How long it is to take.
        pub planned_minutes: Option<i32>,
        /// How often it moved.
        pub reschedule_count: i32,
        /// Whether somebody confirmed it.
        pub is_confirmed: bool,
        /// Whether a reminder went out.
        pub is_reminded: bool,
        /// From the planned to the real beginning.
        pub punctuality_minutes: Option<i32>,
        /// How long it took.
        pub length_minutes: Option<i32>,
        /// Who called it off.
        pub cancelled_by: Option<CancelledBy>,
        /// From the cancellation to the beginning, hours.
        pub cancel_notice_hours: Option<i32>,
    }
}

/// When an appointment is to begin, as far as facts tell.
struct Start {
    at: Coarse,
    on: Date,
    weekday: u8,
    hour: Option<u8>,
    lead_days: i32,
    planned_minutes: Option<i32>,
}

impl Start {
    fn of(
        starts_at: Timestamp,
        ends_at: Option<Timestamp>,
        precision: TimePrecision,
        booked: Timestamp,
    ) -> Self {
        let (on, lead_days) = match precision {
            TimePrecision::Minute => {
                let on = day(starts_at);
                (on, (on - day(booked)).whole_days())
            }
            // The moment is the clinic's midnight. Half a day later it is the same day almost everywhere, whatever the
            // clinic's zone; and whoever books on the day itself does so after its midnight.
            TimePrecision::Day => {
                let days = -(booked.micros_since(starts_at).div_euclid(MICROS_PER_DAY));
                (day(starts_at.saturating_add_micros(MICROS_PER_DAY / 2)), days)
            }
        };
        let hour = match precision {
            TimePrecision::Minute => Some(OffsetDateTime::from(starts_at).hour()),
            TimePrecision::Day => None,
        };
        let planned = ends_at.map(|end| Coarse::cut(end).minutes_since(Coarse::cut(starts_at)));
        Self {
            at: Coarse::cut(starts_at),
            on,
            weekday: on.weekday().number_from_monday(),
            hour,
            lead_days: narrow(lead_days),
            planned_minutes: planned,
        }
    }
}

impl AppointmentFact {
    pub(super) fn apply(row: Option<&Self>, event: &AppointmentEvent, known: &Known<'_>) -> Option<Self> {
        match (row, event) {
            (None, AppointmentEvent::Booked(booked)) => Some(Self::book(booked, known)),
            (Some(_), AppointmentEvent::Booked(_)) | (None, _) => None,
            (Some(row), _) => Some(row.clone().after(event, known)),
        }
    }

    fn book(booked: &AppointmentBooked, known: &Known<'_>) -> Self {
        let recorded = known.recorded;
        let precision = booked.starts_at_precision;
        let start = Start::of(booked.starts_at, booked.ends_at, precision, recorded.occurred_at);
        let specialist =
            booked.specialist_id.map(|id| known.key.pseudonym(PseudonymKind::Specialist, id.uuid()));
        Self {
            organization_id: known.organization_id(),
            position: recorded.position,
            last_position: recorded.position,
            appointment: known.stream,
            patient: known.patient(booked.patient_id),
            specialist,
            mode: booked.mode,
            origin: recorded.circumstances.origin,
            status: AppointmentStatus::Booked,
            status_path: vec![AppointmentStatus::Booked],
            precision,
            booked_at: Coarse::cut(recorded.occurred_at),
            starts_at: start.at,
            starts_on: start.on,
            weekday: start.weekday,
            start_hour: start.hour,
            lead_days: start.lead_days,
            planned_minutes: start.planned_minutes,
            reschedule_count: 0,
            is_confirmed: false,
            is_reminded: false,
            punctuality_minutes: None,
            length_minutes: None,
            cancelled_by: None,
            cancel_notice_hours: None,
        }
    }

    fn after(mut self, event: &AppointmentEvent, known: &Known<'_>) -> Self {
        let at = known.recorded.occurred_at;
        self.last_position = known.recorded.position;
        match event {
            // Made a new row above.
            AppointmentEvent::Booked(_) => {}
            AppointmentEvent::Confirmed(confirmed) => {
                match confirmed.channel {
                    ConfirmationChannel::Reminder => self.is_reminded = true,
                    ConfirmationChannel::Patient | ConfirmationChannel::Clinic => self.is_confirmed = true,
                }
                self.pass(AppointmentStatus::Confirmed);
            }
            AppointmentEvent::Onboarded(_) => self.pass(AppointmentStatus::Onboarded),
            AppointmentEvent::Rescheduled(moved) => {
                self.move_to(moved.starts_at, moved.ends_at);
                self.pass(AppointmentStatus::Booked);
            }
            AppointmentEvent::Started(_) => {
                if self.precision == TimePrecision::Minute {
                    self.punctuality_minutes = Some(Coarse::cut(at).minutes_since(self.starts_at));
                }
                self.pass(AppointmentStatus::Started);
            }
            AppointmentEvent::Completed(completed) => {
                let told = completed.duration_minutes.map(i32::from);
                self.length_minutes = told.or_else(|| self.minutes_since_start(at)).map(cut_minutes);
                self.pass(AppointmentStatus::Completed);
            }
            AppointmentEvent::Cancelled(cancelled) => {
                self.cancelled_by = Some(cancelled.cancelled_by);
                let notice = self.starts_at.moment().micros_since(Coarse::cut(at).moment());
                self.cancel_notice_hours = Some(narrow(notice.div_euclid(MICROS_PER_HOUR)));
                self.pass(AppointmentStatus::Cancelled);
            }
            AppointmentEvent::NoShow(_) => self.pass(AppointmentStatus::NoShow),
        }
        self
    }

    /// Minutes since the real beginning, where that is known.
    fn minutes_since_start(&self, at: Timestamp) -> Option<i32> {
        let planned = Coarse::cut(at).minutes_since(self.starts_at);
        Some(planned.saturating_sub(self.punctuality_minutes?).max(0))
    }

    fn pass(&mut self, status: AppointmentStatus) {
        self.status = status;
        if self.status_path.len() < MAX_PATH {
            self.status_path.push(status);
        }
    }

    /// A new time is known to the minute.
    fn move_to(&mut self, starts_at: Timestamp, ends_at: Option<Timestamp>) {
        let start = Start::of(starts_at, ends_at, TimePrecision::Minute, self.booked_at.moment());
        self.precision = TimePrecision::Minute;
        self.starts_at = start.at;
        self.starts_on = start.on;
        self.weekday = start.weekday;
        self.start_hour = start.hour;
        self.lead_days = start.lead_days;
        self.planned_minutes = start.planned_minutes;
        self.reschedule_count = self.reschedule_count.saturating_add(1);
    }
}
