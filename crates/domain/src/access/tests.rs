//! Every command and every rejection of an access.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use uuid::Uuid;

use super::*;
use crate::PurposeOfUse;
use crate::examples::disclosure;
use crate::ids::PatientId;

const PATIENT: PatientId = PatientId::new(Uuid::from_u128(1));
const DENIAL: AccessCommand = AccessCommand::RecordDenial { reason: DenialReason::WrongRole, status: 403 };

fn given(events: impl Into<Vec<AccessEvent>>) -> AggregateTestExecutor<Access> {
    TestFramework::with(()).given(events.into())
}

fn denied() -> AccessEvent {
    AccessEvent::Denied(AccessDenied { reason: DenialReason::WrongRole, status: 403 })
}

#[test]
fn given_nothing_when_view_recorded_then_record_viewed() {
    let (target_kind, target_id) = (StreamKind::Form, Uuid::from_u128(2));
    let (patient_id, record_count, interaction) = (Some(PATIENT), 1, Interaction::Search);
    let view = RecordView { target_kind, target_id, patient_id, record_count, interaction };
    let viewed = AccessRecordViewed { target_kind, target_id, patient_id, record_count, interaction };

    given([])
        .when(AccessCommand::RecordView(view))
        .then_expect_events(vec![AccessEvent::RecordViewed(viewed)]);
}

#[test]
fn given_nothing_when_export_recorded_then_record_exported() {
    let (target_kind, patient_id, record_count) = (StreamKind::Patient, Some(PATIENT), 12);
    let exported = AccessRecordExported { target_kind, patient_id, record_count };

    given([])
        .when(AccessCommand::RecordExport { target_kind, patient_id, record_count })
        .then_expect_events(vec![AccessEvent::RecordExported(exported)]);
}

#[test]
fn given_nothing_when_disclosure_recorded_then_disclosure_made() {
    let (patient_id, purpose) = (PATIENT, PurposeOfUse::Payment);
    let personal = Some(Personal::Open(disclosure()));
    let made = AccessDisclosureMade { patient_id, purpose, personal };

    given([])
        .when(AccessCommand::RecordDisclosure { patient_id, purpose, disclosure: disclosure() })
        .then_expect_events(vec![AccessEvent::DisclosureMade(made)]);
}

#[test]
fn given_nothing_when_trail_query_recorded_then_trail_queried() {
    let (patient_id, entry_count) = (None, 40);
    let queried = AccessTrailQueried { patient_id, entry_count };

    given([])
        .when(AccessCommand::RecordTrailQuery { patient_id, entry_count })
        .then_expect_events(vec![AccessEvent::TrailQueried(queried)]);
}

#[test]
fn given_nothing_when_denial_recorded_then_denied() {
    given([]).when(DENIAL).then_expect_events(vec![denied()]);
}

#[test]
fn given_recorded_when_recorded_again_then_already_recorded() {
    given([denied()]).when(DENIAL).then_expect_error(AccessRejection::AlreadyRecorded);
}
