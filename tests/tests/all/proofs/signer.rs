//! The signer against a database that was set back, or changed, by somebody with every right.

use std::sync::Arc;

use carelog_audit::Sealer;
use carelog_audit::signer::{
    KeyFiles, KeyHolder, KnownKey, Refusal, Signed, newest_checkpoint, origin, prepare, publish,
};
use carelog_domain::OrganizationId;
use carelog_event_log::runtime::{ApplyError, RebuildError};
use carelog_event_log::{Clock as _, SystemClock};
use carelog_server::serve::Roles;
use carelog_server::signing::{SealingDelay, sealing_delay};
use carelog_tests::{Product, start_appointment};
use sqlx::{AssertSqlSafe, Executor, PgPool};
use tempfile::TempDir;

use super::damage::UNGUARD;

const PREFIX: &str = "carelog-test";
/// What a backup of the core database holds of the log.
const LOG_TABLES: [&str; 5] =
    ["log.events", "log.lane_heads", "log.organizations", "log.stream_heads", "log.idempotency_keys"];
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
        let sealer = Arc::new(Sealer::new(self.product.log(), PREFIX));
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
        copy(self.audit(), &TABLES).await;
    }

    async fn restore(&self) {
        put_back(self.audit(), &TABLES).await;
    }

    fn origin(&self) -> String {
        origin(PREFIX, self.organization_id)
    }
}

async fn copy(pool: &PgPool, tables: &[&str]) {
    for table in tables {
        let name = table.replace('.', "_");
        let copy = format!("drop table if exists public.{name}; create table public.{name} as table {table}");
        pool.execute(sqlx::raw_sql(AssertSqlSafe(copy))).await.unwrap();
    }
}

async fn put_back(pool: &PgPool, tables: &[&str]) {
    let tables = tables.iter().map(|table| {
        let name = table.replace('.', "_");
        format!("delete from {table}; insert into {table} table public.{name};")
    });
    // In one session, which looks at no foreign key and no guard meanwhile.
    let statements = format!(
        "set session_replication_role = replica; {} reset session_replication_role",
        tables.collect::<String>()
    );
    pool.execute(sqlx::raw_sql(AssertSqlSafe(statements))).await.unwrap();
}

