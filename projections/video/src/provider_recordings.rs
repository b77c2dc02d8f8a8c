//! Removes what Daily has of a patient who is to be forgotten: recordings of every room that the patient ever had there,
//! also of those that nobody looks at any more.

use std::sync::Arc;
use std::time::Duration;

use carelog_domain::video_room::{DiscardReason, RoomProvider, VideoRoomCommand};
use carelog_domain::{OrganizationId, PatientId};
use carelog_event_log::RecordedEvent;
use futures::future::BoxFuture;

use crate::daily::{DailyAccount, DailyError, DailyRecordingStatus, RoomName};
use crate::model::{RoomKey, RoomRow, RoomStatus};
use crate::queries::{RoomFilter, list_rooms};
use crate::settle::{SettleError, Settler};

/// Rooms that are read at a time.
const AT_A_TIME: i64 = 500;
/// How long a room is remembered in which nothing is left. Nothing new comes into one that is closed.
const CLEARED_TTL: Duration = Duration::from_hours(1);
const CLEARED: u64 = 100_000;

/// Why what Daily has of a patient could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// Daily does not do what it is asked for.
    #[error("daily does not let a patient's recordings be removed")]
    Daily(#[from] DailyError),
    /// Carelog's own part failed.
    #[error("a patient's rooms cannot be looked at")]
    Rooms(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<SettleError> for RemoveError {
    fn from(error: SettleError) -> Self {
        Self::Rooms(error.into())
    }
}

/// Recordings that lie with the provider.
#[derive(Clone, Debug)]
pub struct ProviderRecordings {
    settler: Arc<Settler>,
    /// Closed rooms in which nothing was left.
    cleared: moka::sync::Cache<RoomKey, ()>,
}

impl ProviderRecordings {
    pub(crate) fn new(settler: Arc<Settler>) -> Self {
        let cleared = moka::sync::Cache::builder().time_to_live(CLEARED_TTL).max_capacity(CLEARED).build();
        Self { settler, cleared }
    }

    /// Ends and deletes whatever Daily has recorded of a patient, and says whether its lists showed nothing to be ended or
    /// deleted. Where the clinic has no account that can be used, nobody can look there. The projection
    /// has to know of the patient's rooms, and `cause` is what the events of the rooms come from.
    ///
    /// # Errors
    /// When Daily or the database fails. Rooms that were cleared by then are not looked at again.
    pub fn remove_of<'a>(
        &'a self,
        organization_id: OrganizationId,
        patient_id: PatientId,
        cause: &'a RecordedEvent,
    ) -> BoxFuture<'a, Result<bool, RemoveError>> {
        Box::pin(async move {
            let Some(account) = self.settler.account(organization_id).await? else { return Ok(true) };
            let filter = RoomFilter { patient_id: Some(patient_id), failing: false };
            let mut before = None;
            let mut is_clear = true;
            loop {
                let mut tx = self.settler.read().await.map_err(SettleError::from)?;
                let rooms = list_rooms(&mut tx, organization_id, filter, before, AT_A_TIME).await;
                let rooms = rooms.map_err(SettleError::from)?;
                drop(tx);
                let Some((_, last)) = rooms.last() else { return Ok(is_clear) };
                before = Some(last.created_position);
                for (appointment_id, row) in &rooms {
                    is_clear &= self.clear((organization_id, *appointment_id), row, &account, cause).await?;
                }
            }
        })
    }

    /// Whether nothing is left of any room that the appointment has had.
    async fn clear(
        &self,
        key: RoomKey,
        row: &RoomRow,
        account: &DailyAccount,
        cause: &RecordedEvent,
    ) -> Result<bool, RemoveError> {
        // Of several rooms, the row tells by whom the newest is.
        let was_never_there = row.opening <= 1 && row.provider != Some(RoomProvider::Daily);
        if was_never_there || self.cleared.contains_key(&key) {
            return Ok(true);
        }
        let mut is_clear = true;
        for opening in 1..=row.opening {
            is_clear &= self.clear_opening(key, &RoomName::of(key.1, opening), account, cause).await?;
        }
        if is_clear && row.status != RoomStatus::Open {
            self.cleared.insert(key, ());
        }
        Ok(is_clear)
    }

    async fn clear_opening(
        &self,
        key: RoomKey,
        name: &RoomName,
        account: &DailyAccount,
        cause: &RecordedEvent,
    ) -> Result<bool, RemoveError> {
        let daily = &self.settler.daily;
        let mut is_clear = true;
        for recording in daily.recordings(account, name).await? {
            let recording_id = recording.recording_id();
            match recording.status {
                // Nothing came of it.
                DailyRecordingStatus::Canceled => continue,
                DailyRecordingStatus::InProgress => daily.stop_recording(account, name).await?,
                DailyRecordingStatus::Finished | DailyRecordingStatus::Other => {
                    daily.delete_recording(account, recording_id).await?;
                    let reason = DiscardReason::NoConsent;
                    let discard = VideoRoomCommand::DiscardRecording { recording_id, reason };
                    self.settler.tell(key, cause, discard).await?;
                }
            }
            is_clear = false;
        }
        Ok(is_clear)
    }
}
