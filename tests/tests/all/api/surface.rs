//! What is to be found without a clinic: the description of the API, its reference, health and metrics.

use std::collections::BTreeSet;

use carelog_domain::{OrganizationId, SubscriptionId};
use carelog_event_log::new_id;
use carelog_server::config::Network;
use carelog_tests::{Api, ApiClinic, NameAnswer, new_secret, send, subscribe, until};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn every_route_of_the_document_is_there() {
    let rate = std::num::NonZeroU32::new(10_000).unwrap();
    let api = Api::start_with(|config| config.http.anonymous_requests_per_second = rate).await;
    let before = api.event_count().await;

    let document = send(api.request(Method::GET, "/openapi.json")).await;

    assert!(document.text_at("/openapi").starts_with("3.1."), "{}", document.text_at("/openapi"));
    let mut operations = BTreeSet::new();
    for (path, item) in document.body["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let filled = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
            let filled = filled.collect::<Vec<_>>().join("/");
            let method: Method = method.to_uppercase().parse().unwrap();
            let answer = send(api.request(method.clone(), &filled)).await;
            assert_eq!(answer.problem(), (401, "unauthorized"), "{method} {path} without a key");
            assert!(
                operation["responses"].as_object().is_some_and(|responses| responses.len() > 5),
                "{path}"
            );
            operations.insert(format!("{method} {path}"));
        }
    }
    assert!(operations.len() >= 50, "{operations:?}");
    assert!(unresolved(&document.body, &document.body).is_empty());
    assert_eq!(api.event_count().await, before);
}

