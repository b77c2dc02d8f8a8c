//! The trail as FHIR AuditEvents, judged by libraries of others.

use std::collections::BTreeSet;

use carelog_tests::{Answer, Api, ApiClinic, node_client, python_client, send, told_by};
use reqwest::Method;
use serde_json::{Value, json};

use super::questions::Scene;

const NAMES: [&str; 6] = ["\"Ada", "\"Eve", "\"Grace", "grace@example.org", "A Court", "Main Street"];

/// What fhir.resources and FHIRPath say about a Bundle.
async fn judge(version: &str, bundle: &Value) -> Value {
    let mut client = python_client("fhir").await;
    client.arg(version);
    told_by(client, bundle).await
}

/// The errors that the library `fhir` of npm finds in an R4 Bundle.
async fn errors(bundle: &Value) -> Value {
    told_by(node_client("fhir-js").await, bundle).await
}

async fn ask(clinic: &ApiClinic<'_>, query: &str, accept: &str) -> Answer {
    send(clinic.request(Method::GET, &format!("/v1/trail?{query}")).header("accept", accept)).await
}

/// A clinic in which every pattern has happened, and what makes the trail show it.
async fn scene(api: &Api) -> (Scene<'_>, String) {
    let scene = Scene::of(api).await;
    let clinic = &scene.clinic;
    let disclosure =
        json!({ "recipient": "A Court, Main Street", "description": "a summary", "purpose": "payment" });
    let disclosed = clinic.post(&format!("/v1/patients/{}/disclosures", scene.ada), &disclosure).await;
    assert_eq!(disclosed.status, 201);
    assert_eq!(clinic.get("/v1/patients").await.status, 200);
    let gone = clinic.request(Method::DELETE, &format!("/v1/api-keys/{}", scene.specialist.id));
    assert_eq!(send(gone).await.status, 200);
    let last = clinic.patient("Zoe").await;
    let wait = format!("wait_for={}", last.position());
    (scene, wait)
}

