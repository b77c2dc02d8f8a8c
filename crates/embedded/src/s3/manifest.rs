//! Small files that say what an object, an upload or a part is.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::blob::{Segment, random_name, sync};
use super::cipher::{open_manifest, seal_manifest};
use super::error::StoreError;
use super::tenants::Tenant;

/// An object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ObjectManifest {
    pub(super) key: String,
    pub(super) content_type: Option<String>,
    pub(super) etag: String,
    pub(super) size: u64,
    /// Seconds since 1970.
    pub(super) modified: i64,
    pub(super) segments: Vec<Segment>,
}

/// An upload that is not finished.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UploadManifest {
    pub(super) key: String,
    pub(super) content_type: Option<String>,
    /// Seconds since 1970.
    pub(super) initiated: i64,
}

/// A part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartManifest {
    pub(super) number: u16,
    pub(super) etag: String,
    pub(super) modified: i64,
    pub(super) segment: Segment,
}

/// The line in the clear: what cleaning has to know without any key.
#[derive(Serialize, Deserialize)]
struct Line {
    blobs: Vec<String>,
}

/// A manifest has its name. Whether that outlasts a power cut is another question: nothing that it names, or that stood
/// there before, may be removed until it does.
#[derive(Debug)]
#[must_use]
pub(super) struct Named {
    lasting: io::Result<()>,
}

impl Named {
    /// # Errors
    /// When nobody knows whether the name lasts.
    pub(super) fn lasts(self) -> Result<(), StoreError> {
        Ok(self.lasting?)
    }
}

/// Writes a manifest under its name, whole or not at all: after an error, what stood there before still does. The caller
/// holds the store's lock.
pub(super) fn write<M: Serialize>(
    tenant: &Tenant,
    path: &Path,
    blobs: Vec<String>,
    manifest: &M,
) -> Result<Named, StoreError> {
    let unreadable = |error: serde_json::Error| StoreError::Io(error.into());
    let line = serde_json::to_vec(&Line { blobs }).map_err(unreadable)?;
    let plaintext = serde_json::to_vec(manifest).map_err(unreadable)?;
    let sealed = seal_manifest(&tenant.key, &place(tenant, path, &line), &plaintext)?;
    let parent = path.parent().unwrap_or(path);
    let unfinished = parent.join(format!("{}.unfinished", random_name()?));
    let written: io::Result<File> = (|| {
        let mut file = File::create_new(&unfinished)?;
        file.write_all(&line)?;
        file.write_all(b"\n")?;
        file.write_all(&sealed)?;
        file.sync_all()?;
        // Opened before the name is given, because there may be no descriptor left after.
        let folder = File::open(parent)?;
        fs::rename(&unfinished, path)?;
        Ok(folder)
    })();
    match written {
        Ok(folder) => Ok(Named { lasting: sync(&folder) }),
        Err(error) => {
            let _ = fs::remove_file(&unfinished);
            Err(error.into())
        }
    }
}

/// Reads a manifest; nothing where there is none.
pub(super) fn read<M: DeserializeOwned>(tenant: &Tenant, path: &Path) -> Result<Option<M>, StoreError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let (line, sealed) = split(&bytes)?;
    let plaintext = open_manifest(&tenant.key, &place(tenant, path, line), sealed)?;
    serde_json::from_slice(&plaintext).map(Some).map_err(|_| StoreError::Damaged)
}

/// The blobs that a manifest names, read without any key.
pub(super) fn blobs(path: &Path) -> Result<Vec<String>, StoreError> {
    let bytes = fs::read(path)?;
    let (line, _) = split(&bytes)?;
    let line: Line = serde_json::from_slice(line).map_err(|_| StoreError::Damaged)?;
    Ok(line.blobs)
}

fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), StoreError> {
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(StoreError::Damaged)?;
    let (line, rest) = bytes.split_at(end);
    Ok((line, rest.get(1..).unwrap_or_default()))
}

/// Where a manifest stands: it opens nowhere else.
fn place(tenant: &Tenant, path: &Path, line: &[u8]) -> Vec<u8> {
    let name = |path: Option<&Path>| {
        path.and_then(Path::file_name).map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default()
    };
    let (folder, file) = (name(path.parent()), name(Some(path)));
    let mut place = Vec::new();
    for field in [b"carelog-manifest-v1", tenant.bucket.as_bytes(), &folder, &file, line] {
        place.extend_from_slice(&(field.len() as u64).to_be_bytes());
        place.extend_from_slice(field);
    }
    place
}
