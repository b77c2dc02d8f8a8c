//! What a crash left over.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::blob::sync_folder;
use super::error::StoreError;
use super::manifest;

/// Removes what no manifest names: blobs of writes that were never acknowledged, names that were never given, and uploads
/// that became objects just before the end. The names that there are last before: a power cut brings none back whose blobs
/// are gone.
pub(super) fn clean(bucket: &Path) -> Result<(), StoreError> {
    let (objects, folder_of_uploads) = (bucket.join("objects"), bucket.join("uploads"));
    let uploads = entries(&folder_of_uploads)?;
    for folder in
        [bucket, &objects, &folder_of_uploads].into_iter().chain(uploads.iter().map(PathBuf::as_path))
    {
        // A bucket may have been made by half.
        if folder.exists() {
            sync_folder(folder)?;
        }
    }
    let mut named = BTreeSet::new();
    for path in entries(&objects)? {
        if is_unfinished(&path) {
            remove(&path)?;
        } else {
            named.extend(manifest::blobs(&path)?);
        }
    }
    for upload in uploads {
        let mut of_parts = Vec::new();
        for path in entries(&upload)? {
            if is_unfinished(&path) {
                remove(&path)?;
            } else {
                of_parts.extend(manifest::blobs(&path)?);
            }
        }
        let became_an_object = of_parts.iter().any(|blob| named.contains(blob));
        if became_an_object || !upload.join("upload").exists() {
            fs::remove_dir_all(&upload)?;
        } else {
            named.extend(of_parts);
        }
    }
    for path in entries(&bucket.join("blobs"))? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !named.contains(name) {
            remove(&path)?;
        }
    }
    Ok(())
}

pub(super) fn is_unfinished(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "unfinished")
}

pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
