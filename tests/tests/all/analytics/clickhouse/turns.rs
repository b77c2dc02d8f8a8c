//! Who copies at which moment: what others have sent before, what a rebuild makes of rows, and what a quarantine holds up.

use std::sync::Arc;
use std::time::Duration;

use carelog_analytics::Analytics;
use carelog_analytics::clickhouse::ClickHouse;
use carelog_analytics::worker::{self, Copier};
use carelog_domain::{OrganizationId, Timestamp};
use carelog_event_log::new_id;
use carelog_event_log::runtime::{RebuildScope, rebuild, retry};
use carelog_server::erasure;
use carelog_tests::{Api, is_settled, until};
use carelog_vault::PseudonymKind;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::watch;

use super::engine::{Engine, TABLES, copied, erase, facts, is_erased};

/// After this, nothing that an earlier turn has sent is on its way any more.
const SETTLED_MICROS: i64 = 120_000_000;

/// Copies in this process, at moments of the test's choice.
struct Copying {
    copier: Copier,
    lock: PgConnection,
}

impl Copying {
    async fn begin(api: &Api, engine: &Engine, now: Timestamp) -> Self {
        let system = api.server.system();
        let pool = &system.databases.analytics_system;
        let mut lock = PgConnection::connect_with(&pool.connect_options()).await.unwrap();
        until("nobody else copies", async || worker::take(&mut lock).await.unwrap().then_some(())).await;
        let clickhouse = ClickHouse::new(&engine.url().parse().unwrap()).unwrap();
        let (log, pseudonyms) = (system.log.clone(), Arc::clone(&system.pseudonyms));
        let copier = Copier::begin(log, pseudonyms, pool.clone(), clickhouse, now).await.unwrap();
        Self { copier, lock }
    }

    /// Copies what can be copied at this moment.
    async fn run(&mut self, now: Timestamp) {
        while self.copier.run_once(&mut self.lock, now).await.unwrap() {}
    }
}

fn now(api: &Api) -> Timestamp {
    api.server.system().log.clock().now()
}

/// Nothing waits but for the copy.
async fn settled(api: &Api) {
    let databases = &api.server.system().databases;
    until("every projector has seen everything", async || is_settled(databases).await.then_some(())).await;
}

async fn stands_alike(api: &Api, engine: &Engine) {
    for table in TABLES {
        assert_eq!(copied(engine, table).await.unwrap(), facts(api, table).await, "{table}");
    }
}

async fn rebuild_alone(api: &Api, organization_id: OrganizationId) {
    let system = api.server.system();
    let analytics = Analytics::new(Arc::clone(&system.pseudonyms));
    let scope = RebuildScope::Organization(organization_id);
    let owner = &system.databases.analytics_owner;
    rebuild(&analytics, &system.log, owner, scope, &watch::Sender::default()).await.unwrap();
}

