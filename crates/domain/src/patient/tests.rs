//! Every command and every rejection of a patient's record.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};

use uuid::Uuid;

use super::*;
use crate::examples::{agency_statement, at, patient_details};
use crate::ids::SuspensionId;

const SUSPENSION: SuspensionId = SuspensionId::new(Uuid::from_u128(1));

const GIVE: PatientCommand = PatientCommand::GiveConsent { consent: ConsentKind::Recording, version: 2 };
const WITHDRAW: PatientCommand = PatientCommand::WithdrawConsent { consent: ConsentKind::Recording };
const REQUEST: PatientCommand = PatientCommand::RequestErasure { ground: ErasureGround::PatientRequest };
const RECORD: PatientCommand = PatientCommand::RecordKeysDestroyed { key_count: 2 };

const HOLD: LegalHoldId = LegalHoldId::new(uuid::Uuid::from_u128(7));
const OTHER_HOLD: LegalHoldId = LegalHoldId::new(uuid::Uuid::from_u128(8));
const PLACE: PatientCommand =
    PatientCommand::PlaceLegalHold { legal_hold_id: HOLD, reason: LegalHoldReason::Litigation };
const RELEASE: PatientCommand = PatientCommand::ReleaseLegalHold { legal_hold_id: HOLD };

fn given(events: impl Into<Vec<PatientEvent>>) -> AggregateTestExecutor<Patient> {
    TestFramework::with(()).given(events.into())
}

fn register() -> PatientCommand {
    PatientCommand::Register { birth_year: Some(1964), details: Some(patient_details()) }
}

fn change_details() -> PatientCommand {
    PatientCommand::ChangeDetails { details: patient_details() }
}

fn registered() -> PatientEvent {
    let personal = Some(Personal::Open(patient_details()));
    PatientEvent::Registered(PatientRegistered { birth_year: Some(1964), personal })
}

fn onboarded() -> PatientEvent {
    PatientEvent::Onboarded(PatientOnboarded {})
}

fn consent_given(version: u16) -> PatientEvent {
    PatientEvent::ConsentGiven(PatientConsentGiven { consent: ConsentKind::Recording, version })
}

fn consent_withdrawn() -> PatientEvent {
    PatientEvent::ConsentWithdrawn(PatientConsentWithdrawn { consent: ConsentKind::Recording })
}

fn hold_placed(legal_hold_id: LegalHoldId) -> PatientEvent {
    let reason = LegalHoldReason::Litigation;
    PatientEvent::LegalHoldPlaced(PatientLegalHoldPlaced { legal_hold_id, reason })
}

fn hold_released(legal_hold_id: LegalHoldId) -> PatientEvent {
    PatientEvent::LegalHoldReleased(PatientLegalHoldReleased { legal_hold_id })
}

fn erasure_requested() -> PatientEvent {
    PatientEvent::ErasureRequested(PatientErasureRequested { ground: ErasureGround::PatientRequest })
}

fn keys_destroyed() -> PatientEvent {
    PatientEvent::KeysDestroyed(PatientKeysDestroyed { key_count: 2 })
}

fn erased() -> PatientEvent {
    PatientEvent::Erased(PatientErased {})
}

/// An erasure after each of its steps.
fn erasing() -> [(Vec<PatientEvent>, ErasureStep); 3] {
    [
        (vec![registered(), erasure_requested()], ErasureStep::Requested),
        (vec![registered(), erasure_requested(), keys_destroyed()], ErasureStep::KeysDestroyed),
        (vec![registered(), erasure_requested(), keys_destroyed(), erased()], ErasureStep::Erased),
    ]
}

fn suspend(form: StatementForm, ends_at: &str) -> PatientCommand {
    PatientCommand::SuspendAccounting(SuspendAccounting {
        suspension_id: SUSPENSION,
        agency_kind: AgencyKind::LawEnforcement,
        form,
        stated_at: at("2026-03-01T00:00:00Z"),
        ends_at: at(ends_at),
        statement: agency_statement(),
        now: at("2026-03-02T00:00:00Z"),
    })
}

fn suspended(form: StatementForm, ends_at: &str) -> PatientEvent {
    PatientEvent::AccountingSuspended(PatientAccountingSuspended {
        suspension_id: SUSPENSION,
        agency_kind: AgencyKind::LawEnforcement,
        form,
        stated_at: at("2026-03-01T00:00:00Z"),
        ends_at: at(ends_at),
        personal: Some(Personal::Open(agency_statement())),
    })
}

