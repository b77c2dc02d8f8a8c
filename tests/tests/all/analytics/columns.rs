//! Figures as Parquet and Arrow, over HTTP and from the command line, read by programs that are not ours.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, UNIX_EPOCH};

use carelog_analytics::publication::{Part, publish};
use carelog_domain::file::{ContentType, LinkDisposition};
use carelog_domain::{OrganizationId, PatientId};
use carelog_files::{Download, Storage};
use carelog_tests::{Answer, Api, ApiClinic, python_client, until};
use reqwest::Method;
use reqwest::header::ACCEPT;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::video::consult;

const PATIENTS: usize = 24;
pub(super) const VIEWS: [&str; 7] = [
    "appointment_patterns",
    "clinic_utilisation",
    "exercise_completion",
    "exercise_streaks",
    "form_turnaround",
    "video_quality",
    "video_sessions",
];

/// A plan of a patient with an exercise that was done twice.
async fn exercise(clinic: &ApiClinic<'_>, patient: &str) {
    let staff = json!({ "profession": "physiotherapist", "name": "Grace", "email": "g@example.org" });
    let specialist = clinic.post("/v1/specialists", &staff).await.id().to_owned();
    let plan = json!({
        "patient_id": patient, "specialist_id": specialist, "starts_at": "2026-03-02T00:00:00Z", "week_count": 2,
        "title": "Knee",
    });
    let path =
        format!("/v1/treatment-plans/{}/exercises", clinic.post("/v1/treatment-plans", &plan).await.id());
    let squats = "0197a000-0000-7000-8000-00000000000a";
    let exercise =
        json!({ "exercise_id": squats, "week": 1, "session_count": 3, "sets": 3, "repetitions": 12 });
    let assignment = clinic.post(&path, &exercise).await.text_at("/assignment_id").to_owned();
    for _ in 0..2 {
        let done = clinic.post(&format!("{path}/{assignment}/complete"), &json!({ "pain": 3 })).await;
        assert!(done.status < 300, "{done:?}");
    }
}

/// A clinic with two appointments, one of them completed, a form, an exercise and a video consultation of each patient, published.
pub(super) async fn published_clinic(api: &Api) -> ApiClinic<'_> {
    let clinic = api.clinic("Klinik").await;
    for number in 0..PATIENTS {
        let patient = clinic.patient("Ada").await.id().to_owned();
        for (index, month) in ["01", "02"].into_iter().enumerate() {
            let booking = json!({
                "patient_id": patient, "mode": "in_person", "starts_at": format!("2099-{month}-01T10:00:00Z"),
                "ends_at": format!("2099-{month}-01T10:30:00Z"),
            });
            let booked = clinic.post("/v1/appointments", &booking).await;
            if number % 2 == index {
                let path = format!("/v1/appointments/{}", booked.id());
                let told = json!({ "duration_minutes": 20 });
                for (step, body) in [("onboard", json!({})), ("start", json!({})), ("complete", told)] {
                    let done = clinic.post(&format!("{path}/{step}"), &body).await;
                    assert!(done.status < 300, "{done:?}");
                }
            }
        }
        clinic.form(&patient).await.id();
        exercise(&clinic, &patient).await;
        let patient_id = PatientId::new(patient.parse().unwrap());
        consult(&api.server.system().log, OrganizationId::new(clinic.id), patient_id).await;
    }
    until("everything is counted", async || {
        let facts = "select (select count(*) from analytics.appointment_facts where organization_id = $1)
            + (select count(*) from analytics.appointment_facts where status = 'completed' and organization_id = $1)
            + (select count(*) from analytics.form_facts where organization_id = $1)
            + (select count(*) from analytics.exercise_session_facts where organization_id = $1)
            + (select count(*) from analytics.video_session_facts where length_minutes is not null
                   and organization_id = $1)
            + (select count(*) from analytics.video_quality_facts where organization_id = $1)";
        let count: i64 = sqlx::query_scalar(facts).bind(clinic.id).fetch_one(&api.analytics).await.unwrap();
        (count == i64::try_from(10 * PATIENTS).unwrap()).then_some(())
    })
    .await;
    let now = api.server.system().log.clock().now();
    let pool = &api.server.system().databases.analytics_system;
    assert!(publish(pool, OrganizationId::new(clinic.id), Part::ALL, now).await.unwrap());
    clinic
}

