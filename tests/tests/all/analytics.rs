//! Analytics: the same however they came about, under pseudonyms that lead nowhere, and true.

mod anonymity;
mod clickhouse;
mod columns;
mod dictionary;
mod erasure;
mod figures;
mod guards;
mod killed;
mod links;
mod logins;
mod modelling;
mod pictures;
mod pseudonym_keys;
mod suppression;
mod truth;
mod video;
mod views;

use std::collections::BTreeSet;
use std::sync::Arc;

use carelog_analytics::epochs::{self, EpochError};
use carelog_analytics::publication::Part;
use carelog_analytics::{Analytics, publication};
use carelog_domain::{OrganizationId, PatientId};
use carelog_event_log::runtime::{Progress, RebuildScope, rebuild};
use carelog_tests::{Contents, Product, until};
use carelog_vault::{PseudonymKind, VaultError};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::AssertSqlSafe;
use tokio::sync::watch;
use uuid::Uuid;

const TEMPLATE: &str = "0197a000-0000-7000-8000-000000000001";
const SQUATS: &str = "0197a000-0000-7000-8000-00000000000a";

/// Ids of people and of records about them.
struct Life {
    patient: String,
    specialist: String,
    records: Vec<String>,
}

async fn post(product: &Product, key: &str, path: &str, body: Value) -> Value {
    let (status, answer) = product.call(key, Method::POST, path, Some(&body)).await;
    assert!((200..300).contains(&status), "{path}: {answer}");
    answer
}

fn id(answer: &Value) -> String {
    answer["id"].as_str().unwrap().to_owned()
}

/// A patient to whom everything happens that leaves facts.
async fn live(product: &Product, key: &str, patient_id: Uuid) -> Life {
    let post = async |path: &str, body: Value| post(product, key, path, body).await;
    let details =
        json!({ "name": "Zenobia Quxfield", "email": "zenobia@canary.example", "phone": "+49-555-0199" });
    let patient = json!({ "id": patient_id, "birth_year": 1964, "details": details });
    let patient = id(&post("/v1/patients", patient).await);
    let staff =
        json!({ "profession": "physiotherapist", "name": "Grace Quxfield", "email": "g@canary.example" });
    let specialist = id(&post("/v1/specialists", staff).await);
    let booking = json!({
        "patient_id": patient, "specialist_id": specialist, "mode": "video", "note": "the left knee",
        "starts_at": "2099-01-01T10:00:00Z", "ends_at": "2099-01-01T10:30:00Z",
    });
    let appointment = id(&post("/v1/appointments", booking).await);
    for (step, body) in [
        ("confirm", json!({ "channel": "reminder" })),
        ("onboard", json!({})),
        ("start", json!({})),
        ("complete", json!({ "duration_minutes": 28 })),
    ] {
        post(&format!("/v1/appointments/{appointment}/{step}"), body).await;
    }
    let form = json!({ "patient_id": patient, "template_id": TEMPLATE, "template_version": 1 });
    let form = id(&post("/v1/forms", form).await);
    let plan = json!({
        "patient_id": patient, "specialist_id": specialist, "starts_at": "2026-03-02T00:00:00Z", "week_count": 2,
        "title": "The left knee",
    });
    let plan = id(&post("/v1/treatment-plans", plan).await);
    let path = format!("/v1/treatment-plans/{plan}/exercises");
    let exercise =
        json!({ "exercise_id": SQUATS, "week": 1, "session_count": 3, "sets": 3, "repetitions": 12 });
    let assigned = post(&path, exercise).await;
    let assignment = assigned["assignment_id"].as_str().unwrap().to_owned();
    let done = json!({ "pain": 3, "duration_seconds": 700 });
    post(&format!("{path}/{assignment}/complete"), done).await;
    post(&format!("{path}/{assignment}/skip"), json!({ "reason": "fatigue" })).await;
    let mut records = vec![appointment, form, plan, assignment];
    records.extend(
        video::consult(product.log(), clinic_of(product, patient_id).await, PatientId::new(patient_id)).await,
    );
    Life { patient, specialist, records }
}

/// The clinic that registered a patient last: the same id may be known in several.
async fn clinic_of(product: &Product, patient_id: Uuid) -> OrganizationId {
    let registered = "select organization_id from log.events
        where event_type = 'patient.registered' and stream_id = $1 order by recorded_at desc limit 1";
    let id = sqlx::query_scalar(registered).bind(patient_id);
    OrganizationId::new(id.fetch_one(&product.databases().core_owner).await.unwrap())
}

/// The rows of analytics alone.
async fn facts(product: &Product) -> Contents {
    let mut contents = product.contents().await;
    contents.retain(|table, _| table.starts_with("analytics."));
    contents
}

