//! What a stopped product leaves: databases that a test may damage, and have back as they were.

use carelog_embedded::postgres::TestServer;
use carelog_server::databases::{DatabaseOptions, Databases};
use carelog_server::doctor::{Finding, Leaves, examine};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

/// Of the databases that a test may damage.
const SUFFIXES: [&str; 4] = ["core", "audit", "analytics", "vault"];

/// Databases that nobody works on any more.
#[derive(Debug)]
pub struct Remains {
    server: &'static TestServer,
    prefix: String,
}

impl Remains {
    /// Keeps a copy of each database, from which it can be restored.
    pub(crate) async fn keep(prefix: String) -> Self {
        let server = TestServer::shared().await.expect("the tests have a PostgreSQL server");
        let remains = Self { server, prefix };
        // A pool that was dropped closes its connections a moment later, and only a database without any can be copied.
        let strangers = format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where starts_with(datname, '{}_')",
            remains.prefix
        );
        remains.run("postgres", &strangers).await;
        for suffix in SUFFIXES {
            let name = remains.name(suffix);
            server.copy_database(&format!("{name}_kept"), &name).await.expect("a database can be copied");
        }
        remains
    }

    fn name(&self, suffix: &str) -> String {
        format!("{}_{suffix}", self.prefix)
    }

    async fn run(&self, database: &str, statements: &str) {
        let mut connection =
            self.server.connect_options(database).connect().await.expect("the database answers");
        let statements = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
        connection.execute(statements).await.expect("the test's statements hold");
        connection.close().await.expect("the connection closes");
    }

    /// The URL of the log's database, as the superuser.
    pub fn core_url(&self) -> String {
        self.server.postgres().url(&self.name("core"))
    }

    /// Runs statements in one of the databases, as the superuser.
    pub async fn sql(&self, suffix: &str, statements: &str) {
        self.run(&self.name(suffix), statements).await;
    }

    /// Gives one of the databases back as it was.
    pub async fn restore(&self, suffix: &str) {
        let name = self.name(suffix);
        self.server.drop_database(&name).await.expect("a database can be dropped");
        self.server.copy_database(&name, &format!("{name}_kept")).await.expect("a database can be copied");
    }

    /// What `carelog doctor` finds.
    pub async fn examine(&self) -> Vec<Finding> {
        examine(&self.connect(), Leaves::All).await.expect("everything can be examined")
    }

    /// Connections as the product has them.
    pub fn connect(&self) -> Databases {
        DatabaseOptions::on_server(&self.server.connect_options("postgres"), &self.prefix).connect()
    }

    /// Gives the databases back.
    pub async fn discard(self) {
        for suffix in SUFFIXES {
            let name = self.name(suffix);
            for name in [format!("{name}_kept"), name] {
                self.server.drop_database(&name).await.expect("a database can be dropped");
            }
        }
    }
}
