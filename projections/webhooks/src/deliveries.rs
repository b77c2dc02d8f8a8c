//! Writes the deliveries and attempts of a page.

use carelog_domain::webhook_delivery::AttemptDetail;
use carelog_event_log::effects::{Effect, EffectRow};
use carelog_event_log::runtime::{ApplyError, EffectColumns, PageEndRow};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::model::{Attempt, DeliveryProgress, DeliveryState, Page};

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

/// The columns of attempts, as arrays.
#[derive(Default)]
struct AttemptColumns {
    organization_id: Vec<Uuid>,
    delivery_id: Vec<Uuid>,
    number: Vec<i16>,
    outcome: Vec<&'static str>,
    status: Vec<Option<i16>>,
    started_at: Vec<OffsetDateTime>,
    duration_ms: Vec<i32>,
    recorded_at: Vec<OffsetDateTime>,
    lookup_ms: Vec<Option<i32>>,
    connect_ms: Vec<Option<i32>>,
    wait_ms: Vec<Option<i32>>,
    body_ms: Vec<Option<i32>>,
    subscription_version: Vec<Option<i64>>,
    detail: Vec<Option<&'static str>>,
}

impl AttemptColumns {
    fn of(attempts: &[Attempt]) -> Self {
        let mut columns = Self::default();
        for attempt in attempts {
            columns.organization_id.push(attempt.key.0.uuid());
            columns.delivery_id.push(attempt.key.1.uuid());
            columns.number.push(small(attempt.number));
            columns.outcome.push(attempt.outcome.as_str());
            columns.status.push(attempt.status.map(small));
            columns.started_at.push(attempt.started_at.into());
            columns.duration_ms.push(integer(attempt.duration_ms));
            columns.recorded_at.push(attempt.recorded_at.into());
            columns.lookup_ms.push(attempt.phases.lookup_ms.map(integer));
            columns.connect_ms.push(attempt.phases.connect_ms.map(integer));
            columns.wait_ms.push(attempt.phases.wait_ms.map(integer));
            columns.body_ms.push(attempt.phases.body_ms.map(integer));
            columns.subscription_version.push(attempt.subscription_version);
            columns.detail.push(attempt.detail.map(AttemptDetail::as_str));
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
/// are leased to this process come back. PostgreSQL runs the main query, which moves the checkpoint, before the parts
/// that only write; nothing but the order of locks rests on that.
#[expect(clippy::too_many_lines, reason = "it is one statement, and what it is given")]
pub(crate) async fn write_deliveries(
    tables: &mut PgConnection,
    page: &Page,
    end: Option<(PageEndRow, EffectColumns)>,
) -> Result<Vec<Effect>, ApplyError> {
    let (new, moved) = (&page.new_deliveries, &page.moved_deliveries);
    if end.is_none() && new.is_empty() && moved.is_empty() && page.attempts.is_empty() {
        return Ok(Vec::new());
    }
    let (end, effects) = end.unzip();
    let effects = effects.unwrap_or_default();
    let first = ProgressColumns::of(new.values().map(|delivery| &delivery.progress));
    let later = ProgressColumns::of(moved.values());
    let tried = AttemptColumns::of(&page.attempts);
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
                 connect_ms, wait_ms, body_ms, subscription_version, detail)
            select * from unnest($28::uuid[], $29::uuid[], $30::smallint[], $31::text[], $32::smallint[],
                                 $33::timestamptz[], $34::integer[], $35::timestamptz[], $36::integer[],
                                 $37::integer[], $38::integer[], $39::integer[], $40::bigint[], $41::text[])
                          as a (organization_id, delivery_id)
            -- Those of deliveries that are gone are of no use to anybody.
            where a.delivery_id >= (select public.carelog_id_at(oldest) from webhook_retention)
        )
        select organization_id as "organization_id!", source_event_id as "source_event_id!", step as "step!",
               lane as "lane!", position as "position!", token as "token!",
               abandoned_since as "abandoned_since: OffsetDateTime", is_closed as "is_closed!",
               revision as "revision!"
        from runtime.end_page($42, $43, $44, $45, $46, $47)
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
        &tried.organization_id,
        &tried.delivery_id,
        &tried.number,
        &tried.outcome as _,
        &tried.status as _,
        &tried.started_at,
        &tried.duration_ms,
        &tried.recorded_at,
        &tried.lookup_ms as _,
        &tried.connect_ms as _,
        &tried.wait_ms as _,
        &tried.body_ms as _,
        &tried.subscription_version as _,
        &tried.detail as _,
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
