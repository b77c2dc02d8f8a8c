//! What a clinic says about the storage that it brings.

use std::collections::BTreeMap;

use carelog_files::{Credentials, Encryption, StorageOptions};

/// The region of a storage that has none.
const DEFAULT_REGION: &str = "us-east-1";

/// A clinic's own storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageSettings(StorageOptions);

/// What is wrong with the settings of a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A setting is missing.
    #[error("bucket, access_key_id and secret_access_key are needed")]
    Missing,
    /// A setting is none of a storage's.
    #[error(
        "a storage has bucket, access_key_id, secret_access_key, region, endpoint, path_style and kms_key_id"
    )]
    Unknown,
    /// The operator did not allow it.
    #[error("the endpoint is none that the operator allowed")]
    EndpointNotAllowed,
    /// The bucket's name is none.
    #[error("the name of a bucket has 3 to 63 lower-case letters, digits, dots and hyphens")]
    Bucket,
    /// Neither yes nor no.
    #[error("path_style is true or false")]
    PathStyle,
}

impl StorageSettings {
    /// Reads the settings of the integration `storage`.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn read(
        settings: &BTreeMap<String, String>,
        allowed_endpoints: &[String],
    ) -> Result<Self, SettingsError> {
        const KNOWN: [&str; 7] = [
            "bucket",
            "access_key_id",
            "secret_access_key",
            "region",
            "endpoint",
            "path_style",
            "kms_key_id",
        ];
        if settings.keys().any(|name| !KNOWN.contains(&name.as_str())) {
            return Err(SettingsError::Unknown);
        }
        let needed = |name: &str| settings.get(name).cloned().ok_or(SettingsError::Missing);
        let bucket = needed("bucket")?;
        let fits =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
        if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(fits) {
            return Err(SettingsError::Bucket);
        }
        let endpoint = settings.get("endpoint").cloned();
        if endpoint.as_ref().is_some_and(|endpoint| !allowed_endpoints.contains(endpoint)) {
            return Err(SettingsError::EndpointNotAllowed);
        }
        let path_style = match settings.get("path_style").map(String::as_str) {
            None => endpoint.is_some(),
            Some("true") => true,
            Some("false") => false,
            Some(_) => return Err(SettingsError::PathStyle),
        };
        let encryption = match settings.get("kms_key_id") {
            None => Encryption::Aes256,
            Some(key_id) => Encryption::Kms { key_id: key_id.clone() },
        };
        Ok(Self(StorageOptions {
            endpoint,
            public_endpoint: None,
            region: settings.get("region").cloned().unwrap_or_else(|| DEFAULT_REGION.to_owned()),
            bucket,
            path_style,
            credentials: Credentials {
                access_key_id: needed("access_key_id")?,
                secret_access_key: needed("secret_access_key")?,
            },
            encryption,
        }))
    }

    /// How to reach it.
    pub fn options(self) -> StorageOptions {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let needed = [("bucket", "clinic"), ("access_key_id", "id"), ("secret_access_key", "secret")];
        needed.iter().chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_storage_of_aws_needs_a_bucket_and_credentials() {
        let read = StorageSettings::read(&settings(&[("kms_key_id", "key")]), &[]).unwrap().options();

        assert_eq!((read.endpoint, read.path_style), (None, false));
        assert_eq!(read.encryption, Encryption::Kms { key_id: "key".to_owned() });
    }

    #[test]
    fn only_an_allowed_endpoint_is_connected_to() {
        let brought = settings(&[("endpoint", "https://s3.clinic.example")]);
        let allowed = ["https://s3.clinic.example".to_owned()];

        assert!(StorageSettings::read(&brought, &allowed).is_ok());
        assert_eq!(StorageSettings::read(&brought, &[]), Err(SettingsError::EndpointNotAllowed));
    }

    #[test]
    fn each_fault_has_its_own_text() {
        let cases = [
            (settings(&[("color", "blue")]), SettingsError::Unknown),
            (settings(&[("bucket", "../other")]), SettingsError::Bucket),
            (settings(&[("path_style", "maybe")]), SettingsError::PathStyle),
            (BTreeMap::from([("bucket".to_owned(), "clinic".to_owned())]), SettingsError::Missing),
        ];
        for (brought, expected) in cases {
            assert_eq!(StorageSettings::read(&brought, &[]), Err(expected));
        }
    }
}
