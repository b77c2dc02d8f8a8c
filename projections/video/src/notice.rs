//! Works out what a notice of the provider means for its room, once it is in the log.
//!
//! A notice says that something may have happened; the room's own stream decides whether it is news. So a notice that is
//! worked on twice, or comes after what the lists told already, changes nothing.

use carelog_domain::video_notice::{NoticeKind, VideoNoticeEvent};
use carelog_domain::video_room::{Stay, VideoRoomCommand};
use carelog_event_log::effects::Sign;
use carelog_event_log::{RecordedEvent, SealedPlace};
use tracing::warn;

use crate::daily::HookStay;
use crate::model::RoomKey;
use crate::recordings::Recorder;
use crate::settle::{SettleError, Settled};

/// Takes a notice in.
pub(crate) async fn take(recorder: &Recorder, cause: &RecordedEvent) -> Result<Settled, SettleError> {
    const DONE: Settled = Settled { next_at: None, sign: Sign::None };
    let settler = &recorder.settler;
    let VideoNoticeEvent::Received(received) = cause.decode_as()?;
    let key: RoomKey = (cause.stream.organization_id, received.appointment_id);
    match received.kind {
        NoticeKind::ParticipantJoined | NoticeKind::ParticipantLeft => {}
        NoticeKind::RecordingStarted | NoticeKind::RecordingReady | NoticeKind::RecordingFailed => {
            return recorder.look(key, cause).await;
        }
        NoticeKind::MeetingStarted | NoticeKind::MeetingEnded | NoticeKind::Other => return Ok(DONE),
    }
    let Some(part) = &cause.personal else { return Ok(DONE) };
    // Nothing is left of it once the patient is erased.
    let Some(json) = SealedPlace::of(cause).open(settler.vault(), &part.sealed).await? else {
        return Ok(DONE);
    };
    let Some(told) = body_of(&json).and_then(|body| HookStay::read(body.as_bytes())) else {
        warn!(event.id = %cause.event_id, "a notice tells of a stay in a way that is not known");
        return Ok(DONE);
    };
    settler.tell(key, cause, command_of(told)).await?;
    Ok(DONE)
}

fn body_of(json: &[u8]) -> Option<String> {
    let body: carelog_domain::video_notice::NoticeBody = serde_json::from_slice(json).ok()?;
    Some(body.json)
}

/// What a stay is to the room.
pub(crate) const fn command_of(told: HookStay) -> VideoRoomCommand {
    let stay =
        Stay { participant_id: told.participant_id, session_id: told.session_id, joined_at: told.joined_at };
    match told.duration_seconds {
        Some(duration_seconds) => VideoRoomCommand::Leave { stay, duration_seconds },
        None => VideoRoomCommand::Join(stay),
    }
}
