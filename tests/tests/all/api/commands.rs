//! Commands: versions, idempotency, and reading one's own write.

use reqwest::Method;
use serde_json::json;

use super::clinic::Clinic;

#[tokio::test(flavor = "multi_thread")]
async fn an_appointment_goes_from_booking_to_its_end() {
    let clinic = Clinic::open().await;
    let booked = clinic.book(&clinic.patient("Ada").await).await;
    assert_eq!((booked.status, &booked.headers["etag"]), (201, &"\"1\"".parse().unwrap()));

    let path = format!("/v1/appointments/{}", booked.id());
    let mut last = booked;
    for (step, body) in [
        ("confirm", json!({ "channel": "clinic" })),
        ("onboard", json!({})),
        ("start", json!({})),
        ("complete", json!({ "duration_minutes": 30 })),
    ] {
        last = clinic.post(&format!("{path}/{step}"), &body).await;
        assert_eq!(last.status, 200, "{last:?}");
    }

    let shown = clinic.get(&format!("{path}?wait_for={}", last.position())).await;
    assert_eq!(shown.body["status"], "completed");
    assert_eq!(shown.body["note"], "the knee");
    assert_eq!(shown.headers["etag"], "\"5\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_gets_the_first_answer_and_another_body_is_refused() {
    let clinic = Clinic::open().await;
    let register = async |year: u16| {
        let body = json!({ "birth_year": year });
        clinic
            .call(Method::POST, "/v1/patients", &clinic.admin, Some(&body), &[("idempotency-key", "once")])
            .await
    };

    let (first, again, other) = (register(1970).await, register(1970).await, register(1971).await);

    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.body, again.body);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(other.problem(), (422, "idempotency_key_reused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_version_is_refused() {
    let clinic = Clinic::open().await;
    let path = format!("/v1/patients/{}/onboard", clinic.patient("Ada").await);
    let onboard = async |version: &str| {
        clinic.call(Method::POST, &path, &clinic.admin, None, &[("if-match", version)]).await
    };

    assert_eq!(onboard("\"7\"").await.problem(), (412, "stale_version"));
    assert_eq!(onboard("\"1\"").await.status, 200);
    assert_eq!(onboard("\"2\"").await.problem(), (409, "already_onboarded"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_run_in_pages_without_loss() {
    let clinic = Clinic::open().await;
    let mut last = clinic.post("/v1/patients", &json!({})).await;
    for _ in 0..4 {
        last = clinic.post("/v1/patients", &json!({})).await;
    }

    let mut path = format!("/v1/patients?limit=2&wait_for={}", last.position());
    let mut ids = Vec::new();
    loop {
        let page = clinic.get(&path).await;
        ids.extend(page.body["items"].as_array().unwrap().iter().map(|item| item["id"].clone()));
        let Some(link) = page.headers.get("link") else { break };
        let link = link.to_str().unwrap();
        path = link.split_once('<').and_then(|(_, rest)| rest.split_once('>')).unwrap().0.to_owned();
    }

    ids.dedup();
    assert_eq!(ids.len(), 5);
}
