//! Every command and every rejection of a form.

use std::collections::BTreeMap;

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::closed::Sha256Digest;
use crate::examples::{at, form_answers};
use crate::ids::{AppointmentId, FormTemplateId};

const PATIENT: PatientId = PatientId::new(Uuid::from_u128(1));
const CONTENT: Sha256Digest = Sha256Digest::new([3; 32]);
const SIGN: FormCommand = FormCommand::Sign { content_sha256: CONTENT, signed_by: Signatory::Patient };
const VOID: FormCommand = FormCommand::Void { reason: VoidReason::EnteredInError };

fn given(events: impl Into<Vec<FormEvent>>) -> AggregateTestExecutor<Form> {
    TestFramework::with(()).given(events.into())
}

fn assign() -> FormCommand {
    FormCommand::Assign(AssignForm {
        patient_id: PATIENT,
        template_id: FormTemplateId::new(Uuid::from_u128(2)),
        template_version: 3,
        appointment_id: Some(AppointmentId::new(Uuid::from_u128(4))),
        due_at: Some(at("2026-03-02T09:30:00Z")),
    })
}

fn save() -> FormCommand {
    FormCommand::Save { answers: form_answers() }
}

fn save_many(count: u16) -> FormCommand {
    let answers: BTreeMap<_, _> = (0..count).map(|number| (number.to_string(), json!(number))).collect();
    FormCommand::Save { answers: FormAnswers { answers } }
}

fn assigned() -> FormEvent {
    FormEvent::Assigned(FormAssigned {
        patient_id: PATIENT,
        template_id: FormTemplateId::new(Uuid::from_u128(2)),
        template_version: 3,
        appointment_id: Some(AppointmentId::new(Uuid::from_u128(4))),
        due_at: Some(at("2026-03-02T09:30:00Z")),
    })
}

fn saved() -> FormEvent {
    let personal = Some(Personal::Open(form_answers()));
    FormEvent::Saved(FormSaved { patient_id: PATIENT, answer_count: 2, personal })
}

fn signed() -> FormEvent {
    let (content_sha256, signed_by) = (CONTENT, Signatory::Patient);
    FormEvent::Signed(FormSigned { patient_id: PATIENT, content_sha256, signed_by })
}

fn voided() -> FormEvent {
    FormEvent::Voided(FormVoided { patient_id: PATIENT, reason: VoidReason::EnteredInError })
}

#[test]
fn given_nothing_when_assigned_then_assigned() {
    given([]).when(assign()).then_expect_events(vec![assigned()]);
}

#[test]
fn given_nothing_when_anything_else_then_not_assigned() {
    for command in [save(), SIGN, VOID] {
        given([]).when(command).then_expect_error(FormRejection::NotAssigned);
    }
}

#[test]
fn given_saved_when_assigned_again_then_already_assigned() {
    given([assigned(), saved()])
        .when(assign())
        .then_expect_error(FormRejection::AlreadyAssigned { status: FormStatus::Saved });
}

#[test]
fn given_assigned_or_saved_when_saved_then_saved() {
    for events in [vec![assigned()], vec![assigned(), saved()]] {
        given(events).when(save()).then_expect_events(vec![saved()]);
    }
}

#[test]
fn given_assigned_when_saved_without_answers_then_no_answers() {
    given([assigned()]).when(save_many(0)).then_expect_error(FormRejection::NoAnswers);
}

#[test]
fn given_assigned_when_saved_with_too_many_answers_then_too_many_answers() {
    assert!(given([assigned()]).when(save_many(MAX_ANSWERS)).inspect_result().is_ok());
    given([assigned()])
        .when(save_many(MAX_ANSWERS + 1))
        .then_expect_error(FormRejection::TooManyAnswers { limit: MAX_ANSWERS });
}

#[test]
fn given_saved_when_signed_then_signed() {
    given([assigned(), saved()]).when(SIGN).then_expect_events(vec![signed()]);
}

#[test]
fn given_nothing_saved_when_signed_then_nothing_saved() {
    given([assigned()]).when(SIGN).then_expect_error(FormRejection::NothingSaved);
}

#[test]
fn given_signed_when_saved_or_signed_then_already_signed() {
    for command in [save(), SIGN] {
        given([assigned(), saved(), signed()]).when(command).then_expect_error(FormRejection::AlreadySigned);
    }
}

#[test]
fn given_any_form_when_voided_then_voided() {
    for events in [vec![assigned()], vec![assigned(), saved()], vec![assigned(), saved(), signed()]] {
        given(events).when(VOID).then_expect_events(vec![voided()]);
    }
}

#[test]
fn given_voided_when_anything_follows_then_already_voided() {
    for command in [save(), SIGN, VOID] {
        given([assigned(), saved(), voided()]).when(command).then_expect_error(FormRejection::AlreadyVoided);
    }
}
