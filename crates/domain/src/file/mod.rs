//! A file in the object storage: announced, uploaded past the server, found to be what was said, handed over by links.
//!
//! The bytes never pass through the log or the API. What is announced (size, SHA-256, type) is what the upload is bound
//! to, and what the storage holds is compared with it before anybody may read it.

mod commands;
mod events;
mod limits;
#[cfg(test)]
mod tests;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use commands::*;
pub use events::*;
pub use limits::*;

use crate::aggregate::write_all;
use crate::closed::Sha256Digest;
use crate::ids::{FormId, PatientId};
use crate::{Personal, StreamKind, closed_enum};

closed_enum! {
    /// How far a file has come.
    pub enum FileStatus {
        /// Its upload is awaited.
        Requested = "requested",
        /// It can be read.
        Stored = "stored",
        /// Its upload came to nothing.
        Failed = "failed",
        /// It is gone.
        Deleted = "deleted",
    }
}

/// What a file needs to know in order to decide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    announced: Option<Announced>,
}

/// What was said of a file before its upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Announced {
    status: FileStatus,
    patient_id: Option<PatientId>,
    form_id: Option<FormId>,
    kind: FileKind,
    content_type: ContentType,
    size_bytes: i64,
    content_sha256: Sha256Digest,
}

impl File {
    /// How far it has come; nothing before it is announced.
    pub fn status(&self) -> Option<FileStatus> {
        self.announced.as_ref().map(|announced| announced.status)
    }

    /// Decides a command without changing anything. What was stored is stored again without an event, because its
    /// answer may have been lost on the way.
    ///
    /// # Errors
    /// The rejection.
    pub fn decide(&self, command: FileCommand) -> Result<Vec<FileEvent>, FileRejection> {
        let event = match (&self.announced, command) {
            (None, FileCommand::RequestUpload(request)) => announce(request)?,
            (None, _) => return Err(FileRejection::NotRequested),
            (Some(announced), FileCommand::RequestUpload(_)) => {
                return Err(FileRejection::AlreadyRequested { status: announced.status });
            }
            (Some(announced), FileCommand::RecordStored(found)) => match announced.status {
                FileStatus::Requested => announced.store(found)?,
                FileStatus::Stored => return Ok(Vec::new()),
                FileStatus::Failed => return Err(FileRejection::UploadEnded),
                FileStatus::Deleted => return Err(FileRejection::AlreadyDeleted),
            },
            (Some(announced), FileCommand::FailUpload { reason }) => match announced.status {
                FileStatus::Requested => announced.fail(reason),
                FileStatus::Stored => return Err(FileRejection::AlreadyStored),
                FileStatus::Failed => return Ok(Vec::new()),
                FileStatus::Deleted => return Err(FileRejection::AlreadyDeleted),
            },
            (Some(announced), FileCommand::IssueLink { valid_seconds, disposition }) => {
                announced.link(valid_seconds, disposition)?
            }
            (Some(announced), FileCommand::Delete { reason }) => announced.delete(reason)?,
        };
        Ok(vec![event])
    }
}

fn announce(request: RequestUpload) -> Result<FileEvent, FileRejection> {
    let RequestUpload { kind, content_type, size_bytes, .. } = request;
    if size_bytes < 1 {
        return Err(FileRejection::EmptyFile);
    }
    if size_bytes > kind.max_bytes() {
        return Err(FileRejection::TooLarge { limit: kind.max_bytes() });
    }
    if !kind.allows(content_type) {
        return Err(FileRejection::TypeNotAllowed { kind });
    }
    if request.name.is_some() && request.patient_id.is_none() {
        return Err(FileRejection::NameWithoutPatient);
    }
    Ok(FileEvent::UploadRequested(FileUploadRequested {
        patient_id: request.patient_id,
        form_id: request.form_id,
        kind,
        content_type,
        size_bytes,
        content_sha256: request.content_sha256,
        part_bytes: part_bytes_of(size_bytes),
        expires_at: request.expires_at,
        personal: request.name.map(Personal::Open),
    }))
}

impl Announced {
    fn store(&self, found: FoundObject) -> Result<FileEvent, FileRejection> {
        if found.size_bytes != self.size_bytes {
            return Err(FileRejection::WrongSize);
        }
        if found.content_sha256 != self.content_sha256 {
            return Err(FileRejection::WrongHash);
        }
        if found.content_type != Some(self.content_type) {
            return Err(FileRejection::WrongType);
        }
        let encryption = found.encryption.ok_or(FileRejection::NotEncrypted)?;
        Ok(FileEvent::Stored(FileStored {
            patient_id: self.patient_id,
            form_id: self.form_id,
            kind: self.kind,
            content_type: self.content_type,
            size_bytes: self.size_bytes,
            content_sha256: self.content_sha256,
            encryption,
        }))
    }

    const fn fail(&self, reason: UploadFailure) -> FileEvent {
        FileEvent::UploadFailed(FileUploadFailed { patient_id: self.patient_id, reason })
    }

    fn link(&self, valid_seconds: u16, disposition: LinkDisposition) -> Result<FileEvent, FileRejection> {
        match self.status {
            FileStatus::Requested => return Err(FileRejection::NotStored),
            FileStatus::Stored => {}
            FileStatus::Failed => return Err(FileRejection::UploadEnded),
            FileStatus::Deleted => return Err(FileRejection::AlreadyDeleted),
        }
        if !(1..=MAX_LINK_SECONDS).contains(&valid_seconds) {
            return Err(FileRejection::LinkTooLong { limit: MAX_LINK_SECONDS });
        }
        if disposition == LinkDisposition::Inline && !self.content_type.may_be_shown() {
            return Err(FileRejection::ShownAsAttachmentOnly);
        }
        Ok(FileEvent::LinkIssued(FileLinkIssued { patient_id: self.patient_id, valid_seconds, disposition }))
    }

    fn delete(&self, reason: FileDeletion) -> Result<FileEvent, FileRejection> {
        match self.status {
            FileStatus::Requested => Ok(self.fail(match reason {
                FileDeletion::Requested => UploadFailure::Cancelled,
                FileDeletion::PatientErased => UploadFailure::PatientErased,
            })),
            FileStatus::Stored => Ok(FileEvent::Deleted(FileDeleted { patient_id: self.patient_id, reason })),
            FileStatus::Failed => Err(FileRejection::UploadEnded),
            FileStatus::Deleted => Err(FileRejection::AlreadyDeleted),
        }
    }
}

impl Aggregate for File {
    const TYPE: &'static str = StreamKind::File.as_str();
    type Command = FileCommand;
    type Event = FileEvent;
    type Error = FileRejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: FileCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), FileRejection> {
        write_all(self.decide(command)?, self, sink).await;
        Ok(())
    }

    fn apply(&mut self, event: FileEvent) {
        let status = match event {
            FileEvent::UploadRequested(requested) => {
                self.announced = Some(Announced {
                    status: FileStatus::Requested,
                    patient_id: requested.patient_id,
                    form_id: requested.form_id,
                    kind: requested.kind,
                    content_type: requested.content_type,
                    size_bytes: requested.size_bytes,
                    content_sha256: requested.content_sha256,
                });
                return;
            }
            FileEvent::Stored(_) => FileStatus::Stored,
            FileEvent::UploadFailed(_) => FileStatus::Failed,
            FileEvent::LinkIssued(_) => return,
            FileEvent::Deleted(_) => FileStatus::Deleted,
        };
        if let Some(announced) = &mut self.announced {
            announced.status = status;
        }
    }
}
