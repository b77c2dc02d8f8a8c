//! What the demo shows of itself, read from the log, the projections and the receiver, never from the stream: a
//! delivery counts once its outcome is in the log, a receipt once the partner's own library has verified it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use carelog_domain::EventType;
use carelog_domain::webhook_delivery::{AttemptOutcome, WebhookDeliveryEvent};
use carelog_embedded::receiver::Receiver;
use carelog_event_log::runtime::lag;
use carelog_event_log::{Clock, EventLog, Lane, Position, SystemClock, read};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::api::Tally;
use super::receipts::Receipts;
use crate::system::System;

/// Events read at a time.
const PAGE: i64 = 1_000;

/// The figures of this run.
#[derive(Debug)]
pub(super) struct Figures {
    began: Instant,
    began_micros: i64,
    core: PgPool,
    audit: PgPool,
    organizations: Vec<Uuid>,
    /// Under which name this process holds effects.
    owner: Uuid,
    receipts: Arc<Receipts>,
    cursors: BTreeMap<Lane, Position>,
    commit_to_receipt: Histogram<u64>,
    /// Events appended.
    pub(super) events: u64,
    /// Attempts that the receiver accepted, as the log has it.
    pub(super) deliveries: u64,
    /// Requests that the receiver verified and accepted.
    pub(super) verified: u64,
    /// Requests that it refused for their signature.
    pub(super) refused_signatures: u64,
    /// Deliveries that failed and will be tried again.
    pub(super) retries_waiting: i64,
    /// Events that the slowest projector has not applied.
    pub(super) events_behind: i64,
}

impl Figures {
    /// Counts from the present heads of the log on.
    pub(super) fn new(
        began: Instant,
        system: &System,
        organizations: Vec<Uuid>,
        receipts: Arc<Receipts>,
    ) -> Self {
        let elapsed_micros = i64::try_from(began.elapsed().as_micros()).unwrap_or_default();
        Self {
            began,
            began_micros: SystemClock.now().unix_micros() - elapsed_micros,
            core: system.databases.core_system.clone(),
            audit: system.databases.audit_system.clone(),
            organizations,
            owner: system.runtime.owner,
            receipts,
            cursors: system.log.lanes().map(|lane| (lane, *system.log.head(lane).borrow())).collect(),
            commit_to_receipt: histogram(),
            events: 0,
            deliveries: 0,
            verified: 0,
            refused_signatures: 0,
            retries_waiting: 0,
            events_behind: 0,
        }
    }

    /// How long the demo has been running.
    pub(super) fn uptime(&self) -> Duration {
        self.began.elapsed()
    }

    /// From the start of the process to the first request that the receiver accepted.
    pub(super) fn first_delivery(&self) -> Option<Duration> {
        self.receipts.first_accepted().map(|at| at.duration_since(self.began))
    }

    /// Milliseconds from commit to receipt that this share of the first attempts stayed below.
    pub(super) fn commit_to_receipt_ms(&self, share: f64) -> f64 {
        let micros = u32::try_from(self.commit_to_receipt.value_at_quantile(share));
        f64::from(micros.unwrap_or(u32::MAX)) / 1_000.0
    }

