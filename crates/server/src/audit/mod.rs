//! Bundles of an organization's log for auditors: made from the running system, checked by anybody without it.
//!
//! What a bundle is and how it is checked stands in `carelog_proof::bundle`; here it is only filled. Whoever exports is
//! written to the log before the bundle gets its name: where that fails, there is no bundle. Nothing leaves that does
//! not hold: an event that is not the one that was signed ends the export. `live` checks the running system in the same
//! way.

mod assemble;
mod collect;
pub mod command;
mod live;
mod spool;
mod unfinished;

use std::io;
use std::path::Path;
use std::time::Duration;

use carelog_audit::proof::{KeyError, SignedCheckpoint};
use carelog_audit::signer::{self, SignerError};
use carelog_audit::trees::TreeError;
use carelog_domain::access::{Access, AccessCommand};
use carelog_domain::{OrganizationId, PatientId, StreamKind};
use carelog_event_log::{EventLog, ReadError, Scope, new_id};
use carelog_proof::bundle::Shape;
use carelog_vault::VaultError;
use futures::future::BoxFuture;
use sqlx::PgPool;
use tempfile::NamedTempFile;
use tokio::time::Instant;

use crate::config::WitnessAddress;

pub use self::live::{LiveError, LiveOptions, verify_live};
pub use self::unfinished::Unfinished;

/// Events that are held in memory at a time.
const PAGE: i64 = 500;
/// How long the signer is waited for, to cover what was in the log at the beginning.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks.
const POLL: Duration = Duration::from_millis(200);

/// Of which events a bundle is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportOptions {
    /// Whose.
    pub organization_id: OrganizationId,
    /// The first index, from 0; the beginning where nothing is given.
    pub from: Option<u64>,
    /// The index after the last; the end of the signed tree where nothing is given.
    pub to: Option<u64>,
    /// Only events about this patient.
    pub patient_id: Option<PatientId>,
    /// Leaves of a tree that the bundle has to be shown to continue.
    pub since: Option<u64>,
}

