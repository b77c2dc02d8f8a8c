//! What made an entry lawful.

use carelog_domain::patient::{ConsentKind, PatientConsentGiven, PatientConsentWithdrawn, PatientEvent};

use super::*;

/// An event of a patient, at a second.
fn at(second: i64, subject: Uuid, event: impl Into<Event>) -> RecordedEvent {
    let mut event = recorded(event);
    event.occurred_at = Timestamp::from_unix_micros(second * 1_000_000).unwrap();
    if event.stream.kind == StreamKind::Patient {
        event.stream.id = subject;
    }
    event.subject = Some(PatientId::new(subject));
    event
}

fn given(kind: ConsentKind, version: u16) -> PatientEvent {
    PatientEvent::ConsentGiven(PatientConsentGiven { consent: kind, version })
}

fn withdrawn(kind: ConsentKind) -> PatientEvent {
    PatientEvent::ConsentWithdrawn(PatientConsentWithdrawn { consent: kind })
}

fn look() -> AccessEvent {
    AccessEvent::RecordViewed(AccessRecordViewed {
        target_kind: StreamKind::Patient,
        target_id: Uuid::from_u128(0xa),
        patient_id: None,
        record_count: 1,
        interaction: Interaction::Read,
    })
}

/// The consents in each entry, as text.
fn told(events: &[RecordedEvent]) -> Vec<String> {
    let mut consents = Consents::default();
    let entries = events.iter().map(|event| Entry::of(event, &mut consents).unwrap());
    let text = |entry: Entry| entry.consents.iter().map(Consent::to_string).collect::<Vec<_>>().join(" ");
    entries.map(text).collect()
}

#[test]
fn an_entry_tells_what_its_patient_had_agreed_to_when_it_happened() {
    let (ada, eve) = (Uuid::from_u128(0xa), Uuid::from_u128(0xe));
    let events = [
        at(1, ada, look()),
        at(2, ada, given(ConsentKind::Recording, 1)),
        at(3, eve, look()),
        at(4, ada, given(ConsentKind::DataSharing, 7)),
        at(5, ada, given(ConsentKind::Recording, 2)),
        at(6, ada, look()),
        at(7, ada, withdrawn(ConsentKind::Recording)),
        at(8, ada, look()),
    ];

    let expected = [
        "",
        "recording/1",
        "",
        "recording/1 data_sharing/7",
        "recording/2 data_sharing/7",
        "recording/2 data_sharing/7",
        "data_sharing/7",
        "data_sharing/7",
    ];
    assert_eq!(told(&events), expected);
}

#[test]
fn what_happened_before_a_consent_did_not_have_it_however_late_it_is_told() {
    let ada = Uuid::from_u128(0xa);
    let events = [
        at(10, ada, given(ConsentKind::Recording, 1)),
        at(9, ada, look()),
        at(10, ada, look()),
        at(20, ada, withdrawn(ConsentKind::Recording)),
        at(19, ada, look()),
        at(20, ada, look()),
    ];

    assert_eq!(told(&events), ["recording/1", "", "recording/1", "", "recording/1", ""]);
}

#[test]
fn the_consents_of_one_clinic_are_none_of_another_that_has_a_patient_of_the_same_id() {
    let ada = Uuid::from_u128(0xa);
    let mut elsewhere = at(2, ada, look());
    elsewhere.stream.organization_id = OrganizationId::new(Uuid::from_u128(2));

    assert_eq!(told(&[at(1, ada, given(ConsentKind::Recording, 1)), elsewhere]), ["recording/1", ""]);
}

#[test]
fn a_consent_is_read_as_it_is_written() {
    let consent = Consent { kind: ConsentKind::DataSharing, version: 65_535 };

    assert_eq!(consent.to_string(), "data_sharing/65535");
    assert_eq!(consent.to_string().parse(), Ok(consent));
    for wrong in ["", "recording", "recording/", "recording/x", "recording/65536", "smoking/1", "/1"] {
        assert_eq!(wrong.parse::<Consent>(), Err(UnknownConsent), "{wrong}");
    }
}

#[test]
fn the_legal_basis_follows_from_type_and_purpose() {
    let basis = |event_type, purpose: &str| legal_basis(event_type, purpose.parse().ok()).as_str();
    let of_view = |purpose| basis(EventType::AccessRecordViewed, purpose);

    assert_eq!(
        ["", "treatment", "payment", "operations", "patient_request", "emergency", "compliance"].map(of_view),
        [
            "contract",
            "contract",
            "contract",
            "legitimate_interests",
            "legal_obligation",
            "vital_interests",
            "legal_obligation",
        ]
    );
    for purpose in ["", "treatment", "operations", "emergency"] {
        assert_eq!(basis(EventType::PatientErased, purpose), "legal_obligation");
        assert_eq!(basis(EventType::AccessTrailQueried, purpose), "legal_obligation");
        assert_eq!(basis(EventType::VideoRoomRecordingStarted, purpose), "consent");
    }
    assert_eq!(basis(EventType::OrganizationSettingsChanged, ""), "legitimate_interests");
    assert_eq!(basis(EventType::OrganizationSettingsChanged, "compliance"), "legal_obligation");
}

#[test]
fn a_disclosure_rests_on_its_own_purpose_and_not_on_that_of_whoever_writes_it_down() {
    let made = AccessEvent::DisclosureMade(AccessDisclosureMade {
        exclusion: None,
        patient_id: PATIENT,
        purpose: PurposeOfUse::Emergency,
        personal: None,
    });

    let entry = entry_of(&recorded(made)).unwrap();

    assert_eq!(entry.legal_basis, LegalBasis::VitalInterests);
    assert_eq!(entry.circumstances.purpose, Some(PurposeOfUse::Treatment), "the purpose is the request's");
}
