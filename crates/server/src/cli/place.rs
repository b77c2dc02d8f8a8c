//! Where the databases are: on the configured server, or on the private one of the home.

use std::convert::Infallible;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;

use anyhow::Context;
use carelog_embedded::postgres::{Postgres, PostgresOptions};

use crate::config::Config;
use crate::databases::DatabaseOptions;

/// The prefix of the databases' names on the private server.
const PREFIX: &str = "carelog";

/// The databases, and the server that has to run for them.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) databases: DatabaseOptions,
    postgres: Option<Postgres>,
}

impl Place {
    /// Finds the databases. The private server is used as it runs, or started; one that another process is about to start
    /// is waited for.
    ///
    /// # Errors
    /// When the private server cannot be used or started.
    pub(super) async fn find(config: &Config) -> anyhow::Result<Self> {
        if let Some(databases) = config.database.options()? {
            // The keys live there, whoever keeps the databases.
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&config.home)
                .with_context(|| format!("the home {} cannot be created", config.home.display()))?;
            return Ok(Self { databases, postgres: None });
        }
        let postgres = Postgres::attach_or_start(PostgresOptions::new(&config.home))
            .await
            .context("the private PostgreSQL cannot be used; DATABASE_URL names another server")?;
        let databases = DatabaseOptions::on_server(&postgres.connect_options("postgres"), PREFIX);
        Ok(Self { databases, postgres: Some(postgres) })
    }

    /// The private server, where there is one.
    pub(super) const fn postgres(&self) -> Option<&Postgres> {
        self.postgres.as_ref()
    }

    /// Keeps the private server running while this is polled: one that another process started is taken over when that
    /// process ends.
    ///
    /// # Errors
    /// When it cannot be taken over.
    pub(super) async fn hold(&mut self) -> anyhow::Result<Infallible> {
        if let Some(postgres) = &mut self.postgres {
            postgres
                .take_over()
                .await
                .context("the private PostgreSQL ended with the process that had started it")?;
        }
        std::future::pending().await
    }

    /// Stops the private server, where this process started it.
    pub(super) async fn leave(self) {
        if let Some(postgres) = self.postgres {
            postgres.stop().await;
        }
    }
}
