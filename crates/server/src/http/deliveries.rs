//! Webhook deliveries: what was sent, what came of it, and sending it again.

use std::sync::Arc;

use axum::extract::OriginalUri;
use axum::response::Response;
use carelog_domain::webhook_delivery::{FinalReason, WebhookDelivery, WebhookDeliveryCommand};
use carelog_domain::{DeliveryId, EventType, Timestamp};
use carelog_webhooks::keeping;
use carelog_webhooks::queries::{self, DeliveryFilter, DeliveryRow};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::attempts::AttemptView;
use super::body::{PathId, Query};
use super::caller::Caller;
use super::command::{CommandAnswer, Nothing, Wish, shown};
use super::freshness::View;
use super::organizations::timestamp;
use super::page::{Cursor, Fresh, Page, Window};
use super::problem::Problem;
use super::{Api, schemas};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get)).routes(routes!(redeliver))
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum DeliveryStateQuery {
    Pending,
    Delivered,
    Failed,
}

impl DeliveryStateQuery {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// Which deliveries are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Of one subscription.
    subscription_id: Option<Uuid>,
    /// Where they stand.
    #[param(inline)]
    state: Option<DeliveryStateQuery>,
    /// Of one event type.
    #[param(schema_with = schemas::event_type, required = false)]
    event: Option<EventType>,
    /// Of events recorded at this moment or later.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Of events recorded before this moment.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// `true`: only what has not arrived, failed or still waiting. Together with `state=failed` that is what was never
    /// delivered, each with its reason.
    undelivered: Option<bool>,
    /// Given up for one reason.
    #[param(schema_with = schemas::final_reason, required = false)]
    reason: Option<FinalReason>,
    /// The `next` of the page before.
    after: Option<String>,
    /// So many, 50 where it is absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// The `position` of a command that the list has to show.
    wait_for: Option<String>,
}

/// One event for one subscription.
#[derive(Debug, Serialize, ToSchema)]
struct DeliveryView {
    /// Its id, which receivers see as `webhook-id`.
    id: Uuid,
    /// Its version; 0 before the first outcome.
    version: i64,
    /// For whom.
    subscription_id: Uuid,
    /// The event's id.
    event_id: Uuid,
    /// The event's type.
    #[schema(schema_with = schemas::event_type)]
    event: String,
    /// The event's place among the organization's events.
    sequence: i64,
    /// When the event was recorded.
    #[schema(schema_with = schemas::moment)]
    recorded_at: Timestamp,
    /// `pending`, `delivered` or `failed`.
    state: String,
    /// Why it was never delivered.
    reason: Option<String>,
    /// Attempts so far.
    attempt_count: i16,
    /// How the last one ended.
    last_outcome: Option<String>,
    /// With which HTTP status.
    last_status: Option<i16>,
    /// When it is tried again.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// The attempts; only where one delivery is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<Vec<AttemptView>>,
}

impl DeliveryView {
    fn of(row: DeliveryRow) -> Result<Self, Problem> {
        Ok(Self {
            id: row.delivery_id,
            version: row.version,
            subscription_id: row.subscription_id,
            event_id: row.source_event_id,
            event: row.source_type,
            sequence: row.source_sequence,
            recorded_at: timestamp(row.source_recorded_at)?,
            state: row.state,
            reason: row.reason,
            attempt_count: row.attempt_count,
            last_outcome: row.last_outcome,
            last_status: row.last_status,
            next_attempt_at: row.next_attempt_at.map(timestamp).transpose()?,
            finished_at: row.finished_at.map(timestamp).transpose()?,
            attempts: None,
        })
    }
}

/// Deliveries, the newest event first. What was never delivered is one call: `?undelivered=true`, narrowed by
/// subscription, event type, state, reason and time as far as you like.
#[utoipa::path(get, path = "/v1/webhook-deliveries", tag = "webhooks", params(ListQuery),
    responses((status = 200, description = "One page.", body = Page<DeliveryView>)))]
async fn list(
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let window = Window::read(query.limit, query.after.as_deref())?;
    caller.wait_for(query.wait_for.as_deref(), View::Webhooks).await?;
    let filter = DeliveryFilter {
        subscription_id: query.subscription_id,
        state: query.state.map(|state| state.as_str().to_owned()),
        source_type: query.event.map(|event| event.as_str().to_owned()),
        reason: query.reason.map(|reason| reason.as_str().to_owned()),
        undelivered: query.undelivered.unwrap_or_default(),
        from: query.from.map(OffsetDateTime::from),
        until: query.until.map(OffsetDateTime::from),
        before: window.cursor().map(|cursor| cursor.id),
    };
    let mut tx = caller.read().await?;
    let rows = queries::deliveries(&mut tx, caller.organization_id, &filter, window.limit_and_one()).await?;
    tx.commit().await?;
    let (rows, next) = window.cut_at(rows, |row| Cursor { number: 0, id: row.delivery_id });
    let items = rows.into_iter().map(DeliveryView::of).collect::<Result<_, _>>()?;
    Ok(Page::<DeliveryView> { items, next }.respond(&uri))
}

/// One delivery with its attempts.
#[utoipa::path(get, path = "/v1/webhook-deliveries/{delivery_id}", tag = "webhooks",
    params(("delivery_id" = Uuid, Path), Fresh),
    responses((status = 200, description = "It.", body = DeliveryView)))]
async fn get(caller: Caller, PathId(id): PathId, Query(fresh): Query<Fresh>) -> Result<Response, Problem> {
    caller.wait_for(fresh.wait_for.as_deref(), View::Webhooks).await?;
    let (organization_id, delivery_id) = (caller.organization_id, DeliveryId::new(id));
    let mut tx = caller.read().await?;
    let row = queries::delivery(&mut tx, organization_id, delivery_id).await?;
    let attempts = queries::attempts(&mut tx, organization_id, delivery_id).await?;
    tx.commit().await?;
    let mut view = DeliveryView::of(row.ok_or_else(Problem::not_found)?)?;
    view.attempts = Some(attempts.into_iter().map(AttemptView::of).collect::<Result<_, _>>()?);
    shown(view.version, &view)
}

/// Send it again, though it was delivered, given up or skipped.
#[utoipa::path(post, path = "/v1/webhook-deliveries/{delivery_id}/redeliver", tag = "webhooks",
    params(("delivery_id" = Uuid, Path)), request_body = Nothing,
    responses((status = 200, description = "Asked for.", body = CommandAnswer)))]
async fn redeliver(caller: Caller, PathId(id): PathId, wish: Wish<Nothing>) -> Result<Response, Problem> {
    let mut tx = caller.read().await?;
    let row = queries::delivery(&mut tx, caller.organization_id, DeliveryId::new(id)).await?;
    tx.commit().await?;
    let row = row.ok_or_else(Problem::not_found)?;
    // Without a history, only the row tells whether somebody is about to send it; nothing but a history changes that.
    if row.version == 0 && row.state == "pending" {
        return Err(Problem::new(StatusCode::CONFLICT, "still_pending"));
    }
    let now = caller.api.log().clock().now();
    if keeping::is_about_to_go(DeliveryId::new(id), &row.state, row.finished_at, now) {
        return Err(Problem::new(StatusCode::CONFLICT, "too_old_to_send")
            .detail("the delivery is about to be removed: its time is over within a day"));
    }
    let emission = row.emission().ok_or_else(|| Problem::fault("webhooks.webhook_events.source_type"))?;
    let command = WebhookDeliveryCommand::RequestRedelivery { emission, replay_id: None };
    Ok(caller.change::<WebhookDelivery>(&wish.terms, id, None, command).await?.changed())
}
