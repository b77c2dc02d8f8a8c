//! Personal values: read only after the reading is in the log, and gone once the patient is erased.

use serde_json::{Value, json};

use super::clinic::Clinic;

#[tokio::test(flavor = "multi_thread")]
async fn reading_a_record_is_an_event() {
    let clinic = Clinic::open().await;
    let registered = clinic.post("/v1/patients", &json!({ "details": { "name": "Ada" } })).await;
    let path = format!("/v1/patients/{}?wait_for={}", registered.id(), registered.position());

    let shown = clinic.get(&path).await;

    assert_eq!(shown.body["details"]["name"], "Ada");
    let events = clinic.get("/v1/events?limit=200").await;
    let viewed: Vec<&Value> = events.body["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["event"] == "access.record_viewed")
        .collect();
    assert_eq!(viewed.len(), 1);
    assert_eq!(viewed[0]["facts"]["target_id"], registered.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_is_gapless_and_shows_nothing_personal() {
    let clinic = Clinic::open().await;
    let patient = clinic.patient("Ada Lovelace").await;
    clinic.book(&patient).await;

    let feed = clinic.get("/v1/events?limit=200").await;

    let events = feed.body["events"].as_array().unwrap();
    let sequences: Vec<i64> = events.iter().map(|event| event["sequence"].as_i64().unwrap()).collect();
    assert_eq!(sequences, (1..).take(sequences.len()).collect::<Vec<i64>>());
    assert!(!feed.body.to_string().contains("Lovelace") && !feed.body.to_string().contains("knee"));
    let other_life = clinic.get(&format!("/v1/events?after={}", "A".repeat(32))).await;
    assert_eq!(other_life.problem(), (410, "cursor_of_another_log"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_client_hears_of_an_event() {
    let clinic = Clinic::open().await;
    let start = clinic.get("/v1/events?limit=200").await;
    let path = format!("/v1/events?wait=20&after={}", start.body["next"].as_str().unwrap());

    let body = json!({});
    let (heard, registered) = tokio::join!(clinic.get(&path), clinic.post("/v1/patients", &body));

    assert_eq!(heard.body["events"][0]["stream_id"], registered.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_patient_is_shown_as_erased() {
    let clinic = Clinic::open().await;
    let patient = clinic.patient("Ada").await;
    let booked = clinic.book(&patient).await;

    let asked = clinic
        .post(&format!("/v1/patients/{patient}/erasure"), &json!({ "ground": "patient_request" }))
        .await;
    assert_eq!(asked.status, 200);

    let path = format!("/v1/patients/{patient}");
    let erased = carelog_tests::until("the patient is erased", async || {
        let shown = clinic.get(&path).await;
        (shown.body["status"] == "erased").then_some(shown)
    })
    .await;
    assert_eq!((&erased.body["details"], &erased.body["erased"]), (&Value::Null, &json!(true)));
    let appointment = clinic.get(&format!("/v1/appointments/{}", booked.id())).await;
    assert_eq!((&appointment.body["note"], &appointment.body["erased"]), (&Value::Null, &json!(true)));
    assert_eq!(clinic.book(&patient).await.problem(), (422, "invalid_body"));
}
