//! Finds the server's programs. Nothing is downloaded.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::PostgresError;

/// The oldest major version that Carelog's SQL runs on.
pub const MINIMUM_MAJOR: u32 = 15;

/// A directory with `postgres` and `initdb` of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// The directory.
    pub directory: PathBuf,
    /// The major version, for example 15.
    pub major: u32,
}

impl Binaries {
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Looks in `CARELOG_PG_BIN` (alone, when set), `PATH`, what `pg_config` says,
/// and the places where packages put PostgreSQL, newest first.
///
/// # Errors
/// [`PostgresError::BinariesMissing`] with the line that installs them.
pub fn find_binaries() -> Result<Binaries, PostgresError> {
    find_all().and_then(|all| all.into_iter().next().ok_or_else(missing))
}

/// The programs which can open these data: those of the same major version, or
/// the first found when there are no data yet.
pub(super) fn find_for(data: &Path) -> Result<Binaries, PostgresError> {
    let all = find_all()?;
    let first = all.first().ok_or_else(missing)?.clone();
    let Some(data_major) = data_major(data)? else { return Ok(first) };
    all.into_iter().find(|found| found.major == data_major).ok_or_else(|| PostgresError::OtherMajor {
        data: data.to_path_buf(),
        data_major,
        installed_major: first.major,
    })
}

pub(super) fn find_program(name: &str, directory: &Path) -> Option<PathBuf> {
    let paths = env::var_os("PATH").unwrap_or_default();
    let directories = std::iter::once(directory.to_path_buf()).chain(env::split_paths(&paths));
    directories.map(|directory| directory.join(name)).find(|program| program.is_file())
}

fn find_all() -> Result<Vec<Binaries>, PostgresError> {
    if let Some(chosen) = env::var_os("CARELOG_PG_BIN") {
        let chosen = PathBuf::from(chosen);
        let searched = chosen.display().to_string();
        return match inspect(&chosen) {
            Some(found) => Ok(vec![found]),
            None => Err(PostgresError::BinariesMissing { searched }),
        };
    }
    let mut all: Vec<Binaries> = Vec::new();
    for directory in candidates() {
        if all.iter().all(|known| known.directory != directory) {
            all.extend(inspect(&directory));
        }
    }
    Ok(all)
}

fn missing() -> PostgresError {
    PostgresError::BinariesMissing { searched: "PATH and the usual places".to_owned() }
}

fn candidates() -> Vec<PathBuf> {
    let paths = env::var_os("PATH").unwrap_or_default();
    // Links lead to the directory where `postgres` and `initdb` sit together.
    let in_path = env::split_paths(&paths)
        .filter_map(|directory| fs::canonicalize(directory.join("postgres")).ok())
        .filter_map(|program| program.parent().map(Path::to_path_buf));
    in_path.chain(from_pg_config()).chain(from_packages()).collect()
}

fn from_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let directory = String::from_utf8(output.stdout).ok()?;
    fs::canonicalize(directory.trim()).ok()
}

fn from_packages() -> Vec<PathBuf> {
    /// Parent, beginning of the versioned name, and what follows it.
    const PLACES: [(&str, &str, &str); 7] = [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr", "pgsql-", "bin"),
        ("/usr/libexec", "postgresql", ""),
        ("/usr/lib", "postgresql", "bin"),
        ("/opt/homebrew/opt", "postgresql@", "bin"),
        ("/usr/local/opt", "postgresql@", "bin"),
        ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ];
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for (parent, prefix, below) in PLACES {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let version = name.to_str().and_then(|name| name.strip_prefix(prefix)?.parse().ok());
            found.extend(version.map(|version| (version, entry.path().join(below))));
        }
    }
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, directory)| directory).collect()
}

/// `None` unless both programs are there in a usable version.
fn inspect(directory: &Path) -> Option<Binaries> {
    if !directory.join("initdb").is_file() {
        return None;
    }
    let output = Command::new(directory.join("postgres")).arg("--version").output().ok()?;
    let major = parse_major(std::str::from_utf8(&output.stdout).ok()?)?;
    (major >= MINIMUM_MAJOR).then(|| Binaries { directory: directory.to_path_buf(), major })
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian 15.18-1)` and `…) 18beta1`.
pub(super) fn parse_major(version: &str) -> Option<u32> {
    let (_, number) = version.split_once("(PostgreSQL) ")?;
    let digits = number.split(|character: char| !character.is_ascii_digit()).next()?;
    digits.parse().ok()
}

fn data_major(data: &Path) -> Result<Option<u32>, PostgresError> {
    let file = data.join("PG_VERSION");
    match fs::read_to_string(&file) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(PostgresError::io("read", &file)(error)),
    }
}
