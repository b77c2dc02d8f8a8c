//! What can go wrong around the private server.

use std::io;
use std::path::{Path, PathBuf};

use super::binaries::MINIMUM_MAJOR;

/// Why the private server cannot be found, started or reached.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No server programs of a usable version.
    #[error(
        "PostgreSQL {MINIMUM_MAJOR} or newer was not found in {searched}; set CARELOG_PG_BIN to the directory \
         of its programs, or install it: Debian and Ubuntu `apt-get install postgresql`, Fedora and RHEL \
         `dnf install postgresql-server`, Alpine `apk add postgresql`, macOS `brew install postgresql@17`"
    )]
    BinariesMissing {
        /// Where it was looked for.
        searched: String,
    },
    /// Another owner holds the home.
    #[error("another carelog{} already runs on {}", of_process(*pid), home.display())]
    AlreadyRunning {
        /// The home.
        home: PathBuf,
        /// Its owner, when it could be read.
        pid: Option<u32>,
    },
    /// Nothing answers on this home.
    #[error("no carelog server runs on {}", home.display())]
    NotRunning {
        /// The home.
        home: PathBuf,
    },
    /// Root has nobody to hand the server to.
    #[error("PostgreSQL does not run as root, and neither `postgres` nor `nobody` is in /etc/passwd")]
    NoServiceAccount,
    /// A directory above the home is closed to the service account.
    #[error(
        "the account `{account}` cannot pass through {}; run `chmod o+x` on it or choose another home",
        directory.display()
    )]
    NotTraversable {
        /// The first closed directory.
        directory: PathBuf,
        /// The service account.
        account: String,
    },
    /// A directory that must be private is somebody else's or open to others.
    #[error("{} exists and is not a private directory of the service account", directory.display())]
    UnsafeDirectory {
        /// The directory.
        directory: PathBuf,
    },
    /// The data belong to another major version.
    #[error(
        "{} was written by PostgreSQL {data_major} but version {installed_major} is installed; install version \
         {data_major}, or move the data with pg_upgrade or with pg_dumpall and psql",
        data.display()
    )]
    OtherMajor {
        /// The data directory.
        data: PathBuf,
        /// The version that wrote it.
        data_major: u32,
        /// The version that was found.
        installed_major: u32,
    },
    /// There are data but no password to reach them.
    #[error("{} exists but {} with its password is missing; restore that file", data.display(), file.display())]
    AccessMissing {
        /// The data directory.
        data: PathBuf,
        /// The missing file.
        file: PathBuf,
    },
    /// The file with the password cannot be understood.
    #[error("{} cannot be read as the server's access file", file.display())]
    AccessInvalid {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The operating system refused something.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file or program.
        path: PathBuf,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// `initdb` failed.
    #[error("initdb failed: {output}")]
    Initialize {
        /// What it wrote.
        output: String,
    },
    /// The server ended before it answered.
    #[error("postgres ended before it answered: {log}")]
    Start {
        /// The last lines of its log.
        log: String,
    },
    /// The server runs but does not answer.
    #[error("postgres did not answer within {timeout_seconds} s")]
    NotReady {
        /// How long it was given.
        timeout_seconds: u64,
    },
    /// A server left behind by a killed owner does not end.
    #[error("process {pid} of an earlier server does not end")]
    Leftover {
        /// Its postmaster.
        pid: i32,
    },
    /// The installation through the package manager failed.
    #[error("PostgreSQL cannot be installed")]
    Install(#[from] crate::packages::InstallError),
    /// A statement failed.
    #[error("a statement failed on the private server")]
    Database(#[from] sqlx::Error),
    /// A database name which would need quoting.
    #[error("`{name}` is not a database name: 1 to 63 of a-z, 0-9 and _, not beginning with a digit")]
    DatabaseName {
        /// The refused name.
        name: String,
    },
    /// The supervising thread ended without a word.
    #[error("the supervisor of postgres ended unexpectedly")]
    SupervisorGone,
}

impl PostgresError {
    /// For `map_err` on the results of `std::fs` and of commands.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}

fn of_process(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}
