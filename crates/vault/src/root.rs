//! The root key and its file.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::secret::{SECRET_BYTES, Secret};
use crate::wrap::WrappingKey;
use crate::{VaultError, publish};

const PREFIX: &str = "carelog-root-v1:";
/// Base64 of 32 bytes, padded.
const BASE64_BYTES: usize = 44;
const FILE_BYTES: usize = PREFIX.len() + BASE64_BYTES + 1;

/// The key that wraps every organization's key. Whoever loses it loses everything personal in the log.
pub struct RootKey(pub(crate) WrappingKey);

/// Why there is no root key.
#[derive(Debug, thiserror::Error)]
pub enum RootKeyError {
    /// The file system refused.
    #[error("root key file {} cannot be read or written", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// Others than the owner may reach the file, so the key must be taken as known.
    #[error("root key file {} has mode {mode:03o}; only its owner may reach it (600)", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file does not hold one line `carelog-root-v1:` and 32 bytes in base64.
    #[error("root key file {} does not hold a root key", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// A new key could not be drawn.
    #[error("root key cannot be made")]
    Random(#[source] VaultError),
}

impl RootKey {
    /// Takes a key that is kept somewhere else than in a file.
    pub fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        let bytes = Zeroizing::new(bytes);
        Self::from_secret(&Secret::from_slice(bytes.as_slice()).expect("the array has the length of a key"))
    }

    /// Reads the key from its file, or makes both when there is no file.
    ///
    /// The file appears whole or not at all, and an existing one is never overwritten, also when two processes
    /// start at once: both then read the same key.
    ///
    /// # Errors
    /// When the file cannot be read or written, may be reached by others, or holds no key.
    pub fn load_or_create(path: &Path) -> Result<Self, RootKeyError> {
        match Self::load(path) {
            Err(RootKeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            result => return result,
        }
        let secret = Secret::random().map_err(RootKeyError::Random)?;
        let failed = |source| RootKeyError::Io { path: path.to_owned(), source };
        publish(path, &to_text(&secret)).map_err(failed)?;
        Self::load(path)
    }

    /// Reads the key from its file.
    ///
    /// # Errors
    /// When there is no file, it cannot be read, may be reached by others, or holds no key.
    pub fn load(path: &Path) -> Result<Self, RootKeyError> {
        let failed = |source| RootKeyError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(RootKeyError::Mode { path: path.to_owned(), mode });
        }
        // One more than allowed shows that the file is too long; a full buffer never moves in memory.
        let mut text = Zeroizing::new(Vec::with_capacity(2 * FILE_BYTES));
        file.take(FILE_BYTES as u64 + 1).read_to_end(&mut text).map_err(failed)?;
        let secret = from_text(&text).ok_or_else(|| RootKeyError::Format { path: path.to_owned() })?;
        Ok(Self::from_secret(&secret))
    }

    fn from_secret(secret: &Secret) -> Self {
        Self(WrappingKey::new(secret))
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey")
    }
}

fn to_text(secret: &Secret) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(FILE_BYTES));
    let mut base64 = Zeroizing::new([0; BASE64_BYTES]);
    STANDARD.encode_slice(secret.bytes(), base64.as_mut()).expect("44 bytes hold 32 in base64");
    text.extend_from_slice(PREFIX.as_bytes());
    text.extend_from_slice(base64.as_slice());
    text.push(b'\n');
    text
}

fn from_text(text: &[u8]) -> Option<Secret> {
    let base64 = text.strip_prefix(PREFIX.as_bytes())?.strip_suffix(b"\n")?;
    if base64.len() != BASE64_BYTES {
        return None;
    }
    // The decoder wants room for the padding too.
    let mut bytes = Zeroizing::new([0; SECRET_BYTES + 1]);
    let length = STANDARD.decode_slice(base64, bytes.as_mut()).ok()?;
    Secret::from_slice(bytes.get(..length)?)
}
