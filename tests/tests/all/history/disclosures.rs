//! To whom a patient's records went, and what the patient may see of it.

use std::sync::Arc;

use carelog_embedded::receiver::{Receiver, ReceiverOptions};
use carelog_event_log::{Clock, SystemClock};
use carelog_tests::{Answer, Api, ApiClinic, until};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

const UNKNOWN: &str = "0197a000-0000-7000-8000-00000000dead";

/// A product whose webhooks may lead to a receiver on this machine.
async fn start() -> (Api, Receiver, TempDir) {
    let directory = TempDir::new().unwrap();
    let options = ReceiverOptions::new(Arc::new(|| SystemClock.now().unix_micros()));
    let receiver = Receiver::start(options).await.unwrap();
    let pem = directory.path().join("receiver.pem");
    std::fs::write(&pem, receiver.ca_pem()).unwrap();
    let api = Api::start_with(|config| {
        config.webhooks.allow_loopback = true;
        config.webhooks.extra_root_pem = Some(pem);
    })
    .await;
    (api, receiver, directory)
}

async fn subscribe(clinic: &ApiClinic<'_>, receiver: &Receiver, name: &str) -> Answer {
    let body = json!({ "url": receiver.url(name), "events": ["patient.*"], "description": name });
    let subscribed = clinic.post("/v1/webhook-subscriptions", &body).await;
    receiver.hook(name).set_secrets(&[subscribed.text_at("/secret")]).unwrap();
    subscribed
}

