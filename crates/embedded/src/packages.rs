//! Installs programs with the system's package manager: for the demo and the tests, never for the product.

use std::path::Path;

use tokio::process::Command;

/// What a program's packages are called.
#[derive(Clone, Copy, Debug)]
pub struct Packages {
    /// For `apt-get`.
    pub apt: &'static [&'static str],
    /// For `dnf`.
    pub dnf: &'static [&'static str],
    /// For `apk`.
    pub apk: &'static [&'static str],
}

/// Why packages were not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// There is no package manager that we know, or it needs a password.
    #[error("nothing can be installed here without a person: no known package manager, or not root")]
    NoMeans,
    /// The package manager cannot be run.
    #[error("`{command}` cannot be run")]
    Run {
        /// The command line.
        command: String,
        /// The refusal.
        #[source]
        source: std::io::Error,
    },
    /// The package manager failed.
    #[error("`{command}` failed: {output}")]
    Failed {
        /// The command line.
        command: String,
        /// The end of what it wrote.
        output: String,
    },
}

/// Installs packages by `apt-get`, `dnf` or `apk`, as root or through a `sudo` that asks for no password.
///
/// # Errors
/// [`InstallError::NoMeans`] without the means, the others when the package manager fails.
pub async fn install(packages: &Packages) -> Result<(), InstallError> {
    let privilege = privilege().await?;
    let (begin, names): (&[&[&str]], _) = if Path::new("/usr/bin/apt-get").exists() {
        let install = &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y"];
        (&[&["apt-get", "update"], install], packages.apt)
    } else if Path::new("/usr/bin/dnf").exists() {
        (&[&["dnf", "install", "-y"]], packages.dnf)
    } else if Path::new("/sbin/apk").exists() {
        (&[&["apk", "add", "--no-cache"]], packages.apk)
    } else {
        return Err(InstallError::NoMeans);
    };
    let last = begin.len() - 1;
    for (index, step) in begin.iter().enumerate() {
        let names: &[&str] = if index == last { names } else { &[] };
        run(&[privilege, step, names].concat()).await?;
    }
    Ok(())
}

/// The words to put before a command so that it runs as root.
async fn privilege() -> Result<&'static [&'static str], InstallError> {
    if rustix::process::geteuid().is_root() {
        return Ok(&[]);
    }
    match Command::new("sudo").args(["-n", "true"]).output().await {
        Ok(output) if output.status.success() => Ok(&["sudo", "-n"]),
        _ => Err(InstallError::NoMeans),
    }
}

async fn run(words: &[&str]) -> Result<(), InstallError> {
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let command = words.join(" ");
    tracing::info!(%command, "installing");
    let output = match Command::new(program).args(arguments).kill_on_drop(true).output().await {
        Ok(output) => output,
        Err(source) => return Err(InstallError::Run { command, source }),
    };
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last_lines: Vec<&str> = text.lines().rev().take(5).collect();
    let output = last_lines.into_iter().rev().collect::<Vec<_>>().join("; ");
    Err(InstallError::Failed { command, output })
}
