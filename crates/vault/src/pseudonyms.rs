//! Pseudonyms: under which name analytics know a person.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use carelog_domain::OrganizationId;
use futures::future::BoxFuture;
use moka::sync::Cache;
use sqlx::PgPool;
use tracing::instrument;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::cache::CACHE_SECONDS;
use crate::root::RootKey;
use crate::secret::{SECRET_BYTES, Secret};
use crate::{VaultError, aead, wrap};

const FIRST_EPOCH: i32 = 1;
/// Keys kept in memory, for as long as those of patients: one for each organization that has events.
const CACHED_KEYS: u64 = 10_000;

/// What a pseudonym stands for. Equal ids of two kinds have different pseudonyms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PseudonymKind {
    /// A patient.
    Patient,
    /// A specialist.
    Specialist,
    /// A stream of the log about a patient, or a part of one.
    Record,
    /// An erased patient, so that what comes later about them is known for that, and for nothing else.
    Erased,
    /// A place in the log, where a row needs a name and nobody may find out which command it came of.
    Place,
}

impl PseudonymKind {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Patient => b"patient",
            Self::Specialist => b"specialist",
            Self::Record => b"record",
            Self::Erased => b"erased",
            Self::Place => b"place",
        }
    }
}

/// Stands for somebody, within one organization and epoch. Nothing leads back without the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pseudonym(Uuid);

impl Pseudonym {
    /// One that was stored before.
    pub const fn stored(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// Its 128 bits in the shape in which databases keep them; no UUID of any version.
    pub const fn uuid(self) -> Uuid {
        self.0
    }
}

/// The key of one organization's pseudonyms in one epoch.
#[derive(Clone)]
pub struct PseudonymKey(Arc<Secret>);

impl PseudonymKey {
    /// Takes a key that is kept somewhere else than in the vault.
    pub fn new(bytes: [u8; SECRET_BYTES]) -> Self {
        let bytes = Zeroizing::new(bytes);
        Self(Arc::new(Secret::from_slice(bytes.as_slice()).expect("the array has the length of a key")))
    }

    /// The pseudonym of an id: the first 128 bits of HMAC-SHA256.
    pub fn pseudonym(&self, kind: PseudonymKind, id: Uuid) -> Pseudonym {
        let digest = self.0.hmac(&[&aead::fields(&[b"carelog-pseudonym-v1", kind.label(), id.as_bytes()])]);
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(digest).for_each(|(byte, digit)| *byte = digit);
        Pseudonym(Uuid::from_bytes(bytes))
    }
}

impl fmt::Debug for PseudonymKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PseudonymKey")
    }
}

/// The keys of pseudonyms, and no other: through this nothing can be opened.
pub struct Pseudonyms {
    pool: PgPool,
    root: RootKey,
    /// Keys that were live when they were read, each for a while only.
    known: Cache<(OrganizationId, i32), PseudonymKey>,
}

impl Pseudonyms {
    /// Takes a pool of the vault's database in the role `carelog_pseudonyms`.
    pub fn new(pool: PgPool, root: RootKey) -> Self {
        let time_to_live = Duration::from_secs(CACHE_SECONDS);
        let known = Cache::builder().max_capacity(CACHED_KEYS).time_to_live(time_to_live).build();
        Self { pool, root, known }
    }

