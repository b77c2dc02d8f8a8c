//! Figures as pictures: for programs, and in the console.

use carelog_tests::{Api, ApiClinic, Browser, send};
use reqwest::Method;
use serde_json::json;

use super::columns::{VIEWS, fetch, published_clinic, queries_in_the_log};

/// The console's page or file of an analyst who signed in.
async fn in_the_console(clinic: &ApiClinic<'_>, key: &str, path: &str) -> (u16, String, String) {
    let client =
        reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let address = format!("http://{}", clinic.api.server.address.unwrap());
    let form = format!("api_key={key}");
    let entering = client.post(format!("{address}/console/sign-in")).header("origin", &address).body(form);
    let entered = entering.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
    let cookie = entered.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let answer = client.get(format!("{address}{path}")).header("cookie", cookie).send().await.unwrap();
    let header = |name: &str| {
        let value = answer.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    (answer.status().as_u16(), header("content-type"), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_of_each_view_is_well_formed_and_in_the_log() {
    let api = Api::start().await;
    let clinic = published_clinic(&api).await;
    let browser = Browser::start().await;
    browser.open(&format!("http://{}/docs/analytics", api.server.address.unwrap())).await;

    for view in VIEWS {
        let (headers, bytes) =
            fetch(&clinic, &format!("/v1/analytics/{view}"), "image/avif, image/*;q=0.8").await;
        assert_eq!(headers["content-type"], "image/svg+xml");
        assert_eq!(headers["content-security-policy"], "default-src 'none'");
        let text = json!(String::from_utf8(bytes).unwrap());
        let read = format!("new DOMParser().parseFromString({text}, 'image/svg+xml')");
        let of = async |query: &str| {
            browser.value_of(&format!("{read}.querySelector({query:?})?.textContent")).await
        };
        assert!(of("parsererror").await.is_null(), "{view}: {text}");
        let (title, description) = (of("svg > title").await, of("svg > desc").await);
        let said = title.as_str().unwrap().to_lowercase();
        assert!(description.as_str().unwrap().contains(&said), "{view}: {description}");
    }

    let queries = queries_in_the_log(&clinic).await;
    let logged: Vec<(&str, &str)> = queries.iter().map(|(view, form, _)| (&**view, &**form)).collect();
    assert_eq!(logged, VIEWS.map(|view| (view, "svg")));
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn months_can_be_looked_at_closer_by_links_alone() {
    let api = Api::start().await;
    let clinic = published_clinic(&api).await;
    let analyst = clinic.key(&json!({ "role": "analyst", "scopes": ["reads"] })).await;
    let page = async |query: &str| {
        let path = format!("/console/analytics/clinic_utilisation{query}");
        in_the_console(&clinic, &analyst.text, &path).await
    };

    let (status, _, all) = page("").await;
    assert_eq!(status, 200);
    assert!(all.contains("<polyline ") && all.contains("2099-02"), "{all}");
    assert!(all.contains("Figures about fewer than 11 patients are not shown."), "{all}");
    let earlier = "?from=2098-12&amp;until=2099-01";
    assert!(all.contains(earlier) && !all.contains("All months"), "{all}");

    let (status, _, closer) = page(&earlier.replace("&amp;", "&")).await;
    assert_eq!(status, 200);
    assert!(closer.contains("2099-01") && !closer.contains("<td>2099-02</td>"), "{closer}");
    assert!(closer.contains("All months") && !closer.contains("<script"), "{closer}");
    let file = format!("figures.csv{earlier}");
    assert!(closer.contains(&file), "{closer}");
    let (status, _, table) = page(&format!("/{}", file.replace("&amp;", "&"))).await;
    assert_eq!((status, table.contains("2099-01"), table.contains("2099-02")), (200, true, false), "{table}");
    assert_eq!(page("?from=never").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_an_analyst_sees_chart_and_table_and_nothing_else() {
    let api = Api::start().await;
    let clinic = published_clinic(&api).await;
    let analyst = clinic.key(&json!({ "role": "analyst", "scopes": ["reads"] })).await;
    let browser = Browser::start().await;

    browser.open(&format!("http://{}/console", api.server.address.unwrap())).await;
    browser.fill("#api_key", &analyst.text).await;
    browser.click("main button").await;
    browser.sees("h1", "Analytics").await;
    browser.is_accessible("the views").await;
    browser.click("main a[href$='/form_turnaround']").await;
    browser.sees("h1", "Form turnaround").await;
    browser.is_accessible("a view").await;

    let value = async |expression: &str| browser.value_of(expression).await;
    let items = clinic.get("/v1/analytics/form_turnaround").await.items().len();
    assert_eq!(value("document.querySelectorAll('tbody tr').length").await, json!(items));
    assert_eq!(value("document.querySelectorAll('figure svg[role=img] desc').length").await, json!(1));
    assert_eq!(value("document.querySelector('nav').textContent.trim()").await, json!("Analytics"));
    assert_eq!(value("document.querySelectorAll('script').length").await, json!(0));
    browser.quit().await;

    let path = "/console/analytics/form_turnaround";
    let (status, kind, csv) = in_the_console(&clinic, &analyst.text, &format!("{path}/figures.csv")).await;
    assert_eq!((status, kind.as_str()), (200, "text/csv; charset=utf-8; header=present"));
    assert!(csv.starts_with("organization_id,dimension,value,") && csv.lines().count() == items + 1, "{csv}");
    for nowhere in
        ["/console/analytics/patients", &format!("{path}/figures.xlsx"), &format!("{path}/figures")]
    {
        assert_eq!(in_the_console(&clinic, &analyst.text, nowhere).await.0, 404, "{nowhere}");
    }
    let partner = clinic.key_of("partner").await;
    for page in ["/console/analytics", path] {
        assert_eq!(in_the_console(&clinic, &partner.text, page).await.0, 403, "{page}");
    }
    let webhooks = in_the_console(&clinic, &partner.text, "/console/webhooks").await;
    assert!(webhooks.2.contains("/console/webhooks") && !webhooks.2.contains("/console/analytics"));
    let stranger = send(api.request(Method::GET, "/console/analytics")).await;
    let is_asked_to_sign_in = stranger.text.contains("name=\"api_key\"");
    assert!(is_asked_to_sign_in && !stranger.text.contains("form_turnaround"), "{stranger:?}");
}
