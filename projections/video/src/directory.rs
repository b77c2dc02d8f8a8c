//! What rooms of an organization depend on, with its account opened.

use std::collections::BTreeSet;

use carelog_domain::organization::IntegrationCredentials;
use carelog_domain::{EventType, OrganizationId, StreamKind};
use carelog_event_log::{EventLog, SealedPlace, StreamKey};
use futures::future::BoxFuture;
use sqlx::PgConnection;

use crate::daily::DailyAccount;
use crate::model::{OrganizationRow, SealedCredentials};
use crate::queries::{QueryError, load_organizations};

/// Why an account cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The organization cannot be read.
    #[error("the organization's provider cannot be read")]
    Query(#[from] QueryError),
    /// The keys cannot be reached.
    #[error("the organization's account cannot be opened")]
    Vault(#[from] carelog_vault::VaultError),
}

impl From<sqlx::Error> for DirectoryError {
    fn from(error: sqlx::Error) -> Self {
        Self::Query(error.into())
    }
}

/// Opens accounts. Nothing is remembered: a key that was replaced is used no more from that moment on.
#[derive(Clone, Debug)]
pub struct Directory {
    log: EventLog,
}

impl Directory {
    /// A directory over the log's vault.
    pub const fn new(log: EventLog) -> Self {
        Self { log }
    }

    /// What rooms of an organization depend on. The connection has to find the projection's tables.
    ///
    /// # Errors
    /// When the database fails or a stored value does not parse.
    pub(crate) async fn organization(
        &self,
        connection: &mut PgConnection,
        organization_id: OrganizationId,
    ) -> Result<OrganizationRow, DirectoryError> {
        let asked = BTreeSet::from([organization_id]);
        let found = load_organizations(connection, &asked).await?.remove(&organization_id);
        Ok(found.unwrap_or_default())
    }

    /// The account that the organization has with Daily; nothing where it has none that can be used.
    ///
    /// # Errors
    /// When the database or the vault fails.
    pub fn daily<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        organization_id: OrganizationId,
    ) -> BoxFuture<'a, Result<Option<DailyAccount>, DirectoryError>> {
        Box::pin(async move {
            let organization = self.organization(connection, organization_id).await?;
            match &organization.daily {
                Some(credentials) => self.open(organization_id, credentials).await,
                None => Ok(None),
            }
        })
    }

    /// Opens sealed credentials; nothing where their key was destroyed or they are not those of Daily.
    ///
    /// # Errors
    /// When the vault fails.
    pub(crate) async fn open(
        &self,
        organization_id: OrganizationId,
        credentials: &SealedCredentials,
    ) -> Result<Option<DailyAccount>, DirectoryError> {
        let place = SealedPlace {
            stream: StreamKey { organization_id, kind: StreamKind::Organization, id: organization_id.uuid() },
            version: credentials.version,
            event_id: credentials.event_id,
            event_type: EventType::OrganizationIntegrationConfigured,
            schema_version: credentials.schema_version,
            subject: None,
        };
        let Some(json) = place.open(self.log.vault(), &credentials.sealed).await? else { return Ok(None) };
        let settings = serde_json::from_slice::<IntegrationCredentials>(&json).ok();
        Ok(settings
            .and_then(|settings| DailyAccount::from_settings(organization_id, &settings.settings).ok()))
    }
}
