//! Transactions in which requests read: each sees one organization, and what of it its caller may see.

use carelog_domain::{OrganizationId, PartnerId};
use futures::future::BoxFuture;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};

use super::caller::Caller;
use super::freshness::{self, View};
use super::problem::Problem;

/// Projections name their tables without a schema, because a rebuild writes them in one of its own.
const SEARCH_PATH: &str = "set local search_path to records, audit, video, public";
/// A statement with optional filters has another best plan for each set of filters, so the plan that fits none of them in
/// particular must not be kept.
const CUSTOM_PLANS: &str = "; set local plan_cache_mode to force_custom_plan";

impl Caller {
    /// Begins to read the caller's organization, and nothing else; for a partner, no subscription of anybody else.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(super) fn read(&self) -> BoxFuture<'_, Result<Transaction<'static, Postgres>, Problem>> {
        let pool = &self.api.system.databases.core_app;
        Box::pin(async move { read(pool, self.organization_id, self.partner()).await })
    }

    /// Begins to read the trail of the caller's organization, and nothing else.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(super) fn read_trail(&self) -> BoxFuture<'_, Result<Transaction<'static, Postgres>, Problem>> {
        Box::pin(read_trail(&self.api.system.databases.audit_app, self.organization_id))
    }

    /// Waits until the reads show a write that the caller knows of, by the query or by the header.
    ///
    /// # Errors
    /// When the token is none, or its write does not show in time.
    pub(super) fn wait_for<'a>(
        &'a self,
        token: Option<&'a str>,
        view: View,
    ) -> BoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            match token.or(self.call.wait_for.as_deref()) {
                None => Ok(()),
                Some(token) => freshness::wait(&self.api, freshness::parse(token)?, view).await,
            }
        })
    }
}

/// Begins a transaction of the system, which sees every organization.
pub(super) fn read_all(pool: &PgPool) -> BoxFuture<'_, Result<Transaction<'static, Postgres>, Problem>> {
    Box::pin(
        async move { Ok(pool.begin_with(AssertSqlSafe(format!("begin read only; {SEARCH_PATH}"))).await?) },
    )
}

/// Begins a transaction that sees one organization, and of its subscriptions those of one partner, where one is named.
/// The settings are local to the transaction.
pub(super) fn read(
    pool: &PgPool,
    organization_id: OrganizationId,
    partner_id: Option<PartnerId>,
) -> BoxFuture<'_, Result<Transaction<'static, Postgres>, Problem>> {
    Box::pin(begin(pool, organization_id, partner_id, ""))
}

/// Begins to read the trail of one organization, and nothing else.
pub(super) async fn read_trail(
    pool: &PgPool,
    organization_id: OrganizationId,
) -> Result<Transaction<'static, Postgres>, Problem> {
    begin(pool, organization_id, None, CUSTOM_PLANS).await
}

/// In one round trip, whatever has to be set.
async fn begin(
    pool: &PgPool,
    organization_id: OrganizationId,
    partner_id: Option<PartnerId>,
    more: &str,
) -> Result<Transaction<'static, Postgres>, Problem> {
    let partner = partner_id.map(|id| format!("set local carelog.partner_id = '{id}'; ")).unwrap_or_default();
    // A UUID's text needs no quoting.
    let statement = format!(
        "begin read only; set local carelog.organization_id = '{organization_id}'; {partner}{SEARCH_PATH}{more}"
    );
    Ok(pool.begin_with(AssertSqlSafe(statement)).await?)
}
