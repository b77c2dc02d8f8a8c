//! Every command and every rejection of a patient's record.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};

use super::*;
use crate::examples::patient_details;
use crate::legal_hold::{LegalHoldEvent, LegalHoldPlaced, LegalHoldReason, LegalHoldReleased};

const GIVE: PatientCommand = PatientCommand::GiveConsent { consent: ConsentKind::Recording, version: 2 };
const WITHDRAW: PatientCommand = PatientCommand::WithdrawConsent { consent: ConsentKind::Recording };
const RECORD: PatientCommand = PatientCommand::RecordKeysDestroyed { key_count: 2 };

const HOLD: LegalHoldId = LegalHoldId::new(uuid::Uuid::from_u128(7));
const OTHER_HOLD: LegalHoldId = LegalHoldId::new(uuid::Uuid::from_u128(8));

fn given(events: impl Into<Vec<PatientEvent>>) -> AggregateTestExecutor<Patient> {
    TestFramework::with(()).given(events.into())
}

fn register() -> PatientCommand {
    PatientCommand::Register { birth_year: Some(1964), details: Some(patient_details()) }
}

/// Asks for the erasure of a patient on whose data these holds were placed or released.
fn request(holds: impl IntoIterator<Item = LegalHoldEvent>) -> PatientCommand {
    let mut legal_holds = LegalHolds::default();
    holds.into_iter().for_each(|event| legal_holds.apply(event));
    PatientCommand::RequestErasure { ground: ErasureGround::PatientRequest, legal_holds }
}

fn placed(legal_hold_id: LegalHoldId) -> LegalHoldEvent {
    LegalHoldEvent::Placed(LegalHoldPlaced { legal_hold_id, reason: LegalHoldReason::Litigation })
}

fn released(legal_hold_id: LegalHoldId) -> LegalHoldEvent {
    LegalHoldEvent::Released(LegalHoldReleased { legal_hold_id })
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
        request([]),
        RECORD,
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
fn given_any_hold_in_force_when_erasure_requested_then_legal_hold() {
    for (events, holds) in [
        (vec![registered()], vec![placed(HOLD)]),
        (vec![registered()], vec![placed(HOLD), placed(OTHER_HOLD), released(HOLD)]),
        (vec![registered(), hold_placed(HOLD)], vec![]),
        (vec![registered(), hold_placed(HOLD)], vec![placed(OTHER_HOLD), released(OTHER_HOLD)]),
        (vec![registered(), hold_placed(HOLD), hold_placed(OTHER_HOLD), hold_released(HOLD)], vec![]),
    ] {
        given(events).when(request(holds)).then_expect_error(PatientRejection::UnderLegalHold);
    }
}

#[test]
fn given_every_hold_released_when_erasure_requested_then_erasure_requested() {
    for (events, holds) in [
        (vec![registered()], vec![placed(HOLD), released(HOLD)]),
        (vec![registered(), hold_placed(HOLD)], vec![released(HOLD)]),
        (vec![registered(), hold_placed(HOLD), hold_released(HOLD)], vec![]),
    ] {
        given(events).when(request(holds)).then_expect_events(vec![erasure_requested()]);
    }
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
    given([registered()]).when(request([])).then_expect_events(vec![erasure_requested()]);
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
    for command in [PatientCommand::Onboard, change_details(), GIVE, WITHDRAW] {
        for (events, step) in erasing() {
            given(events).when(command.clone()).then_expect_error(PatientRejection::ErasureUnderWay { step });
        }
    }
}

#[test]
fn given_erasure_under_way_when_requested_again_then_erasure_already_requested() {
    for (events, step) in erasing() {
        given(events).when(request([])).then_expect_error(PatientRejection::ErasureAlreadyRequested { step });
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
    assert_eq!(patient.legal_holds(), [HOLD].into());
    for event in [hold_released(HOLD), erasure_requested()] {
        patient.apply(event);
    }

    assert_eq!(patient.consent(ConsentKind::Recording), Some(2));
    assert_eq!(patient.consent(ConsentKind::Research), None);
    assert_eq!(patient.erasure(), Some(ErasureStep::Requested));
    assert_eq!(patient.legal_holds(), [].into());
}
