//! What bounds the effects that begin: pace, shares of the workers, and receivers that fail.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use carelog_domain::{OrganizationId, Timestamp};
use carelog_event_log::effects::{self, Effect, Limits, NewEffect, Report, Reported, Sign, Taker};
use carelog_event_log::runtime::Reactor;
use carelog_event_log::{Clock, SystemClock, new_id};
use carelog_tests::{Random, TestSystem, Toy, ToyReactor, at, start_appointment};

const FAILURE: Sign = Sign::Failure { slow_down: false, hold: None };
const LATER: &str = "2999-01-01T00:00:00Z";

/// A ledger in which effects of organizations of the first lane wait.
pub(crate) struct Ledger {
    pub(crate) system: TestSystem,
    toy: Arc<Toy>,
    limits: Limits,
}

impl Ledger {
    pub(crate) async fn new(limits: Limits) -> Self {
        let system = TestSystem::new().await;
        Toy::<false>::install(&system.owner).await;
        Self { system, toy: Toy::<false>::new(), limits }
    }

    /// Asks for effects of an organization; `room` of them could begin at once.
    pub(crate) async fn want(
        &self,
        organization_id: OrganizationId,
        count: usize,
        room: usize,
    ) -> Vec<Effect> {
        for _ in 0..count {
            start_appointment(self.system.log(), organization_id).await;
        }
        let reactor = ToyReactor::within(self.limits, room);
        let node = &self.system.node;
        let reacts: Arc<dyn Reactor<NewEffect>> = Arc::clone(&reactor) as _;
        let unit = node.runtime.unit(Arc::clone(&self.toy), Some(reacts), node.system.clone(), 1);
        unit.run_to_head().await.unwrap();
        reactor.take().into_iter().map(|reaction| reaction.effect).collect()
    }

    pub(crate) async fn claim(&self, room: usize) -> Vec<Effect> {
        let (now, limits) = (SystemClock.now(), self.limits);
        let taker = Taker { reactor: "toy", owner: new_id(), now, room, limits };
        effects::claim(&mut self.system.node.system.acquire().await.unwrap(), taker).await.unwrap()
    }

    pub(crate) async fn report(&self, taken: &[Effect], next_at: Option<Timestamp>, sign: Sign) -> Reported {
        let reports: Vec<_> = taken.iter().map(|effect| Report { effect: *effect, next_at, sign }).collect();
        let connection = &mut *self.system.node.system.acquire().await.unwrap();
        let hour = Duration::from_hours(1);
        effects::report(connection, "toy", SystemClock.now(), hour, &reports).await.unwrap()
    }

    async fn done(&self, taken: &[Effect]) {
        assert_eq!(self.report(taken, None, Sign::Success).await, Reported::default());
    }

    /// Time passes for the pace and for pauses, in quarters of a second.
    async fn pass(&self, slots: i64) {
        let statement = format!(
            "update runtime.effect_queues
             set begun_slot = begun_slot - {slots}, next_at = next_at - {slots} * interval '250 ms',
                 held_until = held_until - {slots} * interval '250 ms'"
        );
        self.system.sql(&statement).await;
    }

    /// One after another, each in the hands of a worker alone.
    async fn fail(&self, times: usize) {
        for _ in 0..times {
            self.pass(10_000).await;
            let taken = self.claim(1).await;
            assert_eq!(taken.len(), 1);
            self.report(&taken, Some(at(LATER)), FAILURE).await;
        }
    }
}

