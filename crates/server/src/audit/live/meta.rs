//! The log of checkpoints, read whole.

use carelog_audit::meta::{self, META};
use carelog_audit::proof::{Checkpoint, Edge, Policy, leaf_hash};
use carelog_audit::{signer, trees};
use carelog_domain::OrganizationId;
use carelog_proof::bundle::{DamageKind, trusted};
use sqlx::PgConnection;

use super::{LiveError, damaged, newest};

/// Leaves that are read at a time.
const PAGE: i64 = 5_000;

/// Checks that the log of checkpoints is the one that was signed, and that all of it that is about an organization belongs
/// to the tree whose checkpoint and tiles were verified. Gives its leaves; nothing where the policy does not name it.
///
/// # Errors
/// The first damage that is found, or that the database cannot be read.
pub(super) async fn verify(
    audit: &mut PgConnection,
    prefix: &str,
    policy: &Policy,
    organization_id: OrganizationId,
    own: &Checkpoint,
) -> Result<Option<u64>, LiveError> {
    let origin = signer::origin(prefix, META);
    if !policy.log_keys().iter().any(|key| key.name() == origin) {
        return Ok(None);
    }
    let note = newest(audit, prefix, META, policy, 0).await?;
    let (signed, _) = trusted(&note.to_string(), policy)?;
    let claim = signed.claim();
    let mut edge = Edge::default();
    while edge.size() < claim.size {
        let page = meta::leaves(audit, None, edge.size(), PAGE).await?;
        let leaves = page.iter().take_while(|leaf| leaf.index < claim.size);
        let before = edge.size();
        for leaf in leaves {
            if leaf.index != edge.size() {
                break;
            }
            edge.append(leaf_hash(leaf.text.as_bytes()));
            if let Ok(told) = leaf.text.parse::<Checkpoint>()
                && told.origin == own.origin
                && told.size <= own.size
            {
                compare(audit, organization_id, &told).await?;
            }
        }
        if edge.size() == before {
            let detail = format!("leaf {before} of the log of checkpoints is missing");
            return Err(damaged(DamageKind::Incomplete, detail));
        }
    }
    if edge.root() == claim.root {
        Ok(Some(claim.size))
    } else {
        Err(damaged(DamageKind::NotIncluded, "the log of checkpoints is not the one that was signed"))
    }
}

/// A checkpoint of the organization has to be one of its tree.
async fn compare(
    audit: &mut PgConnection,
    organization_id: OrganizationId,
    told: &Checkpoint,
) -> Result<(), LiveError> {
    let tree = trees::open(audit, organization_id).await?;
    let mut tree = tree.ok_or_else(|| damaged(DamageKind::Incomplete, "the log has no tree"))?;
    if tree.root(told.size).await? == told.root {
        return Ok(());
    }
    let detail = format!("the log of checkpoints has another history of the first {} events", told.size);
    Err(damaged(DamageKind::Inconsistent, detail))
}
