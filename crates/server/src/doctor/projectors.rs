//! How far projectors came, and who holds them.

use carelog_event_log::{Lane, Position};
use sqlx::PgConnection;

use super::Finding;

/// What a database says about its projectors.
pub(super) struct Projectors {
    pub(super) checkpoints: Vec<Checkpoint>,
    pub(super) reactors: Vec<(String, Lane, Position)>,
    pub(super) quarantined: Vec<Quarantined>,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a column of one row")]
pub(super) struct Checkpoint {
    pub(super) projector: String,
    pub(super) version: i32,
    pub(super) is_live: bool,
    pub(super) lane: Lane,
    pub(super) position: Position,
    pub(super) is_held: bool,
    /// A lease says until when, and only a lease does.
    pub(super) has_end: bool,
    /// A lease is never given for longer.
    pub(super) is_too_long: bool,
}

pub(super) struct Quarantined {
    pub(super) projector: String,
    pub(super) lane: Lane,
    pub(super) position: Position,
    pub(super) event_type: String,
    pub(super) failure: Option<String>,
    pub(super) is_discarded: bool,
}

pub(super) async fn read(connection: &mut PgConnection) -> Result<Projectors, sqlx::Error> {
    let checkpoints = sqlx::query_as!(
        Checkpoint,
        r#"
        select c.projector, c.version, c.version = p.live_version as "is_live!", c.lane, c.position,
               c.owner is not null as "is_held!", c.leased_until > '-infinity' as "has_end!",
               c.leased_until > now() + interval '10 minutes' as "is_too_long!"
        from runtime.checkpoints c
        join runtime.projections p on p.projector = c.projector
        order by c.projector, c.version, c.lane
        "#
    )
    .fetch_all(&mut *connection)
    .await?;
    let reactors =
        sqlx::query!("select reactor, lane, position from runtime.reactors order by reactor, lane")
            .fetch_all(&mut *connection)
            .await?;
    let quarantined = sqlx::query_as!(
        Quarantined,
        r#"
        select q.projector, q.lane, q.position, q.event_type, q.failure,
               q.discarded_at is not null as "is_discarded!"
        from runtime.quarantine q
        join runtime.projections p on p.projector = q.projector and p.live_version = q.version
        order by q.projector, q.lane, q.position
        "#
    )
    .fetch_all(connection)
    .await?;
    let reactors = reactors.into_iter().map(|row| (row.reactor, row.lane, row.position)).collect();
    Ok(Projectors { checkpoints, reactors, quarantined })
}

/// Where the copy of facts in ClickHouse stands still: before the first event of a lane that analytics set aside.
pub(super) async fn held_copies(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let held = sqlx::query!(
        r#"
        select q.lane, min(q.position) as "position!"
        from runtime.quarantine q
        join runtime.projections p on p.projector = q.projector and p.live_version = q.version
        join copies.lanes c on c.lane = q.lane
        where q.projector = 'analytics' and q.discarded_at is null
        group by q.lane
        order by q.lane
        "#
    )
    .fetch_all(connection)
    .await?;
    let note =
        |lane, position| format!("the copy in ClickHouse waits in lane {lane} before position {position}");
    Ok(held.into_iter().map(|row| note(row.lane, row.position)).collect())
}

/// Quarantined events are no damage: they are known and wait for somebody.
pub(super) fn checkpoints(
    name: &'static str,
    projectors: &Projectors,
    heads: &[(Lane, Position)],
) -> Finding {
    let head_of = |lane| heads.iter().find(|(of, _)| *of == lane).map(|(_, head)| *head);
    let mut damage = Vec::new();
    for checkpoint in &projectors.checkpoints {
        let Checkpoint { projector, version, lane, position, .. } = checkpoint;
        let place = format!("{projector} version {version} in lane {lane}");
        match head_of(*lane) {
            None => damage.push(format!("{place}: there is no such lane")),
            Some(head) if *position > head => {
                damage.push(format!("{place}: came to {position}, and the log ends at {head}"));
            }
            Some(_) => {}
        }
        if checkpoint.is_held != checkpoint.has_end {
            damage
                .push(format!("{place}: the lease has an owner without an end, or an end without an owner"));
        }
        if checkpoint.is_too_long {
            damage.push(format!("{place}: the lease ends later than any is given for"));
        }
    }
    damage.extend(missing_lanes(projectors, heads));
    for (reactor, lane, position) in &projectors.reactors {
        if head_of(*lane).is_none_or(|head| *position > head) {
            damage.push(format!(
                "reactor {reactor} in lane {lane}: came to {position}, beyond the end of the log"
            ));
        }
    }
    for event in &projectors.quarantined {
        if head_of(event.lane).is_none_or(|head| event.position > head) {
            damage.push(format!("{}: quarantined an event that is not in the log", event.place()));
        }
    }
    let checked = projectors.checkpoints.len() + projectors.reactors.len() + projectors.quarantined.len();
    let notes = projectors.quarantined.iter().map(Quarantined::note).collect();
    Finding::new(name, i64::try_from(checked).unwrap_or(i64::MAX), damage).with_notes(notes)
}

fn missing_lanes(projectors: &Projectors, heads: &[(Lane, Position)]) -> Vec<String> {
    let live = || projectors.checkpoints.iter().filter(|checkpoint| checkpoint.is_live);
    let names: std::collections::BTreeSet<&str> = live().map(|checkpoint| &*checkpoint.projector).collect();
    let mut missing = Vec::new();
    for name in names {
        for (lane, _) in heads {
            if !live().any(|checkpoint| checkpoint.projector == name && checkpoint.lane == *lane) {
                missing.push(format!("{name} has no checkpoint in lane {lane}"));
            }
        }
    }
    missing
}

impl Quarantined {
    fn place(&self) -> String {
        format!("{} in lane {} position {}", self.projector, self.lane, self.position)
    }

    fn note(&self) -> String {
        let state = if self.is_discarded { "discarded" } else { "quarantined" };
        let why = self.failure.as_deref().unwrap_or("it waits behind an earlier event of its stream");
        format!("{}: {} {state}: {why}", self.place(), self.event_type)
    }
}
