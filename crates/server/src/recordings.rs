//! Keeps recordings of consultations as files: in the organization's storage, and in the log of its files. Those that a
//! page of an embedded room makes lie there in pieces until they end.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::time::SystemTime;

use bytes::Bytes;
use carelog_domain::file::{ContentType, FileKind, FileStatus};
use carelog_domain::organization::{IntegrationKind, OrganizationEvent};
use carelog_domain::video_room::{DiscardReason, RecordingPhase, Recordings, VideoRoom, VideoRoomEvent};
use carelog_domain::{AppointmentId, EventType, FileId, OrganizationId, PatientId, StreamKind};
use carelog_event_log::{StreamKey, read};
use carelog_files::{BringError, Storage, StorageError, sniff};
use carelog_video::queries::{RoomFilter, list_rooms, rooms_at_daily, rooms_told_of_since};
use carelog_video::{
    Content, RecordingFile, RecordingPieces, RecordingStore, StoreError, file_of_recording, room_id,
};
use cqrs_es::Aggregate as _;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::own_files::OwnFile;
use crate::system::System;

/// What a piece is called in the storage: it can be nothing by itself.
const PIECE_TYPE: &str = "application/octet-stream";
/// Rooms of a patient that are looked at together.
const ROOMS_AT_A_TIME: i64 = 500;
/// Two days: something is told of a recording more often until it is a file, be it that it was tried in vain.
const TOLD_MICROS: i64 = 48 * 3_600 * 1_000_000;

/// What tells which rooms of an account are in use.
const TELL_OF_ROOMS: [EventType; 11] = [
    EventType::OrganizationIntegrationConfigured,
    EventType::OrganizationIntegrationRemoved,
    EventType::VideoRoomCreated,
    EventType::VideoRoomExpired,
    EventType::VideoRoomRecordingRequested,
    EventType::VideoRoomRecordingStarted,
    EventType::VideoRoomRecordingStopRequested,
    EventType::VideoRoomRecordingStopped,
    EventType::VideoRoomRecordingFailed,
    EventType::VideoRoomRecordingStored,
    EventType::VideoRoomRecordingDiscarded,
];

/// Keeps recordings as files.
#[derive(Debug)]
pub(crate) struct RecordingFiles(pub(crate) System);

#[derive(Debug, thiserror::Error)]
#[error("no server was started")]
struct NotStarted;

impl RecordingStore for RecordingFiles {
    fn store(&self, file: RecordingFile, content: Content) -> BoxFuture<'_, Result<i64, StoreError>> {
        Box::pin(async move {
            let mut own = OwnFile {
                organization_id: file.organization_id,
                file_id: file.file_id,
                patient_id: Some(file.patient_id),
                form_id: None,
                kind: FileKind::Recording,
                content_type: ContentType::Mp4,
                name: None,
                causation_id: file.causation_id,
                correlation_id: file.correlation_id,
            };
            if let Some(known) = self.settled(&own).await? {
                return known;
            }
            let mut content = content.peekable();
            let beginning = match std::pin::Pin::new(&mut content).peek().await {
                Some(Ok(beginning)) => sniff(beginning),
                Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(unavailable(io::Error::new(error.kind(), error.to_string())));
                }
                // Whoever made a file of it removes the pieces after that, so that the file is looked for once more.
                // Whatever lies under its key is left alone.
                None | Some(Err(_)) => {
                    let known = self.settled(&own).await?;
                    return known.unwrap_or(Err(StoreError::Unfit(DiscardReason::Empty)));
                }
            };
            own.content_type = match beginning {
                Some(content_type @ (ContentType::Webm | ContentType::Mp4)) => content_type,
                _ => return Err(StoreError::Unfit(DiscardReason::WrongType)),
            };
            let storage = self.storage(own.organization_id).await?;
            let at_most = FileKind::Recording.max_bytes();
            let media_type = own.content_type.as_str();
            let brought = storage.bring(&own.object_key(), media_type, content.boxed(), at_most).await;
            let brought = brought.map_err(refused)?;
            match own.keep(&self.0.log, &storage, brought).await {
                Ok(()) => Ok(brought.size_bytes),
                Err(error) if error.is_of_erased() => {
                    storage.remove(&own.object_key()).await.map_err(unavailable)?;
                    Err(StoreError::Unfit(DiscardReason::NoConsent))
                }
                Err(error) => Err(unavailable(error)),
            }
        })
    }

    fn pieces(&self, pieces: RecordingPieces) -> BoxFuture<'_, Result<Content, StoreError>> {
        Box::pin(async move {
            let storage = self.storage(pieces.organization_id).await?;
            let keys = keys(&storage, &prefix(pieces)).await.map_err(unavailable)?;
            // They are removed from the first to the last, so that what is left of them is never taken for all of it.
            if !keys.is_empty() && keys.first() != Some(&piece_key(pieces, 0)) {
                let missing = io::Error::new(io::ErrorKind::NotFound, "the first piece is not there");
                return Ok(stream::once(async { Err(missing) }).boxed());
            }
            let whole =
                (0_u32..).zip(keys).take_while(move |(number, key)| *key == piece_key(pieces, *number));
            let content = stream::iter(whole).then(move |(_, key)| {
                let storage = storage.clone();
                async move { storage.read(&key).await.map_err(io::Error::other) }
            });
            Ok(content.try_flatten().boxed())
        })
    }

    fn remove_pieces(&self, pieces: RecordingPieces) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let storage = self.storage(pieces.organization_id).await?;
            remove_all(&storage, &prefix(pieces)).await.map_err(unavailable)
        })
    }
}

