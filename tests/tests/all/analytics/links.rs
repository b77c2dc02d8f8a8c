//! Links to charts, for pages of others: what they show, to whom it is told, and when they end.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carelog_domain::OrganizationId;
use carelog_server::config::PageOrigin;
use carelog_tests::{Answer, Api, ApiClinic, ApiKey, send};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use super::columns::{published_clinic, queries_in_the_log};

async fn ask(clinic: &ApiClinic<'_>, key: &ApiKey, view: &str, body: &Value) -> Answer {
    let path = format!("/v1/analytics/{view}/links");
    send(clinic.api.request(Method::POST, &path).bearer_auth(&key.text).json(body)).await
}

/// The path of a link that a key makes.
async fn link(clinic: &ApiClinic<'_>, key: &ApiKey, view: &str, body: &Value) -> String {
    let made = ask(clinic, key, view, body).await;
    assert_eq!(made.status, 200, "{made:?}");
    let address = format!("http://{}", clinic.api.server.address.unwrap());
    made.text_at("/url").strip_prefix(&address).unwrap().to_owned()
}

/// The parts of a link: what it says, and its signature.
fn parts(link: &str) -> (Value, String) {
    let (said, signature) = link.strip_prefix("/charts/").unwrap().split_once('.').unwrap();
    (serde_json::from_slice(&URL_SAFE_NO_PAD.decode(said).unwrap()).unwrap(), signature.to_owned())
}

fn joined(said: &Value, signature: &str) -> String {
    let said = URL_SAFE_NO_PAD.encode(serde_json::to_vec(said).unwrap());
    format!("/charts/{said}.{signature}")
}

