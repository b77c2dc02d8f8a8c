//! Damage that somebody with every right did to the databases: `carelog doctor` finds and names each.

use carelog_audit::Sealer;
use carelog_domain::OrganizationId;
use carelog_event_log::runtime::{ApplyError, RebuildError, RebuildScope, rebuild};
use carelog_server::doctor::{Leaves, examine};
use carelog_tests::{Product, run, scope, start_appointment};
use sqlx::{AssertSqlSafe, Executor, PgPool};
use tokio::sync::watch;

const CHANGED: &str = "leaf hashes are those of the stored events";
const LEAVES: &str = "the trees have the leaf of every event up to the sealer's checkpoint once";
const TREES: &str = "the trees have the tiles and roots of their leaves";

/// Takes the guards of the log away, as whoever owns the database may.
pub(super) const UNGUARD: &str = "
    do $$
    declare
        guard record;
    begin
        for guard in select tgrelid::regclass as name, tgname from pg_trigger
                     where tgfoid = 'log.refuse_change'::regproc loop
            execute format('alter table %s disable trigger %I', guard.name, guard.tgname);
        end loop;
    end $$";

async fn sql(pool: &PgPool, statements: &str) {
    pool.execute(sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))).await.unwrap();
}

/// A clinic with more events than a tile holds, all of them sealed.
async fn sealed_product() -> (Product, OrganizationId) {
    let product = Product::start().await;
    let (organization_id, _) = product.clinic().await;
    let booked = (0..150).map(|_| async {
        let id = start_appointment(product.log(), organization_id).await;
        let scope = scope(organization_id);
        run::<carelog_domain::appointment::Appointment>(product.log(), &scope, id, carelog_tests::confirm())
            .await;
    });
    futures::future::join_all(booked).await;
    product.settled().await;
    (product, organization_id)
}

