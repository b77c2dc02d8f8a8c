//! Specialists: added, deactivated, and read.

use std::sync::Arc;

use axum::extract::OriginalUri;
use axum::response::Response;
use carelog_domain::organization::{Organization, OrganizationCommand, StaffProfile};
use carelog_domain::specialist::{DeactivationReason, Profession, Specialist, SpecialistCommand};
use carelog_domain::{SpecialistId, StreamKind, Timestamp};
use carelog_records::queries;
use carelog_records::{SpecialistRecord, SpecialistStatus};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::body::{PathId, Query};
use super::caller::Caller;
use super::command::{CommandAnswer, Terms, Wish, shown};
use super::freshness::View;
use super::opening::{Opened, open};
use super::page::{Fresh, Page, Window};
use super::problem::Problem;
use super::text::Line;
use super::{Api, access, schemas};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(add, list)).routes(routes!(get)).routes(routes!(deactivate))
}

/// A specialist to join.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AddSpecialistBody {
    /// The specialist's id; made by the server where it is absent.
    id: Option<Uuid>,
    /// Trained in what.
    #[schema(schema_with = schemas::profession)]
    profession: Profession,
    /// Full name; kept encrypted.
    #[schema(value_type = String, min_length = 1, max_length = 200)]
    name: Line<200>,
    /// E-mail address; kept encrypted.
    #[schema(value_type = String, min_length = 1, max_length = 254)]
    email: Line<254>,
    /// When; now, where it is absent.
    #[schema(schema_with = schemas::moment)]
    occurred_at: Option<Timestamp>,
}

/// Why a specialist leaves.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DeactivateSpecialistBody {
    /// Why.
    #[schema(schema_with = schemas::deactivation_reason)]
    reason: DeactivationReason,
    /// When; now, where it is absent.
    #[schema(schema_with = schemas::moment)]
    occurred_at: Option<Timestamp>,
}

/// Which specialists are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Whether they work here.
    #[param(schema_with = schemas::specialist_status, required = false)]
    status: Option<SpecialistStatus>,
    /// The `next` of the page before.
    after: Option<String>,
    /// So many, 50 where it is absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// The `position` of a command that the list has to show.
    wait_for: Option<String>,
}

/// A specialist.
#[derive(Debug, Serialize, ToSchema)]
struct SpecialistView {
    /// The specialist's id.
    id: Uuid,
    /// The record's version.
    version: i64,
    /// Whether the specialist works here.
    #[schema(schema_with = schemas::specialist_status)]
    status: SpecialistStatus,
    /// Trained in what.
    #[schema(schema_with = schemas::profession)]
    profession: Profession,
    /// Full name.
    name: Option<String>,
    /// E-mail address; not shown to patients.
    email: Option<String>,
    /// Whether name and address are gone for ever.
    erased: bool,
    /// Why no longer here.
    #[schema(value_type = Option<String>)]
    deactivation_reason: Option<DeactivationReason>,
    /// When the specialist joined.
    #[schema(schema_with = schemas::moment)]
    created_at: Timestamp,
    /// When the record changed last.
    #[schema(schema_with = schemas::moment)]
    updated_at: Timestamp,
}

impl SpecialistView {
    async fn of(caller: &Caller, record: SpecialistRecord) -> Result<Self, Problem> {
        let profile: Opened<StaffProfile> = open(caller.api.log().vault(), record.personal.as_ref()).await?;
        let (profile, erased) = profile.split();
        let (name, email) = profile.map(|profile| (profile.name, profile.email)).unzip();
        Ok(Self {
            id: record.specialist_id.uuid(),
            version: record.stamp.version,
            status: record.status,
            profession: record.profession,
            name,
            email: email.filter(|_| caller.bound_to().is_none()),
            erased,
            deactivation_reason: record.deactivation_reason,
            created_at: record.stamp.created_at,
            updated_at: record.stamp.updated_at,
        })
    }
}

/// Let a specialist join.
#[utoipa::path(post, path = "/v1/specialists", tag = "specialists", request_body = AddSpecialistBody,
    responses((status = 201, description = "Joined.", body = CommandAnswer)))]
async fn add(caller: Caller, wish: Wish<AddSpecialistBody>) -> Result<Response, Problem> {
    let body = wish.body;
    let id = wish.terms.id_of_new(&caller, body.id);
    let profile = StaffProfile { name: body.name.into(), email: body.email.into() };
    let command = SpecialistCommand::Add { profession: body.profession, profile };
    Ok(caller.create::<Specialist>(&wish.terms, id, body.occurred_at, command).await?.created())
}

/// Let a specialist leave; their keys are revoked.
#[utoipa::path(post, path = "/v1/specialists/{specialist_id}/deactivate", tag = "specialists",
    params(("specialist_id" = Uuid, Path)), request_body = DeactivateSpecialistBody,
    responses((status = 200, description = "Left.", body = CommandAnswer)))]
async fn deactivate(
    caller: Caller,
    PathId(id): PathId,
    wish: Wish<DeactivateSpecialistBody>,
) -> Result<Response, Problem> {
    let command = SpecialistCommand::Deactivate { reason: wish.body.reason };
    let done = caller.change::<Specialist>(&wish.terms, id, wish.body.occurred_at, command).await?;
    // After a crash in between, a repetition of the request comes here again.
    let revoke = OrganizationCommand::RevokeKeysOfSpecialist { specialist_id: SpecialistId::new(id) };
    let organization_id = caller.organization_id.uuid();
    let revoked = caller.change::<Organization>(&Terms::NONE, organization_id, None, revoke).await?;
    caller.settle_keys(&revoked, None).await;
    Ok(done.changed())
}

/// Specialists, the newest first.
#[utoipa::path(get, path = "/v1/specialists", tag = "specialists", params(ListQuery),
    responses((status = 200, description = "One page.", body = Page<SpecialistView>)))]
async fn list(
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let window = Window::read(query.limit, query.after.as_deref())?;
    caller.wait_for(query.wait_for.as_deref(), View::Records).await?;
    let mut tx = caller.read().await?;
    let records =
        queries::list_specialists(&mut tx, caller.organization_id, query.status, window.of_records()).await?;
    tx.commit().await?;
    let (records, next) = window.cut(records, |record| record.stamp.created_position);
    let mut items = Vec::with_capacity(records.len());
    for record in records {
        items.push(SpecialistView::of(&caller, record).await?);
    }
    access::record_search(&caller, StreamKind::Specialist, items.iter().map(|_| None)).await?;
    Ok(Page { items, next }.respond(&uri))
}

/// One specialist.
#[utoipa::path(get, path = "/v1/specialists/{specialist_id}", tag = "specialists",
    params(("specialist_id" = Uuid, Path), Fresh),
    responses((status = 200, description = "The specialist.", body = SpecialistView)))]
async fn get(caller: Caller, PathId(id): PathId, Query(fresh): Query<Fresh>) -> Result<Response, Problem> {
    caller.wait_for(fresh.wait_for.as_deref(), View::Records).await?;
    let mut tx = caller.read().await?;
    let record = queries::get_specialist(&mut tx, caller.organization_id, SpecialistId::new(id)).await?;
    tx.commit().await?;
    let view = SpecialistView::of(&caller, record.ok_or_else(Problem::not_found)?).await?;
    access::record_read(&caller, StreamKind::Specialist, id, None).await?;
    shown(view.version, &view)
}
