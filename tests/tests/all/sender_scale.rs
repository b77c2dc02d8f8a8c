//! A thousand receivers: they come back together, and one event is for all of them.

use std::collections::{HashMap, HashSet};

use carelog_event_log::effects::{self, Effect, Limits, Report, Reported, Sign, Taker};
use carelog_event_log::{Clock, SystemClock, new_id};
use carelog_tests::{Product, TestSystem, start_appointment, until};
use futures::stream::{self, StreamExt};
use uuid::Uuid;

const RECEIVERS: usize = 1_000;
const WAITING: usize = 3;
const LIMITS: Limits = Limits { per_tick: 50, held_per_step: 10, held_per_organization: 32 };
const ROOM: usize = 256;

/// A thousand queues of organizations of their own that have failed three times, with retries that are due.
const ALL_HAVE_FAILED: &str = "
    insert into runtime.effect_queues (reactor, organization_id, step, failures, failing_since, next_at)
    select 'load', gen_random_uuid(), gen_random_uuid(), 3, now() - interval '1 hour', now() - interval '1 s'
    from generate_series(1, 1000);
    insert into runtime.effects (organization_id, source_event_id, step, reactor, lane, position, begun_at, next_at)
    select organization_id, gen_random_uuid(), step, reactor, 1, 1, now() - interval '1 hour', now() - interval '1 s'
    from runtime.effect_queues, generate_series(1, 3)";

async fn claim(system: &TestSystem) -> Vec<Effect> {
    let taker =
        Taker { reactor: "load", owner: new_id(), now: SystemClock.now(), room: ROOM, limits: LIMITS };
    effects::claim(&mut system.node.system.acquire().await.unwrap(), taker).await.unwrap()
}

async fn succeed(system: &TestSystem, taken: &[Effect]) {
    let reports: Vec<_> =
        taken.iter().map(|effect| Report { effect: *effect, next_at: None, sign: Sign::Success }).collect();
    let connection = &mut *system.node.system.acquire().await.unwrap();
    let hour = std::time::Duration::from_hours(1);
    let done = effects::report(connection, "load", SystemClock.now(), hour, &reports).await.unwrap();
    assert_eq!(done, Reported::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn t50_receivers_that_come_back_together_are_probed_one_each_and_never_beyond_the_room() {
    let system = TestSystem::new().await;
    system.sql(ALL_HAVE_FAILED).await;
    let mut recovered = HashSet::<Uuid>::new();
    let mut sent = HashMap::<Uuid, usize>::new();

    while sent.values().sum::<usize>() < RECEIVERS * WAITING {
        let taken = claim(&system).await;
        assert!(!taken.is_empty(), "somebody waits and nobody is asked: {} of them", sent.len());
        assert!(taken.len() <= ROOM);
        let mut together = HashMap::<Uuid, usize>::new();
        for effect in &taken {
            *together.entry(effect.step).or_default() += 1;
        }
        for (step, count) in together {
            assert!(recovered.contains(&step) || count == 1, "{count} at once to one that has failed");
            recovered.insert(step);
            *sent.entry(step).or_default() += count;
        }
        succeed(&system, &taken).await;
    }

    assert!(sent.len() == RECEIVERS && sent.values().all(|count| *count == WAITING), "each once");
    assert_eq!(claim(&system).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn t51_one_event_reaches_a_thousand_subscriptions_once_each() {
    let product = Product::start().await;
    let organization_id = product.clinic().await.0;
    let partners: Vec<_> = stream::iter(0..RECEIVERS)
        .map(|_| product.subscribe(organization_id, &["appointment.booked"]))
        .buffer_unordered(64)
        .collect()
        .await;

    start_appointment(product.log(), organization_id).await;

    until("every subscription has it", async || {
        partners.iter().all(|partner| partner.hook.counts().verified >= 1).then_some(())
    })
    .await;
    product.settled().await;
    for partner in &partners {
        let counts = partner.hook.counts();
        assert_eq!((counts.received, counts.verified, counts.duplicates), (1, 1, 0));
    }
    let rows = "select count(*) from webhooks.webhook_events where state = 'delivered' and attempt_count = 1";
    assert_eq!(product.count(rows).await, i64::try_from(RECEIVERS).unwrap());
    product.is_sound().await;
    product.stop().await;
}
