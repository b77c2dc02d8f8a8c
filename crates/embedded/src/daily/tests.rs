//! The fake is as strict as the contract, and fails as it is told to.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::*;

const KEY: &str = "key-of-the-clinic";

struct Scene {
    daily: FakeDaily,
    now: Arc<AtomicI64>,
    client: Client,
}

async fn scene() -> Scene {
    let now = Arc::new(AtomicI64::new(1_772_443_800));
    let clock = Arc::clone(&now);
    let daily = FakeDaily::start(Arc::new(move || clock.load(Ordering::Relaxed) * 1_000_000)).await.unwrap();
    daily.add_domain("clinic", "domain-1", KEY);
    let _ = rustls::crypto::ring::default_provider().install_default();
    Scene { daily, now, client: Client::builder().no_proxy().build().unwrap() }
}

impl Scene {
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.daily.url())).bearer_auth(KEY);
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    async fn create(&self, body: Value) -> (u16, Value) {
        self.ask(Method::POST, "/rooms", Some(body)).await
    }
}

#[tokio::test]
async fn a_room_is_made_read_changed_and_taken_away() {
    let scene = scene().await;
    let properties = json!({ "exp": 1_772_450_000, "enable_chat": true });

    let (status, made) =
        scene.create(json!({ "name": "a-1", "privacy": "private", "properties": properties })).await;
    assert_eq!((status, &made["url"]), (200, &json!("https://clinic.daily.co/a-1")));
    assert_eq!((&made["config"], &made["privacy"]), (&properties, &json!("private")));
    let change = json!({ "properties": { "exp": 1_772_460_000, "enable_chat": null } });
    let (_, changed) = scene.ask(Method::POST, "/rooms/a-1", Some(change)).await;
    assert_eq!(changed["config"], json!({ "exp": 1_772_460_000 }));
    assert_eq!(scene.ask(Method::GET, "/rooms/a-1", None).await.1, changed);
    assert_eq!(scene.ask(Method::GET, "/rooms", None).await.1["total_count"], 1);
    let gone = scene.ask(Method::DELETE, "/rooms/a-1", None).await;
    assert_eq!(gone, (200, json!({ "deleted": true, "name": "a-1" })));
    assert_eq!(scene.ask(Method::GET, "/rooms/a-1", None).await.0, 404);
    assert_eq!(scene.daily.calls().by_route["POST /rooms/:id"], 1);
}

#[tokio::test]
async fn what_the_contract_refuses_is_refused_and_nothing_is_made() {
    let scene = scene().await;
    let wrong = [
        json!({ "name": "a", "exp": 1_772_450_000 }),
        json!({ "name": "a", "properties": { "expires": 1 } }),
        json!({ "name": "a", "properties": { "exp": "soon" } }),
        json!({ "name": "a", "properties": { "enable_recording": "always" } }),
        json!({ "name": "a", "properties": { "max_participants": 201 } }),
        json!({ "name": "a", "privacy": "secret" }),
        json!({ "name": "with space" }),
        json!({ "name": "" }),
        json!({ "name": "x".repeat(129) }),
        json!([]),
    ];
    for body in wrong {
        let (status, refusal) = scene.create(body.clone()).await;
        assert_eq!((status, &refusal["error"]), (400, &json!("invalid-request-error")), "{body}");
    }
    assert_eq!(scene.daily.rooms(KEY), []);

    assert_eq!(scene.create(json!({ "name": "taken" })).await.0, 200);
    assert_eq!(scene.create(json!({ "name": "taken" })).await.0, 400);
    let renamed = scene.ask(Method::POST, "/rooms/taken", Some(json!({ "name": "other" }))).await;
    assert_eq!(renamed.0, 400);
}

#[tokio::test]
async fn strangers_and_broken_requests_are_told_apart() {
    let scene = scene().await;
    let url = format!("{}/rooms", scene.daily.url());
    let code = async |request: reqwest::RequestBuilder| {
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap()["error"].as_str().unwrap().to_owned())
    };

    let without = code(scene.client.post(&url).body("{}")).await;
    assert_eq!(without, (400, "authorization-header-error".to_owned()));
    let wrong = code(scene.client.post(&url).bearer_auth("another").body("{}")).await;
    assert_eq!(wrong, (401, "authentication-error".to_owned()));
    let broken = code(scene.client.post(&url).bearer_auth(KEY).body("{")).await;
    assert_eq!(broken, (400, "json-parsing-error".to_owned()));
    scene.daily.revoke(KEY);
    assert_eq!(scene.create(json!({})).await.0, 401);
}

