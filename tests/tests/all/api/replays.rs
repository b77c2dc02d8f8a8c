//! Replays as a partner asks for them.

use reqwest::Method;
use serde_json::{Value, json};

use super::clinic::{Answer, Clinic};

/// A subscription that missed two patients, and is active again.
async fn missed() -> (Clinic, String) {
    let clinic = Clinic::open().await;
    let body = json!({ "url": "https://127.0.0.1:9/hook", "events": ["patient.*"] });
    let subscription = clinic.post("/v1/webhook-subscriptions", &body).await.id().to_owned();
    let path = format!("/v1/webhook-subscriptions/{subscription}");
    clinic.call(Method::POST, &format!("{path}/disable"), &clinic.admin, None, &[]).await;
    clinic.patient("Ada").await;
    clinic.patient("Bea").await;
    carelog_tests::until("both are skipped", async || {
        let list = clinic.get("/v1/webhook-deliveries?undelivered=true&state=failed").await;
        (list.body["items"].as_array().unwrap().len() == 2).then_some(())
    })
    .await;
    clinic.call(Method::POST, &format!("{path}/enable"), &clinic.admin, None, &[]).await;
    (clinic, subscription)
}

fn refused_at(answer: &Answer) -> (u16, &str, &str) {
    let (status, code) = answer.problem();
    (status, code, answer.body["errors"][0]["pointer"].as_str().unwrap_or("none"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_match_nothing_is_refused_with_a_pointer() {
    let (clinic, subscription) = missed().await;
    let stranger = clinic.register().await;
    let with = |name: &str, value: Value| {
        let mut body = json!({ "subscription_id": subscription });
        body[name] = value;
        body
    };
    let mut backwards = with("from", json!("2026-03-02T00:00:00Z"));
    backwards["until"] = json!("2026-03-01T00:00:00Z");
    let mut contradiction = with("states", json!(["delivered"]));
    contradiction["reasons"] = json!(["exhausted"]);
    let unknown = carelog_event_log::new_id();
    let cases = [
        (backwards, (422, "range_is_empty", "/until")),
        (with("events", json!(["patient.teleported"])), (422, "invalid_body", "/events")),
        (with("events", json!([])), (422, "invalid_body", "/events")),
        (with("states", json!(["lost"])), (422, "invalid_body", "/states/0")),
        (with("states", json!([])), (422, "no_states", "/states")),
        (with("reasons", json!(["bored"])), (422, "invalid_body", "/reasons/0")),
        (contradiction, (422, "reasons_without_failed", "/reasons")),
        (with("from", json!("yesterday")), (422, "invalid_body", "/from")),
        (with("subscription_id", json!(unknown)), (422, "invalid_body", "/subscription_id")),
    ];
    for path in ["/v1/webhook-replays/preview", "/v1/webhook-replays"] {
        for (body, expected) in &cases {
            let refused = clinic.post(path, body).await;
            assert_eq!(refused_at(&refused), *expected, "{path} {body} {refused:?}");
        }
        let foreign = clinic.call(Method::POST, path, &stranger, Some(&with("from", Value::Null)), &[]).await;
        assert_eq!(refused_at(&foreign), (422, "invalid_body", "/subscription_id"));
    }
    let nothing = with("events", json!(["form.*"]));
    let preview = clinic.post("/v1/webhook-replays/preview", &nothing).await;
    assert_eq!((preview.status, &preview.body["matching"]), (200, &json!(0)));
    let refused = clinic.post("/v1/webhook-replays", &nothing).await;
    assert_eq!(refused_at(&refused), (422, "nothing_matches", ""));
    assert_eq!(clinic.get("/v1/webhook-replays").await.body["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_counted_asked_for_once_shown_and_nobody_elses() {
    let (clinic, subscription) = missed().await;
    let body = json!({ "subscription_id": subscription, "events": ["patient.registered"] });

    let preview = clinic.post("/v1/webhook-replays/preview", &body).await;
    let headers = [("idempotency-key", "replay-1")];
    let call =
        async || clinic.call(Method::POST, "/v1/webhook-replays", &clinic.admin, Some(&body), &headers).await;
    let made = call().await;
    let again = call().await;

    assert_eq!(
        (preview.status, &preview.body["matching"], &preview.body["failed"]),
        (200, &json!(2), &json!(2))
    );
    assert_eq!((&preview.body["pending"], &preview.body["estimated_seconds"]), (&json!(0), &json!(1)));
    assert_eq!((made.status, again.status), (202, 202), "{made:?} {again:?}");
    assert_eq!(made.body, again.body);
    assert_eq!(made.body["matching"], 2);
    let path = format!("/v1/webhook-replays/{}", made.id());
    let shown = carelog_tests::until("both were asked for", async || {
        let shown = clinic.get(&path).await;
        (shown.body["status"] == "completed").then_some(shown)
    })
    .await;
    assert_eq!((&shown.body["requested"], &shown.body["delivered"]), (&json!(2), &json!(0)));
    // The same key still gives the first answer, though another replay could begin now.
    assert_eq!(call().await.body, made.body);
    let list = clinic.get(&format!("/v1/webhook-replays?subscription_id={subscription}")).await;
    assert_eq!(list.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(list.body["items"][0]["id"], made.id());

    let stranger = clinic.register().await;
    assert_eq!(clinic.get_as(&stranger, &path).await.problem(), (404, "not_found"));
    assert_eq!(clinic.get_as(&stranger, "/v1/webhook-replays").await.body["items"], json!([]));
    let cancel = format!("{path}/cancel");
    let foreign = clinic.call(Method::POST, &cancel, &stranger, None, &[]).await;
    assert_eq!(foreign.problem(), (404, "not_requested"));
    let ended = clinic.call(Method::POST, &cancel, &clinic.admin, None, &[]).await;
    assert_eq!(ended.problem(), (409, "already_ended"));
    let key_of = async |role: &str| {
        let key = json!({ "role": role, "scopes": ["webhooks"] });
        clinic.post("/v1/api-keys", &key).await.body["api_key"].as_str().unwrap().to_owned()
    };
    assert_eq!(clinic.get_as(&key_of("compliance").await, &path).await.status, 200);
    assert_eq!(clinic.get_as(&key_of("partner").await, &path).await.problem(), (404, "not_found"));
    let analyst = json!({ "role": "analyst", "scopes": ["reads"] });
    let analyst = clinic.post("/v1/api-keys", &analyst).await.body["api_key"].as_str().unwrap().to_owned();
    assert_eq!(clinic.get_as(&analyst, &path).await.problem(), (403, "wrong_role"));
}
