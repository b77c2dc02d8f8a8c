//! What the trail says, event by event.

use std::sync::Arc;

use carelog_domain::access::{
    AccessDenied, AccessDisclosureMade, AccessEvent, AccessRecordExported, AccessRecordViewed, DenialReason,
    Interaction,
};
use carelog_domain::webhook_delivery::{WebhookDeliveryAttempted, WebhookDeliveryEvent};
use carelog_domain::{Actor, CorrelationId, Event, Origin, PurposeOfUse, RequestId, Role, SubscriptionId};
use carelog_event_log::StreamKey;

use super::*;

mod consents;

const STREAM_ID: Uuid = Uuid::from_u128(0x10);
const PATIENT: PatientId = PatientId::new(Uuid::from_u128(0x20));

fn recorded(event: impl Into<Event>) -> RecordedEvent {
    let event: Event = event.into();
    let encoded = event.encode().unwrap();
    with_facts(encoded.event_type, encoded.facts, event.patient_id(STREAM_ID))
}

fn with_facts(event_type: EventType, facts: Vec<u8>, subject: Option<PatientId>) -> RecordedEvent {
    RecordedEvent {
        lane: 2,
        position: 31,
        organization_sequence: 7,
        stream: StreamKey {
            organization_id: OrganizationId::new(Uuid::from_u128(1)),
            kind: event_type.stream_kind(),
            id: STREAM_ID,
        },
        version: 1,
        event_id: EventId::new(Uuid::from_u128(2)),
        event_type,
        schema_version: event_type.schema_version(),
        occurred_at: Timestamp::UNIX_EPOCH,
        recorded_at: Timestamp::UNIX_EPOCH,
        circumstances: Circumstances {
            actor: Actor::SYSTEM,
            purpose: Some(PurposeOfUse::Treatment),
            correlation_id: CorrelationId::new(Uuid::from_u128(3)),
            causation_id: None,
            request_id: Some(RequestId::new(Uuid::from_u128(4))),
            origin: Origin::Live,
        },
        subject,
        facts: Arc::from(facts),
        personal: None,
        network: None,
        leaf_hash: [0; 32],
    }
}

fn attempted(outcome: AttemptOutcome) -> RecordedEvent {
    recorded(WebhookDeliveryEvent::Attempted(WebhookDeliveryAttempted {
        subscription_id: SubscriptionId::new(Uuid::from_u128(5)),
        number: 1,
        outcome,
        detail: None,
        status: None,
        started_at: Timestamp::UNIX_EPOCH,
        duration_ms: 12,
        lookup_ms: None,
        connect_ms: None,
        wait_ms: Some(12),
        body_ms: Some(0),
        subscription_version: Some(1),
        next_attempt_at: None,
    }))
}

fn viewed(target_id: Uuid) -> RecordedEvent {
    recorded(AccessEvent::RecordViewed(AccessRecordViewed {
        target_kind: StreamKind::Appointment,
        target_id,
        patient_id: Some(PATIENT),
        record_count: 1,
        interaction: Interaction::Read,
    }))
}

fn entry_of(event: &RecordedEvent) -> Result<Entry, CodecError> {
    Entry::of(event, &mut Consents::default())
}

fn target_of(event: &RecordedEvent) -> (StreamKind, Option<Uuid>) {
    let entry = entry_of(event).unwrap();
    (entry.target_kind, entry.target_id)
}

#[test]
fn an_entry_repeats_the_envelope() {
    let event = with_facts(EventType::AppointmentBooked, Vec::new(), Some(PATIENT));

    let entry = entry_of(&event).unwrap();

    let expected = Entry {
        organization_id: event.stream.organization_id,
        sequence: 7,
        lane: 2,
        position: 31,
        event_id: event.event_id,
        event_type: EventType::AppointmentBooked,
        occurred_at: event.occurred_at,
        recorded_at: event.recorded_at,
        circumstances: event.circumstances,
        action: Action::Create,
        outcome: Outcome::Success,
        target_kind: StreamKind::Appointment,
        target_id: Some(STREAM_ID),
        subject_id: Some(PATIENT),
        legal_basis: LegalBasis::Contract,
        consents: Vec::new(),
        session_id: None,
    };
    assert_eq!(entry, expected);
    assert_eq!(entry.circumstances.actor.role, Role::System);
}

#[test]
fn facts_are_read_only_where_outcome_target_or_consents_need_them() {
    let needs_facts = |event_type: &EventType| {
        event_type.stream_kind() == StreamKind::Access
            || [
                EventType::WebhookDeliveryAttempted,
                EventType::PatientConsentGiven,
                EventType::PatientConsentWithdrawn,
            ]
            .contains(event_type)
    };

    for event_type in EventType::ALL {
        let entry = entry_of(&with_facts(*event_type, b"not json".to_vec(), None));
        assert_eq!(entry.is_err(), needs_facts(event_type), "{event_type}");
    }
}

#[test]
fn only_an_attempt_that_succeeded_is_a_success() {
    for outcome in AttemptOutcome::ALL {
        let entry = entry_of(&attempted(*outcome)).unwrap();
        let is_success = *outcome == AttemptOutcome::Success;
        assert_eq!(entry.outcome == Outcome::Success, is_success, "{outcome}");
        assert_eq!(entry.action, Action::Execute);
    }
}

#[test]
fn a_delivery_given_up_is_a_failure() {
    let event = with_facts(EventType::WebhookDeliveryExhausted, Vec::new(), None);

    assert_eq!(entry_of(&event).unwrap().outcome, Outcome::Failure);
}

#[test]
fn a_refusal_is_a_failure_and_its_own_target() {
    let event =
        recorded(AccessEvent::Denied(AccessDenied { reason: DenialReason::MissingScope, status: 403 }));

    assert_eq!(entry_of(&event).unwrap().outcome, Outcome::Failure);
    assert_eq!(target_of(&event), (StreamKind::Access, Some(STREAM_ID)));
}

#[test]
fn the_target_of_a_view_is_what_was_looked_at() {
    let appointment = Uuid::from_u128(9);

    assert_eq!(target_of(&viewed(appointment)), (StreamKind::Appointment, Some(appointment)));
    assert_eq!(target_of(&viewed(Uuid::nil())), (StreamKind::Appointment, None));
}

#[test]
fn the_target_of_a_disclosure_is_the_patient() {
    let event = recorded(AccessEvent::DisclosureMade(AccessDisclosureMade {
        patient_id: PATIENT,
        purpose: PurposeOfUse::PatientRequest,
        exclusion: None,
        personal: None,
    }));

    assert_eq!(target_of(&event), (StreamKind::Patient, Some(PATIENT.uuid())));
}

#[test]
fn the_target_of_an_export_is_the_patient_only_where_patients_were_exported() {
    let exported = |target_kind| {
        recorded(AccessEvent::RecordExported(AccessRecordExported {
            target_kind,
            patient_id: Some(PATIENT),
            record_count: 3,
        }))
    };

    assert_eq!(target_of(&exported(StreamKind::Patient)), (StreamKind::Patient, Some(PATIENT.uuid())));
    assert_eq!(target_of(&exported(StreamKind::Form)), (StreamKind::Form, None));
}