/// The link that each query in the log came by; nothing where it came by none.
async fn links_of_queries(clinic: &ApiClinic<'_>) -> Vec<Value> {
    let links = "select convert_from(facts, 'utf8')::jsonb -> 'link_id' from log.events
        where event_type = 'access.analytics_queried' and organization_id = $1 order by position";
    let links: Vec<Option<Value>> =
        sqlx::query_scalar(links).bind(clinic.id).fetch_all(&clinic.api.core).await.unwrap();
    links.into_iter().map(Option::unwrap_or_default).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_shows_one_chart_of_one_clinic_and_every_look_is_in_the_log() {
    let portal = PageOrigin::try_from("https://portal.example".to_owned()).unwrap();
    let api = Api::start_with(|config| config.analytics.frame_ancestors = vec![portal]).await;
    let (clinic, other) = (published_clinic(&api).await, api.clinic("Andere").await);
    let key = clinic.key(&json!({ "role": "analyst", "scopes": ["reads"] })).await;
    let january = json!({ "from": "2099-01", "until": "2099-01" });

    let link = link(&clinic, &key, "clinic_utilisation", &january).await;

    assert_eq!(queries_in_the_log(&clinic).await, [], "a link alone shows nothing");
    let shown = send(api.request(Method::GET, &link)).await;
    assert_eq!((shown.status, shown.header("content-type")), (200, "text/html; charset=utf-8"));
    assert_eq!(
        shown.header("content-security-policy"),
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
         frame-ancestors https://portal.example"
    );
    assert_eq!(shown.header("cache-control"), "private, no-store");
    assert_eq!(shown.header("referrer-policy"), "no-referrer");
    assert_eq!(shown.header("cross-origin-resource-policy"), "same-origin", "no image in other pages");
    assert!(shown.text.contains("2099-01") && !shown.text.contains("2099-02"), "{}", shown.text);
    assert!(shown.text.contains("Figures about fewer than 11 patients are not shown."), "{}", shown.text);
    let logged = queries_in_the_log(&clinic).await;
    assert_eq!(logged, [("clinic_utilisation".to_owned(), "svg".to_owned(), 1)]);
    let actor = "select actor_id::text from log.events where event_type = 'access.analytics_queried'";
    let actor: String = sqlx::query_scalar(actor).fetch_one(&api.core).await.unwrap();
    assert_eq!(actor, key.id, "in the name of the key that made it");

    // What the key asks for itself is told from what its links show.
    let (said, signature) = parts(&link);
    let asked =
        send(api.request(Method::GET, "/v1/analytics/clinic_utilisation").bearer_auth(&key.text)).await;
    assert_eq!(asked.status, 200, "{asked:?}");
    assert_eq!(links_of_queries(&clinic).await, [said["link_id"].clone(), Value::Null]);

    // What was changed is no link, whatever it says.
    let changed = |name: &str, value: Value| {
        let mut said = said.clone();
        said[name] = value;
        joined(&said, &signature)
    };
    for (what, path) in [
        ("another view", changed("view", json!("appointment_patterns"))),
        ("another end", changed("expires_at", json!("2199-01-01T00:00:00.000000Z"))),
        ("another clinic", changed("organization_id", json!(other.id.to_string()))),
        ("no signature", joined(&said, "")),
        ("nothing", "/charts/nothing".to_owned()),
    ] {
        let refused = send(api.request(Method::GET, &path)).await;
        assert_eq!(refused.problem(), (401, "unauthorized"), "{what}");
    }

    // One that has ended, signed by the clinic.
    let mut ended = said.clone();
    ended["expires_at"] = json!("2020-01-01T00:00:00.000000Z");
    let vault = api.server.system().log.vault();
    let secret = vault.derived_secret(OrganizationId::new(clinic.id), "chart_link").await.unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&*secret).unwrap();
    mac.update(&serde_json::to_vec(&ended).unwrap());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    let gone = send(api.request(Method::GET, &joined(&ended, &signature))).await;
    assert_eq!(gone.problem(), (410, "link_expired"));
    assert_eq!(queries_in_the_log(&clinic).await.len(), 2, "none of them showed anything");

    // It ends with its key.
    let path = format!("/v1/api-keys/{}", key.id);
    let revoked = send(clinic.request(Method::DELETE, &path)).await;
    assert!(revoked.status < 300, "{revoked:?}");
    carelog_tests::until("the link ends with its key", async || {
        let refused = send(api.request(Method::GET, &link)).await;
        (refused.status == 401).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_shows_chart_table_and_csv_and_no_month_beyond_its_own() {
    let api = Api::start().await;
    let clinic = published_clinic(&api).await;
    let all = link(&clinic, &clinic.admin, "clinic_utilisation", &json!({ "dimension": "month" })).await;
    let january = json!({ "from": "2099-01", "until": "2099-01" });
    let january = link(&clinic, &clinic.admin, "clinic_utilisation", &january).await;
    let look =
        async |link: &str, query: &str| send(api.request(Method::GET, &format!("{link}{query}"))).await;

    let page = look(&all, "").await;
    assert!(page.text.contains("<svg ") && page.text.contains("<table>"), "{}", page.text);
    assert!(page.text.contains("href=\"?format=csv\""), "{}", page.text);
    assert!(
        page.text.contains("<td>2099-01</td>") && page.text.contains("<td>2099-02</td>"),
        "{}",
        page.text
    );
    let closer = look(&all, "?from=2099-02&until=2099-02").await;
    assert!(
        !closer.text.contains("<td>2099-01</td>") && closer.text.contains("<td>2099-02</td>"),
        "{}",
        closer.text
    );
    assert!(
        closer.text.contains("href=\"?format=csv&amp;from=2099-02&amp;until=2099-02\""),
        "{}",
        closer.text
    );
    assert!(closer.text.contains("href=\"?\">All months"), "{}", closer.text);
    let csv = look(&all, "?format=csv&from=2099-02").await;
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8; header=present");
    assert!(csv.text.contains("2099-02") && !csv.text.contains("2099-01"), "{}", csv.text);
    let svg = look(&all, "?format=svg").await;
    assert!(svg.header("content-type") == "image/svg+xml" && svg.text.starts_with("<svg "), "{}", svg.text);

    for query in ["?from=2099-02", "?from=2099-02&until=2099-02", "?format=csv&until=2099-12"] {
        let beyond = look(&january, query).await;
        assert_eq!(beyond.status, 200, "{beyond:?}");
        assert!(
            !beyond.text.contains("<td>2099-02") && !beyond.text.contains("month,2099-02"),
            "{}",
            beyond.text
        );
    }
    for query in ["?from=May", "?from=2099-02&until=2099-01", "?format=parquet", "?view=form_turnaround"] {
        assert_eq!(look(&all, query).await.problem(), (422, "invalid_query"), "{query}");
    }
    let forms: Vec<String> = queries_in_the_log(&clinic).await.into_iter().map(|(_, form, _)| form).collect();
    assert_eq!(forms, ["svg", "svg", "csv", "svg", "svg", "svg", "csv"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_in_the_log_before_it_is_handed_out() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let january = json!({ "from": "2099-01", "until": "2099-01", "valid_hours": 1 });

    let made = ask(&clinic, &clinic.admin, "clinic_utilisation", &january).await;

    assert_eq!(made.status, 200, "{made:?}");
    let issued = "select stream_id::text, actor_id::text, convert_from(facts, 'utf8') from log.events
        where event_type = 'access.analytics_link_issued' and organization_id = $1";
    let issued: Vec<(String, String, String)> =
        sqlx::query_as(issued).bind(clinic.id).fetch_all(&api.core).await.unwrap();
    let [(stream_id, actor_id, facts)] = issued.as_slice() else { panic!("{issued:?}") };
    assert_eq!((&**stream_id, &**actor_id), (made.text_at("/link_id"), &*clinic.admin.id));
    let facts: Value = serde_json::from_str(facts).unwrap();
    let expected = json!({
        "view": "clinic_utilisation", "dimension": "month", "from": "2099-01", "until": "2099-01",
        "expires_at": made.body["expires_at"],
    });
    assert_eq!(facts, expected);

    // Where the log refuses, nobody gets a link.
    let refuse = "alter table log.events add constraint no_links
        check (event_type <> 'access.analytics_link_issued') not valid";
    sqlx::query(refuse).execute(&api.core).await.unwrap();
    let refused = ask(&clinic, &clinic.admin, "clinic_utilisation", &january).await;
    assert!(refused.status >= 500 && refused.body.get("url").is_none(), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_link_looks_no_more_often_than_others_without_a_key() {
    let rate = std::num::NonZeroU32::new(5).unwrap();
    let api = Api::start_with(|config| config.http.anonymous_requests_per_second = rate).await;
    let clinic = api.clinic("Klinik").await;
    let link = link(&clinic, &clinic.admin, "clinic_utilisation", &json!({})).await;

    let limited = carelog_tests::until("the budget of the address is spent", async || {
        let answer = send(api.request(Method::GET, &link)).await;
        (answer.status == 429).then_some(answer)
    })
    .await;

    assert_eq!(limited.problem(), (429, "rate_limited"));
    // The key has its own, and is asked for nothing here.
    assert_eq!(clinic.get("/v1/me").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_show_nothing_or_work_for_ever_are_refused() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    for (body, problem) in [
        (json!({ "valid_hours": 0 }), (422, "invalid_body")),
        (json!({ "valid_hours": 9_000 }), (422, "invalid_body")),
        (json!({ "dimension": "template" }), (422, "invalid_query")),
        (json!({ "from": "2026-02", "until": "2026-01" }), (422, "invalid_query")),
        (json!({ "patient": "Ada" }), (422, "invalid_body")),
    ] {
        let refused = clinic.post("/v1/analytics/clinic_utilisation/links", &body).await;
        assert_eq!(refused.problem(), problem, "{body}: {refused:?}");
    }
    let specialist = clinic.key_of("specialist").await;
    let refused = ask(&clinic, &specialist, "clinic_utilisation", &json!({})).await;
    assert_eq!(refused.problem(), (403, "wrong_role"));
}