/// References that lead nowhere.
fn unresolved(document: &Value, value: &Value) -> Vec<String> {
    match value {
        Value::Object(object) => {
            let own = object.get("$ref").and_then(Value::as_str);
            let own = own.filter(|reference| document.pointer(&reference[1..]).is_none()).map(str::to_owned);
            own.into_iter().chain(object.values().flat_map(|value| unresolved(document, value))).collect()
        }
        Value::Array(list) => list.iter().flat_map(|value| unresolved(document, value)).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_loads_nothing_from_elsewhere() {
    let api = Api::start().await;

    let page = send(api.request(Method::GET, "/docs")).await;

    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    let mut links = Vec::new();
    for attribute in ["src=\"", "href=\"", "url(", "action=\""] {
        links.extend(page.text.split(attribute).skip(1).map(|rest| rest.split(['"', ')']).next().unwrap()));
    }
    assert!(!links.is_empty());
    for link in links {
        let is_own = (link.starts_with('/') && !link.starts_with("//")) || link.starts_with('#');
        assert!(is_own, "{link}");
    }
    assert!(!page.text.contains("<script") && !page.text.contains("@import"));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_tell_how_it_is_and_nothing_else() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik Quxfield").await;
    clinic.patient("Zenobia").await.id();
    let get = |path: &'static str| send(api.request(Method::GET, path));

    let live = get("/health/live").await;
    let ready = get("/health/ready").await;
    let metrics = get("/metrics").await;

    assert_eq!((live.status, live.text_at("/status")), (200, "live"));
    assert_eq!((ready.status, ready.text_at("/status")), (200, "ready"), "{ready:?}");
    assert_eq!(ready.body["is_migrated"], json!(true));
    let databases: Vec<&Value> =
        ready.body["databases"].as_array().unwrap().iter().map(|database| &database["name"]).collect();
    assert_eq!(databases, ["core", "audit", "analytics", "vault"]);
    assert_eq!(metrics.status, 200);
    assert!(metrics.text.contains("carelog_http_requests_total"), "{}", metrics.text);
    for text in [&ready.text, &metrics.text] {
        assert!(
            !text.contains("Quxfield") && !text.contains("Zenobia") && !text.contains(&clinic.id.to_string())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_shows_its_secret_once_and_leads_to_public_places_only() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let subscriptions = "/v1/webhook-subscriptions";
    let create = || {
        let request = clinic.request(Method::POST, subscriptions).header("idempotency-key", "subscribe");
        send(request.json(&json!({ "url": "https://partner.example.com/hook" })))
    };
    let created = create().await;
    let secret = created.text_at("/secret").to_owned();
    assert!(created.status == 201 && secret.starts_with("whsec_"), "{created:?}");
    let again = create().await;
    assert_eq!((again.id(), again.header("idempotency-replayed")), (created.id(), "true"));
    let shown =
        clinic.get(&format!("{subscriptions}/{}?wait_for={}", created.id(), created.position())).await;
    let listed = clinic.get(subscriptions).await;
    assert_eq!(shown.text_at("/url"), "https://partner.example.com/hook");
    for answer in [&again, &shown, &listed, &clinic.get("/v1/events?limit=200").await] {
        assert!(!answer.text.contains(&secret) && !answer.text.contains("whsec_"), "{answer:?}");
    }

    let before = api.event_count().await;
    for (url, code) in [
        ("http://partner.example.com/hook", "url_not_https"),
        ("ftp://partner.example.com/hook", "url_not_https"),
        ("https://user:word@partner.example.com/", "url_has_credentials"),
        ("https://user@partner.example.com/", "url_has_credentials"),
        ("https://127.0.0.1/hook", "blocked_url"),
        ("https://localhost/hook", "blocked_url"),
        ("https://[::1]/hook", "blocked_url"),
        ("https://[::ffff:127.0.0.1]/hook", "blocked_url"),
        ("https://2130706433/hook", "blocked_url"),
        ("https://0x7f.1/hook", "blocked_url"),
        ("https://10.0.0.1/hook", "blocked_url"),
        ("https://169.254.169.254/latest", "blocked_url"),
        ("https://partner.example.com:22/", "url_port_refused"),
        ("partner", "url_invalid"),
    ] {
        let answer = clinic.post(subscriptions, &json!({ "url": url })).await;
        assert_eq!(answer.problem(), (422, code), "{url}");
        assert_eq!(answer.text_at("/errors/0/pointer"), "/url", "{url}");
        let change = clinic.request(Method::PATCH, &format!("{subscriptions}/{}", created.id()));
        assert_eq!(send(change.json(&json!({ "url": url }))).await.problem(), (422, code), "{url}");
    }
    assert_eq!(api.event_count().await, before, "nothing is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_inside_is_refused_when_made_when_changed_when_tested_and_when_sent_to() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let addresses =
        |texts: &[&str]| NameAnswer::Addresses(texts.iter().map(|text| text.parse().unwrap()).collect());
    api.names.tell("inner.example.com", addresses(&["10.0.0.1"]));
    api.names.tell("mixed.example.com", addresses(&["8.8.8.8", "fd00::1"]));
    api.names.tell("moving.example.com", addresses(&["8.8.8.8"]));
    api.names.tell("failing.example.com", NameAnswer::Failure);
    let subscriptions = "/v1/webhook-subscriptions";
    let wish =
        |name: &str| json!({ "url": format!("https://{name}.example.com/hook"), "events": ["patient.*"] });
    let begin = async |key| {
        let wish = clinic.request(Method::POST, subscriptions).json(&wish("moving"));
        send(wish.header("idempotency-key", key)).await
    };
    let moving = begin("made").await;
    let path = format!("{subscriptions}/{}", moving.id());
    // Attempts to reach the public address, which no test does, may be told at any time.
    let stored = async || -> i64 {
        let stored = "select count(*) from log.events where event_type not like 'webhook\\_delivery.%'";
        sqlx::query_scalar(stored).fetch_one(&api.core).await.unwrap()
    };
    let tried = format!("{subscriptions}/{}/test", begin("tried").await.id());
    let try_out = async |key| {
        let wish = clinic.request(Method::POST, &tried).json(&json!({}));
        send(wish.header("idempotency-key", key)).await
    };
    let tested = try_out("tested").await;
    assert_eq!(tested.status, 202, "{tested:?}");
    let before = stored().await;

    for name in ["inner", "mixed"] {
        let made = clinic.post(subscriptions, &wish(name)).await;
        let changed = send(clinic.request(Method::PATCH, &path).json(&wish(name))).await;
        for refused in [made, changed] {
            assert_eq!(refused.problem(), (422, "blocked_url"), "{name}: {refused:?}");
            assert_eq!(refused.text_at("/errors/0/pointer"), "/url");
        }
    }
    assert_eq!(stored().await, before, "nothing is stored");
    let mut astray = Vec::new();
    for (name, detail) in [("failing", "dns_server_failed"), ("unknown", "dns_no_such_name")] {
        let made = clinic.post(subscriptions, &wish(name)).await;
        assert_eq!(made.status, 201, "{name}");
        astray.push((made.id().to_owned(), detail));
    }

    api.names.tell("moving.example.com", addresses(&["127.0.0.1"]));
    let shown = clinic.get(&format!("{path}?wait_for={}", moving.position())).await;
    assert_eq!(shown.text_at("/url"), "https://moving.example.com/hook");
    let before = stored().await;
    assert_eq!(try_out("another").await.problem(), (422, "blocked_url"));
    assert_eq!(begin("another").await.problem(), (422, "blocked_url"));
    assert_eq!((begin("made").await.id(), try_out("tested").await.body), (moving.id(), tested.body));
    assert_eq!(stored().await, before, "nothing is stored, and what was answered is answered again");
    clinic.patient("Ada").await.id();
    assert_eq!(first_attempt(&clinic, moving.id()).await, ("blocked_url".to_owned(), Value::Null));
    for (id, detail) in astray {
        assert_eq!(first_attempt(&clinic, &id).await, ("dns_failed".to_owned(), json!(detail)));
    }
}

/// Outcome and detail of the first attempt of the subscription's only delivery.
async fn first_attempt(clinic: &ApiClinic<'_>, subscription: &str) -> (String, Value) {
    let deliveries = format!("/v1/webhook-deliveries?subscription_id={subscription}");
    let delivery = until("it is tried", async || {
        let page = clinic.get(&deliveries).await;
        let delivery = page.body["items"].get(0).filter(|delivery| delivery["attempt_count"] == 1)?;
        Some(delivery["id"].as_str()?.to_owned())
    })
    .await;
    let shown = clinic.get(&format!("/v1/webhook-deliveries/{delivery}/attempts/1")).await;
    (shown.text_at("/outcome").to_owned(), shown.body["detail"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_to_a_network_that_the_operator_denies() {
    let api = Api::start_with(|config| {
        config.webhooks.allow_loopback = true;
        config.webhooks.denied_networks =
            ["8.8.4.0/24", "127.0.0.9/32"].map(|range| Network::try_from(range.to_owned()).unwrap()).to_vec();
    })
    .await;
    let clinic = api.clinic("Klinik").await;
    api.names.tell("own.example.com", NameAnswer::Addresses(vec!["8.8.4.4".parse().unwrap()]));
    let subscriptions = "/v1/webhook-subscriptions";

    for url in
        ["https://8.8.4.4/", "https://[::ffff:8.8.4.4]/", "https://127.0.0.9:9/", "https://own.example.com/"]
    {
        let refused = clinic.post(subscriptions, &json!({ "url": url })).await;
        assert_eq!(refused.problem(), (422, "blocked_url"), "{url}");
    }
    assert_eq!(clinic.post(subscriptions, &json!({ "url": "https://127.0.0.8:9/" })).await.status, 201);
    let (log, id) = (&api.server.system().log, SubscriptionId::new(new_id()));
    let organization_id = OrganizationId::new(clinic.id);
    let url = "https://8.8.4.4/".to_owned();
    subscribe(log, organization_id, id, &["patient.*"], url, new_secret()).await;
    clinic.patient("Ada").await.id();
    assert_eq!(first_attempt(&clinic, &id.to_string()).await.0, "blocked_url");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_subscriptions_says_where_they_lead_and_a_description_can_be_taken_away() {
    let api = Api::start_with(|config| config.webhooks.allow_loopback = true).await;
    let clinic = api.clinic("Klinik").await;
    let subscriptions = "/v1/webhook-subscriptions";
    let wish = json!({ "url": "https://127.0.0.1:9/hook", "description": "for the calendar" });
    let made = clinic.post(subscriptions, &wish).await;
    let path = format!("{subscriptions}/{}", made.id());
    let amend = async |body: &Value| send(clinic.request(Method::PATCH, &path).json(body)).await;

    let listed = clinic.get(&format!("{subscriptions}?wait_for={}", made.position())).await;
    assert_eq!(listed.text_at("/items/0/url"), "https://127.0.0.1:9/hook");
    assert_eq!(listed.text_at("/items/0/description"), "for the calendar");
    let untouched = amend(&json!({ "per_tick_limit": 7, "description": null })).await;
    let shown = clinic.get(&format!("{path}?wait_for={}", untouched.position())).await;
    assert_eq!(shown.text_at("/description"), "for the calendar", "as everywhere, nothing changes nothing");
    let cleared = amend(&json!({ "description": "" })).await;
    let shown = clinic.get(&format!("{path}?wait_for={}", cleared.position())).await;
    assert_eq!((cleared.status, shown.body.get("description")), (200, None), "{shown:?}");

    for (name, pointer) in [("cookie", "/headers/cookie"), ("X-a/b~c", "/headers/X-a~1b~0c")] {
        let headers = json!({ "x-fine": "1", name: "2" });
        let created =
            clinic.post(subscriptions, &json!({ "url": "https://127.0.0.1:9/", "headers": headers })).await;
        for refused in [created, amend(&json!({ "headers": headers })).await] {
            assert_eq!((refused.status, refused.text_at("/errors/0/pointer")), (422, pointer), "{refused:?}");
        }
    }
}
