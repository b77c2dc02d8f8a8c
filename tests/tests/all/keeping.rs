//! How long deliveries are kept. Nobody waits for that: the day's work is done for a day of the test's choice.

use carelog_domain::legal_hold::LegalHoldReason;
use carelog_domain::patient::{Patient, PatientEvent, PatientLegalHoldPlaced};
use carelog_domain::webhook_delivery::{WebhookDelivery, WebhookDeliveryCommand};
use carelog_domain::webhook_subscription::WebhookSubscriptionCommand;
use carelog_domain::{DeliveryId, LegalHoldId, Timestamp};
use carelog_embedded::receiver::Behaviour;
use carelog_event_log::runtime::RebuildScope;
use carelog_event_log::{Clock, SystemClock, new_id};
use carelog_tests::{Partner, Product, run, scope, start_appointment, until};
use carelog_webhooks::keeping::{self, Swept};
use carelog_webhooks::queries;
use reqwest::Method;
use serde_json::json;
use sqlx::{Connection, Executor};
use tokio::task::JoinSet;

const DAY_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

fn in_days(days: i64) -> Timestamp {
    SystemClock.now().saturating_add_micros(days * DAY_MICROS)
}

/// Does the day's work of a day to come. The process has done today's, or is about to.
async fn sweep(product: &Product, days: i64) -> Swept {
    let databases = product.databases();
    until("nobody else is at it", async || {
        keeping::run_once(&databases.core_owner, &databases.core_system, in_days(days)).await.unwrap()
    })
    .await
}

async fn states(product: &Product) -> Vec<String> {
    product.texts("select state from webhooks.webhook_events order by source_sequence").await
}

/// A rebuild ends with the rows that are there, of everything and of one clinic, and sends nothing.
async fn is_what_a_rebuild_makes(product: &Product, partner: &Partner) {
    let (before, received) = (product.contents().await, partner.hook.counts().received);
    for scope in [RebuildScope::Organization(partner.organization_id), RebuildScope::Everything] {
        product.rebuild(scope).await;
        let after = product.contents().await;
        for (table, rows) in &before {
            assert_eq!(after.get(table), Some(rows), "{table} after {scope:?}");
        }
    }
    product.settled().await;
    assert_eq!(partner.hook.counts().received, received);
    product.is_sound().await;
}

