//! Workers as real processes that are killed, stopped, asked to end, or have no database to write to.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use carelog_domain::OrganizationId;
use carelog_domain::webhook_subscription::{SubscriptionChange, WebhookSubscriptionCommand};
use carelog_embedded::receiver::Behaviour;
use carelog_event_log::SystemClock;
use carelog_event_log::effects::LEASE;
use carelog_server::serve::Roles;
use carelog_tests::{Partner, Product, ServerProcess, start_appointment, until};
use rustix::process::Signal;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::webhooks::{attempts, become_deliveries, deliveries, received, webhook_ids};

/// What runs as a process of its own.
pub(crate) const PROCESS: &str = "worker_processes::process";
pub(crate) const FEW: NonZeroU16 = NonZeroU16::new(32).unwrap();

/// A process's whole life; without a description of work in the environment it has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn process() {
    carelog_tests::serve_as_process().await;
}

/// A product without workers, a clinic, and a partner of it.
pub(crate) async fn without_workers() -> (Product, OrganizationId, Partner) {
    let roles = Roles { workers: false, ..Roles::ALL };
    let product = Product::start_as(roles, true, Arc::new(SystemClock)).await;
    let organization_id = product.clinic().await.0;
    let partner = product.subscribe(organization_id, &["*"]).await;
    (product, organization_id, partner)
}

pub(crate) async fn worker(product: &Product) -> ServerProcess {
    product.process(PROCESS, "workers", FEW, &[]).await
}

/// A receiver that takes its time, so that there is a moment between the request and its outcome.
fn ponder(partner: &Partner) {
    partner.hook.set_behaviour(Behaviour::Delay(Duration::from_mins(1)));
}

async fn is_taken(product: &Product) {
    until("a worker takes the delivery", async || {
        (product.count("select count(*) from runtime.effects where owner is not null").await == 1)
            .then_some(())
    })
    .await;
}

async fn lead_to(product: &Product, partner: &Partner, url: String) {
    let change = SubscriptionChange { url: Some(url), description: None, headers: None };
    let command =
        WebhookSubscriptionCommand::Change { filter: None, per_tick_limit: None, change: Some(change) };
    product.tell(partner, command).await;
}

/// A port that takes no further connection: whoever connects waits.
async fn full_port() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let mut waiting = Vec::new();
    while let Ok(connected) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(listener.local_addr().unwrap()))
            .await
    {
        waiting.push(connected.unwrap());
    }
    (listener, waiting)
}

