//! Name lookup that lets no refused address through.
//!
//! The client connects only to what this resolver returns, so an address is checked at the moment it is used
//! and a name that changes its answer between two lookups gains nothing. One refused address among the answers
//! refuses them all: an honest public name has no inner address. The same look-up is made when a subscription is made,
//! changed or tested, so that a name which leads inside is refused where somebody can read why.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::{AddressPolicy, AddressRefused};
use super::phases::mark_lookup;
use super::url::{UrlError, WebhookUrl, is_localhost};

/// For one question to one name server; the deadline of the attempt stands above it.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);
/// For a whole look-up while somebody waits for an answer of the API: what the sender takes to connect.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// Answers are kept as long as their owner says, but never longer than idle connections are.
const MAX_ANSWER_AGE: Duration = Duration::from_mins(1);
/// A name that was missing is asked again soon: a partner may just be setting it up.
const MAX_FAILURE_AGE: Duration = Duration::from_secs(5);

/// Where addresses of names come from: the system's name servers, or fixed answers in tests.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// All addresses of `host`, of both families.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, LookupError>;
}

impl fmt::Debug for dyn Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lookup")
    }
}

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error("the name does not exist or has no address")]
    NotFound,
    #[error("the name servers did not answer")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
    #[error("this machine has no name servers configured")]
    NoServers,
}

/// Asks the name servers that the system is configured with, and honours its hosts file.
pub struct SystemLookup {
    /// `None` on a machine without name servers, where the demonstration must still start.
    resolver: Option<TokioResolver>,
}

/// Where deliveries may go: the rule for addresses, and what names lead to. The API asks it when a URL is named, and the
/// shared client at each connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Vetting {
    lookup: Arc<dyn Lookup>,
    policy: Arc<AddressPolicy>,
}

/// What the client finds at the bottom of its error when a name led nowhere.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    #[error(transparent)]
    Refused(#[from] AddressRefused),
    #[error(transparent)]
    Lookup(#[from] LookupError),
}

impl SystemLookup {
    /// Reads the system's configuration once.
    pub fn new() -> Self {
        let resolver = TokioResolver::builder_tokio().and_then(|mut builder| {
            let options = builder.options_mut();
            options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
            options.timeout = QUESTION_TIMEOUT;
            options.attempts = 1;
            options.positive_max_ttl = Some(MAX_ANSWER_AGE);
            options.negative_max_ttl = Some(MAX_FAILURE_AGE);
            builder.build()
        });
        match resolver {
            Ok(resolver) => Self { resolver: Some(resolver) },
            Err(error) => {
                let error: &dyn Error = &error;
                tracing::warn!(error, "no name servers configured, webhooks reach addresses only");
                Self { resolver: None }
            }
        }
    }
}

impl Default for SystemLookup {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Lookup for SystemLookup {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        let resolver = self.resolver.as_ref().ok_or(LookupError::NoServers)?;
        // With the root dot the name is complete: no search domain of our network is appended to it.
        let answer = resolver.lookup_ip(format!("{}.", host.trim_end_matches('.'))).await;
        match answer {
            Ok(addresses) => Ok(addresses.iter().collect()),
            Err(error) if error.is_no_records_found() || error.is_nx_domain() => Err(LookupError::NotFound),
            Err(error) => Err(LookupError::Failed(error.into())),
        }
    }
}

impl Vetting {
    /// Names looked up by `lookup`, addresses judged by `policy`.
    pub fn new(lookup: Arc<dyn Lookup>, policy: AddressPolicy) -> Self {
        Self { lookup, policy: Arc::new(policy) }
    }

    /// The rule for addresses.
    pub fn policy(&self) -> &AddressPolicy {
        &self.policy
    }

    /// Checks where a URL leads at this moment. A name that does not exist, or not yet, passes, and so does one that
    /// nobody answers for in time: what it leads to later is checked at each connection.
    ///
    /// # Errors
    /// When the URL leads to an address that is refused.
    pub async fn check(&self, url: &WebhookUrl) -> Result<(), UrlError> {
        let refused = |AddressRefused| UrlError::AddressRefused;
        let host = url.as_url().host().ok_or(UrlError::Invalid)?;
        self.policy.check_host(&host).map_err(refused)?;
        let url::Host::Domain(name) = host else { return Ok(()) };
        let looking_up = Self::vetted(&*self.lookup, &self.policy, name);
        match tokio::time::timeout(CHECK_TIMEOUT, looking_up).await {
            Ok(Err(ResolveError::Refused(error))) => Err(refused(error)),
            Ok(Ok(_) | Err(ResolveError::Lookup(_))) | Err(_) => Ok(()),
        }
    }

    async fn vetted(
        lookup: &dyn Lookup,
        policy: &AddressPolicy,
        host: &str,
    ) -> Result<Vec<IpAddr>, ResolveError> {
        if is_localhost(host) {
            let addresses: Vec<_> = policy.localhost_addresses().collect();
            return if addresses.is_empty() { Err(AddressRefused.into()) } else { Ok(addresses) };
        }
        let addresses = lookup.addresses(host).await?;
        if addresses.is_empty() {
            return Err(LookupError::NotFound.into());
        }
        addresses.iter().try_for_each(|&ip| policy.check_ip(ip))?;
        Ok(addresses)
    }
}

impl Resolve for Vetting {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, policy) = (Arc::clone(&self.lookup), Arc::clone(&self.policy));
        Box::pin(async move {
            let addresses = mark_lookup(Self::vetted(&*lookup, &policy, name.as_str())).await?;
            // Port 0 stands for the port of the URL.
            let addresses: Addrs = Box::new(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests;
