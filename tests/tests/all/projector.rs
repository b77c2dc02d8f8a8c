//! Projector units: every event once and in order, whoever dies or falls asleep.

use std::sync::Arc;

use carelog_domain::OrganizationId;
use carelog_domain::appointment::Appointment;
use carelog_event_log::runtime::{Runtime, Unit, UnitError, lag};
use carelog_event_log::{EventLog, new_id};
use carelog_tests::{Node, TestSystem, Toy, reschedule, run, scope, start_appointment, until};
use tokio::task::JoinSet;
use uuid::Uuid;

const EXPIRE: &str = "update runtime.checkpoints set leased_until = now() - interval '1 second'";

fn unit(node: &Node, toy: &Arc<Toy>, lane: i16) -> Unit<Toy> {
    node.runtime.unit(Arc::clone(toy), None, node.system.clone(), lane)
}

async fn system_with_toy() -> TestSystem {
    let system = TestSystem::new().await;
    Toy::<false>::install(&system.owner).await;
    system
}

async fn complete(system: &TestSystem) {
    until("the toy has applied everything", async || {
        Toy::<false>::is_complete(&system.owner).await.then_some(())
    })
    .await;
    assert_eq!(system.count("select count(*) from runtime.quarantine").await, 0);
}

/// Moves an appointment so many times.
async fn move_around(log: EventLog, organization_id: OrganizationId, stream_id: Uuid, times: u64) {
    for n in 1..=times {
        run::<Appointment>(&log, &scope(organization_id), stream_id, reschedule(n)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_applies_its_lane_and_remembers_its_place() {
    let system = system_with_toy().await;
    let (one, other) = (system.organization_in(1).await, system.organization_in(2).await);
    for organization_id in [one, one, other] {
        let stream_id = start_appointment(system.log(), organization_id).await;
        move_around(system.log().clone(), organization_id, stream_id, 3).await;
    }
    let toy = Toy::<false>::new();

    let first = unit(&system.node, &toy, 1).run_to_head().await.unwrap();
    let again = unit(&system.node, &toy, 1).run_to_head().await.unwrap();
    let second = unit(&system.node, &toy, 2).run_to_head().await.unwrap();

    assert_eq!((first, again, second), (8, 0, 4));
    assert!(Toy::<false>::is_complete(&system.owner).await);
    let mut connection = system.node.system.acquire().await.unwrap();
    let lags = lag(system.log(), &mut connection).await.unwrap();
    assert_eq!(lags.len(), 4);
    assert!(
        lags.iter().all(|lag| lag.events_behind == 0 && !lag.is_owned && lag.quarantined == 0),
        "{lags:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_dies_inside_a_page_leaves_no_trace() {
    let system = system_with_toy().await;
    let organization_id = system.organization_in(1).await;
    let stream_id = start_appointment(system.log(), organization_id).await;
    let toy = Toy::<false>::new();
    unit(&system.node, &toy, 1).run_to_head().await.unwrap();
    move_around(system.log().clone(), organization_id, stream_id, 3).await;

    toy.close_gate();
    let mut doomed = JoinSet::new();
    doomed.spawn(unit(&system.node, &toy, 1).run());
    toy.somebody_at_gate().await;
    doomed.shutdown().await;

    assert_eq!(system.count("select count(*) from toy.entries").await, 1);
    assert_eq!(system.count("select position from runtime.checkpoints where lane = 1").await, 1);
    let heir = system.another_node().await;
    let held = unit(&heir, &Toy::new(), 1).run_to_head().await;
    assert!(matches!(held, Err(UnitError::LeaseLost)), "the dead one's lease has not run out: {held:?}");
    system.sql(EXPIRE).await;
    assert_eq!(unit(&heir, &Toy::new(), 1).run_to_head().await.unwrap(), 3);
    complete(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runtimes_share_the_lanes_and_one_takes_over_from_the_other() {
    let system = system_with_toy().await;
    let other = system.another_node().await;
    other.follow_other_processes();
    system.node.follow_other_processes();
    let toys = [Toy::<false>::new(), Toy::new()];
    system.node.runtime.start(&toys[0], None, &system.node.system);
    other.runtime.start(&toys[1], None, &other.system);

    let mut callers = JoinSet::new();
    for lane in 1..=4 {
        let organization_id = system.organization_in(lane).await;
        let log = if lane % 2 == 0 { system.log().clone() } else { other.log.clone() };
        let stream_id = start_appointment(&log, organization_id).await;
        callers.spawn(move_around(log, organization_id, stream_id, 15));
    }
    callers.join_next().await.unwrap().unwrap();
    other.stop().await;
    let late = system.organization_in(3).await;
    start_appointment(system.log(), late).await;
    // The rest of the other's callers were cut off with their process, which is no loss.
    callers.join_all().await;

    complete(&system).await;
    carelog_tests::check_invariants(&system.owner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_was_taken_over_between_two_pages_is_told_as_lost() {
    let system = system_with_toy().await;
    let organization_id = system.organization_in(1).await;
    let stream_id = start_appointment(system.log(), organization_id).await;
    // As soon as its first page is committed, somebody else has the lease.
    system
        .sql(
            "create function public.take_over() returns trigger language plpgsql as
                 $$ begin new.epoch := old.epoch + 1; return new; end $$;
             create trigger take_over before update on runtime.checkpoints for each row
                 when (old.position = 0 and new.position = 1) execute function public.take_over()",
        )
        .await;
    let toy = Toy::<false>::new();
    toy.close_gate();
    let mut tasks = JoinSet::new();
    let owner = unit(&system.node, &toy, 1);
    tasks.spawn(async move { owner.run_to_head().await });
    toy.somebody_at_gate().await;
    move_around(system.log().clone(), organization_id, stream_id, 1).await;

    toy.open_gate();

    let lost = tasks.join_next().await.unwrap().unwrap();
    assert!(matches!(lost, Err(UnitError::LeaseLost)), "{lost:?}");
    assert_eq!(system.count("select position from runtime.checkpoints where lane = 1").await, 1);
    assert_eq!(system.count("select count(*) from toy.entries").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_whose_lease_was_taken_over_applies_nothing_more() {
    let system = system_with_toy().await;
    let organization_id = system.organization_in(1).await;
    let stream_id = start_appointment(system.log(), organization_id).await;
    let sleeper = system.node.runtime.clone();
    let heir = Runtime { owner: new_id(), ..sleeper.clone() };
    let (toy, heirs_toy) = (Toy::<false>::new(), Toy::<false>::new());
    let mut tasks = JoinSet::new();
    let system_pool = || system.node.system.clone();
    tasks.spawn(sleeper.unit(Arc::clone(&toy), None, system_pool(), 1).run());
    complete(&system).await;

    system.sql(EXPIRE).await;
    tasks.spawn(heir.unit(Arc::clone(&heirs_toy), None, system_pool(), 1).run());
    until("the heir holds the lease", async || {
        let statement = "select owner from runtime.checkpoints where lane = 1";
        let owner: Option<Uuid> = sqlx::query_scalar(statement).fetch_one(&system.owner).await.unwrap();
        (owner == Some(heir.owner)).then_some(())
    })
    .await;
    // Both are woken by these.
    move_around(system.log().clone(), organization_id, stream_id, 5).await;

    complete(&system).await;
    let owner: Uuid = sqlx::query_scalar("select owner from runtime.checkpoints where lane = 1")
        .fetch_one(&system.owner)
        .await
        .unwrap();
    assert_eq!(owner, heir.owner);
    assert!(heirs_toy.pages() > 0);
    assert_eq!(system.count("select count(*) from toy.entries").await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_was_cut_off_inside_a_page_applies_nothing() {
    let system = system_with_toy().await;
    let organization_id = system.organization_in(1).await;
    start_appointment(system.log(), organization_id).await;
    let (toy, heirs_toy) = (Toy::<false>::new(), Toy::<false>::new());
    toy.close_gate();
    let mut sleeper = JoinSet::new();
    let sleepers_unit = unit(&system.node, &toy, 1);
    sleeper.spawn(async move { sleepers_unit.run_to_head().await });
    toy.somebody_at_gate().await;

    let cut_off = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                   where datname = current_database() and state = 'idle in transaction'";
    assert_eq!(system.count(cut_off).await, 1);
    system.sql(EXPIRE).await;
    let heir = system.another_node().await;
    let applied = unit(&heir, &heirs_toy, 1).run_to_head().await.unwrap();
    toy.open_gate();
    let woken = sleeper.join_next().await.unwrap().unwrap();

    assert_eq!(applied, 1);
    assert!(matches!(woken, Err(UnitError::Apply(_))), "{woken:?}");
    complete(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_in_one_process_wakes_the_projector_of_another() {
    let system = system_with_toy().await;
    let other = system.another_node().await;
    system.node.follow_other_processes();
    other.follow_other_processes();
    let toy = Toy::<false>::new();
    other.runtime.start(&toy, None, &other.system);

    let organization_id = system.organization_in(2).await;
    let stream_id = start_appointment(system.log(), organization_id).await;
    complete(&system).await;
    move_around(system.log().clone(), organization_id, stream_id, 2).await;

    complete(&system).await;
    until("the other process has heard of all", async || (*other.log.head(2).borrow() == 3).then_some(()))
        .await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_long_lane_follow_on_each_other() {
    let system = system_with_toy().await;
    let organization_id = system.organization_in(1).await;
    let mut callers = JoinSet::new();
    for _ in 0..210 {
        let log = system.log().clone();
        callers.spawn(async move {
            let stream_id = start_appointment(&log, organization_id).await;
            move_around(log, organization_id, stream_id, 9).await;
        });
    }
    callers.join_all().await;
    let late_reader = system.another_node().await;
    let toy = Toy::<false>::new();

    let applied = unit(&late_reader, &toy, 1).run_to_head().await.unwrap();

    assert_eq!((applied, toy.pages()), (2_100, 2));
    complete(&system).await;
}
