//! How events change a file's row.

use carelog_domain::closed::Sha256Digest;
use carelog_domain::file::{
    ContentType, FileDeletion, FileEvent, FileKind, FileStatus, FileUploadRequested, StorageEncryption,
    UploadFailure,
};
use carelog_domain::{FileId, FormId, OrganizationId, PatientId, Timestamp};
use carelog_event_log::RecordedEvent;

use super::row::{FoldError, SealedColumns, Stamp, absent, existing};

/// A file as it stands now. Its personal part is its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// The clinic.
    pub organization_id: OrganizationId,
    /// The file.
    pub file_id: FileId,
    /// Whom it is about.
    pub patient_id: Option<PatientId>,
    /// The form that it belongs to.
    pub form_id: Option<FormId>,
    /// What it is for.
    pub kind: FileKind,
    /// What it contains.
    pub content_type: ContentType,
    /// Its size in bytes.
    pub size_bytes: i64,
    /// SHA-256 of its bytes.
    pub content_sha256: Sha256Digest,
    /// Into how many bytes each part of its upload is cut.
    pub part_bytes: Option<i64>,
    /// How far it has come.
    pub status: FileStatus,
    /// Until when its upload had to be complete.
    pub upload_expires_at: Timestamp,
    /// Since when it lies in the storage.
    pub stored_at: Option<Timestamp>,
    /// How the storage encrypts it.
    pub encryption: Option<StorageEncryption>,
    /// Why its upload came to nothing.
    pub failure: Option<UploadFailure>,
    /// Why it was deleted.
    pub deletion: Option<FileDeletion>,
    /// When the patient's keys were destroyed, where it had had a name.
    pub erased_at: Option<Timestamp>,
    /// Which events it comes from.
    pub stamp: Stamp,
    /// The sealed name.
    pub personal: Option<SealedColumns>,
}

impl FileRecord {
    pub(super) fn apply(
        row: Option<Self>,
        event: &FileEvent,
        recorded: &RecordedEvent,
    ) -> Result<Self, FoldError> {
        if let FileEvent::UploadRequested(requested) = event {
            absent(row.as_ref(), recorded)?;
            return Ok(Self::request(requested, recorded));
        }
        let mut row = existing(row, recorded)?;
        row.change(event, recorded.occurred_at);
        row.stamp.touch(recorded);
        Ok(row)
    }

    fn request(requested: &FileUploadRequested, recorded: &RecordedEvent) -> Self {
        Self {
            organization_id: recorded.stream.organization_id,
            file_id: FileId::new(recorded.stream.id),
            patient_id: requested.patient_id,
            form_id: requested.form_id,
            kind: requested.kind,
            content_type: requested.content_type,
            size_bytes: requested.size_bytes,
            content_sha256: requested.content_sha256,
            part_bytes: requested.part_bytes,
            status: FileStatus::Requested,
            upload_expires_at: requested.expires_at,
            stored_at: None,
            encryption: None,
            failure: None,
            deletion: None,
            erased_at: None,
            stamp: Stamp::new(recorded),
            personal: SealedColumns::of(recorded),
        }
    }

    const fn change(&mut self, event: &FileEvent, at: Timestamp) {
        match event {
            // The first made a new row above; a link leaves the file as it is.
            FileEvent::UploadRequested(_) | FileEvent::LinkIssued(_) => {}
            FileEvent::Stored(stored) => {
                self.status = FileStatus::Stored;
                self.stored_at = Some(at);
                self.encryption = Some(stored.encryption);
            }
            FileEvent::UploadFailed(failed) => {
                self.status = FileStatus::Failed;
                self.failure = Some(failed.reason);
            }
            FileEvent::Deleted(deleted) => {
                self.status = FileStatus::Deleted;
                self.deletion = Some(deleted.reason);
            }
        }
    }
}