    /// The newest epoch of an organization; the first, with its key, where there was none.
    ///
    /// # Errors
    /// When the database fails.
    pub fn newest_epoch(&self, organization_id: OrganizationId) -> BoxFuture<'_, Result<i32, VaultError>> {
        Box::pin(async move {
            if let Some(epoch) = self.stored_epoch(organization_id).await? {
                return Ok(epoch);
            }
            self.create(organization_id, FIRST_EPOCH).await?;
            Ok(self.stored_epoch(organization_id).await?.unwrap_or(FIRST_EPOCH))
        })
    }

    /// The key of an epoch.
    ///
    /// # Errors
    /// When there was never such an epoch, or its key was destroyed, does not open, or cannot be read.
    pub fn key(
        &self,
        organization_id: OrganizationId,
        epoch: i32,
    ) -> BoxFuture<'_, Result<PseudonymKey, VaultError>> {
        Box::pin(async move {
            if let Some(key) = self.known.get(&(organization_id, epoch)) {
                return Ok(key);
            }
            let missing = VaultError::NoPseudonymKey { organization_id, epoch };
            let wrapped = sqlx::query_scalar!(
                "
                select wrapped
                from vault.pseudonym_keys
                where organization_id = $1 and epoch = $2 and destroyed_at is null
                ",
                organization_id.uuid(),
                epoch
            )
            .fetch_optional(&self.pool)
            .await?
            .flatten();
            let Some(wrapped) = wrapped else { return Err(missing) };
            let secret = self.root.0.unwrap(&place(organization_id, epoch), &wrapped).ok_or(missing)?;
            let key = PseudonymKey(Arc::new(secret));
            self.known.insert((organization_id, epoch), key.clone());
            Ok(key)
        })
    }

    /// Begins a new epoch, which rebuilds take from now on, and tells its number.
    ///
    /// # Errors
    /// When the database fails.
    #[instrument(name = "vault.pseudonyms.rotate", skip_all, fields(organization.id = %organization_id))]
    pub fn rotate(&self, organization_id: OrganizationId) -> BoxFuture<'_, Result<i32, VaultError>> {
        Box::pin(async move {
            let next = self.newest_epoch(organization_id).await?.saturating_add(1);
            // Where somebody else was faster, theirs is as new.
            self.create(organization_id, next).await?;
            Ok(next)
        })
    }

    /// Destroys the key of an epoch under which nothing is kept any more, as the caller has made sure. Nothing leads back
    /// to people from then on; other processes forget the key within [`CACHE_SECONDS`].
    ///
    /// # Errors
    /// When it is the newest epoch of the organization, there was never such an epoch, or the database fails. Destroying
    /// again what is destroyed is no error.
    #[instrument(name = "vault.pseudonyms.destroy", skip_all, fields(organization.id = %organization_id))]
    pub fn destroy(
        &self,
        organization_id: OrganizationId,
        epoch: i32,
    ) -> BoxFuture<'_, Result<(), VaultError>> {
        Box::pin(async move {
            match self.stored_epoch(organization_id).await? {
                Some(newest) if newest == epoch => {
                    return Err(VaultError::NewestPseudonymKey { organization_id, epoch });
                }
                Some(newest) if (FIRST_EPOCH..newest).contains(&epoch) => {}
                _ => return Err(VaultError::NoPseudonymKey { organization_id, epoch }),
            }
            sqlx::query!(
                "
                update vault.pseudonym_keys
                set wrapped = null, destroyed_at = now()
                where organization_id = $1 and epoch = $2 and destroyed_at is null
                ",
                organization_id.uuid(),
                epoch
            )
            .execute(&self.pool)
            .await?;
            self.known.invalidate(&(organization_id, epoch));
            // Otherwise the bytes would wait in memory for the next clean-up.
            self.known.run_pending_tasks();
            Ok(())
        })
    }

    async fn stored_epoch(&self, organization_id: OrganizationId) -> Result<Option<i32>, VaultError> {
        let epoch = sqlx::query_scalar!(
            "select max(epoch) from vault.pseudonym_keys where organization_id = $1",
            organization_id.uuid()
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(epoch)
    }

    async fn create(&self, organization_id: OrganizationId, epoch: i32) -> Result<(), VaultError> {
        let wrapped = self.root.0.wrap(&place(organization_id, epoch), &Secret::random()?)?;
        sqlx::query!(
            "
            insert into vault.pseudonym_keys (organization_id, epoch, wrapped)
            values ($1, $2, $3)
            on conflict do nothing
            ",
            organization_id.uuid(),
            epoch,
            wrapped
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonyms")
    }
}

fn place(organization_id: OrganizationId, epoch: i32) -> Vec<u8> {
    wrap::pseudonym_place(organization_id, epoch.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> PseudonymKey {
        PseudonymKey::new([byte; 32])
    }

    /// The expected value comes from another implementation of the format.
    #[test]
    fn a_pseudonym_is_pinned() {
        let id = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0002);

        let pseudonym = key(0x11).pseudonym(PseudonymKind::Patient, id);

        assert_eq!(pseudonym.uuid().simple().to_string(), "67670cd8df6466ddebe5f1cf34e2ea12");
    }

    #[test]
    fn no_two_keys_kinds_or_ids_share_a_pseudonym() {
        let (id, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let kinds = [
            PseudonymKind::Patient,
            PseudonymKind::Specialist,
            PseudonymKind::Record,
            PseudonymKind::Erased,
            PseudonymKind::Place,
        ];
        let mut all = Vec::new();
        for key in [key(1), key(2)] {
            for kind in kinds {
                all.extend([key.pseudonym(kind, id), key.pseudonym(kind, other)]);
            }
        }
        all.sort_unstable();
        all.dedup();

        assert_eq!(all.len(), 20);
        assert!(all.iter().all(|pseudonym| ![id, other].contains(&pseudonym.uuid())));
    }
}
