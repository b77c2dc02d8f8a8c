//! The databases belong to a role that is no superuser, as with hosted servers.

use carelog_analytics::logins::{self, Bounds, Verifier};
use carelog_domain::OrganizationId;
use carelog_embedded::postgres::TestServer;
use carelog_event_log::{Clock, SystemClock, new_id};
use carelog_server::databases::{DatabaseOptions, ROLES};
use carelog_tests::until;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

const OWNER: &str = "hosted";
const PASSWORD: &str = "password";
const MIGRATION: &str = include_str!("../../../../migrations/analytics/0006_logins.sql");

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_who_is_no_superuser_migrates_and_ends_what_takes_too_long() {
    let server = TestServer::shared().await.unwrap();
    let superuser = server.connect_options("postgres");
    let mut connection = PgConnection::connect_with(&superuser).await.unwrap();
    connection.execute(sqlx::raw_sql(ROLES)).await.unwrap();
    let owner = format!(
        "create role {OWNER} login createdb createrole bypassrls password '{PASSWORD}';
         grant carelog_log, carelog_system, carelog_app, carelog_vault, carelog_pseudonyms to {OWNER};"
    );
    connection.execute(sqlx::raw_sql(AssertSqlSafe(owner))).await.unwrap();
    let options = DatabaseOptions::on_server(&superuser.clone().username(OWNER).password(PASSWORD), OWNER);
    options.migrate().await.unwrap();
    options.migrate().await.unwrap();
    let databases = options.connect();
    let mut owner = databases.analytics_owner.acquire().await.unwrap();
    let organization_id = OrganizationId::new(new_id());
    sqlx::query("insert into analytics.analytics_organizations values ($1, 1, 11, now(), 1)")
        .bind(organization_id.uuid())
        .execute(&mut *owner)
        .await
        .unwrap();
    let valid_until = SystemClock.now().saturating_add_micros(3_600_000_000);
    let bounds = Bounds { valid_until, connections: 1, statement_seconds: 1 };
    let verifier = Verifier::new(PASSWORD, [7; 16]);
    let name = logins::create(&mut owner, organization_id, verifier, bounds).await.unwrap();
    // As one that was made when neither was known.
    let earlier = format!(
        "update analytics_access.logins set statement_seconds = default; revoke {name} from current_user"
    );
    owner.execute(sqlx::raw_sql(AssertSqlSafe(earlier))).await.unwrap();
    owner.execute(sqlx::raw_sql(MIGRATION)).await.unwrap();

    let login = options.analytics.clone().username(&name).password(PASSWORD);
    let mut analyst = PgConnection::connect_with(&login).await.unwrap();
    analyst.execute("set statement_timeout = 0").await.unwrap();
    let ends = until("the session is ended", async || {
        let ended = logins::end_overlong(&databases.analytics_system).await.unwrap();
        (ended == 1).then_some(())
    });

    let (waited, ()) = tokio::join!(analyst.execute("select pg_sleep(3600)"), ends);

    let told = waited.unwrap_err().to_string();
    assert!(told.contains("terminating connection due to administrator command"), "{told}");
    logins::revoke(&mut owner, organization_id, &name).await.unwrap();
}
