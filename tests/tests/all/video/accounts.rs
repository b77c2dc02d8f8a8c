//! When an organization may leave its account with Daily.

use std::time::Duration;

use carelog_embedded::daily::{Fault, On};
use carelog_server::serve::Roles;
use carelog_tests::until;
use reqwest::Method;
use serde_json::{Value, json};

use super::scene::{DAILY_KEY, DOMAIN_ID, Scene, name_of};

const ANOTHER_KEY: &str = "the-key-of-another-domain";

impl Scene {
    /// Asks for another account, or for none; gives the status, and what a refusal says.
    async fn asks(&self, method: Method, body: Value) -> (u16, Value, String) {
        let path = "/v1/integrations/daily";
        let (status, problem) = self.product.call(&self.admin, method, path, Some(&body)).await;
        (status, problem["code"].clone(), problem["detail"].as_str().unwrap_or_default().to_owned())
    }

    fn has_another_domain(&self) {
        self.product.daily.add_domain("another", "7a1e6f0c-2f4e-4a7e-9d1a-5f5b1f4c0002", ANOTHER_KEY);
    }
}

fn to(key: &str) -> Value {
    json!({ "settings": { "api_key": key } })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_stays_with_its_domain_as_long_as_a_room_there_is_open() {
    let scene = Scene::new(Roles::ALL).await;
    let appointment = scene.onboarded(5).await;
    scene.becomes(&appointment, "open").await;
    scene.product.daily.add_domain("clinic", DOMAIN_ID, "the-next-key");
    scene.has_another_domain();

    for (method, body) in [
        (Method::DELETE, json!({})),
        (Method::PUT, to(ANOTHER_KEY)),
        (Method::PUT, to("a-key-that-daily-does-not-know")),
    ] {
        let (status, code, detail) = scene.asks(method, body).await;
        assert_eq!((status, code), (409, json!("video_in_use")));
        assert!(detail.contains("left: 1, recordings that would never become files: 0"), "{detail}");
    }
    assert_eq!(scene.asks(Method::PUT, to("the-next-key")).await.0, 200);
    scene.happens(&appointment, "cancel", json!({ "reason": "other" })).await;
    scene.becomes(&appointment, "closed").await;
    assert_eq!(scene.asks(Method::PUT, to(ANOTHER_KEY)).await.0, 200);
    assert_eq!(scene.asks(Method::DELETE, json!({})).await.0, 200);
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_lost_for_good_is_left_with_its_rooms_by_whoever_says_so() {
    let scene = Scene::new(Roles::ALL).await;
    let lost = scene.onboarded(5).await;
    scene.becomes(&lost, "open").await;
    scene.product.daily.revoke(DAILY_KEY);
    scene.has_another_domain();
    assert_eq!(scene.asks(Method::PUT, to(ANOTHER_KEY)).await.0, 409);

    let body = json!({ "settings": { "api_key": ANOTHER_KEY }, "abandon_open": true });
    assert_eq!(scene.asks(Method::PUT, body).await.0, 200);

    let next = scene.onboarded(6).await;
    scene.becomes(&next, "open").await;
    let rooms = scene.product.daily.rooms(ANOTHER_KEY);
    assert_eq!(rooms.iter().map(|room| &room.name).collect::<Vec<_>>(), [&name_of(&next)]);
    let (_, _, detail) = scene.asks(Method::DELETE, json!({})).await;
    assert!(detail.contains("left: 1,"), "the lost one was given up: {detail}");
    scene.clock.step_seconds(50 * 60 + 1);
    scene.becomes_at_last(&lost, "closed").await;
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_is_on_its_way_when_its_account_goes_is_made_without_it() {
    let scene = Scene::new(Roles::ALL).await;
    // Made at once, and told late.
    scene.product.daily.next(On::Create, [Fault::Slow(Duration::from_secs(5))]);
    let appointment = scene.onboarded(5).await;
    until("Daily has made the room", async || (!scene.rooms().is_empty()).then_some(())).await;

    assert_eq!(scene.asks(Method::DELETE, json!({})).await.0, 200);

    let room = scene.becomes(&appointment, "open").await;
    assert_eq!(room["provider"], "embedded");
    assert_eq!(scene.told(&appointment).await, ["video_room.created"]);
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_can_be_given_up_for_an_account_with_daily_alone() {
    let scene = Scene::without_provider(Roles::ALL).await;
    let body = json!({ "settings": {}, "abandon_open": true });

    for (method, body) in [(Method::PUT, body), (Method::DELETE, json!({ "abandon_open": true }))] {
        let path = "/v1/integrations/telemetry";
        let (status, problem) = scene.product.call(&scene.admin, method, path, Some(&body)).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!("/abandon_open")), "{problem}");
    }
    scene.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_stays_until_its_recordings_are_files_unless_they_are_given_up() {
    let scene = Scene::new(Roles::ALL).await;
    let appointment = scene.consultation().await;
    assert_eq!(scene.recording(&appointment, "start").await.0, 202);
    scene.is_told(&appointment, "recording_started").await;
    scene.product.daily.revoke(DAILY_KEY);

    let (status, code, detail) = scene.asks(Method::DELETE, json!({})).await;
    assert_eq!((status, code), (409, json!("video_in_use")));
    assert!(detail.contains("left: 1, recordings that would never become files: 1"), "{detail}");
    assert_eq!(scene.asks(Method::DELETE, json!({ "abandon_open": true })).await.0, 200);
    assert!(scene.stored_files().await.is_empty());
    scene.product.stop().await;
}
