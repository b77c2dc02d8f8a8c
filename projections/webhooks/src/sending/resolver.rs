//! Name lookup that lets no refused address through.
//!
//! The client connects only to what this resolver returns, so an address is checked at the moment it is used
//! and a name that changes its answer between two lookups gains nothing. One refused address among the answers
//! refuses them all: an honest public name has no inner address.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::{AddressPolicy, AddressRefused};
use super::phases::mark_lookup;
use super::url::is_localhost;

/// For one question to one name server; the deadline of the attempt stands above it.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);
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

/// The resolver of the shared client.
pub(super) struct VettingResolver {
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) policy: Arc<AddressPolicy>,
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

impl VettingResolver {
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

impl Resolve for VettingResolver {
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
