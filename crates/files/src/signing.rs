//! Links: requests that a client sends to the storage itself.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_sdk_s3::types::ServerSideEncryption;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carelog_domain::closed::Sha256Digest;
use carelog_domain::file::{ContentType, LinkDisposition};

use crate::connect::Encryption;
use crate::error::StorageError;
use crate::multipart::UploadId;
use crate::storage::Storage;

/// No link holds longer.
pub const MAX_LINK_LIFE: Duration = Duration::from_mins(15);

/// A request that whoever holds it may send once or more until it ends.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedRequest {
    /// The HTTP method.
    pub method: String,
    /// The address, with the signature.
    pub url: String,
    /// Headers that are part of the signature and have to be sent as they are.
    pub headers: Vec<(String, String)>,
}

impl std::fmt::Debug for SignedRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignedRequest({})", self.method)
    }
}

/// What may be uploaded.
#[derive(Clone, Copy, Debug)]
pub struct Upload {
    /// Exactly so many bytes.
    pub size_bytes: i64,
    /// With this digest.
    pub content_sha256: Sha256Digest,
    /// Of this type.
    pub content_type: ContentType,
}

/// How a download reaches the browser.
#[derive(Clone, Debug)]
pub struct Download {
    /// The media type that the file was found to have.
    pub content_type: &'static str,
    /// To be saved or to be shown.
    pub disposition: LinkDisposition,
    /// What to call it. Everything that is not a harmless letter is replaced.
    pub name: String,
}

impl Storage {
    /// A link to upload a file at once, from `now` on.
    ///
    /// # Errors
    /// When it would hold too long, or the storage's settings do not fit.
    pub async fn sign_upload(
        &self,
        key: &str,
        upload: Upload,
        now: SystemTime,
        life: Duration,
    ) -> Result<SignedRequest, StorageError> {
        const STEP: &str = "sign_upload";
        let digest = STANDARD.encode(upload.content_sha256.bytes());
        let request = self
            .signer
            .put_object()
            .bucket(&self.options.bucket)
            .key(key)
            .content_length(upload.size_bytes)
            .content_type(upload.content_type.as_str())
            .server_side_encryption(self.encryption())
            .set_ssekms_key_id(self.kms_key())
            .customize()
            // The client leaves a digest that it was given out of what it signs.
            .mutate_request(move |request| {
                request.headers_mut().insert("x-amz-checksum-sha256", digest.clone());
            })
            .presigned(presigning(now, life)?)
            .await
            .map_err(StorageError::of(STEP))?;
        Ok(signed(&request))
    }

    /// A link to upload one part of a large file, from `now` on.
    ///
    /// # Errors
    /// When it would hold too long, or the storage's settings do not fit.
    pub async fn sign_part(
        &self,
        key: &str,
        upload_id: &UploadId,
        number: u16,
        size_bytes: i64,
        now: SystemTime,
        life: Duration,
    ) -> Result<SignedRequest, StorageError> {
        let request = self
            .signer
            .upload_part()
            .bucket(&self.options.bucket)
            .key(key)
            .upload_id(upload_id.as_str())
            .part_number(i32::from(number))
            .content_length(size_bytes)
            .presigned(presigning(now, life)?)
            .await
            .map_err(StorageError::of("sign_part"))?;
        Ok(signed(&request))
    }

    /// A link to download a file, from `now` on.
    ///
    /// # Errors
    /// When it would hold too long, or the storage's settings do not fit.
    pub async fn sign_download(
        &self,
        key: &str,
        download: &Download,
        now: SystemTime,
        life: Duration,
    ) -> Result<SignedRequest, StorageError> {
        let disposition = format!("{}; filename=\"{}\"", download.disposition, harmless(&download.name));
        let request = self
            .signer
            .get_object()
            .bucket(&self.options.bucket)
            .key(key)
            .response_content_type(download.content_type)
            .response_content_disposition(disposition)
            .response_cache_control("private, no-store")
            .presigned(presigning(now, life)?)
            .await
            .map_err(StorageError::of("sign_download"))?;
        Ok(signed(&request))
    }

    pub(crate) fn encryption(&self) -> ServerSideEncryption {
        match self.options.encryption {
            Encryption::Aes256 => ServerSideEncryption::Aes256,
            Encryption::Kms { .. } => ServerSideEncryption::AwsKms,
        }
    }

    pub(crate) fn kms_key(&self) -> Option<String> {
        match &self.options.encryption {
            Encryption::Aes256 => None,
            Encryption::Kms { key_id } => Some(key_id.clone()),
        }
    }
}

fn presigning(now: SystemTime, life: Duration) -> Result<PresigningConfig, StorageError> {
    if life > MAX_LINK_LIFE || life.is_zero() {
        return Err(StorageError::LinkTooLong);
    }
    PresigningConfig::builder()
        .start_time(now)
        .expires_in(life)
        .build()
        .map_err(|error| StorageError::request("sign", &error))
}

fn signed(request: &PresignedRequest) -> SignedRequest {
    SignedRequest {
        method: request.method().to_owned(),
        url: request.uri().to_owned(),
        headers: request.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
    }
}

/// A name without anything that a header, a shell or a file system could take for more than a letter.
fn harmless(name: &str) -> String {
    let kept = name.chars().map(|letter| {
        if letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_' | ' ') { letter } else { '_' }
    });
    kept.take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_quotes_or_its_folder() {
        assert_eq!(harmless("Knee, left.pdf"), "Knee_ left.pdf");
        assert_eq!(harmless("a\"; filename*=x\r\nset-cookie: y"), "a__ filename__x__set-cookie_ y");
        assert_eq!(harmless("../../etc/passwd"), ".._.._etc_passwd");
        assert_eq!(harmless(&"x".repeat(500)).len(), 100);
    }

    #[test]
    fn no_link_holds_longer_than_a_quarter_of_an_hour() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_mins(29_540_730);
        assert!(presigning(now, MAX_LINK_LIFE).is_ok());
        for wrong in [Duration::ZERO, MAX_LINK_LIFE + Duration::from_secs(1)] {
            assert!(matches!(presigning(now, wrong), Err(StorageError::LinkTooLong)));
        }
    }
}
