//! One running Carelog: the databases, the log, the vault and the loops that follow the log.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use carelog_event_log::runtime::{Runtime, follow_other_processes};
use carelog_event_log::{Clock, EventLog, new_id};
use carelog_vault::{Pseudonyms, RootKey, Vault};
use carelog_video::ProviderRecordings;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::databases::{DatabaseOptions, Databases};
use crate::storages::Storages;

/// How long a stop waits for work in flight.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);

/// The parts that every role of the process shares. Cheap to clone.
#[derive(Clone, Debug)]
pub struct System {
    /// Connections.
    pub databases: Databases,
    /// The log.
    pub log: EventLog,
    /// Keys of pseudonyms, which open nothing.
    pub pseudonyms: Arc<Pseudonyms>,
    /// What projector loops need.
    pub runtime: Runtime,
    /// Where files lie; known once a server has started.
    pub storages: Arc<OnceLock<Storages>>,
    /// Recordings that lie with the provider; known once a server has started that projects or works.
    pub provider_recordings: Arc<OnceLock<ProviderRecordings>>,
}

impl System {
    /// Migrates the databases and opens the log.
    ///
    /// # Errors
    /// When a database or the root key cannot be used.
    pub async fn open(
        options: &DatabaseOptions,
        root_key: &Path,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        Box::pin(options.migrate()).await?;
        Self::open_migrated(options, root_key, clock).await
    }

    /// Opens the log of databases that are at the newest schema.
    ///
    /// # Errors
    /// When a database or the root key cannot be used.
    pub fn open_migrated<'a>(
        options: &'a DatabaseOptions,
        root_key: &'a Path,
        clock: Arc<dyn Clock>,
    ) -> BoxFuture<'a, anyhow::Result<Self>> {
        Box::pin(Self::open_log(options, root_key, clock))
    }

    async fn open_log(
        options: &DatabaseOptions,
        root_key: &Path,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let databases = options.connect();
        if !root_key.exists() {
            // A new key beside old keys would lock every clinic out, and new ones into it.
            let is_needed =
                sqlx::query_scalar!(r#"select exists (select from vault.organization_keys) as "found!""#)
                    .fetch_one(&databases.vault)
                    .await
                    .context("the vault cannot be read")?;
            anyhow::ensure!(
                !is_needed,
                "the root key {} is missing, and only it opens what the vault holds: put it back from its backup",
                root_key.display()
            );
        }
        let load = || RootKey::load_or_create(root_key).context("the root key cannot be used");
        let vault = Vault::new(databases.vault.clone(), load()?);
        let pseudonyms = Arc::new(Pseudonyms::new(databases.pseudonyms.clone(), load()?));
        let tasks = TaskTracker::new();
        let log = EventLog::open(databases.core_system.clone(), vault, clock, &tasks).await?;
        let runtime = Runtime { log: log.clone(), owner: new_id(), stop: CancellationToken::new(), tasks };
        Ok(Self {
            databases,
            log,
            pseudonyms,
            runtime,
            storages: Arc::default(),
            provider_recordings: Arc::default(),
        })
    }

    /// Hears of what other processes append, and tells them of what is appended here.
    pub fn follow_other_processes(&self) {
        let following = follow_other_processes(
            self.log.clone(),
            self.databases.core_system.clone(),
            self.runtime.stop.clone(),
        );
        self.runtime.tasks.spawn(following);
    }

    /// Ends every loop and gives leases back; waits a few seconds for what is in flight. Says whether everything ended.
    pub async fn stop(self) -> bool {
        let Self { log, storages, provider_recordings, runtime, .. } = self;
        let Runtime { stop, tasks, log: runtimes_log, .. } = runtime;
        stop.cancel();
        tasks.close();
        // The lanes of the log end with its last handle.
        drop((log, runtimes_log, storages, provider_recordings));
        let has_ended = tokio::time::timeout(STOP_TIMEOUT, tasks.wait()).await.is_ok();
        if !has_ended {
            tracing::warn!("stopped with work in flight; leases run out by themselves");
        }
        has_ended
    }
}