#[tokio::test(flavor = "multi_thread")]
async fn t26_killed_between_claim_and_request_it_is_sent_under_the_same_id() {
    let (product, organization_id, partner) = without_workers().await;
    let (listener, _waiting) = full_port().await;
    let port = listener.local_addr().unwrap().port();
    lead_to(&product, &partner, format!("https://localhost:{port}/nowhere")).await;
    let first = worker(&product).await;
    start_appointment(product.log(), organization_id).await;
    is_taken(&product).await;

    let owner = first.owner;
    first.kill();
    lead_to(&product, &partner, product.receiver.url(partner.hook.name())).await;
    product.leases_end(owner).await;
    let second = worker(&product).await;

    become_deliveries(&product, &partner, &["appointment.booked delivered 2"]).await;
    assert_eq!(attempts(&product, &partner).await, ["1 unknown", "2 success 204"]);
    let expected = product.texts("select delivery_id::text from webhooks.webhook_events").await;
    assert_eq!(webhook_ids(&partner), expected);
    assert!(second.end().await.success());
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t27_killed_between_request_and_record_the_attempt_is_unknown_and_counts() {
    let (product, organization_id, partner) = without_workers().await;
    ponder(&partner);
    let first = worker(&product).await;
    start_appointment(product.log(), organization_id).await;
    received(&partner, 1).await;

    let owner = first.owner;
    first.kill();
    partner.hook.set_behaviour(Behaviour::Ok);
    product.leases_end(owner).await;
    let second = worker(&product).await;

    become_deliveries(&product, &partner, &["appointment.booked delivered 2"]).await;
    assert_eq!(attempts(&product, &partner).await, ["1 unknown", "2 success 204"]);
    let ids = webhook_ids(&partner);
    assert_eq!((ids.len(), &ids[0]), (2, &ids[1]));
    assert!(second.end().await.success());
    product.is_sound().await;
    product.stop().await;
}

/// The outcome is on its way into the log when the worker dies; whether it gets there is PostgreSQL's to say.
async fn killed_while_recording(commits: bool) -> Vec<String> {
    let (product, organization_id, partner) = without_workers().await;
    partner.hook.set_behaviour(Behaviour::Delay(Duration::from_millis(500)));
    let first = worker(&product).await;
    start_appointment(product.log(), organization_id).await;
    received(&partner, 1).await;
    let mut rival = product.databases().core_owner.begin().await.unwrap();
    sqlx::query(
        "select pg_advisory_xact_lock(hashtext('carelog.lane'), position_lane.lane)
                 from log.lane_heads position_lane",
    )
    .execute(&mut *rival)
    .await
    .unwrap();
    let waits = "select pid from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock' and wait_event = 'advisory'";
    let pid = until("the outcome waits for its lane", async || {
        product.texts(&format!("select pid::text from ({waits}) w")).await.pop()
    })
    .await;

    let owner = first.owner;
    first.kill();
    if !commits {
        product.sql(&format!("select pg_terminate_backend({pid}, 5000)")).await;
    }
    rival.commit().await.unwrap();
    partner.hook.set_behaviour(Behaviour::Ok);
    until("the session of the dead ends", async || {
        let left = format!("select count(*) from pg_stat_activity where pid = {pid} and state <> 'idle'");
        (product.count(&left).await == 0).then_some(())
    })
    .await;
    product.leases_end(owner).await;
    let second = worker(&product).await;
    product.settled().await;

    let attempts = attempts(&product, &partner).await;
    assert_eq!(attempts.len() as u64, partner.hook.counts().received, "every request is an attempt");
    assert!(second.end().await.success());
    product.is_sound().await;
    product.stop().await;
    attempts
}

#[tokio::test(flavor = "multi_thread")]
async fn t28_killed_while_recording_what_was_committed_stands_and_what_was_not_is_unknown() {
    assert_eq!(Box::pin(killed_while_recording(true)).await, ["1 success 204"]);
    assert_eq!(Box::pin(killed_while_recording(false)).await, ["1 unknown", "2 success 204"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn t29_a_delivery_that_kills_its_worker_each_time_ends_after_five() {
    let (product, organization_id, partner) = without_workers().await;
    ponder(&partner);
    start_appointment(product.log(), organization_id).await;
    for killed in 1..=5 {
        let worker = worker(&product).await;
        received(&partner, killed).await;
        let owner = worker.owner;
        worker.kill();
        product.leases_end(owner).await;
    }

    let last = worker(&product).await;
    become_deliveries(&product, &partner, &["appointment.booked failed exhausted 5"]).await;
    product.settled().await;
    assert_eq!(
        attempts(&product, &partner).await,
        ["1 unknown", "2 unknown", "3 unknown", "4 unknown", "5 unknown"]
    );
    assert_eq!(partner.hook.counts().received, 5);
    assert!(last.end().await.success());
    product.is_sound().await;
    product.stop().await;
}

/// Ten thousand with `CARELOG_TEST_WORKER_ROWS=10000`.
#[tokio::test(flavor = "multi_thread")]
async fn t30_eight_workers_send_each_delivery_once() {
    let rows: u64 = std::env::var("CARELOG_TEST_WORKER_ROWS").map_or(800, |rows| rows.parse().unwrap());
    let (product, organization_id, partner) = without_workers().await;
    partner.hook.set_behaviour(Behaviour::Delay(Duration::from_millis(100)));
    let mut workers = Vec::new();
    for _ in 0..8 {
        workers.push(worker(&product).await);
    }
    let log = product.log();
    futures::future::join_all((0..rows).map(|_| start_appointment(log, organization_id))).await;

    let at_work = "select distinct owner::text from runtime.effects where owner is not null";
    let mut seen = BTreeSet::new();
    until("most of them are at work", async || {
        seen.extend(product.texts(at_work).await);
        (seen.len() > 4).then_some(())
    })
    .await;
    product.settled().await;
    let counts = partner.hook.counts();
    assert_eq!((counts.received, counts.verified, counts.duplicates), (rows, rows, 0));
    for worker in workers {
        assert!(worker.end().await.success());
    }
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t31_a_worker_stopped_beyond_its_lease_writes_nothing_when_it_goes_on() {
    let (product, organization_id, partner) = without_workers().await;
    partner.hook.set_behaviour(Behaviour::Delay(Duration::from_millis(700)));
    let first = worker(&product).await;
    start_appointment(product.log(), organization_id).await;
    received(&partner, 1).await;

    first.signal(Signal::STOP);
    product.leases_end(first.owner).await;
    let second = worker(&product).await;
    become_deliveries(&product, &partner, &["appointment.booked delivered 2"]).await;
    product.settled().await;
    let version = "select max(version) from log.events where stream_kind = 'webhook_delivery'";
    let before = product.count(version).await;
    first.signal(Signal::CONT);

    // It has the answer, or gets it now, and ends only once it has tried to record it.
    assert!(first.end().await.success());
    assert_eq!(product.count(version).await, before);
    assert_eq!(attempts(&product, &partner).await, ["1 unknown", "2 success 204"]);
    assert!(second.end().await.success());
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t32_asked_to_end_it_finishes_what_is_under_way_and_gives_back_the_rest() {
    const DELIVERIES: u64 = 300;
    let (product, organization_id, partner) = without_workers().await;
    partner.hook.set_behaviour(Behaviour::Delay(Duration::from_secs(2)));
    let log = product.log();
    futures::future::join_all((0..DELIVERIES).map(|_| start_appointment(log, organization_id))).await;
    let first = product.process(PROCESS, "workers", NonZeroU16::MAX, &[]).await;
    let held = "select count(*) from runtime.effects where owner is not null";
    until("more is held than can be under way", async || {
        (product.count(held).await > 256 && partner.hook.counts().received >= 200).then_some(())
    })
    .await;

    assert!(first.end().await.success());
    let under_way = partner.hook.counts().received;
    assert!(under_way < DELIVERIES, "some were not begun: {under_way}");
    assert_eq!(product.count(held).await, 0, "nothing waits for the end of a lease");
    partner.hook.set_behaviour(Behaviour::Ok);
    let second = worker(&product).await;

    product.settled().await;
    until("the rest is sent", async || (partner.hook.counts().received == DELIVERIES).then_some(())).await;
    product.settled().await;
    assert_eq!(partner.hook.counts().duplicates, 0);
    assert!(attempts(&product, &partner).await.iter().all(|attempt| attempt == "1 success 204"));
    assert!(second.end().await.success());
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t34_nothing_is_sent_that_cannot_be_recorded() {
    let (product, organization_id, partner) = without_workers().await;
    start_appointment(product.log(), organization_id).await;
    become_deliveries(&product, &partner, &["appointment.booked pending 0"]).await;
    let database = product.texts("select current_database()::text").await.remove(0);
    product.sql(&format!("alter database {database} set default_transaction_read_only to on")).await;

    let idle = worker(&product).await;
    let refused = "select count(*) from pg_stat_activity
                   where datname = current_database() and pid <> pg_backend_pid() and query like '%claim_effects%'";
    until("the worker asks for deliveries", async || (product.count(refused).await > 0).then_some(())).await;
    assert!(idle.end().await.success());
    assert_eq!(partner.hook.counts().received, 0);

    product.sql(&format!("alter database {database} reset default_transaction_read_only")).await;
    let worker = worker(&product).await;
    become_deliveries(&product, &partner, &["appointment.booked delivered 1"]).await;
    assert_eq!(partner.hook.counts().received, 1);
    assert!(worker.end().await.success());
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t36_an_event_that_no_projector_saw_before_its_process_was_killed_is_delivered_after_a_restart() {
    let roles = Roles { api: true, projectors: false, workers: false, signer: false };
    let product = Product::start_as(roles, true, Arc::new(SystemClock)).await;
    let organization_id = product.clinic().await.0;
    let partner = product.subscribe(organization_id, &["*"]).await;
    let first = product.process(PROCESS, "projectors,workers", FEW, &[]).await;
    until("the subscription is known", async || {
        (product.count("select count(*) from webhooks.webhook_subscriptions").await == 1).then_some(())
    })
    .await;
    first.signal(Signal::STOP);
    start_appointment(product.log(), organization_id).await;
    let owner = first.owner;
    first.kill();
    assert_eq!(deliveries(&product, &partner).await, Vec::<String>::new());

    product.leases_end(owner).await;
    let second = product.process(PROCESS, "projectors,workers", FEW, &[]).await;
    become_deliveries(&product, &partner, &["appointment.booked delivered 1"]).await;
    assert!(second.end().await.success());
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t25_a_proxy_in_the_environment_is_not_asked() {
    let (product, organization_id, partner) = without_workers().await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let names = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];
    let environment = names.map(|name| (name, url.as_str()));
    let worker = product.process(PROCESS, "workers", FEW, &environment).await;
    start_appointment(product.log(), organization_id).await;

    become_deliveries(&product, &partner, &["appointment.booked delivered 1"]).await;
    assert!(worker.end().await.success());
    let asked = tokio::time::timeout(Duration::ZERO, proxy.accept()).await;
    assert!(asked.is_err(), "somebody connected to the proxy");
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_has_read_for_half_its_lease_sends_nothing_and_gives_it_back() {
    let (product, organization_id, partner) = without_workers().await;
    let worker = worker(&product).await;
    let mut lock = product.databases().core_owner.begin().await.unwrap();
    sqlx::query("lock table webhooks.webhook_subscription_parts in access exclusive mode")
        .execute(&mut *lock)
        .await
        .unwrap();
    start_appointment(product.log(), organization_id).await;
    let waits = "select count(*) from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock'
                     and query like '%webhook_subscription_parts%' and query not like '%delete%'";
    let held = "select count(*) from runtime.effects where reactor = 'webhooks' and owner is not null";
    until("the worker holds the delivery and reads the subscription", async || {
        (product.count(held).await == 1 && product.count(waits).await == 1).then_some(())
    })
    .await;

    worker.signal(Signal::STOP);
    lock.rollback().await.unwrap();
    // What the lease is measured with is the machine's own clock, which no test can move.
    tokio::time::sleep(LEASE / 2 + Duration::from_millis(100)).await;
    worker.signal(Signal::CONT);

    become_deliveries(&product, &partner, &["appointment.booked delivered 1"]).await;
    assert_eq!(attempts(&product, &partner).await, ["1 success 204"]);
    let token = product.count("select max(token) from runtime.effects where reactor = 'webhooks'").await;
    assert_eq!(token, 3, "it was taken twice");
    assert!(worker.end().await.success());
    product.stop().await;
}