/// What doctor says is damaged, but for the guards that the test took away.
async fn damage(product: &Product) -> Vec<(&'static str, String)> {
    let findings = examine(product.databases(), Leaves::All).await.unwrap();
    findings
        .into_iter()
        .filter(|finding| {
            !finding.is_ok() && !finding.name.contains("trigger") && !finding.name.contains("change")
        })
        .map(|finding| (finding.name, finding.damage.join("; ")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_damage_to_the_log_is_found_and_named() {
    let (product, organization_id) = sealed_product().await;
    let core = &product.databases().core_owner;
    sql(core, UNGUARD).await;
    sql(core, "create table public.before as select * from log.events").await;
    let own = format!("organization_id = '{organization_id}'");
    let place = |sequence: i64| format!("{own} and organization_sequence = {sequence}");
    for (what, change, check) in [
        (
            "a byte of the facts",
            format!("update log.events set facts = set_byte(facts, 1, 65) where {}", place(20)),
            CHANGED,
        ),
        (
            "the time of recording",
            format!("update log.events set recorded_at = recorded_at - interval '1 day' where {}", place(20)),
            CHANGED,
        ),
        ("the actor", format!("update log.events set actor_id = gen_random_uuid() where {}", place(20)), CHANGED),
        ("the version", format!("update log.events set version = version + 50 where {}", place(20)), CHANGED),
        (
            "another event's ciphertext",
            format!(
                "update log.events set personal = decode('00', 'hex') || coalesce(personal, ''), \
                 personal_key_id = gen_random_uuid(), personal_key_commit = sha256('x') where {}",
                place(20)
            ),
            CHANGED,
        ),
        ("the last event gone", format!("delete from log.events where {}", place(300)), LEAVES),
        ("an event in the middle gone", format!("delete from log.events where {}", place(20)), LEAVES),
        (
            "an event changed together with its leaf hash",
            format!("update log.events set leaf_hash = sha256('x') where {}", place(20)),
            LEAVES,
        ),
        (
            "two places swapped",
            format!(
                "update log.events set organization_sequence = -21 where {};
                 update log.events set organization_sequence = 21 where {};
                 update log.events set organization_sequence = 20 where {own} and organization_sequence = -21",
                place(21),
                place(20)
            ),
            LEAVES,
        ),
    ] {
        sql(core, &change).await;

        let found = damage(&product).await;

        assert!(found.iter().any(|(name, text)| *name == check && !text.is_empty()), "{what}: {found:?}");
        sql(core, "delete from log.events; insert into log.events select * from public.before").await;
    }
    assert_eq!(damage(&product).await, []);
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_damage_to_the_trees_is_found_and_named() {
    let (product, organization_id) = sealed_product().await;
    let audit = &product.databases().audit_owner;
    let own = format!("organization_id = '{organization_id}'");
    sql(
        audit,
        "create table public.trees as select * from proof.trees;
         create table public.tree_leaves as select * from proof.tree_leaves;
         create table public.tree_tiles as select * from proof.tree_tiles",
    )
    .await;
    // The log of checkpoints goes on meanwhile.
    let tables = ["trees", "tree_leaves", "tree_tiles"];
    let restore = tables.map(|table| {
        format!(
            "delete from proof.{table} where {own};
             insert into proof.{table} select * from public.{table} where {own};"
        )
    });
    let restore = restore.concat();
    for (what, change, check) in [
        (
            "a leaf",
            format!("update proof.tree_leaves set leaf_hash = sha256('x') where {own} and leaf_index = 9"),
            LEAVES,
        ),
        ("a leaf gone", format!("delete from proof.tree_leaves where {own} and leaf_index = 9"), LEAVES),
        (
            "the newest leaf gone",
            format!(
                "delete from proof.tree_leaves where {own} and leaf_index =
                    (select max(leaf_index) from proof.tree_leaves where {own})"
            ),
            LEAVES,
        ),
        (
            "a tile's hash",
            format!(
                "update proof.tree_tiles set hashes = set_byte(hashes, 8191, 255 - get_byte(hashes, 8191)) where {own}"
            ),
            TREES,
        ),
        ("a tile's root", format!("update proof.tree_tiles set root = sha256('x') where {own}"), TREES),
        ("a tile gone", format!("delete from proof.tree_tiles where {own}"), TREES),
        ("the root", format!("update proof.trees set root = sha256('x') where {own}"), TREES),
        ("the size", format!("update proof.trees set size = size - 1 where {own}"), TREES),
        ("the tree gone", format!("delete from proof.trees where {own}"), TREES),
    ] {
        sql(audit, &change).await;

        let found = damage(&product).await;

        let named =
            |(name, text): &(&str, String)| *name == check && text.contains(&organization_id.to_string());
        assert!(found.iter().any(named), "{what}: {found:?}");
        sql(audit, &restore).await;
    }
    assert_eq!(damage(&product).await, []);
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sealer_seals_no_changed_event() {
    let (product, organization_id) = sealed_product().await;
    let (core, audit) = (&product.databases().core_owner, &product.databases().audit_owner);
    sql(core, UNGUARD).await;
    let changed = format!(
        "update log.events set actor_id = gen_random_uuid()
         where organization_id = '{organization_id}' and organization_sequence = 20"
    );
    sql(core, &changed).await;
    // The log of checkpoints goes on meanwhile.
    let roots = "select string_agg(root::text, ',' order by organization_id) from proof.trees
                 where organization_id <> '00000000-0000-0000-0000-000000000000'";
    let before: String = sqlx::query_scalar(roots).fetch_one(audit).await.unwrap();

    let sealer = Sealer::new(product.log(), product.log().name());
    let scope = RebuildScope::Organization(organization_id);
    let result = rebuild(&sealer, product.log(), audit, scope, &watch::Sender::default()).await;

    let Err(RebuildError::Apply(ApplyError::Poison(alarm))) = result else { panic!("sealed: {result:?}") };
    let text = alarm.to_string();
    assert!(text.contains("was changed") && text.contains("sequence 20 of"), "{text}");
    let after: String = sqlx::query_scalar(roots).fetch_one(audit).await.unwrap();
    assert_eq!(after, before, "what was sealed stays as it was");
    product.stop().await;
}
