//! Nobody reaches another organization's data, and no patient another patient's.

use reqwest::Method;
use serde_json::json;

use super::clinic::Clinic;

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_record_and_an_unknown_one_are_answered_alike() {
    let clinic = Clinic::open().await;
    let patient = clinic.patient("Ada").await;
    let booked = clinic.book(&patient).await;
    clinic.get(&format!("/v1/patients/{patient}?wait_for={}", booked.position())).await;
    let stranger = clinic.register().await;
    let nobody = "00000000-0000-0000-0000-000000000001";

    for (foreign, unknown) in [
        (format!("/v1/patients/{patient}"), format!("/v1/patients/{nobody}")),
        (format!("/v1/appointments/{}", booked.id()), format!("/v1/appointments/{nobody}")),
    ] {
        let (mut foreign, mut unknown) =
            (clinic.get_as(&stranger, &foreign).await, clinic.get_as(&stranger, &unknown).await);
        foreign.body["request_id"].take();
        unknown.body["request_id"].take();
        assert_eq!((foreign.status, foreign.body), (404, unknown.body));
    }
    let cancel = format!("/v1/appointments/{}/cancel", booked.id());
    let cancelled =
        clinic.call(Method::POST, &cancel, &stranger, Some(&json!({ "reason": "other" })), &[]).await;
    assert_eq!(cancelled.status, 404);
    assert_eq!(clinic.get_as(&stranger, "/v1/appointments").await.body["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patients_key_reaches_that_patient_only() {
    let clinic = Clinic::open().await;
    let (own, other) = (clinic.patient("Ada").await, clinic.patient("Grace").await);
    let (mine, theirs) = (clinic.book(&own).await, clinic.book(&other).await);
    let key = clinic.patient_key(&own).await;

    let seen = clinic.get_as(&key, &format!("/v1/appointments?wait_for={}", theirs.position())).await;
    let foreign = clinic.get_as(&key, &format!("/v1/patients/{other}")).await;
    let listed = clinic.get_as(&key, "/v1/patients").await;
    let path = format!("/v1/appointments/{}/cancel", theirs.id());
    let cancelled = clinic.call(Method::POST, &path, &key, Some(&json!({ "reason": "other" })), &[]).await;

    let ids: Vec<_> = seen.body["items"].as_array().unwrap().iter().map(|item| &item["id"]).collect();
    assert_eq!(ids, [mine.id()]);
    assert_eq!(foreign.problem(), (404, "not_found"));
    assert_eq!(listed.problem(), (403, "wrong_role"));
    assert_eq!(cancelled.problem(), (404, "not_found"));
}
