//! One organization's bucket.

use std::io;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ServerSideEncryption;
use bytes::Bytes;
use carelog_domain::closed::Sha256Digest;
use carelog_domain::file::{FoundObject, StorageEncryption};
use futures::stream::{self, BoxStream, StreamExt as _};
use sha2::{Digest as _, Sha256};

use crate::connect::{self, Encryption, StorageOptions};
use crate::error::StorageError;
use crate::sniff::{SNIFFED_BYTES, sniff};

/// One organization's bucket. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Storage {
    pub(crate) client: Client,
    /// Signs links, and never connects.
    pub(crate) signer: Client,
    pub(crate) options: StorageOptions,
}

/// What came of looking at an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Examined {
    /// There is none.
    Absent,
    /// It was not read, because it has more bytes than the caller wanted to read.
    TooLarge {
        /// Its size in bytes.
        size_bytes: i64,
    },
    /// All of it was read.
    Found(FoundObject),
}

impl Storage {
    /// Connects when it is first used.
    pub fn new(options: StorageOptions) -> Self {
        let client = connect::client(&options, options.endpoint.as_deref());
        let signer = match &options.public_endpoint {
            None => client.clone(),
            Some(public) => connect::client(&options, Some(public)),
        };
        Self { client, signer, options }
    }

    /// Where it leads.
    pub const fn options(&self) -> &StorageOptions {
        &self.options
    }

    /// Makes the bucket, unless it is there.
    ///
    /// # Errors
    /// When the storage does not answer, or refuses.
    pub async fn ensure_bucket(&self) -> Result<(), StorageError> {
        let found = self.client.head_bucket().bucket(&self.options.bucket).send().await;
        match found.map_err(StorageError::of("head_bucket")) {
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        let made = self.client.create_bucket().bucket(&self.options.bucket).send().await;
        match made.map_err(StorageError::of("create_bucket")) {
            Ok(_) => Ok(()),
            // Somebody else was faster.
            Err(StorageError::Refused { status: 409, code, .. }) if code == "BucketAlreadyOwnedByYou" => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether there is an object under a key.
    ///
    /// # Errors
    /// When the storage does not answer, or refuses.
    pub async fn has(&self, key: &str) -> Result<bool, StorageError> {
        let found = self.client.head_object().bucket(&self.options.bucket).key(key).send().await;
        match found.map_err(StorageError::of("head_object")) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads an object from beginning to end and says what it is, in constant memory.
    ///
    /// # Errors
    /// When the storage does not answer, refuses, or breaks off.
    pub async fn examine(&self, key: &str, at_most: i64) -> Result<Examined, StorageError> {
        const STEP: &str = "get_object";
        let found = self.client.get_object().bucket(&self.options.bucket).key(key).send().await;
        let object = match found.map_err(StorageError::of(STEP)) {
            Ok(object) => object,
            Err(error) if error.is_not_found() => return Ok(Examined::Absent),
            Err(error) => return Err(error),
        };
        let said = object
            .content_length
            .ok_or(StorageError::Incomplete { step: STEP, missing: "a content length" })?;
        if said > at_most {
            return Ok(Examined::TooLarge { size_bytes: said });
        }
        let encryption =
            self.options.encryption.met_by(object.server_side_encryption(), object.ssekms_key_id());
        let mut body = object.body;
        let (mut digest, mut size_bytes, mut beginning) = (Sha256::new(), 0_i64, Vec::new());
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| StorageError::unreachable(STEP, &error))?;
            let missing = SNIFFED_BYTES.saturating_sub(beginning.len());
            beginning.extend(chunk.iter().take(missing));
            digest.update(&chunk);
            size_bytes = size_bytes.saturating_add(i64::try_from(chunk.len()).unwrap_or(i64::MAX));
        }
        Ok(Examined::Found(FoundObject {
            size_bytes,
            content_sha256: Sha256Digest::new(digest.finalize().into()),
            content_type: sniff(&beginning),
            encryption,
        }))
    }

    /// Reads an object, piece by piece.
    ///
    /// # Errors
    /// When there is none, or the storage does not answer or refuses; what breaks off later, the stream tells.
    pub async fn read(&self, key: &str) -> Result<BoxStream<'static, io::Result<Bytes>>, StorageError> {
        let found = self.client.get_object().bucket(&self.options.bucket).key(key).send().await;
        let body = found.map_err(StorageError::of("get_object"))?.body;
        let chunks = stream::try_unfold(body, |mut body| async move {
            let chunk = body.try_next().await.map_err(io::Error::other)?;
            Ok(chunk.map(|chunk| (chunk, body)))
        });
        Ok(chunks.boxed())
    }

    /// Stores bytes that the server made itself, under their media type.
    ///
    /// # Errors
    /// When the storage does not answer, or refuses.
    pub async fn put(&self, key: &str, media_type: &str, bytes: Bytes) -> Result<(), StorageError> {
        self.client
            .put_object()
            .bucket(&self.options.bucket)
            .key(key)
            .content_type(media_type)
            .server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.kms_key())
            .body(ByteStream::from(bytes))
            .send()
            .await
            .map_err(StorageError::of("put_object"))?;
        Ok(())
    }
}

impl Encryption {
    /// How an object lies there, where that is at least what was demanded.
    fn met_by(&self, said: Option<&ServerSideEncryption>, key: Option<&str>) -> Option<StorageEncryption> {
        let found = match said? {
            ServerSideEncryption::Aes256 => StorageEncryption::Aes256,
            ServerSideEncryption::AwsKms | ServerSideEncryption::AwsKmsDsse => StorageEncryption::Kms,
            _ => return None,
        };
        match self {
            Self::Aes256 => Some(found),
            Self::Kms { key_id } => {
                // Storages answer with the key's whole name, which ends with its id; an alias stands for another.
                let is_named = |key: &str| {
                    key.strip_suffix(key_id.as_str())
                        .is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
                };
                let is_it = key_id.contains("alias/") || key.is_some_and(is_named);
                (found == StorageEncryption::Kms && is_it).then_some(found)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_under_another_key_than_was_demanded_is_not_encrypted_enough() {
        let kms = |key_id: &str| Encryption::Kms { key_id: key_id.to_owned() };
        let name = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd";
        let (own, under_kms) = (Some(&ServerSideEncryption::Aes256), Some(&ServerSideEncryption::AwsKms));
        for (demanded, said, key, met) in [
            (Encryption::Aes256, None, None, None),
            (Encryption::Aes256, own, None, Some(StorageEncryption::Aes256)),
            (Encryption::Aes256, under_kms, Some(name), Some(StorageEncryption::Kms)),
            (kms("1234abcd"), own, None, None),
            (kms("1234abcd"), under_kms, None, None),
            (kms("1234abcd"), under_kms, Some(name), Some(StorageEncryption::Kms)),
            (kms("1234abcd"), under_kms, Some("1234abcd"), Some(StorageEncryption::Kms)),
            (kms(name), under_kms, Some(name), Some(StorageEncryption::Kms)),
            (kms("99"), under_kms, Some(name), None),
            (kms("34abcd"), under_kms, Some(name), None),
            (kms("alias/clinic"), under_kms, Some(name), Some(StorageEncryption::Kms)),
            (kms("alias/clinic"), own, None, None),
        ] {
            assert_eq!(demanded.met_by(said, key), met, "{demanded:?} {said:?} {key:?}");
        }
    }
}
