//! What is kept of an export whose process may die: in its row, from where any process goes on.

use carelog_domain::Timestamp;
use carelog_files::Kept;
use sqlx::PgConnection;
use uuid::Uuid;

use super::store::Job;

/// What was kept of an export. What cannot be read any more was written by another version, and the export begins anew.
///
/// # Errors
/// When the database fails.
pub(super) async fn of(connection: &mut PgConnection, job: &Job) -> Result<Option<Kept>, sqlx::Error> {
    let kept = sqlx::query_scalar!(
        "select kept from exports.jobs where organization_id = $1 and export_id = $2",
        job.organization_id.uuid(),
        job.export_id
    )
    .fetch_one(connection)
    .await?;
    Ok(kept.and_then(|kept| serde_json::from_str(&kept).ok()))
}

/// Keeps how far an export has come, and the lease. An export that comes on is not one that fails again and again. False
/// where another process has it by now.
///
/// # Errors
/// When the database fails.
pub(super) async fn keep(
    connection: &mut PgConnection,
    job: &Job,
    owner: Uuid,
    kept: &Kept,
    until: Timestamp,
) -> Result<bool, sqlx::Error> {
    let kept = serde_json::to_string(kept).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let updated = sqlx::query!(
        "
        update exports.jobs
        set kept = $4, leased_until = $5, attempt_count = 1
        where organization_id = $1 and export_id = $2 and owner = $3 and status = 'running'
        ",
        job.organization_id.uuid(),
        job.export_id,
        owner,
        kept,
        time::OffsetDateTime::from(until)
    )
    .execute(connection)
    .await?;
    Ok(updated.rows_affected() == 1)
}

/// Lets an export begin anew the next time.
///
/// # Errors
/// When the database fails.
pub(super) async fn forget(connection: &mut PgConnection, job: &Job, owner: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update exports.jobs set kept = null where organization_id = $1 and export_id = $2 and owner = $3",
        job.organization_id.uuid(),
        job.export_id,
        owner
    )
    .execute(connection)
    .await?;
    Ok(())
}
