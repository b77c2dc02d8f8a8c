//! What came from a network address, which the trail does not have, and from a session of the console.

use std::sync::Arc;

use base64::Engine as _;
use carelog_event_log::SystemClock;
use carelog_event_log::runtime::RebuildScope;
use carelog_server::config::Config;
use carelog_server::databases::DatabaseOptions;
use carelog_server::serve::{Roles, Server};
use carelog_server::system::System;
use carelog_tests::{Answer, Api, ApiClinic, rebuild_all, send, until};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor, PgPool};

use super::jobs::{ended, fetched, link};

/// A product that believes what this machine says of where a request came from.
async fn behind_a_proxy() -> Api {
    Api::start_with(|config| config.http.trusted_proxies = vec![[127, 0, 0, 1].into()]).await
}

/// A look at a patient from an address.
async fn look(clinic: &ApiClinic<'_>, patient: &str, address: &str) {
    until("the patient is known", async || {
        let request = clinic.request(Method::GET, &format!("/v1/patients/{patient}"));
        let shown = send(request.header("x-forwarded-for", address)).await;
        (shown.status == 200).then_some(())
    })
    .await;
}

/// What is asked for by an address.
async fn by_address(clinic: &ApiClinic<'_>, path: &str, address: &str) -> Answer {
    send(clinic.request(Method::GET, path).header("carelog-address", address)).await
}

/// What was looked at from an address, in the order in which it was.
async fn looked_at(clinic: &ApiClinic<'_>, address: &str) -> Vec<String> {
    let caught_up = clinic.patient("Zoe").await;
    let wait = format!("wait_for={}", caught_up.position());
    let found = by_address(clinic, &format!("/v1/trail?order=oldest_first&{wait}"), address).await;
    assert_eq!(found.body["total"], json!(found.items().len()), "{found:?}");
    found.items().iter().map(|entry| entry["patient_id"].as_str().unwrap().to_owned()).collect()
}

