//! Installs PostgreSQL with the system's package manager.

use super::{Binaries, PostgresError, find_binaries};
use crate::packages::{Packages, install};

const POSTGRESQL: Packages =
    Packages { apt: &["postgresql"], dnf: &["postgresql-server"], apk: &["postgresql"] };

/// Installs the server's programs unless they are there already.
///
/// # Errors
/// [`PostgresError::Install`] without the means, or when the package manager fails.
pub async fn install_with_package_manager() -> Result<Binaries, PostgresError> {
    if let Ok(found) = find_binaries() {
        return Ok(found);
    }
    install(&POSTGRESQL).await?;
    find_binaries()
}
