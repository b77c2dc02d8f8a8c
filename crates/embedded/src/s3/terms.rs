//! What a request says of its body and its wishes, against what this storage has.

use s3s::checksum::ChecksumHasher;
use s3s::dto::{Checksum, ETag, ServerSideEncryption, Timestamp};
use s3s::{S3Result, s3_error};

use super::blob::Segment;

/// Of one list.
const MAX_ITEMS: i32 = 1_000;
/// The name of the only version that there is.
pub(super) const VERSION: &str = "null";

/// Digests that the caller said the body has.
pub(super) struct Expected {
    pub(super) crc32: Option<String>,
    pub(super) crc32c: Option<String>,
    pub(super) crc64nvme: Option<String>,
    pub(super) sha1: Option<String>,
    pub(super) sha256: Option<String>,
}

impl Expected {
    pub(super) fn hasher(&self) -> ChecksumHasher {
        // SHA-256 is computed anyway.
        ChecksumHasher {
            crc32: self.crc32.as_ref().map(|_| s3s::crypto::Checksum::new()),
            crc32c: self.crc32c.as_ref().map(|_| s3s::crypto::Checksum::new()),
            sha1: self.sha1.as_ref().map(|_| s3s::crypto::Checksum::new()),
            sha256: None,
            crc64nvme: self.crc64nvme.as_ref().map(|_| s3s::crypto::Checksum::new()),
        }
    }

    pub(super) fn is_met(&self, segment: &Segment, found: &Checksum) -> bool {
        let sha256 = hex::decode(&segment.sha256).map(|digest| base64_of(&digest)).ok();
        self.crc32 == found.checksum_crc32
            && self.crc32c == found.checksum_crc32c
            && self.crc64nvme == found.checksum_crc64nvme
            && self.sha1 == found.checksum_sha1
            && (self.sha256.is_none() || self.sha256 == sha256)
    }
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// The digests that an input names, taken out of it.
macro_rules! expected {
    ($input:expr) => {{
        if $input.content_md5.is_some() {
            return Err(s3s::s3_error!(NotImplemented, "Content-MD5 is not checked here; send a SHA-256"));
        }
        $crate::s3::terms::Expected {
            crc32: $input.checksum_crc32.take(),
            crc32c: $input.checksum_crc32c.take(),
            crc64nvme: $input.checksum_crc64nvme.take(),
            sha1: $input.checksum_sha1.take(),
            sha256: $input.checksum_sha256.take(),
        }
    }};
}
pub(super) use expected;

/// Only the encryption that it has can be asked for; asking for none gets it too.
pub(super) fn check_encryption(
    wanted: Option<&ServerSideEncryption>,
    customer: Option<&String>,
) -> S3Result<()> {
    if customer.is_some() {
        return Err(s3_error!(NotImplemented, "keys of callers are not taken"));
    }
    match wanted.map(ServerSideEncryption::as_str) {
        None | Some(ServerSideEncryption::AES256) => Ok(()),
        Some(_) => Err(s3_error!(NotImplemented, "only AES256 is offered")),
    }
}

pub(super) fn check_version(version: Option<&str>) -> S3Result<()> {
    match version {
        None | Some(VERSION) => Ok(()),
        Some(_) => Err(s3_error!(NoSuchVersion)),
    }
}

pub(super) fn aes256() -> ServerSideEncryption {
    ServerSideEncryption::from_static(ServerSideEncryption::AES256)
}

pub(super) fn etag_of(segment: &Segment) -> String {
    segment.sha256.chars().take(32).collect()
}

pub(super) fn strong(etag: &str) -> ETag {
    ETag::Strong(etag.to_owned())
}

pub(super) fn moment(seconds: i64) -> Option<Timestamp> {
    time::OffsetDateTime::from_unix_timestamp(seconds).ok().map(Timestamp::from)
}

pub(super) fn length(size: u64) -> Option<i64> {
    i64::try_from(size).ok()
}

pub(super) fn limit(wanted: Option<i32>) -> S3Result<usize> {
    let wanted = wanted.unwrap_or(MAX_ITEMS).min(MAX_ITEMS);
    usize::try_from(wanted).map_err(|_| s3_error!(InvalidArgument))
}

pub(super) fn no_delimiter(delimiter: Option<&String>) -> S3Result<()> {
    match delimiter {
        None => Ok(()),
        Some(_) => Err(s3_error!(NotImplemented, "there are no folders")),
    }
}

pub(super) fn part_number(number: i32) -> S3Result<u16> {
    u16::try_from(number)
        .ok()
        .filter(|number| (1..=10_000).contains(number))
        .ok_or_else(|| s3_error!(InvalidArgument, "the number of a part is 1 to 10000"))
}
