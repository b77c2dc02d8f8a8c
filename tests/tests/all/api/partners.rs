//! Two partners of one clinic: neither reaches what the other subscribed to, by any route.

use carelog_tests::{Product, until};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

/// A partner with a key, a subscription and a delivery.
struct Partner {
    api_key: String,
    subscription: String,
    delivery: String,
}

/// A partner's key and subscription.
async fn subscribe(product: &Product, admin: &str, name: &str) -> (String, String) {
    let wish = json!({ "role": "partner", "scopes": ["webhooks"] });
    let (status, issued) = product.call(admin, Method::POST, "/v1/api-keys", Some(&wish)).await;
    assert_eq!(status, 201, "{issued}");
    let api_key = issued["api_key"].as_str().unwrap().to_owned();
    let wish = json!({ "url": product.receiver.url(name) });
    let (status, made) = product.call(&api_key, Method::POST, "/v1/webhook-subscriptions", Some(&wish)).await;
    assert_eq!(status, 201, "{made}");
    product.hook_accepts(name, made["secret"].as_str().unwrap());
    (api_key, made["id"].as_str().unwrap().to_owned())
}

/// The partner once its first delivery has arrived.
async fn served(product: &Product, (api_key, subscription): (String, String)) -> Partner {
    let path = format!("/v1/webhook-deliveries?subscription_id={subscription}&state=delivered");
    let delivery = until("a delivery arrives", async || {
        let (_, page) = product.call(&api_key, Method::GET, &path, None).await;
        Some(page["items"].get(0)?["id"].as_str()?.to_owned())
    })
    .await;
    Partner { api_key, subscription, delivery }
}

async fn replay(product: &Product, partner: &Partner) -> String {
    let wish = json!({ "subscription_id": partner.subscription, "states": ["delivered"] });
    let (status, asked) =
        product.call(&partner.api_key, Method::POST, "/v1/webhook-replays", Some(&wish)).await;
    assert_eq!(status, 202, "{asked}");
    let id = asked["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/webhook-replays/{id}");
    until("the replay ends", async || {
        let (_, shown) = product.call(&partner.api_key, Method::GET, &path, None).await;
        (shown["status"] == "completed").then_some(())
    })
    .await;
    id
}

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partner_reaches_nothing_of_another_partner_or_of_the_clinic() {
    let product = Product::start().await;
    let (organization_id, admin) = product.clinic().await;
    let clinics = product.subscribe(organization_id, &["patient.*"]).await;
    let one = subscribe(&product, &admin, "one").await;
    let other = subscribe(&product, &admin, "other").await;
    let patient = json!({ "birth_year": 1950 });
    assert_eq!(product.call(&admin, Method::POST, "/v1/patients", Some(&patient)).await.0, 201);
    let (one, other) = (served(&product, one).await, served(&product, other).await);
    let replayed = replay(&product, &other).await;
    product.settled().await;

    let (s, d) = (&other.subscription, &other.delivery);
    let own_clinics = clinics.subscription_id.to_string();
    let mut routes = vec![
        (Method::GET, format!("/v1/webhook-deliveries/{d}"), json!(null)),
        (Method::GET, format!("/v1/webhook-deliveries/{d}/attempts/1"), json!(null)),
        (Method::POST, format!("/v1/webhook-deliveries/{d}/redeliver"), json!({})),
        (Method::GET, format!("/v1/webhook-replays/{replayed}"), json!(null)),
        (Method::POST, format!("/v1/webhook-replays/{replayed}/cancel"), json!({})),
    ];
    for s in [s, &own_clinics] {
        routes.extend([
            (Method::GET, format!("/v1/webhook-subscriptions/{s}"), json!(null)),
            (Method::GET, format!("/v1/webhook-subscriptions/{s}/messages"), json!(null)),
            (Method::PATCH, format!("/v1/webhook-subscriptions/{s}"), json!({ "description": "mine" })),
            (Method::POST, format!("/v1/webhook-subscriptions/{s}/disable"), json!({})),
            (Method::POST, format!("/v1/webhook-subscriptions/{s}/enable"), json!({})),
            (Method::POST, format!("/v1/webhook-subscriptions/{s}/rotate-secret"), json!({})),
            (Method::POST, format!("/v1/webhook-subscriptions/{s}/test"), json!({})),
            (Method::DELETE, format!("/v1/webhook-subscriptions/{s}"), json!(null)),
        ]);
    }
    let events = "select count(*) from log.events where event_type not like 'access.%'";
    let before = product.count(events).await;
    for (method, path, body) in routes {
        let body = (!body.is_null()).then_some(body);
        let (status, problem) = product.call(&one.api_key, method.clone(), &path, body.as_ref()).await;
        assert_eq!((status, &problem["code"]), (404, &json!("not_found")), "{method} {path}: {problem}");
    }
    for path in ["/v1/webhook-replays", "/v1/webhook-replays/preview"] {
        let wish = json!({ "subscription_id": s, "states": ["delivered"] });
        let (status, problem) = product.call(&one.api_key, Method::POST, path, Some(&wish)).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!("/subscription_id")), "{path}");
    }
    assert_eq!(product.count(events).await, before, "nothing was stored");

    let get = async |key: &str, path: &str| product.call(key, Method::GET, path, None).await.1;
    assert_eq!(ids(&get(&one.api_key, "/v1/webhook-subscriptions").await), [&one.subscription]);
    assert_eq!(ids(&get(&one.api_key, "/v1/webhook-deliveries").await), [&one.delivery]);
    let foreign = format!("/v1/webhook-deliveries?subscription_id={s}&undelivered=true");
    assert!(ids(&get(&one.api_key, &foreign).await).is_empty());
    assert!(ids(&get(&one.api_key, "/v1/webhook-replays").await).is_empty());
    assert_eq!(ids(&get(&other.api_key, "/v1/webhook-replays").await), [&replayed]);
    rows_are_hidden(&product, &one, &other).await;
    let seen = get(&admin, "/v1/webhook-subscriptions").await;
    assert_eq!(ids(&seen).len(), 3, "the clinic sees all of them: {seen}");
    product.is_sound().await;
    product.stop().await;
}