/// The queries that the log holds: view, form and cells.
pub(super) async fn queries_in_the_log(clinic: &ApiClinic<'_>) -> Vec<(String, String, u64)> {
    let facts = "select convert_from(facts, 'utf8') from log.events
        where event_type = 'access.analytics_queried' and organization_id = $1 order by position";
    let facts: Vec<String> =
        sqlx::query_scalar(facts).bind(clinic.id).fetch_all(&clinic.api.core).await.unwrap();
    let told = |text: &String| {
        let told: Value = serde_json::from_str(text).unwrap();
        let text = |name: &str| told[name].as_str().unwrap().to_owned();
        (text("view"), text("format"), told["cell_count"].as_u64().unwrap())
    };
    facts.iter().map(told).collect()
}

async fn read(form: &str, path: &Path) -> Value {
    let mut client = python_client("columnar").await;
    let output = client.arg(form).arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Rows in one order, and numbers as others write them: 0.0 for 0.
fn plain(rows: &[Value]) -> Vec<String> {
    let cell = |value: &Value| match value.as_f64() {
        Some(number) => format!("{number:?}"),
        None => value.to_string(),
    };
    let row = |row: &Value| {
        let cells = row.as_object().unwrap().iter();
        let cells = cells.filter(|(name, _)| *name != "month");
        cells.map(|(name, value)| format!("{name}={}", cell(value))).collect::<Vec<_>>().join(" ")
    };
    let mut rows: Vec<String> = rows.iter().map(row).collect();
    rows.sort();
    rows
}

fn assert_read_alike(what: &str, told: &Value, items: &[Value]) {
    for reader in ["pyarrow", "duckdb"] {
        let rows = told[reader].as_array().unwrap();
        assert_eq!(plain(rows), plain(items), "{reader} reads {what}");
    }
}

pub(super) async fn fetch(
    clinic: &ApiClinic<'_>,
    path: &str,
    accept: &str,
) -> (reqwest::header::HeaderMap, Vec<u8>) {
    let answer = clinic.request(Method::GET, path).header(ACCEPT, accept).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    let headers = answer.headers().clone();
    (headers, answer.bytes().await.unwrap().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_and_arrow_hold_the_rows_of_the_json_for_pyarrow_and_duckdb() {
    let (api, directory) = (Api::start().await, TempDir::new().unwrap());
    let clinic = published_clinic(&api).await;
    for view in VIEWS {
        let path = format!("/v1/analytics/{view}");
        let json = clinic.get(&path).await;
        for (form, accept, ending) in [
            ("parquet", "application/vnd.apache.parquet", "parquet"),
            ("arrow", "application/vnd.apache.arrow.stream, application/json;q=0.5", "arrows"),
        ] {
            let (headers, bytes) = fetch(&clinic, &path, accept).await;
            let file = directory.path().join(format!("{view}.{ending}"));
            std::fs::write(&file, &bytes).unwrap();
            let told = read(form, &file).await;

            let shown = json.items().iter().filter(|cell| cell["is_suppressed"] == false).count();
            assert!(shown > 0, "{view} shows something");
            assert_read_alike(&format!("{view} as {form}"), &told, json.items());
            assert_eq!(headers["content-type"], accept.split(',').next().unwrap());
            assert_eq!(
                headers["content-disposition"].to_str().unwrap(),
                format!("attachment; filename=\"{view}.{ending}\"")
            );
            assert_eq!(headers["vary"], "accept");
            assert_eq!(
                (&told["about"]["view"], &told["types"]["patients"]),
                (&json!(view), &json!("INTEGER"))
            );
            let meaning = told["descriptions"]["is_suppressed"].as_str().unwrap();
            assert!(meaning.ends_with("Class: flag"), "{meaning}");
            let (_, chosen) = fetch(&clinic, &format!("{path}?format={form}"), "text/csv").await;
            assert!(chosen == bytes, "the query counts before the header");
        }
    }
    let told = clinic.get("/v1/analytics/form_turnaround").await;
    assert!(told.items().iter().any(|cell| cell["is_suppressed"] == false), "something is shown");

    let before = api.event_count().await;
    let refused: Answer = carelog_tests::send(
        clinic.request(Method::GET, "/v1/analytics/form_turnaround").header(ACCEPT, "text/html"),
    )
    .await;
    assert_eq!(refused.problem(), (406, "not_acceptable"));
    assert_eq!(api.event_count().await, before);
    let queries = queries_in_the_log(&clinic).await;
    let of_arrow =
        queries.iter().filter(|(view, form, _)| (&**view, &**form) == ("clinic_utilisation", "arrow"));
    assert_eq!(of_arrow.map(|(.., cells)| *cells).collect::<Vec<_>>(), [3, 3]);
}

/// `carelog analytics export` as a process beside the server.
fn export(clinic: &ApiClinic<'_>, organization: &str, arguments: &[&str]) -> Output {
    let [core, audit, analytics, vault] = clinic.api.database_urls();
    let storages = clinic.api.server.system().storages.get().unwrap();
    Command::new(env!("CARGO_BIN_EXE_carelog-in-tests"))
        .env_clear()
        .env("CARELOG_HOME", clinic.api.home())
        .env("CARELOG_STORAGE_LISTEN", storages.own_address().unwrap().to_string())
        .env("DATABASE_URL", core)
        .env("CARELOG_DATABASE_AUDIT_URL", audit)
        .env("CARELOG_DATABASE_ANALYTICS_URL", analytics)
        .env("CARELOG_DATABASE_VAULT_URL", vault)
        .args(["analytics", "export", "--organization", organization])
        .args(arguments)
        .output()
        .unwrap()
}

fn paths(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let files = told["files"].as_array().unwrap();
    files.iter().map(|file| file["path"].as_str().unwrap().to_owned()).collect()
}

const FILES: [&str; 11] = [
    "appointment_patterns/figures.parquet",
    "clinic_utilisation/month=2099-01/figures.parquet",
    "clinic_utilisation/month=2099-02/figures.parquet",
    "clinic_utilisation/month=__HIVE_DEFAULT_PARTITION__/figures.parquet",
    "exercise_completion/figures.parquet",
    "exercise_streaks/figures.parquet",
    "form_turnaround/figures.parquet",
    "video_quality/month=2099-01/figures.parquet",
    "video_quality/month=__HIVE_DEFAULT_PARTITION__/figures.parquet",
    "video_sessions/month=2099-01/figures.parquet",
    "video_sessions/month=__HIVE_DEFAULT_PARTITION__/figures.parquet",
];

/// Every view of a folder, as the readers find it, is what the API shows.
async fn assert_holds_what_is_shown(clinic: &ApiClinic<'_>, folder: &Path) {
    for view in VIEWS {
        let items = clinic.get(&format!("/v1/analytics/{view}")).await;
        let (form, path) = match view {
            "clinic_utilisation" | "video_quality" | "video_sessions" => ("partitions", folder.join(view)),
            _ => ("parquet", folder.join(view).join("figures.parquet")),
        };
        let told = read(form, &path).await;
        assert_read_alike(view, &told, items.items());
        if form == "partitions" {
            for reader in ["pyarrow", "duckdb"] {
                let of_month = |row: &Value| {
                    if row["dimension"] == "month" { row["value"].clone() } else { Value::Null }
                };
                let rows = told[reader].as_array().unwrap();
                assert!(rows.iter().all(|row| row["month"] == of_month(row)), "{reader}: {rows:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_to_a_directory_is_in_the_log_and_is_what_the_api_shows() {
    let (api, directory) = (Api::start().await, TempDir::new().unwrap());
    let clinic = published_clinic(&api).await;
    let (id, place) = (clinic.id.to_string(), directory.path().join("figures"));
    let to: &[&str] = &["--to", place.to_str().unwrap()];

    let output = export(&clinic, &id, &[to, &["--json"]].concat());

    assert_eq!(paths(&output), FILES);
    let logged = queries_in_the_log(&clinic).await;
    let views: Vec<&str> = logged.iter().map(|(view, ..)| &**view).collect();
    assert_eq!(views, VIEWS);
    assert!(logged.iter().all(|(_, form, _)| form == "parquet"));
    assert_holds_what_is_shown(&clinic, &place).await;

    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&place), mode(&place.join(FILES[0]))), (0o700, 0o600));
    // Where the log refuses, nothing leaves.
    let refuse =
        "alter table log.events add constraint no_queries check (event_type <> 'access.analytics_queried')
                  not valid";
    sqlx::query(refuse).execute(&api.core).await.unwrap();
    let elsewhere = directory.path().join("elsewhere");
    let output = export(&clinic, &id, &["--to", elsewhere.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("nothing is handed out") && !elsewhere.exists(),
        "{said}"
    );
    sqlx::query("alter table log.events drop constraint no_queries").execute(&api.core).await.unwrap();
    // Where the files cannot be written, it is said, and nothing unfinished is left.
    let below_a_file = place.join(FILES[0]).join("figures");
    let output = export(&clinic, &id, &["--to", below_a_file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("cannot be written"), "{said}");

    let before = api.event_count().await;
    let stranger = carelog_event_log::new_id().to_string();
    for (organization, arguments, reason) in [
        (&id, [to, &["--view", "form_turnaround"]].concat(), "form_turnaround is there already"),
        (&stranger, to.to_vec(), "nothing is published of organization"),
        (&id, [to, &["--view", "patients"]].concat(), "invalid value 'patients'"),
        (&id, [to, &["--to-storage"]].concat(), "cannot be used with"),
        (&id, Vec::new(), "required"),
    ] {
        let output = export(&clinic, organization, &arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(reason), "{arguments:?}: {said}");
    }
    assert_eq!(api.event_count().await, before, "what is refused is not in the log");
    let names =
        std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    assert_eq!(names, VIEWS, "nothing unfinished is left");
}

/// The keys of everything below `analytics/` in a storage.
async fn keys(storage: &Storage) -> Vec<String> {
    storage.list("analytics/", None).await.unwrap().into_iter().map(|object| object.key).collect()
}

/// An object, saved below a folder under the end of its key.
async fn save(api: &Api, storage: &Storage, key: &str, folder: &Path) -> PathBuf {
    let name = "figures".to_owned();
    let download =
        Download { content_type: ContentType::Pdf.as_str(), disposition: LinkDisposition::Attachment, name };
    let micros = api.server.system().log.clock().now().unix_micros().unsigned_abs();
    let now = UNIX_EPOCH + Duration::from_micros(micros);
    let link = storage.sign_download(key, &download, now, carelog_files::MAX_LINK_LIFE).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(link.url).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{key}");
    let path = folder.join(key.splitn(3, '/').nth(2).unwrap());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, answer.bytes().await.unwrap()).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_to_the_clinics_storage_replaces_the_one_before() {
    let (api, directory) = (Api::start().await, TempDir::new().unwrap());
    let clinic = published_clinic(&api).await;
    let storages = api.server.system().storages.get().unwrap();
    let storage = storages.of(OrganizationId::new(clinic.id)).await.unwrap();
    let folder = format!("analytics/{}/", clinic.id);
    let left_over = format!("{folder}clinic_utilisation/month=2020-01/figures.parquet");
    let foreign = format!("{folder}clinic_utilisation/_delta_log/00000.json");
    for key in [&left_over, &foreign] {
        storage.put(key, "application/vnd.apache.parquet", b"PAR1".as_slice().into()).await.unwrap();
    }

    let output = export(&clinic, &clinic.id.to_string(), &["--to-storage", "--json"]);

    let expected: Vec<String> = FILES.iter().map(|file| format!("{folder}{file}")).collect();
    assert_eq!(paths(&output), expected);
    let mut kept = [expected.as_slice(), &[foreign]].concat();
    kept.sort();
    assert_eq!(keys(&storage).await, kept, "nothing of an earlier one, and all of others'");
    for key in &expected {
        save(&api, &storage, key, directory.path()).await;
    }
    let logged = queries_in_the_log(&clinic).await;
    assert_eq!(logged.iter().map(|(view, ..)| &**view).collect::<Vec<_>>(), VIEWS);
    assert_holds_what_is_shown(&clinic, directory.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_exports_into_one_storage_do_not_mix() {
    let api = Api::start().await;
    let (clinic, unpublished) = (published_clinic(&api).await, api.clinic("Andere").await);
    let id = clinic.id.to_string();
    // Another process is in the midst of an export.
    let other = "select pg_advisory_lock(hashtext('carelog.export'), hashtext($1))";
    let mut exporting = api.analytics.acquire().await.unwrap();
    for id in [&id, &unpublished.id.to_string()] {
        sqlx::query(other).bind(id).execute(&mut *exporting).await.unwrap();

        let output = export(&clinic, id, &["--to-storage"]);

        // Before it finds out what is published, which the other may write after it.
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("another export of organization"), "{said}");
    }
    assert_eq!(queries_in_the_log(&clinic).await, [], "what is refused is not in the log");
    let storages = api.server.system().storages.get().unwrap();
    let storage = storages.of(OrganizationId::new(clinic.id)).await.unwrap();
    assert_eq!(keys(&storage).await, [""; 0], "and leaves nothing");
    exporting.close_on_drop();
    drop(exporting);
    until("the other has ended", async || {
        export(&clinic, &id, &["--to-storage"]).status.success().then_some(())
    })
    .await;
    assert_eq!(keys(&storage).await.len(), FILES.len());
}
