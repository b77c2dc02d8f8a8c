//! Every command and every rejection of the accounting of disclosures.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use uuid::Uuid;

use super::*;
use crate::examples::{agency_statement, at};
use crate::patient::{
    ErasureGround, ErasureStep, Patient, PatientAccountingResumed, PatientAccountingSuspended,
    PatientErasureRequested, PatientEvent, PatientRegistered,
};

const SUSPENSION: SuspensionId = SuspensionId::new(Uuid::from_u128(1));

fn given(events: impl Into<Vec<AccountingEvent>>) -> AggregateTestExecutor<Accounting> {
    TestFramework::with(()).given(events.into())
}

/// A registered patient to whom this happened besides.
fn patient(events: impl IntoIterator<Item = PatientEvent>) -> Patient {
    let mut patient = Patient::default();
    patient.apply(PatientEvent::Registered(PatientRegistered { birth_year: None, personal: None }));
    events.into_iter().for_each(|event| patient.apply(event));
    patient
}

/// A patient in whose own stream a suspension was made before those had one.
fn suspended_before(ends_at: &str) -> Patient {
    patient([PatientEvent::AccountingSuspended(PatientAccountingSuspended {
        suspension_id: SUSPENSION,
        agency_kind: AgencyKind::LawEnforcement,
        form: StatementForm::Written,
        stated_at: at("2026-03-01T00:00:00Z"),
        ends_at: at(ends_at),
        personal: None,
    })])
}

/// A command for another patient.
fn of(patient: Patient, command: AccountingCommand) -> AccountingCommand {
    match command {
        AccountingCommand::Suspend { wish, .. } => AccountingCommand::Suspend { wish, patient },
        AccountingCommand::Resume { suspension_id, now, .. } => {
            AccountingCommand::Resume { suspension_id, now, patient }
        }
    }
}

fn wish(form: StatementForm, ends_at: &str) -> SuspendAccounting {
    SuspendAccounting {
        suspension_id: SUSPENSION,
        agency_kind: AgencyKind::LawEnforcement,
        form,
        stated_at: at("2026-03-01T00:00:00Z"),
        ends_at: at(ends_at),
        statement: agency_statement(),
        now: at("2026-03-02T00:00:00Z"),
    }
}

fn suspend(form: StatementForm, ends_at: &str) -> AccountingCommand {
    AccountingCommand::Suspend { wish: wish(form, ends_at), patient: patient([]) }
}

fn suspended(form: StatementForm, ends_at: &str) -> AccountingEvent {
    AccountingEvent::Suspended(AccountingSuspended {
        suspension_id: SUSPENSION,
        agency_kind: AgencyKind::LawEnforcement,
        form,
        stated_at: at("2026-03-01T00:00:00Z"),
        ends_at: at(ends_at),
        personal: Some(Personal::Open(agency_statement())),
    })
}

fn resume(now: &str) -> AccountingCommand {
    AccountingCommand::Resume { suspension_id: SUSPENSION, now: at(now), patient: patient([]) }
}

fn resumed() -> AccountingEvent {
    AccountingEvent::Resumed(AccountingResumed { suspension_id: SUSPENSION })
}

#[test]
fn given_registered_when_accounting_is_suspended_then_suspended() {
    for (form, ends_at) in
        [(StatementForm::Written, "2027-03-01T00:00:00Z"), (StatementForm::Oral, "2026-03-31T00:00:00Z")]
    {
        given([]).when(suspend(form, ends_at)).then_expect_events(vec![suspended(form, ends_at)]);
    }
}

#[test]
fn given_an_oral_statement_when_suspended_for_more_than_thirty_days_then_oral_suspension_too_long() {
    let (ends_at, latest) = (at("2026-03-31T00:00:00.000001Z"), at("2026-03-31T00:00:00Z"));

    given([])
        .when(suspend(StatementForm::Oral, "2026-03-31T00:00:00.000001Z"))
        .then_expect_error(AccountingRejection::OralSuspensionTooLong { ends_at, latest });
}

#[test]
fn given_an_end_that_is_over_when_suspended_then_suspension_ends_in_past() {
    let now = at("2026-03-02T00:00:00Z");

    given([])
        .when(suspend(StatementForm::Written, "2026-03-02T00:00:00Z"))
        .then_expect_error(AccountingRejection::SuspensionEndsInPast { ends_at: now, now });
}

