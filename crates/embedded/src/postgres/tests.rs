use std::fs::{self, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection, Row};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::account::{Account, Launcher, choose};
use super::home::Home;
use super::*;

const PATIENCE: Duration = Duration::from_secs(30);
const OWNER_HOME: &str = "CARELOG_TEST_OWNER_HOME";
const OWNER_DEATH_SIGNAL: &str = "CARELOG_TEST_OWNER_DEATH_SIGNAL";

/// A home below the temporary directory which the service account can reach.
fn new_home() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    directory
}

fn options(home: &TempDir) -> PostgresOptions {
    PostgresOptions::new(home.path()).durability(Durability::TestOnly).setting("shared_buffers", "32MB")
}

async fn install() {
    if find_binaries().is_err() {
        install_with_package_manager().await.unwrap();
    }
}

async fn start(home: &TempDir) -> Postgres {
    install().await;
    Postgres::start(options(home)).await.unwrap()
}

async fn connect(postgres: &Postgres) -> PgConnection {
    postgres.connect_options("postgres").connect().await.unwrap()
}

async fn execute(postgres: &Postgres, statement: &'static str) {
    let mut connection = connect(postgres).await;
    sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn text(postgres: &Postgres, query: &'static str) -> String {
    let mut connection = connect(postgres).await;
    let row = sqlx::raw_sql(query).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    row.get_unchecked(0)
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(number.cast_signed()).unwrap()
}

async fn until_gone(number: u32) {
    let gone = async {
        while leftovers::is_alive(pid(number)) && !is_zombie(number) {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("the process should be gone");
}

/// An orphan whose adopter does not wait for it stays in the process table.
fn is_zombie(number: u32) -> bool {
    fs::read_to_string(format!("/proc/{number}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")))
}

/// Process ids whose working directory is the data directory: the postmaster
/// and all its children.
fn processes_in(data: &Path) -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| fs::read_link(entry.path().join("cwd")).is_ok_and(|directory| directory == data))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Runs [`owner`] in a process of its own and returns once its server is ready.
async fn start_owner(home: &TempDir, death_signal: bool) -> (Child, u32) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "postgres::tests::owner", "--nocapture"])
        .env(OWNER_HOME, home.path())
        .env(OWNER_DEATH_SIGNAL, death_signal.to_string())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(line) = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap() {
        if let Some((_, number)) = line.split_once("postmaster ") {
            return (child, number.parse().unwrap());
        }
    }
    panic!("the owner ended without a server");
}

