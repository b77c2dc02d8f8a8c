//! The keys of organizations, which wrap the data keys.

use std::collections::{BTreeSet, HashMap};

use carelog_domain::{KeyScope, OrganizationId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::VaultError;
use crate::root::RootKey;
use crate::secret::Secret;
use crate::wrap::{self, WrappingKey};

const FIRST_EPOCH: i32 = 1;

/// The key of an organization that new data keys are wrapped with.
pub(super) struct OrganizationKey {
    pub(super) epoch: i32,
    pub(super) key: WrappingKey,
}

/// The newest keys of the scopes' organizations, made where there was none ever. An organization whose newest key
/// was destroyed is absent.
pub(super) async fn get_or_create(
    conn: &mut PgConnection,
    root: &RootKey,
    scopes: &[KeyScope],
) -> Result<HashMap<OrganizationId, OrganizationKey>, VaultError> {
    let organizations: BTreeSet<OrganizationId> = scopes.iter().map(|scope| scope.organization_id).collect();
    let mut rows = newest(conn, &organizations).await?;
    let known: BTreeSet<OrganizationId> = rows.iter().map(NewestRow::organization).collect();
    let unknown: Vec<OrganizationId> = organizations.difference(&known).copied().collect();
    if !unknown.is_empty() {
        create(conn, root, &unknown).await?;
        rows = newest(conn, &organizations).await?;
    }
    let mut keys = HashMap::new();
    for row in &rows {
        let Some(wrapped) = &row.wrapped else { continue };
        let key = unwrap(root, row.organization(), row.epoch, wrapped)?;
        keys.insert(row.organization(), OrganizationKey { epoch: row.epoch, key });
    }
    Ok(keys)
}

/// Decrypts an organization's key.
pub(super) fn unwrap(
    root: &RootKey,
    organization_id: OrganizationId,
    epoch: i32,
    wrapped: &[u8],
) -> Result<WrappingKey, VaultError> {
    root.0
        .unwrap(&place(organization_id, epoch), wrapped)
        .map(|secret| WrappingKey::new(&secret))
        .ok_or(VaultError::OrganizationKeyUnwrap { organization_id, epoch })
}

struct NewestRow {
    organization_id: Uuid,
    epoch: i32,
    wrapped: Option<Vec<u8>>,
}

impl NewestRow {
    fn organization(&self) -> OrganizationId {
        OrganizationId::new(self.organization_id)
    }
}

async fn newest(
    conn: &mut PgConnection,
    organizations: &BTreeSet<OrganizationId>,
) -> Result<Vec<NewestRow>, VaultError> {
    let organizations: Vec<Uuid> = organizations.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query_as!(
        NewestRow,
        "
        select distinct on (organization_id) organization_id, epoch, wrapped
        from vault.organization_keys
        where organization_id = any($1)
        order by organization_id, epoch desc
        ",
        &organizations,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Makes first keys; where somebody else was faster, theirs stays. The organizations must be sorted.
async fn create(
    conn: &mut PgConnection,
    root: &RootKey,
    organizations: &[OrganizationId],
) -> Result<(), VaultError> {
    let mut wrapped: Vec<Vec<u8>> = Vec::with_capacity(organizations.len());
    for &organization_id in organizations {
        wrapped.push(root.0.wrap(&place(organization_id, FIRST_EPOCH), &Secret::random()?)?);
    }
    let organizations: Vec<Uuid> = organizations.iter().map(|id| id.uuid()).collect();
    sqlx::query!(
        "
        insert into vault.organization_keys (organization_id, epoch, wrapped)
        select n.organization_id, $3, n.wrapped
        from unnest($1::uuid[], $2::bytea[]) with ordinality as n (organization_id, wrapped, place)
        order by n.place
        on conflict do nothing
        ",
        &organizations,
        &wrapped,
        FIRST_EPOCH,
    )
    .execute(conn)
    .await?;
    Ok(())
}

fn place(organization_id: OrganizationId, epoch: i32) -> Vec<u8> {
    wrap::organization_place(organization_id, epoch.cast_unsigned())
}
