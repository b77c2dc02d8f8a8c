//! Writes what the fold comes to, with as few statements for a page as its tables allow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use carelog_domain::webhook_subscription::EventFilter;
use carelog_domain::{EventType, OrganizationId, SubscriptionId, Timestamp};
use carelog_event_log::RecordedEvent;
use carelog_event_log::effects::Wish;
use carelog_event_log::runtime::{ApplyError, OnPoison, ProjectionSchema, Projector};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::model::{
    DeliveryProgress, Page, Subscription, SubscriptionKey, SubscriptionStatus, concerns_subscriptions,
};
use crate::replay::write_replays;

/// Folds subscriptions, deliveries and attempts; intends deliveries.
#[derive(Clone, Copy, Debug, Default)]
pub struct WebhooksProjector;

/// A stored value that does not parse.
#[derive(Debug, thiserror::Error)]
#[error("webhooks.webhook_subscriptions of subscription {0} holds a value that does not parse")]
struct StoredSubscription(SubscriptionId);

impl Projector for WebhooksProjector {
    type Intent = Wish;

    const NAME: &'static str = "webhooks";

    const SCHEMA: ProjectionSchema = ProjectionSchema {
        name: "webhooks",
        sql: include_str!("../../../migrations/core/0005_webhooks.sql"),
        tables: &[
            "webhook_subscriptions",
            "webhook_subscription_parts",
            "webhook_events",
            "webhook_attempts",
            "webhook_replays",
            "webhook_replay_counts",
        ],
    };

    const ON_POISON: OnPoison = OnPoison::Quarantine;

    const PATIENCE: Duration = Duration::from_millis(50);

    /// Whatever may lead to a delivery; outcomes can wait.
    fn is_pressing(&self, event: &RecordedEvent) -> bool {
        concerns_subscriptions(event)
            || matches!(
                event.event_type,
                EventType::WebhookDeliveryRedeliveryRequested | EventType::WebhookReplayRequested
            )
    }

    fn apply<'a>(
        &'a self,
        tables: &'a mut PgConnection,
        events: &'a [Arc<RecordedEvent>],
    ) -> BoxFuture<'a, Result<Vec<Wish>, ApplyError>> {
        Box::pin(async move {
            let organizations: BTreeSet<OrganizationId> = events
                .iter()
                .filter(|event| concerns_subscriptions(event))
                .map(|event| event.stream.organization_id)
                .collect();
            let mut page = Page::starting_with(subscriptions(tables, &organizations).await?);
            for event in events {
                page.fold(event)?;
            }
            write_subscriptions(tables, &page).await?;
            write_parts(tables, &page).await?;
            write_deliveries(tables, &page).await?;
            write_replays(tables, &page.replays).await?;
            Ok(page.intents)
        })
    }
}

async fn subscriptions(
    tables: &mut PgConnection,
    organizations: &BTreeSet<OrganizationId>,
) -> Result<BTreeMap<SubscriptionKey, Subscription>, ApplyError> {
    if organizations.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = sqlx::query!(
        "
        select organization_id, subscription_id, filter, format, per_tick_limit, status, disable_reason, version,
               created_at, changed_at
        from webhook_subscriptions
        where organization_id = any($1) and status <> 'deleted'
        ",
        &organizations.iter().map(|id| id.uuid()).collect::<Vec<_>>()
    )
    .fetch_all(tables)
    .await?;
    let mut found = BTreeMap::new();
    for row in rows {
        let subscription_id = SubscriptionId::new(row.subscription_id);
        let bad = || ApplyError::poison(StoredSubscription(subscription_id));
        let subscription = Subscription {
            filter: EventFilter::parse(&row.filter).map_err(|_| bad())?,
            format: row.format.parse().map_err(|_| bad())?,
            per_tick_limit: row.per_tick_limit.map(u16::try_from).transpose().map_err(|_| bad())?,
            status: SubscriptionStatus::from_columns(&row.status, row.disable_reason.as_deref())
                .ok_or_else(bad)?,
            version: row.version,
            created_at: Timestamp::try_from(row.created_at).map_err(|_| bad())?,
            changed_at: Timestamp::try_from(row.changed_at).map_err(|_| bad())?,
        };
        found.insert((OrganizationId::new(row.organization_id), subscription_id), subscription);
    }
    Ok(found)
}

