//! A secret key in a file that only its owner may reach: made once, locked as long as it is held, never replaced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::ops::Deref;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::HolderError;
use crate::proof::SigningKey;

pub(super) const SEED_BYTES: usize = 32;

/// A key that no other process holds.
#[derive(Debug)]
pub struct LockedKey {
    key: SigningKey,
    /// Locked until it is closed.
    _file: File,
}

impl LockedKey {
    /// Takes the key in a file whose text begins with `prefix`.
    ///
    /// # Errors
    /// When there is none, others may reach it, or another process holds it.
    pub fn open(path: &Path, prefix: &str) -> Result<Self, HolderError> {
        let (file, seed) = lock(path, prefix)?;
        Ok(Self { key: SigningKey::from_seed(&seed), _file: file })
    }
}

impl Deref for LockedKey {
    type Target = SigningKey;

    fn deref(&self) -> &SigningKey {
        &self.key
    }
}

/// Draws a key and writes it to a file. An existing one stays as it is.
///
/// # Errors
/// When the file is there, or cannot be written.
pub fn create_key(path: &Path, prefix: &str) -> Result<(), HolderError> {
    let seed = new_seed()?;
    write_key(path, prefix, &seed)
}

/// Puts a file in the place of another, so that a crash leaves one of them whole, and waits for the disk.
///
/// # Errors
/// When the file system refuses.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = write_beside(path, content)?;
    fs::rename(temporary, path)?;
    sync_folder(path)
}

pub(super) fn new_seed() -> Result<Zeroizing<[u8; SEED_BYTES]>, HolderError> {
    let mut seed = Zeroizing::new([0; SEED_BYTES]);
    getrandom::fill(seed.as_mut()).map_err(HolderError::Random)?;
    Ok(seed)
}

pub(super) fn write_key(path: &Path, prefix: &str, seed: &[u8; SEED_BYTES]) -> Result<(), HolderError> {
    let text = Zeroizing::new(format!("{prefix}{}\n", STANDARD.encode(seed)));
    publish(path, text.as_bytes()).map_err(failed(path))
}

/// The file system's refusal about a file.
pub fn failed(path: &Path) -> impl Fn(io::Error) -> HolderError {
    move |source| HolderError::Io { path: path.to_owned(), source }
}

pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file appears whole or not at all, and never in the place of another.
fn publish(path: &Path, text: &[u8]) -> io::Result<()> {
    let temporary = write_beside(path, text)?;
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary)?;
    linked?;
    sync_folder(path)
}

fn write_beside(path: &Path, text: &[u8]) -> io::Result<PathBuf> {
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(text)?;
    file.sync_all()?;
    Ok(temporary)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

fn lock(path: &Path, prefix: &str) -> Result<(File, Zeroizing<[u8; SEED_BYTES]>), HolderError> {
    let mut file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => HolderError::Missing(path.to_owned()),
        _ => failed(path)(error),
    })?;
    let mode = file.metadata().map_err(failed(path))?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(HolderError::Mode { path: path.to_owned(), mode });
    }
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Err(HolderError::InUse),
        Err(fs::TryLockError::Error(error)) => return Err(failed(path)(error)),
    }
    let mut text = Zeroizing::new(String::with_capacity(256));
    (&mut file).take(255).read_to_string(&mut text).map_err(failed(path))?;
    let damaged = || HolderError::Format { path: path.to_owned() };
    let base64 = text.strip_prefix(prefix).and_then(|rest| rest.strip_suffix('\n')).ok_or_else(damaged)?;
    let bytes = Zeroizing::new(STANDARD.decode(base64).map_err(|_| damaged())?);
    let seed = Zeroizing::new(bytes.as_slice().try_into().map_err(|_| damaged())?);
    Ok((file, seed))
}
