//! From an event to an effect, once; and who may report on it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use carelog_domain::OrganizationId;
use carelog_event_log::effects::{self, Effect, Limits, NewEffect, Report, Reported, Sign, Taker};
use carelog_event_log::runtime::{Reactor, RebuildScope, Unit, rebuild};
use carelog_event_log::{Clock, SystemClock, new_id};
use carelog_tests::{LOOK_FOR_DUE_EFFECTS, Node, TestSystem, Toy, ToyReactor, at, start_appointment};
use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use tokio::sync::watch;
use tokio::task::JoinSet;

const LEDGER: &str = "select count(*) from runtime.effects";
const EXPIRE: &str =
    "update runtime.effects set next_at = now() - interval '1 second' where owner is not null;
     update runtime.effect_queues set next_at = now()";

async fn system_with_bookings(count: usize) -> (TestSystem, OrganizationId) {
    let system = TestSystem::new().await;
    Toy::<false>::install(&system.owner).await;
    let organization_id = system.organization_in(1).await;
    for _ in 0..count {
        start_appointment(system.log(), organization_id).await;
    }
    (system, organization_id)
}

fn unit(node: &Node, toy: &Arc<Toy>, reactor: &Arc<ToyReactor>) -> Unit<Toy> {
    let reactor: Arc<dyn Reactor<NewEffect>> = Arc::clone(reactor) as _;
    node.runtime.unit(Arc::clone(toy), Some(reactor), node.system.clone(), 1)
}

async fn connection(system: &TestSystem) -> PoolConnection<Postgres> {
    system.node.system.acquire().await.unwrap()
}

async fn claim(system: &TestSystem, limit: usize) -> Vec<Effect> {
    claim_within(system, Limits::NONE, limit).await
}

async fn claim_within(system: &TestSystem, limits: Limits, room: usize) -> Vec<Effect> {
    let taker = Taker { reactor: "toy", owner: new_id(), now: SystemClock.now(), room, limits };
    effects::claim(&mut *connection(system).await, taker).await.unwrap()
}

/// How many reports were refused.
async fn report(system: &TestSystem, effect: Effect, next_at: Option<&str>) -> u64 {
    let report = Report { effect, next_at: next_at.map(at), sign: Sign::None };
    tell(system, &[report]).await.refused
}

