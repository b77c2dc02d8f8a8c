//! Writes what a page comes to for replays.

use carelog_domain::ReplayId;
use carelog_domain::webhook_replay::{ReplayStatus, WebhookReplayEvent, WebhookReplayRequested};
use carelog_event_log::RecordedEvent;
use carelog_event_log::runtime::ApplyError;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::fold::ReplayPage;

/// An event of a replay that has no row.
#[derive(Debug, thiserror::Error)]
#[error("webhooks.webhook_replays lacks replay {0}")]
struct MissingReplay(ReplayId);

/// Replays are few and move a few times a second at most: a statement for each event, and one for all counts.
pub(crate) async fn write_replays(tables: &mut PgConnection, page: &ReplayPage) -> Result<(), ApplyError> {
    for (event, change) in &page.events {
        match change {
            WebhookReplayEvent::Requested(requested) => insert(tables, event, requested).await?,
            WebhookReplayEvent::Advanced(advanced) => {
                let updated = sqlx::query!(
                    "
                    update webhook_replays
                    set place = $3, skipped_count = $4, advanced_at = $5, version = $6
                    where organization_id = $1 and replay_id = $2
                    ",
                    event.stream.organization_id.uuid(),
                    event.stream.id,
                    advanced.place,
                    count(advanced.skipped),
                    OffsetDateTime::from(event.recorded_at),
                    event.version
                )
                .execute(&mut *tables)
                .await?;
                is_there(event, updated.rows_affected())?;
            }
            WebhookReplayEvent::Completed(_) => end(tables, event, ReplayStatus::Completed, None).await?,
            WebhookReplayEvent::Cancelled(cancelled) => {
                let reason = Some(cancelled.reason.as_str());
                end(tables, event, ReplayStatus::Cancelled, reason).await?;
            }
        }
    }
    write_counts(tables, page).await
}

async fn insert(
    tables: &mut PgConnection,
    event: &RecordedEvent,
    requested: &WebhookReplayRequested,
) -> Result<(), ApplyError> {
    let states: Vec<_> = requested.states.iter().map(|state| state.as_str()).collect();
    let reasons: Vec<_> = requested.reasons.iter().map(|reason| reason.as_str()).collect();
    sqlx::query!(
        "
        insert into webhook_replays
            (organization_id, replay_id, subscription_id, sequence, first_sequence, last_sequence, place, version,
             recorded_from, recorded_until, requested_at, number, matching_count, status, filter, states, reasons)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'running', $14, $15, $16)
        ",
        event.stream.organization_id.uuid(),
        event.stream.id,
        requested.subscription_id.uuid(),
        event.organization_sequence,
        requested.first_sequence,
        requested.last_sequence,
        requested.first_sequence - 1,
        event.version,
        requested.from.map(OffsetDateTime::from),
        requested.until.map(OffsetDateTime::from),
        OffsetDateTime::from(event.recorded_at),
        count(requested.number),
        count(requested.matching),
        &requested.filter.to_texts(),
        &states as _,
        &reasons as _
    )
    .execute(tables)
    .await?;
    Ok(())
}

async fn end(
    tables: &mut PgConnection,
    event: &RecordedEvent,
    status: ReplayStatus,
    reason: Option<&'static str>,
) -> Result<(), ApplyError> {
    let updated = sqlx::query!(
        "
        update webhook_replays
        set status = $3, end_reason = $4, finished_at = $5, version = $6
        where organization_id = $1 and replay_id = $2
        ",
        event.stream.organization_id.uuid(),
        event.stream.id,
        status.as_str(),
        reason,
        OffsetDateTime::from(event.recorded_at),
        event.version
    )
    .execute(tables)
    .await?;
    is_there(event, updated.rows_affected())
}

fn is_there(event: &RecordedEvent, rows: u64) -> Result<(), ApplyError> {
    if rows == 1 { Ok(()) } else { Err(ApplyError::poison(MissingReplay(ReplayId::new(event.stream.id)))) }
}

async fn write_counts(tables: &mut PgConnection, page: &ReplayPage) -> Result<(), ApplyError> {
    if page.counts.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "
        insert into webhook_replay_counts as c
            (organization_id, replay_id, requested_count, delivered_count, failed_count)
        select * from unnest($1::uuid[], $2::uuid[], $3::integer[], $4::integer[], $5::integer[])
        on conflict (organization_id, replay_id) do update
        set requested_count = c.requested_count + excluded.requested_count,
            delivered_count = c.delivered_count + excluded.delivered_count,
            failed_count = c.failed_count + excluded.failed_count
        ",
        &page.counts.keys().map(|key| key.0.uuid()).collect::<Vec<_>>(),
        &page.counts.keys().map(|key| key.1.uuid()).collect::<Vec<_>>(),
        &page.counts.values().map(|counts| counts.requested).collect::<Vec<_>>(),
        &page.counts.values().map(|counts| counts.delivered).collect::<Vec<_>>(),
        &page.counts.values().map(|counts| counts.failed).collect::<Vec<_>>()
    )
    .execute(tables)
    .await?;
    Ok(())
}

fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