/// A restored backup, as the mutation suite says. Log and trees are set back together and agree with each other; only
/// what the signer remembers elsewhere tells.
#[tokio::test(flavor = "multi_thread")]
async fn given_log_and_trees_set_back_together_when_signing_then_the_lost_history_is_named() {
    let mut by_hand = ByHand::new().await;
    by_hand.happen(3).await;
    assert_eq!(by_hand.sign().await, (vec![3], vec![]));
    let core = &by_hand.product.databases().core_owner.clone();
    core.execute(sqlx::raw_sql(UNGUARD)).await.unwrap();
    copy(core, &LOG_TABLES).await;
    by_hand.back_up().await;
    by_hand.happen(2).await;
    assert_eq!(by_hand.sign().await, (vec![5], vec![]));

    put_back(core, &LOG_TABLES).await;
    by_hand.restore().await;
    let restored = by_hand.sign().await;
    // Life goes on, and another history grows beyond the one that was signed.
    by_hand.happen(1).await;
    let shorter = by_hand.sign().await;
    by_hand.happen(2).await;
    let longer = by_hand.sign().await;

    let shrunk = |found| vec![Refusal::Shrunk { origin: by_hand.origin(), signed: 5, found }];
    assert_eq!(restored, (vec![], shrunk(3)));
    assert_eq!(shorter, (vec![], shrunk(4)));
    assert_eq!(longer, (vec![], vec![Refusal::Changed { origin: by_hand.origin(), signed: 5 }]));
    by_hand.product.stop().await;
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
async fn given_events_that_nobody_signs_or_seals_when_measuring_then_somebody_is_told() {
    let mut by_hand = ByHand::new().await;
    let delay =
        async |by_hand: &ByHand| sealing_delay(by_hand.product.server.system(), PREFIX).await.unwrap();
    by_hand.happen(3).await;
    let unsigned = delay(&by_hand).await;
    by_hand.sign().await;
    let signed = delay(&by_hand).await;
    start_appointment(by_hand.product.log(), by_hand.organization_id).await;
    let unsealed = delay(&by_hand).await;
    let core = &by_hand.product.databases().core_owner;
    core.execute(sqlx::raw_sql(UNGUARD)).await.unwrap();
    let broken = "update log.events set event_type = 'no.such' where position = 4";
    core.execute(sqlx::raw_sql(broken)).await.unwrap();
    let stopped = delay(&by_hand).await;

    assert!(unsigned.oldest_seconds > 0.0 && unsigned.is_alarming(0.0) && !unsigned.is_alarming(3_600.0));
    assert_eq!(signed, SealingDelay::default());
    assert!(!signed.is_alarming(0.0));
    assert!(unsealed.oldest_seconds > 0.0 && unsealed.lanes_stopped == 0);
    assert_eq!(stopped.lanes_stopped, 1);
    assert!(stopped.is_alarming(3_600.0), "nobody knows for how long it waits");
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

    let sealer = Sealer::new(by_hand.product.log(), PREFIX);
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

/// The sealer's complaint about what happens next.
async fn complaint(by_hand: &ByHand) -> String {
    let sealer = Sealer::new(by_hand.product.log(), PREFIX);
    let scope = carelog_event_log::runtime::RebuildScope::Everything;
    let progress = tokio::sync::watch::Sender::default();
    let rebuilt = carelog_event_log::runtime::rebuild(
        &sealer,
        by_hand.product.log(),
        by_hand.audit(),
        scope,
        &progress,
    )
    .await;
    match rebuilt {
        Err(RebuildError::Apply(ApplyError::Poison(complaint))) => complaint.to_string(),
        other => panic!("rebuilt: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_log_that_contradicts_what_was_signed_when_rebuilt_then_the_trees_stay() {
    let mut by_hand = ByHand::new().await;
    by_hand.happen(5).await;
    by_hand.sign().await;
    let before = contents(by_hand.audit()).await;

    by_hand.sql("create table public.kept as table signer.heads; update signer.heads set size = 6").await;
    let fewer = complaint(&by_hand).await;
    by_hand.sql("update signer.heads set size = 5; update signer.checkpoints set root = sha256('x')").await;
    let other = complaint(&by_hand).await;

    assert!(fewer.starts_with("6 events of") && fewer.ends_with("the log has 5"), "{fewer}");
    assert!(other.contains("has another root at 5 leaves"), "{other}");
    assert_eq!(contents(by_hand.audit()).await, before);
    by_hand.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn given_a_log_that_was_set_back_and_grew_again_when_sealing_then_it_is_not_sealed() {
    let by_hand = ByHand::new().await;
    by_hand.happen(5).await;
    let before = contents(by_hand.audit()).await;
    let core = &by_hand.product.databases().core_owner;
    core.execute(sqlx::raw_sql(UNGUARD)).await.unwrap();
    let another_last = "update log.events set leaf_hash = sha256('x') where organization_sequence = 5";
    core.execute(sqlx::raw_sql(another_last)).await.unwrap();

    for _ in 0..2 {
        start_appointment(by_hand.product.log(), by_hand.organization_id).await;
    }
    let sealer = Arc::new(Sealer::new(by_hand.product.log(), PREFIX));
    let lane = by_hand.product.log().lane_of(by_hand.organization_id).await.unwrap();
    let pool = by_hand.product.databases().audit_system.clone();
    let runtime = &by_hand.product.server.system().runtime;
    let refused = runtime.unit(sealer, None, pool, lane).run_to_head().await;

    let text = format!("{refused:?}");
    assert!(text.contains("SetBack") && text.contains("sequence: 5"), "{text}");
    assert_eq!(contents(by_hand.audit()).await, before);
    by_hand.product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_trees_than_a_round_signs_are_all_signed_though_the_first_ones_grow() {
    let mut by_hand = ByHand::new().await;
    by_hand
        .sql(
            "create table public.leaves as
             select md5(i::text)::uuid as id, sha256(i::text::bytea) as first, sha256('x' || i::text::bytea) as second
             from generate_series(1, 600) i;
             insert into proof.tree_leaves select id, 0, now(), first from public.leaves;
             insert into proof.trees select id, 1, first, first from public.leaves",
        )
        .await;
    let (first, _) = by_hand.sign().await;
    by_hand
        .sql(
            "insert into proof.tree_leaves
             select id, 1, now(), second from public.leaves join signer.heads on id = organization_id;
             update proof.trees t set size = 2, edge = sha256('\x01' || first || second),
                 root = sha256('\x01' || first || second)
             from public.leaves, signer.heads h where id = t.organization_id and id = h.organization_id",
        )
        .await;

    let (second, refused) = by_hand.sign().await;

    assert_eq!((first.len(), second.len()), (500, 500));
    assert_eq!(refused, vec![]);
    assert_eq!(second.iter().filter(|size| **size == 1).count(), 100, "whoever waited is first");
    by_hand.product.stop().await;
}

async fn contents(audit: &PgPool) -> Vec<String> {
    // The log of checkpoints goes on meanwhile.
    let rows = "select entry from (
                    select organization_id, t::text as entry from proof.trees t
                    union all select organization_id, l::text from proof.tree_leaves l
                    union all select organization_id, t::text from proof.tree_tiles t
                ) everything
                where organization_id <> '00000000-0000-0000-0000-000000000000'
                order by 1";
    sqlx::query_scalar(rows).fetch_all(audit).await.unwrap()
}
