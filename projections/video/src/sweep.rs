//! Looks at every room that an organization lacks, once it has another provider or another account with one.

use carelog_event_log::RecordedEvent;
use carelog_event_log::effects::Sign;
use tracing::warn;

use crate::model::RoomRow;
use crate::queries::lacking;
use crate::settle::{SettleError, Settled, Settler};

/// Rooms of one look; there are requests of several seconds between the first and the last of them at most.
const BATCH: usize = 10;
/// Rows that are read at a time.
const MOST_ROWS: i64 = 200;
/// Rooms of appointments that began earlier are over: a day is the longest that one takes.
const BEGUN_MICROS: i64 = 2 * 24 * 60 * 60 * 1_000_000;
/// Before the next batch, by which time the rows show the last one.
const PAUSE_MICROS: i64 = 500_000;
/// And where none of those that are due can be looked at.
const STUCK_MICROS: i64 = 30_000_000;

/// Looks at a batch. It is asked again until no room is lacking whose time is to come.
pub(crate) async fn sweep(
    settler: &Settler,
    cause: &RecordedEvent,
    is_unsure: bool,
) -> Result<Settled, SettleError> {
    let organization_id = cause.stream.organization_id;
    let now = settler.now();
    let mut tx = settler.read().await?;
    let organization = settler.organization(&mut tx, organization_id).await?;
    let from = now.saturating_add_micros(-BEGUN_MICROS);
    let rows = lacking(&mut tx, organization_id, from, settler.over_since(now), MOST_ROWS).await?;
    drop(tx);
    let to_come = rows.into_iter().filter(|(_, row)| settler.is_to_come(row, &organization, now));
    // What is lacking since before the account came, or failed under the old one, is tried at once; what failed since waits
    // for its own time. What is asked for since has a look of its own.
    let is_due = |row: &RoomRow| {
        row.updated_at < cause.recorded_at || row.next_attempt_at.is_some_and(|next| next <= now)
    };
    let (due, waiting): (Vec<_>, Vec<_>) = to_come.partition(|(_, row)| is_due(row));
    let (mut sign, mut looked_at, mut is_stuck) = (Sign::None, 0, false);
    for (key, _) in &due {
        match settler.settle(*key, cause, is_unsure).await {
            Ok(settled) => {
                sign = settled.sign;
                looked_at += 1;
            }
            // It is looked at again, but it keeps nobody else from a room.
            Err(failure) => {
                let cause = std::error::Error::source(&failure).map(ToString::to_string);
                warn!(appointment.id = %key.1, error = %failure, cause, "a room that is lacking cannot be looked at");
                is_stuck = true;
            }
        }
        if looked_at == BATCH || matches!(sign, Sign::Failure { .. }) {
            break;
        }
    }
    let is_stuck = is_stuck && looked_at == 0;
    let pause = now.saturating_add_micros(if is_stuck { STUCK_MICROS } else { PAUSE_MICROS });
    let next_at = if due.is_empty() {
        waiting.iter().filter_map(|(_, row)| row.next_attempt_at).min().map(|next| next.max(pause))
    } else {
        Some(pause)
    };
    Ok(Settled { next_at, sign })
}
