//! Subscriptions and deliveries as a partner sees them.

use reqwest::Method;
use serde_json::{Value, json};

use super::clinic::{Answer, Clinic};

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_checked_made_and_shown_without_its_secret() {
    let clinic = Clinic::open().await;

    let refused = clinic.post("/v1/webhook-subscriptions", &json!({ "url": "https://10.0.0.1/hook" })).await;
    let made = clinic.post("/v1/webhook-subscriptions", &json!({ "url": "https://127.0.0.1:9/hook" })).await;

    assert_eq!(refused.problem(), (422, "blocked_url"));
    assert_eq!(refused.body["errors"][0]["pointer"], "/url");
    let secret = made.body["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"));
    let path = format!("/v1/webhook-subscriptions/{}?wait_for={}", made.id(), made.position());
    let shown = clinic.get(&path).await;
    assert_eq!(shown.body["url"], "https://127.0.0.1:9/hook");
    assert!(!shown.body.to_string().contains(secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn t24_what_is_no_place_to_send_to_is_refused_when_made_and_when_changed() {
    let clinic = Clinic::open().await;
    let good = "https://127.0.0.1:9/hook";
    let made = clinic.post("/v1/webhook-subscriptions", &json!({ "url": good })).await;
    let path = format!("/v1/webhook-subscriptions/{}", made.id());
    let long = format!("https://example.com/{}", "x".repeat(8_000));
    let urls = [
        "http://example.com/",
        "ftp://example.com/",
        "https://user:pass@example.com/",
        "https://example.com:22/",
        "https://example.com/#part",
        "https://169.254.169.254/",
        "https://[::ffff:10.0.0.1]/",
        long.as_str(),
    ];
    for url in urls {
        let body = json!({ "url": url });
        let created = clinic.post("/v1/webhook-subscriptions", &body).await;
        let changed = clinic.call(Method::PATCH, &path, &clinic.admin, Some(&body), &[]).await;

        assert_eq!(created.problem(), changed.problem(), "{url}");
        assert_eq!(created.status, 422, "{url}: {}", created.body);
        assert_eq!(created.body["errors"][0]["pointer"], "/url", "{url}");
        assert_eq!(changed.body["errors"][0]["pointer"], "/url", "{url}");
    }
    let shown = clinic.get(&format!("{path}?wait_for={}", made.position())).await;
    assert_eq!((&shown.body["url"], &shown.body["version"]), (&json!(good), &json!(1)));
    let list = clinic.get("/v1/webhook-subscriptions").await;
    assert_eq!(list.body["items"].as_array().unwrap().len(), 1, "nothing was stored");
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

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_delivered_is_one_call_and_can_be_sent_after_all() {
    let clinic = Clinic::open().await;
    let body = json!({ "url": "https://127.0.0.1:9/hook", "events": ["patient.*"] });
    let subscription = clinic.post("/v1/webhook-subscriptions", &body).await;
    let path = format!("/v1/webhook-subscriptions/{}", subscription.id());
    let paused = clinic.call(Method::POST, &format!("{path}/disable"), &clinic.admin, None, &[]).await;
    assert_eq!(paused.status, 200);
    clinic.patient("Ada").await;

    let failed = "/v1/webhook-deliveries?undelivered=true&reason=skipped_inactive";
    let delivery = carelog_tests::until("the event is skipped", async || {
        clinic.get(failed).await.body["items"].get(0).cloned()
    })
    .await;
    let recorded_at = delivery["recorded_at"].as_str().unwrap();
    let before = clinic.get(&format!("{failed}&until={recorded_at}")).await;
    let since = clinic.get(&format!("{failed}&from={recorded_at}")).await;
    assert_eq!(before.body["items"].as_array().unwrap().len(), 0);
    assert_eq!(since.body["items"].as_array().unwrap().len(), 1);

    let path = format!("/v1/webhook-deliveries/{}/redeliver", delivery["id"].as_str().unwrap());
    let again = clinic.call(Method::POST, &path, &clinic.admin, None, &[]).await;
    assert_eq!(again.status, 200);
    let twice = clinic.call(Method::POST, &path, &clinic.admin, None, &[]).await;
    assert_eq!(twice.problem(), (409, "still_pending"));
    let unknown = format!("/v1/webhook-deliveries/{}/redeliver", carelog_event_log::new_id());
    let unknown = clinic.call(Method::POST, &unknown, &clinic.admin, None, &[]).await;
    assert_eq!(unknown.problem(), (404, "not_found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_tells_how_its_receiver_does_and_takes_no_pace_above_the_operators() {
    let clinic = Clinic::open().await;
    let too_fast = json!({ "url": "https://127.0.0.1:9/hook", "per_tick_limit": 20_000 });
    let refused = clinic.post("/v1/webhook-subscriptions", &too_fast).await;
    assert_eq!(refused.problem(), (422, "per_tick_limit_out_of_range"));
    assert_eq!(refused.body["errors"][0]["pointer"], "/per_tick_limit");
    let listed = clinic.get("/v1/webhook-subscriptions").await;
    assert_eq!(listed.body["items"].as_array().unwrap().len(), 0);

    let body = json!({ "url": "https://127.0.0.1:9/hook", "events": ["patient.*"], "per_tick_limit": 10 });
    let subscription = clinic.post("/v1/webhook-subscriptions", &body).await;
    clinic.patient("Ada").await;
    let path = format!("/v1/webhook-subscriptions/{}", subscription.id());
    let shown = carelog_tests::until("the failure is told", async || {
        let shown = clinic.get(&path).await;
        (shown.body["consecutive_failures"] == 1).then_some(shown)
    })
    .await;
    assert_eq!(shown.body["per_tick_limit"], 10);
    assert!(shown.body["failing_since"].is_string());
    assert!(shown.body["held_until"].is_null());
}

async fn subscribe(clinic: &Clinic, body: &Value, key: &str) -> Answer {
    let headers = [("idempotency-key", key)];
    clinic.call(Method::POST, "/v1/webhook-subscriptions", &clinic.admin, Some(body), &headers).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organization_has_so_many_subscriptions_and_no_more() {
    let clinic = Clinic::open().await;
    let body = json!({ "url": "https://127.0.0.1:9/hook", "events": ["patient.*"] });
    let mut newest = None;
    for number in 0..20 {
        let made = subscribe(&clinic, &body, &format!("subscription-{number}")).await;
        assert_eq!(made.status, 201, "{made:?}");
        let path = format!("/v1/webhook-subscriptions/{}?wait_for={}", made.id(), made.position());
        assert_eq!(clinic.get(&path).await.status, 200);
        newest = Some(made);
    }

    let refused = clinic.post("/v1/webhook-subscriptions", &body).await;
    assert_eq!(refused.problem(), (409, "too_many_subscriptions"));
    let again = subscribe(&clinic, &body, "subscription-19").await;
    assert_eq!((again.status, again.id()), (201, newest.unwrap().id()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_event_type_is_refused_with_those_that_are_known() {
    let clinic = Clinic::open().await;
    let body = json!({ "url": "https://127.0.0.1:9/hook", "events": ["appointment.booked", "appointment.teleported"] });
    let refused = clinic.post("/v1/webhook-subscriptions", &body).await;
    assert_eq!(refused.status, 422);
    assert_eq!(refused.body["errors"][0]["pointer"], "/events");
    let detail = refused.body["errors"][0]["detail"].as_str().unwrap();
    assert!(
        detail.contains("entry 1")
            && detail.contains("appointment.*")
            && detail.contains("patient.onboarded")
    );
    assert!(!detail.contains("teleported"), "what was sent is not repeated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_tested_while_it_is_active() {
    let clinic = Clinic::open().await;
    let body = json!({ "url": "https://127.0.0.1:9/hook", "events": ["form.signed"] });
    let subscription = clinic.post("/v1/webhook-subscriptions", &body).await;
    let path = format!("/v1/webhook-subscriptions/{}", subscription.id());
    let test = format!("{path}/test");
    let headers = [("idempotency-key", "test-1")];

    let tested = clinic.call(Method::POST, &test, &clinic.admin, None, &headers).await;
    let again = clinic.call(Method::POST, &test, &clinic.admin, None, &headers).await;

    assert_eq!((tested.status, again.status), (202, 202));
    assert_eq!(tested.body, again.body);
    let delivery = format!(
        "/v1/webhook-deliveries/{}?wait_for={}",
        tested.body["delivery_id"].as_str().unwrap(),
        tested.position()
    );
    let shown = carelog_tests::until("the attempt was made", async || {
        let shown = clinic.get(&delivery).await;
        (shown.body["attempt_count"] == 1).then_some(shown)
    })
    .await;
    assert_eq!(shown.body["event"], "webhook_subscription.test_requested");
    assert_eq!(shown.body["attempts"][0]["outcome"], "connect_refused");

    clinic.call(Method::POST, &format!("{path}/disable"), &clinic.admin, None, &[]).await;
    let refused = clinic.call(Method::POST, &test, &clinic.admin, None, &[]).await;
    assert_eq!(refused.problem(), (409, "not_active"));
    assert!(refused.body["detail"].as_str().unwrap().contains("enable it"), "{refused:?}");
    let stranger = clinic.register().await;
    let foreign = clinic.call(Method::POST, &test, &stranger, None, &[]).await;
    assert_eq!(foreign.problem(), (404, "not_created"));
}