fn resume(now: &str) -> PatientCommand {
    PatientCommand::ResumeAccounting { suspension_id: SUSPENSION, now: at(now) }
}

fn resumed() -> PatientEvent {
    PatientEvent::AccountingResumed(PatientAccountingResumed { suspension_id: SUSPENSION })
}

#[test]
fn given_registered_when_accounting_is_suspended_then_suspended() {
    for (form, ends_at) in
        [(StatementForm::Written, "2027-03-01T00:00:00Z"), (StatementForm::Oral, "2026-03-31T00:00:00Z")]
    {
        given([registered()]).when(suspend(form, ends_at)).then_expect_events(vec![suspended(form, ends_at)]);
    }
}

#[test]
fn given_an_oral_statement_when_suspended_for_more_than_thirty_days_then_oral_suspension_too_long() {
    let (ends_at, latest) = (at("2026-03-31T00:00:00.000001Z"), at("2026-03-31T00:00:00Z"));

    given([registered()])
        .when(suspend(StatementForm::Oral, "2026-03-31T00:00:00.000001Z"))
        .then_expect_error(PatientRejection::OralSuspensionTooLong { ends_at, latest });
}

#[test]
fn given_an_end_that_is_over_when_suspended_then_suspension_ends_in_past() {
    let now = at("2026-03-02T00:00:00Z");

    given([registered()])
        .when(suspend(StatementForm::Written, "2026-03-02T00:00:00Z"))
        .then_expect_error(PatientRejection::SuspensionEndsInPast { ends_at: now, now });
}

#[test]
fn given_a_statement_of_tomorrow_when_suspended_then_stated_in_future() {
    let PatientCommand::SuspendAccounting(wish) = suspend(StatementForm::Written, "2027-03-01T00:00:00Z")
    else {
        panic!("it is one")
    };
    let (stated_at, now) = (at("2026-03-02T00:00:00.000001Z"), wish.now);

    given([registered()])
        .when(PatientCommand::SuspendAccounting(SuspendAccounting { stated_at, ..wish }))
        .then_expect_error(PatientRejection::StatedInFuture { stated_at, now });
}

#[test]
fn given_a_suspension_when_made_again_then_suspension_already_made() {
    let events = vec![registered(), suspended(StatementForm::Written, "2027-03-01T00:00:00Z"), resumed()];

    given(events)
        .when(suspend(StatementForm::Written, "2027-03-01T00:00:00Z"))
        .then_expect_error(PatientRejection::SuspensionAlreadyMade { suspension_id: SUSPENSION });
}

#[test]
fn given_a_suspension_when_resumed_then_resumed() {
    given([registered(), suspended(StatementForm::Written, "2027-03-01T00:00:00Z")])
        .when(resume("2026-04-01T00:00:00Z"))
        .then_expect_events(vec![resumed()]);
}

#[test]
fn given_a_suspension_that_has_ended_when_resumed_then_suspension_not_in_force() {
    let lifted = vec![registered(), suspended(StatementForm::Written, "2027-03-01T00:00:00Z"), resumed()];
    let over = vec![registered(), suspended(StatementForm::Written, "2026-04-01T00:00:00Z")];
    for events in [lifted, over] {
        given(events)
            .when(resume("2026-04-01T00:00:00Z"))
            .then_expect_error(PatientRejection::SuspensionNotInForce { suspension_id: SUSPENSION });
    }
}

#[test]
fn given_no_suspension_when_resumed_then_suspension_unknown() {
    given([registered()])
        .when(resume("2026-04-01T00:00:00Z"))
        .then_expect_error(PatientRejection::SuspensionUnknown { suspension_id: SUSPENSION });
}

#[test]
fn given_nothing_when_registered_then_registered() {
    given([]).when(register()).then_expect_events(vec![registered()]);
}

#[test]
fn given_nothing_when_registered_without_details_then_registered_without_personal_part() {
    let registered = PatientEvent::Registered(PatientRegistered { birth_year: None, personal: None });

    given([])
        .when(PatientCommand::Register { birth_year: None, details: None })
        .then_expect_events(vec![registered]);
}

