//! Everything that is refused is problem+json with a stable code, and says where.

use reqwest::Method;
use serde_json::json;

use super::clinic::Clinic;

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_do_not_fit_are_told_apart() {
    let clinic = Clinic::open().await;
    let appointments = "/v1/appointments";

    let malformed = clinic.send(appointments, "application/json", b"{".to_vec()).await;
    let unnamed = clinic.send(appointments, "text/plain", b"{}".to_vec()).await;
    let too_long = clinic.send(appointments, "application/json", vec![b' '; 300_000]).await;
    let unknown_field = clinic.post(appointments, &json!({ "colour": 1 })).await;
    let unknown_path = clinic.get("/v1/nothing").await;
    let wrong_method = clinic.call(Method::PUT, appointments, &clinic.admin, None, &[]).await;
    let bad_query = clinic.get("/v1/patients?limit=201").await;

    assert_eq!(malformed.problem(), (400, "malformed_json"));
    assert_eq!(unnamed.problem(), (415, "unsupported_media_type"));
    assert_eq!(too_long.problem(), (413, "body_too_large"));
    assert_eq!(unknown_field.problem(), (422, "invalid_body"));
    assert_eq!(unknown_field.body["errors"][0]["pointer"], "/colour");
    assert_eq!(unknown_path.problem(), (404, "not_found"));
    assert_eq!(wrong_method.problem(), (405, "method_not_allowed"));
    assert!(wrong_method.headers["allow"].to_str().unwrap().contains("POST"));
    assert_eq!(bad_query.problem(), (422, "invalid_query"));
    assert_eq!(bad_query.headers["content-type"], "application/problem+json");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_to_nobody_is_refused_with_its_pointer() {
    let clinic = Clinic::open().await;

    let booked = clinic.book("00000000-0000-0000-0000-000000000001").await;

    assert_eq!(booked.problem(), (422, "invalid_body"));
    assert_eq!(booked.body["errors"][0]["pointer"], "/patient_id");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_open_what_their_role_and_scopes_say_and_refusals_are_in_the_trail() {
    let clinic = Clinic::open().await;
    let body = json!({ "role": "compliance", "scopes": ["reads"] });
    let issued = clinic.post("/v1/api-keys", &body).await;
    let key = issued.body["api_key"].as_str().unwrap();

    let forbidden = clinic.call(Method::POST, "/v1/patients", key, Some(&json!({})), &[]).await;
    let without_scope = clinic.get_as(key, "/v1/trail").await;
    let unknown = clinic.get_as("clk_nonsense", "/v1/patients").await;

    assert_eq!(forbidden.problem(), (403, "wrong_role"));
    assert_eq!(without_scope.problem(), (403, "missing_scope"));
    assert_eq!(unknown.problem(), (401, "unauthorized"));
    let denied = carelog_tests::until("the refusals are in the trail", async || {
        let trail = clinic.get("/v1/trail?event=access.access_denied").await;
        trail.body["items"].as_array().filter(|items| items.len() == 2).cloned()
    })
    .await;
    assert_eq!(denied[0]["outcome"], "failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_stops_working_at_once() {
    let clinic = Clinic::open().await;
    let issued = clinic.post("/v1/api-keys", &json!({ "role": "admin", "scopes": ["reads"] })).await;
    let key = issued.body["api_key"].as_str().unwrap();
    assert_eq!(clinic.get_as(key, "/v1/me").await.status, 200);

    let path = format!("/v1/api-keys/{}", issued.id());
    assert_eq!(clinic.call(Method::DELETE, &path, &clinic.admin, None, &[]).await.status, 200);

    assert_eq!(clinic.get_as(key, "/v1/me").await.problem(), (401, "unauthorized"));
}
