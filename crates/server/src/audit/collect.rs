//! The lists of a bundle: what the log has, checked once more on its way out.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carelog_audit::proof::{Edge, Hash, SignedCheckpoint, leaf_hash};
use carelog_audit::trees;
use carelog_domain::{EventType, KeyId, PatientId, StreamKind};
use carelog_event_log::{RecordedEvent, StreamKey};
use carelog_proof::bundle::{LeafLine, PayloadLine, Shape};
use carelog_vault::KeyState;
use serde::{Deserialize, Serialize};

use super::spool::Spool;
use super::unfinished::{State, Unfinished};
use super::{ExportError, ExportOptions, ExportProgress, Exporter, PAGE};

/// What is to be collected.
pub(super) struct Wanted<'a> {
    pub(super) options: &'a ExportOptions,
    pub(super) shape: Shape,
    pub(super) from: u64,
    pub(super) to: u64,
    /// Leaves of the signed tree.
    pub(super) size: u64,
}

/// Where what is collected is kept.
pub(super) struct Kept<'a> {
    /// On whose disk lists without a name lie.
    pub(super) directory: &'a Path,
    /// What outlives the process, where that is wanted.
    pub(super) unfinished: Option<&'a Unfinished>,
    /// How far it had come.
    pub(super) state: Option<State>,
    pub(super) signed: &'a SignedCheckpoint,
    /// Events that were in the log when the export began.
    pub(super) head: u64,
}

/// The event that destroyed a patient's keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Destroyer {
    pub(super) index: u64,
    pub(super) event_id: String,
    pub(super) leaf: String,
}

/// What was collected.
pub(super) struct Collected {
    pub(super) leaves: Spool,
    pub(super) payloads: Spool,
    /// Places and leaves of a selection.
    pub(super) selected: Vec<(u64, Hash)>,
    /// Patients whose values are gone, and since which event; nothing where none under the checkpoint says so.
    pub(super) destroyers: HashMap<PatientId, Option<Destroyer>>,
    pub(super) event_count: u64,
    pub(super) erased_count: u64,
    /// The tree of all events up to the end of the range, where the bundle has none left out.
    pub(super) edge: Edge,
}

impl Collected {
    fn new(directory: &Path, max_bytes: u64, edge: Edge) -> Result<Self, ExportError> {
        Ok(Self::of(Spool::new(directory, max_bytes)?, Spool::new(directory, max_bytes)?, edge))
    }

    /// Nothing yet but lists.
    pub(super) fn of(leaves: Spool, payloads: Spool, edge: Edge) -> Self {
        let (selected, destroyers) = (Vec::new(), HashMap::new());
        Self { leaves, payloads, selected, destroyers, event_count: 0, erased_count: 0, edge }
    }
}

impl Exporter {
    /// Goes through the events of the range, from where an unfinished export was.
    pub(super) async fn collect(
        &self,
        wanted: &Wanted<'_>,
        kept: Kept<'_>,
        progress: &(dyn Fn(ExportProgress) + Send + Sync),
    ) -> Result<Collected, ExportError> {
        let organization_id = wanted.options.organization_id;
        let mut next = kept.state.as_ref().map_or(wanted.from, |state| state.next);
        let mut collected = match (kept.unfinished, kept.state) {
            (Some(unfinished), Some(state)) => unfinished.resume(state)?,
            (Some(unfinished), None) => unfinished.begin(self.edge_before(wanted).await?)?,
            (None, _) => Collected::new(kept.directory, self.max_bytes, self.edge_before(wanted).await?)?,
        };
        let total = wanted.to - wanted.from;
        while next < wanted.to {
            progress(ExportProgress { done: next - wanted.from, total });
            let limit = PAGE.min(number(wanted.to - next));
            let events = self.log.organization(organization_id, number(next), limit).await?;
            if events.is_empty() {
                return Err(ExportError::Missing(next));
            }
            for event in &events {
                if event.organization_sequence != number(next + 1) {
                    return Err(ExportError::Missing(next));
                }
                next += 1;
            }
            self.take_page(wanted, &events, &mut collected).await?;
            if let Some(unfinished) = kept.unfinished {
                unfinished.save(wanted.options, kept.signed, kept.head, next, &mut collected)?;
            }
        }
        progress(ExportProgress { done: total, total });
        Ok(collected)
    }

