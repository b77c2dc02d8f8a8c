//! Writes what the fold comes to, with as few statements for a page as its tables allow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use carelog_domain::webhook_subscription::EventFilter;
use carelog_domain::{
    DeliveryId, EventId, EventType, OrganizationId, PartnerId, StreamKind, SubscriptionId, Timestamp,
};
use carelog_event_log::RecordedEvent;
use carelog_event_log::effects::{Effect, Wish};
use carelog_event_log::runtime::{ApplyError, OnPoison, PageEnd, ProjectionSchema, Projector};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::deliveries::write_deliveries;
use crate::keeping;
use crate::model::{
    DeliveryKey, Page, Subscription, SubscriptionKey, SubscriptionStatus, concerns_subscriptions,
};
use crate::numbers;
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
        sql: &[include_str!("../../../migrations/core/0005_webhooks.sql")],
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
            let skipped_count = known.skipped_count + page.skipped_count;
            *memory = Memory { subscriptions: page.subscriptions, skipped_count, ..known };
            Ok(page.intents)
        })
    }

    fn committed(&self, memory: &mut Memory) {
        let count = std::mem::take(&mut memory.skipped_count);
        if count > 0 {
            numbers::skipped(count);
        }
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
            let Memory { organizations, subscriptions, skipped_count, oldest } = std::mem::take(memory);
            let mut page = Page::starting_with(subscriptions, oldest);
            for event in events {
                page.fold(event)?;
            }
            let intents = std::mem::take(&mut page.intents);
            let fresh = match end.effects(intents).filter(|_| page.replays.is_empty()) {
                Some(effects) => Some(write_deliveries(tables, &page, Some((end.row(), effects))).await?),
                None => None,
            };
            let skipped_count =
                if fresh.is_some() { skipped_count + page.skipped_count } else { skipped_count };
            *memory = Memory { organizations, subscriptions: page.subscriptions, skipped_count, oldest };
            Ok(fresh)
        })
    }
}

/// The subscriptions of the organizations that came up.
#[derive(Debug, Default)]
pub struct Memory {
    organizations: BTreeSet<OrganizationId>,
    subscriptions: BTreeMap<SubscriptionKey, Subscription>,
    /// Deliveries of pages that are not committed yet, which are not sent because their subscription is not active.
    skipped_count: u64,
    /// Deliveries of earlier events are not kept any more. It only ever grows: a row from before it, made because
    /// this lies behind, finds no partition, and the page is applied once more by a memory that begins anew.
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
        self.subscriptions.extend(subscriptions(tables, &unknown).await?);
        if self.oldest.is_none() || !unknown.is_empty() {
            self.oldest = Some(oldest(tables).await?);
        }
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

/// Deliveries of events with lesser ids are not kept any more.
async fn oldest(tables: &mut PgConnection) -> Result<EventId, ApplyError> {
    let id = sqlx::query_scalar!(r#"select public.carelog_id_at(oldest) as "id!" from webhook_retention"#)
        .fetch_one(tables)
        .await?;
    Ok(EventId::new(id))
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
        select organization_id, subscription_id, partner_id, filter, format, per_tick_limit, status, disable_reason, version,
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
            partner_id: row.partner_id.map(PartnerId::new),
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

/// The requests to send again whose deliveries were removed meanwhile. The others stay until the page is committed.
async fn gone(tables: &mut PgConnection, page: &Page) -> Result<BTreeSet<EventId>, ApplyError> {
    let asked = page.redeliveries.values();
    let (organizations, deliveries): (Vec<_>, Vec<_>) = asked.map(|key| (key.0.uuid(), key.1.uuid())).unzip();
    let rows = sqlx::query!(
        "
        select organization_id, delivery_id
        from webhook_events
        where (organization_id, delivery_id) in (select * from unnest($1::uuid[], $2::uuid[]))
        order by organization_id, delivery_id
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
                 created_at, changed_at, partner_id)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
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
            OffsetDateTime::from(subscription.changed_at),
            subscription.partner_id.map(PartnerId::uuid)
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
