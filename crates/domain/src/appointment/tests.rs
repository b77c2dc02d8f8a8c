//! Every command and every rejection of an appointment.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use uuid::Uuid;

use super::*;
use crate::examples::{appointment_note, at};
use crate::ids::SpecialistId;

const PATIENT: PatientId = PatientId::new(Uuid::from_u128(1));

fn given(events: impl Into<Vec<AppointmentEvent>>) -> AggregateTestExecutor<Appointment> {
    TestFramework::with(()).given(events.into())
}

fn book() -> BookAppointment {
    BookAppointment {
        patient_id: PATIENT,
        specialist_id: Some(SpecialistId::new(Uuid::from_u128(2))),
        starts_at: at("2026-03-02T09:30:00Z"),
        ends_at: Some(at("2026-03-02T10:00:00Z")),
        starts_at_precision: TimePrecision::Minute,
        mode: AppointmentMode::Video,
        note: Some(appointment_note()),
        booked_at: at("2026-03-01T12:00:00Z"),
    }
}

fn booked() -> AppointmentEvent {
    AppointmentEvent::Booked(AppointmentBooked {
        patient_id: PATIENT,
        specialist_id: Some(SpecialistId::new(Uuid::from_u128(2))),
        starts_at: at("2026-03-02T09:30:00Z"),
        ends_at: Some(at("2026-03-02T10:00:00Z")),
        starts_at_precision: TimePrecision::Minute,
        mode: AppointmentMode::Video,
        personal: Some(Personal::Open(appointment_note())),
    })
}

fn booked_for_the_day() -> AppointmentEvent {
    AppointmentEvent::Booked(AppointmentBooked {
        patient_id: PATIENT,
        specialist_id: None,
        starts_at: at("2026-03-02T00:00:00Z"),
        ends_at: None,
        starts_at_precision: TimePrecision::Day,
        mode: AppointmentMode::InPerson,
        personal: None,
    })
}

fn confirmed() -> AppointmentEvent {
    let channel = ConfirmationChannel::Patient;
    AppointmentEvent::Confirmed(AppointmentConfirmed { patient_id: PATIENT, channel })
}

fn onboarded() -> AppointmentEvent {
    AppointmentEvent::Onboarded(AppointmentOnboarded { patient_id: PATIENT })
}

fn started() -> AppointmentEvent {
    AppointmentEvent::Started(AppointmentStarted { patient_id: PATIENT })
}

fn completed() -> AppointmentEvent {
    let duration_minutes = Some(25);
    AppointmentEvent::Completed(AppointmentCompleted { patient_id: PATIENT, duration_minutes })
}

fn reschedule() -> RescheduleAppointment {
    RescheduleAppointment {
        starts_at: at("2026-03-03T09:30:00Z"),
        ends_at: Some(at("2026-03-03T10:00:00Z")),
        reason: RescheduleReason::PatientRequest,
        now: at("2026-03-01T13:00:00Z"),
    }
}

fn rescheduled() -> AppointmentEvent {
    AppointmentEvent::Rescheduled(AppointmentRescheduled {
        patient_id: PATIENT,
        starts_at: at("2026-03-03T09:30:00Z"),
        ends_at: Some(at("2026-03-03T10:00:00Z")),
        reason: RescheduleReason::PatientRequest,
    })
}

fn cancel() -> AppointmentCommand {
    AppointmentCommand::Cancel {
        cancelled_by: CancelledBy::Patient,
        reason: CancellationReason::Illness,
        note: Some(appointment_note()),
    }
}

fn cancelled() -> AppointmentEvent {
    AppointmentEvent::Cancelled(AppointmentCancelled {
        patient_id: PATIENT,
        cancelled_by: CancelledBy::Patient,
        reason: CancellationReason::Illness,
        personal: Some(Personal::Open(appointment_note())),
    })
}

fn no_show() -> AppointmentEvent {
    AppointmentEvent::NoShow(AppointmentNoShow { patient_id: PATIENT })
}

fn confirm() -> AppointmentCommand {
    AppointmentCommand::Confirm { channel: ConfirmationChannel::Patient }
}

fn complete() -> AppointmentCommand {
    AppointmentCommand::Complete { duration_minutes: Some(25) }
}

/// The ways in which an appointment can be over or under way.
fn not_upcoming() -> [(Vec<AppointmentEvent>, AppointmentStatus); 4] {
    [
        (vec![booked(), onboarded(), started()], AppointmentStatus::Started),
        (vec![booked(), onboarded(), completed()], AppointmentStatus::Completed),
        (vec![booked(), cancelled()], AppointmentStatus::Cancelled),
        (vec![booked(), no_show()], AppointmentStatus::NoShow),
    ]
}

