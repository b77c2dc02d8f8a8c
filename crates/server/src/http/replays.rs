//! Sending deliveries of a subscription again, in bulk: counted first, bounded while it goes on, and cancelled at will.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::OriginalUri;
use axum::response::Response;
use carelog_domain::webhook_delivery::FinalReason;
use carelog_domain::webhook_replay::{
    ReplayEnd, ReplaySelection, ReplayedState, RequestReplay, WebhookReplay, WebhookReplayCommand,
    WebhookReplayEvent,
};
use carelog_domain::webhook_subscription::EventFilter;
use carelog_domain::{ReplayId, StreamKind, SubscriptionId, Timestamp};
use carelog_event_log::StreamKey;
use carelog_webhooks::queries::{self, SubscriptionRow};
use carelog_webhooks::replay::{self, Matching, ReplayFilter, ReplayRow};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::body::{PathId, Query};
use super::caller::Caller;
use super::command::{CommandAnswer, Nothing, Wish, json, shown};
use super::freshness::View;
use super::organizations::timestamp;
use super::page::{Fresh, Page, Window};
use super::problem::Problem;
use super::{Api, schemas};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(preview))
        .routes(routes!(create, list))
        .routes(routes!(get))
        .routes(routes!(cancel))
}

/// Which deliveries are to be sent again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ReplayBody {
    /// Of this subscription.
    subscription_id: Uuid,
    /// Of which events: `*`, a kind with `.*`, or exact types; all public ones where it is absent.
    #[schema(schema_with = schemas::event_filter, required = false)]
    events: Option<EventFilter>,
    /// In which states; `failed` alone where it is absent. What waits for an attempt is skipped.
    #[schema(schema_with = schemas::replayed_states, required = false)]
    states: Option<BTreeSet<ReplayedState>>,
    /// Of those that failed, for which reasons; for any where it is absent or empty.
    #[serde(default)]
    #[schema(schema_with = schemas::final_reasons, required = false)]
    reasons: BTreeSet<FinalReason>,
    /// Of events recorded at this moment or later.
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Of events recorded before this moment.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

/// What a replay would come to.
#[derive(Debug, Serialize, ToSchema)]
struct PreviewView {
    /// How many deliveries would be sent again.
    matching: u32,
    /// How many of those failed.
    failed: u32,
    /// How many of those were delivered before.
    delivered: u32,
    /// How many would be skipped, because they wait for an attempt anyway.
    pending: u32,
    /// When the first of their events was recorded.
    #[schema(value_type = Option<String>, format = DateTime)]
    first_event_at: Option<Timestamp>,
    /// When the last one was.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_event_at: Option<Timestamp>,
    /// How long it takes at the subscription's pace while the receiver works and little else happens, in seconds.
    estimated_seconds: u32,
}

/// A replay that was asked for.
#[derive(Serialize, ToSchema)]
struct RequestedView<'a> {
    /// Its id.
    id: Uuid,
    /// Its version.
    version: i64,
    /// How many deliveries matched.
    matching: u32,
    /// Give it to a read as `wait_for`.
    position: Option<&'a str>,
}

/// Which replays are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Of one subscription.
    subscription_id: Option<Uuid>,
    /// The `next` of the page before.
    after: Option<String>,
    /// So many, 50 where it is absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// The `position` of a command that the list has to show.
    wait_for: Option<String>,
}

