//! What the API and the worker read of replays. Every function names the organization.

use carelog_domain::webhook_replay::{ReplaySelection, ReplayedState};
use carelog_domain::{EventType, OrganizationId, ReplayId, SubscriptionId};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// A replay.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayRow {
    /// Its id.
    pub replay_id: Uuid,
    /// Whose deliveries.
    pub subscription_id: Uuid,
    /// Organization sequence of the request; the order of lists.
    pub sequence: i64,
    /// Organization sequence of the first event whose delivery matched.
    pub first_sequence: i64,
    /// Organization sequence of the last one.
    pub last_sequence: i64,
    /// Organization sequence up to which everything was asked for or skipped.
    pub place: i64,
    /// Version of its stream.
    pub version: i64,
    /// Of events recorded at this moment or later.
    pub recorded_from: Option<OffsetDateTime>,
    /// Of events recorded before this moment.
    pub recorded_until: Option<OffsetDateTime>,
    /// When it was asked for.
    pub requested_at: OffsetDateTime,
    /// When its last batch was asked for.
    pub advanced_at: Option<OffsetDateTime>,
    /// When it ended.
    pub finished_at: Option<OffsetDateTime>,
    /// How many deliveries matched when it was asked for.
    pub matching_count: i32,
    /// How many were skipped so far.
    pub skipped_count: i32,
    /// How many were asked for so far.
    pub requested_count: i32,
    /// How many of those were delivered.
    pub delivered_count: i32,
    /// How many of those were given up.
    pub failed_count: i32,
    /// `running`, `completed` or `cancelled`.
    pub status: String,
    /// Why it was cancelled.
    pub end_reason: Option<String>,
    /// Patterns of event types.
    pub filter: Vec<String>,
    /// `failed`, `delivered` or both.
    pub states: Vec<String>,
    /// Of those that failed, which; all where it is empty.
    pub reasons: Vec<String>,
}

/// The replays of all organizations that are under way. Each is an effect in the ledger as deliveries are, of a step with
/// its own id.
///
/// # Errors
/// When the database fails.
pub fn running(connection: &mut PgConnection) -> BoxFuture<'_, Result<Vec<Uuid>, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_scalar!("select replay_id from webhooks.webhook_replays where status = 'running'")
            .fetch_all(connection)
            .await
    })
}

/// Which replays are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayFilter {
    /// Of one subscription.
    pub subscription_id: Option<Uuid>,
    /// Asked for before this organization sequence; a page's cursor.
    pub before_sequence: Option<i64>,
}

/// What a selection comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// Failed deliveries that it selects.
    pub failed: u32,
    /// Delivered ones that it selects.
    pub delivered: u32,
    /// Deliveries of the same events that wait for an attempt anyway, and would be skipped.
    pub pending: u32,
    /// Organization sequences of the first and the last event whose delivery it selects.
    pub sequences: Option<(i64, i64)>,
    /// When those events were recorded.
    pub recorded: Option<(OffsetDateTime, OffsetDateTime)>,
}

impl Matching {
    /// How many deliveries it selects.
    pub const fn count(&self) -> u32 {
        self.failed.saturating_add(self.delivered)
    }
}

/// A selection as columns.
pub(super) struct Columns {
    pub(super) types: Vec<&'static str>,
    pub(super) reasons: Vec<&'static str>,
    pub(super) wants_failed: bool,
    pub(super) wants_delivered: bool,
    pub(super) from: Option<OffsetDateTime>,
    pub(super) until: Option<OffsetDateTime>,
}

impl Columns {
    pub(super) fn of(selection: &ReplaySelection) -> Self {
        let types = EventType::ALL.iter().filter(|event_type| selection.filter.matches(**event_type));
        Self {
            types: types.map(|event_type| event_type.as_str()).collect(),
            reasons: selection.reasons.iter().map(|reason| reason.as_str()).collect(),
            wants_failed: selection.states.contains(&ReplayedState::Failed),
            wants_delivered: selection.states.contains(&ReplayedState::Delivered),
            from: selection.from.map(OffsetDateTime::from),
            until: selection.until.map(OffsetDateTime::from),
        }
    }
}

