//! `carelog demo` as a program of its own, in a home of its own.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use carelog_tests::until;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// A home that the account of PostgreSQL may pass through.
fn home() -> TempDir {
    let permissions = std::fs::Permissions::from_mode(0o755);
    tempfile::Builder::new().permissions(permissions).tempdir().unwrap()
}

fn demo(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carelog-in-tests"));
    command.env("CARELOG_HOME", home).env("CARELOG_HTTP_LISTEN", "127.0.0.1:0").env_remove("DATABASE_URL");
    command.current_dir(home).arg("demo").args(arguments).stdin(Stdio::null());
    command
}

/// How many processes of the demo's PostgreSQL there are.
fn servers(home: &Path) -> usize {
    let files = home.join("demo/postgres/data");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|entry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == files))
        .count()
}

#[test]
fn a_demo_that_ends_by_itself_has_verified_every_delivery_also_when_it_is_begun_again() {
    let home = home();
    for _ in 0..2 {
        let output = demo(home.path(), &["--for", "15s", "--rate", "50", "--json"]).output().unwrap();

        assert!(output.status.success(), "{output:?}");
        let lines = String::from_utf8(output.stdout).unwrap();
        let figures: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
        let number = |name: &str| figures[name].as_u64().unwrap();
        assert!(number("verified") > 0 && number("events") > number("deliveries"), "{figures}");
        assert_eq!(number("verified"), number("deliveries"), "{figures}");
        assert_eq!(number("refused_signatures"), 0, "{figures}");
        assert_eq!(servers(home.path()), 0);
    }
}

#[tokio::test]
async fn an_interrupted_demo_ends_in_order_and_leaves_no_server() {
    let home = home();
    let mut child: Child =
        demo(home.path(), &[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let introduced = lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("API ")));
    assert!(introduced.is_some(), "it says where it is");
    // What it says from here on has to go somewhere.
    std::thread::spawn(move || lines.count());
    assert!(servers(home.path()) > 0);

    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();

    let status = until("the demo ends", async || child.try_wait().unwrap()).await;
    assert!(status.success(), "{status}");
    assert_eq!(servers(home.path()), 0);
}
