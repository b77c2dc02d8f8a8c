//! One look at the recordings of an appointment's room: brings what the provider has to what the log asks for.
//!
//! What the log asks for is read at each look, and read again right before a recording is begun: whether somebody wants
//! one, and whether the clinic's setting and the patient's consent are in force. Whatever is found at the provider
//! without them, however it came to be, is ended, deleted there, and noted as not kept.

use std::sync::Arc;
use std::time::Duration;

use carelog_domain::video_room::{
    DiscardReason, RecordingLeave, RecordingPhase, RecordingStep, Recordings, RoomProvider, VideoRoom,
    VideoRoomCommand,
};
use carelog_domain::{EventType, OrganizationId, PatientId, RecordingId, StreamKind, Timestamp};
use carelog_event_log::effects::Sign;
use carelog_event_log::{RecordedEvent, StreamKey, derived_id};
use cqrs_es::Aggregate as _;
use futures::future::BoxFuture;
use tracing::warn;

use crate::daily::{DailyAccount, DailyError, DailyRecording, DailyRecordingStatus, RecordingKind, RoomName};
use crate::fetch::{Fetches, Source};
use crate::model::{RoomKey, RoomRow, RoomStatus, room_id};
use crate::plan::next_attempt;
use crate::queries::open_rooms;
use crate::settle::{SettleError, Settled, Settler, sign};

/// Until Daily's list shows what was just asked for.
const SHOWN_AFTER: Duration = Duration::from_secs(2);
/// Until a recording that ended can be fetched, or one that is being fetched is there.
pub(crate) const READY_AFTER: Duration = Duration::from_secs(15);
/// Between two looks at a recording that goes on.
pub(crate) const LOOKED_AT_EVERY: Duration = Duration::from_mins(5);
/// By so much Daily's clock may be behind ours.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(30);
/// Rooms that were open one after the other for the same appointment and may still have recordings at Daily.
const EARLIER_ROOMS: u16 = 2;

/// Looks at recordings.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) settler: Arc<Settler>,
    pub(crate) fetches: Fetches,
}

/// From when until when somebody wanted a recording.
type Wanted = Vec<(Timestamp, Option<Timestamp>)>;

/// A look under way.
struct Look<'a> {
    key: RoomKey,
    cause: &'a RecordedEvent,
    row: RoomRow,
    room: Recordings,
    asked: Wanted,
    leave: RecordingLeave,
    account: DailyAccount,
    next_at: Option<Timestamp>,
}

/// What a step of a look failed of.
enum Failure {
    Daily(RecordingStep, DailyError),
    Settle(SettleError),
}

impl From<SettleError> for Failure {
    fn from(error: SettleError) -> Self {
        Self::Settle(error)
    }
}

impl Look<'_> {
    /// Asks for another look, and for the earlier one where there are several.
    fn again(&mut self, now: Timestamp, pause: Duration) {
        let at = after(now, pause);
        self.next_at = Some(self.next_at.map_or(at, |next| next.min(at)));
    }

    fn name(&self) -> RoomName {
        RoomName::of(self.key.1, self.row.opening)
    }

    const fn may_record(&self) -> bool {
        self.room.is_wanted() && self.leave.end().is_none()
    }

    /// Whether a recording may be kept. What is allowed now says nothing of one that began before somebody asked.
    fn may_keep(&self, recording: &DailyRecording) -> bool {
        self.may_record() && was_wanted(&self.asked, recording.started_at())
    }
}

/// Whether somebody wanted a recording when this one began.
fn was_wanted(asked: &[(Timestamp, Option<Timestamp>)], began: Timestamp) -> bool {
    asked.iter().any(|(from, until)| {
        *from <= after(began, CLOCK_DIFFERENCE) && until.is_none_or(|until| began <= until)
    })
}

pub(crate) fn after(now: Timestamp, pause: Duration) -> Timestamp {
    now.saturating_add_micros(i64::try_from(pause.as_micros()).unwrap_or(i64::MAX))
}

pub(crate) const DONE: Settled = Settled { next_at: None, sign: Sign::None };

