//! Whether the payloads of a bundle are those that its leaves commit to.

use std::collections::HashMap;
use std::io::BufReader;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::archive::{Archive, Section, Source};
use super::claims::{Claims, KEYS_DESTROYED};
use super::damage::{DamageKind, VerifyError, damaged, malformed};
use super::lines::{DestroyedLine, LeafLine, Lines, PayloadLine, hashes};
use super::manifest::{Manifest, Shape};
use super::names;
use crate::checkpoint::Checkpoint;
use crate::hash::{Hash, leaf_hash};
use crate::inclusion::{InclusionProof, verify_inclusion};

/// Most patients whose keys were destroyed that are looked at.
const MAX_DESTROYED: usize = 1 << 20;

/// Which event destroyed the keys of which patient.
pub(super) type Destroyed = HashMap<String, String>;

/// Reads the events that destroyed keys, and checks that they are in the signed tree.
pub(super) fn destroyed<S: Source + ?Sized>(
    archive: &Archive<'_, S>,
    organization_id: &str,
    signed: &Checkpoint,
) -> Result<Destroyed, VerifyError> {
    let unproven = |detail: String| damaged(DamageKind::ErasureUnproven, detail);
    let mut lines = Lines::new(archive.read(names::DESTROYED)?, names::DESTROYED);
    let mut destroyed = HashMap::new();
    while let Some(DestroyedLine { index, leaf, hashes: texts }) = lines.next()? {
        let place = format!("the event at index {index} of {}", names::DESTROYED);
        let hashes = hashes(&texts).ok_or_else(|| malformed(format!("{place} has a false hash")))?;
        let proof = InclusionProof { index, size: signed.size, hashes };
        verify_inclusion(&proof, leaf_hash(leaf.as_bytes()), signed.root)
            .map_err(|error| unproven(format!("{place}: {error}")))?;
        let claims = Claims::read(&leaf)
            .filter(|claims| claims.event_type == KEYS_DESTROYED && claims.tenant == organization_id);
        let named =
            claims.and_then(|claims| Some((claims.event_id.clone(), claims.patient_stream()?.to_owned())));
        let (event_id, patient_id) =
            named.ok_or_else(|| unproven(format!("{place} destroyed no patient's keys")))?;
        destroyed.insert(event_id, patient_id);
        if destroyed.len() > MAX_DESTROYED {
            return Err(malformed(format!("{} is longer than is looked at", names::DESTROYED)));
        }
    }
    Ok(destroyed)
}

/// Goes through leaves and payloads, which have to be in step.
pub(super) struct Contents<'a, 's, S: ?Sized> {
    manifest: &'a Manifest,
    destroyed: &'a Destroyed,
    leaves: Lines<BufReader<Section<'s, S>>>,
    payloads: Lines<BufReader<Section<'s, S>>>,
    /// The smallest index that may come next.
    next_index: u64,
    pub(super) event_count: u64,
    pub(super) erased_count: u64,
}

impl<'a, 's, S: Source + ?Sized> Contents<'a, 's, S> {
    pub(super) fn open(
        archive: &Archive<'s, S>,
        manifest: &'a Manifest,
        destroyed: &'a Destroyed,
    ) -> Result<Self, VerifyError> {
        Ok(Self {
            manifest,
            destroyed,
            leaves: Lines::new(archive.read(names::LEAVES)?, names::LEAVES),
            payloads: Lines::new(archive.read(names::PAYLOADS)?, names::PAYLOADS),
            next_index: manifest.from,
            event_count: 0,
            erased_count: 0,
        })
    }