/// The ways in which an appointment can be still to come.
fn upcoming() -> [Vec<AppointmentEvent>; 3] {
    [vec![booked()], vec![booked(), confirmed()], vec![booked(), confirmed(), onboarded()]]
}

#[test]
fn given_nothing_when_booked_then_booked() {
    given([]).when(AppointmentCommand::Book(book())).then_expect_events(vec![booked()]);
}

#[test]
fn given_nothing_when_anything_else_then_not_booked() {
    let reschedule = AppointmentCommand::Reschedule(reschedule());
    let commands = [
        confirm(),
        AppointmentCommand::Onboard,
        reschedule,
        AppointmentCommand::Start,
        complete(),
        cancel(),
        AppointmentCommand::MarkNoShow,
    ];
    for command in commands {
        given([]).when(command).then_expect_error(AppointmentRejection::NotBooked);
    }
}

#[test]
fn given_booked_when_booked_again_then_already_booked() {
    given([booked(), confirmed()])
        .when(AppointmentCommand::Book(book()))
        .then_expect_error(AppointmentRejection::AlreadyBooked { status: AppointmentStatus::Confirmed });
}

#[test]
fn given_nothing_when_booked_for_this_very_moment_then_booked() {
    let book = BookAppointment { booked_at: at("2026-03-02T09:30:00Z"), ..book() };

    given([]).when(AppointmentCommand::Book(book)).then_expect_events(vec![booked()]);
}

#[test]
fn given_nothing_when_booked_for_the_past_then_starts_before_booking() {
    let (starts_at, booked_at) = (at("2026-03-02T09:30:00Z"), at("2026-03-02T09:30:00.000001Z"));
    let book = BookAppointment { booked_at, ..book() };

    given([])
        .when(AppointmentCommand::Book(book))
        .then_expect_error(AppointmentRejection::StartsBeforeBooking { starts_at, booked_at });
}

fn book_for_the_day(booked_at: Timestamp) -> AppointmentCommand {
    AppointmentCommand::Book(BookAppointment {
        specialist_id: None,
        starts_at: at("2026-03-02T00:00:00Z"),
        ends_at: None,
        starts_at_precision: TimePrecision::Day,
        mode: AppointmentMode::InPerson,
        note: None,
        booked_at,
        ..book()
    })
}

#[test]
fn given_nothing_when_only_the_day_is_known_and_it_is_today_then_booked() {
    given([])
        .when(book_for_the_day(at("2026-03-02T23:59:59.999999Z")))
        .then_expect_events(vec![booked_for_the_day()]);
}

#[test]
fn given_nothing_when_only_the_day_is_known_and_it_is_over_then_starts_before_booking() {
    let (starts_at, booked_at) = (at("2026-03-02T00:00:00Z"), at("2026-03-03T00:00:00Z"));

    given([])
        .when(book_for_the_day(booked_at))
        .then_expect_error(AppointmentRejection::StartsBeforeBooking { starts_at, booked_at });
}

#[test]
fn given_nothing_when_booked_without_length_then_ends_before_start() {
    let starts_at = at("2026-03-02T09:30:00Z");
    let book = BookAppointment { ends_at: Some(starts_at), ..book() };

    given([])
        .when(AppointmentCommand::Book(book))
        .then_expect_error(AppointmentRejection::EndsBeforeStart { starts_at, ends_at: starts_at });
}

#[test]
fn given_booked_when_confirmed_then_confirmed() {
    given([booked()]).when(confirm()).then_expect_events(vec![confirmed()]);
}

#[test]
fn given_confirmed_when_confirmed_then_already_confirmed() {
    given([booked(), confirmed()]).when(confirm()).then_expect_error(AppointmentRejection::AlreadyConfirmed);
}

#[test]
fn given_onboarded_when_confirmed_then_cannot_confirm() {
    given([booked(), onboarded()])
        .when(confirm())
        .then_expect_error(AppointmentRejection::CannotConfirm { status: AppointmentStatus::Onboarded });
}

#[test]
fn given_booked_or_confirmed_when_onboarded_then_onboarded() {
    for events in [vec![booked()], vec![booked(), confirmed()]] {
        given(events).when(AppointmentCommand::Onboard).then_expect_events(vec![onboarded()]);
    }
}

#[test]
fn given_onboarded_when_onboarded_then_cannot_onboard() {
    given([booked(), onboarded()])
        .when(AppointmentCommand::Onboard)
        .then_expect_error(AppointmentRejection::CannotOnboard { status: AppointmentStatus::Onboarded });
}

