//! Whether the process lives, and whether it can do its work.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;

use super::command::json;
use super::telemetry::lags;
use crate::system::System;

#[derive(Serialize)]
struct Live {
    status: &'static str,
}

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    databases: [Database; 4],
    is_migrated: bool,
    projectors: Vec<ProjectorLag>,
}

#[derive(Serialize)]
struct Database {
    name: &'static str,
    is_reachable: bool,
}

#[derive(Serialize)]
struct ProjectorLag {
    projector: String,
    lane: i16,
    events_behind: i64,
    quarantined: i64,
    is_owned: bool,
}

/// `GET /health/live`
pub(super) async fn live() -> Response {
    json(StatusCode::OK, &Live { status: "live" })
}

/// `GET /health/ready`. How far projectors are behind is told and not judged: a long import would take every process out
/// of service, and none of them would be better for it.
pub(super) async fn ready(State(system): State<System>) -> Response {
    let pools = &system.databases;
    let (core, audit, analytics, vault) = tokio::join!(
        answers(&pools.core_app),
        answers(&pools.audit_app),
        answers(&pools.analytics_app),
        answers(&pools.vault)
    );
    let databases = [("core", core), ("audit", audit), ("analytics", analytics), ("vault", vault)]
        .map(|(name, is_reachable)| Database { name, is_reachable });
    let are_reachable = databases.iter().all(|database| database.is_reachable);
    let is_migrated = are_reachable && is_migrated(&system).await;
    // While a database is away, asking it for more would only wait for the next timeout.
    let lags = if are_reachable { lags(&system).await.unwrap_or_default() } else { Vec::new() };
    let projectors = lags
        .into_iter()
        .map(|lag| ProjectorLag {
            projector: lag.projector,
            lane: lag.lane,
            events_behind: lag.events_behind,
            quarantined: lag.quarantined,
            is_owned: lag.is_owned,
        })
        .collect();
    let is_ready = are_reachable && is_migrated && !system.runtime.stop.is_cancelled();
    let (answer, status) =
        if is_ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not_ready") };
    json(answer, &Ready { status, databases, is_migrated, projectors })
}

async fn answers(pool: &sqlx::PgPool) -> bool {
    match pool.acquire().await {
        Ok(mut connection) => sqlx::Connection::ping(&mut *connection).await.is_ok(),
        Err(_) => false,
    }
}

/// Whether the log's database is at the schema that this program was built for.
async fn is_migrated(system: &System) -> bool {
    let wanted = carelog_event_log::CORE_MIGRATIONS.iter().map(|migration| migration.version).max();
    // Not checked while compiling: the table is sqlx's own, and stands in no database that is checked against.
    let newest =
        sqlx::query_scalar::<_, Option<i64>>("select max(version) from _sqlx_migrations where success")
            .fetch_one(&system.databases.core_owner)
            .await;
    matches!(newest, Ok(newest) if newest >= wanted)
}
