//! What can be asked of a file, and how it refuses.

use super::FileStatus;
use super::events::{
    ContentType, FileDeletion, FileKind, FileName, LinkDisposition, StorageEncryption, UploadFailure,
};
use crate::Timestamp;
use crate::aggregate::rejections;
use crate::closed::Sha256Digest;
use crate::ids::{FormId, PatientId};

/// A wish about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileCommand {
    /// Announce an upload.
    RequestUpload(RequestUpload),
    /// Say what was found in the storage after the upload.
    RecordStored(FoundObject),
    /// End an upload that comes to nothing.
    FailUpload {
        /// Why.
        reason: UploadFailure,
    },
    /// Give somebody a link.
    IssueLink {
        /// How many seconds it is to hold.
        valid_seconds: u16,
        /// How it hands the file over.
        disposition: LinkDisposition,
    },
    /// Delete it, or call its upload off.
    Delete {
        /// Why.
        reason: FileDeletion,
    },
}

/// An upload to be announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestUpload {
    /// Whom the file is about.
    pub patient_id: Option<PatientId>,
    /// The form that it belongs to.
    pub form_id: Option<FormId>,
    /// What it is for.
    pub kind: FileKind,
    /// What it will contain.
    pub content_type: ContentType,
    /// Its size in bytes.
    pub size_bytes: i64,
    /// SHA-256 of its bytes.
    pub content_sha256: Sha256Digest,
    /// Until when it has to be complete.
    pub expires_at: Timestamp,
    /// How people call it.
    pub name: Option<FileName>,
}

/// What lies in the storage, as somebody found who read all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundObject {
    /// Its size in bytes.
    pub size_bytes: i64,
    /// SHA-256 of its bytes.
    pub content_sha256: Sha256Digest,
    /// What its first bytes say that it is; nothing where they say nothing known.
    pub content_type: Option<ContentType>,
    /// How the storage says that it is encrypted; nothing where it does not say so.
    pub encryption: Option<StorageEncryption>,
}

rejections! {
    /// Why a file refuses a command.
    pub enum FileRejection {
        NotRequested = NotFound "not_requested", "there is no such file";
        AlreadyRequested { status: FileStatus } = Conflict "already_requested",
            "the file already exists and is {status}";
        EmptyFile = Invalid "empty_file", "a file has at least one byte";
        TooLarge { limit: i64 } = Invalid "too_large", "a file of this kind has at most {limit} bytes";
        TypeNotAllowed { kind: FileKind } = Invalid "type_not_allowed", "a {kind} is not of this type";
        NameWithoutPatient = Invalid "name_without_patient",
            "only a file that is about a patient has a name of its own";
        WrongSize = Invalid "wrong_size", "what was uploaded has another size than was said";
        WrongHash = Invalid "wrong_hash", "what was uploaded has another SHA-256 than was said";
        WrongType = Invalid "wrong_type", "what was uploaded is not of the type that was said";
        NotEncrypted = Invalid "not_encrypted", "the storage did not encrypt what was uploaded";
        UploadEnded = Conflict "upload_ended", "the upload came to nothing; request another one";
        NotStored = Conflict "not_stored", "the file is not stored yet";
        LinkTooLong { limit: u16 } = Invalid "link_too_long", "a link holds for 1 to {limit} seconds";
        ShownAsAttachmentOnly = Invalid "shown_as_attachment_only", "a file of this type is not shown inline";
        AlreadyStored = Conflict "already_stored", "the file is already stored";
        AlreadyDeleted = Conflict "already_deleted", "the file was deleted";
    }
}

impl FileRejection {
    /// Why the upload came to nothing, where what was found is not what was said.
    pub const fn upload_failure(self) -> Option<UploadFailure> {
        match self {
            Self::WrongSize => Some(UploadFailure::WrongSize),
            Self::WrongHash => Some(UploadFailure::WrongHash),
            Self::WrongType => Some(UploadFailure::WrongType),
            Self::NotEncrypted => Some(UploadFailure::NotEncrypted),
            Self::NotRequested
            | Self::AlreadyRequested { .. }
            | Self::EmptyFile
            | Self::TooLarge { .. }
            | Self::TypeNotAllowed { .. }
            | Self::NameWithoutPatient
            | Self::UploadEnded
            | Self::NotStored
            | Self::LinkTooLong { .. }
            | Self::ShownAsAttachmentOnly
            | Self::AlreadyStored
            | Self::AlreadyDeleted => None,
        }
    }
}
