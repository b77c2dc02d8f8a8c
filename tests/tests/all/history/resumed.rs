//! Long exports whose process is killed in the middle: the next one does not read again what was stored, and the file is
//! the same as one that was made without a death.

use std::sync::Arc;

use carelog_domain::OrganizationId;
use carelog_event_log::{SystemClock, new_id};
use carelog_server::exports::object_key;
use carelog_server::serve::Roles;
use carelog_tests::{Product, ServerProcess, until};
use futures::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Executor as _, Postgres, Transaction};
use tempfile::TempDir;
use uuid::Uuid;

use crate::worker_processes::{FEW, PROCESS};

/// Entries of the trail: enough for a part of 16 MiB in each form.
const ENTRIES: i64 = 80_000;
/// Every page of a table is kept in the home; these are some of them.
const FEW_ENTRIES: i64 = 6_000;

/// Entries of no events, after those that the clinic has.
async fn fill(product: &Product, clinic: OrganizationId, count: i64) {
    sql(
        product,
        &format!(
            "insert into audit.trail (
                 organization_id, sequence, position, occurred_at, recorded_at, event_id, correlation_id, subject_id,
                 actor_id, target_id, lane, event_type, action, outcome, actor_kind, actor_role, target_kind, purpose,
                 origin, legal_basis, consents)
             select '{clinic}', n, n, at, at, md5('e' || n)::uuid, md5('c' || n)::uuid, md5('p' || n % 100)::uuid,
                    md5('a' || n % 7)::uuid, md5('t' || n)::uuid, 0, 'appointment.booked', 'create', 'success',
                    'api_key', 'specialist', 'appointment', 'treatment', 'live',
                    'contract', ''
             from generate_series(1, {count}::bigint) n
             cross join lateral (select timestamptz '2026-01-01' + n * interval '1 second' as at) moment
             on conflict do nothing"
        ),
    )
    .await;
    // So that it is read in its order, and no further than a page.
    sql(product, "analyze audit.trail").await;
}

/// A product that makes no exports, and a clinic with a storage.
async fn without_workers() -> (Product, OrganizationId) {
    let roles = Roles { workers: false, ..Roles::ALL };
    let product = Product::start_as(roles, true, Arc::new(SystemClock)).await;
    let (clinic, _) = product.clinic().await;
    let told = format!("select count(*) from audit.trail where organization_id = '{clinic}'");
    let known = format!("select count(*) from records.organizations where organization_id = '{clinic}'");
    until("the clinic is known", async || {
        (number(&product, &told).await == 2 && product.count(&known).await == 1).then_some(())
    })
    .await;
    (product, clinic)
}

async fn sql(product: &Product, statements: &str) {
    let statements = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
    product.databases().audit_owner.execute(statements).await.unwrap();
}

async fn number(product: &Product, statement: &str) -> i64 {
    let statement = AssertSqlSafe(statement.to_owned());
    sqlx::query_scalar(statement).fetch_one(&product.databases().audit_owner).await.unwrap()
}

/// Asks for an export of everything, whoever makes it.
async fn ask(product: &Product, clinic: OrganizationId, form: &str, count: i64) -> Uuid {
    let id = new_id();
    sql(
        product,
        &format!(
            "insert into exports.jobs (organization_id, export_id, form, until_sequence, total_count, requested_at)
             values ('{clinic}', '{id}', '{form}', {count}, {count}, now())"
        ),
    )
    .await;
    id
}

async fn complete(product: &Product, id: Uuid) {
    let statement =
        format!("select count(*) from exports.jobs where export_id = '{id}' and status = 'complete'");
    until("the export is complete", async || (number(product, &statement).await == 1).then_some(())).await;
}

async fn file(product: &Product, clinic: OrganizationId, id: Uuid) -> Vec<u8> {
    let storages = product.server.system().storages.get().unwrap();
    let pieces = storages.of(clinic).await.unwrap().read(&object_key(clinic, id)).await.unwrap();
    pieces.try_fold(Vec::new(), async |read, piece| Ok([&read[..], &piece[..]].concat())).await.unwrap()
}

const HELD: &str = "select count(*) from pg_locks where locktype = 'advisory' and objid = 7 and not granted";

/// Whoever reads the trail beyond an entry waits until the test lets it go.
async fn hold(product: &Product, after: i64) -> Transaction<'static, Postgres> {
    let mut holding = product.databases().audit_owner.begin().await.unwrap();
    holding.execute("select pg_advisory_xact_lock(7)").await.unwrap();
    let policy = format!(
        "create function public.hold() returns boolean language plpgsql as $$
         begin perform pg_advisory_xact_lock(7); return true; end $$;
         create policy hold on audit.trail as restrictive for select using (sequence <= {after} or public.hold())"
    );
    sql(product, &policy).await;
    holding
}

