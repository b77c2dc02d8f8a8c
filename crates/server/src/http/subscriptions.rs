//! Webhook subscriptions of partners. URL, headers and secrets are sealed; a secret is shown when it is made, and
//! never again.

mod checks;
mod test;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::extract::OriginalUri;
use axum::response::Response;
use carelog_domain::webhook_subscription::{
    CreateSubscription, DisableReason, EventFilter, RotatedSecret, SubscriptionChange, SubscriptionSecrets,
    WebhookFormat, WebhookSubscription, WebhookSubscriptionCommand,
};
use carelog_domain::{SubscriptionId, Timestamp};
use carelog_event_log::effects::{self, QueueHealth};
use carelog_webhooks::queries::{self, SubscriptionRow};
use carelog_webhooks::sending::WebhookSecret;
use carelog_webhooks::{DirectoryError, OpenSubscription, REACTOR};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use self::checks::{check_count, check_headers, check_partner, checked_pace, checked_url};
use super::authentication::NewSecret;
use super::body::{PathId, Query};
use super::caller::Caller;
use super::command::{CommandAnswer, Done, Nothing, Wish, shown};
use super::freshness::View;
use super::organizations::timestamp;
use super::page::{Cursor, Fresh, Page, Window};
use super::problem::Problem;
use super::text::{Line, LineOrNothing};
use super::{Api, schemas};

/// How long the old secret signs too, where the client says nothing: a day.
const DEFAULT_OVERLAP_SECONDS: u32 = 24 * 60 * 60;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get, change, delete))
        .routes(routes!(enable))
        .routes(routes!(disable))
        .routes(routes!(rotate_secret))
        .merge(test::routes())
}

/// A subscription to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreateSubscriptionBody {
    /// Its id; made by the server where it is absent.
    id: Option<Uuid>,
    /// Where to send: `https`, port 443 or 8443, a public address.
    #[schema(value_type = String, min_length = 1, max_length = 2048)]
    url: Line<2048>,
    /// Which events: `*`, a kind with `.*`, or exact types; all public ones where it is absent.
    #[schema(schema_with = schemas::event_filter)]
    events: Option<EventFilter>,
    /// How bodies are laid out; `standard` where it is absent.
    #[schema(schema_with = schemas::webhook_format)]
    format: Option<WebhookFormat>,
    /// At most so many deliveries in a tick of 5 s: less than the limit of the operator, which is 50 unless it was
    /// changed.
    #[schema(minimum = 1)]
    per_tick_limit: Option<u16>,
    /// In your own words; kept encrypted.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 500)]
    description: Option<Line<500>>,
    /// Further request headers; kept encrypted.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    headers: BTreeMap<String, String>,
}

/// What is to change; what is absent stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangeSubscriptionBody {
    /// Where to send.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 2048)]
    url: Option<Line<2048>>,
    /// Which events.
    #[schema(schema_with = schemas::event_filter, required = false)]
    events: Option<EventFilter>,
    /// At most so many deliveries in a tick of 5 s: less than the limit of the operator, which is 50 unless it was
    /// changed.
    #[schema(minimum = 1)]
    per_tick_limit: Option<u16>,
    /// In your own words; an empty text takes them away.
    #[schema(value_type = Option<String>, max_length = 500)]
    description: Option<LineOrNothing<500>>,
    /// Further request headers, all of them.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    headers: Option<BTreeMap<String, String>>,
}

/// How a secret is replaced.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RotateSecretBody {
    /// How long the old secret signs too, in seconds; a day where it is absent, seven at most. With 0 it and every
    /// secret before it sign no more.
    #[schema(maximum = 604_800)]
    overlap_seconds: Option<u32>,
}

/// A subscription or a secret that was made.
#[derive(Serialize, ToSchema)]
struct SecretView<'a> {
    /// The subscription.
    id: Uuid,
    /// The signing secret, `whsec_…`, shown this once. Absent where the request was a repetition.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
    /// The subscription's version.
    version: i64,
    /// Give it to a read as `wait_for`.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<&'a str>,
    /// How many events were written.
    events: i32,
}

/// Which subscriptions are listed.
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

/// A subscription, without its secret.
#[derive(Debug, Serialize, ToSchema)]
struct SubscriptionView {
    /// Its id.
    id: Uuid,
    /// The partner whose it is: the member whom its keys act for, or its one key. Nothing where the clinic keeps it itself.
    /// A partner's keys reach the partner's own subscriptions, their deliveries and replays, and no others.
    partner_id: Option<Uuid>,
    /// Its version.
    version: i64,
    /// Whether events are sent.
    #[schema(schema_with = schemas::subscription_status)]
    status: String,
    /// Why not.
    disable_reason: Option<String>,
    /// Which events.
    events: Vec<String>,
    /// How bodies are laid out.
    #[schema(schema_with = schemas::webhook_format)]
    format: String,
    /// At most so many deliveries in a tick of 5 s; nothing for the default.
    per_tick_limit: Option<i32>,
    /// Failures in a row; those that were under way together count as one. After three, deliveries are tried one at a
    /// time until one succeeds; five or more over three days without a success disable the subscription.
    consecutive_failures: u32,
    /// The first of them.
    #[schema(value_type = Option<String>, format = DateTime)]
    failing_since: Option<Timestamp>,
    /// Nothing is sent before, because the receiver asked for a pause or keeps failing.
    #[schema(value_type = Option<String>, format = DateTime)]
    held_until: Option<Timestamp>,
    /// Where to send; nothing where that is not allowed any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// In your own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// When it was made.
    #[schema(schema_with = schemas::moment)]
    created_at: Timestamp,
    /// When it changed last.
    #[schema(schema_with = schemas::moment)]
    updated_at: Timestamp,
}