#[test]
fn given_a_statement_of_tomorrow_when_suspended_then_stated_in_future() {
    let wish = wish(StatementForm::Written, "2027-03-01T00:00:00Z");
    let (stated_at, now) = (at("2026-03-02T00:00:00.000001Z"), wish.now);

    given([])
        .when(AccountingCommand::Suspend {
            wish: SuspendAccounting { stated_at, ..wish },
            patient: patient([]),
        })
        .then_expect_error(AccountingRejection::StatedInFuture { stated_at, now });
}

#[test]
fn given_a_suspension_when_made_again_then_suspension_already_made() {
    let events = vec![suspended(StatementForm::Written, "2027-03-01T00:00:00Z"), resumed()];

    given(events)
        .when(suspend(StatementForm::Written, "2027-03-01T00:00:00Z"))
        .then_expect_error(AccountingRejection::SuspensionAlreadyMade { suspension_id: SUSPENSION });
}

#[test]
fn given_a_suspension_when_resumed_then_resumed() {
    given([suspended(StatementForm::Written, "2027-03-01T00:00:00Z")])
        .when(resume("2026-04-01T00:00:00Z"))
        .then_expect_events(vec![resumed()]);
}

#[test]
fn given_a_suspension_that_has_ended_when_resumed_then_suspension_not_in_force() {
    let lifted = vec![suspended(StatementForm::Written, "2027-03-01T00:00:00Z"), resumed()];
    let over = vec![suspended(StatementForm::Written, "2026-04-01T00:00:00Z")];
    for events in [lifted, over] {
        given(events)
            .when(resume("2026-04-01T00:00:00Z"))
            .then_expect_error(AccountingRejection::SuspensionNotInForce { suspension_id: SUSPENSION });
    }
}

#[test]
fn given_no_suspension_when_resumed_then_suspension_unknown() {
    given([])
        .when(resume("2026-04-01T00:00:00Z"))
        .then_expect_error(AccountingRejection::SuspensionUnknown { suspension_id: SUSPENSION });
}

#[test]
fn given_a_suspension_in_the_stream_of_the_patient_when_resumed_then_resumed_here() {
    given([])
        .when(of(suspended_before("2027-03-01T00:00:00Z"), resume("2026-04-01T00:00:00Z")))
        .then_expect_events(vec![resumed()]);
}

#[test]
fn given_a_suspension_in_the_stream_of_the_patient_that_has_ended_when_resumed_then_not_in_force() {
    let mut lifted = suspended_before("2027-03-01T00:00:00Z");
    lifted.apply(PatientEvent::AccountingResumed(PatientAccountingResumed { suspension_id: SUSPENSION }));
    for (events, patient) in [
        (vec![], lifted),
        (vec![], suspended_before("2026-04-01T00:00:00Z")),
        (vec![resumed()], suspended_before("2027-03-01T00:00:00Z")),
    ] {
        given(events)
            .when(of(patient, resume("2026-04-01T00:00:00Z")))
            .then_expect_error(AccountingRejection::SuspensionNotInForce { suspension_id: SUSPENSION });
    }
}

#[test]
fn given_a_suspension_in_the_stream_of_the_patient_when_made_again_then_suspension_already_made() {
    given([])
        .when(of(
            suspended_before("2027-03-01T00:00:00Z"),
            suspend(StatementForm::Written, "2027-03-01T00:00:00Z"),
        ))
        .then_expect_error(AccountingRejection::SuspensionAlreadyMade { suspension_id: SUSPENSION });
}

#[test]
fn given_no_patient_or_one_who_is_being_erased_when_anything_then_refused() {
    let ground = ErasureGround::PatientRequest;
    let erasing = patient([PatientEvent::ErasureRequested(PatientErasureRequested { ground })]);
    for command in [suspend(StatementForm::Written, "2027-03-01T00:00:00Z"), resume("2026-04-01T00:00:00Z")] {
        let events = [suspended(StatementForm::Written, "2027-03-01T00:00:00Z")];
        given(events.clone())
            .when(of(Patient::default(), command.clone()))
            .then_expect_error(AccountingRejection::NotRegistered);
        given(events)
            .when(of(erasing.clone(), command))
            .then_expect_error(AccountingRejection::ErasureUnderWay { step: ErasureStep::Requested });
    }
}
