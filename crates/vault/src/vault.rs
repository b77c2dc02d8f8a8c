//! Finding, making and destroying keys.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::Hash;

use carelog_domain::{DataClass, KeyId, KeyScope, OrganizationId, PatientId};
use futures::future::BoxFuture;
use sqlx::PgPool;
use tracing::instrument;
use zeroize::Zeroizing;

use crate::VaultError;
use crate::cache::KeyCache;
use crate::data_key::{KeyCommit, KeyState};
use crate::root::RootKey;
use crate::store::{self, StoredKey};

/// The keys of all organizations. One per process: it owns the cache that shredding must reach.
pub struct Vault {
    pool: PgPool,
    root: RootKey,
    cache: KeyCache,
}

impl Vault {
    /// Takes a pool of the vault's own database and the key that everything in it is wrapped with.
    pub fn new(pool: PgPool, root: RootKey) -> Self {
        Self { pool, root, cache: KeyCache::new() }
    }

    /// The key of a scope, made if there is none.
    ///
    /// # Errors
    /// When the database fails or its rows do not open.
    pub fn data_key<'a>(&'a self, scope: &'a KeyScope) -> BoxFuture<'a, Result<KeyState, VaultError>> {
        Box::pin(async move {
            match self.cache.by_scope(scope) {
                Some(state) => Ok(state),
                None => self.data_keys(&[*scope]).await?.pop().ok_or(VaultError::Vanished(*scope)),
            }
        })
    }