/// Waits until every delivery about a patient arrived, as the trail knows.
async fn arrived(clinic: &ApiClinic<'_>, patient: &str, count: usize) -> Answer {
    let path = format!("/v1/patients/{patient}/webhook-deliveries");
    until("every delivery has arrived", async || {
        let found = clinic.get(&path).await;
        let arrived = found.items().iter().filter(|item| item["arrival"] == "delivered").count();
        (arrived == count).then_some(found)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn q06_which_partner_got_a_patients_events_and_did_they_arrive() {
    let (api, receiver, _directory) = start().await;
    let clinic = api.clinic("Klinik").await;
    let subscribed = subscribe(&clinic, &receiver, "partner").await;
    let nobody = json!({ "url": "https://127.0.0.1:9/hook", "events": ["patient.registered"] });
    let nobody = clinic.post("/v1/webhook-subscriptions", &nobody).await.id().to_owned();
    let patient = clinic.patient("Ada").await.id().to_owned();
    let consent = json!({ "consent": "treatment", "version": 1 });
    assert_eq!(clinic.post(&format!("/v1/patients/{patient}/consents"), &consent).await.status, 200);
    clinic.patient("Eve").await.id();

    arrived(&clinic, &patient, 2).await;
    let path = format!("/v1/patients/{patient}/webhook-deliveries");
    let found = until("the attempt that nobody heard is known too", async || {
        let found = clinic.get(&path).await;
        (found.items().len() == 3).then_some(found)
    })
    .await;

    let told: Vec<(&Value, &Value, &Value)> = found
        .items()
        .iter()
        .map(|item| (&item["event"], &item["subscription_id"], &item["arrival"]))
        .collect();
    let (given, registered) = (json!("patient.consent_given"), json!("patient.registered"));
    let (partner, nobody) = (json!(subscribed.id()), json!(nobody));
    assert_eq!(told[0], (&given, &partner, &json!("delivered")));
    assert!(told.contains(&(&registered, &partner, &json!("delivered"))), "{told:?}");
    assert!(told.contains(&(&registered, &nobody, &json!("pending"))), "{told:?}");
    let first = clinic.get(&format!("{path}?limit=2")).await;
    let rest = clinic.get(&format!("{path}?limit=2&after={}", first.text_at("/next"))).await;
    assert_eq!([first.items(), rest.items()].concat(), found.items());
}

#[tokio::test(flavor = "multi_thread")]
async fn q05_to_whom_a_patients_records_were_disclosed_is_accounted_for() {
    let (api, receiver, _directory) = start().await;
    let clinic = api.clinic("Klinik").await;
    let subscribed = subscribe(&clinic, &receiver, "partner").await;
    let nobody = json!({ "url": "https://127.0.0.1:9/hook", "events": ["patient.*"] });
    clinic.post("/v1/webhook-subscriptions", &nobody).await.id();
    let patient = clinic.patient("Ada").await.id().to_owned();
    for version in [1, 2] {
        let consent = json!({ "consent": "treatment", "version": version });
        assert_eq!(clinic.post(&format!("/v1/patients/{patient}/consents"), &consent).await.status, 200);
    }
    let path = format!("/v1/patients/{patient}/disclosures");
    let letter = |at: &str| {
        json!({
            "recipient": "Dr. Quxfield", "address": "Gasse 1", "description": "Discharge letter",
            "purpose": "treatment", "occurred_at": at,
        })
    };
    for at in ["2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-01-01T00:00:00Z"] {
        assert_eq!(clinic.post(&path, &letter(at)).await.status, 201);
    }
    let last = clinic.post(&path, &letter("2015-01-01T00:00:00Z")).await;
    arrived(&clinic, &patient, 3).await;

    let accounting = clinic.get(&format!("{path}?wait_for={}", last.position())).await;

    let found = accounting.body["disclosures"].as_array().unwrap();
    let letters = &found[0];
    assert_eq!((&letters["recipient"], &letters["address"]), (&json!("Dr. Quxfield"), &json!("Gasse 1")));
    assert_eq!((&letters["what"], &letters["purpose"]), (&json!("Discharge letter"), &json!("treatment")));
    assert_eq!((&letters["count"], &letters["way"]), (&json!(3), &json!("written_down")));
    assert_eq!(letters["first_at"], "2026-01-01T00:00:00.000000Z");
    assert_eq!(letters["last_at"], "2026-03-01T00:00:00.000000Z");
    let sent: Vec<&Value> = found[1..].iter().collect();
    assert!(sent.iter().all(|series| {
        series["way"] == "webhook"
            && series["subscription_id"] == json!(subscribed.id())
            && series["recipient"] == "partner"
            && series["address"] == json!(receiver.url("partner"))
    }));
    let mut counted: Vec<(&Value, &Value)> =
        sent.iter().map(|series| (&series["what"], &series["count"])).collect();
    counted.sort_by_key(|(what, _)| what.to_string());
    let (given, registered) = (json!("patient.consent_given"), json!("patient.registered"));
    assert_eq!(counted, [(&given, &json!(2)), (&registered, &json!(1))], "nobody listens at the other");

    let long_ago = clinic.get(&format!("{path}?from=2014-01-01T00:00:00Z&before=2016-01-01T00:00:00Z")).await;
    assert_eq!(long_ago.body["disclosures"].as_array().map(Vec::len), Some(1));
    let reversed = clinic.get(&format!("{path}?from=2016-01-01T00:00:00Z&before=2014-01-01T00:00:00Z")).await;
    assert_eq!(reversed.problem(), (422, "range_ends_before_it_begins"));
    assert!(!clinic.get("/v1/events?limit=200").await.text.contains("Quxfield"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_is_accounted_for_under_the_address_that_it_went_to() {
    let (api, receiver, _directory) = start().await;
    let clinic = api.clinic("Klinik").await;
    let subscribed = subscribe(&clinic, &receiver, "partner").await;
    let patient = clinic.patient("Ada").await.id().to_owned();
    arrived(&clinic, &patient, 1).await;
    let path = format!("/v1/webhook-subscriptions/{}", subscribed.id());
    receiver.hook("elsewhere").set_secrets(&[subscribed.text_at("/secret")]).unwrap();
    let moved = json!({ "url": receiver.url("elsewhere") });
    assert_eq!(carelog_tests::send(clinic.request(Method::PATCH, &path).json(&moved)).await.status, 200);
    // A delivery to the new address shows that the change is known to whoever sends.
    let sent = async || {
        let consent = json!({ "consent": "treatment", "version": 1 });
        clinic.post(&format!("/v1/patients/{patient}/consents"), &consent).await
    };
    assert_eq!(sent().await.status, 200);
    arrived(&clinic, &patient, 2).await;

    let accounting = clinic.get(&format!("/v1/patients/{patient}/disclosures")).await;

    let found = accounting.body["disclosures"].as_array().unwrap();
    let went: Vec<(&Value, &Value)> =
        found.iter().map(|series| (&series["what"], &series["address"])).collect();
    let first = (&json!("patient.registered"), &json!(receiver.url("partner")));
    assert_eq!(went[0], first, "not where it would go today");
    assert_eq!(went.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_sees_who_touched_their_records_without_anybodys_name() {
    let api = Api::start().await;
    let (clinic, stranger) = (api.clinic("Klinik").await, api.clinic("Praxis").await);
    let patient = clinic.patient("Ada").await.id().to_owned();
    let eve = clinic.patient("Eve").await.id().to_owned();
    let key = json!({ "role": "patient", "scopes": ["reads"], "patient_id": patient });
    let key = clinic.key(&key).await;
    let read = clinic.request(Method::GET, &format!("/v1/patients/{patient}"));
    let read = carelog_tests::send(read.header("x-purpose-of-use", "treatment")).await;
    assert_eq!(read.status, 200);
    // Of each patient in a list.
    assert_eq!(clinic.get("/v1/patients").await.items().len(), 2);
    let caught_up = clinic.patient("Zoe").await;

    let path = format!("/v1/patients/{patient}/accesses");
    let seen = clinic.get_as(&key, &format!("{path}?wait_for={}", caught_up.position())).await;

    let told: Vec<(&Value, &Value, &Value)> =
        seen.items().iter().map(|item| (&item["event"], &item["action"], &item["purpose"])).collect();
    let viewed = (&json!("access.record_viewed"), &json!("read"), &json!("treatment"));
    let issued = (&json!("organization.api_key_issued"), &json!("create"), &Value::Null);
    let registered = (&json!("patient.registered"), &json!("create"), &Value::Null);
    let listed = (&json!("access.record_viewed"), &json!("read"), &Value::Null);
    assert_eq!(told, [listed, viewed, issued, registered], "the patient's own key among them");
    assert!(!seen.text.contains(&clinic.admin.id) && !seen.text.contains("actor"), "{seen:?}");
    let again = clinic.get_as(&key, &format!("{path}?limit=1")).await;
    assert_eq!(again.items().len(), 1);
    let foreign = clinic.get_as(&key, &format!("/v1/patients/{eve}/accesses")).await;
    assert_eq!(foreign.problem(), (404, "not_found"));
    for what in ["accesses", "disclosures", "webhook-deliveries"] {
        for id in [patient.as_str(), UNKNOWN] {
            let answer = stranger.get(&format!("/v1/patients/{id}/{what}")).await;
            assert_eq!(answer.problem(), (404, "not_found"), "{what}");
        }
        if what != "accesses" {
            let answer = clinic.get_as(&key, &format!("/v1/patients/{patient}/{what}")).await;
            assert_eq!(answer.problem(), (403, "wrong_role"), "{what}");
        }
    }
    let body = json!({ "recipient": "x", "description": "y", "purpose": "treatment" });
    let foreign = stranger.post(&format!("/v1/patients/{patient}/disclosures"), &body).await;
    assert_eq!(foreign.problem(), (404, "not_found"));
}
