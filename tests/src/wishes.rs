//! Commands as tests need them.

use carelog_domain::appointment::{
    Appointment, AppointmentCommand, AppointmentMode, AppointmentNote, BookAppointment, ConfirmationChannel,
    RescheduleAppointment, RescheduleReason, TimePrecision,
};
use carelog_domain::patient::{PatientCommand, PatientDetails};
use carelog_domain::{
    Actor, Circumstances, CorrelationId, OrganizationId, PatientId, StreamEvent, Timestamp,
};
use carelog_event_log::{Appended, EventLog, ExecuteError, Executed, Expected, Idempotency, Scope, new_id};
use cqrs_es::Aggregate;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A moment from its RFC 3339 text.
pub fn at(text: &str) -> Timestamp {
    text.parse().expect("the test names a moment")
}

/// The scope of a wish of the operator, now, on whatever is there.
pub fn scope(organization_id: OrganizationId) -> Scope {
    Scope::new(organization_id, Circumstances::of(Actor::OPERATOR, CorrelationId::new(new_id())))
}

/// The same under an idempotency key; `body` stands for the request.
pub fn keyed(organization_id: OrganizationId, key: &str, body: &str) -> Scope {
    let idempotency = Idempotency { key: key.to_owned(), fingerprint: Sha256::digest(body).into() };
    Scope { idempotency: Some(idempotency), ..scope(organization_id) }
}

/// Books an appointment, with a note that has to be sealed.
pub fn book_for(patient_id: PatientId, note: Option<&str>) -> AppointmentCommand {
    AppointmentCommand::Book(BookAppointment {
        patient_id,
        specialist_id: None,
        starts_at: at("2026-03-02T09:30:00Z"),
        ends_at: Some(at("2026-03-02T10:00:00Z")),
        starts_at_precision: TimePrecision::Minute,
        mode: AppointmentMode::Video,
        note: note.map(|note| AppointmentNote { note: note.to_owned() }),
        booked_at: at("2026-03-01T12:00:00Z"),
    })
}

/// Books an appointment of somebody.
pub fn book() -> AppointmentCommand {
    book_for(PatientId::new(new_id()), None)
}

/// Confirms it.
pub fn confirm() -> AppointmentCommand {
    AppointmentCommand::Confirm { channel: ConfirmationChannel::Clinic }
}

/// Moves it to the n-th minute of its time; another n is never refused.
pub fn reschedule(n: u64) -> AppointmentCommand {
    let micros = i64::try_from(n).expect("small") * 60_000_000;
    AppointmentCommand::Reschedule(RescheduleAppointment {
        starts_at: at("2026-04-01T00:00:00Z").saturating_add_micros(micros),
        ends_at: None,
        reason: RescheduleReason::Other,
        now: at("2026-03-01T12:00:00Z"),
    })
}

/// A patient's details under a name.
pub fn details(name: &str) -> PatientDetails {
    PatientDetails {
        name: Some(name.to_owned()),
        email: None,
        phone: None,
        birth_date: None,
        external_reference: None,
    }
}

/// Registers a patient under a name.
pub fn register(name: &str) -> PatientCommand {
    PatientCommand::Register { birth_year: Some(1964), details: Some(details(name)) }
}

/// Runs a command that must lead to events.
pub async fn run<A>(log: &EventLog, scope: &Scope, stream_id: Uuid, command: A::Command) -> Appended
where
    A: Aggregate<Services = ()> + 'static,
    A::Event: StreamEvent,
    A::Command: Clone,
    A::Error: Send + Sync,
{
    appended(log.execute::<A>(scope, stream_id, command).await)
}

/// Books an appointment in a stream of its own.
pub async fn start_appointment(log: &EventLog, organization_id: OrganizationId) -> Uuid {
    let stream_id = new_id();
    let scope = Scope { expected: Expected::New, ..scope(organization_id) };
    run::<Appointment>(log, &scope, stream_id, book()).await;
    stream_id
}

/// What was appended.
///
/// # Panics
/// When it was something else.
pub fn appended<R: std::error::Error>(executed: Result<Executed, ExecuteError<R>>) -> Appended {
    match executed {
        Ok(Executed::Appended(appended)) => appended,
        other => panic!("expected events, got {other:?}"),
    }
}
