//! The projector of analytics as a process that is killed while it writes: what it had under way is gone, what it had
//! committed stays, and the next process goes on as if nothing had happened.

use std::sync::Arc;
use std::time::Duration;

use carelog_domain::patient::Patient;
use carelog_domain::{OrganizationId, PatientId};
use carelog_event_log::runtime::RebuildScope;
use carelog_event_log::{SystemClock, new_id};
use carelog_server::serve::Roles;
use carelog_tests::{Product, Random, register, run, scope, until};
use futures::future::join_all;
use sqlx::{AssertSqlSafe, Executor as _};
use uuid::Uuid;

use super::video::consult;
use super::{facts, rebuild_analytics};
use crate::worker_processes::{FEW, PROCESS};

/// Consultations of each clinic: enough for some pages of the projector, which are 2,000 events at most.
const CONSULTATIONS: usize = 250;
/// The first few while it writes the first page that it gets, the others anywhere.
const KILLS: usize = 6;
const AT_ONCE: usize = 3;

/// Each row of a sample takes its time, so that a process is killed within a transaction and not between two.
const SLOW: &str = "
    create function analytics.take_time() returns trigger language plpgsql as $$
    begin
        perform pg_sleep(0.005);
        return new;
    end $$;
    create trigger slow before insert on analytics.video_quality_facts
        for each row execute function analytics.take_time()";
const FAST: &str = "drop trigger slow on analytics.video_quality_facts; drop function analytics.take_time()";

async fn fill(product: &Product, id: OrganizationId) {
    let consultations = (0..CONSULTATIONS).map(async |_| {
        let patient = new_id();
        run::<Patient>(product.log(), &scope(id), patient, register("Ada")).await;
        consult(product.log(), id, PatientId::new(patient)).await;
    });
    join_all(consultations).await;
}

async fn number(product: &Product, statement: &str) -> i64 {
    let statement = AssertSqlSafe(statement.to_owned());
    sqlx::query_scalar(statement).fetch_one(&product.databases().analytics_owner).await.unwrap()
}

const IS_WRITING: &str = "select count(*) from pg_stat_activity
    where datname = current_database() and state = 'active' and query like '%insert into video_quality_facts%'
        and pid <> pg_backend_pid()";
/// Places that the projector has come to, in all lanes together.
const REACHED: &str =
    "select coalesce(sum(position), 0)::bigint from runtime.checkpoints where projector = 'analytics'";

async fn head(product: &Product) -> i64 {
    product.count("select sum(position)::bigint from log.lane_heads").await
}

const SAMPLES: &str = "select count(*) from analytics.video_quality_facts";

/// Samples in the log up to the checkpoint of each lane.
async fn sampled(product: &Product) -> i64 {
    let checkpoints = "select lane, position from runtime.checkpoints where projector = 'analytics'";
    let checkpoints: Vec<(i16, i64)> =
        sqlx::query_as(checkpoints).fetch_all(&product.databases().analytics_owner).await.unwrap();
    let mut count = 0;
    for (lane, position) in checkpoints {
        count += product
            .count(&format!(
                "select count(*) from log.events where event_type = 'video_room.quality_sampled'
                     and lane = {lane} and position <= {position}"
            ))
            .await;
    }
    count
}

/// What the dead had under way ends when the server sees that nobody listens any more, and is rolled back.
async fn let_it_go(product: &Product, owner: Uuid) {
    let owner_of_tables = &product.databases().analytics_owner;
    until("the sessions of the dead end", async || (number(product, IS_WRITING).await == 0).then_some(()))
        .await;
    let leases = format!("update runtime.checkpoints set leased_until = now() where owner = '{owner}'");
    owner_of_tables.execute(AssertSqlSafe(leases)).await.unwrap();
    product.leases_end(owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projector_that_is_killed_while_it_writes_goes_on_where_it_was() {
    let mut random = Random::seeded(Random::seed(7));
    let roles = Roles { api: true, ..Roles::NONE };
    let product = Product::start_as(roles, true, Arc::new(SystemClock)).await;
    let ((one, _), (two, _)) = (product.clinic().await, product.clinic().await);
    fill(&product, one).await;
    fill(&product, two).await;
    let analytics = &product.databases().analytics_owner;
    analytics.execute(sqlx::raw_sql(SLOW)).await.unwrap();

    let (mut reached, mut while_writing) = (Vec::new(), 0);
    for kill in 0..KILLS {
        let process = product.process(PROCESS, "projectors", FEW, &[]).await;
        until("the projector writes, or has nothing left to write", async || {
            let is_done = number(&product, REACHED).await == head(&product).await;
            (is_done || number(&product, IS_WRITING).await > 0).then_some(())
        })
        .await;
        if kill >= AT_ONCE {
            tokio::time::sleep(Duration::from_millis(random.below(2_500))).await;
        }
        while_writing += usize::from(number(&product, IS_WRITING).await > 0);
        let owner = process.owner;
        process.kill();
        let_it_go(&product, owner).await;
        reached.push(number(&product, REACHED).await);
        let samples = number(&product, SAMPLES).await;
        assert_eq!(
            samples,
            sampled(&product).await,
            "rows and checkpoint are of one transaction: {reached:?}"
        );
    }
    assert!(reached.is_sorted(), "no place was lost: {reached:?}");
    assert!(while_writing >= AT_ONCE, "{while_writing} of the killed were writing");
    analytics.execute(sqlx::raw_sql(FAST)).await.unwrap();
    let last = product.process(PROCESS, "projectors", FEW, &[]).await;
    let expected = i64::try_from(2 * 2 * CONSULTATIONS).unwrap();
    until("everything is applied", async || {
        (number(&product, REACHED).await == head(&product).await).then_some(())
    })
    .await;
    assert_eq!(number(&product, SAMPLES).await, expected);
    assert!(last.end().await.success());

    let found = facts(&product).await;
    let counts = ["video_session_facts", "video_quality_facts", "patient_facts"]
        .map(|table| found[&format!("analytics.{table}")].len() / CONSULTATIONS);
    assert_eq!(counts, [6, 4, 2]);
    rebuild_analytics(&product, RebuildScope::Everything).await;
    assert_eq!(facts(&product).await, found, "an undisturbed rebuild gives the same rows");
    rebuild_analytics(&product, RebuildScope::Organization(one)).await;
    assert_eq!(facts(&product).await, found, "and so does one of a clinic alone");
    product.stop().await;
}
