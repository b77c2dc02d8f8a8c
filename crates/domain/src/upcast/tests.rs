//! Steps are applied in order, for their type only, and only where they are needed.

use serde_json::{Value, json};

use super::*;
use crate::appointment::{AppointmentEvent, AppointmentOnboarded};
use crate::{Event, PatientId};

const TYPE: EventType = EventType::AppointmentOnboarded;

fn lift_zero(mut facts: Value) -> Value {
    facts["steps"] = json!(["zero"]);
    facts
}

fn lift_one(mut facts: Value) -> Value {
    facts["steps"].as_array_mut().unwrap().push(json!("one"));
    facts
}

fn rename_patient(mut facts: Value) -> Value {
    let id = facts["patient"].take();
    json!({ "patient_id": id })
}

const STEPS: &[Upcaster] = &[
    Upcaster { event_type: TYPE, from_version: 1, lift: lift_one },
    Upcaster { event_type: EventType::FormSigned, from_version: 0, lift: lift_one },
    Upcaster { event_type: TYPE, from_version: 0, lift: lift_zero },
];

#[test]
fn steps_are_applied_in_order_of_versions() {
    let lifted = upcast(STEPS, TYPE, 0, 2, b"{}").unwrap();

    assert_eq!(lifted, br#"{"steps":["zero","one"]}"#);
}

#[test]
fn missing_step_is_named() {
    let error = upcast(STEPS, TYPE, 0, 3, b"{}").unwrap_err();

    assert!(matches!(error, CodecError::Version { event_type: TYPE, version: 2 }), "{error}");
}

#[test]
fn version_newer_than_the_code_is_refused() {
    let error = upcast(STEPS, TYPE, 4, 3, b"{}").unwrap_err();

    assert!(matches!(error, CodecError::Version { event_type: TYPE, version: 4 }), "{error}");
}

#[test]
fn facts_that_are_no_json_are_refused() {
    assert!(matches!(upcast(STEPS, TYPE, 0, 1, b"{").unwrap_err(), CodecError::Facts { .. }));
}

#[test]
fn newest_version_is_not_even_parsed() {
    assert_eq!(to_newest(STEPS, TYPE, TYPE.schema_version(), b"{").unwrap(), Cow::Borrowed(b"{"));
}

#[test]
fn stored_event_of_an_old_version_is_read_as_the_newest() {
    let steps = [Upcaster { event_type: TYPE, from_version: 0, lift: rename_patient }];
    let facts = br#"{"patient":"00000000-0000-0000-0000-000000000007"}"#;

    let event = Event::decode_with(&steps, TYPE, 0, facts, None).unwrap();

    let patient_id = PatientId::new(uuid::Uuid::from_u128(7));
    let expected = AppointmentEvent::Onboarded(AppointmentOnboarded { patient_id });
    assert_eq!(event, Event::Appointment(expected));
}

#[test]
fn every_old_version_has_its_upcaster() {
    for &event_type in EventType::ALL {
        for version in 1..event_type.schema_version() {
            let step = |step: &&Upcaster| step.event_type == event_type && step.from_version == version;
            assert_eq!(UPCASTERS.iter().filter(step).count(), 1, "{event_type} version {version}");
        }
    }
}