/// A replay and how far it has come.
#[derive(Debug, Serialize, ToSchema)]
struct ReplayView {
    /// Its id.
    id: Uuid,
    /// Its version.
    version: i64,
    /// Whose deliveries.
    subscription_id: Uuid,
    /// Where it stands. Completed means that everything was asked for or skipped; what the receiver made of it is
    /// counted in `delivered` and `failed`.
    #[schema(schema_with = schemas::replay_status)]
    status: String,
    /// Why it ended early.
    #[schema(schema_with = schemas::replay_end, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    end_reason: Option<String>,
    /// Of which events.
    events: Vec<String>,
    /// In which states.
    #[schema(schema_with = schemas::replayed_states)]
    states: Vec<String>,
    /// Of those that failed, for which reasons; for any where it is empty.
    #[schema(schema_with = schemas::final_reasons)]
    reasons: Vec<String>,
    /// Of events recorded at this moment or later.
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Of events recorded before this moment.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// How many deliveries matched at the start.
    matching: i32,
    /// How many were asked for so far.
    requested: i32,
    /// How many were skipped so far, because they waited for an attempt anyway.
    skipped: i32,
    /// How many of those asked for were delivered so far.
    delivered: i32,
    /// How many of those asked for were given up so far.
    failed: i32,
    /// The event up to which everything was asked for or skipped, by its `sequence`.
    place: i64,
    /// The `sequence` of the first event whose delivery matched.
    first_sequence: i64,
    /// The `sequence` of the last one; later events are not sent again.
    last_sequence: i64,
    /// When it was asked for.
    #[schema(schema_with = schemas::moment)]
    created_at: Timestamp,
    /// When the last batch was asked for.
    #[schema(value_type = Option<String>, format = DateTime)]
    advanced_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

impl ReplayBody {
    fn selection(self) -> ReplaySelection {
        ReplaySelection {
            subscription_id: SubscriptionId::new(self.subscription_id),
            filter: self.events.unwrap_or_else(EventFilter::all),
            states: self.states.unwrap_or_else(|| BTreeSet::from([ReplayedState::Failed])),
            reasons: self.reasons,
            from: self.from,
            until: self.until,
        }
    }
}

impl ReplayView {
    fn of(row: ReplayRow) -> Result<Self, Problem> {
        Ok(Self {
            id: row.replay_id,
            version: row.version,
            subscription_id: row.subscription_id,
            status: row.status,
            end_reason: row.end_reason,
            events: row.filter,
            states: row.states,
            reasons: row.reasons,
            from: row.recorded_from.map(timestamp).transpose()?,
            until: row.recorded_until.map(timestamp).transpose()?,
            matching: row.matching_count,
            requested: row.requested_count,
            skipped: row.skipped_count,
            delivered: row.delivered_count,
            failed: row.failed_count,
            place: row.place,
            first_sequence: row.first_sequence,
            last_sequence: row.last_sequence,
            created_at: timestamp(row.requested_at)?,
            advanced_at: row.advanced_at.map(timestamp).transpose()?,
            finished_at: row.finished_at.map(timestamp).transpose()?,
        })
    }
}

/// Count what a replay would send again. Changes nothing.
#[utoipa::path(post, path = "/v1/webhook-replays/preview", tag = "webhooks", request_body = ReplayBody,
    responses((status = 200, description = "What it would come to.", body = PreviewView)))]
async fn preview(caller: Caller, wish: Wish<ReplayBody>) -> Result<Response, Problem> {
    caller.wait_for(None, View::Webhooks).await?;
    let selection = wish.body.selection();
    let mut tx = caller.read().await?;
    let subscription = subscription(&caller, &mut tx, selection.subscription_id).await?;
    selection.check().map_err(|rejection| pointed_at(Problem::rejected(&rejection)))?;
    let matching = replay::matching(&mut tx, caller.organization_id, &selection).await?;
    tx.commit().await?;
    let operators = caller.api.webhooks.per_tick_limit.get();
    let own = subscription.per_tick_limit.and_then(|limit| u16::try_from(limit).ok());
    let pace = own.map_or(operators, |own| own.min(operators));
    let view = PreviewView {
        matching: matching.count(),
        failed: matching.failed,
        delivered: matching.delivered,
        pending: matching.pending,
        first_event_at: matching.recorded.map(|(first, _)| timestamp(first)).transpose()?,
        last_event_at: matching.recorded.map(|(_, last)| timestamp(last)).transpose()?,
        estimated_seconds: replay::estimated_seconds(matching.count(), pace),
    };
    Ok(json(StatusCode::OK, &view))
}

