//! What a key is: the first thing that somebody tries with a new one.

use std::sync::Arc;

use axum::response::Response;
use carelog_domain::organization::Scope;
use carelog_domain::{Role, Timestamp};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::caller::Caller;
use super::command::json;
use super::problem::Problem;
use super::{Api, schemas};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(get))
}

/// A key, as its holder sees it.
#[derive(Debug, Serialize, ToSchema)]
struct MeView<'a> {
    /// The public part of the key.
    api_key_id: Uuid,
    /// The only organization that it opens.
    organization_id: Uuid,
    /// In which role its holder acts.
    #[schema(schema_with = schemas::role)]
    role: Role,
    /// What it opens.
    #[schema(schema_with = schemas::scopes)]
    scopes: &'a [Scope],
    /// The patient, specialist or member who holds it.
    on_behalf_of: Option<Uuid>,
    /// When it stops working by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// The key that is used.
#[utoipa::path(get, path = "/v1/me", tag = "api keys",
    responses((status = 200, description = "It.", body = inline(MeView<'_>))))]
async fn get(caller: Caller) -> Result<Response, Problem> {
    let principal = caller.principal.as_ref().ok_or_else(|| Problem::fault("the operator has no key"))?;
    let view = MeView {
        api_key_id: principal.api_key_id.uuid(),
        organization_id: principal.organization_id.uuid(),
        role: principal.role,
        scopes: &principal.scopes,
        on_behalf_of: principal.on_behalf_of(),
        expires_at: principal.expires_at,
    };
    Ok(json(StatusCode::OK, &view))
}
