//! What a subscription receives, for those who cannot be reached: the same messages, fetched instead of sent.
//!
//! The messages follow from the deliveries' rows, whatever became of these, so that one may listen to a subscription
//! that is disabled as well. A row is gone when its retention has passed, and so is its message. An event that was set
//! aside and applied later comes after its time and is not seen from a cursor behind it; the list of deliveries has it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use carelog_domain::{DeliveryId, SubscriptionId, Timestamp};
use carelog_event_log::LogPosition;
use carelog_webhooks::queries::{self, DeliveryRow};
use carelog_webhooks::{Message, OpenSubscription, SubscriptionKey};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::body::{PathId, Query};
use super::caller::Caller;
use super::command::json;
use super::events::{LONGEST_WAIT_SECONDS, cursor, place_to_wait, sequence_of};
use super::freshness::{self, View};
use super::organizations::timestamp;
use super::page::Window;
use super::problem::Problem;
use super::{Api, schemas};

/// Pause between two looks of one waiting client: other organizations of the lane wake it too.
const PAUSE: Duration = Duration::from_millis(20);
/// As `after`: begin behind everything that there is.
const NOW: &str = "now";

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(messages))
}

/// From where, and how long to wait.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MessagesQuery {
    /// The `next` of the answer before, or `now`; from the oldest message where it is absent.
    after: Option<String>,
    /// So many, 50 where it is absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// How many seconds to wait for a message where there is none yet.
    #[param(minimum = 0, maximum = 30)]
    wait: Option<u64>,
}

/// A part of a subscription's messages.
#[derive(Serialize, ToSchema)]
struct MessagesView {
    /// In the order of their events.
    #[schema(inline)]
    messages: Vec<MessageView>,
    /// Give it as `after` to go on.
    next: String,
}

/// One message, as it would be sent now.
#[derive(Serialize, ToSchema)]
struct MessageView {
    /// The delivery, and its `webhook-id`.
    id: Uuid,
    /// The event's type.
    #[schema(schema_with = schemas::event_type)]
    event: String,
    /// The event's place among the organization's events.
    sequence: i64,
    /// When the event was recorded.
    #[schema(schema_with = schemas::moment)]
    recorded_at: Timestamp,
    /// `content-type` and the three headers of Standard Webhooks, signed at the moment of the answer with every secret
    /// that is valid. Your own headers are left out.
    headers: BTreeMap<String, String>,
    /// The body, whose bytes in UTF-8 are signed.
    body: String,
}

/// Fetch the messages of a subscription instead of receiving them.
#[utoipa::path(get, path = "/v1/webhook-subscriptions/{subscription_id}/messages", tag = "webhooks",
    params(("subscription_id" = Uuid, Path), MessagesQuery),
    responses((status = 200, description = "What there is.", body = inline(MessagesView)),
              (status = 410, description = "The cursor is of another life of the log.")))]
async fn messages(
    caller: Caller,
    PathId(id): PathId,
    Query(query): Query<MessagesQuery>,
) -> Result<Response, Problem> {
    let limit = Window::read(query.limit, None)?.limit_and_one() - 1;
    let wait = query.wait.unwrap_or_default();
    if wait > LONGEST_WAIT_SECONDS {
        return Err(Problem::invalid_query("wait: expected a number from 0 to 30"));
    }
    let _place = place_to_wait(&caller, wait)?;
    let epoch = caller.api.log().epoch();
    let key = (caller.organization_id, SubscriptionId::new(id));
    caller.wait_for(None, View::Webhooks).await?;
    let newest = exists(&caller, key).await?;
    let after = match query.after.as_deref() {
        None => 0,
        Some(NOW) => newest,
        Some(cursor) => sequence_of(cursor, epoch)?,
    };
    let rows = next_rows(&caller, key, after, limit, Duration::from_secs(wait)).await?;
    let after = rows.last().map_or(after, |row| row.source_sequence);
    Ok(json(
        StatusCode::OK,
        &MessagesView { messages: signed(&caller, key, rows).await?, next: cursor(epoch, after) },
    ))
}

