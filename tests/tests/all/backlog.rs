//! A hundred thousand deliveries that wait for one receiver, and ten for others.

use std::collections::HashMap;
use std::time::Duration;

use carelog_domain::OrganizationId;
use carelog_embedded::receiver::{Behaviour, Fault};
use carelog_event_log::effects::{Limits, Sign};
use carelog_event_log::new_id;
use carelog_tests::{Partner, Product, at, start_appointment, until};
use sqlx::Connection;
use uuid::Uuid;

use crate::queues::{Ledger, within};
use crate::replays::happen;

const FEW: i64 = 1_000;
const MANY: i64 = 100_000;
const TEN: usize = 10;
const SHARE: usize = 10;
const ROOM: usize = 256;
const LIMITS: Limits = within(50, 10, 32);

/// The server plans for the values at hand or for any, whichever it takes for cheaper.
const PLANS: [&str; 2] = ["set plan_cache_mode to auto", "set plan_cache_mode to force_generic_plan"];

/// What the server knows of the table: nothing, what a look at it tells, that it is empty, as a look tells while what
/// fills it is not committed, and what a look tells that met one queue alone.
const STATISTICS: [&str; 4] = [
    "",
    "analyze runtime.effects, runtime.effect_queues",
    "update pg_class set reltuples = 0 where oid = 'runtime.effects'::regclass",
    "alter table runtime.effects alter organization_id set (n_distinct = 1), alter step set (n_distinct = 1);
     analyze runtime.effects",
];

/// How the many wait.
#[derive(Clone, Copy, Debug)]
enum Waiting {
    /// Nobody has tried them.
    Untried,
    /// Each was tried and waits for its retry, of which five are due.
    Tried,
}

const DUE_RETRIES: usize = 5;

/// A ledger in which so many effects of one queue wait, and ten of each of two others: of the same organization, and of
/// another one.
struct Crowd {
    ledger: Ledger,
    crowded: (OrganizationId, Uuid),
}

impl Crowd {
    async fn of(count: i64, waiting: Waiting) -> Self {
        let ledger = Ledger::new(LIMITS).await;
        let organization_id = ledger.system.organization_in(1).await;
        let elsewhere = ledger.system.organization_in(1).await;
        ledger.want(organization_id, 1, 0).await;
        if matches!(waiting, Waiting::Tried) {
            let taken = ledger.claim(1).await;
            ledger.report(&taken, Some(at("2999-01-01T00:00:00Z")), Sign::None).await;
        }
        let crowd = Self { crowded: (organization_id, crowd_step(&ledger).await), ledger };
        crowd.multiply(count).await;
        if matches!(waiting, Waiting::Tried) {
            crowd
                .sql(&format!(
                    "update runtime.effects set next_at = now() - interval '1 s'
                     where ctid in (select ctid from runtime.effects order by ctid desc limit {DUE_RETRIES})"
                ))
                .await;
        }
        let beside = new_id();
        crowd.ledger.want(organization_id, TEN, 0).await;
        crowd
            .sql(&format!(
                "update runtime.effects set step = '{beside}' where position > 1;
                 select runtime.set_effect_queue('toy', '{}', '{beside}', null, null)",
                organization_id.uuid()
            ))
            .await;
        crowd.ledger.want(elsewhere, TEN, 0).await;
        crowd.sql("update runtime.effect_queues set next_at = now() - interval '1 s'").await;
        crowd
    }

    async fn sql(&self, statements: &str) {
        self.ledger.system.sql(statements).await;
    }

    /// More of the one that is there, which the product made: they differ in the event that they follow from.
    async fn multiply(&self, count: i64) {
        self.sql(&format!(
            "insert into runtime.effects (organization_id, source_event_id, step, reactor, lane, position, token, owner,
                                          claimed_at, begun_at, next_at, created_at)
             select organization_id, gen_random_uuid(), step, reactor, lane, position, token, owner, claimed_at,
                    begun_at, next_at, created_at
             from runtime.effects, generate_series(2, {count})"
        ))
        .await;
        let kinds = "select count(distinct to_jsonb(e) - 'source_event_id') from runtime.effects e";
        assert_eq!(self.ledger.system.count(kinds).await, 1, "all are as the one that the product made");
        assert_eq!(self.ledger.system.count("select count(*) from runtime.effects").await, count);
    }

    /// Pages that a claim touches on a connection that has claimed so often that the server may have settled on a plan
    /// for any values. What it takes it gives back.
    async fn pages_of_a_claim(&self, plans: &'static str) -> i64 {
        let mut connection = self.ledger.system.owner.acquire().await.unwrap();
        sqlx::query(plans).execute(&mut *connection).await.unwrap();
        let claim = "explain (analyze, buffers, costs off, timing off)
                     select * from runtime.claim_effects(
                         'toy', gen_random_uuid(), now(), interval '30 s', 256, row(50, 10, 32)::runtime.effect_limits)";
        let mut plan = Vec::new();
        for _ in 0..8 {
            let mut tx = connection.begin().await.unwrap();
            plan = sqlx::query_scalar::<_, String>(claim).fetch_all(&mut *tx).await.unwrap();
            tx.rollback().await.unwrap();
        }
        let buffers = plan.iter().find_map(|line| line.trim().strip_prefix("Buffers: shared ")).unwrap();
        let touched = buffers.split(' ').filter_map(|word| word.split_once('='));
        touched
            .filter(|(kind, _)| ["hit", "read"].contains(kind))
            .map(|(_, count)| count.parse::<i64>().unwrap())
            .sum()
    }

    /// How many a claim takes of each queue.
    async fn taken(&self) -> HashMap<(OrganizationId, Uuid), usize> {
        let mut taken = HashMap::new();
        for effect in self.ledger.claim(ROOM).await {
            *taken.entry((effect.organization_id, effect.step)).or_default() += 1;
        }
        taken
    }
}

