//! The rows of the vault's database, and the way from a row to a key.

use carelog_domain::{KeyId, KeyScope, OrganizationId, PatientId};
use futures::future::BoxFuture;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::data_key::{DataKey, KeyCommit, KeyState};
use crate::root::RootKey;
use crate::secret::Secret;
use crate::wrap::{self, WrappingKey};
use crate::{VaultError, random};

mod organization;
mod shred;

pub(crate) use shred::shred;

/// A key as the database knows it.
pub(crate) struct StoredKey {
    pub(crate) key_id: KeyId,
    pub(crate) scope: KeyScope,
    pub(crate) state: KeyState,
    destroyed: bool,
}

impl StoredKey {
    /// Whether it is the key that its scope has now. An organization's destroyed key may have a successor, a
    /// patient's never.
    pub(crate) const fn is_current(&self) -> bool {
        !self.destroyed || self.scope.subject.is_some()
    }
}

struct KeyRow {
    key_id: Uuid,
    organization_id: Uuid,
    subject_id: Option<Uuid>,
    class: String,
    organization_key_epoch: Option<i32>,
    wrapped: Option<Vec<u8>>,
    key_commit: Option<Vec<u8>>,
    organization_wrapped: Option<Vec<u8>>,
}

/// The keys of the scopes that have one, in any order.
pub(crate) fn by_scopes<'a>(
    conn: &'a mut PgConnection,
    root: &'a RootKey,
    scopes: &'a [KeyScope],
) -> BoxFuture<'a, Result<Vec<StoredKey>, VaultError>> {
    Box::pin(async move {
        let wanted = ScopeColumns::new(scopes);
        let rows = sqlx::query_as!(
            KeyRow,
            r#"
            select
                k.key_id as "key_id!",
                k.organization_id as "organization_id!",
                k.subject_id,
                k.class as "class!",
                k.organization_key_epoch,
                k.wrapped,
                k.key_commit,
                o.wrapped as "organization_wrapped?"
            from unnest($1::uuid[], $2::uuid[], $3::text[]) as w (organization_id, subject_id, class)
            join vault.data_keys k
                on k.organization_id = w.organization_id
                and coalesce(k.subject_id, '00000000-0000-0000-0000-000000000000') = w.subject_id
                and k.class = w.class
                and (k.subject_id is not null or k.destroyed_at is null)
            left join vault.organization_keys o
                on o.organization_id = k.organization_id
                and o.epoch = k.organization_key_epoch
            "#,
            &wanted.organizations,
            &wanted.subjects,
            &wanted.classes,
        )
        .fetch_all(conn)
        .await?;
        rows.into_iter().map(|row| row.into_key(root)).collect()
    })
}

/// The keys of those names that exist or existed, in any order.
pub(crate) fn by_ids<'a>(
    conn: &'a mut PgConnection,
    root: &'a RootKey,
    key_ids: &'a [KeyId],
) -> BoxFuture<'a, Result<Vec<StoredKey>, VaultError>> {
    Box::pin(async move {
        let key_ids: Vec<Uuid> = key_ids.iter().map(|id| id.uuid()).collect();
        let rows = sqlx::query_as!(
            KeyRow,
            r#"
            select
                k.key_id as "key_id!",
                k.organization_id as "organization_id!",
                k.subject_id,
                k.class as "class!",
                k.organization_key_epoch,
                k.wrapped,
                k.key_commit,
                o.wrapped as "organization_wrapped?"
            from vault.data_keys k
            left join vault.organization_keys o
                on o.organization_id = k.organization_id
                and o.epoch = k.organization_key_epoch
            where k.key_id = any($1)
            "#,
            &key_ids,
        )
        .fetch_all(conn)
        .await?;
        rows.into_iter().map(|row| row.into_key(root)).collect()
    })
}

/// The commitments of those keys that exist or existed, in any order; of a destroyed one nothing. Opens none of them.
///
/// # Errors
/// When the database fails, or a stored value does not parse.
pub async fn commitments(
    pool: &PgPool,
    key_ids: &[KeyId],
) -> Result<Vec<(KeyId, Option<KeyCommit>)>, VaultError> {
    let key_ids: Vec<Uuid> = key_ids.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query!(
        "select key_id, key_commit, destroyed_at is not null as \"is_destroyed!\"
         from vault.data_keys where key_id = any($1)",
        &key_ids
    )
    .fetch_all(pool)
    .await?;
    let commitment = |row: (Uuid, Option<Vec<u8>>, bool)| {
        let (key_id, commit, is_destroyed) = row;
        let key_id = KeyId::new(key_id);
        let commit = if is_destroyed { None } else { Some(parse_commit(key_id, commit)?) };
        Ok((key_id, commit))
    };
    rows.into_iter().map(|row| commitment((row.key_id, row.key_commit, row.is_destroyed))).collect()
}

