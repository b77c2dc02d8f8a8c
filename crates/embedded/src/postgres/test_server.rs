//! One server for all tests of a process.

use std::path::Path;
use std::{env, fs};

use rustix::process::Pid;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use tokio::sync::OnceCell;

use super::home::Home;
use super::{
    Durability, Postgres, PostgresError, PostgresOptions, find_binaries, install_with_package_manager,
    leftovers,
};

const PREFIX: &str = "carelog-test-";

static SHARED: OnceCell<TestServer> = OnceCell::const_new();

/// A server without durability in a directory of its own below the system's
/// temporary directory.
///
/// Statics are never dropped, so the server ends by its parent-death signal, and
/// the directory is removed by the next process that starts a test server.
#[derive(Debug)]
pub struct TestServer {
    postgres: Postgres,
}

impl TestServer {
    /// The server of this process, started (and PostgreSQL installed, when it is
    /// missing and that is possible) on the first call.
    ///
    /// # Errors
    /// As [`Postgres::start`] and [`install_with_package_manager`].
    pub async fn shared() -> Result<&'static Self, PostgresError> {
        SHARED.get_or_try_init(Self::start).await
    }

    async fn start() -> Result<Self, PostgresError> {
        if find_binaries().is_err() {
            install_with_package_manager().await?;
        }
        let parent = env::temp_dir();
        remove_abandoned(&parent);
        let home = parent.join(format!("{PREFIX}{}", std::process::id()));
        let options = PostgresOptions::new(home)
            .durability(Durability::TestOnly)
            .setting("shared_buffers", "128MB")
            .setting("max_connections", "400");
        Ok(Self { postgres: Postgres::start(options).await? })
    }

    /// The server itself.
    pub fn postgres(&self) -> &Postgres {
        &self.postgres
    }

    /// How to connect to one of its databases as the superuser.
    pub fn connect_options(&self, database: &str) -> PgConnectOptions {
        self.postgres.connect_options(database)
    }

    /// Creates an empty database.
    ///
    /// # Errors
    /// [`PostgresError::DatabaseName`], or [`PostgresError::Database`] when it
    /// exists.
    pub async fn create_database(&self, name: &str) -> Result<PgConnectOptions, PostgresError> {
        self.copy_database(name, "template0").await
    }

    /// Creates a database as a copy of another one, to which nobody may be
    /// connected: migrate once, copy for each test.
    ///
    /// # Errors
    /// As [`TestServer::create_database`].
    pub async fn copy_database(&self, name: &str, template: &str) -> Result<PgConnectOptions, PostgresError> {
        check_name(name)?;
        check_name(template)?;
        self.execute(format!("create database {name} template {template}")).await?;
        Ok(self.connect_options(name))
    }

    /// Drops a database, cutting off whoever uses it.
    ///
    /// # Errors
    /// As [`TestServer::create_database`].
    pub async fn drop_database(&self, name: &str) -> Result<(), PostgresError> {
        check_name(name)?;
        self.execute(format!("drop database if exists {name} with (force)")).await
    }

    async fn execute(&self, statement: String) -> Result<(), PostgresError> {
        let mut connection: PgConnection = self.connect_options("postgres").connect().await?;
        // Holds nothing but names that passed `check_name`.
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
        connection.close().await?;
        Ok(())
    }
}

pub(super) fn check_name(name: &str) -> Result<(), PostgresError> {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let valid = (1..=63).contains(&name.len())
        && name.bytes().all(letters)
        && !name.starts_with(|first: char| first.is_ascii_digit());
    if valid { Ok(()) } else { Err(PostgresError::DatabaseName { name: name.to_owned() }) }
}

/// Removes the directories of dead test processes. Only those: the owner is gone
/// and its server too. Failures are left to the next process.
fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
        if let Some(owner) = owner.and_then(Pid::from_raw)
            && !leftovers::is_alive(owner)
        {
            remove_if_free(&entry.path());
        }
    }
}

fn remove_if_free(directory: &Path) {
    let Ok(home) = Home::existing(directory) else { return };
    let Ok(_lock) = home.lock() else { return };
    let server = leftovers::recorded_pid(&home).and_then(Pid::from_raw);
    if server.is_none_or(|pid| !leftovers::is_alive(pid)) {
        let _ = fs::remove_dir_all(home.root());
    }
}
