//! One look at the recordings of an embedded room. The specialist's page makes them and leaves their pieces in the clinic's
//! storage; nobody needs that page to end one, or to make a file of what it left.

use carelog_domain::video_room::{
    RecordingLeave, RecordingPhase, Recordings, VideoRoomCommand, VideoRoomEvent,
};
use carelog_domain::{RecordingId, StreamKind, Timestamp};
use carelog_event_log::effects::Sign;
use carelog_event_log::{RecordedEvent, StreamKey};

use crate::fetch::{RecordingPieces, Source};
use crate::model::{RoomKey, RoomRow, RoomStatus, room_id};
use crate::recordings::{DONE, LOOKED_AT_EVERY, READY_AFTER, Recorder, after};
use crate::settle::{SettleError, Settled};

impl Recorder {
    pub(crate) async fn bring_own(
        &self,
        key: RoomKey,
        cause: &RecordedEvent,
        row: &RoomRow,
        room: &Recordings,
        leave: RecordingLeave,
    ) -> Result<Settled, SettleError> {
        let now = self.settler.now();
        let is_open =
            row.status == RoomStatus::Open && row.window.is_some_and(|window| now < window.expires_at);
        let goes_on = is_open && room.is_wanted() && leave.end().is_none();
        let mut all = DONE;
        if goes_on {
            // Somebody is to look when its time is over, whatever becomes of the page.
            let over_at = row.window.map_or(Timestamp::MAX, |window| window.expires_at);
            all.next_at = Some(after(now, LOOKED_AT_EVERY).min(over_at));
        }
        for (recording_id, phase) in room.known() {
            match phase {
                RecordingPhase::Running if !goes_on => {
                    let stop = VideoRoomCommand::StopRecording { recording_id, stopped_at: now };
                    self.settler.tell(key, cause, stop).await?;
                }
                RecordingPhase::Stopped => {}
                RecordingPhase::Running | RecordingPhase::Stored | RecordingPhase::Discarded => continue,
            }
            all = all.and(self.make_file(key, cause, row, room, recording_id).await?);
        }
        Ok(all)
    }

    async fn make_file(
        &self,
        key: RoomKey,
        cause: &RecordedEvent,
        row: &RoomRow,
        room: &Recordings,
        recording_id: RecordingId,
    ) -> Result<Settled, SettleError> {
        let pieces = RecordingPieces { organization_id: key.0, appointment_id: key.1, recording_id };
        let duration_seconds = self.duration_seconds(key, recording_id).await?;
        let source = Source::Pieces(pieces, duration_seconds);
        match self.fetches.fetch(key, cause, row.patient_id, source).await {
            // Still under way, here or after a failure that is noted.
            None => {
                let doublings = u32::from(room.failure_count()).min(6);
                let next_at = Some(after(self.settler.now(), READY_AFTER * (1 << doublings)));
                Ok(Settled { next_at, sign: Sign::None })
            }
            Some(Ok(())) => Ok(DONE),
            Some(Err(error)) => Err(error),
        }
    }

    async fn duration_seconds(&self, key: RoomKey, recording_id: RecordingId) -> Result<u32, SettleError> {
        let stream = StreamKey { organization_id: key.0, kind: StreamKind::VideoRoom, id: room_id(key.1) };
        let (mut began, mut ended) = (None, None);
        for event in self.settler.log.stream(&stream, 0).await? {
            match event.decode_as()? {
                VideoRoomEvent::RecordingStarted(started) if started.recording_id == recording_id => {
                    began = Some(started.started_at);
                }
                VideoRoomEvent::RecordingStopped(stopped) if stopped.recording_id == recording_id => {
                    ended = Some(stopped.stopped_at);
                }
                _ => {}
            }
        }
        let micros = began.zip(ended).map_or(0, |(began, ended)| ended.micros_since(began).max(0));
        Ok(u32::try_from(micros / 1_000_000).unwrap_or(u32::MAX))
    }
}
