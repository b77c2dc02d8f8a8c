//! Writes what the fold comes to, with as few statements for a page as its tables allow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use carelog_domain::webhook_subscription::EventFilter;
use carelog_domain::{DeliveryId, EventId, EventType, OrganizationId, StreamKind, SubscriptionId, Timestamp};
use carelog_event_log::RecordedEvent;
use carelog_event_log::effects::{Effect, EffectRow, Wish};
use carelog_event_log::runtime::{
    ApplyError, EffectColumns, OnPoison, PageEnd, PageEndRow, ProjectionSchema, Projector,
};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::keeping;
use crate::model::{
    DeliveryKey, DeliveryProgress, DeliveryState, Page, Subscription, SubscriptionKey, SubscriptionStatus,
    concerns_subscriptions,
};
use crate::replay::write_replays;

/// Organizations whose subscriptions a lane remembers; beyond that it begins anew.
const MOST_REMEMBERED: usize = 10_000;

/// Folds subscriptions, deliveries and attempts; intends deliveries.
#[derive(Clone, Copy, Debug, Default)]
pub struct WebhooksProjector;

/// A stored value that does not parse.
#[derive(Debug, thiserror::Error)]
#[error("webhooks.webhook_subscriptions of subscription {0} holds a value that does not parse")]
struct StoredSubscription(SubscriptionId);

impl Projector for WebhooksProjector {
    type Intent = Wish;
    type Memory = Memory;

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
        memory: &'a mut Memory,
        events: &'a [Arc<RecordedEvent>],
    ) -> BoxFuture<'a, Result<Vec<Wish>, ApplyError>> {
        Box::pin(async move {
            // Nothing is remembered of a page that fails.
            let mut known = std::mem::take(memory);
            known.learn(tables, &concerned(events)).await?;
            let mut page = Page::starting_with(known.subscriptions, known.oldest);
            for event in events {
                page.fold(event)?;
            }
            if !page.redeliveries.is_empty() {
                let gone = gone(tables, &page).await?;
                page.forget(&gone);
            }
            write_subscriptions(tables, &page).await?;
            write_parts(tables, &page).await?;
            write_deliveries(tables, &page, None).await?;
            write_replays(tables, &page.replays).await?;
            *memory = Memory { subscriptions: page.subscriptions, ..known };
            Ok(page.intents)
        })
    }

    fn tidy<'a>(&'a self, tables: &'a mut PgConnection) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(async move { Ok(keeping::tidy(tables).await?) })
    }

    /// Where the page changes no subscription, those that it may match are known, and nothing is asked for again whose
    /// delivery may be gone.
    fn apply_at_once<'a>(
        &'a self,
        tables: &'a mut PgConnection,
        memory: &'a mut Memory,
        events: &'a [Arc<RecordedEvent>],
        end: &'a PageEnd<'a>,
    ) -> BoxFuture<'a, Result<Option<Vec<Effect>>, ApplyError>> {
        Box::pin(async move {
            let takes_more = |event: &Arc<RecordedEvent>| {
                event.stream.kind == StreamKind::WebhookSubscription
                    || event.event_type == EventType::WebhookDeliveryRedeliveryRequested
            };
            if events.iter().any(takes_more) || !concerned(events).is_subset(&memory.organizations) {
                return Ok(None);
            }
            let Memory { organizations, subscriptions, oldest } = std::mem::take(memory);
            let mut page = Page::starting_with(subscriptions, oldest);
            for event in events {
                page.fold(event)?;
            }
            let intents = std::mem::take(&mut page.intents);
            let fresh = match end.effects(intents).filter(|_| page.replays.is_empty()) {
                Some(effects) => Some(write_deliveries(tables, &page, Some((end.row(), effects))).await?),
                None => None,
            };
            *memory = Memory { organizations, subscriptions: page.subscriptions, oldest };
            Ok(fresh)
        })
    }
}

