//! The URL of a subscription.
//!
//! It is parsed once, checked as a whole and stored in its normal form, so that no second parser can read
//! another host out of it. The host is taken from the parsed value, never from the text: `[::1]`, `2130706433`
//! and `0x7f.1` are all loopback. The same checks run when it is created, changed, tested, and read back from
//! its row.

use std::fmt;

use url::{Host, Url};

use super::address::AddressPolicy;

const MAX_LENGTH: usize = 2048;
const MAX_NAME_LENGTH: usize = 253;
const MAX_LABEL_LENGTH: usize = 63;
const PORTS: [u16; 2] = [443, 8443];

/// A checked URL in normal form.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(Url);

/// Why a URL is refused. Never quotes it: a query may hold a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("the url must use https")]
    NotHttps,
    #[error("the url must not hold a user name or password")]
    HasCredentials,
    #[error("the port must be 443 or 8443, not {port}")]
    PortRefused { port: u16 },
    #[error("the url must lead to a public address")]
    AddressRefused,
    #[error("the url cannot be read, or has a fragment")]
    Invalid,
    #[error("the url has more than 2048 characters")]
    TooLong,
}

impl UrlError {
    /// The stable code in answers of the API; for an address the one that attempts and final reasons have too.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotHttps => "url_not_https",
            Self::HasCredentials => "url_has_credentials",
            Self::PortRefused { .. } => "url_port_refused",
            Self::AddressRefused => "blocked_url",
            Self::Invalid => "url_invalid",
            Self::TooLong => "url_too_long",
        }
    }
}

impl WebhookUrl {
    /// Reads and checks a URL. A name is not looked up here: see [`super::Vetting::check`].
    pub fn parse(text: &str, policy: &AddressPolicy) -> Result<Self, UrlError> {
        if text.len() > MAX_LENGTH {
            return Err(UrlError::TooLong);
        }
        // The parser would silently drop tabs and line breaks and trim the ends.
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(UrlError::Invalid);
        }
        let mut url = Url::parse(text).map_err(|_| UrlError::Invalid)?;
        check_form(&url)?;
        strip_root_dot(&mut url)?;
        check_destination(&url, policy)?;
        if url.as_str().len() > MAX_LENGTH {
            return Err(UrlError::TooLong);
        }
        if is_read_alike_by_http(&url) { Ok(Self(url)) } else { Err(UrlError::Invalid) }
    }

    /// The whole normal form, for its row and for the owner. Not for logs.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Scheme and host: what logs and traces may show.
    pub fn log_safe(&self) -> String {
        format!("{}://{}", self.0.scheme(), self.0.host_str().unwrap_or_default())
    }

    /// The parsed value.
    pub const fn as_url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookUrl({})", self.log_safe())
    }
}

fn check_form(url: &Url) -> Result<(), UrlError> {
    if url.scheme() != "https" {
        return Err(UrlError::NotHttps);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::HasCredentials);
    }
    if url.fragment().is_some() { Err(UrlError::Invalid) } else { Ok(()) }
}

/// `example.com.` and `example.com` are one host; a certificate only knows the second.
fn strip_root_dot(url: &mut Url) -> Result<(), UrlError> {
    let Some(name) = url.domain().and_then(|name| name.strip_suffix('.')) else { return Ok(()) };
    let name = name.to_owned();
    url.set_host(Some(&name)).map_err(|_| UrlError::Invalid)
}

fn check_destination(url: &Url, policy: &AddressPolicy) -> Result<(), UrlError> {
    let host = url.host().ok_or(UrlError::Invalid)?;
    let is_loopback = match host {
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.to_canonical().is_loopback(),
        Host::Domain(name) => is_localhost(name),
    };
    match host {
        Host::Domain(_) if is_loopback => {
            policy.localhost_addresses().next().ok_or(UrlError::AddressRefused)?;
        }
        Host::Domain(name) => check_name(name)?,
        Host::Ipv4(_) | Host::Ipv6(_) => policy.check_host(&host).map_err(|_| UrlError::AddressRefused)?,
    }
    // A loopback host that came this far is excepted: a demonstration listens where it finds a free port.
    let port = url.port_or_known_default().ok_or(UrlError::Invalid)?;
    if is_loopback || PORTS.contains(&port) { Ok(()) } else { Err(UrlError::PortRefused { port }) }
}

/// A name of one label is a neighbour in the local network, never a public host.
fn check_name(name: &str) -> Result<(), UrlError> {
    let is_label = |label: &str| !label.is_empty() && label.len() <= MAX_LABEL_LENGTH;
    if name.len() > MAX_NAME_LENGTH || !name.split('.').all(is_label) {
        return Err(UrlError::Invalid);
    }
    if name.contains('.') { Ok(()) } else { Err(UrlError::AddressRefused) }
}

/// RFC 6761 §6.3: `localhost` and everything below it is loopback. Expects a lower-case name without root dot.
pub(super) fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

fn is_read_alike_by_http(url: &Url) -> bool {
    url.as_str().parse::<http::Uri>().is_ok_and(|uri| {
        uri.scheme_str() == Some("https") && uri.host() == url.host_str() && uri.port_u16() == url.port()
    })
}

#[cfg(test)]
mod tests;
