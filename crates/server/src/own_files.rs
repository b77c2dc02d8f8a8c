//! Files that Carelog itself brings into a clinic's storage: recordings of consultations, and documents that it makes.
//!
//! The id of such a file follows from what it is made of, and the file's own stream says how far it has come. So
//! whoever comes second, or after a crash, finds it there or brings it once more; there is one in the end.

use carelog_domain::file::{
    ContentType, File, FileCommand, FileEvent, FileKind, FileName, FileRejection, FileStatus, RequestUpload,
};
use carelog_domain::{
    Actor, Circumstances, CodecError, CorrelationId, EventId, FileId, FormId, OrganizationId, PatientId,
    StreamKind,
};
use carelog_event_log::{EventLog, ExecuteError, Executed, ReadError, Scope, SealError, StreamKey};
use carelog_files::{Brought, Examined, Storage, StorageError};
use cqrs_es::Aggregate as _;

use crate::storages::object_key;

/// From the announcement to the end, both of which follow the upload at once.
const LIFE_MICROS: i64 = 3_600 * 1_000_000;

/// A file of Carelog's own making.
#[derive(Clone, Debug)]
pub(crate) struct OwnFile {
    /// Whose.
    pub organization_id: OrganizationId,
    /// Follows from what it is made of.
    pub file_id: FileId,
    /// Whom it is about.
    pub patient_id: Option<PatientId>,
    /// The form that it shows.
    pub form_id: Option<FormId>,
    /// What it is for.
    pub kind: FileKind,
    /// What it contains, as far as is known before it was looked at.
    pub content_type: ContentType,
    /// How people call it.
    pub name: Option<FileName>,
    /// What it came of.
    pub causation_id: EventId,
    /// The wish that it goes back to.
    pub correlation_id: CorrelationId,
}

/// Why a file is not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    #[error("the log of the file cannot be read")]
    Read(#[from] ReadError),
    #[error("a stored event does not decode")]
    Codec(#[from] CodecError),
    #[error("the storage does not do its part")]
    Storage(#[from] StorageError),
    #[error("the file cannot be noted")]
    Note(#[source] Box<ExecuteError<FileRejection>>),
    #[error("what was stored is not there")]
    Lost,
    #[error("another is storing the same file")]
    Overtaken,
}

impl KeepError {
    /// Whether the file's patient was erased meanwhile.
    pub(crate) fn is_of_erased(&self) -> bool {
        matches!(self, Self::Note(error) if matches!(**error, ExecuteError::Seal(SealError::SubjectErased)))
    }
}

impl OwnFile {
    /// The file as the log has it, with the size that was announced.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) async fn known(&self, log: &EventLog) -> Result<Option<(FileStatus, i64)>, KeepError> {
        let key = StreamKey {
            organization_id: self.organization_id,
            kind: StreamKind::File,
            id: self.file_id.uuid(),
        };
        let (mut file, mut size_bytes) = (File::default(), 0);
        for event in log.stream(&key, 0).await? {
            let event: FileEvent = event.decode_as()?;
            if let FileEvent::UploadRequested(requested) = &event {
                size_bytes = requested.size_bytes;
            }
            file.apply(event);
        }
        Ok(file.status().map(|status| (status, size_bytes)))
    }

    /// The key of its object.
    pub(crate) fn object_key(&self) -> String {
        object_key(self.organization_id, self.file_id)
    }

    /// Announces the file and notes it as stored, after what lies in the storage was read once more.
    ///
    /// # Errors
    /// See [`KeepError`].
    pub(crate) async fn keep(
        &self,
        log: &EventLog,
        storage: &Storage,
        brought: Brought,
    ) -> Result<(), KeepError> {
        let examined = storage.examine(&self.object_key(), brought.size_bytes).await?;
        let Examined::Found(found) = examined else { return Err(KeepError::Lost) };
        if self.known(log).await?.is_none() {
            let command = FileCommand::RequestUpload(RequestUpload {
                patient_id: self.patient_id,
                form_id: self.form_id,
                kind: self.kind,
                // A type that its kind does not have is refused by the file itself.
                content_type: found.content_type.unwrap_or(self.content_type),
                size_bytes: brought.size_bytes,
                content_sha256: brought.content_sha256,
                expires_at: log.clock().now().saturating_add_micros(LIFE_MICROS),
                name: self.name.clone(),
            });
            self.run(log, command).await?;
        }
        self.run(log, FileCommand::RecordStored(found)).await
    }

    async fn run(&self, log: &EventLog, command: FileCommand) -> Result<(), KeepError> {
        let scope = Scope {
            can_wait: true,
            ..Scope::new(
                self.organization_id,
                Circumstances {
                    causation_id: Some(self.causation_id),
                    ..Circumstances::of(Actor::SYSTEM, self.correlation_id)
                },
            )
        };
        match log.execute::<File>(&scope, self.file_id.uuid(), command).await {
            Ok(Executed::Appended(_) | Executed::Unchanged { .. } | Executed::Replayed(_)) => Ok(()),
            Err(ExecuteError::Rejected(_)) => Err(KeepError::Overtaken),
            Err(error) => Err(KeepError::Note(Box::new(error))),
        }
    }
}
