//! The staff of a clinic.

use std::sync::Arc;

use axum::extract::OriginalUri;
use axum::response::Response;
use carelog_domain::organization::{Organization, OrganizationCommand, StaffProfile};
use carelog_domain::{MemberId, Role, StreamKind, Timestamp};
use carelog_records::{MemberRecord, MemberStatus, queries};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::body::{PathId, Query};
use super::caller::Caller;
use super::command::{CommandAnswer, Nothing, Wish};
use super::freshness::View;
use super::opening::{Opened, open};
use super::page::{Page, Window};
use super::problem::Problem;
use super::text::Line;
use super::{Api, access, schemas};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(add, list)).routes(routes!(remove))
}

/// Somebody to join the staff.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AddMemberBody {
    /// The member's id; made by the server where it is absent.
    id: Option<Uuid>,
    /// In which role.
    #[schema(schema_with = schemas::role)]
    role: Role,
    /// Full name; kept encrypted.
    #[schema(value_type = String, min_length = 1, max_length = 200)]
    name: Line<200>,
    /// E-mail address; kept encrypted.
    #[schema(value_type = String, min_length = 1, max_length = 254)]
    email: Line<254>,
}

/// Which members are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Whether they are on the staff.
    #[param(schema_with = schemas::member_status, required = false)]
    status: Option<MemberStatus>,
    /// The `next` of the page before.
    after: Option<String>,
    /// So many, 50 where it is absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// The `position` of a command that the list has to show.
    wait_for: Option<String>,
}

/// A member of the staff.
#[derive(Debug, Serialize, ToSchema)]
struct MemberView {
    /// The member's id.
    id: Uuid,
    /// Whether the member is on the staff.
    #[schema(schema_with = schemas::member_status)]
    status: MemberStatus,
    /// In which role.
    #[schema(schema_with = schemas::role)]
    role: Role,
    /// Full name.
    name: Option<String>,
    /// E-mail address.
    email: Option<String>,
    /// Whether name and address are gone for ever.
    erased: bool,
    /// When the member joined.
    #[schema(schema_with = schemas::moment)]
    created_at: Timestamp,
    /// When the member left.
    #[schema(value_type = Option<String>, format = DateTime)]
    removed_at: Option<Timestamp>,
}

impl MemberView {
    async fn of(caller: &Caller, record: MemberRecord) -> Result<Self, Problem> {
        let profile: Opened<StaffProfile> = open(caller.api.log().vault(), record.personal.as_ref()).await?;
        let (profile, erased) = profile.split();
        let (name, email) = profile.map(|profile| (profile.name, profile.email)).unzip();
        Ok(Self {
            id: record.member_id.uuid(),
            status: record.status,
            role: record.role,
            name,
            email,
            erased,
            created_at: record.stamp.created_at,
            removed_at: record.removed_at,
        })
    }
}

/// Let somebody join the staff.
#[utoipa::path(post, path = "/v1/members", tag = "organization", request_body = AddMemberBody,
    responses((status = 201, description = "Joined; `id` is the member's.", body = CommandAnswer)))]
async fn add(caller: Caller, wish: Wish<AddMemberBody>) -> Result<Response, Problem> {
    let body = wish.body;
    let id = wish.terms.id_of_new(&caller, body.id);
    let command = OrganizationCommand::AddMember {
        member_id: MemberId::new(id),
        role: body.role,
        profile: StaffProfile { name: body.name.into(), email: body.email.into() },
    };
    let organization_id = caller.organization_id.uuid();
    let done = caller.change::<Organization>(&wish.terms, organization_id, None, command).await?;
    let answer = CommandAnswer { id, ..done.answer.clone() };
    Ok(done.respond(StatusCode::CREATED, &answer))
}

/// Let somebody leave the staff; their keys are revoked.
#[utoipa::path(delete, path = "/v1/members/{member_id}", tag = "organization",
    params(("member_id" = Uuid, Path)),
    responses((status = 200, description = "Left.", body = CommandAnswer)))]
async fn remove(caller: Caller, PathId(id): PathId, wish: Wish<Nothing>) -> Result<Response, Problem> {
    let command = OrganizationCommand::RemoveMember { member_id: MemberId::new(id) };
    let organization_id = caller.organization_id.uuid();
    let done = caller.change::<Organization>(&wish.terms, organization_id, None, command).await?;
    caller.settle_keys(&done, None).await;
    let answer = CommandAnswer { id, ..done.answer.clone() };
    Ok(done.respond(StatusCode::OK, &answer))
}

/// The staff, the newest first.
#[utoipa::path(get, path = "/v1/members", tag = "organization", params(ListQuery),
    responses((status = 200, description = "One page.", body = Page<MemberView>)))]
async fn list(
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let window = Window::read(query.limit, query.after.as_deref())?;
    caller.wait_for(query.wait_for.as_deref(), View::Records).await?;
    let mut tx = caller.read().await?;
    let records =
        queries::list_members(&mut tx, caller.organization_id, query.status, window.of_records()).await?;
    tx.commit().await?;
    let (records, next) = window.cut(records, |record| record.stamp.created_position);
    let mut items = Vec::with_capacity(records.len());
    for record in records {
        items.push(MemberView::of(&caller, record).await?);
    }
    access::record_search(&caller, StreamKind::Organization, items.iter().map(|_| None)).await?;
    Ok(Page { items, next }.respond(&uri))
}
