//! Buckets, objects and unfinished uploads on the disk.
//!
//! Names change hands under one lock, which is held for a few small writes; bytes are written before it is taken and read
//! after it is given back. Everything here blocks.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

use super::blob::{Segment, Unnamed, random_name, sync_folder};
use super::error::StoreError;
use super::leftovers::{clean, entries, is_unfinished, remove};
use super::manifest::{self, Named, ObjectManifest, PartManifest, UploadManifest};
use super::tenants::Tenant;
use super::terms::etag_of;
use super::unsettled::Unsettled;

/// Longest key of an object, in bytes: its name on the disk has twice as many letters, and 255 are allowed.
const MAX_KEY_BYTES: usize = 120;
/// S3 takes no smaller part but the last.
const MIN_PART_BYTES: u64 = 5 << 20;

/// The store of one directory.
#[derive(Debug)]
pub(super) struct Store {
    buckets: PathBuf,
    /// The names of the objects of the buckets whose lists somebody wanted; changed with what they name.
    names: Mutex<Names>,
    /// Objects and buckets.
    unsettled: Unsettled,
    /// Held as long as anybody may still write.
    _lock: Option<Arc<File>>,
}

/// Hexadecimal digits of keys, by bucket.
type Names = HashMap<String, BTreeSet<String>>;

impl Store {
    /// Opens the directory, under the lock that keeps others from it, makes the names last that it finds there, and removes
    /// what a crash left over.
    pub(super) fn open(root: &Path, lock: Option<Arc<File>>) -> Result<Self, StoreError> {
        let buckets = root.join("buckets");
        fs::create_dir_all(&buckets)?;
        sync_folder(&buckets)?;
        for bucket in entries(&buckets)? {
            match clean(&bucket) {
                // What it names cannot be told, so nothing of the bucket is removed.
                Err(StoreError::Damaged) => {
                    tracing::error!(bucket = %bucket.display(), "a manifest cannot be read; nothing is cleaned");
                }
                cleaned => cleaned?,
            }
        }
        Ok(Self { buckets, names: Mutex::default(), unsettled: Unsettled::default(), _lock: lock })
    }