impl Recorder {
    /// Looks at every open room of an organization or of one patient, because recording may not be allowed any more. Where
    /// it is the organization, its rooms may open at another time, too.
    pub(crate) async fn look_at_all(
        &self,
        organization_id: OrganizationId,
        patient_id: Option<PatientId>,
        cause: &RecordedEvent,
    ) -> Result<Settled, SettleError> {
        let mut tx = self.settler.read().await?;
        let rooms = open_rooms(&mut tx, organization_id, patient_id).await?;
        drop(tx);
        let mut all = DONE;
        let mut failed = None;
        // A room that cannot be looked at is looked at again; it keeps no other from being looked at.
        for appointment_id in &rooms {
            match self.look((organization_id, *appointment_id), cause).await {
                Ok(settled) => all = all.and(settled),
                Err(failure) => failed = Some(failure),
            }
        }
        // What is to happen at the end of a room has a look of its own. A room that was moved asks for nothing when it is
        // looked at again, so that those after it have their turn.
        for appointment_id in rooms.iter().filter(|_| patient_id.is_none()) {
            match self.settler.settle((organization_id, *appointment_id), cause, false).await {
                Ok(moved) if matches!(moved.sign, Sign::Failure { .. }) => all = all.and(moved),
                Ok(_) => {}
                Err(failure) => failed = Some(failure),
            }
        }
        failed.map_or(Ok(all), Err)
    }

