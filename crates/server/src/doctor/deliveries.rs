//! Whether each announced event has its deliveries, and each delivery an end or a due time.
//!
//! Deliveries are computed anew from the log: what each subscription wanted, from which position to which, and
//! every public event between them. A running system is between two steps at times: an outcome is in the log before
//! it is folded into its row, and reported to the ledger of effects after that. Such a delivery is left alone. So is
//! one that is not there any more, because its event is older than what `webhooks.webhook_retention` says was removed.

use carelog_domain::EventType;
use carelog_domain::webhook_delivery::MAX_ATTEMPTS;
use sqlx::PgConnection;

use super::{Finding, MAX_NAMED};

async fn row_count(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"select count(*) as "count!" from webhooks.webhook_events"#)
        .fetch_one(connection)
        .await
}

pub(super) async fn matching(connection: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let checked = row_count(connection).await?;
    let types: Vec<&str> = EventType::public().map(EventType::as_str).collect();
    let kinds: Vec<&str> = EventType::public().map(|event_type| event_type.stream_kind().as_str()).collect();
    let damage = sqlx::query_scalar!(
        r#"
        with checkpoints as materialized (
            select c.lane, c.position, c.version
            from runtime.checkpoints c
            join runtime.projections p on p.projector = c.projector and p.live_version = c.version
            where c.projector = 'webhooks'
        ),
        set_aside as materialized (
            select q.lane, q.position
            from runtime.quarantine q
            join checkpoints c on c.lane = q.lane and c.version = q.version
            where q.projector = 'webhooks'
        ),
        history as materialized (
            select e.organization_id, e.stream_id, e.event_id, e.lane, e.position, e.version, e.event_type,
                   nullif(convert_from(e.facts, 'UTF8')::jsonb -> 'filter', 'null'::jsonb) as filter
            from log.events e
            join checkpoints c on c.lane = e.lane and e.position <= c.position
            where e.stream_kind = 'webhook_subscription'
              and not exists (select from set_aside s where s.lane = e.lane and s.position = e.position)
        ),
        numbered as (
            select h.*, lead(position) over w as next_position, count(filter) over w as filter_number,
                   count(*) filter (where event_type in ('webhook_subscription.created',
                                                         'webhook_subscription.enabled',
                                                         'webhook_subscription.disabled')) over w as status_number,
                   count(*) filter (where event_type = 'webhook_subscription.deleted') over w > 0 as is_deleted
            from history h
            window w as (partition by organization_id, stream_id order by version)
        ),
        states as materialized (
            select organization_id, stream_id as subscription_id, lane, position, next_position, is_deleted,
                   first_value(filter) over (partition by organization_id, stream_id, filter_number
                                             order by version) as filter,
                   first_value(event_type) over (partition by organization_id, stream_id, status_number
                                                 order by version) <> 'webhook_subscription.disabled' as is_active
            from numbered
        ),
        expected as (
            select e.organization_id, s.subscription_id, e.event_id as source_event_id, e.lane, e.position, s.is_active
            from states s
            join checkpoints c on c.lane = s.lane
            join unnest($1::text[], $2::text[]) as announced (event_type, stream_kind)
                on s.filter ?| array['*', announced.stream_kind || '.*', announced.event_type]
            join log.events e
                on e.lane = s.lane
               and e.organization_id = s.organization_id
               and e.event_type = announced.event_type
               and e.position > s.position
               and e.position <= least(c.position, s.next_position)
               and e.origin in ('live', 'imported_notify')
            where not s.is_deleted
              and not exists (select from set_aside a where a.lane = e.lane and a.position = e.position)
            union all
            -- A test goes to its own subscription, whatever the filter.
            select organization_id, stream_id, event_id, lane, position, true
            from history
            where event_type = 'webhook_subscription.test_requested'
        ),
        removed as materialized (
            select public.carelog_id_at(delivered_until) as horizon from webhooks.webhook_retention
        ),
        made as (
            select organization_id, subscription_id, source_event_id, count(*) as row_count,
                   max(version) as version, max(reason) as reason
            from webhooks.webhook_events
            group by organization_id, subscription_id, source_event_id
        )
        select format('event %s for subscription %s of organization %s: %s', source_event_id, subscription_id,
                      organization_id,
                      case
                          when m.row_count is null then format('no delivery, though it matches (lane %s position %s)',
                                                               x.lane, x.position)
                          when x.position is null then 'a delivery, though it does not match'
                          when m.row_count > 1 then format('%s deliveries', m.row_count)
                          when x.is_active then 'skipped, though the subscription was active'
                          else 'not skipped, though the subscription was not active'
                      end) as "damage!"
        from expected x
        full join made m using (organization_id, subscription_id, source_event_id)
        where (m.row_count is null and source_event_id >= (select horizon from removed))
           or x.position is null
           or m.row_count > 1
           or (m.version = 0 and x.is_active = (m.reason is not distinct from 'skipped_inactive'))
        order by 1
        limit $3
        "#,
        &types as _,
        &kinds as _,
        MAX_NAMED
    )
    .fetch_all(connection)
    .await?;
    Ok(Finding::new("each announced event has one delivery per matching subscription", checked, damage))
}

