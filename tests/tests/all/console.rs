//! The console: signing in, what it shows of webhooks, what it lets people do, and what it refuses.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::sync::Arc;
use std::time::Duration;

use carelog_domain::webhook_subscription::{DisableReason, WebhookSubscriptionCommand};
use carelog_embedded::receiver::Behaviour;
use carelog_server::serve::Roles;
use carelog_tests::{Browser, Partner, Product, ShiftedClock, start_appointment, until};
use reqwest::{Method, StatusCode};

use crate::webhooks::become_deliveries;

/// A browser without pictures: keeps one cookie and follows nothing.
struct Visitor {
    client: reqwest::Client,
    address: String,
    cookie: Option<String>,
}

struct Seen {
    status: StatusCode,
    location: Option<String>,
    set_cookie: Option<String>,
    html: String,
}

impl Visitor {
    fn of(product: &Product) -> Self {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self { client, address: format!("http://{}", product.server.address.unwrap()), cookie: None }
    }

    async fn signed_in(product: &Product, key: &str) -> Self {
        let mut visitor = Self::of(product);
        let seen = visitor.sign_in(key).await;
        let cookie = seen.set_cookie.unwrap();
        visitor.cookie = Some(cookie.split(';').next().unwrap().to_owned());
        visitor
    }

    async fn sign_in(&self, key: &str) -> Seen {
        self.send(Method::POST, "/console/sign-in", Some(&format!("api_key={key}")), &self.address).await
    }

    async fn get(&self, path: &str) -> Seen {
        self.send(Method::GET, path, None, &self.address).await
    }

    async fn post(&self, path: &str) -> Seen {
        self.send(Method::POST, path, Some(""), &self.address).await
    }

    async fn send(&self, method: Method, path: &str, form: Option<&str>, origin: &str) -> Seen {
        let mut request = self.client.request(method, format!("{}{path}", self.address));
        request = request.header("origin", origin);
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        if let Some(form) = form {
            request =
                request.header("content-type", "application/x-www-form-urlencoded").body(form.to_owned());
        }
        let answer = request.send().await.unwrap();
        let header =
            |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (location, set_cookie) = (header("location"), header("set-cookie"));
        Seen { status: answer.status(), location, set_cookie, html: answer.text().await.unwrap() }
    }
}

impl Seen {
    fn leads_to_sign_in(&self) -> bool {
        self.status == StatusCode::SEE_OTHER && self.location.as_deref() == Some("/console/sign-in")
    }
}

