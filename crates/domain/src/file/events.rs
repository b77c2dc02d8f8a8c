//! What can happen to a file. Every event names the patient, where there is one, so that a reader needs no other
//! stream.

use crate::closed::Sha256Digest;
use crate::ids::{FormId, PatientId};
use crate::personal::personal_structs;
use crate::{Timestamp, closed_enum, events, facts};

closed_enum! {
    /// What a file is for.
    pub enum FileKind {
        /// Belongs to what a patient was asked in a form.
        FormAttachment = "form_attachment",
        /// Shows how an exercise is done.
        ExerciseVideo = "exercise_video",
        /// Shows a person.
        ProfileImage = "profile_image",
        /// A document that Carelog made.
        GeneratedDocument = "generated_document",
        /// The recording of a consultation.
        Recording = "recording",
    }
}

closed_enum! {
    /// What a file contains, by its media type.
    pub enum ContentType {
        /// A document (PDF).
        Pdf = "application/pdf",
        /// An image (JPEG).
        Jpeg = "image/jpeg",
        /// An image (PNG).
        Png = "image/png",
        /// An image (WebP).
        Webp = "image/webp",
        /// A video (MP4).
        Mp4 = "video/mp4",
        /// A video (QuickTime).
        Quicktime = "video/quicktime",
        /// A video (WebM).
        Webm = "video/webm",
    }
}

closed_enum! {
    /// How the storage encrypts a file, as it said itself when it was asked.
    pub enum StorageEncryption {
        /// Under a key of the storage (SSE-S3).
        Aes256 = "aes256",
        /// Under a key of a key management service (SSE-KMS).
        Kms = "kms",
    }
}

closed_enum! {
    /// Why an upload came to nothing.
    pub enum UploadFailure {
        /// It was not completed in time.
        Abandoned = "abandoned",
        /// It was called off.
        Cancelled = "cancelled",
        /// What arrived has another size than was said.
        WrongSize = "wrong_size",
        /// What arrived has another SHA-256 than was said.
        WrongHash = "wrong_hash",
        /// What arrived is not of the type that was said.
        WrongType = "wrong_type",
        /// The storage did not encrypt it.
        NotEncrypted = "not_encrypted",
        /// The patient was erased meanwhile.
        PatientErased = "patient_erased",
    }
}

closed_enum! {
    /// Why a file was deleted.
    pub enum FileDeletion {
        /// Somebody asked for it.
        Requested = "requested",
        /// The patient was erased.
        PatientErased = "patient_erased",
    }
}

closed_enum! {
    /// How a link hands a file over.
    pub enum LinkDisposition {
        /// To be saved.
        Attachment = "attachment",
        /// To be shown.
        Inline = "inline",
    }
}

personal_structs! {
    /// How a file of a patient is called by people. Never part of a path or an object's key.
    pub struct FileName {
        /// The name, without any folder.
        pub name: String,
    }
}

facts! {
    /// Somebody is about to upload a file, and said what it will be.
    pub struct FileUploadRequested {
        /// The patient whom the file is about; `null` where it belongs to the clinic itself.
        pub patient_id: Option<PatientId>,
        /// The form that it belongs to; `null` where there is none.
        pub form_id: Option<FormId>,
        /// What the file is for.
        pub kind: FileKind,
        /// What it will contain.
        pub content_type: ContentType,
        /// How many bytes it will have.
        pub size_bytes: i64,
        /// SHA-256 of its bytes, 64 lower-case hexadecimal digits.
        pub content_sha256: Sha256Digest,
        /// Into how many bytes each part is cut, the last excepted; `null` where it is sent at once.
        pub part_bytes: Option<i64>,
        /// Until when it has to be complete.
        pub expires_at: Timestamp,
    }
    subject patient_id;
    personal Clinical: FileName;
}

facts! {
    /// The file lies in the storage, encrypted, and is what was said.
    pub struct FileStored {
        /// The patient whom the file is about; `null` where it belongs to the clinic itself.
        pub patient_id: Option<PatientId>,
        /// The form that it belongs to; `null` where there is none.
        pub form_id: Option<FormId>,
        /// What the file is for.
        pub kind: FileKind,
        /// What it contains.
        pub content_type: ContentType,
        /// How many bytes it has.
        pub size_bytes: i64,
        /// SHA-256 of its bytes, 64 lower-case hexadecimal digits.
        pub content_sha256: Sha256Digest,
        /// How the storage encrypts it.
        pub encryption: StorageEncryption,
    }
    subject patient_id;
}

facts! {
    /// The upload came to nothing, and nothing of it is kept.
    pub struct FileUploadFailed {
        /// The patient whom the file would have been about; `null` where it would have been the clinic's own.
        pub patient_id: Option<PatientId>,
        /// Why.
        pub reason: UploadFailure,
    }
    subject patient_id;
}

facts! {
    /// Somebody was given a link by which the file can be read for a while.
    pub struct FileLinkIssued {
        /// The patient whom the file is about; `null` where it belongs to the clinic itself.
        pub patient_id: Option<PatientId>,
        /// How many seconds the link holds.
        pub valid_seconds: u16,
        /// How it hands the file over.
        pub disposition: LinkDisposition,
    }
    subject patient_id;
}

facts! {
    /// The file was deleted, in every version.
    pub struct FileDeleted {
        /// The patient whom the file was about; `null` where it belonged to the clinic itself.
        pub patient_id: Option<PatientId>,
        /// Why.
        pub reason: FileDeletion,
    }
    subject patient_id;
}

events! {
    /// What can happen to a file.
    pub enum FileEvent in File {
        /// Somebody is about to upload it.
        UploadRequested(FileUploadRequested) = FileUploadRequested,
        /// It lies in the storage.
        Stored(FileStored) = FileStored,
        /// The upload came to nothing.
        UploadFailed(FileUploadFailed) = FileUploadFailed,
        /// Somebody was given a link.
        LinkIssued(FileLinkIssued) = FileLinkIssued,
        /// It was deleted.
        Deleted(FileDeleted) = FileDeleted,
    }
}