    /// Brings everything up to date.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn look(&mut self, receiver: &Receiver) -> anyhow::Result<()> {
        self.follow_log().await?;
        self.match_receipts().await?;
        let counts = receiver.counts();
        (self.verified, self.refused_signatures) = (counts.accepted, counts.refused_signatures);
        self.retries_waiting = self.count_waiting().await?;
        Ok(())
    }

    /// Asks how far behind the projectors are.
    ///
    /// # Errors
    /// When a database fails.
    pub(super) async fn look_at_lag(&mut self, log: &EventLog) -> anyhow::Result<i64> {
        let core = lag(log, &mut *self.core.acquire().await?).await?;
        let audit = lag(log, &mut *self.audit.acquire().await?).await?;
        self.events_behind = core.iter().chain(&audit).map(|lag| lag.events_behind).max().unwrap_or_default();
        Ok(self.events_behind)
    }

    /// Whether everything that is due was sent and every outcome was projected.
    ///
    /// # Errors
    /// When a database fails.
    pub(super) async fn is_quiet(&mut self, log: &EventLog) -> anyhow::Result<bool> {
        // Effects are written with the checkpoint, so a projector at the head has asked for all of them; their
        // outcomes are events, so the second look finds it at the same heads only when there were none.
        let heads = || -> Vec<Position> { log.lanes().map(|lane| *log.head(lane).borrow()).collect() };
        let before = heads();
        let is_quiet = self.look_at_lag(log).await? == 0
            && self.count_due().await? == 0
            && self.look_at_lag(log).await? == 0
            && before == heads();
        Ok(is_quiet)
    }

    /// What is wrong with a run that came to its end.
    pub(super) const fn fault(&self) -> Option<&'static str> {
        fault(self.deliveries, self.verified, self.refused_signatures)
    }

    /// The result of a run.
    pub(super) fn to_json(&self, tally: &Tally) -> Value {
        json!({
            "events": self.events,
            "deliveries": self.deliveries,
            "verified": self.verified,
            "refused_signatures": self.refused_signatures,
            "retries_waiting": self.retries_waiting,
            "p50_ms": self.commit_to_receipt_ms(0.5),
            "p99_ms": self.commit_to_receipt_ms(0.99),
            "first_delivery_ms": self.first_delivery().map(|first| u64::try_from(first.as_millis()).ok()),
            "commands": tally.commands(),
            "rejected": tally.rejected(),
            "failed": tally.failed(),
            "duration_ms": u64::try_from(self.uptime().as_millis()).ok(),
        })
    }

    async fn follow_log(&mut self) -> anyhow::Result<()> {
        let mut connection = self.core.acquire().await?;
        for (lane, cursor) in &mut self.cursors {
            loop {
                let page = read::lane(&mut connection, *lane, *cursor, PAGE).await?;
                let Some(last) = page.last() else { break };
                *cursor = last.position;
                self.events += page.len() as u64;
                for event in
                    page.iter().filter(|event| event.event_type == EventType::WebhookDeliveryAttempted)
                {
                    if let WebhookDeliveryEvent::Attempted(attempt) = event.decode_as()? {
                        self.deliveries += u64::from(attempt.outcome == AttemptOutcome::Success);
                    }
                }
            }
        }
        Ok(())
    }

    /// A delivery's row is there before its first request, so each receipt finds one.
    async fn match_receipts(&mut self) -> anyhow::Result<()> {
        let receipts: BTreeMap<Uuid, i64> = self.receipts.take().into_iter().collect();
        if receipts.is_empty() {
            return Ok(());
        }
        let delivery_ids: Vec<Uuid> = receipts.keys().copied().collect();
        let rows = sqlx::query!(
            "
            select delivery_id, source_recorded_at
            from webhooks.webhook_events
            where organization_id = any($1) and delivery_id = any($2)
            ",
            &self.organizations,
            &delivery_ids
        )
        .fetch_all(&self.core)
        .await?;
        for row in rows {
            let recorded_micros = i64::try_from(row.source_recorded_at.unix_timestamp_nanos() / 1_000)?;
            let received_micros = receipts.get(&row.delivery_id).copied().unwrap_or_default();
            // Retries of an earlier run come for the first time to this run's receiver.
            if recorded_micros >= self.began_micros {
                let micros = u64::try_from(received_micros - recorded_micros).unwrap_or_default();
                self.commit_to_receipt.saturating_record(micros);
            }
        }
        Ok(())
    }

    async fn count_waiting(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar!(
            r#"
            select count(*) as "count!"
            from webhooks.webhook_events
            where organization_id = any($1) and state = 'pending' and attempt_count > 0
            "#,
            &self.organizations
        )
        .fetch_one(&self.core)
        .await
    }

    /// What a process held that was killed is due when its lease ends, and not before.
    async fn count_due(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar!(
            r#"
            select count(*) as "count!"
            from runtime.effects
            where next_at is not null and (owner = $1 or next_at <= now())
            "#,
            self.owner
        )
        .fetch_one(&self.core)
        .await
    }
}

pub(super) const fn fault(deliveries: u64, verified: u64, refused_signatures: u64) -> Option<&'static str> {
    if verified != deliveries {
        Some("the receiver accepted another number of requests than the log has deliveries")
    } else if refused_signatures > 0 {
        Some("the receiver refused requests for their signature")
    } else if verified == 0 {
        Some("nothing was delivered")
    } else {
        None
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are constants")
}
