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
use carelog_video::daily::{DailyAccount, DailyApi, DailyError};
use futures::future::BoxFuture;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{PathName, Query};
use super::caller::Caller;
use super::command::{CommandAnswer, Wish, json};
use super::freshness::{self, View};
use super::page::{Fresh, Page};
use super::problem::Problem;
use super::text::Lines;
use super::{Api, schemas, video_rooms};
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
    /// For `daily`: leave the present account although rooms of it are open or recordings there are no files yet, because
    /// Daily refuses its key for good, say. Carelog reaches none of them any more: no new link opens such a room, whoever
    /// has an earlier one may use it until the room's end, which neither a move nor a cancellation of the appointment
    /// changes there, and recordings that are no files yet are never fetched or deleted.
    #[serde(default)]
    abandon_open: bool,
}

/// How to take an integration away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RemoveIntegrationBody {
    /// For `daily`: leave the account although rooms of it are open or recordings there are no files yet, which are lost to
    /// Carelog as where another account is given.
    #[serde(default)]
    abandon_open: bool,
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
/// `daily` (`api_key`) runs the video rooms that are made from then on. While rooms of it are open, or recordings there are
/// no files yet, the key may be replaced by another of the same domain, and by none else (`video_in_use`, which says how many
/// are in the way), unless `abandon_open` gives them up. Rooms get leave to record there only while a recording is asked for;
/// otherwise they are as the domain is, because Daily documents no value of `enable_recording` that forbids it to a room:
/// leave it unset for the domain.
///
/// Without `daily` Carelog runs rooms itself, from browser to browser. What that cannot enforce: the server neither sees nor
/// can cut sound and picture, so pages obey the end of a room by themselves; participants learn each other's network
/// addresses, unless the installation lets everything go by its own relay (`relay_only`); and a page that somebody altered
/// can record without leave.
#[utoipa::path(put, path = "/v1/integrations/{integration}", tag = "organization",
    params(("integration" = String, Path)), request_body = ConfigureIntegrationBody,
    responses((status = 200, description = "In use.", body = CommandAnswer)))]
async fn configure(
    caller: Caller,
    PathName(integration): PathName<IntegrationKind>,
    wish: Wish<ConfigureIntegrationBody>,
) -> Result<Response, Problem> {
    let ConfigureIntegrationBody { settings, abandon_open } = wish.body;
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
    if may_be_refused(integration, abandon_open)? {
        let account = DailyAccount::from_settings(caller.organization_id, &settings).ok();
        require_same_domain(&caller, account.as_ref()).await?;
    }
    let credentials = IntegrationCredentials { settings };
    if integration == IntegrationKind::Storage
        && let Some(storages) = caller.api.system.storages.get()
    {
        storages.check(&credentials).map_err(|error| Problem::invalid("/settings", error.to_string()))?;
        require_same_storage(&caller, storages, Some(&credentials)).await?;
    }
    let command = OrganizationCommand::ConfigureIntegration { integration, credentials, abandon_open };
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
    wait_for_all(caller, &[View::Records, View::Video]).await?;
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

/// Waits until views show everything that has happened to the organization.
async fn wait_for_all(caller: &Caller, views: &[View]) -> Result<(), Problem> {
    let log = caller.api.log();
    log.refresh_heads().await?;
    let lane = log.lane_of(caller.organization_id).await?;
    let place = LogPosition { lane, position: *log.head(lane).borrow() };
    for view in views {
        freshness::wait(&caller.api, place, *view).await?;
    }
    Ok(())
}

/// Whether rooms and recordings may stand in the way of another account.
fn may_be_refused(integration: IntegrationKind, abandon_open: bool) -> Result<bool, Problem> {
    let is_daily = integration == IntegrationKind::Daily;
    if abandon_open && !is_daily {
        return Err(Problem::invalid("/abandon_open", "expected for daily alone"));
    }
    Ok(is_daily && !abandon_open)
}

/// Refuses to leave a domain at Daily whose rooms are open, or whose recordings are no files yet: nobody would look at
/// them any more, whatever is withdrawn.
fn require_same_domain<'a>(
    caller: &'a Caller,
    next: Option<&'a DailyAccount>,
) -> BoxFuture<'a, Result<(), Problem>> {
    Box::pin(async move {
        wait_for_all(caller, &[View::Video]).await?;
        let in_use = recordings::rooms_in_use(&caller.api.system, caller.organization_id).await;
        let mut in_use = in_use.map_err(|error| Problem::unavailable(error.as_ref()))?;
        if let Some(account) = next
            && !in_use.is_empty()
            && let Some(domain_id) = domain_of_account(caller, account).await?
        {
            let mut elsewhere = Vec::new();
            for room in in_use {
                if video_rooms::domain_of(caller, room.appointment_id).await?.as_ref() != Some(&domain_id) {
                    elsewhere.push(room);
                }
            }
            in_use = elsewhere;
        }
        if in_use.is_empty() {
            return Ok(());
        }
        let open_count = in_use.iter().filter(|room| room.is_open).count();
        let unfinished_count: usize = in_use.iter().map(|room| room.unfinished_count).sum();
        Err(Problem::new(StatusCode::CONFLICT, "video_in_use").detail(format!(
            "open rooms at Daily that would be left: {open_count}, recordings that would never become files: \
             {unfinished_count}; cancel or await these appointments, give a key of their domain, or give them up with \
             abandon_open"
        )))
    })
}

/// The domain of an account; nothing where Daily refuses its key.
async fn domain_of_account(caller: &Caller, account: &DailyAccount) -> Result<Option<String>, Problem> {
    let daily = DailyApi::new(&caller.api.daily_url).map_err(|error| Problem::internal(&error))?;
    match daily.domain(account).await {
        Ok(domain) => Ok(Some(domain.domain_id)),
        Err(DailyError::Credentials { .. }) => Ok(None),
        Err(error) => Err(Problem::unavailable(&error)),
    }
}

/// Take an integration away.
///
/// `daily` stays while rooms of it are open, or recordings there are no files yet (`video_in_use`), unless `abandon_open`
/// gives them up.
#[utoipa::path(delete, path = "/v1/integrations/{integration}", tag = "organization",
    params(("integration" = String, Path)), request_body = RemoveIntegrationBody,
    responses((status = 200, description = "No longer in use.", body = CommandAnswer)))]
async fn remove(
    caller: Caller,
    PathName(integration): PathName<IntegrationKind>,
    wish: Wish<RemoveIntegrationBody>,
) -> Result<Response, Problem> {
    if integration == IntegrationKind::Storage
        && let Some(storages) = caller.api.system.storages.get()
    {
        require_same_storage(&caller, storages, None).await?;
    }
    if may_be_refused(integration, wish.body.abandon_open)? {
        require_same_domain(&caller, None).await?;
    }
    let command =
        OrganizationCommand::RemoveIntegration { integration, abandon_open: wish.body.abandon_open };
    let id = caller.organization_id.uuid();
    Ok(caller.change::<Organization>(&wish.terms, id, None, command).await?.changed())
}
