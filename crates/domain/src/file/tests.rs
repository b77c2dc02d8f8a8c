//! Every command and every rejection of a file.

use cqrs_es::test::{AggregateTestExecutor, TestFramework};
use uuid::Uuid;

use super::*;
use crate::Timestamp;
use crate::examples::{at, file_name};

const PATIENT: Option<PatientId> = Some(PatientId::new(Uuid::from_u128(1)));
const FORM: Option<FormId> = Some(FormId::new(Uuid::from_u128(2)));
const CONTENT: Sha256Digest = Sha256Digest::new([3; 32]);
const SIZE: i64 = 4_096;
const FOUND: FoundObject = FoundObject {
    size_bytes: SIZE,
    content_sha256: CONTENT,
    content_type: Some(ContentType::Pdf),
    encryption: Some(StorageEncryption::Aes256),
};
const LINK: FileCommand =
    FileCommand::IssueLink { valid_seconds: 300, disposition: LinkDisposition::Attachment };
const DELETE: FileCommand = FileCommand::Delete { reason: FileDeletion::Requested };
const FAIL: FileCommand = FileCommand::FailUpload { reason: UploadFailure::Abandoned };
const STORE: FileCommand = FileCommand::RecordStored(FOUND);

fn given(events: impl Into<Vec<FileEvent>>) -> AggregateTestExecutor<File> {
    TestFramework::with(()).given(events.into())
}

fn until() -> Timestamp {
    at("2026-03-03T09:30:00Z")
}

fn request() -> RequestUpload {
    RequestUpload {
        patient_id: PATIENT,
        form_id: FORM,
        kind: FileKind::FormAttachment,
        content_type: ContentType::Pdf,
        size_bytes: SIZE,
        content_sha256: CONTENT,
        expires_at: until(),
        name: Some(file_name()),
    }
}

fn requested() -> FileEvent {
    FileEvent::UploadRequested(FileUploadRequested {
        patient_id: PATIENT,
        form_id: FORM,
        kind: FileKind::FormAttachment,
        content_type: ContentType::Pdf,
        size_bytes: SIZE,
        content_sha256: CONTENT,
        part_bytes: None,
        expires_at: until(),
        personal: Some(Personal::Open(file_name())),
    })
}

fn stored() -> FileEvent {
    FileEvent::Stored(FileStored {
        patient_id: PATIENT,
        form_id: FORM,
        kind: FileKind::FormAttachment,
        content_type: ContentType::Pdf,
        size_bytes: SIZE,
        content_sha256: CONTENT,
        encryption: StorageEncryption::Aes256,
    })
}

fn failed(reason: UploadFailure) -> FileEvent {
    FileEvent::UploadFailed(FileUploadFailed { patient_id: PATIENT, reason })
}

fn linked() -> FileEvent {
    let disposition = LinkDisposition::Attachment;
    FileEvent::LinkIssued(FileLinkIssued { patient_id: PATIENT, valid_seconds: 300, disposition })
}

fn deleted(reason: FileDeletion) -> FileEvent {
    FileEvent::Deleted(FileDeleted { patient_id: PATIENT, reason })
}

#[test]
fn given_nothing_when_requested_then_upload_requested() {
    given([]).when(FileCommand::RequestUpload(request())).then_expect_events(vec![requested()]);
}

#[test]
fn given_nothing_when_anything_else_then_not_requested() {
    for command in [STORE, FAIL, LINK, DELETE] {
        given([]).when(command).then_expect_error(FileRejection::NotRequested);
    }
}

#[test]
fn given_a_file_when_requested_again_then_already_requested() {
    given([requested(), stored()])
        .when(FileCommand::RequestUpload(request()))
        .then_expect_error(FileRejection::AlreadyRequested { status: FileStatus::Stored });
}

#[test]
fn given_nothing_when_no_byte_is_announced_then_empty_file() {
    for size_bytes in [0, -1] {
        given([])
            .when(FileCommand::RequestUpload(RequestUpload { size_bytes, ..request() }))
            .then_expect_error(FileRejection::EmptyFile);
    }
}

#[test]
fn given_nothing_when_more_than_the_limit_is_announced_then_too_large() {
    let limit = FileKind::FormAttachment.max_bytes();
    let of = |size_bytes| FileCommand::RequestUpload(RequestUpload { size_bytes, ..request() });

    assert!(given([]).when(of(limit)).inspect_result().is_ok());
    given([]).when(of(limit + 1)).then_expect_error(FileRejection::TooLarge { limit });
}

#[test]
fn given_nothing_when_the_type_does_not_fit_the_kind_then_type_not_allowed() {
    let kind = FileKind::ProfileImage;
    given([])
        .when(FileCommand::RequestUpload(RequestUpload { kind, ..request() }))
        .then_expect_error(FileRejection::TypeNotAllowed { kind });
}

#[test]
fn given_nothing_when_a_name_is_about_nobody_then_name_without_patient() {
    given([])
        .when(FileCommand::RequestUpload(RequestUpload { patient_id: None, ..request() }))
        .then_expect_error(FileRejection::NameWithoutPatient);
}

