//! Analysts' logins, with the real psql: what they see, and when they end.

use std::process::{Command, Output};

use carelog_analytics::logins::{self, Bounds, LoginError, Verifier};
use carelog_domain::OrganizationId;
use carelog_embedded::postgres::TestServer;
use carelog_event_log::new_id;
use carelog_server::databases::DatabaseOptions;
use carelog_tests::{Product, until};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool};

use super::{live, publish_now};

const SALT: [u8; 16] = [7; 16];
const FIRST: &str = "first-password";
const SECOND: &str = "second-password";
const MIGRATION: &str = include_str!("../../../../migrations/analytics/0006_logins.sql");
const HOUR_MICROS: i64 = 3_600_000_000;

struct Psql {
    server: &'static TestServer,
    owner: PgPool,
    database: PgConnectOptions,
    role_name: String,
}

impl Psql {
    fn ask(&self, password: &str, statement: &str) -> Output {
        let mut command = Command::new(self.server.postgres().psql_binary().expect("psql is there"));
        command.env("PGHOST", self.server.postgres().socket_directory()).env("PGUSER", &self.role_name);
        command.env("PGPORT", self.database.get_port().to_string()).env("PGPASSWORD", password);
        command.env("PGDATABASE", self.database.get_database().unwrap());
        command.args(["-X", "-w", "-At", "-v", "ON_ERROR_STOP=1", "-c", statement]).output().unwrap()
    }

    /// A session holds the login's only connection for a moment after its program has ended.
    async fn is_free(&self) {
        until("nobody is connected", async || {
            let connected =
                sqlx::query_scalar::<_, i64>("select count(*) from pg_stat_activity where usename = $1");
            let connected = connected.bind(&self.role_name).fetch_one(&self.owner).await.unwrap();
            (connected == 0).then_some(())
        })
        .await;
    }

