//! One wish over HTTP, however often and however quickly it is repeated, is granted once.

use carelog_tests::{Answer, Api, ApiClinic, send};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

async fn keyed(clinic: &ApiClinic<'_>, path: &str, key: &str, body: &Value) -> Answer {
    send(clinic.request(Method::POST, path).header("idempotency-key", key).json(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_gets_the_first_answer_and_stores_nothing() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let body = json!({ "birth_year": 1970, "details": { "name": "Ada" } });

    let first = keyed(&clinic, "/v1/patients", "once", &body).await;
    let before = api.event_count().await;
    let again = keyed(&clinic, "/v1/patients", "once", &body).await;
    let other_body = keyed(&clinic, "/v1/patients", "once", &json!({ "birth_year": 1971 })).await;
    let other_path = keyed(
        &clinic,
        "/v1/specialists",
        "once",
        &json!({ "profession": "nurse", "name": "G", "email": "g@x" }),
    )
    .await;

    assert_eq!((first.status, first.header("idempotency-replayed")), (201, ""));
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!((again.header("idempotency-replayed"), again.header("etag")), ("true", first.header("etag")));
    assert_eq!(other_body.problem(), (422, "idempotency_key_reused"));
    assert_eq!(other_path.problem(), (422, "idempotency_key_reused"));
    assert_eq!(api.event_count().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_from_many_connections_is_granted_once() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let before = api.event_count().await;
    let body = json!({ "details": { "name": "Ada" } });

    let answers = join_all((0..20).map(|_| keyed(&clinic, "/v1/patients", "race", &body))).await;

    let is_first =
        |answer: &&Answer| answer.status == 201 && answer.header("idempotency-replayed").is_empty();
    let first: Vec<&Answer> = answers.iter().filter(is_first).collect();
    assert_eq!(first.len(), 1, "{answers:?}");
    for answer in &answers {
        if answer.status == 201 {
            assert_eq!(answer.body, first[0].body);
        } else {
            assert_eq!(answer.problem(), (409, "idempotency_key_in_flight"));
            assert_eq!(answer.header("retry-after"), "1");
        }
    }
    assert_eq!(api.event_count().await, before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_one_clinic_and_a_refusal_does_not_use_it_up() {
    let api = Api::start().await;
    let (clinic, other) = (api.clinic("Klinik").await, api.clinic("Praxis").await);
    let id = "0197a000-0000-7000-8000-000000000009";
    let onboard = format!("/v1/patients/{id}/onboard");

    let refused = keyed(&clinic, &onboard, "key", &json!({})).await;
    clinic.post("/v1/patients", &json!({ "id": id })).await.id();
    let granted = keyed(&clinic, &onboard, "key", &json!({})).await;
    let elsewhere = keyed(&other, "/v1/patients", "key", &json!({})).await;

    assert_eq!(refused.status, 404, "{refused:?}");
    assert_eq!((granted.status, granted.header("idempotency-replayed")), (200, ""), "{granted:?}");
    assert_eq!(elsewhere.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_entity_tag_of_a_read_is_the_version_for_the_next_change() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Ada").await;
    let path = format!("/v1/patients/{}", patient.id());
    let onboard = |tag: &str| {
        send(
            clinic.request(Method::POST, &format!("{path}/onboard")).header("if-match", tag).json(&json!({})),
        )
    };

    let shown = clinic.get(&format!("{path}?wait_for={}", patient.position())).await;
    let changed = onboard(shown.header("etag")).await;
    let stale = onboard(shown.header("etag")).await;

    assert_eq!((shown.header("etag"), &shown.body["version"]), ("\"1\"", &json!(1)));
    assert_eq!((changed.status, changed.header("etag")), (200, "\"2\""));
    assert_eq!(stale.problem(), (412, "stale_version"));
}
