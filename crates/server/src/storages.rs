//! Which storage an organization's files lie in: the one that it brought, or Carelog's own.
//!
//! A clinic brings a storage as its integration `storage`: `bucket`, `access_key_id` and `secret_access_key`, and where
//! they differ from what AWS has, `region`, `endpoint`, `path_style`, `kms_key_id`. Its endpoint has to be one that the
//! operator allowed, because the server connects to it. Carelog's own storage gives every clinic a bucket and
//! credentials; both follow from the vault, so that nothing has to be kept.

mod settings;
mod tenants;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use carelog_domain::organization::{IntegrationCredentials, IntegrationKind};
use carelog_domain::{FileId, OrganizationId};
use carelog_embedded::s3::{self, REGION, S3Options};
use carelog_event_log::EventLog;
use carelog_files::{Credentials, Encryption, Storage, StorageError, StorageOptions};
use carelog_records::{IntegrationStatus, QueryError, queries};
use carelog_vault::VaultError;
use futures::future::BoxFuture;
use moka::sync::Cache;
use sqlx::{AssertSqlSafe, PgPool};

use self::tenants::VaultTenants;
use crate::config::Config;
use crate::serve::Roles;
use crate::system::System;

pub use self::settings::{SettingsError, StorageSettings};

/// Connections are kept for so many clinics.
const MAX_STORAGES: u64 = 1_000;
/// And for so long.
const KEEP: Duration = Duration::from_mins(10);

/// Finds the storage of an organization.
pub struct Storages {
    log: EventLog,
    pool: PgPool,
    /// Carelog's own: its address, and the one in links.
    own: Option<(String, Option<String>)>,
    allowed_endpoints: Vec<String>,
    connected: Cache<StorageOptions, Storage>,
}

