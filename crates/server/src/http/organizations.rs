//! Organizations: registered by the operator, and seen and set by their own keys.

use std::sync::Arc;

use axum::extract::OriginalUri;
use axum::response::Response;
use carelog_domain::organization::{
    Organization, OrganizationCommand, OrganizationProfile, OrganizationSettings,
};
use carelog_domain::{OrganizationId, Timestamp};
use carelog_event_log::derived_id;
use carelog_records::{OrganizationRecord, queries};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::body::Query;
use super::caller::{Caller, Operator};
use super::command::{CommandAnswer, Wish, shown};
use super::freshness::View;
use super::opening::{Opened, open};
use super::page::{Cursor, Fresh, Page, Window};
use super::problem::Problem;
use super::reading::read_all;
use super::text::Line;
use super::{Api, schemas};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(register, list)).routes(routes!(get)).routes(routes!(change_settings))
}

/// How a clinic names itself; kept encrypted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OrganizationProfileBody {
    /// The clinic's name.
    #[schema(value_type = String, min_length = 1, max_length = 200)]
    name: Line<200>,
    /// IANA time zone, `Europe/Berlin`.
    #[schema(value_type = String, min_length = 1, max_length = 64)]
    time_zone: Line<64>,
}

impl TryFrom<OrganizationProfileBody> for OrganizationProfile {
    type Error = Problem;

    fn try_from(body: OrganizationProfileBody) -> Result<Self, Problem> {
        let time_zone = String::from(body.time_zone);
        if jiff::tz::TimeZone::get(&time_zone).is_err() {
            return Err(Problem::invalid("/profile/time_zone", "is no IANA time zone"));
        }
        Ok(Self { name: body.name.into(), time_zone })
    }
}

/// A clinic to join.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RegisterOrganizationBody {
    /// Its id; made by the server where it is absent.
    id: Option<Uuid>,
    /// How it names itself.
    profile: OrganizationProfileBody,
}

/// All settings of a clinic.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OrganizationSettingsBody {
    /// Whether consultations may be recorded at all.
    recording_enabled: bool,
    /// Analytics suppress groups of fewer patients than this; at least 5.
    small_cell_threshold: u16,
    /// How long before an appointment its room opens, in minutes.
    waiting_room_minutes: u16,
    /// A new profile, if that changes too.
    profile: Option<OrganizationProfileBody>,
}

/// Which organizations are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// The `next` of the page before.
    after: Option<String>,
    /// So many, 50 where it is absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
}

/// A clinic as the operator sees it: without its name, which is its own.
#[derive(Debug, Serialize, ToSchema)]
struct OrganizationItem {
    /// Its id.
    id: Uuid,
    /// When it joined.
    #[schema(schema_with = schemas::moment)]
    created_at: Timestamp,
}

/// A clinic as its own keys see it.
#[derive(Debug, Serialize, ToSchema)]
struct OrganizationView {
    /// Its id.
    id: Uuid,
    /// Its version; staff, integrations and keys count.
    version: i64,
    /// The clinic's name.
    name: Option<String>,
    /// IANA time zone.
    time_zone: Option<String>,
    /// Whether consultations may be recorded at all.
    recording_enabled: bool,
    /// Analytics suppress groups of fewer patients than this.
    small_cell_threshold: u16,
    /// How long before an appointment its room opens, in minutes.
    waiting_room_minutes: u16,
    /// When it joined.
    #[schema(schema_with = schemas::moment)]
    created_at: Timestamp,
    /// When it changed last.
    #[schema(schema_with = schemas::moment)]
    updated_at: Timestamp,
}

impl OrganizationView {
    async fn of(caller: &Caller, record: OrganizationRecord) -> Result<Self, Problem> {
        let profile: Opened<OrganizationProfile> =
            open(caller.api.log().vault(), record.personal.as_ref()).await?;
        let (name, time_zone) = profile.split().0.map(|profile| (profile.name, profile.time_zone)).unzip();
        Ok(Self {
            id: record.organization_id.uuid(),
            version: record.stamp.version,
            name,
            time_zone,
            recording_enabled: record.settings.recording_enabled,
            small_cell_threshold: record.settings.small_cell_threshold,
            waiting_room_minutes: record.settings.waiting_room_minutes,
            created_at: record.stamp.created_at,
            updated_at: record.stamp.updated_at,
        })
    }
}

