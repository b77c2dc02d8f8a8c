//! One Carelog with databases of its own.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use carelog_domain::OrganizationId;
use carelog_embedded::postgres::{Postgres, TestServer};
use carelog_event_log::runtime::{Runtime, follow_other_processes};
use carelog_event_log::{CORE_MIGRATIONS, Clock, EventLog, Lane, SystemClock, new_id};
use carelog_server::databases::ROLES;
use carelog_vault::{RootKey, Vault};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const LANES: i16 = 4;
const TEMPLATE: &str = "template";
static MIGRATED: OnceCell<()> = OnceCell::const_new();
static COUNT: AtomicU32 = AtomicU32::new(0);
/// Databases that no test needs any more. The next test drops them: a thousand small files each are slow to remove
/// all at once.
static FINISHED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// One Carelog: its databases, the superuser's view of them, and a first process.
#[derive(Debug)]
pub struct TestSystem {
    /// The database of the log, as the superuser.
    pub owner: PgPool,
    /// The database of the keys, as the superuser.
    pub vault_owner: PgPool,
    /// The first process.
    pub node: Node,
    /// The URL of the log's database.
    pub core_url: String,
    /// The URL of the keys' database.
    pub vault_url: String,
    /// The file of the root key.
    pub root_key: PathBuf,
    clock: Arc<dyn Clock>,
    names: [String; 2],
    directory: TempDir,
}

/// One process of a Carelog, with connections, batchers and a vault of its own.
#[derive(Debug)]
pub struct Node {
    /// Connections as the role that follows the log.
    pub system: PgPool,
    /// The log.
    pub log: EventLog,
    /// What projector loops need.
    pub runtime: Runtime,
}

impl TestSystem {
    /// A Carelog on the shared server, by the system's clock.
    pub async fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock)).await
    }

    /// A Carelog on the shared server, by a clock of the test's choice.
    pub async fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let server = TestServer::shared().await.expect("the tests have a PostgreSQL server");
        MIGRATED.get_or_init(|| create_and_migrate(server.postgres(), TEMPLATE)).await;
        let prefix = format!("t{}", COUNT.fetch_add(1, Ordering::Relaxed));
        drop_finished(server).await;
        for suffix in ["core", "vault"] {
            let (name, template) = (format!("{prefix}_{suffix}"), format!("{TEMPLATE}_{suffix}"));
            server.copy_database(&name, &template).await.expect("a database can be copied");
        }
        Self::connect(server.postgres(), &prefix, clock).await
    }

    /// A Carelog on a server that the test may hurt.
    pub async fn on_server(postgres: &Postgres) -> Self {
        create_and_migrate(postgres, "own").await;
        Self::connect(postgres, "own", Arc::new(SystemClock)).await
    }

    async fn connect(postgres: &Postgres, prefix: &str, clock: Arc<dyn Clock>) -> Self {
        let directory = world_readable_directory();
        let root_key = directory.path().join("root.key");
        let (core, vault) = (format!("{prefix}_core"), format!("{prefix}_vault"));
        let owner = pool(&postgres.connect_options(&core), None);
        let vault_owner = pool(&postgres.connect_options(&vault), None);
        let (core_url, vault_url) = (postgres.url(&core), postgres.url(&vault));
        let names = [core, vault];
        let node = Node::open(&core_url, &vault_url, &root_key, Arc::clone(&clock)).await;
        Self { owner, vault_owner, node, core_url, vault_url, root_key, clock, names, directory }
    }

    /// The first process's log.
    pub fn log(&self) -> &EventLog {
        &self.node.log
    }

    /// A further process.
    pub async fn another_node(&self) -> Node {
        Node::open(&self.core_url, &self.vault_url, &self.root_key, Arc::clone(&self.clock)).await
    }

    /// A place for files of the test.
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// A new organization in a lane; organizations are spread evenly, so it takes as many as there are lanes.
    pub async fn organization_in(&self, lane: Lane) -> OrganizationId {
        loop {
            let organization_id = OrganizationId::new(new_id());
            if self.log().lane_of(organization_id).await.expect("an organization is placed") == lane {
                return organization_id;
            }
        }
    }

    /// A number that a statement gives, as the superuser.
    pub async fn count(&self, statement: &'static str) -> i64 {
        sqlx::query_scalar(statement).fetch_one(&self.owner).await.expect("the statement counts")
    }

    /// Runs statements as the superuser.
    pub async fn sql(&self, statements: impl Into<String>) {
        self.owner
            .execute(sqlx::raw_sql(AssertSqlSafe(statements.into())))
            .await
            .expect("the test's statements hold");
    }
}

