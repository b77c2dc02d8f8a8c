//! One organization's way to its bucket.

use std::fmt;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials as SdkCredentials, Region, RequestChecksumCalculation,
    ResponseChecksumValidation,
};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the next bytes of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// One try and two more.
const ATTEMPTS: u32 = 3;

/// What proves to the storage who asks.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The public half.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(redacted)")
    }
}

/// Which encryption the storage is told to use.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Encryption {
    /// Under a key of its own (SSE-S3).
    Aes256,
    /// Under this key of its key management service (SSE-KMS).
    Kms {
        /// Names the key.
        key_id: String,
    },
}

/// Where an organization's files lie.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StorageOptions {
    /// The storage's address; `None` for AWS itself.
    pub endpoint: Option<String>,
    /// Its address in links, where clients reach it by another.
    pub public_endpoint: Option<String>,
    /// The region's name.
    pub region: String,
    /// The organization's bucket.
    pub bucket: String,
    /// Whether the bucket stands in the path and not in the host's name.
    pub path_style: bool,
    /// The organization's credentials.
    pub credentials: Credentials,
    /// How it is to be encrypted.
    pub encryption: Encryption,
}

pub(crate) fn client(options: &StorageOptions, endpoint: Option<&str>) -> Client {
    let Credentials { access_key_id, secret_access_key } = &options.credentials;
    let is_plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let http = if is_plain {
        Builder::new().build_http()
    } else {
        Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
    };
    let mut config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SdkCredentials::new(
            access_key_id,
            secret_access_key,
            None,
            None,
            "organization",
        ))
        .region(Region::new(options.region.clone()))
        .force_path_style(options.path_style)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(
            TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).build(),
        )
        .http_client(http);
    if let Some(endpoint) = endpoint {
        config = config.endpoint_url(endpoint);
    }
    Client::from_conf(config.build())
}