/// Makes keys for scopes that have none. Scopes that somebody else serves meanwhile, or whose organization's key
/// was destroyed, are left alone; the caller reads again.
///
/// The scopes must be sorted: every writer then takes the index entries in the same order, and none waits in a ring.
pub(crate) fn create<'a>(
    conn: &'a mut PgConnection,
    root: &'a RootKey,
    scopes: &'a [KeyScope],
) -> BoxFuture<'a, Result<(), VaultError>> {
    Box::pin(async move {
        let organizations = organization::get_or_create(conn, root, scopes).await?;
        let live: Vec<KeyScope> = scopes
            .iter()
            .copied()
            .filter(|scope| organizations.contains_key(&scope.organization_id))
            .collect();
        let (mut key_ids, mut epochs) = (Vec::new(), Vec::new());
        let (mut wrapped, mut commits): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
        for scope in &live {
            let Some(organization) = organizations.get(&scope.organization_id) else { continue };
            let (key_id, secret) = (random::key_id(), Secret::random()?);
            wrapped.push(organization.key.wrap(&wrap::data_key_place(scope, key_id), &secret)?);
            commits.push(DataKey::new(key_id, *scope, secret).commit().to_vec());
            key_ids.push(key_id.uuid());
            epochs.push(organization.epoch);
        }
        let columns = ScopeColumns::new(&live);
        sqlx::query!(
        "
        insert into vault.data_keys
            (key_id, organization_id, subject_id, class, organization_key_epoch, wrapped, key_commit)
        select n.key_id, n.organization_id, nullif(n.subject_id, $8), n.class, n.epoch, n.wrapped, n.key_commit
        from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::int[], $6::bytea[], $7::bytea[])
            with ordinality
            as n (key_id, organization_id, subject_id, class, epoch, wrapped, key_commit, place)
        order by n.place
        on conflict do nothing
        ",
        &key_ids,
        &columns.organizations,
        &columns.subjects,
        &columns.classes,
        &epochs,
        &wrapped,
        &commits,
        Uuid::nil(),
    )
    .execute(conn)
    .await?;
        Ok(())
    })
}

/// Scopes as arrays for `unnest`; the nil id stands for nobody, as in the index.
struct ScopeColumns {
    organizations: Vec<Uuid>,
    subjects: Vec<Uuid>,
    classes: Vec<String>,
}

impl ScopeColumns {
    fn new(scopes: &[KeyScope]) -> Self {
        Self {
            organizations: scopes.iter().map(|scope| scope.organization_id.uuid()).collect(),
            subjects: scopes.iter().map(|scope| scope.subject.map_or(Uuid::nil(), PatientId::uuid)).collect(),
            classes: scopes.iter().map(|scope| scope.class.to_string()).collect(),
        }
    }
}

impl KeyRow {
    fn into_key(self, root: &RootKey) -> Result<StoredKey, VaultError> {
        let key_id = KeyId::new(self.key_id);
        let class = self.class.parse().map_err(|_| VaultError::Stored { column: "class", key_id })?;
        let scope = KeyScope {
            organization_id: OrganizationId::new(self.organization_id),
            subject: self.subject_id.map(PatientId::new),
            class,
        };
        let destroyed = self.wrapped.is_none();
        let state = match (self.wrapped, self.organization_wrapped, self.organization_key_epoch) {
            (Some(wrapped), Some(organization_wrapped), Some(epoch)) => {
                let organization =
                    organization::unwrap(root, scope.organization_id, epoch, &organization_wrapped)?;
                let key = unwrap(&organization, scope, key_id, &wrapped)?;
                check_commit(&key, self.key_commit.as_deref())?;
                KeyState::Live(key)
            }
            _ => KeyState::Destroyed,
        };
        Ok(StoredKey { key_id, scope, state, destroyed })
    }
}

fn unwrap(
    organization: &WrappingKey,
    scope: KeyScope,
    key_id: KeyId,
    wrapped: &[u8],
) -> Result<DataKey, VaultError> {
    let secret = organization
        .unwrap(&wrap::data_key_place(&scope, key_id), wrapped)
        .ok_or(VaultError::DataKeyUnwrap(key_id))?;
    Ok(DataKey::new(key_id, scope, secret))
}

fn check_commit(key: &DataKey, stored: Option<&[u8]>) -> Result<(), VaultError> {
    if stored == Some(key.commit().as_slice()) {
        return Ok(());
    }
    Err(VaultError::Commitment(key.id()))
}

fn parse_commit(key_id: KeyId, stored: Option<Vec<u8>>) -> Result<KeyCommit, VaultError> {
    stored.and_then(|bytes| bytes.try_into().ok()).ok_or(VaultError::Stored { column: "key_commit", key_id })
}
