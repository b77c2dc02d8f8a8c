//! Where the copy stands, as others see and move it.

use carelog_domain::OrganizationId;
use carelog_event_log::{Lane, Position};
use sqlx::{PgConnection, PgPool};

/// Lets the rows of a clinic be copied anew: no epoch is 0, so that the worker removes those that it has copied first.
/// Also where none is known to be copied: a page may be under way that read them before they changed.
pub(crate) async fn outdate(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        insert into copies.organizations (organization_id, pseudonym_epoch)
        select $1, 0
        where exists (select from copies.lanes)
        on conflict (organization_id) do update set pseudonym_epoch = 0
        ",
        organization_id.uuid()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Lets the copy begin anew. Erasures wait until it has come up to them.
///
/// # Errors
/// When the database fails.
pub async fn restart(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    // No version of the projection is 0, so that the worker empties ClickHouse first.
    sqlx::query!("update copies.lanes set version = 0, position = 0").execute(&mut *tx).await?;
    sqlx::query!("delete from copies.organizations").execute(&mut *tx).await?;
    tx.commit().await
}

/// Forgets that anything was copied, once nothing is any more: no erasure waits for the copy then.
///
/// # Errors
/// When the database fails.
pub async fn give_up(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    remove_places(&mut tx).await?;
    tx.commit().await
}

pub(super) async fn remove_places(tx: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from copies.lanes").execute(&mut *tx).await?;
    sqlx::query!("delete from copies.organizations").execute(&mut *tx).await?;
    Ok(())
}

/// Up to where a lane is copied; nothing where nothing was ever copied.
///
/// # Errors
/// When the database fails.
pub async fn copied(pool: &PgPool, lane: Lane) -> Result<Option<Position>, sqlx::Error> {
    sqlx::query_scalar!("select position from copies.lanes where lane = $1", lane).fetch_optional(pool).await
}

/// Holds others off, as long as the connection lasts; false where another process copies.
///
/// # Errors
/// When the database fails.
pub async fn take(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"select pg_try_advisory_lock(hashtext('carelog.copy'), 0) as "is_taken!""#)
        .fetch_one(connection)
        .await
}
