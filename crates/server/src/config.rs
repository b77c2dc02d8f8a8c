//! The configuration: a TOML file, and environment variables that win over it.
//!
//! Both are merged into one table before anything is read from it, so that a key means the same in either and an
//! unknown one is refused wherever it stands.

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};
use std::path::{Path, PathBuf};
use std::time::Duration;

use carelog_audit::signer::KeyFiles;
use serde::Deserialize;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use toml::{Table, Value};

use crate::databases::DatabaseOptions;

/// The commented file with every default, as `carelog config` prints it.
pub const DEFAULT_FILE: &str = include_str!("config/default.toml");

/// Everything that can be configured.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where keys and the private PostgreSQL live.
    pub home: PathBuf,
    /// The API.
    pub http: HttpConfig,
    /// The databases.
    pub database: DatabaseConfig,
    /// Deliveries to partners.
    pub webhooks: WebhooksConfig,
    /// What strangers can check.
    pub proofs: ProofsConfig,
    /// Files.
    pub storage: StorageConfig,
    /// Video rooms.
    pub video: VideoConfig,
    /// What is written to standard error.
    pub log: LogConfig,
}

/// `[http]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port.
    pub listen: SocketAddr,
    /// Longest request body.
    pub max_body_bytes: usize,
    /// Longest time for a request in all.
    pub request_timeout_seconds: u64,
    /// Longest time for the head of a request.
    pub header_timeout_seconds: u64,
    /// Connections served at the same time.
    pub max_connections: usize,
    /// Of one API key.
    pub requests_per_second: std::num::NonZeroU32,
    /// Of one address without a valid key.
    pub anonymous_requests_per_second: std::num::NonZeroU32,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
}

/// `[database]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseConfig {
    /// The log's database; a private server where it is absent.
    pub url: Option<DatabaseUrl>,
    /// The trail's database.
    pub audit_url: Option<DatabaseUrl>,
    /// The analysts' database.
    pub analytics_url: Option<DatabaseUrl>,
    /// The keys' database.
    pub vault_url: Option<DatabaseUrl>,
}

/// `[webhooks]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhooksConfig {
    /// Whether subscriptions may lead to this machine.
    pub allow_loopback: bool,
    /// A further certificate authority.
    pub extra_root_pem: Option<PathBuf>,
    /// Deliveries of one subscription in a tick.
    pub per_tick_limit: NonZeroU16,
    /// Subscriptions that one organization may have.
    pub max_subscriptions: u16,
    /// Requests of one subscription under way at a time.
    pub in_flight_per_subscription: NonZeroU16,
    /// Requests of one organization under way at a time.
    pub in_flight_per_organization: NonZeroU16,
}

/// `[proofs]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProofsConfig {
    /// First part of the names of the logs; the log's own name where it is absent.
    pub origin: Option<String>,
    /// Where `signer.key` and `signer.state` are; the home where it is absent.
    pub key_directory: Option<PathBuf>,
    /// Pause between two rounds of signing.
    pub sign_every_ms: NonZeroU32,
    /// How long an event may wait for a signed checkpoint before that is an alarm.
    pub max_sealing_delay_seconds: NonZeroU32,
}

/// `[storage]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    /// Whether clinics without a storage of their own get Carelog's.
    pub embedded: bool,
    /// Where Carelog's own storage listens.
    pub listen: Option<SocketAddr>,
    /// How clients reach it.
    pub public_url: Option<String>,
    /// Which storages clinics may bring, AWS aside.
    pub allowed_endpoints: Vec<String>,
}

/// `[video]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VideoConfig {
    /// Where Daily's REST API is.
    pub daily_url: String,
    /// How long a room stays after its appointment.
    pub grace_minutes: u16,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Lines or JSON objects.
    pub format: LogFormat,
    /// As in `RUST_LOG`.
    pub filter: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// A connection URL; it may hold a password, so it shows itself to nobody.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct DatabaseUrl {
    text: String,
    options: PgConnectOptions,
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
            database: DatabaseConfig::default(),
            webhooks: WebhooksConfig::default(),
            proofs: ProofsConfig::default(),
            storage: StorageConfig::default(),
            video: VideoConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        const PER_SECOND: std::num::NonZeroU32 = std::num::NonZeroU32::new(10_000).expect("not zero");
        const ANONYMOUS: std::num::NonZeroU32 = std::num::NonZeroU32::new(100).expect("not zero");
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            max_body_bytes: 256 << 10,
            request_timeout_seconds: 30,
            header_timeout_seconds: 10,
            max_connections: 4096,
            requests_per_second: PER_SECOND,
            anonymous_requests_per_second: ANONYMOUS,
            trusted_proxies: Vec::new(),
        }
    }
}