/// Subscriptions change rarely: a statement each.
async fn write_subscriptions(tables: &mut PgConnection, page: &Page) -> Result<(), ApplyError> {
    let changed: BTreeSet<_> = page.changed_subscriptions.iter().collect();
    for key in changed {
        let Some(subscription) = page.subscriptions.get(key) else { continue };
        let (status, reason) = subscription.status.to_columns();
        sqlx::query!(
            "
            insert into webhook_subscriptions
                (organization_id, subscription_id, filter, format, per_tick_limit, status, disable_reason, version,
                 created_at, changed_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
            on conflict (organization_id, subscription_id) do update
            set filter = excluded.filter, format = excluded.format, per_tick_limit = excluded.per_tick_limit,
                status = excluded.status, disable_reason = excluded.disable_reason, version = excluded.version,
                changed_at = excluded.changed_at
            ",
            key.0.uuid(),
            key.1.uuid(),
            &subscription.filter.to_texts(),
            subscription.format.as_str(),
            subscription.per_tick_limit.map(i32::from),
            status,
            reason,
            subscription.version,
            OffsetDateTime::from(subscription.created_at),
            OffsetDateTime::from(subscription.changed_at)
        )
        .execute(&mut *tables)
        .await?;
    }
    Ok(())
}

async fn write_parts(tables: &mut PgConnection, page: &Page) -> Result<(), ApplyError> {
    for part in &page.parts {
        let event = &part.event;
        sqlx::query!(
            "
            insert into webhook_subscription_parts
                (organization_id, subscription_id, version, event_id, event_type, schema_version, recorded_at,
                 overlap_seconds, key_id, sealed)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
            ",
            event.stream.organization_id.uuid(),
            event.stream.id,
            event.version,
            event.event_id.uuid(),
            event.event_type.as_str(),
            i16::try_from(event.schema_version).unwrap_or(i16::MAX),
            OffsetDateTime::from(event.recorded_at),
            part.overlap_seconds.map(|seconds| i32::try_from(seconds).unwrap_or(i32::MAX)),
            part.part.sealed.key_id.uuid(),
            &part.part.sealed.bytes[..]
        )
        .execute(&mut *tables)
        .await?;
    }
    Ok(())
}

/// The columns that outcomes move, as arrays.
#[derive(Default)]
struct ProgressColumns {
    version: Vec<i64>,
    state: Vec<&'static str>,
    reason: Vec<Option<&'static str>>,
    attempt_count: Vec<Option<i16>>,
    next_attempt_at: Vec<Option<OffsetDateTime>>,
    finished_at: Vec<Option<OffsetDateTime>>,
    last_outcome: Vec<Option<&'static str>>,
    last_status: Vec<Option<i16>>,
}

impl ProgressColumns {
    fn of<'a>(all: impl Iterator<Item = &'a DeliveryProgress>) -> Self {
        let mut columns = Self::default();
        for progress in all {
            let (state, reason) = progress.state.to_columns();
            columns.version.push(progress.version);
            columns.state.push(state);
            columns.reason.push(reason);
            columns.attempt_count.push(progress.attempt_count.map(small));
            columns.next_attempt_at.push(progress.next_attempt_at.map(OffsetDateTime::from));
            columns.finished_at.push(progress.finished_at.map(OffsetDateTime::from));
            columns.last_outcome.push(progress.last.map(|(outcome, _)| outcome.as_str()));
            columns.last_status.push(progress.last.and_then(|(_, status)| status).map(small));
        }
        columns
    }
}

fn small(number: u16) -> i16 {
    i16::try_from(number).unwrap_or(i16::MAX)
}