/// Kills whoever waits, and makes its export due.
async fn kill(product: &Product, workers: ServerProcess, holding: Transaction<'static, Postgres>, id: Uuid) {
    until("the worker reads so far", async || (number(product, HELD).await == 1).then_some(())).await;
    workers.kill();
    holding.rollback().await.unwrap();
    until("its session ends", async || (number(product, HELD).await == 0).then_some(())).await;
    let due = format!("update exports.jobs set leased_until = now() where export_id = '{id}'");
    sql(product, &format!("drop policy hold on audit.trail; drop function public.hold(); {due}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_killed_process_go_on_after_what_is_stored() {
    let (product, clinic) = without_workers().await;
    fill(&product, clinic, ENTRIES).await;
    let mut workers = product.process(PROCESS, "workers", FEW, &[]).await;
    for form in ["csv", "ndjson", "fhir_r4_ndjson", "fhir_r5_ndjson"] {
        let count = if form.starts_with("fhir") { ENTRIES / 3 } else { ENTRIES };
        let undisturbed = ask(&product, clinic, form, count).await;
        complete(&product, undisturbed).await;
        let expected = file(&product, clinic, undisturbed).await;
        let holding = hold(&product, count - 1_500).await;
        let id = ask(&product, clinic, form, count).await;
        kill(&product, workers, holding, id).await;
        let mark = format!(
            "select (kept::jsonb->'mark'->>'after')::bigint from exports.jobs where export_id = '{id}'"
        );
        let stored = number(&product, &mark).await;
        // Whoever read these again would not find them.
        let of_the_part = format!("organization_id = '{clinic}' and sequence <= {stored}");
        sql(
            &product,
            &format!(
                "create table public.stored as select * from audit.trail where {of_the_part};
                 delete from audit.trail where {of_the_part}"
            ),
        )
        .await;
        workers = product.process(PROCESS, "workers", FEW, &[]).await;
        complete(&product, id).await;

        assert!(stored > 0 && stored < count, "{form}: {stored} of {count}");
        let found = file(&product, clinic, id).await;
        assert!(found == expected, "{form}: {} bytes instead of {}", found.len(), expected.len());
        let hash = format!(
            "select count(distinct content_sha256) from exports.jobs where export_id in ('{id}', '{undisturbed}')"
        );
        assert_eq!(number(&product, &hash).await, 1, "{form}");
        let done = format!("select done_count from exports.jobs where export_id = '{id}'");
        assert_eq!(number(&product, &done).await, count, "{form}");
        sql(&product, "insert into audit.trail select * from public.stored; drop table public.stored").await;
    }
    assert!(workers.end().await.success());
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_whose_trail_has_changed_begins_anew() {
    let (product, clinic) = without_workers().await;
    fill(&product, clinic, ENTRIES).await;
    let workers = product.process(PROCESS, "workers", FEW, &[]).await;
    let holding = hold(&product, ENTRIES - 1_500).await;
    let id = ask(&product, clinic, "ndjson", ENTRIES).await;
    kill(&product, workers, holding, id).await;
    // As after an update that tells entries in another way.
    sql(&product, "update audit.trail set purpose = 'payment'").await;

    let workers = product.process(PROCESS, "workers", FEW, &[]).await;
    let forgotten = format!("select count(*) from exports.jobs where export_id = '{id}' and kept is null");
    until("what is stored is given up", async || (number(&product, &forgotten).await == 1).then_some(()))
        .await;
    until("it waits for another try", async || {
        let paused = format!(
            "update exports.jobs set leased_until = now() where export_id = '{id}' and owner is null
                 and status = 'running' returning 1::bigint"
        );
        let paused: Option<i64> = sqlx::query_scalar(AssertSqlSafe(paused))
            .fetch_optional(&product.databases().audit_owner)
            .await
            .unwrap();
        paused
    })
    .await;
    complete(&product, id).await;

    let found = file(&product, clinic, id).await;
    let lines = found.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let told: Vec<serde_json::Value> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
    assert_eq!(i64::try_from(told.len()).unwrap(), ENTRIES);
    assert!(told.iter().all(|entry| entry["purpose"] == "payment"), "no two halves of different files");
    assert!(workers.end().await.success());
    product.stop().await;
}

/// Whoever reads on after this entry waits for the test.
const READ: i64 = 3_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_table_goes_on_in_the_same_home_after_what_was_read() {
    let (product, clinic) = without_workers().await;
    fill(&product, clinic, FEW_ENTRIES).await;
    let home = TempDir::new().unwrap();
    let same_home = [("CARELOG_TEST_HOME", home.path().to_str().unwrap())];
    let workers = product.process(PROCESS, "workers", FEW, &same_home).await;
    let undisturbed = ask(&product, clinic, "parquet", FEW_ENTRIES).await;
    complete(&product, undisturbed).await;
    let expected = file(&product, clinic, undisturbed).await;
    let holding = hold(&product, READ).await;
    let id = ask(&product, clinic, "parquet", FEW_ENTRIES).await;
    kill(&product, workers, holding, id).await;
    let pages = home.path().join(format!("exports/unfinished/{clinic}_{id}/pages.ndjson"));
    assert_eq!(std::fs::read_to_string(&pages).unwrap().lines().count(), 3);
    // Whoever read these again would not find them.
    sql(
        &product,
        &format!("delete from audit.trail where organization_id = '{clinic}' and sequence <= {READ}"),
    )
    .await;
    let workers = product.process(PROCESS, "workers", FEW, &same_home).await;
    complete(&product, id).await;

    let found = file(&product, clinic, id).await;
    assert!(found == expected, "{} bytes instead of {}", found.len(), expected.len());
    until("the home is empty", async || (!pages.exists()).then_some(())).await;
    assert!(workers.end().await.success());
    product.stop().await;
}
