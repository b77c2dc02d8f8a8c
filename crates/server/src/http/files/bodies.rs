//! What is sent and shown of files.

use carelog_domain::closed::Sha256Digest;
use carelog_domain::file::{
    ContentType, FileDeletion, FileKind, FileName, FileStatus, LinkDisposition, StorageEncryption,
    UploadFailure,
};
use carelog_domain::{FormId, PatientId, Timestamp};
use carelog_files::SignedRequest;
use carelog_records::FileRecord;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::super::caller::Caller;
use super::super::command::CommandAnswer;
use super::super::opening::{Opened, open};
use super::super::problem::Problem;
use super::super::schemas;
use super::super::text::Line;

/// Longest name, in characters.
const MAX_NAME: usize = 200;

/// A file to be uploaded.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestUploadBody {
    /// Its id; made by the server where it is absent.
    pub id: Option<Uuid>,
    /// Whom it is about; always its own patient for a patient's key.
    pub patient_id: Option<Uuid>,
    /// The form that it belongs to.
    pub form_id: Option<Uuid>,
    /// What it is for.
    #[schema(schema_with = schemas::file_kind)]
    pub kind: FileKind,
    /// What it contains; checked by its first bytes.
    #[schema(schema_with = schemas::content_type)]
    pub content_type: ContentType,
    /// Its size in bytes.
    pub size_bytes: i64,
    /// SHA-256 of its bytes, in hexadecimal digits.
    #[schema(schema_with = schemas::sha256)]
    pub content_sha256: Sha256Digest,
    /// How people call it; only for a file that is about a patient. Kept encrypted, and never part of a link.
    #[schema(value_type = Option<String>, max_length = 200)]
    pub name: Option<Line<MAX_NAME>>,
}

/// Which parts links are wanted to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PartsBody {
    /// Their numbers, 100 at most; the first ones that have not arrived, where none is named.
    #[serde(default)]
    pub parts: Vec<u16>,
}

/// How a file is to be handed over.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DownloadBody {
    /// How many seconds the link is to hold; 300 where it is absent.
    #[schema(minimum = 1, maximum = 900)]
    pub valid_seconds: Option<u16>,
    /// To be saved or to be shown; saved where it is absent.
    #[schema(schema_with = schemas::link_disposition)]
    pub disposition: Option<LinkDisposition>,
}

/// Which files are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// How far they have come.
    #[param(schema_with = schemas::file_status, required = false)]
    pub status: Option<FileStatus>,
    /// What they are for.
    #[param(schema_with = schemas::file_kind, required = false)]
    pub kind: Option<FileKind>,
    /// About one patient.
    pub patient_id: Option<Uuid>,
    /// Of one form.
    pub form_id: Option<Uuid>,
    /// The `next` of the page before.
    pub after: Option<String>,
    /// So many, 50 where it is absent.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<u16>,
    /// The `position` of a command that the list has to show.
    pub wait_for: Option<String>,
}

/// A request that the client sends to the storage itself.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct LinkView {
    /// The HTTP method.
    pub method: String,
    /// The address.
    pub url: String,
    /// Headers that have to be sent as they are.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub headers: std::collections::BTreeMap<String, String>,
}

/// A link to a part.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PartView {
    /// Its number, from 1.
    pub number: u16,
    /// Exactly so many bytes.
    pub size_bytes: i64,
    /// How it is sent.
    #[serde(flatten)]
    pub link: LinkView,
}

/// How a file is uploaded: at once, or in parts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UploadView {
    /// Until when the upload has to be complete.
    #[schema(schema_with = schemas::moment)]
    pub expires_at: Timestamp,
    /// Until when these links hold; there are others after them.
    #[schema(schema_with = schemas::moment)]
    pub links_expire_at: Timestamp,
    /// The request that sends all of it; absent where it is sent in parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole: Option<LinkView>,
    /// Bytes of each part but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part_bytes: Option<i64>,
    /// How many parts there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part_count: Option<u16>,
    /// Numbers of the parts that arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrived: Option<Vec<u16>>,
    /// Requests that send the next parts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartView>,
}

