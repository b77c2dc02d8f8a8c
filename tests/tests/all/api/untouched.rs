//! What is refused is told as problem+json with a stable code, and leaves nothing in the log.

use std::time::{Duration, Instant};

use carelog_event_log::{Clock, SystemClock};
use carelog_tests::{Answer, Api, ApiClinic, ApiKey, send, until};
use reqwest::{Body, Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

/// Sends a request that must be refused.
async fn refused(api: &Api, name: &str, request: RequestBuilder, status: u16, code: &str) -> Answer {
    let before = api.event_count().await;
    let answer = send(request).await;
    assert_eq!(answer.problem(), (status, code), "{name}: {answer:?}");
    assert_is_problem(name, &answer);
    assert_eq!(api.event_count().await, before, "{name}: nothing is stored");
    answer
}

/// Sends a request that must be refused and leaves one event, which says why.
async fn denied(api: &Api, name: &str, request: RequestBuilder, (status, code): (u16, &str), reason: &str) {
    let before = api.event_count().await;
    let answer = send(request).await;
    assert_eq!(answer.problem(), (status, code), "{name}: {answer:?}");
    assert_is_problem(name, &answer);
    assert_eq!(api.event_count().await, before + 1, "{name}: the refusal alone is stored");
    let newest = "select event_type, convert_from(facts, 'utf8') from log.events
                  where request_id = $1";
    let request_id: Uuid = answer.text_at("/request_id").parse().unwrap();
    let (event_type, facts): (String, String) =
        sqlx::query_as(newest).bind(request_id).fetch_one(&api.core).await.unwrap();
    let facts: Value = serde_json::from_str(&facts).unwrap();
    assert_eq!(event_type, "access.access_denied", "{name}");
    assert_eq!((&facts["reason"], &facts["status"]), (&json!(reason), &json!(status)), "{name}");
}

fn assert_is_problem(name: &str, answer: &Answer) {
    assert_eq!(answer.header("content-type"), "application/problem+json", "{name}");
    assert_eq!(answer.body["status"], answer.status, "{name}");
    assert_eq!(answer.text_at("/type"), format!("urn:carelog:problem:{}", answer.text_at("/code")), "{name}");
    assert!(!answer.text_at("/title").is_empty(), "{name}: {answer:?}");
    let request_id = answer.text_at("/request_id");
    assert!(request_id.parse::<Uuid>().is_ok(), "{name}: {answer:?}");
    assert_eq!(answer.header("x-request-id"), request_id, "{name}");
}

fn post(clinic: &ApiClinic<'_>, path: &str, body: &str) -> RequestBuilder {
    clinic.request(Method::POST, path).header("content-type", "application/json").body(body.to_owned())
}

fn from(clinic: &ApiClinic<'_>, key: &ApiKey, method: Method, path: &str, body: &Value) -> RequestBuilder {
    clinic.api.request(method, path).bearer_auth(&key.text).json(body)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_json_is_told_as_such() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;

    for body in [
        "{",
        "{\"birth_year\":}",
        "{\"details\":",
        "birth_year: 1970",
        "{\"birth_year\": 1970} and more",
        "\u{0}",
    ] {
        refused(&api, body, post(&clinic, "/v1/patients", body), 400, "malformed_json").await;
    }
    let not_utf8 = clinic.request(Method::POST, "/v1/patients").header("content-type", "application/json");
    let not_utf8 = not_utf8.body(b"{\"details\":{\"name\":\"\xff\"}}".to_vec());
    refused(&api, "not UTF-8", not_utf8, 400, "malformed_json").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_pointed_at() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Ada").await.id().to_owned();
    let booking = |change: Value| {
        let mut body =
            json!({ "patient_id": patient, "starts_at": "2099-01-01T10:00:00Z", "mode": "in_person" });
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    };
    let mut without_mode = booking(json!({}));
    without_mode.as_object_mut().unwrap().remove("mode");

    for (name, path, body, pointer) in [
        ("a text for a number", "/v1/patients", json!({ "birth_year": "1970" }), "/birth_year"),
        ("a number out of range", "/v1/patients", json!({ "birth_year": 1700 }), "/birth_year"),
        ("a negative number", "/v1/patients", json!({ "birth_year": -1 }), "/birth_year"),
        ("a number for a text", "/v1/patients", json!({ "details": { "name": 5 } }), "/details/name"),
        (
            "a text that is too long",
            "/v1/patients",
            json!({ "details": { "name": "x".repeat(201) } }),
            "/details/name",
        ),
        ("a list for an object", "/v1/patients", json!([null, 1970]), ""),
        ("an id that is none", "/v1/patients", json!({ "id": "5" }), "/id"),
        ("an unknown field", "/v1/patients", json!({ "colour": 1 }), "/colour"),
        ("an unknown field inside", "/v1/patients", json!({ "details": { "colour": 1 } }), "/details/colour"),
        ("a field that is missing", "/v1/appointments", without_mode, "/mode"),
        ("no moment", "/v1/appointments", booking(json!({ "starts_at": "tomorrow" })), "/starts_at"),
        ("an unknown name", "/v1/appointments", booking(json!({ "mode": "teleport" })), "/mode"),
        (
            "the future",
            "/v1/appointments",
            booking(json!({ "occurred_at": "2098-01-01T00:00:00Z" })),
            "/occurred_at",
        ),
        (
            "no IANA zone",
            "/v1/organizations",
            json!({ "profile": { "name": "a", "time_zone": "Mars" } }),
            "/profile/time_zone",
        ),
    ] {
        let key = if path == "/v1/organizations" { &api.operator } else { &clinic.admin.text };
        let request = api.request(Method::POST, path).bearer_auth(key).json(&body);
        let answer = refused(&api, name, request, 422, "invalid_body").await;
        assert_eq!(answer.text_at("/errors/0/pointer"), pointer, "{name}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_aggregates_reject_leaves_nothing() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Ada").await.id().to_owned();
    let appointment = clinic.book(&patient).await.id().to_owned();
    let form = clinic.form(&patient).await.id().to_owned();

    for (path, body, status, code) in [
        (format!("/v1/appointments/{appointment}/complete"), json!({}), 409, "not_onboarded"),
        ("/v1/patients".to_owned(), json!({ "id": patient }), 409, "already_registered"),
        (format!("/v1/forms/{form}/void"), json!({ "reason": "mistake" }), 422, "invalid_body"),
    ] {
        let before = api.event_count().await;
        let answer = clinic.post(&path, &body).await;
        assert_eq!(answer.status, status, "{path} {code}: {answer:?}");
        assert_is_problem(&path, &answer);
        assert_eq!(api.event_count().await, before, "{path}: nothing is stored");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_bodies_methods_and_paths_that_do_not_fit_are_told_apart() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Ada").await.id().to_owned();
    let onboard = format!("/v1/patients/{patient}/onboard");
    let empty = || post(&clinic, &onboard, "{}");

    refused(&api, "stale", empty().header("if-match", "\"7\""), 412, "stale_version").await;
    refused(&api, "no version", empty().header("if-match", "seven"), 400, "invalid_header").await;
    refused(&api, "no key", empty().header("idempotency-key", ""), 400, "invalid_header").await;
    refused(&api, "no purpose", empty().header("x-purpose-of-use", "fun"), 400, "invalid_header").await;
    refused(&api, "no correlation", empty().header("x-correlation-id", "x"), 400, "invalid_header").await;

    let long = post(&clinic, "/v1/patients", &" ".repeat(300_000));
    refused(&api, "announced length", long, 413, "body_too_large").await;
    let chunks = (0..300).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1_000]));
    let chunked = clinic
        .request(Method::POST, "/v1/patients")
        .header("content-type", "application/json")
        .body(Body::wrap_stream(futures::stream::iter(chunks)));
    refused(&api, "length not announced", chunked, 413, "body_too_large").await;

    for media_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json"] {
        let request =
            clinic.request(Method::POST, "/v1/patients").header("content-type", media_type).body("{}");
        refused(&api, media_type, request, 415, "unsupported_media_type").await;
    }
    for (method, path) in
        [(Method::PATCH, "/v1/patients"), (Method::DELETE, "/v1/events"), (Method::POST, "/health/live")]
    {
        let answer = refused(&api, path, clinic.request(method, path), 405, "method_not_allowed").await;
        assert!(!answer.header("allow").is_empty(), "{path}: {answer:?}");
    }
    for path in
        ["/", "/v1", "/v1/nothing", "/v2/patients", "/v1/patients/", "/v1/patients/x/y/z", "/v1//patients"]
    {
        refused(&api, path, clinic.request(Method::GET, path), 404, "not_found").await;
    }
    for query in ["limit=0", "limit=201", "limit=x", "after=x", "colour=1", "status=odd", "wait_for=x"] {
        let request = clinic.request(Method::GET, &format!("/v1/patients?{query}"));
        refused(&api, query, request, 422, "invalid_query").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_without_a_valid_key_is_not_known() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let key = &clinic.admin.text;
    let (id, secret) = key.strip_prefix("clk_").unwrap().split_once('_').unwrap();
    let other = clinic.key_of("admin").await;
    let other_secret = other.text.rsplit_once(&format!("{}_", other.id.replace('-', ""))).unwrap().1;

    let list = || api.request(Method::GET, "/v1/patients");
    for (name, request) in [
        ("none", list()),
        ("another scheme", list().basic_auth("clk", Some(key))),
        ("no key at all", list().bearer_auth("nonsense")),
        ("a key cut short", list().bearer_auth(&key[..key.len() - 1])),
        ("an unknown key", list().bearer_auth(format!("clk_{}_{secret}", Uuid::nil().simple()))),
        ("a foreign secret", list().bearer_auth(format!("clk_{id}_{other_secret}"))),
        ("the operator's key", list().bearer_auth(&api.operator)),
    ] {
        let answer = refused(&api, name, request, 401, "unauthorized").await;
        assert_eq!(answer.header("www-authenticate"), "Bearer", "{name}");
    }
    let wrong_operator = api.request(Method::GET, "/v1/organizations").bearer_auth(format!("clo_{secret}"));
    refused(&api, "a wrong operator's key", wrong_operator, 401, "unauthorized").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_key_that_is_refused_is_an_event() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let get = |key: &ApiKey, path: &str| api.request(Method::GET, path).bearer_auth(&key.text);

    let revoked = clinic.key_of("admin").await;
    clinic.api.call(Method::DELETE, &format!("/v1/api-keys/{}", revoked.id), &clinic.admin.text, None).await;
    denied(&api, "revoked", get(&revoked, "/v1/patients"), (401, "unauthorized"), "revoked_key").await;

    let end = SystemClock.now().unix_micros() + 700_000;
    let end = carelog_domain::Timestamp::from_unix_micros(end).unwrap().to_string();
    let body = json!({ "role": "admin", "scopes": ["reads"], "expires_at": end });
    let expired = clinic.key(&body).await;
    until("the key's time is over", async || (SystemClock.now().to_string() > end).then_some(())).await;
    denied(&api, "expired", get(&expired, "/v1/patients"), (401, "unauthorized"), "expired_key").await;

    for role in ["partner", "analyst"] {
        let key = clinic.key_of(role).await;
        denied(&api, role, get(&key, "/v1/patients"), (403, "wrong_role"), "wrong_role").await;
        let register = from(&clinic, &key, Method::POST, "/v1/patients", &json!({}));
        denied(&api, role, register, (403, "wrong_role"), "wrong_role").await;
    }
    let compliance = clinic.key_of("compliance").await;
    let register = from(&clinic, &compliance, Method::POST, "/v1/patients", &json!({}));
    denied(&api, "compliance", register, (403, "wrong_role"), "wrong_role").await;
    denied(&api, "operator's", get(&compliance, "/v1/organizations"), (403, "wrong_role"), "wrong_role")
        .await;
    let reader = clinic.key(&json!({ "role": "admin", "scopes": ["reads"] })).await;
    let register = from(&clinic, &reader, Method::POST, "/v1/patients", &json!({}));
    denied(&api, "no scope", register, (403, "missing_scope"), "missing_scope").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_refusals_of_one_key_are_written_down_at_a_bounded_rate() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let key = clinic.key_of("analyst").await;
    let before = api.event_count().await;

    for _ in 0..40 {
        assert_eq!(clinic.get_as(&key, "/v1/patients").await.problem(), (403, "wrong_role"));
    }

    let written = api.event_count().await - before;
    assert!((10..=15).contains(&written), "{written} of 40 refusals are in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_when_to_come_again() {
    let rate = std::num::NonZeroU32::new(3).unwrap();
    let api = Api::start_with(|config| {
        config.http.requests_per_second = rate;
        config.http.anonymous_requests_per_second = rate;
    })
    .await;
    let clinic = api.clinic("Klinik").await;
    let before = api.event_count().await;

    for key in [clinic.admin.text.as_str(), "nobody's"] {
        let limited = until("the budget is spent", async || {
            let answer = api.call(Method::GET, "/v1/me", key, None).await;
            (answer.status == 429).then_some(answer)
        })
        .await;
        assert_eq!(limited.problem(), (429, "rate_limited"));
        assert_is_problem(key, &limited);
        assert!((1..=3).contains(&limited.header("retry-after").parse::<u64>().unwrap()), "{limited:?}");
    }
    assert_eq!(api.event_count().await, before, "nothing is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_at_the_same_address_do_not_lock_a_known_key_out() {
    let rate = std::num::NonZeroU32::MIN;
    let api = Api::start_with(|config| config.http.anonymous_requests_per_second = rate).await;
    let clinic = api.clinic("Klinik").await;
    until("the key is known", async || {
        (api.call(Method::GET, "/v1/me", &clinic.admin.text, None).await.status == 200).then_some(())
    })
    .await;
    // Longer than a key is trusted without asking again.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        until("the strangers' budget is spent", async || {
            (api.call(Method::GET, "/v1/me", "nobody's", None).await.status == 429).then_some(())
        })
        .await;
        assert_eq!(api.call(Method::GET, "/v1/me", &clinic.admin.text, None).await.status, 200);
    }
}