impl RecordingFiles {
    async fn storage(&self, organization_id: OrganizationId) -> Result<Storage, StoreError> {
        let storages = self.0.storages.get().ok_or_else(|| unavailable(NotStarted))?;
        storages.of(organization_id).await.map_err(unavailable)
    }

    /// What became of the file, where that is decided.
    async fn settled(&self, own: &OwnFile) -> Result<Option<Result<i64, StoreError>>, StoreError> {
        Ok(match own.known(&self.0.log).await.map_err(unavailable)? {
            Some((FileStatus::Stored, size_bytes)) => Some(Ok(size_bytes)),
            // The patient was erased, or somebody deleted it.
            Some((FileStatus::Deleted, _)) => Some(Err(StoreError::Unfit(DiscardReason::NoConsent))),
            Some((FileStatus::Failed, _)) => Some(Err(StoreError::Unfit(DiscardReason::NotStored))),
            Some((FileStatus::Requested, _)) | None => None,
        })
    }

    /// Removes a piece that ought not to be there.
    ///
    /// # Errors
    /// When the storage does not answer, or refuses.
    pub(crate) async fn remove_piece(&self, pieces: RecordingPieces, number: u32) -> Result<(), StoreError> {
        let storage = self.storage(pieces.organization_id).await?;
        storage.remove(&piece_key(pieces, number)).await.map_err(unavailable)
    }

