//! Creates the data directory, once.

use std::fs;
use std::path::Path;

use super::account::{Account, Launcher};
use super::binaries::Binaries;
use super::home::{Access, Home, PORT, SUPERUSER, sync_directory, write_private};
use super::{Durability, PostgresError};

const PASSWORD_BYTES: usize = 32;

/// Everything that is known about a server before it runs.
#[derive(Debug)]
pub(super) struct Installation {
    pub(super) home: Home,
    pub(super) binaries: Binaries,
    pub(super) launcher: Launcher,
    pub(super) account: Option<Account>,
    pub(super) durability: Durability,
}

impl Installation {
    /// Makes sure that the data and the way to them exist.
    ///
    /// A crash at any point leaves either no data, and the next start begins
    /// afresh, or data whose password is on disk: the access file is written
    /// before the finished directory gets its name.
    pub(super) async fn prepare(&self) -> Result<Access, PostgresError> {
        let socket_directory = self.home.socket_directory(self.account.as_ref())?;
        let data = self.home.data();
        let known = self.home.read_access()?;
        if data.exists() {
            let file = self.home.access_file();
            let password = known.ok_or(PostgresError::AccessMissing { data, file })?.password;
            let access = self.access(password, socket_directory);
            self.home.write_access(&access)?;
            return Ok(access);
        }

        let unfinished = self.home.base().join("data.tmp");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).map_err(PostgresError::io("remove", &unfinished))?;
        }
        let access = self.access(random_password(), socket_directory);
        self.run_initdb(&unfinished, &access.password).await?;
        self.home.write_access(&access)?;
        fs::rename(&unfinished, &data).map_err(PostgresError::io("rename", &unfinished))?;
        sync_directory(&self.home.base())?;
        Ok(access)
    }

    fn access(&self, password: String, socket_directory: std::path::PathBuf) -> Access {
        Access { password, socket_directory, port: PORT, binaries: self.binaries.directory.clone() }
    }

    async fn run_initdb(&self, directory: &Path, password: &str) -> Result<(), PostgresError> {
        let password_file = self.home.base().join("initdb.password");
        write_private(&password_file, password.as_bytes(), self.account.as_ref())?;
        let mut result = self.initdb(directory, &password_file, "C.UTF-8").await;
        if matches!(&result, Err(PostgresError::Initialize { output }) if output.contains("locale")) {
            result = self.initdb(directory, &password_file, "C").await;
        }
        fs::remove_file(&password_file).map_err(PostgresError::io("remove", &password_file))?;
        result
    }

    async fn initdb(
        &self,
        directory: &Path,
        password_file: &Path,
        locale: &str,
    ) -> Result<(), PostgresError> {
        let program = self.binaries.program("initdb");
        let mut command = self.launcher.command(&program, &self.home.base());
        command.arg("-D").arg(directory).arg("--pwfile").arg(password_file);
        command.args(["-U", SUPERUSER, "-A", "scram-sha-256", "-E", "UTF8", "--data-checksums"]);
        command.arg(format!("--locale={locale}")).arg("--no-instructions");
        if self.durability == Durability::TestOnly {
            command.arg("--no-sync");
        }
        let output = command.output().await.map_err(PostgresError::io("run", &program))?;
        if output.status.success() {
            return Ok(());
        }
        let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(PostgresError::Initialize { output })
    }
}

fn random_password() -> String {
    let mut bytes = [0; PASSWORD_BYTES];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    hex::encode(bytes)
}
