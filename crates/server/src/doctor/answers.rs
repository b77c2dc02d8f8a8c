//! Answers that callers were given.

use sqlx::PgConnection;

use super::{Finding, MAX_NAMED};

pub(super) async fn answers(connection: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let checked = sqlx::query_scalar!(r#"select count(*) as "count!" from log.idempotency_keys"#)
        .fetch_one(&mut *connection)
        .await?;
    // The key itself is the caller's and may say anything; its stream is named instead.
    let damage = sqlx::query_scalar!(
        r#"
        select format('an answer about version %s of stream %s/%s of organization %s: %s of its %s events from position %s',
                      k.version, k.stream_kind, k.stream_id, k.organization_id, count(e.position), k.event_count,
                      k.first_position) as "damage!"
        from log.idempotency_keys k
        left join log.organizations o on o.organization_id = k.organization_id
        left join log.events e
            on e.lane = o.lane
           and e.position between k.first_position and k.first_position + k.event_count - 1
           and e.organization_id = k.organization_id
           and e.stream_id = k.stream_id
           and e.stream_kind = k.stream_kind
           and e.version - (k.version - k.event_count) = e.position - k.first_position + 1
        -- An answer that nothing had to change has no event, but a stream at its version.
        left join log.stream_heads h
            on h.organization_id = k.organization_id
           and h.stream_id = k.stream_id
           and h.stream_kind = k.stream_kind
        group by k.organization_id, k.idempotency_key, k.stream_kind, k.stream_id, k.version, k.first_position,
                 k.event_count, h.version
        having count(e.position) <> k.event_count or k.version > coalesce(h.version, 0)
        order by 1
        limit $1
        "#,
        MAX_NAMED
    )
    .fetch_all(connection)
    .await?;
    Ok(Finding::new("answers under idempotency keys have their events", checked, damage))
}