async fn disable(product: &Product, partner: &Partner, reason: DisableReason) {
    product.tell(partner, WebhookSubscriptionCommand::Disable { reason }).await;
    product.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_key_signs_in_and_out_and_the_key_is_never_shown() {
    let product = Product::start().await;
    let (_, key) = product.clinic().await;
    let stranger = Visitor::of(&product);
    // Not the last letter, which is an A once in sixteen times.
    let middle = key.len() - 10;
    let other = if key[middle..].starts_with('A') { 'B' } else { 'A' };
    let changed = format!("{}{other}{}", &key[..middle], &key[middle + 1..]);
    for wrong in ["", "clk_x_y", &changed, "clo_operator"] {
        let refused = stranger.sign_in(wrong).await;
        assert_eq!((refused.status, refused.set_cookie), (StatusCode::UNAUTHORIZED, None), "{wrong}");
    }
    assert!(stranger.get("/console/webhooks").await.leads_to_sign_in());

    let entered = stranger.sign_in(&key).await;
    let visitor = Visitor::signed_in(&product, &key).await;

    let cookie = entered.set_cookie.unwrap();
    for attribute in ["__Host-carelog=", "; Path=/;", "; Secure", "; HttpOnly", "; SameSite=Strict"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains(&key));
    let page = visitor.get("/console/webhooks").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(!page.html.contains(&key));
    let left = visitor.post("/console/sign-out").await;
    assert!(left.set_cookie.unwrap().contains("Max-Age=0"));
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_day_with_its_key_and_where_it_was_changed() {
    let clock = ShiftedClock::by_seconds(0);
    let product = Product::start_as(Roles::ALL, true, Arc::clone(&clock) as _).await;
    let (_, admin) = product.clinic().await;
    let body = serde_json::json!({ "role": "partner", "scopes": ["webhooks"] });
    let (_, issued) = product.call(&admin, Method::POST, "/v1/api-keys", Some(&body)).await;
    let partner = Visitor::signed_in(&product, issued["api_key"].as_str().unwrap()).await;
    assert_eq!(partner.get("/console/webhooks").await.status, StatusCode::OK);

    let mut forged = Visitor::of(&product);
    let cookie = partner.cookie.clone().unwrap();
    for place in [16, 40, 70, 110, cookie.len() - 2] {
        let other = if &cookie[place..=place] == "A" { "B" } else { "A" };
        forged.cookie = Some(format!("{}{other}{}", &cookie[..place], &cookie[place + 1..]));
        assert!(forged.get("/console/webhooks").await.leads_to_sign_in(), "byte {place}");
    }
    let keys = "select count(*) from vault.organization_keys";
    let vault = &product.databases().vault;
    let before: i64 = sqlx::query_scalar(keys).fetch_one(vault).await.unwrap();
    for _ in 0..3 {
        let bytes: Vec<u8> =
            std::iter::repeat_with(|| *uuid::Uuid::new_v4().as_bytes()).take(8).flatten().collect();
        forged.cookie = Some(format!("__Host-carelog={}", URL_SAFE_NO_PAD.encode(bytes)));
        assert!(forged.get("/console/webhooks").await.leads_to_sign_in());
    }
    let after: i64 = sqlx::query_scalar(keys).fetch_one(vault).await.unwrap();
    assert_eq!(after, before, "no stranger makes keys");
    let path = format!("/v1/api-keys/{}", issued["id"].as_str().unwrap());
    assert_eq!(product.call(&admin, Method::DELETE, &path, None).await.0, 200);
    until("the revoked key ends the session", async || {
        partner.get("/console/webhooks").await.leads_to_sign_in().then_some(())
    })
    .await;

    let tomorrow = Visitor::signed_in(&product, &admin).await;
    clock.step_seconds(9 * 60 * 60);
    assert_eq!(tomorrow.get("/console/webhooks").await.status, StatusCode::OK);
    clock.step_seconds(2 * 60 * 60);
    assert!(tomorrow.get("/console/webhooks").await.leads_to_sign_in());
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_of_other_sites_are_refused_and_change_nothing() {
    let product = Product::start().await;
    let (organization_id, key) = product.clinic().await;
    let partner = product.subscribe(organization_id, &["*"]).await;
    product.settled().await;
    let visitor = Visitor::signed_in(&product, &key).await;
    let pause = format!("/console/webhooks/{}/disable", partner.subscription_id);

    for origin in ["https://evil.example", "null", ""] {
        let refused = visitor.send(Method::POST, &pause, Some(""), origin).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{origin}");
        let key = format!("api_key={key}");
        let lured = visitor.send(Method::POST, "/console/sign-in", Some(&key), origin).await;
        assert_eq!((lured.status, lured.set_cookie), (StatusCode::FORBIDDEN, None), "{origin}");
    }

    let page = visitor.get(&format!("/console/webhooks/{}", partner.subscription_id)).await;
    assert!(page.html.contains("<dd>active</dd>"), "{}", page.html);
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clinic_sees_its_own_and_what_partners_wrote_is_text() {
    let product = Product::start().await;
    let (_, key) = product.clinic().await;
    let (_, other) = product.clinic().await;
    let body = serde_json::json!({
        "url": product.receiver.url("hook"),
        "description": "<script>alert(1)</script> & \"more\"",
    });
    let (_, made) = product.call(&key, Method::POST, "/v1/webhook-subscriptions", Some(&body)).await;
    let page = format!("/console/webhooks/{}", made["id"].as_str().unwrap());
    product.settled().await;

    let own = Visitor::signed_in(&product, &key).await.get(&page).await;
    let foreign = Visitor::signed_in(&product, &other).await;

    assert!(
        own.html.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;more&quot;"),
        "{}",
        own.html
    );
    assert!(!own.html.contains("<script"));
    assert_eq!(foreign.get(&page).await.status, StatusCode::NOT_FOUND);
    assert_eq!(foreign.post(&format!("{page}/disable")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(foreign.post(&format!("{page}/delete")).await.status, StatusCode::NOT_FOUND);
    assert!(!foreign.get("/console/webhooks").await.html.contains(made["id"].as_str().unwrap()));
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reason_for_which_nothing_is_sent_has_a_notice() {
    let product = Product::start().await;
    let (organization_id, key) = product.clinic().await;
    let visitor = Visitor::signed_in(&product, &key).await;
    let reasons = [
        (DisableReason::Gone, "answered 410"),
        (DisableReason::Failing, "failed for three days"),
        (DisableReason::ReceiverRequest, "its receiver asked for that"),
    ];
    for (reason, notice) in reasons {
        let partner = product.subscribe(organization_id, &["*"]).await;
        disable(&product, &partner, reason).await;
        let page = visitor.get(&format!("/console/webhooks/{}", partner.subscription_id)).await;
        assert!(page.html.contains("role=\"alert\"") && page.html.contains(notice), "{}", page.html);
    }
    let paused = product.subscribe(organization_id, &["*"]).await;
    disable(&product, &paused, DisableReason::Paused).await;
    let page = visitor.get(&format!("/console/webhooks/{}", paused.subscription_id)).await;
    assert!(!page.html.contains("role=\"alert\""), "who paused it knows");
    let list = visitor.get("/console/webhooks").await;
    assert_eq!(list.html.matches("role=\"alert\"").count(), reasons.len());
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_a_disabled_subscription_is_seen_and_sends_again() {
    let product = Product::start().await;
    let (organization_id, key) = product.clinic().await;
    let partner = product.subscribe(organization_id, &["appointment.*"]).await;
    partner.hook.set_behaviour(Behaviour::Status(410));
    start_appointment(product.log(), organization_id).await;
    become_deliveries(&product, &partner, &["appointment.booked failed disabled 1"]).await;
    partner.hook.set_behaviour(Behaviour::Ok);
    let browser = Browser::start().await;

    browser.open(&format!("http://{}/console", product.server.address.unwrap())).await;
    browser.is_accessible("signing in").await;
    browser.fill("#api_key", &key).await;
    browser.click("main button").await;
    browser.sees("[role=alert]", "answered 410").await;
    browser.is_accessible("the subscriptions").await;
    browser.click("[role=alert] a").await;
    browser.click("form[action$='/enable'] button").await;
    browser.sees("dd", "active").await;
    browser.is_accessible("a subscription").await;
    browser.click("table a").await;
    browser.sees("h1", "Delivery").await;
    browser.is_accessible("a delivery").await;
    browser.click("form[action*='/console/deliveries/'] button").await;

    become_deliveries(&product, &partner, &["appointment.booked delivered 2"]).await;
    tokio::time::timeout(Duration::from_mins(1), browser.quit()).await.unwrap();
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_the_trail_is_replayed_paused_and_sped_up() {
    let clock = ShiftedClock::by_seconds(0);
    let product = Product::start_as(Roles::ALL, true, Arc::clone(&clock) as _).await;
    let (organization_id, admin) = product.clinic().await;
    let issue = async |role: &str, scope: &str| {
        let body = serde_json::json!({ "role": role, "scopes": [scope] });
        let (_, issued) = product.call(&admin, Method::POST, "/v1/api-keys", Some(&body)).await;
        issued["api_key"].as_str().unwrap().to_owned()
    };
    let (officer, partner) = (issue("compliance", "trail").await, issue("partner", "webhooks").await);
    // Pauses of an hour each, of which a replay at the pace of their writing makes its longest.
    for _ in 0..6 {
        clock.step_seconds(3_600);
        start_appointment(product.log(), organization_id).await;
    }
    product.settled().await;
    let address = format!("http://{}", product.server.address.unwrap());
    let outsider = Visitor::signed_in(&product, &partner).await;
    for path in ["/console/trail", "/console/trail/replay"] {
        assert_eq!(outsider.get(path).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    assert!(Visitor::of(&product).get("/console/trail/replay").await.leads_to_sign_in());
    let replays = async || -> i64 {
        let recorded = "select count(*) from log.events where event_type = 'access.record_exported'
                        and organization_id = $1";
        let count = sqlx::query_scalar(recorded).bind(organization_id.uuid());
        count.fetch_one(&product.databases().core_system).await.unwrap()
    };
    let browser = Browser::start().await;
    browser.open(&format!("{address}/console")).await;
    browser.fill("#api_key", &officer).await;
    browser.click("main button").await;
    browser.sees("h1", "Trail").await;
    browser.is_accessible("the trail").await;

    browser.fill("#speed", "as it happened").await;
    browser.click("#start").await;
    browser.sees("#entries", "appointment.booked").await;
    browser.click("#pause").await;
    browser.sees("#told", "Paused after").await;
    let seen = "document.getElementById('entries').rows.length";
    let paused_at = browser.value_of(seen).await.as_i64().unwrap();
    browser.is_accessible("a replay that is paused").await;
    browser.click("#pause").await;
    until("going on is written down", async || (replays().await == 2).then_some(())).await;
    browser.fill("#speed", "without pauses").await;
    browser.sees("#told", "The end").await;

    assert_eq!(replays().await, 3, "the beginning, going on, and the other speed");
    // What the last request found: all but what it wrote itself, and each entry once.
    let sequences =
        "[...document.querySelectorAll('#entries tr')].map((row) => parseInt(row.title.slice(6)))";
    let sequences: Vec<i64> = serde_json::from_value(browser.value_of(sequences).await).unwrap();
    let count = i64::try_from(sequences.len()).unwrap();
    assert_eq!(sequences, (1..=count).rev().collect::<Vec<_>>());
    assert!(paused_at < count && count >= 12, "{paused_at} of {count}");
    browser.fill("#patient", "nobody").await;
    browser.click("#start").await;
    browser.sees("#told", "patient_id").await;
    tokio::time::timeout(Duration::from_mins(1), browser.quit()).await.unwrap();
    product.stop().await;
}