async fn crowd_step(ledger: &Ledger) -> Uuid {
    sqlx::query_scalar("select step from runtime.effects").fetch_one(&ledger.system.owner).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn t49_a_claim_reads_as_much_beside_a_hundred_thousand_as_beside_a_thousand() {
    for (waiting, of_the_crowd) in [(Waiting::Untried, SHARE), (Waiting::Tried, DUE_RETRIES)] {
        let mut pages = Vec::new();
        for count in [FEW, MANY] {
            let crowd = Crowd::of(count, waiting).await;
            let mut of_the_plans = Vec::new();
            for statistics in STATISTICS {
                crowd.sql(statistics).await;
                for plans in PLANS {
                    of_the_plans.push(crowd.pages_of_a_claim(plans).await);
                }
            }
            pages.push(of_the_plans);

            let mut taken = crowd.taken().await;

            assert_eq!(taken.remove(&crowd.crowded), Some(of_the_crowd), "{count} {waiting:?}");
            assert_eq!(taken.into_values().collect::<Vec<_>>(), [TEN, TEN], "{count} {waiting:?}");
        }
        println!("{waiting:?}: {:?} pages beside {FEW}, {:?} beside {MANY}", pages[0], pages[1]);
        // Indexes are a page deeper; what is read of each effect that waits would be a hundred times as much.
        let is_the_same = pages[0].iter().zip(&pages[1]).all(|(few, many)| *many <= 2 * few);
        assert!(is_the_same, "{waiting:?}: {pages:?}");
    }
}

/// Appointments that are booked, each an event for others, and none for whom a hundred thousand wait.
async fn book(product: &Product, partners: [&Partner; 2]) {
    let before = partners.map(|partner| partner.hook.counts().verified);
    for partner in partners {
        for _ in 0..TEN {
            start_appointment(product.log(), partner.organization_id).await;
        }
    }
    until("the others have their ten", async || {
        let ten = |(partner, before): (&Partner, u64)| partner.hook.counts().verified >= before + TEN as u64;
        partners.into_iter().zip(before).all(ten).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t49_a_hundred_thousand_waiting_deliveries_take_nothing_from_the_ten_of_others() {
    let product = Product::start().await;
    let organization_id = product.clinic().await.0;
    let dead = product.subscribe(organization_id, &["appointment.rescheduled"]).await;
    dead.hook.set_behaviour(Behaviour::Fault(Fault::Never));
    happen(&product, organization_id, u32::try_from(MANY + MANY / 500).unwrap()).await;
    let rows = format!(
        "select count(*) from webhooks.webhook_events where subscription_id = '{}' and state = 'pending'",
        dead.subscription_id
    );
    let mut waiting = 0;
    while waiting < MANY {
        waiting = until("deliveries come to wait", async || {
            Some(product.count(&rows).await).filter(|now| *now > waiting)
        })
        .await;
    }
    let queue = format!("from runtime.effect_queues where step = '{}'", dead.subscription_id);
    until("the receiver has failed three times in a row", async || {
        (product.count(&format!("select failures::bigint {queue}")).await >= 3).then_some(())
    })
    .await;
    let elsewhere = product.clinic().await.0;
    let others = [
        &product.subscribe(organization_id, &["appointment.booked"]).await,
        &product.subscribe(elsewhere, &["*"]).await,
    ];

    let asked = dead.hook.counts().received;
    book(&product, others).await;
    let meanwhile = dead.hook.counts().received - asked;
    assert!(meanwhile <= 2, "{meanwhile} attempts while the dead one is tried one at a time, with pauses");

    // It comes back, slow: what waits is sent as fast as its share of the workers allows.
    let share = u64::from(product.config.webhooks.in_flight_per_subscription.get());
    dead.hook.set_behaviour(Behaviour::Delay(Duration::from_secs(5)));
    product.look_for_due_effects().await;
    let held = format!(
        "select count(*) from runtime.effects where step = '{}' and owner is not null",
        dead.subscription_id
    );
    until("the slow one is sent as many as it may", async || {
        (product.count(&held).await == i64::try_from(share).unwrap()).then_some(())
    })
    .await;
    let asked = dead.hook.counts().received;
    book(&product, others).await;
    let meanwhile = dead.hook.counts().received - asked;
    assert!(meanwhile <= 3 * share, "{meanwhile} attempts at the slow one while the others got their ten");

    for other in others {
        let counts = other.hook.counts();
        assert_eq!((counts.verified, counts.duplicates), (2 * TEN as u64, 0));
    }
    let left = product.count(&rows).await;
    assert!(left > MANY / 2, "{left} still wait");
    product.stop().await;
}