#[test]
fn given_nothing_when_anything_else_then_not_registered() {
    let commands = [
        PatientCommand::Onboard,
        change_details(),
        GIVE,
        WITHDRAW,
        PLACE,
        RELEASE,
        REQUEST,
        RECORD,
        suspend(StatementForm::Written, "2027-03-01T00:00:00Z"),
        resume("2026-04-01T00:00:00Z"),
        PatientCommand::CompleteErasure,
    ];
    for command in commands {
        given([]).when(command).then_expect_error(PatientRejection::NotRegistered);
    }
}

#[test]
fn given_registered_when_registered_again_then_already_registered() {
    given([registered()]).when(register()).then_expect_error(PatientRejection::AlreadyRegistered);
}

#[test]
fn given_erased_when_registered_again_then_already_registered() {
    let [.., (events, _)] = erasing();

    given(events).when(register()).then_expect_error(PatientRejection::AlreadyRegistered);
}

#[test]
fn given_registered_when_onboarded_then_onboarded() {
    given([registered()]).when(PatientCommand::Onboard).then_expect_events(vec![onboarded()]);
}

#[test]
fn given_onboarded_when_onboarded_then_already_onboarded() {
    given([registered(), onboarded()])
        .when(PatientCommand::Onboard)
        .then_expect_error(PatientRejection::AlreadyOnboarded);
}

#[test]
fn given_registered_when_details_change_then_details_changed() {
    let personal = Some(Personal::Open(patient_details()));
    let changed = PatientEvent::DetailsChanged(PatientDetailsChanged { personal });

    given([registered()]).when(change_details()).then_expect_events(vec![changed]);
}

#[test]
fn given_registered_when_consent_given_then_consent_given() {
    given([registered()]).when(GIVE).then_expect_events(vec![consent_given(2)]);
}

#[test]
fn given_consent_to_an_older_version_when_consent_given_then_consent_given() {
    given([registered(), consent_given(1)]).when(GIVE).then_expect_events(vec![consent_given(2)]);
}

#[test]
fn given_consent_when_same_consent_given_then_consent_already_given() {
    let (consent, version) = (ConsentKind::Recording, 2);

    given([registered(), consent_given(2)])
        .when(GIVE)
        .then_expect_error(PatientRejection::ConsentAlreadyGiven { consent, version });
}

#[test]
fn given_consent_when_withdrawn_then_consent_withdrawn() {
    given([registered(), consent_given(2)]).when(WITHDRAW).then_expect_events(vec![consent_withdrawn()]);
}

#[test]
fn given_withdrawn_consent_when_given_again_then_consent_given() {
    given([registered(), consent_given(2), consent_withdrawn()])
        .when(GIVE)
        .then_expect_events(vec![consent_given(2)]);
}

#[test]
fn given_no_consent_in_force_when_withdrawn_then_consent_not_given() {
    for events in [vec![registered()], vec![registered(), consent_given(2), consent_withdrawn()]] {
        given(events)
            .when(WITHDRAW)
            .then_expect_error(PatientRejection::ConsentNotGiven { consent: ConsentKind::Recording });
    }
}

#[test]
fn given_registered_when_hold_placed_then_hold_placed() {
    given([registered()]).when(PLACE).then_expect_events(vec![hold_placed(HOLD)]);
}

#[test]
fn given_another_hold_when_hold_placed_then_hold_placed() {
    given([registered(), hold_placed(OTHER_HOLD)]).when(PLACE).then_expect_events(vec![hold_placed(HOLD)]);
}

#[test]
fn given_hold_when_the_same_is_placed_then_legal_hold_already_placed() {
    given([registered(), hold_placed(HOLD)])
        .when(PLACE)
        .then_expect_error(PatientRejection::LegalHoldAlreadyPlaced);
}

#[test]
fn given_hold_when_released_then_hold_released() {
    given([registered(), hold_placed(HOLD)]).when(RELEASE).then_expect_events(vec![hold_released(HOLD)]);
}

#[test]
fn given_no_such_hold_when_released_then_legal_hold_not_placed() {
    for events in [
        vec![registered()],
        vec![registered(), hold_placed(OTHER_HOLD)],
        vec![registered(), hold_placed(HOLD), hold_released(HOLD)],
    ] {
        given(events).when(RELEASE).then_expect_error(PatientRejection::LegalHoldNotPlaced);
    }
}

