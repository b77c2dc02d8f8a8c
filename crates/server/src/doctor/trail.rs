//! Whether the audit trail has every event once, in order.

use std::collections::HashMap;

use carelog_event_log::{Lane, Position};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Finding, MAX_NAMED};

/// The entries of an organization: how many, and a sum over what each entry repeats of its event and its place, in which a
/// skipped, a repeated, a misplaced and a changed one all show. What an entry makes of facts and of its type, and the consents
/// of its patient, `audit verify --live` compares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Content {
    count: i64,
    digest: String,
}

/// What the trail holds.
pub(super) struct Trail {
    checkpoints: Vec<(Lane, Position)>,
    organizations: HashMap<Uuid, Content>,
}

pub(super) async fn read(audit: &mut PgConnection) -> Result<Trail, sqlx::Error> {
    let checkpoints = sqlx::query!(
        "
        select c.lane, c.position
        from runtime.checkpoints c
        join runtime.projections p on p.projector = c.projector and p.live_version = c.version
        where c.projector = 'audit'
        order by c.lane
        "
    )
    .fetch_all(&mut *audit)
    .await?;
    let rows = sqlx::query!(
        r#"
        select organization_id, count(*) as "count!",
               sum(hashtextextended(
                   concat_ws('|', event_id, lane, position, event_type,
                   extract(epoch from occurred_at), extract(epoch from recorded_at),
                   actor_kind, actor_role, origin, correlation_id,
                   coalesce(actor_id::text, '-'), coalesce(actor_on_behalf_of::text, '-'),
                   coalesce(causation_id::text, '-'), coalesce(request_id::text, '-'),
                   coalesce(subject_id::text, '-'), coalesce(purpose, '-')), sequence)::numeric)::text as "digest!"
        from audit.trail
        group by organization_id
        "#
    )
    .fetch_all(audit)
    .await?;
    Ok(Trail {
        checkpoints: checkpoints.into_iter().map(|row| (row.lane, row.position)).collect(),
        organizations: rows
            .into_iter()
            .map(|row| (row.organization_id, Content { count: row.count, digest: row.digest }))
            .collect(),
    })
}

pub(super) async fn trail(core: &mut PgConnection, trail: &Trail) -> Result<Finding, sqlx::Error> {
    let (lanes, positions): (Vec<Lane>, Vec<Position>) = trail.checkpoints.iter().copied().unzip();
    let rows = sqlx::query!(
        r#"
        select e.organization_id as "organization_id!", count(*) as "count!",
               sum(hashtextextended(
                   concat_ws('|', e.event_id, e.lane, e.position, e.event_type,
                   extract(epoch from e.occurred_at), extract(epoch from e.recorded_at),
                   e.actor_kind, e.actor_role, e.origin, e.correlation_id,
                   coalesce(e.actor_id::text, '-'), coalesce(e.actor_on_behalf_of::text, '-'),
                   coalesce(e.causation_id::text, '-'), coalesce(e.request_id::text, '-'),
                   coalesce(e.subject_id::text, '-'), coalesce(e.purpose, '-')), e.organization_sequence)::numeric)::text as "digest!"
        from unnest($1::smallint[], $2::bigint[]) as c (lane, position)
        join log.events e on e.lane = c.lane and e.position <= c.position
        group by e.organization_id
        "#,
        &lanes,
        &positions
    )
    .fetch_all(core)
    .await?;
    let logged: HashMap<Uuid, Content> = rows
        .into_iter()
        .map(|row| (row.organization_id, Content { count: row.count, digest: row.digest }))
        .collect();
    let mut damage: Vec<String> = logged
        .keys()
        .chain(trail.organizations.keys().filter(|id| !logged.contains_key(id)))
        .filter_map(|id| difference(*id, logged.get(id), trail.organizations.get(id)))
        .collect();
    damage.sort_unstable();
    damage.truncate(usize::try_from(MAX_NAMED).unwrap_or(usize::MAX));
    let checked = trail.organizations.values().map(|content| content.count).sum();
    Ok(Finding::new("the audit trail has every event up to its checkpoint once", checked, damage))
}

fn difference(organization_id: Uuid, logged: Option<&Content>, entered: Option<&Content>) -> Option<String> {
    if logged == entered {
        return None;
    }
    let count = |content: Option<&Content>| content.map_or(0, |content| content.count);
    let (logged, entered) = (count(logged), count(entered));
    Some(if logged == entered {
        format!("organization {organization_id}: {entered} entries, but not those of its {logged} events")
    } else {
        format!("organization {organization_id}: {entered} entries for {logged} events")
    })
}
