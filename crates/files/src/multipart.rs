//! Large files, in parts that can be sent again one by one.

use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use carelog_domain::file::ContentType;

use crate::error::StorageError;
use crate::storage::Storage;

/// Parts of one answer of the storage; it gives no more.
const PAGE: i32 = 1_000;
/// Answers of which a list of parts is made at most: S3 takes 10,000 parts.
const PAGES: usize = 10;

/// The storage's own name for an unfinished upload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
        self.begin_anew(key, content_type.as_str()).await?;
        // Asked for again, because two callers may begin at once: both have to go on with the same one.
        self.find_upload(key).await?.ok_or(StorageError::Incomplete {
            step: "create_multipart_upload",
            missing: "the upload in its own list",
        })
    }

    /// The unfinished upload of a key that was begun first.
    ///
    /// # Errors
    /// When the storage does not answer, or refuses.
    pub async fn find_upload(&self, key: &str) -> Result<Option<UploadId>, StorageError> {
        Ok(self.uploads(key).await?.into_iter().next())
    }

    /// The unfinished uploads of a key, in the order in which they were begun.
    ///
    /// # Errors
    /// When the storage does not answer, or refuses.
    pub async fn uploads(&self, key: &str) -> Result<Vec<UploadId>, StorageError> {
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
        let mut begun: Vec<_> = ours
            .filter_map(|upload| {
                let at = upload.initiated().map(|at| (at.secs(), at.subsec_nanos()));
                Some((at, UploadId(upload.upload_id()?.to_owned())))
            })
            .collect();
        begun.sort_unstable();
        Ok(begun.into_iter().map(|(_, upload_id)| upload_id).collect())
    }

    /// The parts that arrived, by number.
    ///
    /// # Errors
    /// When the storage does not answer, or refuses.
    pub async fn parts(&self, key: &str, upload_id: &UploadId) -> Result<Vec<StoredPart>, StorageError> {
        const STEP: &str = "list_parts";
        let missing = |missing| StorageError::Incomplete { step: STEP, missing };
        let (mut parts, mut after) = (Vec::new(), None);
        for _ in 0..PAGES {
            let answer = self
                .client
                .list_parts()
                .bucket(&self.options.bucket)
                .key(key)
                .upload_id(upload_id.as_str())
                .set_part_number_marker(after)
                .max_parts(PAGE)
                .send()
                .await
                .map_err(StorageError::of(STEP))?;
            for part in answer.parts() {
                let number = part.part_number().and_then(|number| u16::try_from(number).ok());
                parts.push(StoredPart {
                    number: number.ok_or(missing("the number of a part"))?,
                    size_bytes: part.size().ok_or(missing("the size of a part"))?,
                    etag: part.e_tag().ok_or(missing("the tag of a part"))?.to_owned(),
                });
            }
            after = answer.next_part_number_marker().map(str::to_owned);
            if answer.is_truncated() != Some(true) || after.is_none() {
                break;
            }
        }
        parts.sort_unstable_by_key(|part| part.number);
        Ok(parts)
    }

    /// Makes one object of the parts, unless there is one: what was checked once is never replaced. Afterwards no link
    /// to a part of any upload of the key works any more.
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
        let joined = self
            .client
            .complete_multipart_upload()
            .bucket(&self.options.bucket)
            .key(key)
            .upload_id(upload_id.as_str())
            .multipart_upload(parts)
            .if_none_match("*")
            .send()
            .await
            .map_err(StorageError::of("complete_multipart_upload"));
        match joined {
            Ok(_) => {}
            // Somebody else joined parts first, and theirs are what counts.
            Err(error) if error.is_precondition_failed() => {}
            Err(error) => return Err(error),
        }
        self.abort_uploads(key).await
    }

    /// Ends every unfinished upload of a key.
    ///
    /// # Errors
    /// When the storage does not answer, or refuses.
    pub async fn abort_uploads(&self, key: &str) -> Result<(), StorageError> {
        for UploadId(upload_id) in self.uploads(key).await? {
            let aborted = self
                .client
                .abort_multipart_upload()
                .bucket(&self.options.bucket)
                .key(key)
                .upload_id(upload_id)
                .send()
                .await;
            match aborted.map_err(StorageError::of("abort_multipart_upload")) {
                Ok(_) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