pub(crate) const fn within(per_tick: u16, held_per_step: u16, held_per_organization: u16) -> Limits {
    Limits { per_tick, held_per_step, held_per_organization }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_handed_over_at_once_counts_for_the_pace() {
    let ledger = Ledger::new(within(2, 100, 100)).await;
    let organization_id = ledger.system.organization_in(1).await;

    let fresh = ledger.want(organization_id, 5, 10).await;

    assert_eq!(fresh.len(), 2);
    assert_eq!(ledger.claim(10).await.len(), 0);
    ledger.pass(19).await;
    assert_eq!(ledger.claim(10).await.len(), 0, "not yet five seconds");
    ledger.pass(4).await;
    assert_eq!(ledger.claim(10).await.len(), 2);
    ledger.pass(23).await;
    assert_eq!(ledger.claim(10).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_no_five_seconds_begin_more_than_the_pace_allows() {
    const PER_TICK: usize = 7;
    let ledger = Ledger::new(within(7, 1_000, 1_000)).await;
    let organization_id = ledger.system.organization_in(1).await;
    ledger.want(organization_id, 150, 0).await;
    let mut random = Random::seeded(Random::seed(48));

    let (mut slot, mut begun) = (0, Vec::new());
    while begun.len() < 150 {
        let room = usize::try_from(1 + random.below(9)).unwrap();
        let taken = ledger.claim(room).await;
        ledger.done(&taken).await;
        begun.extend(std::iter::repeat_n(slot, taken.len()));
        let slots = i64::try_from(random.below(30)).unwrap();
        ledger.pass(slots).await;
        slot += slots;
    }

    for (index, first) in begun.iter().enumerate() {
        let together = begun[index..].iter().take_while(|slot| **slot - first < 20).count();
        assert!(together <= PER_TICK, "{together} from {first} on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_holds_its_share_of_the_workers_and_no_more() {
    let ledger = Ledger::new(within(1_000, 3, 100)).await;
    let organization_id = ledger.system.organization_in(1).await;
    let fresh = ledger.want(organization_id, 8, 2).await;
    assert_eq!(fresh.len(), 2);

    let claimed = ledger.claim(10).await;
    assert_eq!(claimed.len(), 1);
    ledger.done(&fresh).await;
    ledger.pass(1).await;

    assert_eq!(ledger.claim(10).await.len(), 2);
    assert_eq!(ledger.claim(10).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_waiting_effects_take_nothing_from_three_of_somebody_else() {
    let ledger = Ledger::new(within(1_000, 100, 4)).await;
    let crowded = ledger.system.organization_in(1).await;
    let quiet = ledger.system.organization_in(1).await;
    ledger.want(crowded, 100, 0).await;
    ledger.want(quiet, 3, 0).await;

    let mut count = HashMap::<_, usize>::new();
    for effect in ledger.claim(50).await {
        *count.entry(effect.organization_id).or_default() += 1;
    }

    assert_eq!(count, HashMap::from([(crowded, 4), (quiet, 3)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_wants_to_be_left_alone_is() {
    let ledger = Ledger::new(Limits::NONE).await;
    let organization_id = ledger.system.organization_in(1).await;
    let fresh = ledger.want(organization_id, 4, 1).await;

    let hold = Some(Duration::from_mins(1));
    ledger.report(&fresh, Some(at(LATER)), Sign::Failure { slow_down: true, hold }).await;

    assert_eq!(ledger.claim(10).await.len(), 0);
    assert_eq!(ledger.want(organization_id, 1, 10).await.len(), 0, "a fresh one waits too");
    ledger.pass(4 * 59).await;
    assert_eq!(ledger.claim(10).await.len(), 0);
    ledger.pass(4 * 2).await;
    assert_eq!(ledger.claim(10).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_three_failures_in_a_row_one_is_tried_at_a_time() {
    let ledger = Ledger::new(Limits::NONE).await;
    let organization_id = ledger.system.organization_in(1).await;
    ledger.want(organization_id, 10, 0).await;

    ledger.fail(2).await;
    assert_eq!(ledger.claim(2).await.len(), 2, "two are no rule");
    ledger.fail(1).await;

    assert_eq!(ledger.claim(10).await.len(), 0, "it is left alone for a while");
    ledger.pass(10_000).await;
    assert_eq!(ledger.claim(10).await.len(), 0, "two are still under way");
    ledger
        .system
        .sql("update runtime.effects set owner = null, next_at = null where owner is not null")
        .await;
    ledger.pass(10_000).await;
    assert_eq!(ledger.claim(10).await.len(), 1);
    assert_eq!(ledger.claim(10).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_that_were_under_way_together_count_as_one() {
    let ledger = Ledger::new(Limits::NONE).await;
    let organization_id = ledger.system.organization_in(1).await;
    let fresh = ledger.want(organization_id, 6, 6).await;

    for effect in &fresh {
        ledger.report(std::slice::from_ref(effect), None, FAILURE).await;
    }

    assert_eq!(ledger.system.count("select failures::bigint from runtime.effect_queues").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_success_pulls_forward_what_waits_and_only_that() {
    let ledger = Ledger::new(Limits::NONE).await;
    let organization_id = ledger.system.organization_in(1).await;
    ledger.want(organization_id, 6, 0).await;
    ledger.fail(4).await;

    ledger.pass(10_000).await;
    let probe = ledger.claim(10).await;
    assert_eq!(probe.len(), 1);
    ledger.done(&probe).await;
    let pulled = ledger.claim(2).await;
    assert_eq!(pulled.len(), 2);
    ledger.report(&pulled, Some(at(LATER)), FAILURE).await;
    ledger.pass(1).await;
    let others = ledger.claim(10).await;

    assert_eq!(others.len(), 3, "not the two that failed since then");
    assert!(others.iter().all(|effect| pulled.iter().all(|other| other.position != effect.position)));
    ledger.done(&others).await;
    ledger.pass(10_000).await;
    assert_eq!(ledger.claim(10).await.len(), 0, "what failed since then keeps its time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_beside_a_failure_pulls_forward_what_waits_too() {
    let ledger = Ledger::new(Limits::NONE).await;
    let organization_id = ledger.system.organization_in(1).await;
    ledger.want(organization_id, 6, 0).await;
    let together = ledger.claim(2).await;
    assert_eq!(together.len(), 2);
    ledger.fail(3).await;

    let reports = [
        Report { effect: together[0], next_at: None, sign: Sign::Success },
        Report { effect: together[1], next_at: Some(at(LATER)), sign: FAILURE },
    ];
    let connection = &mut *ledger.system.node.system.acquire().await.unwrap();
    let hour = Duration::from_hours(1);
    effects::report(connection, "toy", SystemClock.now(), hour, &reports).await.unwrap();
    ledger.pass(10_000).await;

    assert_eq!(ledger.claim(10).await.len(), 5, "one that nobody tried, and four that failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_delivery_that_always_fails_among_others_keeps_its_times() {
    let ledger = Ledger::new(Limits::NONE).await;
    let organization_id = ledger.system.organization_in(1).await;
    let fresh = ledger.want(organization_id, 6, 6).await;

    ledger.report(&fresh[..1], Some(at(LATER)), FAILURE).await;
    for effect in &fresh[1..] {
        ledger.done(std::slice::from_ref(effect)).await;
        assert_eq!(ledger.claim(10).await.len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fresh_effects_do_not_overtake_those_that_wait() {
    let ledger = Ledger::new(within(3, 100, 100)).await;
    let organization_id = ledger.system.organization_in(1).await;
    assert_eq!(ledger.want(organization_id, 5, 10).await.len(), 3);

    ledger.pass(23).await;
    let fresh = ledger.want(organization_id, 1, 10).await;
    let claimed = ledger.claim(10).await;

    assert_eq!(fresh.len(), 0);
    let positions: Vec<_> = claimed.iter().map(|effect| effect.position).collect();
    assert_eq!(positions.len(), 3);
    assert!(positions.contains(&4) && positions.contains(&5), "{positions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_queue_that_is_emptied_takes_no_share_of_its_organization() {
    let ledger = Ledger::new(within(1_000, 5, 5)).await;
    let organization_id = ledger.system.organization_in(1).await;
    ledger.want(organization_id, 40, 0).await;
    let closed = new_id();
    let part = format!(
        "update runtime.effects set step = '{closed}' where position <= 30;
         select runtime.set_effect_queue('toy', '{organization_id}', '{closed}', null, true);
         update runtime.effect_queues set next_at = now()"
    );
    ledger.system.sql(&part).await;

    let (ended, begun): (Vec<_>, Vec<_>) =
        ledger.claim(100).await.into_iter().partition(|effect| effect.is_closed);

    assert_eq!((ended.len(), begun.len()), (30, 5));
    assert!(ended.iter().all(|effect| effect.step == closed));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_an_effect_is_told_the_newest_version_of_what_it_depends_on() {
    let ledger = Ledger::new(Limits::NONE).await;
    let organization_id = ledger.system.organization_in(1).await;
    let revisions = |taken: &[Effect]| taken.iter().map(|effect| effect.revision).collect::<Vec<_>>();
    let revise = async |version: i64| {
        let revise = "select runtime.set_effect_queue('toy', organization_id, step, null, null, ";
        ledger.system.sql(format!("{revise}{version}) from runtime.effect_queues")).await;
    };
    assert_eq!(revisions(&ledger.want(organization_id, 2, 1).await), [0]);

    revise(7).await;
    assert_eq!(revisions(&ledger.claim(1).await), [7]);
    assert_eq!(revisions(&ledger.want(organization_id, 1, 1).await), [7]);
    // What was set aside is applied late, and takes nothing back.
    revise(3).await;
    assert_eq!(revisions(&ledger.want(organization_id, 1, 1).await), [7]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_fails_for_too_long_is_named() {
    let ledger = Ledger::new(Limits::NONE).await;
    let organization_id = ledger.system.organization_in(1).await;
    ledger.want(organization_id, 6, 0).await;
    ledger.fail(4).await;
    ledger.pass(10_000).await;
    let taken = ledger.claim(1).await;
    ledger.system.sql("update runtime.effect_queues set failing_since = now() - interval '61 minutes'").await;

    let reported = ledger.report(&taken, None, FAILURE).await;

    assert_eq!(reported.lost, [(organization_id, taken[0].step)]);
    assert_eq!(reported.refused, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_failure_of_an_open_queue_names_it() {
    let ledger = Ledger::new(Limits::NONE).await;
    let organization_id = ledger.system.organization_in(1).await;
    ledger.want(organization_id, 6, 0).await;
    ledger.fail(4).await;
    ledger.pass(10_000).await;
    let taken = ledger.claim(1).await;
    let lost = "update runtime.effect_queues
                set failures = 5, failing_since = now() - interval '61 minutes', next_at = now(), held_until = null";
    ledger.system.sql(lost).await;

    assert_eq!(ledger.report(&taken, None, Sign::None).await.lost, [], "nobody was asked");
    ledger.system.sql("update runtime.effect_queues set is_closed = true, next_at = now()").await;
    let ended = ledger.claim(1).await;
    assert_eq!(ended.len(), 1);
    assert_eq!(ledger.report(&ended, None, FAILURE).await.lost, [], "it is closed already");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_spell_is_no_failure_in_a_row() {
    let ledger = Ledger::new(Limits::NONE).await;
    let organization_id = ledger.system.organization_in(1).await;
    ledger.want(organization_id, 6, 0).await;
    ledger.fail(5).await;
    ledger.pass(10_000).await;
    let taken = ledger.claim(1).await;
    let quiet = "update runtime.effect_queues
                 set failed_at = now() - interval '37 hours', failing_since = now() - interval '4 days'";
    ledger.system.sql(quiet).await;

    let reported = ledger.report(&taken, None, FAILURE).await;

    assert_eq!(reported.lost, []);
    assert_eq!(ledger.system.count("select failures::bigint from runtime.effect_queues").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_organization_sees_the_queues_of_another() {
    let ledger = Ledger::new(Limits::NONE).await;
    let (own, foreign) = (ledger.system.organization_in(1).await, ledger.system.organization_in(1).await);
    ledger.want(own, 1, 0).await;
    ledger.want(foreign, 2, 0).await;

    let mut tx = ledger.system.owner.begin().await.unwrap();
    let set = format!("set local role carelog_app; set local carelog.organization_id to '{}'", own.uuid());
    sqlx::raw_sql(sqlx::AssertSqlSafe(set)).execute(&mut *tx).await.unwrap();
    let seen: Vec<uuid::Uuid> = sqlx::query_scalar("select organization_id from runtime.effect_queues")
        .fetch_all(&mut *tx)
        .await
        .unwrap();

    assert_eq!(seen, [own.uuid()]);
}