/// The subscriptions of the organizations that came up.
#[derive(Debug, Default)]
pub struct Memory {
    organizations: BTreeSet<OrganizationId>,
    subscriptions: BTreeMap<SubscriptionKey, Subscription>,
    /// Deliveries of earlier events are not kept any more. It only ever grows: a row from before it, made because
    /// this lies behind, finds no partition, and the page is applied once more without a memory.
    oldest: Option<EventId>,
}

impl Memory {
    /// Makes sure that the subscriptions of these organizations are known.
    async fn learn(
        &mut self,
        tables: &mut PgConnection,
        organizations: &BTreeSet<OrganizationId>,
    ) -> Result<(), ApplyError> {
        if self.organizations.len() > MOST_REMEMBERED {
            *self = Self::default();
        }
        let unknown: BTreeSet<_> = organizations.difference(&self.organizations).copied().collect();
        self.subscriptions.retain(|_, subscription| subscription.status != SubscriptionStatus::Deleted);
        let (found, oldest) = subscriptions(tables, &unknown).await?;
        self.subscriptions.extend(found);
        self.oldest = self.oldest.max(oldest);
        self.organizations.extend(unknown);
        Ok(())
    }
}

/// The organizations whose subscriptions a page has to know.
fn concerned(events: &[Arc<RecordedEvent>]) -> BTreeSet<OrganizationId> {
    events
        .iter()
        .filter(|event| concerns_subscriptions(event))
        .map(|event| event.stream.organization_id)
        .collect()
}