async fn sql(api: &Api, statement: String) {
    sqlx::query(AssertSqlSafe(statement)).execute(&api.analytics).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_process_has_sent_replaces_nothing_and_outlives_no_erasure() {
    let (api, engine) = (Api::start().await, Engine::start().await);
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Ada").await.id().to_owned();
    let appointment = clinic.book(&patient).await.id().to_owned();
    settled(&api).await;
    let (now, system) = (now(&api), api.server.system());
    engine.hold("insert into appointment_facts").await;
    let mut dies = Copying::begin(&api, &engine, now).await;
    tokio::select! {
        () = dies.run(now) => panic!("its rows are held back"),
        () = engine.has_come() => {}
    }
    drop(dies);

    clinic.post(&format!("/v1/appointments/{appointment}/onboard"), &json!({})).await;
    settled(&api).await;
    let mut copying = Copying::begin(&api, &engine, now).await;
    copying.run(now).await;
    stands_alike(&api, &engine).await;
    erase(&clinic, &patient).await;
    until("the facts are gone", async || facts(&api, "appointment_facts").await.is_empty().then_some(()))
        .await;
    settled(&api).await;
    let almost = now.saturating_add_micros(SETTLED_MICROS - 1);
    copying.run(almost).await;
    erasure::run_once(system, Duration::ZERO).await.unwrap();

    let shown = clinic.get(&format!("/v1/patients/{patient}")).await;
    assert_eq!(shown.body["status"], "erasing", "what the dead process has sent may yet arrive");
    assert_eq!(engine.release().await, "", "it does");
    let stands = engine.rows("select status, turn from appointment_facts final").await.unwrap();
    assert_eq!(stands, [json!({ "status": "onboarded", "turn": 2 })]);
    copying.run(now.saturating_add_micros(SETTLED_MICROS)).await;
    is_erased(&clinic, &patient).await;
    for table in TABLES {
        let left = engine.rows(&format!("select * from {table} settings apply_deleted_mask = 0")).await;
        assert_eq!(left.unwrap(), Vec::<serde_json::Value>::new(), "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_another_shape_are_made_anew_once_what_was_sent_to_them_has_arrived() {
    let (api, engine) = (Api::start().await, Engine::start().await);
    let clinic = api.clinic("Klinik").await;
    let patient = clinic.patient("Ada").await.id().to_owned();
    clinic.form(&patient).await.id();
    settled(&api).await;
    let begun = now(&api);
    let mut first = Copying::begin(&api, &engine, begun).await;
    first.run(begun).await;
    stands_alike(&api, &engine).await;
    drop(first);

    // A column that is gone, and then a table.
    engine.run("alter table patient_facts drop column age_band").await;
    engine.run("insert into turns select 99, 'of another shape'").await;
    for turn in [100, 101] {
        let mut next = Copying::begin(&api, &engine, begun).await;
        next.run(begun).await;
        let rows = engine.rows("select * from patient_facts").await.unwrap();
        assert!(rows.is_empty(), "everything is made anew, and rows wait: {rows:?}");
        next.run(begun.saturating_add_micros(SETTLED_MICROS)).await;
        stands_alike(&api, &engine).await;
        let turns = engine.rows("select distinct turn from patient_facts").await.unwrap();
        assert_eq!(turns, [json!({ "turn": turn })]);
        engine.run("drop table form_facts sync").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clinic_that_is_rebuilt_alone_is_copied_anew_under_its_pseudonyms_or_others() {
    let (api, engine) = (Api::start().await, Engine::start().await);
    let (clinic, other) = (api.clinic("Klinik").await, api.clinic("Praxis").await);
    for one in [&clinic, &other] {
        let patient = one.patient("Ada").await.id().to_owned();
        one.book(&patient).await.id();
    }
    settled(&api).await;
    let id = OrganizationId::new(clinic.id);
    let made = facts(&api, "appointment_facts").await;
    // As a fault made the facts that is mended meanwhile: one is wrong, and one should not be there.
    sql(&api, "update analytics.appointment_facts set planned_minutes = 999".to_owned()).await;
    let now = now(&api);
    let mut copying = Copying::begin(&api, &engine, now).await;
    copying.run(now).await;
    stands_alike(&api, &engine).await;
    let more = format!(
        "insert into patient_facts select '{}', generateUUIDv4(), 1, generateUUIDv4(), 'unknown'",
        clinic.id
    );
    engine.run(&more).await;

    rebuild_alone(&api, id).await;
    copying.run(now).await;

    stands_alike(&api, &engine).await;
    let mended = facts(&api, "appointment_facts").await;
    assert_eq!(mended.iter().filter(|fact| made.contains(fact)).count(), 1, "one clinic was rebuilt");

    let epoch = api.server.system().pseudonyms.rotate(id).await.unwrap();
    rebuild_alone(&api, id).await;
    copying.run(now).await;

    assert_eq!(epoch, 2);
    stands_alike(&api, &engine).await;
    assert_ne!(facts(&api, "appointment_facts").await, mended, "the pseudonyms are others");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_stands_before_an_event_in_quarantine_and_goes_on_once_that_is_mended() {
    let (api, engine) = (Api::start().await, Engine::start().await);
    let clinic = api.clinic("Klinik").await;
    let (now, system) = (now(&api), api.server.system());
    let id = OrganizationId::new(clinic.id);
    let key = system.pseudonyms.newest_epoch(id).await.unwrap();
    let key = system.pseudonyms.key(id, key).await.unwrap();
    let patient = new_id();
    let pseudonym = key.pseudonym(PseudonymKind::Patient, patient).uuid();
    // A row that should not be there keeps the patient's registration out.
    let in_the_way = format!("values ('{id}', 1000000, '{pseudonym}', 'unknown')");
    sql(&api, format!("insert into analytics.patient_facts {in_the_way}")).await;
    clinic.post("/v1/patients", &json!({ "id": patient })).await;
    clinic.patient("Bela").await;
    settled(&api).await;
    let mut copying = Copying::begin(&api, &engine, now).await;

    copying.run(now).await;
    copying.run(now.saturating_add_micros(SETTLED_MICROS)).await;

    assert_eq!(facts(&api, "patient_facts").await.len(), 2);
    let behind = copied(&engine, "patient_facts").await.unwrap();
    assert!(behind.is_empty(), "nothing behind the event is copied: {behind:?}");
    sql(&api, "delete from analytics.patient_facts where position = 1000000".to_owned()).await;
    let analytics = Analytics::new(Arc::clone(&system.pseudonyms));
    let mut connection = system.databases.analytics_system.acquire().await.unwrap();
    let left = retry(&analytics, None, &system.log, &mut connection, id, patient).await.unwrap();
    assert_eq!(left, 0);
    copying.run(now.saturating_add_micros(2 * SETTLED_MICROS)).await;
    assert_eq!(copied(&engine, "patient_facts").await.unwrap().len(), 2);
    stands_alike(&api, &engine).await;
}
