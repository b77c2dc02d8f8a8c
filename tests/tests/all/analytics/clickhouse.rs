//! Facts in ClickHouse: written by `carelog serve` through its HTTP requests, executed by the real engine (chdb).

mod engine;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use carelog_domain::OrganizationId;
use carelog_event_log::runtime::RebuildScope;
use carelog_server::erasure;
use carelog_tests::{Api, Product, is_settled, until};
use carelog_vault::PseudonymKind;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use self::engine::{ADDRESS, Engine, TABLES, erase, facts, is_copied, is_erased, program, serve};
use super::columns::published_clinic;
use super::rebuild_analytics;

/// No number of a row is its place, nor as far from it in all rows: whoever knows which commands were given, and their
/// places, finds none of them in the copy.
async fn no_column_follows_the_log(api: &Api, engine: &Engine, table: &str) {
    let statement = format!("select organization_id, position from analytics.{table} order by position");
    let places: Vec<(Uuid, i64)> =
        sqlx::query_as(AssertSqlSafe(statement)).fetch_all(&api.analytics).await.unwrap();
    let copied = engine.rows(&format!("select * from {table} final")).await.unwrap();
    let mut distances: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    let mut names = Vec::new();
    for (organization_id, position) in places {
        let key = api.server.system().pseudonyms.key(OrganizationId::new(organization_id), 1).await.unwrap();
        let place = Uuid::from_u128(position.unsigned_abs().into());
        let name = key.pseudonym(PseudonymKind::Place, place).uuid().to_string();
        let row = copied.iter().find(|row| row["fact"] == name).unwrap();
        for (column, value) in row.as_object().unwrap() {
            if let Some(number) = value.as_i64() {
                distances.entry(column.clone()).or_default().insert(position - number);
            }
            let uuid = value.as_str().and_then(|text| text.parse::<Uuid>().ok());
            assert_ne!(uuid, Some(place), "{table}.{column} shows the place {position}");
        }
        names.push(name);
    }
    for (column, distances) in distances {
        assert!(distances.len() > 1, "{table}.{column} is as far from the place in every row");
    }
    assert!(!names.is_sorted(), "{table}: names follow the order of the log");
}

