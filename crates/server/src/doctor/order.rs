//! Numbers without gaps.

use carelog_event_log::{Lane, Position};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Finding, MAX_NAMED};

/// The newest position of each lane, as the log says.
pub(super) async fn heads(connection: &mut PgConnection) -> Result<Vec<(Lane, Position)>, sqlx::Error> {
    let rows =
        sqlx::query!("select lane, position from log.lane_heads order by lane").fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (row.lane, row.position)).collect())
}

pub(super) async fn lanes(connection: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select coalesce(h.lane, e.lane) as "lane!", h.position as "head?", coalesce(e.events, 0) as "events!",
               coalesce(e.first, 1) as "first!", coalesce(e.last, 0) as "last!"
        from log.lane_heads h
        full join (
            select lane, count(*) as events, min(position) as first, max(position) as last
            from log.events
            group by lane
        ) e on e.lane = h.lane
        order by 1
        "#
    )
    .fetch_all(&mut *connection)
    .await?;
    let checked = rows.iter().map(|row| row.events).sum();
    let mut damage = Vec::new();
    for row in rows {
        if row.head == Some(row.events) && row.first == 1 && row.last == row.events {
            continue;
        }
        let gap = first_gap_of_lane(connection, row.lane).await?;
        damage.push(format!(
            "lane {}: {} events at positions {} to {}, head {}{}",
            row.lane,
            row.events,
            row.first,
            row.last,
            row.head.map_or("none".to_owned(), |head| head.to_string()),
            gap.map_or(String::new(), |gap| format!("; position {gap} is missing")),
        ));
    }
    Ok(Finding::new("lane positions run from 1 to the head without a gap", checked, damage))
}

async fn first_gap_of_lane(
    connection: &mut PgConnection,
    lane: Lane,
) -> Result<Option<Position>, sqlx::Error> {
    sqlx::query_scalar!(
        "
        select min(number)
        from (
            select position, row_number() over (order by position) as number
            from log.events
            where lane = $1
        ) numbered
        where position <> number
        ",
        lane
    )
    .fetch_one(connection)
    .await
}

/// A sum tells apart from 1…n what has the same count, beginning and end.
pub(super) async fn organizations(connection: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let checked = sqlx::query_scalar!(r#"select count(*) as "count!" from log.organizations"#)
        .fetch_one(&mut *connection)
        .await?;
    let rows = sqlx::query!(
        r#"
        select coalesce(o.organization_id, e.organization_id) as "organization_id!",
               coalesce(e.lane, o.lane) as "lane!", o.sequence as "head?", coalesce(e.events, 0) as "events!",
               coalesce(e.first, 1) as "first!", coalesce(e.last, 0) as "last!"
        from log.organizations o
        full join (
            select organization_id, lane, count(*) as events, min(organization_sequence) as first,
                   max(organization_sequence) as last, sum(organization_sequence) as total
            from log.events
            group by organization_id, lane
        ) e on e.organization_id = o.organization_id and e.lane = o.lane
        where o.sequence is distinct from coalesce(e.events, 0)
           or e.first <> 1
           or e.last <> e.events
           or e.total <> e.events::numeric * (e.events + 1) / 2
        order by 1
        limit $1
        "#,
        MAX_NAMED
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut damage = Vec::new();
    for row in rows {
        let gap = first_gap_of_organization(connection, row.lane, row.organization_id).await?;
        damage.push(format!(
            "organization {} in lane {}: {} events numbered {} to {}, head {}{}",
            row.organization_id,
            row.lane,
            row.events,
            row.first,
            row.last,
            row.head.map_or("none".to_owned(), |head| head.to_string()),
            gap.map_or(String::new(), |gap| format!("; the first that is out of order should be {gap}")),
        ));
    }
    Ok(Finding::new("organization sequences run from 1 to the head without a gap", checked, damage))
}

async fn first_gap_of_organization(
    connection: &mut PgConnection,
    lane: Lane,
    organization_id: Uuid,
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "
        select min(number)
        from (
            select organization_sequence, row_number() over (order by position) as number
            from log.events
            where lane = $1 and organization_id = $2
        ) numbered
        where organization_sequence <> number
        ",
        lane,
        organization_id
    )
    .fetch_one(connection)
    .await
}

pub(super) async fn streams(connection: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let checked = sqlx::query_scalar!(r#"select count(*) as "count!" from log.stream_heads"#)
        .fetch_one(&mut *connection)
        .await?;
    let damage = sqlx::query_scalar!(
        r#"
        select format('stream %s/%s of organization %s: %s events of versions %s to %s at positions %s to %s, head %s at %s to %s',
                      stream_kind, stream_id, organization_id, coalesce(e.events, 0), e.first, e.last,
                      e.first_position, e.last_position, coalesce(h.version::text, 'none'), h.first_position,
                      h.last_position) as "damage!"
        from log.stream_heads h
        full join (
            select organization_id, stream_kind, stream_id, count(*) as events, min(version) as first,
                   max(version) as last, sum(version) as total, min(position) as first_position,
                   max(position) as last_position
            from log.events
            group by organization_id, stream_kind, stream_id
        ) e using (organization_id, stream_kind, stream_id)
        where h.version is distinct from e.events
           or h.first_position is distinct from e.first_position
           or h.last_position is distinct from e.last_position
           or e.first <> 1
           or e.last <> e.events
           or e.total <> e.events::numeric * (e.events + 1) / 2
        order by 1
        limit $1
        "#,
        MAX_NAMED
    )
    .fetch_all(connection)
    .await?;
    Ok(Finding::new("stream versions run from 1 to the head without a gap", checked, damage))
}