async fn tell(system: &TestSystem, reports: &[Report]) -> Reported {
    let connection = &mut *connection(system).await;
    effects::report(connection, "toy", SystemClock.now(), Duration::from_hours(1), reports).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intent_becomes_one_effect_and_goes_to_the_worker_at_once() {
    let (system, _) = system_with_bookings(3).await;
    let (toy, reactor) = (Toy::<false>::new(), ToyReactor::with_room(10));

    unit(&system.node, &toy, &reactor).run_to_head().await.unwrap();
    let given = reactor.take();
    unit(&system.node, &toy, &reactor).run_to_head().await.unwrap();

    let positions: Vec<_> = given.iter().map(|reaction| reaction.effect.position).collect();
    assert_eq!(positions, [1, 2, 3]);
    assert!(given.iter().all(|reaction| reaction.event.event_id == reaction.effect.source_event_id));
    assert!(
        given.iter().all(|reaction| reaction.effect.token == 1 && reaction.effect.abandoned_since.is_none())
    );
    assert!(reactor.take().is_empty());
    assert_eq!(system.count(LEDGER).await, 3);
    assert!(claim(&system, 10).await.is_empty(), "they are leased already");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_has_no_room_for_is_due_for_anybody() {
    let (system, _) = system_with_bookings(3).await;
    let (toy, reactor) = (Toy::<false>::new(), ToyReactor::with_room(1));

    unit(&system.node, &toy, &reactor).run_to_head().await.unwrap();
    let claimed = claim(&system, 10).await;

    assert_eq!(reactor.take().len(), 1);
    assert_eq!(claimed.iter().map(|effect| effect.position).collect::<HashSet<_>>(), HashSet::from([2, 3]));
    assert!(
        claimed.iter().all(|effect| effect.token == 2 && effect.abandoned_since.is_none()),
        "{claimed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_reactor_starts_where_its_projector_stands() {
    let (system, organization_id) = system_with_bookings(2).await;
    let (toy, reactor) = (Toy::<false>::new(), ToyReactor::with_room(10));
    let silent = system.node.runtime.unit(Arc::clone(&toy), None, system.node.system.clone(), 1);
    silent.run_to_head().await.unwrap();

    unit(&system.node, &toy, &reactor).run_to_head().await.unwrap();
    start_appointment(system.log(), organization_id).await;
    unit(&system.node, &toy, &reactor).run_to_head().await.unwrap();

    let positions: Vec<_> = reactor.take().iter().map(|reaction| reaction.effect.position).collect();
    assert_eq!(positions, [3]);
    assert_eq!(system.count(LEDGER).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_creates_no_effects() {
    let (system, organization_id) = system_with_bookings(2).await;
    let (toy, reactor) = (Toy::<false>::new(), ToyReactor::with_room(10));
    unit(&system.node, &toy, &reactor).run_to_head().await.unwrap();
    reactor.take();
    system.sql("delete from runtime.effects where position = 1").await;

    for scope in [RebuildScope::Everything, RebuildScope::Organization(organization_id)] {
        rebuild(&*toy, system.log(), &system.owner, scope, &watch::Sender::default()).await.unwrap();
    }
    start_appointment(system.log(), organization_id).await;
    unit(&system.node, &toy, &reactor).run_to_head().await.unwrap();

    let positions: Vec<_> = reactor.take().iter().map(|reaction| reaction.effect.position).collect();
    assert_eq!(positions, [3], "only what is new");
    assert_eq!(system.count(LEDGER).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_dies_inside_a_page_leaves_no_effect_behind() {
    let (system, _) = system_with_bookings(2).await;
    let (toy, reactor) = (Toy::<false>::new(), ToyReactor::with_room(10));
    toy.close_gate();
    let mut doomed = JoinSet::new();
    doomed.spawn(unit(&system.node, &toy, &reactor).run());
    toy.somebody_at_gate().await;
    doomed.shutdown().await;

    assert_eq!(system.count(LEDGER).await, 0);
    system.sql("update runtime.checkpoints set leased_until = '-infinity'").await;
    unit(&system.node, &Toy::new(), &reactor).run_to_head().await.unwrap();

    assert_eq!(reactor.take().len(), 2);
    assert_eq!(system.count(LEDGER).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_effect_whose_lease_ran_out_is_claimed_as_abandoned_and_the_late_report_refused() {
    let (system, _) = system_with_bookings(1).await;
    let (toy, reactor) = (Toy::<false>::new(), ToyReactor::with_room(1));
    unit(&system.node, &toy, &reactor).run_to_head().await.unwrap();
    let lost = reactor.take().remove(0).effect;

    system.sql(EXPIRE).await;
    let taken = claim(&system, 10).await;

    assert_eq!(taken.len(), 1);
    assert_eq!((taken[0].token, taken[0].abandoned_since.is_some()), (2, true));
    assert_eq!(report(&system, lost, None).await, 1, "the old token is refused");
    assert_eq!(report(&system, taken[0], None).await, 0);
    assert_eq!(report(&system, taken[0], None).await, 1, "nobody reports twice");
    assert!(claim(&system, 10).await.is_empty());
    system.sql(LOOK_FOR_DUE_EFFECTS).await;
    assert!(claim(&system, 10).await.is_empty());
    let due = effects::next_due(&mut *connection(&system).await, "toy").await.unwrap();
    assert_eq!(due, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_effect_that_is_to_be_tried_again_waits_for_its_time() {
    let (system, _) = system_with_bookings(1).await;
    let (toy, reactor) = (Toy::<false>::new(), ToyReactor::with_room(1));
    unit(&system.node, &toy, &reactor).run_to_head().await.unwrap();
    let held = reactor.take().remove(0).effect;

    assert_eq!(report(&system, held, Some("2999-01-01T00:00:00Z")).await, 0);
    system.sql(LOOK_FOR_DUE_EFFECTS).await;
    assert!(claim(&system, 10).await.is_empty());
    let due = effects::next_due(&mut *connection(&system).await, "toy").await.unwrap();
    assert!(due.unwrap().as_secs() > 1_000_000);
    system.sql("update runtime.effects set next_at = now()").await;
    system.sql(LOOK_FOR_DUE_EFFECTS).await;
    let again = claim(&system, 10).await;

    assert_eq!((again[0].token, again[0].abandoned_since.is_some()), (2, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn rival_workers_never_hold_one_effect_together() {
    let (system, _) = system_with_bookings(5).await;
    for _ in 0..7 {
        let organization_id = system.organization_in(1).await;
        for _ in 0..5 {
            start_appointment(system.log(), organization_id).await;
        }
    }
    unit(&system.node, &Toy::new(), &ToyReactor::with_room(0)).run_to_head().await.unwrap();

    let mut workers = JoinSet::new();
    for _ in 0..8 {
        let pool = system.node.system.clone();
        workers.spawn(async move {
            let (owner, mut held) = (new_id(), Vec::new());
            loop {
                let (now, limits) = (SystemClock.now(), Limits::NONE);
                let taker = Taker { reactor: "toy", owner, now, room: 3, limits };
                let claimed = effects::claim(&mut pool.acquire().await.unwrap(), taker).await.unwrap();
                let is_over = claimed.is_empty() && {
                    let left = "select count(*) from runtime.effects where owner is null";
                    sqlx::query_scalar::<_, i64>(left).fetch_one(&pool).await.unwrap() == 0
                };
                if is_over {
                    return held;
                }
                held.extend(claimed);
            }
        });
    }
    let held: Vec<Effect> = workers.join_all().await.into_iter().flatten().collect();

    assert_eq!(held.len(), 40);
    assert_eq!(held.iter().map(|effect| effect.source_event_id).collect::<HashSet<_>>().len(), 40);
    assert!(held.iter().all(|effect| effect.token == 2));
}