/// Let a clinic join. Only for the operator.
#[utoipa::path(post, path = "/v1/organizations", tag = "operator", request_body = RegisterOrganizationBody,
    responses((status = 201, description = "Joined.", body = CommandAnswer)))]
async fn register(operator: Operator, wish: Wish<RegisterOrganizationBody>) -> Result<Response, Problem> {
    // An idempotency key belongs to an organization, and here there is none yet: the id follows from the key.
    let id = match (wish.body.id, wish.terms.idempotency()) {
        (Some(id), _) => id,
        (None, Some(idempotency)) => derived_id(Uuid::nil(), idempotency.key.as_bytes()),
        (None, None) => carelog_event_log::new_id(),
    };
    let command = OrganizationCommand::Register { profile: wish.body.profile.try_into()? };
    let caller = operator.within(OrganizationId::new(id));
    Ok(caller.create::<Organization>(&wish.terms, id, None, command).await?.created())
}

/// Every clinic, in the order of their ids. Only for the operator.
#[utoipa::path(get, path = "/v1/organizations", tag = "operator", params(ListQuery),
    responses((status = 200, description = "One page.", body = Page<OrganizationItem>)))]
async fn list(
    operator: Operator,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let window = Window::read(query.limit, query.after.as_deref())?;
    let mut tx = read_all(&operator.api.system.databases.core_system).await?;
    let after = window.cursor().map(|cursor| cursor.id);
    let rows = carelog_records::queries::list_organizations(&mut tx, after, window.limit_and_one()).await?;
    tx.commit().await?;
    let (rows, next) = window.cut_at(rows, |(id, _)| Cursor { number: 0, id: id.uuid() });
    let items = rows
        .into_iter()
        .map(|(id, created_at)| Ok(OrganizationItem { id: id.uuid(), created_at: timestamp(created_at)? }))
        .collect::<Result<Vec<_>, Problem>>()?;
    Ok(Page { items, next }.respond(&uri))
}

/// The clinic of the key.
#[utoipa::path(get, path = "/v1/organization", tag = "organization", params(Fresh),
    responses((status = 200, description = "It.", body = OrganizationView)))]
async fn get(caller: Caller, Query(fresh): Query<Fresh>) -> Result<Response, Problem> {
    caller.wait_for(fresh.wait_for.as_deref(), View::Records).await?;
    let mut tx = caller.read().await?;
    let record = queries::get_organization(&mut tx, caller.organization_id).await?;
    tx.commit().await?;
    let view = OrganizationView::of(&caller, record.ok_or_else(Problem::not_found)?).await?;
    shown(view.version, &view)
}

/// Change the settings.
#[utoipa::path(put, path = "/v1/organization/settings", tag = "organization", request_body = OrganizationSettingsBody,
    responses((status = 200, description = "In force.", body = CommandAnswer)))]
async fn change_settings(caller: Caller, wish: Wish<OrganizationSettingsBody>) -> Result<Response, Problem> {
    let body = wish.body;
    let command = OrganizationCommand::ChangeSettings {
        settings: OrganizationSettings {
            recording_enabled: body.recording_enabled,
            small_cell_threshold: body.small_cell_threshold,
            waiting_room_minutes: body.waiting_room_minutes,
        },
        profile: body.profile.map(OrganizationProfile::try_from).transpose()?,
    };
    let id = caller.organization_id.uuid();
    Ok(caller.change::<Organization>(&wish.terms, id, None, command).await?.changed())
}

/// A moment from the database.
pub(super) fn timestamp(moment: OffsetDateTime) -> Result<Timestamp, Problem> {
    Timestamp::try_from(moment).map_err(|error| Problem::internal(&error))
}