/// Deliveries and attempts in one statement: a page with few events costs what its messages cost.
async fn write_deliveries(tables: &mut PgConnection, page: &Page) -> Result<(), ApplyError> {
    let (new, moved, attempts) = (&page.new_deliveries, &page.moved_deliveries, &page.attempts);
    if new.is_empty() && moved.is_empty() && attempts.is_empty() {
        return Ok(());
    }
    let first = ProgressColumns::of(new.values().map(|delivery| &delivery.progress));
    let later = ProgressColumns::of(moved.values());
    sqlx::query!(
        "
        with new as (
            insert into webhook_events
                (organization_id, delivery_id, subscription_id, source_event_id, source_type, source_sequence,
                 source_recorded_at, lane, position, version, state, reason, attempt_count, next_attempt_at,
                 finished_at, last_outcome, last_status)
            select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::bigint[],
                                 $7::timestamptz[], $8::smallint[], $9::bigint[], $10::bigint[], $11::text[],
                                 $12::text[], $13::smallint[], $14::timestamptz[], $15::timestamptz[], $16::text[],
                                 $17::smallint[])
        ),
        moved as (
            update webhook_events e
            set version = m.version, state = m.state, reason = m.reason,
                attempt_count = coalesce(m.attempt_count, e.attempt_count), next_attempt_at = m.next_attempt_at,
                finished_at = m.finished_at, last_outcome = coalesce(m.last_outcome, e.last_outcome),
                last_status = case when m.last_outcome is null then e.last_status else m.last_status end
            from unnest($18::uuid[], $19::uuid[], $20::bigint[], $21::text[], $22::text[], $23::smallint[],
                        $24::timestamptz[], $25::timestamptz[], $26::text[], $27::smallint[])
                 as m (organization_id, delivery_id, version, state, reason, attempt_count, next_attempt_at,
                       finished_at, last_outcome, last_status)
            where e.organization_id = m.organization_id and e.delivery_id = m.delivery_id
        )
        insert into webhook_attempts
            (organization_id, delivery_id, number, outcome, status, started_at, duration_ms, recorded_at)
        select * from unnest($28::uuid[], $29::uuid[], $30::smallint[], $31::text[], $32::smallint[],
                             $33::timestamptz[], $34::integer[], $35::timestamptz[])
        ",
        &new.keys().map(|key| key.0.uuid()).collect::<Vec<_>>(),
        &new.keys().map(|key| key.1.uuid()).collect::<Vec<_>>(),
        &new.values().map(|delivery| delivery.subscription_id.uuid()).collect::<Vec<_>>(),
        &new.values().map(|delivery| delivery.event.event_id.uuid()).collect::<Vec<_>>(),
        &new.values().map(|delivery| delivery.event.event_type.as_str()).collect::<Vec<_>>() as _,
        &new.values().map(|delivery| delivery.event.organization_sequence).collect::<Vec<_>>(),
        &new.values().map(|delivery| OffsetDateTime::from(delivery.event.recorded_at)).collect::<Vec<_>>(),
        &new.values().map(|delivery| delivery.event.lane).collect::<Vec<_>>(),
        &new.values().map(|delivery| delivery.event.position).collect::<Vec<_>>(),
        &first.version,
        &first.state as _,
        &first.reason as _,
        &first.attempt_count as _,
        &first.next_attempt_at as _,
        &first.finished_at as _,
        &first.last_outcome as _,
        &first.last_status as _,
        &moved.keys().map(|key| key.0.uuid()).collect::<Vec<_>>(),
        &moved.keys().map(|key| key.1.uuid()).collect::<Vec<_>>(),
        &later.version,
        &later.state as _,
        &later.reason as _,
        &later.attempt_count as _,
        &later.next_attempt_at as _,
        &later.finished_at as _,
        &later.last_outcome as _,
        &later.last_status as _,
        &attempts.iter().map(|attempt| attempt.key.0.uuid()).collect::<Vec<_>>(),
        &attempts.iter().map(|attempt| attempt.key.1.uuid()).collect::<Vec<_>>(),
        &attempts.iter().map(|attempt| small(attempt.number)).collect::<Vec<_>>(),
        &attempts.iter().map(|attempt| attempt.outcome.as_str()).collect::<Vec<_>>() as _,
        &attempts.iter().map(|attempt| attempt.status.map(small)).collect::<Vec<_>>() as _,
        &attempts.iter().map(|attempt| OffsetDateTime::from(attempt.started_at)).collect::<Vec<_>>(),
        &attempts.iter().map(|attempt| i32::try_from(attempt.duration_ms).unwrap_or(i32::MAX)).collect::<Vec<_>>(),
        &attempts.iter().map(|attempt| OffsetDateTime::from(attempt.recorded_at)).collect::<Vec<_>>()
    )
    .execute(tables)
    .await?;
    Ok(())
}
