//! What rooms of an organization depend on, with its account opened.

use std::collections::BTreeSet;

use carelog_domain::organization::{
    IntegrationCredentials, IntegrationKind, Organization, OrganizationEvent,
};
use carelog_domain::patient::{ConsentKind, Patient};
use carelog_domain::video_room::RecordingLeave;
use carelog_domain::{CodecError, EventType, OrganizationId, PatientId, StreamKind};
use carelog_event_log::{EventLog, Premise, ReadError, SealedPlace, StreamKey};
use cqrs_es::Aggregate as _;
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
    /// The log cannot be read.
    #[error("what allows recording cannot be read")]
    Read(#[from] ReadError),
    /// A stored event is none of its stream's.
    #[error("a stored event does not decode")]
    Codec(#[from] CodecError),
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

    /// Whether a patient may be recorded, as the log says now: both streams are read to their end.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn leave(
        &self,
        organization_id: OrganizationId,
        patient_id: PatientId,
    ) -> BoxFuture<'_, Result<RecordingLeave, DirectoryError>> {
        Box::pin(async move {
            let stream = |kind, id| StreamKey { organization_id, kind, id };
            let mut organization = Organization::default();
            let of_organization = stream(StreamKind::Organization, organization_id.uuid());
            for event in self.log.stream(&of_organization, 0).await? {
                organization.apply(event.decode_as()?);
            }
            let mut patient = Patient::default();
            for event in self.log.stream(&stream(StreamKind::Patient, patient_id.uuid()), 0).await? {
                patient.apply(event.decode_as()?);
            }
            Ok(RecordingLeave {
                is_enabled: organization.settings().is_some_and(|settings| settings.recording_enabled),
                // Nothing is recorded of somebody who is to be forgotten.
                has_consent: patient.consent(ConsentKind::Recording).is_some() && patient.erasure().is_none(),
            })
        })
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

    /// What a room rests on that is made with an account: that it is still the organization's. Nothing where it is not any
    /// more, and the projection does not know of it yet.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) async fn premise(
        &self,
        organization_id: OrganizationId,
        account_version: i64,
    ) -> Result<Option<Premise>, DirectoryError> {
        let id = organization_id.uuid();
        let stream = StreamKey { organization_id, kind: StreamKind::Organization, id };
        let mut premise = Premise { stream, version: account_version };
        for event in self.log.stream(&stream, account_version).await? {
            let changed = match event.decode_as::<OrganizationEvent>()? {
                OrganizationEvent::IntegrationConfigured(configured) => Some(configured.integration),
                OrganizationEvent::IntegrationRemoved(removed) => Some(removed.integration),
                _ => None,
            };
            if changed == Some(IntegrationKind::Daily) {
                return Ok(None);
            }
            premise.version = event.version;
        }
        Ok(Some(premise))
    }

    /// Whether the organization has given itself an account with Daily, be it that it cannot be used.
    ///
    /// # Errors
    /// When the database fails.
    pub fn has_daily<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        organization_id: OrganizationId,
    ) -> BoxFuture<'a, Result<bool, DirectoryError>> {
        Box::pin(async move { Ok(self.organization(connection, organization_id).await?.daily.is_some()) })
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
