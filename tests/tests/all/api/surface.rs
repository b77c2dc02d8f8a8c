//! What is to be found without a clinic: the description of the API, its reference, health and metrics.

use std::collections::BTreeSet;

use carelog_tests::{Api, send};
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
        ("https://127.0.0.1/hook", "url_address_refused"),
        ("https://localhost/hook", "url_address_refused"),
        ("https://[::1]/hook", "url_address_refused"),
        ("https://[::ffff:127.0.0.1]/hook", "url_address_refused"),
        ("https://2130706433/hook", "url_address_refused"),
        ("https://0x7f.1/hook", "url_address_refused"),
        ("https://10.0.0.1/hook", "url_address_refused"),
        ("https://169.254.169.254/latest", "url_address_refused"),
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
