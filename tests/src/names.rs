//! A name server in this process.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use carelog_webhooks::sending::{Lookup, LookupError};

/// Knows the names that a test tells it, and no others.
#[derive(Debug, Default)]
pub struct Names(Mutex<BTreeMap<String, NameAnswer>>);

/// What is said of a name.
#[derive(Clone, Debug)]
pub enum NameAnswer {
    /// Its addresses.
    Addresses(Vec<IpAddr>),
    /// The name servers fail.
    Failure,
}

impl Names {
    /// From now on, this is said of a name.
    pub fn tell(&self, name: &str, answer: NameAnswer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), answer);
    }
}

#[async_trait]
impl Lookup for Names {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(host).cloned();
        match known {
            Some(NameAnswer::Addresses(addresses)) => Ok(addresses),
            Some(NameAnswer::Failure) => Err(LookupError::Failed("SERVFAIL".into())),
            None => Err(LookupError::NotFound),
        }
    }
}