/// Counts what a selection comes to now.
///
/// # Errors
/// When the database fails.
pub fn matching<'a>(
    connection: &'a mut PgConnection,
    organization_id: OrganizationId,
    selection: &'a ReplaySelection,
) -> BoxFuture<'a, Result<Matching, sqlx::Error>> {
    Box::pin(async move {
        let columns = Columns::of(selection);
        let row = sqlx::query!(
            r#"
            select count(*) filter (where state = 'failed') as "failed!",
                   count(*) filter (where state = 'delivered') as "delivered!",
                   count(*) filter (where state = 'pending') as "pending!",
                   min(source_sequence) filter (where state <> 'pending') as first_sequence,
                   max(source_sequence) filter (where state <> 'pending') as last_sequence,
                   min(source_recorded_at) filter (where state <> 'pending') as first_at,
                   max(source_recorded_at) filter (where state <> 'pending') as last_at
            from webhooks.webhook_events
            where organization_id = $1
              and subscription_id = $2
              and source_type = any($3)
              and (state = 'pending' or $4 and state = 'delivered'
                   or $5 and state = 'failed' and ($6::text[] = '{}' or reason = any($6)))
              and ($7::timestamptz is null or source_recorded_at >= $7)
              and ($8::timestamptz is null or source_recorded_at < $8)
            "#,
            organization_id.uuid(),
            selection.subscription_id.uuid(),
            &columns.types as _,
            columns.wants_delivered,
            columns.wants_failed,
            &columns.reasons as _,
            columns.from,
            columns.until
        )
        .fetch_one(connection)
        .await?;
        let number = |count: i64| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(Matching {
            failed: number(row.failed),
            delivered: number(row.delivered),
            pending: number(row.pending),
            sequences: row.first_sequence.zip(row.last_sequence),
            recorded: row.first_at.zip(row.last_at),
        })
    })
}

/// The number and the status of the newest replay of a subscription.
///
/// # Errors
/// When the database fails.
pub fn last_replay(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    subscription_id: SubscriptionId,
) -> BoxFuture<'_, Result<Option<(u32, String)>, sqlx::Error>> {
    Box::pin(async move {
        let row = sqlx::query!(
            "
            select number, status
            from webhooks.webhook_replays
            where organization_id = $1 and subscription_id = $2
            order by number desc
            limit 1
            ",
            organization_id.uuid(),
            subscription_id.uuid()
        )
        .fetch_optional(connection)
        .await?;
        Ok(row.map(|row| (u32::try_from(row.number).unwrap_or_default(), row.status)))
    })
}

/// Replays, the newest first.
///
/// # Errors
/// When the database fails.
pub fn replays(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    filter: ReplayFilter,
    limit: i64,
) -> BoxFuture<'_, Result<Vec<ReplayRow>, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_as!(
            ReplayRow,
            r#"
            select r.replay_id, r.subscription_id, r.sequence, r.first_sequence, r.last_sequence, r.place, r.version,
                   r.recorded_from, r.recorded_until, r.requested_at, r.advanced_at, r.finished_at, r.matching_count,
                   r.skipped_count, coalesce(c.requested_count, 0) as "requested_count!",
                   coalesce(c.delivered_count, 0) as "delivered_count!", coalesce(c.failed_count, 0) as "failed_count!",
                   r.status, r.end_reason, r.filter, r.states, r.reasons
            from webhooks.webhook_replays r
            left join webhooks.webhook_replay_counts c using (organization_id, replay_id)
            where r.organization_id = $1
              and ($2::uuid is null or r.subscription_id = $2)
              and ($3::bigint is null or r.sequence < $3)
            order by r.sequence desc
            limit $4
            "#,
            organization_id.uuid(),
            filter.subscription_id,
            filter.before_sequence,
            limit
        )
        .fetch_all(connection)
        .await
    })
}

/// One replay.
///
/// # Errors
/// When the database fails.
pub fn replay(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
    replay_id: ReplayId,
) -> BoxFuture<'_, Result<Option<ReplayRow>, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_as!(
            ReplayRow,
            r#"
            select r.replay_id, r.subscription_id, r.sequence, r.first_sequence, r.last_sequence, r.place, r.version,
                   r.recorded_from, r.recorded_until, r.requested_at, r.advanced_at, r.finished_at, r.matching_count,
                   r.skipped_count, coalesce(c.requested_count, 0) as "requested_count!",
                   coalesce(c.delivered_count, 0) as "delivered_count!", coalesce(c.failed_count, 0) as "failed_count!",
                   r.status, r.end_reason, r.filter, r.states, r.reasons
            from webhooks.webhook_replays r
            left join webhooks.webhook_replay_counts c using (organization_id, replay_id)
            where r.organization_id = $1 and r.replay_id = $2
            "#,
            organization_id.uuid(),
            replay_id.uuid()
        )
        .fetch_optional(connection)
        .await
    })
}
