//! Files that the server itself brings, of any size, in constant memory.

use std::io;

use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};
use carelog_domain::closed::Sha256Digest;
use carelog_domain::file::MIN_PART_BYTES;
use futures::stream::{BoxStream, StreamExt as _};
use sha2::{Digest as _, Sha256};

use crate::error::StorageError;
use crate::multipart::{StoredPart, UploadId};
use crate::storage::Storage;

/// What was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brought {
    /// Its size in bytes.
    pub size_bytes: i64,
    /// SHA-256 of its bytes.
    pub content_sha256: Sha256Digest,
}

/// Why nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum BringError {
    /// Where the bytes come from broke off.
    #[error("the content broke off")]
    Source(#[source] io::Error),
    /// There are more bytes than were allowed.
    #[error("the content is larger than {at_most} bytes")]
    TooLarge {
        /// The bound in bytes.
        at_most: i64,
    },
    /// The content is not the one of which a part is stored.
    #[error("the content is not the one of which a part is stored")]
    Changed,
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Storage {
    /// Stores what a stream gives, of `at_most` so many bytes, under a key. What was there under the key is replaced
    /// once all of it has arrived, and not before.
    ///
    /// # Errors
    /// See [`BringError`]; the parts that were sent are removed, or found later as an unfinished upload.
    pub async fn bring(
        &self,
        key: &str,
        media_type: &str,
        content: BoxStream<'_, io::Result<Bytes>>,
        at_most: i64,
    ) -> Result<Brought, BringError> {
        let upload_id = self.begin_anew(key, media_type).await?;
        match self.bring_parts(key, &upload_id, content, at_most).await {
            Ok((brought, parts)) => {
                self.complete(key, &upload_id, &parts).await?;
                Ok(brought)
            }
            Err(error) => {
                let aborted = self.client.abort_multipart_upload().bucket(&self.options.bucket).key(key);
                if aborted.upload_id(upload_id.as_str()).send().await.is_err() {
                    tracing::warn!("an unfinished upload is left to the sweep");
                }
                Err(error)
            }
        }
    }

    /// An upload of its own: another process may bring the same file at the same time.
    pub(crate) async fn begin_anew(&self, key: &str, media_type: &str) -> Result<UploadId, StorageError> {
        const STEP: &str = "create_multipart_upload";
        let made = self
            .client
            .create_multipart_upload()
            .bucket(&self.options.bucket)
            .key(key)
            .content_type(media_type)
            .server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.kms_key())
            .send()
            .await
            .map_err(StorageError::of(STEP))?;
        made.upload_id.map(UploadId).ok_or(StorageError::Incomplete { step: STEP, missing: "an upload id" })
    }

    async fn bring_parts(
        &self,
        key: &str,
        upload_id: &UploadId,
        mut content: BoxStream<'_, io::Result<Bytes>>,
        at_most: i64,
    ) -> Result<(Brought, Vec<StoredPart>), BringError> {
        let part_bytes = usize::try_from(MIN_PART_BYTES).unwrap_or(usize::MAX);
        let (mut digest, mut size_bytes) = (Sha256::new(), 0_i64);
        let (mut waiting, mut parts) = (BytesMut::new(), Vec::new());
        while let Some(chunk) = content.next().await {
            let chunk = chunk.map_err(BringError::Source)?;
            digest.update(&chunk);
            size_bytes = size_bytes.saturating_add(i64::try_from(chunk.len()).unwrap_or(i64::MAX));
            if size_bytes > at_most {
                return Err(BringError::TooLarge { at_most });
            }
            waiting.extend_from_slice(&chunk);
            while waiting.len() >= part_bytes {
                let part = waiting.split_to(part_bytes).freeze();
                parts.push(self.send_part(key, upload_id, &parts, part).await?);
            }
        }
        // The last part may be small, and there is always one.
        if !waiting.is_empty() || parts.is_empty() {
            parts.push(self.send_part(key, upload_id, &parts, waiting.freeze()).await?);
        }
        let content_sha256 = Sha256Digest::new(digest.finalize().into());
        Ok((Brought { size_bytes, content_sha256 }, parts))
    }

    pub(crate) async fn send_part(
        &self,
        key: &str,
        upload_id: &UploadId,
        before: &[StoredPart],
        bytes: Bytes,
    ) -> Result<StoredPart, StorageError> {
        const STEP: &str = "upload_part";
        let number = u16::try_from(before.len().saturating_add(1)).unwrap_or(u16::MAX);
        let size_bytes = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let sent = self
            .client
            .upload_part()
            .bucket(&self.options.bucket)
            .key(key)
            .upload_id(upload_id.as_str())
            .part_number(i32::from(number))
            .body(ByteStream::from(bytes))
            .send()
            .await
            .map_err(StorageError::of(STEP))?;
        let etag = sent.e_tag.ok_or(StorageError::Incomplete { step: STEP, missing: "the tag of a part" })?;
        Ok(StoredPart { number, size_bytes, etag })
    }
}
