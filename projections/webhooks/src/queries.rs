//! What the API reads. Every function runs in a transaction whose organization is set, and names it besides.

use carelog_domain::webhook_delivery::Emission;
use carelog_domain::{DeliveryId, EventId, OrganizationId, SubscriptionId};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// A subscription, without its sealed parts.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionRow {
    /// Its id.
    pub subscription_id: Uuid,
    /// The partner whose it is; nothing where the clinic keeps it itself.
    pub partner_id: Option<Uuid>,
    /// Patterns of event types.
    pub filter: Vec<String>,
    /// `standard` or `cloudevents`.
    pub format: String,
    /// Deliveries that may start in a tick; nothing for the default.
    pub per_tick_limit: Option<i32>,
    /// `active`, `disabled` or `deleted`.
    pub status: String,
    /// Why it is disabled.
    pub disable_reason: Option<String>,
    /// Version of its stream.
    pub version: i64,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// When it last changed.
    pub changed_at: OffsetDateTime,
}

/// A delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryRow {
    /// Its id, which receivers see as `webhook-id`.
    pub delivery_id: Uuid,
    /// For whom.
    pub subscription_id: Uuid,
    /// The event to deliver.
    pub source_event_id: Uuid,
    /// Its type.
    pub source_type: String,
    /// Its organization sequence.
    pub source_sequence: i64,
    /// When that event was recorded.
    pub source_recorded_at: OffsetDateTime,
    /// `pending`, `delivered` or `failed`.
    pub state: String,
    /// Why it was never delivered.
    pub reason: Option<String>,
    /// Attempts so far.
    pub attempt_count: i16,
    /// When it is tried again.
    pub next_attempt_at: Option<OffsetDateTime>,
    /// When it ended.
    pub finished_at: Option<OffsetDateTime>,
    /// How the last attempt ended.
    pub last_outcome: Option<String>,
    /// With which HTTP status.
    pub last_status: Option<i16>,
    /// Version of its stream.
    pub version: i64,
}

impl DeliveryRow {
    /// What is delivered, as commands name it; nothing when the type of the event is not known.
    pub fn emission(&self) -> Option<Emission> {
        Some(Emission {
            subscription_id: SubscriptionId::new(self.subscription_id),
            source_event_id: EventId::new(self.source_event_id),
            source_type: self.source_type.parse().ok()?,
            source_sequence: self.source_sequence,
        })
    }
}

/// One attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptRow {
    /// Numbers the attempts of the delivery from 1.
    pub number: i16,
    /// How it ended.
    pub outcome: String,
    /// What exactly was wrong, where the outcome does not tell.
    pub detail: Option<String>,
    /// HTTP status, where there was one.
    pub status: Option<i16>,
    /// When it began.
    pub started_at: OffsetDateTime,
    /// How long it took.
    pub duration_ms: i32,
    /// Of which for the look-up of the name.
    pub lookup_ms: Option<i32>,
    /// Of which to connect, TLS included.
    pub connect_ms: Option<i32>,
    /// Of which until the head of the answer came.
    pub wait_ms: Option<i32>,
    /// Of which for its body.
    pub body_ms: Option<i32>,
    /// The version of the subscription that told what to send.
    pub subscription_version: Option<i64>,
    /// When its end was recorded.
    pub recorded_at: OffsetDateTime,
}

/// Which deliveries are listed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeliveryFilter {
    /// Of one subscription.
    pub subscription_id: Option<Uuid>,
    /// In one state.
    pub state: Option<String>,
    /// Of one event type.
    pub source_type: Option<String>,
    /// Ended for one reason.
    pub reason: Option<String>,
    /// Only what has not arrived.
    pub undelivered: bool,
    /// Of events recorded at this moment or later.
    pub from: Option<OffsetDateTime>,
    /// Of events recorded before this moment.
    pub until: Option<OffsetDateTime>,
    /// With an id before this one; a page's cursor.
    pub before: Option<Uuid>,
}

/// Every subscription that was not deleted, in the order of their ids.
///
/// # Errors
/// When the database fails.
pub fn subscriptions(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    after: Option<Uuid>,
    limit: i64,
) -> BoxFuture<'_, Result<Vec<SubscriptionRow>, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_as!(
        SubscriptionRow,
        "
        select subscription_id, partner_id, filter, format, per_tick_limit, status, disable_reason, version, created_at,
               changed_at
        from webhooks.webhook_subscriptions
        where organization_id = $1 and status <> 'deleted' and ($2::uuid is null or subscription_id > $2)
        order by subscription_id
        limit $3
        ",
        organization_id.uuid(),
        after,
        limit
    )
    .fetch_all(connection)
    .await
    })
}

/// How many subscriptions there are beside one, those left out that were deleted; nothing when that one exists.
///
/// # Errors
/// When the database fails.
pub fn count_others(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    subscription_id: Uuid,
) -> BoxFuture<'_, Result<Option<i64>, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_scalar!(
            r#"
            select case when not coalesce(bool_or(subscription_id = $2), false)
                        then count(*) filter (where status <> 'deleted') end as count
            from webhooks.webhook_subscriptions
            where organization_id = $1
            "#,
            organization_id.uuid(),
            subscription_id
        )
        .fetch_one(connection)
        .await
    })
}

/// One subscription, deleted or not.
///
/// # Errors
/// When the database fails.
pub fn subscription(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    subscription_id: SubscriptionId,
) -> BoxFuture<'_, Result<Option<SubscriptionRow>, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_as!(
        SubscriptionRow,
        "
        select subscription_id, partner_id, filter, format, per_tick_limit, status, disable_reason, version, created_at,
               changed_at
        from webhooks.webhook_subscriptions
        where organization_id = $1 and subscription_id = $2
        ",
        organization_id.uuid(),
        subscription_id.uuid()
    )
    .fetch_optional(connection)
    .await
    })
}

