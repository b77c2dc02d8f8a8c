//! The configuration: a TOML file, and environment variables that win over it.
//!
//! Both are merged into one table before anything is read from it, so that a key means the same in either and an
//! unknown one is refused wherever it stands.

mod sections;
#[cfg(test)]
mod tests;
mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use carelog_audit::signer::KeyFiles;
use serde::Deserialize;
use toml::{Table, Value};

pub use self::sections::{
    AnalyticsConfig, DatabaseConfig, ExportsConfig, ForwardingConfig, HttpConfig, LogConfig, LogFormat,
    MetricsConfig, ProofsConfig, StorageConfig, VideoConfig, WebhooksConfig,
};
pub use self::values::{ClickHouseUrl, DatabaseUrl, Network, PageOrigin, WitnessAddress};

/// The commented file with every default, as `carelog config` prints it.
pub const DEFAULT_FILE: &str = include_str!("config/default.toml");

/// The tables of the file.
const SECTIONS: [&str; 11] = [
    "http",
    "metrics",
    "database",
    "webhooks",
    "proofs",
    "storage",
    "exports",
    "video",
    "analytics",
    "forwarding",
    "log",
];

/// Everything that can be configured.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where keys and the private PostgreSQL live.
    pub home: PathBuf,
    /// The API.
    pub http: HttpConfig,
    /// How the process does, told apart from the API.
    pub metrics: MetricsConfig,
    /// The databases.
    pub database: DatabaseConfig,
    /// Deliveries to partners.
    pub webhooks: WebhooksConfig,
    /// What strangers can check.
    pub proofs: ProofsConfig,
    /// Files.
    pub storage: StorageConfig,
    /// Long exports.
    pub exports: ExportsConfig,
    /// Video rooms.
    pub video: VideoConfig,
    /// Figures for analysts.
    pub analytics: AnalyticsConfig,
    /// A second trail.
    pub forwarding: ForwardingConfig,
    /// What is written to standard error.
    pub log: LogConfig,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {path} cannot be read")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A key is unknown or its value does not fit.
    #[error("the configuration is refused: {0}")]
    Refused(String),
    /// A variable names no key.
    #[error("the environment variable {0} is none of Carelog's")]
    UnknownVariable(String),
    /// The URL names no database.
    #[error("the database URL names no database")]
    NoDatabaseName,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            home: carelog_embedded::postgres::default_home(),
            http: HttpConfig::default(),
            metrics: MetricsConfig::default(),
            database: DatabaseConfig::default(),
            webhooks: WebhooksConfig::default(),
            proofs: ProofsConfig::default(),
            storage: StorageConfig::default(),
            exports: ExportsConfig::default(),
            video: VideoConfig::default(),
            analytics: AnalyticsConfig::default(),
            forwarding: ForwardingConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Config {
    /// Reads the file, where one is named, and the variables.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let text = match file {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Unreadable { path: path.to_path_buf(), source })?,
        };
        Self::read(&text, variables)
    }

    fn read(text: &str, variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let refused = |error: toml::de::Error| ConfigError::Refused(error.message().to_owned());
        let mut table: Table = text.parse().map_err(refused)?;
        for (name, value) in variables {
            set(&mut table, &name, value)?;
        }
        // Serialised once more, because only a document keeps the names of the keys in its errors.
        let merged = toml::to_string(&table).map_err(|error| ConfigError::Refused(error.to_string()))?;
        toml::from_str(&merged).map_err(refused)
    }

    /// The file with the root key.
    pub fn root_key(&self) -> PathBuf {
        self.home.join("root.key")
    }

    /// The files of whoever signs checkpoints.
    pub fn signer_files(&self) -> KeyFiles {
        let folder = self.proofs.key_directory.as_ref().unwrap_or(&self.home);
        KeyFiles { key: folder.join("signer.key"), state: folder.join("signer.state") }
    }

    /// Where Carelog's own storage listens: beside the API, unless the configuration says otherwise.
    pub fn storage_listen(&self) -> SocketAddr {
        self.storage.listen.unwrap_or_else(|| {
            let api = self.http.listen;
            // Any free port stays any free port.
            let port = if api.port() == 0 { 0 } else { api.port().checked_add(1).unwrap_or(0) };
            SocketAddr::new(api.ip(), port)
        })
    }

    /// Where Carelog's own storage keeps its files.
    pub fn storage_directory(&self) -> PathBuf {
        self.home.join("storage")
    }

    /// The file with the operator's key.
    pub fn operator_key(&self) -> PathBuf {
        self.home.join("operator.key")
    }
}

/// Puts one variable into the table. Those that belong to tests and to other programs are left alone.
fn set(table: &mut Table, name: &str, value: String) -> Result<(), ConfigError> {
    if name == "DATABASE_URL" {
        section(table, "database")?.insert("url".to_owned(), Value::String(value));
        return Ok(());
    }
    let Some(key) = name.strip_prefix("CARELOG_") else { return Ok(()) };
    // `carelog webhooks listen` reads the last three.
    if matches!(key, "CONFIG" | "PG_BIN" | "KEY" | "SERVER" | "WEBHOOK_SECRET") || key.starts_with("TEST_") {
        return Ok(());
    }
    if key == "HOME" {
        table.insert("home".to_owned(), Value::String(value));
        return Ok(());
    }
    let key = key.to_ascii_lowercase();
    let (name_of_section, key) = SECTIONS
        .into_iter()
        .find_map(|section| Some((section, key.strip_prefix(section)?.strip_prefix('_')?)))
        .ok_or_else(|| ConfigError::UnknownVariable(name.to_owned()))?;
    section(table, name_of_section)?.insert(key.to_owned(), scalar(value));
    Ok(())
}

fn section<'t>(table: &'t mut Table, name: &str) -> Result<&'t mut Table, ConfigError> {
    table
        .entry(name)
        .or_insert_with(|| Value::Table(Table::new()))
        .as_table_mut()
        .ok_or_else(|| ConfigError::Refused(format!("{name} is a section, not a value")))
}

/// Numbers, booleans and lists are written as in TOML; anything else is text.
fn scalar(value: String) -> Value {
    match format!("value = {value}").parse::<Table>().ok().and_then(|mut table| table.remove("value")) {
        Some(parsed @ (Value::Integer(_) | Value::Boolean(_) | Value::Array(_))) => parsed,
        _ => Value::String(value),
    }
}
