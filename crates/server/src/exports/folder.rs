//! Where the files of exports lie until they are in a storage: on the disk of the home, in a folder of each process.
//!
//! The database may lie on the same disk: an export that would leave it no room ends and is tried again later.
//! A process holds a lock on its folder for as long as it lives. Whoever starts removes the folders that nobody holds any
//! more: those of processes that were killed. What exports have read and not stored yet lies beside them, in a folder of
//! each export that outlives the process.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use carelog_domain::OrganizationId;
use tempfile::TempDir;
use uuid::Uuid;

/// Bytes that exports leave free.
const LEAVE_FREE: u64 = 1 << 30;
/// Below `exports`, where the folders of unfinished exports are.
const UNFINISHED: &str = "unfinished";
/// How often the disk is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The folder of this process, which goes with it.
#[derive(Debug)]
pub struct Folder {
    directory: TempDir,
    /// Folders of exports, which stay.
    unfinished: PathBuf,
    /// Bytes of its disk that are left free.
    leave_free: u64,
    _lock: File,
}

impl Folder {
    /// Makes the folder below `exports` in the home, and removes what processes before left there.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn open(home: &Path) -> io::Result<Self> {
        let all = home.join("exports");
        DirBuilder::new().recursive(true).mode(0o700).create(&all)?;
        // Nobody sees a folder that is made and not locked yet.
        let turn = File::open(&all)?;
        turn.lock()?;
        for entry in fs::read_dir(&all)? {
            let entry = entry?;
            // A file is nothing that a process of ours left.
            if entry.file_type()?.is_dir() && entry.file_name() != UNFINISHED {
                remove_unheld(&entry.path())?;
            }
        }
        let directory =
            tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir_in(&all)?;
        let lock = File::open(directory.path())?;
        lock.lock()?;
        let unfinished = all.join(UNFINISHED);
        DirBuilder::new().recursive(true).mode(0o700).create(&unfinished)?;
        Ok(Self { directory, unfinished, leave_free: LEAVE_FREE, _lock: lock })
    }

    /// The folder of an export, made where it is missing. Another process of the same home finds it again.
    pub(super) fn unfinished(&self, organization_id: OrganizationId, export_id: Uuid) -> io::Result<PathBuf> {
        let path = self.of(organization_id, export_id);
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        Ok(path)
    }

    /// The exports that have a folder.
    pub(super) fn all_unfinished(&self) -> io::Result<Vec<(OrganizationId, Uuid)>> {
        let mut exports = Vec::new();
        for entry in fs::read_dir(&self.unfinished)? {
            let name = entry?.file_name();
            let ids = name.to_str().and_then(|name| name.split_once('_'));
            let ids = ids.and_then(|(one, other)| Some((one.parse().ok()?, other.parse().ok()?)));
            exports.extend(
                ids.map(|(organization_id, export_id)| (OrganizationId::new(organization_id), export_id)),
            );
        }
        Ok(exports)
    }

    /// Removes the folder of an export that has ended.
    pub(super) fn forget(&self, organization_id: OrganizationId, export_id: Uuid) -> io::Result<()> {
        match fs::remove_dir_all(self.of(organization_id, export_id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn of(&self, organization_id: OrganizationId, export_id: Uuid) -> PathBuf {
        self.unfinished.join(format!("{organization_id}_{export_id}"))
    }

    /// Waits until the disk is nearly full, and says so.
    pub async fn full(&self) -> io::Error {
        loop {
            match free_bytes(self.path()) {
                Ok(free) if free < self.leave_free => {
                    return io::Error::new(
                        io::ErrorKind::StorageFull,
                        format!("{free} bytes of the disk of {} are free", self.path().display()),
                    );
                }
                Ok(_) => tokio::time::sleep(LOOK_EVERY).await,
                Err(error) => return error,
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

fn free_bytes(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn remove_unheld(folder: &Path) -> io::Result<()> {
    let held = match File::open(folder) {
        Ok(held) => held,
        // Its process has just ended and taken it along.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    match held.try_lock() {
        Ok(()) => fs::remove_dir_all(folder),
        Err(fs::TryLockError::WouldBlock) => Ok(()),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_another_one_holds_is_not() {
        let home = TempDir::new().unwrap();
        let left = home.path().join("exports/left");
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("bundle"), "x").unwrap();
        fs::write(home.path().join("exports/note"), "x").unwrap();

        let one = Folder::open(home.path()).unwrap();
        fs::write(one.path().join("bundle"), "x").unwrap();
        let other = Folder::open(home.path()).unwrap();

        assert!(!left.exists());
        assert!(one.path().join("bundle").exists() && other.path() != one.path());
        let path = one.path().to_path_buf();
        drop(one);
        assert!(!path.exists() && other.path().exists());
    }

    #[test]
    fn what_an_unfinished_export_has_read_outlives_its_process() {
        let home = TempDir::new().unwrap();
        let export = (OrganizationId::new(Uuid::from_u128(1)), Uuid::from_u128(2));
        let killed = Folder::open(home.path()).unwrap();
        let path = killed.unfinished(export.0, export.1).unwrap();
        fs::write(path.join("pages"), "x").unwrap();
        drop(killed);

        let next = Folder::open(home.path()).unwrap();

        assert_eq!(next.all_unfinished().unwrap(), [export]);
        assert_eq!(next.unfinished(export.0, export.1).unwrap(), path);
        assert!(path.join("pages").exists());
        next.forget(export.0, export.1).unwrap();
        next.forget(export.0, export.1).unwrap();
        assert_eq!(next.all_unfinished().unwrap(), []);
    }

    #[tokio::test]
    async fn a_disk_that_is_nearly_full_is_told() {
        let home = TempDir::new().unwrap();
        let folder = Folder { leave_free: u64::MAX, ..Folder::open(home.path()).unwrap() };

        let full = folder.full().await;

        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert!(free_bytes(home.path()).unwrap() > 0);
    }
}
