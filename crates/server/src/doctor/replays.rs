//! Whether each replay that runs will be carried on, and each counts what its deliveries say.

use sqlx::PgConnection;

use super::{Finding, MAX_NAMED};

/// A replay whose end is in the log, and not yet in its row, needs no effect any more.
pub(super) async fn replays(connection: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let checked = sqlx::query_scalar!(r#"select count(*) as "count!" from webhooks.webhook_replays"#)
        .fetch_one(&mut *connection)
        .await?;
    let damage = sqlx::query_scalar!(
        r#"
        with asked as (
            select e.organization_id, (convert_from(e.facts, 'UTF8')::jsonb ->> 'replay_id')::uuid as replay_id,
                   count(*) filter (where e.event_type = 'webhook_delivery.redelivery_requested') as requested,
                   count(*) filter (where e.event_type = 'webhook_delivery.delivered') as delivered,
                   count(*) filter (where e.event_type = 'webhook_delivery.exhausted') as failed
            from runtime.checkpoints c
            join runtime.projections p on p.projector = c.projector and p.live_version = c.version
            join log.events e on e.lane = c.lane and e.position <= c.position
            where c.projector = 'webhooks'
              and e.organization_id in (select organization_id from webhooks.webhook_replays)
              and e.stream_kind = 'webhook_delivery'
              and convert_from(e.facts, 'UTF8')::jsonb ? 'replay_id'
              and not exists (
                  select
                  from runtime.quarantine q
                  where q.projector = 'webhooks' and q.version = c.version and q.lane = e.lane
                    and q.position = e.position
              )
            group by 1, 2
        )
        select format('replay %s of organization %s runs, and nothing will carry it on', r.replay_id,
                      r.organization_id) as "damage!"
        from webhooks.webhook_replays r
        where r.status = 'running'
          and not exists (
              select
              from runtime.effects x
              where x.organization_id = r.organization_id
                and x.step = r.replay_id
                and x.reactor = 'webhooks'
                and x.next_at is not null
          )
          and not exists (
              select
              from log.stream_heads h
              where h.organization_id = r.organization_id
                and h.stream_id = r.replay_id
                and h.stream_kind = 'webhook_replay'
                and h.version > r.version
          )
        union all
        select format('replay %s of organization %s counts %s asked for, %s delivered, %s failed; its deliveries say'
                      ' %s, %s, %s', replay_id, organization_id, n.requested_count, n.delivered_count, n.failed_count,
                      a.requested, a.delivered, a.failed)
        from asked a
        full join webhooks.webhook_replay_counts n using (organization_id, replay_id)
        where (n.requested_count, n.delivered_count, n.failed_count)
              is distinct from (a.requested::integer, a.delivered::integer, a.failed::integer)
        order by 1
        limit $1
        "#,
        MAX_NAMED
    )
    .fetch_all(connection)
    .await?;
    Ok(Finding::new("every replay goes on and counts what it asked for", checked, damage))
}