/// Not a test of its own: the process that [`start_owner`] starts and kills.
#[tokio::test]
async fn owner() {
    let Ok(home) = std::env::var(OWNER_HOME) else { return };
    let mut options = PostgresOptions::new(home).setting("shared_buffers", "32MB");
    options.death_signal = std::env::var(OWNER_DEATH_SIGNAL).is_ok_and(|value| value == "true");
    let postgres = Postgres::start(options).await.unwrap();
    println!("postmaster {}", postgres.postmaster_pid().unwrap());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_second_start_finds_what_the_first_one_wrote_and_stopping_leaves_no_process() {
    let home = new_home();
    let first = start(&home).await;
    execute(&first, "create table kept as select 'written'::text as word").await;
    let data = fs::canonicalize(home.path()).unwrap().join("postgres/data");
    let postmaster = first.postmaster_pid().unwrap();
    first.stop().await;
    assert!(!leftovers::is_alive(pid(postmaster)));
    assert_eq!(processes_in(&data), Vec::<String>::new());
    assert_eq!(first.postmaster_pid(), None);

    let second = start(&home).await;
    assert_eq!(text(&second, "select word from kept").await, "written");
    second.stop().await;
}

#[tokio::test]
async fn a_durable_server_has_durable_settings_and_listens_on_no_port() {
    let home = new_home();
    let postgres = Postgres::start(PostgresOptions::new(home.path())).await.unwrap();
    for (query, expected) in [
        ("show fsync", "on"),
        ("show full_page_writes", "on"),
        ("show synchronous_commit", "on"),
        ("show data_checksums", "on"),
        ("show listen_addresses", ""),
        ("show server_encoding", "UTF8"),
        ("show max_wal_size", "8GB"),
        ("show jit", "off"),
        ("show password_encryption", "scram-sha-256"),
        ("show timezone", "UTC"),
    ] {
        assert_eq!(text(&postgres, query).await, expected, "{query}");
    }
    postgres.stop().await;
}

#[tokio::test]
async fn a_killed_postmaster_is_started_again() {
    let home = new_home();
    let postgres = start(&home).await;
    execute(&postgres, "create table kept as select 'written'::text as word; checkpoint").await;
    let mut state = postgres.watch().unwrap();
    for _ in 0..3 {
        let before = postgres.postmaster_pid().unwrap();
        kill_process(pid(before), Signal::KILL).unwrap();
        let again = |state: &PostgresState| matches!(state, PostgresState::Ready { pid } if *pid != before);
        timeout(PATIENCE, state.wait_for(again)).await.expect("a restart").unwrap();
        assert_eq!(text(&postgres, "select word from kept").await, "written");
    }
    postgres.stop().await;
    assert_eq!(*state.borrow(), PostgresState::Stopped);
}

#[tokio::test]
async fn a_stale_pid_file_does_not_prevent_a_start() {
    let home = new_home();
    start(&home).await.stop().await;
    // A process that has the number now and belongs to the service account, which
    // PostgreSQL would take for its predecessor; and a number that nobody has.
    let launcher = Launcher::detect(Account::detect().unwrap(), false).await;
    let mut sleeper = launcher.command(Path::new("sleep"), Path::new("/")).arg("600").spawn().unwrap();
    for stale in [sleeper.id().unwrap(), 4_194_303] {
        let file = home.path().join("postgres/data/postmaster.pid");
        fs::write(&file, format!("{stale}\n{}\n0\n5432\n\n\n", home.path().display())).unwrap();
        let postgres = start(&home).await;
        assert_eq!(text(&postgres, "select 'here'::text").await, "here");
        postgres.stop().await;
    }
    assert!(sleeper.try_wait().unwrap().is_none(), "the bystander must not be signalled");
    sleeper.kill().await.unwrap();
}

#[tokio::test]
async fn a_second_owner_is_refused_and_a_guest_is_welcome() {
    let home = new_home();
    let owner = start(&home).await;

    let refused = Postgres::start(options(&home)).await.unwrap_err();
    let PostgresError::AlreadyRunning { pid: Some(holder), .. } = refused else { panic!("{refused}") };
    assert_eq!(holder, std::process::id());

    let guest = Postgres::attach(home.path()).await.unwrap();
    assert_eq!(guest.postmaster_pid(), owner.postmaster_pid());
    assert!(guest.psql_binary().is_some());
    assert!(guest.watch().is_none());
    let mut through_url =
        PgConnectOptions::from_str(&guest.url("postgres")).unwrap().connect().await.unwrap();
    through_url.ping().await.unwrap();
    through_url.close().await.unwrap();
    guest.stop().await;
    assert_eq!(text(&owner, "select 'here'::text").await, "here");

    owner.stop().await;
    let nobody = Postgres::attach(home.path()).await.unwrap_err();
    assert!(matches!(nobody, PostgresError::NotRunning { .. }), "{nobody}");
}

#[tokio::test]
async fn of_two_that_begin_at_once_one_owns_the_server_and_the_other_uses_it() {
    install().await;
    let home = new_home();
    let both = [Postgres::attach_or_start(options(&home)), Postgres::attach_or_start(options(&home))];

    let both = futures::future::join_all(both).await;

    let both: Vec<Postgres> = both.into_iter().map(Result::unwrap).collect();
    assert_eq!(both.iter().filter(|postgres| postgres.watch().is_some()).count(), 1);
    for postgres in &both {
        assert_eq!(text(postgres, "select 'here'::text").await, "here");
    }
    let stops = both.iter().map(Postgres::stop);
    futures::future::join_all(stops).await;
}

#[tokio::test]
async fn whoever_uses_the_server_keeps_it_when_its_owner_ends() {
    let home = new_home();
    let owner = start(&home).await;
    let mut guest = Postgres::attach(home.path()).await.unwrap();
    let address = guest.url("postgres");

    let (taken_over, ()) = tokio::join!(guest.take_over(), owner.stop());

    taken_over.unwrap();
    assert_eq!(guest.url("postgres"), address);
    assert_eq!(text(&guest, "select 'here'::text").await, "here");
    guest.take_over().await.unwrap();
    guest.stop().await;
    assert!(matches!(Postgres::attach(home.path()).await, Err(PostgresError::NotRunning { .. })));
}

#[tokio::test]
async fn the_url_is_understood_by_psql() {
    let home = new_home();
    let postgres = start(&home).await;
    let Some(psql) = postgres.psql_binary() else { return postgres.stop().await };
    let output = Command::new(psql)
        .arg(postgres.url("postgres"))
        .args(["-Atc", "select 6 * 7"])
        .output()
        .await
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "42\n");
    postgres.stop().await;
}

