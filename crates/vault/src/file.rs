//! Files that hold a secret.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::random;

/// Writes a file that only its owner can read, unless there is one of that name, which is left alone.
///
/// It appears whole or not at all: a temporary file is written, and given its name by a link, which fails where a rename
/// would overwrite.
///
/// # Errors
/// When the file system refuses, or the name of the temporary file cannot be drawn.
pub fn publish(path: &Path, text: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let suffix = u64::from_be_bytes(random::bytes().map_err(io::Error::other)?);
    let temporary = folder.join(format!(".{}.{suffix:016x}", name.to_string_lossy()));
    let linked = write_new(&temporary, text).and_then(|()| fs::hard_link(&temporary, path));
    let removed = fs::remove_file(&temporary);
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => removed?,
    }
    File::open(folder)?.sync_all()
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}
