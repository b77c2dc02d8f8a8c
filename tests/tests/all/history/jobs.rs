//! Long exports: made by themselves, fetched from the storage, taken over from whoever died, and removed in the end.

use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::process::Command;

use carelog_tests::{Answer, Api, ApiClinic, follow, send, until};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, Executor};
use tempfile::TempDir;
use uuid::Uuid;

async fn request(clinic: &ApiClinic<'_>, body: &Value) -> Answer {
    clinic.post("/v1/trail/exports", body).await
}

async fn shown(clinic: &ApiClinic<'_>, id: &str) -> Value {
    let answer = clinic.get(&format!("/v1/trail/exports/{id}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// Waits for an export to end so, and gives how it is shown.
pub(super) async fn ended(clinic: &ApiClinic<'_>, id: &str, status: &str) -> Value {
    until("the export ends", async || {
        let export = shown(clinic, id).await;
        assert!(["running", status].contains(&export["status"].as_str().unwrap()), "{export}");
        (export["status"] == status).then_some(export)
    })
    .await
}

pub(super) async fn link(clinic: &ApiClinic<'_>, id: &str) -> Answer {
    clinic.post(&format!("/v1/trail/exports/{id}/download-links"), &json!({})).await
}

/// The bytes behind a link, from an offset on, as a client that was cut off asks for them.
pub(super) async fn fetched(link: &Value, from: usize) -> Vec<u8> {
    let request = Client::builder().no_proxy().build().unwrap().get(link["url"].as_str().unwrap());
    let response = request.header("range", format!("bytes={from}-")).send().await.unwrap();
    assert_eq!(response.status(), 206);
    response.bytes().await.unwrap().to_vec()
}

async fn exports_recorded(api: &Api) -> i64 {
    let statement = "select count(*) from log.events where event_type = 'access.record_exported'";
    sqlx::query_scalar(statement).fetch_one(&api.core).await.unwrap()
}

async fn sql(api: &Api, statement: String) {
    api.audit.execute(AssertSqlSafe(statement)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_form_is_made_by_itself_and_fetched_by_links_that_are_in_the_log() {
    let api = Api::start_with(|config| config.proofs.sign_every_ms = NonZeroU32::new(50).unwrap()).await;
    let clinic = api.clinic("Klinik").await;
    let ada = clinic.patient("Ada").await.id().to_owned();
    for _ in 0..3 {
        clinic.book(&ada).await.id();
    }
    let last = clinic.book(&ada).await;
    let seen = clinic.get(&format!("/v1/trail?limit=1&wait_for={}", last.position())).await;
    assert_eq!(seen.status, 200, "{seen:?}");
    let folder = TempDir::new().unwrap();
    for form in ["ndjson", "fhir_r4_ndjson", "fhir_r5_ndjson", "csv", "parquet", "bundle"] {
        let before = exports_recorded(&api).await;
        let asked = request(&clinic, &json!({ "form": form })).await;
        assert_eq!(asked.status, 202, "{asked:?}");
        assert_eq!(exports_recorded(&api).await, before + 1, "asking is an access");
        let export = ended(&clinic, asked.id(), "complete").await;
        assert_eq!(export["done"], export["total"], "{export}");
        let before = exports_recorded(&api).await;

        let link = link(&clinic, asked.id()).await;

        assert_eq!((link.status, exports_recorded(&api).await), (200, before + 1), "a link is an access");
        let whole = fetched(&link.body, 0).await;
        assert_eq!(json!(whole.len()), export["size_bytes"], "{form}");
        assert_eq!(json!(hex::encode(Sha256::digest(&whole))), export["content_sha256"], "{form}");
        assert_eq!(fetched(&link.body, 10).await, whole[10..], "a download goes on");
        std::fs::write(folder.path().join(form), &whole).unwrap();
    }

    let read = |form: &str| std::fs::read_to_string(folder.path().join(form)).unwrap();
    let lines = read("ndjson");
    let direct = clinic.get("/v1/trail?format=ndjson").await.text;
    assert!(lines.lines().count() > 4 && direct.starts_with(&lines), "the same as at once");
    for form in ["fhir_r4_ndjson", "fhir_r5_ndjson"] {
        let (lines, direct) = (read(form), clinic.get(&format!("/v1/trail?format={form}")).await.text);
        assert!(lines.lines().count() > 4 && direct.starts_with(&lines), "{form}: the same as at once");
        assert!(lines.lines().all(|line| line.contains("\"resourceType\":\"AuditEvent\"")), "{form}");
    }
    assert_ne!(read("fhir_r4_ndjson").lines().next(), read("fhir_r5_ndjson").lines().next());
    let table = clinic.get("/v1/trail?format=csv").await.text;
    assert!(table.starts_with(&read("csv")));
    assert_eq!(&std::fs::read(folder.path().join("parquet")).unwrap()[..4], b"PAR1");
    let policy = clinic.get("/v1/proofs/policy").await.text;
    std::fs::write(folder.path().join("policy"), policy).unwrap();
    let verified = Command::new(env!("CARGO_BIN_EXE_carelog-in-tests"))
        .env_clear()
        .current_dir(folder.path())
        .args([
            "audit",
            "verify",
            "bundle",
            "--json",
            "--allow-unsealed",
            "--allow-unlogged",
            "--policy",
            "policy",
        ])
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_asked_for_once_by_those_who_may_and_shown_to_its_clinic_alone() {
    let api = Api::start().await;
    let (clinic, other) = (api.clinic("Klinik").await, api.clinic("Andere").await);
    clinic.patient("Ada").await;
    let ask = || {
        clinic
            .request(Method::POST, "/v1/trail/exports")
            .header("idempotency-key", "once")
            .json(&json!({ "form": "csv" }))
    };

    let (first, again) = (send(ask()).await, send(ask()).await);

    assert_eq!((first.status, again.status, first.id()), (202, 202, again.id()));
    let jobs: i64 =
        sqlx::query_scalar("select count(*) from exports.jobs").fetch_one(&api.audit).await.unwrap();
    assert_eq!((jobs, exports_recorded(&api).await), (1, 1));
    ended(&clinic, first.id(), "complete").await;
    let path = format!("/v1/trail/exports/{}", first.id());
    assert_eq!(other.get(&path).await.status, 404);
    assert_eq!(link(&other, first.id()).await.status, 404);
    let specialist = clinic.key_of("specialist").await;
    assert_eq!(clinic.get_as(&specialist, &path).await.problem(), (403, "wrong_role"));
    let topic = request(&clinic, &json!({ "form": "bundle", "topic": "access" })).await;
    assert_eq!((topic.status, &topic.body["errors"][0]["pointer"]), (422, &json!("/form")), "{topic:?}");
    assert_eq!(request(&clinic, &json!({ "form": "xml" })).await.status, 422);
    let nobody = json!({ "form": "bundle", "patient_id": Uuid::nil() });
    let nothing = request(&clinic, &nobody).await;
    assert_eq!(nothing.status, 202);
}

/// An export of a clinic that was asked for so many minutes ago; `lease` is when another process gives it up.
fn asked_for(clinic: &ApiClinic<'_>, id: Uuid, minutes: u32, lease: &str) -> String {
    format!(
        "insert into exports.jobs (organization_id, export_id, form, until_sequence, total_count, requested_at, owner,
                                   leased_until)
         values ('{}', '{id}', 'csv', 2, 2, now() - interval '{minutes} minutes', gen_random_uuid(), {lease});",
        clinic.id
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clinic_waits_for_so_many_exports_at_a_time() {
    let api = Api::start_with(|config| {
        config.exports.unfinished_per_organization = NonZeroU16::new(2).unwrap();
    })
    .await;
    let (clinic, other) = (api.clinic("Klinik").await, api.clinic("Andere").await);
    for clinic in [&clinic, &other] {
        clinic.patient("Ada").await;
    }
    let ask = |key: &'static str| {
        clinic
            .request(Method::POST, "/v1/trail/exports")
            .header("idempotency-key", key)
            .json(&json!({ "form": "csv" }))
    };
    sql(&api, asked_for(&clinic, Uuid::from_u128(1), 1, "now() + interval '1 hour'")).await;
    let second = send(ask("second")).await;
    assert_eq!(second.status, 202);
    ended(&clinic, second.id(), "complete").await;
    let held = format!(
        "update exports.jobs set status = 'running', size_bytes = null, content_sha256 = null, finished_at = null,
                owner = gen_random_uuid(), leased_until = now() + interval '1 hour' where export_id = '{}'",
        second.id()
    );
    sql(&api, held).await;
    let before = api.event_count().await;

    let (again, third) = (send(ask("second")).await, send(ask("third")).await);

    assert_eq!((again.status, again.id()), (202, second.id()), "its first answer may be lost");
    assert_eq!((third.problem(), third.header("retry-after")), ((429, "too_many_exports"), "30"));
    assert_eq!(api.event_count().await, before, "what is refused is not an export");
    assert_eq!(request(&other, &json!({ "form": "csv" })).await.status, 202, "another clinic has room");
    let freed = Uuid::from_u128(1);
    sql(&api, format!("update exports.jobs set leased_until = now() where export_id = '{freed}'")).await;
    ended(&clinic, &freed.to_string(), "complete").await;
    assert_eq!(request(&clinic, &json!({ "form": "csv" })).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn clinics_take_turns_whoever_asked_for_more_and_earlier() {
    let api = Api::start().await;
    let (many, one) = (api.clinic("Klinik").await, api.clinic("Andere").await);
    for clinic in [&many, &one] {
        clinic.patient("Ada").await;
    }
    let earlier = (1..=3).map(|n| asked_for(&many, Uuid::from_u128(n), 10, "now()"));
    let later = asked_for(&one, Uuid::from_u128(4), 1, "now()");

    let statements: String = earlier.chain([later]).collect();
    api.audit.execute(sqlx::raw_sql(AssertSqlSafe(format!("begin; {statements} commit")))).await.unwrap();
    for n in 1..=3 {
        ended(&many, &Uuid::from_u128(n).to_string(), "complete").await;
    }
    ended(&one, &Uuid::from_u128(4).to_string(), "complete").await;

    let turns = "select organization_id from exports.jobs order by begun_at";
    let turns: Vec<Uuid> = sqlx::query_scalar(turns).fetch_all(&api.audit).await.unwrap();
    assert_eq!(turns, [many.id, one.id, many.id, many.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_too_large_fails_and_leaves_nothing() {
    let api = Api::start_with(|config| {
        config.proofs.sign_every_ms = NonZeroU32::new(50).unwrap();
        config.exports.max_bytes = NonZeroU64::new(100).unwrap();
    })
    .await;
    let clinic = api.clinic("Klinik").await;
    clinic.patient("Ada").await;
    for form in ["ndjson", "bundle"] {
        let asked = request(&clinic, &json!({ "form": form })).await;

        let export = ended(&clinic, asked.id(), "failed").await;

        assert_eq!(
            (&export["failure"], &export["size_bytes"]),
            (&json!("too_large"), &Value::Null),
            "{form}"
        );
        assert_eq!(link(&clinic, asked.id()).await.problem(), (409, "export_not_complete"), "{form}");
    }
    let spooled = api.home().join("exports");
    let folders: Vec<_> = std::fs::read_dir(&spooled).unwrap().map(|folder| folder.unwrap().path()).collect();
    assert_eq!(folders.len(), 2, "one of the process, and one of what is unfinished");
    until("no half bundle is left", async || {
        let is_empty = |folder| std::fs::read_dir(folder).unwrap().next().is_none();
        folders.iter().all(is_empty).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_a_process_that_died_is_made_by_another_and_one_that_is_held_is_left_alone() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    clinic.patient("Ada").await;
    let (dead, held) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let insert = |id: Uuid, lease: &str| {
        format!(
            "insert into exports.jobs (organization_id, export_id, form, until_sequence, total_count, done_count,
                                       attempt_count, requested_at, owner, leased_until)
             values ('{}', '{id}', 'csv', 2, 2, 1, 1, now() - interval '1 hour', gen_random_uuid(), {lease})",
            clinic.id
        )
    };
    sql(&api, insert(held, "now() + interval '1 hour'")).await;
    sql(&api, insert(dead, "now() - interval '1 second'")).await;

    let export = ended(&clinic, &dead.to_string(), "complete").await;

    assert_eq!((&export["done"], &export["total"]), (&json!(2), &json!(2)), "{export}");
    let left = shown(&clinic, &held.to_string()).await;
    assert_eq!((&left["status"], &left["done"]), (&json!("running"), &json!(1)));
    sql(&api, format!("update exports.jobs set leased_until = now() where export_id = '{held}'")).await;
    ended(&clinic, &held.to_string(), "complete").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_a_week_old_is_removed_and_what_cannot_lie_anywhere_is_refused() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    clinic.patient("Ada").await;
    let asked = request(&clinic, &json!({ "form": "ndjson" })).await;
    ended(&clinic, asked.id(), "complete").await;
    let held = link(&clinic, asked.id()).await;
    assert_eq!(follow(&held.body, vec![]).await.status, 200);

    sql(&api, "update exports.jobs set finished_at = now() - interval '8 days'".to_owned()).await;
    until("the file is removed", async || {
        (shown(&clinic, asked.id()).await["status"] == "expired").then_some(())
    })
    .await;

    assert_eq!(follow(&held.body, vec![]).await.status, 404, "the old link leads nowhere");
    assert_eq!(link(&clinic, asked.id()).await.problem(), (409, "export_not_complete"));
    let bare = Api::start_with(|config| config.storage.embedded = false).await;
    let clinic = bare.clinic("Klinik").await;
    let refused = request(&clinic, &json!({ "form": "csv" })).await;
    assert_eq!(refused.problem(), (409, "storage_not_configured"));
    assert_eq!(exports_recorded(&bare).await, 0);
}

/// Where no storage is.
const NOBODY: &str = "https://127.0.0.1:1";

/// Sets a storage that does not answer.
async fn move_to_nobody(api: &Api, clinic: &ApiClinic<'_>) {
    let settings = json!({ "settings": { "bucket": "clinic", "endpoint": NOBODY, "access_key_id": "a",
        "secret_access_key": "b" } });
    let path = "/v1/integrations/storage";
    let put = api.call(Method::PUT, path, &clinic.admin.text, Some(&settings)).await;
    assert_eq!(put.status, 200, "{put:?}");
    // Until the setting shows, the clinic's files are looked for in the storage of the installation.
    let set = clinic.get(&format!("/v1/integrations?wait_for={}", put.position())).await;
    assert_eq!(set.status, 200, "{set:?}");
}

/// An export that ended so long ago that its file is to be removed.
async fn insert_old(api: &Api, clinic: &ApiClinic<'_>, id: Uuid) {
    let statement = format!(
        "insert into exports.jobs (organization_id, export_id, form, until_sequence, total_count, status, size_bytes,
                                   content_sha256, requested_at, finished_at)
         values ('{}', '{id}', 'csv', 2, 2, 'complete', 1, sha256('x'), now() - interval '9 days',
                 now() - interval '9 days')",
        clinic.id
    );
    sql(api, statement).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_is_gone_or_does_not_answer_keeps_no_other_from_being_cleaned() {
    let api = Api::start_with(|config| config.storage.allowed_endpoints = vec![NOBODY.to_owned()]).await;
    let clinic = api.clinic("Klinik").await;
    move_to_nobody(&api, &clinic).await;
    let silent = Uuid::from_u128(1);
    insert_old(&api, &clinic, silent).await;
    let bare = Api::start_with(|config| config.storage.embedded = false).await;
    let without = bare.clinic("Klinik").await;
    let gone = Uuid::from_u128(2);
    insert_old(&bare, &without, gone).await;

    until("the removal is put off", async || {
        let statement = "select leased_until > now() + interval '50 minutes' from exports.jobs";
        let is_late: Option<bool> = sqlx::query_scalar(statement).fetch_one(&api.audit).await.unwrap();
        is_late.filter(|is_late| *is_late)
    })
    .await;
    until("nothing is left to remove", async || {
        (shown(&without, &gone.to_string()).await["status"] == "expired").then_some(())
    })
    .await;

    assert_eq!(shown(&clinic, &silent.to_string()).await["status"], "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_given_up_for_a_storage_that_does_not_answer_or_is_gone() {
    let api = Api::start_with(|config| config.storage.allowed_endpoints = vec![NOBODY.to_owned()]).await;
    let clinic = api.clinic("Klinik").await;
    move_to_nobody(&api, &clinic).await;
    let bare = Api::start_with(|config| config.storage.embedded = false).await;
    let without = bare.clinic("Klinik").await;
    let (silent, gone) = (Uuid::from_u128(1), Uuid::from_u128(2));
    // Four tries have failed, and this is the last one.
    let last = asked_for(&clinic, silent, 1, "now()").replace("total_count,", "total_count, attempt_count,");
    sql(&api, last.replace("2, 2,", "2, 2, 4,")).await;
    sql(&bare, asked_for(&without, gone, 1, "now()")).await;

    let given_up = ended(&clinic, &silent.to_string(), "failed").await;
    let refused = ended(&without, &gone.to_string(), "failed").await;

    assert_eq!(given_up["failure"], json!("gave_up"), "{given_up}");
    assert_eq!(refused["failure"], json!("storage_not_configured"), "another try would not help: {refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_which_processes_died_too_often_is_given_up() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    clinic.patient("Ada").await;
    let id = Uuid::from_u128(1);
    let statement = format!(
        "insert into exports.jobs (organization_id, export_id, form, until_sequence, total_count, attempt_count,
                                   requested_at, owner, leased_until)
         values ('{}', '{id}', 'csv', 2, 2, 5, now(), gen_random_uuid(), now() - interval '1 second')",
        clinic.id
    );
    sql(&api, statement).await;

    ended(&clinic, &id.to_string(), "failed").await;

    let why: String =
        sqlx::query_scalar("select failure from exports.jobs").fetch_one(&api.audit).await.unwrap();
    assert_eq!(why, "gave_up");
}