/// What an announcement led to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RequestedView {
    /// The command's answer.
    #[serde(flatten)]
    pub answer: CommandAnswer,
    /// How it is uploaded; absent where a repetition comes after its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload: Option<UploadView>,
}

/// A link to fetch a file by.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct DownloadView {
    /// How it is fetched.
    #[serde(flatten)]
    pub link: LinkView,
    /// Until when it holds.
    #[schema(schema_with = schemas::moment)]
    pub expires_at: Timestamp,
}

/// A file.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct FileView {
    /// Its id.
    pub id: Uuid,
    /// Its version.
    pub version: i64,
    /// Whom it is about.
    pub patient_id: Option<Uuid>,
    /// The form that it belongs to.
    pub form_id: Option<Uuid>,
    /// What it is for.
    #[schema(schema_with = schemas::file_kind)]
    pub kind: FileKind,
    /// What it contains.
    #[schema(schema_with = schemas::content_type)]
    pub content_type: ContentType,
    /// Its size in bytes.
    pub size_bytes: i64,
    /// SHA-256 of its bytes.
    #[schema(schema_with = schemas::sha256)]
    pub content_sha256: Sha256Digest,
    /// How far it has come.
    #[schema(schema_with = schemas::file_status)]
    pub status: FileStatus,
    /// How people call it; only where one file is read.
    pub name: Option<String>,
    /// Whether the name is gone for ever.
    pub erased: bool,
    /// Until when its upload had to be complete.
    #[schema(schema_with = schemas::moment)]
    pub upload_expires_at: Timestamp,
    /// Since when it can be read.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub stored_at: Option<Timestamp>,
    /// How the storage encrypts it.
    #[schema(value_type = Option<String>)]
    pub encryption: Option<StorageEncryption>,
    /// Why its upload came to nothing.
    #[schema(value_type = Option<String>)]
    pub failure: Option<UploadFailure>,
    /// Why it was deleted.
    #[schema(value_type = Option<String>)]
    pub deletion: Option<FileDeletion>,
    /// When it was announced.
    #[schema(schema_with = schemas::moment)]
    pub created_at: Timestamp,
    /// When it changed last.
    #[schema(schema_with = schemas::moment)]
    pub updated_at: Timestamp,
}

impl FileView {
    /// Opens the name of a file.
    pub(in crate::http) async fn open(caller: &Caller, record: &FileRecord) -> Result<Self, Problem> {
        let name: Opened<FileName> = open(caller.api.log().vault(), record.personal.as_ref()).await?;
        let (name, is_erased) = name.split();
        let mut view = Self::of(record, name.map(|name| name.name));
        view.erased |= is_erased;
        Ok(view)
    }

    pub(super) fn of(record: &FileRecord, name: Option<String>) -> Self {
        Self {
            id: record.file_id.uuid(),
            version: record.stamp.version,
            patient_id: record.patient_id.map(PatientId::uuid),
            form_id: record.form_id.map(FormId::uuid),
            kind: record.kind,
            content_type: record.content_type,
            size_bytes: record.size_bytes,
            content_sha256: record.content_sha256,
            status: record.status,
            name,
            erased: record.erased_at.is_some(),
            upload_expires_at: record.upload_expires_at,
            stored_at: record.stored_at,
            encryption: record.encryption,
            failure: record.failure,
            deletion: record.deletion,
            created_at: record.stamp.created_at,
            updated_at: record.stamp.updated_at,
        }
    }
}

impl From<SignedRequest> for LinkView {
    fn from(request: SignedRequest) -> Self {
        Self { method: request.method, url: request.url, headers: request.headers.into_iter().collect() }
    }
}

/// A rejection that is about one field of the body points at it.
pub(super) fn pointed_at(problem: Problem) -> Problem {
    match problem.code() {
        "empty_file" | "too_large" => problem.and_field("/size_bytes", "no file of this kind has that size"),
        "type_not_allowed" => problem.and_field("/content_type", "no file of this kind contains that"),
        "name_without_patient" => problem.and_field("/name", "names are kept under a patient's key"),
        "link_too_long" => problem.and_field("/valid_seconds", "expected 1 to 900"),
        "shown_as_attachment_only" => problem.and_field("/disposition", "expected attachment"),
        _ => problem,
    }
}
