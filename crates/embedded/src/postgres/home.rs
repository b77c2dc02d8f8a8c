//! The directory of a server: its layout, its lock, its access file.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::PostgresError;
use super::account::Account;

pub(super) const SUPERUSER: &str = "postgres";
/// Names the socket only: nothing listens on TCP.
pub(super) const PORT: u16 = 5432;
/// `sun_path` without its final zero byte.
const SOCKET_PATH_BYTES: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// `CARELOG_HOME`, or `/var/lib/carelog` for root, or `carelog` in the user's
/// data directory (`XDG_DATA_HOME`, `~/.local/share`).
pub fn default_home() -> PathBuf {
    if let Some(home) = env::var_os("CARELOG_HOME") {
        return PathBuf::from(home);
    }
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/carelog");
    }
    let user = || env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
    let data = env::var_os("XDG_DATA_HOME").map_or_else(|| user().join(".local/share"), PathBuf::from);
    data.join("carelog")
}

/// What a client needs; kept in `postgres.json`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Access {
    pub(super) password: String,
    pub(super) socket_directory: PathBuf,
    pub(super) port: u16,
    pub(super) binaries: PathBuf,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Access")
            .field("socket_directory", &self.socket_directory)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
pub(super) struct Home {
    root: PathBuf,
}

impl Home {
    pub(super) fn existing(path: &Path) -> Result<Self, PostgresError> {
        match fs::canonicalize(path) {
            Ok(root) => Ok(Self { root }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(PostgresError::NotRunning { home: path.to_path_buf() })
            }
            Err(error) => Err(PostgresError::io("open", path)(error)),
        }
    }

    /// Creates what is missing. Others may pass through the directories which
    /// root creates, because the service account must; its own are private.
    pub(super) fn create(path: &Path, account: Option<&Account>) -> Result<Self, PostgresError> {
        let path = std::path::absolute(path).map_err(PostgresError::io("resolve", path))?;
        let missing: Vec<&Path> = path.ancestors().take_while(|directory| !directory.exists()).collect();
        let mode = if account.is_some() { 0o711 } else { 0o700 };
        for directory in missing.into_iter().rev() {
            let create = fs::create_dir(directory);
            if !create.as_ref().is_err_and(|error| error.kind() == ErrorKind::AlreadyExists) {
                create.map_err(PostgresError::io("create", directory))?;
                let permissions = Permissions::from_mode(mode);
                fs::set_permissions(directory, permissions)
                    .map_err(PostgresError::io("open up", directory))?;
            }
        }
        let home = Self::existing(&path)?;
        if let Some(account) = account {
            home.check_traversable(account)?;
        }
        create_private(&home.base(), account)?;
        Ok(home)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The only directory that belongs to the service account.
    pub(super) fn base(&self) -> PathBuf {
        self.root.join("postgres")
    }

    pub(super) fn data(&self) -> PathBuf {
        self.base().join("data")
    }

    pub(super) fn access_file(&self) -> PathBuf {
        self.root.join("postgres.json")
    }

    pub(super) fn not_running(&self) -> PostgresError {
        PostgresError::NotRunning { home: self.root.clone() }
    }

    /// Locks the home for as long as the returned file is open. The kernel
    /// releases it when the owner dies, however that happens.
    pub(super) fn lock(&self) -> Result<File, PostgresError> {
        let path = self.root.join("postgres.lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(PostgresError::io("open", &path))?;
        if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(PostgresError::io("lock", &path)(error.into()));
            }
            let mut holder = String::new();
            // The message is still right without the holder's number.
            let _ = file.read_to_string(&mut holder);
            return Err(PostgresError::AlreadyRunning {
                home: self.root.clone(),
                pid: holder.trim().parse().ok(),
            });
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(PostgresError::io("write", &path))?;
        Ok(file)
    }

    /// The directory of the socket: inside the home, or a short one when the
    /// home's own path is too long for a socket.
    pub(super) fn socket_directory(&self, account: Option<&Account>) -> Result<PathBuf, PostgresError> {
        let own = self.base().join("run");
        let socket = own.join(format!(".s.PGSQL.{PORT}"));
        let directory =
            if socket.as_os_str().len() <= SOCKET_PATH_BYTES { own } else { self.short_directory() };
        create_private(&directory, account)?;
        Ok(directory)
    }

    pub(super) fn read_access(&self) -> Result<Option<Access>, PostgresError> {
        let file = self.access_file();
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(PostgresError::io("read", &file)(error)),
        };
        let access = serde_json::from_slice(&text);
        access.map(Some).map_err(|source| PostgresError::AccessInvalid { file, source })
    }

