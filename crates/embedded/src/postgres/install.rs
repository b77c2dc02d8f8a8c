//! Installs PostgreSQL with the system's package manager: for the demo and the
//! tests, never for the product.

use std::path::Path;

use tokio::process::Command;

use super::{Binaries, PostgresError, find_binaries};

/// Installs the server's programs unless they are there already.
///
/// Uses `apt-get`, `dnf` or `apk`, as root or through a `sudo` that asks for no
/// password.
///
/// # Errors
/// [`PostgresError::CannotInstall`] without the means, [`PostgresError::Install`]
/// when the package manager fails.
pub async fn install_with_package_manager() -> Result<Binaries, PostgresError> {
    if let Ok(found) = find_binaries() {
        return Ok(found);
    }
    let privilege = privilege().await?;
    let steps: &[&[&str]] = if Path::new("/usr/bin/apt-get").exists() {
        &[
            &["apt-get", "update"],
            &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "postgresql"],
        ]
    } else if Path::new("/usr/bin/dnf").exists() {
        &[&["dnf", "install", "-y", "postgresql-server"]]
    } else if Path::new("/sbin/apk").exists() {
        &[&["apk", "add", "--no-cache", "postgresql"]]
    } else {
        return Err(PostgresError::CannotInstall);
    };
    for step in steps {
        let words: Vec<&str> = privilege.iter().chain(step.iter()).copied().collect();
        run(&words).await?;
    }
    find_binaries()
}

/// The words to put before a command so that it runs as root.
async fn privilege() -> Result<&'static [&'static str], PostgresError> {
    if rustix::process::geteuid().is_root() {
        return Ok(&[]);
    }
    match Command::new("sudo").args(["-n", "true"]).output().await {
        Ok(output) if output.status.success() => Ok(&["sudo", "-n"]),
        _ => Err(PostgresError::CannotInstall),
    }
}

async fn run(words: &[&str]) -> Result<(), PostgresError> {
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let command = words.join(" ");
    tracing::info!(%command, "installing PostgreSQL");
    let output = Command::new(program).args(arguments).kill_on_drop(true).output().await;
    let output = output.map_err(PostgresError::io("run", Path::new(program)))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last_lines: Vec<&str> = text.lines().rev().take(5).collect();
    let output = last_lines.into_iter().rev().collect::<Vec<_>>().join("; ");
    Err(PostgresError::Install { command, output })
}
