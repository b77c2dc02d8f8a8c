//! How events change an appointment's row.

use carelog_domain::appointment::{
    AppointmentBooked, AppointmentEvent, AppointmentMode, AppointmentStatus, CancellationReason, CancelledBy,
    ConfirmationChannel, RescheduleReason, TimePrecision,
};
use carelog_domain::{AppointmentId, OrganizationId, PatientId, SpecialistId, Timestamp};
use carelog_event_log::RecordedEvent;

use super::row::{FoldError, SealedColumns, Stamp, absent, existing, replace_personal};

/// An appointment as it stands now. Its personal part is the newest note about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppointmentRecord {
    /// The clinic.
    pub organization_id: OrganizationId,
    /// The appointment.
    pub appointment_id: AppointmentId,
    /// For whom.
    pub patient_id: PatientId,
    /// With whom, once that is known.
    pub specialist_id: Option<SpecialistId>,
    /// How far it has come.
    pub status: AppointmentStatus,
    /// When it begins.
    pub starts_at: Timestamp,
    /// When it ends.
    pub ends_at: Option<Timestamp>,
    /// How exactly the beginning is known.
    pub starts_at_precision: TimePrecision,
    /// How they meet.
    pub mode: AppointmentMode,
    /// How it was confirmed at its present time.
    pub confirmation_channel: Option<ConfirmationChannel>,
    /// When it was confirmed at its present time.
    pub confirmed_at: Option<Timestamp>,
    /// When the patient checked in.
    pub onboarded_at: Option<Timestamp>,
    /// When the consultation began.
    pub started_at: Option<Timestamp>,
    /// When it was completed, cancelled or found to be a no-show.
    pub ended_at: Option<Timestamp>,
    /// How long the consultation took.
    pub duration_minutes: Option<u16>,
    /// How often it moved.
    pub reschedule_count: u16,
    /// Why it moved last.
    pub reschedule_reason: Option<RescheduleReason>,
    /// Who called it off.
    pub cancelled_by: Option<CancelledBy>,
    /// Why it was called off.
    pub cancellation_reason: Option<CancellationReason>,
    /// When the patient's keys were destroyed, where there had been a note.
    pub erased_at: Option<Timestamp>,
    /// Which events it comes from.
    pub stamp: Stamp,
    /// The sealed note.
    pub personal: Option<SealedColumns>,
}

impl AppointmentRecord {
    pub(super) fn apply(
        row: Option<Self>,
        event: &AppointmentEvent,
        recorded: &RecordedEvent,
    ) -> Result<Self, FoldError> {
        if let AppointmentEvent::Booked(booked) = event {
            absent(row.as_ref(), recorded)?;
            return Ok(Self::book(booked, recorded));
        }
        let mut row = existing(row, recorded)?;
        row.change(event, recorded.occurred_at);
        row.stamp.touch(recorded);
        if row.erased_at.is_none() {
            replace_personal(&mut row.personal, recorded);
        }
        Ok(row)
    }

    fn book(booked: &AppointmentBooked, recorded: &RecordedEvent) -> Self {
        Self {
            organization_id: recorded.stream.organization_id,
            appointment_id: AppointmentId::new(recorded.stream.id),
            patient_id: booked.patient_id,
            specialist_id: booked.specialist_id,
            status: AppointmentStatus::Booked,
            starts_at: booked.starts_at,
            ends_at: booked.ends_at,
            starts_at_precision: booked.starts_at_precision,
            mode: booked.mode,
            confirmation_channel: None,
            confirmed_at: None,
            onboarded_at: None,
            started_at: None,
            ended_at: None,
            duration_minutes: None,
            reschedule_count: 0,
            reschedule_reason: None,
            cancelled_by: None,
            cancellation_reason: None,
            erased_at: None,
            stamp: Stamp::new(recorded),
            personal: SealedColumns::of(recorded),
        }
    }

    fn change(&mut self, event: &AppointmentEvent, at: Timestamp) {
        match event {
            // Made a new row above.
            AppointmentEvent::Booked(_) => {}
            AppointmentEvent::Confirmed(confirmed) => {
                self.status = AppointmentStatus::Confirmed;
                self.confirmation_channel = Some(confirmed.channel);
                self.confirmed_at = Some(at);
            }
            AppointmentEvent::Onboarded(_) => {
                self.status = AppointmentStatus::Onboarded;
                self.onboarded_at = Some(at);
            }
            AppointmentEvent::Rescheduled(moved) => {
                self.reschedule(moved.starts_at, moved.ends_at, moved.reason);
            }
            AppointmentEvent::Started(_) => {
                self.status = AppointmentStatus::Started;
                self.started_at = Some(at);
            }
            AppointmentEvent::Completed(completed) => {
                self.end(AppointmentStatus::Completed, at);
                self.duration_minutes = completed.duration_minutes;
            }
            AppointmentEvent::Cancelled(cancelled) => {
                self.end(AppointmentStatus::Cancelled, at);
                self.cancelled_by = Some(cancelled.cancelled_by);
                self.cancellation_reason = Some(cancelled.reason);
            }
            AppointmentEvent::NoShow(_) => self.end(AppointmentStatus::NoShow, at),
        }
    }

    /// It is booked again then: what was agreed for the earlier time no longer holds.
    fn reschedule(&mut self, starts_at: Timestamp, ends_at: Option<Timestamp>, reason: RescheduleReason) {
        self.status = AppointmentStatus::Booked;
        self.starts_at = starts_at;
        self.ends_at = ends_at;
        self.confirmation_channel = None;
        self.confirmed_at = None;
        self.onboarded_at = None;
        self.reschedule_count = self.reschedule_count.saturating_add(1);
        self.reschedule_reason = Some(reason);
    }

    const fn end(&mut self, status: AppointmentStatus, at: Timestamp) {
        self.status = status;
        self.ended_at = Some(at);
    }
}
