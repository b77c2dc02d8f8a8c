//! What an erasure waits for: events that were set aside, and the figures without the patient.

use std::sync::Arc;
use std::time::Duration;

use carelog_analytics::{Analytics, publication};
use carelog_domain::OrganizationId;
use carelog_event_log::new_id;
use carelog_event_log::runtime::retry;
use carelog_server::doctor::{Leaves, examine};
use carelog_server::erasure;
use carelog_tests::{Product, until};
use carelog_vault::PseudonymKind;
use reqwest::Method;
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor as _};
use uuid::Uuid;

use super::{post, publish_now, set_aside};

async fn status(product: &Product, key: &str, patient: Uuid) -> String {
    let (_, shown) = product.call(key, Method::GET, &format!("/v1/patients/{patient}"), None).await;
    shown["status"].as_str().unwrap().to_owned()
}

async fn erase(product: &Product, key: &str, patient: Uuid) {
    let path = format!("/v1/patients/{patient}/erasure");
    post(product, key, &path, json!({ "ground": "patient_request" })).await;
}

async fn sql(product: &Product, statement: String) {
    sqlx::query(AssertSqlSafe(statement)).execute(&product.databases().analytics_owner).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_erasure_is_certified_while_analytics_have_set_the_patient_aside() {
    let product = Product::start().await;
    let (id, key) = product.clinic().await;
    product.settled().await;
    let system = product.server.system();
    let patient = new_id();
    let key_of = system.pseudonyms.key(id, 1).await.unwrap();
    let pseudonym = key_of.pseudonym(PseudonymKind::Patient, patient).uuid();
    // A row that should not be there keeps the patient's registration out.
    sql(
        &product,
        format!("insert into analytics.patient_facts values ('{id}', 1000000, '{pseudonym}', 'unknown')"),
    )
    .await;
    post(&product, &key, "/v1/patients", json!({ "id": patient })).await;
    product.settled().await;
    assert_eq!(set_aside(&product).await, 1);

    erase(&product, &key, patient).await;
    until("the keys are destroyed", async || {
        let destroyed = "select count(*) from log.events where event_type = 'patient.keys_destroyed'";
        (product.count(destroyed).await == 1).then_some(())
    })
    .await;
    product.settled().await;
    erasure::run_once(system, Duration::ZERO).await.unwrap();

    assert_eq!(status(&product, &key, patient).await, "erasing");
    assert_eq!(set_aside(&product).await, 3, "the erasure waits behind the registration");
    let findings = examine(product.databases(), Leaves::All).await.unwrap();
    let noted = findings.iter().flat_map(|finding| &finding.notes);
    let noted =
        noted.filter(|note| note.contains("analytics in lane") && note.contains("quarantined")).count();
    assert_eq!(noted, 3, "doctor tells of them: {findings:#?}");

    // What happens at the clinic meanwhile is applied before what waits.
    post(&product, &key, "/v1/patients", json!({ "id": new_id() })).await;
    product.settled().await;
    sql(&product, "delete from analytics.patient_facts where position = 1000000".to_owned()).await;
    let mut connection = product.databases().analytics_system.acquire().await.unwrap();
    let analytics = Analytics::new(Arc::clone(&system.pseudonyms));
    assert_eq!(retry(&analytics, None, product.log(), &mut connection, id, patient).await.unwrap(), 0);
    drop(connection);
    until("the patient is erased", async || {
        (status(&product, &key, patient).await == "erased").then_some(())
    })
    .await;
    product.stop().await;
}

/// Patients who are counted, by what was published.
async fn counted(product: &Product, id: OrganizationId) -> Option<i32> {
    let patients = "select patients from published.exercise_streaks where organization_id = $1";
    let patients = sqlx::query_scalar(patients).bind(id.uuid());
    patients.fetch_one(&product.databases().analytics_owner).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_is_certified_once_the_figures_are_without_the_patient() {
    let product = Product::start().await;
    let (id, key) = product.clinic().await;
    let patient = new_id();
    post(&product, &key, "/v1/patients", json!({ "id": patient })).await;
    product.settled().await;
    let key_of = product.server.system().pseudonyms.key(id, 1).await.unwrap();
    let pseudonym = key_of.pseudonym(PseudonymKind::Patient, patient).uuid();
    // The patient, and twelve others.
    sql(
        &product,
        format!(
            "insert into analytics.exercise_session_facts
             select '{id}', 1000000 + n, md5(n::text)::uuid,
                 case n when 1 then '{pseudonym}'::uuid else md5(n::text)::uuid end,
                 '{id}', 1, 1, 'completed', null, null, null, null, '2026-03-02'
             from generate_series(1, 13) n"
        ),
    )
    .await;
    publish_now(&product, id).await;
    assert_eq!(counted(&product, id).await, Some(15));
    let pool = &product.databases().analytics_system;
    let reached =
        async || publication::reached(&mut pool.acquire().await.unwrap(), id).await.unwrap().unwrap();
    let before = reached().await;

    // What a rebuild left that was killed, and what another could not drop.
    for schema in ["analytics_v2", "analytics_before_v1"] {
        let left =
            format!("create schema {schema}; create table {schema}.facts as select '{pseudonym}' as who");
        product.databases().analytics_owner.execute(sqlx::raw_sql(AssertSqlSafe(left))).await.unwrap();
    }

    erase(&product, &key, patient).await;
    until("the patient is erased", async || {
        (status(&product, &key, patient).await == "erased").then_some(())
    })
    .await;

    let left = "select count(*) from pg_namespace where nspname ~ '^analytics_(v|before)'";
    let left: i64 = sqlx::query_scalar(left).fetch_one(&product.databases().analytics_owner).await.unwrap();
    assert_eq!(left, 0, "nothing is kept elsewhere");
    assert!(reached().await > before, "the figures were made anew");
    assert_eq!(counted(&product, id).await, Some(10), "without the patient");
    product.stop().await;
}
