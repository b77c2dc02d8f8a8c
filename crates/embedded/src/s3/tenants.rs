//! Who may reach which bucket, and under which key its bytes lie.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;

/// One organization, as the server sees it.
#[derive(Clone)]
pub struct Tenant {
    /// The only bucket that its credentials reach: lower-case letters, digits and hyphens.
    pub bucket: String,
    /// The secret half of its credentials.
    pub secret_access_key: String,
    /// 256 bits from which the keys of its blobs are derived.
    pub key: [u8; 32],
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tenant({})", self.bucket)
    }
}

/// The keys cannot be had at present.
#[derive(Debug, thiserror::Error)]
#[error("the keys of the storage cannot be had")]
pub struct TenantsError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Finds organizations by the public half of their credentials.
pub trait Tenants: Send + Sync + 'static {
    /// The organization that these credentials belong to; nothing where nobody has them.
    ///
    /// # Errors
    /// When the keys cannot be had.
    fn find<'a>(&'a self, access_key_id: &'a str)
    -> BoxFuture<'a, Result<Option<Arc<Tenant>>, TenantsError>>;
}
