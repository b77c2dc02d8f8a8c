//! The databases of a run: on a private server in a directory that is removed afterwards, or on the server of
//! `DATABASE_URL`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use carelog_embedded::postgres::{Postgres, PostgresOptions};
use carelog_event_log::SystemClock;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::usage::Meter;
use crate::databases::DatabaseOptions;
use crate::system::System;

/// Where it takes place.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct StageOptions {
    /// Use this server instead of a private one; the databases of the run are dropped afterwards.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Directory for the private server, on the disk that is to be measured [default: the temporary directory].
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Milliseconds added to each flush of the write-ahead log, to imitate a slower disk.
    #[arg(long)]
    flush_delay_ms: Option<u32>,
    /// A setting of the private server, as `name=value`; for experiments.
    #[arg(long = "setting")]
    settings: Vec<String>,
}

/// A server to measure on.
#[derive(Debug)]
pub(super) struct Stage {
    /// The databases of the run.
    pub(super) databases: DatabaseOptions,
    server: PgConnectOptions,
    /// Goes with the run.
    pub(super) directory: PathBuf,
    postgres: Option<Postgres>,
    description: Vec<String>,
}

impl Stage {
    /// Starts the private server, or finds the other one.
    pub(super) async fn set(options: &StageOptions) -> anyhow::Result<Self> {
        let prefix = format!("carelog_bench_{}", std::process::id());
        let parent = options.directory.clone().unwrap_or_else(std::env::temp_dir);
        let directory = parent.join(prefix.replace('_', "-"));
        let mut description = Vec::new();
        let postgres = match &options.database_url {
            Some(_) => {
                anyhow::ensure!(
                    options.flush_delay_ms.is_none(),
                    "--flush-delay-ms needs the private server"
                );
                std::fs::create_dir_all(&directory).context("the directory cannot be made")?;
                description.push("On the server of DATABASE_URL, with its own settings.".to_owned());
                None
            }
            None => Some(start_private(&directory, options, &mut description).await?),
        };
        let server = match (&postgres, &options.database_url) {
            (None, Some(url)) => url.parse().ok().context("DATABASE_URL is not a PostgreSQL URL")?,
            (Some(postgres), _) => postgres.connect_options("postgres"),
            (None, None) => anyhow::bail!("there is no server"),
        };
        let databases = DatabaseOptions::on_server(&server, &prefix);
        Ok(Self { databases, server, directory, postgres, description })
    }

    /// Opens a Carelog on the databases of the run, which are made on the first call.
    pub(super) async fn open(&self) -> anyhow::Result<System> {
        System::open(&self.databases, &self.directory.join("root.key"), Arc::new(SystemClock)).await
    }

    /// Reads processor time.
    pub(super) fn meter(&self) -> Meter {
        Meter { postmaster: self.postgres.as_ref().and_then(Postgres::postmaster_pid) }
    }

    /// Lets the disk take what earlier phases left to it: the kernel writes it half a minute later, at once, and every
    /// commit of that moment waits for a few hundred milliseconds.
    pub(super) async fn come_to_rest(&self) -> anyhow::Result<()> {
        let directory = std::fs::File::open(&self.directory)?;
        Ok(tokio::task::spawn_blocking(move || rustix::fs::syncfs(directory)).await??)
    }

    pub(super) fn description(&self) -> Vec<String> {
        self.description.clone()
    }

    /// Removes everything. Failures are told, not returned: the figures are worth more.
    pub(super) async fn clear(self) {
        match &self.postgres {
            Some(postgres) => postgres.stop().await,
            None => {
                if let Err(error) = self.drop_databases().await {
                    eprintln!("the databases of the run could not be dropped: {error}");
                }
            }
        }
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            eprintln!("{} could not be removed: {error}", self.directory.display());
        }
    }

    async fn drop_databases(&self) -> Result<(), sqlx::Error> {
        let mut connection = PgConnection::connect_with(&self.server).await?;
        let DatabaseOptions { core, audit, analytics, vault } = &self.databases;
        for options in [core, audit, analytics, vault] {
            let name = options.get_database().unwrap_or_default();
            // Made of a constant and a number.
            let statement = format!("drop database if exists {name} with (force)");
            connection.execute(AssertSqlSafe(statement)).await?;
        }
        connection.close().await
    }
}

async fn start_private(
    directory: &std::path::Path,
    options: &StageOptions,
    description: &mut Vec<String>,
) -> anyhow::Result<Postgres> {
    let mut server = PostgresOptions::new(directory);
    description
        .push("On a private PostgreSQL with the product's settings: every commit is flushed.".to_owned());
    if let Some(delay_ms) = options.flush_delay_ms {
        server =
            server.setting("commit_delay", (delay_ms * 1000).to_string()).setting("commit_siblings", "0");
        description.push(format!(
            "commit_delay = {delay_ms} ms with commit_siblings = 0: each flush of a commit waits that long first. \
             The nearest thing to a slow disk that PostgreSQL offers; flushes of others than commits are not delayed."
        ));
    }
    for setting in &options.settings {
        let (name, value) = setting.split_once('=').context("a setting is written name=value")?;
        server = server.setting(name, value);
        description.push(format!("With {name} = {value}."));
    }
    Postgres::start(server).await.context("the private PostgreSQL does not start")
}
