//! A private PostgreSQL server: found, initialised, started, watched, stopped.
//!
//! [`Postgres::start`] owns the server: one thread holds the lock on the home,
//! starts `postgres` as its child and restarts it when it dies.
//! [`Postgres::attach`] lets a second process (`carelog psql`, `doctor`) use a
//! server which another process owns.
//!
//! The home holds:
//!
//! | path | what |
//! |---|---|
//! | `postgres.lock` | locked by the owner, holds its process id |
//! | `postgres.json` | password and socket of the server, mode 0600 |
//! | `postgres/` | owned by the service account: `data` and `run` (the socket) |
//!
//! PostgreSQL refuses to run as root, so root hands it to the account
//! `postgres`, or else `nobody`. A killed owner takes its server along (a
//! parent-death signal through `setpriv`); where `setpriv` is missing, the next
//! start stops what was left behind. A graceful start after either loses
//! nothing: the server is durable unless [`Durability::TestOnly`] was asked for.

mod account;
mod binaries;
mod error;
mod home;
mod initialize;
mod install;
mod leftovers;
mod server;
mod settings;
mod supervisor;
mod test_server;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::binaries::{Binaries, MINIMUM_MAJOR, find_binaries};
pub use self::error::PostgresError;
pub use self::home::default_home;
pub use self::install::install_with_package_manager;
pub use self::test_server::TestServer;

use self::home::{Access, Home};
use self::supervisor::Supervisor;

/// Whether a commit survives a crash of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// `fsync`, `full_page_writes` and `synchronous_commit` are on.
    Durable,
    /// `fsync` and `full_page_writes` are off: for tests, never for records.
    TestOnly,
}

/// How to start a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// The directory of [`default_home`], or any other; created when missing.
    pub home: PathBuf,
    /// Durable unless changed.
    pub durability: Durability,
    /// Settings (`name`, `value`) which win over the built-in tuning.
    pub settings: Vec<(String, String)>,
    /// How long the server may take to answer. Crash recovery replays at most
    /// `max_wal_size` of log, which takes minutes on a slow disk.
    pub start_timeout: Duration,
    /// Whether `setpriv` may be used to tie the server's life to ours; tests
    /// turn it off to leave an orphan behind.
    pub(crate) death_signal: bool,
}

impl PostgresOptions {
    /// A durable server with the default tuning.
    pub fn new(home: impl Into<PathBuf>) -> Self {
        Self {
            home: home.into(),
            durability: Durability::Durable,
            settings: Vec::new(),
            start_timeout: Duration::from_mins(10),
            death_signal: true,
        }
    }

    /// Sets the durability.
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Adds a setting which wins over the built-in tuning.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }
}

/// Where the server is in its life, as its owner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostgresState {
    /// Being started for the first time.
    Starting,
    /// Answers queries.
    Ready {
        /// Process id of the postmaster.
        pid: u32,
    },
    /// Died unexpectedly and is being started again.
    Restarting {
        /// Counts from 1 since the server was last ready.
        attempt: u32,
    },
    /// Stopped; its processes are gone and the home is unlocked.
    Stopped,
}

/// How often a process that uses another's server asks whether that process has ended.
const TAKE_OVER_POLL: Duration = Duration::from_millis(500);
/// How often a process that waits for another's server asks whether it answers.
const ATTACH_POLL: Duration = Duration::from_millis(50);

/// A running private server: owned ([`Postgres::start`]) or borrowed
/// ([`Postgres::attach`]).
///
/// Dropping an owned one stops the server without waiting for it; prefer
/// [`Postgres::stop`].
#[derive(Debug)]
pub struct Postgres {
    home: Home,
    access: Access,
    supervision: Option<Supervision>,
}

#[derive(Debug)]
struct Supervision {
    state: watch::Receiver<PostgresState>,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl Postgres {
    /// Starts the server of this home, creating it when it is new, and returns
    /// once it answers queries.
    ///
    /// # Errors
    /// [`PostgresError::BinariesMissing`] when PostgreSQL is not installed,
    /// [`PostgresError::AlreadyRunning`] when another owner holds the home,
    /// [`PostgresError::OtherMajor`] when the data belong to a version that is
    /// not installed, [`PostgresError::NotTraversable`] when the service account
    /// cannot reach the home.
    pub fn start(options: PostgresOptions) -> BoxFuture<'static, Result<Self, PostgresError>> {
        Box::pin(async move {
            let (state_sender, state) = watch::channel(PostgresState::Starting);
            let (ready_sender, ready) = oneshot::channel();
            let stop = CancellationToken::new();
            let stop_on_drop = stop.clone().drop_guard();

            let supervisor = Supervisor::new(options, state_sender, stop.clone());
            supervisor.spawn(ready_sender)?;
            let (home, access) = ready.await.map_err(|_| PostgresError::SupervisorGone)??;

            let supervision = Supervision { state, stop, _stop_on_drop: stop_on_drop };
            Ok(Self { home, access, supervision: Some(supervision) })
        })
    }

