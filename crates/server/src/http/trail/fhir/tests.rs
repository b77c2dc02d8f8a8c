use carelog_audit::{LegalBasis, Outcome};
use carelog_domain::patient::ConsentKind;
use carelog_domain::{Actor, ActorKind, EventType, Origin, Role, Timestamp};

use super::*;
use crate::http::trail::entry::ConsentInForceView;

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn entry(event: EventType) -> EntryView {
    let at: Timestamp = "2026-01-02T03:04:05.000006Z".parse().unwrap();
    EntryView {
        sequence: 42,
        event_id: id(1),
        event,
        action: carelog_audit::model::action(event),
        outcome: Outcome::Success,
        target_kind: StreamKind::Form,
        target_id: Some(id(2)),
        patient_id: Some(id(3)),
        actor: Actor {
            kind: ActorKind::ApiKey,
            id: Some(id(4)),
            role: Role::Specialist,
            on_behalf_of: Some(id(5)),
        },
        purpose: Some(PurposeOfUse::Treatment),
        legal_basis: LegalBasis::Contract,
        consents: vec![ConsentInForceView { consent: ConsentKind::DataSharing, version: 2 }],
        occurred_at: at,
        recorded_at: at,
        correlation_id: id(6),
        causation_id: Some(id(7)),
        request_id: Some(id(8)),
        session_id: None,
        origin: Origin::Live,
    }
}

/// `urn:uuid:` and a number.
fn urn(number: u128) -> Value {
    json!({ "system": "urn:ietf:rfc:3986", "value": format!("urn:uuid:{}", id(number)) })
}

#[test]
fn a_read_in_r4_keeps_to_its_pattern() {
    let event = audit_event(&entry(EventType::AccessRecordViewed), Version::R4, "clinic.example/7");

    let observer = json!({
        "type": "Device", "identifier": { "value": "clinic.example/7" }, "display": "Carelog",
    });
    let absent = |reason: &str| {
        json!({ "extension": [{
            "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": reason,
        }] })
    };
    let dicom = |code: &str| concept("http://dicom.nema.org/resources/ontology/DCM", code);
    let treatment = json!([{ "coding": [{
        "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "TREAT",
    }] }]);
    let expected = json!({
        "resourceType": "AuditEvent",
        "id": id(1),
        "meta": {
            "profile": ["https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.PatientRead"],
        },
        "type": { "system": "http://terminology.hl7.org/CodeSystem/audit-event-type", "code": "rest" },
        "subtype": [{ "system": "http://hl7.org/fhir/restful-interaction", "code": "read" }],
        "action": "R",
        "period": { "start": "2026-01-02T03:04:05.000006Z", "end": "2026-01-02T03:04:05.000006Z" },
        "recorded": "2026-01-02T03:04:05.000006Z",
        "outcome": "0",
        "purposeOfEvent": treatment,
        "agent": [
            {
                "type": dicom("110152"), "who": { "identifier": urn(4) }, "requestor": false,
                "network": absent("masked"),
            },
            { "type": dicom("110153"), "who": observer, "requestor": false, "network": absent("unknown") },
            {
                "type": { "coding": [{
                    "system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP",
                }] },
                "role": [{ "coding": [{ "system": "urn:carelog:role", "code": "specialist" }] }],
                "who": { "identifier": urn(5) },
                "requestor": true,
                "purposeOfUse": treatment,
                "policy": [
                    "https://w3id.org/dpv/legal/eu/gdpr#A6-1-b", "https://w3id.org/dpv/legal/eu/gdpr#A9-2-h",
                ],
            },
        ],
        "source": {
            "site": "clinic.example/7",
            "observer": observer,
            "type": [{ "system": "http://terminology.hl7.org/CodeSystem/security-source-type", "code": "4" }],
        },
        "entity": [
            {
                "type": { "system": "http://terminology.hl7.org/CodeSystem/audit-entity-type", "code": "1" },
                "role": { "system": "http://terminology.hl7.org/CodeSystem/object-role", "code": "1" },
                "what": { "type": "Patient", "identifier": urn(3) },
            },
            {
                "type": { "system": "http://terminology.hl7.org/CodeSystem/audit-entity-type", "code": "2" },
                "role": { "system": "http://terminology.hl7.org/CodeSystem/object-role", "code": "4" },
                "what": { "type": "QuestionnaireResponse", "identifier": urn(2) },
            },
            {
                "type": {
                    "system": "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType",
                    "code": "XrequestId",
                },
                "what": { "identifier": { "value": id(8) } },
            },
            {
                "type": { "system": "http://terminology.hl7.org/CodeSystem/audit-entity-type", "code": "4" },
                "what": { "identifier": urn(1) },
                "detail": [
                    { "type": "event-type", "valueString": "access.record_viewed" },
                    { "type": "tlog-origin", "valueString": "clinic.example/7" },
                    { "type": "tlog-index", "valueString": "41" },
                    { "type": "correlation-id", "valueString": id(6) },
                    { "type": "data-origin", "valueString": "live" },
                    { "type": "causation-id", "valueString": id(7) },
                    { "type": "consent-in-force", "valueString": "data_sharing/2" },
                ],
            },
        ],
    });
    assert_eq!(event, expected);
}