#[tokio::test(flavor = "multi_thread")]
async fn libraries_of_others_accept_every_entry_as_an_audit_event() {
    let api = Api::start().await;
    let (scene, wait) = scene(&api).await;
    let clinic = &scene.clinic;
    let plain = clinic.get(&format!("/v1/trail?limit=200&{wait}")).await;

    for (version, number) in [("R4", "4.0"), ("R5", "5.0")] {
        let accept = format!("application/fhir+json; fhirVersion={number}");
        let page = ask(clinic, "limit=200", &accept).await;

        assert_eq!((page.status, page.header("content-type")), (200, &*accept));
        let verdict = judge(version, &page.body).await;
        assert_eq!((&verdict["refused"], &verdict["broken"]), (&Value::Null, &json!([])));
        let entries = page.body["entry"].as_array().unwrap();
        assert_eq!((&verdict["events"], &page.body["total"]), (&json!(entries.len()), &json!(entries.len())));
        // What the page before asked for is an entry by now.
        let ids = |list: &[Value], path: &str| -> BTreeSet<String> {
            list.iter().map(|entry| entry.pointer(path).unwrap().as_str().unwrap().to_owned()).collect()
        };
        let (told, known) = (ids(entries, "/resource/id"), ids(plain.items(), "/event_id"));
        assert!(known.is_subset(&told), "{version}");
        for name in NAMES {
            assert!(!page.text.contains(name), "{version} shows {name}");
        }
        if version == "R4" {
            assert_eq!(errors(&page.body).await, json!([]));
            let claimed: BTreeSet<&str> =
                verdict["profiles"].as_object().unwrap().keys().map(String::as_str).collect();
            let expected = [
                "Create",
                "Delete",
                "PatientCreate",
                "PatientRead",
                "PatientUpdate",
                "PrivacyDisclosure.Source",
            ];
            assert_eq!(BTreeSet::from(expected).difference(&claimed).count(), 0, "{claimed:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_audit_event_is_not_accepted() {
    let api = Api::start().await;
    let (scene, wait) = scene(&api).await;
    let query = format!("patient_id={}&event=access.record_viewed&purpose=treatment&{wait}", scene.ada);
    let page = scene.clinic.get(&format!("/v1/trail?format=fhir_r4&{query}")).await;
    assert_eq!(page.header("content-type"), "application/fhir+json; fhirVersion=4.0");
    let resource = "/entry/0/resource";
    assert_eq!(page.body.pointer(&format!("{resource}/agent/1/type/coding/0/code")), Some(&json!("110153")));

    assert_eq!(errors(&page.body).await, json!([]));
    let mut unknown = page.body.clone();
    *unknown.pointer_mut(&format!("{resource}/action")).unwrap() = json!("Z");
    assert_ne!(errors(&unknown).await, json!([]));
    let changes = [
        ("/agent/1/type/coding/0/code", json!("110152"), "broken"),
        (
            "/agent/0/requestor",
            json!(!page.body.pointer(&format!("{resource}/agent/0/requestor")).unwrap().as_bool().unwrap()),
            "broken",
        ),
        ("/outcome", json!("8"), "broken"),
        ("/action", json!("U"), "broken"),
        ("/entity/0/what/type", json!("Practitioner"), "broken"),
        ("/recorded", json!("yesterday"), "refused"),
        ("/source", json!({}), "refused"),
    ];
    for (path, value, expected) in changes {
        let mut damaged = page.body.clone();
        *damaged.pointer_mut(&format!("{resource}{path}")).unwrap() = value;
        let verdict = judge("R4", &damaged).await;
        let is_refused = !verdict["refused"].is_null();
        let is_broken = !verdict["broken"].as_array().unwrap().is_empty();
        assert_eq!(
            (is_refused, is_broken),
            (expected == "refused", expected == "broken"),
            "{path}: {verdict}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other_and_an_export_has_the_same_events() {
    let api = Api::start().await;
    let (scene, wait) = scene(&api).await;
    let clinic = &scene.clinic;
    let accept = "application/fhir+json; fhirVersion=5.0";
    let filter = format!("event=patient.&order=oldest_first&{wait}");

    let mut events = Vec::new();
    let mut next = Some(format!("/v1/trail?{filter}&limit=2"));
    while let Some(url) = next {
        let page = send(clinic.request(Method::GET, &url).header("accept", accept)).await;
        assert_eq!(page.body["link"][0], json!({ "relation": "self", "url": url }));
        events.extend(page.body["entry"].as_array().unwrap().iter().map(|entry| entry["resource"].clone()));
        let link = page.body["link"].as_array().unwrap().iter().find(|link| link["relation"] == "next");
        next = link.map(|link| link["url"].as_str().unwrap().to_owned());
    }
    let export = ask(clinic, "event=patient.", "application/fhir+ndjson; fhirVersion=5.0").await;

    assert_eq!(export.header("content-type"), "application/fhir+ndjson; fhirVersion=5.0");
    assert_eq!(export.header("content-disposition"), "attachment; filename=\"audit-events.ndjson\"");
    let lines: Vec<Value> = export.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() > 4);
    assert_eq!(lines, events);
    let chosen = clinic.get("/v1/trail?event=patient.&format=fhir_r5_ndjson").await;
    assert_eq!(chosen.text, export.text);

    let nothing = ask(clinic, "event=no.such", accept).await;
    assert_eq!((&nothing.body["total"], nothing.body.get("entry")), (&json!(0), None));
    assert_eq!(judge("R5", &nothing.body).await["refused"], Value::Null);
    let other = ask(clinic, "", "application/fhir+json; fhirVersion=3.0").await;
    assert_eq!(other.problem(), (406, "not_acceptable"));
    let paged = ask(clinic, "limit=2", "application/fhir+ndjson").await;
    assert_eq!(paged.problem(), (422, "invalid_query"));
}
