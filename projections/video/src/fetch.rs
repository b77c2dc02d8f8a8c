//! Brings recordings into the clinic's storage: from the provider, or from the pieces that a page left there.
//!
//! A long recording takes longer than a worker may hold an effect. So the fetching goes on by itself, and looks come by
//! to see whether it is done. Where the process dies, a later look begins anew: the file's id follows from the
//! recording's, so that the same file is stored once.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use carelog_domain::video_room::{
    DiscardReason, RecordingStep, RoomFailure, StoredRecording, VideoRoomCommand,
};
use carelog_domain::{AppointmentId, CorrelationId, EventId, FileId, OrganizationId, PatientId, RecordingId};
use carelog_event_log::{RecordedEvent, derived_id};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::daily::{DailyAccount, DailyRecording};
use crate::model::RoomKey;
use crate::plan::next_attempt;
use crate::settle::{SettleError, Settler};

/// So long a look waits for the fetching that it began.
const PATIENCE: Duration = Duration::from_secs(10);
/// Recordings that one process fetches at a time.
const AT_A_TIME: usize = 4;

/// What a recording consists of, piece by piece.
pub type Content = BoxStream<'static, io::Result<Bytes>>;

/// The file that a recording becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordingFile {
    /// Whose storage it goes to.
    pub organization_id: OrganizationId,
    /// Whom it shows.
    pub patient_id: PatientId,
    /// The file.
    pub file_id: FileId,
    /// The event that led to it.
    pub causation_id: EventId,
    /// What that belongs to.
    pub correlation_id: CorrelationId,
}

/// The pieces of a recording that a page of an embedded room made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordingPieces {
    /// In whose storage they lie.
    pub organization_id: OrganizationId,
    /// Whose room it was.
    pub appointment_id: AppointmentId,
    /// The recording.
    pub recording_id: RecordingId,
}

/// The file that a recording becomes.
pub fn file_of_recording(recording_id: RecordingId) -> FileId {
    FileId::new(derived_id(recording_id.uuid(), b"file"))
}

/// Where a recording lies before it is a file.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// With the provider.
    Daily { account: DailyAccount, recording: DailyRecording },
    /// In pieces, in the clinic's storage; with its length in seconds.
    Pieces(RecordingPieces, u32),
}

impl Source {
    fn recording_id(&self) -> RecordingId {
        match self {
            Self::Daily { recording, .. } => recording.recording_id(),
            Self::Pieces(pieces, _) => pieces.recording_id,
        }
    }

    const fn duration_seconds(&self) -> u32 {
        match self {
            Self::Daily { recording, .. } => recording.duration,
            Self::Pieces(_, duration_seconds) => *duration_seconds,
        }
    }
}

/// Why a recording was not stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It never can be.
    #[error("the recording cannot be kept: {0}")]
    Unfit(DiscardReason),
    /// Another try may help.
    #[error("the recording cannot be stored at present")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Where recordings are kept: the organization's storage, and the log of its files.
pub trait RecordingStore: Send + Sync + fmt::Debug {
    /// Stores a recording as a file, and gives its size in bytes. One that is stored already is not stored again.
    fn store(&self, file: RecordingFile, content: Content) -> BoxFuture<'_, Result<i64, StoreError>>;

    /// The pieces of a recording, one after the other.
    fn pieces(&self, pieces: RecordingPieces) -> BoxFuture<'_, Result<Content, StoreError>>;

    /// Removes the pieces of a recording; where there are none, nothing is to be done.
    fn remove_pieces(&self, pieces: RecordingPieces) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// The recordings that this process is fetching.
#[derive(Clone, Debug)]
pub(crate) struct Fetches {
    settler: Arc<Settler>,
    store: Arc<dyn RecordingStore>,
    tasks: TaskTracker,
    running: Arc<Mutex<HashSet<RecordingId>>>,
}

/// Ends with the fetching, however that ends.
struct Running(Arc<Mutex<HashSet<RecordingId>>>, RecordingId);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

impl Fetches {
    pub(crate) fn new(settler: Arc<Settler>, store: Arc<dyn RecordingStore>, tasks: TaskTracker) -> Self {
        Self { settler, store, tasks, running: Arc::default() }
    }

    fn begin(&self, recording_id: RecordingId) -> Option<Running> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = running.len() < AT_A_TIME && running.insert(recording_id);
        begins.then(|| Running(Arc::clone(&self.running), recording_id))
    }

    /// Begins to fetch a recording, and waits a moment; nothing where it is not stored by then.
    pub(crate) async fn fetch(
        &self,
        key: RoomKey,
        cause: &RecordedEvent,
        patient_id: PatientId,
        source: Source,
    ) -> Option<Result<(), SettleError>> {
        let running = self.begin(source.recording_id())?;
        let (fetches, cause) = (self.clone(), cause.clone());
        let fetching = self.tasks.spawn(async move {
            let _running = running;
            fetches.bring(key, &cause, patient_id, &source).await
        });
        match tokio::time::timeout(PATIENCE, fetching).await {
            Ok(Ok(Ok(true))) => Some(Ok(())),
            Ok(Ok(Ok(false)) | Err(_)) | Err(_) => None,
            Ok(Ok(Err(error))) => Some(Err(error)),
        }
    }

    /// Whether the recording is settled; where not, why is in the log.
    async fn bring(
        &self,
        key: RoomKey,
        cause: &RecordedEvent,
        patient_id: PatientId,
        source: &Source,
    ) -> Result<bool, SettleError> {
        let recording_id = source.recording_id();
        let file_id = file_of_recording(recording_id);
        let file = RecordingFile {
            organization_id: key.0,
            patient_id,
            file_id,
            causation_id: cause.event_id,
            correlation_id: cause.circumstances.correlation_id,
        };
        let (command, is_settled) = match self.store(file, source).await {
            Ok(size_bytes) => {
                let duration_seconds = source.duration_seconds();
                let stored = StoredRecording { recording_id, file_id, duration_seconds, size_bytes };
                (VideoRoomCommand::StoreRecording(stored), true)
            }
            Err(StoreError::Unfit(reason)) => {
                (VideoRoomCommand::DiscardRecording { recording_id, reason }, true)
            }
            Err(StoreError::Unavailable(error)) => {
                warn!(appointment.id = %key.1, %error, "a recording was not brought over; it is tried again");
                let next_attempt_at =
                    next_attempt(2, None, self.settler.now(), carelog_domain::Timestamp::MAX);
                let (step, reason) = (RecordingStep::Store, RoomFailure::Unavailable);
                (VideoRoomCommand::FailRecording { step, reason, next_attempt_at }, false)
            }
        };
        self.settler.tell(key, cause, command).await?;
        Ok(is_settled)
    }

    /// Pieces are gone before anything is told of what became of them; the provider's copy is deleted after.
    async fn store(&self, file: RecordingFile, source: &Source) -> Result<i64, StoreError> {
        match source {
            Source::Daily { account, recording } => {
                let content = self.settler.daily.download(account, recording.recording_id()).await;
                self.store.store(file, content.map_err(|error| StoreError::Unavailable(error.into()))?).await
            }
            Source::Pieces(pieces, _) => {
                let stored = self.store.store(file, self.store.pieces(*pieces).await?).await;
                if let Ok(_) | Err(StoreError::Unfit(_)) = stored {
                    self.store.remove_pieces(*pieces).await?;
                }
                stored
            }
        }
    }
}
