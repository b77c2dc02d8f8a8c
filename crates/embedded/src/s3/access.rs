//! Who may do what: secrets by access key, and each key for its own bucket alone.

use std::sync::Arc;

use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Request, S3Result, s3_error};

use super::tenants::{Tenant, Tenants};

/// Finds secrets.
pub(super) struct Auth(pub(super) Arc<dyn Tenants>);

/// Keeps credentials to their own bucket.
pub(super) struct Access(pub(super) Arc<dyn Tenants>);

async fn find(tenants: &dyn Tenants, access_key_id: &str) -> S3Result<Arc<Tenant>> {
    let found = tenants.find(access_key_id).await.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "an organization's keys cannot be had");
        s3_error!(ServiceUnavailable, "the keys of the storage cannot be had")
    })?;
    found.ok_or_else(|| s3_error!(InvalidAccessKeyId))
}

#[async_trait::async_trait]
impl S3Auth for Auth {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        Ok(SecretKey::from(find(&*self.0, access_key).await?.secret_access_key.as_str()))
    }
}

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Some(credentials) = context.credentials() else { return Err(s3_error!(AccessDenied)) };
        let tenant = find(&*self.0, &credentials.access_key).await?;
        // The root, and every bucket of somebody else, whether it exists or not.
        if context.s3_path().get_bucket_name() != Some(tenant.bucket.as_str()) {
            return Err(s3_error!(AccessDenied));
        }
        context.extensions_mut().insert(tenant);
        Ok(())
    }
}

/// The tenant that a request was let in for.
pub(super) fn tenant<T>(request: &S3Request<T>) -> S3Result<Arc<Tenant>> {
    request.extensions.get::<Arc<Tenant>>().cloned().ok_or_else(|| s3_error!(AccessDenied))
}
