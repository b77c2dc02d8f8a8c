//! What can go wrong in the store, and how callers hear of it.

use std::io;
use std::path::PathBuf;

use s3s::{S3Error, S3ErrorCode};

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum S3ServerError {
    /// Its directory cannot be used.
    #[error("the storage in {} cannot be opened", path.display())]
    Directory {
        /// Which directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The address cannot be listened on.
    #[error("the storage cannot listen on its address")]
    Listen(#[source] io::Error),
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error("a file of the store cannot be read or written")]
    Io(#[from] io::Error),
    #[error("a file of the store does not open: it was altered, or belongs elsewhere")]
    Damaged,
    #[error("no random bytes")]
    Random,
    #[error("there is no such object")]
    NoSuchKey,
    #[error("there is no such bucket")]
    NoSuchBucket,
    #[error("there is no such upload")]
    NoSuchUpload,
    #[error("a part is missing, or is another one")]
    InvalidPart,
    #[error("the parts are not in their order")]
    InvalidPartOrder,
    #[error("a part that is not the last is too small")]
    TooSmall,
    #[error("the key is too long")]
    KeyTooLong,
    #[error("the body broke off, or has another length than was said")]
    Incomplete,
    #[error("the body has another digest than was said")]
    BadDigest,
    #[error("there is such an object already")]
    Exists,
}

impl From<StoreError> for S3Error {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::Io(_) | StoreError::Damaged | StoreError::Random => {
                tracing::error!(error = &error as &dyn std::error::Error, "the storage failed");
                return Self::with_message(S3ErrorCode::InternalError, "the storage failed");
            }
            StoreError::NoSuchKey => S3ErrorCode::NoSuchKey,
            StoreError::NoSuchBucket => S3ErrorCode::NoSuchBucket,
            StoreError::NoSuchUpload => S3ErrorCode::NoSuchUpload,
            StoreError::InvalidPart => S3ErrorCode::InvalidPart,
            StoreError::InvalidPartOrder => S3ErrorCode::InvalidPartOrder,
            StoreError::TooSmall => S3ErrorCode::EntityTooSmall,
            StoreError::KeyTooLong => S3ErrorCode::KeyTooLongError,
            StoreError::Incomplete => S3ErrorCode::IncompleteBody,
            StoreError::BadDigest => S3ErrorCode::BadDigest,
            StoreError::Exists => S3ErrorCode::PreconditionFailed,
        };
        Self::with_message(code, error.to_string())
    }
}