#[test]
fn given_released_hold_when_placed_again_then_hold_placed() {
    given([registered(), hold_placed(HOLD), hold_released(HOLD)])
        .when(PLACE)
        .then_expect_events(vec![hold_placed(HOLD)]);
}

#[test]
fn given_any_hold_in_force_when_erasure_requested_then_legal_hold() {
    for events in [
        vec![registered(), hold_placed(HOLD)],
        vec![registered(), hold_placed(HOLD), hold_placed(OTHER_HOLD), hold_released(HOLD)],
    ] {
        given(events).when(REQUEST).then_expect_error(PatientRejection::UnderLegalHold);
    }
}

#[test]
fn given_every_hold_released_when_erasure_requested_then_erasure_requested() {
    given([registered(), hold_placed(HOLD), hold_released(HOLD)])
        .when(REQUEST)
        .then_expect_events(vec![erasure_requested()]);
}

#[test]
fn given_hold_when_anything_but_erasure_then_it_happens() {
    given([registered(), hold_placed(HOLD)])
        .when(PatientCommand::Onboard)
        .then_expect_events(vec![onboarded()]);
    given([registered(), hold_placed(HOLD)]).when(GIVE).then_expect_events(vec![consent_given(2)]);
}

#[test]
fn given_registered_when_erasure_requested_then_erasure_requested() {
    given([registered()]).when(REQUEST).then_expect_events(vec![erasure_requested()]);
}

#[test]
fn given_erasure_requested_when_keys_destroyed_then_keys_destroyed() {
    given([registered(), erasure_requested()]).when(RECORD).then_expect_events(vec![keys_destroyed()]);
}

#[test]
fn given_keys_destroyed_when_erasure_completed_then_erased() {
    given([registered(), erasure_requested(), keys_destroyed()])
        .when(PatientCommand::CompleteErasure)
        .then_expect_events(vec![erased()]);
}

#[test]
fn given_erasure_under_way_when_anything_but_its_steps_then_erasure_under_way() {
    let suspend = suspend(StatementForm::Written, "2027-03-01T00:00:00Z");
    let resume = resume("2026-04-01T00:00:00Z");
    for command in [PatientCommand::Onboard, change_details(), GIVE, WITHDRAW, PLACE, suspend, resume] {
        for (events, step) in erasing() {
            given(events).when(command.clone()).then_expect_error(PatientRejection::ErasureUnderWay { step });
        }
    }
}

#[test]
fn given_erasure_under_way_when_requested_again_then_erasure_already_requested() {
    for (events, step) in erasing() {
        given(events).when(REQUEST).then_expect_error(PatientRejection::ErasureAlreadyRequested { step });
    }
}

#[test]
fn given_no_erasure_when_a_later_step_is_told_then_erasure_not_requested() {
    for command in [RECORD, PatientCommand::CompleteErasure] {
        given([registered()]).when(command).then_expect_error(PatientRejection::ErasureNotRequested);
    }
}

#[test]
fn given_keys_destroyed_when_told_again_then_keys_already_destroyed() {
    let [_, (destroyed, _), (erased, _)] = erasing();
    for events in [destroyed, erased] {
        given(events).when(RECORD).then_expect_error(PatientRejection::KeysAlreadyDestroyed);
    }
}

#[test]
fn given_keys_still_there_when_erasure_completed_then_keys_not_destroyed() {
    given([registered(), erasure_requested()])
        .when(PatientCommand::CompleteErasure)
        .then_expect_error(PatientRejection::KeysNotDestroyed);
}

#[test]
fn given_erased_when_erasure_completed_then_already_erased() {
    let [.., (events, _)] = erasing();

    given(events).when(PatientCommand::CompleteErasure).then_expect_error(PatientRejection::AlreadyErased);
}

#[test]
fn state_tells_the_consent_in_force_the_holds_and_the_erasure() {
    let mut patient = Patient::default();
    for event in [registered(), consent_given(2), hold_placed(HOLD)] {
        patient.apply(event);
    }
    assert!(patient.is_held());
    for event in [hold_released(HOLD), erasure_requested()] {
        patient.apply(event);
    }

    assert_eq!(patient.consent(ConsentKind::Recording), Some(2));
    assert_eq!(patient.consent(ConsentKind::Research), None);
    assert_eq!(patient.erasure(), Some(ErasureStep::Requested));
    assert!(!patient.is_held());
}
