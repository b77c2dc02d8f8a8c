//! Looks at every room that an organization lacks, once it has another provider or another account with one.

use carelog_event_log::RecordedEvent;
use carelog_event_log::effects::Sign;

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
    let mut sign = Sign::None;
    for (key, _) in due.iter().take(BATCH) {
        let settled = settler.settle(*key, cause, is_unsure).await?;
        sign = settled.sign;
        if matches!(sign, Sign::Failure { .. }) {
            break;
        }
    }
    let pause = now.saturating_add_micros(PAUSE_MICROS);
    let next_at = if due.is_empty() {
        waiting.iter().filter_map(|(_, row)| row.next_attempt_at).min().map(|next| next.max(pause))
    } else {
        Some(pause)
    };
    Ok(Settled { next_at, sign })
}
