//! The bundle itself: the lists, and what proves them.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use carelog_audit::meta::{self, META};
use carelog_audit::proof::{
    Algorithm, Checkpoint, ConsistencyProof, Hash, SignedCheckpoint, TILE_WIDTH, Tile, TilePath, TlogProof,
    VerifierKey, leaf_hash, verify_consistency, verify_inclusion,
};
use carelog_audit::signer;
use carelog_audit::trees::{self, TreeReader};
use carelog_domain::OrganizationId;
use carelog_proof::bundle::{
    BundleWriter, DestroyedLine, Filter, Manifest, RangeProof, Shape, consistency_lines, names,
};
use tempfile::NamedTempFile;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::collect::{Collected, Wanted};
use super::spool::{Bounded, Spool};
use super::{ExportError, ExportSummary, Exporter, PATIENCE, POLL};
use crate::witness::asking::policy_lines;

type Writer = BundleWriter<Bounded>;

impl Exporter {
    pub(super) async fn assemble(
        &self,
        wanted: &Wanted<'_>,
        signed: &SignedCheckpoint,
        collected: Collected,
        unsealed_count: u64,
        file: &NamedTempFile,
    ) -> Result<ExportSummary, ExportError> {
        let Collected { leaves, payloads, selected, destroyers, event_count, erased_count, edge } = collected;
        let organization_id = wanted.options.organization_id;
        let mut writer = BundleWriter::new(Bounded::new(file.reopen()?, self.max_bytes));
        let key = self.log_key(organization_id).await?;
        let witnesses = policy_lines(&self.witnesses);
        writer.add(names::POLICY, format!("log {key}\n{witnesses}quorum none\n").as_bytes())?;
        writer.add(names::LOG_KEY, format!("{key}\n").as_bytes())?;
        writer.add(names::CHECKPOINT, signed.to_string().as_bytes())?;
        let logged = self.logged(organization_id, signed).await?;
        if let Some((proof, _)) = &logged {
            writer.add(names::LOGGED, proof.to_string().as_bytes())?;
        }
        let mut audit = self.audit.acquire().await?;
        let tree = trees::open(&mut audit, organization_id).await?;
        let mut tree = tree.ok_or(ExportError::NotSealed(organization_id))?;
        let mut lines = Vec::new();
        for destroyer in destroyers.into_values().flatten() {
            let hashes = included(&mut tree, signed, destroyer.index, leaf_hash(destroyer.leaf.as_bytes()));
            let hashes = texts(&hashes.await?);
            serde_json::to_writer(
                &mut lines,
                &DestroyedLine { index: destroyer.index, leaf: destroyer.leaf, hashes },
            )
            .map_err(std::io::Error::from)?;
            lines.push(b'\n');
        }
        writer.add(names::DESTROYED, &lines)?;
        // All leaves lead to every earlier root by themselves.
        let logged_size = logged.map(|(_, size)| size);
        let logged_size = logged_size.filter(|size| *size < wanted.size && wanted.shape != Shape::Full);
        let sizes: BTreeSet<u64> = wanted.options.since.into_iter().chain(logged_size).collect();
        for size in sizes {
            let proof = consistent(&mut tree, signed, size, None).await?;
            let lines = consistency_lines(&proof.hashes);
            writer.add(&format!("{}{size}", names::CONSISTENCY), lines.as_bytes())?;
        }
        let mut writer = add_lists(writer, leaves, payloads).await?;
        match wanted.shape {
            Shape::Full if edge.root() != signed.claim().root => return Err(ExportError::Contradicted),
            Shape::Full => add_tiles(&mut writer, &mut tree, wanted.size).await?,
            Shape::Range => {
                let before = texts(&tree.peaks(wanted.from).await?);
                let after = consistent(&mut tree, signed, wanted.to, Some(edge.root())).await?;
                let proof = RangeProof { before, after: texts(&after.hashes) };
                writer.add(names::RANGE, &serde_json::to_vec(&proof).map_err(std::io::Error::from)?)?;
            }
            Shape::Selection => add_proofs(&mut writer, &mut tree, signed, &selected).await?,
        }
        let manifest = manifest(wanted, signed, event_count, erased_count, unsealed_count);
        let summary = ExportSummary {
            origin: manifest.origin.clone(),
            shape: wanted.shape,
            tree_size: wanted.size,
            from: wanted.from,
            to: wanted.to,
            event_count,
            erased_count,
            unsealed_count,
            resumed_from: None,
        };
        writer.finish(manifest)?.flush()?;
        Ok(summary)
    }

    /// That the log of checkpoints has a checkpoint of the tree, the newest that is not newer than the one to export under,
    /// and how many leaves that one covers. Nothing where it has none yet.
    async fn logged(
        &self,
        organization_id: OrganizationId,
        signed: &SignedCheckpoint,
    ) -> Result<Option<(TlogProof, u64)>, ExportError> {
        let deadline = Instant::now() + PATIENCE;
        let checkpoint = loop {
            let found = match self.checkpoint(META, Some(0)).await {
                Err(ExportError::NotSealed(_)) => return Ok(None),
                found => found?,
            };
            if self.is_witnessed(&found) || Instant::now() >= deadline {
                break found;
            }
            tokio::time::sleep(POLL).await;
        };
        let claim = signed.claim();
        let mut audit = self.audit.acquire().await?;
        let size = checkpoint.claim().size;
        let leaf = meta::newest_leaf(&mut audit, organization_id, size, claim.size).await?;
        let own = leaf.as_ref().and_then(|leaf| leaf.text.parse::<Checkpoint>().ok());
        // What was signed under an earlier name is another log.
        let Some((leaf, own)) = leaf.zip(own.filter(|own| own.origin == claim.origin)) else {
            return Ok(None);
        };
        let mut tree = trees::open(&mut audit, META).await?.ok_or(ExportError::Contradicted)?;
        let hash = leaf_hash(leaf.text.as_bytes());
        let hashes = included(&mut tree, &checkpoint, leaf.index, hash).await?;
        let proof = TlogProof { extra: Some(leaf.text.into_bytes()), index: leaf.index, hashes, checkpoint };
        Ok(Some((proof, own.size)))
    }