/// One delivered, one failed, one that waits for its next attempt.
async fn one_of_each() -> (Product, Partner, String) {
    let product = Box::pin(Product::start()).await;
    let (organization_id, key) = Box::pin(product.clinic()).await;
    let partner = product.subscribe(organization_id, &["*"]).await;
    for (behaviour, count) in [(Behaviour::Ok, 1), (Behaviour::Status(415), 2), (Behaviour::Status(503), 3)] {
        partner.hook.set_behaviour(behaviour);
        start_appointment(product.log(), organization_id).await;
        until("it was tried", async || {
            let tried = product.count("select count(*) from webhooks.webhook_attempts").await;
            (tried == count).then_some(())
        })
        .await;
    }
    product.settled().await;
    assert_eq!(states(&product).await, ["delivered", "failed", "pending"]);
    (product, partner, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_go_when_their_time_is_over_and_a_rebuild_brings_none_back() {
    let (product, partner, key) = one_of_each().await;
    let id = "select delivery_id::text from webhooks.webhook_events where state = 'delivered'";
    let delivered = product.texts(id).await.remove(0);

    for (days, removed, left) in [
        (29, 0, &["delivered", "failed", "pending"][..]),
        (32, 1, &["failed", "pending"]),
        (89, 0, &["failed", "pending"]),
        (92, 1, &["pending"]),
        (130, 0, &["pending"]),
    ] {
        let swept = sweep(&product, days).await;
        assert_eq!((swept.deliveries, swept.partitions), (removed, 0), "day {days}");
        assert_eq!(states(&product).await, left, "day {days}");
        let orphans = "select count(*) from webhooks.webhook_attempts a
                       where not exists (select from webhooks.webhook_events e where e.delivery_id = a.delivery_id)";
        assert_eq!(product.count(orphans).await, 0);
        is_what_a_rebuild_makes(&product, &partner).await;
    }
    assert_eq!(product.count("select count(*) from webhooks.webhook_subscriptions").await, 1);
    // What is gone is not found, and cannot be sent again.
    let address = product.server.address.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let again = client.post(format!("http://{address}/v1/webhook-deliveries/{delivered}/redeliver"));
    let again = again.bearer_auth(key).json(&serde_json::json!({})).send().await.unwrap();
    assert_eq!(again.status(), 404);

    // What waits keeps its partition until it is done.
    partner.hook.set_behaviour(Behaviour::Ok);
    product.pull_retries().await;
    until("it arrives", async || (states(&product).await == ["delivered"]).then_some(())).await;
    product.settled().await;
    let swept = sweep(&product, 131).await;
    assert_eq!(swept.deliveries, 1);
    assert!(swept.partitions >= 3, "{swept:?}");
    is_what_a_rebuild_makes(&product, &partner).await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_about_a_patient_under_a_legal_hold_stays_until_it_is_released() {
    let product = Box::pin(Product::start()).await;
    let (organization_id, key) = Box::pin(product.clinic()).await;
    let partner = product.subscribe(organization_id, &["*"]).await;
    let mut patients = Vec::new();
    for _ in 0..3 {
        let (_, registered) = product.call(&key, Method::POST, "/v1/patients", Some(&json!({}))).await;
        patients.push(registered["id"].as_str().unwrap().to_owned());
    }
    until("they arrive", async || (states(&product).await == ["delivered"; 3]).then_some(())).await;
    partner.hook.set_behaviour(Behaviour::Status(415));
    let [held, held_before, _] = &patients[..] else { panic!("{patients:?}") };
    let onboard = format!("/v1/patients/{held}/onboard");
    assert_eq!(product.call(&key, Method::POST, &onboard, Some(&json!({}))).await.0, 200);
    let all = ["delivered", "delivered", "delivered", "failed"];
    until("one fails", async || (states(&product).await == all).then_some(())).await;
    product.settled().await;
    let holds = format!("/v1/patients/{held}/legal-holds");
    let reason = json!({ "reason": "litigation" });
    let (_, placed) = product.call(&key, Method::POST, &holds, Some(&reason)).await;
    // As it was done before holds had a stream of their own.
    let earlier = LegalHoldId::new(new_id());
    let of_before = PatientLegalHoldPlaced { legal_hold_id: earlier, reason: LegalHoldReason::Complaint };
    let of_before = vec![PatientEvent::LegalHoldPlaced(of_before)];
    let id = held_before.parse().unwrap();
    product.log().append_decided::<Patient>(&scope(organization_id), id, 1, of_before).await.unwrap();
    product.settled().await;

    let kept = ["delivered", "delivered", "failed"];
    for (days, removed) in [(32, 1), (33, 0), (130, 0)] {
        assert_eq!(sweep(&product, days).await.deliveries, removed, "day {days}");
        assert_eq!(states(&product).await, kept, "day {days}");
        assert_eq!(product.count("select count(*) from webhooks.webhook_attempts").await, 3);
        is_what_a_rebuild_makes(&product, &partner).await;
    }

    let path = format!("{holds}/{}", placed["legal_hold_id"].as_str().unwrap());
    assert_eq!(product.call(&key, Method::DELETE, &path, None).await.0, 200);
    product.settled().await;
    assert_eq!(sweep(&product, 131).await.deliveries, 2);
    let path = format!("/v1/patients/{held_before}/legal-holds/{earlier}");
    assert_eq!(product.call(&key, Method::DELETE, &path, None).await.0, 200);
    product.settled().await;
    assert_eq!(sweep(&product, 132).await.deliveries, 1);
    assert_eq!(product.count("select count(*) from webhooks.webhook_attempts").await, 0);
    is_what_a_rebuild_makes(&product, &partner).await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_readers_nor_writers_wait_for_a_partition_to_go() {
    let (product, _, _) = one_of_each().await;
    product.sql("delete from webhooks.webhook_events; delete from webhooks.webhook_attempts").await;
    let databases = product.databases().clone();
    let mut reader = databases.core_owner.acquire().await.unwrap();
    let mut holder = reader.begin().await.unwrap();
    holder.execute("select count(*) from webhooks.webhook_events").await.unwrap();

    let mut sweeping = JoinSet::new();
    sweeping.spawn(async move {
        keeping::run_once(&databases.core_owner, &databases.core_system, in_days(130)).await.unwrap()
    });
    until("the job waits for the reader", async || {
        let waits = "select count(*) from pg_stat_activity
                     where wait_event_type = 'Lock' and query like '%detach partition%' and pid <> pg_backend_pid()";
        (product.count(waits).await == 1).then_some(())
    })
    .await;
    // Whoever comes now finds no lock in the way.
    let row = "set local lock_timeout to '100ms';
        insert into webhooks.webhook_events (organization_id, delivery_id, subscription_id, source_event_id,
            source_sequence, source_recorded_at, position, lane, source_type, state)
        select organization_id, public.carelog_id_at(now() + interval '150 days'), subscription_id, gen_random_uuid(),
               1000, now(), 1, 1, 'appointment.booked', 'pending'
        from webhooks.webhook_subscriptions;
        update webhooks.webhook_events set attempt_count = 1;
        select count(*) from webhooks.webhook_events;
        delete from webhooks.webhook_events";
    product.sql(&format!("begin; {row}; commit")).await;
    drop(holder.commit().await);

    let swept = sweeping.join_next().await.unwrap().unwrap().unwrap();
    assert!(swept.partitions >= 3, "{swept:?}");
    drop(reader);
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_removed_while_others_come_and_one_process_does_it() {
    let product = Product::start().await;
    let (organization_id, _) = product.clinic().await;
    let partner = product.subscribe(organization_id, &["*"]).await;
    start_appointment(product.log(), organization_id).await;
    until("it arrives", async || (states(&product).await == ["delivered"]).then_some(())).await;
    // Old ones, more than one batch, beside those that come; one of them arrived only now.
    product
        .sql(
            "select public.carelog_make_partitions('webhooks.webhook_events', now() - interval '60 days', now(), '');
             insert into webhooks.webhook_events (organization_id, delivery_id, subscription_id, source_event_id,
                 source_sequence, source_recorded_at, position, lane, source_type, state, finished_at)
             select organization_id,
                    (left(public.carelog_id_at(now() - interval '40 days')::text, 14) || substr(gen_random_uuid()::text, 15))::uuid,
                    subscription_id, gen_random_uuid(), 1000, now(), 1, 1, 'appointment.booked', 'delivered',
                    case when n > 0 then now() - interval '40 days' else now() end
             from webhooks.webhook_subscriptions, generate_series(0, 5000) n",
        )
        .await;
    let databases = product.databases();
    let marks = "update webhooks.webhook_retention
                 set swept_until = 'epoch', oldest = public.carelog_partition_start(now() - interval '60 days')";
    product.sql(marks).await;

    let run = || keeping::run_once(&databases.core_owner, &databases.core_system, SystemClock.now());
    let appending = async {
        for _ in 0..20 {
            start_appointment(product.log(), organization_id).await;
        }
    };
    let (one, two, ()) = tokio::join!(run(), run(), appending);

    let removed: Vec<i64> =
        [one.unwrap(), two.unwrap()].into_iter().flatten().map(|swept| swept.deliveries).collect();
    assert_eq!(removed.iter().sum::<i64>(), 5000, "{removed:?}");
    product.settled().await;
    assert_eq!(states(&product).await, ["delivered"; 22]);
    product.settled().await;
    assert_eq!(partner.hook.counts().received, 21);
    product.sql("delete from webhooks.webhook_events where source_sequence = 1000").await;
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_subscriptions_secrets_go_once_no_delivery_shows_it() {
    let (product, partner, _) = one_of_each().await;
    product.tell(&partner, WebhookSubscriptionCommand::Delete).await;
    until("what waited is ended", async || {
        (states(&product).await == ["delivered", "failed", "failed"]).then_some(())
    })
    .await;
    product.settled().await;

    for (days, parts) in [(29, 0), (32, 0), (92, 1)] {
        assert_eq!(sweep(&product, days).await.parts, parts, "day {days}");
        is_what_a_rebuild_makes(&product, &partner).await;
    }
    assert_eq!(product.count("select count(*) from webhooks.webhook_subscription_parts").await, 0);
    assert_eq!(product.count("select count(*) from webhooks.webhook_subscriptions").await, 1);
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_room_for_eight_weeks_and_what_lies_beyond_is_refused() {
    let product = Product::start().await;
    for table in ["webhooks.webhook_events", "webhooks.webhook_attempts", "kept.webhook_answers"] {
        let missing = format!(
            "select count(*)
             from generate_series(now(), now() + interval '8 weeks', interval '1 day') day
             where not exists (
                 select from pg_inherits i
                 join pg_class c on c.oid = i.inhrelid
                 where i.inhparent = '{table}'::regclass
                   and right(c.relname, 8) = to_char(public.carelog_partition_start(day) at time zone 'UTC', 'YYYYMMDD'))"
        );
        assert_eq!(product.count(&missing).await, 0, "{table}");
        let defaults = format!(
            "select count(*) from pg_partitioned_table where partrelid = '{table}'::regclass and partdefid <> 0"
        );
        assert_eq!(product.count(&defaults).await, 0, "{table}");
    }
    let beyond = "insert into kept.webhook_answers (organization_id, delivery_id)
                  values (gen_random_uuid(), public.carelog_id_at(now() + interval '200 days'))";
    let refused = product.databases().core_owner.execute(beyond).await.unwrap_err();
    assert_eq!(
        refused.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref(),
        Some("23514")
    );
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_meets_a_removed_delivery_sends_nothing() {
    let (product, partner, _) = one_of_each().await;
    let id = "select delivery_id::text from webhooks.webhook_events where state = 'delivered'";
    let delivery_id = DeliveryId::new(product.texts(id).await.remove(0).parse().unwrap());
    let mut connection = product.databases().core_owner.acquire().await.unwrap();
    let row =
        queries::delivery(&mut connection, partner.organization_id, delivery_id).await.unwrap().unwrap();
    sweep(&product, 32).await;
    let received = partner.hook.counts().received;

    let command =
        WebhookDeliveryCommand::RequestRedelivery { emission: row.emission().unwrap(), replay_id: None };
    let scope = scope(partner.organization_id);
    run::<WebhookDelivery>(product.log(), &scope, delivery_id.uuid(), command).await;
    start_appointment(product.log(), partner.organization_id).await;

    until("a later event is tried", async || (partner.hook.counts().received > received).then_some(())).await;
    product.settled().await;
    assert_eq!(partner.hook.counts().received, received + 1);
    assert_eq!(states(&product).await, ["failed", "pending", "pending"]);
    product.is_sound().await;
    product.stop().await;
}
