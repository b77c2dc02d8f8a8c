//! The databases: where they are, their roles, and the connections to each.
//!
//! By default one server holds four: `…_core` (log, records, webhooks), `…_audit`, `…_analytics` and `…_vault`. The run-time roles own
//! nothing: `carelog_system` follows the log and works for every organization, `carelog_app` answers requests and
//! sees one organization at a time, `carelog_vault` reaches the keys, `carelog_pseudonyms` those of pseudonyms alone, and
//! `carelog_analyst` stands for the logins of analysts. Whoever migrates owns the tables.

use std::time::Duration;

use anyhow::Context;
use carelog_event_log::{EventLog, new_id};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection, PgPool};

/// Lanes of a log that is created on one machine; more would only split its batches.
const EMBEDDED_LANES: i16 = 4;
/// Of the connections that follow the log. Their statements look rows up by key, a few or a few thousand at a time;
/// left alone, PostgreSQL would plan each of them anew for the number of rows at hand, which costs more than to carry
/// it out, and would scan a table that was small when the plan was made.
const SYSTEM: [(&str, &str); 4] = [
    ("role", "carelog_system"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("jit", "off"),
];
/// Of the connections that make facts: few clinics fill their tables, and a plan that was made while these were small may
/// look up each row among all of its clinic, until PostgreSQL next counts rows. Their pages are large and rare enough for
/// a plan each.
const FACTS: [(&str, &str); 2] = [("plan_cache_mode", "force_custom_plan"), ("enable_seqscan", "off")];
/// Of every connection of a run-time role. A statement that waits for longer, for a lock or for the disk, is given up,
/// and so is a transaction in which its client has stopped: neither may hold what others need.
const BOUNDS: [(&str, &str); 2] =
    [("statement_timeout", "30s"), ("idle_in_transaction_session_timeout", "30s")];
/// Longest wait for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// How to reach each database as the role that may migrate it.
#[derive(Clone, Debug)]
pub struct DatabaseOptions {
    /// Log, records, webhooks.
    pub core: PgConnectOptions,
    /// The audit trail.
    pub audit: PgConnectOptions,
    /// Facts under pseudonyms.
    pub analytics: PgConnectOptions,
    /// The keys.
    pub vault: PgConnectOptions,
}

/// Pools for each database and role.
#[derive(Clone, Debug)]
pub struct Databases {
    /// Owner of the core tables: migrations and rebuilds.
    pub core_owner: PgPool,
    /// Follows the log, for every organization.
    pub core_system: PgPool,
    /// Answers requests, one organization at a time.
    pub core_app: PgPool,
    /// Owner of the audit tables.
    pub audit_owner: PgPool,
    /// Writes the trail, the trees and their checkpoints.
    pub audit_system: PgPool,
    /// Reads the trail, one organization at a time.
    pub audit_app: PgPool,
    /// Owner of the tables of analytics.
    pub analytics_owner: PgPool,
    /// Writes facts.
    pub analytics_system: PgPool,
    /// Reads the published views, one organization at a time.
    pub analytics_app: PgPool,
    /// Reaches the keys of pseudonyms, and no others.
    pub pseudonyms: PgPool,
    /// Reaches the keys.
    pub vault: PgPool,
}

impl DatabaseOptions {
    /// The four databases of one server, named from a prefix.
    pub fn on_server(server: &PgConnectOptions, prefix: &str) -> Self {
        let named = |suffix: &str| server.clone().database(&format!("{prefix}_{suffix}"));
        Self {
            core: named("core"),
            audit: named("audit"),
            analytics: named("analytics"),
            vault: named("vault"),
        }
    }

    /// Creates what is missing: roles, databases, tables, the log itself.
    ///
    /// # Errors
    /// When the server refuses, or the connections belong to no superuser.
    pub async fn migrate(&self) -> anyhow::Result<()> {
        let (mut core, mut audit, mut analytics, mut vault) = tokio::try_join!(
            create_database(&self.core),
            create_database(&self.audit),
            create_database(&self.analytics),
            create_database(&self.vault)
        )?;
        check_owner(&mut core).await?;
        // Roles belong to the whole server, and every database's migrations grant rights to them.
        core.execute(sqlx::raw_sql(ROLES)).await.context("the roles cannot be created")?;
        tokio::try_join!(
            async { carelog_event_log::CORE_MIGRATIONS.run(&mut core).await.context("database core") },
            async { carelog_audit::AUDIT_MIGRATIONS.run(&mut audit).await.context("database audit") },
            async {
                carelog_analytics::ANALYTICS_MIGRATIONS
                    .run(&mut analytics)
                    .await
                    .context("database analytics")
            },
            async { carelog_vault::MIGRATOR.run(&mut vault).await.context("database vault") }
        )?;
        self.close_to_public().await?;
        let epoch = new_id();
        let name: String = "carelog-".chars().chain(epoch.simple().to_string().chars().skip(24)).collect();
        EventLog::create(&mut core, &name, EMBEDDED_LANES, epoch).await.context("the log cannot be created")
    }

    /// Lets nobody into the databases but their owner, the roles that the owner may take, and analysts into theirs.
    /// PostgreSQL lets every role of the server into every database otherwise.
    ///
    /// # Errors
    /// When the server refuses. Where the databases belong to somebody else it only warns, and they stay as they are.
    pub async fn close_to_public(&self) -> anyhow::Result<()> {
        for (options, analysts) in
            [(&self.core, ""), (&self.audit, ""), (&self.analytics, ANALYSTS_MAY_CONNECT), (&self.vault, "")]
        {
            let mut connection = PgConnection::connect_with(options).await?;
            connection
                .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(format!("{CLOSE_TO_PUBLIC}{analysts}"))))
                .await
                .context("a database cannot be closed to strangers")?;
            connection.close().await?;
        }
        Ok(())
    }

    /// Pools that connect when they are first used.
    pub fn connect(&self) -> Databases {
        let app = [("role", "carelog_app")];
        Databases {
            core_owner: pool(&self.core, [], 10),
            core_system: pool(&self.core, BOUNDS.into_iter().chain(SYSTEM), 32),
            core_app: pool(&self.core, BOUNDS.into_iter().chain(app), 16),
            audit_owner: pool(&self.audit, [], 10),
            audit_system: pool(&self.audit, BOUNDS.into_iter().chain(SYSTEM), 16),
            audit_app: pool(&self.audit, BOUNDS.into_iter().chain(app), 8),
            vault: pool(&self.vault, BOUNDS.into_iter().chain([("role", "carelog_vault")]), 4),
            analytics_owner: pool(&self.analytics, FACTS, 10),
            analytics_system: pool(&self.analytics, BOUNDS.into_iter().chain(SYSTEM).chain(FACTS), 8),
            analytics_app: pool(&self.analytics, BOUNDS.into_iter().chain(app), 8),
            pseudonyms: pool(&self.vault, BOUNDS.into_iter().chain([("role", "carelog_pseudonyms")]), 4),
        }
    }
}

