//! Subscriptions and deliveries as a partner sees them.

use reqwest::Method;
use serde_json::json;

use super::clinic::Clinic;

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_checked_made_and_shown_without_its_secret() {
    let clinic = Clinic::open().await;

    let refused = clinic.post("/v1/webhook-subscriptions", &json!({ "url": "https://10.0.0.1/hook" })).await;
    let made = clinic.post("/v1/webhook-subscriptions", &json!({ "url": "https://127.0.0.1:9/hook" })).await;

    assert_eq!(refused.problem(), (422, "url_address_refused"));
    assert_eq!(refused.body["errors"][0]["pointer"], "/url");
    let secret = made.body["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"));
    let path = format!("/v1/webhook-subscriptions/{}?wait_for={}", made.id(), made.position());
    let shown = clinic.get(&path).await;
    assert_eq!(shown.body["url"], "https://127.0.0.1:9/hook");
    assert!(!shown.body.to_string().contains(secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attempt_can_be_seen() {
    let clinic = Clinic::open().await;
    let body = json!({ "url": "https://127.0.0.1:9/hook", "events": ["patient.*"] });
    let subscription = clinic.post("/v1/webhook-subscriptions", &body).await;
    clinic.patient("Ada").await;

    let list = format!("/v1/webhook-deliveries?subscription_id={}", subscription.id());
    let delivery = carelog_tests::until("the first attempt was made", async || {
        let deliveries = clinic.get(&list).await;
        let first = deliveries.body["items"].get(0).filter(|item| item["attempt_count"] == 1);
        first.cloned()
    })
    .await;

    let path = format!("/v1/webhook-deliveries/{}", delivery["id"].as_str().unwrap());
    let shown = clinic.get(&path).await;
    assert_eq!(shown.body["event"], "patient.registered");
    assert_eq!(shown.body["attempts"][0]["outcome"], "connect_refused");
    let again = clinic.call(Method::POST, &format!("{path}/redeliver"), &clinic.admin, None, &[]).await;
    assert_eq!(again.problem(), (409, "still_pending"));
}