#[test]
fn given_upcoming_when_rescheduled_then_rescheduled() {
    for events in upcoming() {
        given(events)
            .when(AppointmentCommand::Reschedule(reschedule()))
            .then_expect_events(vec![rescheduled()]);
    }
}

#[test]
fn given_rescheduled_when_confirmed_then_confirmed_again() {
    given([booked(), confirmed(), rescheduled()]).when(confirm()).then_expect_events(vec![confirmed()]);
}

#[test]
fn given_rescheduled_when_rescheduled_to_the_same_time_then_same_time() {
    given([booked(), rescheduled()])
        .when(AppointmentCommand::Reschedule(reschedule()))
        .then_expect_error(AppointmentRejection::SameTime { starts_at: at("2026-03-03T09:30:00Z") });
}

#[test]
fn given_booked_when_rescheduled_to_the_past_then_starts_before_booking() {
    let now = at("2026-03-04T00:00:00Z");
    let wish = RescheduleAppointment { now, ..reschedule() };

    given([booked()]).when(AppointmentCommand::Reschedule(wish)).then_expect_error(
        AppointmentRejection::StartsBeforeBooking { starts_at: at("2026-03-03T09:30:00Z"), booked_at: now },
    );
}

#[test]
fn given_booked_for_a_day_when_rescheduled_to_today_then_rescheduled() {
    let (starts_at, reason) = (at("2026-03-01T00:00:00Z"), RescheduleReason::Other);
    let wish = RescheduleAppointment { starts_at, ends_at: None, reason, now: at("2026-03-01T13:00:00Z") };
    let moved = AppointmentRescheduled { patient_id: PATIENT, starts_at, ends_at: None, reason };

    given([booked_for_the_day()])
        .when(AppointmentCommand::Reschedule(wish))
        .then_expect_events(vec![AppointmentEvent::Rescheduled(moved)]);
}

#[test]
fn given_booked_when_rescheduled_to_end_before_it_starts_then_ends_before_start() {
    let (starts_at, ends_at) = (at("2026-03-03T09:30:00Z"), at("2026-03-03T09:00:00Z"));
    let wish = RescheduleAppointment { ends_at: Some(ends_at), ..reschedule() };

    given([booked()])
        .when(AppointmentCommand::Reschedule(wish))
        .then_expect_error(AppointmentRejection::EndsBeforeStart { starts_at, ends_at });
}

#[test]
fn given_not_upcoming_when_rescheduled_then_cannot_reschedule() {
    for (events, status) in not_upcoming() {
        given(events)
            .when(AppointmentCommand::Reschedule(reschedule()))
            .then_expect_error(AppointmentRejection::CannotReschedule { status });
    }
}

#[test]
fn given_onboarded_when_started_then_started() {
    given([booked(), onboarded()]).when(AppointmentCommand::Start).then_expect_events(vec![started()]);
}

#[test]
fn given_booked_when_started_then_cannot_start() {
    given([booked()])
        .when(AppointmentCommand::Start)
        .then_expect_error(AppointmentRejection::CannotStart { status: AppointmentStatus::Booked });
}

#[test]
fn given_onboarded_or_started_when_completed_then_completed() {
    for events in [vec![booked(), onboarded()], vec![booked(), onboarded(), started()]] {
        given(events).when(complete()).then_expect_events(vec![completed()]);
    }
}

#[test]
fn given_confirmed_when_completed_then_cannot_complete() {
    given([booked(), confirmed()])
        .when(complete())
        .then_expect_error(AppointmentRejection::CannotComplete { status: AppointmentStatus::Confirmed });
}

#[test]
fn given_upcoming_when_cancelled_then_cancelled() {
    for events in upcoming() {
        given(events).when(cancel()).then_expect_events(vec![cancelled()]);
    }
}

#[test]
fn given_not_upcoming_when_cancelled_then_cannot_cancel() {
    for (events, status) in not_upcoming() {
        given(events).when(cancel()).then_expect_error(AppointmentRejection::CannotCancel { status });
    }
}

#[test]
fn given_upcoming_when_patient_does_not_come_then_no_show() {
    for events in upcoming() {
        given(events).when(AppointmentCommand::MarkNoShow).then_expect_events(vec![no_show()]);
    }
}

#[test]
fn given_not_upcoming_when_patient_does_not_come_then_cannot_mark_no_show() {
    for (events, status) in not_upcoming() {
        given(events)
            .when(AppointmentCommand::MarkNoShow)
            .then_expect_error(AppointmentRejection::CannotMarkNoShow { status });
    }
}