pub(super) async fn progress(connection: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let checked = row_count(connection).await?;
    let damage = sqlx::query_scalar!(
        r#"
        with checkpoints as materialized (
            select c.lane, c.position, c.version
            from runtime.checkpoints c
            join runtime.projections p on p.projector = c.projector and p.live_version = c.version
            where c.projector = 'webhooks'
        ),
        rows as (
            select 'webhook_delivery' as stream_kind, organization_id, delivery_id as stream_id, version
            from webhooks.webhook_events
            union all
            select 'webhook_subscription', organization_id, subscription_id, version
            from webhooks.webhook_subscriptions
            union all
            select 'webhook_replay', organization_id, replay_id, version
            from webhooks.webhook_replays
        ),
        heads as (
            select h.stream_kind, h.organization_id, h.stream_id, h.version, h.first_position, h.last_position,
                   coalesce(c.position, 0) as checkpoint, c.version as projection
            from log.stream_heads h
            join log.organizations o on o.organization_id = h.organization_id
            left join checkpoints c on c.lane = o.lane
            where h.stream_kind in ('webhook_delivery', 'webhook_subscription', 'webhook_replay')
        )
        select format('%s %s of organization %s: the row shows version %s, its stream has %s', stream_kind, stream_id,
                      organization_id, coalesce(r.version::text, 'none'), coalesce(h.version, 0)) as "damage!"
        from heads h
        full join rows r using (stream_kind, organization_id, stream_id)
        where ((r.version is null and h.first_position <= h.checkpoint
                and (stream_kind <> 'webhook_delivery'
                     or stream_id >= (select public.carelog_id_at(delivered_until) from webhooks.webhook_retention)))
               or r.version > coalesce(h.version, 0)
               or (r.version <> h.version and h.last_position <= h.checkpoint))
          and not exists (
              select
              from runtime.quarantine q
              where q.projector = 'webhooks'
                and q.version = h.projection
                and q.organization_id = h.organization_id
                and q.stream_id = h.stream_id
          )
        order by 1
        limit $1
        "#,
        MAX_NAMED
    )
    .fetch_all(connection)
    .await?;
    Ok(Finding::new("subscriptions, deliveries and replays are as new as their streams", checked, damage))
}

/// The effect of a delivery names the event to deliver, or the request to deliver it again.
pub(super) async fn due(connection: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let checked = sqlx::query_scalar!(
        r#"select count(*) as "count!" from webhooks.webhook_events where state = 'pending'"#
    )
    .fetch_one(&mut *connection)
    .await?;
    let damage = sqlx::query_scalar!(
        r#"
        with again as materialized (
            select x.organization_id, e.stream_id as delivery_id
            from runtime.effects x
            join log.events e on e.lane = x.lane and e.position = x.position
            where x.reactor = 'webhooks'
              and x.next_at is not null
              and e.stream_kind = 'webhook_delivery'
        )
        select format('delivery %s of organization %s waits, and nothing will send it', w.delivery_id,
                      w.organization_id) as "damage!"
        from webhooks.webhook_events w
        left join runtime.checkpoints c
            on c.lane = w.lane
           and c.projector = 'webhooks'
           and c.version = (select live_version from runtime.projections where projector = 'webhooks')
        where w.state = 'pending'
          and not exists (
              select
              from runtime.effects x
              where x.organization_id = w.organization_id
                and x.source_event_id = w.source_event_id
                and x.step = w.subscription_id
                and x.reactor = 'webhooks'
                and x.next_at is not null
          )
          and not exists (
              select
              from again a
              where a.organization_id = w.organization_id and a.delivery_id = w.delivery_id
          )
          and not exists (
              select
              from log.stream_heads h
              where h.organization_id = w.organization_id
                and h.stream_id = w.delivery_id
                and h.stream_kind = 'webhook_delivery'
                and h.last_position > coalesce(c.position, 0)
          )
        order by 1
        limit $1
        "#,
        MAX_NAMED
    )
    .fetch_all(connection)
    .await?;
    Ok(Finding::new("every waiting delivery is due at some time", checked, damage))
}

