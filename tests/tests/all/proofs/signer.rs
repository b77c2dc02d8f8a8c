//! The signer against a database that was set back, or changed, by somebody with every right.

use std::sync::Arc;

use carelog_audit::Sealer;
use carelog_audit::signer::{
    KeyFiles, KeyHolder, KnownKey, Refusal, Signed, newest_checkpoint, origin, prepare, publish,
};
use carelog_domain::OrganizationId;
use carelog_event_log::{Clock as _, SystemClock};
use carelog_server::serve::Roles;
use carelog_tests::{Product, start_appointment};
use sqlx::{AssertSqlSafe, Executor, PgPool};
use tempfile::TempDir;

const PREFIX: &str = "carelog-test";
/// What a backup of the audit database holds of the trees and their checkpoints.
const TABLES: [&str; 6] = [
    "proof.trees",
    "proof.tree_leaves",
    "proof.tree_tiles",
    "signer.heads",
    "signer.checkpoints",
    "runtime.checkpoints",
];

/// A product whose events are sealed and signed by hand.
struct ByHand {
    product: Product,
    organization_id: OrganizationId,
    holder: KeyHolder,
    _folder: TempDir,
}

impl ByHand {
    async fn new() -> Self {
        let roles = Roles { api: true, projectors: false, workers: false, signer: false };
        let product = Product::start_as(roles, true, Arc::new(SystemClock)).await;
        let folder = TempDir::new().unwrap();
        let files =
            KeyFiles { key: folder.path().join("signer.key"), state: folder.path().join("signer.state") };
        let holder = KeyHolder::open(&files, KnownKey::None).unwrap();
        let organization_id = OrganizationId::new(carelog_event_log::new_id());
        Self { product, organization_id, holder, _folder: folder }
    }

    fn audit(&self) -> &PgPool {
        &self.product.databases().audit_owner
    }