#[tokio::test]
async fn a_killed_owner_takes_its_server_along() {
    let home = new_home();
    let (mut owner, postmaster) = start_owner(&home, true).await;
    owner.kill().await.unwrap();
    if Path::new("/usr/bin/setpriv").exists() {
        until_gone(postmaster).await;
    }
    start(&home).await.stop().await;
}

#[tokio::test]
async fn a_server_left_behind_is_stopped_by_the_next_start() {
    let home = new_home();
    let (mut owner, orphan) = start_owner(&home, false).await;
    owner.kill().await.unwrap();
    assert!(leftovers::is_alive(pid(orphan)));

    let postgres = start(&home).await;
    assert!(!leftovers::is_alive(pid(orphan)) || is_zombie(orphan));
    assert_ne!(postgres.postmaster_pid(), Some(orphan));
    postgres.stop().await;
}

#[tokio::test]
async fn a_dropped_owner_stops_its_server() {
    let home = new_home();
    let postgres = start(&home).await;
    let postmaster = postgres.postmaster_pid().unwrap();
    let mut state = postgres.watch().unwrap();
    drop(postgres);
    timeout(PATIENCE, state.wait_for(|state| *state == PostgresState::Stopped)).await.unwrap().unwrap();
    assert!(!leftovers::is_alive(pid(postmaster)));
}

#[tokio::test]
async fn a_long_home_gets_a_short_socket_directory() {
    let directory = new_home();
    let home = directory.path().join("a".repeat(60)).join("b".repeat(60));
    let postgres =
        Postgres::start(PostgresOptions::new(home).durability(Durability::TestOnly)).await.unwrap();
    assert!(!postgres.socket_directory().starts_with(directory.path()));
    assert_eq!(text(&postgres, "select 'here'::text").await, "here");
    postgres.stop().await;
    fs::remove_dir_all(postgres.socket_directory()).unwrap();
}

