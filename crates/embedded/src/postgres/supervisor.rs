//! The thread that owns the server.
//!
//! A thread of its own, with its own small runtime: the kernel's parent-death
//! signal fires when the *thread* that started a child ends, which rules out the
//! worker threads of a runtime; and the server then outlives any runtime that a
//! test or a command line builds and drops.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::account::{Account, Launcher};
use super::home::{Access, Home};
use super::initialize::Installation;
use super::server::Server;
use super::{PostgresError, PostgresOptions, PostgresState, binaries, leftovers, settings};

/// After a SIGKILL of the postmaster its children notice within moments, but one
/// in the middle of a long computation holds the shared memory until it is done.
const SHARED_MEMORY_PATIENCE: Duration = Duration::from_secs(20);
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

pub(super) type Ready = oneshot::Sender<Result<(Home, Access), PostgresError>>;

pub(super) struct Supervisor {
    options: PostgresOptions,
    state: watch::Sender<PostgresState>,
    stop: CancellationToken,
}

/// A prepared home; dropping it unlocks the home.
struct Prepared {
    installation: Installation,
    access: Access,
    settings: Vec<(String, String)>,
    _lock: File,
}

impl Supervisor {
    pub(super) fn new(
        options: PostgresOptions,
        state: watch::Sender<PostgresState>,
        stop: CancellationToken,
    ) -> Self {
        Self { options, state, stop }
    }

    /// Starts the thread; `ready` hears once how the first start went.
    pub(super) fn spawn(self, ready: Ready) -> Result<(), PostgresError> {
        let thread = std::thread::Builder::new().name("postgres".to_owned());
        let spawned = thread.spawn(move || {
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(self.run(ready)),
                Err(error) => {
                    // Nobody listens any more when the caller went away.
                    let _ = ready.send(Err(PostgresError::io("build", Path::new("a runtime"))(error)));
                }
            }
        });
        spawned.map(drop).map_err(PostgresError::io("start", Path::new("a thread")))
    }

    async fn run(self, ready: Ready) {
        let first = async {
            let prepared = self.prepare().await?;
            let server = self.first_start(&prepared).await?;
            Ok((prepared, server))
        };
        match first.await {
            Ok((prepared, server)) => {
                let answer = (prepared.installation.home.clone(), prepared.access.clone());
                // A caller that went away has cancelled `stop`.
                let _ = ready.send(Ok(answer));
                self.supervise(&prepared, server).await;
                drop(prepared);
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
        self.state.send_replace(PostgresState::Stopped);
    }

    async fn prepare(&self) -> Result<Prepared, PostgresError> {
        let account = Account::detect()?;
        let home = Home::create(&self.options.home, account.as_ref())?;
        let lock = home.lock()?;
        let binaries = binaries::find_for(&home.data())?;
        let launcher = Launcher::detect(account.clone(), self.options.death_signal).await;
        let durability = self.options.durability;
        let installation = Installation { home, binaries, launcher, account, durability };
        let access = installation.prepare().await?;
        leftovers::clear(&installation.home, &access).await?;
        let settings = settings::all(&installation, &self.options).await;
        Ok(Prepared { installation, access, settings, _lock: lock })
    }

    /// Retries only while the end of an earlier server is in the way; any other
    /// failure is told to the caller at once.
    async fn first_start(&self, prepared: &Prepared) -> Result<Server, PostgresError> {
        let deadline = Instant::now() + SHARED_MEMORY_PATIENCE;
        loop {
            match self.start(prepared).await {
                Err(PostgresError::Start { log }) if is_passing(&log) && Instant::now() < deadline => {
                    sleep(FIRST_BACKOFF).await;
                }
                result => return result,
            }
        }
    }

    async fn start(&self, prepared: &Prepared) -> Result<Server, PostgresError> {
        let mut server = Server::spawn(&prepared.installation, &prepared.access, &prepared.settings)?;
        let ready = tokio::select! {
            ready = server.ready(&prepared.access, self.options.start_timeout) => ready,
            () = self.stop.cancelled() => Err(PostgresError::NotReady { timeout_seconds: 0 }),
        };
        match ready {
            Ok(pid) => {
                tracing::info!(pid, home = %prepared.installation.home.root().display(), "postgres is ready");
                self.state.send_replace(PostgresState::Ready { pid });
                Ok(server)
            }
            Err(error) => {
                server.shut_down().await;
                Err(error)
            }
        }
    }

    /// Returns when the server was asked to stop and has.
    async fn supervise(&self, prepared: &Prepared, mut server: Server) {
        loop {
            tokio::select! {
                status = server.ended() => {
                    tracing::warn!(?status, "postgres died and is started again");
                }
                () = self.stop.cancelled() => return server.shut_down().await,
            }
            match self.restart(prepared).await {
                Some(again) => server = again,
                None => return,
            }
        }
    }

    /// `None` when asked to stop meanwhile.
    async fn restart(&self, prepared: &Prepared) -> Option<Server> {
        let mut backoff = FIRST_BACKOFF;
        for attempt in 1_u32.. {
            self.state.send_replace(PostgresState::Restarting { attempt });
            // A stop is heard inside `start`, which cleans up before it returns.
            match self.start(prepared).await {
                Ok(server) => return Some(server),
                Err(error) if backoff < LONGEST_BACKOFF => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        attempt,
                        "postgres did not start yet"
                    );
                }
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    attempt,
                    "postgres does not start"
                ),
            }
            tokio::select! {
                () = sleep(backoff) => backoff = (backoff * 2).min(LONGEST_BACKOFF),
                () = self.stop.cancelled() => return None,
            }
        }
        None
    }
}

/// Whether the server refused to start only because an earlier one is not quite
/// gone yet.
fn is_passing(log: &str) -> bool {
    log.contains("shared memory block") || log.contains("lock file \"")
}
