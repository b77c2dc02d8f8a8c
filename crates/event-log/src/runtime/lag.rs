//! How far behind the projectors are.

use futures::future::BoxFuture;
use sqlx::PgConnection;

use crate::log::EventLog;
use crate::recorded::{Lane, Position};

/// One projector in one lane.
#[derive(Clone, Debug, PartialEq)]
pub struct Lag {
    /// The projector.
    pub projector: String,
    /// The lane.
    pub lane: Lane,
    /// Where it stands.
    pub position: Position,
    /// Events that it has not applied.
    pub events_behind: i64,
    /// Events of its live version that wait in quarantine.
    pub quarantined: i64,
    /// Whether a process holds its lease.
    pub is_owned: bool,
}

/// How far behind the live versions in this database are.
///
/// # Errors
/// When the database fails.
pub fn lag<'a>(
    log: &'a EventLog,
    connection: &'a mut PgConnection,
) -> BoxFuture<'a, Result<Vec<Lag>, sqlx::Error>> {
    Box::pin(async move {
        let rows = sqlx::query!(
        r#"
        select c.projector, c.lane, c.position, (c.owner is not null and c.leased_until > now()) as "is_owned!",
               (select count(*) from runtime.quarantine q
                where q.projector = c.projector and q.version = c.version and q.lane = c.lane
                  and q.discarded_at is null) as "quarantined!"
        from runtime.checkpoints c
        join runtime.projections p on p.projector = c.projector and p.live_version = c.version
        order by c.projector, c.lane
        "#
    )
    .fetch_all(connection)
    .await?;
        let with_head = |row_lane: Lane| *log.head(row_lane).borrow();
        Ok(rows
            .into_iter()
            .map(|row| Lag {
                events_behind: (with_head(row.lane) - row.position).max(0),
                projector: row.projector,
                lane: row.lane,
                position: row.position,
                quarantined: row.quarantined,
                is_owned: row.is_owned,
            })
            .collect())
    })
}
