//! Large files, in parts that can be sent again one by one.

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use carelog_domain::file::ContentType;

use crate::error::StorageError;
use crate::storage::Storage;

/// Parts of one answer of the storage; it gives no more.
const PAGE: i32 = 1_000;

/// The storage's own name for an unfinished upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadId(pub(crate) String);

impl UploadId {
    /// As the storage wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A part that lies in the storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPart {
    /// Its number, from 1.
    pub number: u16,
    /// Its size in bytes.
    pub size_bytes: i64,
    /// The storage's tag for it.
    pub etag: String,
}

impl Storage {
    /// Begins an upload in parts, or finds the one that was begun for the key before.
    ///
    /// # Errors
    /// When the storage does not answer, or refuses.
    pub async fn begin(&self, key: &str, content_type: ContentType) -> Result<UploadId, StorageError> {
        if let Some(found) = self.find_upload(key).await? {
            return Ok(found);
        }
        self.client
            .create_multipart_upload()
            .bucket(&self.options.bucket)
            .key(key)
            .content_type(content_type.as_str())
            .server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.kms_key())
            .send()
            .await
            .map_err(StorageError::of("create_multipart_upload"))?;
        // Asked for again, because two callers may begin at once: both have to go on with the same one.
        self.find_upload(key).await?.ok_or(StorageError::Incomplete {
            step: "create_multipart_upload",
            missing: "the upload in its own list",
        })
    }

    /// The unfinished upload of a key; the same one whoever asks, where there are several.
    ///
    /// # Errors
    /// When the storage does not answer, or refuses.
    pub async fn find_upload(&self, key: &str) -> Result<Option<UploadId>, StorageError> {
        Ok(self.uploads_of(key).await?.into_iter().min().map(UploadId))
    }

    pub(crate) async fn uploads_of(&self, key: &str) -> Result<Vec<String>, StorageError> {
        let answer = self
            .client
            .list_multipart_uploads()
            .bucket(&self.options.bucket)
            .prefix(key)
            .max_uploads(PAGE)
            .send()
            .await
            .map_err(StorageError::of("list_multipart_uploads"))?;
        let ours = answer.uploads().iter().filter(|upload| upload.key() == Some(key));
        Ok(ours.filter_map(|upload| upload.upload_id().map(str::to_owned)).collect())
    }

    /// The parts that arrived, by number.
    ///
    /// # Errors
    /// When the storage does not answer, or refuses.
    pub async fn parts(&self, key: &str, upload_id: &UploadId) -> Result<Vec<StoredPart>, StorageError> {
        const STEP: &str = "list_parts";
        let answer = self
            .client
            .list_parts()
            .bucket(&self.options.bucket)
            .key(key)
            .upload_id(upload_id.as_str())
            .max_parts(PAGE)
            .send()
            .await
            .map_err(StorageError::of(STEP))?;
        let missing = |missing| StorageError::Incomplete { step: STEP, missing };
        let mut parts = Vec::with_capacity(answer.parts().len());
        for part in answer.parts() {
            let number = part.part_number().and_then(|number| u16::try_from(number).ok());
            parts.push(StoredPart {
                number: number.ok_or(missing("the number of a part"))?,
                size_bytes: part.size().ok_or(missing("the size of a part"))?,
                etag: part.e_tag().ok_or(missing("the tag of a part"))?.to_owned(),
            });
        }
        parts.sort_unstable_by_key(|part| part.number);
        Ok(parts)
    }

    /// Makes one object of the parts. Afterwards no link to a part works any more.
    ///
    /// # Errors
    /// When the storage does not answer, or refuses.
    pub async fn complete(
        &self,
        key: &str,
        upload_id: &UploadId,
        parts: &[StoredPart],
    ) -> Result<(), StorageError> {
        let parts = parts.iter().map(|part| {
            CompletedPart::builder().part_number(i32::from(part.number)).e_tag(&part.etag).build()
        });
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
        self.client
            .complete_multipart_upload()
            .bucket(&self.options.bucket)
            .key(key)
            .upload_id(upload_id.as_str())
            .multipart_upload(parts)
            .send()
            .await
            .map_err(StorageError::of("complete_multipart_upload"))?;
        Ok(())
    }
}