    /// The next event whose payload is the one that its leaf commits to: its index and the hash of its leaf.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Hash)>, VerifyError> {
        let Some(LeafLine { index, leaf }) = self.leaves.next()? else {
            return self.end().map(|()| None);
        };
        self.check_order(index)?;
        let claims = Claims::read(&leaf).filter(|claims| claims.tenant == self.manifest.organization_id);
        let claims = claims.ok_or_else(|| {
            damaged(DamageKind::LeafMismatch, format!("the leaf at index {index} is not one of this log"))
        })?;
        let payload: Option<PayloadLine> = self.payloads.next()?;
        let payload = payload.filter(|payload| payload.index == index).ok_or_else(|| {
            damaged(DamageKind::Incomplete, format!("the payload of the event at index {index} is missing"))
        })?;
        self.check(&claims, &payload)?;
        self.event_count += 1;
        self.next_index = index + 1;
        Ok(Some((index, leaf_hash(leaf.as_bytes()))))
    }

    fn check_order(&self, index: u64) -> Result<(), VerifyError> {
        let (expected, to) = (self.next_index, self.manifest.to);
        if index < expected || index >= to {
            return Err(malformed(format!("index {index} stands where {expected} or a later one should")));
        }
        if index > expected && self.manifest.shape != Shape::Selection {
            return Err(damaged(DamageKind::Incomplete, format!("the leaf at index {expected} is missing")));
        }
        Ok(())
    }

    fn check(&mut self, claims: &Claims, payload: &PayloadLine) -> Result<(), VerifyError> {
        let index = payload.index;
        let mismatch = |what: &str| {
            let detail = format!("{what} of the event at index {index}: not what its leaf commits to");
            damaged(DamageKind::PayloadMismatch, detail)
        };
        let facts = decode(&payload.facts, index)?;
        if sha256(&facts) != claims.facts_sha256 {
            return Err(mismatch("the facts"));
        }
        self.check_filter(claims, &facts, index)?;
        if digest(payload.network.as_deref(), index)? != claims.network_sha256 {
            return Err(mismatch("the network address"));
        }
        let Some(event_id) = &payload.destroyed_by else {
            let is_true = digest(payload.personal.as_deref(), index)? == claims.private_sha256;
            return if is_true { Ok(()) } else { Err(mismatch("the personal part")) };
        };
        if payload.personal.is_some() || claims.private_sha256.is_none() {
            return Err(malformed(format!("the event at index {index} has nothing that could be erased")));
        }
        let erased = self.destroyed.get(event_id);
        if erased.is_none() || erased != claims.subject(&facts).as_ref() {
            let detail = format!(
                "the event at index {index} is said to be erased by {event_id}, which did not destroy its key"
            );
            return Err(damaged(DamageKind::ErasureUnproven, detail));
        }
        self.erased_count += 1;
        Ok(())
    }

    /// A bundle about one patient has no event that says to be about another one.
    fn check_filter(&self, claims: &Claims, facts: &[u8], index: u64) -> Result<(), VerifyError> {
        let Some(filter) = &self.manifest.filter else { return Ok(()) };
        if claims.subject(facts).is_some_and(|told| told != filter.patient_id) {
            let detail =
                format!("the event at index {index} is about another patient than the manifest says");
            return Err(damaged(DamageKind::ManifestMismatch, detail));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), VerifyError> {
        if self.payloads.next::<PayloadLine>()?.is_some() {
            return Err(damaged(DamageKind::Incomplete, "a payload has no leaf"));
        }
        let Manifest { shape, to, event_count, erased_count, .. } = self.manifest;
        if *shape != Shape::Selection && self.next_index != *to {
            let detail = format!("the leaves from index {} on are missing", self.next_index);
            return Err(damaged(DamageKind::Incomplete, detail));
        }
        if self.event_count < *event_count {
            let detail = format!("{} of {event_count} events are there", self.event_count);
            return Err(damaged(DamageKind::Incomplete, detail));
        }
        if (self.event_count, self.erased_count) != (*event_count, *erased_count) {
            return Err(damaged(DamageKind::ManifestMismatch, "other counts than the manifest says"));
        }
        Ok(())
    }
}

fn decode(base64: &str, index: u64) -> Result<Vec<u8>, VerifyError> {
    let refused = |_| malformed(format!("the payload of the event at index {index} is no base64"));
    STANDARD.decode(base64).map_err(refused)
}

fn digest(base64: Option<&str>, index: u64) -> Result<Option<String>, VerifyError> {
    base64.map(|text| Ok(sha256(&decode(text, index)?))).transpose()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
