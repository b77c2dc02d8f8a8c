//! The database of a storm: one server that its supervisor starts again, or a pair of which one takes over.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use carelog_embedded::postgres::{Postgres, PostgresOptions, PostgresState, find_binaries};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};

use crate::until;

const RESTART_TIMEOUT: Duration = Duration::from_secs(30);

/// The server that clients reach, and the one that waits.
pub(super) struct Cluster {
    serving: Postgres,
    standby: Option<Standby>,
}

/// A synchronous standby. Clients reach the server that `address` leads to, as by an address that moves.
struct Standby {
    postgres: Postgres,
    address: PathBuf,
}

impl Cluster {
    /// A server alone.
    pub(super) async fn alone(home: &Path) -> Self {
        Self { serving: start(&home.join("postgres")).await, standby: None }
    }

    /// A primary that acknowledges a commit when its standby has flushed it too.
    pub(super) async fn with_standby(home: &Path) -> Self {
        let primary = start(&home.join("postgres")).await;
        let copy = home.join("standby");
        copy_server(&primary, &copy).await;
        let postgres = start(&copy).await;
        let address = home.join("address");
        symlink(primary.socket_directory(), &address).unwrap();
        let mut connection = connect(&primary).await;
        for statement in ["alter system set synchronous_standby_names = '*'", "select pg_reload_conf()"] {
            connection.execute(statement).await.unwrap();
        }
        until("the standby is synchronous", async || {
            let synchronous = "select count(*) from pg_stat_replication where sync_state = 'sync'";
            (count(&mut connection, synchronous).await == 1).then_some(())
        })
        .await;
        Self { serving: primary, standby: Some(Standby { postgres, address }) }
    }

    /// How clients connect to a database.
    pub(super) fn connect_options(&self, database: &str) -> PgConnectOptions {
        let options = self.serving.connect_options(database);
        match &self.standby {
            Some(standby) => options.socket(&standby.address),
            None => options,
        }
    }

    /// The same as a URL.
    pub(super) fn url(&self, database: &str) -> String {
        self.connect_options(database).to_url_lossy().into()
    }

    /// Kills the server, and waits until it was started again.
    pub(super) async fn kill(&self) {
        let killed = self.serving.postmaster_pid().unwrap();
        kill(killed, Signal::KILL);
        let mut states = self.serving.watch().unwrap();
        let is_new = |state: &PostgresState| matches!(state, PostgresState::Ready { pid } if *pid != killed);
        tokio::time::timeout(RESTART_TIMEOUT, states.wait_for(is_new)).await.unwrap().unwrap();
    }

    /// The primary dies with everything it runs, and the standby serves.
    ///
    /// The address moves first: the supervisor starts the old primary again, and whoever connected to it then would
    /// wait for a standby that no longer follows.
    pub(super) async fn fail_over(&mut self) {
        let Standby { postgres, address } = self.standby.as_ref().unwrap();
        let unfinished = address.with_extension("new");
        symlink(postgres.socket_directory(), &unfinished).unwrap();
        fs::rename(unfinished, address).unwrap();
        kill_with_children(self.serving.postmaster_pid().unwrap());
        let mut connection = connect(postgres).await;
        let promoted: bool =
            sqlx::query_scalar("select pg_promote()").fetch_one(&mut connection).await.unwrap();
        assert!(promoted, "the standby takes over");
    }

    pub(super) async fn stop(self) {
        if let Some(standby) = self.standby {
            standby.postgres.stop().await;
        }
        self.serving.stop().await;
    }
}

async fn start(home: &Path) -> Postgres {
    Postgres::start(PostgresOptions::new(home).setting("shared_buffers", "64MB")).await.unwrap()
}

async fn connect(postgres: &Postgres) -> PgConnection {
    PgConnection::connect_with(&postgres.connect_options("postgres")).await.unwrap()
}

async fn count(connection: &mut PgConnection, statement: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(statement.to_owned())).fetch_one(connection).await.unwrap()
}

/// Makes the home of a standby: a server's home whose data are a copy of the primary's.
async fn copy_server(primary: &Postgres, home: &Path) {
    start(home).await.stop().await;
    let data = home.join("postgres/data");
    fs::remove_dir_all(&data).unwrap();
    let program = find_binaries().unwrap().directory.join("pg_basebackup");
    let url = primary.url("replication");
    let copied = tokio::process::Command::new(program)
        .args(["--checkpoint=fast", "--write-recovery-conf", "--no-sync", "--pgdata"])
        .arg(&data)
        .args(["--dbname", &url])
        .status()
        .await
        .unwrap();
    assert!(copied.success());
    let owner = format!("--reference={}", data.parent().unwrap().display());
    let handed_over = tokio::process::Command::new("chown").args(["-R", &owner]).arg(&data).status();
    assert!(handed_over.await.unwrap().success());
    // The superuser's password is copied with the data.
    fs::copy(primary.home().join("postgres.json"), home.join("postgres.json")).unwrap();
}

/// As when a machine loses its power: nobody has time for a last word.
fn kill_with_children(postmaster: u32) {
    kill(postmaster, Signal::STOP);
    let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap();
    for child in children.split_whitespace() {
        kill(child.parse().unwrap(), Signal::KILL);
    }
    kill(postmaster, Signal::KILL);
}

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}