#[test]
fn a_read_in_r5_names_the_patient_in_an_element_of_its_own() {
    let event = audit_event(&entry(EventType::AccessRecordViewed), Version::R5, "clinic.example/7");

    assert_eq!(event["code"]["coding"][0]["code"], "read");
    assert_eq!(event["category"][0]["coding"][0]["code"], "rest");
    assert_eq!(event["outcome"]["code"]["code"], "success");
    assert_eq!(event["patient"], json!({ "type": "Patient", "identifier": urn(3) }));
    assert_eq!(event["occurredDateTime"], "2026-01-02T03:04:05.000006Z");
    assert_eq!(event["agent"][2]["authorization"][0]["coding"][0]["code"], "TREAT");
    assert_eq!(event["agent"][2]["policy"][0], "https://w3id.org/dpv/legal/eu/gdpr#A6-1-b");
    let details = event["entity"][1]["detail"].as_array().unwrap();
    assert!(details.iter().any(|detail| detail["valueString"] == "data_sharing/2"), "{details:?}");
    assert_eq!(event["entity"][0]["what"]["identifier"], urn(2));
    for older in ["type", "subtype", "period", "purposeOfEvent"] {
        assert_eq!(event.get(older), None, "{older} is of R4");
    }
}

#[test]
fn a_list_is_a_query_whose_words_the_trail_does_not_keep() {
    let mut entry = entry(EventType::AccessRecordViewed);
    (entry.target_id, entry.patient_id) = (None, None);

    let event = audit_event(&entry, Version::R4, "clinic.example/7");

    assert_eq!((&event["action"], &event["subtype"][0]["code"]), (&json!("E"), &json!("search-type")));
    assert_eq!(event["entity"][0]["_query"]["extension"][0]["valueCode"], "unknown");
    assert_eq!(event["meta"]["profile"], Value::Null, "many patients are neither none nor one");

    entry.target_kind = StreamKind::Organization;
    let event = audit_event(&entry, Version::R4, "clinic.example/7");
    let of_nobody = json!(["https://w3id.org/dpv/legal/eu/gdpr#A6-1-b"]);
    assert_eq!(event["agent"][2]["policy"], of_nobody, "nothing of anybody's health");
    assert!(event["meta"]["profile"][0].as_str().unwrap().ends_with("IHE.BasicAudit.Query"));
}

#[test]
fn a_disclosure_is_told_by_its_source() {
    let mut entry = entry(EventType::AccessDisclosureMade);
    (entry.target_kind, entry.target_id) = (StreamKind::Patient, entry.patient_id);

    let event = audit_event(&entry, Version::R4, "clinic.example/7");

    assert_eq!((&event["type"]["code"], &event["action"]), (&json!("110106"), &json!("R")));
    assert_eq!(event["agent"][0]["who"], event["source"]["observer"]);
    assert_eq!(event["agent"][1]["who"]["extension"][0]["valueCode"], "masked");
}

#[test]
fn what_carelog_did_by_itself_is_an_activity_of_an_application() {
    let mut entry = entry(EventType::WebhookDeliveryAttempted);
    entry.actor = Actor { kind: ActorKind::System, id: None, role: Role::System, on_behalf_of: None };

    let event = audit_event(&entry, Version::R4, "clinic.example/7");

    assert_eq!(event["type"]["code"], "110100");
    assert_eq!(event["subtype"][0]["code"], "webhook_delivery.attempted");
    assert_eq!(
        (event["agent"].as_array().unwrap().len(), &event["agent"][0]["requestor"]),
        (1, &json!(true))
    );
    assert_eq!(event.get("meta"), None);
}

#[test]
fn a_failure_claims_no_profile() {
    let mut entry = entry(EventType::AccessDenied);
    entry.outcome = Outcome::Failure;

    let event = audit_event(&entry, Version::R4, "clinic.example/7");
    let newer = audit_event(&entry, Version::R5, "clinic.example/7");

    assert_eq!((&event["outcome"], event.get("meta")), (&json!("4"), None));
    assert_eq!(newer["outcome"]["code"]["code"], "error");
}

#[test]
fn a_key_that_stands_for_nobody_is_a_client_that_asked_by_itself() {
    let mut entry = entry(EventType::AccessRecordViewed);
    entry.actor.on_behalf_of = None;

    let event = audit_event(&entry, Version::R4, "clinic.example/7");
    let newer = audit_event(&entry, Version::R5, "clinic.example/7");

    for (event, purpose) in [(&event, "purposeOfUse"), (&newer, "authorization")] {
        let agents = event["agent"].as_array().unwrap();
        assert_eq!(agents.len(), 2, "no user is made of a key");
        assert_eq!((&agents[0]["who"]["identifier"], &agents[0]["requestor"]), (&urn(4), &json!(true)));
        assert_eq!(agents[0]["role"][0]["coding"][0]["code"], "specialist");
        assert_eq!(agents[0][purpose][0]["coding"][0]["code"], "TREAT");
        assert_eq!((&agents[1]["requestor"], agents[1].get("role")), (&json!(false), None));
    }
    assert!(newer["agent"][0].get("network").is_none() && event["agent"][0].get("network").is_some());
}