#[tokio::test]
async fn an_expired_room_answers_as_deleted_and_keeps_its_name_until_it_is_collected() {
    let scene = scene().await;
    let room = json!({ "name": "a", "properties": { "exp": 1_772_443_900 } });
    assert_eq!(scene.create(room.clone()).await.0, 200);

    scene.now.store(1_772_443_900, Ordering::Relaxed);

    for method in [Method::GET, Method::POST, Method::DELETE] {
        let body = (method == Method::POST).then(|| json!({}));
        let (status, refusal) = scene.ask(method, "/rooms/a", body).await;
        assert_eq!((status, &refusal["deleted"]), (404, &json!(true)));
    }
    assert_eq!(scene.create(room.clone()).await.0, 400);
    scene.daily.collect();
    assert_eq!(scene.create(room).await.0, 200);
}

#[tokio::test]
async fn a_token_is_read_by_its_own_domain_only() {
    let scene = scene().await;
    let properties = json!({ "room_name": "a", "exp": 1_772_450_000, "is_owner": true, "user_id": "u" });
    let ask = json!({ "properties": properties });

    let (_, made) = scene.ask(Method::POST, "/meeting-tokens", Some(ask)).await;
    let token = made["token"].as_str().unwrap();

    let path = format!("/meeting-tokens/{token}");
    assert_eq!(scene.ask(Method::GET, &path, None).await, (200, properties));
    assert_eq!(scene.ask(Method::GET, &format!("{path}x"), None).await.0, 400);
    scene.now.store(1_772_450_000, Ordering::Relaxed);
    assert_eq!(scene.ask(Method::GET, &path, None).await.0, 400);
    for wrong in [json!({ "room_name": "a" }), json!({ "properties": { "user_id": "x".repeat(37) } })] {
        assert_eq!(scene.ask(Method::POST, "/meeting-tokens", Some(wrong)).await.0, 400);
    }
}

#[tokio::test]
async fn requests_beyond_the_limit_of_a_domain_are_refused_with_a_time() {
    let scene = scene().await;
    scene.daily.add_domain("other", "domain-2", "another");
    for _ in 0..50 {
        assert_eq!(scene.ask(Method::GET, "/rooms", None).await.0, 200);
    }

    let answer =
        scene.client.get(format!("{}/rooms", scene.daily.url())).bearer_auth(KEY).send().await.unwrap();

    assert_eq!(answer.status().as_u16(), 429);
    let seconds: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=30).contains(&seconds));
    let other = scene.client.get(format!("{}/rooms", scene.daily.url())).bearer_auth("another");
    assert_eq!(other.send().await.unwrap().status().as_u16(), 200);
    assert_eq!(scene.daily.calls().limited, 1);
}

#[tokio::test]
async fn faults_happen_once_each_and_say_whether_the_request_was_done() {
    let scene = scene().await;
    let faults = [Fault::Status(503), Fault::Limited(7), Fault::LoseRequest, Fault::Garbage];
    scene.daily.next(On::Create, faults);
    let url = format!("{}/rooms", scene.daily.url());
    let post = || scene.client.post(&url).bearer_auth(KEY).body(r#"{"name":"a"}"#).send();

    assert_eq!(scene.ask(Method::GET, "/rooms/a", None).await.0, 404, "others are not met");
    assert_eq!(post().await.unwrap().status().as_u16(), 503);
    assert_eq!(post().await.unwrap().headers()["retry-after"], "7");
    assert!(post().await.is_err());
    assert_eq!(scene.daily.rooms(KEY), []);
    assert!(post().await.unwrap().json::<Value>().await.is_err());
    assert_eq!(scene.daily.rooms(KEY).len(), 1);
    scene.daily.next(On::Any, [Fault::LoseAnswer, Fault::Slow(Duration::from_millis(10))]);
    let lost = scene.client.delete(format!("{url}/a")).bearer_auth(KEY).send().await;
    assert!(lost.is_err());
    assert_eq!(scene.daily.rooms(KEY), []);
    assert_eq!(post().await.unwrap().status().as_u16(), 200);
    scene.daily.always(Some(Fault::Status(500)));
    for _ in 0..2 {
        assert_eq!(scene.ask(Method::GET, "/rooms/a", None).await.0, 500);
    }
}
