//! The log of checkpoints, read whole.

use carelog_audit::meta::{self, META};
use carelog_audit::proof::{Checkpoint, Edge, Hash, Policy, leaf_hash};
use carelog_audit::{signer, trees};
use carelog_domain::OrganizationId;
use carelog_proof::bundle::{DamageKind, trusted};
use sqlx::PgConnection;

use super::{LiveError, damaged, newest};

/// Leaves that are read at a time.
const PAGE: i64 = 5_000;

/// What was read.
pub(super) struct Told {
    /// Leaves.
    pub(super) size: u64,
    /// Leaves that are about the organization.
    pub(super) own_count: u64,
}

/// Checks that the log of checkpoints is the one that was signed, and that all of it that is about an organization belongs
/// to the tree whose checkpoint and tiles were verified, or to what that tree has become since. Nothing where the policy
/// does not name it.
///
/// # Errors
/// The first damage that is found, or that the database cannot be read.
pub(super) async fn verify(
    audit: &mut PgConnection,
    prefix: &str,
    policy: &Policy,
    organization_id: OrganizationId,
    own: &Checkpoint,
) -> Result<Option<Told>, LiveError> {
    let origin = signer::origin(prefix, META);
    if !policy.log_keys().iter().any(|key| key.name() == origin) {
        return Ok(None);
    }
    let note = newest(audit, prefix, META, policy, 0).await?;
    let (signed, _) = trusted(&note.to_string(), policy)?;
    let claim = signed.claim();
    let (mut edge, mut told) = (Edge::default(), Vec::new());
    while edge.size() < claim.size {
        let page = meta::leaves(audit, None, edge.size(), PAGE).await?;
        let leaves = page.iter().take_while(|leaf| leaf.index < claim.size);
        let before = edge.size();
        for leaf in leaves {
            if leaf.index != edge.size() {
                break;
            }
            edge.append(leaf_hash(leaf.text.as_bytes()));
            if let Ok(checkpoint) = leaf.text.parse::<Checkpoint>()
                && checkpoint.origin == own.origin
            {
                told.push((checkpoint.size, checkpoint.root));
            }
        }
        if edge.size() == before {
            let detail = format!("leaf {before} of the log of checkpoints is missing");
            return Err(damaged(DamageKind::Incomplete, detail));
        }
    }
    if edge.root() != claim.root {
        return Err(damaged(
            DamageKind::NotIncluded,
            "the log of checkpoints is not the one that was signed",
        ));
    }
    compare(audit, organization_id, &told).await?;
    Ok(Some(Told { size: claim.size, own_count: told.len() as u64 }))
}

/// The organization's checkpoints have to be those of its tree, which was opened after they were signed.
async fn compare(
    audit: &mut PgConnection,
    organization_id: OrganizationId,
    told: &[(u64, Hash)],
) -> Result<(), LiveError> {
    let tree = trees::open(audit, organization_id).await?;
    let mut tree = tree.ok_or_else(|| damaged(DamageKind::Incomplete, "the log has no tree"))?;
    for (size, root) in told {
        if *size > tree.head().size || tree.root(*size).await? != *root {
            let detail = format!("the log of checkpoints has another history of the first {size} events");
            return Err(damaged(DamageKind::Inconsistent, detail));
        }
    }
    Ok(())
}