#[tokio::test]
async fn the_password_file_is_private_and_no_other_copy_remains() {
    let home = new_home();
    let postgres = start(&home).await;
    let mode = fs::metadata(home.path().join("postgres.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!home.path().join("postgres/initdb.password").exists());
    let shown = format!("{postgres:?}");
    let password = postgres.access.password.clone();
    postgres.stop().await;
    assert!(!shown.contains(&password));
}

#[tokio::test]
async fn data_of_another_major_version_are_refused() {
    let home = new_home();
    start(&home).await.stop().await;
    fs::write(home.path().join("postgres/data/PG_VERSION"), "9\n").unwrap();
    let refused = Postgres::start(options(&home)).await.unwrap_err();
    assert!(matches!(refused, PostgresError::OtherMajor { data_major: 9, .. }), "{refused}");
    assert!(refused.to_string().contains("pg_upgrade"));
}

#[tokio::test]
async fn data_without_their_password_are_refused() {
    let home = new_home();
    start(&home).await.stop().await;
    fs::remove_file(home.path().join("postgres.json")).unwrap();
    let refused = Postgres::start(options(&home)).await.unwrap_err();
    assert!(matches!(refused, PostgresError::AccessMissing { .. }), "{refused}");
}

#[tokio::test]
async fn a_setting_the_server_refuses_is_reported_with_its_log() {
    let home = new_home();
    let refused = Postgres::start(options(&home).setting("shared_buffers", "much")).await.unwrap_err();
    let PostgresError::Start { log } = &refused else { panic!("{refused}") };
    assert!(log.contains("shared_buffers"), "{log}");
}

#[tokio::test]
async fn an_unfinished_initialisation_begins_afresh() {
    let home = new_home();
    let account = Account::detect().unwrap();
    let prepared = Home::create(home.path(), account.as_ref()).unwrap();
    fs::create_dir(prepared.base().join("data.tmp")).unwrap();
    fs::write(prepared.base().join("data.tmp/half"), "").unwrap();
    start(&home).await.stop().await;
    assert!(!prepared.base().join("data.tmp").exists());
}

#[tokio::test]
async fn databases_of_the_shared_server_are_created_copied_and_dropped() {
    let server = TestServer::shared().await.unwrap();
    let mut connection = server.create_database("first").await.unwrap().connect().await.unwrap();
    sqlx::raw_sql("create table marker ()").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    let mut copy = server.copy_database("second", "first").await.unwrap().connect().await.unwrap();
    sqlx::raw_sql("table marker").execute(&mut copy).await.unwrap();

    server.drop_database("second").await.unwrap();
    server.drop_database("first").await.unwrap();
    assert!(server.create_database("no-name").await.is_err());
}

#[test]
fn a_closed_directory_above_the_home_is_named() {
    let closed = tempfile::tempdir().unwrap();
    fs::set_permissions(closed.path(), Permissions::from_mode(0o700)).unwrap();
    let stranger = Account { name: "stranger".to_owned(), uid: 54_321, gid: 54_321 };
    let refused = Home::create(&closed.path().join("home"), Some(&stranger)).unwrap_err();
    let PostgresError::NotTraversable { directory, account } = refused else { panic!("{refused}") };
    assert_eq!(directory, fs::canonicalize(closed.path()).unwrap());
    assert_eq!(account, "stranger");
}

#[test]
fn a_directory_that_was_not_handed_over_yet_is_taken_when_it_is_empty() {
    // Nobody but root hands anything over.
    let own = rustix::process::geteuid();
    let uid = if own.is_root() { 54_321 } else { own.as_raw() };
    let account = Account { name: "service".to_owned(), uid, gid: rustix::process::getegid().as_raw() };
    let home = new_home();
    let base = home.path().join("postgres");
    let make = || fs::DirBuilder::new().mode(0o700).create(&base).unwrap();

    make();
    Home::create(home.path(), Some(&account)).unwrap();
    assert_eq!(fs::metadata(&base).unwrap().uid(), uid);

    fs::remove_dir(&base).unwrap();
    make();
    fs::write(base.join("somebody's"), "").unwrap();
    let taken = Home::create(home.path(), Some(&account));
    assert_eq!(taken.is_err(), own.is_root(), "{taken:?}");
}

#[test]
fn the_service_account_is_postgres_then_nobody_and_never_root() {
    let both =
        "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65533::/:/bin/false\npostgres:x:101:104:,,,:/:/bin/sh\n";
    let postgres = Account { name: "postgres".to_owned(), uid: 101, gid: 104 };
    assert_eq!(choose(both), Some(postgres));
    let nobody = Account { name: "nobody".to_owned(), uid: 65534, gid: 65533 };
    assert_eq!(choose("nobody:x:65534:65533::/:/bin/false"), Some(nobody));
    assert_eq!(choose("root:x:0:0::/root:/bin/sh"), None);
    assert_eq!(choose("postgres:x:0:0::/root:/bin/sh"), None);
}

#[test]
fn versions_are_read_from_what_postgres_says() {
    assert_eq!(binaries::parse_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
    assert_eq!(binaries::parse_major("postgres (PostgreSQL) 18beta1"), Some(18));
    assert_eq!(binaries::parse_major("postgres (EnterpriseDB) 17"), None);
}

#[test]
fn shared_buffers_are_a_quarter_of_the_memory_within_bounds() {
    const GIBIBYTE: u64 = 1024 * 1024 * 1024;
    assert_eq!(settings::shared_buffers(64 * GIBIBYTE), GIBIBYTE);
    assert_eq!(settings::shared_buffers(2 * GIBIBYTE), GIBIBYTE / 2);
    assert_eq!(settings::shared_buffers(0), 32 * 1024 * 1024);
}
