//! Compares what the provider's lists say with the log, now and then, because webhooks get lost.
//!
//! What the lists tell goes the way of the notices: the same commands under the same ids, so that what is known already
//! changes nothing. The look that follows from an organization's account comes again as long as that account is the
//! one in use; it also keeps the account's webhook alive.

use std::collections::BTreeSet;
use std::time::Duration;

use carelog_domain::Timestamp;
use carelog_domain::video_room::VideoRoomCommand;
use carelog_event_log::RecordedEvent;
use carelog_event_log::effects::Sign;
use tracing::warn;

use crate::daily::{DailyAccount, DailyError, HookState, RoomName};
use crate::model::RoomKey;
use crate::notice::command_of;
use crate::queries::has_recent_rooms;
use crate::recordings::Recorder;
use crate::settle::{COMPARED_MICROS, SettleError, Settled, Settler, sign};
use crate::sweep::sweep;

/// Between two comparisons.
const EVERY: Duration = Duration::from_mins(10);
/// A day: longer than any consultation, and than an outage that nobody notices.
const BACK_MICROS: i64 = 24 * 3_600 * 1_000_000;
/// A sweep that comes again sooner is not done with its batches.
const BATCHES_MICROS: i64 = 3_000_000;

/// Makes what is lacking, and compares.
pub(crate) async fn keep(
    recorder: &Recorder,
    cause: &RecordedEvent,
    is_unsure: bool,
) -> Result<Settled, SettleError> {
    let (settler, organization_id) = (&recorder.settler, cause.stream.organization_id);
    let swept = sweep(settler, cause, is_unsure).await?;
    let now = settler.now();
    let has_more = swept.next_at.is_some_and(|at| at.micros_since(now) < BATCHES_MICROS);
    if has_more || matches!(swept.sign, Sign::Failure { .. }) {
        return Ok(swept);
    }
    let mut tx = settler.read().await?;
    let organization = settler.organization(&mut tx, organization_id).await?;
    // Another account has a look of its own.
    let is_in_use = organization.daily.as_ref().is_some_and(|daily| daily.event_id == cause.event_id);
    let is_busy =
        has_recent_rooms(&mut tx, organization_id, now, now.saturating_add_micros(-BACK_MICROS)).await?;
    drop(tx);
    let Some(account) = settler.account(organization_id).await?.filter(|_| is_in_use) else {
        return Ok(swept);
    };
    let last = settler.compared.get(&organization_id);
    if last.is_some_and(|last| now.micros_since(last) < COMPARED_MICROS) {
        return Ok(Settled { next_at: Some(next_after(now, swept.next_at)), sign: swept.sign });
    }
    settler.compared.insert(organization_id, now);
    let compared = compare(recorder, cause, &account, is_busy).await;
    let result = if matches!(compared, Ok(Ok(()))) { "done" } else { "failed" };
    metrics::counter!("carelog_video_reconciliations_total", "result" => result).increment(1);
    let sign = match compared? {
        Ok(()) => Sign::Success,
        Err(error) => {
            warn!(organization.id = %organization_id, %error, "rooms cannot be compared with daily's lists");
            sign(&error)
        }
    };
    Ok(Settled { next_at: Some(next_after(now, swept.next_at)), sign })
}

fn next_after(now: Timestamp, swept: Option<Timestamp>) -> Timestamp {
    let next = now.saturating_add_micros(i64::try_from(EVERY.as_micros()).unwrap_or(i64::MAX));
    swept.map_or(next, |at| at.min(next))
}

/// Tells how the network did in a meeting that is over, once for each process: what is known changes nothing.
async fn measure(
    settler: &Settler,
    cause: &RecordedEvent,
    account: &DailyAccount,
    key: RoomKey,
    meeting_id: &str,
) -> Result<Result<(), DailyError>, SettleError> {
    let meeting = (key.0, meeting_id.to_owned());
    if settler.measured.contains_key(&meeting) {
        return Ok(Ok(()));
    }
    let samples = match settler.daily.samples(account, meeting_id).await {
        Ok(samples) => samples,
        Err(error) => return Ok(Err(error)),
    };
    for sample in samples {
        settler.tell(key, cause, VideoRoomCommand::SampleQuality(sample)).await?;
    }
    settler.measured.insert(meeting, ());
    Ok(Ok(()))
}

async fn compare(
    recorder: &Recorder,
    cause: &RecordedEvent,
    account: &DailyAccount,
    is_busy: bool,
) -> Result<Result<(), DailyError>, SettleError> {
    let (settler, organization_id) = (&recorder.settler, cause.stream.organization_id);
    if let Some(url) = settler.webhook_url(organization_id) {
        match settler.daily.keep_webhook(account, &url).await {
            Ok(HookState::Active) => {}
            Ok(HookState::Renewed) => {
                metrics::counter!("carelog_video_webhooks_renewed_total").increment(1);
            }
            // The lists tell the same, later.
            Err(error) => {
                metrics::counter!("carelog_video_webhooks_failed_total").increment(1);
                warn!(organization.id = %organization_id, %error, "daily's webhook cannot be kept up");
            }
        }
    }
    if !is_busy {
        return Ok(Ok(()));
    }
    let since = settler.now().saturating_add_micros(-BACK_MICROS);
    let meetings = match settler.daily.meetings(account, since).await {
        Ok(meetings) => meetings,
        Err(error) => return Ok(Err(error)),
    };
    for (appointment_id, stay) in meetings.stays {
        settler.tell((organization_id, appointment_id), cause, command_of(stay)).await?;
    }
    for (appointment_id, meeting_id) in meetings.ended {
        if let Err(error) =
            measure(settler, cause, account, (organization_id, appointment_id), &meeting_id).await?
        {
            return Ok(Err(error));
        }
    }
    let recordings = match settler.daily.all_recordings(account, since).await {
        Ok(recordings) => recordings,
        Err(error) => return Ok(Err(error)),
    };
    let rooms: BTreeSet<_> =
        recordings.iter().filter_map(|recording| RoomName::parse(&recording.room_name)).collect();
    let mut failed = None;
    // A room that cannot be looked at keeps no other from being looked at.
    for (appointment_id, _) in rooms {
        failed = recorder.look((organization_id, appointment_id), cause).await.err().or(failed);
    }
    failed.map_or(Ok(Ok(())), Err)
}
