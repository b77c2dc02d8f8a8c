//! A signing secret is shown to whoever asked for it, once, and the trail says so.

use reqwest::Method;
use serde_json::{Value, json};

use super::clinic::{Answer, Clinic};

const KEYED: &str = "a-key-of-the-client";

async fn keyed(clinic: &Clinic, path: &str, key: &str, body: &Value) -> Answer {
    clinic.call(Method::POST, path, &clinic.admin, Some(body), &[("idempotency-key", key)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_shown_once_and_each_showing_is_in_the_trail() {
    let clinic = Clinic::open().await;
    let me = clinic.get("/v1/me").await;
    let body = json!({ "url": "https://127.0.0.1:9/hook", "headers": { "x-token": "canary-of-a-header" } });

    let made = keyed(&clinic, "/v1/webhook-subscriptions", KEYED, &body).await;
    let made_again = keyed(&clinic, "/v1/webhook-subscriptions", KEYED, &body).await;
    let path = format!("/v1/webhook-subscriptions/{}", made.id());
    let rotate = format!("{path}/rotate-secret");
    let rotated = keyed(&clinic, &rotate, "another-key", &json!({ "overlap_seconds": 0 })).await;
    let rotated_again = keyed(&clinic, &rotate, "another-key", &json!({ "overlap_seconds": 0 })).await;

    let secrets = [&made, &rotated].map(|answer| answer.body["secret"].as_str().unwrap().to_owned());
    assert_ne!(secrets[0], secrets[1]);
    for repeated in [&made_again, &rotated_again] {
        assert_eq!(repeated.headers["idempotency-replayed"], "true");
        assert!(repeated.body.get("secret").is_none(), "{repeated:?}");
    }
    let position = rotated.position();
    let reads = [
        format!("{path}?wait_for={position}"),
        "/v1/webhook-subscriptions".to_owned(),
        "/v1/webhook-deliveries".to_owned(),
        "/v1/events".to_owned(),
        format!("/v1/trail?wait_for={position}"),
    ];
    let changed =
        clinic.call(Method::PATCH, &path, &clinic.admin, Some(&json!({ "description": "Ours" })), &[]).await;
    assert_eq!(changed.status, 200);
    for read in &reads {
        let answer = clinic.get(read).await;
        assert_eq!(answer.status, 200, "{read} {answer:?}");
        for told in [&secrets[0], &secrets[1], "canary-of-a-header"] {
            assert!(!answer.body.to_string().contains(told), "{read} shows it");
        }
    }

    let trail = clinic.get(&format!("/v1/trail?limit=200&wait_for={position}")).await;
    let shown: Vec<&Value> = trail.body["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| {
            let event = entry["event"].as_str().unwrap();
            ["webhook_subscription.created", "webhook_subscription.secret_rotated"].contains(&event)
        })
        .collect();
    assert_eq!(shown.len(), 2, "a repetition shows nothing and is no event: {shown:?}");
    for entry in shown {
        assert_eq!(entry["actor"]["id"], me.body["api_key_id"], "{entry}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overlap_lasts_from_nothing_to_a_week() {
    let clinic = Clinic::open().await;
    let made = clinic.post("/v1/webhook-subscriptions", &json!({ "url": "https://127.0.0.1:9/hook" })).await;
    let rotate = format!("/v1/webhook-subscriptions/{}/rotate-secret", made.id());

    for overlap_seconds in [0, 1, 604_800] {
        let rotated = clinic.post(&rotate, &json!({ "overlap_seconds": overlap_seconds })).await;
        assert_eq!(rotated.status, 200, "{overlap_seconds}");
    }
    let refused = clinic.post(&rotate, &json!({ "overlap_seconds": 604_801 })).await;
    assert_eq!(refused.problem(), (422, "overlap_too_long"));
    assert_eq!(refused.body["errors"][0]["pointer"], "/overlap_seconds");
    let refused = clinic.post(&rotate, &json!({ "overlap_seconds": -1 })).await;
    assert_eq!(refused.problem(), (422, "invalid_body"));
}

#[tokio::test(flavor = "multi_thread")]
async fn t44_two_rotations_at_once_both_happen_and_old_secrets_sign_for_a_day_unless_told_otherwise() {
    let clinic = Clinic::open().await;
    let made = clinic.post("/v1/webhook-subscriptions", &json!({ "url": "https://127.0.0.1:9/hook" })).await;
    let rotate = format!("/v1/webhook-subscriptions/{}/rotate-secret", made.id());

    let nothing = json!({});
    let both = tokio::join!(clinic.post(&rotate, &nothing), clinic.post(&rotate, &nothing));

    let mut rotated = [both.0, both.1];
    rotated.sort_by_key(|answer| answer.body["version"].as_i64());
    assert_eq!(rotated.each_ref().map(|answer| answer.status), [200, 200]);
    assert_eq!(rotated.each_ref().map(|answer| answer.body["version"].as_i64()), [Some(2), Some(3)]);
    let secrets = [&made, &rotated[0], &rotated[1]].map(|answer| answer.body["secret"].as_str().unwrap());
    assert!(secrets[0] != secrets[1] && secrets[1] != secrets[2] && secrets[0] != secrets[2]);
    let overlaps: Vec<String> = sqlx::query_scalar(
        "select facts->>'overlap_seconds' from log.readable_events
         where event_type = 'webhook_subscription.secret_rotated'",
    )
    .fetch_all(&clinic.server.system().databases.core_owner)
    .await
    .unwrap();
    assert_eq!(overlaps, ["86400", "86400"]);
}