/// Why there is no storage at hand.
#[derive(Debug, thiserror::Error)]
pub enum StoragesError {
    /// Neither the clinic nor the installation has one.
    #[error("the organization has no storage")]
    NotConfigured,
    /// What the clinic configured does not fit any more.
    #[error("the settings of the organization's storage do not fit")]
    Settings(#[from] SettingsError),
    /// The settings cannot be read at present.
    #[error("the settings of the storage cannot be read")]
    Records(#[from] QueryError),
    /// The keys cannot be had.
    #[error("the keys of the storage cannot be had")]
    Vault(#[from] VaultError),
    /// The sealed settings are none.
    #[error("the sealed settings of the storage do not parse")]
    Stored,
    /// The storage itself.
    #[error("the storage fails")]
    Storage(#[from] StorageError),
}

impl From<sqlx::Error> for StoragesError {
    fn from(error: sqlx::Error) -> Self {
        Self::Records(error.into())
    }
}

/// How the keys of an organization's objects begin: several may share a bucket.
pub fn prefix_of(organization_id: OrganizationId) -> String {
    format!("files/{organization_id}/")
}

/// The key of a file's object.
pub fn object_key(organization_id: OrganizationId, file_id: FileId) -> String {
    format!("{}{file_id}", prefix_of(organization_id))
}

/// The organization's file whose object has that key.
pub fn file_of(organization_id: OrganizationId, key: &str) -> Option<FileId> {
    key.strip_prefix(&prefix_of(organization_id))?.parse().ok()
}

impl Storages {
    /// Starts Carelog's own storage where the API runs and none is configured, and finds it elsewhere.
    ///
    /// # Errors
    /// When its directory or its address cannot be used.
    pub(crate) async fn open(config: &Config, system: &System, roles: Roles) -> anyhow::Result<Self> {
        let mut own = None;
        if config.storage.embedded && roles.api {
            let clock = system.log.clone();
            let options = S3Options {
                listen: config.storage_listen(),
                directory: config.storage_directory(),
                tenants: Arc::new(VaultTenants::new(system)),
                clock: Arc::new(move || clock.clock().now().unix_micros().div_euclid(1_000_000)),
                stop: system.runtime.stop.clone(),
                tasks: system.runtime.tasks.clone(),
            };
            let address = s3::serve(options).await.context("the storage cannot be started")?;
            own = Some((reached(address), config.storage.public_url.clone()));
        } else if config.storage.embedded {
            own = Some((reached(config.storage_listen()), config.storage.public_url.clone()));
        }
        Ok(Self {
            log: system.log.clone(),
            pool: system.databases.core_system.clone(),
            own,
            allowed_endpoints: config.storage.allowed_endpoints.clone(),
            connected: Cache::builder().max_capacity(MAX_STORAGES).time_to_live(KEEP).build(),
        })
    }

    /// Where Carelog's own storage is, as processes of this machine reach it.
    pub fn own_address(&self) -> Option<SocketAddr> {
        self.own.as_ref()?.0.strip_prefix("http://")?.parse().ok()
    }

    /// The storage of an organization, with its bucket.
    ///
    /// # Errors
    /// When there is none, or it does not answer.
    pub fn of(&self, organization_id: OrganizationId) -> BoxFuture<'_, Result<Storage, StoragesError>> {
        Box::pin(async move {
            let brought = self.brought(organization_id).await?;
            let is_brought = brought.is_some();
            let options = match brought {
                Some(options) => options,
                None => self.own(organization_id).await?,
            };
            if let Some(storage) = self.connected.get(&options) {
                return Ok(storage);
            }
            let storage = Storage::new(options.clone());
            // A clinic's own bucket is made by the clinic, with its own rules.
            if !is_brought {
                storage.ensure_bucket().await?;
            }
            self.connected.insert(options, storage.clone());
            Ok(storage)
        })
    }

    /// Checks settings of a clinic before they are kept.
    ///
    /// # Errors
    /// When they do not fit.
    pub fn check(&self, credentials: &IntegrationCredentials) -> Result<(), SettingsError> {
        StorageSettings::read(&credentials.settings, &self.allowed_endpoints).map(drop)
    }

    /// Whether files that lie in the organization's present storage would still be found with these settings, or with
    /// Carelog's own storage where there are none.
    ///
    /// # Errors
    /// When the present settings cannot be read.
    pub async fn is_same(
        &self,
        organization_id: OrganizationId,
        credentials: Option<&IntegrationCredentials>,
    ) -> Result<bool, StoragesError> {
        let place = |options: &StorageOptions| {
            (options.endpoint.clone(), options.region.clone(), options.bucket.clone())
        };
        let present = self.brought(organization_id).await?.as_ref().map(place);
        let next = match credentials {
            Some(credentials) => {
                let settings = StorageSettings::read(&credentials.settings, &self.allowed_endpoints)?;
                Some(place(&settings.options()))
            }
            None => None,
        };
        Ok(present == next)
    }

    async fn brought(
        &self,
        organization_id: OrganizationId,
    ) -> Result<Option<StorageOptions>, StoragesError> {
        let begin = AssertSqlSafe("begin read only; set local search_path to records, public");
        let mut tx = self.pool.begin_with(begin).await?;
        let kind = IntegrationKind::Storage;
        let record = queries::get_integration(&mut tx, organization_id, kind).await?;
        tx.commit().await?;
        let configured = record.filter(|record| record.status == IntegrationStatus::Configured);
        let Some(sealed) = configured.and_then(|record| record.personal) else { return Ok(None) };
        let opened = sealed.place.open(self.log.vault(), &sealed.sealed).await?;
        let credentials: IntegrationCredentials =
            opened.and_then(|json| serde_json::from_slice(&json).ok()).ok_or(StoragesError::Stored)?;
        let settings = StorageSettings::read(&credentials.settings, &self.allowed_endpoints)?;
        Ok(Some(settings.options()))
    }

    async fn own(&self, organization_id: OrganizationId) -> Result<StorageOptions, StoragesError> {
        let (endpoint, public_endpoint) = self.own.clone().ok_or(StoragesError::NotConfigured)?;
        let tenant = tenants::tenant_of(self.log.vault(), organization_id).await?;
        Ok(StorageOptions {
            endpoint: Some(endpoint),
            public_endpoint,
            region: REGION.to_owned(),
            bucket: tenant.bucket,
            path_style: true,
            credentials: Credentials {
                access_key_id: tenants::access_key_of(organization_id),
                secret_access_key: tenant.secret_access_key,
            },
            encryption: Encryption::Aes256,
        })
    }
}

/// The address by which this machine reaches a server that may listen on all of them.
fn reached(mut listen: SocketAddr) -> String {
    if listen.ip().is_unspecified() {
        listen.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    format!("http://{listen}")
}

impl fmt::Debug for Storages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storages").field("own", &self.own).finish_non_exhaustive()
    }
}