    async fn sql(&self, statements: &str) {
        self.audit().execute(sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))).await.unwrap();
    }

    /// So many appointments begin, and everything is sealed.
    async fn happen(&self, count: usize) {
        for _ in 0..count {
            start_appointment(self.product.log(), self.organization_id).await;
        }
        self.seal().await;
    }

    async fn seal(&self) {
        let sealer = Arc::new(Sealer::new(self.product.log().name()));
        let runtime = &self.product.server.system().runtime;
        for lane in self.product.log().lanes() {
            let pool = self.product.databases().audit_system.clone();
            runtime.unit(Arc::clone(&sealer), None, pool, lane).run_to_head().await.unwrap();
        }
    }

    /// A round of signing: the sizes that were signed, and what was refused.
    async fn sign(&mut self) -> (Vec<u64>, Vec<Refusal>) {
        let mut connection = self.product.databases().audit_system.acquire().await.unwrap();
        let prepared = prepare(&mut connection, PREFIX, &self.holder).await.unwrap();
        let mut refusals = prepared.refusals;
        let mut signed: Vec<Signed> = Vec::new();
        for verdict in self.holder.sign(&prepared.wishes).unwrap() {
            match verdict {
                Ok(one) => signed.push(one),
                Err(refusal) => refusals.push(refusal),
            }
        }
        publish(&mut connection, &signed, SystemClock.now()).await.unwrap();
        (signed.iter().map(|one| one.checkpoint.claim().size).collect(), refusals)
    }

    async fn back_up(&self) {
        for table in TABLES {
            let name = table.replace('.', "_");
            self.sql(&format!(
                "drop table if exists public.{name}; create table public.{name} as table {table}"
            ))
            .await;
        }
    }

    async fn restore(&self) {
        for table in TABLES {
            let name = table.replace('.', "_");
            self.sql(&format!("delete from {table}; insert into {table} table public.{name}")).await;
        }
    }

    fn origin(&self) -> String {
        origin(PREFIX, self.organization_id)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_restored_backup_when_signing_then_it_is_refused_until_the_log_has_caught_up() {
    let mut by_hand = ByHand::new().await;
    by_hand.happen(3).await;
    assert_eq!(by_hand.sign().await, (vec![3], vec![]));
    assert_eq!(by_hand.sign().await, (vec![], vec![]), "nothing has grown");
    by_hand.back_up().await;
    by_hand.happen(2).await;
    assert_eq!(by_hand.sign().await, (vec![5], vec![]));

    by_hand.restore().await;
    let refused = by_hand.sign().await;
    by_hand.seal().await;
    let after = by_hand.sign().await;

    assert_eq!(refused, (vec![], vec![Refusal::Shrunk { origin: by_hand.origin(), signed: 5, found: 3 }]));
    assert_eq!(after, (vec![5], vec![]), "the same leaves again, which may be signed again");
    by_hand.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn given_trees_that_are_gone_when_signing_then_it_is_refused() {
    let mut by_hand = ByHand::new().await;
    by_hand.happen(3).await;
    by_hand.sign().await;

    by_hand.sql("truncate proof.trees, proof.tree_leaves, proof.tree_tiles, signer.checkpoints").await;

    let refusal = Refusal::Shrunk { origin: by_hand.origin(), signed: 3, found: 0 };
    assert_eq!(by_hand.sign().await, (vec![], vec![refusal]));
    by_hand.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_past_that_was_changed_when_signing_then_it_is_refused() {
    let mut by_hand = ByHand::new().await;
    by_hand.happen(4).await;
    by_hand.sign().await;
    by_hand.happen(3).await;
    let origin = by_hand.origin();

    // Only a leaf: the tiles do not make up the root.
    by_hand.sql("update proof.tree_leaves set leaf_hash = sha256('x') where leaf_index = 1").await;
    assert_eq!(by_hand.sign().await, (vec![], vec![Refusal::Damaged { origin: origin.clone() }]));

    // The root as well, as somebody would who knows how: what was signed is not how it begins.
    let leaves: Vec<Vec<u8>> =
        sqlx::query_scalar("select leaf_hash from proof.tree_leaves order by leaf_index")
            .fetch_all(by_hand.audit())
            .await
            .unwrap();
    let leaves: Vec<_> =
        leaves.iter().map(|leaf| carelog_audit::proof::Hash::from_slice(leaf).unwrap()).collect();
    let forged = carelog_audit::proof::root(&carelog_audit::proof::TileSet::of_leaves(&leaves), 7).unwrap();
    sqlx::query("update proof.trees set root = $1")
        .bind(forged.0.as_slice())
        .execute(by_hand.audit())
        .await
        .unwrap();
    assert_eq!(by_hand.sign().await, (vec![], vec![Refusal::Changed { origin, signed: 4 }]));
    by_hand.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_memory_that_was_set_back_when_signing_then_it_is_refused() {
    let mut by_hand = ByHand::new().await;
    by_hand.happen(3).await;
    by_hand.sign().await;
    let newest = {
        let mut connection = by_hand.product.databases().audit_system.acquire().await.unwrap();
        newest_checkpoint(&mut connection, PREFIX, by_hand.organization_id).await.unwrap().unwrap()
    };
    let folder = TempDir::new().unwrap();
    let files = KeyFiles { key: folder.path().join("signer.key"), state: folder.path().join("signer.state") };
    by_hand.holder = KeyHolder::open(&files, KnownKey::None).unwrap();

    by_hand.happen(1).await;
    let refused = by_hand.sign().await;

    assert_eq!(newest.checkpoint.claim().size, 3);
    let refusal = Refusal::Forgotten { origin: by_hand.origin(), published: 3, remembered: 0 };
    assert_eq!(refused, (vec![], vec![refusal]));
    by_hand.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_gives_the_tree_that_was_signed() {
    let mut by_hand = ByHand::new().await;
    by_hand.happen(300).await;
    by_hand.sign().await;
    let before = contents(by_hand.audit()).await;

    let sealer = Sealer::new(by_hand.product.log().name());
    let scope = carelog_event_log::runtime::RebuildScope::Everything;
    let progress = tokio::sync::watch::Sender::default();
    carelog_event_log::runtime::rebuild(&sealer, by_hand.product.log(), by_hand.audit(), scope, &progress)
        .await
        .unwrap();

    assert_eq!(contents(by_hand.audit()).await, before);
    by_hand.happen(1).await;
    assert_eq!(by_hand.sign().await, (vec![301], vec![]));
    by_hand.product.stop().await;
}

async fn contents(audit: &PgPool) -> Vec<String> {
    let rows = "select t::text from proof.trees t
                union all select l::text from proof.tree_leaves l
                union all select t::text from proof.tree_tiles t
                order by 1";
    sqlx::query_scalar(rows).fetch_all(audit).await.unwrap()
}