    async fn told(&self, password: &str, statement: &str) -> String {
        self.is_free().await;
        let output = self.ask(password, statement);
        assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    async fn refused(&self, password: &str, statement: &str) -> String {
        self.is_free().await;
        self.refused_now(password, statement)
    }

    fn refused_now(&self, password: &str, statement: &str) -> String {
        let output = self.ask(password, statement);
        assert!(!output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap()
    }

    async fn is_kept_out(&self, password: &str, why: &str) {
        let told = self.refused(password, "select 1").await;
        assert!(told.contains(why), "{told}");
    }
}

fn options(pool: &PgPool) -> PgConnectOptions {
    (*pool.connect_options()).clone()
}

fn bounds(product: &Product, hours: i64) -> Bounds {
    let valid_until = product.log().clock().now().saturating_add_micros(hours * HOUR_MICROS);
    Bounds { valid_until, connections: 1, statement_seconds: 5 }
}

async fn close_to_public(product: &Product) {
    let databases = product.databases();
    let databases = DatabaseOptions {
        core: options(&databases.core_owner),
        audit: options(&databases.audit_owner),
        analytics: options(&databases.analytics_owner),
        // The pool's own connections take a role that owns nothing.
        vault: options(&databases.core_owner).database(options(&databases.vault).get_database().unwrap()),
    };
    databases.close_to_public().await.unwrap();
    databases.close_to_public().await.unwrap();
}

/// A login for the first of two clinics, both of which have figures.
async fn analyst(product: &Product) -> (OrganizationId, OrganizationId, Psql) {
    let ((one, key), (other, other_key)) = (product.clinic().await, product.clinic().await);
    live(product, &key, new_id()).await;
    live(product, &other_key, new_id()).await;
    product.settled().await;
    publish_now(product, one).await;
    publish_now(product, other).await;
    close_to_public(product).await;
    let mut owner = product.databases().analytics_owner.acquire().await.unwrap();
    let verifier = Verifier::new(FIRST, SALT);
    let role_name = logins::create(&mut owner, one, verifier, bounds(product, 1)).await.unwrap();
    let server = TestServer::shared().await.unwrap();
    let psql = Psql {
        server,
        owner: product.databases().analytics_owner.clone(),
        database: options(&product.databases().analytics_owner),
        role_name,
    };
    (one, other, psql)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_reads_the_figures_of_its_clinic_and_nothing_else() {
    let product = Product::start().await;
    let (one, other, mut psql) = analyst(&product).await;

    let whose = "select distinct organization_id from appointment_patterns";
    assert_eq!(psql.told(FIRST, whose).await, one.to_string(), "the tables stand in its search path");
    for setting in [one, other] {
        let whose = format!(
            "set carelog.organization_id = '{setting}'; set row_security = on;
             select string_agg(distinct organization_id::text, ' ') from published.freshness"
        );
        assert_eq!(psql.told(FIRST, &whose).await, format!("SET\nSET\n{one}"));
    }
    assert_eq!(psql.told(FIRST, "show statement_timeout").await, "5s");
    let reads = "begin; set transaction read write; rollback; show default_transaction_read_only";
    assert!(psql.told(FIRST, reads).await.ends_with("on"));

    for (statement, why) in [
        ("select 1 from analytics.appointment_facts", "permission denied for schema analytics"),
        (
            "explain analyze select 1 from analytics.appointment_facts",
            "permission denied for schema analytics",
        ),
        ("select 1 from analytics_access.logins", "permission denied"),
        ("select 1 from published.progress", "permission denied for table progress"),
        ("begin read write; delete from published.freshness", "permission denied"),
        ("begin read write; create table published.mine ()", "permission denied"),
        ("begin read write; create table public.mine ()", "permission denied"),
        ("begin read write; create temporary table mine ()", "permission denied"),
        ("select pg_advisory_lock(1)", "permission denied for function pg_advisory_lock"),
        ("select pg_try_advisory_xact_lock_shared(1, 2)", "permission denied for function"),
        ("begin read write; select lo_from_bytea(0, 'kept')", "permission denied for function lo_from_bytea"),
        ("begin read write; select lo_creat(-1)", "permission denied for function lo_creat"),
        ("select n_live_tup from pg_stat_user_tables", "permission denied for function"),
        ("select pg_relation_size('published.freshness')", "permission denied for function pg_relation_size"),
        ("set temp_file_limit = -1", "permission denied to set parameter"),
        ("set role carelog_app", "permission denied"),
        ("set role carelog_system", "permission denied"),
    ] {
        let told = psql.refused(FIRST, statement).await;
        assert!(told.contains(why), "{statement}: {told}");
    }
    // What a role may do about itself does not keep it.
    let lasting = "begin read write; alter default privileges grant select on tables to public; commit";
    psql.told(FIRST, lasting).await;
    let databases = product.databases();
    let analytics = psql.database.clone();
    for pool in [&databases.core_owner, &databases.audit_owner, &databases.vault] {
        psql.database = options(pool);
        psql.is_kept_out(FIRST, "permission denied for database").await;
    }
    psql.database = analytics;
    let mut owner = databases.analytics_owner.acquire().await.unwrap();
    // Whoever makes a login is told of the databases that are not Carelog's to close.
    let foreign = format!("of_{}", psql.role_name);
    let create = AssertSqlSafe(format!("create database {foreign}"));
    sqlx::raw_sql(create).execute(&mut *owner).await.unwrap();
    let open = logins::open_databases(&mut owner, &psql.role_name).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("drop database {foreign}"))).execute(&mut *owner).await.unwrap();
    assert!(open.contains(&foreign), "{open:?}");
    assert!(!open.iter().any(|name| ["postgres", "template1"].contains(&name.as_str())), "{open:?}");
    for pool in [&databases.core_owner, &databases.audit_owner, &databases.vault, &databases.analytics_owner]
    {
        assert!(!open.iter().any(|name| name == options(pool).get_database().unwrap()), "{open:?}");
    }
    logins::revoke(&mut owner, one, &psql.role_name).await.unwrap();
    drop(owner);
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_ends_in_time_though_its_login_sets_the_limit_aside() {
    let product = Product::start().await;
    let (one, other, psql) = analyst(&product).await;
    let (system, owner) = (&product.databases().analytics_system, &product.databases().analytics_owner);
    let patient = Bounds { statement_seconds: 3600, ..bounds(&product, 1) };
    let verifier = Verifier::new(FIRST, SALT);
    let mut connection = owner.acquire().await.unwrap();
    let name = logins::create(&mut connection, other, verifier, patient).await.unwrap();
    let mut waits =
        PgConnection::connect_with(&options(owner).username(&name).password(FIRST)).await.unwrap();
    waits.execute("begin").await.unwrap();
    let forever = "set statement_timeout = 0; begin; select pg_sleep(3600)";

    // As one that was made when limits were not noted.
    let earlier = "update analytics_access.logins set statement_seconds = default";
    connection.execute(earlier).await.unwrap();
    connection.execute(sqlx::raw_sql(MIGRATION)).await.unwrap();
    let noted = "select statement_seconds from analytics_access.logins order by 1";
    let noted: Vec<i32> = sqlx::query_scalar(noted).fetch_all(&mut *connection).await.unwrap();
    assert_eq!(noted, [5, 3600]);

    let told = tokio::task::spawn_blocking(move || psql.refused_now(FIRST, forever));
    let told = told.await.unwrap();

    assert!(told.contains("terminating connection due to administrator command"), "{told}");
    logins::end_overlong(system).await.unwrap();
    assert_eq!(sqlx::query_scalar::<_, i32>("select 1").fetch_one(&mut waits).await.unwrap(), 1);
    // Short statements keep no transaction for ever either.
    let short = "update analytics_access.logins set statement_seconds = 1 where role_name = $1";
    sqlx::query(short).bind(&name).execute(&mut *connection).await.unwrap();
    until("the transaction is ended", async || waits.execute("select 1").await.is_err().then_some(())).await;
    for login in logins::list(&mut connection, one).await.unwrap() {
        logins::revoke(&mut connection, one, &login.role_name).await.unwrap();
    }
    logins::revoke(&mut connection, other, &name).await.unwrap();
    drop(connection);
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_ends_when_its_time_its_password_or_its_connections_do() {
    let product = Product::start().await;
    let (one, other, psql) = analyst(&product).await;
    let pool = &product.databases().analytics_owner;
    let mut owner = pool.acquire().await.unwrap();
    let name = psql.role_name.as_str();
    psql.is_kept_out(SECOND, "password authentication failed").await;
    let signs_in = options(pool).username(name).password(FIRST);
    let mut held = PgConnection::connect_with(&signs_in).await.unwrap();
    let told = psql.refused_now(FIRST, "select 1");
    assert!(told.contains("too many connections for role"), "{told}");

    // Whoever knows the password can give the login another, and other defaults.
    let database = options(pool).get_database().unwrap().to_owned();
    let own = format!(
        "begin read write; alter role {name} password 'their_own'; alter role {name} set statement_timeout = 0;
         alter role {name} in database {database} set default_transaction_read_only = off; commit"
    );
    held.execute(sqlx::raw_sql(AssertSqlSafe(own))).await.unwrap();

    let another = Verifier::new(SECOND, SALT);
    let later = bounds(&product, 1).valid_until;
    logins::rotate(&mut owner, one, name, another, later).await.unwrap();

    assert!(held.ping().await.is_err(), "whoever is connected is cut off");
    psql.is_kept_out(FIRST, "password authentication failed").await;
    psql.is_kept_out("their_own", "password authentication failed").await;
    let defaults = "show statement_timeout; show default_transaction_read_only";
    assert_eq!(psql.told(SECOND, defaults).await, "5s\non");
    let signs_in = signs_in.password(SECOND);
    let mut held = PgConnection::connect_with(&signs_in).await.unwrap();
    let ended = bounds(&product, -1).valid_until;
    logins::rotate(&mut owner, one, name, another, ended).await.unwrap();
    until("whoever is connected is cut off", async || held.ping().await.is_err().then_some(())).await;
    psql.is_kept_out(SECOND, "password authentication failed").await;
    logins::rotate(&mut owner, one, name, another, later).await.unwrap();
    let mut held = PgConnection::connect_with(&signs_in).await.unwrap();

    // Another clinic has no such login.
    let refused = logins::revoke(&mut owner, other, name).await.unwrap_err();
    assert!(matches!(refused, LoginError::NoLogin { .. }), "{refused}");
    let listed = logins::list(&mut owner, one).await.unwrap();
    assert_eq!(listed.iter().map(|login| login.role_name.as_str()).collect::<Vec<_>>(), [name]);
    logins::revoke(&mut owner, one, name).await.unwrap();

    assert!(held.ping().await.is_err(), "whoever was connected is cut off");
    psql.is_kept_out(SECOND, "password authentication failed").await;
    assert_eq!(logins::list(&mut owner, one).await.unwrap(), []);
    let nobody = OrganizationId::new(new_id());
    let refused = logins::create(&mut owner, nobody, another, bounds(&product, 1)).await.unwrap_err();
    assert!(matches!(refused, LoginError::NoOrganization(_)), "{refused}");
    drop(owner);
    product.stop().await;
}
