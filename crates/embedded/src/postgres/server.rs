//! One run of `postgres` as our child: start it, wait until it answers, stop it.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{ConnectOptions, Connection};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::PostgresError;
use super::home::Access;
use super::initialize::Installation;

const READY_POLL: Duration = Duration::from_millis(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const FAST_SHUTDOWN: Duration = Duration::from_secs(5);
/// After SIGQUIT the postmaster itself kills its children within 5 s.
const IMMEDIATE_SHUTDOWN: Duration = Duration::from_secs(10);
/// The log ends when the last child has closed it, shortly after the postmaster.
const LOG_END: Duration = Duration::from_millis(500);
const LOG_LINES_KEPT: usize = 12;

/// PostgreSQL lets every role into the databases that it comes with, and there nobody looks after what a role may do.
const CLOSE_TO_PUBLIC: &str = "
    do $$ begin
        if has_database_privilege('public', 'postgres', 'connect, temporary')
            or has_database_privilege('public', 'template1', 'connect, temporary') then
            revoke connect, temporary on database postgres, template1 from public;
        end if;
    end $$";

/// Runs `select 1` over the socket.
pub(super) async fn answers(access: &Access) -> Result<(), sqlx::Error> {
    ask(access, "select 1").await
}

async fn ask(access: &Access, statement: &'static str) -> Result<(), sqlx::Error> {
    let attempt = async {
        let mut connection = access.connect_options("postgres").connect().await?;
        sqlx::raw_sql(statement).execute(&mut connection).await?;
        connection.close().await
    };
    timeout(ANSWER_TIMEOUT, attempt).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// A child that is being started or runs.
pub(super) struct Server {
    child: Child,
    log: Log,
    log_reader: TaskTracker,
}

impl Server {
    /// Must be called on the thread that lives as long as the server should.
    pub(super) fn spawn(
        installation: &Installation,
        access: &Access,
        settings: &[(String, String)],
    ) -> Result<Self, PostgresError> {
        let program: PathBuf = installation.binaries.program("postgres");
        let mut command = installation.launcher.command(&program, &installation.home.base());
        command.arg("-D").arg(installation.home.data()).arg("-k").arg(&access.socket_directory);
        command.arg("-p").arg(access.port.to_string());
        for (name, value) in settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(PostgresError::io("run", &program))?;

        let log = Log::default();
        let log_reader = TaskTracker::new();
        if let Some(stderr) = child.stderr.take() {
            log_reader.spawn(log.clone().follow(stderr));
        }
        log_reader.close();
        Ok(Self { child, log, log_reader })
    }

    /// Waits until the server answers, and lets nobody into its own databases. While it recovers from a crash it says
    /// so, which is not yet an answer.
    pub(super) async fn ready(&mut self, access: &Access, patience: Duration) -> Result<u32, PostgresError> {
        let deadline = Instant::now() + patience;
        loop {
            if ask(access, CLOSE_TO_PUBLIC).await.is_ok()
                && let Some(pid) = self.child.id()
            {
                return Ok(pid);
            }
            if !matches!(self.child.try_wait(), Ok(None)) {
                return Err(PostgresError::Start { log: self.last_words().await });
            }
            if Instant::now() >= deadline {
                return Err(PostgresError::NotReady { timeout_seconds: patience.as_secs() });
            }
            sleep(READY_POLL).await;
        }
    }

    /// Waits for the end of the child.
    pub(super) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Fast shutdown, then an immediate one, then none at all. Each of them is
    /// safe for what was committed; the later ones make the next start recover.
    pub(super) async fn shut_down(&mut self) {
        let steps = [
            (Signal::INT, FAST_SHUTDOWN),
            (Signal::QUIT, IMMEDIATE_SHUTDOWN),
            (Signal::KILL, IMMEDIATE_SHUTDOWN),
        ];
        for (signal, patience) in steps {
            // `None` once the child was waited for: its number may be reused.
            let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) else { break };
            if let Err(error) = kill_process(pid, signal) {
                tracing::warn!(%error, "could not signal postgres");
            }
            if timeout(patience, self.child.wait()).await.is_ok() {
                break;
            }
            tracing::warn!(?signal, "postgres did not stop in time");
        }
        let _ = timeout(LOG_END, self.log_reader.wait()).await;
    }

    async fn last_words(&self) -> String {
        let _ = timeout(LOG_END, self.log_reader.wait()).await;
        self.log.last_lines()
    }
}

/// The last lines of the server's log, for the error when it does not start.
#[derive(Clone, Default)]
struct Log {
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Log {
    async fn follow(self, stderr: ChildStderr) {
        let mut lines = BufReader::new(stderr).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            let line = String::from_utf8_lossy(&line);
            tell(&line);
            let mut kept = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == LOG_LINES_KEPT {
                kept.pop_front();
            }
            kept.push_back(line.trim_end().to_owned());
        }
    }

    fn last_lines(&self) -> String {
        let kept = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().map(String::as_str).collect::<Vec<_>>().join("; ")
    }
}

fn tell(line: &str) {
    match line.split_once(':') {
        // Clients that come too early or while it stops; expected in every start.
        Some(("FATAL", text)) if text.contains("the database system is") => {
            tracing::debug!(target: "postgres", "{line}");
        }
        Some(("FATAL" | "PANIC", _)) => tracing::warn!(target: "postgres", "{line}"),
        _ => tracing::debug!(target: "postgres", "{line}"),
    }
}
