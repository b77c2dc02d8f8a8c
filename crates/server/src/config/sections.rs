//! The sections of the configuration, with their defaults. `default.toml` says what each key is for.

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use carelog_domain::OrganizationId;
use carelog_video::embedded::{RelaySecret, Relays};
use http::HeaderValue;
use serde::Deserialize;

use super::ConfigError;
use super::values::{ClickHouseUrl, DatabaseUrl, Network, PageOrigin, WitnessAddress};
use crate::databases::DatabaseOptions;

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
    pub requests_per_second: NonZeroU32,
    /// Of one address without a valid key.
    pub anonymous_requests_per_second: NonZeroU32,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
}

/// `[metrics]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Address and port of metrics and health alone.
    pub listen: Option<SocketAddr>,
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

/// `[forwarding]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ForwardingConfig {
    /// The second trail's database; nothing is forwarded where it is absent.
    pub database_url: Option<DatabaseUrl>,
    /// Whose trail; everybody's where nobody is named.
    pub organizations: Vec<OrganizationId>,
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
    /// Where deliveries go under no circumstances.
    pub denied_networks: Vec<Network>,
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
    /// Who is asked to cosign checkpoints.
    pub witnesses: Vec<WitnessAddress>,
    /// Pause between two appends to the log of checkpoints.
    pub meta_every_seconds: NonZeroU32,
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

/// `[exports]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExportsConfig {
    /// Exports of one organization that may be asked for and not made yet.
    pub unfinished_per_organization: NonZeroU16,
    /// Bytes of the largest file.
    pub max_bytes: NonZeroU64,
}

/// `[video]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VideoConfig {
    /// Where Daily's REST API is.
    pub daily_url: String,
    /// How long a room stays after its appointment.
    pub grace_minutes: u16,
    /// How browsers reach Carelog, in links to rooms; the host that was asked where it is absent.
    pub public_url: Option<String>,
    /// Where browsers in embedded rooms learn their addresses, and relays.
    pub ice_urls: Vec<String>,
    /// Shared with the relays.
    pub relay_secret: Option<RelaySecret>,
    /// Whether everything in embedded rooms goes by a relay.
    pub relay_only: bool,
    /// Where Daily reaches the API.
    pub hooks_url: Option<String>,
}

/// `[analytics]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnalyticsConfig {
    /// How old a clinic's figures are before they are made anew.
    pub publish_every_minutes: NonZeroU32,
    /// A database of ClickHouse that gets the facts too; nothing is copied where it is absent.
    pub clickhouse_url: Option<ClickHouseUrl>,
    /// Pages that may show a chart in a frame.
    pub frame_ancestors: Vec<PageOrigin>,
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

impl Default for HttpConfig {
    fn default() -> Self {
        const PER_SECOND: NonZeroU32 = NonZeroU32::new(10_000).expect("not zero");
        const ANONYMOUS: NonZeroU32 = NonZeroU32::new(100).expect("not zero");
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
            denied_networks: Vec::new(),
        }
    }
}

impl Default for ProofsConfig {
    fn default() -> Self {
        const EVERY: NonZeroU32 = NonZeroU32::new(5_000).expect("not zero");
        const LONGEST: NonZeroU32 = NonZeroU32::new(60).expect("not zero");
        Self {
            origin: None,
            key_directory: None,
            sign_every_ms: EVERY,
            max_sealing_delay_seconds: LONGEST,
            witnesses: Vec::new(),
            meta_every_seconds: LONGEST,
        }
    }
}

impl ProofsConfig {
    /// Pause between two rounds of signing.
    pub fn sign_every(&self) -> Duration {
        Duration::from_millis(self.sign_every_ms.get().into())
    }

    /// Pause between two appends to the log of checkpoints.
    pub fn meta_every(&self) -> Duration {
        Duration::from_secs(self.meta_every_seconds.get().into())
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

impl Default for ExportsConfig {
    fn default() -> Self {
        const UNFINISHED: NonZeroU16 = NonZeroU16::new(10).expect("not zero");
        // What a storage takes in ten thousand parts of five mebibytes, rounded down.
        const LARGEST: NonZeroU64 = NonZeroU64::new(48 << 30).expect("not zero");
        Self { unfinished_per_organization: UNFINISHED, max_bytes: LARGEST }
    }
}

impl ExportsConfig {
    /// Bytes of the largest file.
    pub fn max_bytes(&self) -> i64 {
        i64::try_from(self.max_bytes.get()).unwrap_or(i64::MAX)
    }
}

impl Default for VideoConfig {
    fn default() -> Self {
        Self {
            daily_url: "https://api.daily.co/v1".to_owned(),
            grace_minutes: 15,
            public_url: None,
            ice_urls: Vec::new(),
            relay_secret: None,
            relay_only: false,
            hooks_url: None,
        }
    }
}

impl VideoConfig {
    /// What browsers in embedded rooms are told of relays.
    pub fn relays(&self) -> Relays {
        Relays {
            urls: self.ice_urls.clone(),
            secret: self.relay_secret.clone(),
            is_relay_only: self.relay_only,
        }
    }
}

impl Default for AnalyticsConfig {
    fn default() -> Self {
        const A_DAY: NonZeroU32 = NonZeroU32::new(24 * 60).expect("not zero");
        Self { publish_every_minutes: A_DAY, clickhouse_url: None, frame_ancestors: Vec::new() }
    }
}

impl AnalyticsConfig {
    /// How old a clinic's figures are before they are made anew.
    pub fn publish_every(&self) -> Duration {
        Duration::from_mins(self.publish_every_minutes.get().into())
    }

    /// What the page of a chart may load, which is nothing but its own style, and which pages may frame it.
    pub fn chart_policy(&self) -> HeaderValue {
        let origins: Vec<&str> = self.frame_ancestors.iter().map(PageOrigin::as_str).collect();
        let ancestors = if origins.is_empty() { "'none'".to_owned() } else { origins.join(" ") };
        let policy = format!(
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
             frame-ancestors {ancestors}"
        );
        HeaderValue::from_str(&policy).expect("origins are ASCII without control characters")
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info,sqlx::postgres::notice=warn".to_owned() }
    }
}

impl DatabaseConfig {
    /// The four databases, where the configuration names a server.
    ///
    /// # Errors
    /// When the URL names no database.
    pub fn options(&self) -> Result<Option<DatabaseOptions>, ConfigError> {
        let Some(core) = self.url.as_ref().map(DatabaseUrl::options) else { return Ok(None) };
        let name = core.get_database().ok_or(ConfigError::NoDatabaseName)?;
        let prefix = name.strip_suffix("_core").unwrap_or(name);
        let beside = |url: &Option<DatabaseUrl>, suffix: &str| match url {
            Some(url) => url.options().clone(),
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
