//! Keeps recordings of consultations as files: in the organization's storage, and in the log of its files.

use carelog_domain::file::{ContentType, FileKind, FileStatus};
use carelog_domain::video_room::DiscardReason;
use carelog_files::BringError;
use carelog_video::{Content, RecordingFile, RecordingStore, StoreError};
use futures::future::BoxFuture;

use crate::own_files::OwnFile;
use crate::system::System;

/// Keeps recordings as files.
#[derive(Debug)]
pub(crate) struct RecordingFiles(pub(crate) System);

#[derive(Debug, thiserror::Error)]
#[error("no server was started")]
struct NotStarted;

impl RecordingStore for RecordingFiles {
    fn store(&self, file: RecordingFile, content: Content) -> BoxFuture<'_, Result<i64, StoreError>> {
        Box::pin(async move {
            let own = OwnFile {
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
            match own.known(&self.0.log).await.map_err(unavailable)? {
                Some((FileStatus::Stored, size_bytes)) => return Ok(size_bytes),
                // The patient was erased, or somebody deleted it.
                Some((FileStatus::Failed | FileStatus::Deleted, _)) => {
                    return Err(StoreError::Unfit(DiscardReason::NoConsent));
                }
                Some((FileStatus::Requested, _)) | None => {}
            }
            let storages = self.0.storages.get().ok_or_else(|| unavailable(NotStarted))?;
            let storage = storages.of(own.organization_id).await.map_err(unavailable)?;
            let at_most = FileKind::Recording.max_bytes();
            let brought = storage.bring(&own.object_key(), own.content_type.as_str(), content, at_most).await;
            let brought = brought.map_err(refused)?;
            if brought.size_bytes == 0 {
                return Err(StoreError::Unfit(DiscardReason::Empty));
            }
            own.keep(&self.0.log, &storage, brought).await.map_err(unavailable)?;
            Ok(brought.size_bytes)
        })
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}

fn refused(error: BringError) -> StoreError {
    match error {
        BringError::TooLarge { .. } => StoreError::Unfit(DiscardReason::TooLarge),
        BringError::Source(_) | BringError::Storage(_) => unavailable(error),
    }
}