impl HttpConfig {
    /// Longest time for a request in all.
    pub const fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout_seconds)
    }

    /// Longest time for the head of a request.
    pub const fn header_timeout(&self) -> Duration {
        Duration::from_secs(self.header_timeout_seconds)
    }
}

impl Default for WebhooksConfig {
    fn default() -> Self {
        const PER_TICK: NonZeroU16 = NonZeroU16::new(50).expect("not zero");
        const PER_SUBSCRIPTION: NonZeroU16 = NonZeroU16::new(10).expect("not zero");
        const PER_ORGANIZATION: NonZeroU16 = NonZeroU16::new(32).expect("not zero");
        Self {
            allow_loopback: false,
            extra_root_pem: None,
            per_tick_limit: PER_TICK,
            max_subscriptions: 20,
            in_flight_per_subscription: PER_SUBSCRIPTION,
            in_flight_per_organization: PER_ORGANIZATION,
        }
    }
}

impl Default for ProofsConfig {
    fn default() -> Self {
        const EVERY: NonZeroU32 = NonZeroU32::new(5_000).expect("not zero");
        const LONGEST: NonZeroU32 = NonZeroU32::new(60).expect("not zero");
        Self { origin: None, key_directory: None, sign_every_ms: EVERY, max_sealing_delay_seconds: LONGEST }
    }
}

impl ProofsConfig {
    /// Pause between two rounds of signing.
    pub fn sign_every(&self) -> Duration {
        Duration::from_millis(self.sign_every_ms.get().into())
    }

    /// How long an event may wait for a signed checkpoint before that is an alarm.
    pub fn max_sealing_delay(&self) -> Duration {
        Duration::from_secs(self.max_sealing_delay_seconds.get().into())
    }
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self { embedded: true, listen: None, public_url: None, allowed_endpoints: Vec::new() }
    }
}

impl Default for VideoConfig {
    fn default() -> Self {
        Self { daily_url: "https://api.daily.co/v1".to_owned(), grace_minutes: 15 }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info,sqlx::postgres::notice=warn".to_owned() }
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

impl DatabaseConfig {
    /// The four databases, where the configuration names a server.
    ///
    /// # Errors
    /// When the URL names no database.
    pub fn options(&self) -> Result<Option<DatabaseOptions>, ConfigError> {
        let Some(DatabaseUrl { options: core, .. }) = &self.url else { return Ok(None) };
        let name = core.get_database().ok_or(ConfigError::NoDatabaseName)?;
        let prefix = name.strip_suffix("_core").unwrap_or(name);
        let beside = |url: &Option<DatabaseUrl>, suffix: &str| match url {
            Some(url) => url.options.clone(),
            None => core.clone().database(&format!("{prefix}_{suffix}")),
        };
        Ok(Some(DatabaseOptions {
            core: core.clone(),
            audit: beside(&self.audit_url, "audit"),
            analytics: beside(&self.analytics_url, "analytics"),
            vault: beside(&self.vault_url, "vault"),
        }))
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
    let (name_of_section, key) = ["http", "database", "webhooks", "proofs", "storage", "video", "log"]
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

impl TryFrom<String> for DatabaseUrl {
    type Error = &'static str;

    fn try_from(url: String) -> Result<Self, Self::Error> {
        // The parser's own message could quote the URL, and with it a password.
        let options: PgConnectOptions = url.parse().map_err(|_| "not a PostgreSQL connection URL")?;
        Ok(Self { options: options.disable_statement_logging(), text: url })
    }
}

impl DatabaseUrl {
    /// The text, password and all.
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(redacted)")
    }
}