/// Makes a database for a trail beside that of the four, on whatever server, and gives connections of its owner.
///
/// # Errors
/// When the server refuses.
pub(crate) async fn prepare_trail(options: &PgConnectOptions) -> anyhow::Result<PgPool> {
    create_database(options).await?.close().await?;
    let owner = pool(options, [], 2);
    owner.execute(sqlx::raw_sql(ROLES)).await.context("the roles cannot be created")?;
    carelog_audit::AUDIT_MIGRATIONS.run(&owner).await.context("the trail's database")?;
    owner.execute(sqlx::raw_sql(CLOSE_TO_PUBLIC)).await.context("it cannot be closed to strangers")?;
    Ok(owner)
}

/// Connections that write such a trail.
pub(crate) fn connect_trail(options: &PgConnectOptions) -> PgPool {
    pool(options, BOUNDS.into_iter().chain(SYSTEM), 8)
}

fn pool(
    options: &PgConnectOptions,
    settings: impl IntoIterator<Item = (&'static str, &'static str)>,
    max_connections: u32,
) -> PgPool {
    let options = options.clone().application_name("carelog").options(settings);
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .connect_lazy_with(options)
}

/// Connects to a database, which is created unless it exists.
async fn create_database(options: &PgConnectOptions) -> anyhow::Result<PgConnection> {
    let name = options.get_database().context("the database URL names no database")?.to_owned();
    anyhow::ensure!(
        name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'),
        "the database name {name:?} may have lower-case letters, digits and underscores only"
    );
    if let Ok(connection) = PgConnection::connect_with(options).await {
        return Ok(connection);
    }
    let mut connection = PgConnection::connect_with(&options.clone().database("postgres"))
        .await
        .context("the PostgreSQL server cannot be reached")?;
    let created = connection
        .execute(sqlx::AssertSqlSafe(format!("create database {name} template template0 encoding 'UTF8'")))
        .await;
    match created {
        Ok(_) => {}
        // Somebody else was faster.
        Err(sqlx::Error::Database(error)) if matches!(error.code().as_deref(), Some("42P04" | "23505")) => {}
        Err(error) => return Err(error).context(format!("database {name} cannot be created")),
    }
    PgConnection::connect_with(options).await.with_context(|| format!("database {name} cannot be opened"))
}

/// Some of the run-time roles pass row-level security, and one of them owns the log.
async fn check_owner(connection: &mut PgConnection) -> anyhow::Result<()> {
    let (name, is_superuser) = sqlx::query_as::<_, (String, bool)>(
        "select rolname::text, rolsuper from pg_roles where rolname = current_user",
    )
    .fetch_one(connection)
    .await?;
    anyhow::ensure!(
        is_superuser,
        "the user {name} of the database server is no superuser: only a superuser can make the roles that pass row-level \
         security, and give the log to one of them that nobody signs in as"
    );
    Ok(())
}

/// One process at a time: the server refuses to change the rights of a database twice at once.
const CLOSE_TO_PUBLIC: &str = "
    do $$ begin
        perform pg_advisory_xact_lock(hashtext('carelog.rights'));
        if has_database_privilege('public', current_database(), 'connect, temporary') then
            execute format('grant connect, temporary on database %I to %I', current_database(), current_user);
            execute format('revoke connect, temporary on database %I from public', current_database());
        end if;
    end $$;";
const ANALYSTS_MAY_CONNECT: &str = "
    do $$ begin
        perform pg_advisory_xact_lock(hashtext('carelog.rights'));
        if not has_database_privilege('carelog_analyst', current_database(), 'connect') then
            execute format('grant connect on database %I to carelog_analyst', current_database());
        end if;
    end $$;";

/// Creates the run-time roles that are missing; they belong to the whole server.
pub const ROLES: &str = "
    do $$
    declare
        wanted record;
    begin
        for wanted in
            select * from (values ('carelog_log', true), ('carelog_system', true), ('carelog_app', false),
                                  ('carelog_vault', false), ('carelog_pseudonyms', false),
                                  ('carelog_analyst', false)) as roles (name, bypasses)
        loop
            if not exists (select from pg_roles where rolname = wanted.name) then
                begin
                    execute format('create role %I nologin %s', wanted.name,
                                   case when wanted.bypasses then 'bypassrls' else 'nobypassrls' end);
                exception when duplicate_object or unique_violation then
                    -- Somebody else was faster, in another database, which no lock of this one reaches.
                    null;
                end;
            end if;
        end loop;
    end $$";
