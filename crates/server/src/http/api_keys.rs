//! API keys: issued, revoked, and listed. A secret is shown once, when its key is issued, and kept nowhere.

use std::sync::Arc;

use axum::extract::OriginalUri;
use axum::response::Response;
use carelog_domain::closed::Sha256Digest;
use carelog_domain::organization::{IssueApiKey, Organization, OrganizationCommand, Scope};
use carelog_domain::{ApiKeyId, MemberId, OrganizationId, PatientId, Role, SpecialistId, Timestamp};
use carelog_records::{ApiKeyRecord, queries};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::authentication::NewSecret;
use super::body::{PathId, Query};
use super::caller::{Caller, Operator};
use super::command::{CommandAnswer, Done, Nothing, Wish};
use super::freshness::{self, View};
use super::page::{Page, Window};
use super::problem::Problem;
use super::{Api, schemas};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(issue_first)).routes(routes!(issue, list)).routes(routes!(revoke))
}

/// An API key to be issued.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct IssueApiKeyBody {
    /// In which role its holder acts.
    #[schema(schema_with = schemas::role)]
    role: Role,
    /// What it opens.
    #[schema(schema_with = schemas::scopes)]
    scopes: Vec<Scope>,
    /// The specialist who holds it; for the role `specialist` only.
    specialist_id: Option<Uuid>,
    /// The member of the staff who holds it.
    member_id: Option<Uuid>,
    /// The patient who holds it; for the role `patient`, where it is required.
    patient_id: Option<Uuid>,
    /// When it stops working by itself.
    #[schema(schema_with = schemas::moment)]
    expires_at: Option<Timestamp>,
}

/// The first key of a clinic: an administrator's, with every scope unless some are named.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct IssueFirstApiKeyBody {
    /// What it opens; everything, where it is absent.
    #[schema(schema_with = schemas::scopes, required = false)]
    scopes: Option<Vec<Scope>>,
    /// When it stops working by itself.
    #[schema(schema_with = schemas::moment)]
    expires_at: Option<Timestamp>,
}

/// A new API key.
#[derive(Serialize, ToSchema)]
struct IssuedView<'a> {
    /// The public part of the key.
    id: Uuid,
    /// The whole key, shown this once. Absent where the request was a repetition.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<&'a str>,
    /// The organization's version.
    version: i64,
    /// Give it to a read as `wait_for`.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<&'a str>,
    /// How many events were written.
    events: i32,
}

/// Which keys are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// The `next` of the page before.
    after: Option<String>,
    /// So many, 50 where it is absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// The `position` of a command that the list has to show.
    wait_for: Option<String>,
}

/// An API key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
struct ApiKeyView {
    /// The public part of the key.
    id: Uuid,
    /// In which role its holder acts.
    #[schema(schema_with = schemas::role)]
    role: Role,
    /// What it opens.
    #[schema(schema_with = schemas::scopes)]
    scopes: Vec<Scope>,
    /// The specialist who holds it.
    specialist_id: Option<Uuid>,
    /// The member of the staff who holds it.
    member_id: Option<Uuid>,
    /// The patient who holds it.
    patient_id: Option<Uuid>,
    /// When it stops working by itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
    /// When it was issued.
    #[schema(schema_with = schemas::moment)]
    created_at: Timestamp,
}

impl From<ApiKeyRecord> for ApiKeyView {
    fn from(record: ApiKeyRecord) -> Self {
        Self {
            id: record.api_key_id.uuid(),
            role: record.role,
            scopes: record.scopes,
            specialist_id: record.specialist_id.map(SpecialistId::uuid),
            member_id: record.member_id.map(MemberId::uuid),
            patient_id: record.patient_id.map(PatientId::uuid),
            expires_at: record.expires_at,
            revoked_at: record.revoked_at,
            created_at: record.stamp.created_at,
        }
    }
}