/// Everything that stands in the trail's column.
async fn column(api: &Api, condition: &str) -> Vec<Vec<u8>> {
    let statement = format!(
        "select address_index from audit.trail where address_index is not null and {condition} order by sequence"
    );
    sqlx::query_scalar(AssertSqlSafe(statement)).fetch_all(&api.audit).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_found_by_the_address_that_was_asked_from_however_it_is_written() {
    let api = behind_a_proxy().await;
    let clinic = api.clinic("Klinik").await;
    let (ada, eve) =
        (clinic.patient("Ada").await.id().to_owned(), clinic.patient("Eve").await.id().to_owned());
    for (patient, address) in [
        (&ada, "203.0.113.7"),
        (&eve, "203.0.113.70"),
        (&eve, "::ffff:203.0.113.7"),
        (&ada, "2001:DB8:0:0::7"),
        (&eve, "2001:db8::70"),
    ] {
        look(&clinic, patient, address).await;
    }

    assert_eq!(looked_at(&clinic, "203.0.113.7").await, [ada.as_str(), eve.as_str()]);
    assert_eq!(looked_at(&clinic, "::ffff:cb00:7107").await, [ada.as_str(), eve.as_str()]);
    assert_eq!(looked_at(&clinic, "203.0.113.70").await, [eve.as_str()]);
    assert_eq!(looked_at(&clinic, "2001:0db8::0007").await, [ada.as_str()]);
    assert_eq!(looked_at(&clinic, "203.0.113.8").await, Vec::<String>::new());

    let both = by_address(&clinic, &format!("/v1/trail?patient_id={eve}"), "203.0.113.7").await;
    assert_eq!(both.items().len(), 1, "{both:?}");
    let reached = by_address(&clinic, "/v1/trail/patients", "203.0.113.7").await;
    assert_eq!((reached.items().len(), &reached.body["total"]), (2, &json!(2)));
    let exported = by_address(&clinic, "/v1/trail?format=ndjson", "2001:db8::7").await;
    assert_eq!((exported.text.lines().count(), exported.header("carelog-entries")), (1, "1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_leads_to_nothing_of_another_clinic_and_looks_otherwise_there() {
    let api = behind_a_proxy().await;
    let (clinic, other) = (api.clinic("Klinik").await, api.clinic("Praxis").await);
    let ada = clinic.patient("Ada").await.id().to_owned();
    let grace = other.patient("Grace").await.id().to_owned();
    look(&clinic, &ada, "203.0.113.7").await;
    look(&clinic, &ada, "203.0.113.7").await;

    assert_eq!(looked_at(&other, "203.0.113.7").await, Vec::<String>::new());
    look(&other, &grace, "203.0.113.7").await;
    assert_eq!(looked_at(&other, "203.0.113.7").await, [grace]);
    assert_eq!(looked_at(&clinic, "203.0.113.7").await, [ada.as_str(), ada.as_str()]);

    let of_looks = |id| format!("event_type = 'access.record_viewed' and organization_id = '{id}'");
    let (here, there) = (column(&api, &of_looks(clinic.id)).await, column(&api, &of_looks(other.id)).await);
    assert_eq!((here.len(), there.len()), (2, 1));
    assert_eq!(here[0], here[1], "one address, one value");
    assert_ne!(here[0], there[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_address_stands_in_the_trail() {
    let api = behind_a_proxy().await;
    let clinic = api.clinic("Klinik").await;
    let ada = clinic.patient("Ada").await.id().to_owned();
    look(&clinic, &ada, "203.0.113.7").await;
    look(&clinic, &ada, "2001:db8::7").await;
    assert_eq!(looked_at(&clinic, "203.0.113.7").await.len(), 1);

    let values = column(&api, "true").await;
    assert!(values.len() > 4 && values.iter().all(|value| value.len() == 16), "{values:?}");
    let v6 = "2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets();
    let clear: [&[u8]; 4] = [&[203, 0, 113, 7], b"203.0.113", &v6, &[127, 0, 0, 1]];
    for value in &values {
        for address in clear {
            assert!(!value.windows(address.len()).any(|part| part == address), "{value:?}");
        }
    }
    let rows: Vec<String> =
        sqlx::query_scalar("select trail::text from audit.trail").fetch_all(&api.audit).await.unwrap();
    for address in ["203.0.113", "2001:db8", "127.0.0.1"] {
        assert!(rows.iter().all(|row| !row.contains(address)), "{address}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_by_an_address_follow_each_other_and_lead_on_without_it() {
    let api = behind_a_proxy().await;
    let clinic = api.clinic("Klinik").await;
    let patients = [clinic.patient("Ada").await.id().to_owned(), clinic.patient("Eve").await.id().to_owned()];
    for patient in &patients {
        look(&clinic, patient, "203.0.113.7").await;
        look(&clinic, patient, "203.0.113.8").await;
    }
    assert_eq!(looked_at(&clinic, "203.0.113.7").await, patients);

    for path in ["/v1/trail?order=oldest_first&limit=1", "/v1/trail/patients?limit=1"] {
        let first = by_address(&clinic, path, "203.0.113.7").await;
        let link = first.header("link");
        let next = link.strip_prefix('<').and_then(|link| link.split_once('>')).unwrap().0;
        assert!(!next.contains("203.0.113.7") && !next.contains("address"), "{next}");
        let second = by_address(&clinic, next, "203.0.113.7").await;
        let shown = [&first, &second].map(|page| page.items()[0]["patient_id"].as_str().unwrap().to_owned());
        assert_eq!((shown, second.body.get("next")), (patients.clone(), None), "{path}");
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(first.text_at("/next")).unwrap();
        assert!(!bytes.windows(4).any(|part| part == [203, 0, 113, 7]), "{bytes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_refused_where_the_one_before_was_asked_for_by_another_address_or_by_none() {
    let api = behind_a_proxy().await;
    let clinic = api.clinic("Klinik").await;
    for name in ["Ada", "Eve"] {
        let patient = clinic.patient(name).await.id().to_owned();
        look(&clinic, &patient, "203.0.113.7").await;
        look(&clinic, &patient, "203.0.113.8").await;
    }
    assert_eq!(looked_at(&clinic, "203.0.113.7").await.len(), 2);

    let of_admin = format!("/v1/trail/patients?limit=1&actor_id={}", clinic.admin.id);
    for path in ["/v1/trail?limit=1", "/v1/trail?limit=1&format=fhir_r4", &of_admin] {
        let next = |page: &Answer| {
            let link = page.header("link").strip_prefix('<').unwrap();
            link.split_once('>').unwrap().0.to_owned()
        };
        let by_seven = next(&by_address(&clinic, path, "203.0.113.7").await);
        let by_none = next(&clinic.get(path).await);
        let before = api.event_count().await;

        for (refused, what_to_do) in [
            (clinic.get(&by_seven).await, "send its Carelog-Address"),
            (by_address(&clinic, &by_seven, "203.0.113.8").await, "begin without after"),
            (by_address(&clinic, &by_none, "203.0.113.7").await, "leave Carelog-Address out"),
        ] {
            assert_eq!(refused.problem(), (400, "another_address"), "{path}");
            assert!(refused.text_at("/detail").contains(what_to_do), "{refused:?}");
        }

        assert_eq!(api.event_count().await, before, "nothing was read");
        assert_eq!(by_address(&clinic, &by_seven, "::ffff:203.0.113.7").await.status, 200, "{path}");
        assert_eq!(clinic.get(&by_none).await.status, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_address_is_refused_and_asking_is_an_entry() {
    let api = behind_a_proxy().await;
    let clinic = api.clinic("Klinik").await;
    let before = api.event_count().await;

    for wrong in
        ["203.0.113", "203.0.113.256", "localhost", "", "203.0.113.7/24", "[2001:db8::7]", "2001:db8"]
    {
        for path in ["/v1/trail", "/v1/trail/patients"] {
            let answer = by_address(&clinic, path, wrong).await;
            assert_eq!(answer.problem(), (400, "invalid_header"), "{path} {wrong}");
        }
    }
    // Not in the URL, which others keep.
    for path in ["/v1/trail", "/v1/trail/patients", "/v1/trail/replay"] {
        let answer = clinic.get(&format!("{path}?address=203.0.113.7")).await;
        assert_eq!(answer.problem(), (422, "invalid_query"), "{path}");
    }
    assert_eq!(api.event_count().await, before, "nothing was asked");
    assert_eq!(by_address(&clinic, "/v1/trail", "203.0.113.7").await.items(), &[] as &[Value]);
    let asked = "select event_type from log.events order by recorded_at desc limit 1";
    let asked: String = sqlx::query_scalar(asked).fetch_one(&api.core).await.unwrap();
    assert_eq!((api.event_count().await, &*asked), (before + 1, "access.trail_queried"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_export_and_a_replay_have_what_came_from_an_address_and_keep_it_nowhere() {
    let api = behind_a_proxy().await;
    let clinic = api.clinic("Klinik").await;
    let (ada, eve) =
        (clinic.patient("Ada").await.id().to_owned(), clinic.patient("Eve").await.id().to_owned());
    for (patient, address) in [(&ada, "203.0.113.7"), (&eve, "203.0.113.8"), (&ada, "::ffff:203.0.113.7")] {
        look(&clinic, patient, address).await;
    }
    assert_eq!(looked_at(&clinic, "203.0.113.7").await, [ada.as_str(), ada.as_str()]);
    let ask = async |form: &str, address: &str| {
        let request = clinic.request(Method::POST, "/v1/trail/exports").header("carelog-address", address);
        send(request.header("idempotency-key", form).json(&json!({ "form": form }))).await
    };

    let asked = ask("ndjson", "203.0.113.7").await;

    assert_eq!((asked.status, &asked.body["total"]), (202, &json!(2)), "{asked:?}");
    assert_eq!(ask("ndjson", "::ffff:203.0.113.7").await.id(), asked.id(), "the same address");
    assert_eq!(ask("ndjson", "203.0.113.8").await.problem(), (422, "idempotency_key_reused"));
    assert_eq!(ask("csv", "203.0.113").await.problem(), (400, "invalid_header"));
    let bundle = ask("bundle", "203.0.113.7").await;
    assert_eq!((bundle.status, bundle.text_at("/errors/0/pointer")), (422, "/form"));
    ended(&clinic, asked.id(), "complete").await;
    let file = String::from_utf8(fetched(&link(&clinic, asked.id()).await.body, 0).await).unwrap();
    let entries: Vec<Value> = file.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(entries.len() == 2 && entries.iter().all(|entry| entry["patient_id"] == json!(ada)), "{file}");
    let replayed = by_address(&clinic, "/v1/trail/replay?speed=1000000000", "203.0.113.8").await;
    assert_eq!((replayed.header("carelog-entries"), replayed.text.lines().count()), ("1", 2));
    assert!(replayed.text.contains(&eve), "{replayed:?}");

    let jobs = "select address_index, jobs::text from exports.jobs";
    let jobs: Vec<(Vec<u8>, String)> = sqlx::query_as(jobs).fetch_all(&api.audit).await.unwrap();
    let [(index, row)] = &jobs[..] else { panic!("{jobs:?}") };
    assert_eq!(*index, column(&api, "event_type = 'access.record_viewed'").await[0]);
    assert!(!row.contains("203.0.113") && !row.contains("cb007107"), "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_whose_row_was_lost_is_made_for_the_address_that_it_was_asked_for_by_and_no_other() {
    let api = behind_a_proxy().await;
    let clinic = api.clinic("Klinik").await;
    let ada = clinic.patient("Ada").await.id().to_owned();
    look(&clinic, &ada, "203.0.113.7").await;
    assert_eq!(looked_at(&clinic, "203.0.113.7").await, [ada.as_str()]);
    let ask = async |address: Option<&str>| {
        let mut request = clinic.request(Method::POST, "/v1/trail/exports").header("idempotency-key", "one");
        if let Some(address) = address {
            request = request.header("carelog-address", address);
        }
        send(request.json(&json!({ "form": "ndjson" }))).await
    };
    let first = ask(Some("203.0.113.7")).await;
    assert_eq!(first.status, 202, "{first:?}");
    // As if the process had died between the event and the row.
    let removed = api.audit.execute("delete from exports.jobs").await.unwrap();
    assert_eq!(removed.rows_affected(), 1);

    for address in [Some("203.0.113.8"), None] {
        assert_eq!(ask(address).await.problem(), (422, "idempotency_key_reused"), "{address:?}");
    }
    let again = ask(Some("203.0.113.7")).await;

    assert_eq!((again.status, again.id(), &again.body["total"]), (202, first.id(), &json!(1)), "{again:?}");
    ended(&clinic, again.id(), "complete").await;
    let jobs: Vec<Vec<u8>> =
        sqlx::query_scalar("select address_index from exports.jobs").fetch_all(&api.audit).await.unwrap();
    assert_eq!(jobs, column(&api, "event_type = 'access.record_viewed'").await);
}

/// Another server on the same databases, which remembers no key.
pub(super) async fn another_server(api: &Api) -> Server {
    let [core, audit, analytics, vault] = api.database_urls().clone().map(|url| url.parse().unwrap());
    let options = DatabaseOptions { core, audit, analytics, vault };
    let mut config = Config { home: api.home().to_path_buf(), ..Config::default() };
    config.http.listen = ([127, 0, 0, 1], 0).into();
    let system = System::open_migrated(&options, &config.root_key(), Arc::new(SystemClock)).await.unwrap();
    Server::start(&config, system, Roles { api: true, ..Roles::NONE }).await.unwrap()
}

/// What another server finds by an address.
async fn found_by(server: &Server, clinic: &ApiClinic<'_>, address: &str) -> Answer {
    let url = format!("http://{}/v1/trail", server.address.unwrap());
    let client = Client::builder().no_proxy().build().unwrap();
    send(client.get(url).bearer_auth(&clinic.admin.text).header("carelog-address", address)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_found_and_nothing_fails_once_the_key_of_addresses_is_destroyed() {
    let api = behind_a_proxy().await;
    let clinic = api.clinic("Klinik").await;
    let ada = clinic.patient("Ada").await.id().to_owned();
    look(&clinic, &ada, "203.0.113.7").await;
    assert_eq!(looked_at(&clinic, "203.0.113.7").await, [ada.as_str()]);
    let server = another_server(&api).await;
    assert_eq!(
        found_by(&server, &clinic, "203.0.113.7").await.items().len(),
        1,
        "it is a server like the first"
    );
    server.stop().await;
    let kept = column(&api, "event_type = 'access.record_viewed'").await;
    assert_eq!(kept.len(), 1);

    let destroy = format!(
        "update vault.data_keys set wrapped = null, destroyed_at = now()
         where organization_id = '{}' and class = 'network' and destroyed_at is null",
        clinic.id
    );
    let vault = PgPool::connect(&api.database_urls()[3]).await.unwrap();
    assert_eq!(vault.execute(AssertSqlSafe(destroy)).await.unwrap().rows_affected(), 1);
    let server = another_server(&api).await;

    let found = found_by(&server, &clinic, "203.0.113.7").await;
    assert_eq!((found.status, found.items().len(), &found.body["total"]), (200, 0, &json!(0)));
    rebuild_all(server.system(), RebuildScope::Everything).await;
    let found = found_by(&server, &clinic, "203.0.113.7").await;
    assert_eq!((found.status, found.items().len()), (200, 0));
    assert_eq!(column(&api, "event_type = 'access.record_viewed'").await.len(), 0, "no key, no value");
    let entries = "select count(*) from audit.trail where event_type = 'access.record_viewed'";
    let entries: i64 = sqlx::query_scalar(entries).fetch_one(&api.audit).await.unwrap();
    assert_eq!(entries, 1, "the entry is there all the same");
    server.stop().await;
}

/// Signs in to the console, and gives the cookie.
async fn sign_in(clinic: &ApiClinic<'_>) -> String {
    let request =
        clinic.api.request(Method::POST, "/console/sign-in").header("sec-fetch-site", "same-origin");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let request = request.body(format!("api_key={}", clinic.admin.text)).build().unwrap();
    let answer = client.execute(request).await.unwrap();
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_found_by_the_session_of_the_console() {
    let api = behind_a_proxy().await;
    let clinic = api.clinic("Klinik").await;
    let (one, two) = (sign_in(&clinic).await, sign_in(&clinic).await);
    assert_ne!(one, two);
    for cookie in [&one, &two, &one] {
        let replay =
            api.request(Method::GET, "/console/trail/replay?speed=1000000000").header("cookie", cookie);
        assert_eq!(send(replay).await.status, 200);
    }
    let last = clinic.patient("Ada").await;

    let query = format!("/v1/trail?event=access.&order=oldest_first&wait_for={}", last.position());
    let asked = clinic.get(&query).await;

    let sessions: Vec<&str> =
        asked.items().iter().map(|entry| entry["session_id"].as_str().unwrap_or("none")).collect();
    let [first, second, third] = sessions[..] else { panic!("{asked:?}") };
    assert!(first == third && first != second && first != "none" && second != "none", "{sessions:?}");
    for (session, count) in [(first, 2), (second, 1), (&*clinic.id.to_string(), 0)] {
        let found = clinic.get(&format!("/v1/trail?session_id={session}")).await;
        assert_eq!((found.items().len(), &found.body["total"]), (count, &json!(count)), "{session}");
    }
    let table = clinic.get(&format!("/v1/trail?format=csv&session_id={second}")).await;
    assert!(table.text.lines().nth(1).unwrap().contains(second), "{table:?}");
    assert_eq!(clinic.get(&format!("/v1/trail/patients?session_id={first}")).await.items(), &[] as &[Value]);
    let asked = clinic.post("/v1/trail/exports", &json!({ "form": "csv", "session_id": first })).await;
    assert_eq!((asked.status, &asked.body["total"]), (202, &json!(2)));
    let replay = format!("/v1/trail/replay?speed=1000000000&session_id={second}");
    assert_eq!(clinic.get(&replay).await.header("carelog-entries"), "1");
    assert_eq!(clinic.get("/v1/trail?session_id=x").await.problem(), (422, "invalid_query"));
}