    /// Replaces the file as a whole: a reader sees the old one or the new one.
    pub(super) fn write_access(&self, access: &Access) -> Result<(), PostgresError> {
        let text = serde_json::to_vec_pretty(access).expect("strings, paths from UTF-8 homes and numbers");
        let file = self.access_file();
        let next = file.with_extension("json.next");
        write_private(&next, &text, None)?;
        fs::rename(&next, &file).map_err(PostgresError::io("replace", &file))?;
        sync_directory(&self.root)
    }

    fn short_directory(&self) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        self.root.hash(&mut hasher);
        let root = rustix::process::geteuid().is_root() && Path::new("/run").is_dir();
        let parent = if root { "/run" } else { "/tmp" };
        Path::new(parent).join(format!("carelog-{:016x}", hasher.finish()))
    }

    fn check_traversable(&self, account: &Account) -> Result<(), PostgresError> {
        let ancestors: Vec<&Path> = self.root.ancestors().collect();
        for directory in ancestors.into_iter().rev() {
            let metadata = fs::metadata(directory).map_err(PostgresError::io("examine", directory))?;
            let bit = if metadata.uid() == account.uid {
                0o100
            } else if metadata.gid() == account.gid {
                0o010
            } else {
                0o001
            };
            if metadata.mode() & bit == 0 {
                let (directory, account) = (directory.to_path_buf(), account.name.clone());
                return Err(PostgresError::NotTraversable { directory, account });
            }
        }
        Ok(())
    }
}

/// Writes a file which only its owner can read, and which is not there yet or
/// is ours to replace.
pub(super) fn write_private(
    path: &Path,
    content: &[u8],
    owner: Option<&Account>,
) -> Result<(), PostgresError> {
    let _ = fs::remove_file(path);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        if let Some(account) = owner {
            std::os::unix::fs::fchown(&file, Some(account.uid), Some(account.gid))?;
        }
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(PostgresError::io("write", path))
}

pub(super) fn sync_directory(path: &Path) -> Result<(), PostgresError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(PostgresError::io("sync", path))
}

/// Creates a directory of mode 0700 for the service account; accepts one that
/// is exactly that already, and an empty one of ours, which a start that was
/// killed has not handed over yet. A link or a stranger's directory, which
/// others could have put into `/tmp`, is refused.
fn create_private(path: &Path, account: Option<&Account>) -> Result<(), PostgresError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => hand_over(path, account),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let metadata = fs::symlink_metadata(path).map_err(PostgresError::io("examine", path))?;
            let ours = rustix::process::geteuid().as_raw();
            let owner = account.map_or(ours, |account| account.uid);
            let is_private = metadata.is_dir() && metadata.mode() & 0o777 == 0o700;
            if is_private && metadata.uid() == owner {
                return Ok(());
            }
            if is_private && metadata.uid() == ours {
                if is_empty(path)? {
                    return hand_over(path, account);
                }
                // Whoever made it may have handed it over and filled it just now.
                let now = fs::symlink_metadata(path).map_err(PostgresError::io("examine", path))?;
                if now.uid() == owner {
                    return Ok(());
                }
            }
            Err(PostgresError::UnsafeDirectory { directory: path.to_path_buf() })
        }
        Err(error) => Err(PostgresError::io("create", path)(error)),
    }
}

fn hand_over(path: &Path, account: Option<&Account>) -> Result<(), PostgresError> {
    let Some(account) = account else { return Ok(()) };
    chown(path, Some(account.uid), Some(account.gid)).map_err(PostgresError::io("hand over", path))
}

fn is_empty(path: &Path) -> Result<bool, PostgresError> {
    let mut entries = fs::read_dir(path).map_err(PostgresError::io("examine", path))?;
    Ok(entries.next().is_none())
}
