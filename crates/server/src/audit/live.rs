//! The running system, checked as a bundle is: `carelog audit verify --live`.
//!
//! The newest checkpoint has to be signed as the auditor's policy asks for. Every event under it is read from the log, and
//! its leaf is made anew from what is stored; these leaves have to make up the signed root and every tile of every level.
//! Where the policy names the log of checkpoints, that is read as well: it may have one history of the organization only.
//! Events that are not signed yet have to be those that were written. Each entry of the trail has to be the one that its
//! event makes, and each key in the vault the one that leaves commit to. Ciphertexts are hashed, not opened, so this needs
//! no key, and it writes nothing.

mod inner;
mod keys;
mod meta;
mod trail;

use anyhow::Context;
use carelog_audit::proof::{Checkpoint, Edge, Hash, Policy, SignedCheckpoint, TILE_WIDTH, Tile};
use carelog_audit::signer::{self, SignerError};
use carelog_audit::trees::{self, TreeError, TreeReader};
use carelog_domain::{OrganizationId, PatientId, StreamKind};
use carelog_event_log::{Lane, ReadError, RecordedEvent, read};
use carelog_proof::bundle::{Damage, DamageKind, Report, Shape, VerifyError, earlier, inconsistent, trusted};
use futures::future::BoxFuture;
use serde::Deserialize;
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;
use uuid::Uuid;

use self::inner::Inner;
use self::trail::{Trail, mismatch};
use super::collect::number;
use super::{PATIENCE, POLL};
use crate::databases::Databases;

/// What is checked, and against what.
pub struct LiveOptions<'a> {
    /// Whose log.
    pub organization_id: OrganizationId,
    /// First part of the names of the logs, where it is not the log's own name.
    pub origin: Option<&'a str>,
    /// Whom the auditor trusts.
    pub policy: &'a Policy,
    /// A checkpoint of the log that the auditor kept, as a signed note.
    pub since: Option<&'a str>,
    /// Hears of events that were checked, and of how many there are.
    pub progress: &'a (dyn Fn(u64, u64) + Send + Sync),
}

/// Why a live log is not accepted, or cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// Something is wrong with it.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// It could not be looked at, which says nothing about it.
    #[error("the log cannot be checked")]
    Unreadable(#[source] anyhow::Error),
}

impl From<VerifyError> for LiveError {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Damaged(damage) => Self::Damaged(damage),
            VerifyError::Read(error) => Self::Unreadable(error.into()),
        }
    }
}

impl From<sqlx::Error> for LiveError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unreadable(error.into())
    }
}

impl From<ReadError> for LiveError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Database(error) => error.into(),
            stored @ ReadError::Stored { .. } => damaged(DamageKind::LeafMismatch, stored.to_string()),
        }
    }
}

impl From<TreeError> for LiveError {
    fn from(error: TreeError) -> Self {
        match error {
            TreeError::Database(error) => error.into(),
            stored @ (TreeError::Stored { .. } | TreeError::Missing { .. }) => {
                damaged(DamageKind::TileMismatch, stored.to_string())
            }
        }
    }
}

impl From<SignerError> for LiveError {
    fn from(error: SignerError) -> Self {
        match error {
            SignerError::Database(error) => error.into(),
            SignerError::Tree(error) => error.into(),
            stored @ SignerError::Stored { .. } => damaged(DamageKind::Malformed, stored.to_string()),
        }
    }
}

fn damaged(kind: DamageKind, detail: impl Into<String>) -> LiveError {
    LiveError::Damaged(Damage { kind, detail: detail.into() })
}

/// Checks the log of an organization.
///
/// # Errors
/// The first damage that is found, or that the databases cannot be read.
pub fn verify_live<'a>(
    databases: &'a Databases,
    options: &'a LiveOptions<'a>,
) -> BoxFuture<'a, Result<Report, LiveError>> {
    Box::pin(async move {
        let mut core = databases.core_system.acquire().await?;
        let mut audit = databases.audit_system.acquire().await?;
        let head = Head::read(&mut core, options.organization_id).await?;
        let prefix = options.origin.unwrap_or(&head.log_name);
        let note = newest(&mut audit, prefix, options.organization_id, options.policy, head.sequence).await?;
        let (signed, witnesses) = trusted(&note.to_string(), options.policy)?;
        let claim = signed.claim();
        let since = options.since.map(|text| earlier(text, options.policy, claim)).transpose()?;
        let continues = since.as_ref().map(|since| since.size);
        let tree = trees::open(&mut audit, options.organization_id).await?;
        let tree = tree.ok_or_else(|| damaged(DamageKind::Incomplete, "the log has no tree"))?;
        let trail = Trail::open(databases, options.organization_id, head.lane).await?;
        let (edge, vault) = (Edge::default(), &databases.vault);
        let mut walk = Walk { options, head: &head, core: &mut core, trail, vault, edge, since, told: None };
        let total = head.sequence.max(claim.size);
        walk.signed_part(tree, claim, total).await?;
        walk.tail(claim.size, total).await?;
        if let Some(damage) = walk.told.take() {
            return Err(damage.into());
        }
        walk.no_entry_is_left_over().await?;
        let told = meta::verify(&mut audit, prefix, options.policy, options.organization_id, claim).await?;
        Ok(Report {
            origin: claim.origin.clone(),
            organization_id: options.organization_id.to_string(),
            shape: Shape::Full,
            proves: Shape::Full.proves(),
            filter: None,
            tree_size: claim.size,
            from: 0,
            to: claim.size,
            event_count: claim.size,
            erased_count: 0,
            unsealed_count: total - claim.size,
            witnesses,
            continues,
            logged_size: None,
            is_unlogged: false,
            meta_size: told.as_ref().map(|told| told.size),
            meta_own_count: told.as_ref().map(|told| told.own_count),
        })
    })
}

