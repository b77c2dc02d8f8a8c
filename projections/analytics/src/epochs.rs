//! Epochs of pseudonyms, and their end: only once nothing is kept under them any more.

use std::collections::HashMap;

use carelog_domain::OrganizationId;
use carelog_event_log::runtime::Projector as _;
use carelog_vault::{PseudonymKey, Pseudonyms, VaultError};
use futures::future::BoxFuture;
use sqlx::{PgConnection, PgPool};

use crate::Analytics;

/// The epoch that the facts of each clinic stand under, and its key.
pub type EpochKeys = HashMap<OrganizationId, (i32, PseudonymKey)>;

/// Why the key of an epoch was not destroyed.
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    /// Facts stand under pseudonyms of the epoch. A rebuild takes the newest.
    #[error(
        "the facts of organization {organization_id} stand under pseudonyms of epoch {epoch}; rebuild them first"
    )]
    InUse {
        /// The clinic.
        organization_id: OrganizationId,
        /// The epoch.
        epoch: i32,
    },
    /// A rebuild may be writing facts under the epoch.
    #[error("analytics are being rebuilt; wait until that has ended")]
    Rebuilding,
    /// The vault refuses, or does not answer.
    #[error("the vault did not destroy the key")]
    Vault(#[from] VaultError),
    /// The database of analytics failed.
    #[error("the database of analytics failed")]
    Database(#[from] sqlx::Error),
}

/// Which epoch the facts of a clinic stand under; nothing where it has none.
///
/// # Errors
/// When the database fails.
pub fn in_use(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
) -> BoxFuture<'_, Result<Option<i32>, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_scalar!(
            "select pseudonym_epoch from analytics.analytics_organizations where organization_id = $1",
            organization_id.uuid()
        )
        .fetch_optional(connection)
        .await
    })
}

/// Destroys the key of an epoch: from then on nothing leads from its pseudonyms to people.
///
/// # Errors
/// See [`EpochError`]; the key is then untouched. The newest epoch of a clinic is always refused.
pub fn destroy<'a>(
    pool: &'a PgPool,
    pseudonyms: &'a Pseudonyms,
    organization_id: OrganizationId,
    epoch: i32,
) -> BoxFuture<'a, Result<(), EpochError>> {
    Box::pin(async move {
        let mut tx = pool.begin().await?;
        // Held to the end: a rebuild that begins meanwhile waits, and then takes the newest epoch, which is not this one.
        let is_rebuilding = sqlx::query_scalar!(
            r#"
            select rebuild_version is not null as "is_rebuilding!"
            from runtime.projections
            where projector = $1
            for update
            "#,
            Analytics::NAME
        )
        .fetch_optional(&mut *tx)
        .await?;
        if is_rebuilding == Some(true) {
            return Err(EpochError::Rebuilding);
        }
        if in_use(&mut tx, organization_id).await? == Some(epoch) {
            return Err(EpochError::InUse { organization_id, epoch });
        }
        pseudonyms.destroy(organization_id, epoch).await?;
        tx.commit().await?;
        Ok(())
    })
}
