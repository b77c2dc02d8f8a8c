//! What to listen to, as it is said on the command line.

use std::fmt;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use url::{Host, Url};
use uuid::Uuid;

/// What to listen to, and what to do with it.
#[derive(Debug, Args)]
pub struct ListenArguments {
    /// The subscription
    #[arg(long, value_name = "ID")]
    pub(super) subscription: Uuid,
    /// Hand each message to this URL, with the same bytes and headers; plain http will do on your own machine
    #[arg(long, value_name = "URL")]
    pub(super) forward: Option<SafeUrl>,
    /// The subscription's signing secret; several, separated by blanks, while you rotate
    #[arg(
        long,
        env = "CARELOG_WEBHOOK_SECRET",
        hide_env_values = true,
        value_name = "WHSEC",
        value_delimiter = ' '
    )]
    pub(super) secret: Vec<Hidden>,
    /// Where Carelog's API is
    #[arg(long, env = "CARELOG_SERVER", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub(super) server: SafeUrl,
    /// An API key with the scope webhooks
    #[arg(long, env = "CARELOG_KEY", hide_env_values = true)]
    pub(super) key: Hidden,
    /// Begin with what comes, or with the oldest message that is kept
    #[arg(long, value_enum, default_value_t = Begin::Now)]
    pub(super) from: Begin,
    /// End after so many messages
    #[arg(long, value_name = "NUMBER")]
    pub(super) count: Option<u64>,
    /// Print a JSON object for each message
    #[arg(long)]
    pub(super) json: bool,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Begin {
    /// With what comes from now on
    Now,
    /// With the oldest message that is kept
    Start,
}

/// A key or a secret, which no log and no panic may show.
#[derive(Clone)]
pub(super) struct Hidden(String);

impl Hidden {
    /// In clear.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Hidden {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(redacted)")
    }
}

/// A URL to which a key or a message may go: nobody on the way can read along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SafeUrl(Url);

/// Why a URL is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnsafeUrl {
    #[error(transparent)]
    NoUrl(#[from] url::ParseError),
    #[error("the address begins with https:// (or http:// on your own machine)")]
    OtherScheme,
    #[error(
        "plain http would carry keys and personal events unencrypted: write https://, or stay on your own machine \
         with http://127.0.0.1, http://[::1] or http://localhost (a tunnel such as `ssh -L` ends there)"
    )]
    Unencrypted,
}

impl SafeUrl {
    /// As a URL.
    pub(super) const fn url(&self) -> &Url {
        &self.0
    }

    /// Whether it is for this machine only.
    pub(super) fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }
}

impl FromStr for SafeUrl {
    type Err = UnsafeUrl;

    fn from_str(text: &str) -> Result<Self, UnsafeUrl> {
        let url: Url = text.parse()?;
        let is_here = match url.host() {
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.to_canonical().is_loopback(),
            // Names below `localhost` are asked of a name server by many systems.
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        match url.scheme() {
            "https" => Ok(Self(url)),
            "http" if is_here => Ok(Self(url)),
            "http" => Err(UnsafeUrl::Unencrypted),
            _ => Err(UnsafeUrl::OtherScheme),
        }
    }
}