/// Where the log stands when the check begins.
struct Head {
    log_name: String,
    lane: Lane,
    /// Events of the organization.
    sequence: u64,
}

impl Head {
    async fn read(core: &mut PgConnection, organization_id: OrganizationId) -> Result<Self, LiveError> {
        let row = sqlx::query!(
            "select s.log_name, o.lane, o.sequence
             from log.settings s
             cross join log.organizations o
             where o.organization_id = $1",
            organization_id.uuid()
        )
        .fetch_optional(core)
        .await?;
        let row = row.with_context(|| format!("there is no organization {organization_id}"));
        let row = row.map_err(LiveError::Unreadable)?;
        Ok(Self { log_name: row.log_name, lane: row.lane, sequence: row.sequence.unsigned_abs() })
    }
}

/// The newest checkpoint that the policy is content with; where there is none, the newest one, which then says why. Waits
/// a while for the signer, and for witnesses, to cover what was in the log at the beginning.
async fn newest(
    audit: &mut PgConnection,
    prefix: &str,
    organization_id: OrganizationId,
    policy: &Policy,
    sequence: u64,
) -> Result<SignedCheckpoint, LiveError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let candidates = signer::cosigned_checkpoints(audit, prefix, organization_id).await?;
        let mut candidates: Vec<_> = candidates.into_iter().map(|one| one.published.checkpoint).collect();
        let trusted = candidates.iter().position(|one| policy.verify(one).is_ok());
        let covers =
            trusted.and_then(|at| candidates.get(at)).is_some_and(|one| one.claim().size >= sequence);
        if covers || Instant::now() >= deadline {
            if candidates.is_empty() {
                let detail = format!("nothing of {prefix}/{organization_id} is signed");
                return Err(damaged(DamageKind::Incomplete, detail));
            }
            return Ok(candidates.swap_remove(trusted.unwrap_or(0)));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Goes through the events from the first to the last.
struct Walk<'a, 'c> {
    options: &'a LiveOptions<'a>,
    head: &'a Head,
    core: &'c mut PgConnection,
    trail: Trail,
    vault: &'a PgPool,
    /// The tree of the leaves that were made anew.
    edge: Edge,
    /// What the auditor kept, until its root was compared.
    since: Option<Checkpoint>,
    /// Where the trail first tells something else than the log. What the log itself says against the tree comes before.
    told: Option<Damage>,
}

impl Walk<'_, '_> {
    /// The events under the checkpoint, and the tree.
    async fn signed_part(
        &mut self,
        mut tree: TreeReader<'_>,
        claim: &Checkpoint,
        total: u64,
    ) -> Result<(), LiveError> {
        if tree.head().size < claim.size {
            let detail = format!("the tree has {} leaves, {} were signed", tree.head().size, claim.size);
            return Err(damaged(DamageKind::Incomplete, detail));
        }
        let mut difference = None;
        let (mut inner, mut above) = (Inner::default(), None);
        self.compare_with_earlier()?;
        for n in 0..claim.size.div_ceil(TILE_WIDTH) {
            let first = n * TILE_WIDTH;
            let width = TILE_WIDTH.min(claim.size - first);
            let sealed = tree.tile(Tile { level: 0, n }, width).await?.unwrap_or_default();
            let sealed = sealed.as_chunks::<{ Hash::BYTES }>().0;
            let leaves = self.leaves(first, width).await?;
            for (index, (at, leaf)) in (first..).zip(leaves.iter().enumerate()) {
                self.edge.append(*leaf);
                self.compare_with_earlier()?;
                if difference.is_none() && sealed.get(at) != Some(&leaf.0) {
                    difference = Some(index);
                }
            }
            for (tile, hashes) in Tile::root_of(&leaves).map(|root| inner.push(root)).unwrap_or_default() {
                above = above.or(differs(&mut tree, tile, &hashes).await?);
            }
            (self.options.progress)(first + width, total);
        }
        for (tile, hashes) in inner.rest() {
            above = above.or(differs(&mut tree, tile, &hashes).await?);
        }
        match (self.edge.root() == claim.root, difference, above) {
            (true, None, Some(Tile { level, n })) => {
                let detail = format!("tile {n} of level {level} has other hashes than the leaves below it");
                Err(damaged(DamageKind::TileMismatch, detail))
            }
            (true, None, None) if tree.root(claim.size).await? == claim.root => Ok(()),
            (true, None, None) => {
                Err(damaged(DamageKind::TileMismatch, "the tiles do not make up the signed root"))
            }
            (true, Some(index), _) => {
                let detail = format!("the tree has another leaf at index {index} than the event");
                Err(damaged(DamageKind::TileMismatch, detail))
            }
            (false, Some(index), _) => {
                let detail = format!("the leaf at index {index} is not the one that was sealed");
                Err(damaged(DamageKind::LeafMismatch, detail))
            }
            (false, None, _) => {
                Err(damaged(DamageKind::NotIncluded, "the events do not make up the signed root"))
            }
        }
    }

    /// The events after the checkpoint, which only their own hashes vouch for.
    async fn tail(&mut self, from: u64, total: u64) -> Result<(), LiveError> {
        let mut first = from;
        while first < total {
            let width = TILE_WIDTH.min(total - first);
            self.leaves(first, width).await?;
            first += width;
            (self.options.progress)(first, total);
        }
        Ok(())
    }

    /// The leaves of some events, each made anew and the one that was written with its event.
    async fn leaves(&mut self, first: u64, width: u64) -> Result<Vec<Hash>, LiveError> {
        let Self { options, head, vault, .. } = self;
        let after = number(first);
        let events =
            read::organization(self.core, head.lane, options.organization_id, after, number(width)).await?;
        let mut leaves = Vec::with_capacity(events.len());
        for (index, event) in (first..).zip(&events) {
            if event.organization_sequence != number(index + 1) {
                return Err(missing(index));
            }
            if !event.leaf_is_true(&head.log_name) {
                return Err(changed(index, event));
            }
            // No leaf has it, and the trail and exports of one patient are made by it.
            if subject_told(event).is_some_and(|told| event.subject.map(PatientId::uuid) != Some(told)) {
                return Err(another_subject(index, event));
            }
            leaves.push(Hash(event.leaf_hash));
        }
        let count = leaves.len() as u64;
        if count < width {
            return Err(missing(first + count));
        }
        keys::are_those_of(vault, &events).await?;
        match self.trail.tells_of(after, &events).await {
            Err(LiveError::Damaged(damage)) => drop(self.told.get_or_insert(damage)),
            told => told?,
        }
        Ok(leaves)
    }

    /// Whether the trail ends where the log does, or before.
    async fn no_entry_is_left_over(&mut self) -> Result<(), LiveError> {
        let newest = self.trail.newest().await?;
        // Read later: it may have grown since.
        let head = Head::read(self.core, self.options.organization_id).await?;
        if newest > number(head.sequence) {
            return Err(mismatch(format!("entry {newest} of the trail has no event")));
        }
        Ok(())
    }

    /// Where the growing tree is as large as the one that the auditor kept, their roots have to be equal.
    fn compare_with_earlier(&mut self) -> Result<(), LiveError> {
        match self.since.take_if(|since| since.size == self.edge.size()) {
            Some(since) if since.root != self.edge.root() => Err(inconsistent(&since).into()),
            Some(_) | None => Ok(()),
        }
    }
}

/// The tile, where it is not made of these hashes.
async fn differs(tree: &mut TreeReader<'_>, tile: Tile, hashes: &[Hash]) -> Result<Option<Tile>, LiveError> {
    let sealed = tree.tile(tile, hashes.len() as u64).await?.unwrap_or_default();
    let are_equal = sealed.as_chunks::<{ Hash::BYTES }>().0.iter().eq(hashes.iter().map(|hash| &hash.0));
    Ok((!are_equal).then_some(tile))
}

fn missing(index: u64) -> LiveError {
    damaged(DamageKind::Incomplete, format!("the event at index {index} is missing in the log"))
}

/// The patient whom an event is about, where its stream or its facts say so.
fn subject_told(event: &RecordedEvent) -> Option<Uuid> {
    #[derive(Deserialize)]
    struct Subject {
        patient_id: Option<Uuid>,
    }
    if event.stream.kind == StreamKind::Patient {
        return Some(event.stream.id);
    }
    serde_json::from_slice::<Subject>(&event.facts).ok()?.patient_id
}

fn another_subject(index: u64, event: &RecordedEvent) -> LiveError {
    let detail =
        format!("event {} at index {index} is filed under another patient than it tells of", event.event_id);
    damaged(DamageKind::LeafMismatch, detail)
}

fn changed(index: u64, event: &RecordedEvent) -> LiveError {
    let detail = format!(
        "event {} at index {index} is not the one that was written: its leaf is another one",
        event.event_id
    );
    damaged(DamageKind::LeafMismatch, detail)
}