    async fn edge_before(&self, wanted: &Wanted<'_>) -> Result<Edge, ExportError> {
        let mut audit = self.audit.acquire().await?;
        let tree = trees::open(&mut audit, wanted.options.organization_id).await?;
        let mut tree = tree.ok_or(ExportError::NotSealed(wanted.options.organization_id))?;
        let peaks = tree.peaks(wanted.from).await?;
        let bytes: Vec<u8> = peaks.into_iter().flat_map(|hash| hash.0).collect();
        Edge::from_bytes(wanted.from, &bytes).map_err(|_| ExportError::Contradicted)
    }

    async fn take_page(
        &self,
        wanted: &Wanted<'_>,
        events: &[RecordedEvent],
        collected: &mut Collected,
    ) -> Result<(), ExportError> {
        let is_wanted = |event: &&RecordedEvent| {
            wanted.options.patient_id.is_none_or(|patient| event.subject == Some(patient))
        };
        let events: Vec<&RecordedEvent> = events.iter().filter(is_wanted).collect();
        let parts = events.iter().filter_map(|event| event.personal.as_ref());
        let key_ids: Vec<KeyId> = parts.map(|part| part.sealed.key_id).collect();
        let states = self.log.vault().keys(&key_ids).await?;
        let mut states = states.into_iter();
        for event in events {
            let index = event.organization_sequence.unsigned_abs() - 1;
            let leaf = event.leaf_data(self.log.name());
            let hash = leaf_hash(&leaf);
            if hash.0 != event.leaf_hash {
                return Err(ExportError::Changed(index));
            }
            let state = event.personal.as_ref().and_then(|_| states.next());
            if let (Some(KeyState::Live(key)), Some(part)) = (&state, &event.personal)
                && *key.commit() != part.key_commit
            {
                return Err(ExportError::AnotherKey(index));
            }
            let destroyed_by = match (state, event.subject) {
                (Some(KeyState::Destroyed), Some(patient)) => {
                    self.destroyer(wanted, patient, collected).await?
                }
                _ => None,
            };
            collected.leaves.push(&LeafLine { index, leaf: text(leaf)? })?;
            collected.event_count += 1;
            collected.erased_count += u64::from(destroyed_by.is_some());
            collected.payloads.push(&payload(event, index, destroyed_by))?;
            match wanted.shape {
                Shape::Selection => collected.selected.push((index, hash)),
                Shape::Full | Shape::Range => collected.edge.append(hash),
            }
        }
        Ok(())
    }

    /// The event under the checkpoint that says that a patient's keys were destroyed. Where there is none yet, nothing
    /// could prove it, and the ciphertext, which nobody can open, goes along.
    async fn destroyer(
        &self,
        wanted: &Wanted<'_>,
        patient_id: PatientId,
        collected: &mut Collected,
    ) -> Result<Option<String>, ExportError> {
        if let Some(known) = collected.destroyers.get(&patient_id) {
            return Ok(known.as_ref().map(|destroyer| destroyer.event_id.clone()));
        }
        let organization_id = wanted.options.organization_id;
        let stream = StreamKey { organization_id, kind: StreamKind::Patient, id: patient_id.uuid() };
        let mut found = None;
        for event in self.log.stream(&stream, 0).await? {
            let index = event.organization_sequence.unsigned_abs() - 1;
            if event.event_type == EventType::PatientKeysDestroyed && index < wanted.size {
                let leaf = text(event.leaf_data(self.log.name()))?;
                found = Some(Destroyer { index, event_id: event.event_id.to_string(), leaf });
                break;
            }
        }
        let event_id = found.as_ref().map(|destroyer| destroyer.event_id.clone());
        collected.destroyers.insert(patient_id, found);
        Ok(event_id)
    }
}

fn payload(event: &RecordedEvent, index: u64, destroyed_by: Option<String>) -> PayloadLine {
    let is_kept = destroyed_by.is_none();
    let personal = event.personal.as_ref().filter(|_| is_kept);
    PayloadLine {
        index,
        facts: STANDARD.encode(&event.facts),
        personal: personal.map(|part| STANDARD.encode(&part.sealed.bytes)),
        destroyed_by,
        network: event.network.as_ref().map(|sealed| STANDARD.encode(&sealed.bytes)),
    }
}

fn text(leaf: Vec<u8>) -> Result<String, ExportError> {
    String::from_utf8(leaf).map_err(|_| ExportError::NoText)
}

/// A size or index as the log counts; it has fewer than 2^63 events.
pub(super) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
