//! A database that gives statements up, refuses them or has no connection left, while the product works on it.

use std::time::Duration;

use carelog_domain::appointment::Appointment;
use carelog_event_log::{Executed, Expected, Scope, new_id};
use carelog_tests::{Product, book, scope, until};
use reqwest::Method;
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::webhooks::webhook_ids;

/// Commands of a test, eight at a time.
const COMMANDS: usize = 240;
const CLIENTS: usize = 8;

/// Appends while something torments the database; gives the appointments that were acknowledged.
async fn append_under(product: &Product, organization_id: carelog_domain::OrganizationId) -> Vec<Uuid> {
    let clients = (0..CLIENTS).map(async |_| {
        let mut acknowledged = Vec::new();
        for _ in 0..COMMANDS / CLIENTS {
            let stream_id = new_id();
            let scope = Scope { expected: Expected::New, ..scope(organization_id) };
            let executed = product.log().execute::<Appointment>(&scope, stream_id, book()).await;
            if let Ok(Executed::Appended(_)) = executed {
                acknowledged.push(stream_id);
            }
        }
        acknowledged
    });
    futures::future::join_all(clients).await.concat()
}

/// Everything acknowledged is in the log, and everything in the log arrives, with one success each.
async fn nothing_is_lost_or_doubled(
    torment: impl AsyncFnOnce(&Product, &CancellationToken, &TaskTracker),
    relief: impl AsyncFnOnce(&Product),
) {
    let product = Product::start().await;
    let organization_id = product.clinic().await.0;
    let partner = product.subscribe(organization_id, &["appointment.booked"]).await;
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    torment(&product, &stop, &tasks).await;

    let acknowledged = append_under(&product, organization_id).await;

    stop.cancel();
    tasks.close();
    tasks.wait().await;
    relief(&product).await;
    assert!(!acknowledged.is_empty(), "the product goes on meanwhile");
    let booked = "select count(*) from log.events where event_type = 'appointment.booked'";
    let booked = product.count(booked).await;
    let stored = product.texts("select stream_id::text from log.events where version = 1").await;
    for id in &acknowledged {
        assert!(stored.contains(&id.to_string()), "{id} was acknowledged");
    }
    product.leases_end(product.server.system().runtime.owner).await;
    until("every delivery arrives", async || {
        product.pull_retries().await;
        let delivered = "select count(*) from webhooks.webhook_events where state = 'delivered'";
        (product.count(delivered).await == booked).then_some(())
    })
    .await;
    product.settled().await;
    let successes = "select count(*) from webhooks.webhook_attempts where outcome = 'success'";
    assert_eq!(product.count(successes).await, booked);
    let mut arrived = webhook_ids(&partner);
    arrived.sort_unstable();
    arrived.dedup();
    let expected =
        product.texts("select delivery_id::text from webhooks.webhook_events order by delivery_id").await;
    assert_eq!(arrived, expected);
    product.is_sound().await;
    product.stop().await;
}

/// One statement in so many is given up whenever somebody looks, as by its timeout (SQLSTATE 57014).
const GIVE_UP: &str = "
    select count(pg_cancel_backend(pid))
    from pg_stat_activity
    where datname = current_database() and application_name = 'carelog' and state = 'active'
          and query not like 'listen%' and random() < 0.3";

#[tokio::test(flavor = "multi_thread")]
async fn t33_statements_that_are_given_up_at_any_moment_lose_and_double_nothing() {
    let give_up = async |product: &Product, stop: &CancellationToken, tasks: &TaskTracker| {
        let options = product.databases().core_owner.connect_options();
        let options = (*options).clone().application_name("torment");
        let mut connection = PgConnection::connect_with(&options).await.unwrap();
        let stop = stop.clone();
        tasks.spawn(async move {
            let mut given_up = 0;
            while tokio::time::timeout(Duration::from_millis(3), stop.cancelled()).await.is_err() {
                given_up += sqlx::query_scalar::<_, i64>(GIVE_UP).fetch_one(&mut connection).await.unwrap();
            }
            assert!(given_up > 0, "statements were given up");
        });
    };
    nothing_is_lost_or_doubled(give_up, async |_| {}).await;
}

/// Where the product writes.
const WRITTEN: [&str; 5] = [
    "log.events",
    "webhooks.webhook_events",
    "webhooks.webhook_attempts",
    "runtime.effects",
    "runtime.checkpoints",
];

#[tokio::test(flavor = "multi_thread")]
async fn t33_statements_that_cannot_be_serialized_lose_and_double_nothing() {
    let refuse = async |product: &Product, _: &CancellationToken, _: &TaskTracker| {
        let function = "
            create sequence public.refused;
            grant usage on sequence public.refused to public;
            create function public.refuse() returns trigger language plpgsql as $$
            begin
                if random() < 0.1 then
                    perform nextval('public.refused');
                    raise exception using errcode = case when random() < 0.5 then '40001' else '40P01' end;
                end if;
                return new;
            end $$;";
        product.sql(function).await;
        for table in WRITTEN {
            let trigger = format!(
                "create trigger refuse before insert or update on {table}
                     for each row execute function public.refuse()"
            );
            product.sql(&trigger).await;
        }
    };
    let relent = async |product: &Product| {
        for table in WRITTEN {
            product.sql(&format!("drop trigger refuse on {table}")).await;
        }
        assert!(product.count("select last_value from public.refused").await > 1, "statements were refused");
    };
    nothing_is_lost_or_doubled(refuse, relent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t33_without_a_free_connection_commands_are_refused_and_work_goes_on_afterwards() {
    let product = Product::start().await;
    let (organization_id, key) = product.clinic().await;
    let partner = product.subscribe(organization_id, &["patient.registered"]).await;
    let register = async || {
        let patient = serde_json::json!({ "birth_year": 1950 });
        product.call(&key, Method::POST, "/v1/patients", Some(&patient)).await
    };
    assert_eq!(register().await.0, 201);
    let pool = &product.databases().core_system;
    let mut taken = Vec::new();
    // The product keeps some for itself, to hear of what is appended.
    while let Ok(connection) = tokio::time::timeout(Duration::from_secs(1), pool.acquire()).await {
        taken.push(connection.unwrap());
    }

    let (status, problem) = register().await;

    assert_eq!((status, problem["code"].as_str()), (503, Some("unavailable")), "{problem}");
    drop(taken);
    until("commands are taken again", async || (register().await.0 == 201).then_some(())).await;
    product.settled().await;
    let registered = "select count(*) from log.events where event_type = 'patient.registered'";
    assert_eq!(i64::try_from(webhook_ids(&partner).len()).unwrap(), product.count(registered).await);
    product.is_sound().await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t33_no_statement_of_the_run_time_roles_waits_for_ever() {
    let product = Product::start().await;
    let databases = product.databases();
    let pools = [
        &databases.core_system,
        &databases.core_app,
        &databases.audit_system,
        &databases.audit_app,
        &databases.vault,
    ];
    for pool in pools {
        for setting in ["statement_timeout", "idle_in_transaction_session_timeout"] {
            let value: String =
                sqlx::query_scalar("select current_setting($1)").bind(setting).fetch_one(pool).await.unwrap();
            assert_eq!(value, "30s", "{setting}");
        }
    }
    product.stop().await;
}