    /// Keeps a piece of a recording that goes on. The same piece may come twice.
    ///
    /// # Errors
    /// When the storage does not answer, or refuses.
    pub(crate) async fn keep_piece(
        &self,
        pieces: RecordingPieces,
        number: u32,
        piece: Bytes,
    ) -> Result<(), StoreError> {
        let storage = self.storage(pieces.organization_id).await?;
        storage.put(&piece_key(pieces, number), PIECE_TYPE, piece).await.map_err(unavailable)
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

fn refused(error: BringError) -> StoreError {
    match error {
        BringError::TooLarge { .. } => StoreError::Unfit(DiscardReason::TooLarge),
        BringError::Source(_) | BringError::Changed | BringError::Storage(_) => unavailable(error),
    }
}

/// How the keys of all pieces of an organization begin.
fn prefix_of(organization_id: OrganizationId) -> String {
    format!("pieces/{organization_id}/")
}

/// Short, because Carelog's own storage takes keys of 120 bytes.
fn prefix_of_room(organization_id: OrganizationId, appointment_id: AppointmentId) -> String {
    format!("{}{}/", prefix_of(organization_id), appointment_id.uuid().simple())
}

fn prefix(pieces: RecordingPieces) -> String {
    let room = prefix_of_room(pieces.organization_id, pieces.appointment_id);
    format!("{room}{}/", pieces.recording_id.uuid().simple())
}

/// Keys stand in the order of their numbers.
fn piece_key(pieces: RecordingPieces, number: u32) -> String {
    format!("{}{number:06}", prefix(pieces))
}

/// Of which recording an organization's object is a piece.
fn recording_of(organization_id: OrganizationId, key: &str) -> Option<RecordingPieces> {
    let mut parts = key.strip_prefix(&prefix_of(organization_id))?.split('/');
    let (appointment_id, recording_id) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(RecordingPieces { organization_id, appointment_id, recording_id })
}

async fn keys(storage: &Storage, prefix: &str) -> Result<Vec<String>, StorageError> {
    let mut keys: Vec<String> = Vec::new();
    loop {
        let listed = storage.list(prefix, keys.last().map(String::as_str)).await?;
        if listed.is_empty() {
            return Ok(keys);
        }
        keys.extend(listed.into_iter().map(|object| object.key));
    }
}

async fn remove_all(storage: &Storage, prefix: &str) -> Result<(), StorageError> {
    for key in keys(storage, prefix).await? {
        storage.remove(&key).await?;
    }
    Ok(())
}

/// Removes the pieces that recordings of a patient have left, whatever became of them.
///
/// # Errors
/// When a database or the storage does not answer: then something may be left.
pub(crate) async fn remove_pieces_of(
    system: &System,
    storage: &Storage,
    organization_id: OrganizationId,
    patient_id: PatientId,
) -> anyhow::Result<()> {
    let filter = RoomFilter { patient_id: Some(patient_id), failing: false };
    let mut before = None;
    loop {
        let begin = AssertSqlSafe("begin read only; set local search_path to video, public");
        let mut tx = system.databases.core_system.begin_with(begin).await?;
        let rooms = list_rooms(&mut tx, organization_id, filter, before, ROOMS_AT_A_TIME).await?;
        tx.commit().await?;
        let Some((_, last)) = rooms.last() else { return Ok(()) };
        before = Some(last.created_position);
        for (appointment_id, _) in rooms {
            remove_all(storage, &prefix_of_room(organization_id, appointment_id)).await?;
        }
    }
}

/// Removes pieces that were written before a moment and belong to no recording that is still to become a file.
///
/// # Errors
/// When the log or the storage does not answer.
pub(crate) async fn sweep_pieces(
    system: &System,
    organization_id: OrganizationId,
    storage: &Storage,
    old: SystemTime,
) -> anyhow::Result<()> {
    let prefix = prefix_of(organization_id);
    let mut is_kept: HashMap<RecordingPieces, bool> = HashMap::new();
    let mut after: Option<String> = None;
    loop {
        let objects = storage.list(&prefix, after.as_deref()).await?;
        let Some(last) = objects.last() else { return Ok(()) };
        after = Some(last.key.clone());
        for object in objects.iter().filter(|object| object.since < old) {
            let Some(pieces) = recording_of(organization_id, &object.key) else { continue };
            let keeps = match is_kept.get(&pieces) {
                Some(keeps) => *keeps,
                None => is_unfinished(system, pieces).await?,
            };
            is_kept.insert(pieces, keeps);
            if !keeps {
                storage.remove(&object.key).await?;
                tracing::info!(recording.id = %pieces.recording_id, "a piece without a recording was removed");
            }
        }
    }
}

async fn is_unfinished(system: &System, pieces: RecordingPieces) -> anyhow::Result<bool> {
    let recordings = recordings_of(system, pieces.organization_id, pieces.appointment_id).await?;
    Ok(recordings.phase(pieces.recording_id).is_some_and(may_become_a_file))
}

const fn may_become_a_file(phase: RecordingPhase) -> bool {
    matches!(phase, RecordingPhase::Running | RecordingPhase::Stopped)
}

async fn recordings_of(
    system: &System,
    organization_id: OrganizationId,
    appointment_id: AppointmentId,
) -> anyhow::Result<Recordings> {
    let stream = StreamKey { organization_id, kind: StreamKind::VideoRoom, id: room_id(appointment_id) };
    let mut room = VideoRoom::default();
    for event in system.log.stream(&stream, 0).await? {
        room.apply(event.decode_as::<VideoRoomEvent>()?);
    }
    Ok(room.recordings().cloned().unwrap_or_default())
}

/// Whether a consultation of an organization is being recorded, or its recording is still to become a file: parts of it
/// lie in the storage already, or are on their way.
///
/// # Errors
/// When the log or a database does not answer.
pub(crate) async fn has_unfinished(system: &System, organization_id: OrganizationId) -> anyhow::Result<bool> {
    let rooms = told_of(system, organization_id).await?;
    Ok(rooms.iter().any(|room| room.is_wanted() || room.known().any(|(_, phase)| may_become_a_file(phase))))
}

/// A room at Daily that is still needed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoomInUse {
    /// Whose it is.
    pub(crate) appointment_id: AppointmentId,
    /// Whether it is open.
    pub(crate) is_open: bool,
    /// Its recordings that are still to become files, with one that is asked for and has not begun.
    pub(crate) unfinished_count: usize,
}

/// Whether the rooms of an account were given up with it.
const fn gives_up_rooms(event: &OrganizationEvent) -> bool {
    match event {
        OrganizationEvent::IntegrationConfigured(configured) => {
            matches!(configured.integration, IntegrationKind::Daily) && configured.abandoned_open
        }
        OrganizationEvent::IntegrationRemoved(removed) => {
            matches!(removed.integration, IntegrationKind::Daily) && removed.abandoned_open
        }
        _ => false,
    }
}

/// The rooms at Daily that are open, and those of which a recording is still to become a file, without what was given up.
///
/// # Errors
/// When the log or a database does not answer.
pub(crate) async fn rooms_in_use(
    system: &System,
    organization_id: OrganizationId,
) -> anyhow::Result<Vec<RoomInUse>> {
    let since = system.log.clock().now().saturating_add_micros(-TOLD_MICROS);
    let begin = AssertSqlSafe("begin read only; set local search_path to video, public");
    let mut tx = system.databases.core_system.begin_with(begin).await?;
    let is_open = rooms_at_daily(&mut tx, organization_id, since).await?;
    tx.commit().await?;
    let streams: Vec<Uuid> = is_open.keys().map(|id| room_id(*id)).chain([organization_id.uuid()]).collect();
    let lane = system.log.lane_of(organization_id).await?;
    let mut connection = system.databases.core_system.acquire().await?;
    let told = read::streams(&mut connection, lane, organization_id, &streams, &TELL_OF_ROOMS).await?;
    drop(connection);
    let mut rooms: HashMap<Uuid, VideoRoom> = HashMap::new();
    for event in told {
        if event.stream.kind == StreamKind::Organization {
            // Rooms of before were given up, and so were their recordings.
            if gives_up_rooms(&event.decode_as()?) {
                rooms.clear();
            }
        } else {
            rooms.entry(event.stream.id).or_default().apply(event.decode_as()?);
        }
    }
    let in_use = is_open.into_iter().filter_map(|(appointment_id, is_open)| {
        let room = rooms.get(&room_id(appointment_id))?;
        let recordings = room.recordings().cloned().unwrap_or_default();
        let unfinished_count = recordings.known().filter(|(_, phase)| may_become_a_file(*phase)).count();
        let unfinished_count = unfinished_count.max(recordings.is_wanted().into());
        let is_open = is_open && room.window().is_some();
        (is_open || unfinished_count > 0).then_some(RoomInUse { appointment_id, is_open, unfinished_count })
    });
    Ok(in_use.collect())
}

/// The files that recordings of an organization are still to become. They are announced once all of their bytes are there,
/// which may take hours.
///
/// # Errors
/// When the log or a database does not answer.
pub(crate) async fn files_to_come(
    system: &System,
    organization_id: OrganizationId,
) -> anyhow::Result<BTreeSet<FileId>> {
    let rooms = told_of(system, organization_id).await?;
    let unfinished = rooms.iter().flat_map(Recordings::known).filter(|(_, phase)| may_become_a_file(*phase));
    Ok(unfinished.map(|(recording_id, _)| file_of_recording(recording_id)).collect())
}

/// The recordings of each room of which something was told of late.
async fn told_of(system: &System, organization_id: OrganizationId) -> anyhow::Result<Vec<Recordings>> {
    let since = system.log.clock().now().saturating_add_micros(-TOLD_MICROS);
    let begin = AssertSqlSafe("begin read only; set local search_path to video, public");
    let mut tx = system.databases.core_system.begin_with(begin).await?;
    let rooms = rooms_told_of_since(&mut tx, organization_id, since).await?;
    tx.commit().await?;
    let mut told_of = Vec::with_capacity(rooms.len());
    for appointment_id in rooms {
        told_of.push(recordings_of(system, organization_id, appointment_id).await?);
    }
    Ok(told_of)
}
