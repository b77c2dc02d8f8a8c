//! Removing a file for good, and finding what should have been removed.

use std::time::SystemTime;

use aws_sdk_s3::primitives::DateTime;

use crate::error::StorageError;
use crate::storage::Storage;

/// Rounds of a removal or a list before a bucket that is written all the time is given up.
const ROUNDS: usize = 100;
/// Objects of one answer of the storage; it gives no more.
const PAGE: i32 = 1_000;

/// Something that lies in the bucket: an object, or an upload that was never finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedObject {
    /// Its key.
    pub key: String,
    /// When it was written or begun, as the storage says.
    pub since: SystemTime,
}

impl Storage {
    /// Removes every version of an object, every delete marker, and every unfinished upload of its key. What is gone
    /// already is no error.
    ///
    /// # Errors
    /// When the storage does not answer, or refuses.
    pub async fn remove(&self, key: &str) -> Result<(), StorageError> {
        // First the uploads, so that none of them can become a version behind our back.
        self.abort_uploads(key).await?;
        for _ in 0..ROUNDS {
            let versions = self.versions_of(key).await?;
            if versions.is_empty() {
                return Ok(());
            }
            for version in versions {
                self.remove_version(key, version).await?;
            }
        }
        Err(StorageError::Incomplete { step: "delete_object", missing: "an end of versions" })
    }

    async fn versions_of(&self, key: &str) -> Result<Vec<Option<String>>, StorageError> {
        let answer = self
            .client
            .list_object_versions()
            .bucket(&self.options.bucket)
            .prefix(key)
            .max_keys(PAGE)
            .send()
            .await
            .map_err(StorageError::of("list_object_versions"))?;
        let versions = answer.versions().iter().map(|version| (version.key(), version.version_id()));
        let markers = answer.delete_markers().iter().map(|marker| (marker.key(), marker.version_id()));
        let ours = versions.chain(markers).filter(|(listed, _)| *listed == Some(key));
        Ok(ours.map(|(_, version)| version.map(str::to_owned)).collect())
    }

    async fn remove_version(&self, key: &str, version: Option<String>) -> Result<(), StorageError> {
        let removed = self
            .client
            .delete_object()
            .bucket(&self.options.bucket)
            .key(key)
            .set_version_id(version)
            .send()
            .await;
        match removed.map_err(StorageError::of("delete_object")) {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Objects after a key, in the order of their keys, a page of them.
    ///
    /// # Errors
    /// When the storage does not answer, or refuses.
    pub async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ListedObject>, StorageError> {
        let answer = self
            .client
            .list_objects_v2()
            .bucket(&self.options.bucket)
            .prefix(prefix)
            .set_start_after(after.map(str::to_owned))
            .max_keys(PAGE)
            .send()
            .await
            .map_err(StorageError::of("list_objects"))?;
        Ok(answer
            .contents()
            .iter()
            .filter_map(|object| listed(object.key(), object.last_modified()))
            .collect())
    }

    /// Uploads that were begun and not finished.
    ///
    /// # Errors
    /// When the storage does not answer, or refuses.
    pub async fn list_uploads(&self, prefix: &str) -> Result<Vec<ListedObject>, StorageError> {
        let mut uploads = Vec::new();
        let (mut key, mut upload_id) = (None, None);
        for _ in 0..ROUNDS {
            let answer = self
                .client
                .list_multipart_uploads()
                .bucket(&self.options.bucket)
                .prefix(prefix)
                .set_key_marker(key)
                .set_upload_id_marker(upload_id)
                .max_uploads(PAGE)
                .send()
                .await
                .map_err(StorageError::of("list_multipart_uploads"))?;
            uploads.extend(
                answer.uploads().iter().filter_map(|upload| listed(upload.key(), upload.initiated())),
            );
            if answer.is_truncated() != Some(true) {
                break;
            }
            key = answer.next_key_marker().map(str::to_owned);
            upload_id = answer.next_upload_id_marker().map(str::to_owned);
        }
        Ok(uploads)
    }
}

fn listed(key: Option<&str>, since: Option<&DateTime>) -> Option<ListedObject> {
    let since = SystemTime::try_from(*since?).ok()?;
    Some(ListedObject { key: key?.to_owned(), since })
}