    /// The key of a scope, where there is one; none is made.
    ///
    /// # Errors
    /// When the database fails or its row does not open.
    pub fn find_data_key<'a>(
        &'a self,
        scope: &'a KeyScope,
    ) -> BoxFuture<'a, Result<Option<KeyState>, VaultError>> {
        Box::pin(async move {
            if let Some(state) = self.cache.by_scope(scope) {
                return Ok(Some(state));
            }
            let generation = self.cache.generation();
            let mut conn = self.pool.acquire().await?;
            let keys = store::by_scopes(&mut conn, &self.root, &[*scope]).await?;
            self.cache.remember(generation, &keys);
            Ok(keys.into_iter().next().map(|key| key.state))
        })
    }

    /// The keys of scopes, in their order, made where there is none; in a few statements however many they are.
    ///
    /// # Errors
    /// When the database fails or its rows do not open.
    pub fn data_keys<'a>(
        &'a self,
        scopes: &'a [KeyScope],
    ) -> BoxFuture<'a, Result<Vec<KeyState>, VaultError>> {
        Box::pin(async move {
            let (mut states, mut missing) = split(scopes, |scope| self.cache.by_scope(scope));
            if !missing.is_empty() {
                missing.sort_unstable_by_key(|scope| (scope.organization_id, scope.subject, scope.class));
                let keys = self.find_or_create(&missing).await?;
                states.extend(keys.into_iter().map(|key| (key.scope, key.state)));
            }
            in_order(scopes, &states, |scope| VaultError::Vanished(*scope))
        })
    }

    /// The key of that name.
    ///
    /// # Errors
    /// When there never was such a key, the database fails, or its row does not open.
    pub fn key(&self, key_id: KeyId) -> BoxFuture<'_, Result<KeyState, VaultError>> {
        Box::pin(async move {
            match self.cache.by_id(key_id) {
                Some(state) => Ok(state),
                None => self.keys(&[key_id]).await?.pop().ok_or(VaultError::UnknownKey(key_id)),
            }
        })
    }

    /// The keys of those names, in their order, in one statement.
    ///
    /// # Errors
    /// When one of them never was, the database fails, or its rows do not open.
    pub fn keys<'a>(&'a self, key_ids: &'a [KeyId]) -> BoxFuture<'a, Result<Vec<KeyState>, VaultError>> {
        Box::pin(async move {
            let (mut states, missing) = split(key_ids, |key_id| self.cache.by_id(*key_id));
            if !missing.is_empty() {
                let generation = self.cache.generation();
                let mut conn = self.pool.acquire().await?;
                let keys = store::by_ids(&mut conn, &self.root, &missing).await?;
                self.cache.remember(generation, &keys);
                states.extend(keys.into_iter().map(|key| (key.key_id, key.state)));
            }
            in_order(key_ids, &states, |key_id| VaultError::UnknownKey(*key_id))
        })
    }

    /// A keyed hash by which a personal value can be looked up without being readable. `purpose` names the column,
    /// so that equal values of two columns differ; `value` comes normalised (case, spaces), because only equal
    /// bytes give equal hashes.
    ///
    /// It never changes while the organization lives, and no two organizations share it. A read model must delete
    /// a patient's hashes when it erases the patient: their key is the organization's.
    ///
    /// # Errors
    /// When the organization's key was destroyed or cannot be had.
    pub fn blind_index<'a>(
        &'a self,
        organization_id: OrganizationId,
        purpose: &'a str,
        value: &'a str,
    ) -> BoxFuture<'a, Result<[u8; 32], VaultError>> {
        Box::pin(async move {
            let scope = KeyScope { organization_id, subject: None, class: DataClass::Identity };
            match self.data_key(&scope).await? {
                KeyState::Live(key) => Ok(key.blind_index(purpose, value.as_bytes())),
                KeyState::Destroyed => Err(VaultError::IndexKeyDestroyed(organization_id)),
            }
        })
    }

    /// A secret of an organization that has to be kept nowhere, because it follows from the vault. `purpose` tells
    /// secrets apart; it never changes while the organization lives.
    ///
    /// # Errors
    /// When the organization's key was destroyed or cannot be had.
    pub fn derived_secret<'a>(
        &'a self,
        organization_id: OrganizationId,
        purpose: &'a str,
    ) -> BoxFuture<'a, Result<Zeroizing<[u8; 32]>, VaultError>> {
        Box::pin(async move {
            let scope = KeyScope { organization_id, subject: None, class: DataClass::Credential };
            match self.data_key(&scope).await? {
                KeyState::Live(key) => Ok(key.derived_secret(purpose)),
                KeyState::Destroyed => Err(VaultError::DerivingKeyDestroyed(organization_id)),
            }
        })
    }

    /// Destroys all keys of a patient, for ever, and gives their names and commitments. Called again it changes
    /// nothing and gives the same answer.
    ///
    /// # Errors
    /// When the database fails; then no key was destroyed, or all were, and it must be called again.
    #[instrument(name = "vault.subject.shred", skip_all, fields(organization.id = %organization_id))]
    pub fn shred(
        &self,
        organization_id: OrganizationId,
        subject: PatientId,
    ) -> BoxFuture<'_, Result<Vec<(KeyId, KeyCommit)>, VaultError>> {
        Box::pin(async move {
            let mut tx = self.pool.begin().await?;
            let destroyed = store::shred(&mut tx, organization_id, subject).await?;
            let committed = tx.commit().await;
            // Also after a commit of unknown outcome: a cache that forgot too much is only slower.
            let key_ids: Vec<KeyId> = destroyed.iter().map(|(key_id, _)| *key_id).collect();
            self.cache.shred(organization_id, subject, &key_ids);
            committed?;
            tracing::info!(key_count = destroyed.len(), "keys of a patient destroyed");
            Ok(destroyed)
        })
    }

    /// Each statement commits by itself, so that it sees what others made meanwhile.
    async fn find_or_create(&self, scopes: &[KeyScope]) -> Result<Vec<StoredKey>, VaultError> {
        let generation = self.cache.generation();
        let mut conn = self.pool.acquire().await?;
        let mut keys = store::by_scopes(&mut conn, &self.root, scopes).await?;
        let found: HashSet<KeyScope> = keys.iter().map(|key| key.scope).collect();
        let absent: Vec<KeyScope> = scopes.iter().copied().filter(|scope| !found.contains(scope)).collect();
        if !absent.is_empty() {
            store::create(&mut conn, &self.root, &absent).await?;
            keys.extend(store::by_scopes(&mut conn, &self.root, &absent).await?);
        }
        self.cache.remember(generation, &keys);
        Ok(keys)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault")
    }
}

/// What is known already, and what is not, each once.
fn split<K: Copy + Eq + Hash>(
    wanted: &[K],
    cached: impl Fn(&K) -> Option<KeyState>,
) -> (HashMap<K, KeyState>, Vec<K>) {
    let mut states = HashMap::with_capacity(wanted.len());
    let mut missing = HashSet::new();
    for key in wanted {
        if states.contains_key(key) || missing.contains(key) {
            continue;
        }
        match cached(key) {
            Some(state) => drop(states.insert(*key, state)),
            None => drop(missing.insert(*key)),
        }
    }
    (states, missing.into_iter().collect())
}

fn in_order<K: Eq + Hash>(
    wanted: &[K],
    states: &HashMap<K, KeyState>,
    absent: impl Fn(&K) -> VaultError,
) -> Result<Vec<KeyState>, VaultError> {
    wanted.iter().map(|key| states.get(key).cloned().ok_or_else(|| absent(key))).collect()
}