impl SubscriptionView {
    fn of(
        row: SubscriptionRow,
        opened: Option<OpenSubscription>,
        queues: &HashMap<Uuid, QueueHealth>,
    ) -> Result<Self, Problem> {
        let (url, description) = opened.map(|opened| (opened.url.ok(), opened.description)).unzip();
        let health = queues.get(&row.subscription_id).copied().unwrap_or_default();
        Ok(Self {
            id: row.subscription_id,
            partner_id: row.partner_id,
            version: row.version,
            status: row.status,
            disable_reason: row.disable_reason,
            events: row.filter,
            format: row.format,
            per_tick_limit: row.per_tick_limit,
            consecutive_failures: health.failures,
            failing_since: health.failing_since,
            held_until: health.held_until,
            url: url.flatten().map(|url| url.as_str().to_owned()),
            description: description.flatten(),
            created_at: timestamp(row.created_at)?,
            updated_at: timestamp(row.changed_at)?,
        })
    }
}

/// Subscribe to events.
#[utoipa::path(post, path = "/v1/webhook-subscriptions", tag = "webhooks", request_body = CreateSubscriptionBody,
    responses((status = 201, description = "Made.", body = inline(SecretView<'_>))))]
async fn create(caller: Caller, wish: Wish<CreateSubscriptionBody>) -> Result<Response, Problem> {
    let body = wish.body;
    let id = wish.terms.id_of_new(&caller, body.id);
    check_headers(&body.headers)?;
    check_count(&caller, id).await?;
    let secret = new_secret()?;
    let command = WebhookSubscriptionCommand::Create(CreateSubscription {
        partner_id: caller.partner(),
        filter: body.events.unwrap_or_else(EventFilter::all),
        format: body.format.unwrap_or(WebhookFormat::Standard),
        per_tick_limit: checked_pace(&caller, body.per_tick_limit)?,
        secrets: SubscriptionSecrets {
            url: checked_url(&caller, &wish.terms, body.url).await?,
            description: body.description.map(String::from),
            secret: secret.reveal().to_string(),
            headers: body.headers,
        },
    });
    let done = caller.create::<WebhookSubscription>(&wish.terms, id, None, command).await?;
    Ok(revealed(&done, StatusCode::CREATED, &secret))
}

/// Change a subscription.
#[utoipa::path(patch, path = "/v1/webhook-subscriptions/{subscription_id}", tag = "webhooks",
    params(("subscription_id" = Uuid, Path)), request_body = ChangeSubscriptionBody,
    responses((status = 200, description = "Changed.", body = CommandAnswer)))]
async fn change(
    caller: Caller,
    PathId(id): PathId,
    wish: Wish<ChangeSubscriptionBody>,
) -> Result<Response, Problem> {
    check_partner(&caller, id).await?;
    let body = wish.body;
    if let Some(headers) = &body.headers {
        check_headers(headers)?;
    }
    let url = match body.url {
        Some(url) => Some(checked_url(&caller, &wish.terms, url).await?),
        None => None,
    };
    let change =
        SubscriptionChange { url, description: body.description.map(String::from), headers: body.headers };
    let command = WebhookSubscriptionCommand::Change {
        filter: body.events,
        per_tick_limit: checked_pace(&caller, body.per_tick_limit)?,
        change: Some(change),
    };
    Ok(caller.change::<WebhookSubscription>(&wish.terms, id, None, command).await?.changed())
}

/// Unsubscribe for good.
#[utoipa::path(delete, path = "/v1/webhook-subscriptions/{subscription_id}", tag = "webhooks",
    params(("subscription_id" = Uuid, Path)),
    responses((status = 200, description = "Deleted.", body = CommandAnswer)))]
async fn delete(caller: Caller, PathId(id): PathId, wish: Wish<Nothing>) -> Result<Response, Problem> {
    check_partner(&caller, id).await?;
    let command = WebhookSubscriptionCommand::Delete;
    Ok(caller.change::<WebhookSubscription>(&wish.terms, id, None, command).await?.changed())
}

/// Send again.
#[utoipa::path(post, path = "/v1/webhook-subscriptions/{subscription_id}/enable", tag = "webhooks",
    params(("subscription_id" = Uuid, Path)), request_body = Nothing,
    responses((status = 200, description = "Active.", body = CommandAnswer)))]
async fn enable(caller: Caller, PathId(id): PathId, wish: Wish<Nothing>) -> Result<Response, Problem> {
    check_partner(&caller, id).await?;
    let command = WebhookSubscriptionCommand::Enable;
    Ok(caller.change::<WebhookSubscription>(&wish.terms, id, None, command).await?.changed())
}