/// A queue says when its effects are to be looked for; one that says it too late, or not at all, is forgotten.
pub(super) async fn queues(connection: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let checked = sqlx::query_scalar!(
        r#"
        select count(*) as "count!"
        from (select distinct reactor, organization_id, step from runtime.effects where next_at is not null) q
        "#
    )
    .fetch_one(&mut *connection)
    .await?;
    let damage = sqlx::query_scalar!(
        r#"
        select format('%s effects of step %s of organization %s wait from %s on, and are looked for %s', e.count,
                      e.step, e.organization_id, e.next_at, coalesce('at ' || q.next_at, 'by nobody')) as "damage!"
        from (
            select reactor, organization_id, step, count(*), min(next_at) as next_at
            from runtime.effects
            where next_at is not null
            group by reactor, organization_id, step
        ) e
        left join runtime.effect_queues q using (reactor, organization_id, step)
        where q.next_at is null or q.next_at > greatest(e.next_at, q.held_until, now() + interval '6 s')
        order by 1
        limit $1
        "#,
        MAX_NAMED
    )
    .fetch_all(connection)
    .await?;
    Ok(Finding::new("every queue is looked at when its first effect is due", checked, damage))
}

/// An effect that somebody still holds is no damage: its report is under way, or was lost with its worker, and the
/// next one finds the delivery finished.
pub(super) async fn closed(connection: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let checked = sqlx::query_scalar!(
        r#"select count(*) as "count!" from runtime.effects where reactor = 'webhooks' and next_at is not null"#
    )
    .fetch_one(&mut *connection)
    .await?;
    let rows = sqlx::query!(
        r#"
        select format('delivery %s of organization %s is %s, and would be sent again', w.delivery_id,
                      w.organization_id, w.state) as "damage!",
               x.owner is not null as "is_held!"
        from runtime.effects x
        join log.events e on e.lane = x.lane and e.position = x.position
        join webhooks.webhook_events w
            on w.organization_id = x.organization_id
           and case when e.stream_kind = 'webhook_delivery' then w.delivery_id = e.stream_id
                    else w.source_event_id = x.source_event_id and w.subscription_id = x.step end
        where x.reactor = 'webhooks' and x.next_at is not null and w.state <> 'pending'
        order by 1
        limit $1
        "#,
        MAX_NAMED
    )
    .fetch_all(connection)
    .await?;
    let (held, damage): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.is_held);
    let damage = damage.into_iter().map(|row| row.damage).collect();
    let note = format!("{} finished deliveries are still held by a worker", held.len());
    let notes = if held.is_empty() { Vec::new() } else { vec![note] };
    Ok(Finding::new("nothing finished is to be sent", checked, damage).with_notes(notes))
}

pub(super) async fn attempts(connection: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let checked = sqlx::query_scalar!(r#"select count(*) as "count!" from webhooks.webhook_attempts"#)
        .fetch_one(&mut *connection)
        .await?;
    let mut damage = sqlx::query_scalar!(
        r#"
        select format('delivery %s of organization %s: %s attempts numbered %s to %s, and its row counts %s',
                      delivery_id, organization_id, coalesce(a.attempts, 0), a.first, a.last,
                      coalesce(w.attempt_count::text, 'none')) as "damage!"
        from webhooks.webhook_events w
        full join (
            select organization_id, delivery_id, count(*) as attempts, min(number) as first, max(number) as last
            from webhooks.webhook_attempts
            group by organization_id, delivery_id
        ) a using (organization_id, delivery_id)
        where w.attempt_count is distinct from coalesce(a.attempts, 0)
           or a.first <> 1
           or a.last <> a.attempts
        order by 1
        limit $1
        "#,
        MAX_NAMED
    )
    .fetch_all(&mut *connection)
    .await?;
    let long_rounds = sqlx::query_scalar!(
        r#"
        with many as materialized (
            select organization_id, delivery_id
            from webhooks.webhook_attempts
            group by organization_id, delivery_id
            having count(*) > $1
        ),
        rounds as (
            select e.organization_id, e.stream_id, e.event_type,
                   count(*) filter (where e.event_type = 'webhook_delivery.redelivery_requested')
                       over (partition by e.organization_id, e.stream_id order by e.version) as round
            from many m
            join log.organizations o on o.organization_id = m.organization_id
            join log.events e
                on e.lane = o.lane
               and e.organization_id = m.organization_id
               and e.stream_id = m.delivery_id
               and e.stream_kind = 'webhook_delivery'
        )
        select format('delivery %s of organization %s: %s attempts in one round', stream_id, organization_id,
                      count(*)) as "damage!"
        from rounds
        where event_type = 'webhook_delivery.attempted'
        group by organization_id, stream_id, round
        having count(*) > $1
        order by 1
        limit $2
        "#,
        i64::from(MAX_ATTEMPTS),
        MAX_NAMED
    )
    .fetch_all(connection)
    .await?;
    damage.extend(long_rounds);
    Ok(Finding::new("attempts are numbered without a gap and at most five a round", checked, damage))
}