/// How far an export has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportProgress {
    /// Events that were looked at.
    pub done: u64,
    /// Of so many.
    pub total: u64,
}

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ExportSummary {
    /// The log's name.
    pub origin: String,
    /// What the bundle holds of the tree.
    pub shape: Shape,
    /// Leaves of the signed tree.
    pub tree_size: u64,
    /// The first index.
    pub from: u64,
    /// The index after the last.
    pub to: u64,
    /// Events in the bundle.
    pub event_count: u64,
    /// Events whose personal values are gone with their key.
    pub erased_count: u64,
    /// Events that were in the log and under no checkpoint yet.
    pub unsealed_count: u64,
    /// The index from which an export that was cut off went on, under the checkpoint with which it was begun: what was
    /// signed since is not in it.
    pub resumed_from: Option<u64>,
}

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Nothing was signed of this organization.
    #[error("{0} has no signed checkpoint: no signer has run yet, or there is no such organization")]
    NotSealed(OrganizationId),
    /// The range is none of the signed tree.
    #[error("from {from} to {to} is no range of the {size} events that are signed")]
    Range {
        /// The first index that was asked for.
        from: u64,
        /// The index after the last that was asked for.
        to: u64,
        /// Leaves of the signed tree.
        size: u64,
    },
    /// There is nothing to export.
    #[error("no event in this range is about that patient")]
    Nothing,
    /// An event is missing in the log.
    #[error("the event at index {0} is missing in the log: run `carelog doctor`")]
    Missing(u64),
    /// An event is not the one that was signed.
    #[error("the event at index {0} was changed: run `carelog doctor`")]
    Changed(u64),
    /// The key of an event is not the one that it was sealed with.
    #[error(
        "the event at index {0} was sealed with another key than the vault has: run `carelog audit verify --live`"
    )]
    AnotherKey(u64),
    /// The events are not those that were signed.
    #[error("the log is not the one that was signed: run `carelog doctor`")]
    Contradicted,
    /// Leaf data or facts are no text.
    #[error("leaf data is no text")]
    NoText,
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The audit database cannot be read.
    #[error("the audit database cannot be read at present")]
    Database(#[from] sqlx::Error),
    /// The trees cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The checkpoints cannot be read.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The log's name cannot be one.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It cannot be told whether keys were destroyed.
    #[error("the vault cannot be asked")]
    Vault(#[from] VaultError),
    /// The bundle cannot be written; `FileTooLarge` where it would be longer than it may.
    #[error("the bundle cannot be written")]
    Write(#[from] io::Error),
    /// The export could not be written to the log, and so nothing was handed out.
    #[error("the export cannot be recorded in the log, so nothing is handed out: {0}")]
    Record(String),
}

impl ExportError {
    /// Whether the same export would end so again.
    const fn is_final(&self) -> bool {
        match self {
            Self::NotSealed(_)
            | Self::Range { .. }
            | Self::Nothing
            | Self::Missing(_)
            | Self::Changed(_)
            | Self::AnotherKey(_)
            | Self::Contradicted
            | Self::NoText => true,
            Self::Read(_)
            | Self::Database(_)
            | Self::Tree(_)
            | Self::Signer(_)
            | Self::Key(_)
            | Self::Vault(_)
            | Self::Write(_)
            // The log may take it the next time.
            | Self::Record(_) => false,
        }
    }
}

/// Makes bundles of a log.
#[derive(Clone, Debug)]
pub struct Exporter {
    /// The log.
    pub log: EventLog,
    /// Connections to the trees, for every organization.
    pub audit: PgPool,
    /// The first part of the names of the logs.
    pub origin: std::sync::Arc<str>,
    /// Who cosigns checkpoints. Their cosignatures are waited for, as the signature is, and then done without.
    pub witnesses: Vec<WitnessAddress>,
    /// Bytes of the longest bundle. Its lists lie beside it while it is made, each of which is bounded so as well.
    pub max_bytes: u64,
}

impl Exporter {
    /// Makes a bundle in `file`, after the access was recorded in `scope`.
    ///
    /// # Errors
    /// See [`ExportError`]; what is in `file` is then no bundle.
    pub fn export<'a>(
        &'a self,
        options: &'a ExportOptions,
        scope: &'a Scope,
        file: &'a mut NamedTempFile,
        progress: &'a (dyn Fn(ExportProgress) + Send + Sync),
    ) -> BoxFuture<'a, Result<ExportSummary, ExportError>> {
        Box::pin(self.make(options, scope, None, file, progress))
    }

    /// The same, by way of a directory from which an export that was cut off goes on. It is handed back, to be removed once
    /// the bundle has its name. Whoever exports is recorded before anything is kept there; a patient's events, which are
    /// few, are not.
    ///
    /// # Errors
    /// See [`ExportError`]; what is in `file` is then no bundle, and what was collected stays in the directory, unless
    /// another try would end so as well.
    pub fn export_by_way_of<'a>(
        &'a self,
        options: &'a ExportOptions,
        scope: &'a Scope,
        directory: &'a Path,
        file: &'a mut NamedTempFile,
        progress: &'a (dyn Fn(ExportProgress) + Send + Sync),
    ) -> BoxFuture<'a, Result<(ExportSummary, Option<Unfinished>), ExportError>> {
        Box::pin(async move {
            if options.patient_id.is_some() {
                return Ok((self.make(options, scope, None, file, progress).await?, None));
            }
            let unfinished = Unfinished::open(directory, self.max_bytes)?;
            let made = self.make(options, scope, Some(&unfinished), file, progress).await;
            match made {
                Ok(summary) => Ok((summary, Some(unfinished))),
                Err(error) => {
                    if error.is_final() {
                        unfinished.remove()?;
                    } else {
                        // Only an empty directory goes.
                        let _ = std::fs::remove_dir(directory);
                    }
                    Err(error)
                }
            }
        })
    }

    async fn make(
        &self,
        options: &ExportOptions,
        scope: &Scope,
        unfinished: Option<&Unfinished>,
        file: &mut NamedTempFile,
        progress: &(dyn Fn(ExportProgress) + Send + Sync),
    ) -> Result<ExportSummary, ExportError> {
        let kept = unfinished.and_then(|unfinished| unfinished.state(options));
        let (signed, head, state) = if let Some((state, signed)) = kept {
            (signed, state.head, Some(state))
        } else {
            let (signed, head) = self.newest(options).await?;
            (signed, head, None)
        };
        let resumed_from = state.as_ref().map(|state| state.next);
        let size = signed.claim().size;
        let (from, to) = (options.from.unwrap_or(0), options.to.unwrap_or(size));
        if from >= to || to > size || options.since.is_some_and(|since| since > size) {
            return Err(ExportError::Range { from, to, size });
        }
        let shape = match options.patient_id {
            Some(_) => Shape::Selection,
            None if (from, to) == (0, size) => Shape::Full,
            None => Shape::Range,
        };
        // What is kept has left: then the account comes before it.
        if unfinished.is_some() {
            self.record(options, scope, to - from).await?;
        }
        let directory = file.path().parent().unwrap_or(Path::new("."));
        let wanted = collect::Wanted { options, shape, from, to, size };
        let kept = collect::Kept { directory, unfinished, state, signed: &signed, head };
        let collected = self.collect(&wanted, kept, progress).await?;
        if collected.event_count == 0 {
            return Err(ExportError::Nothing);
        }
        if unfinished.is_none() {
            self.record(options, scope, collected.event_count).await?;
        }
        let unsealed_count = head.saturating_sub(size);
        let summary = self.assemble(&wanted, &signed, collected, unsealed_count, file).await?;
        Ok(ExportSummary { resumed_from, ..summary })
    }

    /// The checkpoint to export under, and the number of events that were in the log when it was asked for. Waits a
    /// while for the signer to cover them.
    async fn newest(&self, options: &ExportOptions) -> Result<(SignedCheckpoint, u64), ExportError> {
        let organization_id = options.organization_id;
        let mut head = self.checkpoint(organization_id, None).await?.claim().size;
        loop {
            let after = i64::try_from(head).unwrap_or(i64::MAX);
            let newer = self.log.organization(organization_id, after, PAGE).await?;
            let Some(last) = newer.last() else { break };
            head = last.organization_sequence.unsigned_abs();
        }
        let deadline = Instant::now() + PATIENCE;
        let wanted = options.to.unwrap_or(head).min(head);
        loop {
            let signed = self.checkpoint(organization_id, Some(wanted)).await?;
            let is_whole = signed.claim().size >= wanted && self.is_witnessed(&signed);
            if is_whole || Instant::now() >= deadline {
                return Ok((signed, head));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether every witness that is asked has cosigned a checkpoint.
    fn is_witnessed(&self, signed: &SignedCheckpoint) -> bool {
        let lines = signed.note().signatures();
        self.witnesses.iter().all(|one| lines.iter().any(|line| line.is_of(&one.key)))
    }

    /// The newest checkpoint of an organization's tree; among those that cover `wanted` leaves, where there are any, the
    /// newest one that most witnesses have cosigned.
    pub(crate) async fn checkpoint(
        &self,
        organization_id: OrganizationId,
        wanted: Option<u64>,
    ) -> Result<SignedCheckpoint, ExportError> {
        let mut audit = self.audit.acquire().await?;
        let candidates = signer::cosigned_checkpoints(&mut audit, &self.origin, organization_id).await?;
        let covers = |one: &signer::Cosigned| {
            wanted.is_some_and(|wanted| one.published.checkpoint.claim().size >= wanted)
        };
        // The newest comes first, and the last of equal ones is the maximum.
        let best = candidates.iter().rev().filter(|one| covers(one)).max_by_key(|one| one.witness_count);
        let best = best.or(candidates.first());
        best.map(|one| one.published.checkpoint.clone()).ok_or(ExportError::NotSealed(organization_id))
    }

    /// Writes to the log that so many events are about to be handed out.
    async fn record(
        &self,
        options: &ExportOptions,
        scope: &Scope,
        event_count: u64,
    ) -> Result<(), ExportError> {
        let target_kind =
            if options.patient_id.is_some() { StreamKind::Patient } else { StreamKind::Organization };
        let record_count = u32::try_from(event_count).unwrap_or(u32::MAX);
        let command =
            AccessCommand::RecordExport { target_kind, patient_id: options.patient_id, record_count };
        let recorded = self.log.execute::<Access>(scope, new_id(), command).await;
        recorded.map(drop).map_err(|error| ExportError::Record(error.to_string()))
    }
}
