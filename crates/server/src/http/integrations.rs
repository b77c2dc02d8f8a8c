//! Outside services that a clinic connects. Their credentials go in and never come out.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::Response;
use carelog_domain::organization::{
    IntegrationCredentials, IntegrationKind, Organization, OrganizationCommand,
};
use carelog_domain::{OrganizationId, Timestamp};
use carelog_event_log::LogPosition;
use carelog_records::{IntegrationRecord, IntegrationStatus, queries};
use carelog_video::daily::DailyAccount;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{PathName, Query};
use super::caller::Caller;
use super::command::{CommandAnswer, Nothing, Wish, json};
use super::freshness::{self, View};
use super::page::{Fresh, Page};
use super::problem::Problem;
use super::text::Lines;
use super::{Api, schemas};
use crate::recordings;
use crate::storages::Storages;

const MAX_SETTINGS: usize = 50;
const MAX_NAME: usize = 100;
/// Long enough for a certificate in PEM.
const MAX_VALUE: usize = 8000;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(configure, remove))
}

/// Settings and secrets of an integration; kept encrypted, never shown again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConfigureIntegrationBody {
    /// Value by the name of the setting, all of them.
    #[schema(value_type = BTreeMap<String, String>)]
    settings: BTreeMap<String, Lines<MAX_VALUE>>,
}

/// An integration, without its credentials.
#[derive(Debug, Serialize, ToSchema)]
struct IntegrationView {
    /// Which one.
    #[schema(schema_with = schemas::integration_kind)]
    integration: IntegrationKind,
    /// Whether it is in use.
    is_configured: bool,
    /// When it was configured first.
    #[schema(schema_with = schemas::moment)]
    created_at: Timestamp,
    /// When it changed last.
    #[schema(schema_with = schemas::moment)]
    updated_at: Timestamp,
}

impl From<IntegrationRecord> for IntegrationView {
    fn from(record: IntegrationRecord) -> Self {
        Self {
            integration: record.integration,
            is_configured: record.status == IntegrationStatus::Configured,
            created_at: record.stamp.created_at,
            updated_at: record.stamp.updated_at,
        }
    }
}

/// Every integration that was ever configured.
#[utoipa::path(get, path = "/v1/integrations", tag = "organization", params(Fresh),
    responses((status = 200, description = "All of them.", body = Page<IntegrationView>)))]
async fn list(caller: Caller, Query(fresh): Query<Fresh>) -> Result<Response, Problem> {
    caller.wait_for(fresh.wait_for.as_deref(), View::Records).await?;
    let mut tx = caller.read().await?;
    let records = queries::list_integrations(&mut tx, caller.organization_id).await?;
    tx.commit().await?;
    let items = records.into_iter().map(IntegrationView::from).collect();
    Ok(json(StatusCode::OK, &Page::<IntegrationView> { items, next: None }))
}

/// Give an integration its settings and credentials.
///
/// `daily` (`api_key`) runs the video rooms that are made from then on. Without it Carelog runs them itself, from browser
/// to browser. What that cannot enforce: the server neither sees nor can cut sound and picture, so pages obey the end of a
/// room by themselves; participants learn each other's network addresses, unless the installation lets everything go by
/// its own relay (`relay_only`); and a page that somebody altered can record without leave.
#[utoipa::path(put, path = "/v1/integrations/{integration}", tag = "organization",
    params(("integration" = String, Path)), request_body = ConfigureIntegrationBody,
    responses((status = 200, description = "In use.", body = CommandAnswer)))]
async fn configure(
    caller: Caller,
    PathName(integration): PathName<IntegrationKind>,
    wish: Wish<ConfigureIntegrationBody>,
) -> Result<Response, Problem> {
    let settings = wish.body.settings;
    let names_fit = settings.keys().all(|name| (1..=MAX_NAME).contains(&name.len()));
    if settings.len() > MAX_SETTINGS || !names_fit {
        return Err(Problem::invalid(
            "/settings",
            "expected at most 50 settings with names of 1 to 100 bytes",
        ));
    }
    let settings: BTreeMap<String, String> =
        settings.into_iter().map(|(name, value)| (name, value.into())).collect();
    check(caller.organization_id, integration, &settings)?;
    let credentials = IntegrationCredentials { settings };
    if integration == IntegrationKind::Storage
        && let Some(storages) = caller.api.system.storages.get()
    {
        storages.check(&credentials).map_err(|error| Problem::invalid("/settings", error.to_string()))?;
        require_same_storage(&caller, storages, Some(&credentials)).await?;
    }
    let command = OrganizationCommand::ConfigureIntegration { integration, credentials };
    let id = caller.organization_id.uuid();
    Ok(caller.change::<Organization>(&wish.terms, id, None, command).await?.changed())
}

/// Refuses settings with which an integration could not be used.
fn check(
    organization_id: OrganizationId,
    integration: IntegrationKind,
    settings: &BTreeMap<String, String>,
) -> Result<(), Problem> {
    match integration {
        IntegrationKind::Daily => {
            DailyAccount::from_settings(organization_id, settings).map(drop).map_err(|(name, expected)| {
                // A pointer's own characters stand for others (RFC 6901).
                let name = name.replace('~', "~0").replace('/', "~1");
                Problem::invalid(format!("/settings/{name}"), expected)
            })
        }
        IntegrationKind::Storage | IntegrationKind::Telemetry => Ok(()),
    }
}

/// Refuses to leave a storage in which files lie, or pieces of a recording: nobody would find or erase them any more.
async fn require_same_storage(
    caller: &Caller,
    storages: &Storages,
    next: Option<&IntegrationCredentials>,
) -> Result<(), Problem> {
    if storages.is_same(caller.organization_id, next).await? {
        return Ok(());
    }
    // Also a file or a recording that was asked for a moment ago.
    let log = caller.api.log();
    log.refresh_heads().await?;
    let lane = log.lane_of(caller.organization_id).await?;
    let place = LogPosition { lane, position: *log.head(lane).borrow() };
    for view in [View::Records, View::Video] {
        freshness::wait(&caller.api, place, view).await?;
    }
    let mut tx = caller.read().await?;
    let has_files = queries::has_files(&mut tx, caller.organization_id).await?;
    tx.commit().await?;
    let in_use =
        |detail: &'static str| Err(Problem::new(StatusCode::CONFLICT, "storage_in_use").detail(detail));
    if has_files {
        return in_use(
            "files lie in the present bucket: delete them first, or keep bucket, region and endpoint",
        );
    }
    let unfinished = recordings::has_unfinished(&caller.api.system, caller.organization_id).await;
    if unfinished.map_err(|error| Problem::unavailable(error.as_ref()))? {
        return in_use("a consultation is being recorded: wait until that has become a file");
    }
    Ok(())
}

/// Take an integration away.
#[utoipa::path(delete, path = "/v1/integrations/{integration}", tag = "organization",
    params(("integration" = String, Path)),
    responses((status = 200, description = "No longer in use.", body = CommandAnswer)))]
async fn remove(
    caller: Caller,
    PathName(integration): PathName<IntegrationKind>,
    wish: Wish<Nothing>,
) -> Result<Response, Problem> {
    if integration == IntegrationKind::Storage
        && let Some(storages) = caller.api.system.storages.get()
    {
        require_same_storage(&caller, storages, None).await?;
    }
    let command = OrganizationCommand::RemoveIntegration { integration };
    let id = caller.organization_id.uuid();
    Ok(caller.change::<Organization>(&wish.terms, id, None, command).await?.changed())
}