/// Issue a clinic's key. Only for the operator, and always for an administrator.
#[utoipa::path(post, path = "/v1/organizations/{organization_id}/api-keys", tag = "operator",
    params(("organization_id" = Uuid, Path)), request_body = IssueFirstApiKeyBody,
    responses((status = 201, description = "Issued.", body = inline(IssuedView<'_>))))]
async fn issue_first(
    operator: Operator,
    PathId(organization_id): PathId,
    wish: Wish<IssueFirstApiKeyBody>,
) -> Result<Response, Problem> {
    let Wish { body, terms } = wish;
    let body = IssueApiKeyBody {
        role: Role::Admin,
        scopes: body.scopes.unwrap_or_else(|| Scope::ALL.to_vec()),
        specialist_id: None,
        member_id: None,
        patient_id: None,
        expires_at: body.expires_at,
    };
    issue_key(operator.within(OrganizationId::new(organization_id)), Wish { body, terms }).await
}

/// Issue a key.
#[utoipa::path(post, path = "/v1/api-keys", tag = "api keys", request_body = IssueApiKeyBody,
    responses((status = 201, description = "Issued.", body = inline(IssuedView<'_>))))]
async fn issue(caller: Caller, wish: Wish<IssueApiKeyBody>) -> Result<Response, Problem> {
    issue_key(caller, wish).await
}

async fn issue_key(caller: Caller, wish: Wish<IssueApiKeyBody>) -> Result<Response, Problem> {
    let body = wish.body;
    let secret = NewSecret::draw().map_err(|error| Problem::fault(&error.to_string()))?;
    let api_key_id = ApiKeyId::new(wish.terms.id_of_new(&caller, None));
    let patient_id = body.patient_id.map(PatientId::new);
    if let Some(patient_id) = patient_id {
        caller.require_patient(patient_id).await?;
    }
    let specialist_id = body.specialist_id.map(SpecialistId::new);
    if let Some(specialist_id) = specialist_id {
        caller.require_specialist(specialist_id).await?;
    }
    let command = OrganizationCommand::IssueApiKey(IssueApiKey {
        api_key_id,
        role: body.role,
        scopes: body.scopes,
        specialist_id,
        member_id: body.member_id.map(MemberId::new),
        patient_id,
        secret_sha256: Sha256Digest::new(secret.sha256()),
        expires_at: body.expires_at,
        now: caller.api.now(),
    });
    let organization_id = caller.organization_id.uuid();
    let done = caller.change::<Organization>(&wish.terms, organization_id, None, command).await?;
    caller.settle_keys(&done, Some(api_key_id)).await;
    let key = secret.api_key(api_key_id);
    let view = IssuedView {
        id: api_key_id.uuid(),
        api_key: Some(key.as_str()).filter(|_| !done.is_replayed),
        version: done.answer.version,
        position: done.answer.position.as_deref(),
        events: done.answer.events,
    };
    Ok(done.respond(StatusCode::CREATED, &view))
}

/// Revoke a key. It stops working at once here, and within two seconds in other processes.
#[utoipa::path(delete, path = "/v1/api-keys/{api_key_id}", tag = "api keys",
    params(("api_key_id" = Uuid, Path)),
    responses((status = 200, description = "Revoked.", body = CommandAnswer)))]
async fn revoke(caller: Caller, PathId(id): PathId, wish: Wish<Nothing>) -> Result<Response, Problem> {
    let api_key_id = ApiKeyId::new(id);
    let command = OrganizationCommand::RevokeApiKey { api_key_id };
    let organization_id = caller.organization_id.uuid();
    let done = caller.change::<Organization>(&wish.terms, organization_id, None, command).await?;
    caller.settle_keys(&done, Some(api_key_id)).await;
    let answer = CommandAnswer { id, ..done.answer.clone() };
    Ok(done.respond(StatusCode::OK, &answer))
}

/// Keys, the newest first, revoked and expired ones included.
#[utoipa::path(get, path = "/v1/api-keys", tag = "api keys", params(ListQuery),
    responses((status = 200, description = "One page.", body = Page<ApiKeyView>)))]
async fn list(
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let window = Window::read(query.limit, query.after.as_deref())?;
    caller.wait_for(query.wait_for.as_deref(), View::Records).await?;
    let mut tx = caller.read().await?;
    let records = queries::list_api_keys(&mut tx, caller.organization_id, window.of_records()).await?;
    tx.commit().await?;
    let (records, next) = window.cut(records, |record| record.stamp.created_position);
    let items = records.into_iter().map(ApiKeyView::from).collect();
    Ok(Page::<ApiKeyView> { items, next }.respond(&uri))
}

impl Caller {
    /// Lets a change of keys show before it is answered: a new key works with the next request, and a revoked one
    /// no longer does. Waiting is a courtesy; when the records lag, the answer goes out all the same.
    pub(super) async fn settle_keys(&self, done: &Done, api_key_id: Option<ApiKeyId>) {
        if let Some(place) = done.answer.position.as_deref().and_then(|token| freshness::parse(token).ok())
            && let Err(problem) = freshness::wait(&self.api, place, View::Records).await
        {
            tracing::warn!(error = problem.cause(), "the records lag behind a change of keys");
        }
        match api_key_id {
            Some(id) => self.api.keys.forget(id.uuid()),
            None => self.api.keys.forget_all(),
        }
    }
}
