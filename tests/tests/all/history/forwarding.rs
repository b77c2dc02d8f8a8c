//! The trail in a second database: the same entries, each once, whatever happens on the way.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use carelog_audit::Forwarded;
use carelog_domain::OrganizationId;
use carelog_embedded::postgres::TestServer;
use carelog_server::config::DatabaseUrl;
use carelog_server::forwarding;
use carelog_tests::{Api, until};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor, PgConnection, PgPool};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A database on the tests' server that is there for one test.
struct Second {
    name: String,
}

impl Second {
    fn new() -> Self {
        Self { name: format!("second_trail_{}", COUNT.fetch_add(1, Ordering::Relaxed)) }
    }

    async fn url(&self) -> DatabaseUrl {
        let server = TestServer::shared().await.unwrap();
        DatabaseUrl::try_from(server.postgres().url(&self.name)).unwrap()
    }

    async fn open(&self) -> PgPool {
        let server = TestServer::shared().await.unwrap();
        PgPoolOptions::new().connect_lazy_with(server.connect_options(&self.name))
    }

    async fn run(&self, statement: &str) {
        let server = TestServer::shared().await.unwrap();
        let mut connection = PgConnection::connect_with(&server.connect_options("postgres")).await.unwrap();
        let statement = statement.replace("{}", &self.name);
        connection.execute(AssertSqlSafe(statement)).await.unwrap();
    }
}

/// The whole trail as text, in order; nothing where it is not there yet. Where requests came from stays at home.
async fn trail(pool: &PgPool) -> Vec<String> {
    let entries = "select (to_jsonb(trail) - 'address_index' - 'session_id')::text from audit.trail order by organization_id, sequence";
    sqlx::query_scalar(entries).fetch_all(pool).await.unwrap_or_default()
}

async fn equal(api: &Api, second: &PgPool, at_least: usize) {
    until("the second trail is like the first", async || {
        let (first, second) = (trail(&api.audit).await, trail(second).await);
        (first.len() >= at_least && first == second).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_database_gets_each_entry_once_however_often_it_is_away() {
    let second = Second::new();
    // It is there, but lets nobody in yet.
    second.run("create database {} allow_connections false").await;
    let url = second.url().await;
    let api = Api::start_with(|config| config.forwarding.database_url = Some(url)).await;
    let clinic = api.clinic("Klinik").await;
    let other = api.clinic("Praxis").await;
    let patient = clinic.patient("Ada").await.id().to_owned();
    second.run("alter database {} allow_connections true").await;
    let pool = second.open().await;
    equal(&api, &pool, 5).await;

    for _ in 0..20 {
        clinic.book(&patient).await;
        other.patient("Grace").await;
        second.run("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{}' and application_name = 'carelog'").await;
    }

    equal(&api, &pool, 45).await;
    let addresses = "select count(address_index) from audit.trail";
    let [here, there] =
        [&api.audit, &pool].map(|pool| sqlx::query_scalar::<_, i64>(addresses).fetch_one(pool));
    assert!(here.await.unwrap() > 40 && there.await.unwrap() == 0);
    api.server.stop().await;
    pool.close().await;
    second.run("drop database {} with (force)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trail_of_some_has_all_of_theirs_and_nothing_of_others_and_takes_no_second_log() {
    let second = Second::new();
    let url = second.url().await;
    let api = Api::start_with(|config| config.forwarding.database_url = Some(url.clone())).await;
    let (clinic, other) = (api.clinic("Klinik").await, api.clinic("Praxis").await);
    let patient = clinic.patient("Ada").await.id().to_owned();
    clinic.book(&patient).await;
    other.patient("Grace").await;
    let pool = second.open().await;
    equal(&api, &pool, 7).await;
    // The same tables, from the beginning, for one of the two.
    let system = api.server.system().clone();
    let apart = Second::new();
    apart.run("create database {} template served_audit").await;
    let apart_pool = apart.open().await;
    let wanted = Forwarded { organizations: BTreeSet::from([OrganizationId::new(clinic.id)]) };
    let wanted = Arc::new(wanted);
    for lane in system.log.lanes() {
        let unit = system.runtime.unit(Arc::clone(&wanted), None, apart_pool.clone(), lane);
        unit.run_to_head().await.unwrap();
    }

    let of_clinic: Vec<String> =
        trail(&api.audit).await.into_iter().filter(|entry| entry.contains(&clinic.id.to_string())).collect();
    assert_eq!(trail(&apart_pool).await, of_clinic);

    // Another product that is pointed at the same database writes nothing there.
    let stranger = Api::start_with(|config| config.forwarding.database_url = Some(url)).await;
    let stranger_clinic = stranger.clinic("Elsewhere").await;
    until("the stranger's own trail is there", async || {
        (trail(&stranger.audit).await.len() >= 2).then_some(())
    })
    .await;
    clinic.book(&patient).await;
    equal(&api, &pool, 8).await;
    let strange =
        format!("select count(*) from audit.trail where organization_id = '{}'", stranger_clinic.id);
    let strange: i64 = sqlx::query_scalar(AssertSqlSafe(strange)).fetch_one(&pool).await.unwrap();
    assert_eq!(strange, 0);
    drop(system);
    for api in [api, stranger] {
        api.server.stop().await;
    }
    for (second, pool) in [(second, pool), (apart, apart_pool)] {
        pool.close().await;
        second.run("drop database {} with (force)").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trails_own_database_is_no_second_one() {
    let api = Api::start().await;
    let [core, audit, ..] = api.database_urls();
    for (url, reason) in [(audit, "the trail itself"), (core, "the trail's database")] {
        let url = DatabaseUrl::try_from(url.clone()).unwrap();
        // Asking again is no way round.
        for _ in 0..2 {
            let refused = forwarding::open(api.server.system(), &url).await.unwrap_err();
            assert!(format!("{refused:#}").contains(reason), "{refused:#}");
        }
    }
    let clinic = api.clinic("Klinik").await;
    clinic.patient("Ada").await.id();
    until("the trail goes on", async || (trail(&api.audit).await.len() >= 3).then_some(())).await;
    api.server.stop().await;
}