/// Stop sending for a while.
#[utoipa::path(post, path = "/v1/webhook-subscriptions/{subscription_id}/disable", tag = "webhooks",
    params(("subscription_id" = Uuid, Path)), request_body = Nothing,
    responses((status = 200, description = "Paused.", body = CommandAnswer)))]
async fn disable(caller: Caller, PathId(id): PathId, wish: Wish<Nothing>) -> Result<Response, Problem> {
    check_partner(&caller, id).await?;
    let command = WebhookSubscriptionCommand::Disable { reason: DisableReason::Paused };
    Ok(caller.change::<WebhookSubscription>(&wish.terms, id, None, command).await?.changed())
}

/// Sign with a new secret; the old one signs too for a while.
#[utoipa::path(post, path = "/v1/webhook-subscriptions/{subscription_id}/rotate-secret", tag = "webhooks",
    params(("subscription_id" = Uuid, Path)), request_body = RotateSecretBody,
    responses((status = 200, description = "Rotated.", body = inline(SecretView<'_>))))]
async fn rotate_secret(
    caller: Caller,
    PathId(id): PathId,
    wish: Wish<RotateSecretBody>,
) -> Result<Response, Problem> {
    check_partner(&caller, id).await?;
    let secret = new_secret()?;
    let command = WebhookSubscriptionCommand::RotateSecret {
        secret: RotatedSecret { secret: secret.reveal().to_string() },
        overlap_seconds: wish.body.overlap_seconds.unwrap_or(DEFAULT_OVERLAP_SECONDS),
    };
    let done =
        caller.change::<WebhookSubscription>(&wish.terms, id, None, command).await.map_err(|problem| {
            let is_too_long = problem.code() == "overlap_too_long";
            if is_too_long {
                problem.and_field("/overlap_seconds", "expected a week at most")
            } else {
                problem
            }
        })?;
    Ok(revealed(&done, StatusCode::OK, &secret))
}

/// Subscriptions that were not deleted, in the order of their ids.
#[utoipa::path(get, path = "/v1/webhook-subscriptions", tag = "webhooks", params(ListQuery),
    responses((status = 200, description = "One page.", body = Page<SubscriptionView>)))]
async fn list(
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let window = Window::read(query.limit, query.after.as_deref())?;
    caller.wait_for(query.wait_for.as_deref(), View::Webhooks).await?;
    let after = window.cursor().map(|cursor| cursor.id);
    let mut tx = caller.read().await?;
    let rows = queries::subscriptions(&mut tx, caller.organization_id, after, window.limit_and_one()).await?;
    let queues = effects::health(&mut tx, REACTOR, caller.organization_id).await?;
    let (rows, next) = window.cut_at(rows, |row| Cursor { number: 0, id: row.subscription_id });
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        let key = (caller.organization_id, SubscriptionId::new(row.subscription_id));
        let opened = match caller.api.subscriptions.open(&mut tx, key).await {
            Ok(opened) => opened,
            Err(DirectoryError::Database(error)) => return Err(error.into()),
            // One that cannot be opened hides no other, and shows what is known without its keys.
            Err(error) => {
                tracing::warn!(%error, "a subscription is listed without its url");
                None
            }
        };
        items.push(SubscriptionView::of(row, opened, &queues)?);
    }
    tx.commit().await?;
    Ok(Page::<SubscriptionView> { items, next }.respond(&uri))
}

/// One subscription.
#[utoipa::path(get, path = "/v1/webhook-subscriptions/{subscription_id}", tag = "webhooks",
    params(("subscription_id" = Uuid, Path), Fresh),
    responses((status = 200, description = "It.", body = SubscriptionView)))]
async fn get(caller: Caller, PathId(id): PathId, Query(fresh): Query<Fresh>) -> Result<Response, Problem> {
    caller.wait_for(fresh.wait_for.as_deref(), View::Webhooks).await?;
    let key = (caller.organization_id, SubscriptionId::new(id));
    let mut tx = caller.read().await?;
    let row = queries::subscription(&mut tx, key.0, key.1).await?;
    let opened = caller.api.subscriptions.open(&mut tx, key).await?;
    let queues = effects::health(&mut tx, REACTOR, key.0).await?;
    tx.commit().await?;
    let row = row.filter(|row| row.status != "deleted").ok_or_else(Problem::not_found)?;
    let view = SubscriptionView::of(row, opened, &queues)?;
    shown(view.version, &view)
}

fn new_secret() -> Result<WebhookSecret, Problem> {
    let random = NewSecret::draw().map_err(|error| Problem::fault(&error.to_string()))?;
    Ok(WebhookSecret::from_random(random.bytes()))
}

fn revealed(done: &Done, status: StatusCode, secret: &WebhookSecret) -> Response {
    let secret = secret.reveal();
    let view = SecretView {
        id: done.answer.id,
        secret: Some(secret.as_str()).filter(|_| !done.is_replayed),
        version: done.answer.version,
        position: done.answer.position.as_deref(),
        events: done.answer.events,
    };
    done.respond(status, &view)
}
