//! Destroying a patient's keys.

use carelog_domain::{DataClass, KeyId, OrganizationId, PatientId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::parse_commit;
use crate::data_key::KeyCommit;
use crate::{VaultError, random};

/// Destroys the patient's keys and gives all that were ever destroyed, in the order of their making. To be called
/// within a transaction.
pub(crate) async fn shred(
    conn: &mut PgConnection,
    organization_id: OrganizationId,
    subject: PatientId,
) -> Result<Vec<(KeyId, KeyCommit)>, VaultError> {
    mark_missing(conn, organization_id, subject).await?;
    sqlx::query!(
        "
        update vault.data_keys
        set wrapped = null, destroyed_at = now()
        where organization_id = $1
            and subject_id = $2
            and destroyed_at is null
        ",
        organization_id.uuid(),
        subject.uuid(),
    )
    .execute(&mut *conn)
    .await?;
    destroyed(conn, organization_id, subject).await
}

/// Takes the place of the keys that the patient has not got, so that nobody can make them later. Whoever is making
/// one at this moment is waited for, and the update that follows destroys it.
async fn mark_missing(
    conn: &mut PgConnection,
    organization_id: OrganizationId,
    subject: PatientId,
) -> Result<(), VaultError> {
    let key_ids: Vec<Uuid> = DataClass::ALL.iter().map(|_| random::key_id().uuid()).collect();
    // In the order in which scopes are sorted everywhere, so that two writers never wait for each other.
    let classes: Vec<String> = DataClass::ALL.iter().map(ToString::to_string).collect();
    sqlx::query!(
        "
        insert into vault.data_keys (key_id, organization_id, subject_id, class, destroyed_at)
        select n.key_id, $3, $4, n.class, now()
        from unnest($1::uuid[], $2::text[]) with ordinality as n (key_id, class, place)
        order by n.place
        on conflict do nothing
        ",
        &key_ids,
        &classes,
        organization_id.uuid(),
        subject.uuid(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn destroyed(
    conn: &mut PgConnection,
    organization_id: OrganizationId,
    subject: PatientId,
) -> Result<Vec<(KeyId, KeyCommit)>, VaultError> {
    let rows = sqlx::query!(
        "
        select key_id, key_commit
        from vault.data_keys
        where organization_id = $1
            and subject_id = $2
            and organization_key_epoch is not null
        order by key_id
        ",
        organization_id.uuid(),
        subject.uuid(),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let key_id = KeyId::new(row.key_id);
            Ok((key_id, parse_commit(key_id, row.key_commit)?))
        })
        .collect()
}