/// What both say to the same question; each in its own SQL.
async fn answers_alike(api: &Api, engine: &Engine, postgres: &str, clickhouse: &str) {
    let rows: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(postgres.to_owned())).fetch_all(&api.analytics).await.unwrap();
    let rows: Vec<Value> = rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect();
    assert!(!rows.is_empty(), "{postgres}");
    assert_eq!(engine.rows(clickhouse).await.unwrap(), rows, "{clickhouse}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_engine_holds_the_facts_of_postgresql_and_answers_alike() {
    let (api, engine) = (Api::start().await, Engine::start().await);
    let clinic = published_clinic(&api).await;

    let server = serve(&api, &engine);
    is_copied(&api, &engine).await;

    for table in TABLES {
        assert!(!facts(&api, table).await.is_empty(), "{table}");
        no_column_follows_the_log(&api, &engine, table).await;
    }
    let by_state = |count: &str| {
        format!("select state, {count} as samples from video_quality_facts group by state order by state")
    };
    let postgres = by_state("count(*)").replace("video_quality", "analytics.video_quality");
    let postgres = format!("select row_to_json(r)::text from ({postgres}) r");
    let clickhouse = by_state("count()").replace("_facts", "_facts final");
    answers_alike(&api, &engine, &postgres, &clickhouse).await;
    answers_alike(
        &api,
        &engine,
        "select row_to_json(r)::text from (
             select weekday, mode, count(distinct patient) as patients, sum(planned_minutes)::bigint as minutes
             from analytics.appointment_facts group by weekday, mode order by weekday, mode) r",
        "select weekday, mode, uniqExact(patient) as patients, sum(planned_minutes) as minutes
         from appointment_facts final group by weekday, mode order by weekday, mode",
    )
    .await;

    // What happens later replaces the row, and does not stand beside it.
    let patient = clinic.patient("Ada").await.id().to_owned();
    let appointment = clinic.book(&patient).await.id().to_owned();
    is_copied(&api, &engine).await;
    let onboarded = clinic.post(&format!("/v1/appointments/{appointment}/onboard"), &json!({})).await;
    assert!(onboarded.status < 300, "{onboarded:?}");
    until("the row tells of it", async || {
        let onboarded = "select count() as n from appointment_facts final where status = 'onboarded'";
        (engine.rows(onboarded).await? == [json!({ "n": 1 })]).then_some(())
    })
    .await;
    is_copied(&api, &engine).await;

    // Killed, and begun anew from the first event on: every page is written twice.
    drop(server);
    sqlx::query("update copies.lanes set position = 0").execute(&api.analytics).await.unwrap();
    let _server = serve(&api, &engine);
    until("everything is copied again", async || {
        let behind = "select count(*) from copies.lanes c join runtime.checkpoints k using (lane, version)
            where k.projector = 'analytics' and c.position < k.position";
        let behind: i64 = sqlx::query_scalar(behind).fetch_one(&api.analytics).await.unwrap();
        (behind == 0).then_some(())
    })
    .await;
    is_copied(&api, &engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn erasures_wait_for_a_copy_that_begins_anew_until_it_is_given_up() {
    let api = Api::start().await;
    let clinic = api.clinic("Klinik").await;
    let patients =
        [clinic.patient("Ada").await.id().to_owned(), clinic.patient("Bela").await.id().to_owned()];
    let copied = "insert into copies.lanes (lane, version, position)
        select lane, version, 1000000 from runtime.checkpoints where projector = 'analytics'";
    let lanes = sqlx::query(copied).execute(&api.analytics).await.unwrap().rows_affected();
    let places = async || -> Vec<(i32, i64)> {
        let places = "select version, position from copies.lanes order by lane";
        sqlx::query_as(places).fetch_all(&api.analytics).await.unwrap()
    };

    // There is no server at the address: nothing is copied.
    let recopied = program(&api).env(ADDRESS, "http://127.0.0.1:9/").args(["analytics", "recopy"]).output();
    let recopied = recopied.unwrap();
    assert!(recopied.status.success(), "{recopied:?}");

    assert!(lanes > 0);
    assert_eq!(places().await, vec![(0, 0); usize::try_from(lanes).unwrap()]);
    for patient in &patients {
        erase(&clinic, patient).await;
    }
    until("the keys of both are destroyed", async || {
        let destroyed = "select count(*) from log.events where event_type = 'patient.keys_destroyed'";
        let destroyed: i64 = sqlx::query_scalar(destroyed).fetch_one(&api.core).await.unwrap();
        (destroyed == 2).then_some(())
    })
    .await;
    let system = api.server.system();
    until("nothing else is waited for", async || is_settled(&system.databases).await.then_some(())).await;
    erasure::run_once(system, Duration::ZERO).await.unwrap();
    for patient in &patients {
        let shown = clinic.get(&format!("/v1/patients/{patient}")).await;
        assert_eq!(shown.body["status"], "erasing", "the copy may still hold the patient");
    }

    let given_up = program(&api).args(["analytics", "recopy"]).output().unwrap();
    assert!(given_up.status.success(), "{given_up:?}");
    assert_eq!(places().await, []);
    for patient in &patients {
        is_erased(&clinic, patient).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clinic_that_is_rebuilt_alone_is_copied_anew_though_no_copy_of_it_is_known() {
    let product = Product::start().await;
    let ((one, _), _other) = (product.clinic().await, product.clinic().await);
    product.settled().await;
    let pool = product.databases().analytics_owner.clone();
    let known = async || -> Vec<(Uuid, i32)> {
        let known = "select organization_id, pseudonym_epoch from copies.organizations";
        sqlx::query_as(known).fetch_all(&pool).await.unwrap()
    };

    rebuild_analytics(&product, RebuildScope::Organization(one)).await;
    assert_eq!(known().await, [], "nothing is copied");
    sqlx::query("insert into copies.lanes values (0, 1, 0)").execute(&pool).await.unwrap();
    rebuild_analytics(&product, RebuildScope::Organization(one)).await;

    assert_eq!(known().await, [(one.uuid(), 0)]);
    product.stop().await;
}