/// Send deliveries of a subscription again. One replay of a subscription at a time; it goes on by itself, in the order
/// of the events, and lets fresh events pass. While the subscription is disabled or fails, it waits.
#[utoipa::path(post, path = "/v1/webhook-replays", tag = "webhooks", request_body = ReplayBody,
    responses((status = 202, description = "Asked for.", body = inline(RequestedView<'_>))))]
async fn create(caller: Caller, wish: Wish<ReplayBody>) -> Result<Response, Problem> {
    caller.wait_for(None, View::Webhooks).await?;
    let selection = wish.body.selection();
    let subscription_id = selection.subscription_id;
    let mut tx = caller.read().await?;
    subscription(&caller, &mut tx, subscription_id).await?;
    let last = replay::last_replay(&mut tx, caller.organization_id, subscription_id).await?;
    // What can match nothing is refused below, where a repeated request gets its first answer.
    let found = match selection.check() {
        Ok(()) => replay::matching(&mut tx, caller.organization_id, &selection).await?,
        Err(_) => Matching::default(),
    };
    tx.commit().await?;
    // One that runs, or that somebody asks for at the same moment, refuses another in its own stream.
    let number = match last {
        Some((number, status)) if status == "running" => number,
        Some((number, _)) => number + 1,
        None => 1,
    };
    let request = RequestReplay {
        selection,
        number,
        matching: found.count(),
        sequences: found.sequences.unwrap_or_default(),
    };
    let id = replay::replay_id(subscription_id, number).uuid();
    let command = WebhookReplayCommand::Request(request);
    let done = caller.create::<WebhookReplay>(&wish.terms, id, None, command).await.map_err(pointed_at)?;
    let matching = if done.is_replayed { first_count(&caller, done.answer.id).await? } else { found.count() };
    let view = RequestedView {
        id: done.answer.id,
        version: done.answer.version,
        matching,
        position: done.answer.position.as_deref(),
    };
    Ok(done.respond(StatusCode::ACCEPTED, &view))
}

/// Replays, the newest first.
#[utoipa::path(get, path = "/v1/webhook-replays", tag = "webhooks", params(ListQuery),
    responses((status = 200, description = "One page.", body = Page<ReplayView>)))]
async fn list(
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let window = Window::read(query.limit, query.after.as_deref())?;
    caller.wait_for(query.wait_for.as_deref(), View::Webhooks).await?;
    let filter = ReplayFilter {
        subscription_id: query.subscription_id,
        before_sequence: window.cursor().map(|cursor| cursor.number),
    };
    let mut tx = caller.read().await?;
    let rows = replay::replays(&mut tx, caller.organization_id, filter, window.limit_and_one()).await?;
    tx.commit().await?;
    let (rows, next) = window.cut(rows, |row| row.sequence);
    let items = rows.into_iter().map(ReplayView::of).collect::<Result<_, _>>()?;
    Ok(Page::<ReplayView> { items, next }.respond(&uri))
}

/// One replay and how far it has come.
#[utoipa::path(get, path = "/v1/webhook-replays/{replay_id}", tag = "webhooks",
    params(("replay_id" = Uuid, Path), Fresh),
    responses((status = 200, description = "It.", body = ReplayView)))]
async fn get(caller: Caller, PathId(id): PathId, Query(fresh): Query<Fresh>) -> Result<Response, Problem> {
    caller.wait_for(fresh.wait_for.as_deref(), View::Webhooks).await?;
    let mut tx = caller.read().await?;
    let row = replay::replay(&mut tx, caller.organization_id, ReplayId::new(id)).await?;
    tx.commit().await?;
    let view = ReplayView::of(row.ok_or_else(Problem::not_found)?)?;
    shown(view.version, &view)
}

/// Ask for no more deliveries. What was asked for is still sent; that is a hundred at most.
#[utoipa::path(post, path = "/v1/webhook-replays/{replay_id}/cancel", tag = "webhooks",
    params(("replay_id" = Uuid, Path)), request_body = Nothing,
    responses((status = 200, description = "Cancelled.", body = CommandAnswer)))]
async fn cancel(caller: Caller, PathId(id): PathId, wish: Wish<Nothing>) -> Result<Response, Problem> {
    if caller.partner().is_some() {
        let mut tx = caller.read().await?;
        let row = replay::replay(&mut tx, caller.organization_id, ReplayId::new(id)).await?;
        tx.commit().await?;
        if row.is_none() {
            return Err(caller.refuse_foreign().await);
        }
    }
    let command = WebhookReplayCommand::Cancel { reason: ReplayEnd::Requested };
    Ok(caller.change::<WebhookReplay>(&wish.terms, id, None, command).await?.changed())
}

async fn subscription(
    caller: &Caller,
    connection: &mut PgConnection,
    id: SubscriptionId,
) -> Result<SubscriptionRow, Problem> {
    let row = queries::subscription(connection, caller.organization_id, id).await?;
    row.filter(|row| row.status != "deleted")
        .ok_or_else(|| Problem::invalid("/subscription_id", "is no subscription of this organization"))
}

/// The part of the body that a refusal is about.
fn pointed_at(problem: Problem) -> Problem {
    let (pointer, detail) = match problem.code() {
        "no_states" => ("/states", "expected at least one"),
        "reasons_without_failed" => ("/reasons", "expected none, or `failed` among the states"),
        "range_is_empty" => ("/until", "expected a moment after `from`"),
        "nothing_matches" => ("", "no delivery matches; a preview counts them by state"),
        _ => return problem,
    };
    problem.and_field(pointer, detail)
}

/// How many deliveries matched when a replay was asked for.
async fn first_count(caller: &Caller, id: Uuid) -> Result<u32, Problem> {
    let stream = StreamKey { organization_id: caller.organization_id, kind: StreamKind::WebhookReplay, id };
    let events = caller.api.log().stream(&stream, 0).await?;
    let first = events.first().ok_or_else(|| Problem::fault("a replay has no events"))?;
    match first.decode_as().map_err(|error| Problem::internal(&error))? {
        WebhookReplayEvent::Requested(requested) => Ok(requested.matching),
        _ => Err(Problem::fault("a replay does not begin with its request")),
    }
}