/// Refuses what is not there, and tells the newest event of what is.
async fn exists(caller: &Caller, key: SubscriptionKey) -> Result<i64, Problem> {
    let mut tx = caller.read().await?;
    let row = queries::subscription(&mut tx, key.0, key.1).await?;
    let newest = queries::newest_sequence(&mut tx, key.0, key.1).await?;
    tx.commit().await?;
    row.filter(|row| row.status != "deleted").map(|_| newest).ok_or_else(Problem::not_found)
}

/// The rows after a place, as soon as there are any.
async fn next_rows(
    caller: &Caller,
    key: SubscriptionKey,
    after: i64,
    limit: i64,
    wait: Duration,
) -> Result<Vec<DeliveryRow>, Problem> {
    let deadline = Instant::now() + wait;
    let stop = &caller.api.system.runtime.stop;
    let lane = caller.api.log().lane_of(key.0).await?;
    let mut head = caller.api.log().head(lane);
    loop {
        let place = LogPosition { lane, position: *head.borrow_and_update() };
        let rows = rows_after(caller, key, after, limit).await?;
        if !rows.is_empty() || stop.is_cancelled() || Instant::now() >= deadline {
            return Ok(rows);
        }
        // The projector follows the log: what is in the log already may still become rows.
        let passes = freshness::passes(&caller.api, place, View::Webhooks);
        let has_passed = tokio::time::timeout_at(deadline, passes).await.unwrap_or(Ok(false))?;
        if !has_passed {
            // It is behind, and in a quiet lane the head says nothing when it has caught up: look again. That was a
            // pause of two seconds, or the deadline.
            continue;
        }
        let rows = rows_after(caller, key, after, limit).await?;
        if !rows.is_empty() {
            return Ok(rows);
        }
        tokio::select! {
            _ = tokio::time::timeout_at(deadline, head.changed()) => {}
            () = stop.cancelled() => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn rows_after(
    caller: &Caller,
    key: SubscriptionKey,
    after: i64,
    limit: i64,
) -> Result<Vec<DeliveryRow>, Problem> {
    let mut tx = caller.read().await?;
    let rows = queries::deliveries_after(&mut tx, key.0, key.1, after, limit).await?;
    tx.commit().await?;
    Ok(rows)
}

/// Signs the messages of rows.
async fn signed(
    caller: &Caller,
    key: SubscriptionKey,
    rows: Vec<DeliveryRow>,
) -> Result<Vec<MessageView>, Problem> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut tx = caller.read().await?;
    let opened = caller.api.subscriptions.open(&mut tx, key).await?;
    tx.commit().await?;
    let subscription = opened.ok_or_else(Problem::not_found)?;
    let sequences: Vec<i64> = rows.iter().map(|row| row.source_sequence).collect();
    let events = caller.api.log().organization_at(key.0, &sequences).await?;
    if events.len() != rows.len() {
        return Err(Problem::fault("webhooks.webhook_events.source_sequence"));
    }
    let now = caller.api.now();
    let views = rows.into_iter().zip(&events).map(|(row, event)| view(row, event, &subscription, now));
    views.collect()
}

fn view(
    row: DeliveryRow,
    event: &carelog_event_log::RecordedEvent,
    subscription: &OpenSubscription,
    now: Timestamp,
) -> Result<MessageView, Problem> {
    let message = Message::signed(subscription, DeliveryId::new(row.delivery_id), event, now);
    let headers = message.headers.iter().map(|(name, value)| {
        let value = value.to_str().map_err(|error| Problem::internal(&error))?;
        Ok((name.as_str().to_owned(), value.to_owned()))
    });
    Ok(MessageView {
        id: row.delivery_id,
        event: row.source_type,
        sequence: row.source_sequence,
        recorded_at: timestamp(row.source_recorded_at)?,
        headers: headers.collect::<Result<_, Problem>>()?,
        body: String::from_utf8(message.body.to_vec()).map_err(|error| Problem::internal(&error))?,
    })
}
