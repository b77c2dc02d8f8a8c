//! The clinics of Carelog's own storage, with secrets that follow from the vault.

use std::sync::Arc;
use std::time::Duration;

use carelog_domain::OrganizationId;
use carelog_embedded::s3::{Tenant, Tenants, TenantsError};
use carelog_event_log::EventLog;
use carelog_records::queries;
use carelog_vault::{Vault, VaultError};
use futures::future::BoxFuture;
use moka::sync::Cache;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::sync::Semaphore;
use uuid::Uuid;

const ACCESS_KEY_PREFIX: &str = "carelog";
const MAX_TENANTS: u64 = 10_000;
/// A key that was destroyed works no longer than this.
const KEEP: Duration = Duration::from_mins(1);
/// A stranger's name is not looked up again so soon; a clinic that has just begun waits no longer.
const FORGET: Duration = Duration::from_secs(1);

/// Finds the clinics in the records and their secrets in the vault.
pub(super) struct VaultTenants {
    log: EventLog,
    pool: PgPool,
    known: Cache<OrganizationId, Arc<Tenant>>,
    unknown: Cache<OrganizationId, ()>,
    /// Names that are looked up at the same time: strangers wait for each other, and for nobody else.
    looking: Semaphore,
}

/// The public half of a clinic's credentials.
pub(super) fn access_key_of(organization_id: OrganizationId) -> String {
    format!("{ACCESS_KEY_PREFIX}{}", organization_id.uuid().simple())
}

fn organization_of(access_key_id: &str) -> Option<OrganizationId> {
    let id = access_key_id.strip_prefix(ACCESS_KEY_PREFIX)?;
    Uuid::try_parse(id).ok().map(OrganizationId::new).filter(|found| access_key_of(*found) == access_key_id)
}

/// A clinic's bucket, secret and key.
pub(super) async fn tenant_of(vault: &Vault, organization_id: OrganizationId) -> Result<Tenant, VaultError> {
    let secret = vault.derived_secret(organization_id, "storage-access").await?;
    let key = vault.derived_secret(organization_id, "storage-encryption").await?;
    Ok(Tenant {
        bucket: format!("carelog-{}", organization_id.uuid().simple()),
        secret_access_key: hex::encode(*secret),
        key: *key,
    })
}

impl VaultTenants {
    pub(super) fn new(system: &crate::system::System) -> Self {
        Self {
            log: system.log.clone(),
            pool: system.databases.core_system.clone(),
            known: Cache::builder().max_capacity(MAX_TENANTS).time_to_live(KEEP).build(),
            unknown: Cache::builder().max_capacity(MAX_TENANTS).time_to_live(FORGET).build(),
            looking: Semaphore::new(2),
        }
    }

    async fn look_up(&self, organization_id: OrganizationId) -> anyhow::Result<Option<Arc<Tenant>>> {
        let begin = AssertSqlSafe("begin read only; set local search_path to records, public");
        let mut tx = self.pool.begin_with(begin).await?;
        let known = queries::get_organization(&mut tx, organization_id).await?;
        tx.commit().await?;
        // The vault would make keys for whoever asks.
        if known.is_none() {
            return Ok(None);
        }
        Ok(Some(Arc::new(tenant_of(self.log.vault(), organization_id).await?)))
    }
}

impl Tenants for VaultTenants {
    fn find<'a>(
        &'a self,
        access_key_id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<Tenant>>, TenantsError>> {
        Box::pin(async move {
            let Some(organization_id) = organization_of(access_key_id) else { return Ok(None) };
            if let Some(known) = self.known.get(&organization_id) {
                return Ok(Some(known));
            }
            if self.unknown.contains_key(&organization_id) {
                return Ok(None);
            }
            let _turn = self.looking.acquire().await.map_err(|error| TenantsError(error.into()))?;
            let found = self.look_up(organization_id).await.map_err(|error| TenantsError(error.into()))?;
            match &found {
                Some(tenant) => self.known.insert(organization_id, Arc::clone(tenant)),
                None => self.unknown.insert(organization_id, ()),
            }
            Ok(found)
        })
    }
}
