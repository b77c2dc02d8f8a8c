//! Every command and every rejection of the legal holds on a patient's data.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use uuid::Uuid;

use super::*;
use crate::patient::{
    ErasureGround, ErasureStep, Patient, PatientErased, PatientErasureRequested, PatientEvent,
    PatientKeysDestroyed, PatientLegalHoldPlaced, PatientLegalHoldReleased, PatientRegistered,
};

const HOLD: LegalHoldId = LegalHoldId::new(Uuid::from_u128(7));
const OTHER: LegalHoldId = LegalHoldId::new(Uuid::from_u128(8));
const REASON: LegalHoldReason = LegalHoldReason::Litigation;

fn given(events: impl Into<Vec<LegalHoldEvent>>) -> AggregateTestExecutor<LegalHolds> {
    TestFramework::with(()).given(events.into())
}

/// A registered patient to whom this happened besides.
fn patient(events: impl IntoIterator<Item = PatientEvent>) -> Patient {
    let mut patient = Patient::default();
    patient.apply(PatientEvent::Registered(PatientRegistered { birth_year: None, personal: None }));
    events.into_iter().for_each(|event| patient.apply(event));
    patient
}

/// A patient in whose own stream holds were placed before they had one.
fn held_before(legal_hold_id: LegalHoldId) -> Patient {
    let placed = PatientLegalHoldPlaced { legal_hold_id, reason: REASON };
    patient([PatientEvent::LegalHoldPlaced(placed)])
}

fn place(patient: Patient) -> LegalHoldCommand {
    LegalHoldCommand::Place { legal_hold_id: HOLD, reason: REASON, patient }
}

fn release(patient: Patient) -> LegalHoldCommand {
    LegalHoldCommand::Release { legal_hold_id: HOLD, patient }
}

fn placed(legal_hold_id: LegalHoldId) -> LegalHoldEvent {
    LegalHoldEvent::Placed(LegalHoldPlaced { legal_hold_id, reason: REASON })
}

fn released(legal_hold_id: LegalHoldId) -> LegalHoldEvent {
    LegalHoldEvent::Released(LegalHoldReleased { legal_hold_id })
}

#[test]
fn given_nothing_when_placed_then_placed() {
    given([]).when(place(patient([]))).then_expect_events(vec![placed(HOLD)]);
}

#[test]
fn given_another_hold_when_placed_then_placed() {
    given([placed(OTHER)]).when(place(patient([]))).then_expect_events(vec![placed(HOLD)]);
    given([]).when(place(held_before(OTHER))).then_expect_events(vec![placed(HOLD)]);
}

#[test]
fn given_hold_when_the_same_is_placed_then_already_placed() {
    given([placed(HOLD)]).when(place(patient([]))).then_expect_error(LegalHoldRejection::AlreadyPlaced);
    given([]).when(place(held_before(HOLD))).then_expect_error(LegalHoldRejection::AlreadyPlaced);
}

#[test]
fn given_hold_when_released_then_released() {
    given([placed(HOLD)]).when(release(patient([]))).then_expect_events(vec![released(HOLD)]);
}

#[test]
fn given_hold_in_the_stream_of_the_patient_when_released_then_released_here() {
    given([]).when(release(held_before(HOLD))).then_expect_events(vec![released(HOLD)]);
}

#[test]
fn given_no_such_hold_when_released_then_not_placed() {
    let released_before = PatientEvent::LegalHoldReleased(PatientLegalHoldReleased { legal_hold_id: HOLD });
    let mut over = held_before(HOLD);
    over.apply(released_before);
    for (events, patient) in [
        (vec![], patient([])),
        (vec![placed(OTHER)], held_before(OTHER)),
        (vec![placed(HOLD), released(HOLD)], patient([])),
        (vec![released(HOLD)], held_before(HOLD)),
        (vec![], over),
    ] {
        given(events).when(release(patient)).then_expect_error(LegalHoldRejection::NotPlaced);
    }
}

#[test]
fn given_released_hold_when_placed_again_then_placed() {
    given([placed(HOLD), released(HOLD)]).when(place(patient([]))).then_expect_events(vec![placed(HOLD)]);
    given([released(HOLD)]).when(place(held_before(HOLD))).then_expect_events(vec![placed(HOLD)]);
}

#[test]
fn given_no_patient_when_anything_then_not_registered() {
    for command in [place(Patient::default()), release(Patient::default())] {
        given([]).when(command).then_expect_error(LegalHoldRejection::NotRegistered);
    }
}

#[test]
fn given_an_erasure_when_placed_then_erasure_under_way() {
    let erasure = [
        PatientEvent::ErasureRequested(PatientErasureRequested { ground: ErasureGround::PatientRequest }),
        PatientEvent::KeysDestroyed(PatientKeysDestroyed { key_count: 2 }),
        PatientEvent::Erased(PatientErased {}),
    ];
    let steps = [ErasureStep::Requested, ErasureStep::KeysDestroyed, ErasureStep::Erased];
    for (events, step) in (1..=3).map(|count| &erasure[..count]).zip(steps) {
        given([])
            .when(place(patient(events.to_vec())))
            .then_expect_error(LegalHoldRejection::ErasureUnderWay { step });
    }
}

#[test]
fn in_force_are_those_of_either_stream_that_were_not_released() {
    let mut holds = LegalHolds::default();
    let before = held_before(OTHER).legal_holds();
    assert_eq!(holds.in_force(&before), [OTHER].into());
    for (event, expected) in [
        (placed(HOLD), vec![HOLD, OTHER]),
        (released(OTHER), vec![HOLD]),
        (released(HOLD), vec![]),
        (placed(OTHER), vec![OTHER]),
    ] {
        holds.apply(event);
        assert_eq!(holds.in_force(&before), expected.into_iter().collect());
    }
}
