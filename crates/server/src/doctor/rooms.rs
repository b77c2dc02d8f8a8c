//! Whether video rooms are as new as their streams, and whether somebody looks at each that is open.

use sqlx::PgConnection;

use super::{Finding, MAX_NAMED};

pub(super) async fn rooms(connection: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let checked = sqlx::query_scalar!(r#"select count(*) as "count!" from video.video_rooms"#)
        .fetch_one(&mut *connection)
        .await?;
    // Every event of a room touches its row, which an earlier event of the appointment made.
    let damage = sqlx::query_scalar!(
        r#"
        with checkpoints as materialized (
            select c.lane, c.position, c.version
            from runtime.checkpoints c
            join runtime.projections p on p.projector = c.projector and p.live_version = c.version
            where c.projector = 'video'
        ),
        heads as (
            select h.organization_id, h.stream_id as room_id, h.version, h.last_position,
                   coalesce(c.position, 0) as checkpoint
            from log.stream_heads h
            join log.organizations o on o.organization_id = h.organization_id
            left join checkpoints c on c.lane = o.lane
            where h.stream_kind = 'video_room'
        )
        select case
                   when r.version is null then format('room %s of organization %s has no row', room_id, organization_id)
                   else format('room %s of organization %s: the row shows version %s, its stream has %s up to position %s and the checkpoint is %s',
                               room_id, organization_id, r.version, h.version, h.last_position, h.checkpoint)
               end as "damage!"
        from heads h
        full join (select organization_id, room_id, appointment_id, version from video.video_rooms) r
            using (organization_id, room_id)
        where (r.version is null and h.last_position <= h.checkpoint
               or r.version > coalesce(h.version, 0)
               or r.version <> h.version and h.last_position <= h.checkpoint)
          and not exists (
              select
              from runtime.quarantine q
              where q.projector = 'video'
                and q.organization_id = coalesce(h.organization_id, r.organization_id)
                and q.stream_id in (h.room_id, r.room_id, r.appointment_id)
          )
        order by 1
        limit $1
        "#,
        MAX_NAMED
    )
    .fetch_all(connection)
    .await?;
    Ok(Finding::new("video rooms are as new as their streams", checked, damage))
}

/// A look at an open room always waits for its end at least; without one it would stay open, and nobody would move it.
pub(super) async fn looks(connection: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let checked =
        sqlx::query_scalar!(r#"select count(*) as "count!" from video.video_rooms where status = 'open'"#)
            .fetch_one(&mut *connection)
            .await?;
    let damage = sqlx::query_scalar!(
        r#"
        select format('room %s of organization %s is open until %s, and nobody will look at it again',
                      r.room_id, r.organization_id, r.expires_at) as "damage!"
        from video.video_rooms r
        where r.status = 'open'
          and not exists (
              select
              from runtime.effects x
              join log.events e on e.lane = x.lane and e.position = x.position
              where x.reactor = 'video'
                and x.organization_id = r.organization_id
                and x.next_at is not null
                and e.stream_id in (r.appointment_id, r.room_id)
          )
        order by 1
        limit $1
        "#,
        MAX_NAMED
    )
    .fetch_all(connection)
    .await?;
    Ok(Finding::new("every open video room is looked at when it ends", checked, damage))
}