impl Node {
    /// Opens a process on migrated databases.
    pub async fn open(core: &str, vault: &str, root_key: &std::path::Path, clock: Arc<dyn Clock>) -> Self {
        let options = |url: &str| -> PgConnectOptions { url.parse().expect("the URL is the server's own") };
        let system = pool(&options(core), Some("carelog_system"));
        let root_key = RootKey::load_or_create(root_key).expect("the root key can be kept");
        let vault = Vault::new(pool(&options(vault), Some("carelog_vault")), root_key);
        let tasks = TaskTracker::new();
        let log = EventLog::open(system.clone(), vault, clock, &tasks).await.expect("the log opens");
        let runtime = Runtime { log: log.clone(), owner: new_id(), stop: CancellationToken::new(), tasks };
        Self { system, log, runtime }
    }

    /// Hears of other processes and tells them.
    pub fn follow_other_processes(&self) {
        let (log, pool, stop) = (self.log.clone(), self.system.clone(), self.runtime.stop.clone());
        self.runtime.tasks.spawn(follow_other_processes(log, pool, stop));
    }

    /// Stops every loop and waits for their ends.
    pub async fn stop(self) {
        let Runtime { log, stop, tasks, .. } = self.runtime;
        stop.cancel();
        drop((log, self.log));
        tasks.close();
        tokio::time::timeout(Duration::from_mins(1), tasks.wait())
            .await
            .expect("every loop ends when stopped");
    }
}

impl Drop for TestSystem {
    fn drop(&mut self) {
        FINISHED.lock().unwrap_or_else(PoisonError::into_inner).extend(self.names.iter().cloned());
    }
}

async fn drop_finished(server: &TestServer) {
    let finished = std::mem::take(&mut *FINISHED.lock().unwrap_or_else(PoisonError::into_inner));
    for name in finished {
        // Those of a test's own server are unknown here, which is as good as dropped.
        server.drop_database(&name).await.expect("a database can be dropped");
    }
}

/// A directory that the server's account may pass through too; gone with the value.
fn world_readable_directory() -> TempDir {
    let permissions = std::fs::Permissions::from_mode(0o755);
    tempfile::Builder::new().permissions(permissions).tempdir().expect("a temporary directory can be made")
}

fn pool(options: &PgConnectOptions, role: Option<&str>) -> PgPool {
    let options = options.clone().application_name(&format!("carelog-{}", std::process::id()));
    let options = match role {
        Some(role) => options.options([("role", role)]),
        None => options,
    };
    PgPoolOptions::new()
        .max_connections(24)
        .acquire_timeout(Duration::from_mins(1))
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

async fn create_and_migrate(postgres: &Postgres, prefix: &str) {
    let mut connection =
        PgConnection::connect_with(&postgres.connect_options("postgres")).await.expect("it answers");
    for suffix in ["core", "vault"] {
        let statement = format!("create database {prefix}_{suffix} template template0");
        connection.execute(AssertSqlSafe(statement)).await.expect("a database can be made");
    }
    connection.execute(sqlx::raw_sql(ROLES)).await.expect("the roles can be made");
    connection.close().await.expect("the connection closes");
    migrate(postgres, &format!("{prefix}_vault"), &carelog_vault::MIGRATOR).await;
    let core = format!("{prefix}_core");
    migrate(postgres, &core, &CORE_MIGRATIONS).await;
    let mut owner = PgConnection::connect_with(&postgres.connect_options(&core)).await.expect("it answers");
    EventLog::create(&mut owner, "carelog-test", LANES, new_id()).await.expect("the log can be made");
    owner.close().await.expect("the connection closes");
}

async fn migrate(postgres: &Postgres, database: &str, migrations: &Migrator) {
    let mut connection =
        PgConnection::connect_with(&postgres.connect_options(database)).await.expect("it answers");
    migrations.run(&mut connection).await.expect("the migrations hold");
    connection.close().await.expect("the connection closes");
}