    /// Looks at the recordings of one appointment.
    pub(crate) fn look<'a>(
        &'a self,
        key: RoomKey,
        cause: &'a RecordedEvent,
    ) -> BoxFuture<'a, Result<Settled, SettleError>> {
        Box::pin(async move {
            let Some(row) = self.settler.row(key).await? else { return Ok(DONE) };
            if row.opening == 0 {
                return Ok(DONE);
            }
            let leave = self.settler.leave(key.0, row.patient_id).await?;
            let (mut room, asked) = self.room(key).await?;
            let was_wanted = room.is_wanted();
            if let Some(reason) = leave.end().filter(|_| was_wanted) {
                self.settler.tell(key, cause, VideoRoomCommand::RequestRecordingStop { reason }).await?;
                self.settler.wake(key.1).await?;
                (room, _) = self.room(key).await?;
            }
            let is_unfinished = room
                .known()
                .any(|(_, phase)| matches!(phase, RecordingPhase::Running | RecordingPhase::Stopped));
            let is_told = matches!(cause.stream.kind, StreamKind::VideoNotice | StreamKind::VideoRoom)
                || cause.event_type == EventType::OrganizationIntegrationConfigured;
            if !was_wanted && !is_unfinished && !is_told {
                return Ok(DONE);
            }
            if row.provider == Some(RoomProvider::Embedded) {
                return self.bring_own(key, cause, &row, &room, leave).await;
            }
            let Some(account) = self.settler.account(key.0).await? else { return Ok(DONE) };
            let look = Look { key, cause, row, room, asked, leave, account, next_at: None };
            self.bring(look).await
        })
    }

    /// The recordings as the log has them, and from when until when somebody wanted one.
    async fn room(&self, key: RoomKey) -> Result<(Recordings, Wanted), SettleError> {
        let stream = StreamKey { organization_id: key.0, kind: StreamKind::VideoRoom, id: room_id(key.1) };
        let (mut room, mut asked) = (VideoRoom::default(), Wanted::new());
        for event in self.settler.log.stream(&stream, 0).await? {
            match event.event_type {
                EventType::VideoRoomRecordingRequested => asked.push((event.recorded_at, None)),
                EventType::VideoRoomRecordingStopRequested => {
                    if let Some((_, until)) = asked.last_mut() {
                        until.get_or_insert(event.recorded_at);
                    }
                }
                _ => {}
            }
            room.apply(event.decode_as()?);
        }
        Ok((room.recordings().cloned().unwrap_or_default(), asked))
    }

    async fn bring(&self, mut look: Look<'_>) -> Result<Settled, SettleError> {
        match self.try_bring(&mut look).await {
            Ok(()) => Ok(Settled { next_at: look.next_at, sign: Sign::Success }),
            Err(Failure::Settle(error)) => Err(error),
            Err(Failure::Daily(step, error)) => self.fail(&look, step, &error).await,
        }
    }

    async fn try_bring(&self, look: &mut Look<'_>) -> Result<(), Failure> {
        let mut has_to_wait = false;
        let earliest = look.row.opening.saturating_sub(EARLIER_ROOMS).max(1);
        for opening in earliest..=look.row.opening {
            let name = RoomName::of(look.key.1, opening);
            let step = if look.may_record() { RecordingStep::Start } else { RecordingStep::Stop };
            let listed = self.settler.daily.recordings(&look.account, &name).await;
            let listed = listed.map_err(|error| Failure::Daily(step, error))?;
            for recording in &listed {
                has_to_wait |= self.bring_one(look, &name, recording).await?;
            }
            let goes_on = listed.iter().any(|recording| recording.status == DailyRecordingStatus::InProgress);
            let was_allowed = !look.asked.is_empty() && opening == look.row.opening;
            if !look.may_record() && (goes_on || was_allowed) {
                self.forbid(look, &name).await?;
            }
        }
        if has_to_wait || !look.may_record() {
            return Ok(());
        }
        self.start(look).await
    }

    /// Whether no other recording may begin yet: this one goes on, as it may, or is being ended.
    async fn bring_one(
        &self,
        look: &mut Look<'_>,
        name: &RoomName,
        recording: &DailyRecording,
    ) -> Result<bool, Failure> {
        let recording_id = recording.recording_id();
        let phase = look.room.phase(recording_id);
        let may_keep = match phase {
            None => look.may_keep(recording),
            Some(_) => look.may_record(),
        };
        match recording.status {
            DailyRecordingStatus::InProgress if may_keep => {
                self.note_start(look, recording).await?;
                look.again(self.settler.now(), LOOKED_AT_EVERY);
                Ok(true)
            }
            DailyRecordingStatus::InProgress => {
                let stopped = self.settler.daily.stop_recording(&look.account, name).await;
                stopped.map_err(|error| Failure::Daily(RecordingStep::Stop, error))?;
                let stopped_at = self.settler.now();
                let stop = VideoRoomCommand::StopRecording { recording_id, stopped_at };
                // One that was never allowed to begin is unknown to the room, and is noted when it is deleted.
                self.tell(look, stop).await?;
                look.again(stopped_at, READY_AFTER);
                Ok(true)
            }
            DailyRecordingStatus::Finished => {
                match phase {
                    Some(RecordingPhase::Running | RecordingPhase::Stopped) => {
                        self.fetch(look, recording).await?;
                    }
                    // It began and ended between two looks, and was allowed.
                    None if may_keep => {
                        self.note_start(look, recording).await?;
                        self.fetch(look, recording).await?;
                    }
                    None => self.discard(look, recording_id, unasked(look.leave)).await?,
                    Some(RecordingPhase::Stored | RecordingPhase::Discarded) => {
                        self.delete(look, recording_id).await?;
                    }
                }
                Ok(false)
            }
            DailyRecordingStatus::Canceled => {
                if matches!(phase, Some(RecordingPhase::Running | RecordingPhase::Stopped)) {
                    self.discard(look, recording_id, DiscardReason::Empty).await?;
                }
                Ok(false)
            }
            DailyRecordingStatus::Other => Ok(false),
        }
    }

    /// The room refuses where the leave is no longer in force, as the log has it now; the next look ends the recording.
    async fn note_start(&self, look: &mut Look<'_>, recording: &DailyRecording) -> Result<(), SettleError> {
        let leave = self.settler.leave(look.key.0, look.row.patient_id).await?;
        if leave.end().is_some() {
            look.again(self.settler.now(), SHOWN_AFTER);
            return Ok(());
        }
        let start = VideoRoomCommand::StartRecording {
            recording_id: recording.recording_id(),
            started_at: recording.started_at(),
            leave,
        };
        self.tell(look, start).await
    }

    async fn start(&self, look: &mut Look<'_>) -> Result<(), Failure> {
        let now = self.settler.now();
        let Some(window) = look.row.window.filter(|_| look.row.status == RoomStatus::Open) else {
            return Ok(());
        };
        if window.expires_at <= now {
            return Ok(());
        }
        let name = look.name();
        let failed = |error| Failure::Daily(RecordingStep::Start, error);
        let (daily, account) = (&self.settler.daily, &look.account);
        daily.allow_recording(account, &name, Some(RecordingKind::Cloud)).await.map_err(failed)?;
        // Right before the call: what was in force when the list was asked for may not be any more.
        let leave = self.settler.leave(look.key.0, look.row.patient_id).await?;
        let (room, _) = self.room(look.key).await?;
        if leave.end().is_none() && room.is_wanted() {
            // Looks at the same state name the same recording, so that two of them begin one.
            let number = look.room.known().count();
            let instance = derived_id(room_id(look.key.1), format!("recording {number}").as_bytes());
            daily.start_recording(account, &name, instance).await.map_err(failed)?;
        } else {
            self.forbid(look, &name).await?;
        }
        look.again(now, SHOWN_AFTER);
        Ok(())
    }

    /// Nobody in the room can record it any more.
    async fn forbid(&self, look: &Look<'_>, name: &RoomName) -> Result<(), Failure> {
        match self.settler.daily.allow_recording(&look.account, name, None).await {
            Ok(()) | Err(DailyError::NotFound) => Ok(()),
            Err(error) => Err(Failure::Daily(RecordingStep::Stop, error)),
        }
    }

    async fn fetch(&self, look: &mut Look<'_>, recording: &DailyRecording) -> Result<(), Failure> {
        let recording_id = recording.recording_id();
        let stopped_at = recording.ended_at();
        self.tell(look, VideoRoomCommand::StopRecording { recording_id, stopped_at }).await?;
        let source = Source::Daily { account: look.account.clone(), recording: recording.clone() };
        let fetched = self.fetches.fetch(look.key, look.cause, look.row.patient_id, source).await;
        let now = self.settler.now();
        match fetched {
            // Still under way, here or after a failure that is noted.
            None => {
                let doublings = u32::from(look.room.failure_count()).min(6);
                look.again(now, READY_AFTER * (1 << doublings));
            }
            Some(Ok(())) => self.delete(look, recording_id).await?,
            Some(Err(error)) => return Err(Failure::Settle(error)),
        }
        Ok(())
    }

    async fn discard(
        &self,
        look: &Look<'_>,
        recording_id: RecordingId,
        reason: DiscardReason,
    ) -> Result<(), Failure> {
        // First there, so that what is noted as not kept is nowhere.
        self.delete(look, recording_id).await?;
        Ok(self.tell(look, VideoRoomCommand::DiscardRecording { recording_id, reason }).await?)
    }

    async fn delete(&self, look: &Look<'_>, recording_id: RecordingId) -> Result<(), Failure> {
        let deleted = self.settler.daily.delete_recording(&look.account, recording_id).await;
        deleted.map_err(|error| Failure::Daily(RecordingStep::Store, error))
    }

    async fn tell(&self, look: &Look<'_>, command: VideoRoomCommand) -> Result<(), SettleError> {
        self.settler.tell(look.key, look.cause, command).await
    }

    async fn fail(
        &self,
        look: &Look<'_>,
        step: RecordingStep,
        error: &DailyError,
    ) -> Result<Settled, SettleError> {
        let attempt = look.room.failure_count().saturating_add(1);
        let needed_until = match (step, look.row.window) {
            (RecordingStep::Start, Some(window)) => window.expires_at,
            _ => Timestamp::MAX,
        };
        let next_at = next_attempt(attempt, error.retry_after(), self.settler.now(), needed_until);
        let reason = error.failure();
        metrics::counter!("carelog_video_recording_failures_total", "step" => step.as_str()).increment(1);
        warn!(appointment.id = %look.key.1, %error, %step, "a recording is not as it should be");
        let command = VideoRoomCommand::FailRecording { step, reason, next_attempt_at: next_at };
        self.tell(look, command).await?;
        Ok(Settled { next_at, sign: sign(error) })
    }
}

/// Why a recording that nobody here asked for is not kept.
const fn unasked(leave: RecordingLeave) -> DiscardReason {
    match leave {
        RecordingLeave { is_enabled: false, .. } => DiscardReason::NotEnabled,
        RecordingLeave { has_consent: false, .. } => DiscardReason::NoConsent,
        RecordingLeave { is_enabled: true, has_consent: true } => DiscardReason::NotRequested,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_was_wanted_where_it_began_between_a_request_and_the_next_wish_to_stop() {
        let at = |minute: i64| Timestamp::UNIX_EPOCH.saturating_add_micros(minute * 60_000_000);
        let asked = [(at(10), Some(at(15))), (at(20), None)];

        let wanted: Vec<i64> = (8..24).filter(|minute| was_wanted(&asked, at(*minute))).collect();

        assert_eq!(
            wanted,
            [10, 11, 12, 13, 14, 15, 20, 21, 22, 23],
            "of the first request and of the second"
        );
        assert!(!was_wanted(&[], at(10)));
    }
}
