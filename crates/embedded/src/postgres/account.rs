//! As whom the server runs, and how its programs are launched.

use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::PostgresError;
use super::binaries::find_program;

/// An entry of `/etc/passwd` which root hands the server to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Account {
    /// `None` for an ordinary user, who runs the server as themself.
    pub(super) fn detect() -> Result<Option<Self>, PostgresError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let file = Path::new("/etc/passwd");
        let passwd = fs::read_to_string(file).map_err(PostgresError::io("read", file))?;
        choose(&passwd).map(Some).ok_or(PostgresError::NoServiceAccount)
    }
}

pub(super) fn choose(passwd: &str) -> Option<Account> {
    let find = |name: &str| passwd.lines().filter_map(parse).find(|account| account.name == name);
    find("postgres").or_else(|| find("nobody")).filter(|account| account.uid != 0)
}

fn parse(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(Account { name, uid, gid })
}

/// Builds commands which run as the service account and end with us.
#[derive(Clone, Debug)]
pub(super) struct Launcher {
    account: Option<Account>,
    setpriv: Option<PathBuf>,
}

impl Launcher {
    /// `setpriv` of util-linux changes the account and then asks the kernel for
    /// a signal when the thread that started the program ends; without unsafe
    /// code there is no other way to ask. BusyBox has a `setpriv` that cannot.
    pub(super) async fn detect(account: Option<Account>, death_signal: bool) -> Self {
        let mut launcher = Self { account, setpriv: None };
        let found = find_program("setpriv", Path::new("/usr/bin")).filter(|_| death_signal);
        if let Some(setpriv) = found {
            launcher.setpriv = Some(setpriv.clone());
            let trial = launcher.command(&setpriv, Path::new("/")).arg("--version").output().await;
            if !trial.is_ok_and(|output| output.status.success()) {
                launcher.setpriv = None;
            }
        }
        launcher
    }

    /// A command in a clean environment and its own process group, so that
    /// Ctrl-C in a terminal reaches us alone and we decide when the server
    /// stops. The programs of PostgreSQL set their umask to 077 themselves.
    pub(super) fn command(&self, program: &Path, directory: &Path) -> Command {
        let mut command = match &self.setpriv {
            Some(setpriv) => self.through_setpriv(setpriv, program),
            None => self.directly(program),
        };
        command.env_clear().envs([("LC_ALL", "C"), ("TZ", "UTC")]);
        for kept in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
            command.envs(std::env::var_os(kept).map(|value| (kept, value)));
        }
        command.current_dir(directory).process_group(0).stdin(std::process::Stdio::null());
        command
    }

    fn through_setpriv(&self, setpriv: &Path, program: &Path) -> Command {
        let mut command = Command::new(setpriv);
        if let Some(account) = &self.account {
            command.arg(format!("--reuid={}", account.uid));
            command.arg(format!("--regid={}", account.gid));
            command.arg("--clear-groups");
        }
        command.args(["--pdeathsig", "INT", "--"]).arg(program);
        command
    }

    /// The standard library clears the supplementary groups when root sets a
    /// user (`std::os::unix::process::CommandExt::uid`).
    fn directly(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some(account) = &self.account {
            command.uid(account.uid).gid(account.gid);
        }
        command
    }
}
