//! What holds for the events of all aggregates alike.

use std::fmt::Write;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::examples::{CANARY, Variation, events};
use crate::{DataClass, EncodedEvent, RejectionKind, Timestamp};

#[test]
fn examples_cover_every_event_type_once() {
    let types: Vec<_> = events(Variation::fixed()).iter().map(Event::event_type).collect();

    assert_eq!(types, EventType::ALL);
}

#[test]
fn json_of_every_event_is_pinned() {
    let mut page = String::new();
    for event in events(Variation::fixed()) {
        let EncodedEvent { event_type, facts, personal, .. } = event.encode().unwrap();
        let facts = String::from_utf8(facts).unwrap();
        writeln!(page, "{event_type} {}\n  facts {facts}", event_type.schema_version()).unwrap();
        if let Some((class, PersonalPart::Open(json))) = personal {
            writeln!(page, "  {class} {}", String::from_utf8(json).unwrap()).unwrap();
        }
    }

    insta::assert_snapshot!(page);
}

#[test]
fn codes_of_every_rejection_are_pinned() {
    let lists: [(StreamKind, &[(&str, RejectionKind)]); 15] = [
        (StreamKind::Organization, crate::organization::OrganizationRejection::CODES),
        (StreamKind::Patient, crate::patient::PatientRejection::CODES),
        (StreamKind::LegalHold, crate::legal_hold::LegalHoldRejection::CODES),
        (StreamKind::Accounting, crate::accounting::AccountingRejection::CODES),
        (StreamKind::Specialist, crate::specialist::SpecialistRejection::CODES),
        (StreamKind::Appointment, crate::appointment::AppointmentRejection::CODES),
        (StreamKind::Form, crate::form::FormRejection::CODES),
        (StreamKind::File, crate::file::FileRejection::CODES),
        (StreamKind::TreatmentPlan, crate::treatment_plan::TreatmentPlanRejection::CODES),
        (StreamKind::VideoRoom, crate::video_room::VideoRoomRejection::CODES),
        (StreamKind::VideoNotice, crate::video_notice::VideoNoticeRejection::CODES),
        (StreamKind::WebhookSubscription, crate::webhook_subscription::WebhookSubscriptionRejection::CODES),
        (StreamKind::WebhookDelivery, crate::webhook_delivery::WebhookDeliveryRejection::CODES),
        (StreamKind::WebhookReplay, crate::webhook_replay::WebhookReplayRejection::CODES),
        (StreamKind::Access, crate::access::AccessRejection::CODES),
    ];
    let mut page = String::new();
    for (kind, codes) in lists {
        writeln!(page, "{kind}").unwrap();
        for (code, rejection_kind) in codes {
            writeln!(page, "  {code} ({rejection_kind})").unwrap();
        }
    }

    insta::assert_snapshot!(page);
}

#[test]
fn debug_shows_no_personal_value() {
    for event in events(Variation::fixed()) {
        assert!(!format!("{event:?}").contains(CANARY), "{}", event.event_type());
        assert!(!format!("{:?}", event.encode().unwrap()).contains(CANARY), "{}", event.event_type());
    }
}

#[test]
fn facts_hold_no_personal_value() {
    for event in events(Variation::fixed()) {
        let facts = String::from_utf8(event.encode().unwrap().facts).unwrap();

        assert!(!facts.contains(CANARY), "{facts}");
    }
}

#[test]
fn every_example_with_a_personal_part_holds_the_canary() {
    let open = events(Variation::fixed()).into_iter().filter_map(|event| event.encode().unwrap().personal);
    for (class, part) in open {
        let PersonalPart::Open(json) = part else { panic!("examples are open") };

        assert!(String::from_utf8(json).unwrap().contains(CANARY), "{class}");
    }
}

#[test]
fn personal_parts_about_a_patient_name_the_patient() {
    for event in events(Variation::fixed()) {
        let class = event.encode().unwrap().personal.map(|(class, _)| class);
        let is_patients = matches!(class, Some(DataClass::Identity | DataClass::Clinical));

        assert!(!is_patients || event.patient_id(Uuid::nil()).is_some(), "{}", event.event_type());
    }
}

#[test]
fn stream_id_is_the_patient_in_the_streams_of_a_patient_only() {
    let stream_id = Uuid::from_u128(99);
    for event in events(Variation::fixed()) {
        let is_stream = event.patient_id(stream_id) == Some(PatientId::new(stream_id));

        let is_of_patient =
            matches!(event.kind(), StreamKind::Patient | StreamKind::LegalHold | StreamKind::Accounting);
        assert_eq!(is_stream, is_of_patient, "{}", event.event_type());
    }
}

#[test]
fn sealed_and_erased_parts_stay_as_they_are() {
    let id = crate::KeyId::new(Uuid::from_u128(1));
    let sealed = crate::Sealed { key_id: id, bytes: vec![1, 2, 3].into() };
    for part in [PersonalPart::Sealed(sealed), PersonalPart::Erased] {
        let event = Event::decode(EventType::PatientDetailsChanged, 1, b"{}", Some(part.clone())).unwrap();

        assert_eq!(event.encode().unwrap().personal, Some((DataClass::Identity, part)));
    }
}

#[test]
fn unknown_fact_is_refused() {
    let error = Event::decode(EventType::PatientOnboarded, 1, br#"{"name":"x"}"#, None).unwrap_err();

    assert!(matches!(error, CodecError::Facts { event_type: EventType::PatientOnboarded, .. }));
}

#[test]
fn personal_part_of_another_type_is_refused_without_repeating_it() {
    let part = PersonalPart::Open(serde_json::to_vec(CANARY).unwrap());
    let error = Event::decode(EventType::PatientDetailsChanged, 1, b"{}", Some(part)).unwrap_err();

    assert!(matches!(error, CodecError::Personal { event_type: EventType::PatientDetailsChanged, .. }));
    assert!(!format!("{error:?}").contains(CANARY));
}

#[test]
fn event_of_another_stream_is_refused() {
    let error = PatientEvent::decode(EventType::FormSaved, b"{}", None).unwrap_err();

    assert_eq!(error.to_string(), "form.saved is no event of a patient stream");
}

pub(crate) fn variation() -> impl Strategy<Value = Variation> {
    let micros = Timestamp::MIN.unix_micros()..=Timestamp::MAX.unix_micros();
    (any::<u128>(), micros, any::<u16>(), any::<bool>()).prop_map(|(id, micros, number, flag)| Variation {
        id,
        moment: Timestamp::from_unix_micros(micros).unwrap(),
        number,
        flag,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn decoding_what_was_encoded_gives_the_same_event(variation in variation()) {
        for event in events(variation) {
            let encoded = event.encode().unwrap();
            let version = encoded.event_type.schema_version();
            let part = encoded.personal.clone().map(|(_, part)| part);

            let decoded = Event::decode(encoded.event_type, version, &encoded.facts, part).unwrap();

            prop_assert_eq!(&decoded, &event);
            prop_assert_eq!(decoded.encode().unwrap(), encoded);
        }
    }
}
