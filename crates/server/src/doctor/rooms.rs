//! Whether video rooms are as new as their streams, and whether somebody looks at each that is open.

use sqlx::PgConnection;

use super::{Finding, MAX_NAMED};

pub(super) async fn rooms(connection: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let checked = sqlx::query_scalar!(r#"select count(*) as "count!" from video.video_rooms"#)
        .fetch_one(&mut *connection)
        .await?;
    // Every event of a room touches its row.
    let damage = sqlx::query_scalar!(
        r#"
        with checkpoints as materialized (
            select c.lane, c.position, c.version
            from runtime.checkpoints c
            join runtime.projections p on p.projector = c.projector and p.live_version = c.version
            where c.projector = 'video'
        )
        select format('room %s of organization %s: the row shows version %s, its stream has %s up to position %s and the checkpoint is %s',
                      r.room_id, r.organization_id, r.version, coalesce(h.version, 0), h.last_position,
                      c.position) as "damage!"
        from video.video_rooms r
        join log.organizations o on o.organization_id = r.organization_id
        left join checkpoints c on c.lane = o.lane
        left join log.stream_heads h
            on h.organization_id = r.organization_id and h.stream_id = r.room_id and h.stream_kind = 'video_room'
        where (r.version > coalesce(h.version, 0)
               or r.version <> h.version and h.last_position <= coalesce(c.position, 0))
          and not exists (
              select
              from runtime.quarantine q
              where q.projector = 'video'
                and q.version = c.version
                and q.organization_id = r.organization_id
                and q.stream_id in (r.room_id, r.appointment_id)
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

/// A look at an open room always waits for its end at least; without one it would stay open, and nobody would move it. A
/// row that is behind its stream may be closed already.
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
        join log.stream_heads h
            on h.organization_id = r.organization_id and h.stream_id = r.room_id and h.stream_kind = 'video_room'
        where r.status = 'open'
          and r.version = h.version
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