    /// Uses the server which another process (or another part of this one)
    /// owns.
    ///
    /// # Errors
    /// [`PostgresError::NotRunning`] when nothing answers.
    pub async fn attach(home: impl AsRef<Path>) -> Result<Self, PostgresError> {
        let home = Home::existing(home.as_ref())?;
        let access = home.read_access()?.ok_or_else(|| home.not_running())?;
        server::answers(&access).await.map_err(|_| home.not_running())?;
        Ok(Self { home, access, supervision: None })
    }

    /// Uses the server that another process owns, or starts it. While another process starts or stops it, this one waits,
    /// as long as a start may take.
    ///
    /// # Errors
    /// As [`Postgres::start`]; [`PostgresError::AlreadyRunning`] when the other one takes too long.
    pub async fn attach_or_start(options: PostgresOptions) -> Result<Self, PostgresError> {
        let deadline = Instant::now() + options.start_timeout;
        loop {
            match Self::attach(&options.home).await {
                Err(PostgresError::NotRunning { .. }) => {}
                attached => return attached,
            }
            match Self::start(options.clone()).await {
                Err(PostgresError::AlreadyRunning { .. }) if Instant::now() < deadline => {}
                started => return started,
            }
            tokio::time::sleep(ATTACH_POLL).await;
        }
    }

    /// Waits until the owner of an attached server ends, and starts it again as its owner, under the same address.
    /// Returns at once for an owned one.
    ///
    /// # Errors
    /// As [`Postgres::start`].
    pub async fn take_over(&mut self) -> Result<(), PostgresError> {
        while self.supervision.is_none() {
            tokio::time::sleep(TAKE_OVER_POLL).await;
            match Self::start(PostgresOptions::new(self.home())).await {
                Ok(owned) => *self = owned,
                Err(PostgresError::AlreadyRunning { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// How to connect to a database as the superuser `postgres`.
    pub fn connect_options(&self, database: &str) -> PgConnectOptions {
        self.access.connect_options(database)
    }

    /// The same as a URL for `psql` and for `DATABASE_URL`. Holds the password.
    pub fn url(&self, database: &str) -> String {
        self.access.url(database)
    }

    /// The directory of the server's socket.
    pub fn socket_directory(&self) -> &Path {
        &self.access.socket_directory
    }

    /// The home this server belongs to.
    pub fn home(&self) -> &Path {
        self.home.root()
    }

    /// `psql`, beside the server's other programs or in `PATH`.
    pub fn psql_binary(&self) -> Option<PathBuf> {
        binaries::find_program("psql", &self.access.binaries)
    }

    /// Process id of the postmaster, while one runs.
    pub fn postmaster_pid(&self) -> Option<u32> {
        match self.supervision.as_ref().map(|supervision| *supervision.state.borrow()) {
            Some(PostgresState::Ready { pid }) => Some(pid),
            Some(_) => None,
            None => leftovers::recorded_pid(&self.home).and_then(|pid| u32::try_from(pid).ok()),
        }
    }

    /// Follows the life of an owned server; `None` for an attached one.
    pub fn watch(&self) -> Option<watch::Receiver<PostgresState>> {
        self.supervision.as_ref().map(|supervision| supervision.state.clone())
    }

    /// Stops an owned server: fast shutdown, after 5 s an immediate one; returns
    /// when its processes are gone. Does nothing to an attached one.
    pub fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let Some(supervision) = &self.supervision else { return };
            supervision.stop.cancel();
            let mut state = supervision.state.clone();
            // An error means that the sender is gone, and the supervisor with it.
            let _ = state.wait_for(|state| *state == PostgresState::Stopped).await;
        })
    }
}

impl Access {
    fn connect_options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.socket_directory)
            .port(self.port)
            .username(home::SUPERUSER)
            .password(&self.password)
            .database(database)
            .ssl_mode(sqlx::postgres::PgSslMode::Disable)
            .disable_statement_logging()
    }

    fn url(&self, database: &str) -> String {
        let host = percent_encode(&self.socket_directory.to_string_lossy());
        let database = percent_encode(database);
        format!("postgres://{}:{}@{host}:{}/{database}", home::SUPERUSER, self.password, self.port)
    }
}

fn percent_encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}
