//! From a line of the file to an appointment, and on to its history.

use carelog_domain::appointment::{
    Appointment, AppointmentCommand, AppointmentEvent, AppointmentMode, AppointmentRejection,
    BookAppointment, ConfirmationChannel, TimePrecision,
};
use carelog_domain::{PatientId, Timestamp};
use cqrs_es::Aggregate;
use csv::ByteRecord;
use jiff::tz::TimeZone;

use super::columns::{Field, Places};
use super::rejects::{Reject, RejectReason};
use super::values;

/// An appointment as the practice recorded it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) line: u64,
    pub(super) record: ByteRecord,
    pub(super) clinic: String,
    pub(super) patient: String,
    pub(super) appointment: String,
    pub(super) birth_year: Option<u16>,
    pub(super) booked_at: Timestamp,
    pub(super) starts_at: Timestamp,
    pub(super) precision: TimePrecision,
    pub(super) reminded_at: Option<Timestamp>,
    pub(super) was_no_show: bool,
    pub(super) ambiguous_times: u64,
}

impl Row {
    pub(super) fn parse(record: ByteRecord, places: &Places, zone: &TimeZone) -> Result<Self, Reject> {
        let line = record.position().map_or(0, csv::Position::line);
        match (Cells { record: &record, places, zone }).read(line) {
            Ok(row) => Ok(Self { record, ..row }),
            Err(reason) => Err(Reject { line, reason, record }),
        }
    }

    pub(super) fn reject(self, reason: RejectReason) -> Reject {
        Reject { line: self.line, reason, record: self.record }
    }

    /// What happened, decided by the aggregate as if it happened now.
    ///
    /// Two moments are not in such exports. The reminder is taken to have gone out at the beginning of the day
    /// before, but not before the booking. Check-in, end and absence are given the beginning of the appointment;
    /// where only its day is known they do not come before a booking on that day.
    pub(super) fn history(
        &self,
        patient_id: PatientId,
    ) -> Result<Vec<(Timestamp, AppointmentEvent)>, AppointmentRejection> {
        let book = BookAppointment {
            patient_id,
            specialist_id: None,
            starts_at: self.starts_at,
            ends_at: None,
            starts_at_precision: self.precision,
            mode: AppointmentMode::InPerson,
            note: None,
            booked_at: self.booked_at,
        };
        let mut commands = vec![(self.booked_at, AppointmentCommand::Book(book))];
        if let Some(reminded_at) = self.reminded_at {
            commands
                .push((reminded_at, AppointmentCommand::Confirm { channel: ConfirmationChannel::Reminder }));
        }
        let held_at = self.starts_at.max(self.booked_at);
        if self.was_no_show {
            commands.push((held_at, AppointmentCommand::MarkNoShow));
        } else {
            commands.push((held_at, AppointmentCommand::Onboard));
            commands.push((held_at, AppointmentCommand::Complete { duration_minutes: None }));
        }
        fold(commands)
    }
}

fn fold(
    commands: Vec<(Timestamp, AppointmentCommand)>,
) -> Result<Vec<(Timestamp, AppointmentEvent)>, AppointmentRejection> {
    let mut appointment = Appointment::default();
    let mut history = Vec::with_capacity(commands.len());
    for (at, command) in commands {
        for event in appointment.decide(command)? {
            appointment.apply(event.clone());
            history.push((at, event));
        }
    }
    Ok(history)
}

struct Cells<'a> {
    record: &'a ByteRecord,
    places: &'a Places,
    zone: &'a TimeZone,
}

impl Cells<'_> {
    fn read(&self, line: u64) -> Result<Row, RejectReason> {
        let (expected, found) = (self.places.column_count, self.record.len());
        if found != expected {
            return Err(RejectReason::WrongCellCount { expected, found });
        }
        let booked = self.moment(Field::BookedAt)?;
        let starts = self.moment(Field::StartsAt)?;
        let was_reminded = self.yes_or_no(Field::Reminder)?.unwrap_or(false);
        let was_no_show = self.yes_or_no(Field::NoShow)?.ok_or(RejectReason::Missing(Field::NoShow))?;
        Ok(Row {
            line,
            record: ByteRecord::new(),
            clinic: self.text(Field::Clinic)?.to_owned(),
            patient: values::number(self.text(Field::Patient)?),
            appointment: values::number(self.text(Field::Appointment)?),
            birth_year: self.birth_year()?,
            booked_at: booked.at,
            starts_at: starts.at,
            precision: starts.precision,
            reminded_at: was_reminded.then(|| starts.day_before.max(booked.at)),
            was_no_show,
            ambiguous_times: u64::from(booked.was_ambiguous) + u64::from(starts.was_ambiguous),
        })
    }

    fn text(&self, field: Field) -> Result<&str, RejectReason> {
        self.optional(field)?.ok_or(RejectReason::Missing(field))
    }

    fn optional(&self, field: Field) -> Result<Option<&str>, RejectReason> {
        let Some(cell) = self.places.cell(self.record, field) else { return Ok(None) };
        let text = std::str::from_utf8(cell).map_err(|_| RejectReason::NotUtf8(field))?.trim();
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    fn moment(&self, field: Field) -> Result<values::Moment, RejectReason> {
        values::moment(self.text(field)?, self.zone).ok_or(RejectReason::UnknownTime(field))
    }

    /// Nothing where no column is mapped to the field; an empty cell is neither yes nor no.
    fn yes_or_no(&self, field: Field) -> Result<Option<bool>, RejectReason> {
        if self.places.cell(self.record, field).is_none() {
            return Ok(None);
        }
        let text = self.optional(field)?.unwrap_or_default();
        values::yes_or_no(text).map(Some).ok_or(RejectReason::NeitherYesNorNo(field))
    }

    fn birth_year(&self) -> Result<Option<u16>, RejectReason> {
        self.optional(Field::BirthYear)?
            .map(|text| values::birth_year(text).ok_or(RejectReason::UnknownYear))
            .transpose()
    }
}