    /// The key that signs an organization's tree.
    pub(crate) async fn log_key(&self, organization_id: OrganizationId) -> Result<VerifierKey, ExportError> {
        let mut audit = self.audit.acquire().await?;
        let public = signer::public_key(&mut audit, &self.origin).await?;
        let public = public.ok_or(ExportError::NotSealed(organization_id))?;
        let origin = signer::origin(&self.origin, organization_id);
        Ok(VerifierKey::new(&origin, Algorithm::Ed25519, public)?)
    }
}

fn manifest(
    wanted: &Wanted<'_>,
    signed: &SignedCheckpoint,
    event_count: u64,
    erased_count: u64,
    unsealed_count: u64,
) -> Manifest {
    Manifest {
        format: Manifest::format(),
        tool: concat!("carelog ", env!("CARGO_PKG_VERSION")).to_owned(),
        origin: signed.claim().origin.clone(),
        organization_id: wanted.options.organization_id.to_string(),
        shape: wanted.shape,
        proves: wanted.shape.proves().to_owned(),
        filter: wanted.options.patient_id.map(|patient| Filter { patient_id: patient.to_string() }),
        tree_size: wanted.size,
        from: wanted.from,
        to: wanted.to,
        event_count,
        erased_count,
        unsealed_count,
        files: std::collections::BTreeMap::new(),
    }
}

fn texts(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(|hash| hash.to_base64()).collect()
}

/// The proof that a leaf is in the signed tree.
async fn included(
    tree: &mut TreeReader<'_>,
    signed: &SignedCheckpoint,
    index: u64,
    leaf: Hash,
) -> Result<Vec<Hash>, ExportError> {
    let claim = signed.claim();
    let proof = tree.inclusion(index, claim.size).await?.ok_or(ExportError::Contradicted)?;
    verify_inclusion(&proof, leaf, claim.root).map_err(|_| ExportError::Contradicted)?;
    Ok(proof.hashes)
}

/// The proof that the signed tree begins with an older one.
async fn consistent(
    tree: &mut TreeReader<'_>,
    signed: &SignedCheckpoint,
    size: u64,
    root: Option<Hash>,
) -> Result<ConsistencyProof, ExportError> {
    let claim = signed.claim();
    let proof = tree.consistency(size, claim.size).await?.ok_or(ExportError::Contradicted)?;
    let root = match root {
        Some(root) => root,
        None => tree.root(size).await?,
    };
    verify_consistency(&proof, root, claim.root).map_err(|_| ExportError::Contradicted)?;
    Ok(proof)
}

/// The lists, which may have gigabytes: whoever waits for the bundle goes on meanwhile.
async fn add_lists(mut writer: Writer, leaves: Spool, payloads: Spool) -> io::Result<Writer> {
    let given_up = CancellationToken::new();
    let _awaited = given_up.clone().drop_guard();
    let added = tokio::task::spawn_blocking(move || {
        for (name, list) in [(names::LEAVES, leaves), (names::PAYLOADS, payloads)] {
            let (list, length) = list.finish()?;
            writer.add_stream(name, length, Awaited { list, given_up: given_up.clone() })?;
        }
        Ok(writer)
    });
    added.await.map_err(io::Error::other)?
}

/// A list that is read for as long as somebody waits for the bundle.
struct Awaited<R> {
    list: R,
    given_up: CancellationToken,
}

impl<R: Read> Read for Awaited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given_up.is_cancelled() {
            return Err(io::Error::other("nobody waits for the bundle any more"));
        }
        self.list.read(buffer)
    }
}

/// Every tile of the tree, level by level.
async fn add_tiles(writer: &mut Writer, tree: &mut TreeReader<'_>, size: u64) -> Result<(), ExportError> {
    for level in 0_u8.. {
        let first = Tile { level, n: 0 };
        if first.width(size) == 0 {
            return Ok(());
        }
        for n in 0.. {
            let tile = Tile { level, n };
            let width = tile.width(size);
            if width == 0 {
                break;
            }
            let bytes = tree.tile(tile, width).await?.ok_or(ExportError::Contradicted)?;
            writer.add(&TilePath::Hashes { tile, width }.to_string(), &bytes)?;
            if width < TILE_WIDTH {
                break;
            }
        }
    }
    Ok(())
}

/// A proof file for each event.
async fn add_proofs(
    writer: &mut Writer,
    tree: &mut TreeReader<'_>,
    signed: &SignedCheckpoint,
    selected: &[(u64, Hash)],
) -> Result<(), ExportError> {
    for &(index, leaf) in selected {
        let hashes = included(tree, signed, index, leaf).await?;
        let proof = TlogProof { extra: None, index, hashes, checkpoint: signed.clone() };
        let path = format!("{}{index}{}", names::PROOFS, names::PROOF);
        writer.add(&path, proof.to_string().as_bytes())?;
    }
    Ok(())
}