#[test]
fn given_requested_when_found_as_announced_then_stored() {
    given([requested()]).when(STORE).then_expect_events(vec![stored()]);
}

#[test]
fn given_requested_when_found_otherwise_then_refused_with_the_reason() {
    let hash = Sha256Digest::new([4; 32]);
    let cases = [
        (FoundObject { size_bytes: SIZE + 1, ..FOUND }, FileRejection::WrongSize, UploadFailure::WrongSize),
        (FoundObject { content_sha256: hash, ..FOUND }, FileRejection::WrongHash, UploadFailure::WrongHash),
        (FoundObject { content_type: None, ..FOUND }, FileRejection::WrongType, UploadFailure::WrongType),
        (FoundObject { encryption: None, ..FOUND }, FileRejection::NotEncrypted, UploadFailure::NotEncrypted),
    ];
    for (found, rejection, failure) in cases {
        given([requested()]).when(FileCommand::RecordStored(found)).then_expect_error(rejection);

        assert_eq!(rejection.upload_failure(), Some(failure));
    }
    assert_eq!(FileRejection::UploadEnded.upload_failure(), None);
}

#[test]
fn given_stored_when_stored_again_then_nothing_happens() {
    given([requested(), stored()]).when(STORE).then_expect_events(vec![]);
}

#[test]
fn given_requested_when_failed_then_upload_failed() {
    given([requested()]).when(FAIL).then_expect_events(vec![failed(UploadFailure::Abandoned)]);
}

#[test]
fn given_failed_when_failed_again_then_nothing_happens() {
    given([requested(), failed(UploadFailure::WrongHash)]).when(FAIL).then_expect_events(vec![]);
}

#[test]
fn given_stored_when_failed_then_already_stored() {
    given([requested(), stored()]).when(FAIL).then_expect_error(FileRejection::AlreadyStored);
}

#[test]
fn given_failed_when_anything_follows_then_upload_ended() {
    for command in [STORE, LINK, DELETE] {
        given([requested(), failed(UploadFailure::WrongSize)])
            .when(command)
            .then_expect_error(FileRejection::UploadEnded);
    }
}

#[test]
fn given_stored_when_linked_then_link_issued_however_often() {
    given([requested(), stored()]).when(LINK).then_expect_events(vec![linked()]);
    given([requested(), stored(), linked()]).when(LINK).then_expect_events(vec![linked()]);
}

#[test]
fn given_requested_when_linked_then_not_stored() {
    given([requested()]).when(LINK).then_expect_error(FileRejection::NotStored);
}

#[test]
fn given_stored_when_linked_for_too_long_then_link_too_long() {
    let limit = MAX_LINK_SECONDS;
    for valid_seconds in [0, limit + 1] {
        given([requested(), stored()])
            .when(FileCommand::IssueLink { valid_seconds, disposition: LinkDisposition::Attachment })
            .then_expect_error(FileRejection::LinkTooLong { limit });
    }
}

#[test]
fn given_a_stored_document_when_linked_inline_then_shown_as_attachment_only() {
    given([requested(), stored()])
        .when(FileCommand::IssueLink { valid_seconds: 60, disposition: LinkDisposition::Inline })
        .then_expect_error(FileRejection::ShownAsAttachmentOnly);
}

#[test]
fn given_stored_when_deleted_then_deleted() {
    for reason in [FileDeletion::Requested, FileDeletion::PatientErased] {
        given([requested(), stored(), linked()])
            .when(FileCommand::Delete { reason })
            .then_expect_events(vec![deleted(reason)]);
    }
}

#[test]
fn given_requested_when_deleted_then_the_upload_fails() {
    for (reason, failure) in [
        (FileDeletion::Requested, UploadFailure::Cancelled),
        (FileDeletion::PatientErased, UploadFailure::PatientErased),
    ] {
        given([requested()]).when(FileCommand::Delete { reason }).then_expect_events(vec![failed(failure)]);
    }
}

#[test]
fn given_deleted_when_anything_follows_then_already_deleted() {
    for command in [STORE, FAIL, LINK, DELETE] {
        given([requested(), stored(), deleted(FileDeletion::Requested)])
            .when(command)
            .then_expect_error(FileRejection::AlreadyDeleted);
    }
}

#[test]
fn parts_are_few_and_large_enough() {
    assert_eq!(part_bytes_of(MAX_SINGLE_UPLOAD_BYTES), None);
    for size in [MAX_SINGLE_UPLOAD_BYTES + 1, 5_000_000_000, FileKind::Recording.max_bytes()] {
        let part = part_bytes_of(size).unwrap();

        assert!(part >= MIN_PART_BYTES && (size + part - 1) / part <= MAX_PARTS, "{size}: {part}");
    }
}

#[test]
fn every_type_belongs_to_a_kind() {
    for content_type in ContentType::ALL {
        assert!(FileKind::ALL.iter().any(|kind| kind.allows(*content_type)), "{content_type}");
    }
}