/// As the role that answers, with SQL of its own, once for the clinic and once for the partner.
async fn rows_are_hidden(product: &Product, one: &Partner, other: &Partner) {
    for partner in [one, other] {
        let kept = format!(
            "insert into kept.webhook_answers (organization_id, delivery_id)
             select organization_id, delivery_id from webhooks.webhook_events where delivery_id = '{}'
             on conflict do nothing",
            partner.delivery
        );
        product.sql(&kept).await;
    }
    let organization = "select organization_id::text from webhooks.webhook_events limit 1";
    let organization = product.texts(organization).await.remove(0);
    let owner = format!(
        "select partner_id::text from webhooks.webhook_subscriptions where subscription_id = '{}'",
        one.subscription
    );
    let partner = product.texts(&owner).await.remove(0);
    for (table, column, own, foreign) in [
        ("webhooks.webhook_subscriptions", "subscription_id", &one.subscription, &other.subscription),
        ("webhooks.webhook_subscription_parts", "subscription_id", &one.subscription, &other.subscription),
        ("webhooks.webhook_events", "delivery_id", &one.delivery, &other.delivery),
        ("webhooks.webhook_attempts", "delivery_id", &one.delivery, &other.delivery),
        ("kept.webhook_answers", "delivery_id", &one.delivery, &other.delivery),
    ] {
        let mut counts = Vec::new();
        for (id, partner) in [(own, ""), (foreign, ""), (own, partner.as_str()), (foreign, partner.as_str())]
        {
            let mut tx = product.databases().core_app.begin().await.unwrap();
            let settings = format!(
                "set local carelog.organization_id = '{organization}'; set local carelog.partner_id = '{partner}'"
            );
            sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut *tx).await.unwrap();
            let count = format!("select count(*) > 0 from {table} where {column} = '{id}'");
            let is_seen: bool = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut *tx).await.unwrap();
            counts.push(is_seen);
        }
        assert_eq!(counts, [true, true, true, false], "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_one_member_share_what_they_subscribed_to_and_compliance_looks_without_touching() {
    let product = Product::start().await;
    let (_, admin) = product.clinic().await;
    let member = json!({ "role": "partner", "name": "Interlink", "email": "ops@interlink.example" });
    let (status, member) = product.call(&admin, Method::POST, "/v1/members", Some(&member)).await;
    assert_eq!(status, 201, "{member}");
    let key_of = async |role: &str, member: Option<&Value>| {
        let mut wish = json!({ "role": role, "scopes": ["webhooks"] });
        if let Some(member) = member {
            wish["member_id"] = member["id"].clone();
        }
        let (status, issued) = product.call(&admin, Method::POST, "/v1/api-keys", Some(&wish)).await;
        assert_eq!(status, 201, "{issued}");
        issued["api_key"].as_str().unwrap().to_owned()
    };
    let (first, second) = (key_of("partner", Some(&member)).await, key_of("partner", Some(&member)).await);
    let compliance = key_of("compliance", None).await;
    let wish = json!({ "url": product.receiver.url("hook") });
    let (_, made) = product.call(&first, Method::POST, "/v1/webhook-subscriptions", Some(&wish)).await;
    let path = format!("/v1/webhook-subscriptions/{}", made["id"].as_str().unwrap());
    product.settled().await;

    for (key, status) in [(&second, 200), (&compliance, 200)] {
        let (answered, shown) = product.call(key, Method::GET, &path, None).await;
        assert_eq!((answered, &shown["partner_id"]), (status, &member["id"]), "{shown}");
    }
    let (refused, _) = product.call(&compliance, Method::DELETE, &path, None).await;
    let (deleted, _) = product.call(&second, Method::DELETE, &path, None).await;
    assert_eq!((refused, deleted), (403, 200));
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partners_with_the_same_idempotency_key_have_wishes_of_their_own() {
    let product = Product::start().await;
    let (_, admin) = product.clinic().await;
    let address = product.server.address.unwrap();
    let mut made = Vec::new();
    for name in ["one", "other"] {
        let wish = json!({ "role": "partner", "scopes": ["webhooks"] });
        let (_, issued) = product.call(&admin, Method::POST, "/v1/api-keys", Some(&wish)).await;
        let api_key = issued["api_key"].as_str().unwrap();
        for url in [product.receiver.url("hook"), product.receiver.url("hook")] {
            let asked = reqwest::Client::builder()
                .no_proxy()
                .build()
                .unwrap()
                .post(format!("http://{address}/v1/webhook-subscriptions"))
                .bearer_auth(api_key)
                .header("idempotency-key", "an integrator's constant")
                .json(&json!({ "url": url }))
                .send()
                .await
                .unwrap();
            let (status, answer) = (asked.status(), asked.json::<Value>().await.unwrap());
            assert_eq!(status, 201, "{name}: {answer}");
            made.push(answer["id"].as_str().unwrap().to_owned());
        }
    }

    assert_eq!((&made[0], &made[2]), (&made[1], &made[3]), "a repetition is given what the first one was");
    assert_ne!(made[0], made[2]);
    product.stop().await;
}