fn count(facts: &Contents) -> Vec<usize> {
    facts.values().map(Vec::len).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_hold_pseudonyms_only_and_a_rebuild_of_all_or_one_gives_the_same() {
    let product = Product::start().await;
    let ((one, key), (_, other_key)) = (product.clinic().await, product.clinic().await);
    let life = live(&product, &key, carelog_event_log::new_id()).await;
    let other = live(&product, &other_key, carelog_event_log::new_id()).await;
    product.settled().await;

    let before = facts(&product).await;

    // In the order of names: organizations, appointments, erased, assignments, sessions, forms, patients, samples, stays.
    assert_eq!(count(&before), [2, 2, 0, 2, 4, 2, 2, 4, 6], "{:?}", before.keys());
    let text = format!("{before:?}").to_lowercase();
    for life in [&life, &other] {
        for id in [&life.patient, &life.specialist].into_iter().chain(&life.records) {
            let plain = id.replace('-', "");
            assert!(!text.contains(id.as_str()) && !text.contains(&plain), "{id} stands in analytics");
            for known in [id.as_bytes(), plain.as_bytes(), id.parse::<Uuid>().unwrap().as_bytes()] {
                let keyless = hex::encode(Sha256::digest(known));
                assert!(!text.contains(&keyless[..32]), "a keyless hash of {id} stands in analytics");
            }
        }
    }
    for word in ["zenobia", "quxfield", "canary", "0199", "knee"] {
        assert!(!text.contains(word), "{word} stands in analytics");
    }
    product.is_sound().await;
    product.rebuild(RebuildScope::Everything).await;
    assert_eq!(facts(&product).await, before);
    product.rebuild(RebuildScope::Organization(one)).await;
    assert_eq!(facts(&product).await, before);
    product.stop().await;
}

async fn rebuild_analytics(product: &Product, scope: RebuildScope) {
    let system = product.server.system();
    let analytics = Analytics::new(Arc::clone(&system.pseudonyms));
    let progress = watch::Sender::<Progress>::default();
    rebuild(&analytics, &system.log, &system.databases.analytics_owner, scope, &progress).await.unwrap();
}

async fn patients(product: &Product) -> BTreeSet<Uuid> {
    let patients = sqlx::query_scalar("select patient from analytics.patient_facts");
    patients.fetch_all(&product.databases().analytics_owner).await.unwrap().into_iter().collect()
}

/// What stands for anything of a clinic, in every column that holds pseudonyms.
async fn pseudonyms(product: &Product, id: OrganizationId) -> BTreeSet<Uuid> {
    let owner = &product.databases().analytics_owner;
    let columns =
        "select format('select %I from analytics.%I where organization_id = $1', a.attname, t.relname)
        from pg_class t join pg_attribute a on a.attrelid = t.oid
        where t.relnamespace = 'analytics'::regnamespace and t.relkind in ('r', 'p')
            and col_description(t.oid, a.attnum) like '%Class: pseudonym'";
    let columns: Vec<String> = sqlx::query_scalar(columns).fetch_all(owner).await.unwrap();
    assert!(columns.len() >= 15, "{columns:?}");
    let mut found = BTreeSet::new();
    for column in columns {
        let values: Vec<Option<Uuid>> =
            sqlx::query_scalar(AssertSqlSafe(column)).bind(id.uuid()).fetch_all(owner).await.unwrap();
        found.extend(values.into_iter().flatten());
    }
    assert!(found.len() >= 7, "patient, specialist, appointment, form, plan, exercise and stay: {found:?}");
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn pseudonyms_differ_by_organization_and_epoch_and_an_old_key_is_not_needed_after_a_rebuild() {
    let product = Product::start().await;
    let ((one, key), (other, other_key)) = (product.clinic().await, product.clinic().await);
    // The same id in both clinics.
    let patient = carelog_event_log::new_id();
    live(&product, &key, patient).await;
    live(&product, &other_key, patient).await;
    product.settled().await;
    let first = patients(&product).await;
    assert_eq!(first.len(), 2, "equal ids have different pseudonyms");
    let of_first = [pseudonyms(&product, one).await, pseudonyms(&product, other).await];
    assert!(of_first[0].is_disjoint(&of_first[1]), "nothing stands for anything in two clinics");
    let columns = |facts: &Contents| facts["analytics.exercise_session_facts"].len();
    let before = facts(&product).await;

    let keys = Arc::clone(&product.server.system().pseudonyms);
    for organization_id in [one, other] {
        assert_eq!(keys.rotate(organization_id).await.unwrap(), 2);
    }
    assert_eq!(facts(&product).await, before, "a rotation alone changes nothing");
    let pool = &product.databases().analytics_system;
    for epoch in [1, 2] {
        let refused = epochs::destroy(pool, &keys, one, epoch).await.unwrap_err();
        assert!(matches!(
            refused,
            EpochError::InUse { .. } | EpochError::Vault(VaultError::NewestPseudonymKey { .. })
        ));
    }
    rebuild_analytics(&product, RebuildScope::Organization(one)).await;
    assert_eq!(patients(&product).await.intersection(&first).count(), 1, "the other clinic's is what it was");
    rebuild_analytics(&product, RebuildScope::Everything).await;
    for organization_id in [one, other] {
        epochs::destroy(pool, &keys, organization_id, 1).await.unwrap();
    }

    let second = patients(&product).await;
    assert!(second.is_disjoint(&first), "no pseudonym survives its epoch");
    for organization_id in [one, other] {
        let now = pseudonyms(&product, organization_id).await;
        assert!(of_first.iter().all(|before| now.is_disjoint(before)), "nor does any other");
    }
    assert_eq!((count(&facts(&product).await), columns(&before)), (count(&before), 4));
    assert!(keys.key(one, 1).await.is_err(), "and none can be made again");
    let key_of = keys.key(one, 2).await.unwrap();
    assert!(second.contains(&key_of.pseudonym(PseudonymKind::Patient, patient).uuid()));
    // What comes afterwards falls under the new epoch.
    post(&product, &key, &format!("/v1/patients/{patient}/onboard"), json!({})).await;
    post(&product, &key, "/v1/patients", json!({})).await;
    product.settled().await;
    assert_eq!(patients(&product).await.len(), 3);
    product.stop().await;
}

/// Events that wait in the quarantine of analytics.
async fn set_aside(product: &Product) -> i64 {
    let count = "select count(*) from runtime.quarantine";
    sqlx::query_scalar(count).fetch_one(&product.databases().analytics_owner).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_removes_every_row_of_the_patient_and_a_rebuild_brings_none_back() {
    let product = Product::start().await;
    let (organization_id, key) = product.clinic().await;
    let (gone, kept) = (
        live(&product, &key, carelog_event_log::new_id()).await,
        live(&product, &key, carelog_event_log::new_id()).await,
    );
    product.settled().await;
    let pseudonyms = &product.server.system().pseudonyms;
    let key_of = pseudonyms.key(organization_id, 1).await.unwrap();
    let pseudonym = |patient: &str| {
        let patient_id = PatientId::new(patient.parse().unwrap());
        key_of.pseudonym(PseudonymKind::Patient, patient_id.uuid()).uuid().to_string()
    };
    assert!(format!("{:?}", facts(&product).await).contains(&pseudonym(&gone.patient)));

    let path = format!("/v1/patients/{}/erasure", gone.patient);
    post(&product, &key, &path, json!({ "ground": "patient_request" })).await;
    until("the patient is erased", async || {
        let path = format!("/v1/patients/{}", gone.patient);
        let (_, shown) = product.call(&key, Method::GET, &path, None).await;
        (shown["status"] == "erased").then_some(())
    })
    .await;
    product.settled().await;

    let after = facts(&product).await;
    let text = format!("{after:?}");
    assert!(!text.contains(&pseudonym(&gone.patient)) && text.contains(&pseudonym(&kept.patient)));
    assert_eq!(count(&after), [1, 1, 1, 1, 2, 1, 1, 2, 3], "one of each is left, and a tombstone");
    // A step on what is left of the erased patient's plan, which leaves facts of everybody else, is dropped, not set
    // aside.
    let third = json!({ "pain": 4, "duration_seconds": 600 });
    for life in [&gone, &kept] {
        let path = format!("/v1/treatment-plans/{}/exercises/{}/complete", life.records[2], life.records[3]);
        post(&product, &key, &path, third.clone()).await;
    }
    product.settled().await;
    product.is_sound().await;
    let after = facts(&product).await;
    assert_eq!(count(&after), [1, 1, 1, 1, 3, 1, 1, 2, 3], "the third session of the other is there");
    assert_eq!(set_aside(&product).await, 0);
    rebuild_analytics(&product, RebuildScope::Everything).await;
    assert_eq!(facts(&product).await, after);
    rebuild_analytics(&product, RebuildScope::Organization(organization_id)).await;
    assert_eq!(facts(&product).await, after);
    product.stop().await;
}

/// Publishes a clinic's figures, due or not.
async fn publish_now(product: &Product, organization_id: OrganizationId) {
    let pool = &product.databases().analytics_system;
    assert!(
        publication::publish(pool, organization_id, Part::ALL, product.log().clock().now()).await.unwrap()
    );
}

/// Begins to see one organization's figures, as the role that answers requests.
async fn as_app(
    product: &Product,
    organization_id: OrganizationId,
) -> sqlx::Transaction<'static, sqlx::Postgres> {
    let mut tx = product.databases().analytics_app.begin().await.unwrap();
    let setting = format!("set local carelog.organization_id = '{organization_id}'");
    sqlx::raw_sql(sqlx::AssertSqlSafe(setting)).execute(&mut *tx).await.unwrap();
    tx
}
