//! Leaf hashes, made anew from what is stored.

use std::str::FromStr;

use carelog_domain::Timestamp;
use carelog_event_log::{Lane, Position, ReadError, RecordedEvent, read};
use sqlx::PgConnection;

use super::{DoctorError, Finding, MAX_NAMED};

/// Events read at a time.
const PAGE: i64 = 5_000;
/// The clocks of two processes may be so far apart before each of them raises an alarm.
const SKEW_MICROS: i64 = 60 * 1_000_000;

/// Which leaves are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    /// Every one.
    All,
    /// So many of the newest, and as many taken at random.
    Sample(u32),
}

/// Not a number and not `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a number of leaves, or all")]
pub struct LeavesError;

impl FromStr for Leaves {
    type Err = LeavesError;

    fn from_str(text: &str) -> Result<Self, LeavesError> {
        match text {
            "all" => Ok(Self::All),
            number => number.parse().map(Self::Sample).map_err(|_| LeavesError),
        }
    }
}

impl std::fmt::Display for Leaves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Sample(count) => write!(f, "{count}"),
        }
    }
}

/// Leaves looked at, and the false ones.
struct Judge {
    log_name: String,
    checked: i64,
    damage: Vec<String>,
    /// The event that was looked at before, by its place and the time of its recording.
    before: Option<(Lane, Position, Timestamp)>,
    /// Events that say that they were recorded before those in front of them.
    back_dated: Vec<String>,
}

pub(super) async fn leaves(
    connection: &mut PgConnection,
    heads: &[(Lane, Position)],
    leaves: Leaves,
) -> Result<Finding, DoctorError> {
    let log_name =
        sqlx::query_scalar!("select log_name from log.settings").fetch_one(&mut *connection).await?;
    let mut judge = Judge { log_name, checked: 0, damage: Vec::new(), before: None, back_dated: Vec::new() };
    let lane_count = u32::try_from(heads.len().max(1)).unwrap_or(u32::MAX);
    for &(lane, head) in heads {
        match leaves {
            Leaves::All => judge.range(connection, lane, 0, head).await?,
            Leaves::Sample(count) => {
                let count = i64::from(count.div_ceil(lane_count));
                judge.range(connection, lane, (head - count).max(0), head).await?;
                judge.random(connection, lane, (head - count).max(0), count).await?;
            }
        }
    }
    let most = usize::try_from(MAX_NAMED).unwrap_or(usize::MAX);
    judge.damage.truncate(most);
    judge.back_dated.truncate(most);
    let finding = Finding::new("leaf hashes are those of the stored events", judge.checked, judge.damage);
    Ok(finding.with_notes(judge.back_dated))
}

impl Judge {
    async fn range(
        &mut self,
        connection: &mut PgConnection,
        lane: Lane,
        after: Position,
        to: Position,
    ) -> Result<(), DoctorError> {
        let mut after = after;
        while after < to {
            let limit = PAGE.min(to - after);
            let page = read::lane(connection, lane, after, limit).await;
            if let Err(ReadError::Stored { position, .. }) = page {
                // Those before it first.
                self.judge(read::lane(connection, lane, after, position - 1 - after).await)?;
            }
            after = self.judge(page)?.unwrap_or(after + limit);
        }
        Ok(())
    }

    /// Positions from 1 to `below`, the same one more than once at times.
    async fn random(
        &mut self,
        connection: &mut PgConnection,
        lane: Lane,
        below: Position,
        count: i64,
    ) -> Result<(), DoctorError> {
        let positions = sqlx::query_scalar!(
            r#"
            select distinct 1 + floor(random() * $1::bigint)::bigint as "position!"
            from generate_series(1, $2::bigint)
            where $1::bigint >= 1
            order by 1
            "#,
            below,
            count
        )
        .fetch_all(&mut *connection)
        .await?;
        for page in positions.chunks(usize::try_from(PAGE).unwrap_or(usize::MAX)) {
            let places: Vec<_> = page.iter().map(|position| (lane, *position)).collect();
            self.judge(read::at(connection, &places).await)?;
        }
        Ok(())
    }

    /// Says which position it came to. A value that does not parse is damage, and no reason to stop.
    fn judge(
        &mut self,
        page: Result<Vec<RecordedEvent>, ReadError>,
    ) -> Result<Option<Position>, DoctorError> {
        let events = match page {
            Ok(events) => events,
            Err(error @ ReadError::Stored { position, .. }) => {
                self.damage.push(error.to_string());
                return Ok(Some(position));
            }
            Err(error @ ReadError::Database(_)) => return Err(error.into()),
        };
        self.checked += i64::try_from(events.len()).unwrap_or(i64::MAX);
        let is_false = |event: &&RecordedEvent| !event.leaf_is_true(&self.log_name);
        let named = |event: &RecordedEvent| {
            format!("lane {} position {}: event {} was changed", event.lane, event.position, event.event_id)
        };
        self.damage.extend(events.iter().filter(is_false).map(named));
        for event in &events {
            self.compare_times(event);
        }
        Ok(events.last().map(|event| event.position))
    }

    /// A clock that was set back explains it as well as a forger does, so it is a note.
    fn compare_times(&mut self, event: &RecordedEvent) {
        let RecordedEvent { lane, position, recorded_at, event_id, .. } = event;
        if let Some((of, at, before)) = self.before
            && (of, at + 1) == (*lane, *position)
            && recorded_at.saturating_add_micros(SKEW_MICROS) < before
        {
            self.back_dated.push(format!(
                "lane {lane} position {position}: event {event_id} says that it was recorded at {recorded_at}, the one \
                 before it at {before}: a clock was set back, or it was put in later"
            ));
        }
        self.before = Some((*lane, *position, *recorded_at));
    }
}