    fn lock(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bucket(&self, tenant: &Tenant) -> PathBuf {
        self.buckets.join(&tenant.bucket)
    }

    /// Where the blobs of a bucket lie.
    pub(super) fn blobs(&self, tenant: &Tenant) -> PathBuf {
        self.bucket(tenant).join("blobs")
    }

    pub(super) fn has_bucket(&self, tenant: &Tenant) -> bool {
        self.blobs(tenant).is_dir()
    }

    pub(super) fn require_bucket(&self, tenant: &Tenant) -> Result<(), StoreError> {
        if !self.has_bucket(tenant) {
            return Err(StoreError::NoSuchBucket);
        }
        // Whoever made it was told that it may not last.
        if self.unsettled.contains(&self.bucket(tenant)) { self.create_bucket(tenant) } else { Ok(()) }
    }

    pub(super) fn create_bucket(&self, tenant: &Tenant) -> Result<(), StoreError> {
        let _names = self.lock();
        let bucket = self.bucket(tenant);
        self.unsettled.add(&bucket, []);
        // The folder that says that there is a bucket comes last.
        for folder in ["objects", "uploads", "blobs"] {
            fs::create_dir_all(bucket.join(folder))?;
        }
        sync_folder(&bucket)?;
        sync_folder(&self.buckets)?;
        self.unsettled.remove(&bucket);
        Ok(())
    }

    fn objects(&self, tenant: &Tenant) -> PathBuf {
        self.bucket(tenant).join("objects")
    }

    fn object_path(&self, tenant: &Tenant, key: &str) -> Result<PathBuf, StoreError> {
        if key.len() > MAX_KEY_BYTES {
            return Err(StoreError::KeyTooLong);
        }
        Ok(self.objects(tenant).join(hex::encode(key)))
    }

    pub(super) fn object(&self, tenant: &Tenant, key: &str) -> Result<ObjectManifest, StoreError> {
        self.require_bucket(tenant)?;
        let path = self.object_path(tenant, key)?;
        let mut found = manifest::read(tenant, &path)?;
        // Asked afterwards: who saw a name before it lasts finds it here.
        if self.unsettled.contains(&path) {
            let _names = self.lock();
            self.settle(tenant)?;
            found = manifest::read(tenant, &path)?;
        }
        found.ok_or(StoreError::NoSuchKey)
    }

    /// Makes the names of objects last, where a writer did not come as far as that, and removes what stood in their place.
    fn settle(&self, tenant: &Tenant) -> Result<(), StoreError> {
        for (path, replaced) in self.unsettled.settle(&self.objects(tenant))? {
            self.remove_unused(tenant, &path, replaced)?;
        }
        Ok(())
    }

    /// Makes an object of a blob and gives its tag. What stood there before is gone afterwards.
    pub(super) fn put(
        &self,
        tenant: &Tenant,
        key: String,
        content_type: Option<String>,
        blob: Unnamed,
        modified: i64,
    ) -> Result<String, StoreError> {
        let path = self.object_path(tenant, &key)?;
        let segment = blob.segment().cloned().ok_or(StoreError::Incomplete)?;
        let (etag, size) = (etag_of(&segment), segment.size);
        let segments = vec![segment];
        let object = ObjectManifest { key, content_type, etag: etag.clone(), size, modified, segments };
        let mut names = self.lock();
        let written = self.write_object(&mut names, tenant, &path, &object)?;
        let _ = blob.keep();
        written.lasts()?;
        self.remove_unused(tenant, &path, self.unsettled.remove(&path))?;
        Ok(etag)
    }

    pub(super) fn delete(&self, tenant: &Tenant, key: &str) -> Result<(), StoreError> {
        let path = self.object_path(tenant, key)?;
        let mut names = self.lock();
        if !path.exists() {
            return self.settle(tenant);
        }
        self.unsettled.add(&path, manifest::blobs(&path)?);
        fs::remove_file(&path)?;
        if let Some(names) = names.get_mut(&tenant.bucket) {
            names.remove(&hex::encode(key));
        }
        sync_folder(&self.objects(tenant))?;
        self.remove_unused(tenant, &path, self.unsettled.remove(&path))
    }

    pub(super) fn remove_blobs(
        &self,
        tenant: &Tenant,
        blobs: impl IntoIterator<Item = String>,
    ) -> Result<(), StoreError> {
        let folder = self.blobs(tenant);
        for blob in blobs {
            remove(&folder.join(blob))?;
        }
        Ok(sync_folder(&folder)?)
    }

    /// Removes blobs apart from those of an object: where an error came after it had its name, others may name them too.
    fn remove_unused(
        &self,
        tenant: &Tenant,
        object: &Path,
        blobs: impl IntoIterator<Item = String>,
    ) -> Result<(), StoreError> {
        let used: BTreeSet<_> = named_before(object)?.into_iter().collect();
        self.remove_blobs(tenant, blobs.into_iter().filter(|blob| !used.contains(blob)))
    }

    /// Objects whose key begins with `prefix` and comes after `after`, in the order of their keys, and whether there are
    /// more.
    pub(super) fn list(
        &self,
        tenant: &Tenant,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<(Vec<ObjectManifest>, bool), StoreError> {
        self.require_bucket(tenant)?;
        // Hexadecimal digits keep the order of bytes.
        let (prefix, after) = (hex::encode(prefix), hex::encode(after));
        let folder = self.objects(tenant);
        let mut found: Vec<String> = {
            let mut names = self.lock();
            self.settle(tenant)?;
            let known = match names.entry(tenant.bucket.clone()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unread) => unread.insert(names_in(&folder)?),
            };
            let from = prefix.as_str().max(after.as_str()).to_owned();
            let rest = known.range(from..).filter(|name| **name > after || after.is_empty());
            rest.take_while(|name| name.starts_with(&prefix)).take(limit + 1).cloned().collect()
        };
        let has_more = found.len() > limit;
        found.truncate(limit);
        let mut objects = Vec::new();
        for name in found {
            // One that was deleted meanwhile is simply not there.
            objects.extend(manifest::read(tenant, &folder.join(name))?);
        }
        Ok((objects, has_more))
    }

    fn write_object(
        &self,
        names: &mut Names,
        tenant: &Tenant,
        path: &Path,
        object: &ObjectManifest,
    ) -> Result<Named, StoreError> {
        let blobs = object.segments.iter().map(|segment| segment.blob.clone()).collect();
        self.unsettled.add(path, named_before(path)?);
        let written = manifest::write(tenant, path, blobs, object)?;
        if let Some(names) = names.get_mut(&tenant.bucket) {
            names.insert(hex::encode(&object.key));
        }
        Ok(written)
    }

    fn upload_path(&self, tenant: &Tenant, upload_id: &str) -> Result<PathBuf, StoreError> {
        let is_ours = upload_id.len() == 32 && upload_id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_ours {
            return Err(StoreError::NoSuchUpload);
        }
        Ok(self.bucket(tenant).join("uploads").join(upload_id))
    }

    pub(super) fn begin(&self, tenant: &Tenant, upload: &UploadManifest) -> Result<String, StoreError> {
        self.require_bucket(tenant)?;
        self.object_path(tenant, &upload.key)?;
        let upload_id = random_name()?;
        let path = self.upload_path(tenant, &upload_id)?;
        let _names = self.lock();
        fs::create_dir(&path)?;
        manifest::write(tenant, &path.join("upload"), Vec::new(), upload)?.lasts()?;
        sync_folder(path.parent().unwrap_or(&path))?;
        Ok(upload_id)
    }

    /// The upload of that name, if it is one of that key.
    pub(super) fn upload(
        &self,
        tenant: &Tenant,
        upload_id: &str,
        key: &str,
    ) -> Result<UploadManifest, StoreError> {
        let path = self.upload_path(tenant, upload_id)?;
        let upload: Option<UploadManifest> = manifest::read(tenant, &path.join("upload"))?;
        upload.filter(|upload| upload.key == key).ok_or(StoreError::NoSuchUpload)
    }

    pub(super) fn uploads(
        &self,
        tenant: &Tenant,
        prefix: &str,
    ) -> Result<Vec<(String, UploadManifest)>, StoreError> {
        self.require_bucket(tenant)?;
        let mut uploads = Vec::new();
        for path in entries(&self.bucket(tenant).join("uploads"))? {
            let upload: Option<UploadManifest> = manifest::read(tenant, &path.join("upload"))?;
            let name = path.file_name().and_then(|name| name.to_str());
            if let (Some(name), Some(upload)) = (name, upload.filter(|upload| upload.key.starts_with(prefix)))
            {
                uploads.push((name.to_owned(), upload));
            }
        }
        uploads.sort_unstable_by(|left, right| (&left.1.key, &left.0).cmp(&(&right.1.key, &right.0)));
        Ok(uploads)
    }

    /// Makes a part of a blob and gives its tag.
    pub(super) fn put_part(
        &self,
        tenant: &Tenant,
        upload_id: &str,
        key: &str,
        number: u16,
        blob: Unnamed,
        modified: i64,
    ) -> Result<String, StoreError> {
        let path = self.upload_path(tenant, upload_id)?.join(part_name(number));
        let segment = blob.segment().cloned().ok_or(StoreError::Incomplete)?;
        let part = PartManifest { number, etag: etag_of(&segment), modified, segment };
        let _names = self.lock();
        // It may have been finished or given up while the part arrived.
        self.upload(tenant, upload_id, key)?;
        let before = named_before(&path)?;
        let written = manifest::write(tenant, &path, vec![part.segment.blob.clone()], &part)?;
        let _ = blob.keep();
        written.lasts()?;
        self.remove_unused(tenant, &self.object_path(tenant, key)?, before)?;
        Ok(part.etag)
    }

    pub(super) fn parts(
        &self,
        tenant: &Tenant,
        upload_id: &str,
        key: &str,
    ) -> Result<Vec<PartManifest>, StoreError> {
        self.upload(tenant, upload_id, key)?;
        let mut parts: Vec<PartManifest> = Vec::new();
        for path in entries(&self.upload_path(tenant, upload_id)?)? {
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"part-")) {
                parts.extend(manifest::read(tenant, &path)?);
            }
        }
        parts.sort_unstable_by_key(|part| part.number);
        Ok(parts)
    }

    /// Makes one object of the parts that are named, by number and tag; `only_new` where there is none yet.
    pub(super) fn complete(
        &self,
        tenant: &Tenant,
        upload_id: &str,
        key: &str,
        wanted: &[(u16, String)],
        modified: i64,
        only_new: bool,
    ) -> Result<ObjectManifest, StoreError> {
        let object_path = self.object_path(tenant, key)?;
        let mut names = self.lock();
        if only_new && object_path.exists() {
            // Who is told so takes the bytes for stored, and ends the upload that has them too.
            self.settle(tenant)?;
            return Err(StoreError::Exists);
        }
        let upload = self.upload(tenant, upload_id, key)?;
        let stored = self.parts(tenant, upload_id, key)?;
        let (segments, etag) = joined(wanted, &stored)?;
        // They became an object before, of which nobody was told, and something else has replaced that.
        let folder = self.blobs(tenant);
        if !segments.iter().all(|segment| folder.join(&segment.blob).exists()) {
            return Err(StoreError::InvalidPart);
        }
        let size = segments.iter().map(|segment| segment.size).sum();
        let content_type = upload.content_type;
        let object = ObjectManifest { key: key.to_owned(), content_type, etag, size, modified, segments };
        self.write_object(&mut names, tenant, &object_path, &object)?.lasts()?;
        let replaced = self.unsettled.remove(&object_path);
        fs::remove_dir_all(self.upload_path(tenant, upload_id)?)?;
        let parts = stored.into_iter().map(|part| part.segment.blob);
        self.remove_unused(tenant, &object_path, replaced.into_iter().chain(parts))?;
        Ok(object)
    }

    pub(super) fn abort(&self, tenant: &Tenant, upload_id: &str, key: &str) -> Result<(), StoreError> {
        let path = self.upload_path(tenant, upload_id)?;
        let _names = self.lock();
        // An object may have been made of it whose name does not last yet.
        self.settle(tenant)?;
        let parts = self.parts(tenant, upload_id, key)?;
        fs::remove_dir_all(&path)?;
        sync_folder(path.parent().unwrap_or(&path))?;
        let object = self.object_path(tenant, key)?;
        self.remove_unused(tenant, &object, parts.into_iter().map(|part| part.segment.blob))
    }
}