async fn subscriptions(
    tables: &mut PgConnection,
    organizations: &BTreeSet<OrganizationId>,
) -> Result<(BTreeMap<SubscriptionKey, Subscription>, Option<EventId>), ApplyError> {
    if organizations.is_empty() {
        return Ok((BTreeMap::new(), None));
    }
    let rows = sqlx::query!(
        r#"
        select organization_id, subscription_id, filter, format, per_tick_limit, status, disable_reason, version,
               created_at, changed_at,
               (select public.carelog_id_at(oldest) from webhook_retention) as "oldest!"
        from webhook_subscriptions
        where organization_id = any($1) and status <> 'deleted'
        "#,
        &organizations.iter().map(|id| id.uuid()).collect::<Vec<_>>()
    )
    .fetch_all(tables)
    .await?;
    let (mut found, mut oldest) = (BTreeMap::new(), None);
    for row in rows {
        oldest = Some(EventId::new(row.oldest));
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
    Ok((found, oldest))
}

/// The requests to send again whose deliveries were removed meanwhile. The others stay until the page is committed.
async fn gone(tables: &mut PgConnection, page: &Page) -> Result<BTreeSet<EventId>, ApplyError> {
    let asked = page.redeliveries.values();
    let (organizations, deliveries): (Vec<_>, Vec<_>) = asked.map(|key| (key.0.uuid(), key.1.uuid())).unzip();
    let rows = sqlx::query!(
        "
        select organization_id, delivery_id
        from webhook_events
        where (organization_id, delivery_id) in (select * from unnest($1::uuid[], $2::uuid[]))
        for no key update
        ",
        &organizations,
        &deliveries
    )
    .fetch_all(tables)
    .await?;
    let kept: BTreeSet<DeliveryKey> = rows
        .into_iter()
        .map(|row| (OrganizationId::new(row.organization_id), DeliveryId::new(row.delivery_id)))
        .chain(page.new_deliveries.keys().copied())
        .collect();
    let gone = page.redeliveries.iter().filter(|(_, key)| !kept.contains(key));
    Ok(gone.map(|(event_id, _)| *event_id).collect())
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
    state: Vec<Option<&'static str>>,
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
            let (state, reason) = progress.state.map(DeliveryState::to_columns).unzip();
            columns.version.push(progress.version);
            columns.state.push(state);
            columns.reason.push(reason.flatten());
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

fn integer(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Deliveries and attempts in one statement, and the end of the page too where it is given: then the fresh effects that
/// are leased to this process come back.
async fn write_deliveries(
    tables: &mut PgConnection,
    page: &Page,
    end: Option<(PageEndRow, EffectColumns)>,
) -> Result<Vec<Effect>, ApplyError> {
    let (new, moved, attempts) = (&page.new_deliveries, &page.moved_deliveries, &page.attempts);
    if end.is_none() && new.is_empty() && moved.is_empty() && attempts.is_empty() {
        return Ok(Vec::new());
    }
    let (end, effects) = end.unzip();
    let effects = effects.unwrap_or_default();
    let first = ProgressColumns::of(new.values().map(|delivery| &delivery.progress));
    let later = ProgressColumns::of(moved.values());
    let rows = sqlx::query_as!(
        EffectRow,
        r#"
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
            set version = m.version, state = coalesce(m.state, e.state),
                reason = case when m.state is null then e.reason else m.reason end,
                attempt_count = coalesce(m.attempt_count, e.attempt_count),
                next_attempt_at = case when m.state is null then e.next_attempt_at else m.next_attempt_at end,
                finished_at = case when m.state is null then e.finished_at else m.finished_at end,
                last_outcome = coalesce(m.last_outcome, e.last_outcome),
                last_status = case when m.last_outcome is null then e.last_status else m.last_status end
            from unnest($18::uuid[], $19::uuid[], $20::bigint[], $21::text[], $22::text[], $23::smallint[],
                        $24::timestamptz[], $25::timestamptz[], $26::text[], $27::smallint[])
                 as m (organization_id, delivery_id, version, state, reason, attempt_count, next_attempt_at,
                       finished_at, last_outcome, last_status)
            where e.organization_id = m.organization_id and e.delivery_id = m.delivery_id
        ),
        tried as (
            insert into webhook_attempts
                (organization_id, delivery_id, number, outcome, status, started_at, duration_ms, recorded_at, lookup_ms,
                 connect_ms, wait_ms, body_ms, subscription_version)
            select * from unnest($28::uuid[], $29::uuid[], $30::smallint[], $31::text[], $32::smallint[],
                                 $33::timestamptz[], $34::integer[], $35::timestamptz[], $36::integer[],
                                 $37::integer[], $38::integer[], $39::integer[], $40::bigint[])
                          as a (organization_id, delivery_id)
            -- Those of deliveries that are gone are of no use to anybody.
            where a.delivery_id >= (select public.carelog_id_at(oldest) from webhook_retention)
        )
        select organization_id as "organization_id!", source_event_id as "source_event_id!", step as "step!",
               lane as "lane!", position as "position!", token as "token!",
               null::timestamptz as "abandoned_since: OffsetDateTime", false as "is_closed!"
        from runtime.end_page($41, $42, $43, $44, $45, $46)
        "#,
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
        &attempts.iter().map(|attempt| integer(attempt.duration_ms)).collect::<Vec<_>>(),
        &attempts.iter().map(|attempt| OffsetDateTime::from(attempt.recorded_at)).collect::<Vec<_>>(),
        &attempts.iter().map(|attempt| attempt.phases.lookup_ms.map(integer)).collect::<Vec<_>>() as _,
        &attempts.iter().map(|attempt| attempt.phases.connect_ms.map(integer)).collect::<Vec<_>>() as _,
        &attempts.iter().map(|attempt| attempt.phases.wait_ms.map(integer)).collect::<Vec<_>>() as _,
        &attempts.iter().map(|attempt| attempt.phases.body_ms.map(integer)).collect::<Vec<_>>() as _,
        &attempts.iter().map(|attempt| attempt.subscription_version).collect::<Vec<_>>() as _,
        end as _,
        &effects.organizations,
        &effects.steps,
        &effects.events,
        &effects.lanes,
        &effects.positions
    )
    .fetch_all(tables)
    .await?;
    Ok(rows.into_iter().map(Effect::from).collect())
}
