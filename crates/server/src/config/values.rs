//! Values of the sections that are more than a number or a text: each is checked where it is read.

use std::fmt;

use carelog_analytics::clickhouse;
use carelog_proof::{Algorithm, VerifierKey};
use ipnet::IpNet;
use serde::Deserialize;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use url::Url;

/// A witness: its verifier key, and where it is asked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct WitnessAddress {
    /// The key that it cosigns with.
    pub key: VerifierKey,
    /// The prefix of `add-checkpoint` (C2SP tlog-witness).
    pub url: Url,
}

impl TryFrom<String> for WitnessAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let expected =
            || "a witness is written `<name>+<id>+<key> <url>`, with an http or https url".to_owned();
        let (key, url) = text.split_once(' ').ok_or_else(expected)?;
        let key: VerifierKey = key.parse().map_err(|error| format!("{}: {error}", expected()))?;
        let url: Url = url.trim().parse().map_err(|_| expected())?;
        if !matches!(url.scheme(), "http" | "https") || key.algorithm() != Algorithm::Cosignature {
            return Err(expected());
        }
        Ok(Self { key, url })
    }
}

/// A range of addresses, as `198.51.100.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Network(IpNet);

impl TryFrom<String> for Network {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self).map_err(|_| "not a range of addresses such as 198.51.100.0/24")
    }
}

impl Network {
    /// The range.
    pub const fn range(self) -> IpNet {
        self.0
    }
}

/// Scheme, host and port of pages, such as `https://portal.example`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PageOrigin(String);

impl TryFrom<String> for PageOrigin {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let wrong = "not an origin such as https://portal.example";
        let url: Url = text.parse().map_err(|_| wrong)?;
        let origin = url.origin();
        let is_web = matches!(url.scheme(), "http" | "https") && origin.is_tuple();
        let origin = origin.ascii_serialization();
        // Nothing but an origin: what else stood there would be taken for a part of the policy.
        // Nor does a `*` stand for hosts that nobody named.
        let is_one = is_web && !origin.contains('*');
        (is_one && text.trim_end_matches('/') == origin).then_some(Self(origin)).ok_or(wrong)
    }
}

impl PageOrigin {
    /// As a policy names it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where ClickHouse is asked; it may hold a password, so it shows itself to nobody.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct ClickHouseUrl(Url);

impl TryFrom<String> for ClickHouseUrl {
    type Error = &'static str;

    fn try_from(url: String) -> Result<Self, Self::Error> {
        // Whatever it is, it could hold a password.
        let url: Url = url.parse().map_err(|_| "not a URL")?;
        if !clickhouse::is_address(&url) {
            return Err("not a URL of ClickHouse's HTTP interface");
        }
        Ok(Self(url))
    }
}

impl ClickHouseUrl {
    /// The address.
    pub const fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Debug for ClickHouseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClickHouseUrl(redacted)")
    }
}

/// A connection URL; it may hold a password, so it shows itself to nobody.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct DatabaseUrl {
    text: String,
    options: PgConnectOptions,
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
    /// How to connect.
    pub const fn options(&self) -> &PgConnectOptions {
        &self.options
    }

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