/// Deliveries, newest event first: their ids begin with the time of their event, so the primary key has their order.
///
/// # Errors
/// When the database fails.
pub fn deliveries<'a>(
    connection: &'a mut PgConnection,
    organization_id: OrganizationId,
    filter: &'a DeliveryFilter,
    limit: i64,
) -> BoxFuture<'a, Result<Vec<DeliveryRow>, sqlx::Error>> {
    if filter.undelivered {
        return undelivered(connection, organization_id, filter, limit);
    }
    Box::pin(async move {
        sqlx::query_as!(
        DeliveryRow,
        "
        select delivery_id, subscription_id, source_event_id, source_type, source_sequence, source_recorded_at, state,
               reason, attempt_count, next_attempt_at, finished_at, last_outcome, last_status, version
        from webhooks.webhook_events
        where organization_id = $1
          and ($2::uuid is null or subscription_id = $2)
          and ($3::text is null or state = $3)
          and ($4::text is null or source_type = $4)
          and ($5::text is null or reason = $5)
          and delivery_id < coalesce($6, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
          and ($8::timestamptz is null or source_recorded_at >= $8)
          and ($9::timestamptz is null or source_recorded_at < $9)
        order by delivery_id desc
        limit $7
        ",
        organization_id.uuid(),
        filter.subscription_id,
        filter.state,
        filter.source_type,
        filter.reason,
        filter.before,
        limit,
        filter.from,
        filter.until
    )
    .fetch_all(connection)
    .await
    })
}

/// Deliveries that have not arrived, newest event first. A statement of its own, so that it always goes by the index
/// that holds nothing else.
fn undelivered<'a>(
    connection: &'a mut PgConnection,
    organization_id: OrganizationId,
    filter: &'a DeliveryFilter,
    limit: i64,
) -> BoxFuture<'a, Result<Vec<DeliveryRow>, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_as!(
        DeliveryRow,
        "
        select delivery_id, subscription_id, source_event_id, source_type, source_sequence, source_recorded_at, state,
               reason, attempt_count, next_attempt_at, finished_at, last_outcome, last_status, version
        from webhooks.webhook_events
        where organization_id = $1
          and state <> 'delivered'
          and ($2::uuid is null or subscription_id = $2)
          and ($3::text is null or state = $3)
          and ($4::text is null or source_type = $4)
          and ($5::text is null or reason = $5)
          and delivery_id < coalesce($6, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
          and ($8::timestamptz is null or source_recorded_at >= $8)
          and ($9::timestamptz is null or source_recorded_at < $9)
        order by delivery_id desc
        limit $7
        ",
        organization_id.uuid(),
        filter.subscription_id,
        filter.state,
        filter.source_type,
        filter.reason,
        filter.before,
        limit,
        filter.from,
        filter.until
    )
    .fetch_all(connection)
    .await
    })
}

/// A subscription's deliveries of events after an organization sequence, the oldest event first.
///
/// # Errors
/// When the database fails.
pub fn deliveries_after(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    subscription_id: SubscriptionId,
    after_sequence: i64,
    limit: i64,
) -> BoxFuture<'_, Result<Vec<DeliveryRow>, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_as!(
            DeliveryRow,
            "
            select delivery_id, subscription_id, source_event_id, source_type, source_sequence, source_recorded_at,
                   state, reason, attempt_count, next_attempt_at, finished_at, last_outcome, last_status, version
            from webhooks.webhook_events
            where organization_id = $1 and subscription_id = $2 and source_sequence > $3
            order by source_sequence
            limit $4
            ",
            organization_id.uuid(),
            subscription_id.uuid(),
            after_sequence,
            limit
        )
        .fetch_all(connection)
        .await
    })
}

/// The organization sequence of the newest event that a subscription has a delivery of; 0 without any.
///
/// # Errors
/// When the database fails.
pub fn newest_sequence(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    subscription_id: SubscriptionId,
) -> BoxFuture<'_, Result<i64, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_scalar!(
            r#"
            select coalesce(max(source_sequence), 0) as "sequence!"
            from webhooks.webhook_events
            where organization_id = $1 and subscription_id = $2
            "#,
            organization_id.uuid(),
            subscription_id.uuid()
        )
        .fetch_one(connection)
        .await
    })
}

/// One delivery.
///
/// # Errors
/// When the database fails.
pub fn delivery(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    delivery_id: DeliveryId,
) -> BoxFuture<'_, Result<Option<DeliveryRow>, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_as!(
        DeliveryRow,
        "
        select delivery_id, subscription_id, source_event_id, source_type, source_sequence, source_recorded_at, state,
               reason, attempt_count, next_attempt_at, finished_at, last_outcome, last_status, version
        from webhooks.webhook_events
        where organization_id = $1 and delivery_id = $2
        ",
        organization_id.uuid(),
        delivery_id.uuid()
    )
    .fetch_optional(connection)
    .await
    })
}

/// The attempts of a delivery, in order.
///
/// # Errors
/// When the database fails.
pub fn attempts(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    delivery_id: DeliveryId,
) -> BoxFuture<'_, Result<Vec<AttemptRow>, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_as!(
            AttemptRow,
            "
            select number, outcome, detail, status, started_at, duration_ms, recorded_at, lookup_ms, connect_ms,
                   wait_ms, body_ms, subscription_version
            from webhooks.webhook_attempts
            where organization_id = $1 and delivery_id = $2
            order by number
            ",
            organization_id.uuid(),
            delivery_id.uuid()
        )
        .fetch_all(connection)
        .await
    })
}