/// The blobs that stood under a name so far.
fn named_before(path: &Path) -> Result<Vec<String>, StoreError> {
    if path.exists() { manifest::blobs(path) } else { Ok(Vec::new()) }
}

fn names_in(objects: &Path) -> Result<BTreeSet<String>, StoreError> {
    let names = entries(objects)?.into_iter().filter(|path| !is_unfinished(path));
    Ok(names.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
}

fn part_name(number: u16) -> String {
    format!("part-{number:05}")
}

/// The segments of the named parts, and the tag of the whole.
fn joined(named: &[(u16, String)], stored: &[PartManifest]) -> Result<(Vec<Segment>, String), StoreError> {
    if named.is_empty() {
        return Err(StoreError::InvalidPart);
    }
    if !named.is_sorted_by(|left, right| left.0 < right.0) {
        return Err(StoreError::InvalidPartOrder);
    }
    let (mut segments, mut digest) = (Vec::with_capacity(named.len()), Sha256::new());
    for (index, (number, etag)) in named.iter().enumerate() {
        let part = stored.iter().find(|part| part.number == *number && part.etag == *etag);
        let part = part.ok_or(StoreError::InvalidPart)?;
        if part.segment.size < MIN_PART_BYTES && index + 1 < named.len() {
            return Err(StoreError::TooSmall);
        }
        digest.update(part.segment.sha256.as_bytes());
        segments.push(part.segment.clone());
    }
    let mut etag = hex::encode(digest.finalize());
    etag.truncate(32);
    Ok((segments, format!("{etag}-{}", named.len())))
}
